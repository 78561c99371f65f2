/*
 * clock.h - the two kinds of time, never mixed in one expression.
 * Units   milliseconds (_ms) or microseconds (_us).
 * Thread  any.
 * Source  clock_gettime(2). CLOCK_BOOTTIME goes on while the machine is suspended, so a lease
 *         counted on it has really run out after a suspend.
 */
#ifndef AWQ_CLOCK_H
#define AWQ_CLOCK_H

#include <stdint.h>

#define CLOCK_OFF_MS 30000 /* a machine's that is so far from Redis' wants mending */

int64_t clock_wall_ms(void); /* Unix time, for stamps that others read */
int64_t clock_boot_ms(void); /* for waiting and leases */
int64_t clock_boot_us(void);

#endif

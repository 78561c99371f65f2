/*
 * liveness.h - the beat: tells Redis that this worker lives, and learns whether Redis heard it.
 * Owns    the beat timer; what was confirmed, and when it was sent.
 * Thread  the loop thread only.
 * Units   milliseconds on CLOCK_BOOTTIME: a suspended machine's lease runs out too.
 * Errors  none: a beat that fails is tried again at the next; meanwhile liveness_confirmed turns
 *         false a lease after the last good beat was SENT (not answered), and no call is started.
 * Source  common/scripts/beat.lua.
 */
#ifndef AWQ_WORKER_LIVENESS_H
#define AWQ_WORKER_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct liveness;

struct liveness *liveness_new(struct worker *w);
void liveness_free(struct liveness *l);
void liveness_beat(struct liveness *l); /* now: the link has just come up */
bool liveness_confirmed(const struct liveness *l);
/* How often life went unconfirmed for a lease and was confirmed again: what was taken before may
 * have been given to others meanwhile. */
uint64_t liveness_lapses(const struct liveness *l);
bool liveness_is_boss(const struct liveness *l); /* this worker keeps house */
int64_t
liveness_link_up_ms(const struct liveness *l); /* how long beats have gone through without a gap */

#endif

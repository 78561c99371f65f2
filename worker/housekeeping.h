/*
 * housekeeping.h - what one elected worker does for all of a shard: due jobs, parked jobs, jobs of
 * workers that are gone.
 * Owns    the timer, and the errand that is under way (one at a time).
 * Thread  the loop thread only.
 * Units   milliseconds of Redis' clock.
 * Errors  none: an errand that fails is dropped and found again at the next look; every script may
 *         be run by two housekeepers at once (an old and a new one) without harm.
 * Source  the scripts agenda, promote, peek, lot, reclaim, sweep in common/scripts.
 */
#ifndef AWQ_WORKER_HOUSEKEEPING_H
#define AWQ_WORKER_HOUSEKEEPING_H

#include <stdint.h>

struct worker;
struct house;

struct house *house_new(struct worker *w);
void house_free(struct house *h);
void house_tick(struct house *h); /* after a beat: this worker may have been elected */
/* A hint (P:wake): something is due at that time (ms; 0 = now). */
void house_hint(struct house *h, int64_t at_ms);

#endif

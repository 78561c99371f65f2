/*
 * lane.h - may another call to this connection begin now? Cool-down, concurrency, rate and breaker,
 * for all workers at once.
 * Owns    nothing here: cool-down and breaker are in the connection's record, slots and rate in
 *         its lane, P:{c:ID}:lane.
 * Thread  the loop thread only.
 * Errors  a step that cannot ask (no link) waits for the link; a slot that is not given back (its
 *         worker died) frees itself after the longest step.
 * Source  RFC 9110 section 10.2.3 (Retry-After), RFC 6585 section 4 (429), ratelimit.h.
 */
#ifndef AWQ_WORKER_LANE_H
#define AWQ_WORKER_LANE_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct redis_reply;
struct err;
struct step;
struct worker;

/* An attempt has ended: what it says of the far side, for the breaker. */
void lane_judge(struct step *s);
/* Has the connection a limit that must be asked for? Others never cost a look. */
bool lane_is_limited(const struct conn *c);
/* Ask for a slot, and a place in the rate. The answer comes to the step: lane_asked, then
 * lane_open, or lane_wait_ms. False: could not ask. */
bool lane_ask(struct step *s);
void lane_leave(struct step *s); /* give the slot back, and have the next one looked at */
void lane_close(struct step *s, int64_t ms); /* 429, Retry-After: nobody calls for so long */
/* A token that is too fresh to be renewed was refused, for fresh_ms more: after a few in a row the
 * lane closes until it may be, and half a minute at most. */
void lane_refused_fresh(struct step *s, int64_t fresh_ms);
/* For the housekeeper: how many calls may begin now, and in how many ms more may (0 = when one
 * ends)? The answer is a reply of those two. False: could not ask. */
bool lane_look(struct worker *w, const struct conn *c,
               void (*cb)(void *owner, const struct redis_reply *reply, const struct err *err),
               void *owner, struct err *err);

#endif

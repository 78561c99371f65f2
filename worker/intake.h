/*
 * intake.h - takes jobs from the queues while there is room.
 * Owns    the fetch link (it blocks in XREADGROUP, so nothing else uses it) and the consumer
 *         groups.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  NOGROUP: the group is made again, from 0, so that nothing that was added meanwhile is
 *         missed. After the link was lost the entries that Redis had given us on it are read back
 *         (own history) before anything new.
 * Source  redis.io XREADGROUP (COUNT is per stream; BLOCK; ids other than > give the own history).
 *
 * Several queues: each is asked for its share by weight without BLOCK, in one pipeline; only when
 * all are empty do we block, on all at once.
 */
#ifndef AWQ_WORKER_INTAKE_H
#define AWQ_WORKER_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct err;
struct intake;

struct intake *intake_new(struct worker *w, struct err *err);
void intake_free(struct intake *i);
void intake_wake(struct intake *i); /* there may be room again */
/* Something may be pending for us that no step works on: a delivery of an entry whose step had just
 * lost it counted as one in work. The history is read again. */
void intake_read_again(struct intake *i);
/* Jobs may lie in lanes, and nobody told us (fair.h). */
void intake_look_at_lanes(struct intake *i);
void intake_tick(struct intake *i); /* with each beat */
void intake_stop(struct intake *i); /* drain, pause: end the fetch that waits; nothing more is
                             fetched while the phase or the pause forbids it */
bool intake_is_quiet(const struct intake *i); /* no fetch is on its way */
/* There is room again after there was none, or a fetch may be made again: from now on one is due.
 */
void intake_expect(struct intake *i);
/* Milliseconds since the last fetch was answered, or was due; for the probe of life. */
int64_t intake_idle_ms(const struct intake *i);

#endif

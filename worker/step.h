/*
 * step.h - one job in this worker's hands, from the moment it was taken until its move is
 * answered.
 * Owns    the pool of steps (one per slot) and what each holds: the job's bytes, its connection
 *         and token by reference, its request, its answer, its move.
 * Thread  the loop thread only.
 * Errors  a step always ends by one move (commit.h), whatever happens: commit, retry, park, bury,
 *         release.
 *
 *   TAKEN -> ADMIT/-TING -> LOAD/-ING -> AUTHORIZE/-ING -> MARK/-ING -> SEND/-ING -> JUDGE
 *                                         ^                                           |   |
 *                                         +------------ REFUSE/-ING <-----------------+   v
 *                                           (401: is there a newer token?)     LEAVING -> DONE
 */
#ifndef AWQ_WORKER_STEP_H
#define AWQ_WORKER_STEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"

struct worker;
struct steps;

struct delivery { /* one stream entry, as XREADGROUP gave it */
    unsigned queue;
    struct slice entry;
    bool has_j;
    struct slice j, s;
    uint32_t reclaims; /* field d */
    int64_t moved_ms;  /* field t: when it was queued, if it was moved since */
    bool replayed;     /* field x: sent back by a person */
};

struct steps *steps_new(struct worker *w, size_t slots, struct err *err);
void steps_free(struct steps *p); /* drops what is left, without moves */
size_t steps_free_slots(const struct steps *p);
size_t steps_active(const struct steps *p);
size_t steps_calling(const struct steps *p); /* with a request on the wire */
/* Take a delivery into a free slot and begin. False: no slot, or out of memory (the entry stays
 * pending), or it is in flight here already (which is fine). */
bool steps_take(struct steps *p, const struct delivery *d);
bool steps_has(const struct steps *p, unsigned queue, struct slice entry);
/* Go on with steps that waited for Redis or for our life to be confirmed. */
void steps_resume(struct steps *p);
/* Drain: give back what was not sent. */
void steps_release_unsent(struct steps *p);
/* The drain's time is up: cut what is on the wire; each is judged by what is known. */
void steps_abort(struct steps *p);
size_t steps_mean_bytes(const struct steps *p); /* of late; to bound a fetch */

#endif

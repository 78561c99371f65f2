/*
 * commit.h - the moves that end a job's stay with this worker: commit, retry, park, bury, release.
 * Owns    the line of moves that Redis has not answered yet. A move belongs to its step until its
 *         callback; its texts must live until then.
 * Thread  the loop thread only.
 * Errors  a move is repeated, with the same names, until Redis has answered it: an answer lost on
 *         the way is no reason to do the work again (re-commit, do not re-execute). The scripts
 *         make repeats harmless.
 *
 * Commits that are ready in the same turn of the loop go out as one call of up to COMMIT_BATCH;
 * while two calls are on their way the next ones gather, so that a loaded worker sends few and full
 * ones.
 */
#ifndef AWQ_WORKER_COMMIT_H
#define AWQ_WORKER_COMMIT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"

#define COMMIT_BATCH 16

struct queue;
struct worker;
struct commits;

enum move_kind { MOVE_COMMIT, MOVE_RETRY, MOVE_PARK, MOVE_BURY, MOVE_RELEASE };

enum verdict {
    VERDICT_DONE,
    VERDICT_LOST,      /* the lease was gone: nothing was written */
    VERDICT_DUPLICATE, /* it had been done before; our entry is gone */
    VERDICT_CANCELLED, /* the run was cancelled: committed without a next step, or not set aside */
    VERDICT_FULL,      /* park: the lot holds its limit; the job is still ours */
    VERDICT_BROKEN,    /* Redis refuses the write itself (a key of a wrong type); still ours */
};

struct move;
typedef void move_cb(void *owner, struct move *m, enum verdict verdict, const struct err *why);

struct move {
    enum move_kind kind;
    const struct queue *queue; /* lives as long as the move */
    const char *consumer; /* who took the entry: this worker, or the one whose journal is emptied */
    const char *entry;    /* stream entry id */
    const char *run;      /* RUN */
    const char *name;     /* RUN.BRANCH.SEQ */
    uint64_t seq;
    const char *nonce; /* COMMIT: tells a repeat from another's commit */
    struct slice j, s; /* RETRY, PARK, BURY: the body as it is to lie there */
    uint32_t reclaims;
    struct slice out; /* result stream; empty = none */
    struct slice result;
    struct slice next_j, next_s; /* COMMIT: the next step; empty = none */
    struct slice big;       /* COMMIT: the next step's input, too long to travel in it; kept in */
    const char *big_digest; /* the run record under this digest (hex), before the commit */
    const char *state;      /* COMMIT: run state: "ready" (goes on), "done", "failed", "expired" */
    int64_t at_ms;          /* RETRY: when; PARK: until when at the latest (0 = no deadline) */
    int64_t look_ms;        /* PARK: when the lot is to be looked at */
    int64_t queued_ms;      /* RETRY, PARK: since when the step waits */
    const char
        *last_error;      /* RETRY, PARK: of the attempt that failed, as retry.lua has it; or "" */
    const char *resource; /* PARK: conn:ID or lane:ID */
    const char *code, *text; /* BURY */
    bool last; /* no other way out is left: never BROKEN, tried until it goes through */
    move_cb *cb;
    void *owner;
    /* private */
    struct commits *home;
    struct move *next;
    unsigned tries, refusals; /* repeats in all; of these, because Redis refused this very move */
    bool journaled;
    bool big_kept;
};

/* Is it what nobody else can know? A job released or parked costs nothing to take again. */
bool move_is_outcome(const struct move *m);

struct commits *commits_new(struct worker *w);
/* No callbacks any more. After the link and before the journal: it gets the outcomes that Redis has
 * not taken; without one the log says how many are lost. */
void commits_free(struct commits *c);
void commit_submit(struct commits *c, struct move *m);
void commits_resume(struct commits *c); /* the link is up and our life confirmed: send what waits */
size_t commits_waiting(const struct commits *c);

#endif

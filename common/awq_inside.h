/*
 * awq_inside.h - what the files of the C client know of each other; nobody else includes it.
 * Owns    as awq.h says: awq.c opens and closes, awq_request.c the requests under way and their
 *         timer, awq_ask.c what they ask of Redis, awq_block.c the calls that wait, awq_job.c
 *         envelopes, awq_result.c results, awq_error.c errors.
 * Thread  as awq.h says.
 * Units   milliseconds on clock_boot_ms, but for a job's times.
 */
#ifndef AWQ_AWQ_INSIDE_H
#define AWQ_AWQ_INSIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "common/awq.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/id.h"
#include "common/redis.h"
#include "common/slice.h"

struct producer_key;
struct result;

/* ---- awq_error.c: each fills *to, unless it is NULL, and returns false ---- */

bool awq_error_set(struct awq_error *to, enum awq_status status, const char *code,
                   const char *text);
bool awq_error_from(struct awq_error *to, const struct err *err);
bool awq_error_nomem(struct awq_error *to);

/* ---- awq_job.c ---- */

/* What is on the way to a queue: who it is for, and from when on. */
struct awq_about {
    char id[ID_MAX + 1];
    int64_t not_before, iat, deadline;
};

bool awq_job_look(struct slice bytes, struct awq_about *about, struct awq_error *err);

/* ---- awq_result.c ---- */

/* Copies both; NULL when out of memory. */
struct awq_result *awq_result_hold(struct slice bytes, const struct result *r);

/* ---- awq_request.c ---- */

enum request_kind { REQUEST_OPEN, REQUEST_PUT, REQUEST_WAIT };

struct awq_request {
    struct awq_request *next;
    struct awq *q;
    enum request_kind kind;
    char id[ID_MAX + 1], queue[ID_MAX + 1];
    struct buf bytes; /* PUT: the envelope */
    struct buf sig;   /* and its signature; empty = none */
    int64_t not_before;
    int64_t end_ms, next_ms, pause_ms; /* on clock_boot_ms */
    bool in_flight;                    /* Redis owes an answer */
    bool over;                         /* its callback has been called */
    union {
        awq_put_cb *put; /* OPEN too */
        awq_wait_cb *wait;
    } cb;
    void *owner;
};

struct awq {
    struct redis *link;
    uv_timer_t timer; /* its data is us; closed last */
    uv_loop_t *loop;
    bool own_loop, closing;
    struct err down; /* why the link is not up, for the texts of timeouts */
    struct awq_request *requests;
    int64_t armed_ms; /* when the timer fires; INT64_MAX = not */
    unsigned shards;
    int64_t backlog_limit, dedup_ms, timeout_ms;
    struct producer_key *key; /* NULL: nothing is signed */
    char producer[ID_MAX + 1];
    bool inbox;
};

bool awq_is_up(const struct awq *q);
void awq_arm(struct awq *q); /* the timer, after requests or the link have changed */
redis_state_cb awq_on_state;

struct awq_request *awq_request_new(struct awq *q, enum request_kind kind, int64_t timeout_ms);
void awq_request_add(struct awq_request *rq, void *owner); /* handed over: it is freed once over */
void awq_request_free(struct awq_request *rq);             /* one that is in no list */
void awq_request_again(struct awq_request *rq);            /* ask once more, after a pause */

/* Each calls back, unless that was done. err NULL: it worked. */
void awq_request_finish(struct awq_request *rq, const struct awq_error *err);
void awq_request_finish_wait(struct awq_request *rq, struct awq_result *r); /* hands r over */
void awq_request_finish_error(struct awq_request *rq, enum awq_status status, const char *text);
void awq_request_finish_err(struct awq_request *rq, const struct err *why);

/* ---- awq_ask.c ---- */

void awq_request_send(struct awq_request *rq); /* the link is up */

#endif

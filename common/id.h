/*
 * id.h - names of things: job ids as producers make them, random ids as awq makes them, and the
 * randomness of timers.
 * Thread  any, after sodium_init.
 * Source  job ids: 1-64 characters of A-Za-z0-9_:- (common/PROTOCOL.md).
 */
#ifndef AWQ_ID_H
#define AWQ_ID_H

#include <stdbool.h>
#include <stdint.h>
#include "common/slice.h"

#define ID_MAX        64 /* a job id, a connection id */
#define JOB_NAME_MAX  96 /* RUN.BRANCH.SEQ */
#define WORKER_ID_MAX 96 /* host name + boot nonce */

/* How the run of a job begins whose envelope cannot be trusted: no job's id has a ~. */
#define ID_BAD "bad~"

bool id_is_job(struct slice s);        /* 1-64 of A-Za-z0-9_:- */
bool id_is_run(struct slice s);        /* the same, also after ID_BAD; 64 in all */
bool id_is_connection(struct slice s); /* as a job's */
bool id_is_queue(struct slice s);      /* 1-64 of A-Za-z0-9_- : queues, result streams */

void id_hex(char *out, size_t bytes);    /* 2 * bytes hex digits and a NUL */
void id_worker(char out[WORKER_ID_MAX]); /* HOST-NONCE, never used twice */
/* That nonce: what a worker's renewals are known by, where its whole id has no room. */
#define WORKER_MARK 16
struct slice id_worker_mark(struct slice worker);
int64_t id_uniform_ms(int64_t ceiling_ms); /* uniform in [0, ceiling] */
int64_t id_backoff_ms(int64_t base_ms, int64_t cap_ms, unsigned tries); /* full jitter: uniform in
                                                             [0, min(cap, base * 2^tries)] */

#endif

/*
 * meters.h - the worker's numbers for Prometheus: one table, and a function for each thing that is
 * counted.
 * Owns    the process's one struct metrics.
 * Thread  the loop thread only.
 * Units   base units (seconds).
 */
#ifndef AWQ_WORKER_METERS_H
#define AWQ_WORKER_METERS_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"
#include "worker/commit.h"

struct redis_reply;
struct worker;

bool meters_init(const struct worker *w, struct err *err); /* after the queues have their names */
void meters_deinit(void);
/* The shard's numbers (answer of stats.lua), or NULL: this worker does not keep house and shows
 * none. */
void meters_shard(const struct worker *w, const struct redis_reply *stats);
bool meters_write(struct buf *out, const struct worker *w);

void meter_move(enum move_kind kind, enum verdict verdict);
/* state: done, failed, dead, expired ...; took_ms taken -> committed; wait_ms queued -> sent, -1 =
 * not sent */
void meter_step(const char *state, int64_t took_ms, int64_t wait_ms);
void meter_http(int status); /* 0 = no answer */
void meter_acquire(struct slice said);
void meter_renewal(const char *outcome); /* renewed, failed, needs_consent, late */
void meter_not_copied(void);             /* a stored token that too few replicas have */
void meter_token_wait(int64_t ms);       /* from asking for the lease to the token stored */
void meter_redis_error(const struct err *err);
void meter_reclaimed(uint64_t jobs);
void meter_junk(const char *fate); /* buried, dropped, settled */
void meter_group_recreated(void);

#endif

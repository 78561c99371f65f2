/*
 * worker.h - the daemon as a whole: its links, its parts, and the phase of its life.
 * Owns    everything below; one struct worker per process.
 * Thread  the loop thread only.
 * Units   milliseconds; worker_now_ms is Redis' clock as far as this worker knows it.
 *
 *   intake -> step -> commit      a job comes in, is worked on, leaves by one move
 *                |  \ token        (who may speak for the connection)
 *                |   \ lane        (may another call to it begin now)
 *   liveness: beats; housekeeping: what one elected worker does for all
 */
#ifndef AWQ_WORKER_H
#define AWQ_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "common/err.h"
#include "common/http.h"
#include "common/id.h"
#include "common/key.h"
#include "common/redis.h"
#include "common/seal.h"
#include "common/secret.h"
#include "worker/settings.h"

#define SHARD 0 /* one shard until more can be chosen at install */

#define QUEUES_MAX 16

struct queue {
    char name[ID_MAX + 1];
    struct key key;
    unsigned weight;
    /* intake.c and fair.c */
    int64_t tenant_boot_ms; /* a job of a tenant was taken from it */
    int64_t full_boot_ms; /* fetches have brought all they asked for since; 0 = the last did not */
    int64_t said_boot_ms; /* that it has a backlog */
    int64_t used_boot_ms; /* a lane: it had jobs, or may have */
};

enum phase {
    PHASE_STARTING, /* Redis has not been up yet */
    PHASE_RUNNING,
    PHASE_DRAINING, /* TERM: takes nothing new */
    PHASE_STOPPING, /* the last moves are out; closing */
};

struct worker {
    uv_loop_t *loop;
    struct settings *set;
    struct config *config;
    struct keyring *keys;
    struct secret_pool *secrets;
    char id[WORKER_ID_MAX];
    char nonce[17]; /* of this process: tells its own commits from others' */
    char install[33];
    struct queue queues[2 * QUEUES_MAX]; /* behind them, in the same order, their lanes (fair.h) */
    size_t queue_count;                  /* without lanes */
    struct fair *fair;
    struct redis *link; /* scripts and short commands */
    struct http *http;
    struct steps *steps;
    struct intake *intake;
    struct commits *commits;
    struct tokens *tokens;
    struct liveness *liveness;
    struct house *house;
    struct hints *hints;
    struct changes *changes;
    struct memory *memory;
    struct endpoints *endpoints;
    struct replicas *replicas;
    struct audit *audit;
    struct producers *producers;
    struct inbox *inbox;
    struct journal *journal; /* NULL unless asked for */
    struct probe *probe;
    enum phase phase;
    bool paused;                   /* TSTP */
    bool refuse_new;               /* Redis said OOM or MISCONF: finish, fetch nothing */
    int64_t skew_ms;               /* Redis' clock minus ours */
    char run_id[48];               /* of the Redis process that the link met last */
    int64_t hold_renewals_boot_ms; /* begin none before */
    bool asks_wait;                /* for that: asked renewals */
    int exit_code;
    uv_timer_t drain_timer;
    uv_signal_t signals[5];
    bool leaving, left;
    bool keys_asked; /* the install's keys were written, and the answer is not there yet */
};

/* How a link of this worker is made; the texts are the settings'. */
struct redis_options worker_redis_options(const struct worker *w, const char *name);
bool worker_start(struct worker *w, struct err *err);
void worker_stop(struct worker *w, int exit_code); /* end the process, cleanly, now */
/* A part tells that something it held is gone: a draining worker may now be able to leave. */
void worker_on_idle(struct worker *w);
/* The beat came through: Redis knows that we live, calls may start. */
void worker_on_alive(struct worker *w);
int64_t worker_now_ms(const struct worker *w);
/* By --role, and by what is in the key file. */
bool worker_takes_jobs(const struct worker *w);
bool worker_renews(const struct worker *w);
/* May a call be started? Not before Redis confirmed our life within the last lease. */
bool worker_may_call(const struct worker *w);

#endif

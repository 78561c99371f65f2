/*
 * runs.h - one run of each case: start it, let it get warm, measure for a while, stop it.
 * Thread  the loop thread only.
 */
#ifndef AWQ_BENCH_RUNS_H
#define AWQ_BENCH_RUNS_H

#include "tools/bench/rig.h"

enum run_case {              /* in the order of a round: what is compared runs close together */
                CASE_BULLMQ, /* tests/bench/bullmq.mjs */
                CASE_CYCLE,  /* tests/bench/cycle */
                CASE_CALLS,  /* the same with the calls between its scripts */
                CASE_POST,   /* tests/bench/post */
                CASE_AWQ,    /* 64 in flight, TCP Redis, default settings */
                CASE_ACTS,   /* nothing into the audit stream */
                CASE_USES,   /* each call into it */
                CASE_AOF,    /* Redis with its append-only file, everysec */
                CASE_CONNS,  /* 100,000 connections, in turn */
                CASE_TLS,    /* links to the upstream by TLS, kept */
                CASE_ONCE,   /* a new TLS link for every call */
                CASE_SHORT,  /* 1,000 jobs queued, all the time */
                CASE_LONG,   /* 1,000,000 */
                CASES
};

struct sample {
    double steps_s;
    double self_us, redis_us, nginx_us; /* CPU per step */
    double commands;                    /* to Redis, per step */
};

struct bench {
    struct rig rig;
    struct store plain, aof, queue, conns;
    bool queue_filled, conns_linked;
    int64_t window_ms;
    unsigned bullmq_concurrency;
    const char *node, *peers; /* programs: Node, and the folder of post and cycle */
};

const char *run_name(enum run_case c);
bool run_case(struct bench *b, enum run_case c, struct sample *out, struct err *err);
/* BullMQ's best concurrency here. */
bool run_pick_bullmq(struct bench *b, struct err *err);
void bench_end(struct bench *b, bool keep);

/* ---- once, not in rounds ---- */

bool run_peak(struct bench *b, bool tls, double *mib, struct err *err); /* 256 in flight */

struct idle {
    double cpu_percent, commands_s;
};
bool run_idle(struct bench *b, struct idle *out, struct err *err);

struct latency {                  /* ms */
    double sent[3], committed[3]; /* p50, p99, p99.9 */
    size_t steps;
};
bool run_latency(struct bench *b, double steps_s, struct latency *out, struct err *err);

/* kill -9 to the moment when what it held is done by another. */
bool run_recovery(struct bench *b, double *seconds, struct err *err);
#endif

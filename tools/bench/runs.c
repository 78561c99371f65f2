#include "tools/bench/runs.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "common/clock.h"
#include "tools/bench/gauge.h"
#include "tools/bench/load.h"

#define JOBS        50000 /* more than a run can do */
#define JOBS_BULLMQ 14000
#define SHORT_JOBS  1000
#define LONG_JOBS   1000000
#define CONNECTIONS 100000
#define WARM_STEPS  1000
#define WARM_BULLMQ 6000  /* until Node has compiled what is hot */
#define WARM_MS     30000 /* for the first of them */
#define FEED_MS     5
#define IN_FLIGHT   "64"

static const char *const names[CASES] = {
    [CASE_AWQ] = "awq",
    [CASE_ACTS] = "awq, audit level acts",
    [CASE_USES] = "awq, audit level uses",
    [CASE_AOF] = "awq, append-only file",
    [CASE_TLS] = "awq, TLS",
    [CASE_ONCE] = "awq, a new TLS link per call",
    [CASE_SHORT] = "awq, 1,000 queued",
    [CASE_LONG] = "awq, 1,000,000 queued",
    [CASE_CONNS] = "awq, 100,000 connections",
    [CASE_POST] = "bare loop",
    [CASE_CYCLE] = "minimal cycle",
    [CASE_CALLS] = "minimal cycle that calls",
    [CASE_BULLMQ] = "BullMQ",
};

const char *run_name(enum run_case c)
{
    return names[c];
}

void bench_end(struct bench *b, bool keep)
{
    struct store *stores[] = {&b->plain, &b->aof, &b->queue, &b->conns};

    for (size_t i = 0; i < ARRAY_LEN(stores); i++)
        store_end(stores[i]);
    rig_end(&b->rig, keep);
}

/* ---- one window ---- */

struct subject { /* what is measured */
    struct child *child;
    struct store *store;     /* or NULL */
    char count_file[96];     /* or "": the results in the store are counted */
    const struct load *load; /* keep `level` jobs queued; NULL: there are enough */
    int64_t level;
    int warm_steps;
};

struct reading {
    double steps, self_us, redis_us, nginx_us;
    int64_t commands, at_ms;
};

static double steps_of(struct bench *b, const struct subject *s)
{
    return s->count_file[0] ? (double)gauge_count(s->count_file)
                            : (double)gauge_added(&b->rig, s->store);
}

static struct reading read_all(struct bench *b, const struct subject *s)
{
    struct reading r = {
        .commands = s->store ? gauge_commands(&b->rig, s->store) : 0,
        .steps = steps_of(b, s),
        .self_us = gauge_cpu_us(s->child->pid),
        .redis_us = s->store ? gauge_cpu_us(s->store->child.pid) : 0,
        .nginx_us = gauge_cpu_us(b->rig.nginx.pid),
        .at_ms = clock_boot_ms(),
    };

    return r;
}

/* Sleep, and keep the queue at its level. */
static bool pass(struct bench *b, const struct subject *s, int64_t ms, struct err *err)
{
    int64_t end = clock_boot_ms() + ms;

    if (!s->load)
        return ask_sleep(&b->rig.ask, ms, err);
    while (clock_boot_ms() < end) {
        int64_t missing = s->level - load_queued(&b->rig, s->store);

        if (missing > 0 && !load_add(&b->rig, s->store, s->load, (size_t)missing, err))
            return false;
        if (!ask_sleep(&b->rig.ask, FEED_MS, err))
            return false;
    }
    return true;
}

static bool warm_up(struct bench *b, const struct subject *s, struct err *err)
{
    int64_t end = clock_boot_ms() + WARM_MS;

    while (steps_of(b, s) < s->warm_steps) {
        if (!child_is_running(s->child) || clock_boot_ms() > end)
            return err_set(err, ERR_CONFIG, "it does not get going; see %s", s->child->log);
        if (!pass(b, s, 20, err))
            return false;
    }
    return true;
}

static bool measure(struct bench *b, const struct subject *s, struct sample *out, struct err *err)
{
    struct reading from, to;
    double steps;

    if (!warm_up(b, s, err))
        return false;
    from = read_all(b, s);
    if (!pass(b, s, b->window_ms, err))
        return false;
    to = read_all(b, s);
    steps = to.steps - from.steps;
    if (steps < 1 || !child_is_running(s->child))
        return err_set(err, ERR_CONFIG, "it did nothing; see %s", s->child->log);
    *out = (struct sample){
        .steps_s = steps * 1000 / (double)(to.at_ms - from.at_ms),
        .self_us = (to.self_us - from.self_us) / steps,
        .redis_us = (to.redis_us - from.redis_us) / steps,
        .nginx_us = (to.nginx_us - from.nginx_us) / steps,
        .commands = (double)(to.commands - from.commands) / steps,
    };
    return true;
}

/* ---- awq ---- */

static bool start_store(struct bench *b, struct store *s, const char *name, bool aof,
                        struct err *err)
{
    return store_start(&b->rig, s, name, aof, err) && store_clear(&b->rig, s, err) &&
           store_link(&b->rig, s, 1, err);
}

static bool run_worker(struct bench *b, struct store *s, const char *const *options,
                       const struct load *load, int64_t level, struct sample *out, struct err *err)
{
    struct child worker = {0};
    const struct subject subject = {.child = &worker,
                                    .store = s,
                                    .load = level > 0 ? load : NULL,
                                    .level = level,
                                    .warm_steps = WARM_STEPS};
    bool ok = store_worker(&b->rig, s, &worker, options, err) && measure(b, &subject, out, err);

    child_end(&worker);
    if (ok && load_queued(&b->rig, s) == 0 && level == 0)
        ok = err_set(err, ERR_CONFIG, "the queue ran dry");
    return ok;
}

static bool run_awq(struct bench *b, enum run_case c, struct sample *out, struct err *err)
{
    bool tls = c == CASE_TLS || c == CASE_ONCE;
    struct store *s = c == CASE_AOF ? &b->aof : &b->plain;
    const struct load load = {tls ? "https" : "http",
                              c == CASE_TLS    ? b->rig.tls
                              : c == CASE_ONCE ? b->rig.once
                                               : b->rig.plain,
                              1};
    char bundle[96];
    const char *level = c == CASE_ACTS ? "acts" : c == CASE_USES ? "uses" : "renewals";
    const char *const options[] = {
        "--slots", IN_FLIGHT, "--audit-level", level, tls ? "--http-ca" : NULL, bundle, NULL};

    snprintf(bundle, sizeof bundle, "%s/bundle.pem", b->rig.folder);
    return start_store(b, s, c == CASE_AOF ? "redis-aof" : "redis", c == CASE_AOF, err) &&
           load_add(&b->rig, s, &load, JOBS, err) && run_worker(b, s, options, &load, 0, out, err);
}

/* A Redis of its own holds the long queue from round to round. What the last worker had taken is
 * moved back by the next one's housekeeping. */
static bool run_queue(struct bench *b, enum run_case c, struct sample *out, struct err *err)
{
    const struct load load = {"http", b->rig.plain, 1};
    struct store *s = c == CASE_LONG ? &b->queue : &b->plain;
    int64_t level = c == CASE_LONG ? LONG_JOBS : SHORT_JOBS;

    if (c == CASE_SHORT || !b->queue_filled) {
        if (!start_store(b, s, c == CASE_LONG ? "redis-long" : "redis", false, err))
            return false;
    }
    if (load_queued(&b->rig, s) < level &&
        !load_add(&b->rig, s, &load, (size_t)(level - load_queued(&b->rig, s)), err))
        return false;
    b->queue_filled = b->queue_filled || c == CASE_LONG;
    return run_worker(b, s, NULL, &load, level, out, err);
}

static bool run_conns(struct bench *b, struct sample *out, struct err *err)
{
    const struct load load = {"http", b->rig.plain, CONNECTIONS};
    const char *const queue[] = {"DEL", "awq:{s0}:q:default", "awq:{s0}:out:results"};
    struct store *s = &b->conns;

    if (!b->conns_linked && (!start_store(b, s, "redis-conns", false, err) ||
                             !store_link(&b->rig, s, CONNECTIONS, err)))
        return false;
    b->conns_linked = true;
    return store_ask(&b->rig, s, ARRAY_LEN(queue), queue, NULL, NULL, err) &&
           load_add(&b->rig, s, &load, JOBS, err) && run_worker(b, s, NULL, &load, 0, out, err);
}

/* ---- peers ---- */

static bool run_peer(struct bench *b, struct store *s, const char *name, const char *const *argv,
                     const char *count_file, int warm_steps, struct sample *out, struct err *err)
{
    struct child peer = {0};
    struct subject subject = {.child = &peer, .store = s, .warm_steps = warm_steps};
    bool ok;

    snprintf(subject.count_file, sizeof subject.count_file, "%s", count_file);
    remove(count_file);
    ok = rig_spawn(&b->rig, &peer, name, argv, err) && measure(b, &subject, out, err);
    child_end(&peer);
    return ok;
}

static bool run_post(struct bench *b, struct sample *out, struct err *err)
{
    char program[128], url[64], count[96];
    const char *const argv[] = {program, url, b->rig.token_file, count, IN_FLIGHT, NULL};

    snprintf(program, sizeof program, "%s/post", b->peers);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/api/records", b->rig.plain);
    snprintf(count, sizeof count, "%s/post.count", b->rig.folder);
    return run_peer(b, NULL, "post", argv, count, WARM_STEPS, out, err);
}

static bool run_cycle(struct bench *b, bool calls, struct sample *out, struct err *err)
{
    char program[128], port[16], count[96], url[64];
    const char *const argv[] = {program, port, count, calls ? url : NULL, b->rig.token_file, NULL};

    if (!store_start(&b->rig, &b->plain, "redis", false, err) ||
        !store_clear(&b->rig, &b->plain, err))
        return false;
    snprintf(program, sizeof program, "%s/cycle", b->peers);
    snprintf(port, sizeof port, "%u", b->plain.port);
    snprintf(count, sizeof count, "%s/cycle.count", b->rig.folder);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/api/records", b->rig.plain);
    return run_peer(b, &b->plain, "cycle", argv, count, WARM_STEPS, out, err);
}

static bool run_bullmq(struct bench *b, struct sample *out, struct err *err)
{
    char port[16], url[64], count[96], concurrency[16], jobs[16];
    const char *const fill[] = {b->node,
                                "tests/bench/bullmq.mjs",
                                port,
                                url,
                                b->rig.token_file,
                                count,
                                concurrency,
                                "fill",
                                jobs,
                                NULL};
    const char *const work[] = {
        b->node, "tests/bench/bullmq.mjs", port, url, b->rig.token_file, count, concurrency, "work",
        NULL};

    if (!store_start(&b->rig, &b->plain, "redis", false, err) ||
        !store_clear(&b->rig, &b->plain, err))
        return false;
    snprintf(port, sizeof port, "%u", b->plain.port);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/api/records", b->rig.plain);
    snprintf(count, sizeof count, "%s/bullmq.count", b->rig.folder);
    snprintf(concurrency, sizeof concurrency, "%u", b->bullmq_concurrency);
    snprintf(jobs, sizeof jobs, "%d", JOBS_BULLMQ);
    return rig_run(&b->rig, "bullmq-fill", fill, err) &&
           run_peer(b, &b->plain, "bullmq", work, count, WARM_BULLMQ, out, err);
}

bool run_pick_bullmq(struct bench *b, struct err *err)
{
    static const unsigned choices[] = {32, 64, 128, 256};
    double best = 0;
    unsigned picked = choices[0];

    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        struct sample s;

        b->bullmq_concurrency = choices[i];
        if (!run_bullmq(b, &s, err))
            return false;
        if (s.steps_s > best) {
            best = s.steps_s;
            picked = choices[i];
        }
    }
    b->bullmq_concurrency = picked;
    return true;
}

bool run_case(struct bench *b, enum run_case c, struct sample *out, struct err *err)
{
    bool ok = false;

    switch (c) {
    case CASE_AWQ:
    case CASE_ACTS:
    case CASE_USES:
    case CASE_AOF:
    case CASE_TLS:
    case CASE_ONCE:
        ok = run_awq(b, c, out, err);
        break;
    case CASE_SHORT:
    case CASE_LONG:
        ok = run_queue(b, c, out, err);
        break;
    case CASE_CONNS:
        ok = run_conns(b, out, err);
        break;
    case CASE_POST:
        ok = run_post(b, out, err);
        break;
    case CASE_CYCLE:
    case CASE_CALLS:
        ok = run_cycle(b, c == CASE_CALLS, out, err);
        break;
    case CASE_BULLMQ:
        ok = run_bullmq(b, out, err);
        break;
    case CASES:
        return err_set(err, ERR_FORMAT, "there is no such case");
    }
    return ok || err_prefix(err, "%s: ", names[c]);
}

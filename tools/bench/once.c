/* The figures that are measured once: memory, idleness, latency, recovery. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/wire.h"
#include "tools/bench/gauge.h"
#include "tools/bench/load.h"
#include "tools/bench/runs.h"

#define PEAK_JOBS     20000
#define IDLE_START_MS 4000
#define IDLE_MS       30000 /* one look for strays (house_gone.c), and what comes more often */
#define LATENCY_MS    6000
#define LATENCY_SKIP  500 /* steps of the start */
#define TICK_MS       5
#define STEPS_MAX     400000
#define PAGE          "2000"
#define RECOVERY_JOBS 12000
#define RECOVERY_MS   60000
#define RESULTS_KEY   "awq:{s0}:out:results"

static bool fresh_store(struct bench *b, struct err *err)
{
    return store_start(&b->rig, &b->plain, "redis", false, err) &&
           store_clear(&b->rig, &b->plain, err) && store_link(&b->rig, &b->plain, 1, err);
}

static bool wait_results(struct bench *b, struct child *worker, int64_t count, struct err *err)
{
    int64_t end = clock_boot_ms() + RECOVERY_MS;

    while (gauge_added(&b->rig, &b->plain) < count) {
        if (!child_is_running(worker) || clock_boot_ms() > end)
            return err_set(err, ERR_CONFIG, "it does not get on; see %s", worker->log);
        if (!ask_sleep(&b->rig.ask, 20, err))
            return false;
    }
    return true;
}

/* ---- memory ---- */

bool run_peak(struct bench *b, bool tls, double *mib, struct err *err)
{
    const struct load load = {tls ? "https" : "http", tls ? b->rig.tls : b->rig.plain, 1};
    struct child worker = {0};
    char bundle[96];
    const char *const options[] = {"--slots", "256", tls ? "--http-ca" : NULL, bundle, NULL};
    bool ok;

    snprintf(bundle, sizeof bundle, "%s/bundle.pem", b->rig.folder);
    ok = fresh_store(b, err) && load_add(&b->rig, &b->plain, &load, PEAK_JOBS, err) &&
         store_worker(&b->rig, &b->plain, &worker, options, err) &&
         wait_results(b, &worker, PEAK_JOBS, err);
    if (ok)
        *mib = (double)gauge_peak_kib(worker.pid) / 1024;
    child_end(&worker);
    return ok;
}

/* ---- idleness ---- */

bool run_idle(struct bench *b, struct idle *out, struct err *err)
{
    struct child worker = {0};
    int64_t commands, at_ms;
    double us;
    bool ok = fresh_store(b, err) && store_worker(&b->rig, &b->plain, &worker, NULL, err) &&
              ask_sleep(&b->rig.ask, IDLE_START_MS, err);

    commands = gauge_commands(&b->rig, &b->plain);
    us = gauge_cpu_us(worker.pid);
    at_ms = clock_boot_ms();
    ok = ok && ask_sleep(&b->rig.ask, IDLE_MS, err);
    at_ms = clock_boot_ms() - at_ms;
    if (ok) {
        out->cpu_percent = (gauge_cpu_us(worker.pid) - us) / (double)at_ms / 10;
        out->commands_s =
            (double)(gauge_commands(&b->rig, &b->plain) - commands) * 1000 / (double)at_ms;
    }
    child_end(&worker);
    return ok;
}

/* ---- latency ---- */

struct times {
    double *sent, *committed;
    size_t count, skip;
    char after[48];
    size_t page;
};

/* The id of a stream's entry begins with Redis' time when it was added. */
static double entry_ms(struct slice id)
{
    int64_t ms = 0;

    slice_to_i64(slice_sub(id, 0, slice_find(id, '-')), &ms);
    return (double)ms;
}

static void take_times(void *owner, const struct redis_reply *reply)
{
    struct times *t = owner;
    struct err err = {0};

    t->page = redis_reply_len(reply);
    for (size_t i = 0; i < t->page; i++) {
        const struct redis_reply *entry = redis_reply_at(reply, i);
        struct slice id = redis_reply_str(redis_reply_at(entry, 0));
        struct slice bytes = redis_reply_str(redis_reply_field(redis_reply_at(entry, 1), "r"));
        struct result r;

        snprintf(t->after, sizeof t->after, "(%.*s", SLICE_FMT(id));
        if (t->skip > 0) {
            t->skip--;
            continue;
        }
        if (t->count >= STEPS_MAX || !result_decode(&r, bytes, &err) || r.times.sent == 0)
            continue;
        t->sent[t->count] = (double)(r.times.sent - r.times.queued);
        t->committed[t->count] = entry_ms(id) - (double)r.times.answered;
        t->count++;
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void percentiles(double *all, size_t count, double out[3])
{
    static const double shares[] = {0.5, 0.99, 0.999};

    qsort(all, count, sizeof *all, by_size);
    for (size_t i = 0; i < ARRAY_LEN(shares); i++)
        out[i] = count > 0 ? all[(size_t)(shares[i] * (double)(count - 1))] : -1;
}

/* Two steps a job: half of what it can do. */
static bool feed(struct bench *b, double steps_s, struct err *err)
{
    const struct load load = {"http", b->rig.plain, 1};
    int64_t start = clock_boot_ms(), now;
    double fed = 0;

    while ((now = clock_boot_ms()) - start < LATENCY_MS) {
        double due = (double)(now - start) / 1000 * steps_s / 4 - fed;

        if (due >= 1 && !load_add(&b->rig, &b->plain, &load, (size_t)due, err))
            return false;
        fed += due >= 1 ? (double)(size_t)due : 0;
        if (!ask_sleep(&b->rig.ask, TICK_MS, err))
            return false;
    }
    return true;
}

static bool read_times(struct bench *b, struct times *t, struct err *err)
{
    snprintf(t->after, sizeof t->after, "-");
    do {
        const char *const argv[] = {"XRANGE", RESULTS_KEY, t->after, "+", "COUNT", PAGE};

        t->page = 0;
        if (!store_ask(&b->rig, &b->plain, ARRAY_LEN(argv), argv, take_times, t, err))
            return false;
    } while (t->page > 0);
    return true;
}

bool run_latency(struct bench *b, double steps_s, struct latency *out, struct err *err)
{
    const char *const options[] = {"--results-max", "1000000", NULL};
    struct times t = {.skip = LATENCY_SKIP};
    struct child worker = {0};
    bool ok;

    t.sent = calloc(STEPS_MAX, sizeof *t.sent);
    t.committed = calloc(STEPS_MAX, sizeof *t.committed);
    ok = (t.sent && t.committed) || err_set(err, ERR_NOMEM, "out of memory");
    ok = ok && fresh_store(b, err) && store_worker(&b->rig, &b->plain, &worker, options, err) &&
         ask_sleep(&b->rig.ask, 500, err) && feed(b, steps_s, err) &&
         ask_sleep(&b->rig.ask, 500, err) && read_times(b, &t, err);
    child_end(&worker);
    if (ok) {
        percentiles(t.sent, t.count, out->sent);
        percentiles(t.committed, t.count, out->committed);
        out->steps = t.count;
    }
    free(t.sent);
    free(t.committed);
    return ok;
}

/* ---- recovery ---- */

bool run_recovery(struct bench *b, double *seconds, struct err *err)
{
    const struct load load = {"http", b->rig.plain, 1};
    struct child victim = {0}, other = {0};
    int64_t killed_ms = 0, end;
    bool ok = fresh_store(b, err) && store_worker(&b->rig, &b->plain, &victim, NULL, err) &&
              store_worker(&b->rig, &b->plain, &other, NULL, err) &&
              load_add(&b->rig, &b->plain, &load, RECOVERY_JOBS, err) &&
              wait_results(b, &victim, RECOVERY_JOBS / 2, err);

    child_end(&victim);
    killed_ms = clock_boot_ms();
    end = killed_ms + RECOVERY_MS;
    while (ok && load_queued(&b->rig, &b->plain) > 0) {
        if (clock_boot_ms() > end)
            ok = err_set(err, ERR_CONFIG, "jobs are left over; see %s", other.log);
        ok = ok && ask_sleep(&b->rig.ask, 10, err);
    }
    *seconds = (double)(clock_boot_ms() - killed_ms) / 1000;
    child_end(&other);
    return ok;
}

/*
 * awq-demo: awq's main job on servers of its own, in half a minute. `make run` is the way in.
 *
 * Written in C and not as a script: it needs nothing but what awq is built from and a Redis server,
 * reads envelopes and results with awq's own code, and holds a worker still while it looks at it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include "common/clock.h"
#include "common/err.h"
#include "tools/demo/ask.h"
#include "tools/demo/site.h"
#include "tools/demo/verdict.h"
#include "tools/demo/victim.h"
#include "tools/demo/work.h"

#define TICK_MS       10
#define OVER_MS       180000                       /* what is not done by then is off */
#define KILL_FROM     (WORK_JOBS * WORK_STEPS / 4) /* results before the kill: well under way */
#define BAR_CELLS     30
#define TELL_EVERY_MS 250

struct demo {
    struct ask ask;
    struct site site;
    struct work work;
    struct victim victim;
    struct verdict verdict;
    bool terminal;
    int64_t told_ms;
    unsigned told_quarter;
};

static const char usage[] =
    "usage: awq-demo [--keep]\n"
    "Two workers do 2,000 jobs of two steps on behalf of two OAuth 2.0 connections whose tokens\n"
    "live 3 s, through a private Redis, against a sandbox; one worker is killed on the way. It\n"
    "ends with one line of figures, and with 1 if anything is off.\n"
    "  --keep   leave everything up and say how to talk to it\n";

/* ---- telling ---- */

static void clear_bar(const struct demo *d)
{
    if (d->terminal)
        printf("\r\033[K");
}

static void draw_bar(struct demo *d)
{
    char bar[BAR_CELLS + 1];
    unsigned full = d->work.results * BAR_CELLS / (WORK_JOBS * WORK_STEPS);

    memset(bar, ' ', BAR_CELLS);
    memset(bar, '=', full);
    bar[BAR_CELLS] = '\0';
    printf("\r  [%s] %u of %d steps, %u jobs queued", bar, d->work.results, WORK_JOBS * WORK_STEPS,
           d->work.enqueued);
    fflush(stdout);
}

/* A bar on a terminal; elsewhere a line for each quarter. */
static void tell_progress(struct demo *d, int64_t now_ms)
{
    unsigned quarter = d->work.results * 4 / (WORK_JOBS * WORK_STEPS);

    if (d->terminal && now_ms - d->told_ms >= TELL_EVERY_MS) {
        d->told_ms = now_ms;
        draw_bar(d);
    } else if (!d->terminal && quarter > d->told_quarter) {
        d->told_quarter = quarter;
        printf("  %u of %d steps\n", d->work.results, WORK_JOBS * WORK_STEPS);
        fflush(stdout);
    }
}

static void tell_kill(struct demo *d)
{
    clear_bar(d);
    printf("  SIGKILL      pid %d: it held %u jobs, an answer was on the wire, no renewal lease\n",
           d->victim.pid, d->victim.held_count);
    fflush(stdout);
}

static void tell_recovered(struct demo *d)
{
    clear_bar(d);
    printf("  recovered    what it held was done by others %.1f s after\n",
           (double)(d->victim.recovered_ms - d->victim.killed_ms) / 1000);
    fflush(stdout);
}

/* ---- the run ---- */

static bool maybe_kill(struct demo *d, struct err *err)
{
    if (d->victim.worker || d->work.results < KILL_FROM)
        return true;
    if (!victim_try(&d->victim, err))
        return false;
    if (!d->victim.worker)
        return true;
    tell_kill(d);
    if (!site_start_worker(&d->site, err))
        return false;
    printf("  worker       pid %d takes its place\n",
           (int)d->site.workers[d->site.worker_count - 1].child.pid);
    return true;
}

static bool tick(struct demo *d, struct err *err)
{
    bool recovered = d->victim.recovered_ms > 0;
    int64_t now_ms;

    if (!work_enqueue(&d->work, clock_boot_ms(), err) || !maybe_kill(d, err) ||
        !work_take_results(&d->work, clock_boot_ms(), err))
        return false;
    now_ms = clock_boot_ms();
    victim_look(&d->victim, now_ms);
    if (!recovered && d->victim.recovered_ms > 0)
        tell_recovered(d);
    tell_progress(d, now_ms);
    return ask_sleep(&d->ask, TICK_MS, err);
}

static bool work_through(struct demo *d, struct err *err)
{
    int64_t end = clock_boot_ms() + OVER_MS;

    printf("  jobs         %d, each reads a record here and writes it there\n", WORK_JOBS);
    fflush(stdout);
    while (!work_is_over(&d->work) && clock_boot_ms() < end) {
        if (!tick(d, err))
            return false;
    }
    clear_bar(d);
    if (d->work.ended_ms == 0)
        d->work.ended_ms = clock_boot_ms();
    return true;
}

static bool play(struct demo *d, bool keep, struct err *err)
{
    printf("awq demo: two workers, a private Redis, an authorization server and an API\n");
    fflush(stdout);
    if (!site_start(&d->site, &d->ask, keep, err))
        return false;
    work_init(&d->work, &d->ask, d->site.sandbox_url);
    victim_init(&d->victim, &d->site, &d->work);
    return work_through(d, err) && verdict_gather(&d->verdict, &d->site, err);
}

static int run(struct demo *d, bool keep)
{
    struct err err = {0};
    bool ok = false;

    d->terminal = isatty(STDOUT_FILENO);
    if (!ask_init(&d->ask, &err)) {
        fprintf(stderr, "awq-demo: %s\n", err.msg);
        return 1;
    }
    if (play(d, keep, &err)) {
        ok = verdict_tell(&d->verdict, &d->work, &d->victim);
    } else {
        clear_bar(d);
        fprintf(stderr, "awq-demo: %s\n", err.msg);
    }
    if (keep && d->site.folder[0] && err.code != ERR_CANCELLED)
        site_tell_how(&d->site);
    else
        site_end(&d->site, !ok && err.code != ERR_CANCELLED);
    ask_deinit(&d->ask);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    static struct demo demo;
    bool keep = argc == 2 && strcmp(argv[1], "--keep") == 0;

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc > 1 && !keep) {
        fputs(usage, stderr);
        return 2;
    }
    if (sodium_init() < 0) {
        fprintf(stderr, "awq-demo: libsodium does not start\n");
        return 1;
    }
    return run(&demo, keep);
}

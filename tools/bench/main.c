/*
 * awq-bench: what a step costs, against the same work done by hand and by another queue. `make
 * bench` is the way in, from the top of the source tree: the peers lie in tests/bench/.
 *
 * Worker, Redis and upstream share one core: across cores, waking a process costs 5 to 45 us from
 * one second to the next, which would drown what is measured. On a full core steps/s is one over
 * the sum of what each of them needs per step. Cases are interleaved, so that a slow minute of the
 * machine hits all of them, and medians are compared.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <curl/curl.h>
#include <sodium.h>
#include "tools/bench/figures.h"
#include "tools/bench/runs.h"

#define ROUNDS    5
#define WINDOW_MS 2000

/* CPU per step of the baselines on the machine that the bars were set on; a machine where they are
 * far slower measures something else. */
#define POST_US   23.7
#define CYCLE_US  6.65
#define BULLMQ_US 210.0 /* worker and Redis */
#define SLOWER    1.4

enum group {
    GROUP_STEPS,
    GROUP_WORKER,
    GROUP_REDIS,
    GROUP_TRIPS,
    GROUP_AUDIT,
    GROUP_AOF,
    GROUP_TLS,
    GROUP_LINK,
    GROUP_MEMORY,
    GROUP_IDLE,
    GROUP_BACKLOG,
    GROUP_CONNS,
    GROUP_LATENCY,
    GROUP_RECOVERY,
    GROUPS
};

static const struct {
    const char *name;
    unsigned cases; /* that it is made from */
} groups[GROUPS] = {
    [GROUP_STEPS] = {"steps", 1u << CASE_AWQ | 1u << CASE_BULLMQ},
    [GROUP_WORKER] = {"worker_cpu", 1u << CASE_AWQ | 1u << CASE_POST},
    [GROUP_REDIS] = {"redis_cpu",
                     1u << CASE_AWQ | 1u << CASE_CYCLE | 1u << CASE_CALLS | 1u << CASE_BULLMQ},
    [GROUP_TRIPS] = {"round_trips", 1u << CASE_AWQ},
    [GROUP_AUDIT] = {"audit", 1u << CASE_AWQ | 1u << CASE_ACTS | 1u << CASE_USES},
    [GROUP_AOF] = {"aof", 1u << CASE_AWQ | 1u << CASE_AOF},
    [GROUP_TLS] = {"tls", 1u << CASE_AWQ | 1u << CASE_TLS},
    [GROUP_LINK] = {"link", 1u << CASE_TLS | 1u << CASE_ONCE},
    [GROUP_MEMORY] = {"memory", 0},
    [GROUP_IDLE] = {"idle", 0},
    [GROUP_BACKLOG] = {"backlog", 1u << CASE_SHORT | 1u << CASE_LONG},
    [GROUP_CONNS] = {"connections", 1u << CASE_AWQ | 1u << CASE_CONNS},
    [GROUP_LATENCY] = {"latency", 1u << CASE_AWQ},
    [GROUP_RECOVERY] = {"recovery", 0},
};

static const char usage[] =
    "usage: awq-bench [--only NAME,...] [--rounds N] [--window-ms N] [--node FILE] [--peers DIR]\n"
    "From the top of the source tree; `make bench B=NAME,...` builds the peers and runs it.\n"
    "Ends with one line per figure, and with 1 if a figure is short of its bar.\n"
    "  --only NAME,...  of: steps worker_cpu redis_cpu round_trips audit aof tls link memory idle\n"
    "                   backlog connections latency recovery\n";

struct options {
    bool wanted[GROUPS];
    unsigned rounds;
};

/* ---- the machine ---- */

static void say(const char *label, const char *command)
{
    char line[160] = "";
    FILE *p = popen(command, "r");

    if (p && !fgets(line, sizeof line, p))
        line[0] = '\0';
    if (p)
        pclose(p);
    line[strcspn(line, "\n")] = '\0';
    printf("  %-9s%s\n", label, line[0] ? line : "unknown");
}

static void say_machine(const struct bench *b)
{
    struct utsname u;
    char node[256];

    uname(&u);
    printf("awq bench: two-step jobs, POST with a 900-byte token, 64 in flight; worker, Redis and "
           "nginx on one core\n");
    say("commit", "git describe --always --dirty --abbrev=12 2>/dev/null");
    say("cpu", "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo");
    say("load", "cut -d' ' -f1-3 /proc/loadavg");
    printf("  %-9s%s %s, %d cores\n", "system", u.sysname, u.release, b->rig.core + 1);
    say("redis", "redis-server --version");
    say("nginx", "nginx -v 2>&1");
    printf("  %-9s%s\n", "libcurl", curl_version());
    snprintf(node, sizeof node, "%s --version", b->node);
    say("node", node);
    say("bullmq", "sed -n 's/.*\"\\(bullmq\\|undici\\)\": /\\1 /p' tests/bench/package.json | "
                  "tr -d '\\n'");
    fflush(stdout);
}

/* ---- the rounds ---- */

static unsigned cases_of(const struct options *o)
{
    unsigned cases = 0;

    for (size_t g = 0; g < GROUPS; g++)
        cases |= o->wanted[g] ? groups[g].cases : 0;
    return cases;
}

static bool run_rounds(struct bench *b, const struct options *o, struct samples *s, struct err *err)
{
    unsigned cases = cases_of(o);

    if (cases & 1u << CASE_BULLMQ) {
        if (!run_pick_bullmq(b, err))
            return false;
        printf("  BullMQ is fastest with %u at once\n", b->bullmq_concurrency);
    }
    for (unsigned round = 0; round < o->rounds; round++) {
        for (unsigned c = 0; c < CASES; c++) {
            struct sample *at = &s->of[c][s->count[c]];

            if (!(cases & 1u << c))
                continue;
            if (!run_case(b, c, at, err))
                return false;
            s->count[c]++;
            printf("  %u %-30s %7.0f steps/s, us per step: %6.1f self, %5.1f redis, %5.1f nginx\n",
                   round + 1, run_name(c), at->steps_s, at->self_us, at->redis_us, at->nginx_us);
            fflush(stdout);
        }
    }
    return true;
}

/* ---- the figures ---- */

static double cost(struct sample s)
{
    return s.self_us + s.redis_us;
}

static double rate(struct sample s)
{
    return s.steps_s;
}

static double self(struct sample s)
{
    return s.self_us;
}

static double redis(struct sample s)
{
    return s.redis_us;
}

static void from_rounds(const struct options *o, const struct samples *s, struct figures *f)
{
    struct sample m[CASES];

    for (unsigned c = 0; c < CASES; c++)
        m[c] = samples_median(s, c);
    if (o->wanted[GROUP_STEPS]) {
        figure_add(f, "steps", m[CASE_AWQ].steps_s, "1/s", NULL, 0);
        figure_add(f, "steps_vs_bullmq", samples_ratio(s, CASE_AWQ, CASE_BULLMQ, rate), "x",
                   ">=", 3);
    }
    if (o->wanted[GROUP_WORKER]) {
        figure_add(f, "worker_cpu", m[CASE_AWQ].self_us, "us/step", NULL, 0);
        figure_add(f, "worker_cpu_vs_bare_loop", samples_ratio(s, CASE_AWQ, CASE_POST, self), "x",
                   "<=", 1.6);
    }
    if (o->wanted[GROUP_REDIS]) {
        figure_add(f, "redis_cpu", m[CASE_AWQ].redis_us, "us/step", NULL, 0);
        figure_add(f, "redis_cpu_vs_minimal_cycle", samples_ratio(s, CASE_AWQ, CASE_CYCLE, redis),
                   "x", "<=", 1.5);
        figure_add(f, "redis_cpu_vs_cycle_that_calls",
                   samples_ratio(s, CASE_AWQ, CASE_CALLS, redis), "x", NULL, 0);
        figure_add(f, "redis_cpu_vs_bullmq", samples_ratio(s, CASE_AWQ, CASE_BULLMQ, redis), "x",
                   "<=", 0.25);
    }
    if (o->wanted[GROUP_TRIPS])
        figure_add(f, "redis_trips_per_16_steps", 16 * m[CASE_AWQ].commands, "trips", "<=", 2.2);
    if (o->wanted[GROUP_AUDIT]) {
        figure_add(f, "cost_audit_renewals_vs_acts", samples_ratio(s, CASE_AWQ, CASE_ACTS, cost),
                   "x", NULL, 0);
        figure_add(f, "cost_audit_uses_vs_acts", samples_ratio(s, CASE_USES, CASE_ACTS, cost), "x",
                   NULL, 0);
    }
    if (o->wanted[GROUP_AOF])
        figure_add(f, "aof_everysec_vs_off", samples_ratio(s, CASE_AOF, CASE_AWQ, rate), "x",
                   ">=", 0.85);
    if (o->wanted[GROUP_TLS])
        figure_add(f, "tls_vs_plain", samples_ratio(s, CASE_TLS, CASE_AWQ, rate), "x", ">=", 0.75);
    if (o->wanted[GROUP_LINK])
        figure_add(f, "new_tls_link_cpu", (m[CASE_ONCE].self_us - m[CASE_TLS].self_us) / 1000, "ms",
                   "<=", 1.2);
    if (o->wanted[GROUP_BACKLOG])
        figure_add(f, "cost_1000000_queued_vs_1000", samples_ratio(s, CASE_LONG, CASE_SHORT, cost),
                   "x", "<=", 1.1);
    if (o->wanted[GROUP_CONNS])
        figure_add(f, "cost_100000_connections_vs_1", samples_ratio(s, CASE_CONNS, CASE_AWQ, cost),
                   "x", "<=", 1.15);
}

static bool memory(struct bench *b, struct figures *f, struct err *err)
{
    double mib;

    if (!run_peak(b, false, &mib, err))
        return false;
    figure_add(f, "peak_rss_256", mib, "MiB", "<=", 30);
    if (!run_peak(b, true, &mib, err))
        return false;
    figure_add(f, "peak_rss_256_tls", mib, "MiB", "<=", 50);
    return true;
}

static bool idle(struct bench *b, struct figures *f, struct err *err)
{
    struct idle i;

    if (!run_idle(b, &i, err))
        return false;
    figure_add(f, "idle_cpu", i.cpu_percent, "%", "<=", 0.1);
    figure_add(f, "idle_redis_commands", i.commands_s, "1/s", "<=", 2);
    return true;
}

static bool latency(struct bench *b, double steps_s, struct figures *f, struct err *err)
{
    static const char *const shares[] = {"p50", "p99", "p99.9"};
    struct latency l;
    char name[64];

    if (!run_latency(b, steps_s, &l, err))
        return false;
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "enqueue_to_sent_%s", shares[i]);
        figure_add(f, name, l.sent[i], "ms", NULL, 0);
    }
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "answered_to_committed_%s", shares[i]);
        figure_add(f, name, l.committed[i], "ms", NULL, 0);
    }
    return true;
}

static bool once(struct bench *b, const struct options *o, const struct samples *s,
                 struct figures *f, struct err *err)
{
    double seconds;

    if (o->wanted[GROUP_MEMORY] && !memory(b, f, err))
        return err_prefix(err, "memory: ");
    if (o->wanted[GROUP_IDLE] && !idle(b, f, err))
        return err_prefix(err, "idle: ");
    if (o->wanted[GROUP_LATENCY] && !latency(b, samples_median(s, CASE_AWQ).steps_s, f, err))
        return err_prefix(err, "latency: ");
    if (o->wanted[GROUP_RECOVERY]) {
        if (!run_recovery(b, &seconds, err))
            return err_prefix(err, "recovery: ");
        figure_add(f, "kill_to_all_taken_again", seconds, "s", "<=", 10);
    }
    return true;
}

/* A baseline that is far slower than it should be makes awq look good. */
static bool baselines_valid(const struct samples *s)
{
    const struct {
        enum run_case c;
        double is, limit;
    } rows[] = {
        {CASE_POST, samples_median(s, CASE_POST).self_us, POST_US * SLOWER},
        {CASE_CYCLE, samples_median(s, CASE_CYCLE).redis_us, CYCLE_US * SLOWER},
        {CASE_BULLMQ, cost(samples_median(s, CASE_BULLMQ)), BULLMQ_US * SLOWER},
    };
    bool valid = true;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (s->count[rows[i].c] == 0 || rows[i].is <= rows[i].limit)
            continue;
        printf("baseline invalid: %s needs %.1f us per step, more than %.1f\n", run_name(rows[i].c),
               rows[i].is, rows[i].limit);
        valid = false;
    }
    return valid;
}

static int run(struct bench *b, const struct options *o)
{
    static struct samples samples;
    struct figures f = {0};
    struct err err = {0};
    char *lines = NULL;
    size_t len = 0;
    bool valid = true, ok;

    f.out = open_memstream(&lines, &len);
    ok = f.out && rig_start(&b->rig, &err);
    if (ok) {
        say_machine(b);
        ok = run_rounds(b, o, &samples, &err);
    }
    if (ok) {
        from_rounds(o, &samples, &f);
        ok = once(b, o, &samples, &f, &err);
        valid = baselines_valid(&samples);
    }
    if (f.out)
        fclose(f.out);
    if (lines)
        fputs(lines, stdout);
    free(lines);
    if (!ok)
        fprintf(stderr, "awq-bench: %s\n", err.msg);
    bench_end(b, !ok && err.code != ERR_CANCELLED);
    return ok && valid && f.short_of_bar == 0 ? 0 : 1;
}

/* ---- the command line ---- */

static bool want(struct options *o, const char *list)
{
    struct slice rest = slice_cstr(list), name;

    while (slice_cut(&rest, ',', &name)) {
        bool found = false;

        for (size_t g = 0; g < GROUPS; g++) {
            if (slice_is(name, groups[g].name))
                found = o->wanted[g] = true;
        }
        if (!found)
            return false;
    }
    return true;
}

static bool read_options(int argc, char **argv, struct options *o, struct bench *b)
{
    bool some = false;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--only") == 0 && argv[i + 1][0]) {
            if (!want(o, argv[i + 1]))
                return false;
            some = true;
        } else if (strcmp(argv[i], "--rounds") == 0) {
            o->rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--window-ms") == 0) {
            b->window_ms = strtol(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--node") == 0) {
            b->node = argv[i + 1];
        } else if (strcmp(argv[i], "--peers") == 0) {
            b->peers = argv[i + 1];
        } else if (strcmp(argv[i], "--only") != 0) {
            return false;
        }
    }
    for (size_t g = 0; !some && g < GROUPS; g++)
        o->wanted[g] = true;
    return argc % 2 == 1 && o->rounds >= 1 && o->rounds <= ROUNDS_MAX && b->window_ms >= 100;
}

int main(int argc, char **argv)
{
    static struct bench b = {.window_ms = WINDOW_MS, .node = "node", .peers = "build/bench"};
    struct options o = {.rounds = ROUNDS};

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!read_options(argc, argv, &o, &b)) {
        fputs(usage, stderr);
        return 2;
    }
    if (sodium_init() < 0) {
        fprintf(stderr, "awq-bench: libsodium does not start\n");
        return 1;
    }
    return run(&b, &o);
}

#include "common/metrics.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { M_JOBS, M_READY, M_SECONDS, M_BYTES, M_COUNT };

static const char *const outcomes[] = {"done", "fai\"led\\\n", "other"};
static const char *const queues[] = {"default", "slow"};
static const double bounds[] = {0.1, 1, 2.5};

static const struct metric table[] = {
    [M_JOBS] = {.name = "awq_jobs_total",
                .type = METRIC_COUNTER,
                .help = "Jobs\\ by\noutcome.",
                .label = "outcome",
                METRIC_VALUES(outcomes)},
    [M_READY] = {.name = "awq_ready",
                 .type = METRIC_GAUGE,
                 .help = "Ready.",
                 .label = "queue",
                 METRIC_VALUES(queues)},
    [M_SECONDS] = {.name = "awq_seconds",
                   .type = METRIC_HISTOGRAM,
                   .help = "Took.",
                   .label = "queue",
                   METRIC_VALUES(queues),
                   METRIC_BUCKETS(bounds)},
    [M_BYTES] = {.name = "awq_bytes", .type = METRIC_GAUGE, .help = "Size."},
};

static struct metrics *make(void)
{
    struct err err = {0};
    struct metrics *m = metrics_new(table, M_COUNT, &err);

    if (!m)
        fail_msg("%s", err.msg);
    return m;
}

static void expect(const struct metrics *m, const char *want)
{
    struct buf b;

    buf_init(&b, 100000);
    assert_true(metrics_write(m, &b));
    assert_string_equal(b.ptr, want);
    buf_deinit(&b);
}

#define EMPTY_HISTOGRAM(q)                                                                         \
    "awq_seconds_bucket{queue=\"" q "\",le=\"0.1\"} 0\n"                                           \
    "awq_seconds_bucket{queue=\"" q "\",le=\"1\"} 0\n"                                             \
    "awq_seconds_bucket{queue=\"" q "\",le=\"2.5\"} 0\n"                                           \
    "awq_seconds_bucket{queue=\"" q "\",le=\"+Inf\"} 0\n"                                          \
    "awq_seconds_sum{queue=\"" q "\"} 0\n"                                                         \
    "awq_seconds_count{queue=\"" q "\"} 0\n"

/* All that can be is there from the start (else a rate has no first value); gauges are not. */
static void test_start(void **state)
{
    struct metrics *m = make();

    (void)state;
    expect(m, "# HELP awq_jobs_total Jobs\\\\ by\\noutcome.\n"
              "# TYPE awq_jobs_total counter\n"
              "awq_jobs_total{outcome=\"done\"} 0\n"
              "awq_jobs_total{outcome=\"fai\\\"led\\\\\\n\"} 0\n"
              "awq_jobs_total{outcome=\"other\"} 0\n"
              "# HELP awq_seconds Took.\n"
              "# TYPE awq_seconds histogram\n" EMPTY_HISTOGRAM("default") EMPTY_HISTOGRAM("slow"));
    metrics_free(m);
    metrics_free(NULL);
}

static void test_values(void **state)
{
    struct metrics *m = make();

    (void)state;
    metrics_add(m, M_JOBS, 0, 1);
    metrics_add(m, M_JOBS, 0, UINT64_MAX - 1);
    metrics_add(m, M_JOBS, metrics_label(m, M_JOBS, SLICE_LIT("no such")), 2);
    assert_true(metrics_count(m, M_JOBS, 0) == UINT64_MAX);
    metrics_set(m, M_READY, 1, 3);
    metrics_set(m, M_BYTES, 0, 0.1);
    metrics_observe(m, M_SECONDS, 0, 0.1); /* le is inclusive */
    metrics_observe(m, M_SECONDS, 0, 0.11);
    metrics_observe(m, M_SECONDS, 0, 2.5);
    metrics_observe(m, M_SECONDS, 0, 1000);
    metrics_observe(m, M_SECONDS, 0, 0);
    expect(m, "# HELP awq_jobs_total Jobs\\\\ by\\noutcome.\n"
              "# TYPE awq_jobs_total counter\n"
              "awq_jobs_total{outcome=\"done\"} 18446744073709551615\n"
              "awq_jobs_total{outcome=\"fai\\\"led\\\\\\n\"} 0\n"
              "awq_jobs_total{outcome=\"other\"} 2\n"
              "# HELP awq_ready Ready.\n"
              "# TYPE awq_ready gauge\n"
              "awq_ready{queue=\"slow\"} 3\n"
              "# HELP awq_seconds Took.\n"
              "# TYPE awq_seconds histogram\n"
              "awq_seconds_bucket{queue=\"default\",le=\"0.1\"} 2\n"
              "awq_seconds_bucket{queue=\"default\",le=\"1\"} 3\n"
              "awq_seconds_bucket{queue=\"default\",le=\"2.5\"} 4\n"
              "awq_seconds_bucket{queue=\"default\",le=\"+Inf\"} 5\n"
              "awq_seconds_sum{queue=\"default\"} 1002.71\n"
              "awq_seconds_count{queue=\"default\"} 5\n" EMPTY_HISTOGRAM(
                  "slow") "# HELP awq_bytes Size.\n"
                          "# TYPE awq_bytes gauge\n"
                          "awq_bytes 0.1\n");
    metrics_free(m);
}

static bool shows(const struct metrics *m, const char *text)
{
    struct buf b;
    bool found;

    buf_init(&b, 100000);
    assert_true(metrics_write(m, &b));
    found = strstr(b.ptr, text) != NULL;
    buf_deinit(&b);
    return found;
}

static void test_gauges(void **state)
{
    struct metrics *m = make();

    (void)state;
    metrics_set(m, M_READY, 0, 1);
    metrics_set(m, M_READY, 1, -2);
    assert_true(shows(m, "\nawq_ready{queue=\"slow\"} -2\n"));
    metrics_unset(m, M_READY); /* no longer the housekeeper: gone with its head */
    assert_false(shows(m, "awq_ready"));
    metrics_set(m, M_BYTES, 0, INFINITY);
    assert_true(shows(m, "\nawq_bytes +Inf\n"));
    metrics_set(m, M_BYTES, 0, 1e21);
    assert_true(shows(m, "\nawq_bytes 1e+21\n"));
    metrics_set(m, M_BYTES, 0, 1763766037.123);
    assert_true(shows(m, "\nawq_bytes 1763766037.123\n"));
    metrics_free(m);
}

static void test_label(void **state)
{
    struct metrics *m = make();

    (void)state;
    assert_int_equal(metrics_label(m, M_JOBS, SLICE_LIT("done")), 0);
    assert_int_equal(metrics_label(m, M_JOBS, SLICE_LIT("what")), 2);
    assert_int_equal(metrics_label(m, M_READY, SLICE_LIT("slow")), 1);
    assert_int_equal(metrics_label(m, M_READY, SLICE_LIT("what")), 0); /* has no "other" */
    assert_int_equal(metrics_label(m, M_BYTES, SLICE_LIT("what")), 0);
    metrics_free(m);
}

static void test_bounded(void **state)
{
    struct metrics *m = make();
    struct buf b;

    (void)state;
    buf_init(&b, 200);
    assert_false(metrics_write(m, &b));
    buf_deinit(&b);
    metrics_free(m);
}

static void test_table_rules(void **state)
{
    static const char *const twice[] = {"a", "a"};
    static const double down[] = {2, 1}, inf[] = {1, INFINITY};
    static const struct {
        struct metric m;
        const char *says; /* NULL: fine */
    } cases[] = {
        {{.name = "a_total", .type = METRIC_COUNTER, .help = ""}, NULL},
        {{.name = "a:b", .type = METRIC_GAUGE, .help = ""}, NULL},
        {{.name = "a", .type = METRIC_COUNTER, .help = ""}, "_total"},
        {{.name = "a_total", .type = METRIC_GAUGE, .help = ""}, "_total"},
        {{.name = "a-b", .type = METRIC_GAUGE, .help = ""}, "name"},
        {{.name = "1a", .type = METRIC_GAUGE, .help = ""}, "name"},
        {{.name = "", .type = METRIC_GAUGE, .help = ""}, "name"},
        {{.name = "a", .type = METRIC_GAUGE}, "help"},
        {{.name = "a", .type = METRIC_GAUGE, .help = "", .label = "x"}, "without values"},
        {{.name = "a", .type = METRIC_GAUGE, .help = "", METRIC_VALUES(queues)}, "without a label"},
        {{.name = "a", .type = METRIC_GAUGE, .help = "", .label = "x", METRIC_VALUES(twice)},
         "twice"},
        {{.name = "a", .type = METRIC_GAUGE, .help = "", .label = "x-y", METRIC_VALUES(queues)},
         "label"},
        {{.name = "a", .type = METRIC_GAUGE, .help = "", .label = "__x", METRIC_VALUES(queues)},
         "label"},
        {{.name = "a",
          .type = METRIC_HISTOGRAM,
          .help = "",
          .label = "le",
          METRIC_VALUES(queues),
          METRIC_BUCKETS(bounds)},
         "label"},
        {{.name = "a", .type = METRIC_HISTOGRAM, .help = ""}, "buckets"},
        {{.name = "a", .type = METRIC_GAUGE, .help = "", METRIC_BUCKETS(bounds)}, "buckets"},
        {{.name = "a", .type = METRIC_HISTOGRAM, .help = "", METRIC_BUCKETS(down)}, "ascend"},
        {{.name = "a", .type = METRIC_HISTOGRAM, .help = "", METRIC_BUCKETS(inf)}, "finite"},
        {{.name = "a", .type = METRIC_HISTOGRAM, .help = "", METRIC_BUCKETS(metric_seconds)}, NULL},
        {{.name = "awq_bytes", .type = METRIC_GAUGE, .help = ""}, "declared twice"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct metric two[] = {table[M_BYTES], cases[i].m};
        struct err err = {0};
        struct metrics *m = metrics_new(two, 2, &err);

        if (!m != !!cases[i].says || (cases[i].says && !strstr(err.msg, cases[i].says)))
            fail_msg("case %zu: %s", i, m ? "taken" : err.msg);
        metrics_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),   cmocka_unit_test(test_values),
        cmocka_unit_test(test_gauges),  cmocka_unit_test(test_label),
        cmocka_unit_test(test_bounded), cmocka_unit_test(test_table_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * metrics.h - numbers for Prometheus: counters, gauges and histograms of one program.
 * Owns    the values; the table that declares them is the program's and must outlive it.
 * Thread  the loop thread only: an increment is a plain add.
 * Units   base units, in the name: _seconds, _bytes, _total for counters.
 * Errors  ERR_CONFIG from metrics_new when the table breaks a rule of the format.
 * Source  Prometheus text exposition format 0.0.4; its naming rules ("Metric and label naming").
 *
 * A metric has no label, or one with values declared here: labels are bounded, never an id.
 *
 *     enum { M_COMMITS, M_STEP_SECONDS, M_COUNT };
 *     static const char *const outcomes[] = {"done", "failed", "other"};
 *     static const struct metric table[] = {
 *         [M_COMMITS] = {.name = "awq_commits_total", .type = METRIC_COUNTER,
 *                        .help = "Steps committed.", .label = "outcome", METRIC_VALUES(outcomes)},
 *         [M_STEP_SECONDS] = {.name = "awq_step_duration_seconds", .type = METRIC_HISTOGRAM,
 *                             .help = "From sent to answered.", METRIC_BUCKETS(metric_seconds)},
 *     };
 *     metrics_add(m, M_COMMITS, metrics_label(m, M_COMMITS, outcome), 1);
 *     metrics_observe(m, M_STEP_SECONDS, 0, 0.012);
 */
#ifndef AWQ_METRICS_H
#define AWQ_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric {
    const char *name;
    enum metric_type type;
    const char *help;
    const char *label;         /* NULL = none */
    const char *const *values; /* of the label, all different */
    size_t value_count;
    const double *buckets; /* HISTOGRAM: upper bounds, ascending, without +Inf */
    size_t bucket_count;
};
#define METRIC_VALUES(array)  .values = (array), .value_count = ARRAY_LEN(array)
#define METRIC_BUCKETS(array) .buckets = (array), .bucket_count = ARRAY_LEN(array)

#define METRIC_SECONDS_COUNT 14
extern const double metric_seconds[METRIC_SECONDS_COUNT]; /* 1 ms to 30 s */

struct metrics;

struct metrics *metrics_new(const struct metric *table, size_t count, struct err *err);
void metrics_free(struct metrics *m); /* NULL is fine */

/* Which of the label's values this is; one that is not declared counts as "other" if the table has
 * that, else as the first. 0 for a metric without label. */
size_t metrics_label(const struct metrics *m, size_t metric, struct slice value);

/* `at` is the place of the label's value (0 without label). A metric or a place that is not there
 * is our own mistake: asserted, and without asserts ignored. */
void metrics_add(struct metrics *m, size_t metric, size_t at, uint64_t n); /* COUNTER */
uint64_t metrics_count(const struct metrics *m, size_t metric, size_t at); /* COUNTER */
/* A gauge is written once it was set, until it is unset: what this process does not know, or no
 * longer, it does not show. */
void metrics_set(struct metrics *m, size_t metric, size_t at, double v);     /* GAUGE */
void metrics_unset(struct metrics *m, size_t metric);                        /* GAUGE, all values */
void metrics_observe(struct metrics *m, size_t metric, size_t at, double v); /* HISTOGRAM */

bool metrics_write(const struct metrics *m, struct buf *out); /* false: it did not fit */

#endif

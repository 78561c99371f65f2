#include "common/metrics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/char.h"

/* One number. A histogram with n buckets has n + 2 of them: its buckets (each for itself, summed
 * up when written), the one over all bounds, and the sum. */
union cell {
    uint64_t n;
    double v; /* gauges, NAN = not set; the sum of a histogram */
};

struct metrics {
    const struct metric *table;
    size_t count;
    union cell **cells; /* of each metric: for each of its places one cell, or a histogram's */
};

/* From a local Redis round trip to a slow API at its deadline. */
const double metric_seconds[METRIC_SECONDS_COUNT] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  5,     10,   30};

static size_t places(const struct metric *t)
{
    return t->label ? t->value_count : 1;
}

static size_t cells_per_place(const struct metric *t)
{
    return t->type == METRIC_HISTOGRAM ? t->bucket_count + 2 : 1;
}

/* ---- the table's rules ---- */

static bool is_name(const char *s, bool colon)
{
    if (!s || !*s || char_is_digit(*s))
        return false;
    for (; *s; s++) {
        if (!(char_is_alnum(*s) || *s == '_' || (colon && *s == ':')))
            return false;
    }
    return true;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);

    return n > k && strcmp(s + n - k, end) == 0;
}

static bool bad(struct err *err, const struct metric *t, const char *why)
{
    return err_set(err, ERR_CONFIG, "metric %s: %s", t->name ? t->name : "(none)", why);
}

static bool check_label(const struct metric *t, struct err *err)
{
    if (!t->label)
        return t->value_count == 0 || bad(err, t, "values without a label");
    if (!is_name(t->label, false) || strncmp(t->label, "__", 2) == 0 ||
        (t->type == METRIC_HISTOGRAM && strcmp(t->label, "le") == 0))
        return bad(err, t, "not a label's name");
    if (t->value_count == 0)
        return bad(err, t, "a label without values");
    for (size_t i = 0; i < t->value_count; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(t->values[i], t->values[k]) == 0)
                return bad(err, t, "the same label value twice");
        }
    }
    return true;
}

static bool check_buckets(const struct metric *t, struct err *err)
{
    if ((t->type == METRIC_HISTOGRAM) != (t->bucket_count > 0))
        return bad(err, t, "buckets belong to histograms, and they need some");
    for (size_t i = 0; i < t->bucket_count; i++) {
        if (!isfinite(t->buckets[i]) || (i > 0 && t->buckets[i] <= t->buckets[i - 1]))
            return bad(err, t, "buckets must ascend and be finite");
    }
    return true;
}

static bool check(const struct metric *table, size_t at, struct err *err)
{
    const struct metric *t = &table[at];

    if (!is_name(t->name, true) || !t->help)
        return bad(err, t, "needs a name of A-Za-z0-9_: and a help text");
    if ((t->type == METRIC_COUNTER) != ends_with(t->name, "_total"))
        return bad(err, t, "counters, and only they, end with _total");
    for (size_t i = 0; i < at; i++) {
        if (strcmp(t->name, table[i].name) == 0)
            return bad(err, t, "declared twice");
    }
    return check_label(t, err) && check_buckets(t, err);
}

/* ---- counting ---- */

static union cell *cells_new(const struct metric *t)
{
    size_t n = places(t) * cells_per_place(t);
    union cell *cells = calloc(n, sizeof *cells);

    for (size_t i = 0; cells && t->type == METRIC_GAUGE && i < n; i++)
        cells[i].v = NAN;
    return cells;
}

struct metrics *metrics_new(const struct metric *table, size_t count, struct err *err)
{
    struct metrics *m = calloc(1, sizeof *m);

    if (m)
        m->cells = calloc(count + 1, sizeof *m->cells);
    if (!m || !m->cells) {
        err_set(err, ERR_NOMEM, "out of memory for metrics");
        metrics_free(m);
        return NULL;
    }
    m->table = table;
    m->count = count;
    for (size_t i = 0; i < count; i++) {
        if (!check(table, i, err)) {
            metrics_free(m);
            return NULL;
        }
        m->cells[i] = cells_new(&table[i]);
        if (!m->cells[i]) {
            err_set(err, ERR_NOMEM, "out of memory for metrics");
            metrics_free(m);
            return NULL;
        }
    }
    return m;
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->count; i++)
        free(m->cells[i]);
    free(m->cells);
    free(m);
}

size_t metrics_label(const struct metrics *m, size_t metric, struct slice value)
{
    const struct metric *t = &m->table[metric];
    size_t other = 0;

    for (size_t i = 0; i < t->value_count; i++) {
        if (slice_is(value, t->values[i]))
            return i;
        if (strcmp(t->values[i], "other") == 0)
            other = i;
    }
    return other;
}

/* The first cell of a place, NULL when there is none of that type. */
static union cell *cell(const struct metrics *m, size_t metric, size_t at, enum metric_type type)
{
    bool there =
        metric < m->count && m->table[metric].type == type && at < places(&m->table[metric]);

    assert(there);
    return there ? m->cells[metric] + at * cells_per_place(&m->table[metric]) : NULL;
}

void metrics_add(struct metrics *m, size_t metric, size_t at, uint64_t n)
{
    union cell *c = cell(m, metric, at, METRIC_COUNTER);

    if (c)
        c->n += n;
}

uint64_t metrics_count(const struct metrics *m, size_t metric, size_t at)
{
    const union cell *c = cell(m, metric, at, METRIC_COUNTER);

    return c ? c->n : 0;
}

void metrics_set(struct metrics *m, size_t metric, size_t at, double v)
{
    union cell *c = cell(m, metric, at, METRIC_GAUGE);

    if (c)
        c->v = v;
}

void metrics_unset(struct metrics *m, size_t metric)
{
    for (size_t i = 0; i < places(&m->table[metric]); i++)
        metrics_set(m, metric, i, NAN);
}

void metrics_observe(struct metrics *m, size_t metric, size_t at, double v)
{
    union cell *c = cell(m, metric, at, METRIC_HISTOGRAM);
    const struct metric *t = &m->table[metric];
    size_t i = 0;

    if (!c)
        return;
    while (i < t->bucket_count && v > t->buckets[i])
        i++;
    c[i].n++;
    c[t->bucket_count + 1].v += v;
}

/* ---- writing ---- */

static void add_escaped(struct buf *out, const char *s, bool quotes)
{
    for (; *s; s++) {
        if (*s == '\n')
            buf_add_cstr(out, "\\n");
        else if (*s == '\\' || (quotes && *s == '"'))
            buf_add(out, (char[]){'\\', *s}, 2);
        else
            buf_add_char(out, *s);
    }
}

static void add_real(struct buf *out, double v)
{
    char text[32];

    if (!isfinite(v)) {
        buf_add_cstr(out, isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_add_cstr(out, text);
}

/* name_suffix{label="value",le="bound"} and a blank; le NULL = none. */
static void add_series(struct buf *out, const struct metric *t, const char *suffix, size_t at,
                       const double *le)
{
    buf_add_cstr(out, t->name);
    buf_add_cstr(out, suffix);
    if (t->label || le)
        buf_add_char(out, '{');
    if (t->label) {
        buf_addf(out, "%s=\"", t->label);
        add_escaped(out, t->values[at], true);
        buf_add_cstr(out, le ? "\"," : "\"");
    }
    if (le) {
        buf_add_cstr(out, "le=\"");
        add_real(out, *le);
        buf_add_char(out, '"');
    }
    buf_add_cstr(out, t->label || le ? "} " : " ");
}

static void add_uint(struct buf *out, uint64_t n)
{
    buf_addf(out, "%llu\n", (unsigned long long)n);
}

static void add_histogram(struct buf *out, const struct metric *t, size_t at, const union cell *c)
{
    uint64_t total = 0;

    for (size_t i = 0; i <= t->bucket_count; i++) {
        double le = i < t->bucket_count ? t->buckets[i] : INFINITY;

        total += c[i].n;
        add_series(out, t, "_bucket", at, &le);
        add_uint(out, total);
    }
    add_series(out, t, "_sum", at, NULL);
    add_real(out, c[t->bucket_count + 1].v);
    buf_add_char(out, '\n');
    add_series(out, t, "_count", at, NULL);
    add_uint(out, total);
}

static bool is_shown(const struct metric *t, const union cell *c)
{
    return t->type != METRIC_GAUGE || !isnan(c->v);
}

static const char *const type_names[] = {
    [METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};

static void add_head(struct buf *out, const struct metric *t)
{
    buf_addf(out, "# HELP %s ", t->name);
    add_escaped(out, t->help, false);
    buf_addf(out, "\n# TYPE %s %s\n", t->name, type_names[t->type]);
}

static void add_metric(struct buf *out, const struct metric *t, const union cell *c)
{
    bool headed = false;

    for (size_t at = 0; at < places(t); at++, c += cells_per_place(t)) {
        if (!is_shown(t, c))
            continue;
        if (!headed)
            add_head(out, t);
        headed = true;
        if (t->type == METRIC_HISTOGRAM) {
            add_histogram(out, t, at, c);
            continue;
        }
        add_series(out, t, "", at, NULL);
        if (t->type == METRIC_COUNTER) {
            add_uint(out, c->n);
        } else {
            add_real(out, c->v);
            buf_add_char(out, '\n');
        }
    }
}

bool metrics_write(const struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < m->count; i++)
        add_metric(out, &m->table[i], m->cells[i]);
    return buf_ok(out);
}

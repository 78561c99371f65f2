#include "tools/bench/figures.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double middle(double *values, size_t count)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static double median(const struct sample *all, size_t count, size_t offset)
{
    double values[ROUNDS_MAX];

    for (size_t i = 0; i < count; i++)
        memcpy(&values[i], (const char *)&all[i] + offset, sizeof values[i]);
    return middle(values, count);
}

struct sample samples_median(const struct samples *s, enum run_case c)
{
    const struct sample *all = s->of[c];
    size_t n = s->count[c];

    return (struct sample){
        .steps_s = median(all, n, offsetof(struct sample, steps_s)),
        .self_us = median(all, n, offsetof(struct sample, self_us)),
        .redis_us = median(all, n, offsetof(struct sample, redis_us)),
        .nginx_us = median(all, n, offsetof(struct sample, nginx_us)),
        .commands = median(all, n, offsetof(struct sample, commands)),
    };
}

double samples_ratio(const struct samples *s, enum run_case a, enum run_case b,
                     double (*of)(struct sample))
{
    size_t count = s->count[a] < s->count[b] ? s->count[a] : s->count[b];
    double values[ROUNDS_MAX];

    for (size_t i = 0; i < count; i++)
        values[i] = of(s->of[a][i]) / of(s->of[b][i]);
    return middle(values, count);
}

void figure_add(struct figures *f, const char *name, double value, const char *unit, const char *op,
                double bar)
{
    bool ok = !op || (op[0] == '<' ? value <= bar : value >= bar);

    if (!ok)
        f->short_of_bar++;
    if (op)
        fprintf(f->out, "bench %s %.5g %s bar %s %g %s\n", name, value, unit, op, bar,
                ok ? "ok" : "short");
    else
        fprintf(f->out, "bench %s %.5g %s bar - - ok\n", name, value, unit);
}

/*
 * figures.h - what the bench says: medians, ratios, bars.
 */
#ifndef AWQ_BENCH_FIGURES_H
#define AWQ_BENCH_FIGURES_H

#include <stdbool.h>
#include <stdio.h>
#include "tools/bench/runs.h"

#define ROUNDS_MAX 25

struct samples {
    struct sample of[CASES][ROUNDS_MAX];
    size_t count[CASES];
};

struct sample samples_median(const struct samples *s, enum run_case c); /* each member's own */

/* The median over the rounds of what `of` says of a, divided by what it says of b: the machine's
 * speed changes from minute to minute, less so within a round. */
double samples_ratio(const struct samples *s, enum run_case a, enum run_case b,
                     double (*of)(struct sample));

struct figures {
    FILE *out; /* lines gather here, to be printed at the end */
    unsigned short_of_bar;
};

/* `op` is "<=" or ">="; NULL: there is no bar. */
void figure_add(struct figures *f, const char *name, double value, const char *unit, const char *op,
                double bar);
#endif

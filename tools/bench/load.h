/*
 * load.h - the work: two-step jobs, each step a POST of 150 bytes with a 900-byte token.
 * Thread  the loop thread only.
 */
#ifndef AWQ_BENCH_LOAD_H
#define AWQ_BENCH_LOAD_H

#include "tools/bench/rig.h"

struct load {
    const char *scheme; /* "http" or "https" */
    unsigned port;
    size_t connections; /* c0 ... cN-1, in turn */
};

/* Add so many jobs; ids never repeat. */
bool load_add(struct rig *r, struct store *s, const struct load *l, size_t jobs, struct err *err);
int64_t load_queued(struct rig *r, struct store *s);
#endif

/*
 * memory.h - the tokens this worker stored lately, sealed as they are in Redis, to put back what
 * Redis forgets: a failover or a crash may lose the last writes, and a rotated refresh token exists
 * nowhere else.
 * Owns    copies of sealed fields, for MEMORY_MS after they were stored and up to MEMORY_BYTES.
 * Thread  the loop thread only.
 * Errors  none: what could be done is in the log (token.restored).
 * Source  common/scripts/restore.lua.
 */
#ifndef AWQ_WORKER_MEMORY_H
#define AWQ_WORKER_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include "common/slice.h"

#define MEMORY_MS    (10 * 60 * 1000)
#define MEMORY_BYTES ((size_t)16 << 20)

struct worker;
struct memory;

struct stored { /* what store wrote; texts are copied */
    const char *id, *cd, *fence;
    uint64_t gen, ver;
    struct slice at, rt, scope; /* sealed, sealed, clear; rt empty: the grant has none */
    int64_t born_ms, exp_ms;    /* Redis' clock */
};

struct memory *memory_new(struct worker *w);
void memory_free(struct memory *m); /* NULL is fine */
void memory_put(struct memory *m, const struct stored *s);
/* The key file has changed: what is kept is sealed with its first keys from now on, so that the old
 * ones can be taken out of it. */
void memory_seal_anew(struct memory *m);
/* Put back what there is of this connection (NULL: of all). False: nothing is known of it. */
bool memory_restore(struct memory *m, const char *id);

#endif

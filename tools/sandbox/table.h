/*
 * table.h - a bounded hash table from a keyed digest to a pointer: how the
 * sandbox finds tokens, grants, accounts, writes and fault counters.
 * Owns    its slots; the values are the caller's.
 * Thread  the loop thread only.
 * Units   max is a number of entries; a table that holds max takes no more.
 * Errors  table_put answers false when full or out of memory; table_is_full
 *         tells which.
 * Source  keys are BLAKE2b (RFC 7693) under a random key made at start, so
 *         that a client can neither choose colliding names nor learn a stored
 *         token from the time a look-up takes.
 */
#ifndef AWQ_SANDBOX_TABLE_H
#define AWQ_SANDBOX_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include "common/slice.h"

#define TABLE_KEY_BYTES 16

struct table_key {
    unsigned char bytes[TABLE_KEY_BYTES];
};

struct table_slot {
    struct table_key key;
    void *value; /* NULL: free */
};

struct table {
    struct table_slot *slots;
    size_t size; /* a power of two, or 0 before the first entry */
    size_t count;
    size_t max;
};

void table_init(struct table *t, size_t max);

/* The key of a name made of parts; ("a", "bc") and ("ab", "c") differ. */
struct table_key table_key(const struct slice *parts, size_t count);

void *table_get(const struct table *t, const struct table_key *key); /* NULL: not there */
bool table_is_full(const struct table *t);

/* Add a value (not NULL) under a key that is not there yet. */
bool table_put(struct table *t, const struct table_key *key, void *value);

/* Drop the values that are over. False: out of memory, and nothing was dropped. */
bool table_sweep(struct table *t, bool (*is_over)(const void *value, void *owner), void *owner,
                 void (*drop)(void *value));

/* Drop every value and the slots; the table can be used again. */
void table_clear(struct table *t, void (*drop)(void *value));
#endif

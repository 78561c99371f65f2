/*
 * writes.h - what the API has been told to write: per id, how often it took
 * effect, under how many idempotency keys, and how many repeats were answered
 * from memory.
 * Owns    every write and key it remembers, until writes_reset.
 * Thread  the loop thread only.
 * Units   max is a number of ids, and of keys.
 * Errors  WRITE_FULL past max, or out of memory: nothing has changed.
 * Source  draft-ietf-httpapi-idempotency-key-header section 2.6: the first
 *         answer again for a repeat, an error for the same key on another request.
 */
#ifndef AWQ_SANDBOX_WRITES_H
#define AWQ_SANDBOX_WRITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/slice.h"
#include "tools/sandbox/table.h"

#define WRITE_ID_MAX_BYTES  128
#define WRITE_KEY_MAX_BYTES 256

enum write_outcome {
    WRITE_EFFECT,
    WRITE_REPLAY,   /* seen before with this key: no effect */
    WRITE_CONFLICT, /* this key was used for another request */
    WRITE_FULL,
};

struct write {
    uint64_t seq; /* from 1, in the order of first sight: a place to page from */
    uint64_t effects;
    uint64_t keys;
    uint64_t replays;
    char id[]; /* NUL-ended */
};

struct write_request {
    struct slice who; /* a key means something only for the client and account that sent it */
    struct slice account;
    struct slice id;
    struct slice key; /* empty: none was sent, each request is an effect of its own */
    struct slice body;
};

struct writes {
    struct table id_table;
    struct table key_table;
    struct write **list; /* list[seq - 1] */
    size_t list_count, list_size;
    uint64_t effects, replays, conflicts, refused_full;
    uint64_t repeated; /* ids with more than one effect */
};

void writes_init(struct writes *w, size_t max);
void writes_reset(struct writes *w); /* also the end of it: nothing else is held */

/* *effect is the number that this write has, or had when it was first made, among those of its id.
 */
enum write_outcome writes_record(struct writes *w, const struct write_request *r, uint64_t *effect);
#endif

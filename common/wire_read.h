/*
 * wire_read.h - reading MessagePack value by value, for the wire_*.c files and what Lua packed.
 * Owns    nothing: a reader is two pointers into the caller's bytes, an item borrows from them.
 * Thread  any.
 * Errors  read_value says what is wrong with foreign bytes; inside a value that it has passed the
 *         readers cannot run out.
 * Source  github.com/msgpack/msgpack, spec.md.
 *
 * Why not msgpack-c's unpacker: it builds a tree of 24 bytes for every byte a hostile sender
 * writes, allocates for a map's claimed length before it has seen a member, and does not say where
 * in the bytes a value stood, which is what copying keys as they came needs. Reading in place
 * allocates nothing. What awq writes is written by msgpack-c, and the fuzz target holds the two
 * against each other.
 */
#ifndef AWQ_WIRE_READ_H
#define AWQ_WIRE_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/slice.h"

enum item_type {
    ITEM_NIL,
    ITEM_BOOL,
    ITEM_UINT, /* any integer >= 0, however it was written */
    ITEM_NEGINT,
    ITEM_REAL,
    ITEM_STR,
    ITEM_BIN,
    ITEM_ARR, /* its elements are the next items */
    ITEM_MAP, /* its keys and values are the next items, in turn */
    ITEM_EXT
};

struct item {
    enum item_type type;
    bool truth;
    uint64_t number; /* ITEM_UINT */
    int64_t negative;
    double real;
    struct slice bytes; /* STR, BIN, EXT */
    uint32_t count;     /* elements of an ARR, pairs of a MAP */
};

struct reader {
    const unsigned char *at, *end;
};

enum wire_fault { WIRE_FINE, WIRE_TRUNCATED, WIRE_INVALID, WIRE_DEEP };

struct reader reader_of(struct slice bytes);
/* One item: a whole value, or the head of an array or map. On a fault *r does not move. */
enum wire_fault read_item(struct reader *r, struct item *out);
/* One whole value, at most max_depth arrays and maps deep. *value (may be NULL) is its bytes. */
enum wire_fault read_value(struct reader *r, unsigned max_depth, struct slice *value);
/* The same for values that were checked already. */
struct slice read_raw(struct reader *r);

#endif

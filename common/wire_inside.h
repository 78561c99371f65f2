/*
 * wire_inside.h - reading the maps of an envelope, for wire.c, wire_map.c and wire_call.c only.
 * Owns    nothing: places, items and fields borrow from the envelope's bytes.
 * Thread  any.
 * Errors  what refuses sets an ERR_FORMAT whose text names the member, and returns false.
 */
#ifndef AWQ_WIRE_INSIDE_H
#define AWQ_WIRE_INSIDE_H

#include "common/wire.h"
#include "common/wire_read.h"

#define WIRE_DAY_MS (24 * 3600 * 1000) /* longest timeout and longest wait between retries */

/* Where in the envelope we are, so that a refusal can name it. */
struct place {
    struct envelope *e;
    struct call *call;  /* the call being read */
    int index;          /* -1 = the envelope itself, 0 = call, i = then[i - 1] */
    const char *inside; /* "", or the map inside it: "retry." */
    const char *key;    /* the member being read */
    const char *key_rule;
    bool keep; /* this is the call to make now: numbers become text */
    struct err *err;
    /* Containers that are read in their turn, whatever the order of the keys. */
    struct slice raw_call, raw_then, raw_k;
    bool has_version;
};

struct field {
    struct slice name;
    const char *rule; /* when the value is of the wrong kind */
    bool (*read)(struct place *p, const struct field *f, const struct item *it, struct slice raw);
};

static inline bool wire_is_visible(char c)
{
    return c > 0x20 && c < 0x7f;
}

/* ---- wire_map.c: a map's members, by a table of those that are known ---- */

bool wire_refuse(struct place *p, const char *rule, const char *why);
/* The same about one member of a map of headers or query members. */
bool wire_refuse_member(struct place *p, const char *rule, struct slice name, const char *why);

const struct field *wire_field_named(const struct field *fields, size_t n, struct slice name);
/* The next value, passed over whole: its head in *it, all its bytes as the answer. */
struct slice wire_read_member(struct reader *r, struct item *it);
bool wire_walk(struct place *p, struct slice map, const struct field *fields, size_t n);

bool wire_take_number(struct place *p, const struct field *f, const struct item *it, uint64_t min,
                      uint64_t max, uint64_t *out);
bool wire_take_ms(struct place *p, const struct field *f, const struct item *it, int64_t min,
                  int64_t max, int64_t *out);
/* The place of a word in a list that ends with NULL, or -1. */
int wire_word_index(const struct item *it, const char *const *words);

/* ---- wire_call.c ---- */

void wire_call_default(struct call *c);
/* Read call `index` into *to; keep = it is the one to make now. */
bool wire_read_call(struct place *p, struct slice raw, int index, struct call *to, bool keep);

#endif

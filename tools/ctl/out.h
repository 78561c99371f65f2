/*
 * out.h - what awq-ctl prints: a table or fields for people, JSON for programs, from the same
 * calls.
 * Owns    the cells of a table until its end: their width is known only then.
 * Thread  the only one.
 * Units   times are Unix milliseconds: JSON has them as they are, people get UTC and how far off.
 * Errors  out of memory ends the program: there is nothing to give back.
 *
 * Control characters never reach a terminal: they are printed as '?' outside JSON.
 */
#ifndef AWQ_CTL_OUT_H
#define AWQ_CTL_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/slice.h"

#define OUT_COLUMNS_MAX 13

struct out {
    bool json;
    int64_t now_ms; /* for "in 3 s"; 0 = not known */
    /* private */
    struct buf text;
    struct json_writer w;
    const char *const *columns;
    size_t column_count, cell, row_count;
    char **cells; /* of all rows */
    size_t cell_room;
    bool list;
    const char *key;
};

void out_init(struct out *o, bool json);
void out_deinit(struct out *o);
/* A list: columns are the JSON keys, and in upper case with blanks for _ the headings. */
void out_list(struct out *o, const char *const *columns, size_t count);
void out_row(struct out *o);
void out_list_end(struct out *o, const char *none); /* `none`: what is said when it has no rows */
void out_list_drop(struct out *o);                  /* its rows are not wanted after all */
/* One thing: fields, each a line "Key: value". */
void out_thing(struct out *o);
void out_key(struct out *o, const char *key);
void out_thing_end(struct out *o);
/* A cell of the row, or the value of the key. */
void out_text(struct out *o, struct slice s);
void out_cstr(struct out *o, const char *s);
void out_int(struct out *o, int64_t n);
void out_bool(struct out *o, bool b);
void out_time(struct out *o, int64_t unix_ms);   /* 0: never, not known */
void out_age(struct out *o, int64_t ms);         /* a duration; -1: not known */
void out_json(struct out *o, struct slice json); /* already JSON; for people as it stands */
/* What others may have written, made fit for a terminal: what is no UTF-8, controls and what turns
 * the direction of writing become '?'. */
void out_clean(struct buf *to, struct slice s);
/* A line for people; nothing in JSON. */
void out_note(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif

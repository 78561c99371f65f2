/*
 * json.h - JSON in and out: yyjson behind a small face.
 * Owns    a parsed document owns its values; they live until json_free.
 * Thread  whoever owns the document.
 * Errors  ERR_FORMAT with the byte position; ERR_NOMEM over the bounds (64 levels deep).
 * Source  RFC 8259. 64-bit integers stay exact.
 */
#ifndef AWQ_JSON_H
#define AWQ_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct json;     /* a document */
struct json_val; /* a value in it, borrowed */

enum json_type {
    JSON_NONE,
    JSON_NULL,
    JSON_BOOL,
    JSON_INT,
    JSON_REAL,
    JSON_STR,
    JSON_ARR,
    JSON_OBJ
};

struct json *json_parse(struct slice text,
                        struct err *err); /* strict RFC 8259; copies what it needs */
void json_free(struct json *doc);         /* NULL is fine; wipes (it may hold tokens) */
const struct json_val *json_root(const struct json *doc);

/* All of these take NULL and answer "not there". */
enum json_type json_type(const struct json_val *v);
const struct json_val *json_get(const struct json_val *obj, const char *key);
const struct json_val *json_get_slice(const struct json_val *obj, struct slice key);
bool json_str(const struct json_val *v, struct slice *out);
bool json_int(const struct json_val *v, int64_t *out); /* integers only */
bool json_real(const struct json_val *v, double *out); /* any number */
bool json_bool(const struct json_val *v, bool *out);
size_t json_len(const struct json_val *v); /* members or elements */
/* i-th member or element; *key is empty for arrays. O(1) amortised when walked in order from 0. */
struct json_iter {
    const struct json_val *container;
    size_t i;
    void *state[2];
};
void json_iter_init(struct json_iter *it, const struct json_val *container);
bool json_iter_next(struct json_iter *it, struct slice *key, const struct json_val **val);
bool json_write(struct buf *out, const struct json_val *v); /* compact */

/* Writing by hand: commas are put where they belong. Nothing here allocates but the buffer. */
struct json_writer {
    struct buf *out;
    unsigned depth;
    bool comma; /* the next element at this level needs one */
};
void jw_init(struct json_writer *w, struct buf *out);
void jw_obj(struct json_writer *w);
void jw_end_obj(struct json_writer *w);
void jw_arr(struct json_writer *w);
void jw_end_arr(struct json_writer *w);
void jw_key(struct json_writer *w, const char *key);
void jw_key_slice(struct json_writer *w, struct slice key);
void jw_str(struct json_writer *w,
            struct slice s); /* escapes; bytes that are not UTF-8 become U+FFFD */
void jw_cstr(struct json_writer *w, const char *s);
void jw_strs(struct json_writer *w, const char *key, const struct slice *all,
             size_t count); /* a list */
void jw_int(struct json_writer *w, int64_t v);
void jw_uint(struct json_writer *w, uint64_t v);
void jw_real(struct json_writer *w, double v);
void jw_bool(struct json_writer *w, bool v);
void jw_null(struct json_writer *w);
void jw_raw(struct json_writer *w, struct slice json); /* already JSON */

bool json_is_utf8(struct slice s);
/* Bytes of the well-formed character at p, 0 when there is none (RFC 3629 section 4); left >= 1. */
size_t json_utf8_char(const unsigned char *p, size_t left);

#endif

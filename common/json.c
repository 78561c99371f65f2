#include "common/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <yyjson.h>

#define DEPTH_MAX 64

/* ---- memory: every block is wiped when it goes, for a document may hold tokens ---- */

union block {
    size_t size;
    max_align_t align;
};

static void *block_malloc(void *ctx, size_t size)
{
    union block *b = size <= SIZE_MAX - sizeof *b ? malloc(sizeof *b + size) : NULL;

    (void)ctx;
    if (!b)
        return NULL;
    b->size = size;
    return b + 1;
}

static void block_free(void *ctx, void *ptr)
{
    union block *b = ptr;

    (void)ctx;
    if (!b)
        return;
    b--;
    sodium_memzero(b + 1, b->size);
    free(b);
}

/* Not realloc(3): it would leave the old bytes behind. */
static void *block_realloc(void *ctx, void *ptr, size_t old_size, size_t size)
{
    void *to = block_malloc(ctx, size);

    if (!to)
        return NULL;
    memcpy(to, ptr, old_size < size ? old_size : size);
    block_free(ctx, ptr);
    return to;
}

static const yyjson_alc wiping = {block_malloc, block_realloc, block_free, NULL};

/* ---- reading ---- */

static yyjson_val *in(const struct json_val *v)
{
    return (yyjson_val *)(uintptr_t)v;
}

static const struct json_val *out(const yyjson_val *v)
{
    return (const struct json_val *)v;
}

/* yyjson needs no stack however deep the text is; who walks the values does. */
static bool depth_ok(struct slice text)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > DEPTH_MAX)
                return false;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return true;
}

struct json *json_parse(struct slice text, struct err *err)
{
    yyjson_read_err why;
    yyjson_doc *doc;

    if (!depth_ok(text)) {
        err_set(err, ERR_NOMEM, "JSON is more than %d levels deep", DEPTH_MAX);
        return NULL;
    }
    /* Numbers that fit neither 64 bits nor a double are kept as written, to be passed on exactly.
     * Without INSITU the text is only read, whatever the prototype says. */
    doc = yyjson_read_opts((char *)(uintptr_t)(text.ptr ? text.ptr : ""), text.len,
                           YYJSON_READ_BIGNUM_AS_RAW, &wiping, &why);
    if (doc)
        return (struct json *)doc;
    if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        err_set(err, ERR_NOMEM, "out of memory for %zu bytes of JSON", text.len);
    else
        err_set(err, ERR_FORMAT, "not JSON: %s at byte %zu", why.msg, why.pos);
    return NULL;
}

void json_free(struct json *doc)
{
    yyjson_doc_free((yyjson_doc *)doc);
}

const struct json_val *json_root(const struct json *doc)
{
    return out(yyjson_doc_get_root((yyjson_doc *)(uintptr_t)doc));
}

enum json_type json_type(const struct json_val *v)
{
    switch (yyjson_get_type(in(v))) {
    case YYJSON_TYPE_NULL:
        return JSON_NULL;
    case YYJSON_TYPE_BOOL:
        return JSON_BOOL;
    case YYJSON_TYPE_NUM:
        return yyjson_is_int(in(v)) ? JSON_INT : JSON_REAL;
    case YYJSON_TYPE_RAW:
        return JSON_REAL;
    case YYJSON_TYPE_STR:
        return JSON_STR;
    case YYJSON_TYPE_ARR:
        return JSON_ARR;
    case YYJSON_TYPE_OBJ:
        return JSON_OBJ;
    default:
        return JSON_NONE;
    }
}

const struct json_val *json_get(const struct json_val *obj, const char *key)
{
    return json_get_slice(obj, slice_cstr(key));
}

const struct json_val *json_get_slice(const struct json_val *obj, struct slice key)
{
    return out(yyjson_obj_getn(in(obj), key.ptr ? key.ptr : "", key.len));
}

bool json_str(const struct json_val *v, struct slice *to)
{
    if (!yyjson_is_str(in(v)))
        return false;
    *to = slice_of(yyjson_get_str(in(v)), yyjson_get_len(in(v)));
    return true;
}

bool json_int(const struct json_val *v, int64_t *to)
{
    if (yyjson_is_uint(in(v))) {
        if (yyjson_get_uint(in(v)) > INT64_MAX)
            return false;
        *to = (int64_t)yyjson_get_uint(in(v));
        return true;
    }
    if (!yyjson_is_sint(in(v)))
        return false;
    *to = yyjson_get_sint(in(v));
    return true;
}

bool json_real(const struct json_val *v, double *to)
{
    double real;

    if (yyjson_is_raw(in(v)))
        real = strtod(yyjson_get_raw(in(v)), NULL);
    else if (yyjson_is_uint(in(v)))
        real = (double)yyjson_get_uint(in(v));
    else if (yyjson_is_sint(in(v)))
        real = (double)yyjson_get_sint(in(v));
    else if (yyjson_is_real(in(v)))
        real = yyjson_get_real(in(v));
    else
        return false;
    if (!isfinite(real)) /* 1e999 */
        return false;
    *to = real;
    return true;
}

bool json_bool(const struct json_val *v, bool *to)
{
    if (!yyjson_is_bool(in(v)))
        return false;
    *to = yyjson_get_bool(in(v));
    return true;
}

size_t json_len(const struct json_val *v)
{
    return yyjson_is_ctn(in(v)) ? yyjson_get_len(in(v)) : 0;
}

void json_iter_init(struct json_iter *it, const struct json_val *container)
{
    *it = (struct json_iter){.container = container};
    if (json_len(container) > 0)
        it->state[0] = unsafe_yyjson_get_first(in(container));
}

bool json_iter_next(struct json_iter *it, struct slice *key, const struct json_val **val)
{
    yyjson_val *v = it->state[0];

    if (!v || it->i >= json_len(it->container))
        return false;
    *key = SLICE_NONE;
    if (yyjson_is_obj(in(it->container))) {
        *key = slice_of(yyjson_get_str(v), yyjson_get_len(v));
        v++; /* a member's value lies right after its key */
    }
    *val = out(v);
    it->state[0] = unsafe_yyjson_get_next(v);
    it->i++;
    return true;
}

static bool write_val(struct buf *to, const struct json_val *v, yyjson_write_flag flags)
{
    size_t len = 0;
    char *text = v ? yyjson_val_write_opts(in(v), flags, &wiping, &len, NULL) : NULL;
    bool ok;

    if (!text) {
        to->failed = true;
        return false;
    }
    ok = buf_add(to, text, len);
    block_free(NULL, text);
    return ok;
}

bool json_write(struct buf *to, const struct json_val *v)
{
    return write_val(to, v, YYJSON_WRITE_NOFLAG);
}

/* ---- UTF-8 ---- */

size_t json_utf8_char(const unsigned char *p, size_t left)
{
    unsigned lo = 0x80, hi = 0xBF; /* bounds of the second byte: no overlong, surrogate, > 10FFFF */
    size_t n;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (p[0] == 0xE0)
        lo = 0xA0;
    else if (p[0] == 0xED)
        hi = 0x9F;
    else if (p[0] == 0xF0)
        lo = 0x90;
    else if (p[0] == 0xF4)
        hi = 0x8F;
    if (left < n || p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    return n;
}

#define EACH_BYTE(c) (0x0101010101010101u * (c))

/* A byte below 0x80 of v that is zero; may also answer yes for a byte next to one. */
static bool has_zero(uint64_t v)
{
    return (v - EACH_BYTE(1)) & ~v & EACH_BYTE(0x80);
}

/* Most text is plain ASCII: so many bytes of it lie ahead, looked at eight at a time. With `plain`
 * they need no escape in JSON either (RFC 8259 section 7). */
static size_t ascii_ahead(const unsigned char *p, size_t len, bool plain)
{
    size_t i = 0;
    uint64_t v;

    for (; len - i >= sizeof v; i += sizeof v) {
        memcpy(&v, p + i, sizeof v);
        if (v & EACH_BYTE(0x80))
            break;
        if (plain && ((~v & (v - EACH_BYTE(0x20)) & EACH_BYTE(0x80)) ||
                      has_zero(v ^ EACH_BYTE('"')) || has_zero(v ^ EACH_BYTE('\\'))))
            break;
    }
    return i;
}

bool json_is_utf8(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t n;

    for (size_t i = 0; i < s.len; i += n) {
        n = ascii_ahead(p + i, s.len - i, false);
        if (n > 0)
            continue;
        n = json_utf8_char(p + i, s.len - i);
        if (n == 0)
            return false;
    }
    return true;
}

/* ---- writing by hand ---- */

void jw_init(struct json_writer *w, struct buf *to)
{
    *w = (struct json_writer){.out = to};
}

/* Before an element: the comma it may need. After it, the next one needs one. */
static void separate(struct json_writer *w)
{
    if (w->comma)
        buf_add_char(w->out, ',');
    w->comma = true;
}

static void open_with(struct json_writer *w, char c)
{
    separate(w);
    buf_add_char(w->out, c);
    w->depth++;
    w->comma = false;
}

static void close_with(struct json_writer *w, char c)
{
    buf_add_char(w->out, c);
    w->depth--;
    w->comma = true;
}

void jw_obj(struct json_writer *w)
{
    open_with(w, '{');
}

void jw_end_obj(struct json_writer *w)
{
    close_with(w, '}');
}

void jw_arr(struct json_writer *w)
{
    open_with(w, '[');
}

void jw_end_arr(struct json_writer *w)
{
    close_with(w, ']');
}

static void add_escape(struct buf *to, unsigned char c)
{
    static const char letters[] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                   ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

    if (c < sizeof letters && letters[c])
        buf_add(to, (char[]){'\\', letters[c]}, 2);
    else
        buf_addf(to, "\\u%04x", c);
}

static void add_string(struct buf *to, struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t done = 0, i = 0; /* s up to `done` is written */

    buf_add_char(to, '"');
    while (i < s.len) {
        size_t n = ascii_ahead(p + i, s.len - i, true);

        if (n > 0) {
            i += n;
            continue;
        }
        n = json_utf8_char(p + i, s.len - i);
        if (n > 0 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\') {
            i += n;
            continue;
        }
        buf_add(to, p + done, i - done);
        if (n == 0)
            buf_add_cstr(to, "\xEF\xBF\xBD");
        else
            add_escape(to, p[i]);
        done = ++i;
    }
    if (s.len > done)
        buf_add(to, p + done, s.len - done);
    buf_add_char(to, '"');
}

void jw_key(struct json_writer *w, const char *key)
{
    jw_key_slice(w, slice_cstr(key));
}

void jw_key_slice(struct json_writer *w, struct slice key)
{
    separate(w);
    add_string(w->out, key);
    buf_add_char(w->out, ':');
    w->comma = false;
}

void jw_str(struct json_writer *w, struct slice s)
{
    separate(w);
    add_string(w->out, s);
}

void jw_cstr(struct json_writer *w, const char *s)
{
    jw_str(w, slice_cstr(s));
}

/* Digits by hand: printf is several times slower, and logs and results are full of numbers. */
static void add_digits(struct buf *to, uint64_t v, bool minus)
{
    char text[21];
    size_t at = sizeof text;

    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    if (minus)
        text[--at] = '-';
    buf_add(to, text + at, sizeof text - at);
}

void jw_strs(struct json_writer *w, const char *key, const struct slice *all, size_t count)
{
    jw_key(w, key);
    jw_arr(w);
    for (size_t i = 0; i < count; i++)
        jw_str(w, all[i]);
    jw_end_arr(w);
}

void jw_int(struct json_writer *w, int64_t v)
{
    separate(w);
    add_digits(w->out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
}

void jw_uint(struct json_writer *w, uint64_t v)
{
    separate(w);
    add_digits(w->out, v, false);
}

void jw_real(struct json_writer *w, double v)
{
    char text[32];

    if (!isfinite(v)) { /* JSON has no word for these */
        jw_null(w);
        return;
    }
    separate(w);
    for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back the same */
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_add_cstr(w->out, text);
}

void jw_bool(struct json_writer *w, bool v)
{
    separate(w);
    buf_add_cstr(w->out, v ? "true" : "false");
}

void jw_null(struct json_writer *w)
{
    separate(w);
    buf_add_cstr(w->out, "null");
}

void jw_raw(struct json_writer *w, struct slice json)
{
    separate(w);
    buf_add_slice(w->out, json);
}

#include "common/expand.h"

#include <stdlib.h>
#include <string.h>
#include "common/char.h"
#include "common/json.h"
#include "common/wire.h"

struct expand {
    struct slice input;
    struct json *doc; /* NULL until the first expression */
};

/* How a value is put into its surroundings. */
typedef void put_fn(struct buf *out, struct slice text);

struct expand *expand_new(struct slice input)
{
    struct expand *x = calloc(1, sizeof *x);

    if (x)
        x->input = input;
    return x;
}

void expand_free(struct expand *x)
{
    if (!x)
        return;
    json_free(x->doc);
    free(x);
}

/* ---- finding expressions ---- */

static bool starts_name(char c)
{
    return char_is_letter(c) || c == '_';
}

/* The length of `{name}` at s.ptr[at], 0 when there is none; *name is what stands inside. */
static size_t expression_at(struct slice s, size_t at, struct slice *name)
{
    size_t i = at + 1;

    if (s.ptr[at] != '{' || i >= s.len || !starts_name(s.ptr[i]))
        return 0;
    while (i < s.len && (starts_name(s.ptr[i]) || char_is_digit(s.ptr[i]) || s.ptr[i] == '-'))
        i++;
    if (i >= s.len || s.ptr[i] != '}')
        return 0;
    *name = slice_sub(s, at + 1, i - at - 1);
    return i + 1 - at;
}

/* `{{name}}` stands for `{name}` itself: its length, or 0. */
static size_t escaped_at(struct slice s, size_t at, struct slice *name)
{
    size_t n;

    if (at + 1 >= s.len || s.ptr[at] != '{')
        return 0;
    n = expression_at(s, at + 1, name);
    return n > 0 && at + 1 + n < s.len && s.ptr[at + 1 + n] == '}' ? n + 2 : 0;
}

/* ---- values ---- */

/* A copy of an input's property name that may be shown: it is ASCII, but of any length. */
#define SHOW(name) (int)((name).len < 64 ? (name).len : 64), (name).ptr

static const struct json_val *property(struct expand *x, struct slice name, struct err *err)
{
    const struct json_val *v;

    if (!x->doc)
        x->doc = json_parse(x->input, NULL);
    if (json_type(json_root(x->doc)) != JSON_OBJ) {
        err_rule(err, ERR_FORMAT, "expand_input_not_object",
                 "{%.*s}: the output of the step before is not a JSON object", SHOW(name));
        return NULL;
    }
    v = json_get_slice(json_root(x->doc), name);
    if (!v)
        err_rule(err, ERR_FORMAT, "expand_property_missing",
                 "{%.*s}: the output of the step before has no such property", SHOW(name));
    return v;
}

/* A property as it stands in text. */
static bool put_property(struct expand *x, struct slice name, put_fn *put, struct buf *out,
                         struct err *err)
{
    const struct json_val *v = property(x, name, err);
    struct slice text;
    struct buf spelled;

    if (!v)
        return false;
    switch (json_type(v)) {
    case JSON_STR:
        if (json_str(v, &text))
            put(out, text);
        return true;
    case JSON_NULL:
        return true;
    case JSON_BOOL:
    case JSON_INT:
    case JSON_REAL:
        buf_init(&spelled, out->max);
        if (json_write(&spelled, v))
            put(out, buf_slice(&spelled));
        else
            out->failed = true;
        buf_wipe(&spelled);
        return true;
    default:
        return err_rule(err, ERR_FORMAT, "expand_value_not_scalar",
                        "{%.*s}: an object or an array has no place in text", SHOW(name));
    }
}

static void put_plain(struct buf *out, struct slice text)
{
    buf_add_slice(out, text);
}

/* All but the unreserved characters of RFC 3986 section 2.3. */
static void put_percent(struct buf *out, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (starts_name((char)c) || char_is_digit((char)c) || c == '-' || c == '.' || c == '~')
            buf_add_char(out, (char)c);
        else
            buf_add(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

/* ---- text ---- */

/* The text with its expressions replaced; what was put in is not looked at again. */
static bool replace(struct expand *x, struct slice in, put_fn *put, struct buf *out,
                    struct err *err)
{
    size_t i = 0;

    while (i < in.len) {
        size_t plain = slice_find(slice_sub(in, i, in.len), '{'), n;
        struct slice name;

        buf_add_slice(out, slice_sub(in, i, plain));
        i += plain;
        if (i == in.len)
            break;
        if ((n = escaped_at(in, i, &name)) > 0) {
            buf_add_slice(out, slice_sub(in, i + 1, n - 2));
        } else if ((n = expression_at(in, i, &name)) > 0) {
            if (!put_property(x, name, put, out, err))
                return false;
        } else {
            n = 1;
            buf_add_char(out, '{');
        }
        i += n;
    }
    return true;
}

static bool too_big(const struct buf *out, struct err *err)
{
    return err_rule(err, ERR_FORMAT, "expand_too_big",
                    "with its expressions replaced it takes more than %zu bytes", out->max);
}

/* On failure the output is as it was. */
static bool finish(struct buf *out, size_t start, bool ok, struct err *err)
{
    if (ok && !buf_ok(out))
        ok = too_big(out, err);
    if (!ok && out->len > start) {
        out->len = start;
        out->ptr[start] = '\0';
    }
    return ok;
}

static bool expand_with(struct expand *x, struct slice in, put_fn *put, struct buf *out,
                        struct err *err)
{
    size_t start = out->len;
    bool ok = true;

    if (!x->input.ptr) /* the first call: taken as it is */
        buf_add_slice(out, in);
    else
        ok = replace(x, in, put, out, err);
    return finish(out, start, ok, err);
}

bool expand_text(struct expand *x, struct slice in, struct buf *out, struct err *err)
{
    return expand_with(x, in, put_plain, out, err);
}

bool expand_url(struct expand *x, struct slice in, struct buf *out, struct err *err)
{
    return expand_with(x, in, put_percent, out, err);
}

/* ---- JSON bodies ---- */

struct body {
    struct expand *x;
    struct err *err;
};

/* A string with expressions inside, as a JSON string. */
static bool write_mixed(struct body *b, struct slice str, struct buf *json)
{
    struct json_writer w;
    struct buf text;
    bool ok;

    buf_init(&text, json->max);
    ok = expand_text(b->x, str, &text, b->err);
    if (ok) {
        jw_init(&w, json);
        jw_str(&w, buf_slice(&text));
    }
    buf_wipe(&text);
    return ok;
}

static bool on_string(void *owner, struct slice str, struct buf *json, bool *failed)
{
    struct body *b = owner;
    const struct json_val *v;
    struct slice name;

    if (slice_find(str, '{') == str.len)
        return false;
    if (expression_at(str, 0, &name) == str.len) {
        v = property(b->x, name, b->err);
        *failed = !v;
        if (v)
            json_write(json, v);
        return true;
    }
    *failed = !write_mixed(b, str, json);
    return true;
}

bool expand_json_body(struct expand *x, struct slice value, struct buf *out, struct err *err)
{
    struct err why = {0};
    struct body b = {.x = x, .err = &why};

    if (wire_value_to_json(out, value, x->input.ptr ? on_string : NULL, &b, &why))
        return true;
    if (!buf_ok(out))
        return too_big(out, err);
    if (err)
        *err = why;
    return false;
}

/* ---- the whole URL of a call ---- */

static bool add_query(struct expand *x, const struct call *call, char sep, struct buf *out,
                      struct err *err)
{
    struct buf text;
    bool ok = true;

    buf_init(&text, out->max);
    for (size_t i = 0; ok && i < call->query_count; i++) {
        buf_clear(&text);
        ok = expand_text(x, call->query[i].value, &text, err);
        if (sep)
            buf_add_char(out, sep);
        put_percent(out, call->query[i].name);
        buf_add_char(out, '=');
        put_percent(out, buf_slice(&text));
        sep = '&';
    }
    buf_wipe(&text);
    return ok;
}

/* Members of `query` go behind those that the URL has, and before a fragment. Values that were put
 * in are encoded, so the first '?' and '#' are the URL's own. */
bool expand_call_url(struct expand *x, const struct call *call, struct buf *out, struct err *err)
{
    size_t start = out->len, mark;
    struct slice base, path;
    struct buf url;
    char sep = '?';
    bool ok;

    buf_init(&url, out->max);
    ok = expand_url(x, call->url, &url, err);
    base = buf_slice(&url);
    mark = slice_find(base, '#');
    path = slice_sub(base, 0, mark);
    if (slice_find(path, '?') < path.len)
        sep = path.ptr[path.len - 1] == '?' || path.ptr[path.len - 1] == '&' ? '\0' : '&';
    if (ok) {
        buf_add_slice(out, path);
        ok = add_query(x, call, sep, out, err);
        buf_add_slice(out, slice_sub(base, mark, base.len));
    }
    buf_wipe(&url);
    return finish(out, start, ok, err);
}

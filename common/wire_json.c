#include <stdio.h>
#include <stdlib.h>
#include <math.h>
#include <sodium.h>
#include "common/json.h"
#include "common/wire.h"
#include "common/wire_pack.h"
#include "common/wire_read.h"

/* ---- MessagePack to JSON ---- */

/* One walk does both: check (out NULL) and write. It recurses as deep as the value, which the
 * bounds of read_value keep at WIRE_MAX_DEPTH. */
struct walk {
    struct reader r;
    struct buf *out; /* NULL = only look */
    wire_expand *expand;
    void *owner;
    struct err *err;
};

static bool refuse(struct walk *w, const char *why)
{
    return err_rule(w->err, ERR_FORMAT, "call_value_invalid", "%s", why);
}

static void put(struct walk *w, char c)
{
    if (w->out)
        buf_add_char(w->out, c);
}

static bool write_text(struct walk *w, struct slice s)
{
    struct json_writer jw;

    if (!json_is_utf8(s))
        return refuse(w, "holds a string that is not UTF-8");
    if (w->out) {
        jw_init(&jw, w->out);
        jw_str(&jw, s);
    }
    return true;
}

static bool write_str(struct walk *w, struct slice s)
{
    bool failed = false;

    if (w->out && w->expand && w->expand(w->owner, s, w->out, &failed))
        return !failed;
    return !failed && write_text(w, s);
}

static bool write_scalar(struct walk *w, const struct item *it)
{
    struct json_writer jw;

    if (it->type == ITEM_BIN || it->type == ITEM_EXT)
        return refuse(w, "holds binary or an extension, which JSON cannot carry");
    if (it->type == ITEM_REAL && !isfinite(it->real))
        return refuse(w, "holds a number that JSON cannot carry");
    if (!w->out)
        return true;
    jw_init(&jw, w->out);
    if (it->type == ITEM_NIL)
        jw_null(&jw);
    else if (it->type == ITEM_BOOL)
        jw_bool(&jw, it->truth);
    else if (it->type == ITEM_UINT)
        jw_uint(&jw, it->number);
    else if (it->type == ITEM_NEGINT)
        jw_int(&jw, it->negative);
    else
        jw_real(&jw, it->real);
    return true;
}

static bool write_value(struct walk *w);

static bool write_map(struct walk *w, uint32_t count)
{
    struct item key;

    put(w, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            put(w, ',');
        if (read_item(&w->r, &key) != WIRE_FINE || key.type != ITEM_STR)
            return refuse(w, "holds a map key that is not a string");
        if (!write_text(w, key.bytes))
            return false;
        put(w, ':');
        if (!write_value(w))
            return false;
    }
    put(w, '}');
    return true;
}

static bool write_array(struct walk *w, uint32_t count)
{
    put(w, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            put(w, ',');
        if (!write_value(w))
            return false;
    }
    put(w, ']');
    return true;
}

static bool write_value(struct walk *w)
{
    struct item it;

    if (read_item(&w->r, &it) != WIRE_FINE)
        return refuse(w, "is cut short");
    if (it.type == ITEM_MAP)
        return write_map(w, it.count);
    if (it.type == ITEM_ARR)
        return write_array(w, it.count);
    return it.type == ITEM_STR ? write_str(w, it.bytes) : write_scalar(w, &it);
}

static bool walk_value(struct walk *w, struct slice value)
{
    struct reader whole = reader_of(value);

    w->r = whole;
    if (read_value(&whole, WIRE_MAX_DEPTH, NULL) != WIRE_FINE || whole.at != whole.end)
        return refuse(w, "is not one MessagePack value");
    return write_value(w);
}

bool wire_value_check(struct slice value, struct err *err)
{
    struct walk w = {.err = err};

    return walk_value(&w, value);
}

bool wire_value_to_json(struct buf *out, struct slice value, wire_expand *expand, void *owner,
                        struct err *err)
{
    struct walk w = {.out = out, .expand = expand, .owner = owner, .err = err};
    size_t start = out->len;

    if (walk_value(&w, value)) {
        if (buf_ok(out))
            return true;
        err_set(err, ERR_NOMEM, "the JSON text takes more than %zu bytes", out->max);
    }
    pack_undo(out, start);
    return false;
}

/* ---- JSON to MessagePack ---- */

static bool pack_number(msgpack_packer *pk, const struct json_val *v, struct err *err)
{
    char text[64];
    struct buf digits;
    int64_t i;
    uint64_t u;
    double d;
    bool fits;

    if (json_int(v, &i)) {
        msgpack_pack_int64(pk, i);
        return true;
    }
    /* Over INT64_MAX, but perhaps within 64 bits. */
    buf_init(&digits, sizeof text);
    fits =
        json_type(v) == JSON_INT && json_write(&digits, v) && slice_to_u64(buf_slice(&digits), &u);
    buf_deinit(&digits);
    if (fits)
        msgpack_pack_uint64(pk, u);
    else if (json_real(v, &d))
        msgpack_pack_double(pk, d);
    else
        return err_rule(err, ERR_FORMAT, "call_value_invalid",
                        "a number is too big for 64 bits and for a double");
    return true;
}

static bool pack_json(msgpack_packer *pk, const struct json_val *v, struct err *err)
{
    const struct json_val *member;
    struct json_iter it;
    struct slice key, text;
    bool yes, map = json_type(v) == JSON_OBJ;

    switch (json_type(v)) {
    case JSON_BOOL:
        if (json_bool(v, &yes) && yes)
            msgpack_pack_true(pk);
        else
            msgpack_pack_false(pk);
        return true;
    case JSON_INT:
    case JSON_REAL:
        return pack_number(pk, v, err);
    case JSON_STR:
        if (json_str(v, &text))
            pack_str(pk, text);
        return true;
    case JSON_ARR:
    case JSON_OBJ:
        if (map)
            msgpack_pack_map(pk, json_len(v));
        else
            msgpack_pack_array(pk, json_len(v));
        for (json_iter_init(&it, v); json_iter_next(&it, &key, &member);) {
            if (map)
                pack_str(pk, key);
            if (!pack_json(pk, member, err))
                return false;
        }
        return true;
    default:
        msgpack_pack_nil(pk);
        return true;
    }
}

typedef bool pack_fn(msgpack_packer *pk, const struct json_val *v, struct err *err);

/* Adds what `pack` makes of the text, or leaves *out as it was. */
static bool add_from_json(struct buf *out, struct slice json, pack_fn *pack, struct err *err)
{
    struct json *doc = json_parse(json, err);
    msgpack_packer pk = pack_into(out);
    size_t start = out->len;
    bool ok;

    if (!doc)
        return false;
    ok = pack(&pk, json_root(doc), err);
    json_free(doc);
    if (ok && !buf_ok(out))
        ok = err_rule(err, ERR_NOMEM, "envelope_too_big", "it takes more than %zu bytes", out->max);
    if (!ok)
        pack_undo(out, start);
    return ok;
}

bool wire_json_to_value(struct buf *out, struct slice json, struct err *err)
{
    return add_from_json(out, json, pack_json, err);
}

/* ---- a job as people write it ---- */

/* Text to bytes, as a bin. */
static bool pack_base64(msgpack_packer *pk, const struct json_val *v, struct err *err)
{
    struct slice text;
    unsigned char *bytes;
    size_t len = 0;
    bool ok = false;

    if (!json_str(v, &text))
        return err_rule(err, ERR_FORMAT, "call_value_invalid", "body_base64 must be a string");
    bytes = malloc(text.len + 1);
    if (!bytes)
        return err_set(err, ERR_NOMEM, "out of memory for a body");
    if (sodium_base642bin(bytes, text.len + 1, text.ptr, text.len, "\r\n ", &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) == 0) {
        pack_bin(pk, slice_of(bytes, len));
        ok = true;
    } else {
        err_rule(err, ERR_FORMAT, "call_value_invalid", "body_base64 is not base64 (RFC 4648 4)");
    }
    sodium_memzero(bytes, text.len + 1);
    free(bytes);
    return ok;
}

static bool pack_call(msgpack_packer *pk, const struct json_val *call, struct err *err)
{
    const struct json_val *v;
    struct json_iter it;
    struct slice key;

    if (json_type(call) != JSON_OBJ)
        return pack_json(pk, call, err); /* refused by the decoder, with its place */
    msgpack_pack_map(pk, json_len(call));
    for (json_iter_init(&it, call); json_iter_next(&it, &key, &v);) {
        bool base64 = slice_is(key, "body_base64");

        pack_str(pk, base64 ? SLICE_LIT("body") : key);
        if (!(base64 ? pack_base64(pk, v, err) : pack_json(pk, v, err)))
            return false;
    }
    return true;
}

static bool pack_then(msgpack_packer *pk, const struct json_val *then, struct err *err)
{
    const struct json_val *call;
    struct json_iter it;
    struct slice key;

    if (json_type(then) != JSON_ARR)
        return pack_json(pk, then, err);
    msgpack_pack_array(pk, json_len(then));
    for (json_iter_init(&it, then); json_iter_next(&it, &key, &call);) {
        if (!pack_call(pk, call, err))
            return false;
    }
    return true;
}

static bool pack_job(msgpack_packer *pk, const struct json_val *job, struct err *err)
{
    bool has_version = json_get(job, "v") != NULL;
    const struct json_val *v;
    struct json_iter it;
    struct slice key;

    if (json_type(job) != JSON_OBJ)
        return err_rule(err, ERR_FORMAT, "envelope_not_a_map", "the job is not a JSON object");
    msgpack_pack_map(pk, json_len(job) + (has_version ? 0 : 1));
    if (!has_version) {
        pack_key(pk, "v");
        msgpack_pack_int(pk, WIRE_VERSION);
    }
    for (json_iter_init(&it, job); json_iter_next(&it, &key, &v);) {
        pack_str(pk, key);
        if (!(slice_is(key, "call")   ? pack_call(pk, v, err)
              : slice_is(key, "then") ? pack_then(pk, v, err)
                                      : pack_json(pk, v, err)))
            return false;
    }
    return true;
}

/* What the decoder would refuse is refused here, before it lies on a queue. */
static bool decodes(struct slice bytes, size_t max, struct err *err)
{
    struct envelope e;
    bool ok;

    envelope_init(&e);
    ok = envelope_decode(&e, bytes, max, err);
    envelope_deinit(&e);
    return ok;
}

bool wire_from_json(struct buf *out, struct slice json, struct err *err)
{
    size_t start = out->len;

    if (!add_from_json(out, json, pack_job, err))
        return false;
    if (decodes(slice_sub(buf_slice(out), start, out->len), out->max, err))
        return true;
    pack_undo(out, start);
    return false;
}

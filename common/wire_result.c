#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/json.h"
#include "common/wire.h"
#include "common/wire_pack.h"
#include "common/wire_read.h"

#define ERROR_URN "urn:awq:error:" /* + code: the problem's type (RFC 9457 section 3.1.1) */

static const char *const states[] = {
    [RESULT_DONE] = "done",       [RESULT_FAILED] = "failed",       [RESULT_DEAD] = "dead",
    [RESULT_EXPIRED] = "expired", [RESULT_CANCELLED] = "cancelled",
};

const char *result_state_name(enum result_state s)
{
    return (size_t)s < ARRAY_LEN(states) ? states[s] : "unknown";
}

/* ---- encoding ---- */

/* A str must be UTF-8: other languages' decoders refuse the whole result for one bad byte. */
static void pack_text(msgpack_packer *pk, struct slice s)
{
    struct buf *out = pk->data;
    size_t from = out->len;

    pack_str(pk, s);
    if (json_is_utf8(s) || !buf_ok(out))
        return;
    for (size_t i = out->len - s.len; i < out->len && i >= from; i++) {
        if (out->ptr[i] & 0x80)
            out->ptr[i] = '?';
    }
}

static void pack_member(msgpack_packer *pk, const char *key, struct slice s)
{
    if (s.len == 0)
        return;
    pack_key(pk, key);
    pack_text(pk, s);
}

static void pack_time(msgpack_packer *pk, const char *key, int64_t ms)
{
    if (ms <= 0)
        return;
    pack_key(pk, key);
    msgpack_pack_int64(pk, ms);
}

static size_t some(struct slice s)
{
    return s.len > 0 ? 1 : 0;
}

static void pack_error(msgpack_packer *pk, const struct result *r)
{
    struct buf text;

    pack_key(pk, "error");
    msgpack_pack_map(pk, 3 + some(r->error_title) + some(r->error_detail) + (r->status > 0));
    buf_init(&text, 1024);
    pack_key(pk, "type");
    buf_addf(&text, ERROR_URN "%.*s", SLICE_FMT(r->error_code));
    pack_text(pk, buf_slice(&text));
    pack_member(pk, "title", r->error_title);
    if (r->status > 0) {
        pack_key(pk, "status");
        msgpack_pack_int(pk, r->status);
    }
    pack_member(pk, "detail", r->error_detail);
    buf_clear(&text);
    buf_addf(&text, "%.*s/%u", SLICE_FMT(r->id), r->step);
    pack_key(pk, "instance");
    pack_text(pk, buf_slice(&text));
    pack_key(pk, "code");
    pack_text(pk, r->error_code);
    buf_deinit(&text);
}

static void pack_times(msgpack_packer *pk, const struct result *r)
{
    msgpack_pack_map(pk, (size_t)(r->times.queued > 0) + (r->times.started > 0) +
                             (r->times.sent > 0) + (r->times.answered > 0) +
                             (r->times.committed > 0));
    pack_time(pk, "queued", r->times.queued);
    pack_time(pk, "started", r->times.started);
    pack_time(pk, "sent", r->times.sent);
    pack_time(pk, "answered", r->times.answered);
    pack_time(pk, "committed", r->times.committed);
}

static void pack_output(msgpack_packer *pk, const struct result *r)
{
    pack_key(pk, "output");
    if (r->output_is_bin || !json_is_utf8(r->output))
        pack_bin(pk, r->output);
    else
        pack_str(pk, r->output);
    pack_member(pk, "type", r->output_type);
}

bool result_encode(struct buf *out, const struct result *r)
{
    msgpack_packer pk = pack_into(out);
    bool has_output = r->output_type.len > 0, has_error = r->error_code.len > 0;
    struct slice run = r->run.len > 0 ? r->run : r->id;
    size_t start = out->len;

    msgpack_pack_map(&pk, 7 + some(r->id) + some(run) - 1 + (r->status > 0) + (has_output ? 2 : 0) +
                              has_error + some(r->worker) + some(r->tp) + r->redacted);
    pack_member(&pk, "id", r->id);
    pack_member(&pk, "run", run);
    pack_key(&pk, "step");
    msgpack_pack_uint32(&pk, r->step);
    pack_key(&pk, "seq");
    msgpack_pack_uint64(&pk, r->seq);
    pack_key(&pk, "end");
    (r->end ? msgpack_pack_true : msgpack_pack_false)(&pk);
    pack_key(&pk, "state");
    pack_key(&pk, result_state_name(r->state));
    if (r->status > 0) {
        pack_key(&pk, "status");
        msgpack_pack_int(&pk, r->status);
    }
    if (has_output)
        pack_output(&pk, r);
    if (has_error)
        pack_error(&pk, r);
    pack_key(&pk, "attempts");
    msgpack_pack_uint32(&pk, r->attempts);
    pack_key(&pk, "times");
    pack_times(&pk, r);
    pack_member(&pk, "worker", r->worker);
    pack_member(&pk, "tp", r->tp);
    if (r->redacted) {
        pack_key(&pk, "redacted");
        msgpack_pack_true(&pk);
    }
    if (!buf_ok(out))
        pack_undo(out, start);
    return buf_ok(out);
}

/* ---- decoding ---- */

static bool refuse(struct err *err, struct slice key)
{
    return err_rule(err, ERR_FORMAT, "result_invalid", "a result's member %.*s cannot be read",
                    (int)(key.len < 32 ? key.len : 32), key.len > 0 ? key.ptr : "");
}

static bool as_text(const struct item *it, struct slice *out)
{
    if (it->type == ITEM_STR)
        *out = it->bytes;
    return it->type == ITEM_STR;
}

static bool as_number(const struct item *it, uint64_t max, uint64_t *out)
{
    if (it->type == ITEM_UINT && it->number <= max)
        *out = it->number;
    return it->type == ITEM_UINT && it->number <= max;
}

static bool as_u32(const struct item *it, uint32_t *out)
{
    uint64_t v = 0;

    if (!as_number(it, UINT32_MAX, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool as_bool(const struct item *it, bool *out)
{
    if (it->type == ITEM_BOOL)
        *out = it->truth;
    return it->type == ITEM_BOOL;
}

static bool as_state(const struct item *it, enum result_state *out)
{
    for (size_t i = 0; it->type == ITEM_STR && i < ARRAY_LEN(states); i++) {
        if (slice_is(it->bytes, states[i])) {
            *out = (enum result_state)i;
            return true;
        }
    }
    return false;
}

static bool as_time(const struct item *it, int64_t *out)
{
    uint64_t v = 0;

    if (!as_number(it, INT64_MAX, &v))
        return false;
    *out = (int64_t)v;
    return true;
}

typedef bool on_member(struct result *r, struct slice key, const struct item *it, struct slice raw);

/* Members that we do not know are passed over: a newer awq may write more. */
static bool walk(struct result *r, struct slice map, on_member *read, struct err *err)
{
    struct reader at, in = reader_of(map);
    struct item head, key, value;

    if (read_item(&in, &head) != WIRE_FINE || head.type != ITEM_MAP)
        return refuse(err, SLICE_LIT("map"));
    for (uint32_t i = 0; i < head.count; i++) {
        struct slice raw;

        if (read_item(&in, &key) != WIRE_FINE || key.type != ITEM_STR)
            return refuse(err, SLICE_LIT("key"));
        at = in;
        raw = read_raw(&in);
        if (read_item(&at, &value) != WIRE_FINE || !read(r, key.bytes, &value, raw))
            return refuse(err, key.bytes);
    }
    return true;
}

static bool on_error(struct result *r, struct slice key, const struct item *it, struct slice raw)
{
    (void)raw;
    if (slice_is(key, "code"))
        return as_text(it, &r->error_code);
    if (slice_is(key, "title"))
        return as_text(it, &r->error_title);
    if (slice_is(key, "detail"))
        return as_text(it, &r->error_detail);
    return true; /* type, status and instance follow from the rest */
}

static bool on_time(struct result *r, struct slice key, const struct item *it, struct slice raw)
{
    (void)raw;
    if (slice_is(key, "queued"))
        return as_time(it, &r->times.queued);
    if (slice_is(key, "started"))
        return as_time(it, &r->times.started);
    if (slice_is(key, "sent"))
        return as_time(it, &r->times.sent);
    if (slice_is(key, "answered"))
        return as_time(it, &r->times.answered);
    if (slice_is(key, "committed"))
        return as_time(it, &r->times.committed);
    return true;
}

static bool as_status(const struct item *it, int *out)
{
    uint64_t v = 0;

    if (!as_number(it, 999, &v))
        return false;
    *out = (int)v;
    return true;
}

static bool on_result(struct result *r, struct slice key, const struct item *it, struct slice raw)
{
    if (slice_is(key, "id"))
        return as_text(it, &r->id);
    if (slice_is(key, "run"))
        return as_text(it, &r->run);
    if (slice_is(key, "step"))
        return as_u32(it, &r->step);
    if (slice_is(key, "seq"))
        return as_number(it, UINT64_MAX, &r->seq);
    if (slice_is(key, "end"))
        return as_bool(it, &r->end);
    if (slice_is(key, "state"))
        return as_state(it, &r->state);
    if (slice_is(key, "status"))
        return as_status(it, &r->status);
    if (slice_is(key, "output")) {
        r->output = it->bytes;
        r->output_is_bin = it->type == ITEM_BIN;
        return it->type == ITEM_BIN || it->type == ITEM_STR;
    }
    if (slice_is(key, "type"))
        return as_text(it, &r->output_type);
    if (slice_is(key, "error"))
        return it->type == ITEM_MAP && walk(r, raw, on_error, NULL);
    if (slice_is(key, "attempts"))
        return as_u32(it, &r->attempts);
    if (slice_is(key, "times"))
        return it->type == ITEM_MAP && walk(r, raw, on_time, NULL);
    if (slice_is(key, "worker"))
        return as_text(it, &r->worker);
    if (slice_is(key, "tp"))
        return as_text(it, &r->tp);
    if (slice_is(key, "redacted"))
        return as_bool(it, &r->redacted);
    return true;
}

bool result_decode(struct result *r, struct slice bytes, struct err *err)
{
    struct reader whole = reader_of(bytes);
    struct result got = {0};

    if (read_value(&whole, WIRE_MAX_DEPTH, NULL) != WIRE_FINE || whole.at != whole.end)
        return err_rule(err, ERR_FORMAT, "result_invalid", "a result is not one MessagePack value");
    if (!walk(&got, bytes, on_result, err))
        return false;
    *r = got;
    return true;
}

/* ---- for people ---- */

static void jw_member(struct json_writer *w, const char *key, struct slice s)
{
    if (s.len == 0)
        return;
    jw_key(w, key);
    jw_str(w, s);
}

static void jw_time(struct json_writer *w, const char *key, int64_t ms)
{
    if (ms <= 0)
        return;
    jw_key(w, key);
    jw_int(w, ms);
}

/* application/json, application/problem+json; charset=utf-8 (RFC 6839 section 3.1) */
static bool is_json_type(struct slice type)
{
    struct slice name = slice_trim(slice_sub(type, 0, slice_find(type, ';')));

    return slice_eq_nocase(name, SLICE_LIT("application/json")) ||
           (name.len > 5 && slice_eq_nocase(slice_sub(name, name.len - 5, 5), SLICE_LIT("+json")));
}

static bool write_base64(struct json_writer *w, struct slice bytes)
{
    size_t size = sodium_base64_ENCODED_LEN(bytes.len, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(size);

    if (!text)
        return false;
    sodium_bin2base64(text, size, (const unsigned char *)(bytes.ptr ? bytes.ptr : ""), bytes.len,
                      sodium_base64_VARIANT_ORIGINAL);
    jw_key(w, "output_base64");
    jw_cstr(w, text);
    sodium_memzero(text, size);
    free(text);
    return true;
}

static bool write_output(struct json_writer *w, const struct result *r)
{
    struct json *doc = is_json_type(r->output_type) ? json_parse(r->output, NULL) : NULL;
    struct buf text;
    bool ok = true;

    if (doc) {
        buf_init(&text, w->out->max);
        jw_key(w, "output");
        ok = json_write(&text, json_root(doc));
        jw_raw(w, buf_slice(&text));
        buf_wipe(&text);
        json_free(doc);
    } else if (json_is_utf8(r->output)) {
        jw_key(w, "output");
        jw_str(w, r->output);
    } else {
        ok = write_base64(w, r->output);
    }
    jw_member(w, "type", r->output_type);
    return ok;
}

static void write_error(struct json_writer *w, const struct result *r)
{
    struct buf text;

    buf_init(&text, 1024);
    jw_key(w, "error");
    jw_obj(w);
    buf_addf(&text, ERROR_URN "%.*s", SLICE_FMT(r->error_code));
    jw_member(w, "type", buf_slice(&text));
    jw_member(w, "title", r->error_title);
    if (r->status > 0) {
        jw_key(w, "status");
        jw_int(w, r->status);
    }
    jw_member(w, "detail", r->error_detail);
    buf_clear(&text);
    buf_addf(&text, "%.*s/%u", SLICE_FMT(r->id), r->step);
    jw_member(w, "instance", buf_slice(&text));
    jw_member(w, "code", r->error_code);
    jw_end_obj(w);
    buf_deinit(&text);
}

static void write_times(struct json_writer *w, const struct result *r)
{
    jw_key(w, "times");
    jw_obj(w);
    jw_time(w, "queued", r->times.queued);
    jw_time(w, "started", r->times.started);
    jw_time(w, "sent", r->times.sent);
    jw_time(w, "answered", r->times.answered);
    jw_time(w, "committed", r->times.committed);
    jw_end_obj(w);
}

bool result_to_json(struct buf *out, const struct result *r)
{
    struct json_writer w;
    bool ok = true;

    jw_init(&w, out);
    jw_obj(&w);
    jw_member(&w, "id", r->id);
    jw_member(&w, "run", r->run.len > 0 ? r->run : r->id);
    jw_key(&w, "step");
    jw_uint(&w, r->step);
    jw_key(&w, "seq");
    jw_uint(&w, r->seq);
    jw_key(&w, "end");
    jw_bool(&w, r->end);
    jw_key(&w, "state");
    jw_cstr(&w, result_state_name(r->state));
    if (r->status > 0) {
        jw_key(&w, "status");
        jw_int(&w, r->status);
    }
    if (r->output_type.len > 0)
        ok = write_output(&w, r);
    if (r->error_code.len > 0)
        write_error(&w, r);
    jw_key(&w, "attempts");
    jw_uint(&w, r->attempts);
    write_times(&w, r);
    jw_member(&w, "worker", r->worker);
    jw_member(&w, "tp", r->tp);
    if (r->redacted) {
        jw_key(&w, "redacted");
        jw_bool(&w, true);
    }
    jw_end_obj(&w);
    return ok && buf_ok(out);
}

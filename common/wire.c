#include "common/wire.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/char.h"
#include "common/json.h"
#include "common/wire_inside.h"
#include "common/wire_pack.h"

#define BRANCH_MAX  8                 /* so that RUN.BRANCH.SEQ fits JOB_NAME_MAX */
#define STATE_MAX   512               /* W3C Trace Context section 3.3.1.5 */
#define UNIX_MS_MAX 253402300799999LL /* the year 9999 ends */
#define UNIX_MS_MIN 100000000000LL    /* in 1973; as seconds it is in the year 5138 */

static bool is_hex(struct slice s)
{
    bool zero = true;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
            return false;
        zero = zero && c == '0';
    }
    return !zero;
}

/* W3C Trace Context section 3.2: version 00, no all-zero ids. */
static bool is_traceparent(struct slice s)
{
    return s.len == 55 && slice_eq(slice_sub(s, 0, 3), SLICE_LIT("00-")) && s.ptr[35] == '-' &&
           s.ptr[52] == '-' && is_hex(slice_sub(s, 3, 32)) && is_hex(slice_sub(s, 36, 16)) &&
           (is_hex(slice_sub(s, 53, 2)) || slice_eq(slice_sub(s, 53, 2), SLICE_LIT("00")));
}

/* ---- the continuation ---- */

static bool k_branch(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || it->bytes.len > BRANCH_MAX || !id_is_queue(it->bytes))
        return wire_refuse(p, f->rule, "must be a branch name");
    p->e->k.branch = it->bytes;
    return true;
}

static bool k_seq(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    return wire_take_number(p, f, it, 0, INT64_MAX, &p->e->k.seq);
}

static bool k_position(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    uint64_t v = 0;

    (void)raw;
    if (!wire_take_number(p, f, it, 0, WIRE_MAX_CALLS - 1, &v))
        return false;
    p->e->k.position = (uint32_t)v;
    return true;
}

static bool k_calls(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    return wire_take_number(p, f, it, 0, INT64_MAX, &p->e->k.calls);
}

static bool k_attempt(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    uint64_t v = 0;

    (void)raw;
    if (!wire_take_number(p, f, it, 0, UINT32_MAX, &v))
        return false;
    p->e->k.attempt = (uint32_t)v;
    return true;
}

static bool k_input(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_BIN)
        return wire_refuse(p, f->rule, "must be binary");
    p->e->k.input = it->bytes;
    return true;
}

static bool k_type(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR)
        return wire_refuse(p, f->rule, "must be a string");
    p->e->k.input_type = it->bytes;
    return true;
}

static bool k_queued(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    return wire_take_ms(p, f, it, 0, UNIX_MS_MAX, &p->e->k.queued_ms);
}

static bool k_digest(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || it->bytes.len != WIRE_DIGEST_HEX)
        return wire_refuse(p, f->rule, "must be a digest");
    p->e->k.input_digest = it->bytes;
    return true;
}

static bool k_producer(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || !id_is_queue(it->bytes))
        return wire_refuse(p, f->rule, "must be a producer's name");
    p->e->k.producer = it->bytes;
    return true;
}

/* One letter each: the continuation travels with every later step. */
static bool read_k(struct place *p)
{
    static const struct field fields[] = {
        {SLICE_LIT("b"), "k_invalid", k_branch},   {SLICE_LIT("s"), "k_invalid", k_seq},
        {SLICE_LIT("p"), "k_invalid", k_position}, {SLICE_LIT("n"), "k_invalid", k_calls},
        {SLICE_LIT("a"), "k_invalid", k_attempt},  {SLICE_LIT("i"), "k_invalid", k_input},
        {SLICE_LIT("t"), "k_invalid", k_type},     {SLICE_LIT("q"), "k_invalid", k_queued},
        {SLICE_LIT("d"), "k_invalid", k_digest},   {SLICE_LIT("w"), "k_invalid", k_producer},
    };
    bool ok;

    p->inside = "k.";
    p->key_rule = "k_invalid";
    ok = wire_walk(p, p->raw_k, fields, ARRAY_LEN(fields));
    p->inside = "";
    p->key_rule = "envelope_key_type";
    p->key = "k.p";
    if (ok && p->e->k.position >= p->e->call_count)
        return wire_refuse(p, "k_invalid", "is past the last call");
    if (p->e->k.position > 0 && !p->e->k.input.ptr)
        p->e->k.input = SLICE_LIT("");
    return ok;
}

static void pack_cont(msgpack_packer *pk, const struct cont *k)
{
    bool digest = k->input_digest.len > 0, input = k->position > 0 && !digest;
    bool type = k->input_type.len > 0, queued = k->queued_ms > 0, producer = k->producer.len > 0;

    msgpack_pack_map(pk, 5 + (size_t)input + type + queued + digest + producer);
    pack_key(pk, "b");
    pack_str(pk, k->branch);
    pack_key(pk, "s");
    msgpack_pack_uint64(pk, k->seq);
    pack_key(pk, "p");
    msgpack_pack_uint32(pk, k->position);
    pack_key(pk, "n");
    msgpack_pack_uint64(pk, k->calls);
    pack_key(pk, "a");
    msgpack_pack_uint32(pk, k->attempt);
    if (input) {
        pack_key(pk, "i");
        pack_bin(pk, k->input);
    }
    if (type) {
        pack_key(pk, "t");
        pack_str(pk, k->input_type);
    }
    if (queued) {
        pack_key(pk, "q");
        msgpack_pack_int64(pk, k->queued_ms);
    }
    if (digest) {
        pack_key(pk, "d");
        pack_str(pk, k->input_digest);
    }
    if (producer) {
        pack_key(pk, "w");
        pack_str(pk, k->producer);
    }
}

/* ---- the envelope ---- */

static bool env_version(struct place *p, const struct field *f, const struct item *it,
                        struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_UINT || it->number != WIRE_VERSION)
        return wire_refuse(p, f->rule, "is not 1, the only version this awq knows");
    p->has_version = true;
    return true;
}

static bool env_id(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR)
        return wire_refuse(p, f->rule, "must be a str");
    if (!id_is_job(it->bytes))
        return wire_refuse(p, f->rule, "must be 1-64 characters of A-Za-z0-9_:-");
    p->e->id = it->bytes;
    return true;
}

static bool env_call(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    if (it->type != ITEM_MAP)
        return wire_refuse(p, f->rule, "must be a map");
    p->raw_call = raw;
    return true;
}

static bool env_then(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    if (it->type != ITEM_ARR)
        return wire_refuse(p, f->rule, "must be an array of calls");
    if (it->count > WIRE_MAX_CALLS - 1)
        return wire_refuse(p, "then_too_many", "holds more than 63 calls");
    p->raw_then = raw;
    p->e->call_count = 1 + it->count;
    return true;
}

static bool env_k(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    if (it->type != ITEM_MAP)
        return wire_refuse(p, f->rule, "must be a map");
    p->raw_k = raw;
    p->e->has_k = true;
    return true;
}

static bool env_flow(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)it;
    (void)raw;
    return wire_refuse(p, f->rule, "is not supported; use call and then");
}

static bool env_out(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || (it->bytes.len > 0 && !id_is_queue(it->bytes)))
        return wire_refuse(p, f->rule, "must be empty or 1-64 characters of A-Za-z0-9_-");
    p->e->out = it->bytes;
    return true;
}

static bool env_tenant(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || !id_is_job(it->bytes))
        return wire_refuse(p, f->rule, "must be 1-64 characters of A-Za-z0-9_:-");
    p->e->tenant = it->bytes;
    return true;
}

/* A time in seconds, the commonest mistake, would be one of January 1970. */
static bool take_time(struct place *p, const struct field *f, const struct item *it, int64_t *out)
{
    char why[96];

    if (!wire_take_ms(p, f, it, 0, UNIX_MS_MAX, out))
        return false;
    if (*out == 0 || *out >= UNIX_MS_MIN)
        return true;
    snprintf(why, sizeof why, "is %" PRId64 ": it looks like seconds, milliseconds are wanted",
             *out);
    return wire_refuse(p, f->rule, why);
}

static bool env_not_before(struct place *p, const struct field *f, const struct item *it,
                           struct slice raw)
{
    (void)raw;
    return take_time(p, f, it, &p->e->not_before);
}

static bool env_deadline(struct place *p, const struct field *f, const struct item *it,
                         struct slice raw)
{
    (void)raw;
    return take_time(p, f, it, &p->e->deadline);
}

static bool env_iat(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    return take_time(p, f, it, &p->e->iat);
}

/* A trace context that cannot be used is dropped: no job fails for it (W3C Trace Context 2.2.3). */
/* One member of it: a key of lower case letters, digits and _-*@/ , and a value (W3C Trace Context,
 * 3.3.1.3). */
static bool is_state_member(struct slice s)
{
    size_t eq = slice_find(s, '=');

    if (eq == 0 || eq + 1 >= s.len || eq > 256 || s.len - eq > 257)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool ok = i < eq   ? (c >= 'a' && c <= 'z') || char_is_digit(c) || strchr("_-*@/", c)
                  : i > eq ? wire_is_visible(c) && c != '='
                           : true;

        if (!ok && !(c == ' ' && i > eq && i + 1 < s.len))
            return false;
    }
    return true;
}

static bool is_tracestate(struct slice s)
{
    struct slice member;

    if (s.len > STATE_MAX)
        return false;
    while (slice_cut(&s, ',', &member)) {
        member = slice_trim(member);
        if (member.len > 0 && !is_state_member(member))
            return false;
    }
    return true;
}

static bool env_tp(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR)
        return wire_refuse(p, f->rule, "must be a string");
    p->e->tp = is_traceparent(it->bytes) ? it->bytes : SLICE_NONE;
    return true;
}

static bool env_ts(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR)
        return wire_refuse(p, f->rule, "must be a string");
    p->e->ts = is_tracestate(it->bytes) ? it->bytes : SLICE_NONE;
    return true;
}

static const struct field env_fields[] = {
    {SLICE_LIT("v"), "envelope_version", env_version},
    {SLICE_LIT("id"), "envelope_id_invalid", env_id},
    {SLICE_LIT("call"), "call_type", env_call},
    {SLICE_LIT("then"), "then_type", env_then},
    {SLICE_LIT("k"), "k_invalid", env_k},
    {SLICE_LIT("flow"), "flow_not_supported", env_flow},
    {SLICE_LIT("out"), "out_invalid", env_out},
    {SLICE_LIT("tenant"), "envelope_value_invalid", env_tenant},
    {SLICE_LIT("not_before"), "envelope_value_invalid", env_not_before},
    {SLICE_LIT("deadline"), "envelope_value_invalid", env_deadline},
    {SLICE_LIT("iat"), "envelope_value_invalid", env_iat},
    {SLICE_LIT("tp"), "envelope_value_invalid", env_tp},
    {SLICE_LIT("ts"), "envelope_value_invalid", env_ts},
};

void envelope_init(struct envelope *e)
{
    *e = (struct envelope){0};
}

void envelope_deinit(struct envelope *e)
{
    if (!e)
        return;
    free(e->arena);
    *e = (struct envelope){0};
}

void envelope_clear(struct envelope *e)
{
    e->id = e->tenant = e->tp = e->ts = e->bytes = SLICE_NONE;
    e->out = SLICE_LIT("results");
    e->not_before = e->deadline = e->iat = 0;
    wire_call_default(&e->call);
    e->call_count = 1;
    e->has_k = false;
    e->stranger[0] = '\0';
    e->k = (struct cont){.branch = SLICE_LIT("0")};
}

struct slice envelope_id(struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct item head, key, value;

    if (read_item(&r, &head) != WIRE_FINE || head.type != ITEM_MAP)
        return SLICE_NONE;
    for (uint32_t i = 0; i < head.count; i++) {
        if (read_item(&r, &key) != WIRE_FINE || key.type != ITEM_STR)
            return SLICE_NONE;
        if (slice_is(key.bytes, "id"))
            return read_item(&r, &value) == WIRE_FINE && value.type == ITEM_STR &&
                           id_is_job(value.bytes)
                       ? value.bytes
                       : SLICE_NONE;
        if (read_value(&r, WIRE_MAX_DEPTH, NULL) != WIRE_FINE)
            return SLICE_NONE;
    }
    return SLICE_NONE;
}

/* Is it one whole map, and nothing else? After this, reading it cannot run out of bytes. */
static bool check_shape(struct slice bytes, size_t max_bytes, struct err *err)
{
    struct reader r = reader_of(bytes), start = r;
    struct item head;
    enum wire_fault fault;

    if (bytes.len > max_bytes)
        return err_rule(err, ERR_FORMAT, "envelope_too_big",
                        "the envelope has %zu bytes, more than the %zu allowed", bytes.len,
                        max_bytes);
    fault = read_value(&r, WIRE_MAX_DEPTH, NULL);
    if (fault == WIRE_TRUNCATED)
        return err_rule(err, ERR_FORMAT, "envelope_truncated",
                        "the envelope is cut short: %zu bytes are not all of it", bytes.len);
    if (fault == WIRE_DEEP)
        return err_rule(err, ERR_FORMAT, "envelope_too_deep",
                        "the envelope has more than %d maps and arrays inside each other",
                        WIRE_MAX_DEPTH);
    if (fault == WIRE_INVALID || read_item(&start, &head) != WIRE_FINE)
        return err_rule(err, ERR_FORMAT, "envelope_not_msgpack", "the envelope is not MessagePack");
    if (head.type != ITEM_MAP && r.at < r.end)
        return err_rule(err, ERR_FORMAT, "envelope_not_msgpack",
                        bytes.ptr[0] == '{' ? "the envelope is JSON text; it must be MessagePack"
                                            : "the envelope is not MessagePack");
    if (head.type != ITEM_MAP)
        return err_rule(err, ERR_FORMAT, "envelope_not_a_map", "the envelope is not a map");
    if (r.at < r.end)
        return err_rule(err, ERR_FORMAT, "envelope_trailing_bytes", "%zu bytes follow the envelope",
                        (size_t)(r.end - r.at));
    return true;
}

/* The call to make now into e->call. The others are checked too, so that a bad third call is found
 * before the first is made; not again by the steps that follow, whose `k` a worker has signed. */
static bool read_calls(struct place *p)
{
    struct reader r = reader_of(p->raw_then);
    uint32_t now = p->e->k.position;
    struct call other;
    struct item it;

    if ((now == 0 || !p->e->has_k) &&
        !wire_read_call(p, p->raw_call, 0, now == 0 ? &p->e->call : &other, now == 0))
        return false;
    if (p->e->call_count > 1)
        read_item(&r, &it);
    for (uint32_t i = 1; i < p->e->call_count; i++) {
        struct slice raw = wire_read_member(&r, &it);

        if (p->e->has_k && i != now)
            continue;
        if (it.type != ITEM_MAP)
            return err_rule(p->err, ERR_FORMAT, "then_type", "then[%u] must be a map", i - 1);
        if (!wire_read_call(p, raw, (int)i, i == now ? &p->e->call : &other, i == now))
            return false;
    }
    return true;
}

static bool read_envelope(struct envelope *e, struct slice bytes, struct err *err)
{
    struct place p = {
        .e = e, .index = -1, .inside = "", .key = "", .key_rule = "envelope_key_type", .err = err};

    if (!wire_walk(&p, bytes, env_fields, ARRAY_LEN(env_fields)))
        return false;
    if (!p.has_version)
        return err_rule(err, ERR_FORMAT, "envelope_version", "v is missing; it must be 1");
    if (e->id.len == 0)
        return err_rule(err, ERR_FORMAT, "envelope_id_missing", "id is missing");
    if (p.raw_call.len == 0)
        return err_rule(err, ERR_FORMAT, "call_missing", "call is missing");
    if (e->has_k && !read_k(&p))
        return false;
    return read_calls(&p);
}

bool envelope_decode(struct envelope *e, struct slice bytes, size_t max_bytes, struct err *err)
{
    envelope_clear(e);
    e->bytes = bytes;
    if (check_shape(bytes, max_bytes, err) && read_envelope(e, bytes, err))
        return true;
    envelope_clear(e);
    e->id = envelope_id(bytes);
    return false;
}

bool envelope_with_k(struct buf *out, const struct envelope *e, const struct cont *k,
                     struct err *err)
{
    struct reader r = reader_of(e->bytes);
    msgpack_packer pk = pack_into(out);
    size_t start = out->len;
    struct item head, key;

    if (read_item(&r, &head) != WIRE_FINE || head.type != ITEM_MAP)
        return err_set(err, ERR_FORMAT, "job %.*s: its envelope was not decoded", SLICE_FMT(e->id));
    msgpack_pack_map(&pk, (size_t)head.count + (e->has_k ? 0 : 1));
    for (uint32_t i = 0; i < head.count; i++) {
        struct reader at = r;

        read_item(&r, &key);
        read_raw(&r);
        if (!slice_is(key.bytes, "k"))
            buf_add(out, at.at, (size_t)(r.at - at.at));
    }
    pack_key(&pk, "k");
    pack_cont(&pk, k);
    if (buf_ok(out))
        return true;
    pack_undo(out, start);
    return err_set(err, ERR_NOMEM, "job %.*s: its next step takes more than %zu bytes",
                   SLICE_FMT(e->id), out->max);
}

static void add_length(struct buf *out, size_t len)
{
    unsigned char be[8];

    for (int i = 7; i >= 0; i--, len >>= 8)
        be[i] = (unsigned char)(len & 0xff);
    buf_add(out, be, sizeof be);
}

bool wire_signed_bytes(struct buf *out, struct slice prefix, struct slice queue, struct slice j)
{
    const struct slice parts[] = {prefix, queue, j};

    if (!buf_reserve(out, prefix.len + queue.len + j.len + 3 * sizeof(uint64_t)))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        add_length(out, parts[i].len);
        buf_add_slice(out, parts[i]);
    }
    return buf_ok(out);
}

#include "common/producer.h"

#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/char.h"
#include "common/json.h"

#define PURPOSE "producer"

bool producer_is_name(struct slice s)
{
    return s.len <= PRODUCER_NAME_MAX && id_is_queue(s);
}

bool producer_is_pattern(struct slice s)
{
    bool star = s.len > 0 && s.ptr[s.len - 1] == '*';
    struct slice name = slice_sub(s, 0, s.len - star);

    return (star && name.len == 0) || id_is_connection(name);
}

static bool matches(struct slice pattern, struct slice name)
{
    if (pattern.len > 0 && pattern.ptr[pattern.len - 1] == '*')
        return slice_starts(name, slice_sub(pattern, 0, pattern.len - 1));
    return slice_eq(pattern, name);
}

static bool is_listed(const struct slice *patterns, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (matches(patterns[i], name))
            return true;
    return false;
}

/* ---- the record ---- */

static bool read_list(const struct json_val *v, struct slice **to, size_t *count)
{
    const struct json_val *one;
    struct json_iter it;
    struct slice key;
    size_t n = json_len(v);

    if (json_type(v) != JSON_ARR || n == 0 || n > PRODUCER_LIST_MAX ||
        !(*to = calloc(n, sizeof **to)))
        return false;
    json_iter_init(&it, v);
    while (json_iter_next(&it, &key, &one)) {
        if (!json_str(one, &(*to)[*count]) || !producer_is_pattern((*to)[*count]))
            return false;
        ++*count;
    }
    return true;
}

static bool read_key(const struct json_val *v, char key[PRODUCER_KEY_HEX + 1])
{
    unsigned char point[crypto_core_ed25519_BYTES];
    struct slice hex;
    size_t len = 0;

    if (!json_str(v, &hex) || hex.len != PRODUCER_KEY_HEX)
        return false;
    for (size_t i = 0; i < hex.len; i++)
        if (!char_is_digit(hex.ptr[i]) && (hex.ptr[i] < 'a' || hex.ptr[i] > 'f'))
            return false;
    return slice_copy(hex, key, PRODUCER_KEY_HEX + 1) &&
           sodium_hex2bin(point, sizeof point, hex.ptr, hex.len, NULL, &len, NULL) == 0 &&
           crypto_core_ed25519_is_valid_point(point) ==
               1; /* no point that others' signatures fit */
}

struct producer *producer_parse(struct slice name, struct slice json, struct err *err)
{
    struct producer *p = calloc(1, sizeof *p);
    const struct json_val *root;

    if (!p) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    p->doc = json_parse(json, err);
    root = json_root(p->doc);
    if (p->doc && producer_is_name(name) && slice_copy(name, p->name, sizeof p->name) &&
        read_key(json_get(root, "key"), p->key) &&
        read_list(json_get(root, "queues"), &p->queues, &p->queue_count) &&
        read_list(json_get(root, "connections"), &p->connections, &p->connection_count) &&
        read_list(json_get(root, "outs"), &p->outs, &p->out_count) &&
        json_bool(json_get(root, "inbox"), &p->inbox))
        return p;
    err_rule(err, ERR_FORMAT, "producer_broken",
             "producer %.*s: its record is none: write it anew with awq-ctl producer add",
             SLICE_FMT(slice_sub(name, 0, PRODUCER_NAME_MAX)));
    producer_free(p);
    return NULL;
}

void producer_free(struct producer *p)
{
    if (!p)
        return;
    free(p->queues);
    free(p->connections);
    free(p->outs);
    json_free(p->doc);
    free(p);
}

bool producer_to_json(struct buf *out, const struct producer *p)
{
    struct json_writer w;

    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "key");
    jw_cstr(&w, p->key);
    jw_strs(&w, "queues", p->queues, p->queue_count);
    jw_strs(&w, "connections", p->connections, p->connection_count);
    jw_strs(&w, "outs", p->outs, p->out_count);
    jw_key(&w, "inbox");
    jw_bool(&w, p->inbox);
    jw_end_obj(&w);
    return buf_ok(out);
}

static bool record_bytes(struct buf *b, struct slice prefix, struct slice name, struct slice json)
{
    const struct slice parts[] = {prefix, name, json};

    buf_init(b, PRODUCER_RECORD_MAX + 256);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_addf(b, "%zu:", parts[i].len);
        buf_add_slice(b, parts[i]);
    }
    return buf_ok(b);
}

bool producer_record(const struct keyring *k, struct slice prefix, struct slice name,
                     struct slice json, struct buf *out, struct err *err)
{
    struct buf bytes;
    bool ok = record_bytes(&bytes, prefix, name, json)
                  ? seal_mac(k, KEY_RUN, PURPOSE, buf_slice(&bytes), out, err)
                  : err_set(err, ERR_NOMEM, "out of memory");

    buf_deinit(&bytes);
    return ok && (buf_add_slice(out, json) || err_set(err, ERR_NOMEM, "out of memory"));
}

struct producer *producer_open(const struct keyring *k, struct slice prefix, struct slice name,
                               struct slice record, struct err *err)
{
    struct slice mac = slice_sub(record, 0, SEAL_MAC_BYTES),
                 json = slice_sub(record, SEAL_MAC_BYTES, record.len);
    struct buf bytes;
    bool ok =
        record.len > SEAL_MAC_BYTES && json.len <= PRODUCER_RECORD_MAX && producer_is_name(name);

    if (ok) {
        if (!record_bytes(&bytes, prefix, name, json)) {
            buf_deinit(&bytes);
            err_set(err, ERR_NOMEM, "out of memory");
            return NULL;
        }
        ok = seal_mac_ok(k, KEY_RUN, PURPOSE, buf_slice(&bytes), mac);
        buf_deinit(&bytes);
    }
    if (ok)
        return producer_parse(name, json, err);
    err_rule(err, ERR_FORMAT, "producer_broken",
             "producer %.*s: its record was not written with this key file, or was altered",
             SLICE_FMT(slice_sub(name, 0, PRODUCER_NAME_MAX)));
    return NULL;
}

/* ---- signatures ---- */

bool producer_split(struct slice s, struct slice *signature, struct slice *name)
{
    *signature = slice_sub(s, 0, PRODUCER_SIG_BYTES);
    *name = slice_sub(s, PRODUCER_SIG_BYTES, s.len);
    return s.len > PRODUCER_SIG_BYTES && producer_is_name(*name);
}

bool producer_signed_bytes(struct buf *b, struct slice prefix, struct slice queue,
                           struct slice name, struct slice j)
{
    buf_init(b, j.len + 256);
    buf_addf(b, "awq job 1\n%.*s\n%.*s\n%.*s\n", SLICE_FMT(prefix), SLICE_FMT(queue),
             SLICE_FMT(name));
    return buf_add_slice(b, j);
}

static bool is_signed(const struct producer *p, const struct producer_job *job)
{
    unsigned char key[crypto_sign_PUBLICKEYBYTES];
    struct buf bytes;
    size_t len = 0;
    bool ok = job->signature.len == crypto_sign_BYTES &&
              sodium_hex2bin(key, sizeof key, p->key, PRODUCER_KEY_HEX, NULL, &len, NULL) == 0 &&
              len == sizeof key;

    if (!ok)
        return false;
    ok = producer_signed_bytes(&bytes, job->prefix, job->queue, slice_cstr(p->name), job->j) &&
         crypto_sign_verify_detached((const unsigned char *)job->signature.ptr,
                                     (const unsigned char *)bytes.ptr, bytes.len, key) == 0;
    buf_deinit(&bytes);
    return ok;
}

bool producer_may_connect(const struct producer *p, struct slice connection, struct err *err)
{
    return is_listed(p->connections, p->connection_count, connection) ||
           err_rule(err, ERR_DENIED, "producer_connection",
                    "producer %s may not use connection %.*s (awq-ctl producer show %s)", p->name,
                    SLICE_FMT(connection), p->name);
}

/* A run is remembered for dedup_ms after its end, and it cannot end before it was made: a copy that
 * comes later must be past its deadline. A tenth is left for clocks that differ. */
static bool is_in_time(struct slice name, int64_t iat, int64_t deadline, int64_t now_ms,
                       int64_t dedup_ms, struct err *err)
{
    int64_t slack = dedup_ms / 10, longest = dedup_ms - slack;

    if (iat <= 0 || deadline <= 0)
        return err_rule(err, ERR_DENIED, "producer_time",
                        "a signed job needs iat and deadline (producer %.*s)", SLICE_FMT(name));
    if (iat > now_ms + slack)
        return err_rule(err, ERR_DENIED, "producer_time",
                        "iat lies in the future: is the clock of producer %.*s right?",
                        SLICE_FMT(name));
    return deadline - iat <= longest ||
           err_rule(err, ERR_DENIED, "producer_time",
                    "deadline may be %lld ms after iat at most (--dedup of the workers less a "
                    "tenth; producer %.*s)",
                    (long long)longest, SLICE_FMT(name));
}

static bool is_own_id(struct slice name, struct slice id, struct err *err)
{
    return (id.len > name.len + 1 && slice_starts(id, name) && id.ptr[name.len] == ':') ||
           err_rule(err, ERR_DENIED, "producer_id",
                    "the ids of producer %.*s begin with \"%.*s:\", so that they are nobody else's",
                    SLICE_FMT(name), SLICE_FMT(name));
}

bool producer_may_sign(struct slice name, struct slice id, int64_t iat, int64_t deadline,
                       int64_t now_ms, int64_t dedup_ms, struct err *err)
{
    return is_own_id(name, id, err) && is_in_time(name, iat, deadline, now_ms, dedup_ms, err);
}

bool producer_check(const struct producer *p, const struct producer_job *job, int64_t now_ms,
                    int64_t dedup_ms, struct err *err)
{
    if (!is_signed(p, job))
        return err_rule(
            err, ERR_DENIED, "signature_bad",
            "not signed by producer %s for prefix %.*s and queue %.*s, or altered since", p->name,
            SLICE_FMT(job->prefix), SLICE_FMT(job->queue));
    if (!is_own_id(slice_cstr(p->name), job->id, err))
        return false;
    if (!is_listed(p->queues, p->queue_count, job->queue))
        return err_rule(err, ERR_DENIED, "producer_queue", "producer %s may not use queue %.*s",
                        p->name, SLICE_FMT(job->queue));
    if (job->out.len > 0 && !is_listed(p->outs, p->out_count, job->out))
        return err_rule(err, ERR_DENIED, "producer_out",
                        "producer %s may not have its results put into %.*s", p->name,
                        SLICE_FMT(job->out));
    if (!is_in_time(slice_cstr(p->name), job->iat, job->deadline, now_ms, dedup_ms, err))
        return false;
    for (size_t i = 0; i < job->connection_count; i++)
        if (!producer_may_connect(p, job->connections[i], err))
            return false;
    return true;
}

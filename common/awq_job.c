#include "common/awq_inside.h"

#include <stdlib.h>
#include "common/wire.h"
#include "common/wire_pack.h"

static void pack_text(msgpack_packer *pk, const char *key, const char *text)
{
    if (!text)
        return;
    pack_key(pk, key);
    pack_str(pk, slice_cstr(text));
}

static void pack_ms(msgpack_packer *pk, const char *key, int64_t ms)
{
    if (ms == 0)
        return;
    pack_key(pk, key);
    msgpack_pack_int64(pk, ms);
}

static void pack_pairs(msgpack_packer *pk, const char *key, const struct awq_pair *pairs, size_t n)
{
    if (n == 0)
        return;
    pack_key(pk, key);
    msgpack_pack_map(pk, n);
    for (size_t i = 0; i < n; i++) {
        pack_str(pk, slice_cstr(pairs[i].name));
        pack_str(pk, slice_cstr(pairs[i].value));
    }
}

static void pack_retry(msgpack_packer *pk, const struct awq_call *c)
{
    bool max = c->retry_max != 0;

    if (!max && c->retry_base_ms == 0 && c->retry_cap_ms == 0)
        return;
    pack_key(pk, "retry");
    msgpack_pack_map(pk, (size_t)max + (c->retry_base_ms != 0) + (c->retry_cap_ms != 0));
    if (max) {
        pack_key(pk, "max");
        msgpack_pack_int64(pk, c->retry_max == -1 ? 0 : c->retry_max);
    }
    pack_ms(pk, "base_ms", c->retry_base_ms);
    pack_ms(pk, "cap_ms", c->retry_cap_ms);
}

static void pack_texts(msgpack_packer *pk, const char *key, const char *const *texts, size_t n)
{
    if (n == 0)
        return;
    pack_key(pk, key);
    msgpack_pack_array(pk, n);
    for (size_t i = 0; i < n; i++)
        pack_str(pk, slice_cstr(texts[i]));
}

static bool pack_body(msgpack_packer *pk, const struct awq_call *c, struct err *err)
{
    struct slice body = slice_of(c->body, c->body_len);

    if (c->body_kind == AWQ_NO_BODY)
        return true;
    pack_key(pk, "body");
    if (c->body_kind == AWQ_JSON)
        return wire_json_to_value(pk->data, body, err);
    if (c->body_kind == AWQ_BYTES)
        pack_bin(pk, body);
    else
        pack_str(pk, body);
    return true;
}

static size_t call_members(const struct awq_call *c)
{
    return (size_t)(c->conn != NULL) + (c->method != NULL) + (c->url != NULL) +
           (c->query_count > 0) + (c->header_count > 0) + (c->body_kind != AWQ_NO_BODY) +
           (c->as != NULL) + (c->idem != NULL) + (c->ambiguous != NULL) + (c->timeout_ms != 0) +
           (c->need_count > 0) + (c->token != NULL) +
           (c->retry_max != 0 || c->retry_base_ms != 0 || c->retry_cap_ms != 0);
}

static bool pack_call(msgpack_packer *pk, const struct awq_call *c, struct err *err)
{
    msgpack_pack_map(pk, call_members(c));
    pack_text(pk, "conn", c->conn);
    pack_text(pk, "method", c->method);
    pack_text(pk, "url", c->url);
    pack_pairs(pk, "query", c->query, c->query_count);
    pack_pairs(pk, "headers", c->headers, c->header_count);
    if (!pack_body(pk, c, err))
        return false;
    pack_text(pk, "as", c->as);
    pack_text(pk, "idem", c->idem);
    pack_text(pk, "ambiguous", c->ambiguous);
    pack_texts(pk, "needs", c->needs, c->need_count);
    pack_text(pk, "token", c->token);
    pack_ms(pk, "timeout_ms", c->timeout_ms);
    pack_retry(pk, c);
    return true;
}

static bool pack_calls(msgpack_packer *pk, const struct awq_job *job, struct err *err)
{
    bool ok = true;

    if (job->call_count == 0)
        return true; /* refused by the decoder: call_missing */
    pack_key(pk, "call");
    ok = pack_call(pk, &job->calls[0], err);
    if (job->call_count == 1)
        return ok;
    pack_key(pk, "then");
    msgpack_pack_array(pk, job->call_count - 1);
    for (size_t i = 1; ok && i < job->call_count; i++)
        ok = pack_call(pk, &job->calls[i], err);
    return ok;
}

static bool pack_job(struct buf *out, const struct awq_job *job, struct err *err)
{
    msgpack_packer pk = pack_into(out);

    msgpack_pack_map(&pk, 1 + (size_t)(job->id != NULL) + (job->call_count > 0) +
                              (job->call_count > 1) + (job->out != NULL) + (job->tenant != NULL) +
                              (job->tp != NULL) + (job->ts != NULL) + (job->not_before_ms != 0) +
                              (job->deadline_ms != 0) + (job->iat_ms != 0));
    pack_key(&pk, "v");
    msgpack_pack_int(&pk, WIRE_VERSION);
    pack_text(&pk, "id", job->id);
    if (!pack_calls(&pk, job, err))
        return false;
    pack_text(&pk, "out", job->out);
    pack_text(&pk, "tenant", job->tenant);
    pack_text(&pk, "tp", job->tp);
    pack_text(&pk, "ts", job->ts);
    pack_ms(&pk, "not_before", job->not_before_ms);
    pack_ms(&pk, "deadline", job->deadline_ms);
    pack_ms(&pk, "iat", job->iat_ms);
    return buf_ok(out) || err_rule(err, ERR_FORMAT, "envelope_too_big",
                                   "the job takes more than %d bytes", WIRE_MAX_DEFAULT);
}

bool awq_job_look(struct slice bytes, struct awq_about *about, struct awq_error *err)
{
    struct envelope *e = malloc(sizeof *e); /* big: up to 128 pairs */
    struct err why = {0};
    bool ok;

    if (!e)
        return awq_error_nomem(err);
    envelope_init(e);
    ok = envelope_decode(e, bytes, WIRE_MAX_DEFAULT, &why);
    if (ok && e->has_k)
        ok = err_rule(&why, ERR_FORMAT, "k_forged", "k is written by workers only");
    if (ok) {
        slice_copy(e->id, about->id, sizeof about->id);
        about->not_before = e->not_before;
        about->iat = e->iat;
        about->deadline = e->deadline;
    }
    envelope_deinit(e);
    free(e);
    return ok || awq_error_from(err, &why);
}

bool awq_envelope_id(const char *bytes, size_t len, char id[65], struct awq_error *err)
{
    struct awq_about about;

    return awq_job_look(slice_of(bytes, len), &about, err) &&
           slice_copy(slice_cstr(about.id), id, 65);
}

char *awq_encode(const struct awq_job *job, size_t *len, struct awq_error *err)
{
    struct err why = {0};
    struct awq_about about;
    struct buf b;

    buf_init(&b, WIRE_MAX_DEFAULT);
    if (!pack_job(&b, job, &why)) {
        awq_error_from(err, &why);
    } else if (awq_job_look(buf_slice(&b), &about, err)) {
        *len = b.len;
        return buf_take(&b);
    }
    buf_deinit(&b);
    return NULL;
}

char *awq_encode_json(const char *json, size_t json_len, size_t *len, struct awq_error *err)
{
    struct err why = {0};
    struct buf b;

    buf_init(&b, WIRE_MAX_DEFAULT);
    if (wire_from_json(&b, slice_of(json, json_len), &why)) {
        *len = b.len;
        return buf_take(&b);
    }
    awq_error_from(err, &why);
    buf_deinit(&b);
    return NULL;
}

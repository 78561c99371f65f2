#include "tools/sandbox/api.h"

#include <sodium.h>
#include "common/clock.h"
#include "tools/sandbox/bearer.h"
#include "tools/sandbox/sandbox.h"

/* One API request whose token was checked. */
struct call {
    struct sandbox *sandbox;
    const struct request *request;
    const struct access *access;
    struct reply *reply;
};

/* ---- delays ---- */

/* splitmix64 (Steele, Lea, Flood 2014): the same waits in each run, whatever came before it. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static int64_t next_delay_ms(struct sandbox *s)
{
    uint64_t span = (uint64_t)(s->delay_max_ms - s->delay_min_ms) + 1;

    return s->delay_min_ms + (int64_t)(mix(s->answers++) % span);
}

/* ---- ids ---- */

/* The decoded last segment of a path; false, and a 400, when it is none. out has room for max. */
static bool id_read(struct slice coded, char *out, size_t max, struct slice *id,
                    struct reply *reply)
{
    size_t len = 0;

    if (coded.len == 0 || coded.len > max || !form_decode(coded, false, out, &len) ||
        slice_find(slice_of(out, len), '/') < len || !json_is_utf8(slice_of(out, len))) {
        reply_error(reply, 400, "invalid_request", "an id is 1 to %zu bytes of UTF-8 without '/'",
                    max);
        return false;
    }
    *id = slice_of(out, len);
    return true;
}

/* ---- records ---- */

static void write_record(struct json_writer *w, struct slice id)
{
    unsigned char digest[8];
    char name[] = "record 00000000";
    uint32_t n;

    /* Not keyed: a record is the same in each run. */
    crypto_generichash(digest, 8, (const unsigned char *)id.ptr, id.len, NULL, 0);
    n = (uint32_t)digest[0] << 24 | (uint32_t)digest[1] << 16 | (uint32_t)digest[2] << 8 |
        digest[3];
    sodium_bin2hex(name + sizeof "record", 9, digest + 4, 4);
    jw_obj(w);
    jw_key(w, "id");
    jw_str(w, id);
    jw_key(w, "name");
    jw_cstr(w, name);
    jw_key(w, "n");
    jw_uint(w, n);
    jw_end_obj(w);
}

static void record_get(struct call *c, struct slice coded)
{
    char text[WRITE_ID_MAX_BYTES];
    struct slice id;

    if (!request_is(c->request, "GET"))
        reply_wrong_method(c->reply, "GET");
    else if (bearer_check_scope(c->access, SCOPE_READ, c->reply) &&
             id_read(coded, text, sizeof text, &id, c->reply))
        write_record(&c->reply->json, id);
}

/* ---- writes ---- */

static void answer_write(struct call *c, struct slice id, uint64_t effect)
{
    struct json_writer *w = &c->reply->json;

    jw_obj(w);
    jw_key(w, "id");
    jw_str(w, id);
    jw_key(w, "effect");
    jw_uint(w, effect);
    jw_end_obj(w);
}

static void write_record_request(struct call *c, const struct write_request *r)
{
    uint64_t effect = 0;

    switch (writes_record(&c->sandbox->writes, r, &effect)) {
    case WRITE_REPLAY:
        reply_header(c->reply, "Idempotent-Replayed", SLICE_LIT("true"));
        answer_write(c, r->id, effect);
        break;
    case WRITE_EFFECT:
        answer_write(c, r->id, effect);
        break;
    case WRITE_CONFLICT:
        reply_error(c->reply, 422, "key_reused",
                    "this Idempotency-Key was used for another id or body");
        break;
    case WRITE_FULL:
        reply_error(c->reply, 507, "full",
                    "no room for more writes; POST /_sandbox/reset, or raise --max-writes");
        break;
    }
}

static void write_post(struct call *c, struct slice coded)
{
    const struct account *account = c->access->account;
    struct write_request r = {.who = slice_cstr(account->client->id),
                              .account = slice_cstr(account->name),
                              .body = c->request->body};
    char text[WRITE_ID_MAX_BYTES];

    if (!request_is(c->request, "POST")) {
        reply_wrong_method(c->reply, "POST");
        return;
    }
    if (!bearer_check_scope(c->access, SCOPE_WRITE, c->reply) ||
        !id_read(coded, text, sizeof text, &r.id, c->reply))
        return;
    if (request_header(c->request, "Idempotency-Key", &r.key) > 1 ||
        r.key.len > WRITE_KEY_MAX_BYTES)
        reply_error(c->reply, 400, "invalid_request",
                    "one Idempotency-Key of at most %d bytes may be sent", WRITE_KEY_MAX_BYTES);
    else
        write_record_request(c, &r);
}

/* ---- echo ---- */

static void echo_headers(struct json_writer *w, const struct request *r)
{
    jw_key(w, "headers");
    jw_arr(w);
    for (size_t i = 0; i < r->header_count; i++) {
        if (slice_eq_nocase(r->headers[i].name, SLICE_LIT("Authorization")))
            continue;
        jw_arr(w);
        jw_str(w, r->headers[i].name);
        jw_str(w, r->headers[i].value);
        jw_end_arr(w);
    }
    jw_end_arr(w);
}

static void echo_body(struct json_writer *w, struct slice body)
{
    size_t size = sodium_base64_encoded_len(body.len, sodium_base64_VARIANT_ORIGINAL);
    struct buf coded;

    if (json_is_utf8(body)) {
        jw_key(w, "body");
        jw_str(w, body);
        return;
    }
    buf_init(&coded, size);
    if (buf_reserve(&coded, size - 1)) {
        sodium_bin2base64(coded.ptr, size, (const unsigned char *)body.ptr, body.len,
                          sodium_base64_VARIANT_ORIGINAL);
        jw_key(w, "body_base64");
        jw_cstr(w, coded.ptr);
    }
    buf_deinit(&coded);
}

static void echo(struct call *c)
{
    const struct request *r = c->request;
    bool reads = request_is(r, "GET") || request_is(r, "HEAD") || request_is(r, "OPTIONS");
    struct json_writer *w = &c->reply->json;

    if (!bearer_check_scope(c->access, reads ? SCOPE_READ : SCOPE_WRITE, c->reply))
        return;
    jw_obj(w);
    jw_key(w, "method");
    jw_str(w, r->method);
    jw_key(w, "path");
    jw_str(w, r->path);
    jw_key(w, "query");
    jw_str(w, r->query);
    echo_headers(w, r);
    echo_body(w, r->body);
    jw_end_obj(w);
}

/* ---- routing and counting ---- */

static void act(struct call *c)
{
    const struct slice records = SLICE_LIT("/api/records/"), writes = SLICE_LIT("/api/writes/");
    struct slice path = c->request->path;

    if (slice_starts(path, records))
        record_get(c, slice_sub(path, records.len, path.len));
    else if (slice_starts(path, writes))
        write_post(c, slice_sub(path, writes.len, path.len));
    else if (slice_is(path, "/api/echo"))
        echo(c);
    else
        reply_error(c->reply, 404, "not_found", "no such route; awq-sandbox --help lists them");
}

static void count_answer(struct sandbox *s, struct account *account, const struct reply *reply)
{
    struct accounts *a = &s->accounts;

    account_count(a, account, COUNT_API_ARRIVED);
    if (reply->drop)
        account_count(a, account, COUNT_DROPPED);
    else if (reply->status < 400)
        account_count(a, account, COUNT_API_OK);
    else if (reply->status == 401)
        account_count(a, account, COUNT_API_401);
    else if (reply->status == 403)
        account_count(a, account, COUNT_API_403);
    else
        account_count(a, account, reply->status < 500 ? COUNT_API_4XX : COUNT_API_5XX);
}

static void call_answer(struct call *c)
{
    struct fault fault;
    struct err err;

    if (!faults_read(&c->sandbox->faults, c->request, &fault, &err))
        reply_error(c->reply, 400, "invalid_request", "%s", err.msg);
    else if (fault.refuse_token)
        bearer_refuse(c->reply, "the query asked for a refusal");
    else if (!fault_apply(&fault, c->reply))
        act(c);
}

void api_route(struct sandbox *s, const struct request *request, struct reply *reply)
{
    struct call c = {.sandbox = s, .request = request, .reply = reply};
    struct account *account;

    reply->delay_ms = next_delay_ms(s);
    if (bearer_check(&s->grants, request, clock_boot_ms(), &c.access, &account, reply))
        call_answer(&c);
    count_answer(s, account, reply);
}

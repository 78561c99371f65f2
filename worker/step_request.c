#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#include "common/clock.h"
#include "common/egress.h"
#include "common/json.h"
#include "common/log.h"
#include "common/ratelimit.h"
#include "worker/audit.h"
#include "worker/meters.h"
#include "worker/redact.h"
#include "worker/step_parts.h"

#define IDEM_BYTES 16 /* 128 bits of the hash */

/* ---- the Idempotency-Key: the same at every attempt, delivery and replay of this call ---- */

static void idem_auto(struct step *s)
{
    crypto_hash_sha256_state h;
    unsigned char sum[crypto_hash_sha256_BYTES];
    char place[64];

    snprintf(place, sizeof place, "\n%" PRIu32 "\n%" PRIu64, s->k.position, s->k.calls);
    crypto_hash_sha256_init(&h);
    crypto_hash_sha256_update(&h, (const unsigned char *)s->w->install, strlen(s->w->install));
    crypto_hash_sha256_update(&h, (const unsigned char *)"\n", 1);
    crypto_hash_sha256_update(&h, (const unsigned char *)s->run, strlen(s->run));
    crypto_hash_sha256_update(&h, (const unsigned char *)"\n", 1);
    crypto_hash_sha256_update(&h, (const unsigned char *)s->k.branch.ptr, s->k.branch.len);
    crypto_hash_sha256_update(&h, (const unsigned char *)place, strlen(place));
    crypto_hash_sha256_final(&h, sum);
    sodium_bin2hex(s->idem, sizeof s->idem, sum, IDEM_BYTES);
}

/* ---- headers ---- */

/* The texts go one behind the other into header_text, which may move while it grows: so names and
 * values are kept as offsets until header_end. */
static bool header_add(struct step *s, struct slice name, struct slice value)
{
    struct http_header *h = &s->headers[s->header_count];

    if (s->header_count == ARRAY_LEN(s->headers))
        return false;
    h->name = slice_of((const char *)(uintptr_t)s->header_text.len, name.len);
    buf_add_slice(&s->header_text, name);
    h->value = slice_of((const char *)(uintptr_t)s->header_text.len, value.len);
    buf_add_slice(&s->header_text, value);
    s->header_count++;
    return buf_ok(&s->header_text);
}

static void header_end(struct step *s)
{
    for (size_t i = 0; i < s->header_count; i++) {
        struct http_header *h = &s->headers[i];

        h->name.ptr = s->header_text.ptr + (uintptr_t)h->name.ptr;
        h->value.ptr = s->header_text.ptr + (uintptr_t)h->value.ptr;
    }
}

static bool call_has_header(const struct call *c, const char *name)
{
    for (size_t i = 0; i < c->header_count; i++) {
        if (slice_eq_nocase(c->headers[i].name, slice_cstr(name)))
            return true;
    }
    return false;
}

static bool user_headers(struct step *s, struct err *err)
{
    const struct call *c = &s->env.call;
    struct buf value;
    bool ok = true;

    buf_init(&value, 64 * 1024);
    for (size_t i = 0; ok && i < c->header_count; i++) {
        buf_clear(&value);
        ok = expand_text(s->expand, c->headers[i].value, &value, err) &&
             egress_check_header(c->headers[i].name, buf_slice(&value), false, err) &&
             (header_add(s, c->headers[i].name, buf_slice(&value)) ||
              err_rule(err, ERR_FORMAT, "call_header_invalid", "headers are too many or too long"));
    }
    buf_wipe(&value);
    return ok;
}

static const char *default_type(const struct step *s)
{
    switch (s->env.call.body_kind) {
    case BODY_JSON:
        return "application/json";
    case BODY_TEXT:
        return "text/plain; charset=utf-8";
    case BODY_BYTES:
        return "application/octet-stream";
    case BODY_NONE:
        break;
    }
    return NULL;
}

static bool own_headers(struct step *s, struct err *err)
{
    const struct call *c = &s->env.call;
    const char *type = default_type(s);
    bool ok = true;

    if (s->has_body && !call_has_header(c, "content-type")) {
        if (type)
            ok = header_add(s, SLICE_LIT("Content-Type"), slice_cstr(type));
        else if (s->k.input_type.len > 0) /* the input itself is sent */
            ok = header_add(s, SLICE_LIT("Content-Type"), s->k.input_type);
    }
    if (ok && c->idem != IDEM_NONE && !call_has_header(c, "idempotency-key")) {
        struct slice value = c->idem_value;

        if (c->idem == IDEM_AUTO) {
            idem_auto(s);
            value = slice_cstr(s->idem);
        }
        if (!egress_check_header(SLICE_LIT("Idempotency-Key"), value, false, err))
            return false;
        ok = header_add(s, SLICE_LIT("Idempotency-Key"), value);
    }
    if (ok && s->env.tp.len > 0 && !call_has_header(c, "traceparent") &&
        http_is_header_value(s->env.tp))
        ok = header_add(s, SLICE_LIT("traceparent"), s->env.tp);
    if (ok && s->env.tp.len > 0 && s->env.ts.len > 0 && !call_has_header(c, "traceparent") &&
        !call_has_header(c, "tracestate") && http_is_header_value(s->env.ts))
        ok = header_add(s, SLICE_LIT("tracestate"), s->env.ts);
    return ok ||
           err_rule(err, ERR_FORMAT, "call_header_invalid", "headers are too many or too long");
}

/* ---- body ---- */

static bool takes_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static bool build_body(struct step *s, struct err *err)
{
    const struct call *c = &s->env.call;

    s->has_body = true;
    switch (c->body_kind) {
    case BODY_JSON:
        return expand_json_body(s->expand, c->body, &s->body, err);
    case BODY_TEXT:
        return expand_text(s->expand, c->body, &s->body, err);
    case BODY_BYTES:
        return buf_add_slice(&s->body, c->body) || err_set(err, ERR_NOMEM, "out of memory");
    case BODY_NONE:
        break;
    }
    s->has_body = takes_body(s->method);
    if (s->has_body && s->k.position > 0)
        return buf_add_slice(&s->body, s->k.input) || err_set(err, ERR_NOMEM, "out of memory");
    return true;
}

static bool check_url(struct step *s, struct slice url, struct err *err)
{
    struct buf checked;
    bool ok;

    buf_init(&checked, s->url.max);
    ok = egress_check(&s->conn->cfg->policy, slice_cstr(s->method), url, &checked, &s->origin, err);
    if (ok) {
        struct buf old = s->url;

        s->url = checked;
        checked = old;
        slice_copy(slice_cstr(s->conn->cd), s->checked_cd, sizeof s->checked_cd);
    }
    buf_deinit(&checked);
    return ok;
}

bool step_build_request(struct step *s, struct err *err)
{
    struct buf url;
    bool ok;

    buf_init(&url, s->url.max);
    s->expand = expand_new(s->k.position > 0 ? s->k.input : SLICE_NONE);
    ok = s->expand || err_set(err, ERR_NOMEM, "out of memory");
    if (ok && !slice_copy(s->env.call.method, s->method, sizeof s->method))
        ok = err_rule(err, ERR_FORMAT, "method_invalid", "the method is too long");
    ok = ok && expand_call_url(s->expand, &s->env.call, &url, err) &&
         check_url(s, buf_slice(&url), err) && build_body(s, err) && user_headers(s, err) &&
         own_headers(s, err);
    if (ok)
        header_end(s);
    else
        err_prefix(err, "job %s: ", s->name);
    buf_deinit(&url);
    return ok;
}

/* ---- the wire ---- */

static bool address_ok(void *owner, const struct sockaddr *addr, struct err *err)
{
    const struct step *s = owner;

    return egress_check_address(s->conn->cfg->policy.allow_private, addr, err);
}

/* An answer that holds the token we sent is kept without it: it must not travel on in a result. It
 * is looked for in all that is kept: body, media type, and for `as: response` the headers. */
static bool may_hold_token(const struct step *s, struct slice text)
{
    return redact_may_hold(text, step_sent_token(s));
}

static bool without_token(struct step *s, struct slice text, struct buf *out)
{
    bool found = redact(text, step_sent_token(s), out);

    s->redacted = s->redacted || found;
    return found;
}

static void redact_answer(struct step *s)
{
    struct buf clean;

    if (!may_hold_token(s, slice_cstr(s->type)) && !may_hold_token(s, buf_slice(&s->answer)))
        return;
    buf_init(&clean, s->answer.max + s->answer.max / 4 + 1024); /* a token of 8 becomes 10 */
    if (without_token(s, slice_cstr(s->type), &clean))
        s->type[0] = '\0';
    buf_clear(&clean);
    if (without_token(s, buf_slice(&s->answer), &clean)) {
        buf_wipe(&s->answer);
        s->answer = clean;
    } else {
        buf_wipe(&clean);
    }
}

static bool is_secret_header(struct slice name)
{
    return slice_eq_nocase(name, SLICE_LIT("set-cookie")) ||
           slice_eq_nocase(name, SLICE_LIT("authorization")) ||
           slice_eq_nocase(name, SLICE_LIT("www-authenticate"));
}

static bool is_named_before(const struct http_result *res, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (slice_eq_nocase(res->headers[k].name, res->headers[i].name))
            return true;
    return false;
}

/* RFC 9110 section 5.3: several of one name are one list. */
static void join_values(const struct http_result *res, size_t i, struct buf *to)
{
    buf_clear(to);
    buf_add_slice(to, res->headers[i].value);
    for (size_t k = i + 1; k < res->header_count; k++) {
        if (!slice_eq_nocase(res->headers[k].name, res->headers[i].name))
            continue;
        buf_add_cstr(to, ", ");
        buf_add_slice(to, res->headers[k].value);
    }
}

/* as: response - status, headers and content in one JSON object. */
static void wrap_response(struct step *s, const struct http_result *res)
{
    struct json_writer jw;
    struct buf out, text, values;

    buf_init(&values, 2 * 65536);
    buf_init(&out, s->answer.max * 2 + 65536);
    buf_init(&text, 2 * 65536);
    jw_init(&jw, &out);
    jw_obj(&jw);
    jw_key(&jw, "statusCode");
    jw_int(&jw, res->status);
    jw_key(&jw, "headers");
    jw_obj(&jw);
    for (size_t i = 0; i < res->header_count; i++) {
        if (is_secret_header(res->headers[i].name) || is_named_before(res, i))
            continue;
        buf_clear(&text);
        without_token(s, res->headers[i].name, &text);
        jw_key_slice(&jw, buf_slice(&text));
        buf_clear(&text);
        join_values(res, i, &values);
        without_token(s, buf_slice(&values), &text);
        jw_str(&jw, buf_slice(&text));
    }
    buf_wipe(&values);
    buf_wipe(&text);
    jw_end_obj(&jw);
    jw_key(&jw, "content");
    jw_str(&jw, buf_slice(&s->answer));
    jw_end_obj(&jw);
    if (!buf_ok(&out)) {
        buf_deinit(&out);
        return;
    }
    buf_deinit(&s->answer);
    s->answer = out;
    snprintf(s->type, sizeof s->type, "application/json");
}

static int64_t limit_spent_ms(const struct http_result *res)
{
    struct ratelimit l = {.limits = SLICE_NONE};

    for (size_t i = 0; i < res->header_count; i++)
        ratelimit_note(&l, res->headers[i].name, res->headers[i].value);
    return ratelimit_wait_ms(&l, clock_wall_ms());
}

static void take_answer(struct step *s, const struct http_result *res)
{
    struct slice type = http_header_get(res, "content-type");
    struct buf ours = s->answer; /* goes back in exchange, to be filled by another answer */

    s->status = res->status;
    s->answer = *res->body;
    s->answer.max = ours.max;
    ours.max = res->body->max;
    buf_clear(&ours);
    *res->body = ours;
    s->type[0] = '\0';
    slice_copy(slice_trim(slice_sub(type, 0, slice_find(type, ';'))), s->type, sizeof s->type);
    s->challenge = oauth_challenge_read(http_header_get(res, "www-authenticate"));
    s->retry_after_ms = 0;
    if (!http_retry_after(http_header_get(res, "retry-after"), clock_wall_ms(), &s->retry_after_ms))
        s->retry_after_ms = 0;
    s->spent_ms = limit_spent_ms(res);
    step_take_nonce(s, res);
    buf_clear(&s->location);
    buf_add_slice(&s->location, http_header_get(res, "location"));
    redact_answer(s);
    if (s->env.call.as == AS_RESPONSE && !step_is_redirect(s))
        wrap_response(s, res);
}

static void on_answer(void *owner, const struct http_result *res)
{
    struct step *s = owner;

    s->rq = NULL;
    s->sent = res->sent;
    s->err = res->err;
    s->sent_ms = res->sent_ms > 0 ? res->sent_ms + s->w->skew_ms : s->sent_ms;
    s->answered_ms = res->answered_ms > 0 ? res->answered_ms + s->w->skew_ms : 0;
    meter_http(res->sent == HTTP_ANSWERED ? res->status : 0);
    if (res->sent == HTTP_ANSWERED) {
        s->err = (struct err){0};
        take_answer(s, res);
    }
    audit_use(s->w->audit, s);
    step_advance(s);
}

/* What is left of the call's time: the hops of a redirect and the replay after a 401 share it, or a
 * step could outlast what the housekeeper takes for the longest. */
static int64_t time_limit(struct step *s)
{
    int64_t ms = s->env.call.timeout_ms > 0 ? s->env.call.timeout_ms : s->w->set->step_timeout_ms;
    int64_t now = clock_boot_ms();

    if (s->redirects == 0 && !s->replay_used)
        s->begun_boot_ms = now;
    ms = ms < s->w->set->step_max_ms ? ms : s->w->set->step_max_ms;
    ms -= now - s->begun_boot_ms;
    return ms > 1 ? ms : 1;
}

/* Just before the first byte, when a name was looked up and a link made: a worker that was stopped
 * meanwhile must not make a call that somebody else may be making by now. */
static bool life_is_confirmed(void *owner, struct err *err)
{
    const struct step *s = owner;

    return worker_may_call(s->w) ||
           err_set(err, ERR_LOST, "this worker was not heard of for a lease");
}

/* The settings may have changed since the URL was checked: while Redis was away, or between a 401
 * and its replay. */
static bool still_allowed(struct step *s, struct err *err)
{
    struct slice url = buf_slice(&s->url);

    return strcmp(s->checked_cd, s->conn->cd) == 0 || check_url(s, url, err) ||
           err_prefix(err, "job %s: ", s->name);
}

static void forget_answer(struct step *s)
{
    s->sent_ms = s->answered_ms = 0;
    s->status = 0;
    s->type[0] = '\0';
    buf_clear(&s->answer);
}

bool step_start_request(struct step *s, struct err *err)
{
    struct buf proof;
    struct http_call hc = {
        .method = s->method,
        .url = s->url.ptr,
        .headers = s->headers,
        .header_count = s->header_count,
        .body = buf_slice(&s->body),
        .has_body = s->has_body,
        .connect_timeout_ms = s->w->set->connect_timeout_ms,
        .total_timeout_ms = time_limit(s),
        .max_body_bytes = (size_t)s->w->set->answer_max_bytes,
        .address_ok = address_ok,
        .before_send = life_is_confirmed,
        .once = s->env.call.ambiguous == AMBIGUOUS_DEAD,
    };

    if (!still_allowed(s, err))
        return false;
    hc.url = s->url.ptr;
    if (!s->drop_token)
        hc.secret = (struct http_header){SLICE_LIT("Authorization"),
                                         slice_of(s->token->header, s->token->header_len)};
    if (!s->drop_token) /* like the token, it is for the servers of its connection only */
        hc.cert = s->conn->cert;
    forget_answer(s);
    if (step_prove(s, &proof, err)) {
        if (proof.len > 0)
            hc.more = (struct http_header){SLICE_LIT("DPoP"), buf_slice(&proof)};
        s->rq = http_start(s->w->http, &hc, on_answer, s, err);
    }
    buf_deinit(&proof);
    return s->rq != NULL;
}

/* ---- redirects: ours to follow, hop by hop, with the policy asked again at each ---- */

bool step_is_redirect(const struct step *s)
{
    return (s->status == 301 || s->status == 302 || s->status == 303 || s->status == 307 ||
            s->status == 308) &&
           s->location.len > 0;
}

/* RFC 9110 section 15.4: 303 turns into GET, as in practice 301 and 302 do for POST; 307 and 308
 * repeat the request as it was. */
static void change_method(struct step *s)
{
    bool to_get = (s->status == 303 && strcmp(s->method, "HEAD") != 0) ||
                  ((s->status == 301 || s->status == 302) && strcmp(s->method, "POST") == 0);

    if (!to_get)
        return;
    snprintf(s->method, sizeof s->method, "GET");
    buf_clear(&s->body);
    s->has_body = false;
    for (size_t i = 0; i < s->header_count; i++) {
        if (slice_eq_nocase(s->headers[i].name, SLICE_LIT("content-type")))
            s->headers[i--] = s->headers[--s->header_count];
    }
}

bool step_follow_redirect(struct step *s, struct err *err)
{
    struct buf next;
    char *before = slice_dup(buf_slice(&s->url));
    bool ok;

    buf_init(&next, s->url.max);
    ok = before || err_set(err, ERR_NOMEM, "out of memory");
    if (ok && ++s->redirects > STEP_REDIRECTS)
        ok = err_rule(err, ERR_FORMAT, "too_many_redirects", "more than %d redirects",
                      STEP_REDIRECTS);
    if (ok)
        change_method(s);
    ok = ok && egress_resolve(buf_slice(&s->url), buf_slice(&s->location), &next, err) &&
         check_url(s, buf_slice(&next), err);
    if (ok && !egress_same_origin(slice_cstr(before), buf_slice(&s->url)))
        s->drop_token = true; /* and it stays dropped, wherever the next hop leads */
    if (!ok &&
        redact_holds(buf_slice(&s->location), step_sent_token(s))) /* texts name the host, say */
        err_rule(err, err->code, err->rule, "refused; it held the access token");
    if (!ok)
        err_prefix(err, "job %s: redirect: ", s->name);
    free(before);
    buf_deinit(&next);
    return ok;
}

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/egress.h"
#include "common/json.h"
#include "common/log.h"
#include "common/ratelimit.h"
#include "worker/audit.h"
#include "worker/meters.h"
#include "worker/redact.h"
#include "worker/step_parts.h"

#define TOKEN_ROOM (80 * 1024)

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

static int64_t limit_spent_ms(const struct step *s, const struct http_result *res)
{
    struct ratelimit l = {.limits = SLICE_NONE};

    for (size_t i = 0; i < res->header_count; i++)
        ratelimit_note(&l, res->headers[i].name, res->headers[i].value);
    return ratelimit_wait_ms(&l, worker_now_ms(s->w));
}

static void take_answer(struct step *s, const struct http_result *res)
{
    struct slice type = http_header_get(res, "content-type");
    int64_t wait_ms;
    struct buf ours = s->answer; /* goes back in exchange, to be filled by another answer */

    s->too_much = step_is_too_much(s, res, &wait_ms); /* while its body is there */
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
    if (!http_retry_after(http_header_get(res, "retry-after"), worker_now_ms(s->w),
                          &s->retry_after_ms))
        s->retry_after_ms = 0;
    s->spent_ms = limit_spent_ms(s, res);
    if (s->too_much && wait_ms > s->retry_after_ms)
        s->retry_after_ms = wait_ms;
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
    s->status = res->head_status;
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

    return strcmp(s->checked_cd, s->conn->cd) == 0 || step_check_url(s, url, err) ||
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
    struct buf proof, room;
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

    if (s->relative ? !step_place_by_token(s, err) : !still_allowed(s, err))
        return false;
    hc.url = s->url.ptr;
    buf_init(&room, TOKEN_ROOM);
    if (!s->drop_token) /* like the token, it is for the servers of its connection only */
        hc.cert = s->conn->cert;
    forget_answer(s);
    if (step_prove(s, &proof, err) && (s->drop_token || step_place_token(s, &hc, &room, err))) {
        if (proof.len > 0)
            hc.more = (struct http_header){SLICE_LIT("DPoP"), buf_slice(&proof)};
        s->rq = http_start(s->w->http, &hc, on_answer, s, err);
    }
    buf_wipe(&room);
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

/* The token stays dropped, wherever the next hop leads. */
static void leave_origin(struct step *s)
{
    s->drop_token = true;
    step_drop_own_headers(s);
}

bool step_follow_redirect(struct step *s, struct err *err)
{
    struct buf where, next;
    char *before = slice_dup(buf_slice(&s->url));
    bool ok;

    buf_init(&where, s->url.max);
    buf_init(&next, s->url.max);
    ok = before || err_set(err, ERR_NOMEM, "out of memory");
    if (ok && ++s->redirects > STEP_REDIRECTS)
        ok = err_rule(err, ERR_FORMAT, "too_many_redirects", "more than %d redirects",
                      STEP_REDIRECTS);
    if (ok)
        change_method(s);
    ok = ok && egress_resolve(buf_slice(&s->url), buf_slice(&s->location), &where, err) &&
         (step_drop_token(s, buf_slice(&where), &next) ||
          err_set(err, ERR_NOMEM, "out of memory")) &&
         step_check_url(s, buf_slice(&next), err);
    if (ok && !egress_same_origin(slice_cstr(before), buf_slice(&s->url)))
        leave_origin(s);
    if (!ok &&
        redact_holds(buf_slice(&s->location), step_sent_token(s))) /* texts name the host, say */
        err_rule(err, err->code, err->rule, "refused; it held the access token");
    if (!ok)
        err_prefix(err, "job %s: redirect: ", s->name);
    free(before);
    buf_wipe(&where);
    buf_deinit(&next);
    return ok;
}

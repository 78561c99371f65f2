#include "worker/renew_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/clock.h"
#include "common/egress.h"
#include "common/http.h"
#include "common/log.h"
#include "worker/worker.h"

static bool address_ok(void *owner, const struct sockaddr *addr, struct err *err)
{
    const struct renewal *r = owner;

    return egress_check_address(r->cfg->policy.allow_private, addr, err);
}

/* The last look at the lease, just before the request's first byte: a worker that was stopped in
 * between must not send a refresh token that somebody else may be sending. */
static bool lease_is_ours(void *owner, struct err *err)
{
    const struct renewal *r = owner;
    int64_t used = clock_boot_ms() - r->asked_boot_ms;

    if (used + r->w->set->renew_timeout_ms < r->w->set->renew_lease_ms)
        return true;
    return err_set(err, ERR_LOST, "connection %s: the lease is too old to start a token request",
                   r->c->id);
}

static void on_token(struct renewal *r)
{
    r->lifetime_ms =
        r->answer.lifetime_ms >= 0 ? r->answer.lifetime_ms : r->cfg->default_lifetime_ms;
    if (r->answer.text[0])
        log_event(LOG_WARN, EV_TOKEN_END_UNREAD, F_CSTR("connection", r->c->id),
                  F_CSTR("text", r->answer.text));
    renewal_seal(r);
}

/* Nothing was used up: the server looked at the proof first (RFC 9449 section 8). Once. */
static bool wants_nonce(const struct renewal *r)
{
    return r->dpop && !r->nonce_used && strcmp(r->answer.reason, "use_dpop_nonce") == 0 &&
           conn_nonce(r->c, SLICE_NONE)[0];
}

static void call_again(struct renewal *r)
{
    r->nonce_used = true;
    oauth_answer_deinit(&r->answer);
    if (renewal_build(r)) /* anew: an assertion is for one request */
        renewal_call(r);
    else
        renewal_fail(r, "config");
}

static void judge(struct renewal *r, const struct http_result *res)
{
    static const char *const classes[] = {
        [OAUTH_TOKEN] = "",
        [OAUTH_REFUSED] = "consent",
        [OAUTH_CONFIG] = "config",
        [OAUTH_TRANSIENT] = "transient",
        [OAUTH_THROTTLED] = "throttled",
    };

    const char *class;

    if (r->dpop)
        conn_take_nonce(r->c, SLICE_NONE, http_header_get(res, "dpop-nonce"));
    oauth_answer_judge(&r->answer, r->cfg, res->status, buf_slice(res->body),
                       http_header_get(res, "content-type"), http_header_get(res, "retry-after"),
                       worker_now_ms(r->w));
    if (res->body->ptr)
        sodium_memzero(res->body->ptr, res->body->cap); /* the tokens' raw bytes */
    if (r->answer.outcome == OAUTH_TOKEN) {
        on_token(r);
        return;
    }
    if (wants_nonce(r)) {
        call_again(r);
        return;
    }
    r->retry_after_ms = r->answer.retry_after_ms;
    if (r->retry_after_ms > 0) /* asked of us for all accounts there are at this server */
        endpoint_cool(&r->place, r->retry_after_ms);
    class = classes[r->answer.outcome];
    /* An assertion of our own making: a clock that is off or a key not known there yet passes. */
    if (r->answer.outcome == OAUTH_REFUSED && r->cfg->grant == GRANT_JWT_BEARER)
        class = classes[OAUTH_CONFIG];
    err_set(&r->why, strcmp(class, "consent") == 0 ? ERR_CONSENT : ERR_RETRY, "connection %s: %s",
            r->c->id, r->answer.text);
    renewal_fail(r, class);
}

static void on_http(void *owner, const struct http_result *res)
{
    struct renewal *r = owner;
    const char *class;

    oauth_request_deinit(&r->rq);
    r->sent_ms = res->sent_ms > 0 ? res->sent_ms : r->sent_ms;
    if (res->sent == HTTP_ANSWERED) {
        judge(r, res);
        return;
    }
    r->why = res->err;
    err_prefix(&r->why, "connection %s: token request: ", r->c->id);
    snprintf(r->answer.reason, sizeof r->answer.reason, "%s",
             res->sent == HTTP_NOT_SENT ? "not_sent" : "no_answer");
    class = res->sent == HTTP_NOT_SENT ? "not_sent" : "unknown";
    renewal_fail(r, class);
}

void renewal_call(struct renewal *r)
{
    const struct dpop_request proves = {.method = r->rq.method,
                                        .url = buf_slice(&r->rq.url),
                                        .nonce = slice_cstr(conn_nonce(r->c, SLICE_NONE))};
    struct buf proof;
    struct http_header headers[OAUTH_HEADERS_MAX];
    struct http_call hc = {
        .method = r->rq.method,
        .url = r->rq.url.ptr,
        .headers = headers,
        .header_count = oauth_request_headers(&r->rq, headers),
        .body = buf_slice(&r->rq.body),
        .has_body = strcmp(r->rq.method, "POST") == 0,
        .connect_timeout_ms = r->w->set->connect_timeout_ms,
        .total_timeout_ms = r->w->set->renew_timeout_ms,
        .max_body_bytes = 256 * 1024,
        .address_ok = address_ok,
        .before_send = lease_is_ours,
        .cert = r->cert,
        .fresh_link = true, /* a kept link may end without an answer, and then nobody knows */
    };

    if (r->rq.authorization.len > 0)
        hc.secret =
            (struct http_header){SLICE_LIT("Authorization"), buf_slice(&r->rq.authorization)};
    r->state = RENEW_CALLING;
    r->sent_ms = clock_wall_ms();
    buf_init(&proof, DPOP_PROOF_MAX);
    if (r->dpop) {
        if (!dpop_proof(r->dpop, &proves, worker_now_ms(r->w), &proof, &r->why)) {
            buf_deinit(&proof);
            renewal_fail(r, "not_sent");
            return;
        }
        hc.more = (struct http_header){SLICE_LIT("DPoP"), buf_slice(&proof)};
    }
    if (!http_start(r->w->http, &hc, on_http, r, &r->why))
        renewal_fail(r, "not_sent");
    buf_deinit(&proof);
}

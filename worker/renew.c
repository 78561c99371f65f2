#include "worker/renew.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/oauth.h"
#include "worker/meters.h"
#include "worker/token.h"
#include "worker/worker.h"

#define TOKEN_MAX    (16 * 1024) /* longest token or client secret */
#define BACKOFF_BASE "1000"
#define BACKOFF_CAP  "60000"

enum renewal_state { RENEW_ACQUIRING, RENEW_CALLING, RENEW_STORING, RENEW_FAILING };

struct renewal {
    enum renewal_state state;
    struct worker *w;
    struct conn *c;
    char nonce[33];
    char fence[24];
    uint64_t gen, ver;     /* what it starts from */
    int64_t asked_boot_ms; /* when acquire may first have reached Redis: the lease is counted from
                              here, also when it had to be asked again. 0 = not yet */
    int64_t sent_ms;       /* wall clock, when the token request left */
    struct connection_cfg *cfg;
    char cd[65];
    struct oauth_request rq;
    struct oauth_answer answer;
    struct buf sealed_at, sealed_rt;
    char lifetime[24];
    const char *fail_class;
    struct err why;
    int64_t retry_after_ms;
    bool maybe_asked; /* an acquire is without answer: its lease may be there */
    bool waiting;     /* for the link to come back */
    struct renewal *next, **prev_next;
};

static struct renewal *all; /* of this process: to go on after the link was down */

static void renewal_free(struct renewal *r)
{
    struct worker *w = r->w;

    *r->prev_next = r->next;
    if (r->next)
        r->next->prev_next = r->prev_next;
    r->c->renewal = NULL;
    conn_unref(r->c);
    connection_cfg_free(r->cfg);
    oauth_request_deinit(&r->rq);
    oauth_answer_deinit(&r->answer);
    buf_deinit(&r->sealed_at);
    buf_deinit(&r->sealed_rt);
    free(r);
    worker_on_idle(w); /* a draining worker may have waited for this */
}

static void conn_keys(const struct renewal *r, struct key *conn, struct key *lease)
{
    key_conn(conn, slice_cstr(r->c->id));
    key_conn_lease(lease, slice_cstr(r->c->id));
}

static void acquire(struct renewal *r);
static void call(struct renewal *r);
static void store(struct renewal *r);
static void fail(struct renewal *r);

static void go_on(struct renewal *r)
{
    switch (r->state) {
    case RENEW_ACQUIRING:
        acquire(r);
        break;
    case RENEW_STORING:
        store(r);
        break;
    case RENEW_FAILING:
        fail(r);
        break;
    case RENEW_CALLING:
        break; /* waits for the server, not for Redis */
    }
}

void renewals_resume(struct worker *w)
{
    for (struct renewal *r = all, *next; r; r = next) {
        next = r->next;
        if (r->w == w && r->waiting) {
            r->waiting = false;
            go_on(r);
        }
    }
}

unsigned renewals_active(const struct worker *w)
{
    unsigned n = 0;

    for (const struct renewal *r = all; r; r = r->next)
        n += r->w == w;
    return n;
}

/* Redis did not answer: asked again with the same names when the link is back, so that nothing is
 * done twice. An answer of the token server is kept until it is stored. */
static void wait_for_link(struct renewal *r, const struct err *err)
{
    r->waiting = true;
    if (r->state == RENEW_ACQUIRING) {
        r->maybe_asked = r->maybe_asked || err->code != ERR_UNREACHABLE;
        if (!r->maybe_asked)
            r->asked_boot_ms = 0; /* it never left: no lease can have begun */
    }
    if (r->state == RENEW_STORING)
        log_event(LOG_WARN, EV_TOKEN_LATE, F_CSTR("connection", r->c->id),
                  F_UINT("ver", r->ver + 1), F_ERR(err));
}

/* ---- the lease ---- */

static bool open_secret(struct renewal *r, const char *field, struct slice sealed,
                        struct buf *clear)
{
    struct seal_place place = {slice_cstr(r->w->set->common.prefix),
                               slice_cstr(r->c->id),
                               field,
                               r->gen,
                               0,
                               slice_cstr(r->cd)};
    size_t len = 0;

    if (sealed.len == 0)
        return true;
    if (!buf_reserve(clear, seal_clear_len(sealed) + 1))
        return err_set(&r->why, ERR_NOMEM, "connection %s: out of memory", r->c->id);
    if (!seal_open(r->w->keys, KEY_GRANT, &place, sealed, clear->ptr, clear->cap, &len, &r->why))
        return err_prefix(&r->why, "connection %s: %s: ", r->c->id, field);
    clear->len = len;
    return true;
}

static bool prepare(struct renewal *r, const struct redis_reply *a)
{
    struct slice prefix = slice_cstr(r->w->set->common.prefix), id = slice_cstr(r->c->id);
    struct connection_record rec = {.exists = true,
                                    .cfg = redis_reply_str(redis_reply_at(a, 5)),
                                    .cm = redis_reply_str(redis_reply_at(a, 6)),
                                    .cd = redis_reply_str(redis_reply_at(a, 7))};
    struct buf rt, cs;
    bool ok;

    buf_init(&rt, TOKEN_MAX);
    buf_init(&cs, TOKEN_MAX);
    ok = connection_record_verify(&rec, r->w->keys, prefix, id, &r->why) &&
         (r->cfg = connection_cfg_parse(rec.cfg, &r->why)) != NULL &&
         slice_copy(rec.cd, r->cd, sizeof r->cd) &&
         open_secret(r, "rt", redis_reply_str(redis_reply_at(a, 8)), &rt) &&
         open_secret(r, "cs", redis_reply_str(redis_reply_at(a, 9)), &cs) &&
         egress_check_endpoint(r->cfg->policy.insecure_http, r->cfg->token_url, &r->why) &&
         oauth_request_build(&r->rq, r->cfg, buf_slice(&cs), buf_slice(&rt), &r->why);
    buf_wipe(&rt);
    buf_wipe(&cs);
    return ok;
}

/* Nothing was sent: the intent is taken back. */
static void fail_unsent(struct renewal *r, const char *class)
{
    r->fail_class = class;
    r->state = RENEW_FAILING;
    fail(r);
}

/* There is nothing to ask with. A grant that has no refresh token is its owner's to mend; the rest
 * (keys, settings, an edited record) is the operator's. */
static void fail_unprepared(struct renewal *r)
{
    bool consent = r->why.code == ERR_CONSENT;

    snprintf(r->answer.reason, sizeof r->answer.reason, "%s",
             consent          ? "no_refresh_token"
             : r->why.rule[0] ? r->why.rule
                              : err_code_name(r->why.code));
    fail_unsent(r, consent ? "consent" : "refused");
}

static void on_lease(struct renewal *r, const struct redis_reply *a)
{
    struct slice fence = redis_reply_str(redis_reply_at(a, 1));

    r->gen = (uint64_t)redis_reply_int(redis_reply_at(a, 2), 0);
    r->ver = (uint64_t)redis_reply_int(redis_reply_at(a, 3), 0);
    if (!slice_copy(fence, r->fence, sizeof r->fence)) {
        renewal_free(r);
        return;
    }
    log_event(LOG_INFO, EV_TOKEN_RENEWING, F_CSTR("connection", r->c->id), F_UINT("ver", r->ver),
              F_CSTR("fence", r->fence));
    /* This worker is on its way out, and what begins now it might not see the end of: a refresh
     * token that was sent and whose answer nobody stores costs its owner a new consent. */
    if (r->w->phase != PHASE_RUNNING) {
        err_set(&r->why, ERR_CANCELLED, "connection %s: this worker is draining", r->c->id);
        fail_unsent(r, "not_sent");
        return;
    }
    if (!prepare(r, a)) {
        fail_unprepared(r);
        return;
    }
    call(r);
}

static void on_acquire(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct renewal *r = owner;
    struct conn *c = r->c;
    struct slice said = redis_reply_str(redis_reply_at(reply, 0));

    if (err) {
        if (err->code == ERR_CANCELLED)
            renewal_free(r);
        else
            wait_for_link(r, err);
        return;
    }
    if (slice_is(said, "LEASE")) {
        on_lease(r, reply);
        return;
    }
    meter_acquire(said);
    c->stale = true; /* whatever it is, the record is not what we thought */
    if (slice_is(said, "BACKOFF")) {
        c->state = CONN_BACKOFF;
        c->next_ms = redis_reply_int(redis_reply_at(reply, 1), 0);
    }
    if (slice_is(said, "CONSENT") && c->state != CONN_CONSENT) {
        c->state = CONN_CONSENT;
        log_event(LOG_ERROR, EV_TOKEN_NEEDS_CONSENT, F_CSTR("connection", c->id),
                  F_STR("reason", redis_reply_str(redis_reply_at(reply, 1))));
    }
    if (slice_is(said, "HAVE"))
        tokens_wake(r->w->tokens, "conn", c->id); /* somebody parked between our look and now */
    renewal_free(r);
}

static void acquire(struct renewal *r)
{
    struct key conn, lease;
    char gen[24], ver[24], lease_ms[24], grace[24];
    struct err err = {0};

    conn_keys(r, &conn, &lease);
    snprintf(gen, sizeof gen, "%" PRIu64, r->gen);
    snprintf(ver, sizeof ver, "%" PRIu64, r->ver);
    snprintf(lease_ms, sizeof lease_ms, "%" PRId64, r->w->set->renew_lease_ms);
    snprintf(grace, sizeof grace, "%" PRId64, r->w->set->renew_grace_ms);
    const struct slice argv[] = {
        key_slice(&conn),     key_slice(&lease),    slice_cstr(gen),   slice_cstr(ver),
        slice_cstr(r->nonce), slice_cstr(lease_ms), slice_cstr(grace),
    };

    r->state = RENEW_ACQUIRING;
    if (r->asked_boot_ms == 0)
        r->asked_boot_ms = clock_boot_ms();
    if (!redis_script(r->w->link, SCRIPT_acquire, 2, ARRAY_LEN(argv), argv, on_acquire, r, &err))
        wait_for_link(r, &err);
}

void renewal_start(struct worker *w, struct conn *c, uint64_t ver)
{
    struct renewal *r;

    if (!keyring_has(w->keys, KEY_GRANT)) /* a worker that only runs steps */
        return;
    if (w->phase != PHASE_RUNNING) /* it would have to be waited for; others will */
        return;
    r = calloc(1, sizeof *r);
    if (!r)
        return; /* the next step asks again */
    r->w = w;
    r->c = conn_ref(c);
    r->gen = c->gen;
    r->ver = ver;
    id_hex(r->nonce, 16);
    buf_init(&r->sealed_at, TOKEN_MAX + 256);
    buf_init(&r->sealed_rt, TOKEN_MAX + 256);
    r->next = all;
    r->prev_next = &all;
    if (all)
        all->prev_next = &r->next;
    all = r;
    c->renewal = r;
    acquire(r);
}

/* ---- the token request ---- */

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

static void seal_answer(struct renewal *r)
{
    struct slice prefix = slice_cstr(r->w->set->common.prefix), id = slice_cstr(r->c->id);
    struct seal_place at = {prefix, id, "at", r->gen, r->ver + 1, slice_cstr(r->cd)};
    struct seal_place rt = {prefix, id, "rt", r->gen, 0, slice_cstr(r->cd)};
    struct slice refresh = r->answer.refresh_token;

    buf_clear(&r->sealed_at);
    buf_clear(&r->sealed_rt);
    if (r->cfg->grant != GRANT_REFRESH_TOKEN)
        refresh = SLICE_NONE; /* RFC 6749 section 4.4.3: should not be there; we would not use it */
    if (!seal_seal(r->w->keys, KEY_ACCESS, &at, r->answer.access_token, &r->sealed_at, &r->why) ||
        (refresh.len > 0 &&
         !seal_seal(r->w->keys, KEY_GRANT, &rt, refresh, &r->sealed_rt, &r->why))) {
        r->fail_class = "unknown"; /* the answer is good and we cannot keep it: do not send again */
        r->state = RENEW_FAILING;
        fail(r);
        return;
    }
    store(r);
}

static void on_token(struct renewal *r)
{
    int64_t life = r->answer.lifetime_ms >= 0 ? r->answer.lifetime_ms : r->cfg->default_lifetime_ms;

    /* counted from when the request left: the server's clock began somewhere in between */
    life -= clock_wall_ms() - r->sent_ms;
    snprintf(r->lifetime, sizeof r->lifetime, "%" PRId64, life > 0 ? life : 0);
    seal_answer(r);
}

static void judge(struct renewal *r, const struct http_result *res)
{
    static const char *const classes[] = {
        [OAUTH_TOKEN] = "",
        [OAUTH_REFUSED] = "consent",
        [OAUTH_CONFIG] = "refused",
        [OAUTH_TRANSIENT] = "refused",
        [OAUTH_THROTTLED] = "refused",
    };

    oauth_answer_judge(&r->answer, res->status, buf_slice(res->body),
                       http_header_get(res, "content-type"), http_header_get(res, "retry-after"),
                       clock_wall_ms());
    if (res->body->ptr)
        sodium_memzero(res->body->ptr, res->body->cap); /* the tokens' raw bytes */
    if (r->answer.outcome == OAUTH_TOKEN) {
        on_token(r);
        return;
    }
    r->fail_class = classes[r->answer.outcome];
    r->retry_after_ms = r->answer.retry_after_ms;
    err_set(&r->why, r->answer.outcome == OAUTH_REFUSED ? ERR_CONSENT : ERR_RETRY,
            "connection %s: %s", r->c->id, r->answer.text);
    r->state = RENEW_FAILING;
    fail(r);
}

static void on_http(void *owner, const struct http_result *res)
{
    struct renewal *r = owner;

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
    r->fail_class = res->sent == HTTP_NOT_SENT ? "not_sent" : "unknown";
    r->state = RENEW_FAILING;
    fail(r);
}

static void call(struct renewal *r)
{
    char *url = slice_dup(r->cfg->token_url);
    struct http_header headers[] = {
        {SLICE_LIT("Content-Type"), SLICE_LIT("application/x-www-form-urlencoded")},
        {SLICE_LIT("Accept"), SLICE_LIT("application/json")},
    };
    struct http_call hc = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body = buf_slice(&r->rq.body),
        .has_body = true,
        .connect_timeout_ms = r->w->set->connect_timeout_ms,
        .total_timeout_ms = r->w->set->renew_timeout_ms,
        .max_body_bytes = 256 * 1024,
        .address_ok = address_ok,
        .before_send = lease_is_ours,
        .fresh_link = true, /* a kept link may end without an answer, and then nobody knows */
    };

    if (r->rq.authorization.len > 0)
        hc.secret =
            (struct http_header){SLICE_LIT("Authorization"), buf_slice(&r->rq.authorization)};
    r->state = RENEW_CALLING;
    r->sent_ms = clock_wall_ms();
    if (!url || !http_start(r->w->http, &hc, on_http, r, &r->why))
        fail_unsent(r, "not_sent");
    free(url);
}

/* ---- store, or fail ---- */

static void on_reread(void *owner, struct conn *c, const struct err *err)
{
    struct renewal *r = owner;

    if (err) {
        wait_for_link(r, err);
        return;
    }
    if (c->cfg && c->gen == r->gen && slice_copy(slice_cstr(c->cd), r->cd, sizeof r->cd))
        seal_answer(r);
    else
        renewal_free(r); /* linked anew or removed: this answer is nobody's */
    conn_unref(c);
}

/* ---- P:conns: when a renewer should look at a connection; a score below 0 is an ask ---- */

static void on_indexed(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* an index: the record decides */
}

static void renewal_index(struct worker *w, const char *id, int64_t at_ms)
{
    struct key conns;
    char at[24];
    struct err err = {0};

    key_conns(&conns);
    snprintf(at, sizeof at, "%" PRId64, at_ms);
    const struct slice argv[] = {SLICE_LIT("ZADD"), key_slice(&conns), slice_cstr(at),
                                 slice_cstr(id)};

    (void)redis_command(w->link, ARRAY_LEN(argv), argv, 0, on_indexed, w, &err);
}

struct ask { /* somebody asked for a renewal, at that time */
    struct worker *w;
    int64_t at_ms;
};

static void on_asked_conn(void *owner, struct conn *c, const struct err *err)
{
    struct ask *a = owner;

    /* a token that was born since is what was asked for */
    if (!err && (c->state == CONN_OK || c->state == CONN_BACKOFF) && c->born_ms <= a->at_ms) {
        /* A renewal under way here may be of the grant before this one, and dropped: ask again. */
        if (c->renewal)
            renewal_index(a->w, c->id, -a->at_ms);
        else
            tokens_want(a->w->tokens, c, c->ver);
    }
    if (!err)
        conn_unref(c);
    free(a);
}

static void take_up(struct worker *w, struct slice member, int64_t score)
{
    struct ask *a = calloc(1, sizeof *a);
    char id[ID_MAX + 1];
    struct conn *c;
    struct err err = {0};

    if (!a || !slice_copy(member, id, sizeof id)) {
        free(a);
        return;
    }
    *a = (struct ask){w, -score};
    renewal_index(w, id, worker_now_ms(w) + w->set->renew_lease_ms);
    if (tokens_look(w->tokens, slice_cstr(id), true, &c, on_asked_conn, a, &err) != LOOK_LATER)
        free(a);
}

static void on_asked(void *owner, const struct redis_reply *reply, const struct err *err)
{
    for (size_t i = 0; !err && i + 1 < redis_reply_len(reply); i += 2)
        take_up(owner, redis_reply_str(redis_reply_at(reply, i)),
                redis_reply_int(redis_reply_at(reply, i + 1), 0));
}

/* A score below 0 is an ask: minus the time (ms, Redis' clock) at which somebody wanted a new
 * token. */
void renewals_take_asked(struct worker *w)
{
    struct key conns;
    struct err err = {0};

    key_conns(&conns);
    const struct slice argv[] = {
        SLICE_LIT("ZRANGE"), key_slice(&conns),    SLICE_LIT("-inf"),
        SLICE_LIT("(0"),     SLICE_LIT("BYSCORE"), SLICE_LIT("LIMIT"),
        SLICE_LIT("0"),      SLICE_LIT("10"),      SLICE_LIT("WITHSCORES")};

    if (keyring_has(w->keys, KEY_GRANT))
        (void)redis_command(w->link, ARRAY_LEN(argv), argv, 0, on_asked, w, &err);
}

static void stored(struct renewal *r, const struct redis_reply *reply)
{
    struct conn *c = r->c;
    uint64_t ver = (uint64_t)redis_reply_int(redis_reply_at(reply, 1), 0);
    int64_t exp = redis_reply_int(redis_reply_at(reply, 2), 0);
    int64_t now = worker_now_ms(r->w);

    meter_renewal("renewed");
    meter_token_wait(clock_boot_ms() - r->asked_boot_ms);
    log_event(LOG_INFO, EV_TOKEN_RENEWED, F_CSTR("connection", c->id), F_UINT("ver", ver),
              F_INT("lifetime_ms", exp - now),
              F_INT("took_ms", clock_boot_ms() - r->asked_boot_ms));
    tokens_adopt(r->w->tokens, c, r->gen, ver, now, exp, r->answer.access_token);
    renewal_index(r->w, c->id,
                  oauth_renew_at_ms(slice_cstr(c->id), ver, now, exp, r->cfg->refresh_margin_ms));
    tokens_wake(r->w->tokens, "conn", c->id);
    renewal_free(r);
}

static void on_store(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct renewal *r = owner;
    struct worker *w = r->w;
    struct slice said = redis_reply_str(redis_reply_at(reply, 0));
    struct conn *now;
    struct err why = {0};

    if (err) {
        if (err->code == ERR_CANCELLED)
            renewal_free(r);
        else
            wait_for_link(r, err);
        return;
    }
    if (slice_is(said, "STORED")) {
        stored(r, reply);
        return;
    }
    if (slice_is(said, "CFG")) { /* settings changed meanwhile: seal for the new ones */
        if (tokens_look(r->w->tokens, slice_cstr(r->c->id), true, &now, on_reread, r, &why) !=
            LOOK_LATER)
            wait_for_link(r, &why);
        return;
    }
    meter_renewal("late");
    log_event(LOG_WARN, EV_TOKEN_LATE, F_CSTR("connection", r->c->id), F_UINT("ver", r->ver + 1),
              F_CSTR("fence", r->fence));
    r->c->stale = true;
    renewal_free(r);
    renewals_take_asked(w); /* linked anew meanwhile, most likely, and its first token asked for */
}

static void store(struct renewal *r)
{
    struct key conn, lease, changed;
    char gen[24], ver[24];
    struct err err = {0};

    conn_keys(r, &conn, &lease);
    key_changed(&changed);
    snprintf(gen, sizeof gen, "%" PRIu64, r->gen);
    snprintf(ver, sizeof ver, "%" PRIu64, r->ver);
    const struct slice argv[] = {
        key_slice(&conn),        key_slice(&lease),        slice_cstr(r->fence),
        slice_cstr(r->nonce),    slice_cstr(gen),          slice_cstr(ver),
        slice_cstr(r->cd),       buf_slice(&r->sealed_at), buf_slice(&r->sealed_rt),
        slice_cstr(r->lifetime), r->answer.scope,          key_slice(&changed),
        slice_cstr(r->c->id),
    };

    r->state = RENEW_STORING;
    if (!redis_script(r->w->link, SCRIPT_store, 2, ARRAY_LEN(argv), argv, on_store, r, &err))
        wait_for_link(r, &err);
}

static void on_fail(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct renewal *r = owner;
    struct slice state = redis_reply_str(redis_reply_at(reply, 1));

    if (err) {
        if (err->code == ERR_CANCELLED)
            renewal_free(r);
        else
            wait_for_link(r, err);
        return;
    }
    r->c->stale = true;
    if (slice_is(state, "NEEDS_CONSENT")) {
        meter_renewal("needs_consent");
        r->c->state = CONN_CONSENT;
        log_event(LOG_ERROR, EV_TOKEN_NEEDS_CONSENT, F_CSTR("connection", r->c->id),
                  F_CSTR("reason", r->answer.reason), F_ERR(&r->why));
    } else {
        meter_renewal("failed");
        r->c->state = CONN_BACKOFF;
        r->c->next_ms = redis_reply_int(redis_reply_at(reply, 2), 0);
        log_event(LOG_WARN, EV_TOKEN_FAILED, F_CSTR("connection", r->c->id),
                  F_CSTR("class", r->fail_class), F_CSTR("reason", r->answer.reason),
                  F_INT("tries", redis_reply_int(redis_reply_at(reply, 3), 0)), F_ERR(&r->why));
    }
    renewal_free(r);
}

static void fail(struct renewal *r)
{
    struct key conn, lease, changed;
    char gen[24], floor_ms[24], dice[16];
    struct err err = {0};

    conn_keys(r, &conn, &lease);
    key_changed(&changed);
    snprintf(gen, sizeof gen, "%" PRIu64, r->gen);
    snprintf(floor_ms, sizeof floor_ms, "%" PRId64, r->retry_after_ms);
    snprintf(dice, sizeof dice, "%" PRId64, id_uniform_ms(1000));
    const struct slice argv[] = {
        key_slice(&conn),
        key_slice(&lease),
        slice_cstr(r->fence),
        slice_cstr(r->nonce),
        slice_cstr(gen),
        slice_cstr(r->fail_class),
        slice_cstr(r->answer.reason[0] ? r->answer.reason : err_code_name(r->why.code)),
        slice_cstr(r->why.msg),
        SLICE_LIT(BACKOFF_BASE),
        SLICE_LIT(BACKOFF_CAP),
        slice_cstr(floor_ms),
        slice_cstr(dice),
        key_slice(&changed),
        slice_cstr(r->c->id),
    };

    if (!redis_script(r->w->link, SCRIPT_fail, 2, ARRAY_LEN(argv), argv, on_fail, r, &err))
        wait_for_link(r, &err);
}

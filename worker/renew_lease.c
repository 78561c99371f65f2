#include "worker/renew_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/clock.h"
#include "common/egress.h"
#include "common/log.h"
#include "worker/meters.h"
#include "worker/worker.h"

static bool open_secret(struct renewal *r, enum key_kind kind, const char *field,
                        struct slice sealed, struct buf *clear)
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
    if (!seal_open(r->w->keys, kind, &place, sealed, clear->ptr, clear->cap, &len, &r->why))
        return false;
    clear->len = len;
    return true;
}

static bool open_dpop_key(struct renewal *r, struct slice sealed)
{
    struct buf pem;

    if (r->cfg->dpop == JWT_ALG_OF_KEY)
        return true;
    buf_init(&pem, RENEW_TOKEN_MAX);
    if (open_secret(r, KEY_ACCESS, "dk", sealed, &pem))
        r->dpop = dpop_key_open(buf_slice(&pem), r->cfg->dpop, &r->why);
    buf_wipe(&pem);
    return r->dpop || err_prefix(&r->why, "connection %s: its DPoP key: ", r->c->id);
}

static bool open_cert(struct renewal *r, struct slice sealed)
{
    struct buf clear;

    if (r->cfg->certificate.len == 0)
        return true;
    buf_init(&clear, CLIENT_CERT_PEM_MAX);
    if (open_secret(r, KEY_ACCESS, "tk", sealed, &clear))
        r->cert = tokens_open_cert(r->w->tokens, buf_slice(&clear), &r->why);
    buf_wipe(&clear);
    return r->cert || err_prefix(&r->why, "connection %s: its TLS certificate: ", r->c->id);
}

/* The lease may have been given before, and the link lost while replicas were waited for. */
static void unprepare(struct renewal *r)
{
    connection_cfg_free(r->cfg);
    r->cfg = NULL;
    dpop_key_free(r->dpop);
    r->dpop = NULL;
    client_cert_unref(r->cert);
    r->cert = NULL;
    oauth_request_deinit(&r->rq);
    buf_clear(&r->lease_rt);
    buf_clear(&r->lease_cs);
}

bool renewal_build(struct renewal *r)
{
    struct buf rt, cs;
    bool ok;

    oauth_request_deinit(&r->rq);
    buf_init(&rt, RENEW_TOKEN_MAX);
    buf_init(&cs, RENEW_TOKEN_MAX);
    ok = open_secret(r, KEY_GRANT, "rt", buf_slice(&r->lease_rt), &rt) &&
         open_secret(r, KEY_GRANT, "cs", buf_slice(&r->lease_cs), &cs) &&
         oauth_request_build(&r->rq, r->cfg, buf_slice(&cs), buf_slice(&rt), worker_now_ms(r->w),
                             &r->why);
    buf_wipe(&rt);
    buf_wipe(&cs);
    return ok;
}

static bool prepare(struct renewal *r, const struct redis_reply *a)
{
    struct slice prefix = slice_cstr(r->w->set->common.prefix), id = slice_cstr(r->c->id);
    struct connection_record rec = {.exists = true,
                                    .cfg = redis_reply_str(redis_reply_at(a, 5)),
                                    .cm = redis_reply_str(redis_reply_at(a, 6)),
                                    .cd = redis_reply_str(redis_reply_at(a, 7))};
    unprepare(r);
    return connection_record_verify(&rec, r->w->keys, prefix, id, &r->why) &&
           (r->cfg = connection_cfg_parse(rec.cfg, &r->why)) != NULL &&
           slice_copy(rec.cd, r->cd, sizeof r->cd) &&
           ((buf_add_slice(&r->lease_rt, redis_reply_str(redis_reply_at(a, 8))) &&
             buf_add_slice(&r->lease_cs, redis_reply_str(redis_reply_at(a, 9)))) ||
            err_rule(&r->why, ERR_FORMAT, "seal_broken",
                     "connection %s: what is sealed there is longer than any token", r->c->id)) &&
           open_dpop_key(r, redis_reply_str(redis_reply_at(a, 11))) &&
           open_cert(r, redis_reply_str(redis_reply_at(a, 12))) &&
           egress_check_endpoint(r->cfg->policy.insecure_http, oauth_renewal_url(r->cfg),
                                 &r->why) &&
           renewal_build(r);
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
    renewal_fail(r, consent ? "consent" : r->why.code == ERR_RETRY ? "not_sent" : "config");
}

/* This worker is on its way out, and what begins now it might not see the end of: a refresh token
 * that was sent and whose answer nobody stores costs its owner a new consent. */
static void give_back(struct renewal *r)
{
    err_set(&r->why, ERR_CANCELLED, "connection %s: this worker is draining", r->c->id);
    renewal_fail(r, "not_sent");
}

/* The lease must survive the death of this Redis: the one that takes over would give it to the next
 * who asks, and the refresh token would be sent twice. */
static void on_copied(void *owner, bool enough, const struct err *err)
{
    struct renewal *r = owner;

    if (err && err->code != ERR_CONFIG) {
        renewal_answered(r, err); /* nothing was sent: the lease is asked for again */
        return;
    }
    if (err) { /* a user who may not WAIT */
        r->why = *err;
        renewal_fail(r, "config");
    } else if (!enough) {
        err_set(&r->why, ERR_RETRY,
                "connection %s: too few replicas have its lease (wanted: %d, renew-replicas): no "
                "token request is sent",
                r->c->id, replicas_wanted(r->w->replicas));
        snprintf(r->answer.reason, sizeof r->answer.reason, "not_copied");
        renewal_fail(r, "not_sent");
    } else if (r->w->phase != PHASE_RUNNING) {
        give_back(r);
    } else {
        renewal_call(r);
    }
}

static void hold_lease(struct renewal *r)
{
    struct err err = {0};

    if (replicas_wanted(r->w->replicas) == 0)
        renewal_call(r);
    else if (!replicas_ask(r->w->replicas, r->link, &r->copied, on_copied, r, &err))
        renewal_answered(r, &err);
}

static bool may_replay(const struct renewal *r)
{
    switch (r->cfg->replay) {
    case REPLAY_ALWAYS:
        return true;
    case REPLAY_ONCE:
        return r->replays <= 1;
    case REPLAY_NEVER:
        return r->replays == 0;
    }
    return false;
}

static void on_lease(struct renewal *r, const struct redis_reply *a)
{
    struct slice fence = redis_reply_str(redis_reply_at(a, 1));

    r->gen = (uint64_t)redis_reply_int(redis_reply_at(a, 2), 0);
    r->ver = (uint64_t)redis_reply_int(redis_reply_at(a, 3), 0);
    r->replays = redis_reply_int(redis_reply_at(a, 10), 0);
    if (!slice_copy(fence, r->fence, sizeof r->fence)) {
        renewal_free(r);
        return;
    }
    log_event(LOG_INFO, EV_TOKEN_RENEWING, F_CSTR("connection", r->c->id), F_UINT("ver", r->ver),
              F_CSTR("fence", r->fence), F_INT("replays", r->replays));
    if (r->w->phase != PHASE_RUNNING) {
        give_back(r);
        return;
    }
    if (!prepare(r, a)) {
        fail_unprepared(r);
        return;
    }
    if (!may_replay(r)) {
        err_set(
            &r->why, ERR_CONSENT,
            "connection %s: an answer of the token server got lost and its refresh token is not "
            "sent again (token.replay); link the account again",
            r->c->id);
        snprintf(r->answer.reason, sizeof r->answer.reason, "answer_lost");
        renewal_fail(r, "consent");
        return;
    }
    hold_lease(r);
}

static void on_acquire(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct renewal *r = owner;
    struct conn *c = r->c;
    struct slice said = redis_reply_str(redis_reply_at(reply, 0));

    if (!renewal_answered(r, err))
        return;
    if (slice_is(said, "LEASE")) {
        on_lease(r, reply);
        return;
    }
    meter_acquire(said);
    c->stale = true; /* whatever it is, the record is not what we thought */
    if (slice_is(said, "BEHIND"))
        tokens_forgotten(r->w->tokens, c);
    if (slice_is(said, "BACKOFF")) {
        c->state = CONN_BACKOFF;
        c->next_ms = redis_reply_int(redis_reply_at(reply, 1), 0);
    }
    if (slice_is(said, "CONSENT")) /* who found that out has said so */
        c->state = CONN_CONSENT;
    if (slice_is(said, "HAVE"))
        tokens_wake(r->w->tokens, "conn", c->id); /* somebody parked between our look and now */
    renewal_free(r);
}

void renewal_acquire(struct renewal *r)
{
    struct renewal_args a;
    char lease_ms[24], grace[24];
    struct err err = {0};

    renewal_args_fill(r, &a);
    snprintf(lease_ms, sizeof lease_ms, "%" PRId64, r->w->set->renew_lease_ms);
    snprintf(grace, sizeof grace, "%" PRId64, r->w->set->renew_grace_ms);
    const struct slice argv[] = {
        key_slice(&a.conn),   key_slice(&a.lease),  slice_cstr(a.gen), slice_cstr(a.ver),
        slice_cstr(r->nonce), slice_cstr(lease_ms), slice_cstr(grace),
    };

    r->state = RENEW_ACQUIRING;
    if (r->asked_boot_ms == 0)
        r->asked_boot_ms = clock_boot_ms();
    replicas_look(r->w->replicas);
    if (!renewal_script(r, SCRIPT_acquire, ARRAY_LEN(argv), argv, on_acquire, &err))
        renewal_wait(r, &err);
}

#include "worker/renew_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/access.h"
#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "worker/audit.h"
#include "worker/memory.h"
#include "worker/meters.h"
#include "worker/worker.h"

/* Each class of failure has a backoff of its own: what only the operator can mend is asked rarely.
 */
static const struct {
    const char *class, *base_ms, *cap_ms;
} backoffs[] = {
    {"not_sent", "1000", "60000"}, {"transient", "1000", "60000"}, {"throttled", "5000", "300000"},
    {"config", "30000", "900000"}, {"unknown", "1000", "60000"},   {"consent", "0", "0"},
};

/* ---- store ---- */

void renewal_seal(struct renewal *r)
{
    struct slice prefix = slice_cstr(r->w->set->common.prefix), id = slice_cstr(r->c->id);
    struct slice cd = slice_cstr(r->cd);
    struct seal_place at = connection_place(prefix, id, "at", r->gen, r->ver + 1, cd);
    struct seal_place rt = connection_place(prefix, id, "rt", r->gen, 0, cd);
    struct slice refresh = r->answer.refresh_token;

    buf_clear(&r->sealed_at);
    buf_clear(&r->sealed_rt);
    buf_clear(&r->access);
    if (!access_write(&r->access, &r->answer)) {
        err_set(&r->why, ERR_NOMEM, "connection %s: its token is too long", r->c->id);
        renewal_fail(r, "unknown");
        return;
    }
    if (!grant_is_renewed(r->cfg->grant))
        refresh = SLICE_NONE; /* RFC 6749 section 4.4.3: should not be there; we would not use it */
    if (!seal_seal(r->w->keys, KEY_ACCESS, &at, buf_slice(&r->access), &r->sealed_at, &r->why) ||
        (refresh.len > 0 &&
         !seal_seal(r->w->keys, KEY_GRANT, &rt, refresh, &r->sealed_rt, &r->why))) {
        /* The answer is good and we cannot keep it: nothing may be sent again. */
        renewal_fail(r, "unknown");
        return;
    }
    renewal_store(r);
}

/* The settings changed since it was sealed. */
static bool seal_for(struct renewal *r, struct slice cd)
{
    struct slice prefix = slice_cstr(r->w->set->common.prefix), id = slice_cstr(r->c->id);
    struct slice old = slice_cstr(r->cd);
    struct seal_place at[2] = {connection_place(prefix, id, "at", r->gen, r->ver + 1, old),
                               connection_place(prefix, id, "at", r->gen, r->ver + 1, cd)};
    struct seal_place rt[2] = {connection_place(prefix, id, "rt", r->gen, 0, old),
                               connection_place(prefix, id, "rt", r->gen, 0, cd)};

    return connection_seal_again(r->w->keys, KEY_ACCESS, &at[0], &at[1], &r->sealed_at, &r->why) &&
           connection_seal_again(r->w->keys, KEY_GRANT, &rt[0], &rt[1], &r->sealed_rt, &r->why) &&
           connection_seal_again(r->w->keys, KEY_GRANT, &rt[0], &rt[1], &r->lease_rt, &r->why) &&
           slice_copy(cd, r->cd, sizeof r->cd);
}

static void on_reread(void *owner, struct conn *c, const struct err *err)
{
    struct renewal *r = owner;

    if (err) {
        renewal_wait(r, err);
        return;
    }
    if (c->cfg && c->gen == r->gen && seal_for(r, slice_cstr(c->cd)))
        renewal_store(r);
    else
        renewal_free(r); /* linked anew or removed: this answer is nobody's */
    conn_unref(c);
}

/* No new refresh token: the lease's, if it is sealed for these settings still. */
static void remember(const struct renewal *r, uint64_t ver, int64_t born_ms, int64_t exp_ms)
{
    const struct stored s = {
        .id = r->c->id,
        .cd = r->cd,
        .fence = r->fence,
        .gen = r->gen,
        .ver = ver,
        .at = buf_slice(&r->sealed_at),
        .rt = buf_slice(r->sealed_rt.len > 0 ? &r->sealed_rt : &r->lease_rt),
        .scope = renewal_scope(r),
        .born_ms = born_ms,
        .exp_ms = exp_ms,
    };

    memory_put(r->w->memory, &s);
}

/* Now it is used. */
static void renewed(struct renewal *r)
{
    struct conn *c = r->c;
    uint64_t ver = r->stored_ver;
    int64_t exp = r->stored_exp_ms, born = r->stored_ms;

    meter_renewal("renewed");
    audit_renewal(r->w->audit, r, "renewed");
    meter_token_wait(clock_boot_ms() - r->asked_boot_ms);
    log_event(LOG_INFO, EV_TOKEN_RENEWED, F_CSTR("connection", c->id), F_UINT("ver", ver),
              F_INT("lifetime_ms", exp - born),
              F_INT("took_ms", clock_boot_ms() - r->asked_boot_ms));
    if (r->of_journal) { /* read it when it is needed */
        tokens_forget(r->w->tokens, slice_cstr(c->id));
        renew_index_put(r->w, c->id, born);
    } else {
        tokens_adopt(r->w->tokens, c, r->gen, ver, born, exp, buf_slice(&r->access),
                     renewal_scope(r));
        renew_index_stored(r->w, c->id, r->cfg, born);
    }
    tokens_wake(r->w->tokens, "conn", c->id);
    renewal_free(r);
}

/* No replica has it: if this Redis dies now, the new token is in this worker's memory alone, which
 * puts it back. It cannot be taken back either, so it is used. */
static void on_copied(void *owner, bool enough, const struct err *err)
{
    struct renewal *r = owner;
    struct err why = {0};

    if (err && err->code == ERR_CANCELLED) {
        renewal_answered(r, err);
        return;
    }
    if (!enough) {
        err_set(&why, ERR_RETRY, "too few replicas have it (wanted: %d, renew-replicas)%s%.150s",
                replicas_wanted(r->w->replicas), err ? ": " : "", err ? err->msg : "");
        log_event(LOG_ERROR, EV_TOKEN_NOT_COPIED, F_CSTR("connection", r->c->id),
                  F_UINT("ver", r->stored_ver), F_ERR(&why));
        meter_not_copied();
    }
    renewed(r);
}

/* Redis has it. Kept from here on, in case it forgets. */
static void stored(struct renewal *r, const struct redis_reply *reply)
{
    struct err err = {0};

    r->state = RENEW_STORED;
    r->stored_ver = (uint64_t)redis_reply_int(redis_reply_at(reply, 1), 0);
    r->stored_exp_ms = redis_reply_int(redis_reply_at(reply, 2), 0);
    r->stored_ms = worker_now_ms(r->w);
    remember(r, r->stored_ver, r->stored_ms, r->stored_exp_ms);
    if (replicas_wanted(r->w->replicas) == 0)
        renewed(r);
    else if (!replicas_ask(r->w->replicas, r->link, &r->copied, on_copied, r, &err))
        on_copied(r, false, &err);
}

static void on_store(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct renewal *r = owner;
    struct worker *w = r->w;
    struct slice said = redis_reply_str(redis_reply_at(reply, 0));
    struct conn *now;
    struct err why = {0};

    if (!renewal_answered(r, err))
        return;
    if (slice_is(said, "STORED")) {
        stored(r, reply);
        return;
    }
    if (slice_is(said, "CFG")) { /* settings changed meanwhile: seal for the new ones */
        if (tokens_look(r->w->tokens, slice_cstr(r->c->id), true, &now, on_reread, r, &why) !=
            LOOK_LATER)
            renewal_wait(r, &why);
        return;
    }
    meter_renewal("late");
    audit_renewal(r->w->audit, r, "late");
    log_event(LOG_WARN, EV_TOKEN_LATE, F_CSTR("connection", r->c->id), F_UINT("ver", r->ver + 1),
              F_CSTR("fence", r->fence));
    r->c->stale = true;
    renewal_free(r);
    renewals_take_asked(w); /* linked anew meanwhile, most likely, and its first token asked for */
}

void renewal_store(struct renewal *r)
{
    /* counted from when the request left: the server's clock began somewhere in between */
    int64_t life = r->lifetime_ms - (clock_wall_ms() - r->sent_ms);
    struct renewal_args a;
    char left[24];
    struct err err = {0};

    snprintf(left, sizeof left, "%" PRId64, life > 0 ? life : 0);
    renewal_args_fill(r, &a);
    const struct slice argv[] = {
        key_slice(&a.conn),   key_slice(&a.lease),      slice_cstr(r->fence),
        slice_cstr(r->nonce), slice_cstr(a.gen),        slice_cstr(a.ver),
        slice_cstr(r->cd),    buf_slice(&r->sealed_at), buf_slice(&r->sealed_rt),
        slice_cstr(left),     renewal_scope(r),         key_slice(&a.changed),
        slice_cstr(r->c->id),
    };

    r->state = RENEW_STORING;
    if (!renewal_script(r, SCRIPT_store, ARRAY_LEN(argv), argv, on_store, &err))
        renewal_wait(r, &err);
}

/* ---- fail ---- */

static void on_fail(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct renewal *r = owner;
    struct slice state = redis_reply_str(redis_reply_at(reply, 1));
    struct slice why = redis_reply_str(redis_reply_at(reply, 4));

    if (!renewal_answered(r, err))
        return;
    r->c->stale = true;
    if (why.len > 0) /* the record's word: a refused replay says that an answer got lost */
        slice_copy(why, r->answer.reason, sizeof r->answer.reason);
    if (slice_is(state, "NEEDS_CONSENT")) {
        meter_renewal("needs_consent");
        audit_renewal(r->w->audit, r, "needs_consent");
        r->c->state = CONN_CONSENT;
        log_event(LOG_ERROR, EV_TOKEN_NEEDS_CONSENT, F_CSTR("connection", r->c->id),
                  F_CSTR("reason", r->answer.reason), F_ERR(&r->why));
    } else {
        meter_renewal("failed");
        audit_renewal(r->w->audit, r, "failed");
        r->c->state = CONN_BACKOFF;
        r->c->next_ms = redis_reply_int(redis_reply_at(reply, 2), 0);
        log_event(LOG_WARN, EV_TOKEN_FAILED, F_CSTR("connection", r->c->id),
                  F_CSTR("class", r->fail_class), F_CSTR("reason", r->answer.reason),
                  F_INT("tries", redis_reply_int(redis_reply_at(reply, 3), 0)), F_ERR(&r->why));
    }
    renewal_free(r);
}

void renewal_fail(struct renewal *r, const char *class)
{
    struct renewal_args a;
    char floor_ms[24], dice[16];
    size_t row = 0;
    struct err err = {0};

    while (strcmp(backoffs[row].class, class) != 0)
        row++;
    renewal_args_fill(r, &a);
    snprintf(floor_ms, sizeof floor_ms, "%" PRId64, r->retry_after_ms);
    snprintf(dice, sizeof dice, "%" PRId64, id_uniform_ms(1000));
    const struct slice argv[] = {
        key_slice(&a.conn),
        key_slice(&a.lease),
        slice_cstr(r->fence),
        slice_cstr(r->nonce),
        slice_cstr(a.gen),
        slice_cstr(class),
        slice_cstr(r->answer.reason[0] ? r->answer.reason : err_code_name(r->why.code)),
        slice_cstr(r->why.msg),
        slice_cstr(backoffs[row].base_ms),
        slice_cstr(backoffs[row].cap_ms),
        slice_cstr(floor_ms),
        slice_cstr(dice),
        key_slice(&a.changed),
        slice_cstr(r->c->id),
    };

    r->state = RENEW_FAILING;
    r->fail_class = class;
    if (!renewal_script(r, SCRIPT_fail, ARRAY_LEN(argv), argv, on_fail, &err))
        renewal_wait(r, &err);
}

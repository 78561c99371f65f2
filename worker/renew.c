#include "worker/renew.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/access.h"
#include "common/clock.h"
#include "common/log.h"
#include "worker/journal.h"
#include "worker/renew_parts.h"
#include "worker/worker.h"

static struct renewal *all; /* of this process: to go on after the link was down */

/* Out of the list, its memory given back. */
static void drop(struct renewal *r)
{
    *r->prev_next = r->next;
    if (r->next)
        r->next->prev_next = r->prev_next;
    if (r->c->renewal == r)
        r->c->renewal = NULL;
    if (r->w->endpoints)
        endpoint_leave(r->w->endpoints, r, &r->place);
    conn_unref(r->c);
    connection_cfg_free(r->cfg);
    dpop_key_free(r->dpop);
    client_cert_unref(r->cert);
    oauth_request_deinit(&r->rq);
    oauth_answer_deinit(&r->answer);
    buf_wipe(&r->access);
    buf_deinit(&r->sealed_at);
    buf_deinit(&r->sealed_rt);
    buf_deinit(&r->lease_rt);
    buf_deinit(&r->lease_cs);
    buf_deinit(&r->old_scope);
    free(r);
}

void renewal_free(struct renewal *r)
{
    struct worker *w = r->w;
    void (*done)(void *owner) = r->of_journal;
    void *owner = r->of_journal_owner;

    if (r->journaled)
        journal_drop(w->journal);
    drop(r);
    if (done)
        done(owner);
    worker_on_idle(w); /* a draining worker may have waited for this */
}

struct place_in_line *renewal_place(struct renewal *r)
{
    return &r->place;
}

/* RFC 6749 section 6: a refresh that names no scope leaves it as it was, for we ask for none. Any
 * other answer without one grants what was asked for (section 5.1): nothing is written then. */
struct slice renewal_scope(const struct renewal *r)
{
    bool keeps = r->cfg && grant_is_renewed(r->cfg->grant) && r->c->gen == r->gen;

    if (r->of_journal)
        return buf_slice(&r->old_scope);
    if (r->answer.scope.len == 0 && keeps && r->c->scope)
        return slice_cstr(r->c->scope);
    return r->answer.scope;
}

static void go_on(struct renewal *r)
{
    switch (r->state) {
    case RENEW_ACQUIRING:
        renewal_acquire(r);
        break;
    case RENEW_STORING:
        renewal_store(r);
        break;
    case RENEW_FAILING:
        renewal_fail(r, r->fail_class);
        break;
    case RENEW_WAITING:
    case RENEW_CALLING:
    case RENEW_STORED:
        break; /* waits for the server, or for replicas, not for Redis to come back */
    }
}

void renewals_resume(struct worker *w)
{
    for (struct renewal *r = all, *next; r; r = next) {
        next = r->next;
        if (r->w == w && r->waiting &&
            (r->state != RENEW_ACQUIRING || clock_boot_ms() >= w->hold_renewals_boot_ms)) {
            r->waiting = false;
            go_on(r);
        }
    }
}

unsigned renewals_active(const struct worker *w)
{
    unsigned n = 0;

    for (const struct renewal *r = all; r; r = r->next)
        n += r->w == w && r->state != RENEW_WAITING;
    return n;
}

void renewal_wait(struct renewal *r, const struct err *err)
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
    renewal_journal(r);
}

bool renewal_answered(struct renewal *r, const struct err *err)
{
    if (!err)
        return true;
    if (err->code == ERR_CANCELLED) { /* this process ends */
        renewal_journal(r);
        drop(r);
    } else {
        renewal_wait(r, err);
    }
    return false;
}

bool renewal_script(struct renewal *r, enum script s, size_t argc, const struct slice *argv,
                    redis_cb *cb, struct err *err)
{
    r->link = replicas_link(r->w->replicas);
    return redis_script(r->link, s, 2, argc, argv, cb, r, err);
}

void renewal_args_fill(const struct renewal *r, struct renewal_args *a)
{
    key_conn(&a->conn, slice_cstr(r->c->id));
    key_conn_lease(&a->lease, slice_cstr(r->c->id));
    key_changed(&a->changed);
    snprintf(a->gen, sizeof a->gen, "%" PRIu64, r->gen);
    snprintf(a->ver, sizeof a->ver, "%" PRIu64, r->ver);
}

struct renewal *renewal_new(struct worker *w, struct conn *c, uint64_t gen, uint64_t ver)
{
    struct renewal *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->w = w;
    r->c = conn_ref(c);
    r->gen = gen;
    r->ver = ver;
    buf_init(&r->access, ACCESS_MAX);
    buf_init(&r->sealed_at, ACCESS_MAX + 256);
    buf_init(&r->sealed_rt, RENEW_TOKEN_MAX + 256);
    buf_init(&r->lease_rt, RENEW_TOKEN_MAX + 256);
    buf_init(&r->lease_cs, RENEW_TOKEN_MAX + 256);
    buf_init(&r->old_scope, RENEW_TOKEN_MAX);
    r->next = all;
    r->prev_next = &all;
    if (all)
        all->prev_next = &r->next;
    all = r;
    return r;
}

/* Never used twice, and people can tell from it who renews (awq-ctl conn refresh). */
static void make_nonce(const struct worker *w, char to[2 * WORKER_MARK + 1])
{
    slice_copy(id_worker_mark(slice_cstr(w->id)), to, WORKER_MARK + 1);
    id_hex(to + WORKER_MARK, WORKER_MARK / 2);
}

void renewal_start(struct worker *w, struct conn *c, uint64_t ver)
{
    struct renewal *r;

    if (w->phase != PHASE_RUNNING) /* it would have to be waited for; others will */
        return;
    if (clock_boot_ms() < w->hold_renewals_boot_ms) /* another Redis: who knows more comes first */
        return;
    if (!worker_renews(w)) {
        renew_index_ask(w, c);
        return;
    }
    r = renewal_new(w, c, c->gen, ver);
    if (!r)
        return; /* the next step asks again */
    make_nonce(w, r->nonce);
    c->renewal = r;
    if (!c->cfg || endpoint_enter(w->endpoints, oauth_renewal_url(c->cfg), r, &r->place))
        renewal_acquire(r);
}

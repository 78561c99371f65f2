/* Connections as Redis has them: records are read, checked and opened. */
#include <stdlib.h>
#include <string.h>
#include "common/client_cert.h"
#include "common/clock.h"
#include "common/dpop.h"
#include "common/log.h"
#include "worker/changes.h"
#include "worker/memory.h"
#include "worker/token_parts.h"

#define TRUST_MS     30000 /* how long a record is believed without a look */
#define BEHIND_MS    10000 /* what Redis forgot is waited for so long */
#define DPOP_PEM_MAX 4096

struct look { /* somebody waits to know a connection */
    struct look *next;
    token_look_cb *cb;
    void *owner;
};

struct reading { /* one HMGET on its way, and who waits for it */
    struct conn *c;
    struct look *waiting;
};

static enum conn_state state_of(const struct connection_record *r)
{
    if (!r->exists)
        return CONN_UNKNOWN;
    if (slice_is(r->state, "NEEDS_CONSENT"))
        return CONN_CONSENT;
    if (slice_is(r->state, "DISABLED"))
        return CONN_DISABLED;
    if (slice_is(r->state, "REMOVED"))
        return CONN_GONE;
    return slice_is(r->state, "BACKOFF") ? CONN_BACKOFF : CONN_OK;
}

/* The key changes with the link, never at a renewal. */
static bool open_dpop_key(struct conn *c, const struct connection_record *r)
{
    struct tokens *t = c->home;
    struct seal_place place = connection_place(slice_cstr(t->w->set->common.prefix),
                                               slice_cstr(c->id), "dk", r->gen, 0, r->cd);
    size_t len = 0;
    struct buf pem;
    bool ok;

    if (c->cfg->dpop == JWT_ALG_OF_KEY || (c->dpop && c->dpop_gen == r->gen))
        return true;
    dpop_key_free(c->dpop);
    c->dpop = NULL;
    buf_init(&pem, DPOP_PEM_MAX);
    ok =
        buf_reserve(&pem, seal_clear_len(r->dk) + 1) || err_set(&c->broken, ERR_NOMEM, "no memory");
    ok = ok && seal_open(t->w->keys, KEY_ACCESS, &place, r->dk, pem.ptr, pem.cap, &len, &c->broken);
    if (ok)
        c->dpop = dpop_key_open(slice_of(pem.ptr, len), c->cfg->dpop, &c->broken);
    pem.len = len;
    buf_wipe(&pem);
    c->dpop_gen = r->gen;
    return c->dpop || err_prefix(&c->broken, "connection %s: its DPoP key: ", c->id);
}

/* It changes with the settings, or is the same with other issuers. A call that is under way keeps
 * the one that it went out with. */
static bool open_cert(struct conn *c, const struct connection_record *r)
{
    struct worker *w = c->home->w;
    struct seal_place place = connection_place(slice_cstr(w->set->common.prefix), slice_cstr(c->id),
                                               "tk", r->gen, 0, r->cd);
    char digest[65];
    struct buf clear;
    bool ok;

    if (c->cfg->certificate.len == 0)
        return true;
    seal_digest(r->tk, digest);
    if (c->cert && strcmp(c->tk, digest) == 0)
        return true;
    client_cert_unref(c->cert);
    c->cert = NULL;
    buf_init(&clear, CLIENT_CERT_PEM_MAX);
    ok = buf_reserve(&clear, seal_clear_len(r->tk) + 1) ||
         err_set(&c->broken, ERR_NOMEM, "no memory");
    ok = ok && seal_open(w->keys, KEY_ACCESS, &place, r->tk, clear.ptr, clear.cap, &clear.len,
                         &c->broken);
    if (ok)
        c->cert = tokens_open_cert(c->home, buf_slice(&clear), &c->broken);
    buf_wipe(&clear);
    memcpy(c->tk, digest, sizeof digest);
    return c->cert || err_prefix(&c->broken, "connection %s: its TLS certificate: ", c->id);
}

static void open_token(struct conn *c, const struct connection_record *r)
{
    struct tokens *t = c->home;
    struct seal_place place = {
        slice_cstr(t->w->set->common.prefix), slice_cstr(c->id), "at", r->gen, r->ver, r->cd};
    size_t len = seal_clear_len(r->at);
    struct token *k;

    if (c->token && c->token->gen == r->gen && c->token->ver == r->ver) {
        c->token->exp_ms = r->exp_ms;
        return; /* the same that we have open */
    }
    token_set(c, NULL);
    c->no_room = false;
    if (r->at.len == 0)
        return;
    k = token_new(t, c, len);
    if (!k) { /* too many tokens in use at once: this one waits until others are done */
        c->stale = true;
        c->no_room = len + SCHEME_MAX <= SECRET_BYTES_MAX; /* no token is longer than that */
        return;
    }
    if (!seal_open(t->w->keys, KEY_ACCESS, &place, r->at, k->header + k->scheme_len, len + 1, &len,
                   &c->broken)) {
        token_unref(k);
        c->state = CONN_BROKEN;
        return;
    }
    token_opened(k, len);
    token_set(c, k);
}

/* Settings that steps hold on to are never changed under them: then a new conn takes the place in
 * the table, and the old one lives as long as somebody holds it. */
static struct conn *settled(struct tokens *t, struct conn *c, const struct connection_record *r)
{
    struct slice id = slice_cstr(c->id); /* the reading holds a reference to it */
    struct conn *now = c;

    while (now && now->cfg && !slice_is(r->cd, now->cd)) {
        if (now->linked)
            table_unlink(t, now);
        now = table_find(t, id);
        if (!now)
            now = table_add(t, id);
    }
    return now;
}

static bool take_cfg(struct conn *c, const struct connection_record *r)
{
    struct worker *w = c->home->w;

    if (c->cfg)
        return true; /* settled has seen that they are these */
    c->terms = terms_of(c->home->terms, r, w->keys, slice_cstr(w->set->common.prefix),
                        slice_cstr(c->id), &c->broken);
    if (!c->terms)
        return false;
    c->cfg = c->terms->cfg;
    c->cd = c->terms->cd;
    return true;
}

void tokens_forgotten(struct tokens *t, struct conn *c)
{
    c->stale = true;
    if (c->behind_boot_ms == 0) {
        c->behind_boot_ms = clock_boot_ms();
        log_event(LOG_ERROR, EV_TOKEN_FORGOTTEN, F_CSTR("connection", c->id), F_UINT("gen", c->gen),
                  F_UINT("ver", c->ver));
    }
    memory_restore(t->w->memory, c->id);
}

/* An older record than the one we know: whoever stored the newer one puts it back. Until then, or
 * for BEHIND_MS, ours is what counts: its token may be good, and the older refresh token is used
 * up. */
static bool is_behind(struct conn *c, const struct connection_record *r)
{
    bool older = r->gen < c->gen || (r->gen == c->gen && r->ver < c->ver);

    if (!r->exists || !older || state_of(r) == CONN_DISABLED || state_of(r) == CONN_GONE) {
        c->behind_boot_ms = 0;
        return false;
    }
    tokens_forgotten(c->home, c);
    if (clock_boot_ms() - c->behind_boot_ms < BEHIND_MS)
        return true;
    c->behind_boot_ms = 0; /* nobody has it: what Redis says is what there is */
    return false;
}

static void take_record(struct conn *c, const struct connection_record *r)
{
    if (is_behind(c, r))
        return;
    c->state = state_of(r);
    c->looked_ms = clock_boot_ms();
    c->stale = c->state == CONN_UNKNOWN; /* it may be linked any moment: always look */
    c->gen = r->gen;
    c->ver = r->ver;
    c->exp_ms = r->exp_ms;
    c->born_ms = r->born_ms;
    c->cool_ms = r->cool_ms;
    c->held = r->trips > 0;
    c->next_ms = r->next_ms;
    if (c->state == CONN_UNKNOWN || c->state == CONN_GONE) {
        token_set(c, NULL);
        return;
    }
    if (!token_set_scope(c, r->scope))
        err_set(&c->broken, ERR_NOMEM, "connection %s: out of memory", c->id);
    else if (take_cfg(c, r) && open_dpop_key(c, r) && open_cert(c, r)) {
        open_token(c, r);
        return;
    }
    token_set(c, NULL);
    c->stale = true;
    c->no_room = c->broken.code == ERR_RETRY;
    if (c->no_room) /* the job waits until others are done, as with a token that finds none */
        return;
    c->state = CONN_BROKEN;
}

static void tell_waiting(struct reading *rd, struct conn *c, const struct err *err)
{
    struct look *l = rd->waiting;

    while (l) {
        struct look *next = l->next;

        l->cb(l->owner, c ? conn_ref(c) : NULL, err);
        free(l);
        l = next;
    }
}

static void on_record(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct reading *rd = owner;
    struct conn *c = rd->c, *now = NULL;
    struct connection_record r;
    struct err why = {0};

    if (c->reading == rd)
        c->reading = NULL;
    if (err) {
        why = *err;
    } else if (connection_record_read(&r, reply, &why)) {
        now = settled(c->home, c, &r);
        if (!now)
            err_set(&why, ERR_NOMEM, "out of memory");
    }
    if (now) {
        conn_ref(now);
        take_record(now, &r);
    }
    tell_waiting(rd, now, now ? NULL : &why);
    conn_unref(now);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the reading has held a reference of its own */
    conn_unref(c);
    free(rd);
}

static struct reading *start_reading(struct tokens *t, struct conn *c, struct err *err)
{
    struct reading *rd = calloc(1, sizeof *rd);
    struct slice argv[CONNECTION_RECORD_ARGS];
    struct key key;
    size_t words;

    key_conn(&key, slice_cstr(c->id));
    words = connection_record_ask_for_step(key_slice(&key), argv);
    if (!rd) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    if (!redis_command(t->w->link, words, argv, 0, on_record, rd, err)) {
        free(rd);
        return NULL;
    }
    rd->c = conn_ref(c);
    return rd;
}

static bool known(const struct conn *c)
{
    return !c->stale && c->looked_ms > 0 && clock_boot_ms() - c->looked_ms < TRUST_MS &&
           changes_sure(c->home->w->changes, c->looked_ms);
}

enum look_answer tokens_look(struct tokens *t, struct slice id, bool fresh, struct conn **out,
                             token_look_cb *cb, void *owner, struct err *err)
{
    struct conn *c = table_find(t, id);
    struct reading *rd;
    struct look *l;

    *out = NULL;
    if (!c)
        c = table_add(t, id);
    l = c ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        err_set(err, ERR_NOMEM, "out of memory");
        return LOOK_FAILED;
    }
    table_used(t, c);
    if (!fresh && known(c)) {
        free(l);
        *out = conn_ref(c);
        return LOOK_NOW;
    }
    /* a read that began earlier may have missed what a fresh look is to see: it gets its own */
    rd = fresh || !c->reading ? start_reading(t, c, err) : c->reading;
    if (!rd) {
        free(l);
        return LOOK_FAILED;
    }
    if (!fresh)
        c->reading = rd;
    *l = (struct look){rd->waiting, cb, owner};
    rd->waiting = l;
    return LOOK_LATER;
}

struct conn *tokens_conn(struct tokens *t, struct slice id)
{
    struct conn *c = table_find(t, id);

    if (!c)
        c = table_add(t, id);
    return c ? conn_ref(c) : NULL;
}

void tokens_forget(struct tokens *t, struct slice id)
{
    struct conn *c = table_find(t, id);

    if (c)
        c->stale = true;
}

void tokens_forget_all(struct tokens *t)
{
    for (struct conn *c = t->newest; c; c = c->lru_next)
        c->stale = true;
}

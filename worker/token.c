#include "worker/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#include "common/clock.h"
#include "common/dpop.h"
#include "common/log.h"
#include "common/oauth.h"
#include "worker/changes.h"
#include "worker/memory.h"
#include "worker/renew.h"
#include "worker/terms.h"
#include "worker/worker.h"

#define TRUST_MS 30000 /* how long a record is believed without a look */
#define SPARE_MS                                                                                   \
    250 /* a token this close to its end is not sent any more: it would die on the way */
#define LOOK_AGAIN_MS 2000  /* a parked job's lot, when nothing better is known */
#define CONSENT_MS    60000 /* the same while the account's owner, or an operator, is asked */
#define BEHIND_MS     10000 /* what Redis forgot is waited for so long */
#define BUCKETS       4096
#define DPOP_PEM_MAX  4096
#define ORIGIN_MAX    300

struct look { /* somebody waits to know a connection */
    struct look *next;
    token_look_cb *cb;
    void *owner;
};

struct reading { /* one HMGET on its way, and who waits for it */
    struct conn *c;
    struct look *waiting;
};

struct tokens {
    struct worker *w;
    struct conn *buckets[BUCKETS];
    struct conn *newest, *oldest; /* by use */
    size_t count;
    struct terms_table *terms;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
};

/* ---- the table ---- */

static size_t bucket_of(const struct tokens *t, struct slice id)
{
    unsigned char h[crypto_shorthash_BYTES];

    crypto_shorthash(h, (const unsigned char *)id.ptr, id.len, t->hash_key);
    return (h[0] | (size_t)h[1] << 8) % BUCKETS;
}

static void lru_remove(struct tokens *t, struct conn *c)
{
    *(c->lru_prev ? &c->lru_prev->lru_next : &t->newest) = c->lru_next;
    *(c->lru_next ? &c->lru_next->lru_prev : &t->oldest) = c->lru_prev;
    c->lru_prev = c->lru_next = NULL;
}

static void lru_push(struct tokens *t, struct conn *c)
{
    c->lru_next = t->newest;
    c->lru_prev = NULL;
    *(t->newest ? &t->newest->lru_prev : &t->oldest) = c;
    t->newest = c;
}

static void conn_free(struct conn *c)
{
    terms_unref(c->terms);
    token_unref(c->token);
    dpop_key_free(c->dpop);
    free(c->nonces);
    free(c->scope);
    free(c);
}

struct conn *conn_ref(struct conn *c)
{
    c->refs++;
    return c;
}

void conn_unref(struct conn *c)
{
    if (c && --c->refs == 0 && !c->linked)
        conn_free(c);
}

/* Out of the table; those who hold it keep it. */
static void unlink_conn(struct tokens *t, struct conn *c)
{
    struct conn **at = &t->buckets[bucket_of(t, slice_cstr(c->id))];

    while (*at != c)
        at = &(*at)->hash_next;
    *at = c->hash_next;
    lru_remove(t, c);
    c->linked = false;
    t->count--;
    if (c->refs == 0)
        conn_free(c);
}

static struct conn *find(struct tokens *t, struct slice id)
{
    struct conn *c = t->buckets[bucket_of(t, id)];

    while (c && !slice_is(id, c->id))
        c = c->hash_next;
    return c;
}

static bool evict_one(struct tokens *t)
{
    for (struct conn *c = t->oldest; c; c = c->lru_prev) {
        if (c->refs == 0) {
            unlink_conn(t, c);
            return true;
        }
    }
    return false;
}

static struct conn *add(struct tokens *t, struct slice id)
{
    struct conn *c = calloc(1, sizeof *c);
    size_t b = bucket_of(t, id);

    if (!c || !slice_copy(id, c->id, sizeof c->id)) {
        free(c);
        return NULL;
    }
    while (t->count >= (size_t)t->w->set->connections_max && evict_one(t))
        ;
    c->home = t;
    c->cd = "";
    c->stale = true;
    c->linked = true;
    c->hash_next = t->buckets[b];
    t->buckets[b] = c;
    lru_push(t, c);
    t->count++;
    return c;
}

struct tokens *tokens_new(struct worker *w, struct err *err)
{
    struct tokens *t = calloc(1, sizeof *t);

    if (t)
        t->terms = terms_table_new();
    if (!t || !t->terms) {
        free(t);
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    t->w = w;
    crypto_shorthash_keygen(t->hash_key);
    return t;
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    while (t->newest)
        unlink_conn(t, t->newest);
    terms_table_free(t->terms);
    free(t);
}

/* ---- tokens ---- */

void token_unref(struct token *k)
{
    if (k && --k->refs == 0) {
        secret_drop(k->pool, k->header);
        free(k);
    }
}

/* Room in guarded memory: the tokens least lately used make place. */
static char *guarded(struct tokens *t, size_t len)
{
    char *p = secret_alloc(t->w->secrets, len);

    while (!p && evict_one(t))
        p = secret_alloc(t->w->secrets, len);
    return p;
}

/* Memory for "Bearer " and a token of `len` bytes, which the caller writes behind it. */
static struct token *token_new(struct tokens *t, const struct conn *c, size_t len)
{
    const char *scheme = c->cfg && c->cfg->dpop != JWT_ALG_OF_KEY ? "DPoP " : "Bearer ";
    struct token *k = calloc(1, sizeof *k);

    if (!k)
        return NULL;
    k->refs = 1;
    k->pool = t->w->secrets;
    k->header = guarded(t, len + sizeof "Bearer ");
    if (!k->header) {
        free(k);
        return NULL;
    }
    k->scheme_len = strlen(scheme);
    memcpy(k->header, scheme, k->scheme_len);
    k->header_len = k->scheme_len + len;
    k->header[k->header_len] = '\0';
    return k;
}

static void set_token(struct conn *c, struct token *k)
{
    token_unref(c->token);
    c->token = k;
    if (!k)
        return;
    k->gen = c->gen;
    k->ver = c->ver;
    k->exp_ms = c->exp_ms;
    k->born_ms = c->born_ms;
}

/* False: out of memory, and the old one stays. */
static bool set_scope(struct conn *c, struct slice scope)
{
    char *copy = NULL;

    if (c->scope ? slice_is(scope, c->scope) : scope.len == 0)
        return true;
    if (scope.len > 0 && !(copy = slice_dup(scope)))
        return false;
    free(c->scope);
    c->scope = copy;
    return true;
}

void tokens_adopt(struct tokens *t, struct conn *c, uint64_t gen, uint64_t ver, int64_t born_ms,
                  int64_t exp_ms, struct slice access_token, struct slice scope)
{
    struct token *k = set_scope(c, scope) ? token_new(t, c, access_token.len) : NULL;

    if (k)
        memcpy(k->header + k->scheme_len, access_token.ptr, access_token.len);
    c->gen = gen;
    c->ver = ver;
    c->born_ms = born_ms;
    c->exp_ms = exp_ms;
    c->state = CONN_OK;
    c->stale = c->no_room = !k; /* no room: read it when it is needed */
    c->looked_ms = clock_boot_ms();
    set_token(c, k);
}

/* ---- nonces ---- */

struct dpop_nonces { /* of the token endpoint; of the API that answered last */
    char renews[DPOP_NONCE_MAX + 1], calls[DPOP_NONCE_MAX + 1];
    char origin[ORIGIN_MAX];
};

const char *conn_nonce(const struct conn *c, struct slice origin)
{
    if (!c->nonces)
        return "";
    if (origin.len == 0)
        return c->nonces->renews;
    return slice_is(origin, c->nonces->origin) ? c->nonces->calls : "";
}

void conn_take_nonce(struct conn *c, struct slice origin, struct slice header)
{
    if (header.len == 0 || (!c->nonces && !(c->nonces = calloc(1, sizeof *c->nonces))))
        return;
    if (origin.len == 0)
        dpop_take_nonce(c->nonces->renews, header);
    else if (slice_copy(origin, c->nonces->origin, ORIGIN_MAX))
        dpop_take_nonce(c->nonces->calls, header);
}

bool tokens_waits_for_a_person(const struct conn *c)
{
    return c->state == CONN_CONSENT || c->state == CONN_DISABLED;
}

static bool is_due(const struct conn *c, int64_t now)
{
    const struct token *k = c->token;

    return !c->renewal &&
           (c->state == CONN_OK || (c->state == CONN_BACKOFF && now >= c->next_ms)) &&
           now >= oauth_renew_at_ms(slice_cstr(c->id), k->ver, k->born_ms, k->exp_ms,
                                    c->cfg->refresh_margin_ms);
}

struct token *tokens_use(struct tokens *t, struct conn *c)
{
    int64_t now = worker_now_ms(t->w);
    struct token *k = c->token;

    if (!k || tokens_waits_for_a_person(c) || c->state == CONN_GONE || now + SPARE_MS >= k->exp_ms)
        return NULL;
    c->used_ms = now;
    if (is_due(c, now))
        tokens_want(t, c, k->ver);
    k->refs++;
    return k;
}

/* Used in the second half of its life: likely to be used again. */
void tokens_renew_ahead(struct tokens *t)
{
    int64_t now = worker_now_ms(t->w);

    for (struct conn *c = t->newest; c; c = c->lru_next) {
        const struct token *k = c->token;

        if (k && c->used_ms > k->born_ms + (k->exp_ms - k->born_ms) / 2 && is_due(c, now))
            tokens_want(t, c, k->ver);
    }
}

void tokens_want(struct tokens *t, struct conn *c, uint64_t ver)
{
    if (c->no_room && worker_now_ms(t->w) < c->exp_ms)
        return; /* there is one; a new one would find no room either */
    if (!c->renewal && c->linked)
        renewal_start(t->w, c, ver);
}

static void on_refused(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* others then learn it from the API, as we did */
}

/* Without it the job that is parked now would be woken at once, for there is a token, and would be
 * refused again until its attempts are used up. */
void tokens_refused(struct tokens *t, struct conn *c, uint64_t ver)
{
    struct key conn, changed;
    char gen_text[24], ver_text[24];
    struct err err = {0};

    key_conn(&conn, slice_cstr(c->id));
    key_changed(&changed);
    snprintf(gen_text, sizeof gen_text, "%" PRIu64, c->gen);
    snprintf(ver_text, sizeof ver_text, "%" PRIu64, ver);
    const struct slice argv[] = {key_slice(&conn), slice_cstr(gen_text), slice_cstr(ver_text),
                                 key_slice(&changed), slice_cstr(c->id)};

    if (c->token && c->token->ver == ver)
        c->token->exp_ms = 0;
    (void)redis_script(t->w->link, SCRIPT_refuse, 1, ARRAY_LEN(argv), argv, on_refused, t, &err);
    tokens_want(t, c, ver);
}

int64_t tokens_look_again_ms(const struct tokens *t, const struct conn *c)
{
    int64_t now = worker_now_ms(t->w);

    if (tokens_waits_for_a_person(c))
        return now + CONSENT_MS;
    if (c->state == CONN_BACKOFF && c->next_ms > now)
        return c->next_ms;
    return now + LOOK_AGAIN_MS;
}

/* ---- reading a record ---- */

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
    set_token(c, NULL);
    c->no_room = false;
    if (r->at.len == 0)
        return;
    k = token_new(t, c, len);
    if (!k) { /* too many tokens in use at once: this one waits until others are done */
        c->stale = true;
        c->no_room = len + sizeof "Bearer " <= SECRET_BYTES_MAX; /* no token is longer than that */
        return;
    }
    if (!seal_open(t->w->keys, KEY_ACCESS, &place, r->at, k->header + k->scheme_len, len + 1, &len,
                   &c->broken)) {
        token_unref(k);
        c->state = CONN_BROKEN;
        err_prefix(&c->broken, "connection %s: ", c->id);
        return;
    }
    k->header_len = k->scheme_len + len;
    k->header[k->header_len] = '\0';
    set_token(c, k);
}

/* Settings that steps hold on to are never changed under them: then a new conn takes the place in
 * the table, and the old one lives as long as somebody holds it. */
static struct conn *settled(struct tokens *t, struct conn *c, const struct connection_record *r)
{
    struct slice id = slice_cstr(c->id); /* the reading holds a reference to it */
    struct conn *now = c;

    while (now && now->cfg && !slice_is(r->cd, now->cd)) {
        if (now->linked)
            unlink_conn(t, now);
        now = find(t, id);
        if (!now)
            now = add(t, id);
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
        set_token(c, NULL);
        return;
    }
    if (!set_scope(c, r->scope))
        err_set(&c->broken, ERR_NOMEM, "connection %s: out of memory", c->id);
    else if (take_cfg(c, r) && open_dpop_key(c, r)) {
        open_token(c, r);
        return;
    }
    c->state = CONN_BROKEN;
    c->stale = true;
    set_token(c, NULL);
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
    struct conn *c = find(t, id);
    struct reading *rd;
    struct look *l;

    *out = NULL;
    if (!c)
        c = add(t, id);
    l = c ? calloc(1, sizeof *l) : NULL;
    if (!l) {
        err_set(err, ERR_NOMEM, "out of memory");
        return LOOK_FAILED;
    }
    lru_remove(t, c);
    lru_push(t, c);
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
    struct conn *c = find(t, id);

    if (!c)
        c = add(t, id);
    return c ? conn_ref(c) : NULL;
}

void tokens_forget(struct tokens *t, struct slice id)
{
    struct conn *c = find(t, id);

    if (c)
        c->stale = true;
}

void tokens_forget_all(struct tokens *t)
{
    for (struct conn *c = t->newest; c; c = c->lru_next)
        c->stale = true;
}

/* ---- parking cannot lose a wake: park first, then look again ---- */

static void on_wake(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* a lost wake is made good by the lot's own look-again time */
}

void tokens_wake(struct tokens *t, const char *kind, const char *id)
{
    char resource[ID_MAX + 8];
    struct key lots, wake;
    struct err err = {0};

    snprintf(resource, sizeof resource, "%s:%s", kind, id);
    key_lots(&lots, SHARD);
    key_wake(&wake);
    const struct slice argv[] = {key_slice(&lots), slice_cstr(resource), key_slice(&wake)};

    (void)redis_script(t->w->link, SCRIPT_wake, 1, ARRAY_LEN(argv), argv, on_wake, t, &err);
}

static void recheck(struct tokens *t, struct conn *c);

static void on_recheck(void *owner, struct conn *fresh, const struct err *err)
{
    struct conn *c = owner;
    struct tokens *t = c->home;
    bool again = c->recheck_again;
    struct token *k;

    c->rechecking = c->recheck_again = false;
    conn_unref(c);
    if (err)
        return;
    k = tokens_use(t, fresh);
    /* a token is there, or will never be: either way the jobs must be looked at */
    if (k || fresh->state == CONN_GONE || fresh->state == CONN_UNKNOWN)
        tokens_wake(t, "conn", fresh->id);
    token_unref(k);
    if (again)
        recheck(t, fresh);
    conn_unref(fresh); /* NOLINT(clang-analyzer-unix.Malloc): ours; recheck takes one of its own */
}

/* One look answers for all jobs that were parked before it began. */
static void recheck(struct tokens *t, struct conn *c)
{
    struct conn *now;
    struct err err = {0};

    if (c->rechecking) {
        c->recheck_again = true;
        return;
    }
    c->rechecking = true;
    conn_ref(c);
    if (tokens_look(t, slice_cstr(c->id), true, &now, on_recheck, c, &err) != LOOK_LATER) {
        c->rechecking = false; /* no link: the lot's look-again time stands in */
        conn_unref(c);
    }
}

void tokens_on_parked(struct tokens *t, struct slice id)
{
    struct conn *c = find(t, id);

    if (c)
        recheck(t, c);
}

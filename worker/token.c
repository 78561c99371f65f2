/* Access tokens, opened: which one a step may send, when it is renewed, who is woken by that. */
#include "worker/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/client_cert.h"
#include "common/clock.h"
#include "common/dpop.h"
#include "common/oauth.h"
#include "worker/changes.h"
#include "worker/renew.h"
#include "worker/token_parts.h"

#define SPARE_MS                                                                                   \
    250 /* a token this close to its end is not sent any more: it would die on the way */
#define LOOK_AGAIN_MS 2000  /* a parked job's lot, when nothing better is known */
#define CONSENT_MS    60000 /* the same while the account's owner, or an operator, is asked */
#define ORIGIN_MAX    300

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

    while (!p && table_evict_one(t))
        p = secret_alloc(t->w->secrets, len);
    return p;
}

struct client_cert *tokens_open_cert(struct tokens *t, struct slice packed, struct err *err)
{
    struct err why = {0};
    struct client_cert *c = client_cert_open(packed, t->w->secrets, &why);

    while (!c && why.code == ERR_RETRY && table_evict_one(t))
        c = client_cert_open(packed, t->w->secrets, &why);
    if (!c)
        *err = why;
    return c;
}

/* Its calls must show one, and it could not be opened yet. */
static bool lacks_cert(const struct conn *c)
{
    return c->cfg && c->cfg->certificate.len > 0 && !c->cert;
}

struct token *token_new(struct tokens *t, const struct conn *c, size_t len)
{
    struct token *k = calloc(1, sizeof *k);
    struct buf scheme;

    if (!k)
        return NULL;
    buf_init(&scheme, SCHEME_MAX);
    if (c->cfg)
        oauth_token_scheme(c->cfg, &scheme);
    else
        buf_add_cstr(&scheme, "Bearer ");
    k->refs = 1;
    k->pool = t->w->secrets;
    k->header = guarded(t, scheme.len + len + 1);
    if (k->header) {
        k->scheme_len = scheme.len;
        memcpy(k->header, scheme.ptr ? scheme.ptr : "", scheme.len);
    } else {
        free(k);
        k = NULL;
    }
    buf_deinit(&scheme);
    return k;
}

void token_opened(struct token *k, size_t len)
{
    k->header[k->scheme_len + len] = '\0';
    access_read(&k->access, slice_of(k->header + k->scheme_len, len));
    k->header_len = k->scheme_len + k->access.token.len;
}

void token_set(struct conn *c, struct token *k)
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

bool token_set_scope(struct conn *c, struct slice scope)
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
                  int64_t exp_ms, struct slice access, struct slice scope)
{
    struct token *k = token_set_scope(c, scope) ? token_new(t, c, access.len) : NULL;

    if (k) {
        memcpy(k->header + k->scheme_len, access.ptr, access.len);
        token_opened(k, access.len);
    }
    c->gen = gen;
    c->ver = ver;
    c->born_ms = born_ms;
    c->exp_ms = exp_ms;
    c->state = CONN_OK;
    c->stale = c->no_room = !k || lacks_cert(c); /* no room: read it when it is needed */
    c->looked_ms = clock_boot_ms();
    token_set(c, k);
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

    if (!k || tokens_waits_for_a_person(c) || c->state == CONN_GONE || lacks_cert(c) ||
        now + SPARE_MS >= k->exp_ms)
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
    if (c->cfg && c->cfg->profile.not_renewed && c->token && worker_now_ms(t->w) < c->token->exp_ms)
        return; /* nothing renews it: to ask would only put its owner's consent in doubt */
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
    struct conn *c = table_find(t, id);

    if (c)
        recheck(t, c);
}

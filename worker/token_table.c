/* The table of connections: found by id, and the least lately used make place. */
#include <stdlib.h>
#include "common/client_cert.h"
#include "common/dpop.h"
#include "worker/token_parts.h"

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

void table_used(struct tokens *t, struct conn *c)
{
    lru_remove(t, c);
    lru_push(t, c);
}

static void conn_free(struct conn *c)
{
    terms_unref(c->terms);
    token_unref(c->token);
    dpop_key_free(c->dpop);
    client_cert_unref(c->cert);
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

void table_unlink(struct tokens *t, struct conn *c)
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

struct conn *table_find(struct tokens *t, struct slice id)
{
    struct conn *c = t->buckets[bucket_of(t, id)];

    while (c && !slice_is(id, c->id))
        c = c->hash_next;
    return c;
}

bool table_evict_one(struct tokens *t)
{
    for (struct conn *c = t->oldest; c; c = c->lru_prev) {
        if (c->refs == 0) {
            table_unlink(t, c);
            return true;
        }
    }
    return false;
}

struct conn *table_add(struct tokens *t, struct slice id)
{
    struct conn *c = calloc(1, sizeof *c);
    size_t b = bucket_of(t, id);

    if (!c || !slice_copy(id, c->id, sizeof c->id)) {
        free(c);
        return NULL;
    }
    while (t->count >= (size_t)t->w->set->connections_max && table_evict_one(t))
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
    for (struct conn *c = t->newest, *next; c; c = next) {
        next = c->lru_next;
        table_unlink(t, c);
    }
    terms_table_free(t->terms);
    free(t);
}

/*
 * token_parts.h - what the files of the connections' table know of each other; nobody else
 *         includes it: token_table.c (who is in it), token_read.c (records of Redis), token.c
 *         (tokens that steps use, waking who waits).
 * Owns    as token.h says.
 * Thread  the loop thread only.
 * Units   as token.h.
 */
#ifndef AWQ_WORKER_TOKEN_PARTS_H
#define AWQ_WORKER_TOKEN_PARTS_H

#include <sodium.h>
#include "worker/terms.h"
#include "worker/token.h"
#include "worker/worker.h"

#define BUCKETS 4096

struct tokens {
    struct worker *w;
    struct conn *buckets[BUCKETS];
    struct conn *newest, *oldest; /* by use */
    size_t count;
    struct terms_table *terms;
    unsigned char hash_key[crypto_shorthash_KEYBYTES];
};

/* ---- token_table.c ---- */

struct conn *table_find(struct tokens *t, struct slice id);
struct conn *table_add(struct tokens *t, struct slice id); /* NULL: out of memory */
void table_used(struct tokens *t, struct conn *c);         /* it is the latest now */
/* Out of the table; those who hold it keep it. */
void table_unlink(struct tokens *t, struct conn *c);
bool table_evict_one(struct tokens *t); /* the least lately used that nobody holds */

/* ---- token.c ---- */

#define SCHEME_MAX 1088 /* bytes before a token: its scheme and a blank */
/* Memory for its scheme and `len` bytes of what is sealed (access.h), which the caller writes
 * behind it and says so. */
struct token *token_new(struct tokens *t, const struct conn *c, size_t len);
void token_opened(struct token *k, size_t len);
void token_set(struct conn *c, struct token *k); /* NULL: it has none */
/* False: out of memory, and the old one stays. */
bool token_set_scope(struct conn *c, struct slice scope);

#endif

/*
 * secret.h - tokens and keys in guarded memory that is taken once.
 * Owns    one sodium_malloc region per pool: locked, kept out of core dumps, fenced by guard pages.
 *         sodium_malloc per token would cost 24 us and run out of mappings at about 16,000.
 * Thread  the loop thread only.
 * Units   bytes. A secret takes a power of two, 64 bytes at least, its 16 bytes of header with it.
 * Errors  a pool that is full gives NULL: its user must let something go (a cache evicts).
 * Source  libsodium, secure memory: doc.libsodium.org/memory_management; buddy system: Knuth,
 *         The Art of Computer Programming 2.5.
 */
#ifndef AWQ_SECRET_H
#define AWQ_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include "common/err.h"
#include "common/slice.h"

#define SECRET_BYTES_MAX (64 * 1024 - 16) /* bytes of one secret */

struct secret_pool;
struct secret_pool *secret_pool_new(size_t bytes, struct err *err); /* rounded up to 64 KiB */
void secret_pool_free(struct secret_pool *p);          /* wipes all of it; NULL is fine */
char *secret_alloc(struct secret_pool *p, size_t len); /* NULL when it does not fit */
void secret_drop(struct secret_pool *p, char *s);      /* wipes; NULL is fine */
size_t secret_pool_used(const struct secret_pool *p);  /* bytes taken, headers and rounding too */

/* Called once at the start of every program that meets secrets: no core dumps (RLIMIT_CORE 0,
 * PR_SET_DUMPABLE 0), sodium_init. */
bool secret_harden_process(struct err *err);

#endif

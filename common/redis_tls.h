/*
 * redis_tls.h - TLS to Redis: the context from its files, one session for one link.
 * Owns    struct redis_tls its SSL_CTX; a session belongs to whoever asked for it (SSL_free).
 * Thread  the loop thread only.
 * Errors  ERR_CONFIG for files that cannot be used and for a server that cannot be trusted (another
 *         try does not help until somebody mends it), ERR_UNREACHABLE for a link that broke.
 * Source  RFC 8446; RFC 6125 and openssl's SSL_set1_host(3). OpenSSL is used directly because
 *         hiredis_ssl checks no host name and keeps the reason of a failure to itself.
 */
#ifndef AWQ_REDIS_TLS_H
#define AWQ_REDIS_TLS_H

#include <stdbool.h>
#include "common/err.h"

struct ssl_st; /* OpenSSL's SSL */
struct redis_tls;

/* ca NULL = the system's; cert and key NULL = no client certificate. */
struct redis_tls *redis_tls_new(const char *ca, const char *cert, const char *key, struct err *err);
void redis_tls_free(struct redis_tls *t); /* NULL is fine */
/* False once one of its files has been replaced or changed. Reading the system's bundle costs some
 * 20 ms, so a context is kept for as long as it is current. */
bool redis_tls_is_current(const struct redis_tls *t);
/* A client session on fd that accepts only a certificate for `host` (a name or an address). */
struct ssl_st *redis_tls_session(struct redis_tls *t, int fd, const char *host, struct err *err);
/* Fill *err after a call on the session that returned rc <= 0 and did not just want to wait. */
bool redis_tls_fail(const struct ssl_st *ssl, int rc, const char *where, struct err *err);

#endif

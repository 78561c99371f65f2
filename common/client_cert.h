/*
 * client_cert.h - the certificate that a client shows in the TLS handshake, and its private key.
 * Owns    a struct client_cert owns the certificates, and the key in guarded memory, wiped when
 *         its last user lets go. libcurl and libcrypto parse the key into memory of their own for
 *         each new link; libcrypto wipes that when the link closes.
 * Thread  the loop thread only.
 * Units   milliseconds of Unix time.
 * Errors  ERR_CONFIG: what is wrong with a certificate or key, never a byte of the key. ERR_RETRY:
 *         the pool of guarded memory is full. ERR_NOMEM.
 * Source  RFC 8705 (mutual TLS for OAuth), sections 3.1 (x5t#S256) and 7.1; RFC 8446 section 4.4.2;
 *         PEM: RFC 7468.
 */
#ifndef AWQ_CLIENT_CERT_H
#define AWQ_CLIENT_CERT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

#define CLIENT_CERT_PEM_MAX   (48 * 1024) /* certificates and key */
#define CLIENT_CERT_X5T_CHARS 43          /* base64url of SHA-256 */
#define CLIENT_CERT_SUBJECT   256         /* longer ones are cut */
#define CLIENT_CERT_DAY       16          /* "2026-11-28" */
#define CLIENT_CERT_WARN_MS   (14 * INT64_C(86400000))

struct secret_pool;
struct client_cert;

/* From what an operator has: PEM of the certificate, with its issuers behind it, and PEM of its
 * key, without a passphrase. Both are added to `out` in the form that is kept, which
 * client_cert_open reads; the caller wipes it. On false *of_key says which of the two is at fault.
 */
bool client_cert_pack(struct slice certificates, struct slice key, struct buf *out, bool *of_key,
                      struct err *err);
/* The key goes into guarded memory of the pool, or into its own (pool NULL). One reference. */
struct client_cert *client_cert_open(struct slice packed, struct secret_pool *pool,
                                     struct err *err);
struct client_cert *client_cert_ref(struct client_cert *c); /* NULL is fine */
void client_cert_unref(struct client_cert *c);              /* NULL is fine */

struct slice client_cert_chain(const struct client_cert *c); /* PEM */
struct slice client_cert_key(const struct client_cert *c);   /* PEM */
/* SHA-256 of the certificate's DER, base64url: its name everywhere (RFC 8705 section 3.1). */
const char *client_cert_x5t(const struct client_cert *c);
const char *client_cert_subject(const struct client_cert *c); /* RFC 4514, no control characters */
int64_t client_cert_until_ms(const struct client_cert *c);    /* notAfter */
void client_cert_day(const struct client_cert *c, char day[CLIENT_CERT_DAY]); /* of it, UTC */

#endif

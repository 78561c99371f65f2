/*
 * jwt.h - a signed JWT in its compact form, as clients show who they are by one.
 * Owns    a struct jwt_key owns the key. libcrypto keeps its copy in ordinary memory and wipes it
 *         when it is freed.
 * Thread  any one at a time.
 * Units   now_ms is Unix time in milliseconds.
 * Errors  ERR_CONFIG for keys: what is wrong with it, never a byte of it.
 * Source  RFC 7515 (JWS, compact), RFC 7518 section 3 (HS256, RS256, PS256, ES256), RFC 8037 (EdDSA
 *         with Ed25519); RFC 7517, 7638 (JWK); keys: PEM of PKCS #8 (RFC 5958), PKCS #1 or SEC 1,
 *         without a passphrase.
 */
#ifndef AWQ_JWT_H
#define AWQ_JWT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

enum jwt_alg { JWT_ALG_OF_KEY, JWT_HS256, JWT_RS256, JWT_PS256, JWT_ES256, JWT_EDDSA };
bool jwt_alg_parse(struct slice name, enum jwt_alg *alg); /* "RS256" ...; not HS256 */
const char *jwt_alg_name(enum jwt_alg alg);               /* "" for JWT_ALG_OF_KEY */

struct jwt_key;
/* A private key: RSA of 2048 bits at least, EC on P-256, Ed25519. alg must be one that it can do;
 * JWT_ALG_OF_KEY picks RS256, ES256, EdDSA. */
struct jwt_key *jwt_key_pem(struct slice pem, enum jwt_alg alg, struct err *err);
/* HS256; 32 bytes at least (RFC 7518 section 3.2). The secret is borrowed. */
struct jwt_key *jwt_key_secret(struct slice secret, struct err *err);
/* A new private key, ES256 or EdDSA. */
struct jwt_key *jwt_key_new(enum jwt_alg alg, struct err *err);
void jwt_key_free(struct jwt_key *k); /* NULL is fine */
/* Adds its PEM (PKCS #8); the caller wipes it. */
bool jwt_key_to_pem(const struct jwt_key *k, struct buf *out);
/* Adds the JWK of the public part of an EC or Ed25519 key: the members that it must have, in the
 * order of RFC 7638 section 3. False for others. */
bool jwt_key_jwk(const struct jwt_key *k, struct buf *out);
enum jwt_alg jwt_key_alg(const struct jwt_key *k);

/* Adds header.claims.signature; header and claims are JSON texts. */
bool jwt_sign(const struct jwt_key *k, struct slice header, struct slice claims, struct buf *out,
              struct err *err);

/* Adds one that says what `texts` writes of `of` at now_ms, with a jti of its own. The longest: 32
 * KiB. */
typedef bool jwt_texts(const void *of, const char *alg, const char *jti, int64_t now_ms,
                       struct buf *header, struct buf *claims);
bool jwt_make(const struct jwt_key *k, jwt_texts *texts, const void *of, int64_t now_ms,
              struct buf *out, struct err *err);

#endif

/*
 * dpop.h - proofs that the sender of a token holds the key that it is bound to.
 * Owns    a struct dpop_key owns its private key. libcrypto keeps it in ordinary memory and wipes
 *         it when it is freed; its PEM is the caller's, who wipes it.
 * Thread  any one at a time.
 * Units   milliseconds, now_ms of Unix time; inside the proof seconds.
 * Errors  ERR_CONFIG for keys, ERR_NOMEM.
 * Source  RFC 9449 sections 4.2 (the proof), 6.1 (jkt), 7 (ath), 8 and 9 (nonces); RFC 7638
 *         (thumbprint).
 */
#ifndef AWQ_DPOP_H
#define AWQ_DPOP_H

#include <stdint.h>
#include "common/jwt.h"

#define DPOP_JKT_CHARS 43  /* base64url of SHA-256 */
#define DPOP_NONCE_MAX 256 /* longer ones, or such with odd characters, are no nonces */
#define DPOP_PROOF_MAX 4096

struct dpop_key;
/* A new one, ES256 or EdDSA: its PEM is added. */
bool dpop_key_make(enum jwt_alg alg, struct buf *pem, struct err *err);
struct dpop_key *dpop_key_open(struct slice pem, enum jwt_alg alg, struct err *err);
void dpop_key_free(struct dpop_key *k);             /* NULL is fine */
const char *dpop_key_jkt(const struct dpop_key *k); /* the thumbprint of its public part */

/* What one proof is for. */
struct dpop_request {
    const char *method;
    struct slice url;          /* its query and fragment are left out */
    struct slice access_token; /* "" = none is sent: at a token endpoint */
    struct slice nonce;        /* the server's last; "" = it has given none */
};
/* What it says. */
bool dpop_json(const struct dpop_key *k, const struct dpop_request *r, const char *jti,
               int64_t now_ms, struct buf *header, struct buf *claims);
/* Adds a new one, the value of the header DPoP. */
bool dpop_proof(const struct dpop_key *k, const struct dpop_request *r, int64_t now_ms,
                struct buf *out, struct err *err);

/* Of an answer's DPoP-Nonce; what is none leaves the old one. */
void dpop_take_nonce(char nonce[DPOP_NONCE_MAX + 1], struct slice header);

#endif

/*
 * oauth_assertion.h - JWTs that say who a client is, or whom it acts for.
 * Owns    nothing: an oauth_assertion borrows from the settings it is made of.
 * Thread  any.
 * Units   milliseconds, now_ms of Unix time; inside the JWT seconds.
 * Errors  ERR_NOMEM, and those of jwt_sign.
 * Source  RFC 7523 section 3 (claims), sections 2.1 and 2.2 (where they go); RFC 7515 sections
 *         4.1.4 and 4.1.8 (kid, x5t#S256).
 */
#ifndef AWQ_OAUTH_ASSERTION_H
#define AWQ_OAUTH_ASSERTION_H

#include "common/oauth.h"

#define OAUTH_ASSERTION_MAX (32 * 1024) /* bytes of a signed one */

struct oauth_assertion {
    struct slice issuer, subject, audience;
    struct slice scope; /* "" = no such claim */
    struct slice kid, x5t_s256;
    int64_t lifetime_ms;
};
void oauth_assertion_of_client(struct oauth_assertion *a, const struct connection_cfg *c);
void oauth_assertion_of_grant(struct oauth_assertion *a, const struct connection_cfg *c);

/* What it says. */
bool oauth_assertion_json(const struct oauth_assertion *a, const char *alg, const char *jti,
                          int64_t now_ms, struct buf *header, struct buf *claims);
/* Adds a new one, with a jti of its own. */
bool oauth_assertion_sign(const struct oauth_assertion *a, const struct jwt_key *k, int64_t now_ms,
                          struct buf *out, struct err *err);

#endif

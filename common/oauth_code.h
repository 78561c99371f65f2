/*
 * oauth_code.h - the authorization code grant: what its owner's browser is sent to, what comes
 * back, and the token request for the code. No I/O here.
 *
 * Owns    struct oauth_code: its verifier and state, until oauth_code_deinit wipes them.
 * Thread  any one at a time.
 * Errors  oauth_code_read, by rule. ERR_DENIED: state_mismatch (not the answer to this question),
 *         iss_mismatch (another server's), parameter_twice, refused (the owner or the server said
 *         no), code_missing. No text ever holds the code, the state or the verifier.
 * Source  RFC 9126, RFC 8707; RFC 6749 sections 4.1 and 10.12; RFC 7636 (S256 only, never plain);
 * RFC 8252 section 7.3; RFC 9207; RFC 9700 sections 2.1.1 and 4.4.
 */
#ifndef AWQ_OAUTH_CODE_H
#define AWQ_OAUTH_CODE_H

#include "common/oauth.h"

#define OAUTH_VERIFIER_CHARS 43 /* 32 random bytes, base64url */
#define OAUTH_CODE_MAX       4096

struct oauth_code {
    char verifier[OAUTH_VERIFIER_CHARS + 1];
    char challenge[OAUTH_VERIFIER_CHARS + 1];
    char state[OAUTH_VERIFIER_CHARS + 1]; /* for one answer */
    const char *jkt; /* of the key that the code is to be bound to (RFC 9449 section 10); or NULL */
};

void oauth_code_begin(struct oauth_code *q);
/* SHA-256 of the verifier, base64url (RFC 7636 section 4.2). */
void oauth_code_challenge(const char *verifier, char challenge[OAUTH_VERIFIER_CHARS + 1]);
void oauth_code_deinit(struct oauth_code *q); /* wipes */

/* Adds the URL to open in a browser. */
bool oauth_code_url(struct buf *out, const struct connection_cfg *c, const struct oauth_code *q,
                    struct slice redirect_uri, struct err *err);
/* The same, pushed to the server first (RFC 9126): the request, and from its answer the URL to
 * open. */
bool oauth_code_push(struct oauth_request *rq, const struct connection_cfg *c,
                     const struct oauth_code *q, struct slice client_secret,
                     struct slice redirect_uri, int64_t now_ms, struct err *err);
bool oauth_code_pushed(struct buf *out, const struct connection_cfg *c, int status,
                       struct slice answer, struct err *err);
/* The query that the redirect came with. The code is added to `code`, which the caller wipes. */
bool oauth_code_read(const struct connection_cfg *c, const struct oauth_code *q, struct slice query,
                     struct buf *code, struct err *err);
/* What api.base_url wants to know from the same query ({callback.NAME}). ERR_DENIED when it is not
 * there, or when what comes of it is no address that the policy's hosts allow. Names borrow from
 * the settings, values from b. */
#define OAUTH_BROUGHT_MAX 4
struct oauth_brought {
    char value[OAUTH_BROUGHT_MAX][256];
    struct name_value at[OAUTH_BROUGHT_MAX + 1]; /* room for one that comes otherwise */
    size_t count;
};
bool oauth_code_brought(const struct connection_cfg *c, struct slice query, struct oauth_brought *b,
                        struct err *err);
/* The caller wipes it by oauth_request_deinit, also on an error. */
bool oauth_code_request(struct oauth_request *rq, const struct connection_cfg *c,
                        const struct oauth_code *q, struct slice client_secret, struct slice code,
                        struct slice redirect_uri, int64_t now_ms, struct err *err);
/* The profile's chained request: the access token that came, for the one that is kept. */
bool oauth_code_chain(struct oauth_request *rq, const struct connection_cfg *c,
                      struct slice client_secret, struct slice access_token, int64_t now_ms,
                      struct err *err);

#endif

/*
 * oauth.h - token requests and what their answers mean. No I/O here: worker/renew_call.c talks to
 * the server.
 * Owns    the bytes of a request, the parsed answer; both are wiped by their deinit.
 * Thread  the loop thread only.
 * Units   milliseconds; now_ms is Unix time, and what assertions and answers are dated by.
 * Errors  none of them ever holds a token or secret, nor raw text of the server beyond its `error`
 *         code, and of that only what looks like a code: at most 64 letters, '_', '-', '.'.
 * Source  RFC 6749 sections 2.3.1, 4.3, 4.4, 5.1, 5.2, 6 and appendix B; RFC 7009; RFC 7522, 7523
 *         and 8693 section 2.1 each; RFC 9700 section 4.14; RFC 6750 section 3; RFC 9110 section
 *         11.6.1.
 */
#ifndef AWQ_OAUTH_H
#define AWQ_OAUTH_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/connection.h"
#include "common/err.h"
#include "common/json.h"
#include "common/slice.h"

/* application/x-www-form-urlencoded. Name and value are encoded; '&' is put where it belongs. */
bool oauth_form_add(struct buf *body, const char *name, struct slice value);
bool oauth_form_encode(struct buf *out, struct slice text);

/* A request to an authorization server, as its profile wants it: where parameters go, what they are
 * called, what comes beside them. The caller wipes it: oauth_request_deinit, also on an error. */
struct oauth_request {
    struct buf url; /* with the query, if parameters go there */
    struct buf body;
    struct buf authorization;   /* the value of that header; empty = none */
    const char *method, *type;  /* type: of the body; NULL = there is none */
    struct request_shape shape; /* its headers are to be sent too */
    struct json_writer json;    /* private */
};
/* shape NULL: a form. */
void oauth_request_begin(struct oauth_request *rq, struct slice url,
                         const struct request_shape *shape);
bool oauth_request_add(struct oauth_request *rq, const char *name, struct slice value);
/* `resource`, once for each (RFC 8707 section 2); `scope`, with the profile's separator. */
bool oauth_request_add_resources(struct oauth_request *rq, const struct connection_cfg *c);
bool oauth_request_add_scopes(struct oauth_request *rq, const struct connection_cfg *c);
/* What the profile adds, and the end. */
bool oauth_request_finish(struct oauth_request *rq);
/* The same, and before it how the client shows who it is: with auth: basic form-encoded before
 * base64 (RFC 6749 section 2.3.1). */
bool oauth_request_end(struct oauth_request *rq, const struct connection_cfg *c,
                       struct slice client_secret, int64_t now_ms, struct err *err);
void oauth_request_deinit(struct oauth_request *rq); /* wipes */
/* The headers that go with it, but for Authorization; they borrow from it. How many. */
#define OAUTH_HEADERS_MAX 32
struct http_header;
size_t oauth_request_headers(const struct oauth_request *rq,
                             struct http_header *to); /* OAUTH_HEADERS_MAX */

/* Where workers send it: token_url, or the profile's refresh_url where tokens are renewed there. */
struct slice oauth_renewal_url(const struct connection_cfg *c);
/* The token request of a connection's grant. */
bool oauth_request_build(struct oauth_request *rq, const struct connection_cfg *c,
                         struct slice client_secret, struct slice grant_secret, int64_t now_ms,
                         struct err *err);
/* The same of what is sent instead of the grant's secret: a signed assertion for a key, base64url
 * for SAML (RFC 7522 section 2.1); the others are sent as they are. */
bool oauth_request_build_from(struct oauth_request *rq, const struct connection_cfg *c,
                              struct slice client_secret, struct slice sent, int64_t now_ms,
                              struct err *err);
/* About a token: to revoke it (RFC 7009 section 2.1), to be told of it (RFC 7662 section 2.1).
 * hint: "refresh_token" or "access_token". */
bool oauth_token_form(struct oauth_request *rq, const struct connection_cfg *c, struct slice url,
                      struct slice client_secret, struct slice token, const char *hint,
                      int64_t now_ms, struct err *err);

/* Does it go in the Authorization header, and not in the body? */
bool oauth_client_is_basic(const struct connection_cfg *c);
/* Of auth: client_secret_jwt and private_key_jwt (RFC 7523 section 2.2). The key that its secret
 * is, or why it is none. */
struct jwt_key;
struct jwt_key *oauth_grant_key(const struct connection_cfg *c, struct slice secret,
                                struct err *err); /* of jwt_bearer: assertion.key */
struct jwt_key *oauth_client_key(const struct connection_cfg *c, struct slice secret,
                                 struct err *err);
#define OAUTH_ACCESS_TOKEN_TYPE "urn:ietf:params:oauth:token-type:access_token" /* RFC 8693 */
enum oauth_outcome {
    OAUTH_TOKEN,     /* a new access token */
    OAUTH_REFUSED,   /* invalid_grant and the like: the account must be linked again */
    OAUTH_CONFIG,    /* invalid_client, unauthorized_client, invalid_scope ...: settings must be
                        mended; backs off */
    OAUTH_TRANSIENT, /* 5xx, 408, 425, nonsense with such a status, 200 that is no token answer */
    OAUTH_THROTTLED, /* 429, 503 or slow_down, with Retry-After when given */
};
struct oauth_answer {
    enum oauth_outcome outcome;
    char reason[65]; /* error code of the server, or ours (not_json, no_access_token, token_type
                        ...); "" with a token */
    char text[200];  /* for people, no secrets; with a token "", or what could not be read of it */
    struct slice access_token, refresh_token, scope; /* borrow from `doc` and `scope_text`; empty =
                                                        not said, and without a token */
    int64_t lifetime_ms;                             /* -1 = not said */
    int64_t retry_after_ms;                          /* 0 = not said; a day at most */
    struct name_value tokens[PROFILE_TOKENS_MAX];    /* more of them (answer.tokens); borrow too */
    size_t token_count;
    struct buf base_url;   /* of the API, where the answer says it: on one of policy.hosts */
    struct buf scope_text; /* private, as is: */
    void *doc;             /* wiped by oauth_answer_deinit */
};
/* Judge a complete answer. token_type is compared without case and must be Bearer (absent is taken
 * as Bearer: many servers leave it out), or N_A of token_exchange (RFC 8693 section 2.2.1); with
 * dpop it must be DPoP, and any other is a downgrade (RFC 9449 section 5).
 * expires_in may be a number or a decimal string; zero, negative, absurd (> 10 years) or unreadable
 * counts as not said. An access token must be visible ASCII (RFC 6750 b64token or wider), 1..16384
 * bytes. A 200 with `error` inside is not a token. A 2xx or 4xx with error=invalid_grant is
 * REFUSED. An empty 400 or HTML is TRANSIENT at first; the caller counts. */
void oauth_answer_judge(struct oauth_answer *a, const struct connection_cfg *c, int status,
                        struct slice body, struct slice content_type, struct slice retry_after,
                        int64_t now_ms);
/* The same by another shape than the profile's answer: its chained request's. */
void oauth_answer_judge_as(struct oauth_answer *a, const struct connection_cfg *c,
                           const struct answer_shape *shape, int status, struct slice body,
                           struct slice content_type, struct slice retry_after, int64_t now_ms);
void oauth_answer_deinit(struct oauth_answer *a);

/* What a server's refusal says for people (error_description, RFC 6749 section 5.2): for the
 * terminal of who asked, never for a log or a record. In visible ASCII; a word of more than 32
 * bytes is left out, and all of it when one of these secrets is in it. "" = it says nothing. */
void oauth_description(struct slice body, const struct slice *secrets, size_t count, char *to,
                       size_t size);

/* Does it look like an `error` code (letters, '_', '-', '.', at most 64), so that our texts may
 * have it? */
bool oauth_is_error_code(struct slice s);

/* Adds what stands before the access token in its header: "Bearer ", "DPoP ", another scheme and a
 * blank, or nothing. */
bool oauth_token_scheme(const struct connection_cfg *c, struct buf *out);

/* WWW-Authenticate of a 401/403: what its Bearer (or DPoP) challenge says. Several headers of that
 * name are joined with ", " (RFC 9110 section 5.3). */
enum oauth_challenge {
    CHALLENGE_NONE, /* no Bearer or DPoP challenge, or not readable */
    CHALLENGE_INVALID_TOKEN,
    CHALLENGE_INSUFFICIENT_SCOPE,
    CHALLENGE_USE_NONCE, /* use_dpop_nonce: the same again with the nonce that came (RFC 9449) */
    CHALLENGE_OTHER      /* no error code, or another */
};
enum oauth_challenge oauth_challenge_read(struct slice www_authenticate);

/* When a token should be renewed: exp - min(margin, lifetime / 5), minus up to 10 % of that as
 * jitter that is the same for one connection id and version on every worker. Never before the
 * token was made; exp itself when that is not known (born 0 or after exp). */
int64_t oauth_renew_at_ms(struct slice id, uint64_t ver, int64_t born_ms, int64_t exp_ms,
                          int64_t margin_ms);

#endif

/*
 * connection.h - a connection: an account that someone linked, and where its tokens may go.
 * Owns    the settings parsed from `cfg` (JSON text): its texts are copies of its own.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  ERR_CONFIG with line and column for a file; ERR_FORMAT rule connection_broken for a
 *         record that does not match its authentication `cm` (edited in Redis).
 * Source  tools/README.md for the file; common/scripts/apply.lua, acquire.lua, store.lua, fail.lua
 *         for who writes what.
 *
 * The record, a hash at P:{c:ID}:
 *   cfg cm cd        settings (canonical JSON), their keyed hash, their digest
 *   gen ver          of the link: Redis' time in us when it was made; renewals since
 *   state grant      FRESH DUE RENEWING BACKOFF NEEDS_CONSENT DISABLED REMOVED; kind of grant
 *   at rt cs         sealed: access token and what came with it (access.h); refresh token, or
 *                    what else the grant is asked for with; client secret
 *   dk               sealed: the key that its tokens are bound to (DPoP)
 *   tk               sealed: its TLS client certificate and key (client_cert.h)
 *   exp born scope   of the access token, Redis' clock
 *   lh               sealed: digest of the `rt` that it was linked with
 *   ds dr dt         disabled: the state to come back to, why, when
 *   why fm ft fc     last failure: code, text for people, time, class (fail.lua)
 *   tries next       how often, when again
 *   cool cw          no calls before this time (429, Retry-After, refused tokens, the breaker);
 *                    the HTTP status that it was for
 *   bo bp bu bf bl   breaker: times opened in a row, the probe and until when it is waited for,
 *                    failures in a row and the last one's time
 *   fence if in ih it sf ff   of the lease: its number, the intent (in: its nonce, which begins
 * with the mark of the worker that renews, id.h; it: since when), the last store and failure pf rn
 * an answer got lost: first fence that may yet bring one, replays of this version
 *
 * What is sealed, and for which place (seal.h): `at`, by the access key, with the version that it
 * is (store writes version ver + 1, so it seals for that); `dk` and `tk`, by the access key, `rt`
 * and `cs`, by the grant key, with version 0 always, because they outlive renewals unchanged. All
 * carry gen and the digest of the settings: who changes the settings seals them anew
 * (connection_place).
 */
#ifndef AWQ_CONNECTION_H
#define AWQ_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/egress.h"
#include "common/err.h"
#include "common/jwt.h"
#include "common/profile.h"
#include "common/seal.h"
#include "common/slice.h"

#define CONNECTION_CFG_MAX (64 * 1024) /* bytes of settings: they are read at each cache miss */

enum grant_kind {
    GRANT_CLIENT_CREDENTIALS,
    GRANT_REFRESH_TOKEN,
    GRANT_AUTHORIZATION_CODE,
    GRANT_DEVICE_CODE,
    GRANT_JWT_BEARER,     /* RFC 7523 section 2.1: an assertion that awq signs */
    GRANT_SAML2_BEARER,   /* RFC 7522 section 2.1: an assertion that somebody else signed */
    GRANT_TOKEN_EXCHANGE, /* RFC 8693 */
    GRANT_PASSWORD,       /* RFC 6749 section 4.3; RFC 9700 section 2.4 forbids it */
};
const char *grant_kind_name(enum grant_kind g); /* "client_credentials" ... in files and records */
bool grant_kind_parse(struct slice name, enum grant_kind *to);
const char *grant_type_of(enum grant_kind g); /* what a token request says: "refresh_token", URN */
/* What it is asked for with, by its place in a connection's file; NULL: the client is enough. */
const char *grant_secret_name(enum grant_kind g);
bool grant_is_renewed(enum grant_kind g); /* by a refresh token */
bool grant_is_asked(enum grant_kind g);   /* of the account's owner, by conn link */
/* Has this address, by its setting's name ("par_url"), a use with this grant? */
bool grant_has_url(enum grant_kind g, const char *setting);
bool grant_needs_client(enum grant_kind g); /* else the assertion or token alone may be enough */
enum client_auth {
    CLIENT_AUTH_BASIC,
    CLIENT_AUTH_POST,
    CLIENT_AUTH_NONE,
    CLIENT_AUTH_BASIC_RAW,       /* Basic without the form-encoding of RFC 6749 section 2.3.1 */
    CLIENT_AUTH_SECRET_JWT,      /* an assertion, HS256 by the client secret (RFC 7523) */
    CLIENT_AUTH_PRIVATE_KEY_JWT, /* an assertion by the client's private key: that is its secret */
    CLIENT_AUTH_TLS,             /* its certificate, issued by a CA (RFC 8705 section 2.1) */
    CLIENT_AUTH_SELF_SIGNED_TLS, /* its certificate, known to the server itself (section 2.2) */
};
bool client_auth_signs(enum client_auth a);      /* by an assertion */
bool client_auth_is_tls(enum client_auth a);     /* by its certificate */
bool client_auth_has_secret(enum client_auth a); /* a client secret, or a key in its place */
/* May a refresh token be sent again after an answer that nobody stored? Once by default: a token
 * that nobody received is lost anyway. Never: where a repeat is worse than asking the owner.
 * Always: where the server forgives repeats. */
enum replay { REPLAY_ONCE, REPLAY_NEVER, REPLAY_ALWAYS };

/* What an assertion of jwt_bearer says (RFC 7523 section 3). "" = see connection_file. */
struct assertion_cfg {
    enum jwt_alg alg;
    struct slice issuer, subject, audience, kid, x5t_s256;
    int64_t lifetime_ms; /* default 60000 */
    bool scope;          /* the scopes are asked for in its `scope` claim, not beside it */
    bool no_subject;     /* it has no `sub`, for servers that take one only as another's name */
    bool in_header;      /* it is the Authorization of its request (RFC 6750), and no parameter */
};

/* Settings: everything of a connection that is not a secret and not state. Lists are sorted and
 * hold nothing twice, hosts are in lower case, methods in upper case: same settings, same bytes. */
struct connection_cfg {
    struct slice id; /* of a file; "" in a record, which is bound to its id by cm: so that records
                        of the same settings have the same cfg */
    enum grant_kind grant;
    struct slice token_url;
    struct slice authorize_url;  /* of authorization_code only; else "" */
    struct slice revoke_url;     /* RFC 7009; "" = its grants are revoked by hand */
    struct slice introspect_url; /* RFC 7662; "" = conn test asks nobody */
    struct slice device_url;     /* of device_code; of authorization_code: another way to ask */
    struct slice par_url;        /* RFC 9126; "" = the question goes by the browser */
    struct slice issuer;         /* "" = its redirects are not said to have `iss` (RFC 9207); of
                                    other grants, what conn test compares with */
    struct slice client_id;      /* "" = none, where the grant allows it */
    enum client_auth auth;
    enum jwt_alg alg;                     /* of private_key_jwt; else JWT_ALG_OF_KEY */
    struct slice kid, x5t_s256, audience; /* of assertions; audience "" = the token_url */
    struct slice scopes;                  /* space separated; "" = none asked */
    struct slice resources;               /* RFC 8707: URIs, space separated; "" = none said */
    enum jwt_alg
        dpop; /* its tokens are bound to a key of this kind (RFC 9449); JWT_ALG_OF_KEY: no */
    struct slice certificate; /* that it shows at all its servers (RFC 8705): x5t#S256; "" = none */
    struct assertion_cfg assertion;                                           /* of jwt_bearer */
    struct slice subject_token_type, requested_token_type, exchange_audience; /* token_exchange */
    struct slice actor_token_type; /* "" = there is no actor; else the grant's secret is the
                                      subject token, a NUL and the actor token */
    struct slice username;         /* of password */
    bool allow_insecure_grants;    /* password needs it */
    int64_t default_lifetime_ms;   /* when the answer has no expires_in: default 3600000 */
    int64_t refresh_margin_ms;     /* renew so long before expiry: default 60000, never more than a
                                      share (1/5) of the lifetime */
    int64_t max_idle_ms; /* the refresh token dies unless it is used in so long; 0 = it does not */
    enum replay replay;
    bool shown;             /* not a setting: words stand for what would be signed (conn explain) */
    struct profile profile; /* how its provider differs from the standards */
    struct policy policy;
    uint32_t concurrency; /* calls at once; 0 = no limit */
    uint32_t rate_calls;  /* so many calls in rate_ms; 0 = no limit */
    int64_t rate_ms;
    uint32_t burst;   /* calls of the rate that may begin at once; 0 = what 100 ms allow */
    uint32_t breaker; /* failures in a row after which calls are held; 0 = never */
};
struct connection_cfg *connection_cfg_parse(struct slice json, struct err *err);
/* Where in the settings something is wrong. */
struct cfg_fault {
    const char
        *setting;    /* the static name of the member ("token_url", "hosts"); "settings" = all */
    char entry[128]; /* of its map or list: which one; "" = the member itself */
};
struct connection_cfg *connection_cfg_parse_at(struct slice json, struct cfg_fault *at,
                                               struct err *err); /* the same; on an error *at */
/* Calls of the rate that may begin at once, 1 at least. */
uint32_t connection_burst(const struct connection_cfg *c);
void connection_cfg_free(struct connection_cfg *c); /* NULL is fine */
/* Adds canonical JSON; the digest `cd` is seal_digest of it. False: longer than what is read back
 * (64 KiB), or out of memory. */
bool connection_cfg_to_json(struct buf *out, const struct connection_cfg *c);

/* A connection file (YAML), as `conn apply -f` reads it: the settings and the secrets they name.
 * tools/README.md has its keys, deploy/providers/README.md those of a profile, which `profiles` is
 * the folder of (NULL: none). Unknown keys are errors with line and column. Secrets are read from
 * their file (one newline at the end off) or environment variable, into buffers that
 * connection_file_deinit wipes. */
struct connection_file {
    struct connection_cfg *cfg;
    struct buf client_secret; /* empty = none given */
    struct buf grant_secret;  /* refresh token, key, assertion ... (grant_secret_name); the same */
    struct buf dpop_key;      /* PEM; empty = one is made */
    struct buf certificate;   /* as client_cert_pack has it; empty = none */
    struct err unlinked; /* said when the account is to be linked and the file has not what it is
                            linked with; code ERR_NONE = it has */
};
bool connection_file_read(struct connection_file *f, const char *path, const char *profiles,
                          struct err *err);
void connection_file_deinit(struct connection_file *f); /* wipes */

/* The record as Redis has it (P:{c:ID}, a hash); slices borrow from the reply. */
struct connection_record {
    struct slice cfg, cm, cd, state, grant, at, rt, cs, dk, tk, why, fail_text, scope, lh,
        disabled_why, cool_why, fail_class, intent;
    uint64_t gen, ver;
    int64_t exp_ms, born_ms, cool_ms, next_ms, fail_ms, disabled_ms, intent_ms;
    uint32_t tries, trips;
    bool exists;
};
struct redis_reply;
/* The command that reads it (HMGET, so that fields come in an order of ours), into argv; how many
 * words. For a step: what a call needs, and nothing of the grant. */
enum { CONNECTION_RECORD_ARGS = 31 };
size_t connection_record_ask(struct slice key, struct slice argv[CONNECTION_RECORD_ARGS]);
size_t connection_record_ask_for_step(struct slice key, struct slice argv[CONNECTION_RECORD_ARGS]);
/* Its answer; what was not asked for reads as not there. */
bool connection_record_read(struct connection_record *r, const struct redis_reply *hmget,
                            struct err *err);
/* Check cm over cfg (keyed, purpose "cfg", with prefix and id in it). */
bool connection_record_authentic(const struct connection_record *r, const struct keyring *k,
                                 struct slice prefix, struct slice id, struct err *err);
/* The same, and that cd is cfg's digest. */
bool connection_record_verify(const struct connection_record *r, const struct keyring *k,
                              struct slice prefix, struct slice id, struct err *err);
/* Adds what belongs into cm. */
bool connection_cfg_sign(const struct keyring *k, struct slice prefix, struct slice id,
                         struct slice cfg_json, struct buf *cm, struct err *err);
/* Where a field is sealed for; ver counts for "at" only. */
struct seal_place connection_place(struct slice prefix, struct slice id, const char *field,
                                   uint64_t gen, uint64_t ver, struct slice cfg_digest);
/* Of `lh`: it outlives settings and generations. */
struct seal_place connection_link_place(struct slice prefix, struct slice id);
/* Open what is sealed for one place and seal it for another, in its buffer. Empty stays empty. */
bool connection_seal_again(const struct keyring *k, enum key_kind kind,
                           const struct seal_place *from, const struct seal_place *to,
                           struct buf *sealed, struct err *err);

#endif

/*
 * connection.h - a connection: an account that someone linked, and where its tokens may go.
 * Owns    the settings parsed from `cfg` (JSON text), which policy and names borrow from.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  ERR_CONFIG with line and column for a file; ERR_FORMAT rule connection_broken for a
 * record whose `cfg` does not match its authentication `cm` (edited in Redis). Source
 * common/PROTOCOL.md for the record's fields; tools/README.md for the file.
 */
#ifndef AWQ_CONNECTION_H
#define AWQ_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/egress.h"
#include "common/err.h"
#include "common/seal.h"
#include "common/slice.h"

enum grant_kind { GRANT_CLIENT_CREDENTIALS, GRANT_REFRESH_TOKEN };
const char *grant_kind_name(enum grant_kind g); /* "client_credentials" ... as in RFC 6749 */
enum client_auth { CLIENT_AUTH_BASIC, CLIENT_AUTH_POST, CLIENT_AUTH_NONE };

/* Settings: everything of a connection that is not a secret and not state. */
struct connection_cfg {
    struct slice id;
    enum grant_kind grant;
    struct slice token_url;
    struct slice client_id;
    enum client_auth auth;
    struct slice scopes;         /* space separated; "" = none asked */
    int64_t default_lifetime_ms; /* when the answer has no expires_in: default 3600000 */
    int64_t refresh_margin_ms;   /* renew so long before expiry: default 60000, never more than a
                                    share   (1/5) of the lifetime */
    struct policy policy;
    uint32_t concurrency; /* 0 = no limit */
    void *arena;          /* private */
};
/* cfg is canonical JSON made by connection_cfg_to_json: same settings, same bytes, same digest. */
struct connection_cfg *connection_cfg_parse(struct slice json, struct err *err);
void connection_cfg_free(struct connection_cfg *c);
bool connection_cfg_to_json(struct buf *out, const struct connection_cfg *c);

/* A connection file (YAML), as `conn apply -f` reads it: the settings and the secrets they name.
 *   id: crm
 *   grant: refresh_token            # or client_credentials
 *   token_url: https://login.example/token
 *   client: {id: awq, secret: {file: /run/secrets/crm}, auth: basic}   # or {env: CRM_SECRET};
 * auth: basic|post|none scopes: [read, write] refresh_token: {file: /run/secrets/crm-refresh}
 *   policy: {hosts: [api.example], methods: [GET, POST], paths: [/v1], insecure_http: false,
 * allow_private: false} limits: {concurrency: 10} Unknown keys are errors with line and column.
 * Secrets are read from their file (trailing newline off) or environment variable; they land in
 * buffers the caller wipes. */
struct connection_file {
    struct connection_cfg *cfg;
    struct buf client_secret, refresh_token; /* empty = none given */
};
bool connection_file_read(struct connection_file *f, const char *path, struct err *err);
void connection_file_deinit(struct connection_file *f); /* wipes */

/* The record as Redis has it (HGETALL of P:{c:ID}); slices borrow from the reply. */
struct connection_record {
    struct slice cfg, cm, cd, state, at, rt, cs, why, fail_text, scope, lh;
    uint64_t gen, ver;
    int64_t exp_ms, born_ms, cool_ms, next_ms, fail_ms;
    uint32_t tries;
    bool exists;
};
struct redis_reply;
bool connection_record_read(struct connection_record *r, const struct redis_reply *hgetall,
                            struct err *err);
/* Check cm over cfg (keyed, purpose "cfg", with prefix and id in it) and that cd is cfg's digest.
 */
bool connection_record_verify(const struct connection_record *r, const struct keyring *k,
                              struct slice prefix, struct slice id, struct err *err);
bool connection_cfg_sign(const struct keyring *k, struct slice prefix, struct slice id,
                         struct slice cfg_json, struct buf *cm, struct err *err);

#endif

/* Settings as they are kept: their names, and the canonical JSON. */
#include "common/connection_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/json.h"

static const struct grant {
    const char *name, *type, *secret;
    bool renewed, asked, needs_client;
} grants[] = {
    [GRANT_CLIENT_CREDENTIALS] = {"client_credentials", "client_credentials", NULL, false, false,
                                  true},
    [GRANT_REFRESH_TOKEN] = {"refresh_token", "refresh_token", "refresh_token", true, false, true},
    [GRANT_AUTHORIZATION_CODE] = {"authorization_code", "refresh_token", "refresh_token", true,
                                  true, true},
    [GRANT_DEVICE_CODE] = {"device_code", "refresh_token", "refresh_token", true, true, true},
    [GRANT_JWT_BEARER] = {"jwt_bearer", "urn:ietf:params:oauth:grant-type:jwt-bearer",
                          "assertion.key", false, false, false},
    [GRANT_SAML2_BEARER] = {"saml2_bearer", "urn:ietf:params:oauth:grant-type:saml2-bearer",
                            "assertion.saml", false, false, false},
    [GRANT_TOKEN_EXCHANGE] = {"token_exchange", "urn:ietf:params:oauth:grant-type:token-exchange",
                              "exchange.subject_token", false, false, false},
    [GRANT_PASSWORD] = {"password", "password", "login.password", false, false, true},
};
static const char *const replay_names[] = {
    [REPLAY_ONCE] = "once",
    [REPLAY_NEVER] = "never",
    [REPLAY_ALWAYS] = "always",
};

static const char *const auth_names[] = {
    [CLIENT_AUTH_BASIC] = "basic",
    [CLIENT_AUTH_POST] = "post",
    [CLIENT_AUTH_NONE] = "none",
    [CLIENT_AUTH_BASIC_RAW] = "basic_raw",
    [CLIENT_AUTH_SECRET_JWT] = "client_secret_jwt",
    [CLIENT_AUTH_PRIVATE_KEY_JWT] = "private_key_jwt",
    [CLIENT_AUTH_TLS] = "tls_client_auth",
    [CLIENT_AUTH_SELF_SIGNED_TLS] = "self_signed_tls_client_auth",
};

const char *connection_grant_name(int i)
{
    return (size_t)i < ARRAY_LEN(grants) ? grants[i].name : "unknown";
}

const char *connection_auth_name(int i)
{
    return (size_t)i < ARRAY_LEN(auth_names) ? auth_names[i] : "unknown";
}

const char *connection_replay_name(int i)
{
    return (size_t)i < ARRAY_LEN(replay_names) ? replay_names[i] : "unknown";
}

const char *grant_kind_name(enum grant_kind g)
{
    return connection_grant_name((int)g);
}

bool grant_kind_parse(struct slice name, enum grant_kind *to)
{
    for (size_t i = 0; i < ARRAY_LEN(grants); i++) {
        if (slice_is(name, grants[i].name)) {
            *to = (enum grant_kind)i;
            return true;
        }
    }
    return false;
}

const char *grant_type_of(enum grant_kind g)
{
    return grants[g].type;
}

const char *grant_secret_name(enum grant_kind g)
{
    return grants[g].secret;
}

bool grant_is_renewed(enum grant_kind g)
{
    return grants[g].renewed;
}

bool grant_is_asked(enum grant_kind g)
{
    return grants[g].asked;
}

bool grant_needs_client(enum grant_kind g)
{
    return grants[g].needs_client;
}

bool client_auth_signs(enum client_auth a)
{
    return a == CLIENT_AUTH_SECRET_JWT || a == CLIENT_AUTH_PRIVATE_KEY_JWT;
}

bool client_auth_is_tls(enum client_auth a)
{
    return a == CLIENT_AUTH_TLS || a == CLIENT_AUTH_SELF_SIGNED_TLS;
}

bool client_auth_has_secret(enum client_auth a)
{
    return a != CLIENT_AUTH_NONE && !client_auth_is_tls(a);
}

const struct rate_unit connection_rate_units[RATE_UNITS] = {
    {'d', 24 * 3600 * 1000}, {'h', 3600 * 1000}, {'m', 60 * 1000}, {'s', 1000}};

static void put_text(struct json_writer *w, const char *key, struct slice s)
{
    jw_key(w, key);
    jw_str(w, s);
}

static void put_some(struct json_writer *w, const char *key, struct slice s)
{
    if (s.len > 0)
        put_text(w, key, s);
}

static void put_rate(struct json_writer *w, const struct connection_cfg *c)
{
    const struct rate_unit *u = connection_rate_units;
    char text[48];

    if (c->rate_calls == 0)
        return;
    while (c->rate_ms % u->ms != 0)
        u++;
    snprintf(text, sizeof text, "%" PRIu32 "/%" PRId64 "%c", c->rate_calls, c->rate_ms / u->ms,
             u->letter);
    put_text(w, "rate", slice_cstr(text));
    if (c->burst > 0) {
        jw_key(w, "burst");
        jw_int(w, c->burst);
    }
}

/* What only some grants have. */
static void put_grant(struct json_writer *w, const struct connection_cfg *c)
{
    const struct assertion_cfg *a = &c->assertion;

    put_some(w, "assertion_alg", slice_cstr(jwt_alg_name(a->alg)));
    put_some(w, "assertion_issuer", a->issuer);
    put_some(w, "assertion_subject", a->subject);
    put_some(w, "assertion_audience", a->audience);
    put_some(w, "assertion_kid", a->kid);
    put_some(w, "assertion_x5t_s256", a->x5t_s256);
    if (a->lifetime_ms != ASSERTION_MS_DEFAULT) {
        jw_key(w, "assertion_lifetime_ms");
        jw_int(w, a->lifetime_ms);
    }
    if (a->scope) {
        jw_key(w, "assertion_scope");
        jw_bool(w, true);
    }
    if (a->no_subject) {
        jw_key(w, "assertion_no_subject");
        jw_bool(w, true);
    }
    if (a->in_header) {
        jw_key(w, "assertion_in_header");
        jw_bool(w, true);
    }
    put_some(w, "subject_token_type", c->subject_token_type);
    put_some(w, "requested_token_type", c->requested_token_type);
    put_some(w, "actor_token_type", c->actor_token_type);
    put_some(w, "exchange_audience", c->exchange_audience);
    put_some(w, "username", c->username);
    if (c->allow_insecure_grants) {
        jw_key(w, "allow_insecure_grants");
        jw_bool(w, true);
    }
}

/* All members but the id, always in this order, but for those that came later than the first
 * version, which stand there when they say something: the digest of the same settings is the same.
 */
bool connection_cfg_to_json(struct buf *out, const struct connection_cfg *c)
{
    const struct policy *p = &c->policy;
    size_t before = out->len;
    struct json_writer w;

    jw_init(&w, out);
    jw_obj(&w);
    put_text(&w, "grant", slice_cstr(grant_kind_name(c->grant)));
    put_text(&w, "token_url", c->token_url);
    put_some(&w, "authorize_url", c->authorize_url);
    put_some(&w, "device_url", c->device_url);
    put_some(&w, "par_url", c->par_url);
    put_some(&w, "revoke_url", c->revoke_url);
    put_some(&w, "introspect_url", c->introspect_url);
    put_some(&w, "issuer", c->issuer);
    put_some(&w, "client_id", c->client_id);
    put_text(&w, "auth", slice_cstr(connection_auth_name((int)c->auth)));
    put_some(&w, "alg", slice_cstr(jwt_alg_name(c->alg)));
    put_some(&w, "kid", c->kid);
    put_some(&w, "x5t_s256", c->x5t_s256);
    put_some(&w, "audience", c->audience);
    put_text(&w, "scopes", c->scopes);
    put_some(&w, "resource", c->resources);
    put_some(&w, "dpop", slice_cstr(jwt_alg_name(c->dpop)));
    put_some(&w, "certificate", c->certificate);
    put_grant(&w, c);
    profile_write(&w, &c->profile);
    jw_key(&w, "default_lifetime_ms");
    jw_int(&w, c->default_lifetime_ms);
    jw_key(&w, "refresh_margin_ms");
    jw_int(&w, c->refresh_margin_ms);
    jw_key(&w, "max_idle_ms");
    jw_int(&w, c->max_idle_ms);
    put_text(&w, "replay", slice_cstr(connection_replay_name((int)c->replay)));
    jw_strs(&w, "hosts", p->hosts, p->host_count);
    jw_strs(&w, "methods", p->methods, p->method_count);
    jw_strs(&w, "paths", p->paths, p->path_count);
    if (p->producer_count > 0)
        jw_strs(&w, "producers", p->producers, p->producer_count);
    jw_key(&w, "insecure_http");
    jw_bool(&w, p->insecure_http);
    jw_key(&w, "allow_private");
    jw_bool(&w, p->allow_private);
    jw_key(&w, "concurrency");
    jw_int(&w, c->concurrency);
    put_rate(&w, c);
    if (c->breaker != BREAKER_DEFAULT) {
        jw_key(&w, "breaker");
        jw_int(&w, c->breaker);
    }
    jw_end_obj(&w);
    /* With its defaults spelled out it may have grown over what is read back. */
    return buf_ok(out) && out->len - before <= CONNECTION_CFG_MAX;
}

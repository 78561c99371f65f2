#include "common/connection.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/connection_inside.h"
#include "common/id.h"

#define ASSERTION_MS_MAX ((int64_t)24 * 3600 * 1000)
#define HOST_MAX         262 /* a name of 253 and a port */
#define PATH_MAX_BYTES   1024
#define METHOD_MAX       32
#define X5T_BYTES        43 /* base64url of 32 bytes (RFC 7515 section 4.1.8) */
#define LIFETIME_MIN     1000
#define LIFETIME_MAX     ((int64_t)10 * 366 * 24 * 3600 * 1000)
#define MARGIN_MAX       ((int64_t)31 * 24 * 3600 * 1000)
#define CONCURRENCY_MAX  1000000
#define RATE_CALLS_MAX   1000000
#define RATE_MS_MIN      1000
#define RATE_MS_MAX      ((int64_t)31 * 24 * 3600 * 1000)
#define BREAKER_MAX      1000000
#define RATE_SPARE_MS    100 /* the pace at which waiting calls are looked at must not slow them */

struct block {
    struct connection_cfg cfg;
    struct slice slices[CFG_SLICES_MAX];
    struct name_value pairs[PROFILE_PAIRS_MAX];
    char text[];
};

/* ---- members of lists ---- */

static bool check_host(struct cfg_reader *r, char *s, size_t *len)
{
    struct slice name = slice_of(s, *len);

    if (!slice_is_visible(name))
        return cfg_wrong(r, "must be a host name with an optional port");
    for (size_t i = 0; i < *len; i++) {
        if (s[i] >= 'A' && s[i] <= 'Z')
            s[i] = (char)(s[i] + 32);
        if (strchr("/@?#\\%\"'<>,", s[i]))
            return cfg_wrong(r, "must be a host name with an optional port, not a URL");
    }
    if (slice_starts(name, SLICE_LIT("*.")))
        name = slice_sub(name, 2, name.len);
    if (name.len == 0 || slice_find(name, '*') < name.len)
        return cfg_wrong(r, "may have a * only as the first label, as in *.example.com");
    return true;
}

static bool check_method(struct cfg_reader *r, char *s, size_t *len)
{
    for (size_t i = 0; i < *len; i++) {
        if (s[i] >= 'a' && s[i] <= 'z')
            s[i] = (char)(s[i] - 32);
        if (s[i] < 'A' || s[i] > 'Z')
            return cfg_wrong(r, "must be the name of an HTTP method");
    }
    return true;
}

static bool check_producer(struct cfg_reader *r, char *s, size_t *len)
{
    return id_is_queue(slice_of(s, *len)) ||
           cfg_wrong(r, "must be the name of a producer: 1-32 of A-Z a-z 0-9 _ -");
}

static bool check_path(struct cfg_reader *r, char *s, size_t *len)
{
    struct slice path = slice_of(s, *len);

    if (s[0] != '/' || !slice_is_visible(path) || slice_find(path, '?') < path.len ||
        slice_find(path, '#') < path.len)
        return cfg_wrong(r, "must be a path that begins with / and has no query");
    while (*len > 1 && s[*len - 1] == '/') /* whole segments: /v1/ is /v1 */
        s[--*len] = '\0';
    return true;
}

static bool is_scope(struct slice s) /* RFC 6749 section 3.3 */
{
    return slice_is_visible(s) && slice_find(s, '"') == s.len && slice_find(s, '\\') == s.len;
}

static bool read_scopes(struct cfg_reader *r, const struct json_val *v)
{
    return cfg_words(r, v, is_scope, "has a character that no scope may have", &r->cfg->scopes);
}

static bool is_resource(struct slice s) /* RFC 8707 section 2: an absolute URI, no fragment */
{
    size_t colon = slice_find(s, ':');

    return slice_is_visible(s) && colon > 0 && colon + 1 < s.len && slice_find(s, '#') == s.len;
}

static bool read_resource(struct cfg_reader *r, const struct json_val *v)
{
    return cfg_words(r, v, is_resource, "must be an absolute URI without a fragment (RFC 8707)",
                     &r->cfg->resources);
}

/* ---- members of the settings ---- */

static bool read_id(struct cfg_reader *r, const struct json_val *v)
{
    return cfg_text(r, v, ID_MAX, &r->cfg->id) &&
           (id_is_connection(r->cfg->id) || cfg_wrong(r, "must be 1-64 of A-Z a-z 0-9 _ : -"));
}

static bool read_grant(struct cfg_reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!cfg_name(r, v, connection_grant_name, "must be " GRANT_NAMES, &pick))
        return false;
    r->cfg->grant = (enum grant_kind)pick;
    return true;
}

static bool read_auth(struct cfg_reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!cfg_name(r, v, connection_auth_name,
                  "must be basic, basic_raw, post, client_secret_jwt, private_key_jwt, "
                  "tls_client_auth, self_signed_tls_client_auth or none",
                  &pick))
        return false;
    r->cfg->auth = (enum client_auth)pick;
    r->said_auth = true;
    return true;
}

static bool read_jwt_alg(struct cfg_reader *r, const struct json_val *v, enum jwt_alg *to)
{
    struct slice s = SLICE_NONE;

    json_str(v, &s);
    return jwt_alg_parse(s, to) || cfg_wrong(r, "must be RS256, PS256, ES256 or EdDSA");
}

static bool read_alg(struct cfg_reader *r, const struct json_val *v)
{
    return read_jwt_alg(r, v, &r->cfg->alg);
}

static bool read_dpop(struct cfg_reader *r, const struct json_val *v)
{
    return read_jwt_alg(r, v, &r->cfg->dpop) &&
           (r->cfg->dpop == JWT_ES256 || r->cfg->dpop == JWT_EDDSA ||
            cfg_wrong(r, "must be ES256 or EdDSA"));
}

/* By a key, or by a secret that both sides know. */
static bool read_assertion_alg(struct cfg_reader *r, const struct json_val *v)
{
    struct slice s = SLICE_NONE;

    r->cfg->assertion.alg = JWT_HS256;
    json_str(v, &s);
    return slice_is(s, "HS256") || jwt_alg_parse(s, &r->cfg->assertion.alg) ||
           cfg_wrong(r, "must be HS256, RS256, PS256, ES256 or EdDSA");
}

static bool read_thumbprint(struct cfg_reader *r, const struct json_val *v, struct slice *to)
{
    return cfg_text(r, v, X5T_BYTES, to) &&
           ((to->len == X5T_BYTES && slice_is_visible(*to)) ||
            cfg_wrong(r, "must be base64url of the certificate's SHA-256, 43 characters"));
}

static bool read_x5t_s256(struct cfg_reader *r, const struct json_val *v)
{
    return read_thumbprint(r, v, &r->cfg->x5t_s256);
}

static bool read_assertion_x5t_s256(struct cfg_reader *r, const struct json_val *v)
{
    return read_thumbprint(r, v, &r->cfg->assertion.x5t_s256);
}

static bool read_certificate(struct cfg_reader *r, const struct json_val *v)
{
    return read_thumbprint(r, v, &r->cfg->certificate);
}

static bool read_replay(struct cfg_reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!cfg_name(r, v, connection_replay_name, "must be once, never or always", &pick))
        return false;
    r->cfg->replay = (enum replay)pick;
    return true;
}

static bool read_hosts(struct cfg_reader *r, const struct json_val *v)
{
    struct policy *p = &r->cfg->policy;

    return cfg_list(r, v, HOST_MAX, check_host, &p->hosts, &p->host_count) &&
           (p->host_count > 0 || cfg_wrong(r, "must name one host at least"));
}

static bool read_methods(struct cfg_reader *r, const struct json_val *v)
{
    struct policy *p = &r->cfg->policy;

    return cfg_list(r, v, METHOD_MAX, check_method, &p->methods, &p->method_count);
}

static bool read_paths(struct cfg_reader *r, const struct json_val *v)
{
    struct policy *p = &r->cfg->policy;

    return cfg_list(r, v, PATH_MAX_BYTES, check_path, &p->paths, &p->path_count);
}

static bool read_producers(struct cfg_reader *r, const struct json_val *v)
{
    struct policy *p = &r->cfg->policy;

    return cfg_list(r, v, ID_MAX, check_producer, &p->producers, &p->producer_count);
}

static bool read_concurrency(struct cfg_reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!cfg_int(r, v, 1, 0, CONCURRENCY_MAX, &n))
        return false;
    r->cfg->concurrency = (uint32_t)n;
    return true;
}

/* 100/1m: calls, and the time in which so many may begin; 100/m is the same. */
static bool parse_rate(struct slice s, uint64_t *calls, int64_t *ms)
{
    size_t slash = slice_find(s, '/');
    struct slice time = slice_sub(s, slash + 1, s.len), number;
    uint64_t n = 1;

    if (time.len == 0 || !slice_to_u64(slice_sub(s, 0, slash), calls))
        return false;
    number = slice_sub(time, 0, time.len - 1);
    if (number.len > 0 && (!slice_to_u64(number, &n) || n > RATE_MS_MAX))
        return false;
    for (size_t i = 0; i < RATE_UNITS; i++) {
        if (connection_rate_units[i].letter == time.ptr[time.len - 1]) {
            *ms = (int64_t)n * connection_rate_units[i].ms;
            return true;
        }
    }
    return false;
}

static bool read_rate(struct cfg_reader *r, const struct json_val *v)
{
    struct connection_cfg *c = r->cfg;
    struct slice s = SLICE_NONE;
    uint64_t calls = 0;

    if (!json_str(v, &s) || !parse_rate(s, &calls, &c->rate_ms))
        return cfg_wrong(r, "must be calls and a time, as 100/1m (units: s, m, h, d)");
    if (calls < 1 || calls > RATE_CALLS_MAX)
        return cfg_wrong(r, "must allow 1 to 1000000 calls");
    if (c->rate_ms < RATE_MS_MIN || c->rate_ms > RATE_MS_MAX)
        return cfg_wrong(r, "must have a time of 1s to 31d");
    c->rate_calls = (uint32_t)calls;
    return true;
}

static bool read_burst(struct cfg_reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!cfg_int(r, v, 1, 1, RATE_CALLS_MAX, &n))
        return false;
    r->cfg->burst = (uint32_t)n;
    return true;
}

static bool read_breaker(struct cfg_reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!cfg_int(r, v, 1, 0, BREAKER_MAX, &n))
        return false;
    r->cfg->breaker = (uint32_t)n;
    return true;
}

/* With a reader of its own, or a text, a number or a flag at a place in the settings. */
static const struct member {
    const char *name;
    bool (*read)(struct cfg_reader *r, const struct json_val *v);
    bool required;
    enum { OWN, SHORT_TEXT, LONG_TEXT, FLAG, MS } kind;
    size_t at;
    int64_t min, max; /* of a number */
} members[] = {
#define AT(member) offsetof(struct connection_cfg, member)
#define READ(n, f)                                                                                 \
    {                                                                                              \
        .name = n, .read = f                                                                       \
    }
#define URL(n)                                                                                     \
    {                                                                                              \
        .name = #n, .kind = LONG_TEXT, .at = AT(n)                                                 \
    }
#define TEXT(n, m)                                                                                 \
    {                                                                                              \
        .name = n, .kind = SHORT_TEXT, .at = AT(m)                                                 \
    }
#define BOOL(n, m)                                                                                 \
    {                                                                                              \
        .name = n, .kind = FLAG, .at = AT(m)                                                       \
    }
#define TIME(n, m, l)                                                                              \
    {                                                                                              \
        .name = n, .kind = MS, .at = AT(m), .min = l, .max = LIFETIME_MAX                          \
    }
    READ("id", read_id), /* of a file: what is stored is bound to its id another way */
    {.name = "grant", .read = read_grant, .required = true},
    {.name = "token_url", .required = true, .kind = LONG_TEXT, .at = AT(token_url)},
    URL(authorize_url),
    URL(revoke_url),
    URL(introspect_url),
    URL(device_url),
    URL(par_url),
    URL(issuer),
    TEXT("client_id", client_id),
    READ("auth", read_auth),
    READ("alg", read_alg),
    TEXT("kid", kid),
    READ("x5t_s256", read_x5t_s256),
    URL(audience),
    READ("scopes", read_scopes),
    READ("resource", read_resource),
    READ("dpop", read_dpop),
    READ("certificate", read_certificate),
    READ("assertion_alg", read_assertion_alg),
    TEXT("assertion_issuer", assertion.issuer),
    TEXT("assertion_subject", assertion.subject),
    TEXT("assertion_audience", assertion.audience),
    TEXT("assertion_kid", assertion.kid),
    READ("assertion_x5t_s256", read_assertion_x5t_s256),
    {.name = "assertion_lifetime_ms",
     .kind = MS,
     .at = AT(assertion.lifetime_ms),
     .min = 1000,
     .max = ASSERTION_MS_MAX},
    BOOL("assertion_scope", assertion.scope),
    BOOL("assertion_no_subject", assertion.no_subject),
    BOOL("assertion_in_header", assertion.in_header),
    TEXT("subject_token_type", subject_token_type),
    TEXT("requested_token_type", requested_token_type),
    TEXT("actor_token_type", actor_token_type),
    TEXT("exchange_audience", exchange_audience),
    TEXT("username", username),
    BOOL("allow_insecure_grants", allow_insecure_grants),
    TIME("default_lifetime_ms", default_lifetime_ms, LIFETIME_MIN),
    {.name = "refresh_margin_ms",
     .kind = MS,
     .at = AT(refresh_margin_ms),
     .min = 0,
     .max = MARGIN_MAX},
    TIME("max_idle_ms", max_idle_ms, 0),
    READ("replay", read_replay),
    {.name = "hosts", .read = read_hosts, .required = true},
    READ("methods", read_methods),
    READ("paths", read_paths),
    READ("producers", read_producers),
    BOOL("insecure_http", policy.insecure_http),
    BOOL("allow_private", policy.allow_private),
    READ("concurrency", read_concurrency),
    READ("rate", read_rate),
    READ("burst", read_burst),
    READ("breaker", read_breaker),
#undef AT
#undef READ
#undef URL
#undef TEXT
#undef BOOL
#undef TIME
};

_Static_assert(ARRAY_LEN(members) <= 64, "seen has a bit for each");

static bool read_value(struct cfg_reader *r, const struct member *m, const struct json_val *v)
{
    void *to = (char *)r->cfg + m->at;

    switch (m->kind) {
    case OWN:
        return m->read(r, v);
    case SHORT_TEXT:
        return cfg_text(r, v, CFG_TEXT_MAX, to);
    case LONG_TEXT:
        return cfg_text(r, v, CFG_URL_MAX, to);
    case FLAG:
        return cfg_bool(r, v, to);
    case MS:
        return cfg_int(r, v, 1000, m->min, m->max, to);
    }
    return false;
}

static bool read_member(struct cfg_reader *r, struct slice key, const struct json_val *v,
                        uint64_t *seen)
{
    bool known = false;

    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (!slice_is(key, members[i].name))
            continue;
        r->at->setting = members[i].name;
        if (*seen & (UINT64_C(1) << i))
            return cfg_wrong(r, "is there twice");
        *seen |= UINT64_C(1) << i;
        return read_value(r, &members[i], v);
    }
    if (profile_read(r, key, v, &known))
        return true;
    if (known)
        return false;
    /* It may be a limit: better no call than one that it would have refused. */
    return cfg_wrong(r, "hold something that this version of awq does not know");
}

static bool check_whole(struct cfg_reader *r, uint64_t seen)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        r->at->setting = members[i].name;
        if (members[i].required && !(seen & (UINT64_C(1) << i)))
            return cfg_wrong(r, "is missing");
    }
    /* An assertion or a token alone may be enough; whoever names a client says how it shows that.
     */
    if (r->cfg->client_id.len == 0 && !grant_needs_client(r->cfg->grant) && !r->said_auth)
        r->cfg->auth = CLIENT_AUTH_NONE;
    profile_inherit(&r->cfg->profile);
    if (r->cfg->profile.not_renewed)
        r->cfg->refresh_margin_ms = 0; /* it is good to its last moment */
    return connection_check(r->cfg, r->at, r->err);
}

static bool read_all(struct cfg_reader *r, const struct json_val *root)
{
    const struct json_val *v;
    struct json_iter it;
    struct slice key;
    uint64_t seen = 0;

    if (json_type(root) != JSON_OBJ)
        return cfg_wrong(r, "must be a map");
    json_iter_init(&it, root);
    while (json_iter_next(&it, &key, &v)) {
        r->at->setting = "settings";
        if (!read_member(r, key, v, &seen))
            return false;
    }
    return check_whole(r, seen);
}

struct connection_cfg *connection_cfg_parse_at(struct slice json, struct cfg_fault *at,
                                               struct err *err)
{
    struct cfg_reader r = {.err = err, .at = at};
    struct json *doc = NULL;
    struct block *to = NULL;
    bool ok = false;

    *at = (struct cfg_fault){.setting = "settings"};
    if (json.len > CONNECTION_CFG_MAX) {
        cfg_wrong(&r, "are too long");
        goto out;
    }
    doc = json_parse(json, err);
    if (!doc)
        goto out;
    to = calloc(1, sizeof *to + json.len + 1);
    if (!to) {
        err_set(err, ERR_NOMEM, "no memory for the settings of a connection");
        goto out;
    }
    r.cfg = &to->cfg;
    r.slices = to->slices;
    r.pairs = to->pairs;
    r.text = to->text;
    to->cfg.auth = CLIENT_AUTH_BASIC;
    to->cfg.breaker = BREAKER_DEFAULT;
    to->cfg.assertion.lifetime_ms = ASSERTION_MS_DEFAULT;
    to->cfg.default_lifetime_ms = 3600 * 1000;
    to->cfg.refresh_margin_ms = 60 * 1000;
    ok = read_all(&r, json_root(doc));
out:
    json_free(doc);
    if (ok)
        return &to->cfg;
    free(to);
    return NULL;
}

struct connection_cfg *connection_cfg_parse(struct slice json, struct err *err)
{
    struct cfg_fault at;

    return connection_cfg_parse_at(json, &at, err);
}

uint32_t connection_burst(const struct connection_cfg *c)
{
    int64_t spare = c->rate_ms > 0 ? c->rate_calls * (int64_t)RATE_SPARE_MS / c->rate_ms : 0;

    return c->burst > 0 ? c->burst : spare > 1 ? (uint32_t)spare : 1;
}

void connection_cfg_free(struct connection_cfg *c)
{
    free(c); /* the first member of its block */
}

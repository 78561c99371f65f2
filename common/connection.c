#include "common/connection.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/connection_inside.h"
#include "common/id.h"
#include "common/json.h"

#define LIST_MAX         256
#define URL_MAX          2048
#define TEXT_MAX         1024 /* of ids and the like */
#define ASSERTION_MS_MAX ((int64_t)24 * 3600 * 1000)
#define SCOPES_MAX       4096
#define HOST_MAX         262 /* a name of 253 and a port */
#define PATH_MAX_BYTES   1024
#define METHOD_MAX       32
#define X5T_BYTES        43 /* base64url of 32 bytes (RFC 7515 section 4.1.8) */
#define LIFETIME_MIN     1000
#define LIFETIME_MAX     ((int64_t)10 * 366 * 24 * 3600 * 1000)
#define MARGIN_MAX       ((int64_t)24 * 3600 * 1000)
#define CONCURRENCY_MAX  1000000
#define RATE_CALLS_MAX   1000000
#define RATE_MS_MIN      1000
#define RATE_MS_MAX      ((int64_t)31 * 24 * 3600 * 1000)
#define BREAKER_MAX      1000000
#define RATE_SPARE_MS    100 /* the pace at which waiting calls are looked at must not slow them */

/* ---- reading: JSON -> settings, checked and made canonical --------------------------------------
 */

/* Settings, their lists and their texts are one block. No text is longer than its JSON spelling
 * with the quotes, so a copy with its NUL always fits. */
struct block {
    struct connection_cfg cfg;
    struct slice slices[3 * LIST_MAX];
    char text[];
};

struct reader {
    struct block *to;
    size_t slices_used;
    char *text;          /* where the next copy goes */
    const char *setting; /* being read, for messages */
    bool said_auth;
    struct err *err;
};

static bool wrong(struct reader *r, const char *why)
{
    return connection_wrong(r->setting, why, r->err);
}

static struct slice keep(struct reader *r, struct slice s)
{
    char *at = r->text;

    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    at[s.len] = '\0';
    r->text += s.len + 1;
    return slice_of(at, s.len);
}

static bool read_text(struct reader *r, const struct json_val *v, size_t max, struct slice *to)
{
    struct slice s;

    if (!json_str(v, &s) || s.len == 0)
        return wrong(r, "must be a text that is not empty");
    if (s.len > max)
        return wrong(r, "is too long");
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
            return wrong(r, "has a control character in it");
    }
    *to = keep(r, s);
    return true;
}

static bool read_int(struct reader *r, const struct json_val *v, int64_t min, int64_t max,
                     int64_t *to)
{
    int64_t n = 0;

    if (!json_int(v, &n))
        return wrong(r, "must be a whole number");
    if (n < min || n > max)
        return wrong(r, "is out of bounds");
    *to = n;
    return true;
}

static bool read_bool(struct reader *r, const struct json_val *v, bool *to)
{
    return json_bool(v, to) || wrong(r, "must be true or false");
}

/* name: of the i-th value; "unknown" behind the last. */
static bool read_name(struct reader *r, const struct json_val *v, const char *(*name)(int i),
                      const char *allowed, int *to)
{
    struct slice s = SLICE_NONE;

    json_str(v, &s);
    for (int i = 0; strcmp(name(i), "unknown") != 0; i++) {
        if (slice_is(s, name(i))) {
            *to = i;
            return true;
        }
    }
    return wrong(r, allowed);
}

static int compare(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void sort_unique(struct slice *list, size_t *count)
{
    size_t kept = 0;

    if (*count > 1)
        qsort(list, *count, sizeof *list, compare);
    for (size_t i = 0; i < *count; i++) {
        if (kept == 0 || !slice_eq(list[i], list[kept - 1]))
            list[kept++] = list[i];
    }
    *count = kept;
}

/* ---- members of lists: each check may rewrite its text, or cut it ---- */

typedef bool item_check(struct reader *r, char *s, size_t *len);

static bool check_host(struct reader *r, char *s, size_t *len)
{
    struct slice name = slice_of(s, *len);

    if (!slice_is_visible(name))
        return wrong(r, "must be host names with an optional port");
    for (size_t i = 0; i < *len; i++) {
        if (s[i] >= 'A' && s[i] <= 'Z')
            s[i] = (char)(s[i] + 32);
        if (strchr("/@?#\\%\"'<>,", s[i]))
            return wrong(r, "must be host names with an optional port, not URLs");
    }
    if (slice_starts(name, SLICE_LIT("*.")))
        name = slice_sub(name, 2, name.len);
    if (name.len == 0 || slice_find(name, '*') < name.len)
        return wrong(r, "may have a * only as the first label, as in *.example.com");
    return true;
}

static bool check_method(struct reader *r, char *s, size_t *len)
{
    for (size_t i = 0; i < *len; i++) {
        if (s[i] >= 'a' && s[i] <= 'z')
            s[i] = (char)(s[i] - 32);
        if (s[i] < 'A' || s[i] > 'Z')
            return wrong(r, "must be names of HTTP methods");
    }
    return true;
}

static bool check_producer(struct reader *r, char *s, size_t *len)
{
    return id_is_queue(slice_of(s, *len)) ||
           wrong(r, "must be names of producers: 1-32 of A-Z a-z 0-9 _ -");
}

static bool check_path(struct reader *r, char *s, size_t *len)
{
    struct slice path = slice_of(s, *len);

    if (s[0] != '/' || !slice_is_visible(path) || slice_find(path, '?') < path.len ||
        slice_find(path, '#') < path.len)
        return wrong(r, "must be paths that begin with / and have no query");
    while (*len > 1 && s[*len - 1] == '/') /* whole segments: /v1/ is /v1 */
        s[--*len] = '\0';
    return true;
}

static bool read_list(struct reader *r, const struct json_val *v, size_t max_bytes,
                      item_check *check, struct slice **list, size_t *count)
{
    struct slice *to = r->to->slices + r->slices_used;
    const struct json_val *item;
    struct json_iter it;
    struct slice key;
    size_t n = 0;

    if (json_type(v) != JSON_ARR)
        return wrong(r, "must be a list");
    if (json_len(v) > LIST_MAX)
        return wrong(r, "has too many members");
    json_iter_init(&it, v);
    while (json_iter_next(&it, &key, &item)) {
        char *copy = r->text;

        if (!read_text(r, item, max_bytes, &to[n]) || !check(r, copy, &to[n].len))
            return false;
        n++;
    }
    sort_unique(to, &n);
    r->slices_used += n;
    *list = n > 0 ? to : NULL;
    *count = n;
    return true;
}

/* A list that is kept as one text of words: their order does not matter. */
static bool read_words(struct reader *r, const struct json_val *v, bool (*is_word)(struct slice),
                       const char *wrong_word, struct slice *to)
{
    struct slice words[LIST_MAX], s, word;
    char *start = r->text;
    size_t n = 0;

    if (!json_str(v, &s))
        return wrong(r, "must be a text");
    if (s.len > SCOPES_MAX)
        return wrong(r, "is too long");
    while (slice_cut(&s, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (!is_word(word))
            return wrong(r, wrong_word);
        if (n == LIST_MAX)
            return wrong(r, "has too many members");
        words[n++] = word;
    }
    sort_unique(words, &n);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            r->text[-1] = ' '; /* in place of the NUL before */
        keep(r, words[i]);
    }
    *to = n > 0 ? slice_of(start, (size_t)(r->text - start) - 1) : SLICE_NONE;
    return true;
}

static bool is_scope(struct slice s) /* RFC 6749 section 3.3 */
{
    return slice_is_visible(s) && slice_find(s, '"') == s.len && slice_find(s, '\\') == s.len;
}

static bool read_scopes(struct reader *r, const struct json_val *v)
{
    return read_words(r, v, is_scope, "has a character that no scope may have", &r->to->cfg.scopes);
}

static bool is_resource(struct slice s) /* RFC 8707 section 2: an absolute URI, no fragment */
{
    size_t colon = slice_find(s, ':');

    return slice_is_visible(s) && colon > 0 && colon + 1 < s.len && slice_find(s, '#') == s.len;
}

static bool read_resource(struct reader *r, const struct json_val *v)
{
    return read_words(r, v, is_resource, "must be absolute URIs without a fragment (RFC 8707)",
                      &r->to->cfg.resources);
}

/* ---- members of the settings ---- */

static bool read_id(struct reader *r, const struct json_val *v)
{
    return read_text(r, v, ID_MAX, &r->to->cfg.id) &&
           (id_is_connection(r->to->cfg.id) || wrong(r, "must be 1-64 of A-Z a-z 0-9 _ : -"));
}

static bool read_grant(struct reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!read_name(r, v, connection_grant_name,
                   "must be client_credentials, refresh_token, authorization_code, device_code, "
                   "jwt_bearer, saml2_bearer, token_exchange or password",
                   &pick))
        return false;
    r->to->cfg.grant = (enum grant_kind)pick;
    return true;
}

static bool read_auth(struct reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!read_name(r, v, connection_auth_name,
                   "must be basic, basic_raw, post, client_secret_jwt, private_key_jwt or none",
                   &pick))
        return false;
    r->to->cfg.auth = (enum client_auth)pick;
    r->said_auth = true;
    return true;
}

static bool read_jwt_alg(struct reader *r, const struct json_val *v, enum jwt_alg *to)
{
    struct slice s = SLICE_NONE;

    json_str(v, &s);
    return jwt_alg_parse(s, to) || wrong(r, "must be RS256, PS256, ES256 or EdDSA");
}

static bool read_alg(struct reader *r, const struct json_val *v)
{
    return read_jwt_alg(r, v, &r->to->cfg.alg);
}

static bool read_dpop(struct reader *r, const struct json_val *v)
{
    return read_jwt_alg(r, v, &r->to->cfg.dpop) &&
           (r->to->cfg.dpop == JWT_ES256 || r->to->cfg.dpop == JWT_EDDSA ||
            wrong(r, "must be ES256 or EdDSA"));
}

static bool read_assertion_alg(struct reader *r, const struct json_val *v)
{
    return read_jwt_alg(r, v, &r->to->cfg.assertion.alg);
}

static bool read_thumbprint(struct reader *r, const struct json_val *v, struct slice *to)
{
    return read_text(r, v, X5T_BYTES, to) &&
           ((to->len == X5T_BYTES && slice_is_visible(*to)) ||
            wrong(r, "must be base64url of the certificate's SHA-256, 43 characters"));
}

static bool read_x5t_s256(struct reader *r, const struct json_val *v)
{
    return read_thumbprint(r, v, &r->to->cfg.x5t_s256);
}

static bool read_assertion_x5t_s256(struct reader *r, const struct json_val *v)
{
    return read_thumbprint(r, v, &r->to->cfg.assertion.x5t_s256);
}

static bool read_replay(struct reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!read_name(r, v, connection_replay_name, "must be once, never or always", &pick))
        return false;
    r->to->cfg.replay = (enum replay)pick;
    return true;
}

static bool read_hosts(struct reader *r, const struct json_val *v)
{
    struct policy *p = &r->to->cfg.policy;

    return read_list(r, v, HOST_MAX, check_host, &p->hosts, &p->host_count) &&
           (p->host_count > 0 || wrong(r, "must name one host at least"));
}

static bool read_methods(struct reader *r, const struct json_val *v)
{
    struct policy *p = &r->to->cfg.policy;

    return read_list(r, v, METHOD_MAX, check_method, &p->methods, &p->method_count);
}

static bool read_paths(struct reader *r, const struct json_val *v)
{
    struct policy *p = &r->to->cfg.policy;

    return read_list(r, v, PATH_MAX_BYTES, check_path, &p->paths, &p->path_count);
}

static bool read_producers(struct reader *r, const struct json_val *v)
{
    struct policy *p = &r->to->cfg.policy;

    return read_list(r, v, ID_MAX, check_producer, &p->producers, &p->producer_count);
}

static bool read_concurrency(struct reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!read_int(r, v, 0, CONCURRENCY_MAX, &n))
        return false;
    r->to->cfg.concurrency = (uint32_t)n;
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

static bool read_rate(struct reader *r, const struct json_val *v)
{
    struct connection_cfg *c = &r->to->cfg;
    struct slice s = SLICE_NONE;
    uint64_t calls = 0;

    if (!json_str(v, &s) || !parse_rate(s, &calls, &c->rate_ms))
        return wrong(r, "must be calls and a time, as 100/1m (units: s, m, h, d)");
    if (calls < 1 || calls > RATE_CALLS_MAX)
        return wrong(r, "must allow 1 to 1000000 calls");
    if (c->rate_ms < RATE_MS_MIN || c->rate_ms > RATE_MS_MAX)
        return wrong(r, "must have a time of 1s to 31d");
    c->rate_calls = (uint32_t)calls;
    return true;
}

static bool read_burst(struct reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!read_int(r, v, 1, RATE_CALLS_MAX, &n))
        return false;
    r->to->cfg.burst = (uint32_t)n;
    return true;
}

static bool read_breaker(struct reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!read_int(r, v, 0, BREAKER_MAX, &n))
        return false;
    r->to->cfg.breaker = (uint32_t)n;
    return true;
}

/* With a reader of its own, or a text, a number or a flag at a place in the settings. */
static const struct member {
    const char *name;
    bool (*read)(struct reader *r, const struct json_val *v);
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
    TEXT("subject_token_type", subject_token_type),
    TEXT("requested_token_type", requested_token_type),
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

static bool read_value(struct reader *r, const struct member *m, const struct json_val *v)
{
    void *to = (char *)&r->to->cfg + m->at;

    switch (m->kind) {
    case OWN:
        return m->read(r, v);
    case SHORT_TEXT:
        return read_text(r, v, TEXT_MAX, to);
    case LONG_TEXT:
        return read_text(r, v, URL_MAX, to);
    case FLAG:
        return read_bool(r, v, to);
    case MS:
        return read_int(r, v, m->min, m->max, to);
    }
    return false;
}

static bool read_member(struct reader *r, struct slice key, const struct json_val *v,
                        uint64_t *seen)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (!slice_is(key, members[i].name))
            continue;
        r->setting = members[i].name;
        if (*seen & (UINT64_C(1) << i))
            return wrong(r, "is there twice");
        *seen |= UINT64_C(1) << i;
        return read_value(r, &members[i], v);
    }
    /* It may be a limit: better no call than one that it would have refused. */
    return wrong(r, "hold something that this version of awq does not know");
}

static bool check_whole(struct reader *r, uint64_t seen)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        r->setting = members[i].name;
        if (members[i].required && !(seen & (UINT64_C(1) << i)))
            return wrong(r, "is missing");
    }
    /* An assertion or a token alone may be enough; whoever names a client says how it shows that.
     */
    if (r->to->cfg.client_id.len == 0 && !grant_needs_client(r->to->cfg.grant) && !r->said_auth)
        r->to->cfg.auth = CLIENT_AUTH_NONE;
    return connection_check(&r->to->cfg, &r->setting, r->err);
}

static bool read_all(struct reader *r, const struct json_val *root)
{
    const struct json_val *v;
    struct json_iter it;
    struct slice key;
    uint64_t seen = 0;

    if (json_type(root) != JSON_OBJ)
        return wrong(r, "must be a map");
    json_iter_init(&it, root);
    while (json_iter_next(&it, &key, &v)) {
        r->setting = "settings";
        if (!read_member(r, key, v, &seen))
            return false;
    }
    return check_whole(r, seen);
}

struct connection_cfg *connection_cfg_parse_at(struct slice json, const char **setting,
                                               struct err *err)
{
    struct reader r = {.err = err, .setting = "settings"};
    struct json *doc = NULL;
    bool ok = false;

    if (json.len > CONNECTION_CFG_MAX) {
        wrong(&r, "are too long");
        goto out;
    }
    doc = json_parse(json, err);
    if (!doc)
        goto out;
    r.to = calloc(1, sizeof *r.to + json.len + 1);
    if (!r.to) {
        err_set(err, ERR_NOMEM, "no memory for the settings of a connection");
        goto out;
    }
    r.text = r.to->text;
    r.to->cfg.auth = CLIENT_AUTH_BASIC;
    r.to->cfg.breaker = BREAKER_DEFAULT;
    r.to->cfg.assertion.lifetime_ms = ASSERTION_MS_DEFAULT;
    r.to->cfg.default_lifetime_ms = 3600 * 1000;
    r.to->cfg.refresh_margin_ms = 60 * 1000;
    ok = read_all(&r, json_root(doc));
out:
    json_free(doc);
    if (ok)
        return &r.to->cfg;
    free(r.to);
    *setting = r.setting;
    return NULL;
}

struct connection_cfg *connection_cfg_parse(struct slice json, struct err *err)
{
    const char *setting;

    return connection_cfg_parse_at(json, &setting, err);
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

#include "common/connection.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/id.h"
#include "common/json.h"

#define LIST_MAX        256
#define URL_MAX         2048
#define CLIENT_ID_MAX   1024
#define SCOPES_MAX      4096
#define HOST_MAX        262 /* a name of 253 and a port */
#define PATH_MAX_BYTES  1024
#define METHOD_MAX      32
#define LIFETIME_MIN    1000
#define LIFETIME_MAX    ((int64_t)10 * 366 * 24 * 3600 * 1000)
#define MARGIN_MAX      ((int64_t)24 * 3600 * 1000)
#define CONCURRENCY_MAX 1000000
#define RATE_CALLS_MAX  1000000
#define RATE_MS_MIN     1000
#define RATE_MS_MAX     ((int64_t)31 * 24 * 3600 * 1000)
#define BREAKER_DEFAULT 10
#define BREAKER_MAX     1000000
#define RATE_SPARE_MS   100 /* the pace at which waiting calls are looked at must not slow them */

static const char *const grant_names[] = {
    [GRANT_CLIENT_CREDENTIALS] = "client_credentials",
    [GRANT_REFRESH_TOKEN] = "refresh_token",
    [GRANT_AUTHORIZATION_CODE] = "authorization_code",
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
};

const char *grant_kind_name(enum grant_kind g)
{
    return (size_t)g < ARRAY_LEN(grant_names) ? grant_names[g] : "unknown";
}

bool grant_is_renewed(enum grant_kind g)
{
    return g != GRANT_CLIENT_CREDENTIALS;
}

static const char *client_auth_name(enum client_auth a)
{
    return (size_t)a < ARRAY_LEN(auth_names) ? auth_names[a] : "unknown";
}

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
    struct err *err;
};

/* Settings are kept flat; people know them by their places in a connection's file. */
static const char *in_file(const char *setting)
{
    static const struct {
        const char *kept, *file;
    } names[] = {
        {"client_id", "client.id"},
        {"auth", "client.auth"},
        {"hosts", "policy.hosts"},
        {"methods", "policy.methods"},
        {"paths", "policy.paths"},
        {"producers", "policy.producers"},
        {"insecure_http", "policy.insecure_http"},
        {"allow_private", "policy.allow_private"},
        {"concurrency", "limits.concurrency"},
        {"rate", "limits.rate"},
        {"burst", "limits.burst"},
        {"breaker", "limits.breaker"},
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i].kept, setting) == 0)
            return names[i].file;
    return setting;
}

static bool wrong(struct reader *r, const char *why)
{
    return err_rule(r->err, ERR_FORMAT, "connection_broken", "%s %s", in_file(r->setting), why);
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

static bool is_visible(struct slice s) /* ASCII without blanks */
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return false;
    }
    return true;
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

static bool read_name(struct reader *r, const struct json_val *v, const char *const *names,
                      size_t count, const char *allowed, int *to)
{
    struct slice s = SLICE_NONE;

    json_str(v, &s);
    for (size_t i = 0; i < count; i++) {
        if (slice_is(s, names[i])) {
            *to = (int)i;
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

    if (!is_visible(name))
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

    if (s[0] != '/' || !is_visible(path) || slice_find(path, '?') < path.len ||
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

/* Scopes are one text of words; RFC 6749 section 3.3: their order does not matter. */
static bool read_scopes(struct reader *r, const struct json_val *v)
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
        if (!is_visible(word) || slice_find(word, '"') < word.len ||
            slice_find(word, '\\') < word.len)
            return wrong(r, "has a character that no scope may have");
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
    r->to->cfg.scopes = n > 0 ? slice_of(start, (size_t)(r->text - start) - 1) : SLICE_NONE;
    return true;
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

    if (!read_name(r, v, grant_names, ARRAY_LEN(grant_names),
                   "must be client_credentials or refresh_token", &pick))
        return false;
    r->to->cfg.grant = (enum grant_kind)pick;
    return true;
}

static bool read_auth(struct reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!read_name(r, v, auth_names, ARRAY_LEN(auth_names), "must be basic, post or none", &pick))
        return false;
    r->to->cfg.auth = (enum client_auth)pick;
    return true;
}

static bool read_token_url(struct reader *r, const struct json_val *v)
{
    return read_text(r, v, URL_MAX, &r->to->cfg.token_url);
}

static bool read_authorize_url(struct reader *r, const struct json_val *v)
{
    return read_text(r, v, URL_MAX, &r->to->cfg.authorize_url);
}

static bool read_issuer(struct reader *r, const struct json_val *v)
{
    return read_text(r, v, URL_MAX, &r->to->cfg.issuer);
}

static bool read_client_id(struct reader *r, const struct json_val *v)
{
    return read_text(r, v, CLIENT_ID_MAX, &r->to->cfg.client_id);
}

static bool read_lifetime(struct reader *r, const struct json_val *v)
{
    return read_int(r, v, LIFETIME_MIN, LIFETIME_MAX, &r->to->cfg.default_lifetime_ms);
}

static bool read_margin(struct reader *r, const struct json_val *v)
{
    return read_int(r, v, 0, MARGIN_MAX, &r->to->cfg.refresh_margin_ms);
}

static bool read_max_idle(struct reader *r, const struct json_val *v)
{
    return read_int(r, v, 0, LIFETIME_MAX, &r->to->cfg.max_idle_ms);
}

static bool read_replay(struct reader *r, const struct json_val *v)
{
    int pick = 0;

    if (!read_name(r, v, replay_names, ARRAY_LEN(replay_names), "must be once, never or always",
                   &pick))
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

static bool read_insecure_http(struct reader *r, const struct json_val *v)
{
    return read_bool(r, v, &r->to->cfg.policy.insecure_http);
}

static bool read_allow_private(struct reader *r, const struct json_val *v)
{
    return read_bool(r, v, &r->to->cfg.policy.allow_private);
}

static bool read_concurrency(struct reader *r, const struct json_val *v)
{
    int64_t n = 0;

    if (!read_int(r, v, 0, CONCURRENCY_MAX, &n))
        return false;
    r->to->cfg.concurrency = (uint32_t)n;
    return true;
}

static const struct rate_unit {
    char letter;
    int64_t ms;
} rate_units[] = {{'d', 24 * 3600 * 1000}, {'h', 3600 * 1000}, {'m', 60 * 1000}, {'s', 1000}};

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
    for (size_t i = 0; i < ARRAY_LEN(rate_units); i++) {
        if (rate_units[i].letter == time.ptr[time.len - 1]) {
            *ms = (int64_t)n * rate_units[i].ms;
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

static const struct {
    const char *name;
    bool (*read)(struct reader *r, const struct json_val *v);
    bool required;
} members[] = {
    {"id", read_id, false}, /* of a file: what is stored is bound to its id another way */
    {"grant", read_grant, true},
    {"token_url", read_token_url, true},
    {"authorize_url", read_authorize_url, false},
    {"issuer", read_issuer, false},
    {"client_id", read_client_id, true},
    {"auth", read_auth, false},
    {"scopes", read_scopes, false},
    {"default_lifetime_ms", read_lifetime, false},
    {"refresh_margin_ms", read_margin, false},
    {"max_idle_ms", read_max_idle, false},
    {"replay", read_replay, false},
    {"hosts", read_hosts, true},
    {"methods", read_methods, false},
    {"paths", read_paths, false},
    {"producers", read_producers, false},
    {"insecure_http", read_insecure_http, false},
    {"allow_private", read_allow_private, false},
    {"concurrency", read_concurrency, false},
    {"rate", read_rate, false},
    {"burst", read_burst, false},
    {"breaker", read_breaker, false},
};

static bool read_member(struct reader *r, struct slice key, const struct json_val *v,
                        uint32_t *seen)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        if (!slice_is(key, members[i].name))
            continue;
        r->setting = members[i].name;
        if (*seen & (1u << i))
            return wrong(r, "is there twice");
        *seen |= 1u << i;
        return members[i].read(r, v);
    }
    /* It may be a limit: better no call than one that it would have refused. */
    return wrong(r, "hold something that this version of awq does not know");
}

/* ---- what settings say together ---- */

static bool check_url(struct reader *r, const char *setting, struct slice url)
{
    struct slice host;
    size_t scheme = 0;

    r->setting = setting;
    if (!is_visible(url) || slice_find(url, '#') < url.len || slice_find(url, '\\') < url.len)
        return wrong(r, "has a character that no URL has, or a fragment");
    if (slice_starts(url, SLICE_LIT("https://")))
        scheme = 8;
    else if (slice_starts(url, SLICE_LIT("http://")) && r->to->cfg.policy.insecure_http)
        scheme = 7;
    else
        return wrong(r, "must begin with https:// (http:// needs policy.insecure_http: true)");
    host = slice_sub(url, scheme, url.len);
    host = slice_sub(host, 0, slice_find(host, '/'));
    host = slice_sub(host, 0, slice_find(host, '?'));
    if (host.len == 0 || slice_find(host, '@') < host.len)
        return wrong(r, "must name a host, and no user");
    return true;
}

static bool check_whole(struct reader *r, uint32_t seen)
{
    const struct connection_cfg *c = &r->to->cfg;

    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        r->setting = members[i].name;
        if (members[i].required && !(seen & (1u << i)))
            return wrong(r, "is missing");
    }
    if (!check_url(r, "token_url", c->token_url) ||
        (c->authorize_url.len > 0 && !check_url(r, "authorize_url", c->authorize_url)) ||
        (c->issuer.len > 0 && !check_url(r, "issuer", c->issuer)))
        return false;
    r->setting = "authorize_url";
    if (c->grant == GRANT_AUTHORIZATION_CODE && c->authorize_url.len == 0)
        return wrong(r, "is missing: it is where the owner is asked (RFC 6749 section 3.1)");
    if (c->grant != GRANT_AUTHORIZATION_CODE && c->authorize_url.len > 0)
        return wrong(r, "has no use with this grant");
    r->setting = "issuer";
    if (c->grant != GRANT_AUTHORIZATION_CODE && c->issuer.len > 0)
        return wrong(r, "has no use with this grant");
    r->setting = "auth";
    if (c->grant == GRANT_CLIENT_CREDENTIALS && c->auth == CLIENT_AUTH_NONE)
        return wrong(r, "must be basic or post: this grant is for clients that have a secret "
                        "(RFC 6749 section 4.4)");
    r->setting = "burst";
    if (c->burst > 0 && c->rate_calls == 0)
        return wrong(r, "has no use without rate");
    return true;
}

static bool read_all(struct reader *r, const struct json_val *root)
{
    const struct json_val *v;
    struct json_iter it;
    struct slice key;
    uint32_t seen = 0;

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

/* ---- writing ------------------------------------------------------------------------------------
 */

static void put_text(struct json_writer *w, const char *key, struct slice s)
{
    jw_key(w, key);
    jw_str(w, s);
}

static void put_list(struct json_writer *w, const char *key, const struct slice *list, size_t count)
{
    jw_key(w, key);
    jw_arr(w);
    for (size_t i = 0; i < count; i++)
        jw_str(w, list[i]);
    jw_end_arr(w);
}

static void put_rate(struct json_writer *w, const struct connection_cfg *c)
{
    const struct rate_unit *u = rate_units;
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
    if (c->authorize_url.len > 0)
        put_text(&w, "authorize_url", c->authorize_url);
    if (c->issuer.len > 0)
        put_text(&w, "issuer", c->issuer);
    put_text(&w, "client_id", c->client_id);
    put_text(&w, "auth", slice_cstr(client_auth_name(c->auth)));
    put_text(&w, "scopes", c->scopes);
    jw_key(&w, "default_lifetime_ms");
    jw_int(&w, c->default_lifetime_ms);
    jw_key(&w, "refresh_margin_ms");
    jw_int(&w, c->refresh_margin_ms);
    jw_key(&w, "max_idle_ms");
    jw_int(&w, c->max_idle_ms);
    put_text(&w, "replay", slice_cstr(replay_names[c->replay]));
    put_list(&w, "hosts", p->hosts, p->host_count);
    put_list(&w, "methods", p->methods, p->method_count);
    put_list(&w, "paths", p->paths, p->path_count);
    if (p->producer_count > 0)
        put_list(&w, "producers", p->producers, p->producer_count);
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

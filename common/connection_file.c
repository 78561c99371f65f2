/* The connection file: YAML to settings, by way of the same JSON that the record holds, so that
 * both pass the same checks; and the secrets that it names. */
#include "common/connection_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/client_cert.h"
#include "common/clock.h"
#include "common/connection_inside.h"
#include "common/dpop.h"
#include "common/json.h"
#include "common/jwt.h"
#include "common/oauth.h"
#include "common/profile_file.h"
#include "common/secret_file.h"
#include "common/yaml.h"

#define SECRET_BYTES_MAX 16384
#define PATH_ROOM        4096

/* ---- the file -----------------------------------------------------------------------------------
 */

static bool read_file(const char *path, struct buf *text, struct err *err)
{
    char chunk[8192];
    FILE *f = fopen(path, "re");
    size_t n;
    bool ok;

    if (!f)
        return err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    errno = 0;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && buf_add(text, chunk, n))
        ;
    ok = !ferror(f);
    if (!ok)
        err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    else if (!buf_ok(text))
        ok = err_set(err, ERR_CONFIG, "%s is larger than %zu bytes", path, text->max);
    fclose(f);
    return ok;
}

/* ---- settings: each member of the record, and where the file has it -----------------------------
 */

enum shape { TEXT, SECONDS, NUMBER, FLAG, LIST, WORDS, THUMBPRINT };

static const struct row {
    const char *member;     /* of the record's JSON */
    const char *map, *name; /* in the file; map NULL = top level */
    enum shape shape;
} rows[] = {
    {"id", NULL, "id", TEXT},
    {"grant", NULL, "grant", TEXT},
    {"token_url", NULL, "token_url", TEXT},
    {"authorize_url", NULL, "authorize_url", TEXT},
    {"device_url", NULL, "device_url", TEXT},
    {"par_url", NULL, "par_url", TEXT},
    {"revoke_url", NULL, "revoke_url", TEXT},
    {"introspect_url", NULL, "introspect_url", TEXT},
    {"issuer", NULL, "issuer", TEXT},
    {"client_id", "client", "id", TEXT},
    {"auth", "client", "auth", TEXT},
    {"alg", "client", "alg", TEXT},
    {"kid", "client", "kid", TEXT},
    {"x5t_s256", "client", "x5t_s256", TEXT},
    {"audience", "client", "audience", TEXT},
    {"scopes", NULL, "scopes", WORDS},
    {"resource", NULL, "resource", WORDS},
    {"dpop", "dpop", "alg", TEXT},
    {"certificate", "tls", "certificate", THUMBPRINT}, /* of the file that it names */
    {"assertion_alg", "assertion", "alg", TEXT},
    {"assertion_issuer", "assertion", "issuer", TEXT},
    {"assertion_subject", "assertion", "subject", TEXT},
    {"assertion_audience", "assertion", "audience", TEXT},
    {"assertion_kid", "assertion", "kid", TEXT},
    {"assertion_x5t_s256", "assertion", "x5t_s256", TEXT},
    {"assertion_lifetime_ms", "assertion", "lifetime_s", SECONDS},
    {"assertion_scope", "assertion", "scope", FLAG},
    {"subject_token_type", "exchange", "subject_token_type", TEXT},
    {"requested_token_type", "exchange", "requested_token_type", TEXT},
    {"actor_token_type", "exchange", "actor_token_type", TEXT},
    {"exchange_audience", "exchange", "audience", TEXT},
    {"username", "login", "username", TEXT},
    {"allow_insecure_grants", NULL, "allow_insecure_grants", FLAG},
    {"default_lifetime_ms", "token", "default_lifetime_s", SECONDS},
    {"refresh_margin_ms", "token", "renew_before_s", SECONDS},
    {"max_idle_ms", "token", "max_idle_s", SECONDS},
    {"replay", "token", "replay", TEXT},
    {"hosts", "policy", "hosts", LIST},
    {"methods", "policy", "methods", LIST},
    {"paths", "policy", "paths", LIST},
    {"producers", "policy", "producers", LIST},
    {"insecure_http", "policy", "insecure_http", FLAG},
    {"allow_private", "policy", "allow_private", FLAG},
    {"concurrency", "limits", "concurrency", NUMBER},
    {"rate", "limits", "rate", TEXT},
    {"burst", "limits", "burst", NUMBER},
    {"breaker", "limits", "breaker", NUMBER},
};

static const struct yaml_node *map_of(const struct yaml_node *root, const struct row *row)
{
    return row->map ? yaml_at(root, row->map) : root;
}

static bool put_int(struct json_writer *w, const struct yaml_node *n, const struct row *row,
                    int64_t unit, struct err *err)
{
    int64_t v = 0;

    if (!yaml_int(n, row->name, &v, err))
        return false;
    if (v > INT64_MAX / unit || v < INT64_MIN / unit)
        return yaml_err(n, err, "%s is out of bounds", row->name);
    jw_int(w, v * unit);
    return true;
}

static bool put_list(struct json_writer *w, const struct yaml_node *n, const struct row *row,
                     struct err *err)
{
    struct slice s;

    if (!yaml_expect(n, row->name, YAML_LIST, err))
        return false;
    jw_arr(w);
    for (size_t i = 0; i < n->count; i++) {
        if (!yaml_str(n->items[i], row->name, &s, err))
            return false;
        jw_str(w, s);
    }
    jw_end_arr(w);
    return true;
}

/* Scopes: a list of them, or one text with blanks between, as providers' pages show it. */
static bool put_words(struct json_writer *w, const struct yaml_node *n, const struct row *row,
                      struct err *err)
{
    struct buf words;
    struct slice s;
    bool ok = true;

    if (n->kind == YAML_SCALAR) {
        ok = yaml_str(n, row->name, &s, err);
        if (ok)
            jw_str(w, s);
        return ok;
    }
    if (!yaml_expect(n, row->name, YAML_LIST, err))
        return false;
    buf_init(&words, YAML_BYTES_MAX);
    for (size_t i = 0; ok && i < n->count; i++) {
        ok = yaml_str(n->items[i], row->name, &s, err);
        if (ok && slice_find(s, ' ') < s.len)
            ok = yaml_err(n->items[i], err, "a scope has no blanks in it");
        if (ok) {
            buf_add_slice(&words, s);
            buf_add_char(&words, ' ');
        }
    }
    if (ok)
        jw_str(w, buf_slice(&words));
    buf_deinit(&words);
    return ok;
}

static bool put_value(struct json_writer *w, const struct yaml_node *n, const struct row *row,
                      const char *x5t, struct err *err)
{
    struct slice s;
    bool b;

    switch (row->shape) {
    case TEXT:
        if (!yaml_str(n, row->name, &s, err))
            return false;
        jw_str(w, s);
        return true;
    case FLAG:
        if (!yaml_bool(n, row->name, &b, err))
            return false;
        jw_bool(w, b);
        return true;
    case SECONDS:
        return put_int(w, n, row, 1000, err);
    case NUMBER:
        return put_int(w, n, row, 1, err);
    case LIST:
        return put_list(w, n, row, err);
    case WORDS:
        return put_words(w, n, row, err);
    case THUMBPRINT:
        jw_str(w, slice_cstr(x5t));
        return true;
    }
    return false;
}

/* ---- the profile's members: their place in the file is their name ---- */

/* As it is written: names and values of parameters are texts, whatever they look like. */
static bool put_texts(struct json_writer *w, const struct yaml_node *n, const char *place,
                      struct err *err)
{
    if (!yaml_expect(n, place, YAML_MAP, err))
        return false;
    jw_obj(w);
    for (size_t i = 0; i < n->count; i++) {
        if (!yaml_expect(n->items[i], place, YAML_SCALAR, err))
            return false;
        if (yaml_is_null(n->items[i]))
            return yaml_err(n->items[i], err, "%s: null is no text; an empty one is \"\"", place);
        jw_key_slice(w, n->keys[i]->text);
        jw_str(w, n->items[i]->text);
    }
    jw_end_obj(w);
    return true;
}

static bool put_word_list(struct json_writer *w, const struct yaml_node *n, const char *place,
                          struct err *err)
{
    if (!yaml_expect(n, place, YAML_LIST, err))
        return false;
    jw_arr(w);
    for (size_t i = 0; i < n->count; i++) {
        if (!yaml_expect(n->items[i], place, YAML_SCALAR, err))
            return false;
        jw_str(w, n->items[i]->text);
    }
    jw_end_arr(w);
    return true;
}

static bool put_signals(struct json_writer *w, const struct yaml_node *n, struct err *err)
{
    static const char *const keys[] = {"status", "header", "body", "wait_header", "wait_kind"};
    int64_t status;

    if (!yaml_expect(n, "signals", YAML_LIST, err))
        return false;
    jw_arr(w);
    for (size_t i = 0; i < n->count; i++) {
        const struct yaml_node *one = n->items[i];

        if (!yaml_check_keys(one, keys, ARRAY_LEN(keys), err))
            return false;
        jw_obj(w);
        for (size_t k = 0; k < one->count; k++) {
            jw_key_slice(w, one->keys[k]->text);
            if (slice_is(one->keys[k]->text, "status")) {
                if (!yaml_int(one->items[k], "status", &status, err))
                    return false;
                jw_int(w, status);
            } else if (yaml_expect(one->items[k], "a signal's condition", YAML_SCALAR, err)) {
                jw_str(w, one->items[k]->text);
            } else {
                return false;
            }
        }
        jw_end_obj(w);
    }
    jw_end_arr(w);
    return true;
}

static bool put_profile_member(struct json_writer *w, const struct yaml_node *n,
                               const struct profile_member *m, struct err *err)
{
    bool on;

    switch (m->kind) {
    case PROFILE_OFF:
        if (!yaml_bool(n, m->place, &on, err))
            return false;
        jw_bool(w, on);
        return true;
    case PROFILE_PAIRS:
        return put_texts(w, n, m->place, err);
    case PROFILE_WORDS:
        return put_word_list(w, n, m->place, err);
    case PROFILE_SIGNALS:
        return put_signals(w, n, err);
    case PROFILE_TEXT:
    case PROFILE_MAYBE:
    case PROFILE_PATH:
    case PROFILE_NAME:
        break;
    }
    if (!yaml_expect(n, m->place, YAML_SCALAR, err))
        return false;
    jw_str(w, n->text);
    return true;
}

static bool put_profile(struct json_writer *w, const struct yaml_node *root, struct err *err)
{
    for (size_t i = 0; i < PROFILE_MEMBERS; i++) {
        const struct profile_member *m = &profile_members[i];
        const struct yaml_node *n = yaml_at(root, m->place);

        if (!n)
            continue;
        jw_key(w, m->place);
        if (!put_profile_member(w, n, m, err))
            return false;
    }
    return true;
}

static bool put_settings(struct buf *json, const struct yaml_node *root, const char *x5t,
                         struct err *err)
{
    struct json_writer w;

    jw_init(&w, json);
    jw_obj(&w);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct yaml_node *n = yaml_get(map_of(root, &rows[i]), rows[i].name);

        if (!n)
            continue;
        jw_key(&w, rows[i].member);
        if (!put_value(&w, n, &rows[i], x5t, err))
            return false;
    }
    if (!put_profile(&w, root, err))
        return false;
    jw_end_obj(&w);
    return buf_ok(json) || err_set(err, ERR_CONFIG, "its settings are too long");
}

/* What a connection's file may have beside its settings. */
static const char *const others[] = {
    "values",
    "client.secret",
    "client.key",
    "refresh_token",
    "assertion.key",
    "assertion.saml",
    "dpop.key",
    "exchange.subject_token",
    "exchange.actor_token",
    "login.password",
    "tls.key",
};

struct known {
    const char *prefix; /* "client."; "" = the top */
    char names[64][24];
    const char *list[64];
    size_t count;
};

/* The next name of a place below the prefix. */
static void know(struct known *k, const char *place)
{
    struct slice rest = slice_cstr(place), name;

    if (!slice_starts(rest, slice_cstr(k->prefix)) || k->count == ARRAY_LEN(k->list))
        return;
    rest = slice_sub(rest, strlen(k->prefix), rest.len);
    name = slice_sub(rest, 0, slice_find(rest, '.'));
    for (size_t i = 0; i < k->count; i++)
        if (slice_is(name, k->names[i]))
            return;
    if (slice_copy(name, k->names[k->count], sizeof k->names[0])) {
        k->list[k->count] = k->names[k->count];
        k->count++;
    }
}

static void know_all(struct known *k)
{
    char place[64];

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(place, sizeof place, "%s%s%s", rows[i].map ? rows[i].map : "",
                 rows[i].map ? "." : "", rows[i].name);
        know(k, place);
    }
    for (size_t i = 0; i < PROFILE_MEMBERS; i++)
        know(k, profile_members[i].place);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        know(k, others[i]);
}

/* Every map that has places below it, and no other key in it than those. */
static bool check_map(const struct yaml_node *map, const char *prefix, struct err *err)
{
    struct known k = {.prefix = prefix};
    char below[64];
    bool leaf;

    know_all(&k);
    if (!yaml_expect(map, *prefix ? prefix : "a connection file", YAML_MAP, err) ||
        !yaml_check_keys(map, k.list, k.count, err))
        return false;
    for (size_t i = 0; i < map->count; i++) {
        struct known sub = {.prefix = below};

        snprintf(below, sizeof below, "%s%.*s.", prefix, SLICE_FMT(map->keys[i]->text));
        know_all(&sub);
        leaf = sub.count == 0;
        if (!leaf && !check_map(map->items[i], below, err))
            return false;
    }
    return true;
}

/* The node of a place, or of the map that lacks it. */
static const struct yaml_node *nearest(const struct yaml_node *root, const char *place)
{
    const struct yaml_node *n = root;
    struct slice rest = slice_cstr(place), part;
    char name[32];

    while (slice_cut(&rest, '.', &part) && slice_copy(part, name, sizeof name) && yaml_get(n, name))
        n = yaml_get(n, name);
    return n;
}

/* Where to look for what a check of the settings complains about: the member itself, the map that
 * lacks it, else the top. */
static const struct yaml_node *node_of(const struct yaml_node *root, const char *member)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct yaml_node *map = map_of(root, &rows[i]);
        const struct yaml_node *n = yaml_get(map, rows[i].name);

        if (strcmp(rows[i].member, member) == 0)
            return n ? n : map ? map : root;
    }
    return nearest(root, member);
}

static struct connection_cfg *read_settings(const struct yaml_node *root, const char *x5t,
                                            struct err *err)
{
    struct connection_cfg *cfg = NULL;
    const char *setting = "";
    struct err why = {0};
    struct buf json;

    buf_init(&json, YAML_BYTES_MAX * 2);
    if (check_map(root, "", err) && put_settings(&json, root, x5t, err)) {
        cfg = connection_cfg_parse_at(buf_slice(&json), &setting, &why);
        if (!cfg)
            yaml_err(node_of(root, setting), err, "%s", why.msg);
    }
    if (cfg && cfg->id.len == 0) {
        yaml_err(root, err, "id is missing");
        connection_cfg_free(cfg);
        cfg = NULL;
    }
    buf_deinit(&json);
    return cfg;
}

/* ---- secrets ------------------------------------------------------------------------------------
 */

/* A name relative to the connection file is looked for beside it. */
static bool read_named_file(const char *beside, struct slice name, const char *what, bool secret,
                            struct buf *out, struct err *err)
{
    const char *slash = strrchr(beside, '/');
    struct buf path;
    bool ok;

    buf_init(&path, 4096);
    if (slash && name.ptr[0] != '/')
        buf_add(&path, beside, (size_t)(slash - beside) + 1);
    if (!buf_add_slice(&path, name))
        ok = err_set(err, ERR_CONFIG, "%s: the name of its file is too long", what);
    else
        ok = secret ? secret_file_read(path.ptr, what, out, err) : read_file(path.ptr, out, err);
    buf_deinit(&path);
    return ok;
}

static bool read_secret_env(const struct yaml_node *n, struct slice name, const char *what,
                            struct buf *out, struct err *err)
{
    const char *value = getenv(name.ptr); /* a scalar's text is NUL-ended */

    if (!value || !*value)
        return yaml_err(n, err, "%s: the environment has no %.*s", what, SLICE_FMT(name));
    return buf_add_cstr(out, value) ||
           yaml_err(n, err, "%s is longer than %d bytes", what, SECRET_BYTES_MAX);
}

/* {file: PATH} or {env: NAME}. What stands there instead is never repeated: it may be the secret.
 */
static bool read_named(const char *path, const struct yaml_node *n, const char *what, bool secret,
                       struct buf *out, struct err *err)
{
    static const char *const keys[] = {"file", "env"};
    const struct yaml_node *file = yaml_get(n, "file"), *env = yaml_get(n, "env");
    struct err why = {0};
    struct slice name;

    if (n->kind != YAML_MAP)
        return yaml_err(n, err,
                        "%s must be {file: PATH} or {env: NAME}: secrets do not belong in this "
                        "file",
                        what);
    if (!yaml_check_keys(n, keys, ARRAY_LEN(keys), err))
        return false;
    if (!file == !env)
        return yaml_err(n, err, "%s needs either file or env", what);
    if (!yaml_str(file ? file : env, what, &name, err))
        return false;
    if (name.len == 0)
        return yaml_err(n, err, "%s: the name is empty", what);
    if (file && !read_named_file(path, name, what, secret, out, &why))
        return yaml_err(n, err, secret ? "%s%s" : "%s: %s", secret ? "" : what, why.msg);
    if (env && !read_secret_env(env, name, what, out, err))
        return false;
    return out->len > 0 || yaml_err(n, err, "%s is empty", what);
}

static bool read_secret(const char *path, const struct yaml_node *n, const char *what,
                        struct buf *out, struct err *err)
{
    return read_named(path, n, what, true, out, err);
}

/* client.secret, or client.key where an assertion is signed by one; none with auth: none. */
static bool read_client(struct connection_file *f, const char *path, const struct yaml_node *root,
                        struct err *err)
{
    const struct yaml_node *client = yaml_get(root, "client");
    bool signs = client_auth_signs(f->cfg->auth),
         by_key = f->cfg->auth == CLIENT_AUTH_PRIVATE_KEY_JWT;
    const struct yaml_node *secret = yaml_get(client, "secret"), *key = yaml_get(client, "key");
    const struct yaml_node *wanted = by_key ? key : secret, *other = by_key ? secret : key;
    const char *what = by_key ? "client.key" : "client.secret";
    struct jwt_key *k;
    struct err why = {0};

    if (other)
        return yaml_err(other, err,
                        by_key ? "client.secret has no use with auth: private_key_jwt"
                               : "client.key is for auth: private_key_jwt");
    if (!client_auth_has_secret(f->cfg->auth))
        return !wanted || yaml_err(wanted, err, "client.secret has no use with auth: %s",
                                   connection_auth_name((int)f->cfg->auth));
    if (!wanted)
        return yaml_err(client ? client : root, err,
                        by_key ? "client.key is missing"
                               : "client.secret is missing (or auth: none for a client "
                                 "without one)");
    if (!read_secret(path, wanted, what, &f->client_secret, err) || !signs)
        return !signs && f->client_secret.len > 0;
    k = oauth_client_key(f->cfg, buf_slice(&f->client_secret), &why);
    jwt_key_free(k);
    return k || yaml_err(wanted, err, "%s: %s", what, why.msg);
}

static bool check_key(struct connection_file *f, const struct yaml_node *n, const char *what,
                      struct err *err)
{
    struct err why = {0};
    struct jwt_key *k = oauth_grant_key(f->cfg, buf_slice(&f->grant_secret), &why);

    jwt_key_free(k);
    return k || yaml_err(n, err, "%s: %s", what, why.msg);
}

/* exchange.actor_token, behind a NUL (RFC 8693 section 2.1): who acts, for the subject. */
static bool read_actor(struct connection_file *f, const char *path, const struct yaml_node *root,
                       struct err *err)
{
    const struct yaml_node *n = yaml_at(root, "exchange.actor_token");
    bool typed = f->cfg->actor_token_type.len > 0;
    struct buf actor;
    bool ok;

    if (!n)
        return !typed || yaml_err(yaml_at(root, "exchange.actor_token_type"), err,
                                  "exchange.actor_token_type has no use without actor_token");
    if (f->cfg->grant != GRANT_TOKEN_EXCHANGE)
        return yaml_err(n, err, "exchange.actor_token has no use with grant: %s",
                        grant_kind_name(f->cfg->grant));
    if (!typed)
        f->cfg->actor_token_type = SLICE_LIT(OAUTH_ACCESS_TOKEN_TYPE);
    buf_init(&actor, SECRET_BYTES_MAX);
    ok = read_secret(path, n, "exchange.actor_token", &actor, err);
    if (ok && !(buf_add_char(&f->grant_secret, '\0') &&
                buf_add_slice(&f->grant_secret, buf_slice(&actor))))
        ok = yaml_err(n, err, "exchange.actor_token is too long");
    buf_wipe(&actor);
    return ok;
}

/* What the grant is asked for with, and nothing that another one would be. A refresh token may come
 * later: with its first link. */
static bool read_grant_secret(struct connection_file *f, const char *path,
                              const struct yaml_node *root, struct err *err)
{
    static const char *const places[] = {"refresh_token", "assertion.key", "assertion.saml",
                                         "exchange.subject_token", "login.password"};
    const char *wanted = grant_secret_name(f->cfg->grant);
    const struct yaml_node *n = NULL;

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        const struct yaml_node *there = yaml_at(root, places[i]);
        bool own = wanted && strcmp(places[i], wanted) == 0 && !grant_is_asked(f->cfg->grant);

        if (there && !own)
            return yaml_err(there, err, "%s has no use with grant: %s", places[i],
                            grant_kind_name(f->cfg->grant));
        n = own ? there : n;
    }
    if (!n)
        return !wanted || grant_is_renewed(f->cfg->grant) ||
               yaml_err(root, err, "%s is missing: grant: %s is asked for with it", wanted,
                        grant_kind_name(f->cfg->grant));
    return read_secret(path, n, wanted, &f->grant_secret, err) &&
           (f->cfg->grant != GRANT_JWT_BEARER || check_key(f, n, wanted, err));
}

static bool read_dpop_key(struct connection_file *f, const char *path, const struct yaml_node *root,
                          struct err *err)
{
    const struct yaml_node *dpop = yaml_get(root, "dpop"), *n = yaml_get(dpop, "key");
    struct dpop_key *k;
    struct err why = {0};

    if (dpop && f->cfg->dpop == JWT_ALG_OF_KEY)
        return yaml_err(dpop, err, "dpop.alg is missing: ES256 or EdDSA");
    if (!n)
        return true;
    if (!read_secret(path, n, "dpop.key", &f->dpop_key, err))
        return false;
    k = dpop_key_open(buf_slice(&f->dpop_key), f->cfg->dpop, &why);
    dpop_key_free(k);
    return k || yaml_err(n, err, "dpop.key: %s", why.msg);
}

/* ---- the certificate: before the settings, which have its thumbprint
 * -----------------------------
 */

static bool open_tls(const struct connection_file *f, char x5t[CLIENT_CERT_X5T_CHARS + 1],
                     struct err *err)
{
    struct client_cert *c = client_cert_open(buf_slice(&f->certificate), NULL, err);
    char day[CLIENT_CERT_DAY];
    bool ok = c != NULL;

    if (ok && client_cert_until_ms(c) <= clock_wall_ms()) {
        client_cert_day(c, day);
        ok = err_set(err, ERR_CONFIG, "it has expired (%s): no server takes it", day);
    }
    if (ok)
        snprintf(x5t, CLIENT_CERT_X5T_CHARS + 1, "%s", client_cert_x5t(c));
    client_cert_unref(c);
    return ok;
}

static bool pack_tls(struct connection_file *f, const struct yaml_node *tls,
                     const struct buf *certificate, const struct buf *key,
                     char x5t[CLIENT_CERT_X5T_CHARS + 1], struct err *err)
{
    struct err why = {0};
    bool of_key = false;

    if (client_cert_pack(buf_slice(certificate), buf_slice(key), &f->certificate, &of_key, &why) &&
        open_tls(f, x5t, &why))
        return true;
    return yaml_err(yaml_get(tls, of_key ? "key" : "certificate"), err, "tls.%s: %s",
                    of_key ? "key" : "certificate", why.msg);
}

/* x5t: "" when there is none. */
static bool read_tls(struct connection_file *f, const char *path, const struct yaml_node *root,
                     char x5t[CLIENT_CERT_X5T_CHARS + 1], struct err *err)
{
    static const char *const keys[] = {"certificate", "key"};
    const struct yaml_node *tls = yaml_get(root, "tls"), *n = NULL;
    struct buf text[ARRAY_LEN(keys)];
    bool ok = true;

    x5t[0] = '\0';
    if (!tls)
        return true;
    if (!yaml_expect(tls, "tls", YAML_MAP, err) ||
        !yaml_check_keys(tls, keys, ARRAY_LEN(keys), err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *what = i == 0 ? "tls.certificate" : "tls.key";

        buf_init(&text[i], SECRET_BYTES_MAX);
        n = yaml_get(tls, keys[i]);
        if (ok)
            ok = n ? read_named(path, n, what, i == 1, &text[i], err)
                   : yaml_err(tls, err, "%s is missing", what);
    }
    ok = ok && pack_tls(f, tls, &text[0], &text[1], x5t, err);
    buf_deinit(&text[0]);
    buf_wipe(&text[1]);
    return ok;
}

static bool read_secrets(struct connection_file *f, const char *path, const struct yaml_node *root,
                         struct err *err)
{
    return read_client(f, path, root, err) && read_grant_secret(f, path, root, err) &&
           read_actor(f, path, root, err) && read_dpop_key(f, path, root, err);
}

/* A profile's texts move into the connection's document, and go on naming its file in messages. */
static bool fill_in(struct yaml_doc *doc, const char *path, const char *profiles, struct buf *file,
                    struct err *err)
{
    const struct yaml_node *root = yaml_doc_root(doc), *n = yaml_get(root, "profile");
    const struct yaml_node *values = yaml_get(root, "values");
    struct yaml_doc *profile;
    struct slice name;
    bool ok;

    if (!n)
        return !values ||
               yaml_err(values, err, "values are of a profile's variables; none is named");
    if (!yaml_str(n, "profile", &name, err))
        return false;
    if (!profile_path(file, path, profiles, name, err))
        return false;
    profile = profile_doc(file->ptr, err);
    ok = profile && profile_fill(doc, profile, err);
    yaml_doc_free(profile);
    return ok;
}

bool connection_file_read(struct connection_file *f, const char *path, const char *profiles,
                          struct err *err)
{
    struct connection_file got = {0};
    char x5t[CLIENT_CERT_X5T_CHARS + 1] = "";
    struct yaml_doc *doc = NULL;
    struct buf text, profile;
    bool ok = false;

    buf_init(&text, YAML_BYTES_MAX);
    buf_init(&profile, PATH_ROOM);
    buf_init(&got.client_secret, SECRET_BYTES_MAX);
    buf_init(&got.grant_secret, SECRET_BYTES_MAX);
    buf_init(&got.dpop_key, SECRET_BYTES_MAX);
    buf_init(&got.certificate, CLIENT_CERT_PEM_MAX);
    if (read_file(path, &text, err)) {
        doc = yaml_doc_parse(buf_slice(&text), err);
        if (doc && fill_in(doc, path, profiles, &profile, err) &&
            read_tls(&got, path, yaml_doc_root(doc), x5t, err))
            got.cfg = read_settings(yaml_doc_root(doc), x5t, err);
        ok = got.cfg && read_secrets(&got, path, yaml_doc_root(doc), err);
        if (!ok)
            err_prefix(err, "%s: ", path);
    }
    yaml_doc_free(doc);
    buf_deinit(&profile);
    buf_wipe(&text); /* somebody may have put a secret there after all */
    if (ok)
        *f = got;
    else
        connection_file_deinit(&got);
    return ok;
}

void connection_file_deinit(struct connection_file *f)
{
    connection_cfg_free(f->cfg);
    f->cfg = NULL;
    buf_wipe(&f->client_secret);
    buf_wipe(&f->grant_secret);
    buf_wipe(&f->dpop_key);
    buf_wipe(&f->certificate);
}

/* The settings of a connection file: YAML to the same JSON that the record holds, so that both pass
 * the same checks. */
#include <stdio.h>
#include <string.h>
#include "common/connection_inside.h"
#include "common/oauth_path.h"

/* Each member of the record, and where the file has it. */
enum shape { TEXT, SECONDS, NUMBER, FLAG, LIST, WORDS, THUMBPRINT };

static const struct row {
    const char *member; /* of the record's JSON */
    const char *place;  /* in the file */
    enum shape shape;
} rows[] = {
    {"id", "id", TEXT},
    {"grant", "grant", TEXT},
    {"token_url", "token_url", TEXT},
    {"authorize_url", "authorize_url", TEXT},
    {"device_url", "device_url", TEXT},
    {"par_url", "par_url", TEXT},
    {"revoke_url", "revoke_url", TEXT},
    {"introspect_url", "introspect_url", TEXT},
    {"issuer", "issuer", TEXT},
    {"client_id", "client.id", TEXT},
    {"auth", "client.auth", TEXT},
    {"alg", "client.alg", TEXT},
    {"kid", "client.kid", TEXT},
    {"x5t_s256", "client.x5t_s256", TEXT},
    {"audience", "client.audience", TEXT},
    {"scopes", "scopes", WORDS},
    {"resource", "resource", WORDS},
    {"dpop", "dpop.alg", TEXT},
    {"certificate", "tls.certificate", THUMBPRINT}, /* of the file that it names */
    {"assertion_alg", "assertion.alg", TEXT},
    {"assertion_issuer", "assertion.issuer", TEXT},
    {"assertion_subject", "assertion.subject", TEXT},
    {"assertion_audience", "assertion.audience", TEXT},
    {"assertion_kid", "assertion.kid", TEXT},
    {"assertion_x5t_s256", "assertion.x5t_s256", TEXT},
    {"assertion_lifetime_ms", "assertion.lifetime_s", SECONDS},
    {"assertion_scope", "assertion.scope", FLAG},
    {"assertion_no_subject", "assertion.no_subject", FLAG},
    {"assertion_in_header", "assertion.in_header", FLAG},
    {"subject_token_type", "exchange.subject_token_type", TEXT},
    {"requested_token_type", "exchange.requested_token_type", TEXT},
    {"actor_token_type", "exchange.actor_token_type", TEXT},
    {"exchange_audience", "exchange.audience", TEXT},
    {"username", "login.username", TEXT},
    {"allow_insecure_grants", "allow_insecure_grants", FLAG},
    {"default_lifetime_ms", "token.default_lifetime_s", SECONDS},
    {"refresh_margin_ms", "token.renew_before_s", SECONDS},
    {"max_idle_ms", "token.max_idle_s", SECONDS},
    {"replay", "token.replay", TEXT},
    {"hosts", "policy.hosts", LIST},
    {"methods", "policy.methods", LIST},
    {"paths", "policy.paths", LIST},
    {"producers", "policy.producers", LIST},
    {"insecure_http", "policy.insecure_http", FLAG},
    {"allow_private", "policy.allow_private", FLAG},
    {"concurrency", "limits.concurrency", NUMBER},
    {"rate", "limits.rate", TEXT},
    {"burst", "limits.burst", NUMBER},
    {"breaker", "limits.breaker", NUMBER},
};

const char *connection_in_file(const char *setting)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].member, setting) == 0)
            return rows[i].place;
    return setting;
}

static bool put_int(struct json_writer *w, const struct yaml_node *n, const struct row *row,
                    int64_t unit, struct err *err)
{
    int64_t v = 0;

    if (!yaml_int(n, row->place, &v, err))
        return false;
    /* what does not fit is out of the bounds of any of them, which its check says */
    jw_int(w, v > INT64_MAX / unit ? INT64_MAX : v < INT64_MIN / unit ? INT64_MIN : v * unit);
    return true;
}

static bool put_list(struct json_writer *w, const struct yaml_node *n, const struct row *row,
                     struct err *err)
{
    struct slice s;

    if (!yaml_expect(n, row->place, YAML_LIST, err))
        return false;
    jw_arr(w);
    for (size_t i = 0; i < n->count; i++) {
        if (!yaml_str(n->items[i], row->place, &s, err))
            return false;
        if (s.len == 0)
            return yaml_err(n->items[i], err, "%s has an empty text in it", row->place);
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
        ok = yaml_str(n, row->place, &s, err);
        if (ok)
            jw_str(w, s);
        return ok;
    }
    if (!yaml_expect(n, row->place, YAML_LIST, err))
        return false;
    buf_init(&words, YAML_BYTES_MAX);
    for (size_t i = 0; ok && i < n->count; i++) {
        ok = yaml_str(n->items[i], row->place, &s, err);
        if (ok && (s.len == 0 || slice_find(s, ' ') < s.len))
            ok =
                yaml_err(n->items[i], err, "%s: a word is not empty and has no blanks", row->place);
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
        if (!yaml_str(n, row->place, &s, err))
            return false;
        jw_str(w, s);
        return true;
    case FLAG:
        if (!yaml_bool(n, row->place, &b, err))
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
    char entry[160];

    if (!yaml_expect(n, place, YAML_MAP, err))
        return false;
    jw_obj(w);
    for (size_t i = 0; i < n->count; i++) {
        snprintf(entry, sizeof entry, "%s.%s", place, n->keys[i]->text.ptr);
        if (!yaml_expect(n->items[i], entry, YAML_SCALAR, err))
            return false;
        if (yaml_is_null(n->items[i]))
            return yaml_err(n->items[i], err, "%s: null is no text; an empty one is \"\"", entry);
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
        if (n->items[i]->text.len == 0)
            return yaml_err(n->items[i], err, "%s has an empty text in it", place);
        jw_str(w, n->items[i]->text);
    }
    jw_end_arr(w);
    return true;
}

static bool put_signals(struct json_writer *w, const struct yaml_node *n, struct err *err)
{
    static const char *const keys[] = {"status", "header", "body", "wait_header", "wait_kind"};
    int64_t status;

    if (!yaml_expect(n, "limits.signals", YAML_LIST, err))
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
        const struct yaml_node *n = yaml_at(root, rows[i].place);

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
    const char *prefix; /* "client"; "" = the top */
    char names[64][24];
    const char *list[64];
    size_t count;
};

/* The next name of a place below the prefix. */
static void know(struct known *k, const char *place)
{
    struct slice rest = slice_cstr(place), prefix = slice_cstr(k->prefix), name;

    if (!slice_starts(rest, prefix) || k->count == ARRAY_LEN(k->list))
        return;
    rest = slice_sub(rest, prefix.len, rest.len);
    if (prefix.len > 0 && !slice_starts(rest, SLICE_LIT(".")))
        return;
    rest = slice_sub(rest, prefix.len > 0 ? 1 : 0, rest.len);
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
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        know(k, rows[i].place);
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
    if (!*prefix && map->kind == YAML_SCALAR && slice_find(map->text, ':') < map->text.len)
        return yaml_err(map, err,
                        "a connection file must be a map: a blank is missing after a colon, as in "
                        "`id: m`?");
    if (!yaml_expect(map, *prefix ? prefix : "a connection file", YAML_MAP, err) ||
        !yaml_check_keys(map, k.list, k.count, err))
        return false;
    for (size_t i = 0; i < map->count; i++) {
        struct known sub = {.prefix = below};

        snprintf(below, sizeof below, "%s%s%.*s", prefix, *prefix ? "." : "",
                 SLICE_FMT(map->keys[i]->text));
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

static const struct yaml_node *entry_of(const struct yaml_node *n, const char *entry)
{
    uint64_t number;

    for (size_t i = 0; i < n->count; i++)
        if (slice_is(n->keys ? n->keys[i]->text : n->items[i]->text, entry))
            return n->keys ? n->keys[i] : n->items[i];
    /* maps in a list have numbers, from 1 */
    if (n->kind == YAML_LIST && slice_to_u64(slice_cstr(entry), &number) && number >= 1 &&
        number <= n->count)
        return n->items[number - 1];
    return n;
}

/* Where to look for what a check of the settings complains about: the entry, the member, the map
 * that lacks it, else the top. */
static const struct yaml_node *node_of(const struct yaml_node *root, const struct cfg_fault *at)
{
    const char *place = connection_in_file(at->setting);
    const struct yaml_node *n = yaml_at(root, place);

    return n && *at->entry ? entry_of(n, at->entry) : nearest(root, place);
}

/* Settings are shown, and addresses logged: a secret in one has another place. */
static const char *const addresses[] = {
    "token_url", "authorize_url", "device_url",  "par_url",   "revoke_url",   "introspect_url",
    "issuer",    "redirect_uri",  "refresh_url", "chain.url", "api.base_url",
};
static const struct {
    const char *member, *place;
} secrets[] = {
    {"client_secret", "its place is client: {secret: {file: PATH}}"},
    {"client_assertion", "awq makes it with client: {key: {file: PATH}}"},
    {"refresh_token", "its place is refresh_token: {file: PATH}"},
    {"password", "its place is login: {password: {file: PATH}}"},
    {"assertion",
     "its place is assertion: {saml: {file: PATH}}, or awq makes it with assertion.key"},
    {"access_token", "awq sends its own; where to says api: {token_in: query}"},
    {"code", "awq sends what the browser brings"},
};

static const char *place_of_secret(struct slice name)
{
    const char *place = NULL;
    struct buf clear;

    buf_init(&clear, name.len + 1);
    (void)oauth_form_decode(name, &clear);
    for (size_t i = 0; !place && i < ARRAY_LEN(secrets); i++)
        if (slice_eq_nocase(buf_slice(&clear), slice_cstr(secrets[i].member)))
            place = secrets[i].place;
    buf_deinit(&clear);
    return place;
}

static bool check_addresses(const struct yaml_node *root, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        const struct yaml_node *n = yaml_at(root, addresses[i]);
        struct slice query, one;

        if (!n || n->kind != YAML_SCALAR)
            continue;
        query = slice_sub(n->text, slice_find(n->text, '?') + 1, n->text.len);
        while (slice_cut(&query, '&', &one)) {
            const char *place = place_of_secret(slice_sub(one, 0, slice_find(one, '=')));

            if (place)
                return yaml_err(n, err,
                                "%s has a secret's name in its query, and would be shown and "
                                "logged with it: %s",
                                addresses[i], place);
        }
    }
    return true;
}

struct connection_cfg *connection_file_settings(const struct yaml_node *root, const char *x5t,
                                                struct err *err)
{
    struct connection_cfg *cfg = NULL;
    struct err why = {0};
    struct cfg_fault at;
    struct buf json;

    buf_init(&json, YAML_BYTES_MAX * 2);
    if (check_map(root, "", err) && check_addresses(root, err) &&
        put_settings(&json, root, x5t, err)) {
        cfg = connection_cfg_parse_at(buf_slice(&json), &at, &why);
        if (!cfg)
            yaml_err(node_of(root, &at), err, "%s", why.msg);
    }
    if (cfg && cfg->id.len == 0) {
        yaml_err(root, err, "id is missing");
        connection_cfg_free(cfg);
        cfg = NULL;
    }
    buf_deinit(&json);
    return cfg;
}

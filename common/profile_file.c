#include "common/profile_file.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/char.h"
#include "common/connection_inside.h"
#include "common/egress_url.h"
#include "common/secret_file.h"
#include "common/suggest.h"

#define PATH_ROOM 4096
#define TEXT_ROOM 8192
#define NAME_ROOM 64
#define DATE_LEN  10
#define YAML      ".yaml"

/* What is the profile's alone. */
static const char *const own_keys[] = {"title",  "source",    "checked",
                                       "grants", "variables", "by_grant"};

/* What belongs to some grants only, so that one profile can serve several. */
static const struct {
    const char *key, *grants;
} of_grants[] = {
    {"authorize_url", " authorization_code "},
    {"par_url", " authorization_code "},
    {"issuer", " authorization_code "},
    {"authorize", " authorization_code "},
    {"pkce", " authorization_code "},
    {"redirect_uri", " authorization_code "},
    {"chain", " authorization_code "},
    {"device_url", " device_code authorization_code "},
    {"refresh_url", " authorization_code device_code refresh_token "},
    {"refresh_request", " authorization_code device_code refresh_token "},
    {"assertion", " jwt_bearer "},
    {"exchange", " token_exchange "},
};

static bool ends_in_yaml(struct slice name)
{
    size_t ending = strlen(YAML);

    return name.len > ending && slice_is(slice_sub(name, name.len - ending, ending), YAML);
}

static bool path_of_path(struct buf *out, const char *path, const struct yaml_node *n,
                         struct err *err)
{
    const char *slash = strrchr(path, '/');

    if (slash && n->text.ptr[0] != '/')
        buf_add(out, path, (size_t)(slash - path) + 1);
    if (!buf_add_slice(out, n->text))
        return yaml_err(n, err, "profile: the path is too long");
    return access(out->ptr, F_OK) == 0 ||
           yaml_err(n, err, "profile: there is no file %s", out->ptr);
}

/* Files whose names are near to it. */
static bool no_such_profile(const char *dir, const struct yaml_node *n, struct err *err)
{
    struct suggest s = suggest_for(n->text);
    char name[NAME_MAX + 1], best[NAME_MAX + 1];
    struct dirent *entry;
    DIR *folder = opendir(dir);

    while (folder && (entry = readdir(folder))) {
        struct slice file = slice_cstr(entry->d_name);

        if (!ends_in_yaml(file) ||
            !slice_copy(slice_sub(file, 0, file.len - strlen(YAML)), name, sizeof name))
            continue;
        suggest_offer(&s, name);
        if (s.best == name) {
            memcpy(best, name, sizeof best);
            s.best = best;
        }
    }
    if (folder)
        closedir(folder);
    return s.best
               ? yaml_err(n, err, "profile: there is no %s (did you mean %s?)", n->text.ptr, s.best)
               : yaml_err(n, err,
                          "profile: there is no %s (awq-ctl profile ls lists those that are)",
                          n->text.ptr);
}

bool profile_path(struct buf *out, const char *path, const char *dir, const struct yaml_node *n,
                  struct err *err)
{
    struct slice name;

    if (!yaml_str(n, "profile", &name, err))
        return false;
    if (slice_find(name, '/') < name.len)
        return path_of_path(out, path, n, err);
    for (size_t i = 0; i < name.len; i++)
        if (!char_is_alnum(name.ptr[i]) && !strchr("-_.", name.ptr[i]))
            return yaml_err(n, err,
                            "profile: a name has letters, digits, - _ . only; a path has a /");
    if (ends_in_yaml(name))
        return yaml_err(n, err, "profile: a name goes without " YAML "; a path has a /");
    if (!dir || !*dir)
        return yaml_err(n, err, "profile: no folder of profiles is known; say --profiles DIR");
    if (!buf_addf(out, "%s/%.*s" YAML, dir, SLICE_FMT(name)))
        return yaml_err(n, err, "profile: the name is too long");
    return access(out->ptr, F_OK) == 0 || no_such_profile(dir, n, err);
}

/* ---- the profile by itself ---- */

static bool is_one_of(struct slice s, const struct yaml_node *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i]->kind == YAML_SCALAR && slice_eq(list->items[i]->text, s))
            return true;
    return false;
}

static bool is_date(struct slice s)
{
    if (s.len != DATE_LEN)
        return false;
    for (size_t i = 0; i < DATE_LEN; i++)
        if (i == 4 || i == 7 ? s.ptr[i] != '-' : !(s.ptr[i] >= '0' && s.ptr[i] <= '9'))
            return false;
    return strncmp(s.ptr + 5, "01", 2) >= 0 && strncmp(s.ptr + 5, "12", 2) <= 0 &&
           strncmp(s.ptr + 8, "01", 2) >= 0 && strncmp(s.ptr + 8, "31", 2) <= 0;
}

static bool check_source(const struct yaml_node *root, struct err *err)
{
    const struct yaml_node *n = yaml_get(root, "source");
    size_t count = n && n->kind == YAML_LIST ? n->count : 1;
    struct slice s;

    for (size_t i = 0; i < count; i++) {
        const struct yaml_node *one = n && n->kind == YAML_LIST ? n->items[i] : n;

        if (!one)
            return yaml_err(root, err, "source is missing: the page that it was read from");
        if (!yaml_str(one, "source", &s, err))
            return false;
        if (!slice_starts(s, SLICE_LIT("https://")))
            return yaml_err(one, err, "source must be an https:// address, or a list of them");
    }
    return count > 0 || yaml_err(n, err, "source is empty");
}

static bool check_grants(const struct yaml_node *list, struct err *err)
{
    enum grant_kind kind;

    if (!yaml_expect(list, "grants", YAML_LIST, err))
        return false;
    for (size_t i = 0; i < list->count; i++) {
        const struct yaml_node *n = list->items[i];

        if (!yaml_expect(n, "grants", YAML_SCALAR, err))
            return false;
        if (!grant_kind_parse(n->text, &kind))
            return yaml_err(n, err, "grants: %.32s must be " GRANT_NAMES, n->text.ptr);
    }
    return list->count > 0 || yaml_err(list, err, "grants is empty");
}

/* Who the account is and what proves it is no provider's to say. */
static bool check_nobodys(const struct yaml_node *lines, struct err *err)
{
    static const char *const places[] = {"id",
                                         "values",
                                         "profile",
                                         "refresh_token",
                                         "login",
                                         "client.secret",
                                         "client.key",
                                         "client.id",
                                         "assertion.key",
                                         "exchange.subject_token",
                                         "exchange.actor_token",
                                         "dpop.key",
                                         "assertion.saml",
                                         "tls.certificate",
                                         "tls.key"};
    const struct yaml_node *n;

    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if ((n = yaml_at(lines, places[i])))
            return yaml_err(n, err, "%s belongs into a connection's file", places[i]);
    return true;
}

static bool check_by_grant(const struct yaml_node *by, const struct yaml_node *grants,
                           struct err *err)
{
    if (!yaml_expect(by, "by_grant", YAML_MAP, err))
        return false;
    for (size_t i = 0; i < by->count; i++) {
        if (!is_one_of(by->keys[i]->text, grants))
            return yaml_err(by->keys[i], err, "by_grant: %.32s is none of its grants",
                            by->keys[i]->text.ptr);
        if (!yaml_expect(by->items[i], "lines of a grant", YAML_MAP, err) ||
            !check_nobodys(by->items[i], err))
            return false;
        for (size_t k = 0; k < ARRAY_LEN(own_keys); k++)
            if (yaml_get(by->items[i], own_keys[k]))
                return yaml_err(yaml_get(by->items[i], own_keys[k]), err,
                                "%s is the same for all grants", own_keys[k]);
    }
    return true;
}

/* ---- the variables that it has ---- */

static bool check_declared(const struct yaml_node *n, const struct yaml_node *grants,
                           struct err *err)
{
    static const char *const keys[] = {"kind", "one_of", "default", "about", "grants"};
    const struct yaml_node *kind = yaml_get(n, "kind"), *list = yaml_get(n, "one_of"),
                           *some = yaml_get(n, "grants");

    if (!yaml_check_keys(n, keys, ARRAY_LEN(keys), err) ||
        (list && !yaml_expect(list, "one_of", YAML_LIST, err)) ||
        (some && !yaml_expect(some, "grants", YAML_LIST, err)))
        return false;
    for (size_t i = 0; some && i < some->count; i++)
        if (!is_one_of(some->items[i]->text, grants))
            return yaml_err(some->items[i], err, "grants: %.32s is none of its grants",
                            some->items[i]->text.ptr);
    if (kind && list)
        return yaml_err(kind, err, "kind has no use beside one_of");
    return !kind || slice_is(kind->text, "label") || slice_is(kind->text, "host") ||
           slice_is(kind->text, "text") || yaml_err(kind, err, "kind must be label, host or text");
}

static bool is_own(struct slice key)
{
    for (size_t i = 0; i < ARRAY_LEN(own_keys); i++)
        if (slice_is(key, own_keys[i]))
            return true;
    return false;
}

static bool uses(const struct yaml_node *n, const char *word)
{
    if (n->kind == YAML_SCALAR)
        return n->text.len > 0 && strstr(n->text.ptr, word);
    for (size_t i = 0; i < n->count; i++)
        if (uses(n->items[i], word))
            return true;
    return false;
}

/* In a line of any grant. */
static bool is_used(const struct yaml_node *root, const char *name)
{
    char word[NAME_ROOM + 2];

    snprintf(word, sizeof word, "{%s}", name);
    for (size_t i = 0; i < root->count; i++)
        if ((!is_own(root->keys[i]->text) || slice_is(root->keys[i]->text, "by_grant")) &&
            uses(root->items[i], word))
            return true;
    return false;
}

static bool check_variables(const struct yaml_node *root, const struct yaml_node *grants,
                            struct err *err)
{
    const struct yaml_node *v = yaml_get(root, "variables");
    char name[NAME_ROOM];

    if (v && !yaml_expect(v, "variables", YAML_MAP, err))
        return false;
    for (size_t i = 0; v && i < v->count; i++) {
        if (!slice_copy(v->keys[i]->text, name, sizeof name))
            return yaml_err(v->keys[i], err, "variables.%.64s: the name is too long",
                            v->keys[i]->text.ptr);
        if (!check_declared(v->items[i], grants, err))
            return false;
        if (!is_used(root, name))
            return yaml_err(v->keys[i], err, "variables.%s has no use: no line has {%s}", name,
                            name);
    }
    return true;
}

/* ---- the whole of it ---- */

static bool check_own(const struct yaml_node *root, struct err *err)
{
    const struct yaml_node *n, *by;
    struct slice s;

    if (!yaml_expect(root, "a profile", YAML_MAP, err) || !check_nobodys(root, err))
        return false;
    if (!(n = yaml_get(root, "title")))
        return yaml_err(root, err, "title is missing");
    if (!yaml_str(n, "title", &s, err) || !check_source(root, err))
        return false;
    n = yaml_get(root, "checked");
    if (!n)
        return yaml_err(root, err, "checked is missing: the day on which it was, as 2026-11-28");
    if (n->kind != YAML_SCALAR || !is_date(n->text))
        return yaml_err(n, err, "checked must be the day on which it was, as 2026-11-28");
    n = yaml_get(root, "grants");
    if (!n)
        return yaml_err(root, err, "grants is missing: a list of those that it is for");
    by = yaml_get(root, "by_grant");
    return check_grants(n, err) && (!by || check_by_grant(by, n, err)) &&
           check_variables(root, n, err);
}

struct yaml_doc *profile_doc(const char *path, struct err *err)
{
    struct yaml_doc *doc = NULL;
    struct buf text;

    buf_init(&text, YAML_BYTES_MAX);
    if (secret_file_text(path, &text, err)) {
        doc = yaml_doc_parse(buf_slice(&text), err);
        if (doc)
            yaml_doc_label(doc, path);
        else
            err_prefix(err, "%s: ", path);
    }
    buf_deinit(&text);
    if (doc && !check_own(yaml_doc_root(doc), err)) {
        yaml_doc_free(doc);
        return NULL;
    }
    return doc;
}

/* ---- variables ---- */

struct filling {
    const struct yaml_node *variables, *values, *client_id;
    const char *grant;
    struct err *err;
};

static bool all_of(struct slice s, const char *more)
{
    for (size_t i = 0; i < s.len; i++)
        if (!char_is_alnum(s.ptr[i]) && !strchr(more, s.ptr[i]))
            return false;
    return s.len > 0 && s.len <= 253;
}

/* As it is read in a URL; no IPv6 address. */
static bool is_host(struct slice s)
{
    struct egress_url u;
    struct buf url;
    bool ok;

    buf_init(&url, TEXT_ROOM);
    buf_addf(&url, "https://%.*s", SLICE_FMT(s));
    ok = all_of(s, ".-:") && egress_url_parse(buf_slice(&url), &u, NULL);
    buf_deinit(&url);
    return ok;
}

static bool fits(struct slice s, struct slice kind)
{
    if (slice_is(kind, "host"))
        return is_host(s);
    if (slice_is(kind, "text"))
        return s.len > 0 && s.len <= 253 && slice_is_visible(s) &&
               slice_find_any(s, "\"'/?#&=%\\@{}") == s.len;
    return all_of(s, "-_") && s.len <= 63;
}

static void list_of(const struct yaml_node *list, char *to, size_t size)
{
    size_t used = 0;

    to[0] = '\0';
    for (size_t i = 0; i < list->count && used + 1 < size; i++)
        used += (size_t)snprintf(to + used, size - used, "%s%.*s", i > 0 ? ", " : "",
                                 SLICE_FMT(list->items[i]->text));
}

static bool check_value(const struct yaml_node *declared, const char *name,
                        const struct yaml_node *n, struct err *err)
{
    const struct yaml_node *one_of = yaml_get(declared, "one_of"),
                           *kind = yaml_get(declared, "kind");
    struct slice is = kind ? kind->text : SLICE_LIT("label");
    char list[120];

    if (n->kind != YAML_SCALAR)
        return yaml_err(n, err, "values.%s must be a text", name);
    if (one_of && !is_one_of(n->text, one_of)) {
        list_of(one_of, list, sizeof list);
        return yaml_err(n, err, "values.%s must be one of %s", name, list);
    }
    return one_of || fits(n->text, is) ||
           yaml_err(n, err, "values.%s is no %s: see variables in the profile", name,
                    slice_is(is, "host")   ? "host name, as api.example.com or api.example.com:8443"
                    : slice_is(is, "text") ? "text without blanks, quotes and / ? # & = % \\ @ { }"
                                           : "part of a host name (letters, digits, - and _)");
}

/* A refresh token that was got elsewhere is renewed as one that conn link got. */
static bool has_grant(const struct yaml_node *list, struct slice grant)
{
    return is_one_of(grant, list) ||
           (slice_is(grant, "refresh_token") && (is_one_of(SLICE_LIT("authorization_code"), list) ||
                                                 is_one_of(SLICE_LIT("device_code"), list)));
}

/* A variable may be one grant's alone. */
static bool is_of_grant(const struct yaml_node *declared, const char *grant)
{
    const struct yaml_node *grants = yaml_get(declared, "grants");

    return !grants || has_grant(grants, slice_cstr(grant));
}

static bool check_variable(const struct filling *f, const struct yaml_node *root, const char *name,
                           const struct yaml_node *declared)
{
    const struct yaml_node *value = yaml_get(f->values, name), *about = yaml_get(declared, "about");

    if (!is_of_grant(declared, f->grant))
        return !value ||
               yaml_err(value, f->err, "values.%s has no use with grant: %s", name, f->grant);
    if (!value)
        value = yaml_get(declared, "default");
    return value ? check_value(declared, name, value, f->err)
                 : yaml_err(root, f->err, "values.%s is missing: %.100s", name,
                            about ? about->text.ptr : "its profile asks for it");
}

/* Every value is declared, every variable has a value. */
static bool check_values(const struct filling *f, const struct yaml_node *root)
{
    char name[NAME_ROOM];

    if (f->values && !yaml_expect(f->values, "values", YAML_MAP, f->err))
        return false;
    for (size_t i = 0; f->values && i < f->values->count; i++)
        if (!slice_copy(f->values->keys[i]->text, name, sizeof name) ||
            !yaml_get(f->variables, name))
            return yaml_err(f->values->keys[i], f->err, "its profile has no variable %.64s",
                            f->values->keys[i]->text.ptr);
    for (size_t i = 0; f->variables && i < f->variables->count; i++) {
        slice_copy(f->variables->keys[i]->text, name, sizeof name);
        if (!check_variable(f, root, name, f->variables->items[i]))
            return false;
    }
    return true;
}

static const struct yaml_node *value_of(const struct filling *f, const char *name)
{
    const struct yaml_node *n = yaml_get(f->values, name);

    if (strcmp(name, "client_id") == 0)
        return f->client_id;
    return n ? n : yaml_get(yaml_get(f->variables, name), "default");
}

/* What an answer or a redirect will bring stands in braces with a dot. */
static bool is_later(struct slice name)
{
    return slice_starts(name, SLICE_LIT("answer.")) || slice_starts(name, SLICE_LIT("callback."));
}

static bool expand(const struct filling *f, const struct yaml_node *n, bool later, struct buf *out)
{
    struct slice rest = n->text;
    char name[NAME_ROOM];

    while (rest.len > 0) {
        size_t open = slice_find(rest, '{'), len;
        const struct yaml_node *value;
        struct slice inside;

        buf_add_slice(out, slice_sub(rest, 0, open));
        rest = slice_sub(rest, open, rest.len);
        if (rest.len == 0)
            break;
        len = slice_find(rest, '}');
        inside = slice_sub(rest, 1, len > 0 ? len - 1 : 0);
        if (len == rest.len || !slice_copy(inside, name, sizeof name))
            return yaml_err(n, f->err, "a { without its }, or a name that is too long");
        rest = slice_sub(rest, len + 1, rest.len);
        value = value_of(f, name);
        if (value)
            buf_add_slice(out, value->text);
        else if (is_later(inside) && later)
            buf_addf(out, "{%s}", name);
        else
            return yaml_err(n, f->err,
                            is_later(inside)                 ? "{%s} has a use in api.base_url only"
                            : strcmp(name, "client_id") == 0 ? "{%s}: client.id is missing"
                                                             : "{%s} is none of its variables",
                            name);
    }
    return buf_ok(out) || yaml_err(n, f->err, "is too long with its values");
}

static bool replace(const struct filling *f, struct yaml_node *n, bool later)
{
    struct buf text;
    bool ok;

    if (n->kind == YAML_SCALAR) {
        if (slice_find(n->text, '{') == n->text.len)
            return true;
        buf_init(&text, TEXT_ROOM);
        ok = expand(f, n, later, &text) && yaml_set_text(n, buf_slice(&text), f->err);
        buf_deinit(&text);
        return ok;
    }
    for (size_t i = 0; i < n->count; i++) {
        bool base = n->kind == YAML_MAP && slice_is(n->keys[i]->text, "base_url");

        if (!replace(f, n->items[i], base))
            return false;
    }
    return true;
}

/* ---- the two together ---- */

/* The grant that the connection names, or the first that the profile has. */
static bool pick_grant(const struct yaml_node *root, const struct yaml_node *profile, char *to,
                       size_t size, struct err *err)
{
    const struct yaml_node *said = yaml_get(root, "grant"), *list = yaml_get(profile, "grants");
    const struct yaml_node *n = said ? said : list->items[0];
    const struct yaml_node *renewal = yaml_at(profile, "token.renewal");
    bool renews = !renewal || !slice_is(renewal->text, "none");
    char names[120];

    if (n->kind != YAML_SCALAR || !slice_copy(n->text, to, size))
        return yaml_err(n, err, "a grant is one name");
    if (!said || (renews ? has_grant(list, n->text) : is_one_of(n->text, list)))
        return true;
    list_of(list, names, sizeof names);
    return yaml_err(said, err, "its profile is for grant: %s", names);
}

static void drop_other_grants(struct yaml_node *profile, const char *grant, bool not_renewed)
{
    char wanted[64];

    snprintf(wanted, sizeof wanted, " %s ", grant);
    for (size_t i = 0; i < ARRAY_LEN(of_grants); i++)
        if (!strstr(of_grants[i].grants, wanted))
            yaml_drop(profile, of_grants[i].key);
    if (not_renewed) {
        yaml_drop(profile, "refresh_url");
        yaml_drop(profile, "refresh_request");
    }
}

/* Lines of the one grant go before those that are for all; NULL when it has none of its own. */
static struct yaml_node *lines_of(struct yaml_node *profile, const char *grant)
{
    struct yaml_node *by = NULL;

    for (size_t i = 0; i < profile->count; i++)
        if (slice_is(profile->keys[i]->text, "by_grant"))
            by = profile->items[i];
    for (size_t i = 0; by && i < by->count; i++)
        if (slice_is(by->keys[i]->text, grant))
            return by->items[i];
    return NULL;
}

/* What is left of them took nothing away. */
static bool check_nulls(const struct yaml_node *n, struct err *err)
{
    if (yaml_is_null(n))
        return yaml_err(n, err,
                        "null takes a key of the profile away, and it does not have this "
                        "one for this grant");
    for (size_t i = 0; i < n->count; i++)
        if (!check_nulls(n->items[i], err))
            return false;
    return true;
}

bool profile_fill(struct yaml_doc *connection, struct yaml_doc *profile, struct err *err)
{
    struct yaml_node *root = yaml_doc_edit(connection), *p = yaml_doc_edit(profile), *lines;
    const struct yaml_node *renewal = yaml_at(root, "token.renewal");
    char grant[48];
    struct filling f = {.variables = yaml_get(p, "variables"),
                        .values = yaml_get(root, "values"),
                        .client_id = yaml_at(root, "client.id"),
                        .grant = grant,
                        .err = err};

    if (!pick_grant(root, p, grant, sizeof grant, err) || !check_values(&f, root))
        return false;
    drop_other_grants(p, grant, renewal && slice_is(renewal->text, "none"));
    lines = lines_of(p, grant);
    if (lines && !yaml_override(p, lines, err))
        return false;
    for (size_t i = 0; i < p->count; i++)
        if (!is_own(p->keys[i]->text) && !replace(&f, p->items[i], false))
            return false;
    for (size_t i = 0; i < ARRAY_LEN(own_keys); i++)
        yaml_drop(p, own_keys[i]);
    return yaml_put(p, "grant", slice_cstr(grant), err) && yaml_fill(root, p, err) &&
           check_nulls(root, err);
}

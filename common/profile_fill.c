/* A profile and a connection's file together: its values in its texts, its lines where the file has
 * none of its own. */
#include "common/profile_parts.h"

#include <stdio.h>
#include <string.h>
#include "common/char.h"
#include "common/connection.h"
#include "common/egress_url.h"

#define TEXT_ROOM 8192

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
    if (one_of && !profile_is_one_of(n->text, one_of)) {
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
    return profile_is_one_of(grant, list) ||
           (slice_is(grant, "refresh_token") &&
            (profile_is_one_of(SLICE_LIT("authorization_code"), list) ||
             profile_is_one_of(SLICE_LIT("device_code"), list)));
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
    char name[PROFILE_NAME_ROOM];

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
    char name[PROFILE_NAME_ROOM];

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
    if (!said || (renews ? has_grant(list, n->text) : profile_is_one_of(n->text, list)))
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
        if (!profile_is_own(p->keys[i]->text) && !replace(&f, p->items[i], false))
            return false;
    for (size_t i = 0; i < PROFILE_OWN_KEYS; i++)
        yaml_drop(p, profile_own_keys[i]);
    return yaml_put(p, "grant", slice_cstr(grant), err) && yaml_fill(root, p, err) &&
           check_nulls(root, err);
}

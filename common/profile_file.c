/* A profile by itself: where its file is, and what only profiles have. */
#include "common/profile_parts.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/char.h"
#include "common/connection_inside.h"
#include "common/secret_file.h"
#include "common/suggest.h"

#define DATE_LEN 10
#define YAML     ".yaml"

const char *const profile_own_keys[PROFILE_OWN_KEYS] = {
    "title", "source", "checked", "grants", "variables", "by_grant",
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

bool profile_is_one_of(struct slice s, const struct yaml_node *list)
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
        if (!profile_is_one_of(by->keys[i]->text, grants))
            return yaml_err(by->keys[i], err, "by_grant: %.32s is none of its grants",
                            by->keys[i]->text.ptr);
        if (!yaml_expect(by->items[i], "lines of a grant", YAML_MAP, err) ||
            !check_nobodys(by->items[i], err))
            return false;
        for (size_t k = 0; k < PROFILE_OWN_KEYS; k++)
            if (yaml_get(by->items[i], profile_own_keys[k]))
                return yaml_err(yaml_get(by->items[i], profile_own_keys[k]), err,
                                "%s is the same for all grants", profile_own_keys[k]);
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
        if (!profile_is_one_of(some->items[i]->text, grants))
            return yaml_err(some->items[i], err, "grants: %.32s is none of its grants",
                            some->items[i]->text.ptr);
    if (kind && list)
        return yaml_err(kind, err, "kind has no use beside one_of");
    return !kind || slice_is(kind->text, "label") || slice_is(kind->text, "host") ||
           slice_is(kind->text, "text") || yaml_err(kind, err, "kind must be label, host or text");
}

bool profile_is_own(struct slice key)
{
    for (size_t i = 0; i < PROFILE_OWN_KEYS; i++)
        if (slice_is(key, profile_own_keys[i]))
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
    char word[PROFILE_NAME_ROOM + 2];

    snprintf(word, sizeof word, "{%s}", name);
    for (size_t i = 0; i < root->count; i++)
        if ((!profile_is_own(root->keys[i]->text) || slice_is(root->keys[i]->text, "by_grant")) &&
            uses(root->items[i], word))
            return true;
    return false;
}

static bool check_variables(const struct yaml_node *root, const struct yaml_node *grants,
                            struct err *err)
{
    const struct yaml_node *v = yaml_get(root, "variables");
    char name[PROFILE_NAME_ROOM];

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

#include "tools/ctl/profile.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/profile_file.h"
#include "tools/ctl/conn.h"

#define PROFILES_MAX 1024

const char *profile_folder(const char *asked)
{
    static const char *const beside[] = {"/../share/awq/providers", "/../deploy/providers"};
    static char real[PATH_MAX];
    char path[PATH_MAX + 64];
    const char *set = getenv("AWQ_PROFILES");
    ssize_t len;
    char *slash;

    if (asked || (set && *set))
        return asked ? asked : set;
    for (size_t i = 0; i < ARRAY_LEN(beside); i++) {
        len = readlink("/proc/self/exe", path, PATH_MAX);
        path[len > 0 ? len : 0] = '\0';
        slash = strrchr(path, '/');
        if (!slash)
            break;
        snprintf(slash, sizeof path - (size_t)(slash - path), "%s", beside[i]);
        if (realpath(path, real) && access(real, R_OK) == 0)
            return real;
    }
    return "";
}

bool conn_read_file(struct ctl *c, struct connection_file *file, const char *path,
                    const char *profiles, struct err *err)
{
    (void)c;
    return connection_file_read(file, path, profile_folder(profiles), err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_yaml(const char *name)
{
    size_t len = strlen(name);

    return name[0] != '.' && len > 5 && strcmp(name + len - 5, ".yaml") == 0;
}

/* Sorted; the caller frees each. */
static size_t names_of(const char *folder, char **names)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t count = 0;

    while (dir && count < PROFILES_MAX && (entry = readdir(dir)))
        if (is_yaml(entry->d_name) && (names[count] = strdup(entry->d_name)))
            names[count++][strlen(entry->d_name) - 5] = '\0';
    if (dir)
        closedir(dir);
    qsort(names, count, sizeof *names, by_name);
    return count;
}

static void join(const struct yaml_node *n, bool keys, struct buf *to)
{
    buf_clear(to);
    for (size_t i = 0; n && i < n->count; i++) {
        const struct yaml_node *one = keys ? n->keys[i] : n->items[i];

        buf_addf(to, "%s%.*s", i > 0 ? ", " : "", SLICE_FMT(one->text));
    }
}

static bool ls_row(struct ctl *c, const char *folder, const char *name, struct err *err)
{
    struct buf path, text;
    struct yaml_doc *doc = NULL;
    const struct yaml_node *root;

    buf_init(&path, PATH_MAX);
    buf_init(&text, 4096);
    buf_addf(&path, "%s/%s.yaml", folder, name);
    if (buf_ok(&path))
        doc = profile_doc(path.ptr, err);
    root = yaml_doc_root(doc);
    if (root) {
        out_row(&c->out);
        out_cstr(&c->out, name);
        out_text(&c->out, yaml_get(root, "title")->text);
        join(yaml_get(root, "grants"), false, &text);
        out_text(&c->out, buf_slice(&text));
        join(yaml_get(root, "variables"), true, &text);
        out_text(&c->out, buf_slice(&text));
        out_text(&c->out, yaml_get(root, "checked")->text);
    }
    yaml_doc_free(doc);
    buf_deinit(&text);
    buf_deinit(&path);
    return root != NULL;
}

static int profile_ls(struct ctl *c, const struct args *a)
{
    static const char *const columns[] = {"profile", "provider", "grants", "values", "checked"};
    const char *folder = profile_folder(a->flag[0]);
    char *names[PROFILES_MAX];
    size_t count = names_of(folder, names);
    int code = CTL_OK;

    if (count == 0)
        return ctl_say(CTL_NOT_FOUND, "no profiles in %s; say --profiles DIR",
                       *folder ? folder : "any folder that is known");
    out_list(&c->out, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < count; i++) {
        struct err err = {0};

        if (!ls_row(c, folder, names[i], &err))
            code = ctl_say(CTL_PARTIAL, "%s", err.msg);
        free(names[i]);
    }
    out_list_end(&c->out, "");
    return code;
}

static const struct flag flags[] = {CONN_PROFILES_FLAG};

const struct verb profile_verbs[] = {
    {.noun = "profile",
     .name = "ls",
     .usage = "[--profiles DIR]",
     .help = "List the provider profiles that a connection's file can name",
     .more = "Each is a file, NAME.yaml; Redis is not asked.",
     .flags = flags,
     .flag_count = ARRAY_LEN(flags),
     .run = profile_ls},
    {.name = NULL},
};

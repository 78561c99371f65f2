#include "common/config_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include "common/slice.h"
#include "common/suggest.h"

#define FILE_BYTES_MAX (64 * 1024) /* of a settings file, or of a secret's */

extern char **environ;

/* ---- one reading: set values, the higher source wins, the lower must be right all the same ----
 */

static bool refuse(const struct config_reading *r, const struct config_row *row,
                   const struct config_value *v, struct err *err)
{
    char from[192], allowed[160];

    config_source_text(r, row, v, from, sizeof from);
    config_allowed_text(row, allowed, sizeof allowed);
    if (row->flags & CONFIG_SECRET)
        return err_set(err, ERR_CONFIG, "%s: %s must be %s", from, row->name, allowed);
    return err_set(err, ERR_CONFIG, "%s: %s must be %s; it is '%.*s'", from, row->name, allowed,
                   (int)(v->text_len < 64 ? v->text_len : 64), v->text);
}

static bool set(const struct config_spec *spec, struct config_reading *r, size_t at,
                struct slice text, enum config_from source, int line, struct err *err)
{
    const struct config_row *row = &spec->rows[at];
    struct config_value *old = &r->values[at];
    struct config_value v = {.source = source, .line = line, .text_len = text.len};

    v.text = slice_dup(text);
    if (!v.text)
        return err_set(err, ERR_NOMEM, "out of memory for settings");
    if (!config_value_parse(row, &v)) {
        refuse(r, row, &v, err);
        config_value_deinit(&v);
        return false;
    }
    if (source >= old->source) {
        config_value_deinit(old);
        *old = v;
    } else {
        config_value_deinit(&v);
    }
    return true;
}

static bool find_row(const struct config_spec *spec, struct slice name, size_t *at)
{
    for (size_t i = 0; i < spec->row_count; i++) {
        if (slice_is(name, spec->rows[i].name)) {
            *at = i;
            return true;
        }
    }
    return false;
}

static bool unknown(const struct config_spec *spec, const char *from, const char *dashes,
                    struct slice name, struct err *err)
{
    struct suggest s = suggest_for(name);
    int shown = (int)(name.len < 64 ? name.len : 64);

    for (size_t i = 0; i < spec->row_count; i++)
        suggest_offer(&s, spec->rows[i].name);
    if (s.best)
        return err_set(err, ERR_CONFIG, "%s: no setting is called '%s%.*s'; did you mean '%s%s'?",
                       from, dashes, shown, name.ptr, dashes, s.best);
    return err_set(err, ERR_CONFIG, "%s: no setting is called '%s%.*s'; --help lists them", from,
                   dashes, shown, name.ptr);
}

/* ---- the file ---- */

static bool read_file(const char *path, struct buf *out, struct err *err)
{
    char piece[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;

    if (fd < 0)
        return err_set(err, ERR_CONFIG, "cannot open %s: %s", path, strerror(errno));
    while ((n = read(fd, piece, sizeof piece)) > 0 && buf_add(out, piece, (size_t)n))
        ;
    if (n < 0)
        err_set(err, ERR_CONFIG, "cannot read %s: %s", path, strerror(errno));
    else if (!buf_ok(out))
        err_set(err, ERR_CONFIG, "%s is larger than %d bytes", path, FILE_BYTES_MAX);
    sodium_memzero(piece, sizeof piece);
    close(fd);
    return n >= 0 && buf_ok(out);
}

/* A # begins a comment at the start of a line or after a blank: "a#b" is a value. */
static struct slice without_comment(struct slice line)
{
    for (size_t i = 0; i < line.len; i++) {
        if (line.ptr[i] == '#' && (i == 0 || line.ptr[i - 1] == ' ' || line.ptr[i - 1] == '\t'))
            return slice_sub(line, 0, i);
    }
    return line;
}

static bool take_line(const struct config_spec *spec, struct config_reading *r, struct slice line,
                      int number, struct err *err)
{
    char from[160];
    struct slice name, value;
    size_t at, eq;

    if (line.len > 0 && line.ptr[line.len - 1] == '\r')
        line.len--;
    line = slice_trim(without_comment(line));
    if (line.len == 0)
        return true;
    snprintf(from, sizeof from, "%s line %d", r->file, number);
    eq = slice_find(line, '=');
    if (eq == line.len)
        return err_set(err, ERR_CONFIG, "%s: not of the form 'name = value'", from);
    name = slice_trim(slice_sub(line, 0, eq));
    value = slice_trim(slice_sub(line, eq + 1, line.len));
    if (!find_row(spec, name, &at))
        return unknown(spec, from, "", name, err);
    if (r->values[at].source == FROM_FILE)
        return err_set(err, ERR_CONFIG, "%s: %s was already set in line %d", from,
                       spec->rows[at].name, r->values[at].line);
    return set(spec, r, at, value, FROM_FILE, number, err);
}

static bool take_file(const struct config_spec *spec, struct config_reading *r, struct err *err)
{
    struct slice left, line;
    struct buf text;
    bool ok;

    if (!r->file)
        return true;
    buf_init(&text, FILE_BYTES_MAX);
    ok = read_file(r->file, &text, err);
    left = buf_slice(&text);
    for (int number = 1; ok && slice_cut(&left, '\n', &line); number++)
        ok = take_line(spec, r, line, number, err);
    buf_wipe(&text);
    return ok;
}

/* ---- the environment ---- */

static bool take_env_file(const struct config_spec *spec, struct config_reading *r, size_t at,
                          const char *path, struct err *err)
{
    struct slice text;
    struct buf b;
    bool ok;

    buf_init(&b, FILE_BYTES_MAX);
    ok = read_file(path, &b, err) || err_prefix(err, "%s: ", spec->rows[at].name);
    text = buf_slice(&b);
    if (text.len > 0 && text.ptr[text.len - 1] == '\n') /* as editors leave it */
        text.len--;
    if (text.len > 0 && text.ptr[text.len - 1] == '\r')
        text.len--;
    ok = ok && set(spec, r, at, text, FROM_ENV, 1, err);
    buf_wipe(&b);
    return ok;
}

static bool is_of_others(const struct config_spec *spec, struct slice name)
{
    for (const char *const *other = spec->env_of_others; other && *other; other++) {
        if (slice_is(name, *other))
            return true;
    }
    return false;
}

static bool take_env_one(const struct config_spec *spec, struct config_reading *r,
                         struct slice name, const char *value, struct err *err)
{
    char env[CONFIG_NAME_MAX + 8];
    bool is_file;

    for (size_t i = 0; i < spec->row_count; i++) {
        config_env_name(&spec->rows[i], env);
        if (!slice_starts(name, slice_cstr(env)))
            continue;
        is_file = (spec->rows[i].flags & CONFIG_SECRET) &&
                  slice_is(slice_sub(name, strlen(env), name.len), "_FILE");
        if (!is_file && name.len != strlen(env))
            continue;
        if (r->values[i].source == FROM_ENV)
            return err_set(err, ERR_CONFIG, "environment: set %s or %s_FILE, not both", env, env);
        return is_file ? take_env_file(spec, r, i, value, err)
                       : set(spec, r, i, slice_cstr(value), FROM_ENV, 0, err);
    }
    if (slice_is(name, "AWQ_CONFIG") || is_of_others(spec, name))
        return true;
    if (r->unknown_env.len > 0)
        buf_add_cstr(&r->unknown_env, ", ");
    buf_add_slice(&r->unknown_env, name);
    return true;
}

static bool take_env(const struct config_spec *spec, struct config_reading *r, char *const *envp,
                     struct err *err)
{
    for (; *envp; envp++) {
        struct slice name = slice_cstr(*envp);
        const char *value = strchr(*envp, '=');

        if (!value || value[1] == '\0' || !slice_starts(name, SLICE_LIT("AWQ_")))
            continue;
        name.len = (size_t)(value - *envp);
        if (!take_env_one(spec, r, name, value + 1, err))
            return false;
    }
    return true;
}

static const char *env_get(char *const *envp, const char *name)
{
    size_t n = strlen(name);

    for (; *envp; envp++) {
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=' && (*envp)[n + 1])
            return *envp + n + 1;
    }
    return NULL;
}

/* ---- flags ---- */

enum page { PAGE_NONE, PAGE_HELP, PAGE_VERSION, PAGE_MARKDOWN };

struct args {
    const struct config_spec *spec;
    struct config_reading *r;
    int argc, at;
    char *const *argv;
    enum page page;
};

static bool set_file(struct config_reading *r, const char *path, struct err *err)
{
    char *copy = strdup(path);

    if (!copy)
        return err_set(err, ERR_NOMEM, "out of memory for settings");
    free(r->file);
    r->file = copy;
    return true;
}

/* The value of a flag: after its "=", else the next argument. */
static bool flag_value(struct args *a, struct slice name, const char *eq, const char **value,
                       struct err *err)
{
    if (eq) {
        *value = eq + 1;
        return true;
    }
    if (a->at + 1 >= a->argc)
        return err_set(err, ERR_CONFIG, "flag --%.*s: its value is missing", SLICE_FMT(name));
    *value = a->argv[++a->at];
    return true;
}

/* The flags that are in no table. False: it is none of them. */
static bool built_in(struct args *a, struct slice name)
{
    if (a->spec->pass_unknown_flags && a->r->rest_count > 0)
        return false; /* after a verb they are the verb's */
    if (slice_is(name, "help"))
        a->page = PAGE_HELP;
    else if (slice_is(name, "version"))
        a->page = PAGE_VERSION;
    else if (slice_is(name, "help-markdown"))
        a->page = PAGE_MARKDOWN;
    else if (slice_is(name, "print-config"))
        a->r->print_config = true;
    else
        return false;
    return true;
}

static bool take_row_flag(struct args *a, size_t at, const char *eq, struct err *err)
{
    const struct config_row *row = &a->spec->rows[at];
    const char *value = "true";
    char env[CONFIG_NAME_MAX + 8];

    if (row->flags & CONFIG_SECRET) { /* arguments can be read by everybody on the machine */
        config_env_name(row, env);
        return err_set(err, ERR_CONFIG, "flag --%s: a secret is no argument; set %s_FILE",
                       row->name, env);
    }
    if ((row->type != CONFIG_BOOL || eq) && !flag_value(a, slice_cstr(row->name), eq, &value, err))
        return false;
    return set(a->spec, a->r, at, slice_cstr(value), FROM_FLAG, 0, err);
}

static bool take_flag(struct args *a, struct err *err)
{
    char *arg = a->argv[a->at];
    const char *eq = strchr(arg, '='), *value = NULL;
    struct slice name = slice_cstr(arg + 2), no;
    size_t at;

    if (eq)
        name.len = (size_t)(eq - arg - 2);
    if (find_row(a->spec, name, &at))
        return take_row_flag(a, at, eq, err);
    no = slice_sub(name, 3, name.len);
    if (slice_starts(name, SLICE_LIT("no-")) && !eq && find_row(a->spec, no, &at) &&
        a->spec->rows[at].type == CONFIG_BOOL)
        return set(a->spec, a->r, at, SLICE_LIT("false"), FROM_FLAG, 0, err);
    if (slice_is(name, "config"))
        return flag_value(a, name, eq, &value, err) && set_file(a->r, value, err);
    if (!eq && built_in(a, name))
        return true;
    if (!a->spec->pass_unknown_flags)
        return unknown(a->spec, "flags", "--", name, err);
    a->r->rest[a->r->rest_count++] = arg;
    return true;
}

static bool take_args(struct args *a, struct err *err)
{
    bool flags = true; /* until "--" */

    for (a->at = 1; a->at < a->argc && a->page == PAGE_NONE; a->at++) {
        char *arg = a->argv[a->at];

        if (flags && strcmp(arg, "--") == 0) {
            flags = false;
        } else if (flags && strncmp(arg, "--", 2) == 0) {
            if (!take_flag(a, err))
                return false;
        } else if (flags && arg[0] == '-' && arg[1] && !a->spec->pass_unknown_flags) {
            return err_set(err, ERR_CONFIG, "flags: unknown flag %.32s; --help lists them", arg);
        } else {
            a->r->rest[a->r->rest_count++] = arg;
        }
    }
    return true;
}

/* ---- all of it ---- */

static void reading_deinit(struct config_reading *r, size_t rows)
{
    for (size_t i = 0; r->values && i < rows; i++)
        config_value_deinit(&r->values[i]);
    free(r->values);
    free(r->file);
    free(r->rest);
    buf_deinit(&r->unknown_env);
    *r = (struct config_reading){0};
}

static bool take_defaults(const struct config_spec *spec, struct config_reading *r, struct err *err)
{
    for (size_t i = 0; i < spec->row_count; i++) {
        if (spec->rows[i].def &&
            !set(spec, r, i, slice_cstr(spec->rows[i].def), FROM_DEFAULT, 0, err))
            return false;
    }
    return true;
}

static bool check_required(const struct config_spec *spec, const struct config_reading *r,
                           struct err *err)
{
    char env[CONFIG_NAME_MAX + 8];

    for (size_t i = 0; i < spec->row_count; i++) {
        if ((spec->rows[i].flags & CONFIG_REQUIRED) && r->values[i].text_len == 0) {
            config_env_name(&spec->rows[i], env);
            return err_set(err, ERR_CONFIG, "%s is not set; set --%s or %s", spec->rows[i].name,
                           spec->rows[i].name, env);
        }
    }
    return true;
}

/* Flags are looked at first, because they name the file; ranks keep the order of who wins. */
static bool read_all(struct config *c, struct config_reading *r, enum page *page, struct err *err)
{
    const struct config_spec *spec = c->spec;
    struct args a = {.spec = spec, .r = r, .argc = c->argc, .argv = c->argv};
    const char *file = env_get(c->envp, "AWQ_CONFIG");

    *page = PAGE_NONE;
    buf_init(&r->unknown_env, 4096);
    r->values = calloc(spec->row_count + 1, sizeof *r->values);
    r->rest = calloc((size_t)c->argc + 1, sizeof *r->rest);
    if (!r->values || !r->rest)
        return err_set(err, ERR_NOMEM, "out of memory for settings");
    if (!take_defaults(spec, r, err) || (file && !set_file(r, file, err)) || !take_args(&a, err))
        return false;
    *page = a.page;
    if (a.page != PAGE_NONE)
        return true;
    return take_file(spec, r, err) && take_env(spec, r, c->envp, err) &&
           check_required(spec, r, err);
}

struct config *config_new(const struct config_spec *spec, void *settings)
{
    struct config *c = calloc(1, sizeof *c);

    if (c) {
        c->spec = spec;
        c->settings = settings;
    }
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    reading_deinit(&c->now, c->spec->row_count);
    free(c);
}

/* Copy the settings with the marked rows changed, ask the program's own rules, then take them.
 * mark NULL = all rows. */
static bool store(struct config *c, const struct config_reading *r, const bool *mark,
                  struct err *err)
{
    const struct config_spec *spec = c->spec;
    void *next = malloc(spec->settings_size);
    bool ok;

    if (!next)
        return err_set(err, ERR_NOMEM, "out of memory for settings");
    memcpy(next, c->settings, spec->settings_size);
    for (size_t i = 0; i < spec->row_count; i++) {
        if (!mark || mark[i])
            config_value_store(&spec->rows[i], &r->values[i], next);
    }
    ok = !spec->check || spec->check(next, err);
    if (ok)
        memcpy(c->settings, next, spec->settings_size);
    free(next);
    return ok;
}

static bool print_page(const struct config_spec *spec, enum page page, struct buf *print)
{
    if (page == PAGE_HELP)
        return config_help(spec, print);
    if (page == PAGE_MARKDOWN)
        return config_markdown(spec, print);
    return buf_addf(print, "%s %s\n", spec->program, spec->version);
}

enum config_result config_load(struct config *c, int argc, char *const *argv, char *const *envp,
                               struct buf *print, struct err *err)
{
    struct config_reading r = {0};
    enum page page;
    bool ok;

    c->argc = argc;
    c->argv = argv;
    c->envp = envp ? envp : environ;
    ok = read_all(c, &r, &page, err);
    if (ok && page != PAGE_NONE) {
        reading_deinit(&r, c->spec->row_count);
        if (print_page(c->spec, page, print))
            return CONFIG_DONE;
        err_set(err, ERR_NOMEM, "out of memory for the page");
        return CONFIG_BAD;
    }
    if (!ok || !store(c, &r, NULL, err)) {
        reading_deinit(&r, c->spec->row_count);
        return CONFIG_BAD;
    }
    reading_deinit(&c->now, c->spec->row_count);
    c->now = r;
    if (!r.print_config)
        return CONFIG_OK;
    if (config_print(c, print))
        return CONFIG_DONE;
    err_set(err, ERR_NOMEM, "out of memory for the page");
    return CONFIG_BAD;
}

static bool same_value(const struct config_value *a, const struct config_value *b)
{
    if (!a->text || !b->text)
        return a->text == b->text;
    return slice_eq(slice_of(a->text, a->text_len), slice_of(b->text, b->text_len));
}

static void add_name(struct buf *b, const char *name)
{
    if (b->len > 0)
        buf_add_cstr(b, ", ");
    buf_add_cstr(b, name);
}

bool config_reload(struct config *c, struct buf *applied, struct buf *refused, struct err *err)
{
    const struct config_spec *spec = c->spec;
    struct config_reading r = {0};
    bool *mark = calloc(spec->row_count + 1, sizeof *mark);
    enum page page;
    bool ok;

    buf_clear(applied);
    buf_clear(refused);
    ok = mark ? read_all(c, &r, &page, err) : err_set(err, ERR_NOMEM, "out of memory for settings");
    for (size_t i = 0; ok && i < spec->row_count; i++) {
        if (same_value(&r.values[i], &c->now.values[i]))
            continue;
        mark[i] = spec->rows[i].flags & CONFIG_RELOADABLE;
        add_name(mark[i] ? applied : refused, spec->rows[i].name);
    }
    ok = ok && store(c, &r, mark, err);
    for (size_t i = 0; ok && i < spec->row_count; i++) {
        struct config_value old = c->now.values[i];

        if (mark[i]) {
            c->now.values[i] = r.values[i];
            r.values[i] = old; /* freed with r */
        }
    }
    if (!ok) { /* nothing was */
        buf_clear(applied);
        buf_clear(refused);
    }
    reading_deinit(&r, spec->row_count);
    free(mark);
    return ok;
}

char *const *config_rest(const struct config *c, size_t *count)
{
    *count = c->now.rest_count;
    return c->now.rest;
}

const char *config_unknown_env(const struct config *c)
{
    return c->now.unknown_env.ptr ? c->now.unknown_env.ptr : "";
}

const char *config_source(struct config *c, const char *name)
{
    size_t at;

    if (!c->now.values || !find_row(c->spec, slice_cstr(name), &at))
        return NULL;
    config_source_text(&c->now, &c->spec->rows[at], &c->now.values[at], c->source,
                       sizeof c->source);
    return c->source;
}

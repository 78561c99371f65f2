#include "common/config.h"

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
#define ROW_NAME_MAX   64

enum source { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG }; /* later beats earlier */

struct value {
    char *text; /* as written; NULL = not set */
    size_t text_len;
    enum source source;
    int line;        /* of the file */
    int64_t number;  /* INT, MS, SIZE, and BOOL as 0 or 1 */
    char *item_text; /* LIST: a copy that is cut up */
    const char **items;
    size_t count;
};

/* One reading of all sources. */
struct reading {
    struct value *values; /* one per row */
    char *file;           /* its name, or NULL */
    char **rest;
    size_t rest_count;
    struct buf unknown_env;
    bool print_config;
};

struct config {
    const struct config_spec *spec;
    void *settings;
    int argc;
    char *const *argv;
    char *const *envp;
    struct reading now;
    char source[192]; /* what config_source answered last */
};

extern char **environ;

/* ---- values ---- */

static void value_deinit(struct value *v)
{
    if (v->text)
        sodium_memzero(v->text, v->text_len);
    if (v->item_text)
        sodium_memzero(v->item_text, v->text_len);
    free(v->text);
    free(v->item_text);
    free(v->items);
    *v = (struct value){0};
}

struct unit {
    const char *name;
    int64_t factor;
};

/* Largest first: printing takes the first that divides, reading the one whose name is the end. */
static const struct unit ms_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit size_units[] = {
    {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}};

static const struct unit *units_of(enum config_type type)
{
    return type == CONFIG_MS ? ms_units : size_units;
}

static bool parse_number(enum config_type type, struct slice text, int64_t *out)
{
    const struct unit *units = units_of(type);
    size_t digits = 0;
    int64_t n;

    if (type == CONFIG_INT || slice_is(text, "0")) /* nothing needs no unit */
        return slice_to_i64(text, out);
    while (digits < text.len && text.ptr[digits] >= '0' && text.ptr[digits] <= '9')
        digits++;
    if (!slice_to_i64(slice_sub(text, 0, digits), &n))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(ms_units); i++) {
        if (!slice_is(slice_sub(text, digits, text.len), units[i].name))
            continue;
        return !__builtin_mul_overflow(n, units[i].factor, out);
    }
    return false;
}

static bool parse_bool(struct slice text, int64_t *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (slice_is(text, yes[i]) || slice_is(text, no[i])) {
            *out = slice_is(text, yes[i]);
            return true;
        }
    }
    return false;
}

static bool is_choice(const struct config_row *row, struct slice text)
{
    struct slice left = slice_cstr(row->choices), one;

    while (slice_cut(&left, '|', &one)) {
        if (slice_eq(one, text))
            return true;
    }
    return false;
}

static bool in_bounds(const struct config_row *row, int64_t n)
{
    return (row->min == 0 && row->max == 0) || (n >= row->min && n <= row->max);
}

/* Cut v->text at its commas. An empty text is an empty list, an empty item is a mistake. */
static bool split_list(struct value *v)
{
    struct slice left = slice_of(v->text, v->text_len), item;
    char *to;

    if (slice_trim(left).len == 0)
        return true;
    v->item_text = malloc(v->text_len + 1);
    v->items = calloc(v->text_len / 2 + 1, sizeof *v->items);
    if (!v->item_text || !v->items || left.ptr[left.len - 1] == ',')
        return false;
    to = v->item_text;
    while (slice_cut(&left, ',', &item)) {
        item = slice_trim(item);
        if (item.len == 0)
            return false;
        v->items[v->count++] = to;
        memcpy(to, item.ptr, item.len);
        to[item.len] = '\0';
        to += item.len + 1;
    }
    return true;
}

static bool value_parse(const struct config_row *row, struct value *v)
{
    struct slice text = slice_of(v->text, v->text_len);

    switch (row->type) {
    case CONFIG_STR:
    case CONFIG_PATH:
        return in_bounds(row, (int64_t)text.len) && !memchr(v->text, '\0', text.len);
    case CONFIG_CHOICE:
        return is_choice(row, text);
    case CONFIG_BOOL:
        return parse_bool(text, &v->number);
    case CONFIG_INT:
    case CONFIG_MS:
    case CONFIG_SIZE:
        return parse_number(row->type, text, &v->number) && in_bounds(row, v->number);
    case CONFIG_LIST:
        return split_list(v) && in_bounds(row, (int64_t)v->count);
    }
    return false;
}

/* Put the value into the member of a settings struct. */
static void value_store(const struct config_row *row, const struct value *v, void *settings)
{
    void *member = (char *)settings + row->offset;

    switch (row->type) {
    case CONFIG_STR:
    case CONFIG_PATH:
    case CONFIG_CHOICE:
        *(const char **)member = v->text_len > 0 ? v->text : NULL;
        return;
    case CONFIG_BOOL:
        *(bool *)member = v->number != 0;
        return;
    case CONFIG_INT:
    case CONFIG_MS:
    case CONFIG_SIZE:
        *(int64_t *)member = v->number;
        return;
    case CONFIG_LIST:
        *(struct config_list *)member = (struct config_list){v->count ? v->items : NULL, v->count};
        return;
    }
}

/* ---- what is allowed, in words ---- */

static void number_text(enum config_type type, int64_t n, char *to, size_t size)
{
    const struct unit *u = units_of(type);

    if (type != CONFIG_MS && type != CONFIG_SIZE) {
        snprintf(to, size, "%lld", (long long)n);
        return;
    }
    while (u->factor > 1 && n % u->factor != 0)
        u++;
    snprintf(to, size, n == 0 ? "0" : "%lld%s", (long long)(n / u->factor), u->name);
}

/* "1 to 4096", or "" when there are no bounds. */
static void bounds_text(const struct config_row *row, char *to, size_t size)
{
    char min[32], max[32];

    to[0] = '\0';
    if (row->min == 0 && row->max == 0)
        return;
    number_text(row->type, row->min, min, sizeof min);
    number_text(row->type, row->max, max, sizeof max);
    snprintf(to, size, "%s to %s", min, max);
}

static void allowed_text(const struct config_row *row, char *to, size_t size)
{
    char bounds[80];
    const char *comma;

    bounds_text(row, bounds, sizeof bounds);
    comma = bounds[0] ? ", " : "";
    switch (row->type) {
    case CONFIG_STR:
    case CONFIG_PATH:
        snprintf(to, size, "text without NUL%s%s%s", comma, bounds, bounds[0] ? " bytes" : "");
        return;
    case CONFIG_CHOICE:
        snprintf(to, size, "one of %s", row->choices);
        return;
    case CONFIG_BOOL:
        snprintf(to, size, "true or false");
        return;
    case CONFIG_INT:
        snprintf(to, size, "a whole number%s%s", comma, bounds);
        return;
    case CONFIG_MS:
        snprintf(to, size, "a time like 250ms, 30s, 5m or 2h%s%s", comma, bounds);
        return;
    case CONFIG_SIZE:
        snprintf(to, size, "a size like 512B, 64KiB, 8MiB or 1GiB%s%s", comma, bounds);
        return;
    case CONFIG_LIST:
        snprintf(to, size, "values with commas between%s%s%s", comma, bounds,
                 bounds[0] ? " of them" : "");
        return;
    }
}

static void env_name(const struct config_row *row, char to[ROW_NAME_MAX + 8])
{
    size_t n = (size_t)snprintf(to, ROW_NAME_MAX + 8, "AWQ_%s", row->name);

    for (size_t i = 4; i < n && to[i]; i++) {
        if (to[i] == '-')
            to[i] = '_';
        else if (to[i] >= 'a' && to[i] <= 'z')
            to[i] = (char)(to[i] - 32);
    }
}

static void source_text(const struct reading *r, const struct config_row *row,
                        const struct value *v, char *to, size_t size)
{
    char env[ROW_NAME_MAX + 8];

    switch (v->source) {
    case FROM_DEFAULT:
        snprintf(to, size, "default");
        return;
    case FROM_FILE:
        snprintf(to, size, "%s line %d", r->file ? r->file : "file", v->line);
        return;
    case FROM_ENV:
        env_name(row, env);
        snprintf(to, size, "environment %s%s", env, v->line ? "_FILE" : "");
        return;
    case FROM_FLAG:
        snprintf(to, size, "flag --%s", row->name);
        return;
    }
}

/* ---- one reading: set values, the higher source wins, the lower must be right all the same ----
 */

static bool refuse(const struct reading *r, const struct config_row *row, const struct value *v,
                   struct err *err)
{
    char from[192], allowed[160];

    source_text(r, row, v, from, sizeof from);
    allowed_text(row, allowed, sizeof allowed);
    if (row->flags & CONFIG_SECRET)
        return err_set(err, ERR_CONFIG, "%s: %s must be %s", from, row->name, allowed);
    return err_set(err, ERR_CONFIG, "%s: %s must be %s; it is '%.*s'", from, row->name, allowed,
                   (int)(v->text_len < 64 ? v->text_len : 64), v->text);
}

static bool set(const struct config_spec *spec, struct reading *r, size_t at, struct slice text,
                enum source source, int line, struct err *err)
{
    const struct config_row *row = &spec->rows[at];
    struct value *old = &r->values[at];
    struct value v = {.source = source, .line = line, .text_len = text.len};

    v.text = slice_dup(text);
    if (!v.text)
        return err_set(err, ERR_NOMEM, "out of memory for settings");
    if (!value_parse(row, &v)) {
        refuse(r, row, &v, err);
        value_deinit(&v);
        return false;
    }
    if (source >= old->source) {
        value_deinit(old);
        *old = v;
    } else {
        value_deinit(&v);
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

static bool take_line(const struct config_spec *spec, struct reading *r, struct slice line,
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

static bool take_file(const struct config_spec *spec, struct reading *r, struct err *err)
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

static bool take_env_file(const struct config_spec *spec, struct reading *r, size_t at,
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

static bool take_env_one(const struct config_spec *spec, struct reading *r, struct slice name,
                         const char *value, struct err *err)
{
    char env[ROW_NAME_MAX + 8];
    bool is_file;

    for (size_t i = 0; i < spec->row_count; i++) {
        env_name(&spec->rows[i], env);
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
    if (slice_is(name, "AWQ_CONFIG"))
        return true;
    if (r->unknown_env.len > 0)
        buf_add_cstr(&r->unknown_env, ", ");
    buf_add_slice(&r->unknown_env, name);
    return true;
}

static bool take_env(const struct config_spec *spec, struct reading *r, char *const *envp,
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
    struct reading *r;
    int argc, at;
    char *const *argv;
    enum page page;
};

static bool set_file(struct reading *r, const char *path, struct err *err)
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
    char env[ROW_NAME_MAX + 8];

    if (row->flags & CONFIG_SECRET) { /* arguments can be read by everybody on the machine */
        env_name(row, env);
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

static void reading_deinit(struct reading *r, size_t rows)
{
    for (size_t i = 0; r->values && i < rows; i++)
        value_deinit(&r->values[i]);
    free(r->values);
    free(r->file);
    free(r->rest);
    buf_deinit(&r->unknown_env);
    *r = (struct reading){0};
}

static bool take_defaults(const struct config_spec *spec, struct reading *r, struct err *err)
{
    for (size_t i = 0; i < spec->row_count; i++) {
        if (spec->rows[i].def &&
            !set(spec, r, i, slice_cstr(spec->rows[i].def), FROM_DEFAULT, 0, err))
            return false;
    }
    return true;
}

static bool check_required(const struct config_spec *spec, const struct reading *r, struct err *err)
{
    char env[ROW_NAME_MAX + 8];

    for (size_t i = 0; i < spec->row_count; i++) {
        if ((spec->rows[i].flags & CONFIG_REQUIRED) && r->values[i].text_len == 0) {
            env_name(&spec->rows[i], env);
            return err_set(err, ERR_CONFIG, "%s is not set; set --%s or %s", spec->rows[i].name,
                           spec->rows[i].name, env);
        }
    }
    return true;
}

/* Flags are looked at first, because they name the file; ranks keep the order of who wins. */
static bool read_all(struct config *c, struct reading *r, enum page *page, struct err *err)
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
static bool store(struct config *c, const struct reading *r, const bool *mark, struct err *err)
{
    const struct config_spec *spec = c->spec;
    void *next = malloc(spec->settings_size);
    bool ok;

    if (!next)
        return err_set(err, ERR_NOMEM, "out of memory for settings");
    memcpy(next, c->settings, spec->settings_size);
    for (size_t i = 0; i < spec->row_count; i++) {
        if (!mark || mark[i])
            value_store(&spec->rows[i], &r->values[i], next);
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
    struct reading r = {0};
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

static bool same_value(const struct value *a, const struct value *b)
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
    struct reading r = {0};
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
        struct value old = c->now.values[i];

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
    source_text(&c->now, &c->spec->rows[at], &c->now.values[at], c->source, sizeof c->source);
    return c->source;
}

/* ---- pages ---- */

static const char *placeholder(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_STR:
        return "TEXT";
    case CONFIG_PATH:
        return "PATH";
    case CONFIG_CHOICE:
        return row->choices;
    case CONFIG_BOOL:
        return "";
    case CONFIG_INT:
        return "N";
    case CONFIG_MS:
        return "TIME";
    case CONFIG_SIZE:
        return "SIZE";
    case CONFIG_LIST:
        return "A,B,...";
    }
    return "";
}

static void help_row(const struct config_row *row, struct buf *out)
{
    char flag[160], bounds[80];

    bounds_text(row, bounds, sizeof bounds);
    if (row->type == CONFIG_BOOL)
        snprintf(flag, sizeof flag, "--%s, --no-%s", row->name, row->name);
    else
        snprintf(flag, sizeof flag, "--%s %s", row->name, placeholder(row));
    buf_addf(out, "  %-26s %s", flag, strlen(flag) > 26 ? "\n                             " : "");
    buf_add_cstr(out, row->help);
    if (bounds[0] && row->type != CONFIG_STR)
        buf_addf(out, "; %s", bounds);
    if (row->def)
        buf_addf(out, " (default %s)", row->def[0] ? row->def : "empty");
    buf_add_char(out, '\n');
}

bool config_help(const struct config_spec *spec, struct buf *out)
{
    buf_addf(out, "Usage: %s %s\n", spec->program, spec->usage ? spec->usage : "[settings]");
    if (spec->about)
        buf_addf(out, "%s\n", spec->about);
    buf_add_cstr(out, "\nSettings. Each can also be a line `name = value` in the file, or "
                      "AWQ_NAME in the environment\n(--redis-url is AWQ_REDIS_URL); flags beat "
                      "the environment, which beats the file.\n\n");
    for (size_t i = 0; i < spec->row_count; i++)
        help_row(&spec->rows[i], out);
    buf_add_cstr(out, "\n  --config FILE              read settings from FILE (or AWQ_CONFIG)\n"
                      "  --print-config             show every setting and where it came from\n"
                      "  --help-markdown            this list as a Markdown page\n"
                      "  --help, --version\n");
    return buf_ok(out);
}

/* A cell: a bar would end it. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
}

bool config_markdown(const struct config_spec *spec, struct buf *out)
{
    char env[ROW_NAME_MAX + 8], allowed[160];

    buf_add_cstr(out, "| setting | environment | value | default | reload | meaning |\n"
                      "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < spec->row_count; i++) {
        const struct config_row *row = &spec->rows[i];

        env_name(row, env);
        allowed_text(row, allowed, sizeof allowed);
        buf_addf(out, "| `%s` | `%s`%s | ", row->name, env,
                 row->flags & CONFIG_SECRET ? " or its `_FILE`" : "");
        add_cell(out, row->type == CONFIG_PATH ? "a path" : allowed);
        buf_addf(out, " | %s%s%s | %s | ", row->def ? "`" : "", row->def ? row->def : "",
                 row->def ? "`" : "", row->flags & CONFIG_RELOADABLE ? "yes" : "no");
        add_cell(out, row->help);
        buf_add_cstr(out, " |\n");
    }
    return buf_ok(out);
}

bool config_print(const struct config *c, struct buf *out)
{
    char from[192];

    for (size_t i = 0; i < c->spec->row_count; i++) {
        const struct config_row *row = &c->spec->rows[i];
        const struct value *v = &c->now.values[i];

        source_text(&c->now, row, v, from, sizeof from);
        if (!v->text)
            buf_addf(out, "# %s is not set\n", row->name);
        else if (row->flags & CONFIG_SECRET)
            buf_addf(out, "# %s is set, not shown  # %s\n", row->name, from);
        else
            buf_addf(out, "%s = %s  # %s\n", row->name, v->text, from);
    }
    return buf_ok(out);
}

/* The types of settings: what each may hold, as a value and in words. */
#include "common/config_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/char.h"
#include "common/slice.h"

/* ---- values ---- */

void config_value_deinit(struct config_value *v)
{
    if (v->text)
        sodium_memzero(v->text, v->text_len);
    if (v->item_text)
        sodium_memzero(v->item_text, v->text_len);
    free(v->text);
    free(v->item_text);
    free(v->items);
    *v = (struct config_value){0};
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
    while (digits < text.len && char_is_digit(text.ptr[digits]))
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
static bool split_list(struct config_value *v)
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

bool config_value_parse(const struct config_row *row, struct config_value *v)
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

void config_value_store(const struct config_row *row, const struct config_value *v, void *settings)
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

void config_bounds_text(const struct config_row *row, char *to, size_t size)
{
    char min[32], max[32];

    to[0] = '\0';
    if (row->min == 0 && row->max == 0)
        return;
    number_text(row->type, row->min, min, sizeof min);
    number_text(row->type, row->max, max, sizeof max);
    snprintf(to, size, "%s to %s", min, max);
}

void config_allowed_text(const struct config_row *row, char *to, size_t size)
{
    char bounds[80];
    const char *comma;

    config_bounds_text(row, bounds, sizeof bounds);
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

void config_env_name(const struct config_row *row, char to[CONFIG_NAME_MAX + 8])
{
    size_t n = (size_t)snprintf(to, CONFIG_NAME_MAX + 8, "AWQ_%s", row->name);

    for (size_t i = 4; i < n && to[i]; i++) {
        if (to[i] == '-')
            to[i] = '_';
        else if (to[i] >= 'a' && to[i] <= 'z')
            to[i] = (char)(to[i] - 32);
    }
}

void config_source_text(const struct config_reading *r, const struct config_row *row,
                        const struct config_value *v, char *to, size_t size)
{
    char env[CONFIG_NAME_MAX + 8];

    switch (v->source) {
    case FROM_DEFAULT:
        snprintf(to, size, "default");
        return;
    case FROM_FILE:
        snprintf(to, size, "%s line %d", r->file ? r->file : "file", v->line);
        return;
    case FROM_ENV:
        config_env_name(row, env);
        snprintf(to, size, "environment %s%s", env, v->line ? "_FILE" : "");
        return;
    case FROM_FLAG:
        snprintf(to, size, "flag --%s", row->name);
        return;
    }
}

/* Values of a connection's settings: JSON to texts, numbers, lists and maps, checked and copied. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/connection_inside.h"

#define CFG_SCOPES_MAX 4096

bool cfg_wrong(struct cfg_reader *r, const char *why)
{
    return r->entry.len > 0 ? connection_wrong_entry(r->at, r->of, r->entry, why, r->err)
                            : connection_wrong(r->at->setting, why, r->err);
}

static struct slice keep(struct cfg_reader *r, struct slice s)
{
    char *at = r->text;

    if (s.len > 0)
        memcpy(at, s.ptr, s.len);
    at[s.len] = '\0';
    r->text += s.len + 1;
    return slice_of(at, s.len);
}

bool cfg_text_or_none(struct cfg_reader *r, const struct json_val *v, size_t max, struct slice *to)
{
    struct slice s;

    if (!json_str(v, &s))
        return cfg_wrong(r, "must be a text");
    if (s.len > max)
        return cfg_wrong(r, "is too long");
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
            return cfg_wrong(r, "has a control character in it");
    }
    *to = keep(r, s);
    return true;
}

bool cfg_text(struct cfg_reader *r, const struct json_val *v, size_t max, struct slice *to)
{
    struct slice s;

    if (!json_str(v, &s) || s.len == 0)
        return cfg_wrong(r, "must be a text that is not empty");
    return cfg_text_or_none(r, v, max, to);
}

bool cfg_int(struct cfg_reader *r, const struct json_val *v, int64_t unit, int64_t min, int64_t max,
             int64_t *to)
{
    char bounds[64];
    int64_t n = 0;

    if (!json_int(v, &n))
        return cfg_wrong(r, "must be a whole number");
    if (n < min || n > max) {
        snprintf(bounds, sizeof bounds, "is out of bounds: %" PRId64 " to %" PRId64, min / unit,
                 max / unit);
        return cfg_wrong(r, bounds);
    }
    *to = n;
    return true;
}

bool cfg_bool(struct cfg_reader *r, const struct json_val *v, bool *to)
{
    return json_bool(v, to) || cfg_wrong(r, "must be true or false");
}

bool cfg_name(struct cfg_reader *r, const struct json_val *v, const char *(*name)(int i),
              const char *allowed, int *to)
{
    struct slice s = SLICE_NONE;

    json_str(v, &s);
    for (int i = 0; strcmp(name(i), "unknown") != 0; i++) {
        if (slice_is(s, name(i))) {
            *to = i;
            return true;
        }
    }
    return cfg_wrong(r, allowed);
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

bool cfg_list(struct cfg_reader *r, const struct json_val *v, size_t max_bytes,
              cfg_item_check *check, struct slice **list, size_t *count)
{
    struct slice *to = r->slices + r->slices_used;
    const struct json_val *item;
    struct json_iter it;
    struct slice key;
    size_t n = 0;

    if (json_type(v) != JSON_ARR)
        return cfg_wrong(r, "must be a list");
    if (json_len(v) > CFG_LIST_MAX || json_len(v) > CFG_SLICES_MAX - r->slices_used)
        return cfg_wrong(r, "has too many members");
    json_iter_init(&it, v);
    r->of = OF_LIST;
    while (json_iter_next(&it, &key, &item)) {
        char *copy = r->text;

        json_str(item, &r->entry);
        if (!cfg_text(r, item, max_bytes, &to[n]) || !check(r, copy, &to[n].len))
            return false;
        n++;
    }
    r->entry = SLICE_NONE;
    sort_unique(to, &n);
    r->slices_used += n;
    *list = n > 0 ? to : NULL;
    *count = n;
    return true;
}

bool cfg_words(struct cfg_reader *r, const struct json_val *v, bool (*is_word)(struct slice),
               const char *wrong_word, struct slice *to)
{
    struct slice words[CFG_LIST_MAX], s, word;
    char *start = r->text;
    size_t n = 0;

    if (!json_str(v, &s))
        return cfg_wrong(r, "must be a text");
    if (s.len > CFG_SCOPES_MAX)
        return cfg_wrong(r, "is too long");
    while (slice_cut(&s, ' ', &word)) {
        if (word.len == 0)
            continue;
        if (!is_word(word))
            return connection_wrong_entry(r->at, OF_LIST, word, wrong_word, r->err);
        if (n == CFG_LIST_MAX)
            return cfg_wrong(r, "has too many members");
        words[n++] = word;
    }
    sort_unique(words, &n);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            r->text[-1] = ' '; /* in place of the NUL before */
        keep(r, words[i]);
    }
    *to = n > 0 ? slice_of(start, (size_t)(r->text - start) - 1) : SLICE_NONE;
    return true;
}

static int compare_pairs(const void *a, const void *b)
{
    return slice_cmp(((const struct name_value *)a)->name, ((const struct name_value *)b)->name);
}

bool cfg_pairs(struct cfg_reader *r, const struct json_val *v, struct name_map *to)
{
    struct name_value *at = r->pairs + r->pairs_used;
    const struct json_val *item;
    struct json_iter it;
    struct slice key;
    size_t n = 0;

    if (json_type(v) != JSON_OBJ)
        return cfg_wrong(r, "must be a map of texts");
    if (json_len(v) > PROFILE_PAIRS_MAX - r->pairs_used)
        return cfg_wrong(r, "has too many members");
    json_iter_init(&it, v);
    while (json_iter_next(&it, &key, &item)) {
        if (key.len == 0 || key.len > CFG_TEXT_MAX || !slice_is_visible(key))
            return cfg_wrong(r, "has a name that is empty, too long or no visible ASCII");
        r->entry = key;
        r->of = OF_MAP;
        at[n].name = keep(r, key);
        if (!cfg_text_or_none(r, item, CFG_URL_MAX, &at[n].value))
            return false;
        n++;
        r->entry = SLICE_NONE;
    }
    if (n > 1)
        qsort(at, n, sizeof *at, compare_pairs);
    r->pairs_used += n;
    *to = (struct name_map){n > 0 ? at : NULL, n};
    return true;
}

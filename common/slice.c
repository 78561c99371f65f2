#include "common/slice.h"

#include <stdlib.h>
#include <string.h>
#include "common/char.h"

struct slice slice_sub(struct slice s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return (struct slice){from > 0 ? s.ptr + from : s.ptr, len};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.len > 0 && is_blank(s.ptr[0])) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && is_blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (char_lower(a.ptr[i]) != char_lower(b.ptr[i]))
            return false;
    }
    return true;
}

bool slice_starts(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && slice_eq(slice_sub(s, 0, prefix.len), prefix);
}

int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;

    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

size_t slice_find(struct slice s, char c)
{
    const char *p = s.len > 0 ? memchr(s.ptr, c, s.len) : NULL;

    return p ? (size_t)(p - s.ptr) : s.len;
}

size_t slice_find_any(struct slice s, const char *chars)
{
    size_t i = 0;

    while (i < s.len && !strchr(chars, s.ptr[i]))
        i++;
    return i;
}

bool slice_cut(struct slice *s, char sep, struct slice *head)
{
    size_t at;

    if (s->len == 0)
        return false;
    at = slice_find(*s, sep);
    *head = slice_sub(*s, 0, at);
    *s = slice_sub(*s, at + 1, s->len);
    return true;
}

bool slice_to_u64(struct slice s, uint64_t *out)
{
    uint64_t v = 0;

    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.ptr[i] - (unsigned)'0';

        if (digit > 9 || v > (UINT64_MAX - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return true;
}

bool slice_to_i64(struct slice s, int64_t *out)
{
    bool minus = s.len > 0 && s.ptr[0] == '-';
    uint64_t v;

    if (!slice_to_u64(minus ? slice_sub(s, 1, s.len) : s, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + (minus ? 1 : 0))
        return false;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

char *slice_dup(struct slice s)
{
    char *p = malloc(s.len + 1);

    if (!p)
        return NULL;
    if (s.len > 0)
        memcpy(p, s.ptr, s.len);
    p[s.len] = '\0';
    return p;
}

bool slice_copy(struct slice s, char *to, size_t size)
{
    if (s.len >= size)
        return false;
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    to[s.len] = '\0';
    return true;
}

bool slice_is_visible(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return false;
    return true;
}

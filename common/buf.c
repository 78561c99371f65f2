#include "common/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    if (!b)
        return;
    free(b->ptr);
    *b = (struct buf){.max = b->max};
}

void buf_wipe(struct buf *b)
{
    if (b && b->ptr)
        sodium_memzero(b->ptr, b->cap);
    buf_deinit(b);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->ptr)
        b->ptr[0] = '\0';
}

/* Growth copies by hand and wipes the old block: a buffer may hold a secret, and realloc would
 * leave its bytes behind in freed memory. */
static bool grow(struct buf *b, size_t need)
{
    size_t cap = b->cap > 0 ? b->cap : 128;
    char *p;

    while (cap < need + 1)
        cap *= 2;
    p = malloc(cap);
    if (!p)
        return false;
    if (b->ptr) {
        memcpy(p, b->ptr, b->len + 1);
        sodium_memzero(b->ptr, b->len);
        free(b->ptr);
    } else {
        p[0] = '\0';
    }
    b->ptr = p;
    b->cap = cap;
    return true;
}

bool buf_reserve(struct buf *b, size_t more)
{
    if (b->failed || b->len > b->max || more > b->max - b->len ||
        (b->len + more + 1 > b->cap && !grow(b, b->len + more))) {
        b->failed = true;
        return false;
    }
    return true;
}

static inline bool has_room(const struct buf *b, size_t more)
{
    size_t size = b->max < b->cap ? b->max + 1 : b->cap; /* with the NUL */

    return !b->failed && b->len < size && more < size - b->len;
}

bool buf_add(struct buf *b, const void *ptr, size_t len)
{
    if (!has_room(b, len) && !buf_reserve(b, len))
        return false;
    if (len > 0)
        memcpy(b->ptr + b->len, ptr, len);
    b->len += len;
    b->ptr[b->len] = '\0';
    return true;
}

bool buf_add_slice(struct buf *b, struct slice s)
{
    return buf_add(b, s.ptr, s.len);
}

bool buf_add_cstr(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

bool buf_add_char(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

/* Mostly there is room already: print once, and a second time only where it was too little. */
bool buf_addf(struct buf *b, const char *fmt, ...)
{
    size_t room = b->failed || b->len > b->max ? 0 : b->cap - b->len;
    va_list ap;
    int n;

    if (room > 0 && room > b->max - b->len + 1)
        room = b->max - b->len + 1;
    va_start(ap, fmt);
    n = vsnprintf(room > 0 ? b->ptr + b->len : NULL, room, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < room) {
        b->len += (size_t)n;
        return true;
    }
    if (room > 0)
        b->ptr[b->len] = '\0';
    if (n < 0 || !buf_reserve(b, (size_t)n))
        return false;
    va_start(ap, fmt);
    vsnprintf(b->ptr + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

bool buf_ok(const struct buf *b)
{
    return !b->failed;
}

struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->ptr, b->len};
}

char *buf_take(struct buf *b)
{
    char *p = b->ptr;

    *b = (struct buf){.max = b->max};
    return p;
}

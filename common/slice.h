/*
 * slice.h - borrowed text: a pointer and a length, not NUL-ended.
 * Owns    nothing. Valid as long as what it was taken from.
 * Thread  any.
 */
#ifndef AWQ_SLICE_H
#define AWQ_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof *(a))

struct slice {
    const char *ptr; /* may be NULL when len is 0 */
    size_t len;
};

#define SLICE_LIT(s) ((struct slice){("" s), sizeof(s) - 1})
#define SLICE_NONE   ((struct slice){0})
/* For printf: "%.*s", SLICE_FMT(s) */
#define SLICE_FMT(s) (int)(s).len, (s).ptr ? (s).ptr : ""

/* These few are inline: with a literal they cost no call and no strlen, and a job asks hundreds of
 * times whether a text is this or that word. */
static inline struct slice slice_cstr(const char *s) /* NULL gives the empty slice */
{
    return (struct slice){s, s ? strlen(s) : 0};
}

static inline struct slice slice_of(const void *ptr, size_t len)
{
    return (struct slice){ptr, len};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *b)
{
    return slice_eq(a, slice_cstr(b));
}

struct slice slice_sub(struct slice s, size_t from, size_t len); /* clamped to s */
struct slice slice_trim(struct slice s);                         /* spaces and tabs off both ends */

bool slice_eq_nocase(struct slice a, struct slice b); /* ASCII only */
bool slice_starts(struct slice s, struct slice prefix);
bool slice_is_visible(struct slice s); /* ASCII, no blanks and no controls; also when empty */
int slice_cmp(struct slice a, struct slice b);            /* bytewise, for sorting */
size_t slice_find(struct slice s, char c);                /* s.len when it is not there */
size_t slice_find_any(struct slice s, const char *chars); /* the first of them, or a NUL */
bool slice_cut(struct slice *s, char sep,
               struct slice *head); /* take up to sep; false: nothing left */

/* Decimal, the whole slice, no sign for u64, optional '-' for i64. False: *out is as it was. */
bool slice_to_i64(struct slice s, int64_t *out);
bool slice_to_u64(struct slice s, uint64_t *out);

char *slice_dup(struct slice s); /* NUL-ended, free(); NULL when out of memory */
bool slice_copy(struct slice s, char *to, size_t size); /* NUL-ended; false when it does not fit */

#endif

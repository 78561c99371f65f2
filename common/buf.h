/*
 * buf.h - bytes that grow, up to a maximum that is told when made.
 * Owns    its memory, until buf_deinit.
 * Thread  whoever owns it.
 * Errors  an add that fails (out of memory, over max) changes nothing and marks the buffer
 *         `failed`; so a run of adds may be checked once at its end with buf_ok.
 * Source  the idea of a stated maximum is curl's lib/curlx/dynbuf.h.
 */
#ifndef AWQ_BUF_H
#define AWQ_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/slice.h"

struct buf {
    char *ptr; /* NUL-ended whenever it is not NULL */
    size_t len;
    size_t cap;
    size_t max;  /* len never passes this */
    bool failed; /* an add did not fit; sticks until buf_clear */
};

void buf_init(struct buf *b, size_t max); /* allocates nothing yet */
void buf_deinit(struct buf *b);           /* NULL and zeroed memory are fine */
void buf_wipe(struct buf *b);             /* for secrets: sodium_memzero, then deinit */
void buf_clear(struct buf *b);            /* empty it, keep the memory */

bool buf_add(struct buf *b, const void *ptr, size_t len);
bool buf_add_slice(struct buf *b, struct slice s);
bool buf_add_cstr(struct buf *b, const char *s);
bool buf_add_char(struct buf *b, char c);
bool buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool buf_reserve(struct buf *b, size_t more); /* room for `more` bytes after len */

bool buf_ok(const struct buf *b);
struct slice buf_slice(const struct buf *b);
char *buf_take(
    struct buf *b); /* hands the memory (NUL-ended, free()) over; b is empty after; NULL if none */

#endif

/*
 * form.h - names and values in application/x-www-form-urlencoded text: token
 * requests, query strings, the two halves of a Basic credential.
 * Owns    the decoded copies, wiped by form_deinit: they may be secrets.
 * Thread  any.
 * Errors  form_parse answers false and says why in one short text; the form
 *         is then empty.
 * Source  URL standard (urlencoded parsing); RFC 6749 appendix B.
 */
#ifndef AWQ_SANDBOX_FORM_H
#define AWQ_SANDBOX_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include "common/slice.h"

#define FORM_MAX 64 /* fields; a request with more is refused */

struct form_field {
    struct slice name;
    struct slice value;
};

struct form {
    struct form_field fields[FORM_MAX];
    size_t count;
    char *text; /* what the fields point into */
    size_t text_bytes;
};

bool form_parse(struct form *f, struct slice text, const char **why);
void form_deinit(struct form *f);

/* The field's value; not there or empty (RFC 6749 section 3.2: treated as omitted): len 0. */
struct slice form_get(const struct form *f, const char *name);
bool form_has(const struct form *f, const char *name);

/* The first name that occurs twice, or an empty slice. */
struct slice form_repeated(const struct form *f);

/*
 * Decode into out, which has room for text.len bytes; plus_is_space as in a
 * form, but not in a path. False: a cut or wrong %XX, or a NUL byte.
 */
bool form_decode(struct slice text, bool plus_is_space, char *out, size_t *out_len);
#endif

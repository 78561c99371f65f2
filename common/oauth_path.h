/*
 * oauth_path.h - finding things in a provider's answers: by paths, in forms, in dates.
 * Owns    nothing.
 * Thread  any.
 * Units   milliseconds since 1970.
 * Errors  ERR_FORMAT of a template, with rule base_url_missing when a value is not there; the name
 *         of what is at fault, never its text. The others say false.
 * Source  deploy/providers/README.md (paths, templates); WHATWG URL, application/
 *         x-www-form-urlencoded parsing; RFC 3339.
 */
#ifndef AWQ_OAUTH_PATH_H
#define AWQ_OAUTH_PATH_H

#include "common/buf.h"
#include "common/err.h"
#include "common/json.h"
#include "common/profile.h"

/* "data.tokens.0.value": members, and positions in lists; NULL = there is no such thing. */
const struct json_val *oauth_path(const struct json_val *root, struct slice path);

/* Adds where calls begin: api.base_url with {answer.PATH} from an answer (NULL: it stays) and
 * {callback.NAME} from the settings. A value that makes up the beginning is taken as it is; any
 * other has no more than letters, digits and - . _ ~ in it: it cannot lead to another host or path.
 * False and *err: nothing stands there (rule base_url_missing), or something that may not. */
bool oauth_base_url(struct buf *out, const struct profile *p, const struct json_val *answer,
                    struct err *err);

/* A text as it is, a whole number or a flag as it is spelled (in `room`); "" for all else. */
struct slice oauth_text_of(const struct json_val *v, char room[24]);

/* %XX and + decoded, added to out; false when it is no form, or holds a control character. */
bool oauth_form_decode(struct slice text, struct buf *out);
/* The parameters of a form as one JSON object of texts; false when it is none. */
bool oauth_form_to_json(struct slice form, struct buf *out);

/* RFC 3339, with a blank for the T, or without an offset (then it is UTC), as some write it. Parts
 * of a second are dropped. */
bool oauth_date(struct slice text, int64_t *ms);

#endif

/*
 * access.h - what is sealed as a connection's `at`: the access token, and what its answer said
 * beside it for calls.
 * Owns    nothing: what is read borrows from the text.
 * Thread  any.
 * Source  lines: the token; then, if there are any, "base URL" and "token NAME TOKEN". A token is
 *         visible ASCII (RFC 6750 section 2.1), so a line end ends it.
 */
#ifndef AWQ_ACCESS_H
#define AWQ_ACCESS_H

#include "common/oauth.h"

#define ACCESS_MAX (48 * 1024) /* bytes of all of it */

struct access {
    struct slice token, base_url;                 /* "" = none */
    struct name_value tokens[PROFILE_TOKENS_MAX]; /* by the names of the profile's answer.tokens */
    size_t token_count;
};
bool access_write(struct buf *out, const struct oauth_answer *a);
void access_read(struct access *a, struct slice text);
/* "" = the token; false: there is none of that name. */
bool access_token(const struct access *a, struct slice name, struct slice *token);

#endif

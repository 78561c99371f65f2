/*
 * post.h - one form to an endpoint of an authorization server, and its answer.
 * Owns    nothing; a loop and a link of its own for the time of the call.
 * Thread  the only one.
 * Units   milliseconds.
 * Errors  what http.h says, with the endpoint's name before it; addresses and schemes that the
 *         connection's policy does not allow are refused before anything is sent.
 */
#ifndef AWQ_CTL_POST_H
#define AWQ_CTL_POST_H

#include "common/connection.h"
#include "common/http.h"
#include "common/oauth.h"

#define POST_MS 30000

/* Called with a whole answer, before post_form returns. Its body is wiped afterwards. */
typedef void post_cb(void *owner, const struct http_result *answer);
bool post_form(const struct connection_cfg *cfg, const char *what, struct slice url,
               const struct oauth_request *rq, post_cb *cb, void *owner, struct err *err);

#endif

/*
 * client_auth.h - which client sends a token request, and the proof of it.
 * Owns    nothing.
 * Thread  the loop thread only.
 * Errors  NULL, and the reply holds invalid_client or invalid_request.
 * Source  RFC 6749 section 2.3.1: id and secret are form-encoded first and then
 *         put into HTTP Basic, or they are fields of the body; never both.
 */
#ifndef AWQ_SANDBOX_CLIENT_AUTH_H
#define AWQ_SANDBOX_CLIENT_AUTH_H

#include "tools/sandbox/accounts.h"
#include "tools/sandbox/form.h"
#include "tools/sandbox/request.h"

const struct client *client_authenticate(const struct accounts *accounts,
                                         const struct request *request, const struct form *body,
                                         struct reply *reply);
#endif

/*
 * auth.h - the authorization server: POST /token and its metadata.
 * Owns    nothing; what it issues is in grants.h.
 * Thread  the loop thread only.
 * Errors  the bodies of RFC 6749 section 5.2. What the RFC leaves to the server
 *         is refused, so that a client that works here works elsewhere.
 * Source  RFC 6749 sections 2.3, 3.2, 4.4, 5 and 6; RFC 8414; RFC 9700 section 4.14.2.
 */
#ifndef AWQ_SANDBOX_AUTH_H
#define AWQ_SANDBOX_AUTH_H

#include "tools/sandbox/request.h"

struct sandbox;

void auth_token(struct sandbox *s, const struct request *request, struct reply *reply);
void auth_metadata(const struct sandbox *s, const struct request *request, struct reply *reply);
#endif

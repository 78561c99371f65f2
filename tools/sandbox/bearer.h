/*
 * bearer.h - is there a good access token on this request?
 * Owns    nothing.
 * Thread  the loop thread only.
 * Errors  false, and the reply has its status and WWW-Authenticate.
 * Source  RFC 6750 sections 2.1 and 3; RFC 9700 section 4.3.2 (no token in a URI).
 */
#ifndef AWQ_SANDBOX_BEARER_H
#define AWQ_SANDBOX_BEARER_H

#include <stdbool.h>
#include <stdint.h>
#include "tools/sandbox/grants.h"
#include "tools/sandbox/request.h"

/* *account is whose token it is, also when it is refused; NULL when that is not known. */
bool bearer_check(const struct grants *grants, const struct request *request, int64_t now_ms,
                  const struct access **access, struct account **account, struct reply *reply);

/* 401 with error="invalid_token". */
void bearer_refuse(struct reply *reply, const char *why);

bool bearer_check_scope(const struct access *access, enum scope needed, struct reply *reply);
#endif

/*
 * api.h - the protected API: records to read, writes to make, an echo.
 *   GET  /api/records/ID   {"id": ID, "name": ..., "n": ...}, the same each time
 *   POST /api/writes/ID    {"id": ID, "effect": N}; Idempotency-Key is honoured
 *   ANY  /api/echo         what arrived, but for the token
 * Owns    nothing; writes are in writes.h, misbehaviour on demand in faults.h.
 * Thread  the loop thread only.
 * Errors  401, 403 and 400 as RFC 6750 section 3 has them; 404, 405, 422, 507.
 * Source  RFC 6750; draft-ietf-httpapi-idempotency-key-header.
 */
#ifndef AWQ_SANDBOX_API_H
#define AWQ_SANDBOX_API_H

#include "tools/sandbox/request.h"

struct sandbox;

void api_route(struct sandbox *s, const struct request *request, struct reply *reply);
#endif

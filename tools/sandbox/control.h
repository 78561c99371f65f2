/*
 * control.h - what tests and demos ask the sandbox itself, without a token:
 *   POST /_sandbox/mint             client_id, account, scope?, access_ttl_s?: a refresh token
 *   POST /_sandbox/clients          client_id, client_secret?, auth?, scope?, access_ttl_s?
 *   POST /_sandbox/revoke           client_id, account: the owner takes the consent back
 *   GET  /_sandbox/counters         what arrived and what came of it, in all and per account
 *   GET  /_sandbox/writes           ?after=SEQ&limit=N: the list of writes
 *   GET  /_sandbox/writes/summary   their sums
 *   POST /_sandbox/reset            forget everything but the clients
 * Owns    nothing.
 * Thread  the loop thread only.
 * Errors  400 with the field that is wrong, 404, 405, 507 when full. A request with
 *         an Origin is refused: a web page in the developer's browser may not come here.
 */
#ifndef AWQ_SANDBOX_CONTROL_H
#define AWQ_SANDBOX_CONTROL_H

#include "tools/sandbox/request.h"

struct sandbox;

void control_route(struct sandbox *s, const struct request *request, struct reply *reply);
#endif

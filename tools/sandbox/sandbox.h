/*
 * sandbox.h - everything the sandbox remembers, and the way from a request to
 * the route that answers it.
 * Owns    the accounts, grants, writes and faults; nothing of it is on disk.
 * Thread  the loop thread only.
 * Units   access_ttl_s in seconds, delays in milliseconds.
 */
#ifndef AWQ_SANDBOX_SANDBOX_H
#define AWQ_SANDBOX_SANDBOX_H

#include <stdint.h>
#include "tools/sandbox/accounts.h"
#include "tools/sandbox/faults.h"
#include "tools/sandbox/grants.h"
#include "tools/sandbox/request.h"
#include "tools/sandbox/writes.h"

struct sandbox {
    struct accounts accounts;
    struct grants grants;
    struct writes writes;
    struct faults faults;
    int64_t access_ttl_s; /* of clients that have none of their own */
    int64_t delay_min_ms, delay_max_ms;
    uint64_t answers; /* of the API so far: what the next delay is drawn from */
    char issuer[64];  /* http://ADDRESS:PORT */
};

void sandbox_init(struct sandbox *s);
void sandbox_deinit(struct sandbox *s);
void sandbox_reset(struct sandbox *s); /* as at the start, but for the clients */

/* A server_handler; owner is the struct sandbox. */
void sandbox_route(void *owner, const struct request *request, struct reply *reply);
#endif

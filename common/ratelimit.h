/*
 * ratelimit.h - what an API says is left of its limits, from the header fields of an answer.
 * Owns    nothing: the fields borrow from the answer.
 * Thread  any.
 * Units   milliseconds; now_ms is Unix time.
 * Errors  none: what cannot be read says nothing. Times come from the network and are bounded.
 * Source  draft-ietf-httpapi-ratelimit-headers-11: RateLimit: "name";r=0;t=30 and RateLimit-Policy:
 *         "name";q=100;w=60; its older forms, -07: RateLimit: limit=100, remaining=0, reset=30, and
 *         -06: RateLimit-Remaining, RateLimit-Reset; X-RateLimit-* and X-Rate-Limit-*, which
 *         nobody specified: a reset is seconds from now, or a Unix time in seconds or milliseconds.
 */
#ifndef AWQ_RATELIMIT_H
#define AWQ_RATELIMIT_H

#include <stdint.h>
#include "common/slice.h"

#define RATELIMIT_MAX_MS ((int64_t)3600 * 1000) /* then a call finds out anew */

struct ratelimit {
    struct slice limits, policy, remaining, reset;
};

/* One header of the answer; those that say nothing of limits are passed over. The first counts. */
void ratelimit_note(struct ratelimit *l, struct slice name, struct slice value);
/* In how long there is something left again; 0 when there is now, or nobody knows. */
int64_t ratelimit_wait_ms(const struct ratelimit *l, int64_t now_ms);

#endif

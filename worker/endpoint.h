/*
 * endpoint.h - how many token requests one token endpoint gets from this worker at once, and when
 * it asked to be left alone. Thousands of accounts at one provider may become due in one second,
 * after an outage for instance; the provider's limit is counted over all of them.
 * Owns    a bounded table of endpoints; a renewal that waits is its caller's.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  none: an endpoint that the table has no room for has no budget.
 * Source  RFC 6585 section 4 and RFC 9110 section 10.2.3 (429, Retry-After).
 */
#ifndef AWQ_WORKER_ENDPOINT_H
#define AWQ_WORKER_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/slice.h"

struct worker;
struct endpoints;
struct endpoint;
struct renewal;

struct place_in_line { /* of a renewal */
    struct endpoint *at;
    struct renewal *next; /* behind this one */
    bool waits;
};

struct endpoints *endpoints_new(struct worker *w);
void endpoints_free(struct endpoints *e); /* NULL is fine */
/* May it begin now? If not, `renewal_acquire` is called when its turn comes. */
bool endpoint_enter(struct endpoints *e, struct slice token_url, struct renewal *r,
                    struct place_in_line *place);
/* It is over, or not wanted any more. */
void endpoint_leave(struct endpoints *e, struct renewal *r, struct place_in_line *place);
/* The endpoint said Retry-After: nothing is sent there before, or for ten seconds if that is less:
 * it may have meant one account, and who links that anew is not to wait for a day. */
void endpoint_cool(struct place_in_line *place, int64_t ms);
/* Some time has passed: those whose cool-down is over go on. */
void endpoints_tick(struct endpoints *e);

#endif

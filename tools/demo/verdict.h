/*
 * verdict.h - what the demo came to: the results against the sandbox's own books.
 * Owns    nothing.
 * Thread  the loop thread only.
 * Errors  those of HTTP; ERR_FORMAT when the sandbox's answer is not understood.
 */
#ifndef AWQ_DEMO_VERDICT_H
#define AWQ_DEMO_VERDICT_H

#include <stdbool.h>
#include "common/err.h"
#include "tools/demo/site.h"
#include "tools/demo/victim.h"
#include "tools/demo/work.h"

/* What the sandbox counted for one connection. */
struct verdict_conn {
    int64_t renewals; /* token requests that arrived */
    int64_t versions; /* access tokens issued */
    int64_t reuse;    /* refresh tokens used twice */
};

struct verdict {
    unsigned lost;    /* job ids that the sandbox's list of writes lacks */
    int64_t repeated; /* writes that took effect more than once */
    int64_t replays;  /* repeats that it recognised by their key */
    struct verdict_conn reader, writer;
};

bool verdict_gather(struct verdict *v, const struct site *site, struct err *err);

/* Print what is off, one line each, then the last line of the demo. True: nothing is off. */
bool verdict_tell(const struct verdict *v, const struct work *work, const struct victim *victim);
#endif

/*
 * faults.h - switches in a request's query that make the sandbox misbehave:
 *   slow=MS            answer so much later
 *   status=NNN         answer that, having done nothing; retry_after=S goes with it
 *   401=1              refuse the token though it is good
 *   drop=before|after  close the link without an answer, before or after acting
 *   times=N            only the first N requests with this key=K (else: path)
 * Owns    how often each key was used, until faults_reset.
 * Thread  the loop thread only.
 * Errors  ERR_FORMAT: a switch has a wrong value; ERR_NOMEM: too many keys.
 */
#ifndef AWQ_SANDBOX_FAULTS_H
#define AWQ_SANDBOX_FAULTS_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "tools/sandbox/request.h"
#include "tools/sandbox/table.h"

enum fault_drop {
    DROP_NONE,
    DROP_BEFORE,
    DROP_AFTER,
};

struct fault {
    int64_t slow_ms; /* -1: not asked for */
    unsigned status; /* 0: not asked for */
    struct slice retry_after;
    bool refuse_token;
    enum fault_drop drop;
};

struct faults {
    struct table used;
};

void faults_init(struct faults *f);
void faults_reset(struct faults *f); /* also the end of it: nothing else is held */

/* What this request asks for; counts it where times= is there. On false *out asks for nothing. */
bool faults_read(struct faults *f, const struct request *request, struct fault *out,
                 struct err *err);

/*
 * Put a fault that comes before acting into the reply and answer true: there is nothing more to
 * do. Else put in what goes along with the real answer (the wait, a drop after acting).
 */
bool fault_apply(const struct fault *fault, struct reply *reply);
#endif

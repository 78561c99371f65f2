/*
 * conn_device.h - conn link by a device code (RFC 8628).
 * Owns    nothing; the answer is the caller's (oauth_answer_deinit).
 * Thread  the only one.
 * Units   milliseconds.
 * Errors  ERR_CONSENT: nobody answered in time; ERR_DENIED: the owner or the server said no.
 */
#ifndef AWQ_CTL_CONN_DEVICE_H
#define AWQ_CTL_CONN_DEVICE_H

#include "common/oauth.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/once.h"

/* Shows the code, and waits. True: *answer is a token. */
bool conn_by_device(struct ctl *c, const struct connection_cfg *cfg, struct slice secret,
                    struct once_dpop *dpop, struct client_cert *cert, int64_t limit_ms,
                    struct oauth_answer *answer, struct err *err);

#endif

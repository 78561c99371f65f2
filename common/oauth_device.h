/*
 * oauth_device.h - the device grant: what is asked for a code, what the owner is shown, and the
 * token request that is repeated until the owner has answered. No I/O here.
 *
 * Owns    struct oauth_device: its device code, until oauth_device_deinit wipes it.
 * Thread  any one at a time.
 * Units   milliseconds.
 * Errors  ERR_DENIED rule refused: the server gave no code; texts never hold the device code.
 * Source  RFC 8628 sections 3.1 to 3.5.
 */
#ifndef AWQ_OAUTH_DEVICE_H
#define AWQ_OAUTH_DEVICE_H

#include "common/oauth.h"

#define OAUTH_DEVICE_CODE_MAX 4096
#define OAUTH_DEVICE_URI_MAX  2048

struct oauth_device {
    char code[OAUTH_DEVICE_CODE_MAX + 1]; /* secret */
    char user_code[65];                   /* for people, as are the next two */
    char uri[OAUTH_DEVICE_URI_MAX + 1];
    char uri_complete[OAUTH_DEVICE_URI_MAX + 1]; /* with the user code in it; "" = not given */
    int64_t expires_ms, interval_ms;             /* of life; between two requests */
};
void oauth_device_deinit(struct oauth_device *d); /* wipes */

/* The caller wipes both requests by oauth_request_deinit, also on an error. */
bool oauth_device_ask(struct oauth_request *rq, const struct connection_cfg *c,
                      struct slice client_secret, int64_t now_ms, struct err *err);
bool oauth_device_read(struct oauth_device *d, int status, struct slice answer, struct err *err);
bool oauth_device_poll(struct oauth_request *rq, const struct connection_cfg *c,
                       const struct oauth_device *d, struct slice client_secret, int64_t now_ms,
                       struct err *err);
/* After a poll that brought no token (NULL: none came back at all): ask again, after interval_ms
 * that may have grown? False: it is over, and a->text says why. */
bool oauth_device_goes_on(struct oauth_device *d, const struct oauth_answer *a);

#endif

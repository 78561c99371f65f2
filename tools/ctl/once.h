/*
 * once.h - one request to an authorization server, and its answer.
 * Owns    whom it trusts, one setting per process; a loop and a link of its own for the time of the
 *         call.
 * Thread  the only one.
 * Units   milliseconds.
 * Errors  what http.h says, with the endpoint's name before it; addresses and schemes that are not
 *         allowed are refused before anything is sent. Redirects are answers, and not followed.
 */
#ifndef AWQ_CTL_ONCE_H
#define AWQ_CTL_ONCE_H

#include "common/client_cert.h"
#include "common/dpop.h"
#include "common/http.h"
#include "common/oauth.h"

#define ONCE_MS 30000

struct once_dpop {
    const struct dpop_key *key;     /* NULL: no proof, after all */
    int64_t now_ms;                 /* Unix time, anew for each request */
    char nonce[DPOP_NONCE_MAX + 1]; /* the server's last */
    bool again; /* it wants this nonce in the proof (RFC 9449 section 8), and did nothing: the
                   request is to be made anew and sent once more. The callback was not called */
};

struct once {
    const char *what; /* for messages: "the token endpoint" */
    struct slice url;
    bool insecure_http, allow_private;
    bool by_option; /* those two are the verb's --insecure-http and --allow-private */
    const struct oauth_request *form; /* sent as it says; NULL: a GET, or */
    struct slice json, authorization; /* a POST of that */
    struct once_dpop *dpop;           /* with a proof; NULL: without */
    struct client_cert *cert;         /* shown in the handshake; NULL: none */
};

/* From now on servers are checked with this PEM bundle; NULL: with the system's. Borrowed. */
void once_trust(const char *ca_file);

/* Called with a whole answer, before once_ask returns. Its body is wiped afterwards. */
typedef void once_cb(void *owner, const struct http_result *answer);
bool once_ask(const struct once *o, once_cb *cb, void *owner, struct err *err);
/* As far as the first byte of a POST, which is not sent: the name, the address, the link, TLS. */
bool once_reach(const struct once *o, struct err *err);
/* A form, to where the connection's policy allows, with the certificate that its settings name. */
bool once_form(const struct connection_cfg *c, struct client_cert *cert, const char *what,
               const struct oauth_request *form, struct once_dpop *dpop, once_cb *cb, void *owner,
               struct err *err);

#endif

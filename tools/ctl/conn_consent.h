/*
 * conn_consent.h - an account's owner is asked in a browser, for conn link.
 * Owns    struct consent owns what conn_link.c's consent_deinit frees.
 * Thread  the only one.
 * Units   milliseconds.
 * Errors  in l->err: ERR_CONSENT nobody answered in time; ERR_DENIED the owner or the server said
 *         no, or the answer is not to this question (rules as of oauth_code_read).
 * Source  RFC 6749 section 4.1, RFC 7636, RFC 8252, RFC 9126, RFC 9207.
 */
#ifndef AWQ_CTL_CONN_CONSENT_H
#define AWQ_CTL_CONN_CONSENT_H

#include <uv.h>
#include "common/httpd.h"
#include "common/oauth_code.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/once.h"

#define CONSENT_PASTE_MAX 16384 /* bytes of a line that is pasted */

struct consent {
    struct ctl *c;
    struct connection_file file; /* what conn apply would have read */
    struct oauth_code question;
    char redirect_uri[2048];
    struct slice callback;        /* its path, where the listener waits for the browser */
    struct oauth_brought brought; /* beside the code */
    int64_t until_ms;             /* --timeout, by clock_boot_ms */
    bool in_use;                  /* it has a grant that may be good, while its owner is asked */
    struct buf access;            /* what is stored of the token (access.h) */
    int64_t answered_ms;
    uv_loop_t loop;
    uv_timer_t timer;
    struct httpd *httpd;
    struct buf url; /* what the owner's browser is to open */
    bool started;   /* it came for that */
    struct buf code, pasted;
    struct dpop_key *dpop_key; /* that the tokens are to be bound to; or NULL */
    struct once_dpop dpop;
    struct client_cert *cert; /* that awq-ctl shows; or NULL */
    struct oauth_request rq;
    struct oauth_answer answer;
    bool over;     /* of what is waited for */
    int strangers; /* answers with another state */
    struct err err;
};

/* Show the address, open a browser unless told otherwise, and wait for the answer: at a listener,
 * or pasted. True: l->code is there, to be used once. */
bool consent_ask(struct consent *l, bool listen, bool browser, int64_t limit_ms);
/* Say what the server says of a refusal, if it holds no secret of this link's. */
void consent_description(const struct consent *l, const struct http_result *answer);

#endif

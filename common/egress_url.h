/*
 * egress_url.h - a URL taken apart as strictly as egress needs it: one way to read it, or none.
 * Owns    nothing; path and query borrow from the URL.
 * Thread  any.
 * Errors  ERR_DENIED with the rules url_invalid, scheme_not_allowed, url_userinfo,
 *         path_dot_segment, path_encoded_separator; ERR_NOMEM when it does not fit the buffer.
 * Source  RFC 3986 section 3; the WHATWG URL standard for hosts that are numbers.
 */
#ifndef AWQ_EGRESS_URL_H
#define AWQ_EGRESS_URL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

enum {
    EGRESS_URL_MAX = 16 * 1024,
    EGRESS_HOST_MAX = 253, /* RFC 1035 section 3.1, in text */
};

struct egress_url {
    bool https;
    char host[EGRESS_HOST_MAX + 3]; /* lower case; an IPv6 literal in brackets, in its one short
                                       form */
    bool is_ip;
    struct sockaddr_storage addr; /* when is_ip */
    uint16_t port;                /* never 0 */
    struct slice path;            /* "" or from the slash */
    struct slice query;           /* with the question mark, or "" */
};

bool egress_url_parse(struct slice text, struct egress_url *u, struct err *err);
/* Normalised: *out the URL, *origin (may be NULL) "scheme://host:port"; both are cleared first. */
bool egress_url_put(const struct egress_url *u, struct buf *out, struct buf *origin,
                    struct err *err);
bool egress_url_bad(struct err *err, const char *why); /* sets url_invalid; false */

#endif

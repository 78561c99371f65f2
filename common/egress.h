/*
 * egress.h - where a request may go. Every request passes here, every redirect hop again.
 * Owns    nothing; a policy borrows from its connection. egress.c asks the policy, egress_url.c
 *         reads URLs, egress_address.c knows the addresses, egress_redirect.c a Location.
 * Thread  any.
 * Errors  ERR_DENIED, with `rule` naming what said no (the names are the dead letter's code):
 *         url_invalid, scheme_not_allowed, host_not_allowed, method_not_allowed, path_not_allowed,
 *         path_dot_segment, path_encoded_separator, url_userinfo, address_not_allowed,
 *         header_forbidden, header_invalid, method_invalid.
 * Source  RFC 3986 sections 3 and 5.2.4, RFC 6890 (special-purpose addresses), RFC 9110 section 7.
 */
#ifndef AWQ_EGRESS_H
#define AWQ_EGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct sockaddr;

struct policy {
    struct slice
        *hosts; /* "api.example.com", "*.example.com" (one or more labels), "127.0.0.1:8080";
                   without a port the scheme's default port only. Lower case. */
    size_t host_count;
    struct slice *methods; /* none = GET HEAD POST PUT PATCH DELETE */
    size_t method_count;
    struct slice
        *paths; /* prefixes of whole segments: "/v1" allows /v1 and /v1/x, not /v10; none = all */
    size_t path_count;
    struct slice *producers; /* whose signed jobs may use it; none = all, signed or not */
    size_t producer_count;
    bool insecure_http; /* http:// too */
    bool allow_private; /* loopback, private, link-local, metadata addresses too */
};

/* Check the URL that would really be sent. On success *out (cleared first) holds it, normalised:
 * lower-case scheme and host, no fragment; *origin (cleared first; may be NULL)
 * "scheme://host:port". */
bool egress_check(const struct policy *p, struct slice method, struct slice url, struct buf *out,
                  struct buf *origin, struct err *err);
/* Where an API begins: an address on one of its hosts, whatever the method and path of calls. */
bool egress_check_base(const struct policy *p, struct slice url, struct err *err);
/* Token endpoints: the scheme and address rules, no host or path list. */
bool egress_check_endpoint(bool insecure_http, struct slice url, struct err *err);
#define EGRESS_PRIVATE "; only a policy with allow_private may reach it" /* ends the message */
/* The address really dialled. IPv4-mapped and other IPv4-in-IPv6 forms are unwrapped first. */
bool egress_check_address(bool allow_private, const struct sockaddr *addr, struct err *err);
/* A header that a job wants to set: Host, Authorization, Proxy-*, Cookie, DPoP, Content-Length,
 * Transfer-Encoding, Connection, Keep-Alive, Upgrade, TE, Trailer, Expect are not its business, nor
 * what servers take for another method, path or caller (X-HTTP-Method-Override, X-Original-URL,
 * Forwarded and their like). */
bool egress_check_header(struct slice name, struct slice value, bool allow_cookie, struct err *err);
/* The same to a server: "_" may be read as "-" there. */
bool egress_same_header(struct slice a, struct slice b);
/* Resolve a redirect's Location against the URL it answered (RFC 3986 section 5.2). */
bool egress_resolve(struct slice base, struct slice location, struct buf *out, struct err *err);
bool egress_same_origin(struct slice url_a, struct slice url_b); /* scheme, host, port */

#endif

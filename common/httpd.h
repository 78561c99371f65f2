/*
 * httpd.h - a small HTTP server for probes and metrics, on the loop.
 * Owns    its listening socket, the links of its clients, its handles in the loop.
 * Thread  the loop thread only; the callback too, which must answer at once.
 * Errors  ERR_CONFIG: not an address, or it cannot be bound (in use, not allowed).
 * Source  RFC 9110; libmicrohttpd with an external epoll descriptor (its manual, "Event loops").
 *         GET and HEAD only, no request bodies; at most 64 clients, 10 s of silence each, 16 KiB of
 *         request. For a port that only the cluster or the host can reach: no TLS, no passwords.
 */
#ifndef AWQ_HTTPD_H
#define AWQ_HTTPD_H

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

#define HTTPD_BODY_MAX (4 * 1024 * 1024)

struct uv_loop_s;
struct httpd;

struct httpd_answer {
    int status;               /* 404 until the callback sets it */
    const char *content_type; /* static text; text/plain until set */
    struct buf body;          /* empty; what overflows becomes a 500 */
    const char *location;     /* of a redirect; copied when the callback is back. NULL = none */
};

struct httpd_request {
    struct slice path;  /* without the query: "/metrics" */
    struct slice query; /* as it was sent, without the '?'; "" = none */
};

/* Never calls httpd_free. */
typedef void httpd_cb(void *owner, const struct httpd_request *request,
                      struct httpd_answer *answer);

/* address: "127.0.0.1:9464", "[::1]:9464", ":9464" (all IPv4 addresses); port 0 = a free one. */
struct httpd *httpd_new(struct uv_loop_s *loop, const char *address, httpd_cb *cb, void *owner,
                        struct err *err);
unsigned httpd_port(const struct httpd *h);
/* Cuts all links. The memory goes once the loop has closed the handles, so the loop must run on
 * until it is empty. NULL is fine. */
void httpd_free(struct httpd *h);

#endif

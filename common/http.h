/*
 * http.h - HTTP requests by libcurl multi on the libuv loop.
 * Owns    the multi handles, their timers and polls, the pool of easy handles and links. Its copy
 *         of a request's headers is wiped when the request ends; what libcurl and the TLS library
 *         copied from it is freed by them, not wiped.
 * Thread  the loop thread only. The process must ignore SIGPIPE: http_new sees to it when nobody
 *         else has set a handler.
 * Units   milliseconds, bytes.
 * Errors  the callback is called exactly once, never inside http_start or http_cancel. What is
 *         known about the request is in result.sent: that decides whether a repeat is safe. The
 *         rule of the error says what happened:
 *           not sent    resolve_failed, connect_failed, connect_timeout, tls_failed,
 *                       tls_certificate, tls_client_certificate (ERR_UNREACHABLE);
 *                       tls_ca_file (ERR_CONFIG); url_invalid (ERR_FORMAT); what address_ok or
 *                       before_send said
 *           maybe sent  link_lost, timeout, answer_cut_short, answer_broken (ERR_UNKNOWN);
 *                       answer_too_big, answer_headers_too_big (ERR_FORMAT)
 *           either      ERR_CANCELLED, ERR_NOMEM
 *         Texts name scheme, host and port, never a path, query or header.
 * Source  RFC 9110, RFC 9112; RFC 8446 section 6.2 (alerts); libcurl's multi_socket interface
 *         (curl.se/libcurl/c/curl_multi_socket_action.html). Redirects are never followed here.
 */
#ifndef AWQ_HTTP_H
#define AWQ_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct client_cert;
struct sockaddr;
struct uv_loop_s;
struct http;         /* the engine: one per process */
struct http_request; /* one in flight */

struct http_options {
    unsigned slots;      /* requests in flight at most; http_start over it fails with ERR_RETRY */
    unsigned max_links;  /* idle + busy links kept; 0 = slots * 4 */
    const char *ca_file; /* PEM bundle; NULL = the system's bundle file */
    const char *proxy;   /* NULL or "" = none; http_proxy in the environment is never obeyed */
    const char *user_agent; /* "awq/0.1" */
    bool http2;             /* try HTTP/2 over TLS */
};

/* Asked for each address before it is dialled, and again for the address of the link, new or kept,
 * just before the request is written. False refuses: nothing is sent. Not asked when there is a
 * proxy, which does the dialling. */
typedef bool http_address_ok(void *owner, const struct sockaddr *addr, struct err *err);
/* Asked just before the request's first byte is written (also on a reused link); false = do not
 * send. NULL = nothing to ask. Token calls look at their lease here. */
typedef bool http_before_send(void *owner, struct err *err);

struct http_header {
    struct slice name, value;
};

struct http_call {
    const char *method; /* upper case, a token of RFC 9110 */
    const char *url;    /* final; already checked by egress.h */
    const struct http_header
        *headers; /* checked by the caller: no CR, LF, NUL (refused again here) */
    size_t header_count;
    /* A header that holds a secret ("Authorization"): our copy of it is wiped once it is not
     * needed. */
    struct http_header secret;
    struct http_header more; /* one beside it that is made for this request only (DPoP); or "" */
    struct slice body;       /* copied when copy_body, else must live until the callback */
    bool copy_body;
    bool has_body;              /* send a body even when it is empty (Content-Length: 0) */
    int64_t connect_timeout_ms; /* 0 = 5000 */
    int64_t total_timeout_ms;   /* 0 = 30000 */
    size_t max_header_bytes;    /* of the answer; 0 = 64 KiB */
    size_t max_body_bytes;      /* of the answer, decoded; 0 = 1 MiB. Over it: ERR_FORMAT rule
                                   "answer_too_big" */
    http_address_ok *address_ok;
    http_before_send *before_send;
    /* Open a link for this request and close it after. On a kept link the server's own closing may
     * cross our request, and then nobody knows whether it was done: what must not be repeated (a
     * token call with a rotating refresh token) does not take that risk. */
    bool fresh_link;
    bool once; /* never written twice, whatever the method: libcurl would repeat an idempotent one
                  when a reused link ended without an answer */
    /* Shown in the handshake when the server asks for one; NULL: none. Links and TLS sessions are
     * kept apart per certificate, so that none goes out under another one's. Borrowed: the request
     * holds a reference of its own. */
    struct client_cert *cert;
};

enum http_sent {
    HTTP_NOT_SENT,   /* no byte of the request left: a repeat is always safe */
    HTTP_MAYBE_SENT, /* the outcome is unknown */
    HTTP_ANSWERED,   /* a complete answer */
};

struct http_result {
    enum http_sent sent;
    struct err err;  /* set unless ANSWERED */
    int status;      /* 100-599, when ANSWERED */
    int head_status; /* 200-599 of an answer that was too big (err says so), else 0: its head had
                        come, and answered_ms says when it was given up */
    const struct http_header *headers; /* of the final answer, in order, names as sent; borrowed */
    size_t header_count;
    struct buf *body;             /* decoded (gzip, deflate); borrowed: buf_take it to keep it */
    int64_t sent_ms, answered_ms; /* wall clock; 0 when it did not come to that */
    bool new_link;                /* the request opened one */
};
typedef void http_cb(void *owner, const struct http_result *result);

struct http *http_new(struct uv_loop_s *loop, const struct http_options *o, struct err *err);
/* Cancels what is in flight: those callbacks are called inside it, with ERR_CANCELLED. May itself
 * be called from a result callback, not from address_ok or before_send. The memory goes once the
 * loop has turned. NULL is fine. */
void http_free(struct http *h);
/* owner is also handed to address_ok and before_send. NULL and *err when it cannot start. */
struct http_request *http_start(struct http *h, const struct http_call *call, http_cb *cb,
                                void *owner, struct err *err);
void http_cancel(
    struct http_request *rq); /* cb is called with ERR_CANCELLED, later; not after the callback */
unsigned http_in_flight(const struct http *h);
/* The first header of that name (case-insensitive), or the empty slice. */
struct slice http_header_get(const struct http_result *r, const char *name);
/* Retry-After: seconds or an HTTP date (RFC 9110 section 10.2.3). False: absent or nonsense. */
bool http_retry_after(struct slice value, int64_t now_ms, int64_t *wait_ms); /* a day at most */
bool http_method_is_idempotent(struct slice method); /* RFC 9110 section 9.2.2 */
bool http_is_token(struct slice s);        /* RFC 9110 section 5.6.2: a method, a header name */
bool http_is_header_value(struct slice s); /* no CR, LF, NUL or other controls but tab */

#endif

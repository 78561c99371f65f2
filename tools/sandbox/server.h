/*
 * server.h - HTTP/1.1 on a loopback port: libmicrohttpd inside a libuv loop.
 * Owns    the listening socket, every exchange from its first line to its last
 *         byte, and the wait of answers that are to come late.
 * Thread  the loop thread only; the handler never blocks and may not call back.
 * Units   bodies in bytes: over the limit is answered with 413, and what all
 *         exchanges hold together is bounded too (503).
 * Errors  ERR_DENIED for an address that is not loopback, ERR_CONFIG for a port
 *         that cannot be had, ERR_NOMEM.
 * Source  the epoll descriptor of libmicrohttpd (MHD_USE_EPOLL, MHD_DAEMON_INFO_EPOLL_FD)
 *         can itself be polled; MHD_get_timeout says when to look without an event.
 */
#ifndef AWQ_SANDBOX_SERVER_H
#define AWQ_SANDBOX_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>
#include "common/err.h"
#include "tools/sandbox/request.h"

struct server;

/* Fill in *reply. It is called once per request, when all of its body is there. */
typedef void (*server_handler)(void *owner, const struct request *request, struct reply *reply);

struct server_options {
    const char *address; /* an IPv4 or IPv6 literal that means loopback */
    uint16_t port;       /* 0: any free one */
    size_t body_max_bytes;
    server_handler handler;
    void *owner;
};

bool server_start(struct server **out, uv_loop_t *loop, const struct server_options *options,
                  struct err *err);
uint16_t server_port(const struct server *s);

/* Close every link at once; the memory goes when the loop has run the last close callback. */
void server_stop(struct server *s);
#endif

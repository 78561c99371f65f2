/*
 * redis_url.h - where a Redis is: redis://[user@]host[:port][/db], rediss://... (TLS),
 * unix:///path, or a bare /path.
 * Owns    copies of its parts, until redis_url_deinit.
 * Thread  any.
 * Errors  ERR_CONFIG. The text never repeats the address: somebody may have put a password in it,
 *         which is refused (arguments and environments are visible to others).
 * Source  RFC 3986 sections 3 and 2.1; the redis and rediss schemes as registered with IANA.
 */
#ifndef AWQ_REDIS_URL_H
#define AWQ_REDIS_URL_H

#include <stdbool.h>
#include "common/err.h"

struct redis_url {
    bool tls;
    char *path;      /* of a Unix socket; then host is NULL */
    char *host;      /* a name or an address, without brackets */
    char port[8];    /* decimal */
    char *user;      /* NULL when none is named */
    int db;          /* 0 unless named */
    char where[160]; /* for messages: "host:port" or the path */
};

bool redis_url_parse(struct redis_url *u, const char *text, struct err *err);
void redis_url_deinit(struct redis_url *u);

#endif

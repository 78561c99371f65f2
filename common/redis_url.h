/*
 * redis_url.h - where a Redis is, or who knows it.
 *
 *     redis://[user@]host[:port][/db]      rediss://... (TLS)
 *     unix:///path                         a bare /path
 *     redis+sentinel://[user@]host[:port],.../NAME[/db]
 *     rediss+sentinel://... (TLS to the Sentinels and to the primary)
 *
 * The user of a Sentinel's address is Redis', not theirs.
 *
 * Owns    copies of its parts, until redis_url_deinit.
 * Thread  any.
 * Errors  ERR_CONFIG. The text never repeats the address: somebody may have put a password in it,
 *         which is refused (arguments and environments are visible to others).
 * Source  RFC 3986 sections 3 and 2.1; the redis and rediss schemes as registered with IANA.
 *         redis+sentinel is registered nowhere; this form is the one that most clients share.
 */
#ifndef AWQ_REDIS_URL_H
#define AWQ_REDIS_URL_H

#include <stdbool.h>
#include "common/err.h"
#include "common/slice.h"

#define REDIS_SENTINELS_MAX 9

struct redis_url {
    bool tls;
    char *path;      /* of a Unix socket; then host is NULL */
    char *host;      /* a name or an address, without brackets; NULL until a Sentinel named it */
    char port[8];    /* decimal */
    char *user;      /* NULL when none is named */
    int db;          /* 0 unless named */
    char where[160]; /* for messages: "host:port", the path, or "primary NAME" */
    char *primary;   /* the name by which Sentinels know it; NULL: none are asked */
    struct redis_url *sentinels; /* only tls, host, port and where */
    size_t sentinel_count;
};

bool redis_url_parse(struct redis_url *u, const char *text, struct err *err);
/* The primary that Sentinels know is there. What they said comes from the network: it is checked.
 * On false *u is as it was. */
bool redis_url_point(struct redis_url *u, struct slice host, struct slice port, struct err *err);
void redis_url_deinit(struct redis_url *u);

#endif

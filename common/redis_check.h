/*
 * redis_check.h - what a server says of itself, and whether awq can work with it.
 * Owns    nothing.
 * Thread  any.
 * Errors  ERR_CONFIG with one line that says what is wrong and what to do; rules redis_cluster,
 *         redis_sentinel, redis_version.
 * Source  redis.io/commands/info.
 */
#ifndef AWQ_REDIS_CHECK_H
#define AWQ_REDIS_CHECK_H

#include <stdbool.h>
#include "common/redis.h"

#define REDIS_VERSION_MIN 60200 /* 6.2.0 */

/* What INFO answers over several sections, one call for each. */
struct redis_facts {
    struct redis_server server;
    bool cluster;
    bool sentinel;
};

void redis_check_read(struct redis_facts *f, struct slice info);
bool redis_check_judge(const struct redis_facts *f, const char *where, struct err *err);

#endif

/*
 * link.h - a link to Redis for a program that does one thing after the other.
 * Owns    the loop and the link; a reply that it hands out is the caller's (redis_reply_free).
 * Thread  the only one.
 * Errors  as redis.h has them; ERR_UNREACHABLE also when the server can be reached but not used
 *         (wrong password, cluster, too old ...): the message says which.
 */
#ifndef AWQ_CTL_LINK_H
#define AWQ_CTL_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include "common/config.h"
#include "common/err.h"
#include "common/redis.h"
#include "common/slice.h"

struct link;
struct link *link_open(const struct config_common *common, struct err *err); /* NULL and *err */
void link_close(struct link *l);                                             /* NULL is fine */
const struct redis_server *link_server(const struct link *l);

/* One command, run until its answer is in. NULL and *err. */
struct redis_reply *link_argv(struct link *l, size_t argc, const struct slice *argv,
                              struct err *err);
/* The same with texts: link_ask(l, &err, "GET", key). A NULL ends them early. */
struct redis_reply *link_texts(struct link *l, struct err *err, size_t count,
                               const char *const *texts);
#define link_ask(l, err, ...)                                                                      \
    link_texts((l), (err), sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *),      \
               (const char *const[]){__VA_ARGS__})
struct redis_reply *link_script(struct link *l, enum script s, size_t nkeys, size_t argc,
                                const struct slice *argv, struct err *err);
void link_sleep(struct link *l, int64_t ms);

#endif

/*
 * redis_error.h - what an error reply of Redis means and what awq says about it.
 * Owns    the table behind redis_err_class (redis.h).
 * Thread  any.
 * Errors  redis_error_fill makes them. Redis quotes arguments in its texts, and an argument may be
 *         a secret or somebody's data: for the words of the table the text is our own, and of any
 *         other only what comes before the first quote is kept.
 * Source  redis.io/docs/reference/protocol-spec (RESP errors); createSharedObjects in Redis'
 *         src/server.c.
 */
#ifndef AWQ_REDIS_ERROR_H
#define AWQ_REDIS_ERROR_H

#include <stdbool.h>
#include "common/redis.h"

/* The word that says what happened: the first one, or, where Redis 6.2 wraps what a command inside
 * a script said into "ERR Error running script ...", the one inside. */
struct slice redis_error_word(struct slice text);
/* Fill *err for an error reply; `link` and `what` (the command) name it. Returns false. */
bool redis_error_fill(struct err *err, const char *link, const char *what, struct slice text);

#endif

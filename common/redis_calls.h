/*
 * redis_calls.h - the commands of one link that wait for their answers: Redis answers in order, so
 * they stand in one queue.
 * Owns    the records, those in the queue and those kept for reuse.
 * Thread  the loop thread only.
 * Units   milliseconds on the loop's clock.
 * Errors  what redis.h promises a callback: ERR_UNREACHABLE, ERR_UNKNOWN, ERR_CANCELLED.
 */
#ifndef AWQ_REDIS_CALLS_H
#define AWQ_REDIS_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/redis.h"
#include "common/slice.h"

/* One command on its way. */
struct redis_call {
    struct redis_call *next;
    redis_cb *cb;
    void *owner;
    int64_t timeout_ms;
    uint64_t end;  /* the wire's count of bytes after this command: tells whether it was sent */
    bool internal; /* ours, not a caller's: not counted as in flight */
    bool is_script, evaled;
    enum script script;
    size_t argc;     /* of the whole EVALSHA */
    struct buf keep; /* what follows the digest, as RESP, in case Redis forgot the script */
    char what[24];   /* the command's or script's name */
};

struct redis_calls {
    struct redis_call *first, **last; /* waiting for their answers, in order */
    struct redis_call *pool;
    unsigned pooled;
    size_t in_flight;
    int64_t head_since_ms; /* since when Redis owes us the first one's answer */
};

void redis_calls_init(struct redis_calls *q);
void redis_calls_deinit(struct redis_calls *q); /* nothing may wait any more */

struct redis_call *
redis_calls_take(struct redis_calls *q); /* an empty record, or NULL: no memory */
void redis_calls_give(struct redis_calls *q, struct redis_call *c); /* one that is not queued */
void redis_call_name(struct redis_call *c, struct slice name);      /* cut where it is too long */

void redis_calls_push(struct redis_calls *q, struct redis_call *c, int64_t now_ms);
struct redis_call *redis_calls_shift(struct redis_calls *q); /* NULL: nobody waits */
/* Gives the record back and calls back. The callback may free the link, and the queue with it. */
void redis_calls_answer(struct redis_calls *q, struct redis_call *c,
                        const struct redis_reply *reply, const struct err *err);
/* The link is gone. `written`: the bytes that had left by then; `cancelled`: by redis_free. */
void redis_calls_fail(struct redis_calls *q, const char *link_name, uint64_t written,
                      bool cancelled, const char *why);

#endif

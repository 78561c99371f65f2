#include "common/redis_calls.h"

#include <stdlib.h>
#include <string.h>

#define POOL_MAX 256        /* records kept for reuse */
#define KEEP_MAX (64 << 10) /* a pooled record gives back a bigger buffer than this */

void redis_calls_init(struct redis_calls *q)
{
    *q = (struct redis_calls){0};
    q->last = &q->first;
}

struct redis_call *redis_calls_take(struct redis_calls *q)
{
    struct redis_call *c = q->pool;

    if (!c) {
        c = calloc(1, sizeof *c);
        if (c)
            buf_init(&c->keep, SIZE_MAX / 2);
        return c;
    }
    q->pool = c->next;
    q->pooled--;
    return c;
}

static void call_destroy(struct redis_call *c)
{
    buf_deinit(&c->keep);
    free(c);
}

void redis_calls_deinit(struct redis_calls *q)
{
    struct redis_call *c;

    while ((c = q->pool)) {
        q->pool = c->next;
        call_destroy(c);
    }
}

void redis_calls_give(struct redis_calls *q, struct redis_call *c)
{
    if (q->pooled >= POOL_MAX) {
        call_destroy(c);
        return;
    }
    if (c->keep.cap > KEEP_MAX)
        buf_deinit(&c->keep);
    else
        buf_clear(&c->keep);
    c->is_script = c->evaled = c->internal = false;
    c->next = q->pool;
    q->pool = c;
    q->pooled++;
}

void redis_call_name(struct redis_call *c, struct slice name)
{
    size_t n = name.len < sizeof c->what ? name.len : sizeof c->what - 1;

    if (n > 0)
        memcpy(c->what, name.ptr, n);
    c->what[n] = '\0';
}

void redis_calls_push(struct redis_calls *q, struct redis_call *c, int64_t now_ms)
{
    if (!q->first)
        q->head_since_ms = now_ms;
    c->next = NULL;
    *q->last = c;
    q->last = &c->next;
    q->in_flight += c->internal ? 0 : 1;
}

struct redis_call *redis_calls_shift(struct redis_calls *q)
{
    struct redis_call *c = q->first;

    if (!c)
        return NULL;
    q->first = c->next;
    if (!q->first)
        q->last = &q->first;
    q->in_flight -= c->internal ? 0 : 1;
    return c;
}

/* The record is given back first: the callback may start new work, or free the link. */
void redis_calls_answer(struct redis_calls *q, struct redis_call *c,
                        const struct redis_reply *reply, const struct err *err)
{
    redis_cb *cb = c->cb;
    void *owner = c->owner;

    redis_calls_give(q, c);
    cb(owner, reply, err);
}

/* One by one from the queue, for a callback may call redis_free, which then tells the rest. */
void redis_calls_fail(struct redis_calls *q, const char *link_name, uint64_t written,
                      bool cancelled, const char *why)
{
    struct redis_call *c;
    struct err err;

    while ((c = redis_calls_shift(q))) {
        if (cancelled)
            err_set(&err, ERR_CANCELLED, "redis %s: %s: the link is being closed", link_name,
                    c->what);
        else if (c->end > written)
            err_set(&err, ERR_UNREACHABLE, "redis %s: %s was not sent: %.150s", link_name, c->what,
                    why);
        else
            err_set(&err, ERR_UNKNOWN,
                    "redis %s: %s has no answer and may or may not have been done: %.120s",
                    link_name, c->what, why);
        redis_calls_answer(q, c, NULL, &err);
    }
}

/* awq-ctl queue: how much lies where. */
#include <inttypes.h>
#include <stdio.h>
#include "common/key.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/link.h"
#include "tools/ctl/queues.h"

/* One number; `otherwise` where Redis has an error for it (no group yet). */
static int64_t number(struct ctl *c, const char *command, const char *key, const char *arg,
                      int64_t otherwise)
{
    struct redis_reply *r = link_ask(c->link, NULL, command, key, arg);
    int64_t n = otherwise;

    if (redis_reply_type(r) == REDIS_ARRAY) /* XPENDING's summary begins with how many */
        n = redis_reply_int(redis_reply_at(r, 0), otherwise);
    else if (r)
        n = redis_reply_int(r, otherwise);
    redis_reply_free(r);
    return n;
}

/* When the oldest entry was put: its id begins with the time. 0 = there is none. */
static int64_t oldest_ms(struct ctl *c, const char *key)
{
    struct redis_reply *r = link_ask(c->link, NULL, "XRANGE", key, "-", "+", "COUNT", "1");
    struct slice id = redis_reply_str(redis_reply_at(redis_reply_at(r, 0), 0));
    int64_t ms = 0;

    slice_to_i64(slice_sub(id, 0, slice_find(id, '-')), &ms);
    redis_reply_free(r);
    return ms;
}

static const char *const columns[] = {"queue", "ready", "in_flight", "oldest_age_ms", "workers"};
static const char *const table_columns[] = {"queue", "ready", "in_flight", "oldest_age", "workers"};

static void row(struct ctl *c, const struct queue_seen *q, int64_t now)
{
    struct key queue, lane;
    int64_t all, pending, oldest;

    key_queue(&queue, CTL_SHARD, slice_cstr(q->name));
    key_lane(&lane, CTL_SHARD, slice_cstr(q->name));
    all = number(c, "XLEN", queue.s, NULL, 0) + number(c, "XLEN", lane.s, NULL, 0);
    pending = number(c, "XPENDING", queue.s, "w", 0) + number(c, "XPENDING", lane.s, "w", 0);
    oldest = oldest_ms(c, queue.s);
    out_row(&c->out);
    out_cstr(&c->out, q->name);
    out_int(&c->out, all > pending ? all - pending : 0);
    out_int(&c->out, pending);
    out_age(&c->out, oldest > 0 ? (now > oldest ? now - oldest : 0) : -1);
    out_int(&c->out, q->workers);
}

static void aside(struct ctl *c)
{
    struct key held, due, dead;
    int64_t in_due, in_dead, in_held;

    key_held(&held, CTL_SHARD);
    key_due(&due, CTL_SHARD);
    key_dead(&dead, CTL_SHARD);
    in_due = number(c, "ZCARD", due.s, NULL, 0);
    in_dead = number(c, "ZCARD", dead.s, NULL, 0);
    in_held = number(c, "HLEN", held.s, NULL, 0) - in_due - in_dead;
    out_note(&c->out,
             "set aside: %" PRId64 " due later, %" PRId64 " parked, %" PRId64 " dead letters",
             in_due, in_held > 0 ? in_held : 0, in_dead);
}

static int queue_ls(struct ctl *c, const struct args *a)
{
    struct queues n;
    struct err err = {0};
    struct redis_reply *r;
    int64_t now;
    int code;

    for (size_t i = 0; i < a->count; i++)
        if (!id_is_queue(slice_cstr(a->names[i])))
            return ctl_usage(c, "a queue's name is 1-64 of A-Z a-z 0-9 _ -");
    if ((code = ctl_connect(c)) || (code = ctl_now(c, &now)))
        return code;
    if ((code = queues_read(&n, c, a, now)))
        return code;
    out_list(&c->out, c->out.json ? columns : table_columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < n.count; i++)
        row(c, &n.queue[i], now);
    r = link_ask(c->link, &err, "PING"); /* numbers that could not be read are not 0 */
    if (!r)
        return ctl_fail(c, &err);
    redis_reply_free(r);
    out_list_end(&c->out, "no queues");
    if (!c->out.json)
        aside(c);
    if (n.more)
        out_note(&c->out, "There may be more queues that no worker works on: only some of the keys "
                          "were looked at. Name one to see it: queue ls NAME");
    return CTL_OK;
}

const struct verb queue_verbs[] = {
    {.noun = "queue",
     .name = "ls",
     .usage = "[NAME..]",
     .most = QUEUES_MAX,
     .help =
         "List queues: ready, in flight, age of the oldest, who works on it; and what is set aside",
     .run = queue_ls},
    {.name = NULL},
};

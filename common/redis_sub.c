#include "common/redis_inside.h"

#include <stdlib.h>
#include <string.h>

static void on_subscribed(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (err && r->phase == LINK_UP)
        redis_greet_failed(r, err);
}

static bool send_subscribe(struct redis *r, const struct redis_sub *s)
{
    const char *const words[] = {"SUBSCRIBE", s->channel, NULL};

    return redis_ask(r, words, on_subscribed);
}

bool redis_sub_send_all(struct redis *r)
{
    for (const struct redis_sub *s = r->subs; s; s = s->next)
        if (!send_subscribe(r, s))
            return false;
    return true;
}

bool redis_subscribe(struct redis *r, const char *channel,
                     void (*on_message)(void *owner, struct slice channel, struct slice message),
                     void *owner, struct err *err)
{
    struct redis_sub *s = calloc(1, sizeof *s), **end = &r->subs;

    if (s)
        s->channel = strdup(channel);
    if (!s || !s->channel) {
        free(s);
        return err_set(err, ERR_NOMEM, "redis %s: no memory to subscribe", r->name);
    }
    s->on_message = on_message;
    s->owner = owner;
    while (*end)
        end = &(*end)->next;
    *end = s;
    if (redis_is_up(r))
        send_subscribe(r, s);
    return true;
}

/* RESP2 sends a message as an array of its own accord; only a link with subscriptions gets any. */
bool redis_sub_message(struct redis *r, const struct redis_reply *reply)
{
    struct slice channel;

    if (!r->subs || redis_reply_len(reply) != 3 ||
        !slice_is(redis_reply_str(redis_reply_at(reply, 0)), "message"))
        return false;
    channel = redis_reply_str(redis_reply_at(reply, 1));
    for (struct redis_sub *s = r->subs; s; s = s->next) {
        if (!slice_is(channel, s->channel))
            continue;
        s->on_message(s->owner, channel, redis_reply_str(redis_reply_at(reply, 2)));
        break;
    }
    return true;
}

void redis_sub_free_all(struct redis *r)
{
    struct redis_sub *s;

    while ((s = r->subs)) {
        r->subs = s->next;
        free(s->channel);
        free(s);
    }
}

#include "worker/producers.h"

#include <stdlib.h>
#include "common/clock.h"
#include "common/key.h"
#include "common/log.h"
#include "worker/meters.h"
#include "worker/step.h"
#include "worker/worker.h"

#define TRUST_MS 30000

struct producers {
    struct worker *w;
    struct producer **all;
    size_t count;
    int64_t read_boot_ms; /* when what we have was asked for; 0 = never */
    int64_t asked_boot_ms;
    bool asking;
};

struct producers *producers_new(struct worker *w)
{
    struct producers *p = calloc(1, sizeof *p);

    if (p)
        p->w = w;
    return p;
}

static void drop_all(struct producers *p)
{
    for (size_t i = 0; i < p->count; i++)
        producer_free(p->all[i]);
    free(p->all);
    p->all = NULL;
    p->count = 0;
}

void producers_free(struct producers *p)
{
    if (!p)
        return;
    drop_all(p);
    free(p);
}

/* False when memory was short: then nobody is taken for unknown, they are read again. */
static bool take(struct producers *p, const struct redis_reply *reply)
{
    size_t n = redis_reply_len(reply) / 2;
    bool ok;

    drop_all(p);
    ok = (p->all = calloc(n ? n : 1, sizeof *p->all)) != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        struct err err = {0};
        struct producer *one =
            producer_open(p->w->keys, slice_cstr(p->w->set->common.prefix),
                          redis_reply_str(redis_reply_at(reply, 2 * i)),
                          redis_reply_str(redis_reply_at(reply, 2 * i + 1)), &err);

        if (one)
            p->all[p->count++] = one;
        else if (err.code == ERR_NOMEM)
            ok = false;
        else
            log_event(LOG_ERROR, EV_PRODUCER_BROKEN, F_ERR(&err));
    }
    return ok;
}

static void on_read(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct producers *p = owner;

    p->asking = false;
    if (err) { /* asked again by whoever needs one when the link is back */
        if (err->code != ERR_CANCELLED)
            meter_redis_error(err);
        return;
    }
    if (take(p, reply) && p->asked_boot_ms > 0)
        p->read_boot_ms = p->asked_boot_ms;
    steps_resume(p->w->steps);
}

static void ask(struct producers *p)
{
    struct key key;
    struct err err = {0};

    if (p->asking)
        return;
    key_producers(&key);
    const struct slice argv[] = {SLICE_LIT("HGETALL"), key_slice(&key)};

    p->asked_boot_ms = clock_boot_ms();
    p->asking = redis_command(p->w->link, ARRAY_LEN(argv), argv, 0, on_read, p, &err);
}

bool producers_find(struct producers *p, struct slice name, const struct producer **out)
{
    *out = NULL;
    if (p->read_boot_ms == 0 || clock_boot_ms() - p->read_boot_ms > TRUST_MS) {
        ask(p);
        return false;
    }
    for (size_t i = 0; i < p->count && !*out; i++)
        if (slice_is(name, p->all[i]->name))
            *out = p->all[i];
    return true;
}

/* An answer under way may be older than the change. */
void producers_forget(struct producers *p)
{
    p->read_boot_ms = p->asked_boot_ms = 0;
}

const struct producer *producers_next_inbox(const struct producers *p, size_t *at)
{
    while (*at < p->count) {
        const struct producer *one = p->all[(*at)++];

        if (one->inbox)
            return one;
    }
    *at = 0;
    return NULL;
}

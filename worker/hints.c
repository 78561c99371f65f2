#include "worker/hints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/changes.h"
#include "worker/fair.h"
#include "worker/housekeeping.h"
#include "worker/intake.h"
#include "worker/liveness.h"
#include "worker/renew.h"
#include "worker/token.h"
#include "worker/worker.h"

struct hints {
    struct worker *w;
    struct redis *link;
};

static void on_changed(void *owner, struct slice channel, struct slice id)
{
    struct hints *h = owner;

    (void)channel;
    if (slice_is(id, "*")) { /* no connection: an operator's change, see changes.h */
        changes_look(h->w->changes);
        return;
    }
    if (slice_is(id, "?")) { /* nor is this: a worker that never renews asked for a token */
        renewals_take_asked(h->w);
        return;
    }
    tokens_forget(h->w->tokens, id);
    if (liveness_is_boss(h->w->liveness)) /* somebody may have asked for a renewal */
        renewals_take_asked(h->w);
}

/* The lane of this queue has jobs. */
static void use_lane(struct worker *w, struct slice queue)
{
    for (size_t q = 0; q < w->queue_count; q++) {
        if (slice_is(queue, w->queues[q].name))
            w->queues[w->queue_count + q].used_boot_ms = clock_boot_ms();
    }
}

static void on_wake(void *owner, struct slice channel, struct slice text)
{
    struct hints *h = owner;
    int64_t at_ms;

    (void)channel;
    if (slice_to_i64(text, &at_ms))
        house_hint(h->w->house, at_ms);
    else if (slice_starts(text, SLICE_LIT("fair:")))
        fair_hint(h->w->fair, slice_sub(text, strlen("fair:"), text.len));
    else if (slice_starts(text, SLICE_LIT("turn:")))
        use_lane(h->w, slice_sub(text, strlen("turn:"), text.len));
}

static void on_said(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* said again while it is so */
}

void hints_say_backlog(struct hints *h, const char *queue)
{
    char text[ID_MAX + 8];
    struct key wake;
    struct err err = {0};

    key_wake(&wake);
    snprintf(text, sizeof text, "fair:%s", queue);
    const struct slice argv[] = {SLICE_LIT("PUBLISH"), key_slice(&wake), slice_cstr(text)};

    (void)redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_said, h, &err);
}

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct hints *h = owner;

    (void)why;
    if (state == REDIS_UP) {
        tokens_forget_all(h->w->tokens); /* what was said meanwhile we did not hear */
        intake_look_at_lanes(h->w->intake);
    }
}

struct hints *hints_new(struct worker *w, struct err *err)
{
    struct hints *h = calloc(1, sizeof *h);
    struct redis_options o = worker_redis_options(w, "hints");
    struct key changed, wake;

    if (!h) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    h->w = w;
    key_changed(&changed);
    key_wake(&wake);
    h->link = redis_new(w->loop, &o, on_state, h, err);
    if (!h->link || !redis_subscribe(h->link, changed.s, on_changed, h, err) ||
        !redis_subscribe(h->link, wake.s, on_wake, h, err)) {
        hints_free(h);
        return NULL;
    }
    return h;
}

void hints_free(struct hints *h)
{
    if (!h)
        return;
    redis_free(h->link);
    free(h);
}

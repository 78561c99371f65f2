#include "worker/hints.h"

#include <stdlib.h>

#include "common/log.h"
#include "worker/changes.h"
#include "worker/housekeeping.h"
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

static void on_wake(void *owner, struct slice channel, struct slice at)
{
    struct hints *h = owner;
    int64_t at_ms;

    (void)channel;
    if (slice_to_i64(at, &at_ms))
        house_hint(h->w->house, at_ms);
}

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct hints *h = owner;

    (void)why;
    if (state == REDIS_UP)
        tokens_forget_all(h->w->tokens); /* what was said meanwhile we did not hear */
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

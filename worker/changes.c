#include "worker/changes.h"

#include <stdlib.h>

#include "common/clock.h"
#include "worker/liveness.h"
#include "worker/producers.h"
#include "worker/token.h"
#include "worker/worker.h"

#define SURE_MS 700 /* and a call that was let begin leaves well within the second */
#define LOOK_MS 250 /* while calls go out, looks follow each other at this distance */

struct changes {
    struct worker *w;
    int64_t rev;
    int64_t asked_ms;   /* when the look on its way was sent */
    int64_t checked_ms; /* when the last one that was answered was sent */
    bool asking, again;
};

static void on_rev(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct changes *c = owner;
    int64_t rev = redis_reply_int(reply, 0); /* none yet: 0 */

    c->asking = false;
    if (err)
        return;
    c->checked_ms = c->asked_ms;
    if (rev != c->rev) {
        c->rev = rev;
        tokens_forget_all(c->w->tokens);
        producers_forget(c->w->producers);
        liveness_beat(c->w->liveness); /* who made the change waits to hear that we know */
    }
    if (c->again)
        changes_look(c);
}

void changes_look(struct changes *c)
{
    struct key meta;
    struct err err = {0};

    c->again = c->asking; /* the one on its way may have missed what this one is to see */
    if (c->asking)
        return;
    key_meta(&meta);
    const struct slice argv[] = {SLICE_LIT("HGET"), key_slice(&meta), SLICE_LIT("rev")};

    c->asked_ms = clock_boot_ms();
    c->asking = redis_command(c->w->link, ARRAY_LEN(argv), argv, 0, on_rev, c, &err);
}

bool changes_sure(struct changes *c, int64_t read_boot_ms)
{
    int64_t now = clock_boot_ms();
    int64_t last = c->checked_ms > read_boot_ms ? c->checked_ms : read_boot_ms;

    if (!redis_is_up(c->w->link))
        return true;
    if (!c->asking && now - c->checked_ms >= LOOK_MS)
        changes_look(c);
    return now - last < SURE_MS;
}

int64_t changes_rev(const struct changes *c)
{
    return c->rev;
}

struct changes *changes_new(struct worker *w)
{
    struct changes *c = calloc(1, sizeof *c);

    if (c)
        *c = (struct changes){.w = w, .rev = -1};
    return c;
}

void changes_free(struct changes *c)
{
    free(c);
}

#include "worker/housekeeping.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/house_parts.h"
#include "worker/liveness.h"
#include "worker/meters.h"
#include "worker/renew.h"

#define ASK_MS 10000 /* how often renewals that were asked for are looked for */

static void look(struct house *h);

static void on_timer(uv_timer_t *t)
{
    look(t->data);
}

void house_sleep(struct house *h, int64_t ms)
{
    h->errand = ERRAND_NONE;
    if (ms < 1)
        ms = 1;
    uv_timer_start(&h->timer, on_timer, (uint64_t)(ms < HOUSE_LOOK_MS ? ms : HOUSE_LOOK_MS), 0);
}

/* Errors of an errand: sleep, look again. */
bool house_failed(struct house *h, const struct err *err)
{
    if (!err)
        return false;
    if (err->code != ERR_CANCELLED) {
        meter_redis_error(err);
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "housekeeping"), F_ERR(err));
        house_sleep(h, HOUSE_LOOK_MS);
    }
    return true;
}

void house_end_round(struct house *h)
{
    bool stuck = !h->moved && (h->again || h->next_ms <= h->agenda_ms);

    /* what was due when we looked and could not be moved would only be looked at without pause */
    house_sleep(h, stuck ? HOUSE_LOOK_MS : h->again ? 0 : h->next_ms - worker_now_ms(h->w));
}

/* ---- the agenda ---- */

static void on_due(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    if (house_failed(h, err))
        return;
    house_count_promoted(h, reply);
    house_next_lot(h);
}

static void read_queues(struct house *h, const struct redis_reply *queues)
{
    h->queue_count = 0;
    for (size_t i = 0; i < redis_reply_len(queues) && h->queue_count < HOUSE_QUEUES_MAX; i++) {
        struct slice name = redis_reply_str(redis_reply_at(queues, i));

        if (id_is_queue(name) && slice_copy(name, h->queues[h->queue_count], ID_MAX + 1))
            h->queue_count++;
    }
}

size_t house_streams(const struct house *h)
{
    return 2 * h->queue_count;
}

const char *house_stream_name(const struct house *h, size_t i)
{
    return h->queues[i % h->queue_count];
}

void house_stream_key(const struct house *h, size_t i, struct key *key)
{
    if (i < h->queue_count)
        key_queue(key, SHARD, slice_cstr(h->queues[i]));
    else
        key_lane(key, SHARD, slice_cstr(h->queues[i - h->queue_count]));
}

static void on_agenda(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    const struct redis_reply *due = redis_reply_at(reply, 3);
    int64_t now = redis_reply_int(redis_reply_at(reply, 0), 0);
    int64_t next_due = redis_reply_int(redis_reply_at(reply, 1), now + HOUSE_LOOK_MS);
    int64_t next_lot_ms = redis_reply_int(redis_reply_at(reply, 2), now + HOUSE_LOOK_MS);
    struct promotion p;
    struct err why = {0};

    if (house_failed(h, err))
        return;
    h->agenda_ms = now;
    h->next_ms = next_due < next_lot_ms ? next_due : next_lot_ms;
    h->again = redis_reply_len(due) >= 2 * (size_t)HOUSE_BATCH;
    house_read_lots(h, redis_reply_at(reply, 4));
    house_read_gone(h, redis_reply_at(reply, 5));
    read_queues(h, redis_reply_at(reply, 6));
    if (redis_reply_len(due) == 0) {
        house_next_lot(h);
        return;
    }
    h->errand = ERRAND_DUE;
    key_due(&p.set, SHARD);
    key_held(&p.held, SHARD);
    if (!house_promote(h, &p, due, 0, on_due, &why))
        house_failed(h, &why);
}

static void look(struct house *h)
{
    struct key due, lots, workers, held, queues;
    struct err err = {0};

    if (h->errand != ERRAND_NONE)
        return;
    if (!liveness_is_boss(h->w->liveness) || h->w->phase != PHASE_RUNNING)
        return; /* house_tick begins again when we are elected */
    key_due(&due, SHARD);
    key_lots(&lots, SHARD);
    key_workers(&workers, SHARD);
    key_held(&held, SHARD);
    key_queues(&queues, SHARD);
    const struct slice argv[] = {key_slice(&due),  key_slice(&lots),   key_slice(&workers),
                                 key_slice(&held), key_slice(&queues), SLICE_LIT("50")};

    if (clock_boot_ms() >= h->ask_at_ms) {
        h->ask_at_ms = clock_boot_ms() + ASK_MS;
        renewals_take_asked(h->w);
    }
    uv_timer_stop(&h->timer);
    h->errand = ERRAND_AGENDA;
    h->moved = false;
    if (!redis_script(h->w->link, SCRIPT_agenda, 5, ARRAY_LEN(argv), argv, on_agenda, h, &err))
        house_failed(h, &err);
}

/* ---- the whole ---- */

void house_tick(struct house *h)
{
    if (h->errand == ERRAND_NONE && !uv_is_active((uv_handle_t *)&h->timer))
        look(h);
}

void house_hint(struct house *h, int64_t at_ms)
{
    int64_t wait = at_ms - worker_now_ms(h->w);

    if (h->errand != ERRAND_NONE) {
        h->next_ms = at_ms < h->next_ms ? at_ms : h->next_ms;
        h->moved = true;
        return;
    }
    if (liveness_is_boss(h->w->liveness) &&
        (!uv_is_active((uv_handle_t *)&h->timer) || wait < (int64_t)uv_timer_get_due_in(&h->timer)))
        house_sleep(h, wait);
}

struct house *house_new(struct worker *w)
{
    struct house *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->w = w;
    uv_timer_init(w->loop, &h->timer);
    h->timer.data = h;
    return h;
}

static void on_closed(uv_handle_t *t)
{
    free(t->data);
}

void house_free(struct house *h)
{
    if (h)
        uv_close((uv_handle_t *)&h->timer, on_closed);
}

#include "worker/house_parts.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/liveness.h"
#include "worker/meters.h"

#define STRAY_MS 30000       /* how often consumers that have no line at all are looked for */
#define RARELY   7           /* odd: the streams are looked at in turn */
#define SKIPPED  "(skipped)" /* no worker's id: who holds what nobody held */

static void next_stray(struct house *h);

static void on_swept(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* found again at the next look */
}

static void forget(struct house *h, struct slice worker)
{
    struct key workers, numbers;
    struct err err = {0};

    key_workers(&workers, SHARD);
    key_worker_numbers(&numbers, SHARD);
    const struct slice argv[] = {key_slice(&workers), key_slice(&numbers), worker};

    (void)redis_script(h->w->link, SCRIPT_sweep, 2, ARRAY_LEN(argv), argv, on_swept, h, &err);
}

void house_read_gone(struct house *h, const struct redis_reply *gone)
{
    h->gone_count = h->gone_at = h->queue_at = 0;
    for (size_t i = 0; i < redis_reply_len(gone) && h->gone_count < ARRAY_LEN(h->gone); i++) {
        struct slice id = redis_reply_str(redis_reply_at(gone, i));

        if (id.len >= WORKER_ID_MAX || slice_find(id, '\0') < id.len) { /* no worker's */
            house_log_junk(h, "workers", id);
            forget(h, id);
        } else if (!slice_is(id, h->w->id) &&
                   slice_copy(id, h->gone[h->gone_count], WORKER_ID_MAX)) {
            h->gone_count++;
        }
    }
}

/* One look at one queue of one gone worker is over: the same again while entries are left there. */
static void on_reclaim(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    int64_t moved = redis_reply_int(redis_reply_at(reply, 0), 0);
    int64_t deleted = redis_reply_int(redis_reply_at(reply, 2), 0);
    const char *who = h->gone[h->gone_at];

    if (err && err->code == ERR_FORMAT) /* a key of a wrong type: the other queues go on */
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "housekeeping"),
                  F_CSTR("queue", house_stream_name(h, h->queue_at)), F_ERR(err));
    else if ((!err || err->code != ERR_NOT_FOUND) &&
             house_failed(h, err)) /* no group: nothing there */
        return;
    if (moved > 0) {
        h->moved = true;
        log_event(LOG_WARN, EV_HOUSE_RECLAIMED, F_CSTR("gone", who),
                  F_CSTR("queue", house_stream_name(h, h->queue_at)), F_INT("jobs", moved));
        meter_reclaimed((uint64_t)moved);
    }
    if (moved <= 0 || deleted > 0)
        h->queue_at++;
    if (moved < 0) /* it lives again */
        h->queue_at = house_streams(h);
    house_next_gone(h);
}

/* Nobody is called gone before our own link has been up for a whole lease: after an outage of Redis
 * everybody looks dead for a moment. */
void house_next_gone(struct house *h)
{
    struct key workers, queue;
    struct err err = {0};

    h->errand = ERRAND_RECLAIM;
    if (liveness_link_up_ms(h->w->liveness) < h->w->set->lease_ms) {
        house_end_round(h);
        return;
    }
    if (h->gone_at < h->gone_count && h->queue_at >= house_streams(h)) {
        forget(h, slice_cstr(h->gone[h->gone_at]));
        h->moved = true;
        h->queue_at = 0;
        h->gone_at++;
    }
    if (h->gone_at >= h->gone_count) {
        h->again = h->again || h->gone_count == ARRAY_LEN(h->gone); /* there may be more of them */
        next_stray(h);
        return;
    }
    key_workers(&workers, SHARD);
    house_stream_key(h, h->queue_at, &queue);
    const struct slice argv[] = {key_slice(&queue), key_slice(&workers),
                                 slice_cstr(h->gone[h->gone_at]), SLICE_LIT("50"), SLICE_LIT("0")};

    if (!redis_script(h->w->link, SCRIPT_reclaim, 2, ARRAY_LEN(argv), argv, on_reclaim, h, &err))
        house_failed(h, &err);
}

/* ---- strays: consumers without a line in `workers` (their worker was stopped and let go on, or
 * its line was lost), entries that a living worker has held for longer than any step may take, and
 * entries that the group has passed by ---- */

static void on_stray_entry(void *owner, const struct redis_reply *reply, const struct err *err)
{
    const struct house *h = owner;

    if (err && err->code == ERR_FORMAT) /* other errors come again in the round, and end it */
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "strays"),
                  F_CSTR("queue", house_stream_name(h, h->stray_queue)), F_ERR(err));
    if (!err && redis_reply_int(redis_reply_at(reply, 0), 0) > 0) {
        log_event(LOG_WARN, EV_HOUSE_RECLAIMED,
                  F_CSTR("why", "held by nobody who lives, or for too long"),
                  F_INT("jobs", redis_reply_int(redis_reply_at(reply, 0), 0)));
        meter_reclaimed((uint64_t)redis_reply_int(redis_reply_at(reply, 0), 0));
    }
}

static void reclaim_stray(struct house *h, struct slice consumer, const char *idle_ms)
{
    struct key workers, queue;
    struct err err = {0};

    key_workers(&workers, SHARD);
    house_stream_key(h, h->stray_queue, &queue);
    const struct slice argv[] = {key_slice(&queue), key_slice(&workers), consumer, SLICE_LIT("50"),
                                 slice_cstr(idle_ms)};

    (void)redis_script(h->w->link, SCRIPT_reclaim, 2, ARRAY_LEN(argv), argv, on_stray_entry, h,
                       &err);
}

/* XINFO CONSUMERS: [[name, N, pending, P, idle, MS] ...] (redis.io) */
static void on_consumers(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    int64_t longest = h->w->set->step_max_ms * 2 + h->w->set->lease_ms;
    char idle_ms[24];
    size_t done = 0;

    if (err && err->code == ERR_FORMAT)
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "housekeeping"),
                  F_CSTR("queue", house_stream_name(h, h->stray_queue)), F_ERR(err));
    else if ((!err || err->code != ERR_NOT_FOUND) && house_failed(h, err))
        return;
    snprintf(idle_ms, sizeof idle_ms, "%" PRId64, longest);
    for (size_t i = 0; i < redis_reply_len(reply) && done < HOUSE_BATCH; i++) {
        const struct redis_reply *c = redis_reply_at(reply, i);
        struct slice name = redis_reply_str(redis_reply_field(c, "name"));
        int64_t pending = redis_reply_int(redis_reply_field(c, "pending"), 0);

        if (redis_reply_int(redis_reply_field(c, "idle"), 0) > h->w->set->lease_ms * 2) {
            if (!slice_is(name, h->w->id))
                reclaim_stray(h, name, "0"); /* the script looks whether it lives */
            done++;
        }
        if (pending > 0) {
            reclaim_stray(h, name, idle_ms);
            done++;
        }
    }
    h->stray_queue += !h->stray_stays;
    house_end_round(h);
}

static void ask_consumers(struct house *h)
{
    struct key queue;
    struct err err = {0};

    house_stream_key(h, h->stray_queue, &queue);
    const struct slice argv[] = {SLICE_LIT("XINFO"), SLICE_LIT("CONSUMERS"), key_slice(&queue),
                                 SLICE_LIT("w")};

    if (!redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_consumers, h, &err))
        house_failed(h, &err);
}

static void on_skipped(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    /* A key of a wrong type or no group: XINFO says so as well. */
    if (err && err->code != ERR_FORMAT && err->code != ERR_NOT_FOUND && house_failed(h, err))
        return;
    if (redis_reply_int(reply, 0) > 0) {
        log_event(LOG_WARN, EV_HOUSE_SKIPPED, F_CSTR("queue", house_stream_name(h, h->stray_queue)),
                  F_INT("jobs", redis_reply_int(reply, 0)));
        reclaim_stray(h, SLICE_LIT(SKIPPED), "0");
        h->again = h->moved = true; /* the same again while there are some */
        h->stray_at_ms = 0;
        h->stray_stays = true;
    }
    ask_consumers(h);
}

/* A hand made them, if there are any: each stream is looked at once when this worker begins, and
 * seldom after. */
static bool may_be_skipped(const struct house *h)
{
    return h->stray_stays || h->stray_looks < house_streams(h) || h->stray_looks % RARELY == 0;
}

static void next_stray(struct house *h)
{
    struct key queue;
    struct err err = {0};
    bool looks;

    if (h->queue_count == 0 || clock_boot_ms() < h->stray_at_ms) {
        house_end_round(h);
        return;
    }
    h->errand = ERRAND_STRAYS;
    h->stray_at_ms = clock_boot_ms() + STRAY_MS / (int64_t)h->queue_count;
    h->stray_queue %= house_streams(h);
    house_look_for_old_dead(h);
    house_look_for_adrift(h);
    looks = may_be_skipped(h);
    h->stray_looks++;
    h->stray_stays = false;
    if (!looks) {
        ask_consumers(h);
        return;
    }
    house_stream_key(h, h->stray_queue, &queue);
    const struct slice argv[] = {key_slice(&queue), SLICE_LIT(SKIPPED)};

    if (!redis_script(h->w->link, SCRIPT_skipped, 1, ARRAY_LEN(argv), argv, on_skipped, h, &err))
        house_failed(h, &err);
}

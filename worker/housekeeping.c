#include "worker/housekeeping.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/liveness.h"
#include "worker/meters.h"
#include "worker/renew.h"
#include "worker/token.h"
#include "worker/worker.h"

#define LOOK_MS      1600 /* the longest sleep; hints make it shorter, correctness never needs them */
#define BATCH        50
#define LANE_BATCH   10 /* a lane that opens again is filled by and by */
#define LANE_PACE_MS 100
#define CONSENT_MS   30000 /* a lot whose account needs its owner is looked at so often */
#define STRAY_MS     30000 /* how often consumers that have no line at all are looked for */
#define ASK_MS       10000 /* how often renewals that were asked for are looked for */
#define QUEUES_MAX   1024

enum errand { ERRAND_NONE, ERRAND_AGENDA, ERRAND_DUE, ERRAND_LOT, ERRAND_RECLAIM, ERRAND_STRAYS };

struct lot {
    char resource[ID_MAX + 8];
    char score[32]; /* as it was when we looked */
};

struct house {
    struct worker *w;
    uv_timer_t timer;
    enum errand errand;
    int64_t stray_at_ms; /* boot clock */
    size_t stray_queue;
    int64_t ask_at_ms; /* boot clock */
    int64_t next_ms;   /* of the agenda: when to look again */
    struct lot lots[20];
    size_t lot_count, lot_at;
    char gone[5][WORKER_ID_MAX];
    size_t gone_count, gone_at, queue_at;
    char queues[QUEUES_MAX][ID_MAX + 1]; /* all that any worker works on */
    size_t queue_count;
    bool again;     /* a full batch was moved: look again at once */
    bool drain_lot; /* the lot's jobs may go on */
    int64_t lot_next_ms;
};

static void look(struct house *h);
static void next_lot(struct house *h);
static void next_gone(struct house *h);
static void next_stray(struct house *h);

static void on_timer(uv_timer_t *t)
{
    look(t->data);
}

static void sleep_for(struct house *h, int64_t ms)
{
    h->errand = ERRAND_NONE;
    if (ms < 1)
        ms = 1;
    uv_timer_start(&h->timer, on_timer, (uint64_t)(ms < LOOK_MS ? ms : LOOK_MS), 0);
}

/* Errors of an errand: sleep, look again. */
static bool failed(struct house *h, const struct err *err)
{
    if (!err)
        return false;
    if (err->code != ERR_CANCELLED) {
        meter_redis_error(err);
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "housekeeping"), F_ERR(err));
        sleep_for(h, LOOK_MS);
    }
    return true;
}

/* ---- moving jobs back to their queues: promote, with all keys declared ---- */

struct promotion { /* arguments of one promote */
    struct slice argv[2 + 3 * BATCH];
    struct key set, held;
    struct key queue[BATCH], run[BATCH];
    size_t count;
};

static bool promotion_add(struct promotion *p, struct slice name, struct slice queue)
{
    struct job_name parts;

    if (p->count == BATCH || !job_name_parse(name, &parts))
        return false;
    key_queue(&p->queue[p->count], SHARD, queue.len > 0 ? queue : SLICE_LIT("default"));
    key_run(&p->run[p->count], SHARD, parts.run);
    p->argv[2 + 2 * BATCH + p->count] = name;
    p->count++;
    return true;
}

/* names: name, queue, name, queue ... as agenda and peek answer them */
static bool promote(struct house *h, struct promotion *p, const struct redis_reply *names,
                    size_t from, redis_cb *cb, struct err *err)
{
    struct slice argv[2 + 3 * BATCH];
    size_t n = 0;

    p->count = 0;
    for (size_t i = from; i + 1 < redis_reply_len(names); i += 2)
        promotion_add(p, redis_reply_str(redis_reply_at(names, i)),
                      redis_reply_str(redis_reply_at(names, i + 1)));
    argv[n++] = key_slice(&p->set);
    argv[n++] = key_slice(&p->held);
    for (size_t i = 0; i < p->count; i++) {
        argv[n++] = key_slice(&p->queue[i]);
        argv[n++] = key_slice(&p->run[i]);
    }
    for (size_t i = 0; i < p->count; i++)
        argv[n++] = p->argv[2 + 2 * BATCH + i];
    return redis_script(h->w->link, SCRIPT_promote, 2 + 2 * p->count, n, argv, cb, h, err);
}

static void count_promoted(const struct redis_reply *reply)
{
    int64_t moved = redis_reply_int(redis_reply_at(reply, 0), 0);

    if (moved > 0)
        log_event(LOG_DEBUG, EV_HOUSE_PROMOTED, F_INT("jobs", moved));
}

/* ---- the agenda ---- */

static void on_due(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    if (failed(h, err))
        return;
    count_promoted(reply);
    next_lot(h);
}

static void read_lots(struct house *h, const struct redis_reply *lots)
{
    h->lot_count = h->lot_at = 0;
    for (size_t i = 0; i + 1 < redis_reply_len(lots) && h->lot_count < ARRAY_LEN(h->lots); i += 2) {
        struct lot *l = &h->lots[h->lot_count];

        if (slice_copy(redis_reply_str(redis_reply_at(lots, i)), l->resource, sizeof l->resource) &&
            slice_copy(redis_reply_str(redis_reply_at(lots, i + 1)), l->score, sizeof l->score))
            h->lot_count++;
    }
}

static void read_gone(struct house *h, const struct redis_reply *gone)
{
    h->gone_count = h->gone_at = h->queue_at = 0;
    for (size_t i = 0; i < redis_reply_len(gone) && h->gone_count < ARRAY_LEN(h->gone); i++) {
        struct slice id = redis_reply_str(redis_reply_at(gone, i));

        if (!slice_is(id, h->w->id) && slice_copy(id, h->gone[h->gone_count], WORKER_ID_MAX))
            h->gone_count++;
    }
}

static void read_queues(struct house *h, const struct redis_reply *queues)
{
    h->queue_count = 0;
    for (size_t i = 0; i < redis_reply_len(queues) && h->queue_count < QUEUES_MAX; i++) {
        struct slice name = redis_reply_str(redis_reply_at(queues, i));

        if (id_is_queue(name) && slice_copy(name, h->queues[h->queue_count], ID_MAX + 1))
            h->queue_count++;
    }
}

static void on_agenda(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    const struct redis_reply *due = redis_reply_at(reply, 3);
    int64_t now = redis_reply_int(redis_reply_at(reply, 0), 0);
    int64_t next_due = redis_reply_int(redis_reply_at(reply, 1), now + LOOK_MS);
    int64_t next_lot_ms = redis_reply_int(redis_reply_at(reply, 2), now + LOOK_MS);
    struct promotion p;
    struct err why = {0};

    if (failed(h, err))
        return;
    h->next_ms = next_due < next_lot_ms ? next_due : next_lot_ms;
    h->again = redis_reply_len(due) >= 2 * (size_t)BATCH;
    read_lots(h, redis_reply_at(reply, 4));
    read_gone(h, redis_reply_at(reply, 5));
    read_queues(h, redis_reply_at(reply, 6));
    if (redis_reply_len(due) == 0) {
        next_lot(h);
        return;
    }
    h->errand = ERRAND_DUE;
    key_due(&p.set, SHARD);
    key_held(&p.held, SHARD);
    if (!promote(h, &p, due, 0, on_due, &why))
        failed(h, &why);
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
    if (!redis_script(h->w->link, SCRIPT_agenda, 5, ARRAY_LEN(argv), argv, on_agenda, h, &err))
        failed(h, &err);
}

/* ---- lots: who may go on? ---- */

static void on_lot(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    (void)reply;
    if (failed(h, err))
        return;
    h->lot_at++;
    next_lot(h);
}

/* The lot was looked at: forget it when it is empty, else say when to look again. */
static void close_lot(struct house *h)
{
    const struct lot *l = &h->lots[h->lot_at];
    struct key lots, park;
    char next[24];
    struct err err = {0};

    key_lots(&lots, SHARD);
    key_park(&park, SHARD, slice_cstr(l->resource));
    snprintf(next, sizeof next, "%" PRId64, h->lot_next_ms);
    const struct slice argv[] = {key_slice(&lots), key_slice(&park), slice_cstr(l->resource),
                                 slice_cstr(next), slice_cstr(l->score)};

    if (h->lot_next_ms < h->next_ms)
        h->next_ms = h->lot_next_ms;
    if (!redis_script(h->w->link, SCRIPT_lot, 2, ARRAY_LEN(argv), argv, on_lot, h, &err))
        failed(h, &err);
}

static void on_lot_promoted(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    if (failed(h, err))
        return;
    count_promoted(reply);
    close_lot(h);
}

static void on_peek(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    const struct lot *l = &h->lots[h->lot_at];
    size_t jobs = redis_reply_len(reply) > 2 ? (redis_reply_len(reply) - 2) / 2 : 0;
    int64_t left = redis_reply_int(redis_reply_at(reply, 1), INT64_MAX);
    struct promotion p;
    struct err why = {0};

    if (failed(h, err))
        return;
    /* full speed while there are more; a deadline among those that stay is a reason to look earlier
     */
    if (h->drain_lot && left != INT64_MAX) {
        bool lane = strncmp(l->resource, "lane:", 5) == 0;

        h->lot_next_ms = worker_now_ms(h->w) + (lane ? LANE_PACE_MS : 0);
    } else if (left < h->lot_next_ms) {
        h->lot_next_ms = left;
    }
    if (jobs == 0) {
        close_lot(h);
        return;
    }
    key_park(&p.set, SHARD, slice_cstr(l->resource));
    key_held(&p.held, SHARD);
    if (!promote(h, &p, reply, 2, on_lot_promoted, &why))
        failed(h, &why);
}

/* Move what may go on: all, or only those whose deadline has come. */
static void peek_lot(struct house *h, size_t limit)
{
    struct key park, held;
    char limit_text[16];
    struct err err = {0};

    key_park(&park, SHARD, slice_cstr(h->lots[h->lot_at].resource));
    key_held(&held, SHARD);
    snprintf(limit_text, sizeof limit_text, "%zu", limit);
    const struct slice argv[] = {key_slice(&park), key_slice(&held),
                                 h->drain_lot ? SLICE_LIT("+inf") : SLICE_LIT("now"),
                                 slice_cstr(limit_text)};

    if (!redis_script(h->w->link, SCRIPT_peek, 2, ARRAY_LEN(argv), argv, on_peek, h, &err))
        failed(h, &err);
}

/* conn:ID - jobs go on when there is a token, or when there will never be one (they are buried then
 * with the reason). For a consent only the look-again time moves. */
static void judge_conn(struct house *h, struct conn *c)
{
    struct token *k = tokens_use(h->w->tokens, c);
    int64_t now = worker_now_ms(h->w);

    h->drain_lot =
        k || c->state == CONN_UNKNOWN || c->state == CONN_GONE || c->state == CONN_BROKEN;
    h->lot_next_ms = tokens_look_again_ms(h->w->tokens, c);
    if (!h->drain_lot && c->state == CONN_CONSENT)
        h->lot_next_ms = now + CONSENT_MS;
    else if (!h->drain_lot && !(c->state == CONN_BACKOFF && c->next_ms > now))
        tokens_want(h->w->tokens, c, c->ver); /* whoever was to renew it may be gone */
    token_unref(k);
    peek_lot(h, BATCH);
}

static void judge_lane(struct house *h, struct conn *c)
{
    int64_t now = worker_now_ms(h->w);
    size_t batch = LANE_BATCH;

    h->drain_lot = c->cool_ms <= now;
    h->lot_next_ms = h->drain_lot ? now + LANE_PACE_MS : c->cool_ms;
    if (c->cfg && c->cfg->concurrency > 0 && c->cfg->concurrency < batch)
        batch = c->cfg->concurrency;
    peek_lot(h, batch);
}

/* No connection can be read there, and no waiting mends that: its jobs go on, and are buried with
 * the reason. The lots behind it must not wait for a person. */
static void judge_nonsense(struct house *h)
{
    h->drain_lot = true;
    h->lot_next_ms = worker_now_ms(h->w) + LOOK_MS;
    peek_lot(h, BATCH);
}

static void on_lot_conn(void *owner, struct conn *c, const struct err *err)
{
    struct house *h = owner;

    if (err && err->code == ERR_FORMAT) {
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("resource", h->lots[h->lot_at].resource),
                  F_ERR(err));
        judge_nonsense(h);
        return;
    }
    if (failed(h, err))
        return;
    if (strncmp(h->lots[h->lot_at].resource, "lane:", 5) == 0)
        judge_lane(h, c);
    else
        judge_conn(h, c);
    conn_unref(c);
}

static void next_lot(struct house *h)
{
    struct conn *c;
    struct err err = {0};
    const char *id;

    if (h->lot_at >= h->lot_count) {
        next_gone(h);
        return;
    }
    h->errand = ERRAND_LOT;
    id = strchr(h->lots[h->lot_at].resource, ':');
    if (!id || !id_is_connection(slice_cstr(id + 1)))
        judge_nonsense(h);
    else if (tokens_look(h->w->tokens, slice_cstr(id + 1), true, &c, on_lot_conn, h, &err) !=
             LOOK_LATER)
        sleep_for(h, LOOK_MS);
}

/* ---- workers that are gone ---- */

static void on_swept(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* found again at the next look */
}

static void forget(struct house *h, const char *worker)
{
    struct key workers, numbers;
    struct err err = {0};

    key_workers(&workers, SHARD);
    key_worker_numbers(&numbers, SHARD);
    const struct slice argv[] = {key_slice(&workers), key_slice(&numbers), slice_cstr(worker)};

    (void)redis_script(h->w->link, SCRIPT_sweep, 2, ARRAY_LEN(argv), argv, on_swept, h, &err);
}

static void end_round(struct house *h)
{
    sleep_for(h, h->again ? 0 : h->next_ms - worker_now_ms(h->w));
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
                  F_CSTR("queue", h->queues[h->queue_at]), F_ERR(err));
    else if ((!err || err->code != ERR_NOT_FOUND) && failed(h, err)) /* no group: nothing there */
        return;
    if (moved > 0) {
        log_event(LOG_WARN, EV_HOUSE_RECLAIMED, F_CSTR("gone", who),
                  F_CSTR("queue", h->queues[h->queue_at]), F_INT("jobs", moved));
        meter_reclaimed((uint64_t)moved);
    }
    if (moved <= 0 || deleted > 0)
        h->queue_at++;
    if (moved < 0) /* it lives again */
        h->queue_at = h->queue_count;
    next_gone(h);
}

/* Nobody is called gone before our own link has been up for a whole lease: after an outage of Redis
 * everybody looks dead for a moment. */
static void next_gone(struct house *h)
{
    struct key workers, queue;
    struct err err = {0};

    h->errand = ERRAND_RECLAIM;
    if (liveness_link_up_ms(h->w->liveness) < h->w->set->lease_ms) {
        end_round(h);
        return;
    }
    if (h->gone_at < h->gone_count && h->queue_at >= h->queue_count) {
        forget(h, h->gone[h->gone_at]);
        h->queue_at = 0;
        h->gone_at++;
    }
    if (h->gone_at >= h->gone_count) {
        h->again = h->again || h->gone_count == ARRAY_LEN(h->gone); /* there may be more of them */
        next_stray(h);
        return;
    }
    key_workers(&workers, SHARD);
    key_queue(&queue, SHARD, slice_cstr(h->queues[h->queue_at]));
    const struct slice argv[] = {key_slice(&queue), key_slice(&workers),
                                 slice_cstr(h->gone[h->gone_at]), SLICE_LIT("50"), SLICE_LIT("0")};

    if (!redis_script(h->w->link, SCRIPT_reclaim, 2, ARRAY_LEN(argv), argv, on_reclaim, h, &err))
        failed(h, &err);
}

/* ---- strays: consumers without a line in `workers` (their worker was stopped and let go on, or
 * its line was lost), and entries that a living worker has held for longer than any step may take
 * ---- */

static void on_stray_entry(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    if (!err && redis_reply_int(redis_reply_at(reply, 0), 0) > 0) {
        log_event(LOG_WARN, EV_HOUSE_RECLAIMED, F_CSTR("why", "held longer than any step may take"),
                  F_INT("jobs", redis_reply_int(redis_reply_at(reply, 0), 0)));
        meter_reclaimed((uint64_t)redis_reply_int(redis_reply_at(reply, 0), 0));
    }
    (void)h;
}

static void reclaim_stray(struct house *h, struct slice consumer, const char *idle_ms)
{
    struct key workers, queue;
    struct err err = {0};

    key_workers(&workers, SHARD);
    key_queue(&queue, SHARD, slice_cstr(h->queues[h->stray_queue]));
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
                  F_CSTR("queue", h->queues[h->stray_queue]), F_ERR(err));
    else if ((!err || err->code != ERR_NOT_FOUND) && failed(h, err))
        return;
    snprintf(idle_ms, sizeof idle_ms, "%" PRId64, longest);
    for (size_t i = 0; i < redis_reply_len(reply) && done < BATCH; i++) {
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
    h->stray_queue++;
    end_round(h);
}

/* ---- dead letters that nobody wanted ---- */

static void on_purged(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* found again */
}

static void purge(struct house *h, struct slice name)
{
    struct key dead, held, run;
    struct job_name parts;
    char ttl[24];
    struct err err = {0};

    if (!job_name_parse(name, &parts))
        return;
    key_dead(&dead, SHARD);
    key_held(&held, SHARD);
    key_run(&run, SHARD, parts.run);
    snprintf(ttl, sizeof ttl, "%" PRId64, h->w->set->dedup_ms);
    const struct slice argv[] = {key_slice(&dead), key_slice(&held), key_slice(&run), name,
                                 slice_cstr(ttl)};

    log_event(LOG_WARN, EV_HOUSE_PURGED, F_STR("job", name));
    (void)redis_script(h->w->link, SCRIPT_purge, 3, ARRAY_LEN(argv), argv, on_purged, h, &err);
}

static void on_old_dead(void *owner, const struct redis_reply *reply, const struct err *err)
{
    for (size_t i = 0; !err && i < redis_reply_len(reply); i++)
        purge(owner, redis_reply_str(redis_reply_at(reply, i)));
}

static void look_for_old_dead(struct house *h)
{
    struct key dead;
    char before[24];
    struct err err = {0};

    key_dead(&dead, SHARD);
    snprintf(before, sizeof before, "%" PRId64, worker_now_ms(h->w) - h->w->set->dead_keep_ms);
    const struct slice argv[] = {SLICE_LIT("ZRANGE"), key_slice(&dead),     SLICE_LIT("-inf"),
                                 slice_cstr(before),  SLICE_LIT("BYSCORE"), SLICE_LIT("LIMIT"),
                                 SLICE_LIT("0"),      SLICE_LIT("50")};

    (void)redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_old_dead, h, &err);
}

static void next_stray(struct house *h)
{
    struct key queue;
    struct err err = {0};

    if (h->queue_count == 0 || clock_boot_ms() < h->stray_at_ms) {
        end_round(h);
        return;
    }
    h->errand = ERRAND_STRAYS;
    h->stray_at_ms = clock_boot_ms() + STRAY_MS / (int64_t)h->queue_count;
    h->stray_queue %= h->queue_count;
    look_for_old_dead(h);
    key_queue(&queue, SHARD, slice_cstr(h->queues[h->stray_queue]));
    const struct slice argv[] = {SLICE_LIT("XINFO"), SLICE_LIT("CONSUMERS"), key_slice(&queue),
                                 SLICE_LIT("w")};

    if (!redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_consumers, h, &err))
        failed(h, &err);
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
        return;
    }
    if (liveness_is_boss(h->w->liveness) &&
        (!uv_is_active((uv_handle_t *)&h->timer) || wait < (int64_t)uv_timer_get_due_in(&h->timer)))
        sleep_for(h, wait);
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

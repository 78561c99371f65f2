#include "worker/intake.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/hints.h"
#include "worker/meters.h"
#include "worker/step.h"
#include "worker/worker.h"

#define ROOM_WAIT_MS 2 /* a few free slots are worth a fetch when more do not come at once */
#define FETCH_BYTES  (8 << 20) /* a fetch should not bring more than about this */
#define HISTORY_PAGE 50
#define LANES_MS     30000 /* hints may be missed: lanes are looked at so often in any case */
#define LANE_MS      10000 /* a lane is looked into for so long after it had jobs */
#define FULL_MS      200   /* a queue that was full for so long has a backlog */
#define SAY_MS       500   /* which is said so often */
#define TENANT_MS    10000 /* while jobs of tenants come */

enum intake_state {
    INTAKE_DOWN,    /* the link is not up, or our life is not confirmed */
    INTAKE_GROUPS,  /* making the groups */
    INTAKE_HISTORY, /* reading back what we were given on a lost link */
    INTAKE_IDLE,    /* no fetch on its way: no room, paused, or just finished */
    INTAKE_POLLING, /* asked each queue, without BLOCK */
    INTAKE_BLOCKED, /* waiting for news on all queues */
    INTAKE_STOPPED,
};

struct intake {
    struct worker *w;
    struct redis *link;
    enum intake_state state;
    uv_timer_t room;
    uv_timer_t again; /* after an error */
    int64_t client_id;
    bool was_up; /* there may be history */
    bool left;   /* we were given more than there was room for: it lies in the history */
    bool unblocked;
    size_t asked; /* answers to come of this poll */
    size_t got;   /* jobs in this poll */
    size_t count_of[2 * QUEUES_MAX],
        got_of[2 * QUEUES_MAX]; /* asked for, and got, of each stream */
    size_t queue;               /* HISTORY: which queue is read */
    char last[48];              /* HISTORY: read up to here */
    int64_t answered_ms, expected_ms;
    unsigned failures;
    int64_t lanes_boot_ms; /* when lanes were looked at */
};

static void go_on(struct intake *i);
static void go_on_history(struct intake *i);

static size_t room(const struct intake *i)
{
    const struct worker *w = i->w;
    size_t n = steps_free_slots(w->steps), mean = steps_mean_bytes(w->steps);

    if (w->phase != PHASE_RUNNING || w->paused || w->refuse_new || !worker_may_call(w) ||
        !worker_takes_jobs(w))
        return 0;
    if (mean > 0 && n > FETCH_BYTES / (mean + 1))
        n = FETCH_BYTES / (mean + 1) + 1;
    return n;
}

/* ---- errors: wait a little, then begin again with the groups ---- */

static void on_again(uv_timer_t *t)
{
    struct intake *i = t->data;

    if (i->state == INTAKE_HISTORY)
        go_on_history(i);
    if (i->state == INTAKE_DOWN && redis_is_up(i->link) && worker_may_call(i->w)) {
        i->state = INTAKE_GROUPS;
        go_on(i);
    }
}

static void fall_back(struct intake *i, const struct err *err)
{
    if (i->state == INTAKE_STOPPED)
        return;
    if (err->code == ERR_NOT_FOUND) { /* NOGROUP: somebody deleted it */
        log_event(LOG_ERROR, EV_HOUSE_GROUP_RECREATED, F_ERR(err));
        meter_group_recreated();
    } else if (err->code != ERR_CANCELLED) {
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "fetch"), F_ERR(err));
    }
    meter_redis_error(err);
    i->state = INTAKE_DOWN;
    i->was_up = true;
    uv_timer_start(&i->again, on_again, (uint64_t)id_backoff_ms(20, 2000, i->failures++) + 1, 0);
}

/* ---- what a fetch brings ---- */

static struct delivery read_fields(unsigned queue, struct slice entry,
                                   const struct redis_reply *fields)
{
    struct delivery d = {.queue = queue, .entry = entry};

    for (size_t f = 0; f + 1 < redis_reply_len(fields); f += 2) {
        struct slice name = redis_reply_str(redis_reply_at(fields, f));
        struct slice value = redis_reply_str(redis_reply_at(fields, f + 1));
        uint64_t n = 0;

        if (slice_is(name, "j") && !d.has_j) { /* of two the first, as in reclaim.lua */
            d.j = value;
            d.has_j = true;
        } else if (slice_is(name, "s") && !d.s.ptr) {
            d.s = value;
        } else if (slice_is(name, "d") && slice_to_u64(value, &n)) {
            d.reclaims = n > 1000 ? 1000 : (uint32_t)n;
        } else if (slice_is(name, "t") && slice_to_u64(value, &n) && n <= INT64_MAX) {
            d.moved_ms = (int64_t)n;
        } else if (slice_is(name, "x")) {
            d.replayed = true;
        }
    }
    return d;
}

static unsigned queue_of(const struct intake *i, struct slice key)
{
    for (size_t q = 0; q < 2 * i->w->queue_count; q++) {
        if (slice_eq(key, key_slice(&i->w->queues[q].key)))
            return (unsigned)q;
    }
    return 0;
}

/* [[stream, [[id, [field, value ...]] ...]] ...]; nil when there was nothing. COUNT is per stream:
 * a fetch from several queues can bring more than there are slots. What finds no room stays pending
 * for us; *last is where the history has to be read on from. */
static size_t take_reply(struct intake *i, const struct redis_reply *reply, struct slice *last)
{
    size_t n = 0;

    for (size_t a = 0; a < redis_reply_len(reply); a++) {
        const struct redis_reply *stream = redis_reply_at(reply, a);
        const struct redis_reply *entries = redis_reply_at(stream, 1);
        unsigned queue = queue_of(i, redis_reply_str(redis_reply_at(stream, 0)));

        for (size_t e = 0; e < redis_reply_len(entries); e++) {
            const struct redis_reply *entry = redis_reply_at(entries, e);
            struct slice id = redis_reply_str(redis_reply_at(entry, 0));
            struct delivery d = read_fields(queue, id, redis_reply_at(entry, 1));

            n++;
            i->got_of[queue]++;
            /* history, or a group made again, can bring what is in flight here already */
            if (steps_has(i->w->steps, queue, id) || steps_take(i->w->steps, &d))
                *last = id;
            else
                i->left = true;
            if (i->left && i->state == INTAKE_HISTORY)
                return n;
        }
    }
    i->answered_ms = clock_boot_ms();
    i->failures = 0;
    return n;
}

/* ---- the fetch ---- */

static void on_poll(void *owner, const struct redis_reply *reply, const struct err *err);

static bool lane_is_used(const struct worker *w, size_t queue)
{
    int64_t used = w->queues[w->queue_count + queue].used_boot_ms;

    return used > 0 && clock_boot_ms() - used < LANE_MS;
}

/* Streams to fetch from: the queues, and those lanes that may have jobs. A lane that nobody used
 * for a while costs nothing. */
static size_t streams(const struct intake *i, size_t out[2 * QUEUES_MAX])
{
    const struct worker *w = i->w;
    size_t n = 0;

    for (size_t q = 0; q < w->queue_count; q++)
        out[n++] = q;
    for (size_t q = 0; q < w->queue_count; q++)
        if (lane_is_used(w, q))
            out[n++] = w->queue_count + q;
    return n;
}

/* A queue and its lane share what a queue alone has. */
static unsigned weight_of(const struct worker *w, size_t q)
{
    return w->queues[q].weight * (lane_is_used(w, q % w->queue_count) ? 1 : 2);
}

static bool fetch(struct intake *i, const size_t *from, size_t n_from, size_t count,
                  const char *block_ms, struct err *err)
{
    struct slice argv[16 + 4 * QUEUES_MAX];
    char count_text[24];
    size_t n = 0;
    int64_t timeout = 0;

    snprintf(count_text, sizeof count_text, "%zu", count);
    argv[n++] = SLICE_LIT("XREADGROUP");
    argv[n++] = SLICE_LIT("GROUP");
    argv[n++] = SLICE_LIT("w");
    argv[n++] = slice_cstr(i->w->id);
    argv[n++] = SLICE_LIT("COUNT");
    argv[n++] = slice_cstr(count_text);
    if (block_ms) {
        argv[n++] = SLICE_LIT("BLOCK");
        argv[n++] = slice_cstr(block_ms);
        timeout = i->w->set->lease_ms + 5000;
    }
    argv[n++] = SLICE_LIT("STREAMS");
    for (size_t q = 0; q < n_from; q++) {
        argv[n++] = key_slice(&i->w->queues[from[q]].key);
        i->count_of[from[q]] = count;
        i->got_of[from[q]] = 0;
    }
    for (size_t q = 0; q < n_from; q++)
        argv[n++] = SLICE_LIT(">");
    return redis_command(i->link, n, argv, timeout, on_poll, i, err);
}

static void poll_queues(struct intake *i, size_t free_slots)
{
    struct err err = {0};
    unsigned weights = 0;
    size_t left = free_slots, from[2 * QUEUES_MAX], n = streams(i, from);

    for (size_t q = 0; q < n; q++)
        weights += weight_of(i->w, from[q]);
    i->asked = i->got = 0;
    i->state = INTAKE_POLLING;
    for (size_t k = 0; k < n && left > 0; k++) { /* lanes first: they are short */
        size_t lanes = n - i->w->queue_count, q = k < lanes ? i->w->queue_count + k : k - lanes;
        size_t share = free_slots * weight_of(i->w, from[q]) / weights;

        share = share > 0 ? share : 1;
        share = share < left ? share : left;
        if (!fetch(i, &from[q], 1, share, NULL, &err)) {
            fall_back(i, &err);
            return;
        }
        left -= share;
        i->asked++;
    }
}

static void block(struct intake *i, size_t free_slots)
{
    char block_ms[24];
    struct err err = {0};
    size_t from[2 * QUEUES_MAX], n = streams(i, from), count = free_slots / n;

    /* under a third of the lease, so that a dead link is noticed in time */
    snprintf(block_ms, sizeof block_ms, "%" PRId64, i->w->set->lease_ms * 3 / 10);
    i->asked = 1;
    i->got = 0;
    i->unblocked = false;
    i->state = INTAKE_BLOCKED;
    if (!fetch(i, from, n, count > 0 ? count : 1, block_ms, &err))
        fall_back(i, &err);
}

/* Which queues had more than we could take, and for how long? */
static void note_backlog(struct intake *i)
{
    int64_t now = clock_boot_ms();

    for (size_t q = 0; q < 2 * i->w->queue_count; q++) {
        struct queue *it = &i->w->queues[q];
        bool full = i->count_of[q] > 0 && i->got_of[q] >= i->count_of[q];

        if (q >= i->w->queue_count) {
            if (i->got_of[q] > 0)
                it->used_boot_ms = now;
        } else if (i->count_of[q] > 0 && !full) {
            it->full_boot_ms = 0;
        } else if (full && it->full_boot_ms == 0) {
            it->full_boot_ms = now;
        } else if (full && now - it->full_boot_ms >= FULL_MS &&
                   now - it->tenant_boot_ms < TENANT_MS && it->tenant_boot_ms > 0 &&
                   now - it->said_boot_ms >= SAY_MS) {
            it->said_boot_ms = now;
            hints_say_backlog(i->w->hints, it->name);
        }
        i->count_of[q] = i->got_of[q] = 0;
    }
}

static void on_poll(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct intake *i = owner;
    struct slice last;
    bool blocked = i->state == INTAKE_BLOCKED;

    if (i->asked > 0)
        i->asked--;
    if (err) {
        if (i->state == INTAKE_STOPPED || i->state == INTAKE_DOWN)
            return;
        fall_back(i, err);
        return;
    }
    i->got += take_reply(i, reply, &last);
    if (i->state == INTAKE_STOPPED || i->state == INTAKE_DOWN || i->asked > 0)
        return;
    i->state = INTAKE_IDLE;
    note_backlog(i);
    if (i->w->phase == PHASE_DRAINING && !i->left)
        worker_on_idle(i->w); /* this was the last fetch */
    else if (i->got == 0 && !blocked && room(i) > 0)
        block(i, room(i)); /* all are empty */
    else
        go_on(i);
}

static void fetch_now(struct intake *i)
{
    size_t n = room(i), from[2 * QUEUES_MAX];

    uv_timer_stop(&i->room);
    if (n == 0)
        return;
    if (streams(i, from) == 1)
        block(i, n); /* as good as a poll: it answers at once when there is work */
    else
        poll_queues(i, n);
}

static void on_room(uv_timer_t *t)
{
    struct intake *i = t->data;

    if (i->state == INTAKE_IDLE)
        fetch_now(i);
}

/* A fetch for every slot that comes free would cost a round trip each: a few are gathered, but not
 * for long, since the others may be held by slow calls. */
static void fetch_more(struct intake *i)
{
    size_t slots = (size_t)i->w->set->slots;
    size_t enough = slots / 4 < 16 ? slots / 4 : 16;

    if (i->left) { /* first what we hold already, also in a drain: it has to be given back */
        uv_timer_stop(&i->room);
        i->state = INTAKE_HISTORY;
        i->queue = 0;
        snprintf(i->last, sizeof i->last, "0");
        go_on_history(i);
        return;
    }
    if (room(i) >= enough || steps_active(i->w->steps) == 0)
        fetch_now(i);
    else if (room(i) > 0 && !uv_is_active((uv_handle_t *)&i->room))
        uv_timer_start(&i->room, on_room, ROOM_WAIT_MS, 0);
}

/* ---- history ---- */

static void read_history(struct intake *i);

static void on_history(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct intake *i = owner;
    struct slice last = SLICE_NONE;

    if (err) {
        fall_back(i, err);
        return;
    }
    if (i->state != INTAKE_HISTORY)
        return;
    i->left = false;
    if (take_reply(i, reply, &last) == 0) {
        i->queue++;
        snprintf(i->last, sizeof i->last, "0");
    } else if (last.len > 0) {
        slice_copy(last, i->last, sizeof i->last);
    }
    go_on_history(i);
}

/* The next page, as soon as there is a slot for what it may bring. */
static void go_on_history(struct intake *i)
{
    if (steps_free_slots(i->w->steps) > 0 || i->queue >= 2 * i->w->queue_count)
        read_history(i);
    else
        uv_timer_start(&i->again, on_again, ROOM_WAIT_MS, 0);
}

static void read_history(struct intake *i)
{
    struct err err = {0};
    char count[24];

    if (i->queue >= 2 * i->w->queue_count) {
        i->state = INTAKE_IDLE;
        go_on(i);
        return;
    }
    snprintf(count, sizeof count, "%d", HISTORY_PAGE);
    const struct slice argv[] = {
        SLICE_LIT("XREADGROUP"), SLICE_LIT("GROUP"),
        SLICE_LIT("w"),          slice_cstr(i->w->id),
        SLICE_LIT("COUNT"),      slice_cstr(count),
        SLICE_LIT("STREAMS"),    key_slice(&i->w->queues[i->queue].key),
        slice_cstr(i->last),
    };

    /* on the link that commits go by: so an entry that is read here and was committed meanwhile is
     * still a step of ours when this answer comes, and is not begun again */
    if (!redis_command(i->w->link, ARRAY_LEN(argv), argv, 0, on_history, i, &err))
        fall_back(i, &err);
}

/* ---- groups ---- */

static void on_group(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct intake *i = owner;

    (void)reply;
    if (i->asked > 0)
        i->asked--;
    if (err &&
        redis_err_class(slice_cstr(err->rule)) != REDIS_DO_FINE) { /* BUSYGROUP: it is there */
        fall_back(i, err);
        return;
    }
    if (i->state != INTAKE_GROUPS || i->asked > 0)
        return;
    i->state = INTAKE_HISTORY;
    i->queue = i->was_up ? 0 : 2 * i->w->queue_count; /* a new name has no history */
    i->was_up = true;
    snprintf(i->last, sizeof i->last, "0");
    read_history(i);
}

static void on_named(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* said again at the next connect */
}

/* The housekeeper gives back what gone workers held on any of these queues. */
static void name_queue(struct intake *i, const struct queue *q)
{
    struct key queues;
    struct err err = {0};

    key_queues(&queues, SHARD);
    const struct slice argv[] = {SLICE_LIT("SADD"), key_slice(&queues), slice_cstr(q->name)};

    (void)redis_command(i->link, ARRAY_LEN(argv), argv, 0, on_named, i, &err);
}

static void on_client_id(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct intake *i = owner;

    i->client_id = err ? 0 : redis_reply_int(reply, 0);
}

static void on_lane_length(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct queue *lane = owner;

    if (!err && redis_reply_int(reply, 0) > 0)
        lane->used_boot_ms = clock_boot_ms();
}

void intake_tick(struct intake *i)
{
    if (clock_boot_ms() - i->lanes_boot_ms >= LANES_MS)
        intake_look_at_lanes(i);
}

void intake_look_at_lanes(struct intake *i)
{
    struct err err = {0};

    i->lanes_boot_ms = clock_boot_ms();

    for (size_t q = i->w->queue_count; q < 2 * i->w->queue_count; q++) {
        const struct slice argv[] = {SLICE_LIT("XLEN"), key_slice(&i->w->queues[q].key)};

        if (redis_is_up(i->w->link))
            (void)redis_command(i->w->link, ARRAY_LEN(argv), argv, 0, on_lane_length,
                                &i->w->queues[q], &err);
    }
}

static void make_groups(struct intake *i)
{
    struct err err = {0};
    const struct slice who[] = {SLICE_LIT("CLIENT"), SLICE_LIT("ID")};

    if (!redis_command(i->link, 2, who, 0, on_client_id, i, &err)) {
        fall_back(i, &err);
        return;
    }
    i->asked = 0;
    for (size_t q = 0; q < 2 * i->w->queue_count; q++) {
        /* from 0: what producers added before the group was there is not missed */
        const struct slice argv[] = {
            SLICE_LIT("XGROUP"), SLICE_LIT("CREATE"), key_slice(&i->w->queues[q].key),
            SLICE_LIT("w"),      SLICE_LIT("0"),      SLICE_LIT("MKSTREAM")};

        if (!redis_command(i->link, ARRAY_LEN(argv), argv, 0, on_group, i, &err)) {
            fall_back(i, &err);
            return;
        }
        i->asked++;
        if (q < i->w->queue_count)
            name_queue(i, &i->w->queues[q]);
    }
    intake_look_at_lanes(i);
}

/* ---- the whole ---- */

static void go_on(struct intake *i)
{
    switch (i->state) {
    case INTAKE_GROUPS:
        make_groups(i);
        break;
    case INTAKE_IDLE:
        fetch_more(i);
        break;
    case INTAKE_DOWN:
    case INTAKE_HISTORY:
    case INTAKE_POLLING:
    case INTAKE_BLOCKED:
    case INTAKE_STOPPED:
        break;
    }
}

void intake_read_again(struct intake *i)
{
    i->left = true;
    if (i->state == INTAKE_IDLE)
        go_on(i); /* else after what is on its way */
}

void intake_wake(struct intake *i)
{
    if (!i || (i->w->phase == PHASE_DRAINING && !i->left))
        return;
    if (i->state == INTAKE_DOWN && !uv_is_active((uv_handle_t *)&i->again) &&
        redis_is_up(i->link) && worker_may_call(i->w))
        i->state = INTAKE_GROUPS;
    go_on(i);
}

static void on_unblock(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* BLOCK ends by itself soon */
}

void intake_stop(struct intake *i)
{
    char id[24];
    struct err err = {0};

    snprintf(id, sizeof id, "%" PRId64, i->client_id);
    const struct slice argv[] = {SLICE_LIT("CLIENT"), SLICE_LIT("UNBLOCK"), slice_cstr(id)};

    if (i->state == INTAKE_BLOCKED && !i->unblocked && i->client_id > 0)
        i->unblocked = redis_command(i->w->link, ARRAY_LEN(argv), argv, 0, on_unblock, i, &err);
}

bool intake_is_quiet(const struct intake *i)
{
    return (i->state == INTAKE_IDLE && !i->left) || i->state == INTAKE_DOWN ||
           i->state == INTAKE_STOPPED;
}

void intake_expect(struct intake *i)
{
    if (i)
        i->expected_ms = clock_boot_ms();
}

int64_t intake_idle_ms(const struct intake *i)
{
    int64_t since = i->answered_ms > i->expected_ms ? i->answered_ms : i->expected_ms;

    return clock_boot_ms() - since;
}

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct intake *i = owner;

    if (state == REDIS_UP) {
        log_event(LOG_INFO, EV_REDIS_UP, F_CSTR("link", "fetch"));
        intake_wake(i);
    } else if (state == REDIS_DOWN || state == REDIS_REFUSED) {
        log_event(LOG_WARN, EV_REDIS_DOWN, F_CSTR("link", "fetch"), F_ERR(why));
        i->state = INTAKE_DOWN;
        i->was_up = i->was_up || i->client_id > 0;
        i->client_id = 0;
    }
}

struct intake *intake_new(struct worker *w, struct err *err)
{
    struct intake *i = calloc(1, sizeof *i);
    struct redis_options o = worker_redis_options(w, "fetch");

    if (!i) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    i->w = w;
    i->expected_ms = clock_boot_ms();
    uv_timer_init(w->loop, &i->room);
    uv_timer_init(w->loop, &i->again);
    i->room.data = i->again.data = i;
    i->link = redis_new(w->loop, &o, on_state, i, err);
    if (!i->link) {
        intake_free(i);
        return NULL;
    }
    return i;
}

static void on_closed(uv_handle_t *h)
{
    struct intake *i = h->data;

    if (!uv_is_closing((uv_handle_t *)&i->again))
        uv_close((uv_handle_t *)&i->again, on_closed);
    else
        free(i);
}

void intake_free(struct intake *i)
{
    if (!i)
        return;
    i->state = INTAKE_STOPPED;
    redis_free(i->link);
    i->link = NULL;
    uv_close((uv_handle_t *)&i->room, on_closed);
}

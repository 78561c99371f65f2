#include "worker/fair.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include "common/clock.h"
#include "common/log.h"
#include "common/wire.h"
#include "worker/liveness.h"
#include "worker/meters.h"
#include "worker/step.h"
#include "worker/worker.h"

#define SAY_MS      60000
#define TICK_MS     50   /* how often a lane is filled up */
#define FRESH_MS    1500 /* so long after a hint a queue is worked on */
#define PAGE        200  /* entries read at once */
#define PAGES       50   /* and so many pages in one tick */
#define PAGE_BYTES  (256 * 1024)
#define AHEAD       64    /* jobs so near the front need no help */
#define LANE_MAX    512   /* jobs in a lane */
#define RUNS_MAX    65536 /* stretches of one tenant's jobs that are known of a queue */
#define TENANTS_MAX 4096
#define MOVES_MAX   64 /* scripts of one tick */
#define ENTRY_MAX   48

struct tenant {
    char name[ID_MAX + 1]; /* "": jobs that name none */
    uint64_t waiting;      /* in the runs */
    uint64_t in_lane;
    uint64_t asked_tick; /* the last one in which some of its jobs were moved */
};

struct run { /* jobs of one tenant, one behind the other */
    char after[ENTRY_MAX], last[ENTRY_MAX];
    uint64_t count;
    uint32_t tenant;
    struct run *next;
};

struct batch { /* what was moved into the lane in one go */
    char last[ENTRY_MAX];
    uint64_t count;
    uint32_t tenant;
    struct batch *next;
};

struct turns { /* of one queue */
    struct worker *w;
    uv_timer_t timer;
    struct envelope env;
    char queue[ID_MAX + 1]; /* "": none */
    struct key key, lane;
    int64_t hinted_boot_ms;
    bool busy;       /* an answer is owed */
    bool lane_known; /* what is in the lane is what we moved there */
    char head[ENTRY_MAX], cursor[ENTRY_MAX];
    struct run *first, *newest;
    size_t run_count;
    struct batch *oldest, *latest;
    uint64_t in_lane;
    struct tenant *tenants; /* open addressing */
    int64_t said_boot_ms;   /* when it was logged who has most; 0 = not yet */
    uint64_t tick;
    size_t pages; /* read in this tick */
    /* moves of this tick */
    size_t owed;
    uint64_t moved;
};

struct fair {
    struct worker *w;
    struct turns *of[FAIR_QUEUES];
};

struct asked { /* one script under way */
    struct turns *f;
    struct run *run;
};

/* Entry ids: MS-SEQ, both up to 20 digits. */
static int compare(const char *a, const char *b)
{
    uint64_t x[2] = {0}, y[2] = {0};

    (void)sscanf(a, "%" SCNu64 "-%" SCNu64, &x[0], &x[1]);
    (void)sscanf(b, "%" SCNu64 "-%" SCNu64, &y[0], &y[1]);
    if (x[0] != y[0])
        return x[0] < y[0] ? -1 : 1;
    return x[1] < y[1] ? -1 : x[1] > y[1];
}

/* ---- what is known ---- */

static void forget(struct turns *f)
{
    struct run *r, *next_run;
    struct batch *b, *next_batch;

    for (r = f->first; r; r = next_run) {
        next_run = r->next;
        free(r);
    }
    for (b = f->oldest; b; b = next_batch) {
        next_batch = b->next;
        free(b);
    }
    free(f->tenants);
    f->first = f->newest = NULL;
    f->oldest = f->latest = NULL;
    f->tenants = NULL;
    f->run_count = 0;
    f->in_lane = 0;
    f->lane_known = false;
    f->said_boot_ms = 0;
    snprintf(f->cursor, sizeof f->cursor, "0-0");
    f->queue[0] = '\0';
}

/* Its place in the table, or TENANTS_MAX when that is full. */
static uint32_t tenant_of(struct turns *f, struct slice name)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < name.len; i++)
        h = (h ^ (unsigned char)name.ptr[i]) * 16777619u;
    for (size_t n = 0; n < TENANTS_MAX; n++) {
        struct tenant *t = &f->tenants[(h + n) % TENANTS_MAX];

        if (t->waiting + t->in_lane > 0 || t->name[0]) {
            if (slice_is(name, t->name))
                return (h + n) % TENANTS_MAX;
            continue;
        }
        slice_copy(name, t->name, sizeof t->name);
        return (h + n) % TENANTS_MAX;
    }
    return TENANTS_MAX;
}

/* False when there is no place for it: it is looked at again when there is. */
static bool note(struct turns *f, struct slice tenant, struct slice entry)
{
    uint32_t t = tenant_of(f, tenant);
    struct run *r = f->newest;

    if (t == TENANTS_MAX)
        return false;
    if (!r || r->tenant != t) {
        if (f->run_count == RUNS_MAX || !(r = calloc(1, sizeof *r)))
            return false;
        r->tenant = t;
        snprintf(r->after, sizeof r->after, "%s", f->cursor);
        if (f->newest)
            f->newest->next = r;
        else
            f->first = r;
        f->newest = r;
        f->run_count++;
    }
    slice_copy(entry, r->last, sizeof r->last);
    r->count++;
    f->tenants[t].waiting++;
    return true;
}

static void drop_first(struct turns *f)
{
    struct run *r = f->first;

    f->tenants[r->tenant].waiting -= r->count;
    f->first = r->next;
    if (!f->first)
        f->newest = NULL;
    f->run_count--;
    free(r);
}

/* Workers have taken all up to f->head. */
static void drop_taken(struct turns *f)
{
    while (f->first && (f->first->count == 0 || compare(f->first->last, f->head) <= 0))
        drop_first(f);
    if (f->first && compare(f->first->after, f->head) < 0)
        snprintf(f->first->after, sizeof f->first->after, "%s", f->head);
    if (compare(f->cursor, f->head) < 0)
        snprintf(f->cursor, sizeof f->cursor, "%s", f->head);
}

static void drop_batches(struct turns *f, const char *head)
{
    while (f->oldest && compare(f->oldest->last, head) <= 0) {
        struct batch *b = f->oldest;

        f->tenants[b->tenant].in_lane -= b->count;
        f->in_lane -= b->count;
        f->oldest = b->next;
        if (!f->oldest)
            f->latest = NULL;
        free(b);
    }
}

static void add_batch(struct turns *f, uint32_t tenant, uint64_t count, struct slice last)
{
    struct batch *b = calloc(1, sizeof *b);

    if (!b)
        return;
    b->tenant = tenant;
    b->count = count;
    slice_copy(last, b->last, sizeof b->last);
    if (f->latest)
        f->latest->next = b;
    else
        f->oldest = b;
    f->latest = b;
    f->in_lane += count;
    f->tenants[tenant].in_lane += count;
}

/* A name takes a place for as long as its queue has a backlog. When half of them are taken, and by
 * tenants that have nothing there any more, all begin anew. */
static void drop_idle_tenants(struct turns *f)
{
    struct tenant *all = f->tenants;
    uint32_t *moved_to;
    size_t named = 0, idle = 0;

    if (!all)
        return;
    for (uint32_t t = 0; t < TENANTS_MAX; t++) {
        bool used = all[t].waiting + all[t].in_lane > 0;

        named += used || all[t].name[0];
        idle += !used && all[t].name[0];
    }
    if (named < TENANTS_MAX / 2 || idle < named / 2)
        return;
    f->tenants = calloc(TENANTS_MAX, sizeof *f->tenants);
    moved_to = calloc(TENANTS_MAX, sizeof *moved_to);
    if (!f->tenants || !moved_to) {
        free(f->tenants);
        free(moved_to);
        f->tenants = all;
        return;
    }
    for (uint32_t t = 0; t < TENANTS_MAX; t++) {
        if (all[t].waiting + all[t].in_lane == 0)
            continue;
        moved_to[t] = tenant_of(f, slice_cstr(all[t].name));
        f->tenants[moved_to[t]] = all[t];
    }
    for (struct run *r = f->first; r; r = r->next)
        r->tenant = moved_to[r->tenant];
    for (struct batch *b = f->oldest; b; b = b->next)
        b->tenant = moved_to[b->tenant];
    free(moved_to);
    free(all);
}

/* ---- a tick: the heads, then the pages that are new, then moves ---- */

static void read_page(struct turns *f);
static void fill_lane(struct turns *f);

static void rest(struct turns *f)
{
    f->busy = false;
    if (clock_boot_ms() - f->hinted_boot_ms > FRESH_MS || !liveness_is_boss(f->w->liveness))
        forget(f);
    else
        drop_idle_tenants(f);
}

static bool failed(struct turns *f, const struct err *err)
{
    if (!err)
        return false;
    if (err->code != ERR_CANCELLED) {
        if (err->code != ERR_NOT_FOUND)
            meter_redis_error(err);
        forget(f);
        f->busy = false;
    }
    return true;
}

/* XINFO GROUPS: [[name, w, ..., last-delivered-id, ID ...] ...] */
static struct slice delivered(const struct redis_reply *groups)
{
    for (size_t i = 0; i < redis_reply_len(groups); i++) {
        const struct redis_reply *g = redis_reply_at(groups, i);

        if (slice_is(redis_reply_str(redis_reply_field(g, "name")), "w"))
            return redis_reply_str(redis_reply_field(g, "last-delivered-id"));
    }
    return SLICE_NONE;
}

static bool ask(struct turns *f, const struct slice *argv, size_t argc, redis_cb *cb)
{
    struct err err = {0};

    if (redis_command(f->w->link, argc, argv, 0, cb, f, &err))
        return true;
    failed(f, &err);
    return false;
}

static void on_lane(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct turns *f = owner;
    char head[ENTRY_MAX];

    if (failed(f, err))
        return;
    if (!slice_copy(delivered(reply), head, sizeof head) || !head[0])
        snprintf(head, sizeof head, "0-0");
    if (f->lane_known) {
        drop_batches(f, head);
    } else { /* filled by another housekeeper: until it is empty, nothing is added */
        const struct redis_reply *g = redis_reply_at(reply, 0);

        f->lane_known =
            redis_reply_len(reply) == 0 || redis_reply_int(redis_reply_field(g, "lag"), -1) == 0;
    }
    read_page(f);
}

static void on_head(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct turns *f = owner;
    const struct slice argv[] = {SLICE_LIT("XINFO"), SLICE_LIT("GROUPS"), key_slice(&f->lane)};

    if (failed(f, err))
        return;
    if (!slice_copy(delivered(reply), f->head, sizeof f->head) || !f->head[0])
        snprintf(f->head, sizeof f->head, "0-0");
    drop_taken(f);
    ask(f, argv, ARRAY_LEN(argv), on_lane);
}

static void read_head(struct turns *f)
{
    const struct slice argv[] = {SLICE_LIT("XINFO"), SLICE_LIT("GROUPS"), key_slice(&f->key)};

    f->busy = true;
    f->tick++;
    f->pages = 0;
    ask(f, argv, ARRAY_LEN(argv), on_head);
}

static size_t page_size(const struct turns *f)
{
    size_t mean = steps_mean_bytes(f->w->steps);
    size_t n = mean > 0 ? PAGE_BYTES / mean : PAGE;

    return n < 1 ? 1 : n < PAGE ? n : PAGE;
}

static void on_page(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct turns *f = owner;
    size_t n = redis_reply_len(reply);

    if (failed(f, err))
        return;
    for (size_t i = 0; i < n; i++) {
        const struct redis_reply *entry = redis_reply_at(reply, i);
        struct slice id = redis_reply_str(redis_reply_at(entry, 0));
        struct slice j = redis_reply_str(redis_reply_field(redis_reply_at(entry, 1), "j"));
        struct err why = {0};

        if (envelope_decode(&f->env, j, (size_t)f->w->set->job_max_bytes, &why) &&
            !note(f, f->env.tenant, id)) {
            n = 0; /* from here on when some of what is known was worked off */
            break;
        }
        slice_copy(id, f->cursor, sizeof f->cursor);
    }
    if (n > 0 && ++f->pages < PAGES)
        read_page(f);
    else
        fill_lane(f);
}

static void read_page(struct turns *f)
{
    char from[ENTRY_MAX + 2], count[24];

    if (f->run_count == RUNS_MAX) {
        fill_lane(f);
        return;
    }
    snprintf(from, sizeof from, "(%s", f->cursor);
    snprintf(count, sizeof count, "%zu", page_size(f));
    const struct slice argv[] = {SLICE_LIT("XRANGE"), key_slice(&f->key), slice_cstr(from),
                                 SLICE_LIT("+"),      SLICE_LIT("COUNT"), slice_cstr(count)};

    ask(f, argv, ARRAY_LEN(argv), on_page);
}

/* ---- moves ---- */

static uint32_t heaviest(const struct turns *f)
{
    uint32_t most = 0;

    for (uint32_t t = 1; t < TENANTS_MAX; t++)
        if (f->tenants[t].waiting > f->tenants[most].waiting)
            most = t;
    return most;
}

static void on_told(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* said again with the next move */
}

/* The workers are to look into the lane. */
static void tell(struct turns *f)
{
    struct key wake;
    char text[ID_MAX + 8];
    struct err err = {0};

    key_wake(&wake);
    snprintf(text, sizeof text, "turn:%s", f->queue);
    const struct slice argv[] = {SLICE_LIT("PUBLISH"), key_slice(&wake), slice_cstr(text)};

    (void)redis_command(f->w->link, ARRAY_LEN(argv), argv, 0, on_told, f, &err);
}

static void on_favored(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct asked *m = owner;
    struct turns *f = m->f;
    uint64_t moved = (uint64_t)redis_reply_int(redis_reply_at(reply, 0), 0);
    struct slice looked = redis_reply_str(redis_reply_at(reply, 1));

    f->owed--;
    if (!err && f->tenants) {
        uint64_t gone = looked.len == 0 || moved > m->run->count ? m->run->count : moved;

        if (moved > 0)
            add_batch(f, m->run->tenant, moved, redis_reply_str(redis_reply_at(reply, 2)));
        f->tenants[m->run->tenant].waiting -= gone;
        m->run->count -= gone;
        if (looked.len > 0)
            slice_copy(looked, m->run->after, sizeof m->run->after);
        if (compare(m->run->after, m->run->last) >=
            0) { /* it is used up; dropped when it is the first */
            f->tenants[m->run->tenant].waiting -= m->run->count;
            m->run->count = 0;
        }
        f->moved += moved;
    }
    free(m);
    if (f->owed > 0 || (err && err->code == ERR_CANCELLED))
        return;
    if (f->moved > 0)
        tell(f);
    rest(f);
}

static bool favor(struct turns *f, struct run *r, uint64_t count)
{
    struct asked *m = calloc(1, sizeof *m);
    char text[24];
    struct err err = {0};

    if (!m)
        return false;
    *m = (struct asked){f, r};
    snprintf(text, sizeof text, "%" PRIu64, count);
    const struct slice argv[] = {key_slice(&f->key), key_slice(&f->lane), slice_cstr(r->after),
                                 slice_cstr(r->last), slice_cstr(text)};

    if (!redis_script(f->w->link, SCRIPT_favor, 2, ARRAY_LEN(argv), argv, on_favored, m, &err)) {
        free(m);
        return false;
    }
    f->owed++;
    return true;
}

/* At once, and each minute while it goes on: people ask who it is. */
static void say_who(struct turns *f, uint32_t most)
{
    int64_t now = clock_boot_ms();
    uint64_t others = 0;

    if (f->said_boot_ms > 0 && now - f->said_boot_ms < SAY_MS)
        return;
    for (uint32_t t = 0; t < TENANTS_MAX; t++)
        others += t != most ? f->tenants[t].waiting : 0;
    if (others == 0)
        return;
    f->said_boot_ms = now;
    log_event(LOG_INFO, EV_HOUSE_TURNS, F_CSTR("queue", f->queue),
              F_CSTR("most", f->tenants[most].name), F_UINT("waiting", f->tenants[most].waiting),
              F_UINT("others", others));
}

static void fill_lane(struct turns *f)
{
    uint32_t most = heaviest(f);
    uint64_t ahead = 0, planned = 0, room = f->in_lane < LANE_MAX ? LANE_MAX - f->in_lane : 0;
    size_t moves = 0;

    f->owed = f->moved = 0;
    say_who(f, most);
    for (struct run *r = f->first; r && f->lane_known && planned < room && moves < MOVES_MAX;
         r = r->next) {
        struct tenant *t = &f->tenants[r->tenant];

        /* one stretch of a tenant at a time */
        if (r->tenant != most && r->count > 0 && t->in_lane < FAIR_SHARE &&
            t->asked_tick != f->tick && ahead >= AHEAD) {
            uint64_t share = FAIR_SHARE - t->in_lane;

            share = share < r->count ? share : r->count;
            share = share < room - planned ? share : room - planned;
            if (!favor(f, r, share))
                break;
            t->asked_tick = f->tick;
            moves++;
            planned += share;
        }
        ahead += r->count;
    }
    if (f->owed == 0)
        rest(f);
}

static void on_tick(uv_timer_t *t)
{
    struct turns *f = t->data;

    if (!f->busy && f->queue[0])
        read_head(f);
    if (!f->queue[0])
        uv_timer_stop(t);
}

static struct turns *turns_new(struct worker *w)
{
    struct turns *f = calloc(1, sizeof *f);

    if (!f)
        return NULL;
    f->w = w;
    envelope_init(&f->env);
    forget(f);
    uv_timer_init(w->loop, &f->timer);
    f->timer.data = f;
    return f;
}

/* Those of this queue, or some that are of none. NULL: all are of others. */
static struct turns *turns_of(struct fair *all, struct slice queue)
{
    struct turns *idle = NULL;

    for (size_t i = 0; i < FAIR_QUEUES; i++) {
        struct turns **f = &all->of[i];

        if (*f && slice_is(queue, (*f)->queue))
            return *f;
        if (!idle && !*f)
            *f = turns_new(all->w);
        if (!idle && *f && !(*f)->queue[0] && !(*f)->busy)
            idle = *f;
    }
    return idle;
}

void fair_hint(struct fair *all, struct slice queue)
{
    struct turns *f;

    if (!liveness_is_boss(all->w->liveness) || !id_is_queue(queue) || !redis_is_up(all->w->link))
        return;
    f = turns_of(all, queue);
    if (!f)
        return; /* its hint comes again */
    if (!f->queue[0]) {
        f->tenants = calloc(TENANTS_MAX, sizeof *f->tenants);
        if (!f->tenants)
            return;
        slice_copy(queue, f->queue, sizeof f->queue);
        key_queue(&f->key, SHARD, queue);
        key_lane(&f->lane, SHARD, queue);
        uv_timer_start(&f->timer, on_tick, 0, TICK_MS);
    }
    f->hinted_boot_ms = clock_boot_ms();
}

struct fair *fair_new(struct worker *w)
{
    struct fair *all = calloc(1, sizeof *all);

    if (all)
        all->w = w;
    return all;
}

static void on_closed(uv_handle_t *h)
{
    struct turns *f = h->data;

    forget(f);
    envelope_deinit(&f->env);
    free(f);
}

void fair_free(struct fair *all)
{
    if (!all)
        return;
    for (size_t i = 0; i < FAIR_QUEUES; i++)
        if (all->of[i])
            uv_close((uv_handle_t *)&all->of[i]->timer, on_closed);
    free(all);
}

#include "worker/inbox.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
#include "common/log.h"
#include "common/wire.h"
#include "worker/liveness.h"
#include "worker/meters.h"
#include "worker/producers.h"
#include "worker/worker.h"

#define LOOK_MS     250
#define PAGE        "50" /* entries of one inbox that are moved in one go */
#define INBOXES_MAX 64   /* in one look; if there are more, the next ones are for the next look */
#define BACKLOG_MAX "1000000"

struct inbox {
    struct worker *w;
    uv_timer_t timer;
    struct envelope env;
    size_t waiting; /* answers that are owed */
    size_t next;    /* whose inbox is looked at first: producers_next_inbox */
    bool more;      /* something was moved: look again at once */
    struct key keys[INBOXES_MAX];
    char names[INBOXES_MAX][PRODUCER_NAME_MAX + 1];
};

static void look(uv_timer_t *t);

static void sleep_for(struct inbox *b, uint64_t ms)
{
    uv_timer_start(&b->timer, look, ms, 0);
}

struct inbox *inbox_new(struct worker *w)
{
    struct inbox *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->w = w;
    envelope_init(&b->env);
    uv_timer_init(w->loop, &b->timer);
    b->timer.data = b;
    sleep_for(b, LOOK_MS);
    return b;
}

static void on_closed(uv_handle_t *h)
{
    struct inbox *b = h->data;

    envelope_deinit(&b->env);
    free(b);
}

void inbox_free(struct inbox *b)
{
    if (b)
        uv_close((uv_handle_t *)&b->timer, on_closed);
}

/* ---- one entry ---- */

struct entry {
    struct slice id, queue, j, s;
    bool big; /* its fields were left away: inboxes.lua */
};

static struct entry read_entry(const struct redis_reply *r)
{
    const struct redis_reply *fields = redis_reply_at(r, 1);

    return (struct entry){
        .big = redis_reply_len(fields) == 0,
        .id = redis_reply_str(redis_reply_at(r, 0)),
        .queue = redis_reply_str(redis_reply_field(fields, "q")),
        .j = redis_reply_str(redis_reply_field(fields, "j")),
        .s = redis_reply_str(redis_reply_field(fields, "s")),
    };
}

static bool passes(struct inbox *b, const struct producer *p, const struct entry *e,
                   struct err *err)
{
    struct producer_job job = {
        .prefix = slice_cstr(b->w->set->common.prefix), .queue = e->queue, .j = e->j};
    struct slice name;

    envelope_clear(&b->env);
    if (e->big)
        return err_rule(err, ERR_FORMAT, "envelope_too_big",
                        "it is longer than --job-max of the workers");
    if (!id_is_queue(e->queue) || e->j.len == 0 || e->s.len == 0)
        return err_rule(err, ERR_FORMAT, "envelope_field_missing",
                        "an entry of an inbox has the fields q, j and s");
    if (!producer_split(e->s, &job.signature, &name) || !slice_is(name, p->name))
        return err_rule(err, ERR_DENIED, "signature_bad",
                        "its field s is no signature of producer %s", p->name);
    if (!envelope_decode(&b->env, e->j, (size_t)b->w->set->job_max_bytes, err))
        return false;
    if (b->env.has_k)
        return err_rule(err, ERR_DENIED, "k_forged", "k is written by workers only");
    job.id = b->env.id;
    job.connections = b->env.conns;
    job.connection_count = b->env.call_count;
    job.out = b->env.out;
    job.iat = b->env.iat;
    job.deadline = b->env.deadline;
    return producer_check(p, &job, worker_now_ms(b->w), b->w->set->dedup_ms, err);
}

static void over(struct inbox *b)
{
    if (--b->waiting == 0)
        sleep_for(b, b->more ? 0 : LOOK_MS);
}

/* One that is on its way: what the log says of it when its id was known. */
struct moving {
    struct inbox *home;
    char producer[PRODUCER_NAME_MAX + 1], entry[48], id[ID_MAX + 1];
};

static void on_moved(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct moving *m = owner;
    struct inbox *b = m->home;
    struct slice said = redis_reply_str(reply);

    if (!err && slice_is(said, "DUPLICATE"))
        log_event(LOG_WARN, EV_INBOX_DUPLICATE, F_CSTR("producer", m->producer),
                  F_CSTR("entry", m->entry), F_CSTR("job", m->id));
    free(m);
    if (err && err->code == ERR_CANCELLED)
        return;
    if (err)
        meter_redis_error(err);
    if (err || slice_is(said, "FULL"))
        b->more = false;
    over(b);
}

static struct moving *moving_new(struct inbox *b, size_t at, struct slice entry, struct slice id)
{
    struct moving *m = calloc(1, sizeof *m);

    if (!m)
        return NULL;
    m->home = b;
    snprintf(m->producer, sizeof m->producer, "%s", b->names[at]);
    slice_copy(entry, m->entry, sizeof m->entry);
    slice_copy(id, m->id, sizeof m->id);
    return m;
}

static void move(struct inbox *b, size_t at, const struct entry *e, bool refused)
{
    struct slice id =
        refused ? SLICE_LIT("-") : b->env.id; /* of one that is refused no key is touched */
    struct moving *m = moving_new(b, at, e->id, id);
    struct key queue, held, dead, dedup, run;
    struct err err = {0};
    char ms[24];

    key_queue(&queue, SHARD, refused ? SLICE_LIT("default") : e->queue);
    key_held(&held, SHARD);
    key_dead(&dead, SHARD);
    key_dedup(&dedup, SHARD, id);
    key_run(&run, SHARD, id);
    snprintf(ms, sizeof ms, "%" PRId64, b->w->set->dedup_ms);
    const struct slice argv[] = {
        key_slice(&b->keys[at]),
        key_slice(&queue),
        key_slice(&held),
        key_slice(&dead),
        key_slice(&dedup),
        key_slice(&run),
        e->id,
        SLICE_LIT(BACKLOG_MAX),
        refused ? SLICE_NONE : e->j,
        refused ? SLICE_NONE : e->s,
        slice_cstr(ms),
        e->queue,
    };

    if (m && redis_script(b->w->link, SCRIPT_inbox, 6, ARRAY_LEN(argv), argv, on_moved, m, &err))
        b->waiting++;
    else
        free(m);
}

static void take(struct inbox *b, size_t at, const struct redis_reply *entries)
{
    const struct producer *p;
    size_t passed = 0;

    if (!producers_find(b->w->producers, slice_cstr(b->names[at]), &p) || !p)
        return; /* it changed meanwhile: the next look knows */
    for (size_t i = 0; i < redis_reply_len(entries); i++) {
        struct entry e = read_entry(redis_reply_at(entries, i));
        struct err err = {0};
        bool fine = passes(b, p, &e, &err);

        if (!fine)
            log_event(LOG_WARN, EV_INBOX_REFUSED, F_CSTR("producer", p->name), F_STR("entry", e.id),
                      F_STR("id", b->env.id), F_ERR(&err));
        passed += fine;
        move(b, at, &e, !fine);
    }
    /* who only puts rubbish is looked at four times a second, and no more often */
    b->more = b->more || (passed > 0 && redis_reply_len(entries) > 1);
}

static void on_entries(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct inbox *b = owner;

    if (err && err->code == ERR_CANCELLED)
        return;
    if (err)
        meter_redis_error(err);
    for (size_t i = 0; i < redis_reply_len(reply); i++) {
        struct slice key = redis_reply_str(redis_reply_at(redis_reply_at(reply, i), 0));

        for (size_t at = 0; at < INBOXES_MAX && b->names[at][0]; at++)
            if (slice_eq(key, key_slice(&b->keys[at])))
                take(b, at, redis_reply_at(redis_reply_at(reply, i), 1));
    }
    over(b);
}

/* ---- all of them ---- */

static size_t name_inboxes(struct inbox *b)
{
    const struct producer *any, *p;
    size_t n = 0;

    if (!producers_find(b->w->producers, SLICE_LIT("-"), &any))
        return 0; /* they are being read */
    while (n < INBOXES_MAX && (p = producers_next_inbox(b->w->producers, &b->next))) {
        snprintf(b->names[n], sizeof b->names[n], "%s", p->name);
        key_inbox(&b->keys[n++], SHARD, slice_cstr(p->name));
    }
    if (n < INBOXES_MAX)
        b->names[n][0] = '\0';
    return n;
}

static void look(uv_timer_t *t)
{
    struct inbox *b = t->data;
    struct slice argv[INBOXES_MAX + 2];
    char job_max[24];
    struct err err = {0};
    size_t n = 0;

    if (b->w->phase == PHASE_RUNNING && liveness_is_boss(b->w->liveness) &&
        redis_is_up(b->w->link) && !b->w->refuse_new)
        n = name_inboxes(b);
    b->more = false;
    for (size_t i = 0; i < n; i++)
        argv[i] = key_slice(&b->keys[i]);
    snprintf(job_max, sizeof job_max, "%" PRId64, b->w->set->job_max_bytes);
    argv[n] = SLICE_LIT(PAGE);
    argv[n + 1] = slice_cstr(job_max);
    if (n > 0 && redis_script(b->w->link, SCRIPT_inboxes, n, n + 2, argv, on_entries, b, &err))
        b->waiting = 1;
    else
        sleep_for(b, LOOK_MS);
}

#include "worker/commit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "common/wire.h"
#include "worker/intake.h"
#include "worker/journal.h"
#include "worker/meters.h"
#include "worker/worker.h"

#define CALLS_MAX     2 /* commit calls on their way at once; the next ones gather meanwhile */
#define BATCH_BYTES   (256 * 1024)
#define BROKEN_TRIES  3  /* then the step hears that its move cannot be written */
#define LAST_TRIES    20 /* then a move that has no other way out gives its slot back */
#define RETRY_BASE_MS 50
#define RETRY_CAP_MS  2000 /* a third of the default lease */
#define NONCE_MAX     64
/* of commit.lua */
#define KEYS_FOR_ALL  2
#define ARGS_FOR_ALL  4
#define ARGS_PER_JOB  5

struct batch { /* one commit script on its way */
    struct commits *owner;
    struct move *moves[COMMIT_BATCH];
    size_t count;
};

struct line { /* first in, first out */
    struct move *head, **tail;
    size_t count;
};

struct texts { /* what the arguments of one call point into */
    struct key run[COMMIT_BATCH], out;
    char mark[COMMIT_BATCH][24 + NONCE_MAX];
    char cap[24], ttl[24];
};

struct commits {
    struct worker *w;
    struct line ready;  /* commits to send */
    struct line others; /* every other move to send; or to send again */
    size_t out;         /* moves on their way */
    unsigned calls_out;
    unsigned failures;  /* in a row: how long to wait before the next try */
    uv_prepare_t flush; /* runs when the loop has done all that was ready, just before it sleeps */
    uv_timer_t again;
    struct batch batches[CALLS_MAX];
    struct texts texts; /* of the call that is being made */
};

static void line_init(struct line *l)
{
    *l = (struct line){.tail = &l->head};
}

static void line_push(struct line *l, struct move *m)
{
    m->next = NULL;
    *l->tail = m;
    l->tail = &m->next;
    l->count++;
}

static struct move *line_pop(struct line *l)
{
    struct move *m = l->head;

    if (!m)
        return NULL;
    l->head = m->next;
    if (!l->head)
        l->tail = &l->head;
    l->count--;
    return m;
}

/* A commit with a long input first has that kept, by a script of its own. */
static struct line *line_of(struct commits *c, const struct move *m)
{
    return m->kind == MOVE_COMMIT && (m->big.len == 0 || m->big_kept) ? &c->ready : &c->others;
}

static void flush_now(struct commits *c);

static void on_flush(uv_prepare_t *p)
{
    flush_now(p->data);
}

static void on_again(uv_timer_t *t)
{
    flush_now(t->data);
}

struct commits *commits_new(struct worker *w)
{
    struct commits *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->w = w;
    line_init(&c->ready);
    line_init(&c->others);
    uv_prepare_init(w->loop, &c->flush);
    uv_timer_init(w->loop, &c->again);
    c->flush.data = c->again.data = c;
    return c;
}

bool move_is_outcome(const struct move *m)
{
    return m->kind == MOVE_COMMIT || m->kind == MOVE_RETRY || m->kind == MOVE_BURY;
}

static void on_closed(uv_handle_t *h)
{
    struct commits *c = h->data;

    if (!uv_is_closing((uv_handle_t *)&c->flush))
        uv_close((uv_handle_t *)&c->flush, on_closed);
    else
        free(c);
}

/* Answers how many outcomes nobody but this process knows. */
static size_t keep_all(struct commits *c, struct line *l)
{
    struct move *m;
    size_t dropped = 0;

    while ((m = line_pop(l)) != NULL) {
        journal_keep(c->w->journal, m);
        dropped += move_is_outcome(m) && !m->journaled && strcmp(m->consumer, c->w->id) == 0;
    }
    return dropped;
}

void commits_free(struct commits *c)
{
    size_t dropped;

    if (!c)
        return;
    dropped = keep_all(c, &c->ready) + keep_all(c, &c->others);
    if (dropped > 0)
        log_event(LOG_WARN, EV_JOB_DROPPED, F_UINT("n", dropped));
    uv_close((uv_handle_t *)&c->again, on_closed);
}

size_t commits_waiting(const struct commits *c)
{
    return c->ready.count + c->others.count + c->out;
}

static void finish(struct move *m, enum verdict v, const struct err *why)
{
    meter_move(m->kind, v);
    if (v == VERDICT_LOST)
        intake_read_again(m->home->w->intake);
    if (m->journaled)
        journal_done(m->home->w->journal, m);
    m->cb(m->owner, m, v, why);
}

/* Redis could not take it now: keep it, try again later, the same names. */
static void put_back(struct commits *c, struct move *m, const struct err *why)
{
    m->tries++;
    m->big_kept = false; /* a Redis that was restarted may have lost it */
    meter_redis_error(why);
    journal_keep(c->w->journal, m);
    if (m->tries == 1 || m->tries % 20 == 0)
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("job", m->name), F_INT("tries", m->tries),
                  F_ERR(why));
    line_push(line_of(c, m), m);
    if (!uv_is_active((uv_handle_t *)&c->again))
        uv_timer_start(&c->again, on_again,
                       (uint64_t)id_backoff_ms(RETRY_BASE_MS, RETRY_CAP_MS, c->failures++) + 1, 0);
}

/* ---- commit ---- */

static struct batch *free_batch(struct commits *c)
{
    for (size_t i = 0; i < CALLS_MAX; i++) {
        if (c->batches[i].count == 0)
            return &c->batches[i];
    }
    return NULL;
}

static void judge_commit(struct commits *c, struct move *m, const struct redis_reply *answer)
{
    struct err why = {0};

    if (redis_reply_type(answer) == REDIS_INT) {
        static const enum verdict verdicts[] = {
            [1] = VERDICT_DONE,
            [2] = VERDICT_LOST,
            [3] = VERDICT_DUPLICATE,
            [4] = VERDICT_CANCELLED,
        };
        int64_t n = redis_reply_int(answer, 0);

        if (n >= 1 && n <= 4) {
            finish(m, verdicts[n], NULL);
            return;
        }
    }
    err_rule(&why, ERR_FORMAT, "commit_failed", "job %s: Redis refused its commit: %.*s", m->name,
             SLICE_FMT(slice_sub(redis_reply_str(answer), 0, 120)));
    if (++m->refusals >= BROKEN_TRIES) {
        finish(m, VERDICT_BROKEN, &why);
        return;
    }
    put_back(c, m, &why);
}

static void on_commit(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct batch *batch = owner;
    struct commits *c = batch->owner;
    struct batch done = *batch;

    batch->count = 0;
    c->calls_out--;
    c->out -= done.count;
    if (!err)
        c->failures = 0;
    for (size_t i = 0; i < done.count; i++) {
        if (err)
            put_back(c, done.moves[i], err);
        else
            judge_commit(c, done.moves[i], redis_reply_at(reply, i));
    }
    if (c->ready.count >= COMMIT_BATCH)
        flush_now(c);
    else if (c->ready.count > 0)
        uv_prepare_start(&c->flush, on_flush);
}

static void mark_of(const struct move *m, char *to)
{
    snprintf(to, 24 + NONCE_MAX, "%" PRIu64 ":%s", m->seq, m->nonce);
}

static void commit_args(struct commits *c, struct batch *batch, struct texts *t, struct slice *argv)
{
    const struct move *first = batch->moves[0];
    struct slice *key = argv, *arg = argv + KEYS_FOR_ALL + batch->count;

    snprintf(t->cap, sizeof t->cap, "%" PRId64, c->w->set->results_max);
    snprintf(t->ttl, sizeof t->ttl, "%" PRId64, c->w->set->dedup_ms);
    key_out(&t->out, SHARD, first->out.len > 0 ? first->out : SLICE_LIT("results"));
    *key++ = key_slice(&first->queue->key);
    *key++ = key_slice(&t->out);
    *arg++ = slice_cstr(first->consumer);
    *arg++ = slice_cstr(t->cap);
    *arg++ = slice_cstr(t->ttl);
    *arg++ = first->out.len > 0 ? SLICE_LIT("1") : SLICE_LIT("0");
    for (size_t i = 0; i < batch->count; i++) {
        const struct move *m = batch->moves[i];

        key_run(&t->run[i], SHARD, slice_cstr(m->run));
        mark_of(m, t->mark[i]);
        *key++ = key_slice(&t->run[i]);
        *arg++ = slice_cstr(m->entry);
        *arg++ = slice_cstr(t->mark[i]);
        *arg++ = m->result;
        *arg++ = m->next_j;
        *arg++ = m->next_j.len > 0 ? m->next_s : slice_cstr(m->state);
    }
}

/* One consumer, one queue, one result stream: the script is told of them once. */
static bool go_together(const struct move *a, const struct move *b)
{
    return a->queue == b->queue && strcmp(a->consumer, b->consumer) == 0 &&
           slice_eq(a->out, b->out);
}

/* One call: as many as fit of those at the head of the line. */
static bool send_commits(struct commits *c, struct batch *batch)
{
    struct slice argv[KEYS_FOR_ALL + ARGS_FOR_ALL + COMMIT_BATCH * (1 + ARGS_PER_JOB)];
    struct err err = {0};
    size_t bytes = 0;

    while (batch->count < COMMIT_BATCH && c->ready.head) {
        struct move *m = c->ready.head;

        if (batch->count > 0 && (bytes + m->result.len + m->next_j.len > BATCH_BYTES ||
                                 !go_together(m, batch->moves[0])))
            break;
        bytes += m->result.len + m->next_j.len;
        batch->moves[batch->count++] = line_pop(&c->ready);
    }
    batch->owner = c;
    commit_args(c, batch, &c->texts, argv);
    if (!redis_script(c->w->link, SCRIPT_commit, KEYS_FOR_ALL + batch->count,
                      KEYS_FOR_ALL + ARGS_FOR_ALL + batch->count * (1 + ARGS_PER_JOB), argv,
                      on_commit, batch, &err)) {
        for (size_t i = 0; i < batch->count; i++)
            put_back(c, batch->moves[i], &err);
        batch->count = 0;
        return false;
    }
    c->calls_out++;
    c->out += batch->count;
    return true;
}

/* ---- the other moves, one script each ---- */

/* What Redis refuses for its form (a key of a wrong type, say), it refuses for ever: the step hears
 * so after a few tries. Where no other way out is left the slot is given back after some more; the
 * entry stays pending, and comes again when the housekeeper finds it held for too long. */
static void try_again(struct commits *c, struct move *m, const struct err *err)
{
    if (err->code == ERR_FORMAT)
        m->refusals++;
    if (m->refusals >= BROKEN_TRIES && !m->last) {
        finish(m, VERDICT_BROKEN, err);
    } else if (m->refusals >= LAST_TRIES) {
        log_event(LOG_ERROR, EV_REDIS_ERROR, F_CSTR("job", m->name), F_INT("tries", m->tries + 1),
                  F_ERR(err));
        finish(m, VERDICT_LOST, NULL);
    } else {
        put_back(c, m, err);
    }
}

static void on_move(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct move *m = owner;
    struct commits *c = m->home;
    struct slice said = redis_reply_str(reply);

    c->out--;
    if (err) {
        try_again(c, m, err);
        return;
    }
    c->failures = 0;
    if (slice_is(said, "LOST"))
        finish(m, VERDICT_LOST, NULL);
    else if (slice_is(said, "DUPLICATE"))
        finish(m, VERDICT_DUPLICATE, NULL);
    else if (slice_is(said, "FULL"))
        finish(m, VERDICT_FULL, NULL);
    else if (slice_is(said, "CANCELLED"))
        finish(m, VERDICT_CANCELLED, NULL);
    else if (m->kind == MOVE_RELEASE && redis_reply_int(reply, 0) == 0)
        finish(m, VERDICT_LOST, NULL);
    else
        finish(m, VERDICT_DONE, NULL);
}

/* What the arguments of one move point into. */
struct move_texts {
    struct key held, set, lots, run, out, wake;
    struct key queue, id, named; /* BURY, refused: the queue itself, and what the id it names has */
    char seq[24], reclaims[16], at[24], look[24], limit[24], cap[24], queued[24], ttl[24];
    struct slice write; /* the result also to the stream `out`? */
};

static void move_texts(struct commits *c, const struct move *m, struct move_texts *t)
{
    key_held(&t->held, SHARD);
    key_run(&t->run, SHARD, slice_cstr(m->run));
    key_wake(&t->wake);
    snprintf(t->seq, sizeof t->seq, "%" PRIu64, m->seq);
    snprintf(t->reclaims, sizeof t->reclaims, "%" PRIu32, m->reclaims);
    snprintf(t->at, sizeof t->at, "%" PRId64, m->at_ms);
    snprintf(t->queued, sizeof t->queued, "%" PRId64, m->queued_ms);
    snprintf(t->look, sizeof t->look, "%" PRId64, m->look_ms);
    snprintf(t->limit, sizeof t->limit, "%" PRId64, c->w->set->park_max);
    key_out(&t->out, SHARD, m->out.len > 0 ? m->out : SLICE_LIT("results"));
    snprintf(t->cap, sizeof t->cap, "%" PRId64, c->w->set->results_max);
    snprintf(t->ttl, sizeof t->ttl, "%" PRId64, c->w->set->dedup_ms);
    t->write = m->out.len > 0 ? SLICE_LIT("1") : SLICE_LIT("0");
}

static bool send_retry(struct commits *c, struct move *m, struct move_texts *t, struct err *err)
{
    key_due(&t->set, SHARD);
    const struct slice argv[] = {
        key_slice(&m->queue->key),
        key_slice(&t->held),
        key_slice(&t->set),
        key_slice(&t->run),
        key_slice(&t->out),
        slice_cstr(m->consumer),
        slice_cstr(m->entry),
        slice_cstr(m->name),
        slice_cstr(t->seq),
        slice_cstr(t->at),
        m->j,
        slice_cstr(t->reclaims),
        m->s,
        slice_cstr(m->queue->name),
        key_slice(&t->wake),
        slice_cstr(t->cap),
        t->write,
        slice_cstr(t->queued),
        slice_cstr(m->last_error),
    };

    return redis_script(c->w->link, SCRIPT_retry, 5, ARRAY_LEN(argv), argv, on_move, m, err);
}

static bool send_park(struct commits *c, struct move *m, struct move_texts *t, struct err *err)
{
    key_park(&t->set, SHARD, slice_cstr(m->resource));
    key_lots(&t->lots, SHARD);
    const struct slice argv[] = {
        key_slice(&m->queue->key),
        key_slice(&t->held),
        key_slice(&t->set),
        key_slice(&t->lots),
        key_slice(&t->run),
        key_slice(&t->out),
        slice_cstr(m->consumer),
        slice_cstr(m->entry),
        slice_cstr(m->name),
        slice_cstr(t->seq),
        m->at_ms > 0 ? slice_cstr(t->at) : SLICE_LIT("9007199254740991"),
        m->j,
        slice_cstr(t->reclaims),
        m->s,
        slice_cstr(m->queue->name),
        slice_cstr(m->resource),
        slice_cstr(t->look),
        slice_cstr(t->limit),
        key_slice(&t->wake),
        slice_cstr(t->cap),
        t->write,
        slice_cstr(t->queued),
        slice_cstr(m->last_error),
    };

    return redis_script(c->w->link, SCRIPT_park, 6, ARRAY_LEN(argv), argv, on_move, m, err);
}

/* Of a job refused before its id was trusted: what that id has, for bury.lua to look at. */
static size_t add_named(const struct move *m, struct move_texts *t, struct slice keys[3])
{
    struct slice id =
        slice_starts(slice_cstr(m->run), SLICE_LIT(ID_BAD)) ? envelope_id(m->j) : SLICE_NONE;

    if (id.len == 0)
        return 0;
    key_queue(&t->queue, SHARD, slice_cstr(m->queue->name));
    key_dedup(&t->id, SHARD, id);
    key_run(&t->named, SHARD, id);
    keys[0] = key_slice(&t->queue);
    keys[1] = key_slice(&t->id);
    keys[2] = key_slice(&t->named);
    return 3;
}

static bool send_bury(struct commits *c, struct move *m, struct move_texts *t, struct err *err)
{
    key_dead(&t->set, SHARD);
    const struct slice args[] = {
        slice_cstr(m->consumer),
        slice_cstr(m->entry),
        slice_cstr(m->name),
        slice_cstr(t->seq),
        m->j,
        slice_cstr(t->reclaims),
        m->s,
        slice_cstr(m->queue->name),
        slice_cstr(m->code),
        slice_cstr(m->text),
        m->result,
        slice_cstr(t->cap),
        t->write,
        slice_cstr(t->ttl),
    };
    struct slice argv[8 + ARRAY_LEN(args)] = {
        key_slice(&m->queue->key), key_slice(&t->held), key_slice(&t->set),
        key_slice(&t->run),        key_slice(&t->out),
    };
    size_t keys = 5 + add_named(m, t, argv + 5);

    memcpy(argv + keys, args, sizeof args);
    return redis_script(c->w->link, SCRIPT_bury, keys, keys + ARRAY_LEN(args), argv, on_move, m,
                        err);
}

static bool send_release(struct commits *c, struct move *m, struct err *err)
{
    const struct slice argv[] = {
        key_slice(&m->queue->key),
        slice_cstr(m->consumer),
        slice_cstr(m->entry),
    };

    return redis_script(c->w->link, SCRIPT_release, 1, ARRAY_LEN(argv), argv, on_move, m, err);
}

/* ---- a long input: in the run record before the commit that puts the next step on the queue ----
 */

static void on_big(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct move *m = owner;
    struct commits *c = m->home;

    (void)reply;
    c->out--;
    if (err) { /* without it the next step could not be made: no commit either, until it is kept */
        try_again(c, m, err);
        return;
    }
    m->big_kept = true; /* or it is another's by now: the commit will hear so */
    line_push(line_of(c, m), m);
    if (!uv_is_active((uv_handle_t *)&c->flush))
        uv_prepare_start(&c->flush, on_flush);
}

/* Named by its digest: whoever else writes it writes the same. */
static bool send_big(struct commits *c, struct move *m, struct move_texts *t, struct err *err)
{
    char field[80];

    snprintf(field, sizeof field, "i:%s", m->big_digest);
    const struct slice argv[] = {
        key_slice(&m->queue->key), key_slice(&t->run), slice_cstr(m->consumer),
        slice_cstr(m->entry),      slice_cstr(field),  m->big,
    };

    return redis_script(c->w->link, SCRIPT_keep, 2, ARRAY_LEN(argv), argv, on_big, m, err);
}

static void send_other(struct commits *c, struct move *m)
{
    struct move_texts t;
    struct err err = {0};
    bool ok = false;

    move_texts(c, m, &t);
    switch (m->kind) {
    case MOVE_RETRY:
        ok = send_retry(c, m, &t, &err);
        break;
    case MOVE_PARK:
        ok = send_park(c, m, &t, &err);
        break;
    case MOVE_BURY:
        ok = send_bury(c, m, &t, &err);
        break;
    case MOVE_RELEASE:
        ok = send_release(c, m, &err);
        break;
    case MOVE_COMMIT:
        ok = send_big(c, m, &t, &err);
        break;
    }
    if (ok)
        c->out++;
    else
        put_back(c, m, &err);
}

static void flush_now(struct commits *c)
{
    struct batch *batch;

    uv_prepare_stop(&c->flush);
    if (!redis_is_up(c->w->link))
        return; /* commits_resume comes */
    for (size_t n = c->others.count; n > 0; n--)
        send_other(c, line_pop(&c->others));
    while (c->ready.head && (batch = free_batch(c)) != NULL) {
        /* behind a call that is on its way a small batch waits: it will be sent by that call's
         * answer */
        if (c->calls_out > 0 && c->ready.count < COMMIT_BATCH)
            return;
        if (!send_commits(c, batch))
            return;
    }
}

void commit_submit(struct commits *c, struct move *m)
{
    m->home = c;
    m->tries = m->refusals = 0;
    m->big_kept = false;
    if (!redis_is_up(c->w->link))
        journal_keep(c->w->journal, m);
    line_push(line_of(c, m), m);
    if (!uv_is_active((uv_handle_t *)&c->flush))
        uv_prepare_start(&c->flush, on_flush);
}

void commits_resume(struct commits *c)
{
    c->failures = 0;
    flush_now(c);
}

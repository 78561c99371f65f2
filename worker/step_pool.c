#include "worker/step.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "worker/intake.h"
#include "worker/lane.h"
#include "worker/liveness.h"
#include "worker/step_parts.h"

/* The slots, each with the buffers that the jobs passing through it use again and again. */

#define WHOLE         8 /* so many times job-max a job that is too big is buried whole; more: its head */
#define HEAD          4096
#define SIGNATURE_MAX 1024
#define BUF_KEEP      4096 /* of each of a slot's buffers */

struct entry_id { /* of a stream: MS-SEQ (redis.io, streams intro) */
    uint64_t ms, seq;
};

struct steps {
    struct worker *w;
    size_t slots, active;
    size_t mean_bytes;
    uint64_t taken;
    struct entry_id *last; /* of each queue: the highest entry that was ever taken */
    struct step *all;
    size_t *free_list, free_count;
};

/* ---- slots ---- */

static void slot_init(struct step *s, struct worker *w, size_t index)
{
    s->w = w;
    s->index = index;
    buf_init(&s->j, (size_t)w->set->job_max_bytes * WHOLE);
    buf_init(&s->s, SIGNATURE_MAX);
    buf_init(&s->url, 64 * 1024);
    buf_init(&s->origin, 1024);
    buf_init(&s->body, (size_t)w->set->job_max_bytes * 2);
    buf_init(&s->answer, (size_t)w->set->answer_max_bytes + 1);
    buf_init(&s->header_text, 256 * 1024);
    buf_init(&s->location, 64 * 1024);
    buf_init(&s->result, (size_t)(w->set->answer_max_bytes * 2 + w->set->job_max_bytes) + 131072);
    buf_init(&s->next_j, (size_t)(w->set->answer_max_bytes * 2 + w->set->job_max_bytes) + 131072);
    buf_init(&s->next_s, 1024);
    buf_init(&s->input, (size_t)w->set->answer_max_bytes * 2 + 65536);
    buf_init(&s->resource, 256);
    envelope_init(&s->env);
}

static void empty_bufs(struct step *s, size_t keep)
{
    struct buf *bufs[] = {&s->input,  &s->j,        &s->s,          &s->url,      &s->origin,
                          &s->body,   &s->answer,   &s->result,     &s->location, &s->next_j,
                          &s->next_s, &s->resource, &s->header_text};

    for (size_t i = 0; i < ARRAY_LEN(bufs); i++) {
        if (bufs[i]->cap > keep)
            buf_deinit(bufs[i]);
        else
            buf_clear(bufs[i]);
    }
}

/* Every job needs a dozen buffers: a slot's are used again and again, unless they grew big. */
static void step_clear(struct step *s)
{
    empty_bufs(s, BUF_KEEP);
    envelope_clear(&s->env);
    expand_free(s->expand);
    token_unref(s->token);
    conn_unref(s->looked);
    conn_unref(s->conn);
    memset((char *)s + offsetof(struct step, state), 0,
           sizeof *s - offsetof(struct step, state)); /* state: STEP_FREE */
}

static void slot_deinit(struct step *s)
{
    step_clear(s);
    empty_bufs(s, 0);
    envelope_deinit(&s->env);
}

struct steps *steps_new(struct worker *w, size_t slots, struct err *err)
{
    struct steps *p = calloc(1, sizeof *p);

    if (p) {
        p->all = calloc(slots, sizeof *p->all);
        p->free_list = calloc(slots, sizeof *p->free_list);
        p->last = calloc(2 * w->queue_count, sizeof *p->last);
    }
    if (!p || !p->all || !p->free_list || !p->last) {
        steps_free(p);
        err_set(err, ERR_NOMEM, "out of memory for %zu slots", slots);
        return NULL;
    }
    p->w = w;
    p->slots = slots;
    p->mean_bytes = 512;
    for (size_t i = 0; i < slots; i++) {
        slot_init(&p->all[i], w, i);
        p->free_list[p->free_count++] = slots - 1 - i;
    }
    return p;
}

void steps_free(struct steps *p)
{
    if (!p)
        return;
    for (size_t i = 0; p->all && i < p->slots; i++)
        slot_deinit(&p->all[i]);
    free(p->all);
    free(p->free_list);
    free(p->last);
    free(p);
}

size_t steps_free_slots(const struct steps *p)
{
    return p->free_count;
}

size_t steps_active(const struct steps *p)
{
    return p->active;
}

size_t steps_calling(const struct steps *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->slots; i++)
        n += p->all[i].state == STEP_SENDING;
    return n;
}

size_t steps_mean_bytes(const struct steps *p)
{
    return p->mean_bytes;
}

static struct entry_id id_of(struct slice entry)
{
    size_t dash = slice_find(entry, '-');
    struct entry_id id = {0};

    slice_to_u64(slice_sub(entry, 0, dash), &id.ms);
    slice_to_u64(slice_sub(entry, dash + 1, entry.len), &id.seq);
    return id;
}

static bool is_after(struct entry_id a, struct entry_id b)
{
    return a.ms > b.ms || (a.ms == b.ms && a.seq > b.seq);
}

/* A queue's entries come in order, so that nearly always one look is enough: only history, or a
 * group made again, brings an entry that is not after all before it. */
bool steps_has(const struct steps *p, unsigned queue, struct slice entry)
{
    if (is_after(id_of(entry), p->last[queue]))
        return false;
    for (size_t i = 0; i < p->slots; i++) {
        const struct step *s = &p->all[i];

        if (s->state != STEP_FREE && s->queue == queue && slice_is(entry, s->entry))
            return true;
    }
    return false;
}

bool steps_take(struct steps *p, const struct delivery *d)
{
    struct step *s;
    struct slice j = d->j;

    if (p->free_count == 0 || d->entry.len >= sizeof s->entry)
        return false;
    s = &p->all[p->free_list[--p->free_count]];
    s->state = STEP_TAKEN;
    /* what is too long for a signature is none: the job must not stay here for it */
    if (j.len > (size_t)p->w->set->job_max_bytes * WHOLE) {
        s->cut_from = j.len;
        j.len = HEAD;
    }
    if (!buf_add_slice(&s->j, j) || (d->s.len <= SIGNATURE_MAX && !buf_add_slice(&s->s, d->s))) {
        step_clear(s);
        p->free_count++;
        return false;
    }
    slice_copy(d->entry, s->entry, sizeof s->entry);
    if (is_after(id_of(d->entry), p->last[d->queue]))
        p->last[d->queue] = id_of(d->entry);
    s->queue = d->queue;
    s->reclaims = d->reclaims;
    s->moved_ms = d->moved_ms;
    s->lapses = liveness_lapses(p->w->liveness);
    s->replayed = d->replayed;
    s->bad = !d->has_j;
    snprintf(s->nonce, sizeof s->nonce, "%s.%" PRIu64, p->w->nonce, ++p->taken);
    p->active++;
    p->mean_bytes = (p->mean_bytes * 15 + d->j.len) / 16;
    step_advance(s);
    return true;
}

void step_gone(struct step *s)
{
    struct worker *w = s->w;
    struct steps *p = w->steps;

    if (p->free_count == 0)
        intake_expect(w->intake);
    lane_leave(s);
    step_clear(s);
    p->free_list[p->free_count++] = s->index;
    p->active--;
    worker_on_idle(w);
}

bool steps_other_suspect(const struct step *s)
{
    const struct steps *p = s->w->steps;

    for (size_t i = 0; i < p->slots; i++) {
        if (p->all[i].suspect && p->all[i].state != STEP_FREE && &p->all[i] != s)
            return true;
    }
    return false;
}

/* ---- all of them ---- */

void steps_resume(struct steps *p)
{
    for (size_t i = 0; i < p->slots; i++) {
        struct step *s = &p->all[i];

        if (s->state != STEP_FREE && s->stalled) {
            s->stalled = false;
            step_advance(s);
        }
    }
}

void steps_release_unsent(struct steps *p)
{
    for (size_t i = 0; i < p->slots; i++) {
        struct step *s = &p->all[i];

        if (s->state != STEP_FREE && s->stalled && s->state != STEP_REFUSE) {
            s->stalled = false;
            s->state = step_release(s);
        }
    }
}

void steps_abort(struct steps *p)
{
    for (size_t i = 0; i < p->slots; i++) {
        if (p->all[i].state == STEP_SENDING && p->all[i].rq) {
            p->all[i].aborted = true;
            http_cancel(p->all[i].rq);
        }
    }
}

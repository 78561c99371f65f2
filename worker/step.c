#include "worker/step.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/intake.h"
#include "worker/lane.h"
#include "worker/liveness.h"
#include "worker/meters.h"
#include "worker/step_parts.h"

#define SUSPECT_WAIT_MS 500               /* a second suspect comes back after about so long */
#define STRING_MAX      ((size_t)1 << 30) /* over what Redis keeps in one string (512 MB) */
#define SIGNATURE_MAX   1024
#define BUF_KEEP        4096 /* of each of a slot's buffers */

struct entry_id { /* of a stream: MS-SEQ (redis.io, streams intro) */
    uint64_t ms, seq;
};

struct steps {
    struct worker *w;
    size_t slots, active, calling;
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
    buf_init(&s->j, STRING_MAX); /* one over job-max is buried, whole */
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
        p->last = calloc(w->queue_count, sizeof *p->last);
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

    if (p->free_count == 0 || d->entry.len >= sizeof s->entry)
        return false;
    s = &p->all[p->free_list[--p->free_count]];
    s->state = STEP_TAKEN;
    /* what is too long for a signature is none: the job must not stay here for it */
    if (!buf_add_slice(&s->j, d->j) || (d->s.len <= SIGNATURE_MAX && !buf_add_slice(&s->s, d->s))) {
        step_clear(s);
        p->free_count++;
        return false;
    }
    slice_copy(d->entry, s->entry, sizeof s->entry);
    if (is_after(id_of(d->entry), p->last[d->queue]))
        p->last[d->queue] = id_of(d->entry);
    s->queue = d->queue;
    s->reclaims = d->reclaims;
    s->lapses = liveness_lapses(p->w->liveness);
    s->replayed = d->replayed;
    s->bad = !d->has_j;
    snprintf(s->nonce, sizeof s->nonce, "%s.%" PRIu64, p->w->nonce, ++p->taken);
    p->active++;
    p->mean_bytes = (p->mean_bytes * 15 + d->j.len) / 16;
    step_advance(s);
    return true;
}

static void step_gone(struct step *s)
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

/* ---- TAKEN: what is it? ---- */

/* A stream id begins with its time in ms (redis.io, streams intro): when the job was queued. */
static int64_t entry_ms(const struct step *s)
{
    struct slice id = slice_cstr(s->entry);
    int64_t ms = 0;

    slice_to_i64(slice_sub(id, 0, slice_find(id, '-')), &ms);
    return ms;
}

/* A job whose place in a run cannot be trusted gets a name of its own, one that no producer can
 * give, so that it can touch no run. Entry ids are unique in their stream only: without the queue's
 * name the second of two bad jobs that came in the same millisecond would be taken for a repeat of
 * the first, and dropped. */
enum step_state step_bury_bad(struct step *s, const struct err *why)
{
    snprintf(s->run, ID_MAX + 1, ID_BAD "%s-%s", s->entry, s->w->queues[s->queue].name);
    snprintf(s->name, sizeof s->name, "%s.0.0", s->run);
    s->bad = true;
    return step_bury(s, why);
}

static bool k_is_ours(struct step *s)
{
    struct buf bytes;
    bool ok;

    if (!s->env.has_k)
        return true;
    buf_init(&bytes, s->j.len + 1024);
    ok = wire_signed_bytes(&bytes, slice_cstr(s->w->set->common.prefix),
                           slice_cstr(s->w->queues[s->queue].name), buf_slice(&s->j)) &&
         seal_mac_ok(s->w->keys, KEY_RUN, "k", buf_slice(&bytes), buf_slice(&s->s));
    buf_deinit(&bytes);
    return ok;
}

static enum step_state step_taken(struct step *s)
{
    struct err err = {0};
    struct job_name name;
    char text[JOB_NAME_MAX];

    s->started_ms = worker_now_ms(s->w);
    if (s->bad) {
        err_rule(&err, ERR_FORMAT, "envelope_field_missing",
                 "entry %s: no field j with the envelope", s->entry);
        return step_bury_bad(s, &err);
    }
    if (!envelope_decode(&s->env, buf_slice(&s->j), (size_t)s->w->set->job_max_bytes, &err)) {
        if (s->env.id.len > 0)
            err_prefix(&err, "job %.*s: ", SLICE_FMT(s->env.id));
        return step_bury_bad(s, &err);
    }
    if (!k_is_ours(s)) {
        err_rule(&err, ERR_DENIED, "k_forged",
                 "job %.*s: its continuation k was not written by a worker of this install",
                 SLICE_FMT(s->env.id));
        return step_bury_bad(s, &err);
    }
    s->k = s->env.k;
    if (s->k.queued_ms == 0)
        s->k.queued_ms = entry_ms(s);
    if (s->replayed)
        s->k.attempt = 0;
    name = (struct job_name){s->env.id, s->k.branch, s->k.seq};
    if (!slice_copy(s->env.id, s->run, sizeof s->run) || !job_name_build(&name, text)) {
        err_rule(&err, ERR_FORMAT, "k_invalid", "job %.*s: k names no place", SLICE_FMT(s->env.id));
        return step_bury_bad(s, &err);
    }
    snprintf(s->name, sizeof s->name, "%s", text);
    log_event(LOG_DEBUG, EV_JOB_TAKEN, F_CSTR("job", s->name), F_CSTR("entry", s->entry));
    return STEP_ADMIT;
}

/* ---- ADMIT: may it start at all? ---- */

static bool other_suspect(const struct step *s)
{
    const struct steps *p = s->w->steps;

    for (size_t i = 0; i < p->slots; i++) {
        if (p->all[i].suspect && p->all[i].state != STEP_FREE && &p->all[i] != s)
            return true;
    }
    return false;
}

static void on_look(void *owner, struct conn *c, const struct err *err)
{
    struct step *s = owner;

    s->look_done = true;
    s->looked = c;
    s->err = err ? *err : (struct err){0};
    step_advance(s);
}

/* Ask for the connection; the answer is in s->looked when look_done is set. */
static enum step_state look(struct step *s, bool fresh, enum step_state waits)
{
    struct conn *c;

    s->look_done = false;
    s->err = (struct err){0};
    switch (tokens_look(s->w->tokens, s->env.call.conn, fresh, &c, on_look, s, &s->err)) {
    case LOOK_NOW:
        s->looked = c;
        s->look_done = true;
        break;
    case LOOK_FAILED:
        s->look_done = true;
        break;
    case LOOK_LATER:
        break;
    }
    return waits;
}

static enum step_state step_admit(struct step *s)
{
    int64_t now = worker_now_ms(s->w);
    struct err err = {0};

    if (s->env.deadline > 0 && now >= s->env.deadline) {
        err_rule(&s->err, ERR_FORMAT, "expired",
                 "job %s: its deadline passed before it could start", s->name);
        return step_finish(s, RESULT_EXPIRED);
    }
    if (!s->env.has_k && s->env.not_before > now)
        return step_put_off(s, s->env.not_before);
    if (s->reclaims >= STEP_POISON) {
        err_rule(&err, ERR_FORMAT, "poison",
                 "job %s: %" PRIu32 " workers died while they held it; look at what it does",
                 s->name, s->reclaims);
        return step_bury(s, &err);
    }
    if (s->reclaims >= STEP_SUSPECT) {
        if (other_suspect(s))
            return step_put_off(s, now + SUSPECT_WAIT_MS / 2 + id_uniform_ms(SUSPECT_WAIT_MS));
        s->suspect = true;
    }
    if (s->env.call.conn.len == 0) {
        err_rule(&err, ERR_FORMAT, "connection_missing",
                 "job %s: call.conn must name the connection to act for", s->name);
        return step_bury(s, &err);
    }
    return look(s, false, STEP_ADMITTING);
}

/* The record is there and no record: to ask again would give the same, and hold a slot for it. */
static enum step_state bury_unreadable(struct step *s)
{
    struct err err = {0};

    err_rule(&err, ERR_FORMAT, "connection_broken", "job %s: connection %.*s: %s", s->name,
             SLICE_FMT(s->env.call.conn), s->err.msg);
    return step_bury(s, &err);
}

static enum step_state step_admitting(struct step *s)
{
    struct err err = {0};

    if (!s->look_done)
        return STEP_ADMITTING;
    if (!s->looked && s->err.code == ERR_FORMAT)
        return bury_unreadable(s);
    if (!s->looked) { /* Redis is away: hold the job until it is back */
        s->stalled = true;
        return STEP_ADMIT;
    }
    conn_unref(s->conn);
    s->conn = s->looked;
    s->looked = NULL;
    if (s->conn->state == CONN_UNKNOWN)
        err_rule(&err, ERR_NOT_FOUND, "connection_unknown",
                 "job %s: there is no connection %s; create it with: awq-ctl conn apply", s->name,
                 s->conn->id);
    else if (s->conn->state == CONN_GONE)
        err_rule(&err, ERR_DENIED, "connection_disabled",
                 "job %s: connection %s is disabled or removed", s->name, s->conn->id);
    else if (s->conn->state == CONN_BROKEN)
        err_rule(&err, ERR_FORMAT, "connection_broken", "job %s: %s", s->name, s->conn->broken.msg);
    if (err.code)
        return step_bury(s, &err);
    return STEP_LOAD;
}

/* ---- LOAD: an input that was too long to travel in the job ---- */

static void on_input(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct step *s = owner;

    s->err = err ? *err : (struct err){0};
    if (!err && !buf_add_slice(&s->input, redis_reply_str(reply)))
        err_set(&s->err, ERR_NOMEM, "out of memory");
    s->look_done = true;
    step_advance(s);
}

static enum step_state step_build(struct step *s)
{
    struct err err = {0};

    if (s->url.len == 0 && !step_build_request(s, &err))
        return step_bury(s, &err);
    return STEP_AUTHORIZE;
}

static enum step_state step_load(struct step *s)
{
    struct key run;
    char field[WIRE_DIGEST_HEX + 8];

    if (s->k.input_digest.len == 0 || s->input.len > 0)
        return step_build(s);
    key_run(&run, SHARD, slice_cstr(s->run));
    snprintf(field, sizeof field, "i:%.*s", SLICE_FMT(s->k.input_digest));
    const struct slice argv[] = {SLICE_LIT("HGET"), key_slice(&run), slice_cstr(field)};

    s->look_done = false;
    if (!redis_command(s->w->link, ARRAY_LEN(argv), argv, 0, on_input, s, &s->err)) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    return STEP_LOADING;
}

static enum step_state step_loading(struct step *s)
{
    struct err err = {0};
    char digest[WIRE_DIGEST_HEX + 1];

    if (!s->look_done)
        return STEP_LOADING;
    if (s->err.code && s->err.code != ERR_FORMAT) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    seal_digest(buf_slice(&s->input), digest);
    if (!slice_is(s->k.input_digest, digest)) {
        err_rule(&err, ERR_NOT_FOUND, "input_lost",
                 "job %s: the output of its previous step is gone from the run record", s->name);
        return step_bury(s, &err);
    }
    s->k.input = buf_slice(&s->input);
    return step_build(s);
}

/* ---- AUTHORIZE: the lane must be open, and there must be a token ---- */

static enum step_state step_authorize(struct step *s)
{
    int64_t now = worker_now_ms(s->w);

    if (s->conn->cool_ms > now)
        return step_park(s, "lane", s->conn->cool_ms, false);
    token_unref(s->token);
    s->token = tokens_use(s->w->tokens, s->conn);
    if (!s->token) {
        if (s->conn->state != CONN_CONSENT &&
            !(s->conn->state == CONN_BACKOFF && s->conn->next_ms > now))
            tokens_want(s->w->tokens, s->conn, s->conn->ver);
        return step_park(s, "conn", tokens_look_again_ms(s->w->tokens, s->conn), false);
    }
    if (s->conn->cfg->concurrency > 0 && !s->in_lane) {
        if (!lane_ask(s)) {
            s->stalled = true;
            return STEP_ADMIT;
        }
        return STEP_AUTHORIZING;
    }
    return STEP_MARK;
}

static enum step_state step_authorizing(struct step *s)
{
    if (!s->lane_asked)
        return STEP_AUTHORIZING;
    if (s->err.code) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    if (!s->lane_open)
        return step_park(s, "lane", worker_now_ms(s->w) + s->lane_wait_ms, false);
    return STEP_MARK;
}

/* ---- MARK: `ambiguous: dead` must know after a crash whether a call may have left ---- */

static bool must_mark(const struct step *s)
{
    return s->env.call.ambiguous == AMBIGUOUS_DEAD &&
           !http_method_is_idempotent(slice_cstr(s->method)) && !s->marked;
}

/* Two commands, one after the other on one link: write our nonce where nothing is written yet, and
 * read what stands there. Ours, also when an answer was lost on the way: the call may leave, and it
 * has not. Another's: a delivery before this one got as far, and nobody knows how much further. */
static void on_mark_set(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* the reading tells */
}

static void on_mark(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct step *s = owner;

    s->err = err ? *err : (struct err){0};
    s->look_done = true;
    s->marked = !err && slice_is(redis_reply_str(reply), s->nonce);
    if (!err && redis_reply_type(reply) == REDIS_NIL)
        err_set(&s->err, ERR_RETRY, "Redis did not take the mark");
    step_advance(s);
}

static void mark_place(const struct step *s, struct key *run, char *field, size_t size)
{
    key_run(run, SHARD, slice_cstr(s->run));
    snprintf(field, size, "m%" PRIu64 ".%" PRIu32, s->k.seq, s->k.attempt);
}

static enum step_state step_mark(struct step *s)
{
    struct key run;
    char field[64];

    if (!must_mark(s))
        return STEP_SEND;
    mark_place(s, &run, field, sizeof field);
    const struct slice set[] = {SLICE_LIT("HSETNX"), key_slice(&run), slice_cstr(field),
                                slice_cstr(s->nonce)};
    const struct slice get[] = {SLICE_LIT("HGET"), key_slice(&run), slice_cstr(field)};

    s->look_done = false;
    if (!redis_command(s->w->link, ARRAY_LEN(set), set, 0, on_mark_set, s->w, &s->err) ||
        !redis_command(s->w->link, ARRAY_LEN(get), get, 0, on_mark, s, &s->err)) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    return STEP_MARKING;
}

/* The call will not be made here: who takes the job next must not think that it was. */
void step_unmark(struct step *s)
{
    struct key run;
    char field[64];
    struct err err = {0};

    if (!s->marked)
        return;
    s->marked = false;
    mark_place(s, &run, field, sizeof field);
    const struct slice argv[] = {SLICE_LIT("HDEL"), key_slice(&run), slice_cstr(field)};

    /* unanswered it stays, and the job is buried as of unknown outcome: never called twice */
    (void)redis_command(s->w->link, ARRAY_LEN(argv), argv, 0, on_mark_set, s->w, &err);
}

static enum step_state step_marking(struct step *s)
{
    struct err err = {0};

    if (!s->look_done)
        return STEP_MARKING;
    if (s->marked)
        return STEP_SEND;
    if (s->err.code && s->err.code != ERR_FORMAT) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    err_rule(
        &err, ERR_UNKNOWN, "unknown_outcome",
        "job %s: a worker died when its call may have left; it is not repeated (ambiguous: dead)",
        s->name);
    return step_bury(s, &err);
}

/* ---- SEND ---- */

static enum step_state step_send(struct step *s)
{
    struct err err = {0};

    if (s->w->phase == PHASE_DRAINING)
        return step_release(s);
    if (!worker_may_call(s->w)) {
        s->stalled = true;
        return s->marked ? STEP_SEND : STEP_ADMIT;
    }
    /* Taken before nobody heard of us for a lease: it may be another's by now. Release looks at the
     * fence, and gives back what is still ours; a hop of a redirect follows a call that was made.
     */
    if (s->lapses != liveness_lapses(s->w->liveness) && s->redirects == 0)
        return step_release(s);
    if (!step_start_request(s, &err)) {
        if (err.code == ERR_DENIED || err.code == ERR_FORMAT)
            return step_bury(s, &err);
        s->err = err;
        s->sent = HTTP_NOT_SENT;
        return STEP_JUDGE;
    }
    log_event(LOG_DEBUG, EV_JOB_STARTED, F_CSTR("job", s->name));
    return STEP_SENDING;
}

static enum step_state step_sending(struct step *s)
{
    return s->rq ? STEP_SENDING : STEP_JUDGE;
}

/* ---- REFUSE: 401 for a token ---- */

static enum step_state step_refuse(struct step *s)
{
    return look(s, true, STEP_REFUSING);
}

static bool old_enough(const struct step *s)
{
    int64_t life = s->token->exp_ms - s->token->born_ms;
    int64_t limit = life / 2 < 60000 ? life / 2 : 60000;

    return worker_now_ms(s->w) - s->token->born_ms >= limit;
}

static enum step_state step_refusing(struct step *s)
{
    struct token *sent = s->token;

    if (!s->look_done)
        return STEP_REFUSING;
    if (!s->looked && s->err.code == ERR_FORMAT)
        return bury_unreadable(s);
    if (!s->looked) { /* Redis is away, the answer is known: wait, then look again */
        s->stalled = true;
        return STEP_REFUSE;
    }
    conn_unref(s->conn);
    s->conn = s->looked;
    s->looked = NULL;
    if (s->conn->gen != sent->gen || s->conn->ver != sent->ver) {
        if (s->replay_used) /* one replay per attempt; then it is the step's own error */
            return step_finish(s, RESULT_FAILED);
        s->replay_used = true;
        return STEP_AUTHORIZE;
    }
    if (!old_enough(s)) {
        lane_refused_fresh(s);
        return step_finish(s, RESULT_FAILED);
    }
    tokens_refused(s->w->tokens, s->conn, sent->ver);
    return step_park(s, "conn", tokens_look_again_ms(s->w->tokens, s->conn), true);
}

/* ---- LEAVING ---- */

static enum step_state step_leaving(struct step *s)
{
    return s->move.cb ? STEP_LEAVING : STEP_DONE;
}

/* ---- the machine ---- */

static const char *const names[STEP_STATES] = {
    [STEP_FREE] = "free",           [STEP_TAKEN] = "taken",
    [STEP_ADMIT] = "admit",         [STEP_ADMITTING] = "admitting",
    [STEP_LOAD] = "load",           [STEP_LOADING] = "loading",
    [STEP_AUTHORIZE] = "authorize", [STEP_AUTHORIZING] = "authorizing",
    [STEP_MARK] = "mark",           [STEP_MARKING] = "marking",
    [STEP_SEND] = "send",           [STEP_SENDING] = "sending",
    [STEP_JUDGE] = "judge",         [STEP_REFUSE] = "refuse",
    [STEP_REFUSING] = "refusing",   [STEP_LEAVING] = "leaving",
    [STEP_DONE] = "done",
};

static enum step_state (*const functions[STEP_STATES])(struct step *) = {
    [STEP_TAKEN] = step_taken,
    [STEP_ADMIT] = step_admit,
    [STEP_ADMITTING] = step_admitting,
    [STEP_LOAD] = step_load,
    [STEP_LOADING] = step_loading,
    [STEP_AUTHORIZE] = step_authorize,
    [STEP_AUTHORIZING] = step_authorizing,
    [STEP_MARK] = step_mark,
    [STEP_MARKING] = step_marking,
    [STEP_SEND] = step_send,
    [STEP_SENDING] = step_sending,
    [STEP_JUDGE] = step_judge,
    [STEP_REFUSE] = step_refuse,
    [STEP_REFUSING] = step_refusing,
    [STEP_LEAVING] = step_leaving,
};

/* The one place where a step changes state. Runs until a state waits, or the step stalls
 * (steps_resume goes on with it), or it is done. */
void step_advance(struct step *s)
{
    if (s->advancing || s->w->phase == PHASE_STOPPING)
        return; /* a completion inside a state function: that function goes on */
    s->advancing = true;
    while (s->state != STEP_DONE && !s->stalled) {
        enum step_state from = s->state, to = functions[from](s);

        if (to != from)
            log_event(LOG_DEBUG, EV_STEP_STATE, F_CSTR("job", s->name), F_CSTR("from", names[from]),
                      F_CSTR("to", names[to]));
        s->state = to;
        if (to == from)
            break;
    }
    s->advancing = false;
    if (s->state == STEP_DONE)
        step_gone(s);
}

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

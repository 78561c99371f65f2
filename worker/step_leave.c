#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "worker/meters.h"
#include "worker/step_parts.h"

#define BIG_INPUT                                                                                  \
    (64 * 1024) /* a longer input lies in the run record; the job carries its digest */

/* The ways out. Each fills the step's move, submits it, and the step waits in LEAVING for the
 * verdict. */

static void move_begin(struct step *s, enum move_kind kind, move_cb *cb)
{
    s->move = (struct move){
        .kind = kind,
        .queue = &s->w->queues[s->queue],
        .consumer = s->w->id,
        .entry = s->entry,
        .run = s->run,
        .name = s->name,
        .seq = s->bad ? 0 : s->k.seq,
        .nonce = s->nonce,
        .j = buf_slice(&s->j),
        .s = buf_slice(&s->s),
        .reclaims = s->reclaims,
        .queued_ms = s->k.queued_ms,
        .last_error = s->last_error,
        .out = s->bad ? SLICE_LIT("results") : s->env.out,
        .last = s->bad,
        .cb = cb,
        .owner = s,
    };
}

static enum step_state submit(struct step *s)
{
    commit_submit(s->w->commits, &s->move);
    return STEP_LEAVING;
}

static void leave(struct step *s)
{
    s->move.cb = NULL; /* LEAVING goes on to DONE */
    s->stalled = false;
    step_advance(s);
}

/* ---- the result ---- */

static bool is_text(const struct step *s)
{
    return s->env.call.as != AS_RAW && json_is_utf8(buf_slice(&s->answer));
}

static const char *code_of(const struct err *why)
{
    return why->rule[0] ? why->rule : err_code_name(why->code);
}

static void fill_error(const struct err *why, struct result *r)
{
    r->error_code = slice_cstr(code_of(why));
    r->error_title = r->error_code;
    r->error_detail = slice_cstr(why->msg);
}

static void build_result(struct step *s, enum result_state state, bool end, const struct err *why)
{
    struct result r = {
        .id = s->env.id.len > 0 ? s->env.id : slice_cstr(s->run),
        .run = slice_cstr(s->run),
        .step = s->k.position,
        .seq = s->k.seq,
        .end = end,
        .state = state,
        .status = s->status,
        .output = buf_slice(&s->answer),
        .output_type = slice_cstr(
            s->answer.len > 0 ? (s->type[0] ? s->type : "application/octet-stream") : ""),
        .output_is_bin = !is_text(s),
        .attempts = s->k.attempt + 1,
        .times = {s->k.queued_ms, s->started_ms, s->sent_ms, s->answered_ms, worker_now_ms(s->w)},
        .worker = slice_cstr(s->w->id),
        .tp = s->env.tp,
        .redacted = s->redacted,
    };

    if (why && why->code)
        fill_error(why, &r);
    buf_clear(&s->result);
    (void)result_encode(&s->result, &r);
}

/* ---- k: written again, and signed ---- */

static bool sign(struct step *s, struct slice j, struct buf *sig, struct err *err)
{
    struct buf bytes;
    bool ok;

    buf_init(&bytes, j.len + 1024);
    ok = wire_signed_bytes(&bytes, slice_cstr(s->w->set->common.prefix),
                           slice_cstr(s->w->queues[s->queue].name), j) ||
         err_set(err, ERR_NOMEM, "out of memory");
    buf_clear(sig);
    ok = ok && seal_mac(s->w->keys, KEY_RUN, "k", buf_slice(&bytes), sig, err);
    buf_deinit(&bytes);
    return ok;
}

static bool write_k(struct step *s, const struct cont *k, struct err *err)
{
    buf_clear(&s->next_j);
    return envelope_with_k(&s->next_j, &s->env, k, err) &&
           sign(s, buf_slice(&s->next_j), &s->next_s, err);
}

/* ---- finish: commit ---- */

static void on_broken_move(struct step *s, const struct err *why)
{
    struct err err = *why;

    err.rule = "commit_failed";
    s->state = step_bury(s, &err);
}

/* Two clocks a little apart can make it negative. */
static int64_t waited_ms(const struct step *s)
{
    return s->sent_ms > s->k.queued_ms ? s->sent_ms - s->k.queued_ms : 0;
}

static void on_finished(void *owner, struct move *m, enum verdict v, const struct err *why)
{
    struct step *s = owner;
    static const enum log_ev events[] = {
        [VERDICT_DONE] = EV_JOB_COMMITTED,      [VERDICT_LOST] = EV_JOB_LOST,
        [VERDICT_DUPLICATE] = EV_JOB_DUPLICATE, [VERDICT_CANCELLED] = EV_JOB_CANCELLED,
        [VERDICT_FULL] = EV_JOB_LOST,           [VERDICT_BROKEN] = EV_JOB_BURIED,
    };

    if (v == VERDICT_BROKEN) {
        on_broken_move(s, why);
        return;
    }
    meter_step(m->state, worker_now_ms(s->w) - s->started_ms, s->sent_ms > 0 ? waited_ms(s) : -1);
    log_event(v == VERDICT_DONE ? LOG_DEBUG : LOG_INFO, events[v], F_CSTR("job", s->name),
              F_CSTR("state", m->state), F_INT("status", s->status),
              F_INT("attempt", s->k.attempt + 1),
              F_INT("took_ms", worker_now_ms(s->w) - s->started_ms));
    leave(s);
}

static const char *run_state(enum result_state state, bool end)
{
    return end ? result_state_name(state) : "ready";
}

/* The job of the call after this one. A long input does not travel in it. */
static bool write_next(struct step *s, struct err *err)
{
    struct cont k = {
        .branch = s->k.branch,
        .seq = s->k.seq + 1,
        .position = s->k.position + 1,
        .calls = s->k.calls + 1,
        .input = buf_slice(&s->answer),
        .input_type = slice_cstr(s->type),
        .queued_ms = worker_now_ms(s->w),
        .producer = s->k.producer,
    };

    if (s->answer.len > BIG_INPUT) {
        seal_digest(buf_slice(&s->answer), s->big_digest);
        k.input = SLICE_NONE;
        k.input_digest = slice_cstr(s->big_digest);
    }
    return write_k(s, &k, err);
}

static void move_takes_next(struct step *s)
{
    s->move.next_j = buf_slice(&s->next_j);
    s->move.next_s = buf_slice(&s->next_s);
    if (s->big_digest[0]) {
        s->move.big = buf_slice(&s->answer);
        s->move.big_digest = s->big_digest;
    }
}

enum step_state step_finish(struct step *s, enum result_state state)
{
    bool end = state != RESULT_DONE || s->k.position + 1 >= s->env.call_count;
    struct err err = {0};

    if (state == RESULT_FAILED)
        err_rule(&s->err, ERR_FORMAT, "answered", "job %s: the server answered %d", s->name,
                 s->status);
    if (!end && !write_next(s, &err)) {
        err_prefix(&err, "job %s: its next step: ", s->name);
        return step_bury(s, &err);
    }
    build_result(s, state, end, &s->err);
    move_begin(s, MOVE_COMMIT, on_finished);
    s->move.result = buf_slice(&s->result);
    s->move.state = run_state(state, end);
    if (!end)
        move_takes_next(s);
    return submit(s);
}

/* ---- retry, put off, park ---- */

/* An attempt that failed is news, for a provider may be down; waiting for a time or a token is not.
 */
static void log_moved(const struct step *s, const struct move *m, enum verdict v)
{
    bool failed = m->kind == MOVE_RETRY && (s->status > 0 || s->err.code);

    log_event(v == VERDICT_DONE && !failed ? LOG_DEBUG : LOG_INFO,
              v == VERDICT_LOST         ? EV_JOB_LOST
              : v == VERDICT_CANCELLED  ? EV_JOB_CANCELLED
              : v == VERDICT_DUPLICATE  ? EV_JOB_DUPLICATE
              : m->kind == MOVE_PARK    ? EV_JOB_PARKED
              : m->kind == MOVE_RELEASE ? EV_JOB_RELEASED
                                        : EV_JOB_RETRY,
              F_CSTR("job", s->name), F_STR("connection", s->env.call.conn),
              F_INT("attempt", s->k.attempt), F_INT("status", s->status),
              F_INT("wait_ms", failed ? m->at_ms - worker_now_ms(s->w) : 0),
              F_CSTR("resource", m->kind == MOVE_PARK ? m->resource : ""), F_ERR(&s->err));
}

static void on_moved(void *owner, struct move *m, enum verdict v, const struct err *why)
{
    struct step *s = owner;
    bool parked = m->kind == MOVE_PARK;

    if (v == VERDICT_BROKEN) {
        on_broken_move(s, why);
        return;
    }
    if (v == VERDICT_FULL) {
        struct err err = {0};

        err_rule(&err, ERR_NOMEM, "parking_full",
                 "job %s: %" PRId64 " jobs (--park-max) wait for %s already; mend it, then replay",
                 s->name, s->w->set->park_max, m->resource);
        s->state = step_bury(s, &err);
        return;
    }
    log_moved(s, m, v);
    if (parked && v == VERDICT_DONE && strncmp(m->resource, "conn:", 5) == 0)
        tokens_on_parked(s->w->tokens, slice_cstr(m->resource + 5));
    leave(s);
}

/* At its deadline a job ends as expired: no need to keep whoever waits for it any longer. */
static int64_t not_past_deadline(const struct step *s, int64_t at_ms)
{
    return s->env.deadline > 0 && s->env.deadline < at_ms ? s->env.deadline : at_ms;
}

/* What `awq-ctl job get` shows of it until the next one has ended. */
static void note_error(struct step *s)
{
    struct err why = s->err;

    if (why.code == ERR_NONE)
        err_rule(&why, ERR_RETRY, "answered", "the server answered %d", s->status);
    snprintf(s->last_error, sizeof s->last_error, "%" PRIu64 " %" PRIu32 " %d %s %s", s->k.seq,
             s->k.attempt, s->status, code_of(&why), why.msg);
}

/* Another attempt has ended: say so in k. False: buried instead. */
static bool count_attempt(struct step *s, struct err *err)
{
    s->k.attempt++;
    note_error(s);
    return write_k(s, &s->k, err);
}

enum step_state step_retry(struct step *s, int64_t wait_ms)
{
    struct err err = {0};

    if (!count_attempt(s, &err))
        return step_bury(s, &err);
    move_begin(s, MOVE_RETRY, on_moved);
    s->move.at_ms = not_past_deadline(s, worker_now_ms(s->w) + wait_ms);
    s->move.j = buf_slice(&s->next_j);
    s->move.s = buf_slice(&s->next_s);
    s->move.reclaims = 0; /* the worker lived through it */
    return submit(s);
}

/* A letter that a person sent back begins its attempts anew, also when it is set aside first: the
 * queue's mark of that (field x) does not come along, so it is written into k. */
static bool keep_replay(struct step *s, struct err *err)
{
    return !s->env.has_k || s->env.k.attempt == s->k.attempt || write_k(s, &s->k, err);
}

static void use_new_k(struct step *s)
{
    if (s->next_j.len == 0)
        return;
    s->move.j = buf_slice(&s->next_j);
    s->move.s = buf_slice(&s->next_s);
}

enum step_state step_put_off(struct step *s, int64_t at_ms)
{
    struct err err = {0};

    if (!keep_replay(s, &err))
        return step_bury(s, &err);
    move_begin(s, MOVE_RETRY, on_moved);
    s->move.at_ms = not_past_deadline(s, at_ms);
    use_new_k(s);
    return submit(s);
}

enum step_state step_park(struct step *s, const char *kind, int64_t look_ms, bool count)
{
    struct err err = {0};

    if (count && s->k.attempt >= s->env.call.retry_max)
        return step_finish(s, RESULT_FAILED);
    if (count ? !count_attempt(s, &err) : !keep_replay(s, &err))
        return step_bury(s, &err);
    buf_clear(&s->resource);
    buf_addf(&s->resource, "%s:%s", kind, s->conn->id);
    move_begin(s, MOVE_PARK, on_moved);
    s->move.at_ms = s->env.deadline;
    s->move.look_ms = look_ms;
    s->move.resource = s->resource.ptr;
    use_new_k(s);
    return submit(s);
}

enum step_state step_release(struct step *s)
{
    step_unmark(s);
    move_begin(s, MOVE_RELEASE, on_moved);
    return submit(s);
}

/* ---- bury ---- */

static void on_buried(void *owner, struct move *m, enum verdict v, const struct err *why)
{
    struct step *s = owner;

    if (v == VERDICT_BROKEN) { /* its run's record, most likely: leave without touching it */
        struct err err = *why;

        err.rule = "commit_failed";
        s->state = step_bury_bad(s, &err);
        return;
    }
    log_event(v == VERDICT_DONE ? LOG_WARN : LOG_INFO,
              v == VERDICT_LOST        ? EV_JOB_LOST
              : v == VERDICT_DUPLICATE ? EV_JOB_DUPLICATE
                                       : EV_JOB_BURIED,
              F_CSTR("job", s->name), F_CSTR("code", m->code), F_CSTR("text", m->text));
    if (v == VERDICT_DONE)
        meter_step("dead", worker_now_ms(s->w) - s->started_ms, -1);
    leave(s);
}

enum step_state step_bury(struct step *s, const struct err *why)
{
    struct err err = *why;

    snprintf(s->code, sizeof s->code, "%s", code_of(&err));
    snprintf(s->text, sizeof s->text, "%s", err.msg);
    build_result(s, RESULT_DEAD, true, &err);
    move_begin(s, MOVE_BURY, on_buried);
    s->move.code = s->code;
    s->move.text = s->text;
    s->move.result = buf_slice(&s->result);
    return submit(s);
}

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "worker/step_parts.h"

/* What came, and may it start at all? */

#define SUSPECT_WAIT_MS 500 /* a second suspect comes back after about so long */

/* ---- TAKEN: what is it? ---- */

/* A stream id begins with its time in ms (redis.io, streams intro): when the job was queued. */
static int64_t entry_ms(const struct step *s)
{
    struct slice id = slice_cstr(s->entry);
    int64_t ms = 0;

    if (s->moved_ms > 0) /* into the lane: the entry's id tells when that was */
        return s->moved_ms;
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

/* The envelope, and a k that is ours. */
static bool open_envelope(struct step *s, struct err *err)
{
    if (s->bad)
        return err_rule(err, ERR_FORMAT, "envelope_field_missing",
                        "entry %s: no field j with the envelope", s->entry);
    if (s->cut_from > 0)
        return err_rule(err, ERR_FORMAT, "envelope_too_big",
                        "entry %s: the envelope has %zu bytes, more than the %" PRId64
                        " allowed; only its head is kept",
                        s->entry, s->cut_from, s->w->set->job_max_bytes);
    if (!envelope_decode(&s->env, buf_slice(&s->j), (size_t)s->w->set->job_max_bytes, err)) {
        if (s->env.id.len > 0)
            err_prefix(err, "job %.*s: ", SLICE_FMT(s->env.id));
        return false;
    }
    return k_is_ours(s) ||
           err_rule(err, ERR_DENIED, "k_forged",
                    "job %.*s: its continuation k was not written by a worker of this install",
                    SLICE_FMT(s->env.id));
}

/* Where the run stands, and what the job is called there. */
static bool find_place(struct step *s, struct err *err)
{
    struct job_name name;
    char text[JOB_NAME_MAX];

    s->k = s->env.k;
    if (s->k.queued_ms == 0)
        s->k.queued_ms = entry_ms(s);
    if (s->replayed)
        s->k.attempt = 0;
    name = (struct job_name){s->env.id, s->k.branch, s->k.seq};
    if (!slice_copy(s->env.id, s->run, sizeof s->run) || !job_name_build(&name, text))
        return err_rule(err, ERR_FORMAT, "k_invalid", "job %.*s: k names no place",
                        SLICE_FMT(s->env.id));
    snprintf(s->name, sizeof s->name, "%s", text);
    return true;
}

enum step_state step_taken(struct step *s)
{
    struct err err = {0};

    s->started_ms = worker_now_ms(s->w);
    if (!open_envelope(s, &err) || !find_place(s, &err))
        return step_bury_bad(s, &err);
    if (s->env.tenant.len > 0)
        s->w->queues[s->queue].tenant_boot_ms = clock_boot_ms();
    log_event(LOG_DEBUG, EV_JOB_TAKEN, F_CSTR("job", s->name), F_CSTR("entry", s->entry));
    return STEP_VOUCH;
}

/* ---- ADMIT: may it start at all? ---- */

static void on_look(void *owner, struct conn *c, const struct err *err)
{
    struct step *s = owner;

    s->look_done = true;
    s->looked = c;
    s->err = err ? *err : (struct err){0};
    step_advance(s);
}

enum step_state step_look(struct step *s, bool fresh, enum step_state waits)
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

enum step_state step_admit(struct step *s)
{
    int64_t now = worker_now_ms(s->w);
    struct err err = {0};

    if (s->env.deadline > 0 && now >= s->env.deadline) {
        if (s->k.attempt > 0)
            err_rule(&s->err, ERR_FORMAT, "expired",
                     "job %s: its deadline passed before another attempt; %" PRIu32
                     " %s made, which may have been acted on",
                     s->name, s->k.attempt, s->k.attempt == 1 ? "was" : "were");
        else
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
        if (steps_other_suspect(s))
            return step_put_off(s, now + SUSPECT_WAIT_MS / 2 + id_uniform_ms(SUSPECT_WAIT_MS));
        s->suspect = true;
    }
    if (s->env.call.conn.len == 0) {
        err_rule(&err, ERR_FORMAT, "connection_missing",
                 "job %s: call.conn must name the connection to act for", s->name);
        return step_bury(s, &err);
    }
    return step_look(s, false, STEP_ADMITTING);
}

/* The record is there and no record: to ask again would give the same, and hold a slot for it. */
enum step_state step_bury_unreadable(struct step *s)
{
    struct err err = {0};

    err_rule(&err, ERR_FORMAT, "connection_broken", "job %s: connection %.*s: %s", s->name,
             SLICE_FMT(s->env.call.conn), s->err.msg);
    return step_bury(s, &err);
}

enum step_state step_admitting(struct step *s)
{
    struct err err = {0};

    if (!s->look_done)
        return STEP_ADMITTING;
    if (!s->looked && s->err.code == ERR_FORMAT)
        return step_bury_unreadable(s);
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
        err_rule(&err, ERR_DENIED, "connection_removed", "job %s: connection %s was removed",
                 s->name, s->conn->id);
    else if (s->conn->state != CONN_BROKEN &&
             !conn_takes_producer(s->conn, slice_cstr(s->producer)))
        err_rule(&err, ERR_DENIED, "policy_producer",
                 "job %s: connection %s takes jobs of certain producers only (policy.producers), "
                 "and %s%s",
                 s->name, s->conn->id,
                 s->producer[0] ? "this one is of " : "nobody signed this one", s->producer);
    else if (s->conn->state == CONN_BROKEN)
        err_rule(&err, ERR_FORMAT, "connection_broken", "job %s: %s", s->name, s->conn->broken.msg);
    if (err.code)
        return step_bury(s, &err);
    return STEP_LOAD;
}

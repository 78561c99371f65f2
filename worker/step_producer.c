#include "common/key.h"
#include "worker/producers.h"
#include "worker/step_parts.h"

/* VOUCH: who put this job, and may it? Jobs that nobody signed come from those who may write to the
 * queue itself; with --require-signed that is not enough. */

static enum step_state refuse(struct step *s, struct err *why)
{
    err_prefix(why, "job %.*s: ", SLICE_FMT(s->env.id));
    return step_bury_bad(s, why); /* its id may be somebody else's: no run is touched */
}

/* The first step brings the producer's own signature; for later ones a worker has signed. */
static bool may(struct step *s, const struct producer *p, struct err *err)
{
    struct producer_job job = {
        .prefix = slice_cstr(s->w->set->common.prefix),
        .queue = slice_cstr(s->w->queues[s->queue].name),
        .j = buf_slice(&s->j),
        .id = s->env.id,
        .connections = s->env.conns,
        .connection_count = s->env.call_count,
        .out = s->env.out,
        .iat = s->env.iat,
        .deadline = s->env.deadline,
    };
    struct slice name;

    if (s->env.has_k)
        return producer_may_connect(p, s->env.call.conn, err);
    return producer_split(buf_slice(&s->s), &job.signature, &name) &&
           producer_check(p, &job, worker_now_ms(s->w), s->w->set->dedup_ms, err);
}

/* ---- VOUCHING: is it a copy? ---- */

static bool has_ended(struct slice state)
{
    return slice_is(state, "done") || slice_is(state, "failed") || slice_is(state, "expired") ||
           slice_is(state, "cancelled");
}

/* Where its run stands: committed already, set aside, or at its end. Then the move below tells for
 * sure. */
static void on_run(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct step *s = owner;
    struct slice committed = redis_reply_str(redis_reply_at(reply, 0));
    struct slice place = redis_reply_str(redis_reply_at(reply, 1));
    bool aside = place.len > 0 && !slice_starts(place, SLICE_LIT("q:"));

    s->err = err ? *err : (struct err){0};
    s->copied = !err && (committed.len > 0 || aside ||
                         has_ended(redis_reply_str(redis_reply_at(reply, 2))));
    s->look_done = true;
    step_advance(s);
}

static enum step_state look_at_run(struct step *s)
{
    struct key run;

    key_run(&run, SHARD, slice_cstr(s->run));
    const struct slice argv[] = {SLICE_LIT("HMGET"), key_slice(&run), SLICE_LIT("c0"),
                                 SLICE_LIT("pl"), SLICE_LIT("st")};

    s->look_done = false;
    if (redis_command(s->w->link, ARRAY_LEN(argv), argv, 0, on_run, s, &s->err))
        return STEP_VOUCHING;
    s->stalled = true;
    return STEP_VOUCH;
}

enum step_state step_vouching(struct step *s)
{
    struct err err = {0};

    if (!s->look_done)
        return STEP_VOUCHING;
    if (s->err.code == ERR_FORMAT) { /* to ask again would give the same, and hold a slot for it */
        err_rule(&err, ERR_FORMAT, "run_broken",
                 "something else stands where the record of its run would be: %s", s->err.msg);
        return refuse(s, &err);
    }
    if (s->err.code) {
        s->stalled = true;
        return STEP_VOUCH;
    }
    /* A signed job can be copied by whoever sees it. To set it aside finds that its name is placed,
     * or its SEQ passed, and drops it; nothing is called meanwhile. */
    return s->copied ? step_put_off(s, worker_now_ms(s->w)) : STEP_ADMIT;
}

/* ---- VOUCH ---- */

enum step_state step_vouch(struct step *s)
{
    struct slice name = s->env.k.producer, signature;
    const struct producer *p;
    struct err err = {0};

    if (!s->env.has_k && buf_slice(&s->s).len > 0 &&
        !producer_split(buf_slice(&s->s), &signature, &name)) {
        err_rule(&err, ERR_DENIED, "signature_bad", "its field s is no producer's signature");
        return refuse(s, &err);
    }
    if (name.len == 0) {
        if (s->env.has_k || !s->w->set->require_signed)
            return STEP_ADMIT;
        err_rule(
            &err, ERR_DENIED, "unsigned",
            "it is not signed by a producer, and this worker takes no other (--require-signed)");
        return refuse(s, &err);
    }
    if (!producers_find(s->w->producers, name, &p)) {
        s->stalled = true;
        return STEP_VOUCH;
    }
    if (!p)
        err_rule(&err, ERR_DENIED, "producer_unknown",
                 "there is no producer %.*s; awq-ctl producer add", SLICE_FMT(name));
    else if (may(s, p, &err)) {
        slice_copy(name, s->producer, sizeof s->producer);
        s->k.producer = slice_cstr(s->producer);
        return s->env.has_k ? STEP_ADMIT : look_at_run(s);
    }
    if (!s->env.has_k)
        return refuse(s, &err);
    err_prefix(&err, "job %s: ", s->name);
    return step_bury(s, &err);
}

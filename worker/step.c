#include "worker/step.h"

#include "common/log.h"
#include "worker/liveness.h"
#include "worker/step_parts.h"

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

/* ---- LEAVING ---- */

static enum step_state step_leaving(struct step *s)
{
    return s->move.cb ? STEP_LEAVING : STEP_DONE;
}

/* ---- the machine ---- */

static const char *const names[STEP_STATES] = {
    [STEP_FREE] = "free",           [STEP_TAKEN] = "taken",
    [STEP_VOUCH] = "vouch",         [STEP_VOUCHING] = "vouching",
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
    [STEP_VOUCH] = step_vouch,
    [STEP_VOUCHING] = step_vouching,
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

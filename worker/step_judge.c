#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "worker/lane.h"
#include "worker/step_parts.h"

/* What an attempt's end means. Everything here follows from what is known: not sent, maybe sent,
 * answered. */

/* Full jitter, and never sooner than the server asked (RFC 9110 section 10.2.3). */
static int64_t backoff(const struct step *s)
{
    int64_t wait = id_backoff_ms(s->env.call.retry_base_ms, s->env.call.retry_cap_ms, s->k.attempt);

    if (s->retry_after_ms > 0)
        wait = s->retry_after_ms + wait;
    return wait;
}

enum step_state step_again(struct step *s)
{
    return step_again_after(s, 0);
}

enum step_state step_again_after(struct step *s, int64_t least_ms)
{
    struct err why = s->err;
    int64_t wait_ms = backoff(s);

    if (s->k.attempt < s->env.call.retry_max)
        return step_retry(s, wait_ms > least_ms ? wait_ms : least_ms);
    if (why.code == ERR_NONE)
        err_set(&why, ERR_RETRY, "the last answer was %d", s->status);
    err_prefix(&why, "job %s: gave up after %u attempt%s: ", s->name, (unsigned)s->k.attempt + 1,
               s->k.attempt == 0 ? "" : "s");
    why.rule = "retries_exhausted";
    return step_bury(s, &why);
}

static enum step_state judge_not_sent(struct step *s)
{
    if (s->aborted || s->err.code == ERR_CANCELLED || s->err.code == ERR_LOST)
        return step_release(s);
    if (s->err.code == ERR_DENIED) { /* the address that a name led to */
        err_prefix(&s->err, "job %s: ", s->name);
        return step_bury(s, &s->err);
    }
    return step_again(s);
}

/* As the job says; else what may be repeated (RFC 9110 section 9.2.2), or carries a key by which
 * the far side can drop the repeat. */
static bool may_repeat(const struct step *s)
{
    switch (s->env.call.ambiguous) {
    case AMBIGUOUS_RETRY:
        return true;
    case AMBIGUOUS_DEAD:
        return false;
    case AMBIGUOUS_AUTO:
        break;
    }
    return http_method_is_idempotent(slice_cstr(s->method)) || s->env.call.idem != IDEM_NONE;
}

/* Its outcome is unknown. */
static enum step_state judge_maybe_sent(struct step *s)
{
    struct err why = s->err;

    if (s->err.code == ERR_FORMAT &&
        s->err.rule[0]) { /* too big and the like: a repeat gives the same */
        err_prefix(&s->err, "job %s: ", s->name);
        return step_bury(s, &s->err);
    }
    if (may_repeat(s)) {
        if (s->aborted)
            return step_retry(s, 0);
        return step_again(s);
    }
    err_prefix(&why, "job %s: unknown outcome, not repeated: ", s->name);
    why.rule = "unknown_outcome";
    return step_bury(s, &why);
}

static bool is_passing(int status)
{
    return status == 408 || status == 425 || status == 429 || status == 500 || status == 502 ||
           status == 503 || status == 504;
}

/* What the API says of its limits holds for all workers. Another site's, where a redirect led
 * without the token, are no limits of this connection. */
static void heed_limits(struct step *s)
{
    bool asked =
        s->too_much || (is_passing(s->status) && (s->status == 429 || s->retry_after_ms > 0));
    int64_t wait = asked ? backoff(s) : 0;

    if (s->spent_ms > wait && !s->drop_token)
        wait = s->spent_ms;
    if (wait > 0)
        lane_close(s, wait);
}

static enum step_state judge_answer(struct step *s)
{
    struct err err = {0};

    if (s->status != 401)
        s->conn->refused_fresh = 0;
    heed_limits(s);
    if (step_is_redirect(s)) {
        if (step_follow_redirect(s, &err))
            return STEP_SEND;
        return step_bury(s, &err);
    }
    if (s->too_much)
        return step_again(s);
    if (s->status >= 200 && s->status <= 299)
        return step_finish(s, RESULT_DONE);
    /* RFC 9449 section 9: the proof was refused, not the token; once an attempt */
    if (s->status == 401 && s->challenge == CHALLENGE_USE_NONCE && s->conn->dpop &&
        !s->drop_token && !s->nonce_used) {
        s->nonce_used = true;
        return STEP_SEND;
    }
    /* RFC 6750 section 3: invalid_token, or a bare 401 as many servers send; insufficient_scope is
     * no reason to renew, whatever the status */
    if (s->status == 401 && !s->drop_token && s->challenge != CHALLENGE_INSUFFICIENT_SCOPE)
        return STEP_REFUSE;
    if (is_passing(s->status))
        return step_again(s);
    return step_finish(s, RESULT_FAILED);
}

enum step_state step_judge(struct step *s)
{
    lane_judge(s);
    switch (s->sent) {
    case HTTP_NOT_SENT:
        return judge_not_sent(s);
    case HTTP_MAYBE_SENT:
        return judge_maybe_sent(s);
    case HTTP_ANSWERED:
        return judge_answer(s);
    }
    return step_release(s);
}

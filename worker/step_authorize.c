#include "worker/lane.h"
#include "worker/step_parts.h"

/* Whose token, and may a call to its account begin now; and what follows when the API refuses it.
 */

/* ---- AUTHORIZE: the lane must be open, and there must be a token ---- */

/* A call that the account's owner did not allow would be refused there: say so before it is made.
 */
static bool has_scopes(const struct step *s, struct err *err)
{
    const struct call *c = &s->env.call;

    for (size_t i = 0; i < c->need_count; i++) {
        if (!conn_has_scope(s->conn, c->needs[i]))
            return err_rule(
                err, ERR_DENIED, "scope_not_granted",
                "job %s: connection %s was not granted the scope %.*s; link its account "
                "again with it, then replay",
                s->name, s->conn->id, SLICE_FMT(c->needs[i]));
    }
    return true;
}

enum step_state step_authorize(struct step *s)
{
    int64_t now = worker_now_ms(s->w);
    struct err err = {0};

    if (s->conn->cool_ms > now)
        return step_park(s, "lane", s->conn->cool_ms, false);
    token_unref(s->token);
    s->token = tokens_use(s->w->tokens, s->conn);
    if (!s->token) {
        if (!tokens_waits_for_a_person(s->conn) &&
            !(s->conn->state == CONN_BACKOFF && s->conn->next_ms > now))
            tokens_want(s->w->tokens, s->conn, s->conn->ver);
        return step_park(s, "conn", tokens_look_again_ms(s->w->tokens, s->conn), false);
    }
    if (!has_scopes(s, &err) || !step_has_token(s, &err))
        return step_bury(s, &err);
    if (lane_is_limited(s->conn) && !s->lane_open) {
        if (!lane_ask(s)) {
            s->stalled = true;
            return STEP_ADMIT;
        }
        return STEP_AUTHORIZING;
    }
    return STEP_MARK;
}

enum step_state step_authorizing(struct step *s)
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

/* ---- REFUSE: 401 for a token ---- */

enum step_state step_refuse(struct step *s)
{
    return step_look(s, true, STEP_REFUSING);
}

/* How long until its token is old enough to be renewed because of a refusal; 0 = it is. */
static int64_t too_fresh_ms(const struct step *s)
{
    int64_t life = s->token->exp_ms - s->token->born_ms;
    int64_t limit = life / 2 < 60000 ? life / 2 : 60000;
    int64_t age = worker_now_ms(s->w) - s->token->born_ms;

    return age < limit ? limit - age : 0;
}

enum step_state step_refusing(struct step *s)
{
    struct token *sent = s->token;
    int64_t fresh_ms;

    if (!s->look_done)
        return STEP_REFUSING;
    if (!s->looked && s->err.code == ERR_FORMAT)
        return step_bury_unreadable(s);
    if (!s->looked) { /* Redis is away, the answer is known: wait, then look again */
        s->stalled = true;
        return STEP_REFUSE;
    }
    conn_unref(s->conn);
    s->conn = s->looked;
    s->looked = NULL;
    if (s->conn->gen != sent->gen || s->conn->ver != sent->ver) {
        if (s->replay_used) /* one replay per attempt */
            return step_again(s);
        s->replay_used = true;
        return STEP_AUTHORIZE;
    }
    fresh_ms = too_fresh_ms(s);
    if (fresh_ms > 0) {
        lane_refused_fresh(s, fresh_ms);
        /* Its grant may be gone: by the next attempt the token may be renewed, and then it is
         * known. A job whose attempts were used up before that would be lost. */
        return step_again_after(s, fresh_ms);
    }
    tokens_refused(s->w->tokens, s->conn, sent->ver);
    return step_park(s, "conn", tokens_look_again_ms(s->w->tokens, s->conn), true);
}

#include "worker/lane.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"
#include "worker/step_parts.h"

#define REFUSED_LIMIT   3 /* fresh tokens refused in a row before the lane closes */
#define REFUSED_WAIT_MS 30000
#define HOLD_BASE_MS    "1000" /* the breaker: for so long at first, twice as long each time */
#define HOLD_CAP_MS     "60000"
#define LEAVE_SLACK_MS  30000 /* over the longest step: time for its commit */

static void member_of(const struct step *s, char *out, size_t size)
{
    snprintf(out, size, "%s/%s", s->w->id, s->entry);
}

bool lane_is_limited(const struct conn *c)
{
    return c->cfg && (c->held || c->cfg->concurrency > 0 || c->cfg->rate_calls > 0);
}

/* member "": only a look. */
static bool ask(struct worker *w, const struct conn *c, const char *member, redis_cb *cb,
                void *owner, struct err *err)
{
    const struct connection_cfg *cfg = c->cfg;
    struct key lane, conn;
    char slots[16], hold[24], every[40], burst[16];

    key_conn_lane(&lane, slice_cstr(c->id));
    key_conn(&conn, slice_cstr(c->id));
    snprintf(slots, sizeof slots, "%" PRIu32, cfg->concurrency);
    snprintf(hold, sizeof hold, "%" PRId64, w->set->step_max_ms + LEAVE_SLACK_MS);
    snprintf(every, sizeof every, "%.9g",
             cfg->rate_calls > 0 ? (double)cfg->rate_ms / cfg->rate_calls : 0.0);
    snprintf(burst, sizeof burst, "%" PRIu32, connection_burst(cfg));
    const struct slice argv[] = {key_slice(&lane),   key_slice(&conn), slice_cstr(slots),
                                 slice_cstr(member), slice_cstr(hold), slice_cstr(every),
                                 slice_cstr(burst)};

    return redis_script(w->link, SCRIPT_admit, 2, ARRAY_LEN(argv), argv, cb, owner, err);
}

static void on_admit(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct step *s = owner;

    s->lane_asked = true;
    s->err = err ? *err : (struct err){0};
    s->lane_open = !err && redis_reply_int(redis_reply_at(reply, 0), 0) > 0;
    s->probing = !err && redis_reply_int(redis_reply_at(reply, 0), 0) == 2;
    s->in_lane = s->lane_open && s->conn->cfg->concurrency > 0;
    s->lane_wait_ms = redis_reply_int(redis_reply_at(reply, 1), 1000);
    step_advance(s);
}

bool lane_ask(struct step *s)
{
    char member[WORKER_ID_MAX + 64];
    struct err err = {0};

    member_of(s, member, sizeof member);
    s->lane_asked = false;
    return ask(s->w, s->conn, member, on_admit, s, &err);
}

bool lane_look(struct worker *w, const struct conn *c, redis_cb *cb, void *owner, struct err *err)
{
    return ask(w, c, "", cb, owner, err);
}

static void on_depart(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* the slot frees itself in time */
}

/* ---- the breaker ---- */

static void on_outcome(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct conn *c = owner;
    struct slice said = redis_reply_str(redis_reply_at(reply, 0));
    int64_t until = redis_reply_int(redis_reply_at(reply, 1), 0);

    if (!err && slice_is(said, "OPENED")) { /* here at once, elsewhere by the hint */
        c->held = true;
        c->cool_ms = until > c->cool_ms ? until : c->cool_ms;
        log_event(LOG_WARN, EV_LANE_CLOSED, F_CSTR("connection", c->id),
                  F_CSTR("why", "failures in a row"),
                  F_INT("times", redis_reply_int(redis_reply_at(reply, 2), 0)));
    } else if (!err && slice_is(said, "CLOSED")) {
        c->held = false;
        log_event(LOG_INFO, EV_LANE_OPENED, F_CSTR("connection", c->id));
        tokens_wake(c->home, "lane", c->id);
    }
    conn_unref(c); /* unanswered: the probe is given up in time, a count is one too low */
}

static void report(struct step *s, const char *outcome)
{
    struct key conn, changed;
    char member[WORKER_ID_MAX + 64], limit[16], dice[16];
    struct err err = {0};

    key_conn(&conn, slice_cstr(s->conn->id));
    key_changed(&changed);
    member_of(s, member, sizeof member);
    snprintf(limit, sizeof limit, "%" PRIu32, s->conn->cfg->breaker);
    snprintf(dice, sizeof dice, "%" PRId64, id_uniform_ms(1000));
    const struct slice argv[] = {
        key_slice(&conn),  slice_cstr(outcome),     slice_cstr(member),
        slice_cstr(limit), SLICE_LIT(HOLD_BASE_MS), SLICE_LIT(HOLD_CAP_MS),
        slice_cstr(dice),  key_slice(&changed),     slice_cstr(s->conn->id)};

    s->probing = false;
    conn_ref(s->conn);
    if (!redis_script(s->w->link, SCRIPT_outcome, 1, ARRAY_LEN(argv), argv, on_outcome, s->conn,
                      &err))
        conn_unref(s->conn);
}

enum word { SAYS_NOTHING, SAYS_FINE, SAYS_FAILED };

/* 5xx, timeouts and link errors are the far side's; 4xx is an answer, and what never left for a
 * reason of ours says nothing. */
static enum word word_of(const struct step *s)
{
    if (s->drop_token) /* another site, where a redirect led */
        return SAYS_NOTHING;
    if (s->sent == HTTP_ANSWERED)
        return s->status >= 500 ? SAYS_FAILED : SAYS_FINE;
    if (!s->aborted && (s->err.code == ERR_UNREACHABLE || s->err.code == ERR_UNKNOWN))
        return SAYS_FAILED;
    return SAYS_NOTHING;
}

void lane_judge(struct step *s)
{
    enum word word = word_of(s);
    bool counts = s->conn->cfg->breaker > 0 && !s->conn->held;

    if (word == SAYS_NOTHING)
        return;
    if (s->probing || (counts && (word == SAYS_FAILED || s->conn->failing))) {
        s->conn->failing = word == SAYS_FAILED;
        report(s, word == SAYS_FAILED ? "failed" : "fine");
    }
}

void lane_leave(struct step *s)
{
    struct key lane;
    char member[WORKER_ID_MAX + 64];
    struct err err = {0};

    if (s->probing)
        report(s, "none");
    if (!s->in_lane)
        return;
    s->in_lane = false;
    key_conn_lane(&lane, slice_cstr(s->conn->id));
    member_of(s, member, sizeof member);
    const struct slice argv[] = {key_slice(&lane), slice_cstr(member)};

    (void)redis_script(s->w->link, SCRIPT_depart, 1, ARRAY_LEN(argv), argv, on_depart, s->w, &err);
    tokens_wake(s->w->tokens, "lane", s->conn->id);
}

void lane_close(struct step *s, int64_t ms)
{
    struct key conn, changed;
    char wait[24], status[16];
    struct err err = {0};
    int64_t until = worker_now_ms(s->w) + ms;

    key_conn(&conn, slice_cstr(s->conn->id));
    key_changed(&changed);
    snprintf(wait, sizeof wait, "%" PRId64, ms);
    snprintf(status, sizeof status, "%d", s->status);
    const struct slice argv[] = {key_slice(&conn), slice_cstr(wait), key_slice(&changed),
                                 slice_cstr(s->conn->id), slice_cstr(status)};

    if (until <= s->conn->cool_ms)
        return;
    s->conn->cool_ms = until; /* here at once, elsewhere by the hint or the next look */
    log_event(LOG_WARN, EV_LANE_CLOSED, F_CSTR("connection", s->conn->id),
              F_INT("status", s->status), F_INT("for_ms", ms));
    (void)redis_script(s->w->link, SCRIPT_cool, 1, ARRAY_LEN(argv), argv, on_depart, s->w, &err);
}

void lane_refused_fresh(struct step *s, int64_t fresh_ms)
{
    int64_t wait_ms = REFUSED_WAIT_MS / 2 + id_uniform_ms(REFUSED_WAIT_MS / 2);

    log_event(LOG_WARN, EV_TOKEN_REFUSED, F_CSTR("connection", s->conn->id), F_CSTR("job", s->name),
              F_UINT("ver", s->token->ver));
    if (++s->conn->refused_fresh >= REFUSED_LIMIT) {
        s->conn->refused_fresh = 0;
        lane_close(s, wait_ms < fresh_ms ? wait_ms : fresh_ms);
    }
}

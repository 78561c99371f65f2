/* P:conns: when a renewer should look at a connection. A score below 0 is an ask: minus the time
 * (ms, Redis' clock) at which somebody wanted a new token. From 0 on it is the time at which to
 * look although nobody asks: for a refresh token that dies unless it is used. */
#include "worker/renew_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/id.h"
#include "common/log.h"
#include "worker/worker.h"

#define NEVER_MS     INT64_C(9007199254740991) /* the largest whole number of a score */
#define ASK_AGAIN_MS 2000 /* one that was lost, or dropped with who took it up */

static void on_indexed(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* an index: the record decides */
}

void renew_index_put(struct worker *w, const char *id, int64_t at_ms)
{
    struct key conns;
    char at[24];
    struct err err = {0};

    key_conns(&conns);
    snprintf(at, sizeof at, "%" PRId64, at_ms);
    const struct slice argv[] = {SLICE_LIT("ZADD"), key_slice(&conns), slice_cstr(at),
                                 slice_cstr(id)};

    (void)redis_command(w->link, ARRAY_LEN(argv), argv, 0, on_indexed, w, &err);
}

void renew_index_ask(struct worker *w, struct conn *c)
{
    int64_t now = clock_boot_ms();
    struct key conns, changed;
    char score[24];
    struct err err = {0};

    if (c->asked_boot_ms > 0 && now - c->asked_boot_ms < ASK_AGAIN_MS)
        return; /* thousands of jobs may want the same token */
    key_conns(&conns);
    key_changed(&changed);
    /* What was stored since this worker looked is what it asks for. */
    snprintf(score, sizeof score, "%" PRId64,
             -(worker_now_ms(w) - (c->looked_ms > 0 ? now - c->looked_ms : 0)));
    const struct slice ask[] = {SLICE_LIT("ZADD"), key_slice(&conns), SLICE_LIT("LT"),
                                slice_cstr(score), slice_cstr(c->id)};
    const struct slice hint[] = {SLICE_LIT("PUBLISH"), key_slice(&changed), SLICE_LIT("?")};

    if (redis_command(w->link, ARRAY_LEN(ask), ask, 0, on_indexed, w, &err))
        c->asked_boot_ms = now;
    (void)redis_command(w->link, ARRAY_LEN(hint), hint, 0, on_indexed, w, &err);
}

/* Well before the refresh token is too old: there may be an outage to wait for. */
static int64_t look_at_ms(const struct connection_cfg *cfg, int64_t born_ms)
{
    return cfg->max_idle_ms > 0 ? born_ms + cfg->max_idle_ms / 5 * 4 : NEVER_MS;
}

void renew_index_stored(struct worker *w, const char *id, const struct connection_cfg *cfg,
                        int64_t born_ms)
{
    renew_index_put(w, id, look_at_ms(cfg, born_ms));
}

struct ask {
    struct worker *w;
    int64_t at_ms; /* when somebody asked for a renewal; 0 = nobody, it is time to look */
};

/* Nobody asked: renew what would die of age, and leave all others alone. */
static void on_due_conn(struct worker *w, struct conn *c)
{
    int64_t at = c->cfg ? look_at_ms(c->cfg, c->born_ms) : NEVER_MS;

    if (at > worker_now_ms(w))
        renew_index_put(w, c->id, at);
    else if (c->state == CONN_OK || c->state == CONN_BACKOFF)
        tokens_want(w->tokens, c, c->ver); /* and else it is looked at again after a lease */
}

static void on_asked_conn(void *owner, struct conn *c, const struct err *err)
{
    struct ask *a = owner;

    if (!err && a->at_ms == 0) {
        on_due_conn(a->w, c);
        conn_unref(c);
        free(a);
        return;
    }
    /* a token that was born since is what was asked for */
    if (!err && (c->state == CONN_OK || c->state == CONN_BACKOFF) && c->born_ms <= a->at_ms) {
        /* A renewal under way here may be of the grant before this one, and dropped: ask again. */
        if (c->renewal)
            renew_index_put(a->w, c->id, -a->at_ms);
        else
            tokens_want(a->w->tokens, c, c->ver);
    }
    if (!err)
        conn_unref(c);
    free(a);
}

/* No connection can have this name; the asks behind it are not to wait for it. */
static void drop_ask(struct worker *w, struct slice member)
{
    struct key conns;
    struct err err = {0};

    key_conns(&conns);
    const struct slice argv[] = {SLICE_LIT("ZREM"), key_slice(&conns), member};

    log_event(LOG_WARN, EV_HOUSE_JUNK, F_CSTR("place", "conns"),
              F_STR("name", slice_sub(member, 0, ID_MAX)),
              F_CSTR("became", "nothing: it names nothing of awq's"));
    (void)redis_command(w->link, ARRAY_LEN(argv), argv, 0, on_indexed, w, &err);
}

static void take_up(struct worker *w, struct slice member, int64_t score)
{
    struct ask *a;
    char id[ID_MAX + 1];
    struct conn *c;
    struct err err = {0};

    if (!id_is_connection(member)) {
        drop_ask(w, member);
        return;
    }
    a = calloc(1, sizeof *a);
    if (!a || !slice_copy(member, id, sizeof id)) {
        free(a);
        return;
    }
    *a = (struct ask){w, score < 0 ? -score : 0};
    renew_index_put(w, id, worker_now_ms(w) + w->set->renew_lease_ms);
    if (tokens_look(w->tokens, slice_cstr(id), true, &c, on_asked_conn, a, &err) != LOOK_LATER)
        free(a);
}

static void on_asked(void *owner, const struct redis_reply *reply, const struct err *err)
{
    for (size_t i = 0; !err && i + 1 < redis_reply_len(reply); i += 2)
        take_up(owner, redis_reply_str(redis_reply_at(reply, i)),
                redis_reply_int(redis_reply_at(reply, i + 1), 0));
}

void renewals_take_asked(struct worker *w)
{
    struct key conns;
    char now[24];
    struct err err = {0};

    key_conns(&conns);
    snprintf(now, sizeof now, "%" PRId64, worker_now_ms(w));
    const struct slice argv[] = {
        SLICE_LIT("ZRANGE"), key_slice(&conns),    SLICE_LIT("-inf"),
        slice_cstr(now),     SLICE_LIT("BYSCORE"), SLICE_LIT("LIMIT"),
        SLICE_LIT("0"),      SLICE_LIT("10"),      SLICE_LIT("WITHSCORES")};

    if (!worker_renews(w))
        return;
    w->asks_wait = clock_boot_ms() < w->hold_renewals_boot_ms; /* a later beat takes them */
    if (!w->asks_wait)
        (void)redis_command(w->link, ARRAY_LEN(argv), argv, 0, on_asked, w, &err);
}

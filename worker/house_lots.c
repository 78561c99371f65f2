#include "worker/house_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "worker/lane.h"
#include "worker/token.h"

#define LANE_FIRST   10  /* a lane that opens again is filled by and by: so many jobs at first, */
#define LANE_MOST    500 /* a quarter more each time, up to so many in LANE_PACE_MS */
#define LANE_PACE_MS 100
#define SPOILT_MS    60000
#define CONSENT_MS   30000 /* a lot whose account needs a person is looked at so often */

/* An index only: what fails here is found again at the next look. */
static void on_lots_changed(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err;
}

/* No worker writes such a name, and no park:RESOURCE can be asked for by it. */
static void drop_lot(struct house *h, struct slice resource)
{
    struct key lots;
    struct err err = {0};

    key_lots(&lots, SHARD);
    const struct slice argv[] = {SLICE_LIT("ZREM"), key_slice(&lots), resource};

    house_log_junk(h, "lots", resource);
    (void)redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_lots_changed, h, &err);
}

void house_read_lots(struct house *h, const struct redis_reply *lots)
{
    h->lot_count = h->lot_at = 0;
    for (size_t i = 0; i + 1 < redis_reply_len(lots) && h->lot_count < ARRAY_LEN(h->lots); i += 2) {
        struct lot *l = &h->lots[h->lot_count];
        struct slice resource = redis_reply_str(redis_reply_at(lots, i));

        if (slice_find(resource, '\0') < resource.len ||
            !slice_copy(resource, l->resource, sizeof l->resource))
            drop_lot(h, resource);
        else if (slice_copy(redis_reply_str(redis_reply_at(lots, i + 1)), l->score,
                            sizeof l->score))
            h->lot_count++;
    }
}

/* Its key is of a type that no job can lie in: the lots behind it go on. */
static void postpone_lot(struct house *h)
{
    struct key lots;
    char at[24];
    struct err err = {0};

    key_lots(&lots, SHARD);
    snprintf(at, sizeof at, "%" PRId64, worker_now_ms(h->w) + SPOILT_MS);
    const struct slice argv[] = {SLICE_LIT("ZADD"), key_slice(&lots), SLICE_LIT("XX"),
                                 slice_cstr(at), slice_cstr(h->lots[h->lot_at].resource)};

    h->moved = true;
    (void)redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_lots_changed, h, &err);
    h->lot_at++;
    house_next_lot(h);
}

static void on_lot(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    (void)reply;
    if (house_failed(h, err))
        return;
    h->moved = h->moved || h->lot_next_ms > h->agenda_ms;
    h->lot_at++;
    house_next_lot(h);
}

/* The lot was looked at: forget it when it is empty, else say when to look again. */
static void close_lot(struct house *h)
{
    const struct lot *l = &h->lots[h->lot_at];
    struct key lots, park;
    char next[24];
    struct err err = {0};

    key_lots(&lots, SHARD);
    key_park(&park, SHARD, slice_cstr(l->resource));
    snprintf(next, sizeof next, "%" PRId64, h->lot_next_ms);
    const struct slice argv[] = {key_slice(&lots), key_slice(&park), slice_cstr(l->resource),
                                 slice_cstr(next), slice_cstr(l->score)};

    if (h->lot_next_ms < h->next_ms)
        h->next_ms = h->lot_next_ms;
    if (!redis_script(h->w->link, SCRIPT_lot, 2, ARRAY_LEN(argv), argv, on_lot, h, &err))
        house_failed(h, &err);
}

static void on_lot_promoted(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;

    if (house_failed(h, err))
        return;
    house_count_promoted(h, reply);
    close_lot(h);
}

static void on_peek(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    const struct lot *l = &h->lots[h->lot_at];
    size_t jobs = redis_reply_len(reply) > 2 ? (redis_reply_len(reply) - 2) / 2 : 0;
    int64_t left = redis_reply_int(redis_reply_at(reply, 1), INT64_MAX);
    struct promotion p;
    struct err why = {0};

    if (err && err->code == ERR_FORMAT) {
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "housekeeping"),
                  F_CSTR("resource", l->resource), F_ERR(err));
        postpone_lot(h);
        return;
    }
    if (house_failed(h, err))
        return;
    /* full speed while there are more; a deadline among those that stay is a reason to look earlier
     */
    if (h->drain_lot && left != INT64_MAX) {
        h->lot_next_ms = worker_now_ms(h->w) + h->lot_pace_ms;
    } else if (left < h->lot_next_ms) {
        h->lot_next_ms = left;
    }
    if (jobs == 0) {
        close_lot(h);
        return;
    }
    key_park(&p.set, SHARD, slice_cstr(l->resource));
    key_held(&p.held, SHARD);
    if (!house_promote(h, &p, reply, 2, on_lot_promoted, &why))
        house_failed(h, &why);
}

/* Move what may go on: all, or only those whose deadline has come. */
static void peek_lot(struct house *h, size_t limit)
{
    struct key park, held;
    char limit_text[16];
    struct err err = {0};

    key_park(&park, SHARD, slice_cstr(h->lots[h->lot_at].resource));
    key_held(&held, SHARD);
    snprintf(limit_text, sizeof limit_text, "%zu", limit);
    const struct slice argv[] = {key_slice(&park), key_slice(&held),
                                 h->drain_lot ? SLICE_LIT("+inf") : SLICE_LIT("now"),
                                 slice_cstr(limit_text)};

    if (!redis_script(h->w->link, SCRIPT_peek, 2, ARRAY_LEN(argv), argv, on_peek, h, &err))
        house_failed(h, &err);
}

/* conn:ID - jobs go on when there is a token, or when there will never be one (they are buried then
 * with the reason). For a consent only the look-again time moves. */
static void judge_conn(struct house *h, struct conn *c)
{
    struct token *k = tokens_use(h->w->tokens, c);
    int64_t now = worker_now_ms(h->w);

    h->lot_pace_ms = 0;
    h->drain_lot =
        k || c->state == CONN_UNKNOWN || c->state == CONN_GONE || c->state == CONN_BROKEN;
    h->lot_next_ms = tokens_look_again_ms(h->w->tokens, c);
    if (!h->drain_lot && tokens_waits_for_a_person(c))
        h->lot_next_ms = now + CONSENT_MS;
    else if (!h->drain_lot && !(c->state == CONN_BACKOFF && c->next_ms > now))
        tokens_want(h->w->tokens, c, c->ver); /* whoever was to renew it may be gone */
    token_unref(k);
    peek_lot(h, HOUSE_BATCH);
}

static void drain_lane(struct house *h, int64_t room, int64_t pace_ms)
{
    h->drain_lot = room > 0;
    h->lot_pace_ms = pace_ms;
    h->lot_next_ms = worker_now_ms(h->w) + pace_ms;
    peek_lot(h, room > 0 && room < HOUSE_BATCH ? (size_t)room : HOUSE_BATCH);
}

/* With a limit only as many go as may begin now, and the next ones when they may: to move a job
 * that would come back at once is work for nothing. */
static void on_lane(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    int64_t room = redis_reply_int(redis_reply_at(reply, 0), 0);
    int64_t wait_ms = redis_reply_int(redis_reply_at(reply, 1), 0);

    if (!house_failed(h, err))
        drain_lane(h, room, wait_ms > 0 ? wait_ms : LANE_PACE_MS);
}

/* Nothing limits it: few at first, for the API may not be well yet, and then faster, as long as it
 * stays open. */
static void open_lane(struct house *h, struct conn *c)
{
    unsigned rate = c->lane_rate + c->lane_rate / 4 + 1;

    c->lane_rate = rate < LANE_FIRST ? LANE_FIRST : rate < LANE_MOST ? rate : LANE_MOST;
    rate = c->lane_rate < HOUSE_BATCH ? c->lane_rate : HOUSE_BATCH;
    drain_lane(h, rate, (int64_t)LANE_PACE_MS * rate / c->lane_rate);
}

static void judge_lane(struct house *h, struct conn *c)
{
    int64_t now = worker_now_ms(h->w);
    struct err err = {0};

    if (c->cool_ms > now) {
        c->lane_rate = 0;
        drain_lane(h, 0, c->cool_ms - now);
    } else if (!lane_is_limited(c)) {
        open_lane(h, c);
    } else if (!lane_look(h->w, c, on_lane, h, &err)) {
        house_failed(h, &err);
    }
}

/* No connection can be read there, and no waiting mends that: its jobs go on, and are buried with
 * the reason. The lots behind it must not wait for a person. */
static void judge_nonsense(struct house *h)
{
    h->drain_lot = true;
    h->lot_pace_ms = 0;
    h->lot_next_ms = worker_now_ms(h->w) + HOUSE_LOOK_MS;
    peek_lot(h, HOUSE_BATCH);
}

static void on_lot_conn(void *owner, struct conn *c, const struct err *err)
{
    struct house *h = owner;

    if (err && err->code == ERR_FORMAT) {
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("resource", h->lots[h->lot_at].resource),
                  F_ERR(err));
        judge_nonsense(h);
        return;
    }
    if (house_failed(h, err))
        return;
    if (strncmp(h->lots[h->lot_at].resource, "lane:", 5) == 0)
        judge_lane(h, c);
    else
        judge_conn(h, c);
    conn_unref(c);
}

void house_next_lot(struct house *h)
{
    struct conn *c;
    struct err err = {0};
    const char *id;

    if (h->lot_at >= h->lot_count) {
        house_next_gone(h);
        return;
    }
    h->errand = ERRAND_LOT;
    id = strchr(h->lots[h->lot_at].resource, ':');
    if (!id || !id_is_connection(slice_cstr(id + 1)))
        judge_nonsense(h);
    else if (tokens_look(h->w->tokens, slice_cstr(id + 1), true, &c, on_lot_conn, h, &err) !=
             LOOK_LATER)
        house_sleep(h, HOUSE_LOOK_MS);
}

/*
 * Who is the primary now? The Sentinels are asked one after the other, each on a link of its own
 * that lives for one question; the first that knows the name is believed, as far as the server
 * there says of itself that it is a primary (redis_greet.c).
 * Source  redis.io/docs/reference/sentinel-clients.
 */
#include "common/redis_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/redis_error.h"
#include "common/secret_file.h"

#define TURN_MIN_MS 250 /* no Sentinel gets less than this of the time there is */

struct redis_sentinels {
    struct redis_dial *dials[REDIS_SENTINELS_MAX]; /* one each: a name that hangs in the resolver
                                                      holds up no other */
    struct redis_wire *wire;
    size_t first;   /* whom to ask first the next time */
    size_t now;     /* who is asked */
    size_t turns;   /* how many were asked this time */
    size_t strange; /* how many of them do not know the name */
    bool authenticating;
    struct err why; /* of the last one that could not be asked */
};

static const struct redis_url *asked(const struct redis *r)
{
    return &r->url.sentinels[r->sentinels->now];
}

void redis_sentinels_stop(struct redis *r)
{
    struct redis_sentinels *s = r->sentinels;

    if (!s)
        return;
    redis_dial_stop(s->dials[s->now]);
    redis_wire_close(s->wire);
    s->wire = NULL;
}

static void all_in_vain(struct redis *r)
{
    const struct redis_sentinels *s = r->sentinels;
    struct err err = s->why;

    if (s->strange > 0) {
        err_rule(&err, ERR_CONFIG, "redis_sentinel_name",
                 "no Sentinel knows a primary %s (%zu of %zu answered); it is the name in their "
                 "'sentinel monitor' line",
                 r->url.primary, s->strange, r->url.sentinel_count);
    } else {
        err_prefix(&err,
                   "no Sentinel says where primary %s is, %zu asked; the last: ", r->url.primary,
                   r->url.sentinel_count);
    }
    redis_link_fail(r, err.code == ERR_CONFIG ? REDIS_REFUSED : REDIS_DOWN, &err);
}

static void ask_one(struct redis *r)
{
    struct redis_sentinels *s = r->sentinels;
    int64_t turn_ms = r->connect_timeout_ms / (int64_t)r->url.sentinel_count;

    redis_sentinels_stop(r);
    if (s->turns == r->url.sentinel_count) {
        all_in_vain(r);
        return;
    }
    s->now = (s->first + s->turns++) % r->url.sentinel_count;
    turn_ms = turn_ms < TURN_MIN_MS ? TURN_MIN_MS : turn_ms;
    redis_link_timer(r, turn_ms);
    redis_dial_start(s->dials[s->now], turn_ms);
}

static void failed(struct redis *r, const struct err *why)
{
    r->sentinels->why = *why;
    ask_one(r);
}

void redis_sentinels_next(struct redis *r)
{
    struct err err;

    err_set(&err, ERR_UNREACHABLE, "Sentinel at %s: no answer in time", asked(r)->where);
    failed(r, &err);
}

/* ---- one Sentinel's answer ---- */

static void take_answer(struct redis *r, const struct redis_reply *reply)
{
    struct redis_sentinels *s = r->sentinels;
    struct slice host = redis_reply_str(redis_reply_at(reply, 0));
    struct slice port = redis_reply_str(redis_reply_at(reply, 1));
    struct err err;

    if (redis_reply_type(reply) == REDIS_NIL) {
        s->strange++;
        ask_one(r);
        return;
    }
    if (redis_reply_len(reply) != 2 || !redis_url_point(&r->url, host, port, &err)) {
        err_set(&err, ERR_UNREACHABLE, "Sentinel at %s: its answer is no address", asked(r)->where);
        failed(r, &err);
        return;
    }
    /* If it turns out to be wrong, somebody else is asked the next time. */
    s->first = (s->now + 1) % r->url.sentinel_count;
    redis_sentinels_stop(r);
    redis_link_dial(r);
}

static void on_reply(void *owner, const struct redis_reply *reply)
{
    struct redis *r = owner;
    struct redis_sentinels *s = r->sentinels;
    struct err err;

    if (redis_reply_type(reply) == REDIS_ERROR) {
        redis_error_fill(&err, r->name, s->authenticating ? "AUTH" : "SENTINEL",
                         redis_reply_str(reply));
        err_prefix(&err, "Sentinel at %s: ", asked(r)->where);
        failed(r, &err);
    } else if (s->authenticating) {
        s->authenticating = false; /* the answer to the question comes next */
    } else {
        take_answer(r, reply);
    }
}

static bool put_auth(struct redis *r, struct err *err)
{
    struct redis_sentinels *s = r->sentinels;
    struct buf password;
    bool ok;

    buf_init(&password, SECRET_FILE_MAX);
    ok = secret_file_read(r->sentinel_password_file, "Sentinel password", &password, err);
    if (ok) {
        const struct slice argv[] = {SLICE_LIT("AUTH"), buf_slice(&password)};

        redis_wire_is_secret(s->wire);
        ok = redis_wire_put(s->wire, SLICE_LIT("*2\r\n"), ARRAY_LEN(argv), argv) ||
             err_set(err, ERR_NOMEM, "no memory to ask a Sentinel");
    }
    buf_wipe(&password);
    s->authenticating = ok;
    return ok;
}

static void on_open(void *owner)
{
    struct redis *r = owner;
    struct redis_sentinels *s = r->sentinels;
    const struct slice argv[] = {SLICE_LIT("SENTINEL"), SLICE_LIT("get-master-addr-by-name"),
                                 slice_cstr(r->url.primary)};
    struct err err;

    s->authenticating = false;
    if (r->sentinel_password_file && !put_auth(r, &err)) {
        failed(r, &err);
    } else if (!redis_wire_put(s->wire, SLICE_LIT("*3\r\n"), ARRAY_LEN(argv), argv)) {
        err_set(&err, ERR_NOMEM, "no memory to ask a Sentinel");
        failed(r, &err);
    } else {
        redis_wire_kick(s->wire);
    }
}

static void on_gone(void *owner, const struct err *err)
{
    struct redis *r = owner;

    r->sentinels->wire = NULL;
    failed(r, err);
}

static const struct redis_wire_events events = {on_open, on_reply, on_gone};

static void on_dialed(void *owner, int fd, const struct err *why)
{
    struct redis *r = owner;
    struct redis_sentinels *s = r->sentinels;
    struct ssl_st *ssl;
    struct err err;

    if (why) {
        failed(r, why);
        return;
    }
    if (!redis_link_tls(r, fd, asked(r)->host, &ssl, &err)) {
        close(fd);
        failed(r, &err);
        return;
    }
    s->wire = redis_wire_open(r->loop, fd, ssl, asked(r)->where, &events, r, &err);
    if (!s->wire)
        failed(r, &err);
}

/* ---- the rest ---- */

void redis_sentinels_ask(struct redis *r)
{
    r->sentinels->turns = r->sentinels->strange = 0;
    r->phase = LINK_ASKING;
    ask_one(r);
}

void redis_sentinels_were_right(struct redis *r)
{
    if (r->sentinels)
        r->sentinels->first = r->sentinels->now;
}

struct redis_sentinels *redis_sentinels_new(struct redis *r, struct err *err)
{
    struct redis_sentinels *s = calloc(1, sizeof *s);

    if (!s) {
        err_set(err, ERR_NOMEM, "no memory for a Redis link");
        return NULL;
    }
    r->sentinels = s;
    for (size_t i = 0; i < r->url.sentinel_count; i++) {
        s->dials[i] =
            redis_dial_new(r->loop, &r->url.sentinels[i], r->read_timeout_ms, on_dialed, r, err);
        if (!s->dials[i]) {
            redis_sentinels_free(r);
            return NULL;
        }
    }
    return s;
}

void redis_sentinels_free(struct redis *r)
{
    if (!r->sentinels)
        return;
    redis_wire_close(r->sentinels->wire);
    for (size_t i = 0; i < r->url.sentinel_count; i++)
        redis_dial_free(r->sentinels->dials[i]);
    free(r->sentinels);
    r->sentinels = NULL;
}

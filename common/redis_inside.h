/*
 * redis_inside.h - what the files of a Redis link know of each other; nobody else includes it.
 * Owns    as redis.h says: redis.c the life of the link, redis_greet.c what is said before it is
 *         up, redis_command.c commands and their answers, redis_sub.c subscriptions,
 *         redis_sentinel.c who is the primary.
 * Thread  the loop thread only.
 * Units   milliseconds on the loop's clock.
 */
#ifndef AWQ_REDIS_INSIDE_H
#define AWQ_REDIS_INSIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "common/redis.h"
#include "common/redis_calls.h"
#include "common/redis_check.h"
#include "common/redis_dial.h"
#include "common/redis_tls.h"
#include "common/redis_url.h"
#include "common/redis_wire.h"

struct redis_sub {
    struct redis_sub *next;
    char *channel;
    void (*on_message)(void *owner, struct slice channel, struct slice message);
    void *owner;
};

enum link_phase {
    LINK_WAITING,  /* for the next try */
    LINK_ASKING,   /* the Sentinels */
    LINK_DIALING,  /* name, socket */
    LINK_SHAKING,  /* TLS */
    LINK_CHECKING, /* AUTH, INFO */
    LINK_UP,
    LINK_OVER, /* `once`, or redis_free */
};

struct redis {
    uv_loop_t *loop;
    uv_timer_t timer; /* next try, connect deadline, or watchdog, by phase */
    int64_t timer_due_ms;
    enum link_phase phase;
    enum redis_state state;
    struct err why; /* of the last DOWN or REFUSED */
    redis_state_cb *on_state;
    void *owner;

    char *name, *user, *password_file, *sentinel_password_file, *tls_ca, *tls_cert, *tls_key;
    struct redis_url url;
    int64_t connect_timeout_ms, read_timeout_ms, backoff_cap_ms;
    bool once, freed;

    struct redis_sentinels *sentinels; /* NULL: the url says where it is */
    struct redis_dial *dial;           /* NULL until a Sentinel has said whereto */
    struct redis_tls *tls;             /* NULL until it is needed */
    struct redis_wire *wire;           /* NULL unless SHAKING, CHECKING or UP */
    uint64_t old_trips;                /* of wires that are gone */
    unsigned tries;
    int64_t up_since_ms;
    bool resetting;
    char reset_why[96];

    struct redis_calls calls;
    int64_t heard_ms;
    bool second_look;

    struct redis_facts facts;
    struct redis_server server;
    struct redis_sub *subs;
};

/* ---- redis.c ---- */

int64_t redis_link_now_ms(const struct redis *r);
void redis_link_timer(struct redis *r, int64_t wait_ms);
void redis_link_watch(struct redis *r); /* the first command that waits may have changed */
void redis_link_dial(struct redis *r);  /* r->url says where it is */
/* A TLS session on fd, where the url wants one; else *ssl is NULL. */
bool redis_link_tls(struct redis *r, int fd, const char *host, struct ssl_st **ssl,
                    struct err *err);
void redis_link_up(struct redis *r); /* the greeting is over */
void redis_link_fail(struct redis *r, enum redis_state state, const struct err *why);

/* ---- redis_sentinel.c ---- */

struct redis_sentinels *redis_sentinels_new(struct redis *r, struct err *err);
void redis_sentinels_ask(struct redis *r);        /* ends in redis_link_dial or redis_link_fail */
void redis_sentinels_next(struct redis *r);       /* the one that is asked now took too long */
void redis_sentinels_stop(struct redis *r);       /* no-op where there are none */
void redis_sentinels_were_right(struct redis *r); /* it is up: the same one is asked first again */
void redis_sentinels_free(struct redis *r);

/* ---- redis_greet.c ---- */

void redis_greet(struct redis *r); /* the socket is open: ends in redis_link_up or _fail */
/* What Redis said before the link is up decides about the link. */
void redis_greet_failed(struct redis *r, const struct err *said);

/* ---- redis_command.c ---- */

bool redis_start(struct redis *r, bool internal, size_t argc, const struct slice *argv,
                 int64_t timeout_ms, redis_cb *cb, void *owner, struct err *err);
/* A command of our own, up to four words and a NULL; *cb gets the link. False: the link is gone. */
bool redis_ask(struct redis *r, const char *const *words, redis_cb *cb);
void redis_on_reply(void *owner, const struct redis_reply *reply); /* the wire's event */

/* ---- redis_sub.c ---- */

bool redis_sub_message(struct redis *r, const struct redis_reply *reply); /* false: an answer */
bool redis_sub_send_all(struct redis *r); /* false: the link is gone */
void redis_sub_free_all(struct redis *r);

#endif

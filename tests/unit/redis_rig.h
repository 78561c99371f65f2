/*
 * redis_rig.h - a loop with a link to Redis, what was heard of it, and servers that are no Redis.
 * Owns    loop and link, from rig_open (or rig_up) to rig_close, which sees that nothing is left;
 *         the shared redis-server, from rig_start_server to rig_stop_server.
 * Thread  the test's.
 * Units   milliseconds.
 * Errors  fails the running cmocka test. No wait is longer than RIG_LIMIT_MS.
 */
#ifndef AWQ_TESTS_REDIS_RIG_H
#define AWQ_TESTS_REDIS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <uv.h>
#include "common/redis.h"
#include "tests/unit/redis_server.h"

#define RIG_LIMIT_MS 15000
#define RIG_LOOK_MS  10

extern struct test_redis server; /* shared by the tests that leave it as they found it */

struct rig {
    uv_loop_t loop;
    uv_timer_t limit;
    struct redis *link;
    int ups, downs, refusals, connects;
    struct err why; /* of the last DOWN or REFUSED */
    int waited_ms;
    bool too_late;
    bool free_when_up;
};

/* The answer of one command, in words. */
struct answer {
    int calls;
    enum redis_type type;
    int64_t number;
    size_t len;
    struct redis *free_then; /* redis_free it inside the callback */
    struct err err;
    char text[256];
};

struct fake {
    uv_tcp_t listener, peer;
    const char *says;
    bool closes, has_peer;
    char url[64];
};

void rig_on_state(void *owner, enum redis_state state, const struct err *why);
void rig_on_limit(uv_timer_t *t);
void rig_open(struct rig *g);
void rig_link(struct rig *g, const struct redis_options *o);
void rig_close(struct rig *g);
void rig_up(struct rig *g, struct redis_options o);
void rig_on_answer(void *owner, const struct redis_reply *reply, const struct err *err);
void rig_start(struct rig *g, struct answer *a, int64_t timeout_ms, const char *line);
struct answer rig_ask(struct rig *g, const char *line);
void fake_open(struct fake *f, struct rig *g);
void fake_close(struct fake *f);
void rig_big_value(const struct redis_options *o);
int rig_start_server(void **state);
int rig_stop_server(void **state);

/* Turn the loop until the condition holds. A macro so that a failure names the place. */
#define UNTIL(g, cond)                                                                             \
    do {                                                                                           \
        (g)->too_late = false;                                                                     \
        (g)->waited_ms = 0;                                                                        \
        uv_timer_start(&(g)->limit, rig_on_limit, RIG_LOOK_MS, RIG_LOOK_MS);                       \
        while (!(cond) && !(g)->too_late)                                                          \
            uv_run(&(g)->loop, UV_RUN_ONCE);                                                       \
        uv_timer_stop(&(g)->limit);                                                                \
        if (!(cond))                                                                               \
            fail_msg("waited in vain for: %s (last: %s)", #cond, (g)->why.msg);                    \
    } while (0)

#endif

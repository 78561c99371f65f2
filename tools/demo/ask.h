/*
 * ask.h - questions to Redis and to the sandbox, one after the other.
 * Owns    the loop, a link to Redis and the HTTP engine.
 * Thread  the loop thread only. Each call runs the loop until its answer is there: the demo does
 *         one thing at a time, unlike the programs that it shows.
 * Units   milliseconds.
 * Errors  those of redis.h and http.h; ERR_CANCELLED once SIGINT or SIGTERM has come.
 */
#ifndef AWQ_DEMO_ASK_H
#define AWQ_DEMO_ASK_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/http.h"
#include "common/redis.h"

struct ask {
    uv_loop_t loop;
    uv_signal_t interrupt, term;
    uv_timer_t timer;
    bool interrupted;
    struct redis *redis;
    bool redis_up;
    struct err redis_err;
    struct http *http;
};

bool ask_init(struct ask *a, struct err *err);
void ask_deinit(struct ask *a);

/* Wait for so long; false when a signal came. */
bool ask_sleep(struct ask *a, int64_t ms, struct err *err);

bool ask_open_redis(struct ask *a, const char *url, struct err *err);
typedef void ask_take(void *owner, const struct redis_reply *reply);
/* take is called with the answer, before this returns; NULL: the answer does not matter. */
bool ask_redis(struct ask *a, size_t argc, const struct slice *argv, ask_take *take, void *owner,
               struct err *err);

/* GET, or POST of a form; the body of a 200 answer goes to *answer. */
bool ask_http(struct ask *a, const char *method, const char *url, struct slice form,
              struct buf *answer, struct err *err);
#endif

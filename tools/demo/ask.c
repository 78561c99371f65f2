#include "tools/demo/ask.h"

#include <signal.h>

#define ANSWER_MAX_BYTES (16u << 20) /* a page of the sandbox's writes */
#define REDIS_UP_MS      10000

/*
 * Every callback that somebody waits for ends with uv_stop: a callback that comes from a timer runs
 * before uv_run polls, and the poll would then sleep until something else happens.
 */
static void on_signal(uv_signal_t *handle, int number)
{
    struct ask *a = handle->data;

    (void)number;
    a->interrupted = true;
    uv_stop(handle->loop);
}

static void on_timer(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

bool ask_init(struct ask *a, struct err *err)
{
    const struct http_options http = {.slots = 4};

    *a = (struct ask){0};
    if (uv_loop_init(&a->loop) != 0)
        return err_set(err, ERR_NOMEM, "cannot make a loop");
    uv_signal_init(&a->loop, &a->interrupt);
    uv_signal_init(&a->loop, &a->term);
    uv_timer_init(&a->loop, &a->timer);
    a->interrupt.data = a->term.data = a;
    uv_signal_start(&a->interrupt, on_signal, SIGINT);
    uv_signal_start(&a->term, on_signal, SIGTERM);
    a->http = http_new(&a->loop, &http, err);
    return a->http != NULL;
}

void ask_deinit(struct ask *a)
{
    redis_free(a->redis);
    http_free(a->http);
    uv_close((uv_handle_t *)&a->interrupt, NULL);
    uv_close((uv_handle_t *)&a->term, NULL);
    uv_close((uv_handle_t *)&a->timer, NULL);
    uv_run(&a->loop, UV_RUN_DEFAULT);
    uv_loop_close(&a->loop);
}

static bool is_interrupted(const struct ask *a, struct err *err)
{
    if (a->interrupted)
        err_set(err, ERR_CANCELLED, "interrupted");
    return a->interrupted;
}

bool ask_sleep(struct ask *a, int64_t ms, struct err *err)
{
    uint64_t end = uv_now(&a->loop) + (uint64_t)ms;

    uv_timer_start(&a->timer, on_timer, (uint64_t)ms, 0);
    do
        uv_run(&a->loop, UV_RUN_ONCE);
    while (!a->interrupted && uv_now(&a->loop) < end);
    uv_timer_stop(&a->timer);
    return !is_interrupted(a, err);
}

/* ---- Redis ---- */

static void on_redis_state(void *owner, enum redis_state state, const struct err *why)
{
    struct ask *a = owner;

    a->redis_up = state == REDIS_UP;
    if (why)
        a->redis_err = *why;
    uv_stop(&a->loop);
}

bool ask_open_redis(struct ask *a, const char *url, struct err *err)
{
    const struct redis_options options = {.url = url, .name = "demo", .backoff_cap_ms = 200};
    uint64_t end = uv_now(&a->loop) + REDIS_UP_MS;

    a->redis = redis_new(&a->loop, &options, on_redis_state, a, err);
    if (!a->redis)
        return false;
    while (!a->redis_up && uv_now(&a->loop) < end) {
        if (!ask_sleep(a, 10, err))
            return false;
    }
    if (a->redis_up)
        return true;
    *err = a->redis_err;
    return err_prefix(err, "the private Redis did not come up: ");
}

struct redis_question {
    uv_loop_t *loop;
    ask_take *take;
    void *owner;
    struct err err;
    bool done;
};

static void on_reply(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis_question *q = owner;

    q->done = true;
    uv_stop(q->loop);
    if (err)
        q->err = *err;
    else if (q->take)
        q->take(q->owner, reply);
}

bool ask_redis(struct ask *a, size_t argc, const struct slice *argv, ask_take *take, void *owner,
               struct err *err)
{
    struct redis_question q = {.loop = &a->loop, .take = take, .owner = owner};

    if (is_interrupted(a, err))
        return false;
    if (!redis_command(a->redis, argc, argv, 0, on_reply, &q, err))
        return false;
    while (!q.done) /* redis.h: called exactly once, within its timeout */
        uv_run(&a->loop, UV_RUN_ONCE);
    if (q.err.code)
        *err = q.err;
    return !q.err.code;
}

/* ---- HTTP ---- */

struct http_question {
    uv_loop_t *loop;
    struct buf *answer;
    struct err err;
    bool done;
};

static void on_answer(void *owner, const struct http_result *result)
{
    struct http_question *q = owner;

    q->done = true;
    uv_stop(q->loop);
    if (result->sent != HTTP_ANSWERED)
        q->err = result->err;
    else if (result->status != 200)
        err_set(&q->err, ERR_FORMAT, "status %d: %.*s", result->status,
                SLICE_FMT(slice_sub(buf_slice(result->body), 0, 120)));
    else if (!buf_add_slice(q->answer, buf_slice(result->body)))
        err_set(&q->err, ERR_NOMEM, "out of memory");
}

bool ask_http(struct ask *a, const char *method, const char *url, struct slice form,
              struct buf *answer, struct err *err)
{
    const struct http_header type = {SLICE_LIT("Content-Type"),
                                     SLICE_LIT("application/x-www-form-urlencoded")};
    const struct http_call call = {.method = method,
                                   .url = url,
                                   .headers = &type,
                                   .header_count = form.len > 0 ? 1 : 0,
                                   .body = form,
                                   .has_body = form.len > 0,
                                   .max_body_bytes = ANSWER_MAX_BYTES};
    struct http_question q = {.loop = &a->loop, .answer = answer};

    buf_clear(answer);
    if (is_interrupted(a, err) || !http_start(a->http, &call, on_answer, &q, err))
        return false;
    while (!q.done)
        uv_run(&a->loop, UV_RUN_ONCE);
    if (!q.err.code)
        return true;
    *err = q.err;
    return err_prefix(err, "sandbox: %s %s: ", method, url);
}

#include "common/awq_inside.h"

#include <stdlib.h>

/* Blocking: the loop is run until the one request is over. */

struct call_of_one {
    bool over, ok;
    struct awq_result *result;
    struct awq_error err;
};

static void on_one_put(void *owner, const struct awq_error *err)
{
    struct call_of_one *one = owner;

    one->over = true;
    one->ok = !err;
    if (err)
        one->err = *err;
}

static void on_one_wait(void *owner, struct awq_result *r, const struct awq_error *err)
{
    struct call_of_one *one = owner;

    on_one_put(one, err);
    one->result = r;
}

/* Somebody else's loop may be running already, with us inside one of its callbacks. */
static bool may_block(const struct awq *q, struct awq_error *err)
{
    return q->own_loop || awq_error_set(err, AWQ_INVALID, "",
                                        "attached to a loop: use awq_put_start and awq_wait_start");
}

static bool run_one(struct awq *q, struct call_of_one *one, struct awq_error *err)
{
    while (!one->over)
        uv_run(q->loop, UV_RUN_ONCE);
    if (!one->ok && err)
        *err = one->err;
    return one->ok;
}

struct awq *awq_open(const struct awq_options *o, struct awq_error *err)
{
    uv_loop_t *loop = malloc(sizeof *loop);
    struct call_of_one one = {0};
    struct awq_request *rq;
    struct awq *q = NULL;

    if (!loop || uv_loop_init(loop) != 0) {
        free(loop);
        awq_error_nomem(err);
        return NULL;
    }
    q = awq_attach(loop, o, err);
    if (!q) {
        uv_run(loop, UV_RUN_DEFAULT);
        uv_loop_close(loop);
        free(loop);
        return NULL;
    }
    q->own_loop = true;
    rq = awq_request_new(q, REQUEST_OPEN, q->timeout_ms);
    if (!rq) {
        awq_error_nomem(err);
        awq_close(q);
        return NULL;
    }
    rq->cb.put = on_one_put;
    awq_request_add(rq, &one);
    if (run_one(q, &one, err))
        return q;
    awq_close(q);
    return NULL;
}

bool awq_put(struct awq *q, const char *queue, const char *bytes, size_t len, struct awq_error *err)
{
    struct call_of_one one = {0};

    return may_block(q, err) && awq_put_start(q, queue, bytes, len, on_one_put, &one, err) &&
           run_one(q, &one, err);
}

struct awq_result *awq_wait(struct awq *q, const char *id, int64_t timeout_ms,
                            struct awq_error *err)
{
    struct call_of_one one = {0};

    return may_block(q, err) && awq_wait_start(q, id, timeout_ms, on_one_wait, &one, err) &&
                   run_one(q, &one, err)
               ? one.result
               : NULL;
}

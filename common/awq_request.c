#include "common/awq_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/id.h"
#include "common/wire.h"

#define PAUSE_MIN_MS 10
#define PAUSE_MAX_MS 250

static void arm_at(struct awq *q, int64_t at_ms);

void awq_request_free(struct awq_request *rq)
{
    buf_deinit(&rq->bytes);
    buf_deinit(&rq->sig);
    free(rq);
}

bool awq_is_up(const struct awq *q)
{
    return q->link && redis_is_up(q->link);
}

/* Call back, once. The request stays in the list until the next tick takes it out. */
static bool ends_now(struct awq_request *rq)
{
    if (rq->over)
        return false;
    rq->over = true;
    arm_at(rq->q, 0);
    return true;
}

void awq_request_finish(struct awq_request *rq, const struct awq_error *err)
{
    if (!ends_now(rq))
        return;
    if (rq->kind == REQUEST_WAIT)
        rq->cb.wait(rq->owner, NULL, err);
    else
        rq->cb.put(rq->owner, err);
}

void awq_request_finish_wait(struct awq_request *rq, struct awq_result *r)
{
    if (ends_now(rq))
        rq->cb.wait(rq->owner, r, NULL);
    else
        awq_result_free(r);
}

void awq_request_finish_error(struct awq_request *rq, enum awq_status status, const char *text)
{
    struct awq_error err;

    awq_error_set(&err, status, "", text);
    awq_request_finish(rq, &err);
}

void awq_request_finish_err(struct awq_request *rq, const struct err *why)
{
    struct awq_error err;

    awq_error_from(&err, why);
    awq_request_finish(rq, &err);
}

void awq_request_again(struct awq_request *rq)
{
    rq->next_ms = clock_boot_ms() + rq->pause_ms / 2 + id_uniform_ms(rq->pause_ms / 2);
    rq->pause_ms = rq->pause_ms * 3 / 2 < PAUSE_MAX_MS ? rq->pause_ms * 3 / 2 : PAUSE_MAX_MS;
    arm_at(rq->q, rq->next_ms);
}

static void time_out(struct awq_request *rq)
{
    const struct err *down = &rq->q->down;
    struct awq_error err;

    if (awq_is_up(rq->q)) { /* only a wait is asked again and again */
        awq_request_finish_error(rq, AWQ_TIMEOUT, "the run has not ended yet");
        return;
    }
    err = (struct awq_error){.status = AWQ_UNREACHABLE};
    if (down->code)
        snprintf(err.text, sizeof err.text, "%s", down->msg);
    else
        snprintf(err.text, sizeof err.text, "Redis did not answer in time");
    awq_request_finish(rq, &err);
}

static void look_at_request(struct awq_request *rq, int64_t now)
{
    if (rq->over || rq->in_flight)
        return;
    if (now >= rq->end_ms)
        time_out(rq);
    else if (now >= rq->next_ms && awq_is_up(rq->q))
        awq_request_send(rq);
}

/* Requests that are over and that Redis owes nothing. */
static void sweep(struct awq *q)
{
    struct awq_request **at = &q->requests;

    while (*at) {
        struct awq_request *rq = *at;

        if (rq->over && !rq->in_flight) {
            *at = rq->next;
            awq_request_free(rq);
        } else {
            at = &rq->next;
        }
    }
}

/* A callback may add requests (at the head, so that this walk does not meet them), and may close.
 */
static void on_tick(uv_timer_t *t)
{
    struct awq *q = t->data;
    int64_t now = clock_boot_ms();

    for (struct awq_request *rq = q->requests; rq && !q->closing; rq = rq->next)
        look_at_request(rq, now);
    if (q->closing)
        return;
    sweep(q);
    awq_arm(q);
}

/* No later than that. */
static void arm_at(struct awq *q, int64_t at_ms)
{
    int64_t now = clock_boot_ms();

    if (q->closing || at_ms >= q->armed_ms)
        return;
    q->armed_ms = at_ms;
    uv_timer_start(&q->timer, on_tick, at_ms > now ? (uint64_t)(at_ms - now) : 0, 0);
}

/* To the next time that anything is to be done: what waits for the link is looked at when that is
 * up, or at its end. */
void awq_arm(struct awq *q)
{
    bool up = awq_is_up(q);

    uv_timer_stop(&q->timer);
    q->armed_ms = INT64_MAX;
    for (struct awq_request *rq = q->requests; rq; rq = rq->next) {
        if (rq->over)
            arm_at(q, rq->in_flight ? INT64_MAX : 0);
        else if (!rq->in_flight)
            arm_at(q, up && rq->next_ms < rq->end_ms ? rq->next_ms : rq->end_ms);
    }
}

void awq_on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct awq *q = owner;

    if (q->closing)
        return;
    if (state == REDIS_UP)
        q->down = (struct err){0};
    else if (why)
        q->down = *why;
    for (struct awq_request *rq = q->requests; state == REDIS_REFUSED && rq && !q->closing;
         rq = rq->next) {
        if (!rq->in_flight)
            awq_request_finish_error(rq, AWQ_REFUSED, q->down.msg);
    }
    if (!q->closing)
        awq_arm(q);
}

struct awq_request *awq_request_new(struct awq *q, enum request_kind kind, int64_t timeout_ms)
{
    struct awq_request *rq = calloc(1, sizeof *rq);
    int64_t now = clock_boot_ms();

    if (!rq)
        return NULL;
    rq->q = q;
    rq->kind = kind;
    rq->next_ms = now;
    rq->end_ms = now + (timeout_ms < 0 ? 0 : timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms);
    rq->pause_ms = PAUSE_MIN_MS;
    buf_init(&rq->bytes, WIRE_MAX_DEFAULT);
    return rq;
}

void awq_request_add(struct awq_request *rq, void *owner)
{
    rq->owner = owner;
    rq->next = rq->q->requests;
    rq->q->requests = rq;
    arm_at(rq->q, rq->next_ms);
}

#include "common/awq_inside.h"

#include <stdio.h>
#include "common/clock.h"
#include "common/key.h"
#include "common/producer.h"
#include "common/wire.h"

/* Surely not done: the next try does no harm. */
static bool may_repeat(const struct err *why)
{
    return why->code == ERR_UNREACHABLE || why->code == ERR_RETRY;
}

static void on_put(void *owner, const struct redis_reply *reply, const struct err *why)
{
    struct awq_request *rq = owner;
    struct slice said = redis_reply_str(reply);

    rq->in_flight = false;
    if (why && why->code == ERR_CANCELLED)
        awq_request_finish_error(rq, AWQ_CLOSED,
                                 "closed before Redis answered; it may have been put");
    else if (why && may_repeat(why))
        awq_request_again(rq);
    else if (why)
        awq_request_finish_err(rq, why);
    else if (rq->q->inbox || slice_is(said, "OK")) /* an inbox answers with its entry's id */
        awq_request_finish(rq, NULL);
    else if (slice_is(said, "DUPLICATE"))
        awq_request_finish_error(rq, AWQ_DUPLICATE, "a job of this id is there already");
    else if (slice_is(said, "BACKLOG_FULL"))
        awq_request_finish_error(rq, AWQ_FULL, "the backlog is full; come back later");
    else
        awq_request_finish_error(rq, AWQ_UNKNOWN, "Redis answered the put with something unknown");
}

static bool is_end(struct slice st)
{
    static const char *const ends[] = {"done", "failed", "dead", "expired", "cancelled"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (slice_is(st, ends[i]))
            return true;
    }
    return false;
}

static void on_record(struct awq_request *rq, const struct redis_reply *reply)
{
    struct slice st = redis_reply_str(redis_reply_at(reply, 0));
    struct slice bytes = redis_reply_str(redis_reply_at(reply, 1));
    struct awq_result *held;
    struct result r;
    struct err why = {0};

    if (!is_end(st) || bytes.len == 0) {
        awq_request_again(rq);
        return;
    }
    if (!result_decode(&r, bytes, &why)) {
        awq_request_finish_err(rq, &why);
        return;
    }
    held = awq_result_hold(bytes, &r);
    if (held)
        awq_request_finish_wait(rq, held);
    else
        awq_request_finish_error(rq, AWQ_NOMEM, "out of memory for a result");
}

static void on_look(void *owner, const struct redis_reply *reply, const struct err *why)
{
    struct awq_request *rq = owner;

    rq->in_flight = false;
    if (why && why->code == ERR_CANCELLED)
        awq_request_finish_error(rq, AWQ_CLOSED, "closed before the run ended");
    else if (why && (may_repeat(why) || why->code == ERR_UNKNOWN)) /* only asked: nothing to harm */
        awq_request_again(rq);
    else if (why)
        awq_request_finish_err(rq, why);
    else
        on_record(rq, reply);
}

static bool send_put(struct awq_request *rq, struct err *err)
{
    struct slice id = slice_cstr(rq->id), queue = slice_cstr(rq->queue);
    unsigned shard = key_shard_of(id, rq->q->shards);
    char name[JOB_NAME_MAX], at[24], limit[24], dedup[24];
    struct job_name first = {.run = id, .branch = SLICE_LIT("0")};
    struct key k[6], wake;
    struct slice argv[14];

    if (!job_name_build(&first, name))
        return err_set(err, ERR_FORMAT, "the id makes no job's name");
    snprintf(at, sizeof at, "%lld", (long long)rq->not_before);
    snprintf(limit, sizeof limit, "%lld", (long long)rq->q->backlog_limit);
    snprintf(dedup, sizeof dedup, "%lld", (long long)rq->q->dedup_ms);
    key_queue(&k[0], shard, queue);
    key_dedup(&k[1], shard, id);
    key_run(&k[2], shard, id);
    key_held(&k[3], shard);
    key_due(&k[4], shard);
    key_dead(&k[5], shard);
    key_wake(&wake);
    for (size_t i = 0; i < ARRAY_LEN(k); i++)
        argv[i] = key_slice(&k[i]);
    argv[6] = slice_cstr(name);
    argv[7] = buf_slice(&rq->bytes);
    argv[8] = buf_slice(&rq->sig);
    argv[9] = slice_cstr(at);
    argv[10] = slice_cstr(limit);
    argv[11] = slice_cstr(dedup);
    argv[12] = queue;
    argv[13] = key_slice(&wake);
    return redis_script(rq->q->link, SCRIPT_enqueue, 6, ARRAY_LEN(argv), argv, on_put, rq, err);
}

/* Dedup, the backlog and not_before are looked after by those who take it from there. */
static bool send_inbox(struct awq_request *rq, struct err *err)
{
    struct key inbox;

    key_inbox(&inbox, key_shard_of(slice_cstr(rq->id), rq->q->shards), slice_cstr(rq->q->producer));
    const struct slice argv[] = {SLICE_LIT("XADD"),     key_slice(&inbox),     SLICE_LIT("*"),
                                 SLICE_LIT("q"),        slice_cstr(rq->queue), SLICE_LIT("j"),
                                 buf_slice(&rq->bytes), SLICE_LIT("s"),        buf_slice(&rq->sig)};

    return redis_command(rq->q->link, ARRAY_LEN(argv), argv, 0, on_put, rq, err);
}

static bool send_look(struct awq_request *rq, struct err *err)
{
    struct slice id = slice_cstr(rq->id);
    struct slice argv[4] = {SLICE_LIT("HMGET"), SLICE_NONE, SLICE_LIT("st"), SLICE_LIT("r")};
    struct key k;

    key_run(&k, key_shard_of(id, rq->q->shards), id);
    argv[1] = key_slice(&k);
    return redis_command(rq->q->link, ARRAY_LEN(argv), argv, 0, on_look, rq, err);
}

void awq_request_send(struct awq_request *rq)
{
    struct err err = {0};

    if (rq->kind == REQUEST_OPEN) {
        awq_request_finish(rq, NULL);
        return;
    }
    if (rq->kind == REQUEST_WAIT)
        rq->in_flight = send_look(rq, &err);
    else
        rq->in_flight = rq->q->inbox ? send_inbox(rq, &err) : send_put(rq, &err);
    if (rq->in_flight)
        return;
    if (may_repeat(&err))
        awq_request_again(rq);
    else
        awq_request_finish_err(rq, &err);
}

static bool sign(struct awq_request *rq, struct slice queue)
{
    buf_init(&rq->sig, PRODUCER_SIG_BYTES + PRODUCER_NAME_MAX);
    return !rq->q->key ||
           producer_sign(rq->q->key, slice_cstr(keys_prefix()), queue, slice_cstr(rq->q->producer),
                         buf_slice(&rq->bytes), &rq->sig);
}

bool awq_put_start(struct awq *q, const char *queue, const char *bytes, size_t len, awq_put_cb *cb,
                   void *owner, struct awq_error *err)
{
    struct awq_request *rq;
    struct awq_about about;
    struct err why = {0};

    if (q->closing)
        return awq_error_set(err, AWQ_CLOSED, "", "the client is being closed");
    if (!queue)
        queue = "default";
    if (!id_is_queue(slice_cstr(queue)))
        return awq_error_set(err, AWQ_INVALID, "", "a queue's name is 1-64 of A-Z a-z 0-9 _ -");
    if (!awq_job_look(slice_of(bytes, len), &about, err))
        return false;
    if (q->key && !producer_may_sign(slice_cstr(q->producer), slice_cstr(about.id), about.iat,
                                     about.deadline, clock_wall_ms(), q->dedup_ms, &why))
        return awq_error_set(err, AWQ_INVALID, why.rule, why.msg);
    rq = awq_request_new(q, REQUEST_PUT, q->timeout_ms);
    if (!rq || !buf_add(&rq->bytes, bytes, len) || !sign(rq, slice_cstr(queue))) {
        if (rq)
            awq_request_free(rq);
        return awq_error_nomem(err);
    }
    snprintf(rq->id, sizeof rq->id, "%s", about.id);
    snprintf(rq->queue, sizeof rq->queue, "%s", queue);
    rq->not_before = about.not_before;
    rq->cb.put = cb;
    awq_request_add(rq, owner);
    return true;
}

bool awq_wait_start(struct awq *q, const char *id, int64_t timeout_ms, awq_wait_cb *cb, void *owner,
                    struct awq_error *err)
{
    struct awq_request *rq;

    if (q->closing)
        return awq_error_set(err, AWQ_CLOSED, "", "the client is being closed");
    if (!id_is_run(slice_cstr(id)))
        return awq_error_set(err, AWQ_INVALID, "", "an id is 1-64 of A-Z a-z 0-9 _ : -");
    rq = awq_request_new(q, REQUEST_WAIT, timeout_ms);
    if (!rq)
        return awq_error_nomem(err);
    snprintf(rq->id, sizeof rq->id, "%s", id);
    rq->cb.wait = cb;
    awq_request_add(rq, owner);
    return true;
}

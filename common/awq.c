#include "common/awq.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sodium.h>
#include "common/awq_inside.h"
#include "common/key.h"
#include "common/producer.h"

#define BACKLOG_LIMIT 1000000
#define DEDUP_MS      600000 /* what the workers have by default */
#define TIMEOUT_MS    10000

/* The prefix is the process's: while one client is open, another must have the same. */
static atomic_uint open_clients;

static void on_closed(uv_handle_t *h)
{
    struct awq *q = h->data;

    atomic_fetch_sub(&open_clients, 1);
    while (q->requests) {
        struct awq_request *rq = q->requests;

        q->requests = rq->next;
        awq_request_free(rq);
    }
    producer_key_free(q->key);
    free(q);
}

static bool may_open(const struct awq_options *o, struct awq_error *err)
{
    struct slice prefix = o->prefix ? slice_cstr(o->prefix) : SLICE_LIT("awq");
    struct err why = {0};

    if (sodium_init() < 0)
        return awq_error_nomem(err);
    if (!o->url)
        return awq_error_set(err, AWQ_INVALID, "", "no url was given");
    if (!o->producer != !o->producer_key_file || (o->inbox && !o->producer))
        return awq_error_set(err, AWQ_INVALID, "",
                             "producer and producer_key_file go together, and inbox needs both");
    if (o->producer && !producer_is_name(slice_cstr(o->producer)))
        return awq_error_set(err, AWQ_INVALID, "", "a producer's name is 1-32 of A-Z a-z 0-9 _ -");
    if (slice_is(prefix, keys_prefix()))
        return true;
    if (atomic_load(&open_clients) > 0)
        return awq_error_set(err, AWQ_INVALID, "",
                             "another client of this process has another prefix");
    return keys_init(prefix, &why) || awq_error_from(err, &why);
}

static bool load_key(struct awq *q, const struct awq_options *o, struct err *err)
{
    if (!o->producer)
        return true;
    slice_copy(slice_cstr(o->producer), q->producer, sizeof q->producer);
    q->inbox = o->inbox;
    q->key = producer_key_load(o->producer_key_file, err);
    return q->key != NULL;
}

struct awq *awq_attach(struct uv_loop_s *loop, const struct awq_options *o, struct awq_error *err)
{
    struct redis_options ro = {
        .url = o->url,
        .user = o->user,
        .password_file = o->password_file,
        .sentinel_password_file = o->sentinel_password_file,
        .tls_ca = o->tls_ca,
        .tls_cert = o->tls_cert,
        .tls_key = o->tls_key,
        .name = "awq-client",
    };
    struct err why = {0};
    struct awq *q;

    if (!may_open(o, err))
        return NULL;
    q = calloc(1, sizeof *q);
    if (!q) {
        awq_error_nomem(err);
        return NULL;
    }
    q->armed_ms = INT64_MAX;
    q->loop = loop;
    q->shards = o->shards > 0 ? o->shards : 1;
    q->backlog_limit = o->backlog_limit > 0 ? o->backlog_limit : BACKLOG_LIMIT;
    q->dedup_ms = o->dedup_ms > 0 ? o->dedup_ms : DEDUP_MS;
    q->timeout_ms = o->timeout_ms > 0 ? o->timeout_ms : TIMEOUT_MS;
    uv_timer_init(loop, &q->timer);
    q->timer.data = q;
    atomic_fetch_add(&open_clients, 1);
    if (load_key(q, o, &why))
        q->link = redis_new(loop, &ro, awq_on_state, q, &why);
    if (q->link)
        return q;
    awq_error_from(err, &why);
    q->closing = true;
    uv_close((uv_handle_t *)&q->timer, on_closed);
    return NULL;
}

void awq_close(struct awq *q)
{
    uv_loop_t *own;

    if (!q || q->closing)
        return;
    own = q->own_loop ? q->loop : NULL;
    q->closing = true;
    redis_free(q->link);
    for (struct awq_request *rq = q->requests; rq; rq = rq->next)
        awq_request_finish_error(rq, AWQ_CLOSED, "closed before it was done");
    uv_timer_stop(&q->timer);
    uv_close((uv_handle_t *)&q->timer, on_closed);
    if (!own)
        return;
    uv_run(own, UV_RUN_DEFAULT);
    uv_loop_close(own);
    free(own);
}

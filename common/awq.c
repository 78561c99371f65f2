#include "common/awq.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <uv.h>
#include "common/buf.h"
#include "common/clock.h"
#include "common/err.h"
#include "common/id.h"
#include "common/key.h"
#include "common/redis.h"
#include "common/wire.h"
#include "common/wire_pack.h"

#define JOB_MAX       WIRE_MAX_DEFAULT
#define BACKLOG_LIMIT 1000000
#define DEDUP_MS      600000 /* what the workers have by default */
#define TIMEOUT_MS    10000
#define PAUSE_MIN_MS  10
#define PAUSE_MAX_MS  250

/* ---- errors ---- */

static const enum awq_status status_of[] = {
    [ERR_NONE] = AWQ_OK,
    [ERR_FORMAT] = AWQ_INVALID,
    [ERR_DENIED] = AWQ_REFUSED,
    [ERR_CONFIG] = AWQ_REFUSED,
    [ERR_NOT_FOUND] = AWQ_INVALID,
    [ERR_NOMEM] = AWQ_NOMEM,
    [ERR_RETRY] = AWQ_UNREACHABLE,
    [ERR_UNKNOWN] = AWQ_UNKNOWN,
    [ERR_LOST] = AWQ_INVALID,
    [ERR_CONSENT] = AWQ_INVALID,
    [ERR_UNREACHABLE] = AWQ_UNREACHABLE,
    [ERR_CANCELLED] = AWQ_CLOSED,
};

const char *awq_status_name(enum awq_status status)
{
    static const char *const names[] = {
        [AWQ_OK] = "ok",           [AWQ_DUPLICATE] = "duplicate", [AWQ_FULL] = "full",
        [AWQ_INVALID] = "invalid", [AWQ_TIMEOUT] = "timeout",     [AWQ_UNREACHABLE] = "unreachable",
        [AWQ_UNKNOWN] = "unknown", [AWQ_REFUSED] = "refused",     [AWQ_NOMEM] = "out_of_memory",
        [AWQ_CLOSED] = "closed",
    };

    return (size_t)status < ARRAY_LEN(names) ? names[status] : "?";
}

static bool set_error(struct awq_error *to, enum awq_status status, const char *code,
                      const char *text)
{
    if (!to)
        return false;
    to->status = status;
    snprintf(to->code, sizeof to->code, "%s", code);
    snprintf(to->text, sizeof to->text, "%s", text);
    return false;
}

static bool from_err(struct awq_error *to, const struct err *err)
{
    return set_error(to, status_of[err->code], err->code == ERR_FORMAT ? err->rule : "", err->msg);
}

static bool no_memory(struct awq_error *err)
{
    return set_error(err, AWQ_NOMEM, "", "out of memory");
}

/* ---- jobs ---- */

static void pack_text(msgpack_packer *pk, const char *key, const char *text)
{
    if (!text)
        return;
    pack_key(pk, key);
    pack_str(pk, slice_cstr(text));
}

static void pack_ms(msgpack_packer *pk, const char *key, int64_t ms)
{
    if (ms == 0)
        return;
    pack_key(pk, key);
    msgpack_pack_int64(pk, ms);
}

static void pack_pairs(msgpack_packer *pk, const char *key, const struct awq_pair *pairs, size_t n)
{
    if (n == 0)
        return;
    pack_key(pk, key);
    msgpack_pack_map(pk, n);
    for (size_t i = 0; i < n; i++) {
        pack_str(pk, slice_cstr(pairs[i].name));
        pack_str(pk, slice_cstr(pairs[i].value));
    }
}

static void pack_retry(msgpack_packer *pk, const struct awq_call *c)
{
    bool max = c->retry_max != 0;

    if (!max && c->retry_base_ms == 0 && c->retry_cap_ms == 0)
        return;
    pack_key(pk, "retry");
    msgpack_pack_map(pk, (size_t)max + (c->retry_base_ms != 0) + (c->retry_cap_ms != 0));
    if (max) {
        pack_key(pk, "max");
        msgpack_pack_int64(pk, c->retry_max == -1 ? 0 : c->retry_max);
    }
    pack_ms(pk, "base_ms", c->retry_base_ms);
    pack_ms(pk, "cap_ms", c->retry_cap_ms);
}

static bool pack_body(msgpack_packer *pk, const struct awq_call *c, struct err *err)
{
    struct slice body = slice_of(c->body, c->body_len);

    if (c->body_kind == AWQ_NO_BODY)
        return true;
    pack_key(pk, "body");
    if (c->body_kind == AWQ_JSON)
        return wire_json_to_value(pk->data, body, err);
    if (c->body_kind == AWQ_BYTES)
        pack_bin(pk, body);
    else
        pack_str(pk, body);
    return true;
}

static size_t call_members(const struct awq_call *c)
{
    return (size_t)(c->conn != NULL) + (c->method != NULL) + (c->url != NULL) +
           (c->query_count > 0) + (c->header_count > 0) + (c->body_kind != AWQ_NO_BODY) +
           (c->as != NULL) + (c->idem != NULL) + (c->ambiguous != NULL) + (c->timeout_ms != 0) +
           (c->retry_max != 0 || c->retry_base_ms != 0 || c->retry_cap_ms != 0);
}

static bool pack_call(msgpack_packer *pk, const struct awq_call *c, struct err *err)
{
    msgpack_pack_map(pk, call_members(c));
    pack_text(pk, "conn", c->conn);
    pack_text(pk, "method", c->method);
    pack_text(pk, "url", c->url);
    pack_pairs(pk, "query", c->query, c->query_count);
    pack_pairs(pk, "headers", c->headers, c->header_count);
    if (!pack_body(pk, c, err))
        return false;
    pack_text(pk, "as", c->as);
    pack_text(pk, "idem", c->idem);
    pack_text(pk, "ambiguous", c->ambiguous);
    pack_ms(pk, "timeout_ms", c->timeout_ms);
    pack_retry(pk, c);
    return true;
}

static bool pack_calls(msgpack_packer *pk, const struct awq_job *job, struct err *err)
{
    bool ok = true;

    if (job->call_count == 0)
        return true; /* refused by the decoder: call_missing */
    pack_key(pk, "call");
    ok = pack_call(pk, &job->calls[0], err);
    if (job->call_count == 1)
        return ok;
    pack_key(pk, "then");
    msgpack_pack_array(pk, job->call_count - 1);
    for (size_t i = 1; ok && i < job->call_count; i++)
        ok = pack_call(pk, &job->calls[i], err);
    return ok;
}

static bool pack_job(struct buf *out, const struct awq_job *job, struct err *err)
{
    msgpack_packer pk = pack_into(out);

    msgpack_pack_map(&pk, 1 + (size_t)(job->id != NULL) + (job->call_count > 0) +
                              (job->call_count > 1) + (job->out != NULL) + (job->tenant != NULL) +
                              (job->tp != NULL) + (job->ts != NULL) + (job->not_before_ms != 0) +
                              (job->deadline_ms != 0));
    pack_key(&pk, "v");
    msgpack_pack_int(&pk, WIRE_VERSION);
    pack_text(&pk, "id", job->id);
    if (!pack_calls(&pk, job, err))
        return false;
    pack_text(&pk, "out", job->out);
    pack_text(&pk, "tenant", job->tenant);
    pack_text(&pk, "tp", job->tp);
    pack_text(&pk, "ts", job->ts);
    pack_ms(&pk, "not_before", job->not_before_ms);
    pack_ms(&pk, "deadline", job->deadline_ms);
    return buf_ok(out) || err_rule(err, ERR_FORMAT, "envelope_too_big",
                                   "the job takes more than %d bytes", JOB_MAX);
}

/* What is on the way to a queue: who it is for, and from when on. */
struct about {
    char id[ID_MAX + 1];
    int64_t not_before;
};

static bool look_at(struct slice bytes, struct about *about, struct awq_error *err)
{
    struct envelope *e = malloc(sizeof *e); /* big: up to 128 pairs */
    struct err why = {0};
    bool ok;

    if (!e)
        return no_memory(err);
    envelope_init(e);
    ok = envelope_decode(e, bytes, JOB_MAX, &why);
    if (ok && e->has_k)
        ok = err_rule(&why, ERR_FORMAT, "k_forged", "k is written by workers only");
    if (ok) {
        slice_copy(e->id, about->id, sizeof about->id);
        about->not_before = e->not_before;
    }
    envelope_deinit(e);
    free(e);
    return ok || from_err(err, &why);
}

bool awq_envelope_id(const char *bytes, size_t len, char id[65], struct awq_error *err)
{
    struct about about;

    return look_at(slice_of(bytes, len), &about, err) && slice_copy(slice_cstr(about.id), id, 65);
}

char *awq_encode(const struct awq_job *job, size_t *len, struct awq_error *err)
{
    struct err why = {0};
    struct about about;
    struct buf b;

    buf_init(&b, JOB_MAX);
    if (!pack_job(&b, job, &why)) {
        from_err(err, &why);
    } else if (look_at(buf_slice(&b), &about, err)) {
        *len = b.len;
        return buf_take(&b);
    }
    buf_deinit(&b);
    return NULL;
}

char *awq_encode_json(const char *json, size_t json_len, size_t *len, struct awq_error *err)
{
    struct err why = {0};
    struct buf b;

    buf_init(&b, JOB_MAX);
    if (wire_from_json(&b, slice_of(json, json_len), &why)) {
        *len = b.len;
        return buf_take(&b);
    }
    from_err(err, &why);
    buf_deinit(&b);
    return NULL;
}

/* ---- results ---- */

struct held_result { /* a result and its texts, in one piece for its owner */
    struct awq_result pub;
    char *bytes, *output, *type, *code, *detail;
};

void awq_result_free(struct awq_result *r)
{
    struct held_result *h = (struct held_result *)r;

    if (!h)
        return;
    free(h->bytes);
    free(h->output);
    free(h->type);
    free(h->code);
    free(h->detail);
    free(h);
}

static struct awq_result *hold_result(struct slice bytes, const struct result *r)
{
    struct held_result *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->bytes = slice_dup(bytes);
    h->output = slice_dup(r->output);
    h->type = slice_dup(r->output_type);
    h->code = slice_dup(r->error_code);
    h->detail = slice_dup(r->error_detail);
    if (!h->bytes || !h->output || !h->type || !h->code || !h->detail) {
        awq_result_free(&h->pub);
        return NULL;
    }
    h->pub = (struct awq_result){
        .state = result_state_name(r->state),
        .http_status = r->status,
        .step = r->step,
        .attempts = r->attempts,
        .output = r->output_type.len > 0 ? h->output : NULL,
        .output_len = r->output.len,
        .output_is_binary = r->output_is_bin,
        .output_type = h->type,
        .error_code = h->code,
        .error_detail = h->detail,
        .bytes = h->bytes,
        .len = bytes.len,
    };
    return &h->pub;
}

char *awq_result_json(const struct awq_result *r)
{
    struct result got;
    struct buf b;

    buf_init(&b, r->len * 8 + 4096); /* a byte becomes six at most, \u0001 */
    if (result_decode(&got, slice_of(r->bytes, r->len), NULL) && result_to_json(&b, &got))
        return buf_take(&b);
    buf_deinit(&b);
    return NULL;
}

/* ---- requests: one list, one timer ---- */

enum kind { REQUEST_OPEN, REQUEST_PUT, REQUEST_WAIT };

struct request {
    struct request *next;
    struct awq *q;
    enum kind kind;
    char id[ID_MAX + 1];
    char queue[ID_MAX + 1];
    struct buf bytes; /* PUT: the envelope */
    int64_t not_before;
    int64_t end_ms, next_ms, pause_ms; /* on clock_boot_ms */
    bool in_flight;                    /* Redis owes an answer */
    bool over;                         /* its callback has been called */
    union {
        awq_put_cb *put; /* OPEN too */
        awq_wait_cb *wait;
    } cb;
    void *owner;
};

struct awq {
    struct redis *link;
    uv_timer_t timer; /* its data is us; closed last */
    uv_loop_t *loop;
    bool own_loop, closing;
    struct err down; /* why the link is not up, for the texts of timeouts */
    struct request *requests;
    int64_t armed_ms; /* when the timer fires; INT64_MAX = not */
    unsigned shards;
    int64_t backlog_limit, dedup_ms, timeout_ms;
};

static void arm_at(struct awq *q, int64_t at_ms);

static bool is_up(const struct awq *q)
{
    return q->link && redis_is_up(q->link);
}

static void request_free(struct request *rq)
{
    buf_deinit(&rq->bytes);
    free(rq);
}

/* Call back, once. The request stays in the list until the next tick takes it out. */
static bool ends_now(struct request *rq)
{
    if (rq->over)
        return false;
    rq->over = true;
    arm_at(rq->q, 0);
    return true;
}

static void finish(struct request *rq, const struct awq_error *err)
{
    if (!ends_now(rq))
        return;
    if (rq->kind == REQUEST_WAIT)
        rq->cb.wait(rq->owner, NULL, err);
    else
        rq->cb.put(rq->owner, err);
}

static void finish_wait(struct request *rq, struct awq_result *r)
{
    if (ends_now(rq))
        rq->cb.wait(rq->owner, r, NULL);
    else
        awq_result_free(r);
}

static void finish_error(struct request *rq, enum awq_status status, const char *text)
{
    struct awq_error err;

    set_error(&err, status, "", text);
    finish(rq, &err);
}

static void finish_err(struct request *rq, const struct err *why)
{
    struct awq_error err;

    from_err(&err, why);
    finish(rq, &err);
}

static void again(struct request *rq)
{
    rq->next_ms = clock_boot_ms() + rq->pause_ms / 2 + id_uniform_ms(rq->pause_ms / 2);
    rq->pause_ms = rq->pause_ms * 3 / 2 < PAUSE_MAX_MS ? rq->pause_ms * 3 / 2 : PAUSE_MAX_MS;
    arm_at(rq->q, rq->next_ms);
}

/* Surely not done: the next try does no harm. */
static bool may_repeat(const struct err *why)
{
    return why->code == ERR_UNREACHABLE || why->code == ERR_RETRY;
}

static void on_put(void *owner, const struct redis_reply *reply, const struct err *why)
{
    struct request *rq = owner;
    struct slice said = redis_reply_str(reply);

    rq->in_flight = false;
    if (why && why->code == ERR_CANCELLED)
        finish_error(rq, AWQ_CLOSED, "closed before Redis answered; it may have been put");
    else if (why && may_repeat(why))
        again(rq);
    else if (why)
        finish_err(rq, why);
    else if (slice_is(said, "OK"))
        finish(rq, NULL);
    else if (slice_is(said, "DUPLICATE"))
        finish_error(rq, AWQ_DUPLICATE, "a job of this id is there already");
    else if (slice_is(said, "BACKLOG_FULL"))
        finish_error(rq, AWQ_FULL, "the backlog is full; come back later");
    else
        finish_error(rq, AWQ_UNKNOWN, "Redis answered the put with something unknown");
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

static void on_record(struct request *rq, const struct redis_reply *reply)
{
    struct slice st = redis_reply_str(redis_reply_at(reply, 0));
    struct slice bytes = redis_reply_str(redis_reply_at(reply, 1));
    struct awq_result *held;
    struct result r;
    struct err why = {0};

    if (!is_end(st) || bytes.len == 0) {
        again(rq);
        return;
    }
    if (!result_decode(&r, bytes, &why)) {
        finish_err(rq, &why);
        return;
    }
    held = hold_result(bytes, &r);
    if (held)
        finish_wait(rq, held);
    else
        finish_error(rq, AWQ_NOMEM, "out of memory for a result");
}

static void on_look(void *owner, const struct redis_reply *reply, const struct err *why)
{
    struct request *rq = owner;

    rq->in_flight = false;
    if (why && why->code == ERR_CANCELLED)
        finish_error(rq, AWQ_CLOSED, "closed before the run ended");
    else if (why && (may_repeat(why) || why->code == ERR_UNKNOWN)) /* only asked: nothing to harm */
        again(rq);
    else if (why)
        finish_err(rq, why);
    else
        on_record(rq, reply);
}

static bool send_put(struct request *rq, struct err *err)
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
    argv[8] = SLICE_NONE;
    argv[9] = slice_cstr(at);
    argv[10] = slice_cstr(limit);
    argv[11] = slice_cstr(dedup);
    argv[12] = queue;
    argv[13] = key_slice(&wake);
    return redis_script(rq->q->link, SCRIPT_enqueue, 6, ARRAY_LEN(argv), argv, on_put, rq, err);
}

static bool send_look(struct request *rq, struct err *err)
{
    struct slice id = slice_cstr(rq->id);
    struct slice argv[4] = {SLICE_LIT("HMGET"), SLICE_NONE, SLICE_LIT("st"), SLICE_LIT("r")};
    struct key k;

    key_run(&k, key_shard_of(id, rq->q->shards), id);
    argv[1] = key_slice(&k);
    return redis_command(rq->q->link, ARRAY_LEN(argv), argv, 0, on_look, rq, err);
}

static void send_request(struct request *rq)
{
    struct err err = {0};

    if (rq->kind == REQUEST_OPEN) {
        finish(rq, NULL);
        return;
    }
    rq->in_flight = rq->kind == REQUEST_PUT ? send_put(rq, &err) : send_look(rq, &err);
    if (rq->in_flight)
        return;
    if (may_repeat(&err))
        again(rq);
    else
        finish_err(rq, &err);
}

static void time_out(struct request *rq)
{
    const struct err *down = &rq->q->down;
    struct awq_error err;

    if (is_up(rq->q)) { /* only a wait is asked again and again */
        finish_error(rq, AWQ_TIMEOUT, "the run has not ended yet");
        return;
    }
    err = (struct awq_error){.status = AWQ_UNREACHABLE};
    if (down->code)
        snprintf(err.text, sizeof err.text, "%s", down->msg);
    else
        snprintf(err.text, sizeof err.text, "Redis did not answer in time");
    finish(rq, &err);
}

static void look_at_request(struct request *rq, int64_t now)
{
    if (rq->over || rq->in_flight)
        return;
    if (now >= rq->end_ms)
        time_out(rq);
    else if (now >= rq->next_ms && is_up(rq->q))
        send_request(rq);
}

/* Requests that are over and that Redis owes nothing. */
static void sweep(struct awq *q)
{
    struct request **at = &q->requests;

    while (*at) {
        struct request *rq = *at;

        if (rq->over && !rq->in_flight) {
            *at = rq->next;
            request_free(rq);
        } else {
            at = &rq->next;
        }
    }
}

static void arm(struct awq *q);

/* A callback may add requests (at the head, so that this walk does not meet them), and may close.
 */
static void on_tick(uv_timer_t *t)
{
    struct awq *q = t->data;
    int64_t now = clock_boot_ms();

    for (struct request *rq = q->requests; rq && !q->closing; rq = rq->next)
        look_at_request(rq, now);
    if (q->closing)
        return;
    sweep(q);
    arm(q);
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
static void arm(struct awq *q)
{
    bool up = is_up(q);

    uv_timer_stop(&q->timer);
    q->armed_ms = INT64_MAX;
    for (struct request *rq = q->requests; rq; rq = rq->next) {
        if (rq->over)
            arm_at(q, rq->in_flight ? INT64_MAX : 0);
        else if (!rq->in_flight)
            arm_at(q, up && rq->next_ms < rq->end_ms ? rq->next_ms : rq->end_ms);
    }
}

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct awq *q = owner;

    if (q->closing)
        return;
    if (state == REDIS_UP)
        q->down = (struct err){0};
    else if (why)
        q->down = *why;
    for (struct request *rq = q->requests; state == REDIS_REFUSED && rq && !q->closing;
         rq = rq->next) {
        if (!rq->in_flight)
            finish_error(rq, AWQ_REFUSED, q->down.msg);
    }
    if (!q->closing)
        arm(q);
}

static struct request *request_new(struct awq *q, enum kind kind, int64_t timeout_ms)
{
    struct request *rq = calloc(1, sizeof *rq);
    int64_t now = clock_boot_ms();

    if (!rq)
        return NULL;
    rq->q = q;
    rq->kind = kind;
    rq->next_ms = now;
    rq->end_ms = now + (timeout_ms < 0 ? 0 : timeout_ms > INT32_MAX ? INT32_MAX : timeout_ms);
    rq->pause_ms = PAUSE_MIN_MS;
    buf_init(&rq->bytes, JOB_MAX);
    return rq;
}

static void request_add(struct request *rq, void *owner)
{
    rq->owner = owner;
    rq->next = rq->q->requests;
    rq->q->requests = rq;
    arm_at(rq->q, rq->next_ms);
}

bool awq_put_start(struct awq *q, const char *queue, const char *bytes, size_t len, awq_put_cb *cb,
                   void *owner, struct awq_error *err)
{
    struct request *rq;
    struct about about;

    if (q->closing)
        return set_error(err, AWQ_CLOSED, "", "the client is being closed");
    if (!queue)
        queue = "default";
    if (!id_is_queue(slice_cstr(queue)))
        return set_error(err, AWQ_INVALID, "", "a queue's name is 1-64 of A-Z a-z 0-9 _ -");
    if (!look_at(slice_of(bytes, len), &about, err))
        return false;
    rq = request_new(q, REQUEST_PUT, q->timeout_ms);
    if (!rq || !buf_add(&rq->bytes, bytes, len)) {
        if (rq)
            request_free(rq);
        return no_memory(err);
    }
    snprintf(rq->id, sizeof rq->id, "%s", about.id);
    snprintf(rq->queue, sizeof rq->queue, "%s", queue);
    rq->not_before = about.not_before;
    rq->cb.put = cb;
    request_add(rq, owner);
    return true;
}

bool awq_wait_start(struct awq *q, const char *id, int64_t timeout_ms, awq_wait_cb *cb, void *owner,
                    struct awq_error *err)
{
    struct request *rq;

    if (q->closing)
        return set_error(err, AWQ_CLOSED, "", "the client is being closed");
    if (!id_is_job(slice_cstr(id)))
        return set_error(err, AWQ_INVALID, "", "an id is 1-64 of A-Z a-z 0-9 _ : -");
    rq = request_new(q, REQUEST_WAIT, timeout_ms);
    if (!rq)
        return no_memory(err);
    snprintf(rq->id, sizeof rq->id, "%s", id);
    rq->cb.wait = cb;
    request_add(rq, owner);
    return true;
}

/* ---- opening and closing ---- */

/* The prefix is the process's: while one client is open, another must have the same. */
static atomic_uint open_clients;

static void on_closed(uv_handle_t *h)
{
    struct awq *q = h->data;

    atomic_fetch_sub(&open_clients, 1);
    while (q->requests) {
        struct request *rq = q->requests;

        q->requests = rq->next;
        request_free(rq);
    }
    free(q);
}

static bool may_open(const struct awq_options *o, struct awq_error *err)
{
    struct slice prefix = o->prefix ? slice_cstr(o->prefix) : SLICE_LIT("awq");
    struct err why = {0};

    if (sodium_init() < 0)
        return no_memory(err);
    if (!o->url)
        return set_error(err, AWQ_INVALID, "", "no url was given");
    if (slice_is(prefix, keys_prefix()))
        return true;
    if (atomic_load(&open_clients) > 0)
        return set_error(err, AWQ_INVALID, "", "another client of this process has another prefix");
    return keys_init(prefix, &why) || from_err(err, &why);
}

struct awq *awq_attach(struct uv_loop_s *loop, const struct awq_options *o, struct awq_error *err)
{
    struct redis_options ro = {
        .url = o->url,
        .user = o->user,
        .password_file = o->password_file,
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
        no_memory(err);
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
    q->link = redis_new(loop, &ro, on_state, q, &why);
    if (q->link)
        return q;
    from_err(err, &why);
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
    for (struct request *rq = q->requests; rq; rq = rq->next)
        finish_error(rq, AWQ_CLOSED, "closed before it was done");
    uv_timer_stop(&q->timer);
    uv_close((uv_handle_t *)&q->timer, on_closed);
    if (!own)
        return;
    uv_run(own, UV_RUN_DEFAULT);
    uv_loop_close(own);
    free(own);
}

/* ---- blocking: run the loop until the one request is over ---- */

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
    return q->own_loop || set_error(err, AWQ_INVALID, "",
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
    struct request *rq;
    struct awq *q = NULL;

    if (!loop || uv_loop_init(loop) != 0) {
        free(loop);
        no_memory(err);
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
    rq = request_new(q, REQUEST_OPEN, q->timeout_ms);
    if (!rq) {
        no_memory(err);
        awq_close(q);
        return NULL;
    }
    rq->cb.put = on_one_put;
    request_add(rq, &one);
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

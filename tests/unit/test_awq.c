/* The public client, against a real redis-server; what a worker does is done here by hand. */
#include "common/awq.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>
#include <unistd.h>
#include <uv.h>
#include "common/producer.h"
#include "common/slice.h"
#include "tests/unit/redis_server.h"

static struct test_redis server;

static int start_server(void **state)
{
    (void)state;
    test_redis_start(&server, NULL);
    return 0;
}

static int stop_server(void **state)
{
    (void)state;
    test_redis_stop(&server);
    return 0;
}

static int flush(void **state)
{
    (void)state;
    test_redis_do(&server, "FLUSHALL");
    return 0;
}

static struct awq *open_client(struct awq_options o)
{
    struct awq_error err;
    struct awq *q;

    o.url = server.url;
    q = awq_open(&o, &err);
    if (!q)
        fail_msg("%s: %s", awq_status_name(err.status), err.text);
    return q;
}

static char *job(const char *id, size_t *len)
{
    struct awq_call call = {.conn = "c", .url = "https://api.example.com/"};
    struct awq_job j = {.id = id, .calls = &call, .call_count = 1};
    struct awq_error err;
    char *bytes = awq_encode(&j, len, &err);

    if (!bytes)
        fail_msg("%s", err.text);
    return bytes;
}

static enum awq_status put(struct awq *q, const char *id)
{
    struct awq_error err = {.status = AWQ_OK};
    size_t len;
    char *bytes = job(id, &len);
    bool ok = awq_put(q, NULL, bytes, len, &err);

    free(bytes);
    assert_true(ok == (err.status == AWQ_OK));
    return err.status;
}

/* The run's record, as the scripts write it. */
static void record(const char *id, const char *st, bool end)
{
    test_redis_do(
        &server,
        "EVAL return(redis.call('HSET',KEYS[1],'st',ARGV[1],'r',cmsgpack.pack({id=ARGV[2],"
        "state='done',step=1,attempts=3,status=200,output='{\"a\":1}',"
        "type='application/json',['end']=(ARGV[3]=='1')}))) 1 awq:{s0}:run:%s %s %s %d",
        id, st, id, end);
}

/* ---- jobs ---- */

static void test_encode_is_the_same_as_json(void **state)
{
    static const char json[] =
        "{\"v\":1,\"id\":\"a\",\"call\":{\"conn\":\"c\",\"method\":\"POST\",\"url\":\"https://h/\","
        "\"query\":{\"q\":\"1\"},\"headers\":{\"X\":\"y\"},\"body\":{\"n\":[1,null]},\"as\":"
        "\"raw\","
        "\"idem\":\"none\",\"ambiguous\":\"dead\",\"needs\":[\"read\",\"write\"],"
        "\"token\":\"bot\",\"timeout_ms\":5,"
        "\"retry\":{\"max\":0,\"base_"
        "ms\":1,"
        "\"cap_ms\":2}},\"then\":[{\"conn\":\"c\",\"url\":\"https://h/{id}\",\"body\":\"text\"},"
        "{\"conn\":\"c\",\"url\":\"https://h/\",\"body_base64\":\"AP8=\",\"retry\":{\"max\":9}}],"
        "\"out\":\"\",\"tenant\":\"t\",\"not_before\":100000000000,\"deadline\":100000000001}";
    static const struct awq_pair q[] = {{"q", "1"}}, h[] = {{"X", "y"}};
    static const char *const needs[] = {"read", "write"};
    const struct awq_call calls[] = {
        {.conn = "c",
         .method = "POST",
         .url = "https://h/",
         .query = q,
         .query_count = 1,
         .headers = h,
         .header_count = 1,
         .body_kind = AWQ_JSON,
         .body = "{\"n\":[1,null]}",
         .body_len = 14,
         .as = "raw",
         .idem = "none",
         .ambiguous = "dead",
         .needs = needs,
         .token = "bot",
         .need_count = 2,
         .timeout_ms = 5,
         .retry_max = -1,
         .retry_base_ms = 1,
         .retry_cap_ms = 2},
        {.conn = "c",
         .url = "https://h/{id}",
         .body_kind = AWQ_TEXT,
         .body = "text",
         .body_len = 4},
        {.conn = "c",
         .url = "https://h/",
         .body_kind = AWQ_BYTES,
         .body = "\0\xff",
         .body_len = 2,
         .retry_max = 9},
    };
    struct awq_job j = {.id = "a",
                        .calls = calls,
                        .call_count = 3,
                        .out = "",
                        .tenant = "t",
                        .not_before_ms = 100000000000,
                        .deadline_ms = 100000000001};
    size_t len = 0, json_len = 0;
    struct awq_error err;
    char *a = awq_encode(&j, &len, &err);
    char *b = awq_encode_json(json, strlen(json), &json_len, &err);

    (void)state;
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(len, json_len);
    assert_memory_equal(a, b, len);
    free(a);
    free(b);
}

static void test_bad_jobs(void **state)
{
    static const struct {
        struct awq_call call;
        const char *id;
        size_t calls;
        const char *code;
    } cases[] = {
        {{.conn = "c", .url = "u"}, NULL, 1, "envelope_id_missing"},
        {{.conn = "c", .url = "u"}, "a b", 1, "envelope_id_invalid"},
        {{.conn = "c", .url = "u"}, "a", 0, "call_missing"},
        {{.conn = "c"}, "a", 1, "call_url_missing"},
        {{.url = "u"}, "a", 1, "connection_missing"},
        {{.conn = "c", .url = "u", .method = "get"}, "a", 1, "call_method_invalid"},
        {{.conn = "c", .url = "u", .timeout_ms = -1}, "a", 1, "call_value_invalid"},
        {{.conn = "c", .url = "u", .body_kind = AWQ_JSON, .body = "7", .body_len = 1},
         "a",
         1,
         "call_value_invalid"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct awq_job j = {
            .id = cases[i].id, .calls = &cases[i].call, .call_count = cases[i].calls};
        struct awq_error err;
        size_t len;

        assert_null(awq_encode(&j, &len, &err));
        assert_int_equal(err.status, AWQ_INVALID);
        assert_string_equal(err.code, cases[i].code);
        assert_int_not_equal(err.text[0], '\0');
    }
}

/* ---- put ---- */

static void test_put(void **state)
{
    struct awq *q = open_client((struct awq_options){.backlog_limit = 2});
    struct awq_error err;

    (void)state;
    assert_int_equal(put(q, "a"), AWQ_OK);
    assert_int_equal(put(q, "a"), AWQ_DUPLICATE);
    assert_int_equal(put(q, "b"), AWQ_OK);
    assert_int_equal(put(q, "c"), AWQ_FULL);
    assert_string_equal(test_redis_do(&server, "XLEN awq:{s0}:q:default"), "2");
    assert_string_equal(test_redis_do(&server, "HGET awq:{s0}:run:a st"), "ready");
    assert_false(awq_put(q, NULL, "\xc1", 1, &err));
    assert_int_equal(err.status, AWQ_INVALID);
    assert_string_equal(err.code, "envelope_not_msgpack");
    assert_false(awq_put(q, "a:b", "\x80", 1, &err));
    assert_int_equal(err.status, AWQ_INVALID);
    awq_close(q);
}

static void test_put_for_later(void **state)
{
    static const char json[] = "{\"id\":\"a\",\"not_before\":4102444800000,"
                               "\"call\":{\"conn\":\"c\",\"url\":\"https://h/\"}}";
    struct awq *q = open_client((struct awq_options){0});
    struct awq_error err;
    size_t len = 0;
    char *bytes = awq_encode_json(json, strlen(json), &len, &err);

    (void)state;
    assert_true(awq_put(q, "slow", bytes, len, &err));
    assert_string_equal(test_redis_do(&server, "EXISTS awq:{s0}:q:slow"), "0");
    assert_string_equal(test_redis_do(&server, "ZSCORE awq:{s0}:due a.0.0"), "4102444800000");
    free(bytes);
    awq_close(q);
}

/* A producer cannot pass a continuation off as a worker's. */
static void test_put_k(void **state)
{
    static const char json[] = "{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"https://h/\"},"
                               "\"k\":{\"b\":\"0\",\"s\":1,\"p\":0,\"n\":0,\"a\":0}}";
    struct awq *q = open_client((struct awq_options){0});
    struct awq_error err;
    size_t len = 0;
    char *bytes = awq_encode_json(json, strlen(json), &len, &err);

    (void)state;
    assert_non_null(bytes);
    assert_false(awq_put(q, NULL, bytes, len, &err));
    assert_string_equal(err.code, "k_forged");
    free(bytes);
    awq_close(q);
}

/* Signed, on the queue and into an inbox; times are the caller's to say. */
static void test_put_signed(void **state)
{
    char path[] = "/tmp/awq-test-key-XXXXXX";
    int fd = mkstemp(path);
    struct awq_call call = {.conn = "c", .url = "https://api.example.com/"};
    struct awq_job j = {
        .id = "shop:1", .calls = &call, .call_count = 1, .deadline_ms = 1700000300000};
    struct awq_error err;
    struct err why = {0};
    struct awq *q;
    size_t len = 0;
    char *bytes;

    (void)state;
    close(fd);
    unlink(path);
    assert_true(producer_key_create(path, &why));
    assert_null(awq_open(&(struct awq_options){.url = server.url, .producer = "shop"}, &err));
    assert_int_equal(err.status, AWQ_INVALID);
    assert_null(awq_open(
        &(struct awq_options){.url = server.url, .producer = "shop", .producer_key_file = "/none"},
        &err));
    for (int inbox = 0; inbox < 2; inbox++) {
        q = open_client(
            (struct awq_options){.producer = "shop", .producer_key_file = path, .inbox = inbox});
        j.iat_ms = 0;
        bytes = awq_encode(&j, &len, &err);
        assert_false(awq_put(q, NULL, bytes, len, &err));
        assert_string_equal(err.code, "producer_time");
        free(bytes);
        j.iat_ms = 1699999000000; /* too long before its deadline */
        bytes = awq_encode(&j, &len, &err);
        assert_false(awq_put(q, NULL, bytes, len, &err));
        assert_string_equal(err.code, "producer_time");
        free(bytes);
        j.iat_ms = 1700000000000;
        j.id = "crm:1";
        bytes = awq_encode(&j, &len, &err);
        assert_false(awq_put(q, NULL, bytes, len, &err));
        assert_string_equal(err.code, "producer_id");
        free(bytes);
        j.id = "shop:1";
        bytes = awq_encode(&j, &len, &err);
        assert_true(awq_put(q, NULL, bytes, len, &err));
        free(bytes);
        awq_close(q);
    }
    unlink(path);
    assert_string_equal(test_redis_do(&server, "XLEN awq:{s0}:q:default"), "1");
    assert_string_equal(test_redis_do(&server, "XLEN awq:{s0}:in:shop"), "1");
}

/* ---- wait ---- */

static void test_wait(void **state)
{
    struct awq *q = open_client((struct awq_options){0});
    struct awq_error err;
    struct awq_result *r;
    char *json;

    (void)state;
    assert_null(awq_wait(q, "a", 50, &err)); /* no such run, yet */
    assert_int_equal(err.status, AWQ_TIMEOUT);
    record("a", "ready", false); /* an earlier step's result is not the end */
    assert_null(awq_wait(q, "a", 50, &err));
    assert_int_equal(err.status, AWQ_TIMEOUT);
    record("a", "done", true);
    r = awq_wait(q, "a", 5000, &err);
    assert_non_null(r);
    assert_string_equal(r->state, "done");
    assert_int_equal(r->http_status, 200);
    assert_int_equal(r->step, 1);
    assert_int_equal(r->attempts, 3);
    assert_string_equal(r->output, "{\"a\":1}");
    assert_int_equal(r->output_len, 7);
    assert_false(r->output_is_binary);
    assert_string_equal(r->output_type, "application/json");
    assert_string_equal(r->error_code, "");
    json = awq_result_json(r);
    assert_non_null(strstr(json, "\"output\":{\"a\":1}"));
    free(json);
    awq_result_free(r);
    assert_null(awq_wait(q, "a b", 50, &err));
    assert_int_equal(err.status, AWQ_INVALID);
    awq_close(q);
}

/* ---- opening ---- */

static void test_open_refused(void **state)
{
    struct awq_error err;
    char here[64];

    (void)state;
    assert_null(awq_open(&(struct awq_options){0}, &err));
    assert_int_equal(err.status, AWQ_INVALID);
    assert_null(awq_open(&(struct awq_options){.url = "gopher://x"}, &err));
    assert_int_equal(err.status, AWQ_REFUSED);
    snprintf(here, sizeof here, "unix:///tmp/awq-nobody-%d.sock", (int)server.port);
    assert_null(awq_open(&(struct awq_options){.url = here, .timeout_ms = 200}, &err));
    assert_int_equal(err.status, AWQ_UNREACHABLE);
    assert_int_not_equal(err.text[0], '\0');
    assert_null(awq_open(&(struct awq_options){.url = server.url, .user = "nobody"}, &err));
    assert_int_equal(err.status, AWQ_REFUSED);
}

static void test_one_prefix(void **state)
{
    struct awq *q = open_client((struct awq_options){.prefix = "other"});
    struct awq_error err;

    (void)state;
    assert_int_equal(put(q, "a"), AWQ_OK);
    assert_string_equal(test_redis_do(&server, "XLEN other:{s0}:q:default"), "1");
    assert_null(awq_open(&(struct awq_options){.url = server.url}, &err));
    assert_int_equal(err.status, AWQ_INVALID);
    awq_close(q);
    q = open_client((struct awq_options){0});
    awq_close(q);
}

/* ---- on a loop ---- */

struct heard {
    int calls;
    enum awq_status status;
    struct awq_result *result;
    struct awq *close; /* to be closed from inside */
};

static void on_put(void *owner, const struct awq_error *err)
{
    struct heard *h = owner;

    h->calls++;
    h->status = err ? err->status : AWQ_OK;
    if (h->close)
        awq_close(h->close);
}

static void on_wait(void *owner, struct awq_result *r, const struct awq_error *err)
{
    struct heard *h = owner;

    h->result = r;
    on_put(owner, err);
}

static void run_until(uv_loop_t *loop, const int *calls, int n)
{
    while (*calls < n)
        assert_true(uv_run(loop, UV_RUN_ONCE) != 0 || *calls >= n);
}

static void test_loop(void **state)
{
    struct heard a = {0}, b = {0}, w = {0}, late = {0};
    struct awq_error err;
    uv_loop_t loop;
    struct awq *q;
    size_t len;
    char *bytes = job("a", &len);

    (void)state;
    uv_loop_init(&loop);
    q = awq_attach(&loop, &(struct awq_options){.url = server.url}, &err);
    assert_non_null(q);
    assert_true(awq_put_start(q, NULL, bytes, len, on_put, &a, &err)); /* before the link is up */
    assert_int_equal(a.calls, 0);                                      /* never inside the call */
    assert_false(awq_put(q, NULL, bytes, len, &err)); /* the loop is not ours to run */
    assert_int_equal(err.status, AWQ_INVALID);
    run_until(&loop, &a.calls, 1);
    assert_int_equal(a.status, AWQ_OK);
    assert_true(awq_put_start(q, NULL, bytes, len, on_put, &b, &err));
    assert_true(awq_wait_start(q, "a", 10000, on_wait, &w, &err));
    assert_true(awq_wait_start(q, "a", 20, on_wait, &late, &err));
    run_until(&loop, &b.calls, 1);
    assert_int_equal(b.status, AWQ_DUPLICATE);
    run_until(&loop, &late.calls, 1);
    assert_int_equal(late.status, AWQ_TIMEOUT);
    assert_int_equal(w.calls, 0);
    record("a", "done", true);
    run_until(&loop, &w.calls, 1);
    assert_int_equal(w.status, AWQ_OK);
    awq_result_free(w.result);
    awq_close(q);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0); /* nothing is left */
    assert_int_equal(a.calls + b.calls + w.calls + late.calls, 4);
    free(bytes);
}

/* Closing ends all that is under way, wherever it is called from, each told once. */
static void test_close(void **state)
{
    struct heard p = {0}, w1 = {0}, w2 = {0};
    struct awq_error err;
    uv_loop_t loop;
    size_t len;
    char *bytes = job("a", &len);

    (void)state;
    uv_loop_init(&loop);
    p.close = awq_attach(&loop, &(struct awq_options){.url = server.url}, &err);
    assert_true(awq_wait_start(p.close, "x", 10000, on_wait, &w1, &err));
    assert_true(awq_put_start(p.close, NULL, bytes, len, on_put, &p, &err));
    assert_true(awq_wait_start(p.close, "y", 10000, on_wait, &w2, &err));
    uv_run(&loop, UV_RUN_DEFAULT); /* ends only because on_put closes */
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(p.calls, 1);
    assert_int_equal(w1.calls, 1);
    assert_int_equal(w1.status, AWQ_CLOSED);
    assert_int_equal(w2.calls, 1);
    assert_int_equal(w2.status, AWQ_CLOSED);
    free(bytes);
}

/* A wait goes on over a restart of Redis, a put that began while it was away is done after it. */
static void test_redis_restarts(void **state)
{
    struct heard w = {0}, p = {0};
    struct awq_error err;
    uv_loop_t loop;
    struct awq *q;
    size_t len;
    char *bytes = job("b", &len);

    (void)state;
    uv_loop_init(&loop);
    q = awq_attach(&loop, &(struct awq_options){.url = server.url}, &err);
    assert_true(awq_put_start(q, NULL, bytes, len, on_put, &p, &err));
    run_until(&loop, &p.calls, 1);
    assert_true(awq_wait_start(q, "a", 20000, on_wait, &w, &err));
    for (int i = 0; i < 5; i++)
        uv_run(&loop, UV_RUN_ONCE);
    test_redis_kill(&server);
    for (int i = 0; i < 5; i++)
        uv_run(&loop, UV_RUN_ONCE);
    p = (struct heard){0};
    assert_true(awq_put_start(q, NULL, bytes, len, on_put, &p, &err));
    test_redis_restart(&server); /* empty: it keeps nothing on disk */
    record("a", "done", true);
    run_until(&loop, &p.calls, 1);
    assert_int_equal(p.status, AWQ_OK);
    run_until(&loop, &w.calls, 1);
    assert_int_equal(w.status, AWQ_OK);
    awq_result_free(w.result);
    awq_close(q);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    free(bytes);
}

static void start_put(struct awq *q, const char *id, size_t body_len, struct heard *h)
{
    char *body = malloc(body_len);
    struct awq_call call = {.conn = "c",
                            .url = "https://api.example.com/",
                            .body_kind = AWQ_BYTES,
                            .body = body,
                            .body_len = body_len};
    struct awq_job j = {.id = id, .calls = &call, .call_count = 1};
    struct awq_error err;
    size_t len;
    char *bytes;

    assert_non_null(body);
    memset(body, 'x', body_len);
    bytes = awq_encode(&j, &len, &err);
    assert_non_null(bytes);
    *h = (struct heard){0};
    assert_true(awq_put_start(q, NULL, bytes, len, on_put, h, &err));
    free(bytes);
    free(body);
}

/* The socket takes part of the first and nothing of the others, then Redis dies: none of them can
 * have been done. Each is put again by the library and told of once. */
static void test_put_that_was_not_sent(void **state)
{
    static const char *const ids[] = {"a", "b", "c", "d"};
    struct heard warm, h[ARRAY_LEN(ids)];
    struct awq_error err;
    uv_loop_t loop;
    struct awq *q;

    (void)state;
    uv_loop_init(&loop);
    q = awq_attach(&loop, &(struct awq_options){.url = server.url}, &err);
    assert_non_null(q);
    start_put(q, "warm", 10, &warm);
    run_until(&loop, &warm.calls, 1);
    test_redis_signal(&server, SIGSTOP);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        start_put(q, ids[i], 700000, &h[i]); /* more than a socket holds */
    for (int turn = 0; turn < 50; turn++)
        uv_run(&loop, UV_RUN_NOWAIT);
    test_redis_restart(&server); /* empty: it keeps nothing on disk */
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        run_until(&loop, &h[i].calls, 1);
        assert_int_equal(h[i].status, AWQ_OK);
    }
    assert_string_equal(test_redis_do(&server, "XLEN awq:{s0}:q:default"), "4");
    awq_close(q);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        assert_int_equal(h[i].calls, 1);
}

/* Redis did the put, and the link dropped before it could say so: that is told as it is, once; the
 * caller puts it again, and the id makes that safe. */
static void test_put_whose_answer_was_lost(void **state)
{
    struct heard h;
    struct awq_error err;
    redisContext *killer = redisConnectUnix(server.sock);
    uv_loop_t loop;
    struct awq *q;
    int unsent = 0;

    (void)state;
    assert_true(killer && !killer->err);
    uv_loop_init(&loop);
    q = awq_attach(&loop, &(struct awq_options){.url = server.url}, &err);
    assert_non_null(q);
    start_put(q, "warm", 10, &h);
    run_until(&loop, &h.calls, 1);
    test_redis_signal(&server, SIGSTOP);
    start_put(q, "a", 10, &h);
    for (int turn = 0; turn < 50; turn++)
        uv_run(&loop, UV_RUN_NOWAIT);
    /* Redis wakes up to both, in this order, and writes its answers after it did both. */
    redisAppendCommand(killer, "CLIENT KILL TYPE normal SKIPME yes");
    while (!unsent)
        assert_int_equal(redisBufferWrite(killer, &unsent), REDIS_OK);
    test_redis_signal(&server, SIGCONT);
    run_until(&loop, &h.calls, 1);
    assert_int_equal(h.status, AWQ_UNKNOWN);
    start_put(q, "a", 10, &h);
    run_until(&loop, &h.calls, 1);
    assert_int_equal(h.status, AWQ_DUPLICATE);
    assert_string_equal(test_redis_do(&server, "XLEN awq:{s0}:q:default"), "2");
    awq_close(q);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(h.calls, 1);
    redisFree(killer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_is_the_same_as_json),
        cmocka_unit_test(test_bad_jobs),
        cmocka_unit_test_setup(test_put, flush),
        cmocka_unit_test_setup(test_put_for_later, flush),
        cmocka_unit_test_setup(test_put_k, flush),
        cmocka_unit_test_setup(test_put_signed, flush),
        cmocka_unit_test_setup(test_wait, flush),
        cmocka_unit_test_setup(test_open_refused, flush),
        cmocka_unit_test_setup(test_one_prefix, flush),
        cmocka_unit_test_setup(test_loop, flush),
        cmocka_unit_test_setup(test_close, flush),
        cmocka_unit_test_setup(test_redis_restarts, flush),
        cmocka_unit_test_setup(test_put_that_was_not_sent, flush),
        cmocka_unit_test_setup(test_put_whose_answer_was_lost, flush),
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}

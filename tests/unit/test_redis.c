/* The link to Redis, against a real redis-server of its own (redis_rig.h). */
#include "common/redis.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>
#include "tests/unit/redis_rig.h"

/* ---- commands ---- */

static void test_commands(void **state)
{
    static const char odd[] = "a\0b\r\n$-1\r\n\xff";
    struct slice set[] = {SLICE_LIT("SET"), SLICE_LIT("odd"), {odd, sizeof odd - 1}};
    struct slice get[] = {SLICE_LIT("GET"), SLICE_LIT("odd")};
    struct answer a = {0};
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    assert_true(redis_command(g.link, 3, set, 0, rig_on_answer, &a, NULL));
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.type, REDIS_STATUS);
    assert_string_equal(a.text, "OK");
    assert_true(redis_command(g.link, 2, get, 0, rig_on_answer, &a, NULL));
    assert_int_equal(redis_in_flight(g.link), 1);
    UNTIL(&g, a.calls == 2);
    assert_int_equal(redis_in_flight(g.link), 0);
    assert_int_equal(a.type, REDIS_STR);
    assert_int_equal(a.len, sizeof odd - 1);
    assert_memory_equal(a.text, odd, sizeof odd - 1);

    a = rig_ask(&g, "GET nothing-there");
    assert_int_equal(a.type, REDIS_NIL);
    a = rig_ask(&g, "INCRBY n -9007199254740993");
    assert_int_equal(a.type, REDIS_INT);
    assert_int_equal(a.number, -9007199254740993);
    a = rig_ask(&g, "GET n"); /* decimal text is a number too */
    assert_int_equal(a.number, -9007199254740993);
    a = rig_ask(&g, "KEYS none*");
    assert_int_equal(a.type, REDIS_ARRAY);
    assert_int_equal(a.len, 0);
    rig_ask(&g, "DEL n");
    assert_false(redis_command(g.link, 0, NULL, 0, rig_on_answer, &a, NULL));
    rig_close(&g);
}

static void on_hash(void *owner, const struct redis_reply *reply, const struct err *err)
{
    assert_null(err);
    assert_int_equal(redis_reply_int(redis_reply_field(reply, "b"), -1), 2);
    assert_null(redis_reply_field(reply, "1")); /* a value is no name */
    assert_null(redis_reply_field(reply, "c"));
    assert_null(redis_reply_at(reply, 4));
    assert_int_equal(redis_reply_type(NULL), REDIS_NIL);
    assert_int_equal(redis_reply_int(redis_reply_at(reply, 0), 7), 7); /* "a" is no number */
    ++*(int *)owner;
}

static void test_reply_field(void **state)
{
    struct slice get[] = {SLICE_LIT("HGETALL"), SLICE_LIT("h")};
    struct rig g;
    int n = 0;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    rig_ask(&g, "HSET h a 1 b 2");
    assert_true(redis_command(g.link, 2, get, 0, on_hash, &n, NULL));
    UNTIL(&g, n == 1);
    rig_close(&g);
}

/* All that starts in one turn of the loop leaves in one write; answers come in order. */
static void test_pipeline(void **state)
{
    enum { N = 2000 };
    static struct answer a[N];
    uint64_t trips;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){.url = server.tcp_url});
    rig_ask(&g, "DEL counter");
    trips = redis_round_trips(g.link);
    for (int i = 0; i < N; i++)
        rig_start(&g, &a[i], 0, "INCR counter");
    assert_int_equal(redis_in_flight(g.link), N);
    UNTIL(&g, redis_in_flight(g.link) == 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].number, i + 1);
    }
    assert_int_equal(redis_round_trips(g.link), trips + 1);
    rig_close(&g);
}

static void test_big_value(void **state)
{
    (void)state;
    rig_big_value(&(struct redis_options){.url = server.tcp_url});
    rig_big_value(&(struct redis_options){.url = server.url});
}

/* ---- scripts ---- */

static void start_lot(struct rig *g, struct answer *a)
{
    static const struct slice argv[] = {SLICE_LIT("{s0}:lots"), SLICE_LIT("{s0}:park"),
                                        SLICE_LIT("park"), SLICE_LIT("0"), SLICE_LIT("0")};
    struct err err;

    memset(a, 0, sizeof *a);
    if (!redis_script(g->link, SCRIPT_lot, 2, ARRAY_LEN(argv), argv, rig_on_answer, a, &err))
        fail_msg("%s", err.msg);
}

static long long evals(void)
{
    return test_redis_info(&server, "commandstats", "cmdstat_eval:calls=");
}

static void test_script(void **state)
{
    struct answer a[3];
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    rig_ask(&g, "ZADD {s0}:park 1 x 2 y 3 z");
    for (int round = 0; round < 2; round++) {
        long long before;

        rig_ask(&g, "SCRIPT FLUSH");
        before = evals();
        for (int i = 0; i < 3; i++)
            start_lot(&g, &a[i]); /* all three are told NOSCRIPT; nobody notices */
        UNTIL(&g, redis_in_flight(g.link) == 0);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(a[i].calls, 1);
            assert_string_equal(a[i].err.msg, "");
            assert_int_equal(a[i].number, 3);
        }
        assert_int_equal(evals(), before + 3);
        start_lot(&g, &a[0]); /* now it is known */
        UNTIL(&g, a[0].calls == 1);
        assert_int_equal(a[0].number, 3);
        assert_int_equal(evals(), before + 3);
    }
    rig_ask(&g, "DEL {s0}:park");
    rig_ask(&g, "SET {s0}:park text"); /* an error inside a script keeps its own word */
    start_lot(&g, &a[0]);
    UNTIL(&g, a[0].calls == 1);
    assert_string_equal(a[0].err.rule, "WRONGTYPE");
    assert_non_null(strstr(a[0].err.msg, "lot"));
    rig_ask(&g, "DEL {s0}:park");
    rig_close(&g);
}

static void test_script_table(void **state)
{
    (void)state;
    assert_string_equal(script_name(SCRIPT_lot), "lot");
    for (int i = 0; i < SCRIPT_COUNT; i++) {
        assert_int_equal(strlen(script_sha((enum script)i)), 40);
        assert_true(strlen(script_body((enum script)i)) > 0);
    }
}

/* ---- freeing ---- */

static void test_free_with_waiting(void **state)
{
    struct answer a[3];
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    rig_start(&g, &a[0], 60000, "BLPOP nothing 0");
    rig_start(&g, &a[1], 0, "PING");
    uv_run(&g.loop, UV_RUN_NOWAIT);
    rig_start(&g, &a[2], 0, "PING");
    redis_free(g.link);
    g.link = NULL;
    for (int i = 0; i < 3; i++) { /* before it returned */
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].err.code, ERR_CANCELLED);
    }
    rig_close(&g);
}

static void test_free_inside_callback(void **state)
{
    struct answer a, b, c;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    rig_start(&g, &a, 0, "PING");
    rig_start(&g, &b, 0, "PING");
    rig_start(&g, &c, 0, "PING");
    b.free_then = g.link;
    g.link = NULL;
    UNTIL(&g, c.calls == 1);
    assert_string_equal(a.text, "PONG");
    assert_string_equal(b.text, "PONG");
    assert_int_equal(c.err.code, ERR_CANCELLED);
    rig_close(&g);

    rig_up(&g, (struct redis_options){0}); /* inside the callback of a link that broke */
    rig_start(&g, &a, 60000, "BLPOP nothing 0");
    rig_start(&g, &b, 0, "PING");
    while (test_redis_info(&server, "clients", "blocked_clients:") == 0)
        uv_run(&g.loop, UV_RUN_NOWAIT);
    a.free_then = g.link;
    g.link = NULL;
    test_redis_do(&server, "CLIENT KILL TYPE normal");
    UNTIL(&g, b.calls == 1);
    assert_int_equal(a.err.code, ERR_UNKNOWN);
    assert_int_equal(b.err.code, ERR_CANCELLED);
    assert_int_equal(g.downs, 0);
    rig_close(&g);
}

static void test_free_early(void **state)
{
    struct redis_options o = {.url = "redis://localhost:1"};
    struct rig g;

    (void)state;
    rig_open(&g);
    rig_link(&g, &o); /* before its first turn */
    rig_close(&g);
    assert_int_equal(g.connects, 0);

    rig_open(&g);
    rig_link(&g, &o);
    UNTIL(&g, g.connects == 1); /* while its name is looked up */
    rig_close(&g);

    o.url = server.url;
    rig_open(&g);
    g.free_when_up = true; /* inside the state callback */
    rig_link(&g, &o);
    UNTIL(&g, g.ups == 1);
    rig_close(&g);
    redis_free(NULL);
}

/* ---- subscriptions ---- */

struct heard {
    int n;
    char channel[32], text[32];
};

static void on_message(void *owner, struct slice channel, struct slice message)
{
    struct heard *h = owner;

    h->n++;
    slice_copy(channel, h->channel, sizeof h->channel);
    slice_copy(message, h->text, sizeof h->text);
}

static long long channels(struct test_redis *t)
{
    return test_redis_info(t, "stats", "pubsub_channels:");
}

static void test_subscribe(void **state)
{
    struct heard wake = {0}, changed = {0};
    struct test_redis own;
    struct rig g;
    uint64_t trips;

    (void)state;
    test_redis_start(&own, NULL);
    rig_up(&g, (struct redis_options){.url = own.tcp_url, .read_timeout_ms = 80});
    assert_true(redis_subscribe(g.link, "wake", on_message, &wake, NULL));
    assert_true(redis_subscribe(g.link, "changed", on_message, &changed, NULL));
    UNTIL(&g, channels(&own) == 2);
    test_redis_do(&own, "PUBLISH wake one");
    UNTIL(&g, wake.n == 1);
    assert_string_equal(wake.channel, "wake");
    assert_string_equal(wake.text, "one");
    assert_int_equal(changed.n, 0);
    trips = redis_round_trips(g.link);
    UNTIL(&g, redis_round_trips(g.link) >= trips + 3); /* PING works while subscribed */
    assert_int_equal(g.downs, 0);
    test_redis_kill(&own);
    UNTIL(&g, g.downs > 0);
    test_redis_restart(&own);
    UNTIL(&g, g.ups == 2);
    UNTIL(&g, channels(&own) == 2);
    test_redis_do(&own, "PUBLISH changed two");
    UNTIL(&g, changed.n == 1);
    assert_string_equal(changed.text, "two");
    assert_int_equal(wake.n, 1);
    rig_close(&g);
    test_redis_stop(&own);
}

/* ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_reply_field),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_big_value),
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_script_table),
        cmocka_unit_test(test_free_with_waiting),
        cmocka_unit_test(test_free_inside_callback),
        cmocka_unit_test(test_free_early),
        cmocka_unit_test(test_subscribe),
    };

    return cmocka_run_group_tests(tests, rig_start_server, rig_stop_server);
}

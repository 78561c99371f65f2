/* A link that breaks, or a server that is silent: what was sent is known, and it comes back. */
#include "common/redis.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>
#include "common/clock.h"
#include "tests/unit/redis_rig.h"

/* ---- a link that breaks ---- */

static void test_killed_server(void **state)
{
    struct answer blocked, unsent;
    struct test_redis own;
    char run_id[48];
    struct rig g;

    (void)state;
    test_redis_start(&own, NULL);
    rig_up(&g, (struct redis_options){.url = own.tcp_url});
    snprintf(run_id, sizeof run_id, "%s", redis_server_info(g.link)->run_id);
    rig_start(&g, &blocked, 60000, "BLPOP nothing 0");
    while (test_redis_info(&own, "clients", "blocked_clients:") == 0)
        uv_run(&g.loop, UV_RUN_NOWAIT);
    test_redis_kill(&own);
    rig_start(&g, &unsent, 0, "INCR n");
    UNTIL(&g, g.downs > 0);
    assert_int_equal(blocked.calls, 1);
    assert_int_equal(blocked.err.code, ERR_UNKNOWN);
    assert_int_equal(unsent.calls, 1);
    assert_int_equal(g.why.code, ERR_UNREACHABLE);
    assert_false(redis_is_up(g.link));
    assert_false(redis_command(g.link, 1, &SLICE_LIT("PING"), 0, rig_on_answer, &unsent, &g.why));
    assert_int_equal(g.why.code, ERR_UNREACHABLE);
    UNTIL(&g, g.downs >= 3); /* it goes on trying */
    test_redis_restart(&own);
    UNTIL(&g, g.ups == 2);
    assert_string_not_equal(redis_server_info(g.link)->run_id, run_id);
    assert_string_equal(rig_ask(&g, "PING").text, "PONG");
    rig_close(&g);
    test_redis_stop(&own);
}

/* What never left this process was surely not done: behind one that is more than the socket of a
 * stopped server takes. */
static void test_unsent_is_known(void **state)
{
    static char much[4 << 20];
    const struct slice set[] = {SLICE_LIT("SET"), SLICE_LIT("much"), {much, sizeof much}};
    struct answer sent, part, a;
    struct test_redis own;
    struct err err;
    struct rig g;

    (void)state;
    test_redis_start(&own, NULL);
    rig_open(&g);
    rig_link(&g, &(struct redis_options){.url = own.url, .name = "test"});
    UNTIL(&g, g.ups == 1);
    redis_reset(g.link, "test");
    assert_false(redis_command(g.link, 1, &SLICE_LIT("PING"), 0, rig_on_answer, &a, NULL));
    UNTIL(&g, g.ups == 2);
    test_redis_signal(&own, SIGSTOP);
    memset(much, 'x', sizeof much);
    memset(&part, 0, sizeof part);
    rig_start(&g, &sent, 0, "PING");
    assert_true(redis_command(g.link, 3, set, 0, rig_on_answer, &part, &err));
    rig_start(&g, &a, 0, "INCR n");
    for (int turn = 0; turn < 50; turn++)
        uv_run(&g.loop, UV_RUN_NOWAIT);
    redis_reset(g.link, "test again");
    UNTIL(&g, a.calls == 1);
    test_redis_signal(&own, SIGCONT);
    assert_int_equal(sent.err.code, ERR_UNKNOWN);
    assert_int_equal(part.err.code, ERR_UNREACHABLE); /* half a command is not done */
    assert_int_equal(a.err.code, ERR_UNREACHABLE);
    assert_non_null(strstr(g.why.msg, "test again"));
    assert_string_equal(test_redis_do(&own, "GET n"), "");
    UNTIL(&g, g.ups == 3);
    rig_close(&g);
    test_redis_stop(&own);
}

static void test_client_kill(void **state)
{
    char run_id[48];
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){.url = server.tcp_url});
    snprintf(run_id, sizeof run_id, "%s", redis_server_info(g.link)->run_id);
    test_redis_do(&server, "CLIENT KILL TYPE normal");
    UNTIL(&g, g.ups == 2);
    assert_int_equal(g.downs, 1);
    assert_string_equal(redis_server_info(g.link)->run_id, run_id);
    rig_close(&g);
}

static void test_read_timeout(void **state)
{
    struct answer a, b;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){
                   .url = server.tcp_url, .read_timeout_ms = 150, .connect_timeout_ms = 150});
    test_redis_signal(&server, SIGSTOP);
    rig_start(&g, &a, 0, "PING");
    rig_start(&g, &b, 0, "PING");
    UNTIL(&g, a.calls == 1 && b.calls == 1 && g.downs >= 1);
    assert_int_equal(a.err.code, ERR_UNKNOWN);
    assert_int_equal(b.err.code, ERR_UNKNOWN);
    UNTIL(&g, g.downs >= 2); /* a stopped server takes sockets but answers nothing */
    assert_non_null(strstr(g.why.msg, "not ready after 150 ms"));
    test_redis_signal(&server, SIGCONT);
    UNTIL(&g, g.ups == 2);
    rig_close(&g);
}

/* Nobody asks anything; still a dead server is noticed. */
static void test_idle_watchdog(void **state)
{
    struct rig g;
    uint64_t trips;

    (void)state;
    rig_up(&g, (struct redis_options){.read_timeout_ms = 60});
    trips = redis_round_trips(g.link);
    UNTIL(&g, redis_round_trips(g.link) >= trips + 3); /* PING keeps asking */
    assert_int_equal(g.downs, 0);
    assert_int_equal(redis_in_flight(g.link), 0); /* and is not counted */
    test_redis_signal(&server, SIGSTOP);
    UNTIL(&g, g.downs >= 1);
    assert_non_null(strstr(g.why.msg, "no answer to PING"));
    test_redis_signal(&server, SIGCONT);
    UNTIL(&g, g.ups == 2);
    rig_close(&g);
}

/* When it was this process that stood still, the answer in the socket counts. */
static void test_late_but_there(void **state)
{
    struct answer a;
    struct rig g;
    int64_t until;

    (void)state;
    rig_up(&g, (struct redis_options){.read_timeout_ms = 50});
    test_redis_do(&server, "CONFIG RESETSTAT");
    rig_start(&g, &a, 0, "PING");
    until = clock_boot_ms() + 100;
    uv_run(&g.loop, UV_RUN_NOWAIT); /* it is sent */
    /* until both the answer and the end of its time are there; our own loop stands meanwhile */
    while (test_redis_info(&server, "commandstats", "_ping:calls=") == 0 || clock_boot_ms() < until)
        ;
    UNTIL(&g, a.calls == 1);
    assert_string_equal(a.text, "PONG");
    assert_int_equal(g.downs, 0);
    rig_close(&g);
}

/* Each answer has its own time, from when Redis could begin with it: a queue may take longer. */
static void test_timeout_is_per_answer(void **state)
{
    struct answer a[4];
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){.read_timeout_ms = 400});
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        rig_start(&g, &a[i], 0, "BLPOP nothing 0.2");
    UNTIL(&g, redis_in_flight(g.link) == 0);
    for (size_t i = 0; i < ARRAY_LEN(a); i++) {
        assert_string_equal(a[i].err.msg, "");
        assert_int_equal(a[i].type, REDIS_NIL);
    }
    assert_int_equal(g.downs, 0);
    rig_close(&g);
}

static void test_blocking_read(void **state)
{
    struct answer a;
    struct rig g;
    uint64_t trips;

    (void)state;
    rig_up(&g, (struct redis_options){.read_timeout_ms = 100, .connect_timeout_ms = 200});
    rig_ask(&g, "XGROUP CREATE q w 0 MKSTREAM");
    trips = redis_round_trips(g.link);
    rig_start(&g, &a, 2000, "XREADGROUP GROUP w me COUNT 5 BLOCK 500 STREAMS q >");
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.type, REDIS_NIL);
    assert_int_equal(g.downs, 0);
    assert_int_equal(redis_round_trips(g.link), trips + 1); /* no PING meanwhile */
    rig_start(&g, &a, 2000, "XREADGROUP GROUP w me COUNT 5 BLOCK 1500 STREAMS q >");
    while (test_redis_info(&server, "clients", "blocked_clients:") == 0)
        uv_run(&g.loop, UV_RUN_NOWAIT);
    test_redis_do(&server, "XADD q * j x");
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.len, 1);
    test_redis_signal(&server, SIGSTOP); /* its own limit watches it */
    rig_start(&g, &a, 300, "XREADGROUP GROUP w me COUNT 5 BLOCK 100 STREAMS q >");
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.err.code, ERR_UNKNOWN);
    assert_non_null(strstr(g.why.msg, "XREADGROUP for 300 ms"));
    test_redis_signal(&server, SIGCONT);
    UNTIL(&g, g.ups == 2);
    rig_ask(&g, "DEL q");
    rig_close(&g);
}

/* ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed_server),         cmocka_unit_test(test_unsent_is_known),
        cmocka_unit_test(test_client_kill),           cmocka_unit_test(test_read_timeout),
        cmocka_unit_test(test_idle_watchdog),         cmocka_unit_test(test_late_but_there),
        cmocka_unit_test(test_timeout_is_per_answer), cmocka_unit_test(test_blocking_read),
    };

    return cmocka_run_group_tests(tests, rig_start_server, rig_stop_server);
}

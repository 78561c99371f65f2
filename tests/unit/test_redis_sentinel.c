/* Where the primary is, by what Sentinels say. */
#include "common/redis.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/unit/redis_rig.h"

/* ---- Sentinels ---- */

/* What a Sentinel says: the primary is there. */
static void point_at(struct fake *f, char *says, size_t size, const struct test_redis *t)
{
    char port[8];

    snprintf(port, sizeof port, "%d", t->port);
    snprintf(says, size, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n", strlen(port), port);
    f->says = says;
}

/* Each must cost one clear line, and none may make awq dial what is no address. */
static void test_sentinel_answers(void **state)
{
    static const struct {
        const char *says, *why;
        bool refused;
    } cases[] = {
        {"*-1\r\n", "no Sentinel knows a primary my (1 of 2 answered)", true},
        {"-NOAUTH Authentication required.\r\n", "NOAUTH", true},
        {"-ERR unknown command 'SENTINEL'\r\n", "unknown command", false},
        {"*2\r\n$0\r\n\r\n$4\r\n6379\r\n", "no address", false},
        {"*2\r\n$4\r\na\0bc\r\n$4\r\n6379\r\n", "no answer in time", false},
        {"*2\r\n$5\r\na b/c\r\n$4\r\n6379\r\n", "no address", false},
        {"*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n", "no address", false},
        {"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n63790\r\n$1\r\n1\r\n", "Connection refused", false},
        {"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n99999\r\n", "no address", false},
        {"*3\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n1\r\n", "no address", false},
        {"+OK\r\n", "no address", false},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "not the Redis protocol", false},
        {"", "no answer in time", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake f = {.says = cases[i].says};
        struct redis_options o = {.connect_timeout_ms = 600, .once = true};
        char url[160];
        struct rig g;

        rig_open(&g);
        fake_open(&f, &g);
        snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:1,%s/my", f.url + strlen("redis://"));
        o.url = url;
        rig_link(&g, &o);
        UNTIL(&g, g.ups + g.downs + g.refusals > 0);
        if (g.ups || cases[i].refused != (g.refusals == 1) || !strstr(g.why.msg, cases[i].why))
            fail_msg("case %zu: wanted '%s' in: %s", i, cases[i].why, g.why.msg);
        redis_free(g.link);
        g.link = NULL;
        fake_close(&f);
        rig_close(&g);
    }
}

/* A Sentinel that is away is passed over; after a failover the link goes where they say now. */
static void test_sentinel_failover(void **state)
{
    struct fake f = {0};
    struct redis_options o = {.name = "test", .backoff_cap_ms = 50};
    char url[160], says[2][80], run_id[48];
    struct test_redis first;
    struct rig g;

    (void)state;
    test_redis_start(&first, NULL);
    point_at(&f, says[0], sizeof says[0], &first);
    rig_open(&g);
    fake_open(&f, &g);
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:1,%s/my/3", f.url + strlen("redis://"));
    o.url = url;
    rig_link(&g, &o);
    UNTIL(&g, g.ups == 1);
    assert_non_null(strstr(redis_where(g.link), "127.0.0.1:"));
    rig_ask(&g, "SET here 1");
    assert_int_equal(test_redis_info(&first, "keyspace", "db3:keys="), 1);
    snprintf(run_id, sizeof run_id, "%s", redis_server_info(g.link)->run_id);
    point_at(&f, says[1], sizeof says[1], &server);
    test_redis_kill(&first);
    UNTIL(&g, g.ups == 2);
    assert_string_not_equal(redis_server_info(g.link)->run_id, run_id);
    rig_ask(&g, "DEL here");
    redis_free(g.link);
    g.link = NULL;
    fake_close(&f);
    rig_close(&g);
    test_redis_stop(&first);
}

/* The Sentinel is behind: what it calls the primary is a replica, and nobody may write there. */
static void test_sentinel_is_behind(void **state)
{
    static const char *const args[] = {"--replicaof", "127.0.0.1", "1", NULL};
    struct fake f = {0};
    struct redis_options o = {.name = "test", .backoff_cap_ms = 50};
    char url[160], says[80];
    struct test_redis replica;
    struct rig g;

    (void)state;
    test_redis_start(&replica, args);
    point_at(&f, says, sizeof says, &replica);
    rig_open(&g);
    fake_open(&f, &g);
    snprintf(url, sizeof url, "redis+sentinel://%s/my", f.url + strlen("redis://"));
    o.url = url;
    rig_link(&g, &o);
    UNTIL(&g, g.downs > 0);
    assert_int_equal(g.ups, 0);
    assert_int_equal(g.why.code, ERR_UNREACHABLE);
    assert_non_null(strstr(g.why.msg, "a replica"));
    test_redis_do(&replica, "REPLICAOF NO ONE"); /* the failover is over */
    UNTIL(&g, g.ups == 1);
    redis_free(g.link);
    g.link = NULL;
    fake_close(&f);
    rig_close(&g);
    test_redis_stop(&replica);
}

/* ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentinel_answers),
        cmocka_unit_test(test_sentinel_failover),
        cmocka_unit_test(test_sentinel_is_behind),
    };

    return cmocka_run_group_tests(tests, rig_start_server, rig_stop_server);
}

/* What Redis said, and what is done about it. */
#include "common/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>
#include "common/redis_error.h"
#include "tests/unit/redis_rig.h"

/* ---- what Redis said ---- */

static void test_error_replies(void **state)
{
    static const struct {
        const char *line, *rule;
        enum err_code code;
    } cases[] = {
        {"NOSUCHCOMMAND hush-hush", "ERR", ERR_FORMAT},
        {"GET", "ERR", ERR_FORMAT},
        {"INCR text", "ERR", ERR_FORMAT},
        {"LPUSH text x", "WRONGTYPE", ERR_FORMAT},
        {"XREADGROUP GROUP none me STREAMS nothing >", "NOGROUP", ERR_NOT_FOUND},
        /* given as a plain command it is the caller's own */
        {"EVALSHA 0123456789012345678901234567890123456789 0", "NOSCRIPT", ERR_NOT_FOUND},
    };
    struct answer a;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    rig_ask(&g, "SET text hush-hush");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        a = rig_ask(&g, cases[i].line);
        assert_string_equal(a.err.rule, cases[i].rule);
        assert_int_equal(a.err.code, cases[i].code);
        assert_null(strstr(a.err.msg, "hush-hush")); /* an argument may be a secret */
    }
    rig_ask(&g, "DEL s text");
    rig_ask(&g, "XGROUP CREATE s w 0 MKSTREAM");
    a = rig_ask(&g, "XGROUP CREATE s w 0 MKSTREAM");
    assert_int_equal(a.err.code, ERR_NONE); /* BUSYGROUP is fine: it is there */
    assert_int_equal(a.type, REDIS_ERROR);
    assert_int_equal(g.downs, 0);
    rig_close(&g);
}

static void test_error_classes(void **state)
{
    static const struct {
        const char *word;
        enum redis_do want;
    } cases[] = {
        {"NOSCRIPT", REDIS_DO_REEVAL},   {"NOGROUP", REDIS_DO_REGROUP},
        {"BUSYGROUP", REDIS_DO_FINE},    {"READONLY", REDIS_DO_RESET},
        {"UNBLOCKED", REDIS_DO_RESET},   {"MASTERDOWN", REDIS_DO_RESET},
        {"LOADING", REDIS_DO_RETRY},     {"BUSY", REDIS_DO_RETRY},
        {"TRYAGAIN", REDIS_DO_RETRY},    {"CLUSTERDOWN", REDIS_DO_RETRY},
        {"NOREPLICAS", REDIS_DO_RETRY},  {"OOM", REDIS_DO_STOP},
        {"MISCONF", REDIS_DO_STOP},      {"NOAUTH", REDIS_DO_AUTH},
        {"NOPERM", REDIS_DO_AUTH},       {"WRONGPASS", REDIS_DO_AUTH},
        {"WRONGTYPE", REDIS_DO_BUG},     {"CROSSSLOT", REDIS_DO_BUG},
        {"MOVED", REDIS_DO_RESET}, /* it has become a cluster; the check will say so */
        {"ERR", REDIS_DO_FAIL},          {"EXECABORT", REDIS_DO_FAIL},
        {"SOMETHINGNEW", REDIS_DO_FAIL}, {"", REDIS_DO_FAIL},
        {"OOMX", REDIS_DO_FAIL}, /* whole words only */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(redis_err_class(slice_cstr(cases[i].word)), cases[i].want);
}

/* Redis 6.2 wraps the word of an error that happened inside a script. */
/* Redis 7.0 has no word for a script whose user lacks a right. */
static void test_rights_of_a_script(void **state)
{
    (void)state;
    assert_true(
        slice_is(redis_error_word(SLICE_LIT(
                     "ERR The user executing the script can't access at least one of the "
                     "keys mentioned in the command arguments script: 1, on @user_script:9.")),
                 "NOPERM"));
}

static void test_error_words(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"OOM command not allowed when used memory > 'maxmemory'.", "OOM"},
        {"ERR unknown command 'x'", "ERR"},
        {"ERR Error running script (call to f_ab12): @user_script:1: WRONGTYPE Operation",
         "WRONGTYPE"},
        {"ERR Error running script (call to f_ab12): @user_script: 2: @user_script: 2: -OOM "
         "command",
         "OOM"},
        {"ERR Error running script (call to f_ab12): @user_script:9: user_script:9: attempt to",
         "ERR"},
        {"ERR Error running script (call to f_ab12): @user_script:1: Wrong number of args", "ERR"},
        {"ERR Error running script", "ERR"},
        {"", ""},
        {"lower case", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (!slice_is(redis_error_word(slice_cstr(cases[i].text)), cases[i].want))
            fail_msg("%s", cases[i].text);
}

static void test_error_texts(void **state)
{
    static const struct {
        const char *text, *want;
        enum err_code code;
    } cases[] = {
        {"ERR unknown command 'GTE', with args beginning with: 'hush'",
         "redis x: CMD: ERR unknown command ...", ERR_FORMAT},
        {"ERR syntax error", "redis x: CMD: ERR syntax error", ERR_FORMAT},
        {"ERR odd \x01\n\"hush\"", "redis x: CMD: ERR odd ??...", ERR_FORMAT},
        {"NOGROUP No such key 'hush' or consumer group",
         "redis x: CMD: NOGROUP: the stream or its consumer group is not there", ERR_NOT_FOUND},
        {"ERR max number of clients reached",
         "redis x: CMD: ERR: Redis has as many clients as it allows (maxclients)", ERR_RETRY},
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_false(redis_error_fill(&err, "x", "CMD", slice_cstr(cases[i].text)));
        assert_string_equal(err.msg, cases[i].want);
        assert_int_equal(err.code, cases[i].code);
    }
}

static void test_out_of_memory(void **state)
{
    struct answer a;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    test_redis_do(&server, "CONFIG SET maxmemory 1");
    a = rig_ask(&g, "SET k v");
    test_redis_do(&server, "CONFIG SET maxmemory 0");
    assert_string_equal(a.err.rule, "OOM");
    assert_int_equal(a.err.code, ERR_NOMEM);
    assert_int_equal(g.downs, 0);
    rig_close(&g);
}

/* A role change: the link is dropped and made anew, for the name may lead elsewhere now. */
static void test_readonly(void **state)
{
    struct answer a;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    assert_false(redis_server_info(g.link)->is_replica);
    test_redis_do(&server, "REPLICAOF 127.0.0.1 1");
    a = rig_ask(&g, "SET k v");
    assert_string_equal(a.err.rule, "READONLY");
    assert_int_equal(a.err.code, ERR_RETRY);
    assert_false(redis_is_up(g.link));
    UNTIL(&g, g.ups == 2);
    assert_int_equal(g.downs, 1);
    assert_true(redis_server_info(g.link)->is_replica);
    test_redis_do(&server, "REPLICAOF NO ONE");
    rig_close(&g);
}

static void test_busy(void **state)
{
    struct answer loop, a;
    struct rig g, h;

    (void)state;
    test_redis_do(&server, "CONFIG SET lua-time-limit 20");
    rig_up(&g, (struct redis_options){0});
    rig_up(&h, (struct redis_options){0});
    rig_start(&h, &loop, 0, "EVAL while(true)do(function()end)()end 0");
    do { /* until the script runs and has passed its limit */
        uv_run(&h.loop, UV_RUN_NOWAIT);
        a = rig_ask(&g, "PING");
    } while (a.err.code == ERR_NONE);
    assert_string_equal(a.err.rule, "BUSY");
    assert_int_equal(a.err.code, ERR_RETRY);
    test_redis_do(&server, "SCRIPT KILL");
    UNTIL(&h, loop.calls == 1);
    test_redis_do(&server, "CONFIG SET lua-time-limit 5000");
    rig_close(&g);
    rig_close(&h);
}

/* ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rights_of_a_script), cmocka_unit_test(test_error_replies),
        cmocka_unit_test(test_error_classes),      cmocka_unit_test(test_error_words),
        cmocka_unit_test(test_error_texts),        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_readonly),           cmocka_unit_test(test_busy),
    };

    return cmocka_run_group_tests(tests, rig_start_server, rig_stop_server);
}

/* The link to Redis, against a real redis-server of its own (redis_server.h). */
#include "common/redis.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>
#include "common/clock.h"
#include "common/redis_error.h"
#include "tests/unit/redis_server.h"

#define LIMIT_MS 15000 /* no wait of a test is longer */
#define LOOK_MS  10

/* ---- a loop, a link, and what was heard of it ---- */

struct rig {
    uv_loop_t loop;
    uv_timer_t limit;
    struct redis *link;
    int ups, downs, refusals, connects;
    struct err why; /* of the last DOWN or REFUSED */
    int waited_ms;
    bool too_late;
    bool free_when_up;
};

static struct test_redis server; /* shared by the tests that leave it as they found it */

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct rig *g = owner;

    switch (state) {
    case REDIS_CONNECTING:
        g->connects++;
        break;
    case REDIS_UP:
        g->ups++;
        if (g->free_when_up) {
            redis_free(g->link);
            g->link = NULL;
        }
        break;
    case REDIS_DOWN:
        g->downs++;
        g->why = *why;
        break;
    case REDIS_REFUSED:
        g->refusals++;
        g->why = *why;
        break;
    }
}

/* Also wakes the loop: what a condition waits for may have happened in a timer, and the loop would
 * then sleep on its sockets. */
static void on_limit(uv_timer_t *t)
{
    struct rig *g = t->data;

    g->waited_ms += LOOK_MS;
    g->too_late = g->waited_ms > LIMIT_MS;
}

static void rig_open(struct rig *g)
{
    memset(g, 0, sizeof *g);
    assert_int_equal(uv_loop_init(&g->loop), 0);
    uv_timer_init(&g->loop, &g->limit);
    g->limit.data = g;
}

static void rig_link(struct rig *g, const struct redis_options *o)
{
    struct err err;

    g->link = redis_new(&g->loop, o, on_state, g, &err);
    if (!g->link)
        fail_msg("redis_new: %s", err.msg);
}

/* Turn the loop until the condition holds. A macro so that a failure names the place. */
#define UNTIL(g, cond)                                                                             \
    do {                                                                                           \
        (g)->too_late = false;                                                                     \
        (g)->waited_ms = 0;                                                                        \
        uv_timer_start(&(g)->limit, on_limit, LOOK_MS, LOOK_MS);                                   \
        while (!(cond) && !(g)->too_late)                                                          \
            uv_run(&(g)->loop, UV_RUN_ONCE);                                                       \
        uv_timer_stop(&(g)->limit);                                                                \
        if (!(cond))                                                                               \
            fail_msg("waited in vain for: %s (last: %s)", #cond, (g)->why.msg);                    \
    } while (0)

/* Everything must go: no handle, no request left. */
static void rig_close(struct rig *g)
{
    redis_free(g->link);
    uv_close((uv_handle_t *)&g->limit, NULL);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&g->loop), 0);
}

/* A link to the shared server that has come up. */
static void rig_up(struct rig *g, struct redis_options o)
{
    if (!o.url)
        o.url = server.url;
    if (!o.name)
        o.name = "test";
    if (!o.backoff_cap_ms)
        o.backoff_cap_ms = 50;
    rig_open(g);
    rig_link(g, &o);
    UNTIL(g, g->ups > 0);
}

/* The answer of one command, in words. */
struct answer {
    int calls;
    enum redis_type type;
    int64_t number;
    size_t len;
    struct redis *free_then; /* redis_free it inside the callback */
    struct err err;
    char text[256];
};

static void on_answer(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct answer *a = owner;

    a->calls++;
    assert_true(!err || !reply); /* one of the two */
    if (err) {
        a->err = *err;
        assert_int_not_equal(err->code, ERR_NONE);
    } else {
        a->type = redis_reply_type(reply);
        a->number = redis_reply_int(reply, -1);
        a->len = redis_reply_type(reply) == REDIS_ARRAY ? redis_reply_len(reply)
                                                        : redis_reply_str(reply).len;
        slice_copy(redis_reply_str(reply), a->text, sizeof a->text);
    }
    if (a->free_then)
        redis_free(a->free_then);
}

/* Words at blanks. */
static void start_words(struct rig *g, struct answer *a, int64_t timeout_ms, const char *line)
{
    struct slice argv[32], rest = slice_cstr(line), word;
    size_t n = 0;
    struct err err;

    memset(a, 0, sizeof *a);
    while (n < ARRAY_LEN(argv) && slice_cut(&rest, ' ', &word))
        argv[n++] = word;
    if (!redis_command(g->link, n, argv, timeout_ms, on_answer, a, &err))
        fail_msg("%s: %s", line, err.msg);
    assert_int_equal(a->calls, 0); /* never inside the call that started it */
}

static struct answer ask(struct rig *g, const char *line)
{
    struct answer a;

    start_words(g, &a, 0, line);
    UNTIL(g, a.calls > 0);
    assert_int_equal(a.calls, 1);
    return a;
}

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
    assert_true(redis_command(g.link, 3, set, 0, on_answer, &a, NULL));
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.type, REDIS_STATUS);
    assert_string_equal(a.text, "OK");
    assert_true(redis_command(g.link, 2, get, 0, on_answer, &a, NULL));
    assert_int_equal(redis_in_flight(g.link), 1);
    UNTIL(&g, a.calls == 2);
    assert_int_equal(redis_in_flight(g.link), 0);
    assert_int_equal(a.type, REDIS_STR);
    assert_int_equal(a.len, sizeof odd - 1);
    assert_memory_equal(a.text, odd, sizeof odd - 1);

    a = ask(&g, "GET nothing-there");
    assert_int_equal(a.type, REDIS_NIL);
    a = ask(&g, "INCRBY n -9007199254740993");
    assert_int_equal(a.type, REDIS_INT);
    assert_int_equal(a.number, -9007199254740993);
    a = ask(&g, "GET n"); /* decimal text is a number too */
    assert_int_equal(a.number, -9007199254740993);
    a = ask(&g, "KEYS none*");
    assert_int_equal(a.type, REDIS_ARRAY);
    assert_int_equal(a.len, 0);
    ask(&g, "DEL n");
    assert_false(redis_command(g.link, 0, NULL, 0, on_answer, &a, NULL));
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
    ask(&g, "HSET h a 1 b 2");
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
    ask(&g, "DEL counter");
    trips = redis_round_trips(g.link);
    for (int i = 0; i < N; i++)
        start_words(&g, &a[i], 0, "INCR counter");
    assert_int_equal(redis_in_flight(g.link), N);
    UNTIL(&g, redis_in_flight(g.link) == 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(a[i].calls, 1);
        assert_int_equal(a[i].number, i + 1);
    }
    assert_int_equal(redis_round_trips(g.link), trips + 1);
    rig_close(&g);
}

static void on_len(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct slice *want = owner, got = redis_reply_str(reply);

    assert_null(err);
    assert_true(slice_eq(*want, got));
    want->len = 0;
}

/* Far more than a socket takes at once, both ways. */
static void big_value(const struct redis_options *o)
{
    size_t len = (size_t)24 << 20;
    char *big = malloc(len);
    struct slice want, get[] = {SLICE_LIT("GET"), SLICE_LIT("big")};
    struct slice set[] = {SLICE_LIT("SET"), SLICE_LIT("big"), {big, len}};
    struct answer a = {0};
    struct rig g;

    assert_non_null(big);
    for (size_t i = 0; i < len; i++)
        big[i] = (char)(i * 2654435761u >> 13);
    want = slice_of(big, len);
    rig_up(&g, *o);
    assert_true(redis_command(g.link, 3, set, 10000, on_answer, &a, NULL));
    assert_true(redis_command(g.link, 2, get, 10000, on_len, &want, NULL));
    UNTIL(&g, a.calls == 1 && want.len == 0);
    ask(&g, "DEL big");
    rig_close(&g);
    free(big);
}

static void test_big_value(void **state)
{
    (void)state;
    big_value(&(struct redis_options){.url = server.tcp_url});
    big_value(&(struct redis_options){.url = server.url});
}

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
    ask(&g, "SET text hush-hush");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        a = ask(&g, cases[i].line);
        assert_string_equal(a.err.rule, cases[i].rule);
        assert_int_equal(a.err.code, cases[i].code);
        assert_null(strstr(a.err.msg, "hush-hush")); /* an argument may be a secret */
    }
    ask(&g, "DEL s text");
    ask(&g, "XGROUP CREATE s w 0 MKSTREAM");
    a = ask(&g, "XGROUP CREATE s w 0 MKSTREAM");
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
    a = ask(&g, "SET k v");
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
    a = ask(&g, "SET k v");
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
    start_words(&h, &loop, 0, "EVAL while(true)do(function()end)()end 0");
    do { /* until the script runs and has passed its limit */
        uv_run(&h.loop, UV_RUN_NOWAIT);
        a = ask(&g, "PING");
    } while (a.err.code == ERR_NONE);
    assert_string_equal(a.err.rule, "BUSY");
    assert_int_equal(a.err.code, ERR_RETRY);
    test_redis_do(&server, "SCRIPT KILL");
    UNTIL(&h, loop.calls == 1);
    test_redis_do(&server, "CONFIG SET lua-time-limit 5000");
    rig_close(&g);
    rig_close(&h);
}

/* ---- scripts ---- */

static void start_lot(struct rig *g, struct answer *a)
{
    static const struct slice argv[] = {SLICE_LIT("{s0}:lots"), SLICE_LIT("{s0}:park"),
                                        SLICE_LIT("park"), SLICE_LIT("0"), SLICE_LIT("0")};
    struct err err;

    memset(a, 0, sizeof *a);
    if (!redis_script(g->link, SCRIPT_lot, 2, ARRAY_LEN(argv), argv, on_answer, a, &err))
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
    ask(&g, "ZADD {s0}:park 1 x 2 y 3 z");
    for (int round = 0; round < 2; round++) {
        long long before;

        ask(&g, "SCRIPT FLUSH");
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
    ask(&g, "DEL {s0}:park");
    ask(&g, "SET {s0}:park text"); /* an error inside a script keeps its own word */
    start_lot(&g, &a[0]);
    UNTIL(&g, a[0].calls == 1);
    assert_string_equal(a[0].err.rule, "WRONGTYPE");
    assert_non_null(strstr(a[0].err.msg, "lot"));
    ask(&g, "DEL {s0}:park");
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
    start_words(&g, &blocked, 60000, "BLPOP nothing 0");
    while (test_redis_info(&own, "clients", "blocked_clients:") == 0)
        uv_run(&g.loop, UV_RUN_NOWAIT);
    test_redis_kill(&own);
    start_words(&g, &unsent, 0, "INCR n");
    UNTIL(&g, g.downs > 0);
    assert_int_equal(blocked.calls, 1);
    assert_int_equal(blocked.err.code, ERR_UNKNOWN);
    assert_int_equal(unsent.calls, 1);
    assert_int_equal(g.why.code, ERR_UNREACHABLE);
    assert_false(redis_is_up(g.link));
    assert_false(redis_command(g.link, 1, &SLICE_LIT("PING"), 0, on_answer, &unsent, &g.why));
    assert_int_equal(g.why.code, ERR_UNREACHABLE);
    UNTIL(&g, g.downs >= 3); /* it goes on trying */
    test_redis_restart(&own);
    UNTIL(&g, g.ups == 2);
    assert_string_not_equal(redis_server_info(g.link)->run_id, run_id);
    assert_string_equal(ask(&g, "PING").text, "PONG");
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
    assert_false(redis_command(g.link, 1, &SLICE_LIT("PING"), 0, on_answer, &a, NULL));
    UNTIL(&g, g.ups == 2);
    test_redis_signal(&own, SIGSTOP);
    memset(much, 'x', sizeof much);
    memset(&part, 0, sizeof part);
    start_words(&g, &sent, 0, "PING");
    assert_true(redis_command(g.link, 3, set, 0, on_answer, &part, &err));
    start_words(&g, &a, 0, "INCR n");
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
    start_words(&g, &a, 0, "PING");
    start_words(&g, &b, 0, "PING");
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
    start_words(&g, &a, 0, "PING");
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
        start_words(&g, &a[i], 0, "BLPOP nothing 0.2");
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
    ask(&g, "XGROUP CREATE q w 0 MKSTREAM");
    trips = redis_round_trips(g.link);
    start_words(&g, &a, 2000, "XREADGROUP GROUP w me COUNT 5 BLOCK 500 STREAMS q >");
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.type, REDIS_NIL);
    assert_int_equal(g.downs, 0);
    assert_int_equal(redis_round_trips(g.link), trips + 1); /* no PING meanwhile */
    start_words(&g, &a, 2000, "XREADGROUP GROUP w me COUNT 5 BLOCK 1500 STREAMS q >");
    while (test_redis_info(&server, "clients", "blocked_clients:") == 0)
        uv_run(&g.loop, UV_RUN_NOWAIT);
    test_redis_do(&server, "XADD q * j x");
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.len, 1);
    test_redis_signal(&server, SIGSTOP); /* its own limit watches it */
    start_words(&g, &a, 300, "XREADGROUP GROUP w me COUNT 5 BLOCK 100 STREAMS q >");
    UNTIL(&g, a.calls == 1);
    assert_int_equal(a.err.code, ERR_UNKNOWN);
    assert_non_null(strstr(g.why.msg, "XREADGROUP for 300 ms"));
    test_redis_signal(&server, SIGCONT);
    UNTIL(&g, g.ups == 2);
    ask(&g, "DEL q");
    rig_close(&g);
}

/* ---- freeing ---- */

static void test_free_with_waiting(void **state)
{
    struct answer a[3];
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    start_words(&g, &a[0], 60000, "BLPOP nothing 0");
    start_words(&g, &a[1], 0, "PING");
    uv_run(&g.loop, UV_RUN_NOWAIT);
    start_words(&g, &a[2], 0, "PING");
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
    start_words(&g, &a, 0, "PING");
    start_words(&g, &b, 0, "PING");
    start_words(&g, &c, 0, "PING");
    b.free_then = g.link;
    g.link = NULL;
    UNTIL(&g, c.calls == 1);
    assert_string_equal(a.text, "PONG");
    assert_string_equal(b.text, "PONG");
    assert_int_equal(c.err.code, ERR_CANCELLED);
    rig_close(&g);

    rig_up(&g, (struct redis_options){0}); /* inside the callback of a link that broke */
    start_words(&g, &a, 60000, "BLPOP nothing 0");
    start_words(&g, &b, 0, "PING");
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

/* ---- addresses ---- */

/* Each reason in the text is what somebody with that mistake needs to read. */
static void test_bad_addresses(void **state)
{
    static const struct {
        const char *url, *says;
    } cases[] = {
        {NULL, "no scheme"},
        {"", "no scheme"},
        {"http://host", "no scheme"},
        {"redis://", "no host"},
        {"redis://:6379", "no host"},
        {"redis://ho st", "odd characters"},
        {"redis://h:0", "port"},
        {"redis://h:65536", "port"},
        {"redis://h:12x", "port"},
        {"redis://[::1", "no host"},
        {"redis://[::1]x", "odd characters"},
        {"redis://h/x", "database"},
        {"redis://h/1/2", "database"},
        {"redis://u:hush-hush@h", "file"},
        {"redis://:hush-hush@h", "file"},
        {"redis://@h", "user"},
        {"redis://u%zz@h", "user"},
        {"unix://relative", "absolute"},
        {"unix:///123456789012345678901234567890123456789012345678901234567890"
         "123456789012345678901234567890123456789012345678",
         "too long"},
        {"redis+sentinel://", "no host"},
        {"redis+sentinel://h", "which primary"},
        {"redis+sentinel://h/", "which primary"},
        {"redis+sentinel://h//1", "which primary"},
        {"redis+sentinel://h/a b", "odd characters"},
        {"redis+sentinel://h/my/x", "database"},
        {"redis+sentinel://h,/my", "no host"},
        {"redis+sentinel://h:0,i/my", "port"},
        {"redis+sentinel://a,b,c,d,e,f,g,h,i,j/my", "more than 9"},
        {"redis+sentinel://u:hush-hush@h/my", "file"},
        {"redis+sentinel:/h/my", "no scheme"},
    };
    struct redis_options o = {0};
    uv_loop_t loop;
    struct err err;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        o.url = cases[i].url;
        assert_null(redis_new(&loop, &o, on_state, NULL, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s: %s", cases[i].url, err.msg);
        assert_null(strstr(err.msg, "hush-hush"));
    }
    o = (struct redis_options){.url = server.url, .name = "two words"};
    assert_null(redis_new(&loop, &o, on_state, NULL, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_address_forms(void **state)
{
    char url[6][128];
    struct rig g;

    (void)state;
    snprintf(url[0], sizeof url[0], "%s", server.sock); /* a bare path */
    snprintf(url[1], sizeof url[1], "unix://%s", server.sock);
    snprintf(url[2], sizeof url[2], "redis://127.0.0.1:%d/3", server.port);
    snprintf(url[3], sizeof url[3], "redis://localhost:%d/", server.port);
    snprintf(url[4], sizeof url[4], "redis://default@127.0.0.1:%d", server.port); /* nopass */
    snprintf(url[5], sizeof url[5], "redis://[::ffff:127.0.0.1]:%d", server.port);
    for (size_t i = 0; i < ARRAY_LEN(url); i++) {
        rig_up(&g, (struct redis_options){.url = url[i], .name = "who"});
        assert_non_null(strstr(test_redis_do(&server, "CLIENT LIST"), "name=who"));
        ask(&g, "SET here 1");
        if (i == 2)
            assert_string_equal(test_redis_do(&server, "GET here"), ""); /* another database */
        else
            assert_string_equal(test_redis_do(&server, "GET here"), "1");
        ask(&g, "DEL here");
        rig_close(&g);
    }
}

/* One try, and its reason. */
static void one_try(struct rig *g, struct redis_options o)
{
    o.once = true;
    rig_open(g);
    rig_link(g, &o);
    UNTIL(g, g->downs + g->refusals + g->ups > 0);
    assert_int_equal(g->connects, 1);
}

static void expect_down(struct redis_options o, const char *says)
{
    struct rig g;

    one_try(&g, o);
    assert_int_equal(g.downs, 1);
    if (!strstr(g.why.msg, says))
        fail_msg("wanted '%s' in: %s", says, g.why.msg);
    rig_close(&g); /* runs the loop to its end: nothing more was planned */
    assert_int_equal(g.connects, 1);
}

static void expect_refused(struct redis_options o, const char *says)
{
    struct rig g;

    one_try(&g, o);
    if (g.refusals != 1 || !strstr(g.why.msg, says))
        fail_msg("wanted '%s' in: %s", says, g.why.msg);
    assert_int_equal(g.why.code, ERR_CONFIG);
    assert_null(strstr(g.why.msg, "hush-hush"));
    rig_close(&g);
}

static void test_unreachable(void **state)
{
    (void)state;
    expect_down((struct redis_options){.url = "unix:///tmp/awq-no-such-socket"},
                "No such file or directory");
    expect_down((struct redis_options){.url = "redis://127.0.0.1:1"}, "Connection refused");
    expect_down((struct redis_options){.url = "redis://localhost:1"}, "Connection refused");
    /* An empty label: the resolver says no without asking anybody. */
    expect_down((struct redis_options){.url = "redis://x..y"}, "resolve");
}

/* ---- who may come in ---- */

static void test_server_info(void **state)
{
    const struct redis_server *s;
    struct rig g;

    (void)state;
    test_redis_do(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    rig_up(&g, (struct redis_options){0});
    s = redis_server_info(g.link);
    assert_int_equal(strlen(s->run_id), 40);
    assert_true(s->version_number >= 60200);
    assert_string_equal(s->eviction, "allkeys-lru");
    assert_int_equal(s->replicas, 0);
    assert_string_equal(redis_where(g.link), server.sock);
    test_redis_do(&server, "CONFIG SET maxmemory-policy noeviction");
    redis_reset(g.link, "look again");
    UNTIL(&g, g.ups == 2);
    assert_string_equal(redis_server_info(g.link)->eviction, "noeviction");
    rig_close(&g);
}

static void test_cluster_refused(void **state)
{
    static const char *const args[] = {"--cluster-enabled", "yes", NULL};
    struct test_redis own;

    (void)state;
    test_redis_start(&own, args);
    expect_refused((struct redis_options){.url = own.url}, "cluster");
    test_redis_stop(&own);
}

static void test_password(void **state)
{
    static const char *const args[] = {"--requirepass", "hush-hush", NULL};
    struct test_redis own;
    struct redis_options o = {.backoff_cap_ms = 50};
    struct rig g;

    (void)state;
    test_redis_start(&own, args);
    snprintf(own.password, sizeof own.password, "hush-hush");
    o.url = own.url;
    expect_refused(o, "NOAUTH");
    o.password_file = test_redis_path(&own, "none");
    expect_refused(o, "No such file");
    o.password_file = test_redis_file(&own, "open", "hush-hush\n", 0644);
    expect_refused(o, "chmod 600");
    o.password_file = test_redis_file(&own, "empty", "\n", 0600);
    expect_refused(o, "empty");
    o.password_file = own.dir;
    expect_refused(o, "not a regular file");
    o.user = "nobody";
    o.password_file = test_redis_file(&own, "right", "hush-hush\n", 0600);
    expect_refused(o, "WRONGPASS");
    o.user = NULL;
    rig_up(&g, o);
    rig_close(&g);
    o.password_file = test_redis_file(&own, "group", "hush-hush", 0440); /* a mounted secret */
    rig_up(&g, o);
    rig_close(&g);

    /* Wrong now, right later: the file is read at each try. */
    o.password_file = test_redis_file(&own, "rotated", "hush-hush-not", 0600);
    rig_open(&g);
    rig_link(&g, &o);
    UNTIL(&g, g.refusals >= 2);
    assert_non_null(strstr(g.why.msg, "WRONGPASS"));
    assert_null(strstr(g.why.msg, "hush-hush"));
    test_redis_file(&own, "rotated", "hush-hush", 0600);
    UNTIL(&g, g.ups == 1);
    rig_close(&g);
    test_redis_stop(&own);
}

static void test_password_not_wanted(void **state)
{
    (void)state;
    expect_refused(
        (struct redis_options){.url = server.url,
                               .password_file = test_redis_file(&server, "pw", "hush-hush", 0600)},
        "AUTH");
}

static void test_acl(void **state)
{
    struct redis_options o = {.url = server.tcp_url, .user = "bob"};
    struct answer a;
    struct rig g;

    (void)state;
    o.password_file = test_redis_file(&server, "bob", "hush-hush", 0600);
    test_redis_do(&server, "ACL SETUSER bob on >hush-hush ~bob:* +@all -config -ping -client "
                           "-incr -@pubsub");
    rig_up(&g, o); /* neither CLIENT SETNAME nor CONFIG nor PING is needed */
    assert_string_equal(ask(&g, "ACL WHOAMI").text, "bob");
    a = ask(&g, "INCR bob:n");
    assert_string_equal(a.err.rule, "NOPERM");
    assert_int_equal(a.err.code, ERR_CONFIG);
    a = ask(&g, "GET alice:n");
    assert_string_equal(a.err.rule, "NOPERM");
    assert_null(strstr(a.err.msg, "alice"));
    assert_int_equal(g.downs, 0); /* a new link would be told the same */
    assert_true(redis_subscribe(g.link, "wake", NULL, NULL, NULL));
    UNTIL(&g, g.refusals == 1);
    assert_non_null(strstr(g.why.msg, "SUBSCRIBE"));
    rig_close(&g);

    test_redis_do(&server, "ACL SETUSER bob -info");
    expect_refused(o, "INFO: NOPERM");
    test_redis_do(&server, "ACL DELUSER bob");
    expect_refused(o, "WRONGPASS");
}

/* The server forgets who we are: a new link, with the file read again. */
static void test_noauth_reconnects(void **state)
{
    struct answer a;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    test_redis_do(&server, "CONFIG SET requirepass hush-hush");
    ask(&g, "RESET"); /* as if the link had never been authenticated */
    a = ask(&g, "PING");
    assert_string_equal(a.err.rule, "NOAUTH");
    UNTIL(&g, g.refusals >= 1);
    snprintf(server.password, sizeof server.password, "hush-hush");
    test_redis_do(&server, "ACL SETUSER default nopass");
    server.password[0] = '\0';
    rig_close(&g);
}

static void test_too_many_clients(void **state)
{
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    ask(&g, "CONFIG SET maxclients 1");
    expect_down((struct redis_options){.url = server.tcp_url}, "maxclients");
    ask(&g, "CONFIG SET maxclients 1000");
    rig_close(&g);
}

/* ---- TLS ---- */

static void copy_file(struct test_redis *t, const char *from, const char *to)
{
    char text[8192] = "";
    FILE *f = fopen(test_redis_path(t, from), "r");

    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    test_redis_file(t, to, text, 0600);
}

static void test_tls(void **state)
{
    struct test_redis own;
    struct redis_options o = {.backoff_cap_ms = 50, .connect_timeout_ms = 10000};
    char by_address[64], plain[64];
    struct rig g;

    (void)state;
    test_redis_start_tls(&own, "DNS:localhost", false);
    snprintf(by_address, sizeof by_address, "rediss://127.0.0.1:%d", own.tls_port);
    snprintf(plain, sizeof plain, "redis://127.0.0.1:%d", own.tls_port);
    o.url = own.tls_url;
    expect_refused(o, "certificate"); /* the system's CAs know nothing of ours */
    o.tls_ca = test_redis_path(&own, "other.crt");
    expect_refused(o, "certificate");
    o.tls_ca = test_redis_path(&own, "none.crt");
    expect_refused(o, "none.crt");
    o.tls_ca = test_redis_path(&own, "ca.crt");
    o.url = by_address; /* the certificate is for the name only */
    expect_refused(o, "mismatch");
    o.url = plain;
    expect_down(o, "redis at");
    o.url = own.tls_url;
    rig_up(&g, o);
    assert_string_equal(ask(&g, "PING").text, "PONG");
    test_redis_do(&own, "CLIENT KILL TYPE normal");
    UNTIL(&g, g.ups == 2); /* the name is checked each time */
    rig_close(&g);
    big_value(&o);

    /* A CA file that is replaced while the link tries. */
    copy_file(&own, "other.crt", "now.crt");
    o.tls_ca = test_redis_path(&own, "now.crt");
    rig_open(&g);
    rig_link(&g, &o);
    UNTIL(&g, g.refusals >= 2);
    copy_file(&own, "ca.crt", "now.crt");
    UNTIL(&g, g.ups == 1);
    rig_close(&g);
    o.tls_cert = test_redis_path(&own, "client.crt");
    expect_refused(o, "both");
    test_redis_stop(&own);

    test_redis_start_tls(&own, "DNS:other.example", false);
    expect_refused(
        (struct redis_options){.url = own.tls_url, .tls_ca = test_redis_path(&own, "ca.crt")},
        "mismatch");
    test_redis_stop(&own);
}

static void test_tls_client_certificate(void **state)
{
    struct test_redis own;
    struct redis_options o = {.backoff_cap_ms = 50, .connect_timeout_ms = 10000};
    char by_address[64], key[192];
    struct rig g;

    (void)state;
    test_redis_start_tls(&own, "IP:127.0.0.1", true);
    snprintf(by_address, sizeof by_address, "rediss://127.0.0.1:%d", own.tls_port);
    o.url = by_address;
    o.tls_ca = test_redis_path(&own, "ca.crt");
    expect_refused(o, "certificate required");
    o.tls_cert = test_redis_path(&own, "client.crt");
    snprintf(key, sizeof key, "%s", test_redis_path(&own, "client.key"));
    o.tls_key = key;
    rig_up(&g, o);
    rig_close(&g);
    o.tls_key = test_redis_path(&own, "server.key");
    expect_refused(o, "server.key");
    o.tls_key = test_redis_file(&own, "open.key", "x", 0644);
    expect_refused(o, "chmod 600");
    test_redis_stop(&own);
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

/* ---- servers that are no Redis, or a broken one ---- */

struct fake {
    uv_tcp_t listener, peer;
    const char *says;
    bool closes, has_peer;
    char url[64];
};

static void fake_on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static char sink[65536];

    (void)h;
    (void)size;
    *buf = uv_buf_init(sink, sizeof sink);
}

static void fake_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct fake *f = s->data;
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)f->says, (unsigned)strlen(f->says));

    (void)buf;
    if (n > 0)
        uv_try_write(s, &out, 1);
    if ((n < 0 || f->closes) && !uv_is_closing((uv_handle_t *)s)) {
        uv_close((uv_handle_t *)s, NULL);
        f->has_peer = false;
    }
}

static void fake_on_peer(uv_stream_t *listener, int status)
{
    struct fake *f = listener->data;

    assert_int_equal(status, 0);
    assert_false(f->has_peer);
    uv_tcp_init(listener->loop, &f->peer);
    f->peer.data = f;
    f->has_peer = true;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&f->peer), 0);
    uv_read_start((uv_stream_t *)&f->peer, fake_on_alloc, fake_on_read);
}

static void fake_open(struct fake *f, struct rig *g)
{
    struct sockaddr_in a;
    int len = sizeof a;

    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(&g->loop, &f->listener);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 4, fake_on_peer), 0);
    assert_int_equal(uv_tcp_getsockname(&f->listener, (struct sockaddr *)&a, &len), 0);
    snprintf(f->url, sizeof f->url, "redis://127.0.0.1:%d", ntohs(a.sin_port));
}

static void test_odd_servers(void **state)
{
#define OKS "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"
    static const struct {
        const char *says, *why;
        bool closes, refused;
    } cases[] = {
        {"220 mail.example ESMTP\r\n", "not the Redis protocol", false, false},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "not the Redis protocol", false, false},
        {"", "closed the link", true, false},
        {"$100\r\nhalf", "closed the link", true, false},
        {"*-7\r\n", "not the Redis protocol", false, false},
        {"", "not ready after", false, false},
        {OKS, "which version", false, true},         /* answers, but says nothing of itself */
        {OKS OKS OKS, "which version", false, true}, /* answers nobody asked for */
        {"-ERR no\r\n-ERR no\r\n", "INFO: ERR no", false, true},
        {"-LOADING Redis is loading\r\n-LOADING x\r\n", "loading", false, false},
        {"-DENIED Redis is running in protected mode\r\n-DENIED x\r\n", "protected", false, true},
        {"+OK\r\n$35\r\nredis_version:5.0.14\r\nrun_id:abcdef\r\n+OK\r\n+OK\r\n+OK\r\n+PONG\r\n",
         "is version 5.0.14; awq needs Redis 6.2", false, true},
        {"+OK\r\n$54\r\nredis_version:7.0.15\r\nrun_id:abcdef\r\ncluster_enabled:1\r\n+OK\r\n+OK"
         "\r\n+OK\r\n+PONG\r\n",
         "cluster", false, true},
        {"+OK\r\n$56\r\nredis_version:7.0.15\r\nrun_id:abcdef\r\nredis_mode:sentinel\r\n+OK\r\n"
         "+OK\r\n+OK\r\n+PONG\r\n",
         "Sentinel", false, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake f = {.says = cases[i].says, .closes = cases[i].closes};
        struct redis_options o = {.connect_timeout_ms = 500, .once = true};
        struct rig g;

        rig_open(&g);
        fake_open(&f, &g);
        o.url = f.url;
        rig_link(&g, &o);
        UNTIL(&g, g.ups + g.downs + g.refusals > 0);
        if (g.ups || cases[i].refused != (g.refusals == 1) || !strstr(g.why.msg, cases[i].why))
            fail_msg("case %zu: wanted '%s' in: %s", i, cases[i].why, g.why.msg);
        redis_free(g.link);
        g.link = NULL;
        uv_close((uv_handle_t *)&f.listener, NULL);
        if (f.has_peer)
            uv_close((uv_handle_t *)&f.peer, NULL);
        rig_close(&g);
    }
}

/* ---- Sentinels ---- */

static void fake_close(struct fake *f)
{
    uv_close((uv_handle_t *)&f->listener, NULL);
    if (f->has_peer)
        uv_close((uv_handle_t *)&f->peer, NULL);
}

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
    ask(&g, "SET here 1");
    assert_int_equal(test_redis_info(&first, "keyspace", "db3:keys="), 1);
    snprintf(run_id, sizeof run_id, "%s", redis_server_info(g.link)->run_id);
    point_at(&f, says[1], sizeof says[1], &server);
    test_redis_kill(&first);
    UNTIL(&g, g.ups == 2);
    assert_string_not_equal(redis_server_info(g.link)->run_id, run_id);
    ask(&g, "DEL here");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_reply_field),
        cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_big_value),
        cmocka_unit_test(test_error_replies),
        cmocka_unit_test(test_error_classes),
        cmocka_unit_test(test_error_words),
        cmocka_unit_test(test_error_texts),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_readonly),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_script),
        cmocka_unit_test(test_script_table),
        cmocka_unit_test(test_killed_server),
        cmocka_unit_test(test_unsent_is_known),
        cmocka_unit_test(test_client_kill),
        cmocka_unit_test(test_read_timeout),
        cmocka_unit_test(test_idle_watchdog),
        cmocka_unit_test(test_late_but_there),
        cmocka_unit_test(test_timeout_is_per_answer),
        cmocka_unit_test(test_blocking_read),
        cmocka_unit_test(test_free_with_waiting),
        cmocka_unit_test(test_free_inside_callback),
        cmocka_unit_test(test_free_early),
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_address_forms),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_server_info),
        cmocka_unit_test(test_cluster_refused),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_password_not_wanted),
        cmocka_unit_test(test_acl),
        cmocka_unit_test(test_noauth_reconnects),
        cmocka_unit_test(test_too_many_clients),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_client_certificate),
        cmocka_unit_test(test_subscribe),
        cmocka_unit_test(test_odd_servers),
        cmocka_unit_test(test_sentinel_answers),
        cmocka_unit_test(test_sentinel_failover),
        cmocka_unit_test(test_sentinel_is_behind),
    };

    return cmocka_run_group_tests(tests, start_server, stop_server);
}

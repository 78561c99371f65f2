/* connection_record.c: HMGET's answer to a record; and copies of replies (redis_reply.c). */
#include "common/connection.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <hiredis/hiredis.h>
#include "common/redis.h"

/* An array of texts, as Redis answers it; NULL is nil. */
static struct redis_reply *reply_of(const char *const *texts, size_t count)
{
    redisReply *r = calloc(1, sizeof *r);

    r->type = REDIS_REPLY_ARRAY;
    r->elements = count;
    r->element = calloc(count > 0 ? count : 1, sizeof *r->element);
    for (size_t i = 0; i < count; i++) {
        r->element[i] = calloc(1, sizeof *r);
        r->element[i]->type = texts[i] ? REDIS_REPLY_STRING : REDIS_REPLY_NIL;
        r->element[i]->str = texts[i] ? strdup(texts[i]) : NULL;
        r->element[i]->len = texts[i] ? strlen(texts[i]) : 0;
    }
    return (struct redis_reply *)r;
}

/* What Redis answers to the command for this hash: name, value, name, value. */
static struct redis_reply *answer(bool whole, const char *const *hash, size_t count)
{
    struct slice argv[CONNECTION_RECORD_ARGS], key = SLICE_LIT("k");
    const char *texts[CONNECTION_RECORD_ARGS] = {NULL};
    size_t words =
        whole ? connection_record_ask(key, argv) : connection_record_ask_for_step(key, argv);

    assert_true(slice_is(argv[0], "HMGET") && slice_eq(argv[1], key));
    for (size_t w = 2; w < words; w++) {
        for (size_t i = 0; i < count; i += 2) {
            if (slice_is(argv[w], hash[i]))
                texts[w - 2] = hash[i + 1];
        }
    }
    return reply_of(texts, words - 2);
}

static const char *const whole[] = {
    "cfg",  "{}", "cm",      "M",  "cd",   "D",  "state", "BACKOFF",  "grant", "refresh_token",
    "at",   "A",  "rt",      "R",  "cs",   "C",  "why",   "http_500", "fm",    "words",
    "ft",   "11", "lh",      "L",  "gen",  "3",  "ver",   "7",        "exp",   "1763766096000",
    "born", "12", "cool",    "13", "next", "14", "tries", "15",       "scope", "read",
    "if",   "2",  "unknown", "x",  "bo",   "4",  "dr",    "they",     "dt",    "16",
    "in",   "N",  "it",      "17",
};

static void check_step_fields(const struct connection_record *r)
{
    assert_true(r->exists);
    assert_true(slice_is(r->cfg, "{}"));
    assert_true(slice_is(r->cm, "M") && slice_is(r->cd, "D") && slice_is(r->at, "A"));
    assert_true(slice_is(r->state, "BACKOFF") && slice_is(r->scope, "read"));
    assert_int_equal(r->gen, 3);
    assert_int_equal(r->ver, 7);
    assert_int_equal(r->exp_ms, 1763766096000);
    assert_int_equal(r->born_ms, 12);
    assert_int_equal(r->cool_ms, 13);
    assert_int_equal(r->trips, 4);
    assert_int_equal(r->next_ms, 14);
}

static void test_whole_record(void **state)
{
    struct redis_reply *reply = answer(true, whole, ARRAY_LEN(whole));
    struct connection_record r;
    struct err err = {0};

    (void)state;
    assert_true(connection_record_read(&r, reply, &err));
    check_step_fields(&r);
    assert_true(slice_is(r.lh, "L") && slice_is(r.rt, "R") && slice_is(r.cs, "C"));
    assert_true(slice_is(r.grant, "refresh_token"));
    assert_true(slice_is(r.why, "http_500") && slice_is(r.fail_text, "words"));
    assert_true(slice_is(r.disabled_why, "they"));
    assert_int_equal(r.disabled_ms, 16);
    assert_true(slice_is(r.intent, "N"));
    assert_int_equal(r.intent_ms, 17);
    assert_int_equal(r.fail_ms, 11);
    assert_int_equal(r.tries, 15);
    redis_reply_free(reply);
}

/* A step is told nothing of the grant, and the rest reads as not there. */
static void test_for_a_step(void **state)
{
    struct redis_reply *reply = answer(false, whole, ARRAY_LEN(whole));
    struct connection_record r;
    struct err err = {0};

    (void)state;
    assert_true(connection_record_read(&r, reply, &err));
    check_step_fields(&r);
    assert_true(r.rt.len == 0 && r.cs.len == 0 && r.lh.len == 0 && r.why.len == 0);
    assert_int_equal(r.tries, 0);
    redis_reply_free(reply);
}

static void test_nothing_there(void **state)
{
    struct redis_reply *reply = answer(true, NULL, 0);
    struct connection_record r;

    (void)state;
    assert_true(connection_record_read(&r, reply, NULL));
    assert_false(r.exists);
    assert_int_equal(r.gen, 0);
    assert_int_equal(r.cfg.len, 0);
    redis_reply_free(reply);
}

/* Somebody wrote nonsense in Redis: said, never guessed. */
static void test_numbers(void **state)
{
    static const char *const bad[][2] = {
        {"gen", "-1"},     {"gen", "3x"},    {"ver", "99999999999999999999"},
        {"exp", "1.5e12"}, {"next", "abc"},  {"ft", " 1"},
        {"tries", "-2"},   {"born", "0x10"}, {"cool", "9223372036854775808"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct connection_record r = {.gen = 42};
        struct redis_reply *reply = answer(true, bad[i], 2);
        struct err err = {0};

        if (connection_record_read(&r, reply, &err))
            fail_msg("%s %s taken", bad[i][0], bad[i][1]);
        assert_string_equal(err.rule, "connection_broken");
        assert_non_null(strstr(err.msg, bad[i][0]));
        assert_int_equal(r.gen, 42); /* as it was */
        redis_reply_free(reply);
    }
}

static void test_copy(void **state)
{
    static const char *const texts[] = {"a", "", "1"};
    struct redis_reply *from = reply_of(texts, 3), *to;
    redisReply *raw = (redisReply *)from, nil = {.type = REDIS_REPLY_NIL};

    (void)state;
    raw->element[2]->type = REDIS_REPLY_INTEGER;
    raw->element[2]->integer = -5;
    to = redis_reply_copy(from);
    redis_reply_free(from);
    assert_int_equal(redis_reply_len(to), 3);
    assert_true(slice_is(redis_reply_str(redis_reply_at(to, 0)), "a"));
    assert_true(slice_is(redis_reply_str(redis_reply_at(to, 1)), ""));
    assert_int_equal(redis_reply_int(redis_reply_at(to, 2), 0), -5);
    redis_reply_free(to);
    to = redis_reply_copy((const struct redis_reply *)&nil);
    assert_non_null(to);
    assert_int_equal(redis_reply_type(to), REDIS_NIL);
    redis_reply_free(to);
    redis_reply_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_record),  cmocka_unit_test(test_for_a_step),
        cmocka_unit_test(test_nothing_there), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

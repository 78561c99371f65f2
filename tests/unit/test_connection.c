/* connection.c: settings are canonical, bad ones are named, records are authenticated. */
#include "common/connection.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

/* The least that is needed, with room for more before it. */
#define BASE(more)                                                                                 \
    "{" more "\"id\":\"crm\",\"grant\":\"client_credentials\","                                    \
    "\"token_url\":\"https://login.example/token\",\"client_id\":\"awq\","                         \
    "\"hosts\":[\"api.example\"]}"

static void to_json(const char *json, struct buf *out)
{
    struct err err = {0};
    struct connection_cfg *c = connection_cfg_parse(slice_cstr(json), &err);

    if (!c)
        fail_msg("%s: %s", json, err.msg);
    buf_init(out, 100000);
    assert_true(connection_cfg_to_json(out, c));
    connection_cfg_free(c);
}

static void test_defaults(void **state)
{
    struct err err = {0};
    struct connection_cfg *c = connection_cfg_parse(slice_cstr(BASE("")), &err);

    (void)state;
    assert_non_null(c);
    assert_int_equal(c->grant, GRANT_CLIENT_CREDENTIALS);
    assert_int_equal(c->auth, CLIENT_AUTH_BASIC);
    assert_int_equal(c->scopes.len, 0);
    assert_int_equal(c->default_lifetime_ms, 3600000);
    assert_int_equal(c->refresh_margin_ms, 60000);
    assert_int_equal(c->replay, REPLAY_ONCE);
    assert_int_equal(c->policy.host_count, 1);
    assert_int_equal(c->policy.method_count, 0);
    assert_int_equal(c->policy.path_count, 0);
    assert_false(c->policy.insecure_http);
    assert_false(c->policy.allow_private);
    assert_int_equal(c->concurrency, 0);
    connection_cfg_free(c);
    connection_cfg_free(NULL);
}

/* Same settings, same bytes, however they were written; and what is written reads as itself. */
static void test_canonical(void **state)
{
    static const struct {
        const char *a, *b, *why;
    } same[] = {
        {BASE("\"scopes\":\"write  read write \","), BASE("\"scopes\":\"read write\","),
         "scopes are a set"},
        {BASE("\"methods\":[\"post\",\"GET\",\"Post\"],"), BASE("\"methods\":[\"GET\",\"POST\"],"),
         "methods are a set, in upper case"},
        {BASE("\"paths\":[\"/v1/\",\"/a\",\"/v1\"],"), BASE("\"paths\":[\"/a\",\"/v1\"],"),
         "a slash at the end says nothing"},
        {BASE("\"paths\":[\"//\"],"), BASE("\"paths\":[\"/\"],"), "nor do several"},
        {BASE("\"auth\":\"basic\",\"concurrency\":0,"), BASE(""), "defaults may be spelled out"},
        {BASE("\"breaker\":10,"), BASE(""), "this one as well"},
        {BASE(" \"scopes\" : \"\\u0061\" , "), BASE("\"scopes\":\"a\","), "spelling of JSON"},
        {"{\"hosts\":[\"B.example\",\"a.example:8443\",\"b.EXAMPLE\"],\"client_id\":\"awq\","
         "\"token_url\":\"https://login.example/token\",\"grant\":\"refresh_token\",\"id\":\"x\"}",
         "{\"id\":\"x\",\"grant\":\"refresh_token\",\"token_url\":\"https://login.example/token\","
         "\"client_id\":\"awq\",\"hosts\":[\"a.example:8443\",\"b.example\"]}",
         "hosts are a set in lower case, members stand in any order"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct buf a, b, again;

        to_json(same[i].a, &a);
        to_json(same[i].b, &b);
        if (!slice_eq(buf_slice(&a), buf_slice(&b)))
            fail_msg("%s:\n%s\n%s", same[i].why, a.ptr, b.ptr);
        to_json(a.ptr, &again);
        assert_string_equal(again.ptr, a.ptr);
        buf_deinit(&a);
        buf_deinit(&b);
        buf_deinit(&again);
    }
}

/* Settings that differ in anything have another digest. */
static void test_digests_differ(void **state)
{
    static const char *const all[] = {
        BASE(""),
        BASE("\"auth\":\"post\","),
        BASE("\"scopes\":\"a\","),
        BASE("\"scopes\":\"b\","),
        BASE("\"default_lifetime_ms\":60000,"),
        BASE("\"refresh_margin_ms\":0,"),
        BASE("\"replay\":\"never\","),
        BASE("\"methods\":[\"GET\"],"),
        BASE("\"paths\":[\"/v1\"],"),
        BASE("\"paths\":[\"/v1\",\"/v2\"],"),
        BASE("\"insecure_http\":true,"),
        BASE("\"allow_private\":true,"),
        BASE("\"concurrency\":3,"),
        BASE("\"rate\":\"3/1m\","),
        BASE("\"rate\":\"3/1h\","),
        BASE("\"rate\":\"4/1m\","),
        BASE("\"rate\":\"4/1m\",\"burst\":1,"),
        BASE("\"breaker\":0,"),
        BASE("\"breaker\":9,"),
    };
    char digest[ARRAY_LEN(all)][65];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct buf json;

        to_json(all[i], &json);
        seal_digest(buf_slice(&json), digest[i]);
        buf_deinit(&json);
        for (size_t n = 0; n < i; n++)
            assert_string_not_equal(digest[i], digest[n]);
    }
}

/* What may begin at once when nothing is said: the calls of a tenth of a second. */
static void test_burst(void **state)
{
    static const struct {
        const char *json;
        uint32_t want;
    } cases[] = {
        {BASE(""), 1},
        {BASE("\"rate\":\"100/1m\","), 1},
        {BASE("\"rate\":\"19/1s\","), 1},
        {BASE("\"rate\":\"50/s\","), 5},
        {BASE("\"rate\":\"1000000/1s\","), 100000},
        {BASE("\"rate\":\"1/31d\","), 1},
        {BASE("\"rate\":\"1/1d\",\"burst\":7,"), 7},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct connection_cfg *c = connection_cfg_parse(slice_cstr(cases[i].json), &err);

        if (!c)
            fail_msg("%s: %s", cases[i].json, err.msg);
        if (connection_burst(c) != cases[i].want)
            fail_msg("%s: %u", cases[i].json, connection_burst(c));
        connection_cfg_free(c);
    }
}

static void test_bad_settings(void **state)
{
#define REST "\"id\":\"a\",\"grant\":\"client_credentials\",\"client_id\":\"c\",\"hosts\":[\"h\"]"
    static const struct {
        const char *json, *setting, *why;
    } cases[] = {
        {"", "settings", "nothing"},
        {"[]", "settings", "no map"},
        {"{\"id\":", "settings", "cut short"},
        {"{}", "grant", "all missing"},
        {BASE("\"id\":\"a b\","), "id", "odd characters"},
        {BASE("\"id\":7,"), "id", "no text"},
        {BASE("\"id\":\"\","), "id", "empty"},
        {BASE("\"id\":\"crm\","), "id", "twice"},
        {BASE("\"grant\":\"password\","), "grant", "RFC 9700: must not be used"},
        {BASE("\"grant\":null,"), "grant", "no text"},
        {BASE("\"auth\":\"both\","), "auth", "RFC 6749 2.3: one method a request"},
        {BASE("\"auth\":\"none\","), "auth", "no secret, no client credentials grant"},
        {BASE("\"scopes\":\"a\\u00e9\","), "scopes", "RFC 6749 3.3: ASCII only"},
        {BASE("\"scopes\":\"a\\\"b\","), "scopes", "no quotes"},
        {BASE("\"scopes\":\"a\\tb\","), "scopes", "no tabs"},
        {BASE("\"scopes\":[\"a\"],"), "scopes", "no text"},
        {BASE("\"client_id\":\"a\\nb\","), "client_id", "no control characters"},
        {BASE("\"default_lifetime_ms\":999,"), "default_lifetime_ms", "too short"},
        {BASE("\"default_lifetime_ms\":1e9,"), "default_lifetime_ms", "not whole"},
        {BASE("\"default_lifetime_ms\":99999999999999,"), "default_lifetime_ms", "too long"},
        {BASE("\"refresh_margin_ms\":-1,"), "refresh_margin_ms", "negative"},
        {BASE("\"replay\":\"twice\","), "replay", "none of its three"},
        {BASE("\"concurrency\":-1,"), "concurrency", "negative"},
        {BASE("\"concurrency\":4294967296,"), "concurrency", "over 32 bits"},
        {BASE("\"concurrency\":\"3\","), "concurrency", "text"},
        {BASE("\"rate\":100,"), "rate", "no time"},
        {BASE("\"rate\":\"\","), "rate", "empty"},
        {BASE("\"rate\":\"100\","), "rate", "no time"},
        {BASE("\"rate\":\"100/\","), "rate", "no time"},
        {BASE("\"rate\":\"/1m\","), "rate", "no number"},
        {BASE("\"rate\":\"100/60\","), "rate", "no unit"},
        {BASE("\"rate\":\"100/1w\","), "rate", "no such unit"},
        {BASE("\"rate\":\"100/1ms\","), "rate", "no such unit"},
        {BASE("\"rate\":\"-1/1m\","), "rate", "negative"},
        {BASE("\"rate\":\"1.5/1m\","), "rate", "not whole"},
        {BASE("\"rate\":\"100/1m/1m\","), "rate", "two times"},
        {BASE("\"rate\":\"100 / 1m\","), "rate", "blanks"},
        {BASE("\"rate\":\"0/1m\","), "rate", "never"},
        {BASE("\"rate\":\"1000001/1s\","), "rate", "too many"},
        {BASE("\"rate\":\"1/0s\","), "rate", "no time"},
        {BASE("\"rate\":\"1/32d\","), "rate", "too long"},
        {BASE("\"rate\":\"1/99999999999999999d\","), "rate", "does not fit"},
        {BASE("\"rate\":\"1/1m\",\"burst\":0,"), "burst", "none may begin"},
        {BASE("\"burst\":5,"), "burst", "of no rate"},
        {BASE("\"breaker\":-1,"), "breaker", "negative"},
        {BASE("\"breaker\":1000001,"), "breaker", "too many"},
        {BASE("\"breaker\":true,"), "breaker", "no number"},
        {BASE("\"methods\":\"GET\","), "methods", "no list"},
        {BASE("\"methods\":[\"G T\"],"), "methods", "no method"},
        {BASE("\"methods\":[\"\"],"), "methods", "empty"},
        {BASE("\"methods\":[3],"), "methods", "no text"},
        {BASE("\"paths\":[\"v1\"],"), "paths", "no slash"},
        {BASE("\"paths\":[\"/v1?x\"],"), "paths", "a query"},
        {BASE("\"paths\":[\"/v 1\"],"), "paths", "a blank"},
        {BASE("\"insecure_http\":1,"), "insecure_http", "no bool"},
        {BASE("\"allow_private\":\"yes\","), "allow_private", "no bool"},
        {BASE("\"allow_all\":true,"), "settings", "unknown: may be a limit of a later version"},
        {"{" REST ",\"token_url\":\"http://h/t\"}", "token_url", "http without leave"},
        {"{" REST ",\"token_url\":\"ftp://h/t\"}", "token_url", "scheme"},
        {"{" REST ",\"token_url\":\"https:///t\"}", "token_url", "no host"},
        {"{" REST ",\"token_url\":\"https://u:p@h/t\"}", "token_url", "a user"},
        {"{" REST ",\"token_url\":\"https://h/t#f\"}", "token_url", "RFC 6749 3.2: no fragment"},
        {"{" REST ",\"token_url\":\"https://h/t x\"}", "token_url", "a blank"},
        {"{" REST "}", "token_url", "missing"},
        {BASE("\"hosts\":[],"), "hosts", "a connection that may go nowhere"},
        {BASE("\"hosts\":[\"https://api.example\"],"), "hosts", "a URL"},
        {BASE("\"hosts\":[\"*\"],"), "hosts", "any host"},
        {BASE("\"hosts\":[\"*.\"],"), "hosts", "any host"},
        {BASE("\"hosts\":[\"a.*.example\"],"), "hosts", "a star in the middle"},
        {BASE("\"hosts\":[\"user@api\"],"), "hosts", "a user"},
        {BASE("\"hosts\":[\"\\u00e4pi.example\"],"), "hosts", "not in its ASCII form"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cfg_fault at;
        struct err err = {0};

        if (connection_cfg_parse_at(slice_cstr(cases[i].json), &at, &err))
            fail_msg("taken: %s (%s)", cases[i].json, cases[i].why);
        if (err.code != ERR_FORMAT || strcmp(at.setting, cases[i].setting) != 0)
            fail_msg("%s: %s says '%s'", cases[i].json, at.setting, err.msg);
    }
}

static void test_bounds(void **state)
{
    struct cfg_fault at;
    struct err err = {0};
    struct buf json;

    (void)state;
    buf_init(&json, 1 << 20);
    buf_add_cstr(&json, "{\"hosts\":[");
    for (int i = 0; i < 257; i++)
        buf_addf(&json, "%s\"h%d.example\"", i > 0 ? "," : "", i);
    buf_add_cstr(&json, "]}");
    assert_null(connection_cfg_parse_at(buf_slice(&json), &at, &err));
    assert_string_equal(at.setting, "hosts");

    buf_clear(&json);
    buf_add_cstr(&json, "{\"id\":\"");
    for (int i = 0; i < 70000; i++)
        buf_add_char(&json, 'a');
    buf_add_cstr(&json, "\"}");
    assert_null(connection_cfg_parse_at(buf_slice(&json), &at, &err));
    assert_string_equal(at.setting, "settings");
    assert_non_null(strstr(err.msg, "too long"));
    buf_deinit(&json);
}

static struct keyring *ring(void)
{
    char path[] = "/tmp/awq-conn-XXXXXX";
    const char *text = "access aaaaaaaa " KEY "\n";
    struct err err = {0};
    struct keyring *k;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    k = keyring_load(path, &err);
    unlink(path);
    assert_non_null(k);
    return k;
}

static void test_verify(void **state)
{
    struct slice prefix = SLICE_LIT("awq"), id = SLICE_LIT("crm");
    struct connection_record good = {.exists = true}, r;
    struct keyring *k = ring();
    struct err err = {0};
    struct buf cfg, cm;
    char digest[65];

    (void)state;
    to_json(BASE(""), &cfg);
    buf_init(&cm, 100);
    assert_true(connection_cfg_sign(k, prefix, id, buf_slice(&cfg), &cm, &err));
    seal_digest(buf_slice(&cfg), digest);
    good.cfg = buf_slice(&cfg);
    good.cm = buf_slice(&cm);
    good.cd = slice_cstr(digest);
    assert_true(connection_record_verify(&good, k, prefix, id, &err));

    /* whoever can write in Redis only cannot do any of these */
    r = good;
    r.cfg = slice_sub(r.cfg, 0, r.cfg.len - 1);
    assert_false(connection_record_verify(&r, k, prefix, id, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_string_equal(err.rule, "connection_broken");
    assert_false(connection_record_verify(&good, k, SLICE_LIT("other"), id, &err));
    assert_false(connection_record_verify(&good, k, prefix, SLICE_LIT("crm2"), &err));
    assert_false(connection_record_verify(&good, k, SLICE_LIT("aw"), SLICE_LIT("qcrm"), &err));
    r = good;
    r.cm = SLICE_NONE;
    assert_false(connection_record_verify(&r, k, prefix, id, &err));
    r = good;
    r.cd = SLICE_LIT("00");
    assert_false(connection_record_verify(&r, k, prefix, id, &err));
    r = (struct connection_record){0};
    assert_false(connection_record_verify(&r, k, prefix, id, &err));
    buf_deinit(&cfg);
    buf_deinit(&cm);
    keyring_free(k);
}

static void test_places(void **state)
{
    struct slice p = SLICE_LIT("awq"), id = SLICE_LIT("crm"), cd = SLICE_LIT("00");

    (void)state;
    assert_int_equal(connection_place(p, id, "at", 2, 5, cd).ver, 5);
    assert_int_equal(connection_place(p, id, "rt", 2, 5, cd).ver, 0); /* outlives renewals */
    assert_int_equal(connection_place(p, id, "cs", 2, 5, cd).ver, 0);
    assert_int_equal(connection_place(p, id, "cs", 2, 5, cd).gen, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),       cmocka_unit_test(test_canonical),
        cmocka_unit_test(test_digests_differ), cmocka_unit_test(test_burst),
        cmocka_unit_test(test_bad_settings),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_verify),         cmocka_unit_test(test_places),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

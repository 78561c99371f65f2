/* oauth_path.c, access.c: what is found in answers, and what is kept of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "common/access.h"
#include "common/oauth_path.h"

static void test_paths(void **state)
{
    static const struct {
        const char *path, *text;
    } cases[] = {
        {"a", "1"},  {"b.c", "2"}, {"l.1.x", "3"}, {"l.0", "4"},    {"l.2", NULL},
        {"l.x", ""}, {"b", ""},    {"b.d", NULL},  {"a.b", NULL},   {"l.-1", NULL},
        {"", ""},    {"b.", NULL}, {"l.00.x", ""}, {"b.c.0", NULL},
    };
    struct json *doc = json_parse(
        SLICE_LIT("{\"a\":\"1\",\"b\":{\"c\":\"2\"},\"l\":[\"4\",{\"x\":\"3\"}]}"), NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct json_val *v = oauth_path(json_root(doc), slice_cstr(cases[i].path));
        struct slice s = SLICE_NONE;

        json_str(v, &s);
        if (cases[i].text && *cases[i].text && !slice_is(s, cases[i].text))
            fail_msg("%s", cases[i].path);
        if (!cases[i].text && s.len > 0)
            fail_msg("%s: %.*s", cases[i].path, SLICE_FMT(s));
    }
    assert_null(oauth_path(NULL, SLICE_LIT("a")));
    json_free(doc);
}

static void test_dates(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"1985-04-12T23:20:50.52Z", 482196050000}, /* RFC 3339 section 5.8, as are the next two */
        {"1996-12-19T16:39:57-08:00", 851042397000},
        {"1990-12-31T22:59:59Z", 662684399000},
        {"2026-11-28 03:00:00", 1795834800000},
        {"2026-11-28T03:00:00+0200", 1795827600000},
        {"2026-11-28T03:00:00.123456789+00:00", 1795834800000},
        {"2026-11-28", 0},
        {"2026-13-28T03:00:00Z", 0},
        {"2026-11-28T03:00:00 Z", 0},
        {"2026-11-28T03:00:00+2", 0},
        {"2026/11/28T03:00:00Z", 0},
        {"tomorrow at three o'clock", 0},
        {"", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t ms = 0;
        bool ok = oauth_date(slice_cstr(cases[i].text), &ms);

        if (ok != (cases[i].ms != 0) || ms != cases[i].ms)
            fail_msg("%s: %lld", cases[i].text, (long long)ms);
    }
}

static void test_forms(void **state)
{
    static const struct {
        const char *form, *json;
    } cases[] = {
        {"access_token=a%2Bb&scope=x+y", "{\"access_token\":\"a+b\",\"scope\":\"x y\"}"},
        {"a=", "{\"a\":\"\"}"},
        {"", NULL},
        {"no form at all", NULL},
        {"{\"access_token\":\"a=b\"}", "{\"{\\\"access_token\\\":\\\"a\":\"b\\\"}\"}"},
        {"a=%0a", NULL},
        {"a=%2", NULL},
        {"=b", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out;
        bool ok;

        buf_init(&out, 4096);
        ok = oauth_form_to_json(slice_cstr(cases[i].form), &out);
        if (ok != (cases[i].json != NULL) || (ok && strcmp(out.ptr, cases[i].json) != 0))
            fail_msg("%s: %s", cases[i].form, out.ptr ? out.ptr : "");
        buf_deinit(&out);
    }
}

/* A value that an answer gives must not lead elsewhere than its place in the address. */
static void test_base_urls(void **state)
{
    static const struct {
        const char *base, *answer, *url;
    } cases[] = {
        {"https://api.example/v1", "{}", "https://api.example/v1"},
        {"{answer.url}", "{\"url\":\"https://eu.example/\"}", "https://eu.example"},
        {"{answer.a.b}/v6", "{\"a\":{\"b\":\"https://eu.example\"}}", "https://eu.example/v6"},
        {"https://api.example/{answer.id}/x", "{\"id\":77}", "https://api.example/77/x"},
        {"https://api.example/{callback.realm}", "{}", "https://api.example/r-1"},
        {"https://{answer.h}.example/", "{\"h\":\"a/b\"}", NULL},
        {"https://{answer.h}.example/", "{\"h\":\"evil.example@x\"}", NULL},
        {"https://{answer.h}.example/", "{\"h\":\"a?b\"}", NULL},
        {"https://{answer.h}.example/", "{\"h\":\"evil.example\\u0000\"}", NULL},
        {"https://{answer.h}.example/", "{\"h\":\"\"}", NULL},
        {"https://api.example/{answer.h}", "{\"h\":\"..\"}", NULL},
        {"https://api.example/{answer.h}", "{\"h\":[1]}", NULL},
        {"https://api.example/{answer.h}", "{}", NULL},
        {"{answer.url}", "{\"url\":\"https://x@eu.example/\"}", NULL},
        {"{answer.url}", "{\"url\":\"https://eu.example/#\"}", NULL},
        {"https://api.example/{callback.other}", "{}", NULL},
    };
    static const struct name_value brought[] = {{{"realm", 5}, {"r-1", 3}}};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct profile p = {.callback = {brought, 1}};
        struct json *doc = json_parse(slice_cstr(cases[i].answer), NULL);
        struct err err = {0};
        struct buf out;
        bool ok;

        p.api.base_url = slice_cstr(cases[i].base);
        buf_init(&out, 4096);
        ok = oauth_base_url(&out, &p, json_root(doc), &err);
        if (ok != (cases[i].url != NULL) || (ok && strcmp(out.ptr, cases[i].url) != 0))
            fail_msg("%s %s: %s %s", cases[i].base, cases[i].answer, out.ptr ? out.ptr : "",
                     err.msg);
        buf_deinit(&out);
        json_free(doc);
    }
}

static void test_access(void **state)
{
    struct oauth_answer a = {.access_token = SLICE_LIT("main"), .token_count = 2};
    struct access got;
    struct slice token;
    struct buf text;

    (void)state;
    a.tokens[0] = (struct name_value){SLICE_LIT("bot"), SLICE_LIT("b0t")};
    a.tokens[1] = (struct name_value){SLICE_LIT("user"), SLICE_LIT("us3r")};
    buf_init(&a.base_url, 64);
    buf_add_cstr(&a.base_url, "https://eu.example");
    buf_init(&text, 4096);
    assert_true(access_write(&text, &a));
    access_read(&got, buf_slice(&text));
    assert_true(slice_is(got.token, "main") && slice_is(got.base_url, "https://eu.example"));
    assert_true(access_token(&got, SLICE_NONE, &token) && slice_is(token, "main"));
    assert_true(access_token(&got, SLICE_LIT("user"), &token) && slice_is(token, "us3r"));
    assert_false(access_token(&got, SLICE_LIT("admin"), &token));
    /* what was sealed before there was more than a token */
    access_read(&got, SLICE_LIT("plain"));
    assert_true(slice_is(got.token, "plain") && got.base_url.len == 0 && got.token_count == 0);
    access_read(&got, SLICE_NONE);
    assert_int_equal(got.token.len, 0);
    buf_deinit(&text);
    buf_deinit(&a.base_url);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),  cmocka_unit_test(test_dates),
        cmocka_unit_test(test_forms),  cmocka_unit_test(test_base_urls),
        cmocka_unit_test(test_access),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/expand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "common/wire.h"

#define MAX (1024 * 1024)

static const char input[] =
    "{\"id\":\"a/"
    "b\",\"n\":9007199254740993,\"big\":18446744073709551615,\"f\":1.5,\"t\":true,\"z\":null,"
    "\"e\":\"\",\"o\":{\"x\":[1,2]},\"l\":[],\"u\":\"\xC3\x9C "
    "&\",\"p\":\"{id}\",\"_a-1\":\"odd\",\"nl\":\"a\\r\\nb\"}";

enum how { TEXT, URL, BODY };

/* An input is a text, NULL for the first call. `out` NULL: refused with `rule`. */
static const struct {
    const char *input;
    enum how how;
    const char *in, *out, *rule;
} cases[] = {
    {input, TEXT, "", "", NULL},
    {input, TEXT, "plain", "plain", NULL},
    {input, TEXT, "{id}", "a/b", NULL},
    {input, TEXT, "<{id}|{t}>", "<a/b|true>", NULL},
    {input, TEXT, "{n} {big} {f}", "9007199254740993 18446744073709551615 1.5", NULL}, /* exact */
    {input, TEXT, "[{z}{e}]", "[]", NULL}, /* null stands for nothing */
    {input, TEXT, "{_a-1}", "odd", NULL},
    {input, TEXT, "{p}", "{id}", NULL},    /* what comes from the input is not looked at again */
    {input, TEXT, "{{id}}", "{id}", NULL}, /* the escape */
    {input, TEXT, "{{{id}}}", "{{id}}", NULL}, /* a brace, the escape, a brace */
    {input, TEXT, "{{id}", "{a/b", NULL},      /* half an escape is a brace and a expression */
    {input, TEXT, "{id}}", "a/b}", NULL},
    {input, TEXT, "{", "{", NULL},
    {input, TEXT, "}{", "}{", NULL},
    {input, TEXT, "{}", "{}", NULL},
    {input, TEXT, "{1a}", "{1a}", NULL}, /* names do not start with a digit */
    {input, TEXT, "{a b}", "{a b}", NULL},
    {input, TEXT, "{id", "{id", NULL},
    {input, TEXT, "{\"a\":{id}}", "{\"a\":a/b}", NULL},
    {input, TEXT, "{nope}", NULL, "expand_property_missing"},
    {input, TEXT, "x{o}", NULL, "expand_value_not_scalar"},
    {input, TEXT, "x{l}", NULL, "expand_value_not_scalar"},
    {input, URL, "https://h/{id}/{u}?q={f}", "https://h/a%2Fb/%C3%9C%20%26?q=1.5", NULL},
    {input, URL, "https://h/a b", "https://h/a b", NULL}, /* only what is put in is encoded */
    {input, URL, "/{nl}", "/a%0D%0Ab", NULL},
    {input, BODY, "\"{n}\"", "9007199254740993", NULL}, /* a whole string becomes the value */
    {input, BODY, "\"{o}\"", "{\"x\":[1,2]}", NULL},
    {input, BODY, "\"{z}\"", "null", NULL},
    {input, BODY, "\" {n}\"", "\" 9007199254740993\"", NULL}, /* in text it stays text */
    {input, BODY, "\"{{n}}\"", "\"{n}\"", NULL},
    {input, BODY, "{\"{id}\":[\"{id}\",{\"k\":\"<{u}>\"},7]}",
     "{\"{id}\":[\"a/b\",{\"k\":\"<\xC3\x9C &>\"},7]}", NULL}, /* keys are taken as they are */
    {input, BODY, "\"x{nl}\"", "\"xa\\r\\nb\"", NULL},
    {input, BODY, "\"{p}\"", "\"{id}\"", NULL},
    {input, BODY, "\"{nope}\"", NULL, "expand_property_missing"},
    {input, BODY, "[\"a{o}\"]", NULL, "expand_value_not_scalar"},
    /* the first call has no input: all is taken as it is */
    {NULL, TEXT, "{id} {{id}}", "{id} {{id}}", NULL},
    {NULL, URL, "https://h/{id}", "https://h/{id}", NULL},
    {NULL, BODY, "[\"{id}\"]", "[\"{id}\"]", NULL},
    /* an input that has no properties */
    {"", TEXT, "fine", "fine", NULL}, /* nothing is parsed before a expression is met */
    {"", TEXT, "{id}", NULL, "expand_input_not_object"},
    {"<html>", TEXT, "{id}", NULL, "expand_input_not_object"},
    {"[1]", TEXT, "{id}", NULL, "expand_input_not_object"},
    {"\"x\"", URL, "/{id}", NULL, "expand_input_not_object"},
    {"7", BODY, "\"{id}\"", NULL, "expand_input_not_object"},
};

static bool run(struct expand *x, enum how how, const char *in, struct buf *out, struct err *err)
{
    struct buf value;
    bool ok;

    if (how == TEXT)
        return expand_text(x, slice_cstr(in), out, err);
    if (how == URL)
        return expand_url(x, slice_cstr(in), out, err);
    buf_init(&value, MAX);
    assert_true(wire_json_to_value(&value, slice_cstr(in), err));
    ok = expand_json_body(x, buf_slice(&value), out, err);
    buf_deinit(&value);
    return ok;
}

static void test_expand(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct expand *x = expand_new(slice_cstr(cases[i].input));
        const char *want = cases[i].out ? cases[i].out : "";
        struct err err = {0};
        struct buf out;
        bool ok;

        buf_init(&out, MAX);
        buf_add_cstr(&out, "+");
        ok = run(x, cases[i].how, cases[i].in, &out, &err);
        if (ok != (cases[i].out != NULL))
            fail_msg("%s: %s", cases[i].in, ok ? out.ptr : err.msg);
        if (strcmp(out.ptr + 1, want) != 0) /* what was there stays */
            fail_msg("%s: %s instead of +%s", cases[i].in, out.ptr, want);
        if (!ok)
            assert_string_equal(err.rule, cases[i].rule);
        expand_free(x);
        buf_deinit(&out);
    }
}

static const struct {
    const char *url, *name, *value, *name2, *value2, *out;
} urls[] = {
    {"https://h/p", NULL, NULL, NULL, NULL, "https://h/p"},
    {"https://h/p", "a b", "c&d", NULL, NULL, "https://h/p?a%20b=c%26d"},
    {"https://h/p", "a", "1", "b", "{id}", "https://h/p?a=1&b=a%2Fb"},
    {"https://h/p?x=1", "a", "1", NULL, NULL, "https://h/p?x=1&a=1"},
    {"https://h/p?", "a", "1", NULL, NULL, "https://h/p?a=1"},
    {"https://h/p?x=1&", "a", "1", "b", "2", "https://h/p?x=1&a=1&b=2"},
    {"https://h/p#f?g", "a", "1", NULL, NULL, "https://h/p?a=1#f?g"},
    {"https://h/{u}", "a", "{f}", NULL, NULL, "https://h/%C3%9C%20%26?a=1.5"},
    {"https://h/p", "{id}", "1", NULL, NULL, "https://h/p?%7Bid%7D=1"}, /* names as they are */
    {"https://h/p", "a", "{nope}", NULL, NULL, NULL},
    {"https://h/{nope}", "a", "1", NULL, NULL, NULL},
};

static void test_call_url(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct expand *x = expand_new(slice_cstr(input));
        struct call call = {.url = slice_cstr(urls[i].url)};
        struct err err = {0};
        struct buf out;
        bool ok;

        buf_init(&out, MAX);
        call.query[0] = (struct pair){slice_cstr(urls[i].name), slice_cstr(urls[i].value)};
        call.query[1] = (struct pair){slice_cstr(urls[i].name2), slice_cstr(urls[i].value2)};
        call.query_count = (urls[i].name != NULL) + (urls[i].name2 != NULL);
        ok = expand_call_url(x, &call, &out, &err);
        if (ok != (urls[i].out != NULL) || (ok && strcmp(out.ptr, urls[i].out) != 0))
            fail_msg("%s: %s", urls[i].url, ok ? out.ptr : err.msg);
        if (!ok)
            assert_int_equal(out.len, 0);
        expand_free(x);
        buf_deinit(&out);
    }
}

/* A small template may ask for a big value many times. */
static void test_bounded(void **state)
{
    static const enum how hows[] = {TEXT, URL, BODY};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
        struct expand *x = expand_new(SLICE_LIT("{\"a\":\"0123456789\"}"));
        struct err err = {0};
        struct buf out;

        buf_init(&out, 35);
        assert_false(run(x, hows[i], hows[i] == BODY ? "[\"{a}\",\"-{a}{a}\"]" : "{a}{a}{a}{a}",
                         &out, &err));
        assert_string_equal(err.rule, "expand_too_big");
        assert_int_equal(err.code, ERR_FORMAT);
        assert_int_equal(out.len, 0);
        expand_free(x);
        buf_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expand),
        cmocka_unit_test(test_call_url),
        cmocka_unit_test(test_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

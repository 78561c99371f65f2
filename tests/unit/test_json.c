#include "common/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* What is JSON and what is not, and that what is comes out again as written here. */
static const struct {
    const char *in, *out; /* out NULL: refused */
} texts[] = {
    {"{}", "{}"},
    {" [1, 2,\n3] ", "[1,2,3]"},
    {"{\"a\":{\"b\":[true,false,null]}}", "{\"a\":{\"b\":[true,false,null]}}"},
    {"9223372036854775807", "9223372036854775807"},
    {"18446744073709551615", "18446744073709551615"},
    {"-9223372036854775808", "-9223372036854775808"},
    {"123456789012345678901234567890", "123456789012345678901234567890"}, /* kept as written */
    {"1e999", "1e999"},
    {"0.1", "0.1"},
    {"\"\\u00e9\\n\"", "\"\xC3\xA9\\n\""},
    {"\"a\\u0000b\"", "\"a\\u0000b\""},
    {"", NULL},
    {"  ", NULL},
    {"{", NULL},
    {"[1,]", NULL},
    {"{\"a\":1,}", NULL},
    {"[1] x", NULL},
    {"NaN", NULL},
    {"[Infinity]", NULL},
    {"// no\n1", NULL},
    {"'a'", NULL},
    {"01", NULL},
    {"+1", NULL},
    {"\"\\ud800\"", NULL},        /* half a pair */
    {"\"\xC3\x28\"", NULL},       /* not UTF-8 */
    {"\"a\nb\"", NULL},           /* a bare newline in a string */
    {"\xEF\xBB\xBF{}", NULL},     /* a byte order mark: RFC 8259 section 8.1 */
    {"{\"a\":1}{\"b\":2}", NULL}, /* two documents */
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err err = {0};
        struct json *doc = json_parse(slice_cstr(texts[i].in), &err);
        struct buf b;

        buf_init(&b, 4096);
        if (!doc != !texts[i].out)
            fail_msg("%s: %s", texts[i].in, doc ? "taken" : err.msg);
        if (!doc) {
            assert_int_equal(err.code, ERR_FORMAT);
            assert_non_null(strstr(err.msg, "at byte"));
            continue;
        }
        assert_true(json_write(&b, json_root(doc)));
        assert_string_equal(b.ptr, texts[i].out);
        buf_deinit(&b);
        json_free(doc);
    }
}

static void test_depth(void **state)
{
    char text[200];
    struct err err = {0};
    struct json *doc;

    (void)state;
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    doc = json_parse(slice_of(text, 128), &err);
    assert_non_null(doc);
    json_free(doc);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_null(json_parse(slice_of(text, 130), &err));
    assert_int_equal(err.code, ERR_NOMEM);
    /* brackets in strings, after an escaped quote, do not count */
    memset(text, '[', sizeof text);
    memcpy(text, "\"\\\"", 3);
    text[sizeof text - 1] = '"';
    doc = json_parse(slice_of(text, sizeof text), &err);
    assert_non_null(doc);
    json_free(doc);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *in;
        bool is_int, is_real;
        int64_t i;
        double real;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"-1", true, true, -1, -1},
        {"9223372036854775807", true, true, INT64_MAX, 9223372036854775807.0},
        {"9223372036854775808", false, true, 0, 9223372036854775808.0}, /* over int64 */
        {"1.0", false, true, 0, 1},                                     /* not an integer */
        {"1e3", false, true, 0, 1000},
        {"123456789012345678901234567890", false, true, 0, 123456789012345678901234567890.0},
        {"1e999", false, false, 0, 0},
        {"\"1\"", false, false, 0, 0},
        {"true", false, false, 0, 0},
        {"null", false, false, 0, 0},
    };

    (void)state;
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct json *doc = json_parse(slice_cstr(cases[n].in), NULL);
        int64_t i = -7;
        double real = -7;

        assert_non_null(doc);
        if (json_int(json_root(doc), &i) != cases[n].is_int ||
            json_real(json_root(doc), &real) != cases[n].is_real)
            fail_msg("%s", cases[n].in);
        assert_int_equal(i, cases[n].is_int ? cases[n].i : -7); /* untouched when refused */
        assert_true(real == (cases[n].is_real ? cases[n].real : -7));
        json_free(doc);
    }
}

static void test_access(void **state)
{
    struct json *doc = json_parse(
        SLICE_LIT("{\"s\":\"a\\u0000b\",\"t\":true,\"o\":{\"k\":[1,\"x\",{}]},\"e\":[],\"\":1}"),
        NULL);
    const struct json_val *root = json_root(doc), *v;
    struct slice s = SLICE_LIT("before");
    bool b = false;

    (void)state;
    assert_non_null(doc);
    assert_true(json_str(json_get(root, "s"), &s));
    assert_true(slice_eq(s, SLICE_LIT("a\0b")));
    assert_true(json_bool(json_get(root, "t"), &b) && b);
    assert_int_equal(json_type(json_get(root, "o")), JSON_OBJ);
    assert_int_equal(json_len(json_get(json_get(root, "o"), "k")), 3);
    assert_int_equal(json_len(json_get(root, "e")), 0);
    assert_int_equal(json_type(json_get_slice(root, SLICE_NONE)), JSON_INT);
    assert_null(json_get(root, "S"));
    /* "not there" all the way down */
    v = json_get(json_get(json_get(root, "no"), "such"), "thing");
    assert_null(v);
    assert_int_equal(json_type(v), JSON_NONE);
    assert_false(json_str(v, &s) || json_bool(v, &b) || json_len(v) > 0);
    assert_null(json_get(json_get(root, "s"), "of a string"));
    assert_int_equal(json_len(json_get(root, "s")), 0); /* members, not bytes */
    assert_null(json_root(NULL));
    json_free(doc);
    json_free(NULL);
}

static void test_iter(void **state)
{
    struct json *doc = json_parse(SLICE_LIT("{\"a\":[1,[2,3],4],\"b\":{\"c\":5},\"d\":{}}"), NULL);
    struct json_iter it;
    const struct json_val *v;
    struct slice key;
    int64_t n = 0;

    (void)state;
    json_iter_init(&it, json_root(doc));
    assert_true(json_iter_next(&it, &key, &v) && slice_is(key, "a"));
    assert_true(json_iter_next(&it, &key, &v) && slice_is(key, "b"));
    assert_true(json_int(json_get(v, "c"), &n) && n == 5);
    assert_true(json_iter_next(&it, &key, &v) && slice_is(key, "d"));
    assert_false(json_iter_next(&it, &key, &v));
    assert_false(json_iter_next(&it, &key, &v));
    json_iter_init(&it, json_get(json_root(doc), "a"));
    assert_true(json_iter_next(&it, &key, &v) && key.len == 0 && json_type(v) == JSON_INT);
    assert_true(json_iter_next(&it, &key, &v) && json_type(v) == JSON_ARR);
    assert_true(json_iter_next(&it, &key, &v) && json_int(v, &n) && n == 4);
    assert_false(json_iter_next(&it, &key, &v));
    json_iter_init(&it, json_get(json_root(doc), "d")); /* empty */
    assert_false(json_iter_next(&it, &key, &v));
    json_iter_init(&it, NULL);
    assert_false(json_iter_next(&it, &key, &v));
    json_free(doc);
}

static void test_write_bounds(void **state)
{
    struct json *doc = json_parse(SLICE_LIT("{\"a\":[1,2]}"), NULL);
    struct buf b;

    (void)state;
    buf_init(&b, 10); /* one short */
    assert_false(json_write(&b, json_root(doc)));
    assert_false(buf_ok(&b));
    buf_deinit(&b);
    buf_init(&b, 100);
    assert_false(json_write(&b, NULL));
    buf_deinit(&b);
    json_free(doc);
}

static void test_writer(void **state)
{
    struct json_writer w;
    struct buf b;

    (void)state;
    buf_init(&b, 1000);
    jw_init(&w, &b);
    jw_obj(&w);
    jw_key(&w, "empty");
    jw_obj(&w);
    jw_end_obj(&w);
    jw_key(&w, "list");
    jw_arr(&w);
    jw_int(&w, INT64_MIN);
    jw_uint(&w, UINT64_MAX);
    jw_int(&w, 0);
    jw_arr(&w);
    jw_end_arr(&w);
    jw_real(&w, 0.1);
    jw_real(&w, 1.0 / 3);
    jw_real(&w, NAN);
    jw_bool(&w, true);
    jw_null(&w);
    jw_end_arr(&w);
    jw_key_slice(&w, SLICE_LIT("a\"b"));
    jw_raw(&w, SLICE_LIT("{\"x\":1}"));
    jw_key(&w, "last");
    jw_cstr(&w, "z");
    jw_end_obj(&w);
    assert_string_equal(b.ptr, "{\"empty\":{},\"list\":[-9223372036854775808,18446744073709551615,"
                               "0,[],0.1,0.3333333333333333,null,true,null],"
                               "\"a\\\"b\":{\"x\":1},\"last\":\"z\"}");
    assert_int_equal(w.depth, 0);
    buf_deinit(&b);
}

/* Strings as written; each must also read back. */
static void test_strings(void **state)
{
    static const struct {
        struct slice in;
        const char *out;
    } cases[] = {
        {SLICE_LIT(""), "\"\""},
        {SLICE_LIT("plain"), "\"plain\""},
        {SLICE_LIT("a\"b\\c/d"), "\"a\\\"b\\\\c/d\""},
        {SLICE_LIT("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\""},
        {SLICE_LIT("\0\x1f\x7f"), "\"\\u0000\\u001f\x7f\""},
        {SLICE_LIT("\xE2\x82\xAC\xF0\x9F\x98\x80"), "\"\xE2\x82\xAC\xF0\x9F\x98\x80\""},
        {SLICE_LIT("a\xFFz"), "\"a\xEF\xBF\xBDz\""},
        {SLICE_LIT("\xC3"), "\"\xEF\xBF\xBD\""},                                 /* cut short */
        {SLICE_LIT("\xC0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                 /* overlong */
        {SLICE_LIT("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, /* surrogate */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct json_writer w;
        struct json *doc;
        struct buf b;

        buf_init(&b, 200);
        jw_init(&w, &b);
        jw_str(&w, cases[i].in);
        assert_string_equal(b.ptr, cases[i].out);
        doc = json_parse(buf_slice(&b), NULL);
        assert_non_null(doc);
        json_free(doc);
        buf_deinit(&b);
    }
}

static void test_utf8(void **state)
{
    static const struct {
        const char *in;
        bool ok;
    } cases[] = {
        {"", true},
        {"abc", true},
        {"\xC2\x80", true},
        {"\xC1\xBF", false}, /* overlong */
        {"\xE0\xA0\x80", true},
        {"\xE0\x9F\xBF", false}, /* overlong */
        {"\xED\x9F\xBF", true},
        {"\xED\xA0\x80", false}, /* surrogate */
        {"\xF0\x90\x80\x80", true},
        {"\xF0\x8F\xBF\xBF", false}, /* overlong */
        {"\xF4\x8F\xBF\xBF", true},
        {"\xF4\x90\x80\x80", false}, /* over U+10FFFF */
        {"\xF5\x80\x80\x80", false},
        {"\xE2\x82", false}, /* cut short */
        {"\xE2\x82z", false},
        {"\x80", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (json_is_utf8(slice_cstr(cases[i].in)) != cases[i].ok)
            fail_msg("case %zu", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),   cmocka_unit_test(test_depth),
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_access),
        cmocka_unit_test(test_iter),    cmocka_unit_test(test_write_bounds),
        cmocka_unit_test(test_writer),  cmocka_unit_test(test_strings),
        cmocka_unit_test(test_utf8),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "common/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_make(void **state)
{
    (void)state;
    assert_int_equal(slice_cstr(NULL).len, 0);
    assert_int_equal(slice_cstr("ab").len, 2);
    assert_int_equal(SLICE_LIT("a\0b").len, 3);
    assert_true(slice_eq(SLICE_NONE, slice_cstr("")));
    assert_true(slice_eq(slice_of("xyz", 2), SLICE_LIT("xy")));
}

static void test_sub(void **state)
{
    static const struct {
        size_t from, len;
        const char *want;
    } cases[] = {
        {0, 3, "abc"}, {1, 1, "b"}, {1, 99, "bc"},      {3, 1, ""},
        {99, 99, ""},  {0, 0, ""},  {2, SIZE_MAX, "c"}, /* no sum that wraps */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice got = slice_sub(SLICE_LIT("abc"), cases[i].from, cases[i].len);

        if (!slice_is(got, cases[i].want))
            fail_msg("case %zu: '%.*s'", i, SLICE_FMT(got));
    }
    assert_int_equal(slice_sub(SLICE_NONE, 1, 1).len, 0);
}

static void test_trim(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"", ""}, {"a", "a"}, {" \ta b\t ", "a b"}, {"   ", ""}, {"\na\n", "\na\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_true(slice_is(slice_trim(slice_cstr(cases[i].in)), cases[i].want));
}

static void test_compare(void **state)
{
    static const struct {
        struct slice a, b;
        int sign;
        bool same_nocase;
    } cases[] = {
        {SLICE_LIT("a"), SLICE_LIT("a"), 0, true},
        {SLICE_LIT("a"), SLICE_LIT("b"), -1, false},
        {SLICE_LIT("a"), SLICE_LIT("A"), 1, true},
        {SLICE_LIT("ab"), SLICE_LIT("a"), 1, false},
        {SLICE_LIT(""), SLICE_LIT("a"), -1, false},
        {SLICE_LIT(""), {NULL, 0}, 0, true},
        {SLICE_LIT("a\0b"), SLICE_LIT("a\0c"), -1, false}, /* beyond a NUL */
        {SLICE_LIT("\xff"), SLICE_LIT("a"), 1, false},     /* bytes, not chars */
        {SLICE_LIT("Z["), SLICE_LIT("z{"), -1, false},     /* letters only */
        {SLICE_LIT("@`"), SLICE_LIT("`@"), -1, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int c = slice_cmp(cases[i].a, cases[i].b), d = slice_cmp(cases[i].b, cases[i].a);

        if ((c > 0) - (c < 0) != cases[i].sign || (d > 0) - (d < 0) != -cases[i].sign ||
            slice_eq(cases[i].a, cases[i].b) != (cases[i].sign == 0) ||
            slice_eq_nocase(cases[i].a, cases[i].b) != cases[i].same_nocase)
            fail_msg("case %zu", i);
    }
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_LIT("ab")));
    assert_true(slice_starts(SLICE_LIT("abc"), SLICE_NONE));
    assert_false(slice_starts(SLICE_LIT("a"), SLICE_LIT("ab")));
    assert_false(slice_starts(SLICE_LIT("abc"), SLICE_LIT("b")));
}

static void test_cut(void **state)
{
    struct slice s = SLICE_LIT("a,,b,"), head;

    (void)state;
    assert_true(slice_cut(&s, ',', &head) && slice_is(head, "a"));
    assert_true(slice_cut(&s, ',', &head) && slice_is(head, ""));
    assert_true(slice_cut(&s, ',', &head) && slice_is(head, "b"));
    assert_false(slice_cut(&s, ',', &head)); /* nothing is left after the last separator */
    assert_true(slice_is(head, "b"));
    assert_int_equal(slice_find(SLICE_LIT("abc"), 'c'), 2);
    assert_int_equal(slice_find(SLICE_LIT("abc"), 'x'), 3);
    assert_int_equal(slice_find(SLICE_NONE, 'x'), 0);
    assert_int_equal(slice_find_any(SLICE_LIT("a/b?"), "?/"), 1); /* whichever comes first */
    assert_int_equal(slice_find_any(SLICE_LIT("ab"), "?/"), 2);
    assert_int_equal(slice_find_any(SLICE_LIT("a\0b"), "?/"), 1); /* no text goes on behind it */
    assert_int_equal(slice_find_any(SLICE_NONE, "?/"), 0);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *in;
        bool is_u64, is_i64;
        uint64_t u;
        int64_t i;
    } cases[] = {
        {"0", true, true, 0, 0},
        {"007", true, true, 7, 7},
        {"-0", false, true, 0, 0},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", true, false, (uint64_t)INT64_MAX + 1, 0},
        {"-9223372036854775808", false, true, 0, INT64_MIN},
        {"-9223372036854775809", false, false, 0, 0},
        {"18446744073709551615", true, false, UINT64_MAX, 0},
        {"18446744073709551616", false, false, 0, 0},
        {"99999999999999999999", false, false, 0, 0},
        {"", false, false, 0, 0},
        {"-", false, false, 0, 0},
        {"--1", false, false, 0, 0},
        {"+1", false, false, 0, 0},
        {" 1", false, false, 0, 0},
        {"1 ", false, false, 0, 0},
        {"1x", false, false, 0, 0},
        {"0x1", false, false, 0, 0},
    };

    (void)state;
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        uint64_t u = 77;
        int64_t i = 77;

        if (slice_to_u64(slice_cstr(cases[n].in), &u) != cases[n].is_u64 ||
            slice_to_i64(slice_cstr(cases[n].in), &i) != cases[n].is_i64 ||
            u != (cases[n].is_u64 ? cases[n].u : 77) || i != (cases[n].is_i64 ? cases[n].i : 77))
            fail_msg("'%s'", cases[n].in);
    }
}

static void test_copies(void **state)
{
    char to[4] = "was", *dup = slice_dup(SLICE_LIT("a\0b"));

    (void)state;
    assert_non_null(dup);
    assert_memory_equal(dup, "a\0b", 4); /* its NUL too */
    free(dup);
    dup = slice_dup(SLICE_NONE);
    assert_string_equal(dup, "");
    free(dup);
    assert_false(slice_copy(SLICE_LIT("four"), to, sizeof to));
    assert_string_equal(to, "was");
    assert_true(slice_copy(SLICE_LIT("abc"), to, sizeof to));
    assert_string_equal(to, "abc");
    assert_true(slice_copy(SLICE_NONE, to, sizeof to));
    assert_string_equal(to, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_make),    cmocka_unit_test(test_sub), cmocka_unit_test(test_trim),
        cmocka_unit_test(test_compare), cmocka_unit_test(test_cut), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_copies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

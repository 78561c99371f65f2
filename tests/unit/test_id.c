#include "common/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <cmocka.h>

#define A60 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A64 A60 "aaaa"

static void test_names(void **state)
{
    static const struct {
        struct slice in;
        bool job, queue, run;
    } cases[] = {
        {SLICE_LIT("a"), true, true, true},
        {SLICE_LIT("azAZ09_-"), true, true, true},
        {SLICE_LIT("a:b"), true, false, true},
        {SLICE_LIT(A64), true, true, true},
        {SLICE_LIT(A64 "a"), false, false, false},
        {SLICE_LIT(""), false, false, false},
        {{NULL, 0}, false, false, false},
        {SLICE_LIT("a.b"), false, false, false}, /* parts a job's name */
        {SLICE_LIT("a b"), false, false, false},
        {SLICE_LIT("a\n"), false, false, false},
        {SLICE_LIT("a\0b"), false, false, false},
        {SLICE_LIT("{a}"), false, false, false}, /* would be a hash tag */
        {SLICE_LIT("a/b"), false, false, false},
        {SLICE_LIT("\xC3\xA9"), false, false, false},
        {SLICE_LIT("bad~1-0-q"), false, false, true}, /* awq's own: no producer's */
        {SLICE_LIT("bad~"), false, false, false},
        {SLICE_LIT("bad~bad~1"), false, false, false},
        {SLICE_LIT("Bad~1"), false, false, false},
        {SLICE_LIT("a~1"), false, false, false},
        {SLICE_LIT("bad~" A60), false, false, true},
        {SLICE_LIT("bad~" A60 "a"), false, false, false},
        {SLICE_LIT("@"), false, false, false}, /* the neighbours of the ranges */
        {SLICE_LIT("["), false, false, false},
        {SLICE_LIT("`"), false, false, false},
        {SLICE_LIT("/"), false, false, false},
        {SLICE_LIT(";"), false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (id_is_job(cases[i].in) != cases[i].job ||
            id_is_connection(cases[i].in) != cases[i].job ||
            id_is_queue(cases[i].in) != cases[i].queue || id_is_run(cases[i].in) != cases[i].run)
            fail_msg("case %zu '%.*s'", i, SLICE_FMT(cases[i].in));
    }
}

static void test_hex(void **state)
{
    char a[65], b[65];

    (void)state;
    memset(a, 'z', sizeof a);
    id_hex(a, 4);
    assert_int_equal(strlen(a), 8);
    assert_int_equal(strspn(a, "0123456789abcdef"), 8);
    assert_int_equal(a[9], 'z'); /* no more than it says */
    id_hex(a, 32);
    id_hex(b, 32);
    assert_int_equal(strlen(a), 64);
    assert_string_not_equal(a, b);
    id_hex(a, 33); /* as much as there is */
    assert_int_equal(strlen(a), 64);
}

static void test_worker(void **state)
{
    char a[WORKER_ID_MAX], b[WORKER_ID_MAX];

    (void)state;
    id_worker(a);
    id_worker(b);
    assert_string_not_equal(a, b); /* never used twice */
    assert_true(strlen(a) > 17);
    assert_int_equal(a[strlen(a) - 17], '-');
    assert_true(slice_is(id_worker_mark(slice_cstr(a)), a + strlen(a) - 16));
    assert_true(id_worker_mark(SLICE_LIT("short")).len == 0);
    assert_int_equal(strspn(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"),
                     strlen(a));
}

static void test_uniform(void **state)
{
    bool seen[4] = {false};

    (void)state;
    for (int i = 0; i < 1000; i++) {
        int64_t n = id_uniform_ms(3);

        assert_true(n >= 0 && n <= 3);
        seen[n] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]); /* missing one: 4 * 0.75^1000 */
    assert_int_equal(id_uniform_ms(0), 0);
    assert_int_equal(id_uniform_ms(-5), 0);
    for (int i = 0; i < 100; i++) {
        int64_t n = id_uniform_ms(INT64_MAX);

        assert_true(n >= 0);
    }
}

/* The largest wait that is possible after so many tries. */
static void test_backoff(void **state)
{
    static const struct {
        int64_t base, cap;
        unsigned tries;
        int64_t ceiling;
    } cases[] = {
        {100, 1000, 0, 100},     {100, 1000, 1, 200},   {100, 1000, 3, 800},
        {100, 1000, 4, 1000},    {100, 1000, 63, 1000}, {100, 1000, UINT32_MAX, 1000},
        {5000, 1000, 0, 1000},   {1, 60000, 10, 1024},  {0, 1000, 0, 0},
        {500, 60000, 64, 60000},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t most = 0;

        for (int k = 0; k < 500; k++) {
            int64_t n = id_backoff_ms(cases[i].base, cases[i].cap, cases[i].tries);

            assert_true(n >= 0);
            if (n > cases[i].ceiling)
                fail_msg("case %zu: %lld", i, (long long)n);
            most = n > most ? n : most;
        }
        if (most < cases[i].ceiling / 2) /* by chance: 0.5^500 */
            fail_msg("case %zu: at most %lld", i, (long long)most);
    }
    assert_int_equal(id_backoff_ms(0, 1000, UINT32_MAX), 0);
    assert_true(id_backoff_ms(1000, INT64_MAX, 60) >= 0);
    assert_true(id_backoff_ms(1000, INT64_MAX, 4000) >= 0);
}

static int start(void **state)
{
    (void)state;
    return sodium_init() < 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_hex),
        cmocka_unit_test(test_worker),  cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_backoff),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}

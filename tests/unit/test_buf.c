#include "common/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_adds(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100);
    assert_null(b.ptr);
    assert_int_equal(buf_slice(&b).len, 0);
    assert_true(buf_add(&b, "a\0b", 3));
    assert_true(buf_add_slice(&b, SLICE_LIT("cd")));
    assert_true(buf_add_slice(&b, SLICE_NONE)); /* NULL and 0 */
    assert_true(buf_add_cstr(&b, "ef"));
    assert_true(buf_add_char(&b, '!'));
    assert_true(buf_addf(&b, "%d-%s", 42, "x"));
    assert_true(buf_addf(&b, "%s", ""));
    assert_true(slice_eq(buf_slice(&b), SLICE_LIT("a\0bcdef!42-x")));
    assert_int_equal(b.ptr[b.len], '\0');
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    assert_string_equal(b.ptr, "");
    buf_deinit(&b);
    buf_deinit(&b); /* twice is fine */
    buf_deinit(NULL);
    buf_wipe(NULL);
}

/* Up to max exactly, by each way to add; one byte more changes nothing and sticks. */
static void test_max(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 126, 127, 128, 129, 255, 256, 1000};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf b;

        buf_init(&b, sizes[i]);
        for (size_t k = 0; k < sizes[i]; k++)
            assert_true(buf_add_char(&b, 'x'));
        assert_true(buf_ok(&b));
        assert_false(buf_add_cstr(&b, "yz"));
        assert_false(buf_ok(&b));
        assert_int_equal(b.len, sizes[i]);
        assert_false(buf_add(&b, "", 0)); /* a run of adds is checked at its end */
        buf_clear(&b);
        assert_true(buf_ok(&b));
        assert_false(buf_addf(&b, "%*s", (int)sizes[i] + 1, ""));
        assert_int_equal(b.len, 0);
        buf_clear(&b);
        assert_true(buf_addf(&b, "%*s", (int)sizes[i], ""));
        assert_int_equal(b.len, sizes[i]);
        buf_deinit(&b);
    }
}

static void test_huge(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 10);
    assert_true(buf_add_cstr(&b, "abc"));
    assert_false(buf_reserve(&b, SIZE_MAX)); /* no sum that wraps */
    assert_int_equal(b.len, 3);
    buf_clear(&b);
    assert_true(buf_reserve(&b, 10));
    buf_deinit(&b);
    buf_init(&b, 10000);
    assert_true(buf_add_cstr(&b, "abc"));
    assert_true(buf_reserve(&b, 5000));
    assert_string_equal(b.ptr, "abc"); /* its NUL moved with it */
    buf_deinit(&b);
}

static void test_growth_keeps(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 100000);
    for (int i = 0; i < 5000; i++)
        assert_true(buf_addf(&b, "%04d", i));
    for (int i = 0; i < 5000; i++) {
        char want[12];

        snprintf(want, sizeof want, "%04d", i);
        assert_memory_equal(b.ptr + i * 4, want, 4);
    }
    assert_true(b.cap <= 4 * b.len); /* doubles, does not run away */
    buf_wipe(&b);
    assert_null(b.ptr);
    assert_int_equal(b.max, 100000); /* can be used again */
    assert_true(buf_add_cstr(&b, "again"));
    buf_deinit(&b);
}

static void test_take(void **state)
{
    struct buf b;
    char *p;

    (void)state;
    buf_init(&b, 100);
    assert_null(buf_take(&b));
    buf_add_cstr(&b, "text");
    p = buf_take(&b);
    assert_string_equal(p, "text");
    assert_null(b.ptr);
    assert_int_equal(b.len, 0);
    assert_true(buf_add_cstr(&b, "new"));
    assert_string_equal(p, "text"); /* it is the taker's alone */
    free(p);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adds), cmocka_unit_test(test_max),
        cmocka_unit_test(test_huge), cmocka_unit_test(test_growth_keeps),
        cmocka_unit_test(test_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

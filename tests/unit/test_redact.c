#include "worker/redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define TOKEN "tok/en+1=="

static void test_texts(void **state)
{
    static const struct {
        const char *text, *want; /* want NULL: it stays as it is */
    } cases[] = {
        {"", NULL},
        {"nothing of it", NULL},
        {TOKEN, "[redacted]"},
        {"a" TOKEN "b", "a[redacted]b"},
        {TOKEN TOKEN, "[redacted][redacted]"},
        {"tok/en+1=", NULL},                              /* one letter short */
        {"tok/en+1=" TOKEN, "tok/en+1=[redacted]"},       /* begun, and then begun again */
        {"tok\\/en+1==", "[redacted]"},                   /* PHP's json_encode */
        {"x\\ntok\\/en+1==\\\"y", "x\\n[redacted]\\\"y"}, /* other escapes stay as they are */
        {"tok\\u002fen\\u002B1==", "[redacted]"},         /* either case of the digits */
        {"u=tok%2Fen%2b1%3D%3D&v", "u=[redacted]&v"},     /* in a URL */
        {"%74%6f%6b%2f%65%6e%2b%31%3d%3d", "[redacted]"}, /* every letter */
        {TOKEN " tok%2fen+1== end", "[redacted] [redacted] end"}, /* one way and the other */
        {"tok\\/en+1==tok\\/en+1==", "[redacted][redacted]"},
        {"tok\\/en", NULL},   /* cut short */
        {"100%", NULL},       /* no escape after all */
        {"tok%2", NULL},      /* cut in an escape */
        {"tail\\", NULL},     /* a backslash and nothing behind it */
        {"%zz\\u00zz", NULL}, /* no hex digits */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice text = slice_cstr(cases[i].text);
        bool found;
        struct buf out;

        buf_init(&out, 1000);
        found = redact(text, SLICE_LIT(TOKEN), &out);
        if (found != (cases[i].want != NULL) || !buf_ok(&out) ||
            !slice_is(buf_slice(&out), cases[i].want ? cases[i].want : cases[i].text))
            fail_msg("%s: %d %.*s", cases[i].text, found, SLICE_FMT(buf_slice(&out)));
        if (found && !redact_may_hold(text, SLICE_LIT(TOKEN)))
            fail_msg("%s: would not have been looked at", cases[i].text);
        buf_deinit(&out);
    }
}

static void test_short_tokens_and_none(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    assert_false(redact(SLICE_LIT("1234567 1234567"), SLICE_LIT("1234567"), &out));
    assert_false(redact(SLICE_LIT("%41"), SLICE_NONE, &out));
    assert_true(slice_is(buf_slice(&out), "1234567 1234567%41"));
    assert_true(redact(SLICE_LIT("12345678"), SLICE_LIT("12345678"), &out));
    assert_false(redact_may_hold(SLICE_LIT("a%41"), SLICE_NONE));
    assert_false(redact_may_hold(SLICE_LIT("plain text"), SLICE_LIT(TOKEN)));
    assert_false(redact_holds(SLICE_NONE, SLICE_LIT(TOKEN)));
    assert_false(redact_holds(SLICE_LIT("tok%2fen+1=="), SLICE_LIT(TOKEN))); /* only as it is */
    assert_true(redact_holds(SLICE_LIT("/?" TOKEN), SLICE_LIT(TOKEN)));
    buf_deinit(&out);
}

/* Whoever answers chooses the text: the work must not grow with its square. */
static void test_many_near_misses(void **state)
{
    static char text[200000];
    struct buf out;

    (void)state;
    for (size_t i = 0; i + 9 <= sizeof text; i += 9)
        memcpy(text + i, "tok\\/en+1", 9);
    buf_init(&out, 2 * sizeof text);
    assert_false(redact(slice_of(text, sizeof text), SLICE_LIT(TOKEN), &out));
    assert_int_equal(out.len, sizeof text);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_short_tokens_and_none),
        cmocka_unit_test(test_many_near_misses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Words of HTTP: Retry-After, methods, tokens, header values. */
#include "common/http_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/http_rig.h"

/* ---- text ---- */

#define NOW_MS 1445412420000 /* Wed, 21 Oct 2015 07:27:00 GMT */

/* Retry-After is seconds or a date (RFC 9110 section 10.2.3). */
static const struct {
    const char *in;
    bool ok;
    int64_t want_ms;
} retry_afters[] = {
    {"120", true, 120000},
    {"0", true, 0},
    {" 5 ", true, 5000},
    {"Wed, 21 Oct 2015 07:28:00 GMT", true, 60000},
    {"Wed, 21 Oct 2015 07:26:00 GMT", true, 0}, /* already past */
    {"Thu, 01 Jan 1970 00:00:00 GMT", true, 0},
    {"Tue, 01 Mar 2016 00:00:00 GMT", true, 86400000}, /* a day at most */
    {"86399", true, 86399000},
    {"1760000000", true, 86400000},                     /* a time of day by mistake */
    {"Wednesday, 21-Oct-15 07:28:00 GMT", true, 60000}, /* RFC 850 */
    {"Sunday, 06-Nov-94 08:49:37 GMT", true, 0},        /* 1994, since 2094 is too far */
    {"Wed Oct 21 07:28:00 2015", true, 60000},          /* asctime */
    {"", false, -1},
    {"-1", false, -1},
    {"+1", false, -1},
    {"1.5", false, -1},
    {"12s", false, -1},
    {"99999999999999999999", false, -1},  /* does not fit */
    {"9999999999999999", true, 86400000}, /* not in ms */
    {"Wed, 21 Oct 2015 07:28:00", false, -1},
    {"Wed, 21 Oct 2015 07:28:00 CET", false, -1},
    {"Wed, 41 Oct 2015 07:28:00 GMT", false, -1},
    {"Wed, 21 Oct 2015 24:28:00 GMT", false, -1},
    {"Wed, 21 Foo 2015 07:28:00 GMT", false, -1},
    {"21 Oct 2015 07:28:00 GMT", false, -1},
    {"tomorrow", false, -1},
};

static void test_retry_after(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(retry_afters); i++) {
        int64_t wait_ms = -1; /* must stay so when the input is refused */
        bool ok = http_retry_after(slice_cstr(retry_afters[i].in), NOW_MS, &wait_ms);

        if (ok != retry_afters[i].ok || wait_ms != retry_afters[i].want_ms)
            fail_msg("'%s': got %d %lld", retry_afters[i].in, ok, (long long)wait_ms);
    }
}

/* Dates that are far away, asked a second before they come: more than a day is cut. */
static void test_dates(void **state)
{
    static const struct {
        const char *in;
        int64_t after_ms; /* NOW_MS */
    } dates[] = {
        {"Mon, 29 Feb 2016 00:00:00 GMT", 11291580000}, /* a leap day */
        {"Tue, 01 Mar 2016 00:00:00 GMT", 11377980000},
        {"Sun Nov  1 07:27:00 2015", 950400000},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(dates); i++) {
        int64_t wait_ms = -1;

        assert_true(
            http_retry_after(slice_cstr(dates[i].in), NOW_MS + dates[i].after_ms - 1000, &wait_ms));
        assert_int_equal(wait_ms, 1000);
    }
}

static void test_words(void **state)
{
    (void)state;
    assert_true(http_method_is_idempotent(SLICE_LIT("PUT")));
    assert_false(http_method_is_idempotent(SLICE_LIT("POST")));
    assert_false(http_method_is_idempotent(SLICE_LIT("PATCH")));
    assert_false(http_method_is_idempotent(SLICE_LIT("get"))); /* methods have a case */
    assert_true(http_is_token(SLICE_LIT("X-a_b!1~")));
    assert_false(http_is_token(SLICE_NONE));
    assert_false(http_is_token(SLICE_LIT("a/b")));
    assert_false(http_is_token(slice_of("a\0", 2)));
    assert_true(http_is_header_value(SLICE_NONE));
    assert_true(http_is_header_value(SLICE_LIT("a\tb \xff")));
    assert_false(http_is_header_value(slice_of("a\0", 2)));
    assert_false(http_is_header_value(SLICE_LIT("\x7f")));
    for (int c = 0; c < 256; c++) { /* every byte, at every place of a long value */
        for (size_t at = 0; at < 20; at++) {
            char value[] = "abcdefgh\tjklmno\xfc"
                           "qrst";
            bool want = c == '\t' || (c >= 0x20 && c != 0x7f);

            value[at] = (char)c;
            assert_int_equal(http_is_header_value(slice_of(value, 20)), want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

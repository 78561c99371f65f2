#include "common/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "common/slice.h"

static void test_set(void **state)
{
    struct err e = {0};

    (void)state;
    assert_false(err_set(&e, ERR_RETRY, "connection %s: %d tries", "c_1", 3));
    assert_int_equal(e.code, ERR_RETRY);
    assert_string_equal(e.rule, "");
    assert_string_equal(e.msg, "connection c_1: 3 tries");
    assert_false(err_rule(&e, ERR_DENIED, "host_not_allowed", "no"));
    assert_int_equal(e.code, ERR_DENIED);
    assert_string_equal(e.rule, "host_not_allowed");
    assert_string_equal(e.msg, "no");
    err_set(&e, ERR_FORMAT, "line 1: '%s'", "a\nb\x7f\t\x1b[2J");
    assert_string_equal(e.msg, "line 1: 'a?b???[2J'"); /* one line, whatever was in the file */
    err_set(&e, ERR_LOST, "gone"); /* the old rule must not stay with the new code */
    assert_string_equal(e.rule, "");
    /* who does not want to know passes NULL */
    assert_false(err_set(NULL, ERR_RETRY, "x"));
    assert_false(err_rule(NULL, ERR_RETRY, "x", "x"));
    assert_false(err_prefix(NULL, "x"));
}

/* Messages around the size of msg: whole up to 255 bytes, else cut and saying so. */
static void test_cut(void **state)
{
    char text[400];
    struct err e;

    (void)state;
    for (size_t n = 240; n < 300; n++) {
        memset(text, 'x', n);
        text[n] = '\0';
        memset(&e, 'z', sizeof e);
        err_set(&e, ERR_FORMAT, "%s", text);
        assert_int_equal(strlen(e.msg), n < 255 ? n : 255);
        assert_string_equal(e.msg + strlen(e.msg) - 3, n <= 255 ? "xxx" : "...");
        err_rule(&e, ERR_FORMAT, "r", "%s", text);
        assert_string_equal(e.msg + strlen(e.msg) - 3, n <= 255 ? "xxx" : "...");
        err_set(&e, ERR_FORMAT, "%s", text + n - 240); /* 240 of them */
        err_prefix(&e, "%.*s", (int)(n - 240),
                   "pppppppppppppppppppppppppppppppppppppppppppppppp"
                   "pppppppppppppppppppp");
        assert_int_equal(strlen(e.msg), n < 255 ? n : 255);
        assert_string_equal(e.msg + strlen(e.msg) - 3, n <= 255 ? "xxx" : "...");
    }
}

static void test_prefix(void **state)
{
    char text[400];
    struct err e = {0};

    (void)state;
    err_rule(&e, ERR_CONSENT, "refused", "refresh token refused");
    assert_false(err_prefix(&e, "connection %s: ", "c_1"));
    assert_string_equal(e.msg, "connection c_1: refresh token refused");
    assert_int_equal(e.code, ERR_CONSENT);
    assert_string_equal(e.rule, "refused");
    memset(text, 'p', sizeof text - 1); /* nothing of the old message fits any more */
    text[sizeof text - 1] = '\0';
    err_prefix(&e, "%s", text);
    assert_int_equal(strlen(e.msg), 255);
    assert_string_equal(e.msg + 250, "pp...");
}

static void test_code_names(void **state)
{
    (void)state;
    for (int a = ERR_NONE; a <= ERR_CANCELLED; a++) { /* named, each unlike the others */
        const char *name = err_code_name((enum err_code)a);

        assert_string_not_equal(name, "unknown");
        for (int b = ERR_NONE; b < a; b++)
            assert_string_not_equal(name, err_code_name((enum err_code)b));
    }
    assert_string_equal(err_code_name(ERR_FORMAT), "format");
    assert_string_equal(err_code_name((enum err_code)99), "unknown");
    assert_string_equal(err_code_name((enum err_code) - 1), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_prefix),
        cmocka_unit_test(test_code_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

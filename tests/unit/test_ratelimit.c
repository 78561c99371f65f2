#include "common/ratelimit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NOW_MS 1790000000000

static const struct {
    const char *headers, *why; /* "name: value" lines */
    int64_t want_ms;
} cases[] = {
    {"", "nothing said", 0},
    {"RateLimit: \"default\";r=0;t=30", "draft -11", 30000},
    {"RateLimit: \"default\";r=1;t=30", "something is left", 0},
    {"RateLimit: \"default\";t=30", "not said what is left", 0},
    {"RateLimit: \"a\";r=9;t=5, \"b\";r=0;t=7;pk=:cHJvag==:, \"c\";r=0;t=3", "the longest", 7000},
    {"RateLimit: \"a,\\\";r=0;t=9\";r=3;t=1", "a name that looks like more", 0},
    {"RateLimit: default;r=0;t=4", "a token as the name", 4000},
    {"RateLimit: \"day\";r=0\nRateLimit-Policy: \"hour\";q=9;w=3600, \"day\";q=10;w=60",
     "no time: its window", 60000},
    {"RateLimit: \"day\";r=0\nRateLimit-Policy: \"hour\";q=9;w=60", "no time, no window", 0},
    {"RateLimit: \"a\";r=0;t=0", "now", 0},
    {"RateLimit: \"a\";r=0;t=-5", "no time", 0},
    {"RateLimit: \"a\";r=0;t=1.5", "not whole", 0},
    {"RateLimit: \"a\";r=0;t=86400", "bounded", RATELIMIT_MAX_MS},
    {"RateLimit: \"a\";r=0;t=18446744073709551615", "bounded", RATELIMIT_MAX_MS},
    {"RateLimit: \"a\";r=0;t=99999999999999999999999", "does not fit", 0},
    {"RateLimit: \"a;r=0;t=30", "the string does not end", 0},
    {"RateLimit: \"a\\", "an escape at the end", 0},
    {"RateLimit: ;;,;r=0;t=2", "no name", 2000},
    {"RateLimit: limit=100, remaining=0, reset=50", "draft -07", 50000},
    {"RateLimit: limit=100, remaining=2, reset=50", "something is left", 0},
    {"ratelimit-limit: 100\nratelimit-remaining: 0\nratelimit-reset: 20", "draft -06", 20000},
    {"RateLimit-Remaining: 0", "no time", 0},
    {"RateLimit-Reset: 20", "not said what is left", 0},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 15", "seconds", 15000},
    {"X-RateLimit-Remaining: 7\nX-RateLimit-Reset: 15", "something is left", 0},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1790000045", "a Unix time", 45000},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1790000045.75", "with a fraction", 45000},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1790000002500", "in milliseconds", 2500},
    {"x-rate-limit-remaining: 0\nx-rate-limit-reset: 1790000001", "spelled otherwise", 1000},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1789999999", "past", 0},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1890000000", "years away", RATELIMIT_MAX_MS},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 18446744073709551615", "absurd",
     RATELIMIT_MAX_MS},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: soon", "no number", 0},
    {"X-RateLimit-Remaining: -1\nX-RateLimit-Reset: 15", "no number", 0},
    {"X-RateLimit-Remaining: 0\nX-RateLimit-Remaining: 5\nX-RateLimit-Reset: 15", "the first",
     15000},
    {"Retry-After: 7\nX-Request-Id: 0\nRate: 0", "others", 0},
};

static void test_wait(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice lines = slice_cstr(cases[i].headers), line;
        struct ratelimit l = {.limits = SLICE_NONE};
        int64_t got;

        while (slice_cut(&lines, '\n', &line)) {
            size_t colon = slice_find(line, ':');

            ratelimit_note(&l, slice_sub(line, 0, colon), slice_sub(line, colon + 1, line.len));
        }
        got = ratelimit_wait_ms(&l, NOW_MS);
        if (got != cases[i].want_ms)
            fail_msg("%s (%s): %lld", cases[i].headers, cases[i].why, (long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wait)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

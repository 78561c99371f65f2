/* secret.c: guarded memory for tokens, cut up by a buddy system, wiped when given back. */
#include "common/secret.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

#define TOP (64 * 1024)

static void test_bounds(void **state)
{
    static const struct {
        size_t pool, len;
        bool fits;
        const char *why;
    } cases[] = {
        {1, 1, true, "a pool is at least one top block"},
        {TOP, 0, true, "an empty secret still has an address of its own"},
        {TOP, SECRET_BYTES_MAX, true, "one secret may fill a top block"},
        {TOP, SECRET_BYTES_MAX + 1, false, "with its header it would not fit any block"},
        {4 * TOP, 2 * TOP, false, "blocks are not joined over the top order"},
        {TOP, SIZE_MAX, false, "no overflow"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct secret_pool *p = secret_pool_new(cases[i].pool, &err);
        char *s;

        assert_non_null(p);
        s = secret_alloc(p, cases[i].len);
        if ((s != NULL) != cases[i].fits)
            fail_msg("%s", cases[i].why);
        secret_drop(p, s);
        assert_int_equal(secret_pool_used(p), 0);
        secret_pool_free(p);
    }
}

static void test_pool_sizes_out_of_bounds(void **state)
{
    struct err err = {0};

    (void)state;
    assert_null(secret_pool_new(0, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_null(secret_pool_new(SIZE_MAX, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    secret_pool_free(NULL);
}

static char *alloc_text(struct secret_pool *p, const char *text)
{
    char *to = secret_alloc(p, strlen(text) + 1);

    assert_non_null(to);
    return strcpy(to, text);
}

static void test_drop_wipes(void **state)
{
    struct secret_pool *p = secret_pool_new(TOP, NULL);
    char *a, *b;

    (void)state;
    a = alloc_text(p, "this-must-not-stay-behind-0123456789");
    b = alloc_text(p, "neighbour"); /* keeps the pool from joining the block at once */
    secret_drop(p, a);
    for (size_t i = 16; i < 48; i++) /* behind the two pointers of a free block */
        assert_int_equal(a[i], 0);
    assert_string_equal(b, "neighbour");
    secret_drop(p, b);
    secret_drop(p, NULL);
    secret_pool_free(p);
}

/* Fill it to the brim, let go in an odd order: all of it must be one piece again. */
static void test_full_and_joined_again(void **state)
{
    struct secret_pool *p = secret_pool_new(TOP, NULL);
    char *s[TOP / 64];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(s); i++) {
        s[i] = secret_alloc(p, 48);
        assert_non_null(s[i]);
        memset(s[i], (int)(i & 0x7f), 48);
    }
    assert_int_equal(secret_pool_used(p), TOP);
    assert_null(secret_alloc(p, 1)); /* full: NULL, nothing broken */
    for (size_t i = 0; i < ARRAY_LEN(s); i++) {
        for (size_t n = 0; n < 48; n++)
            assert_int_equal(s[i][n], (int)(i & 0x7f)); /* nobody wrote over a neighbour */
    }
    for (size_t i = 0; i < ARRAY_LEN(s); i++)
        secret_drop(p, s[(i * 7) % ARRAY_LEN(s)]); /* 7 has no factor in common with 1024 */
    assert_int_equal(secret_pool_used(p), 0);
    s[0] = secret_alloc(p, SECRET_BYTES_MAX);
    assert_non_null(s[0]);
    secret_drop(p, s[0]);
    secret_pool_free(p);
}

/* Random takes and drops of all sizes, contents checked: what a cache of tokens does. */
static void test_churn(void **state)
{
    struct secret_pool *p = secret_pool_new(8 * TOP, NULL);
    struct {
        unsigned char *at;
        size_t len;
        unsigned char fill;
    } held[300] = {{0}};

    (void)state;
    srand(7);
    for (int round = 0; round < 20000; round++) {
        size_t i = (size_t)rand() % ARRAY_LEN(held);

        for (size_t n = 0; n < held[i].len; n++)
            assert_int_equal(held[i].at[n], held[i].fill);
        secret_drop(p, (char *)held[i].at);
        held[i].len = (size_t)rand() % (rand() % 16 == 0 ? 20000 : 1500);
        held[i].at = (unsigned char *)secret_alloc(p, held[i].len);
        held[i].fill = (unsigned char)rand();
        if (!held[i].at)
            held[i].len = 0;
        for (size_t n = 0; n < held[i].len; n++)
            assert_int_equal(held[i].at[n], 0); /* nothing of the one before */
        if (held[i].at)
            memset(held[i].at, held[i].fill, held[i].len);
    }
    for (size_t i = 0; i < ARRAY_LEN(held); i++)
        secret_drop(p, (char *)held[i].at);
    assert_int_equal(secret_pool_used(p), 0);
    secret_pool_free(p);
}

static void test_harden(void **state)
{
    int status = -1;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        struct rlimit core = {1, 1};
        bool ok = secret_harden_process(NULL) && getrlimit(RLIMIT_CORE, &core) == 0 &&
                  core.rlim_max == 0 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0;

        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bounds),     cmocka_unit_test(test_pool_sizes_out_of_bounds),
        cmocka_unit_test(test_drop_wipes), cmocka_unit_test(test_full_and_joined_again),
        cmocka_unit_test(test_churn),      cmocka_unit_test(test_harden),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

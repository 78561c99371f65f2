#include "common/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_prefix(void **state)
{
    static const struct {
        const char *in;
        bool ok;
    } cases[] = {
        {"awq", true},
        {"A-z_09", true},
        {"12345678901234567890123456789012", true},
        {"123456789012345678901234567890123", false}, /* 33 */
        {"", false},
        {"a:b", false}, /* would look like a place */
        {"a{b", false}, /* would be a hash tag */
        {"a b", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};

        assert_true(keys_init(SLICE_LIT("before"), NULL));
        if (keys_init(slice_cstr(cases[i].in), &err) != cases[i].ok)
            fail_msg("'%s'", cases[i].in);
        assert_string_equal(keys_prefix(), cases[i].ok ? cases[i].in : "before");
        assert_int_equal(err.code, cases[i].ok ? ERR_NONE : ERR_CONFIG);
    }
    assert_true(keys_init(SLICE_LIT("awq"), NULL));
}

typedef void of_shard(struct key *, unsigned);
typedef void of_shard_name(struct key *, unsigned, struct slice);
typedef void of_name(struct key *, struct slice);
typedef void of_none(struct key *);

static void test_names(void **state)
{
    static const struct {
        of_shard *shard;
        of_shard_name *shard_name;
        of_name *name;
        of_none *none;
        const char *want;
    } cases[] = {
        {.shard_name = key_queue, .want = "awq:{s12}:q:x-1"},
        {.shard = key_due, .want = "awq:{s12}:due"},
        {.shard = key_held, .want = "awq:{s12}:held"},
        {.shard_name = key_park, .want = "awq:{s12}:park:x-1"},
        {.shard = key_lots, .want = "awq:{s12}:lots"},
        {.shard = key_dead, .want = "awq:{s12}:dead"},
        {.shard_name = key_run, .want = "awq:{s12}:run:x-1"},
        {.shard_name = key_dedup, .want = "awq:{s12}:id:x-1"},
        {.shard_name = key_out, .want = "awq:{s12}:out:x-1"},
        {.shard = key_workers, .want = "awq:{s12}:workers"},
        {.shard = key_worker_numbers, .want = "awq:{s12}:w"},
        {.shard = key_boss, .want = "awq:{s12}:boss"},
        {.name = key_conn, .want = "awq:{c:x-1}"},
        {.name = key_conn_lease, .want = "awq:{c:x-1}:lease"},
        {.name = key_conn_lane, .want = "awq:{c:x-1}:lane"},
        {.none = key_conns, .want = "awq:conns"},
        {.none = key_meta, .want = "awq:meta"},
        {.none = key_wake, .want = "awq:wake"},
        {.none = key_changed, .want = "awq:changed"},
        {.name = key_resource_conn, .want = "conn:x-1"},
        {.name = key_resource_lane, .want = "lane:x-1"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct key k;

        memset(&k, 'z', sizeof k);
        if (cases[i].shard)
            cases[i].shard(&k, 12);
        else if (cases[i].shard_name)
            cases[i].shard_name(&k, 12, SLICE_LIT("x-1"));
        else if (cases[i].name)
            cases[i].name(&k, SLICE_LIT("x-1"));
        else
            cases[i].none(&k);
        assert_string_equal(k.s, cases[i].want);
        assert_int_equal(key_slice(&k).len, strlen(cases[i].want));
    }
}

/* The longest names fit whole; what never passed id.h is cut, not overrun. */
static void test_longest(void **state)
{
    struct key k, resource;
    char *big = malloc(10000);

    (void)state;
    assert_non_null(big);
    memset(big, 'b', 10000);
    assert_true(keys_init(SLICE_LIT("12345678901234567890123456789012"), NULL));
    key_resource_conn(&resource, SLICE_LIT(A64));
    key_park(&k, 4294967295u, key_slice(&resource));
    assert_string_equal(k.s, "12345678901234567890123456789012:{s4294967295}:park:conn:" A64);
    key_conn_lease(&k, SLICE_LIT(A64));
    assert_string_equal(k.s, "12345678901234567890123456789012:{c:" A64 "}:lease");
    key_run(&k, 4294967295u, slice_of(big, 10000));
    assert_int_equal(k.len, strlen("12345678901234567890123456789012:{s4294967295}:run:") + ID_MAX);
    assert_int_equal(k.s[k.len], '\0');
    assert_true(keys_init(SLICE_LIT("awq"), NULL));
    free(big);
}

static void test_shards(void **state)
{
    (void)state;
    assert_int_equal(key_crc16(SLICE_LIT("123456789")), 0x31C3);  /* the specification's vector */
    assert_int_equal(key_crc16(SLICE_LIT("foo")) & 16383, 12182); /* CLUSTER KEYSLOT foo */
    assert_int_equal(key_crc16(SLICE_LIT("bar")) & 16383, 5061);
    assert_int_equal(key_crc16(SLICE_LIT("\xff\x80")), 0x9277); /* bytes over 127 have no sign */
    assert_int_equal(key_crc16(SLICE_NONE), 0);
    assert_int_equal(key_shard_of(SLICE_LIT("foo"), 1), 0);
    assert_int_equal(key_shard_of(SLICE_LIT("foo"), 0), 0);
    assert_int_equal(key_shard_of(SLICE_LIT("123456789"), 7), 0x31C3 % 7);
}

static void test_job_names(void **state)
{
    static const struct {
        const char *in;
        bool ok;
        const char *run, *branch;
        uint64_t seq;
    } cases[] = {
        {"r-1.0.0", true, "r-1", "0", 0},
        {"a:b_c-D.0.17", true, "a:b_c-D", "0", 17},
        {"bad~1-0-q.0.0", true, "bad~1-0-q", "0", 0}, /* of a job that could not be trusted */
        {"r.2b.18446744073709551615", true, "r", "2b", UINT64_MAX},
        {A64 ".12345678.1", true, A64, "12345678", 1},
        {"r.0.18446744073709551616", false, 0, 0, 0}, /* does not fit */
        {"r.0.01", false, 0, 0, 0},                   /* a second name for r.0.1 */
        {"r.0.-1", false, 0, 0, 0},
        {"r.0.", false, 0, 0, 0},
        {"r..1", false, 0, 0, 0},
        {".0.1", false, 0, 0, 0},
        {"r.0", false, 0, 0, 0},
        {"r", false, 0, 0, 0},
        {"", false, 0, 0, 0},
        {"a.b.0.1", false, 0, 0, 0}, /* a run has no dot */
        {"r.123456789.1", false, 0, 0, 0},
        {"r.0:1.1", false, 0, 0, 0},
        {A64 "a.0.1", false, 0, 0, 0},
        {"r .0.1", false, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job_name n = {.seq = 99};
        char text[JOB_NAME_MAX] = "";

        if (job_name_parse(slice_cstr(cases[i].in), &n) != cases[i].ok)
            fail_msg("'%s'", cases[i].in);
        if (!cases[i].ok) {
            assert_true(n.seq == 99 && n.run.ptr == NULL);
            continue;
        }
        assert_true(slice_is(n.run, cases[i].run) && slice_is(n.branch, cases[i].branch));
        assert_true(n.seq == cases[i].seq);
        assert_true(job_name_build(&n, text));
        assert_string_equal(text, cases[i].in);
    }
}

static void test_job_name_refused(void **state)
{
    char text[JOB_NAME_MAX] = "as it was";

    (void)state;
    assert_false(job_name_build(&(struct job_name){SLICE_LIT("a.b"), SLICE_LIT("0"), 1}, text));
    assert_false(job_name_build(&(struct job_name){SLICE_LIT("a"), SLICE_LIT("0.1"), 1}, text));
    assert_false(job_name_build(&(struct job_name){SLICE_NONE, SLICE_LIT("0"), 1}, text));
    assert_string_equal(text, "as it was");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefix),    cmocka_unit_test(test_names),
        cmocka_unit_test(test_longest),   cmocka_unit_test(test_shards),
        cmocka_unit_test(test_job_names), cmocka_unit_test(test_job_name_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

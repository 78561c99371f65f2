/* producer.c, producer_key.c: records, signatures by the vectors, and what a signed job must say.
 */
#include "common/producer.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>
#include "common/json.h"

#define NOW   INT64_C(1700000000000)
#define DEDUP 600000

static char path[64];

static int name_path(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/awq-test-producer-%d", (int)getpid());
    unlink(path);
    return 0;
}

static int drop_path(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void put_file(const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");

    fputs(text, f);
    fclose(f);
    chmod(path, mode);
}

static struct slice text_of(const struct json_val *row, const char *key)
{
    struct slice s = SLICE_NONE;

    assert_true(json_str(json_get(row, key), &s));
    return s;
}

static struct slice bytes_of(const struct json_val *row, const char *key, char *out, size_t size)
{
    struct slice hex = text_of(row, key);
    size_t len = 0;

    assert_int_equal(sodium_hex2bin((unsigned char *)out, size, hex.ptr, hex.len, NULL, &len, NULL),
                     0);
    return slice_of(out, len);
}

static struct json *read_vectors(void)
{
    struct err err = {0};
    static char text[65536];
    FILE *f = fopen("tests/vectors/signed.json", "r");
    size_t n;

    assert_non_null(f);
    n = fread(text, 1, sizeof text, f);
    fclose(f);
    return json_parse(slice_of(text, n), &err);
}

static struct producer *make(struct slice name, struct slice key, struct err *err)
{
    char json[1000];

    snprintf(
        json, sizeof json,
        "{\"key\":\"%.*s\",\"queues\":[\"default\",\"f*\"],\"connections\":[\"crm-*\",\"one\"],"
        "\"outs\":[\"results\"],\"inbox\":false}",
        SLICE_FMT(key));
    return producer_parse(name, slice_cstr(json), err);
}

/* What is signed here is what others sign, and the other way round. */
static void test_vectors(void **state)
{
    struct json *doc = read_vectors();
    const struct json_val *row;
    struct json_iter it;
    struct slice none;
    size_t n = 0;

    (void)state;
    json_iter_init(&it, json_root(doc));
    for (; json_iter_next(&it, &none, &row); n++) {
        struct slice prefix = text_of(row, "prefix"), queue = text_of(row, "queue"),
                     name = text_of(row, "producer");
        char j[1000], s[200], seed[100], hex[PRODUCER_KEY_HEX + 1], id[80];
        struct err err = {0};
        struct producer_key *k;
        struct producer *p = make(name, text_of(row, "key"), &err);
        struct slice crm = SLICE_LIT("crm-1");
        struct producer_job job = {.prefix = prefix,
                                   .queue = queue,
                                   .j = bytes_of(row, "j", j, sizeof j),
                                   .connections = &crm,
                                   .connection_count = 1,
                                   .iat = NOW,
                                   .deadline = NOW + 1000};
        struct slice want = bytes_of(row, "s", s, sizeof s), who;
        struct buf mine;

        snprintf(seed, sizeof seed, "ed25519 %.*s\n", SLICE_FMT(text_of(row, "seed")));
        put_file(seed, 0600);
        k = producer_key_load(path, &err);
        assert_non_null(k);
        producer_key_public(k, hex);
        assert_true(slice_is(text_of(row, "key"), hex));
        buf_init(&mine, 200);
        assert_true(producer_sign(k, prefix, queue, name, job.j, &mine));
        assert_true(slice_eq(buf_slice(&mine), want));
        assert_true(producer_split(want, &job.signature, &who));
        assert_true(slice_eq(who, name));
        snprintf(id, sizeof id, "%.*s:1", SLICE_FMT(name));
        job.id = slice_cstr(id);
        assert_true(producer_check(p, &job, NOW, DEDUP, &err));
        buf_deinit(&mine);
        producer_key_free(k);
        producer_free(p);
    }
    assert_int_equal(n, 2);
    json_free(doc);
}

/* ---- what is checked, on a job that is good but for one thing ---- */

struct bench {
    struct producer *p;
    struct producer_job job;
    struct slice connections[3];
    char s[100];
};

static void good(struct bench *b)
{
    struct err err = {0};
    struct producer_key *k;
    char hex[PRODUCER_KEY_HEX + 1];
    struct slice who;
    struct buf s;

    unlink(path);
    assert_true(producer_key_create(path, &err));
    k = producer_key_load(path, &err);
    producer_key_public(k, hex);
    b->p = make(SLICE_LIT("shop"), slice_cstr(hex), &err);
    assert_non_null(b->p);
    for (size_t i = 0; i < ARRAY_LEN(b->connections); i++)
        b->connections[i] = SLICE_LIT("crm-7");
    b->job = (struct producer_job){.prefix = SLICE_LIT("awq"),
                                   .queue = SLICE_LIT("default"),
                                   .j = SLICE_LIT("bytes"),
                                   .id = SLICE_LIT("shop:1"),
                                   .connections = b->connections,
                                   .connection_count = 3,
                                   .out = SLICE_LIT("results"),
                                   .iat = NOW,
                                   .deadline = NOW + 540000};
    buf_init(&s, sizeof b->s);
    assert_true(producer_sign(k, b->job.prefix, b->job.queue, SLICE_LIT("shop"), b->job.j, &s));
    memcpy(b->s, s.ptr, s.len);
    assert_true(producer_split(slice_of(b->s, s.len), &b->job.signature, &who));
    buf_deinit(&s);
    producer_key_free(k);
}

static void refuses(struct bench *b, const char *rule)
{
    struct err err = {0};

    assert_false(producer_check(b->p, &b->job, NOW, DEDUP, &err));
    assert_string_equal(err.rule, rule);
    assert_int_equal(err.code, ERR_DENIED);
    producer_free(b->p);
    good(b);
}

static void test_check(void **state)
{
    struct bench b;
    struct err err = {0};

    (void)state;
    good(&b);
    assert_true(producer_check(b.p, &b.job, NOW, DEDUP, &err));
    b.job.out = SLICE_NONE;
    b.job.iat = NOW + 60000; /* its clock is ahead */
    b.job.deadline = NOW + 600000;
    assert_true(producer_check(b.p, &b.job, NOW, DEDUP, &err));
    b.job.iat = NOW + 60001;
    refuses(&b, "producer_time");
    b.job.deadline = NOW + 540001;
    refuses(&b, "producer_time");
    b.job.iat = 0;
    refuses(&b, "producer_time");
    b.job.deadline = 0;
    refuses(&b, "producer_time");
    b.job.id = SLICE_LIT("shop2:1");
    refuses(&b, "producer_id");
    b.job.id = SLICE_LIT("shop:");
    refuses(&b, "producer_id");
    b.connections[0] = SLICE_LIT("crm");
    refuses(&b, "producer_connection");
    b.connections[2] = SLICE_LIT("ones"); /* of its last step */
    refuses(&b, "producer_connection");
    b.job.out = SLICE_LIT("result");
    refuses(&b, "producer_out");
    b.job.queue = SLICE_LIT("fast");
    refuses(&b, "signature_bad");
    b.job.j = SLICE_LIT("Bytes");
    refuses(&b, "signature_bad");
    b.s[3] ^= 1;
    refuses(&b, "signature_bad");
    b.job.signature.len--;
    refuses(&b, "signature_bad");
    producer_free(b.p);
}

static void test_split(void **state)
{
    char s[100] = {0};
    struct slice sig, name;

    (void)state;
    memset(s, 'x', sizeof s);
    assert_false(producer_split(slice_of(s, 64), &sig, &name));
    assert_false(producer_split(slice_of(s, SEAL_MAC_BYTES), &sig, &name));
    assert_true(producer_split(slice_of(s, 96), &sig, &name));
    assert_false(producer_split(slice_of(s, 97), &sig, &name));
    s[70] = ':';
    assert_false(producer_split(slice_of(s, 80), &sig, &name));
}

/* ---- records ---- */

static void test_record(void **state)
{
    static const char huge[20000] = {0};
    struct keyring *k;
    struct err err = {0};
    struct buf json, record;
    struct producer *p, *again;
    char key[PRODUCER_KEY_HEX + 1];

    (void)state;
    unlink(path);
    assert_true(keyring_create(path, &err));
    k = keyring_load(path, &err);
    assert_non_null(k);
    memset(key, 'a', PRODUCER_KEY_HEX);
    assert_null(make(SLICE_LIT("shop"), slice_of(key, PRODUCER_KEY_HEX), &err)); /* no point */
    memcpy(key, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
           PRODUCER_KEY_HEX); /* RFC 8032 section 7.1, test 1 */
    p = make(SLICE_LIT("shop"), slice_of(key, PRODUCER_KEY_HEX), &err);
    assert_non_null(p);
    buf_init(&json, PRODUCER_RECORD_MAX);
    buf_init(&record, PRODUCER_RECORD_MAX);
    assert_true(producer_to_json(&json, p));
    assert_true(
        producer_record(k, SLICE_LIT("awq"), SLICE_LIT("shop"), buf_slice(&json), &record, &err));
    again = producer_open(k, SLICE_LIT("awq"), SLICE_LIT("shop"), buf_slice(&record), &err);
    assert_non_null(again);
    assert_int_equal(again->connection_count, 2);
    assert_null(producer_open(k, SLICE_LIT("awq"), SLICE_LIT("crm"), buf_slice(&record), &err));
    assert_null(producer_open(k, SLICE_LIT("awq2"), SLICE_LIT("shop"), buf_slice(&record), &err));
    record.ptr[record.len - 3] ^= 1;
    assert_null(producer_open(k, SLICE_LIT("awq"), SLICE_LIT("shop"), buf_slice(&record), &err));
    assert_string_equal(err.rule, "producer_broken");
    assert_null(producer_open(k, SLICE_LIT("awq"), SLICE_LIT("shop"), SLICE_LIT("{}"), &err));
    assert_null(
        producer_open(k, SLICE_LIT("awq"), SLICE_LIT("shop"), slice_of(huge, sizeof huge), &err));
    assert_int_equal(err.code, ERR_FORMAT);
    producer_free(p);
    producer_free(again);
    buf_deinit(&json);
    buf_deinit(&record);
    keyring_free(k);
}

static void test_records_that_are_none(void **state)
{
    static const char zz[] = "{\"key\":\"zz\",\"queues\":[\"a\"],\"connections\":[\"a\"],\"outs\":["
                             "\"a\"],\"inbox\":true}";
    static const char *const bad[] = {"", "[]", "{}", "{\"key\":1}", zz};
    struct err err = {0};
    char key[PRODUCER_KEY_HEX + 1] = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(producer_parse(SLICE_LIT("shop"), slice_cstr(bad[i]), &err));
    memset(key, 'A', PRODUCER_KEY_HEX);
    assert_null(make(SLICE_LIT("shop"), slice_of(key, PRODUCER_KEY_HEX), &err));
    memset(key, 'a', PRODUCER_KEY_HEX);
    assert_null(make(SLICE_LIT("a:b"), slice_of(key, PRODUCER_KEY_HEX), &err));
}

static void test_key_files(void **state)
{
    struct err err = {0};
    struct stat st;

    (void)state;
    unlink(path);
    assert_true(producer_key_create(path, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_false(producer_key_create(path, &err)); /* never over another one */
    assert_null(producer_key_load("/nonexistent", &err));
    put_file("ed25519 00\n", 0600);
    assert_null(producer_key_load(path, &err));
    put_file("rsa 9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n", 0600);
    assert_null(producer_key_load(path, &err));
    put_file("ed25519 9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\n", 0644);
    assert_null(producer_key_load(path, &err)); /* others can read it */
    assert_null(strstr(err.msg, "9d61"));
    chmod(path, 0600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_records_that_are_none),
        cmocka_unit_test(test_key_files),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, name_path, drop_path);
}

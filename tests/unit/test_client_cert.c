/* Client certificates: what is taken, what is kept, what is said of them. */
#include "common/client_cert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>
#include "common/clock.h"
#include "common/secret.h"
#include "tests/unit/cert_rig.h"

/* A certificate of RFC 8705 appendix A and its thumbprint. */
static const char rfc_cert[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBBjCBrAIBAjAKBggqhkjOPQQDAjAPMQ0wCwYDVQQDDARtdGxzMB4XDTE4MTAx\n"
                               "ODEyMzcwOVoXDTIyMDUwMjEyMzcwOVowDzENMAsGA1UEAwwEbXRsczBZMBMGByqG\n"
                               "SM49AgEGCCqGSM49AwEHA0IABNcnyxwqV6hY8QnhxxzFQ03C7HKW9OylMbnQZjjJ\n"
                               "/Au08/coZwxS7LfA4vOLS9WuneIXhbGGWvsDSb0tH6IxLm8wCgYIKoZIzj0EAwID\n"
                               "SQAwRgIhAP0RC1E+vwJD/D1AGHGzuri+hlV/PpQEKTWUVeORWz83AiEA5x2eXZOV\n"
                               "bUlJSGQgjwD5vaUaKlLR50Q2DmFfQj1L+SY=\n"
                               "-----END CERTIFICATE-----\n";
static const char rfc_x5t[] = "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0";

struct made {
    struct buf cert, key, out;
};

static void make(struct made *m, const char *name, int days, unsigned bits)
{
    buf_init(&m->cert, CLIENT_CERT_PEM_MAX);
    buf_init(&m->key, CLIENT_CERT_PEM_MAX);
    buf_init(&m->out, CLIENT_CERT_PEM_MAX);
    cert_make(name, days, bits, &m->cert, &m->key);
}

static void unmake(struct made *m)
{
    buf_deinit(&m->cert);
    buf_wipe(&m->key);
    buf_wipe(&m->out);
}

static void test_thumbprint_of_the_rfc(void **state)
{
    static const char key[] = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n";
    struct client_cert *c;
    struct err err = {0};
    struct buf packed;
    char day[CLIENT_CERT_DAY];

    (void)state;
    buf_init(&packed, CLIENT_CERT_PEM_MAX);
    buf_add_cstr(&packed, rfc_cert);
    buf_add_cstr(&packed, key);
    c = client_cert_open(buf_slice(&packed), NULL, &err);
    assert_non_null(c);
    assert_string_equal(client_cert_x5t(c), rfc_x5t);
    assert_string_equal(client_cert_subject(c), "CN=mtls");
    client_cert_day(c, day);
    assert_string_equal(day, "2022-05-02");
    assert_true(slice_is(client_cert_chain(c), rfc_cert));
    assert_true(slice_is(client_cert_key(c), key));
    client_cert_unref(c);
    buf_deinit(&packed);
}

/* The issuers come along, in their order, and what stands between is left out. */
static void test_chain(void **state)
{
    struct made leaf, issuer;
    struct client_cert *c;
    struct err err = {0};
    struct buf file, want;
    bool of_key;

    (void)state;
    make(&leaf, "leaf", 10, 0);
    make(&issuer, "issuer", 10, 2048);
    buf_init(&file, CLIENT_CERT_PEM_MAX);
    buf_init(&want, CLIENT_CERT_PEM_MAX);
    buf_addf(&file, "Bag Attributes\n%s\nsubject=issuer\n%s", leaf.cert.ptr, issuer.cert.ptr);
    buf_addf(&want, "%s%s", leaf.cert.ptr, issuer.cert.ptr);
    assert_true(client_cert_pack(buf_slice(&file), buf_slice(&leaf.key), &leaf.out, &of_key, &err));
    c = client_cert_open(buf_slice(&leaf.out), NULL, &err);
    assert_non_null(c);
    assert_string_equal(client_cert_subject(c), "CN=leaf");
    assert_true(slice_eq(client_cert_chain(c), buf_slice(&want)));
    assert_true(slice_eq(client_cert_key(c), buf_slice(&leaf.key)));
    assert_true(client_cert_until_ms(c) > clock_wall_ms() + 9 * INT64_C(86400000));
    client_cert_unref(client_cert_ref(c));
    client_cert_unref(c);
    buf_deinit(&file);
    buf_deinit(&want);
    unmake(&leaf);
    unmake(&issuer);
}

static void test_refused(void **state)
{
    static const char encrypted[] =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIHs\n-----END ENCRYPTED PRIVATE KEY-----\n";
    struct made good, other, small;
    struct err err;
    bool of_key;

    (void)state;
    make(&good, "good", 10, 0);
    make(&other, "other", 10, 0);
    make(&small, "small", 10, 1024);
    const struct {
        struct slice cert, key;
        bool of_key;
        const char *says;
    } rows[] = {
        {SLICE_LIT(""), buf_slice(&good.key), false, "no certificate in PEM"},
        {SLICE_LIT("hunter2"), buf_slice(&good.key), false, "no certificate in PEM"},
        {buf_slice(&good.key), buf_slice(&good.key), false, "no certificate in PEM"},
        {buf_slice(&good.cert), SLICE_LIT("hunter2"), true, "no private key in PEM"},
        {buf_slice(&good.cert), SLICE_LIT(""), true, "no private key in PEM"},
        {buf_slice(&good.cert), slice_cstr(encrypted), true, "it is encrypted"},
        {buf_slice(&good.cert), buf_slice(&other.key), true, "not the key of the first"},
        {buf_slice(&small.cert), buf_slice(&small.key), false, "ee key too small"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        err = (struct err){0};
        of_key = !rows[i].of_key;
        assert_false(client_cert_pack(rows[i].cert, rows[i].key, &good.out, &of_key, &err));
        if (err.code != ERR_CONFIG || !strstr(err.msg, rows[i].says) || of_key != rows[i].of_key ||
            strstr(err.msg, "hunter2"))
            fail_msg("row %zu: %s", i, err.msg);
        buf_clear(&good.out);
    }
    assert_null(client_cert_open(SLICE_LIT("x"), NULL, &err));
    assert_null(client_cert_open(SLICE_NONE, NULL, &err));
    unmake(&good);
    unmake(&other);
    unmake(&small);
}

/* Its key takes its place there, and gives it back; a pool that is full says "again". */
static void test_pool(void **state)
{
    struct err err = {0};
    struct secret_pool *pool = secret_pool_new(64 * 1024, &err);
    struct client_cert *certs[600], *c;
    struct made m;
    size_t n = 0;
    bool of_key;

    (void)state;
    make(&m, "m", 10, 0);
    assert_true(client_cert_pack(buf_slice(&m.cert), buf_slice(&m.key), &m.out, &of_key, &err));
    while (n < ARRAY_LEN(certs) && (c = client_cert_open(buf_slice(&m.out), pool, &err)))
        certs[n++] = c;
    assert_true(n > 100 && n < ARRAY_LEN(certs));
    assert_int_equal(err.code, ERR_RETRY);
    while (n > 0)
        client_cert_unref(certs[--n]);
    assert_int_equal(secret_pool_used(pool), 0);
    unmake(&m);
    secret_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thumbprint_of_the_rfc),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_pool),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

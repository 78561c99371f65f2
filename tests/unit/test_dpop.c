/* dpop.c: what a proof says, the examples of RFC 9449, RFC 7638 by way of RFC 8037, and nonces.
 * That servers take them is seen by tests/integration/test_55_dpop.py. */
#include "common/dpop.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>
#include "common/json.h"

/* RFC 8037 appendix A.1 */
static const char ed25519[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                              "-----END PRIVATE KEY-----\n";

static struct dpop_key *key_of(enum jwt_alg alg)
{
    struct dpop_key *k;
    struct err err = {0};
    struct buf pem;

    buf_init(&pem, 4096);
    assert_true(dpop_key_make(alg, &pem, &err));
    k = dpop_key_open(buf_slice(&pem), alg, &err);
    assert_non_null(k);
    buf_wipe(&pem);
    return k;
}

static void test_thumbprint(void **state)
{
    struct dpop_key *k = dpop_key_open(slice_cstr(ed25519), JWT_EDDSA, NULL);

    (void)state;
    assert_non_null(k);
    assert_string_equal(dpop_key_jkt(k), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"); /* A.3 */
    dpop_key_free(k);
}

static void test_keys_are_new(void **state)
{
    struct dpop_key *a = key_of(JWT_ES256), *b = key_of(JWT_ES256), *c = key_of(JWT_EDDSA);
    struct err err = {0};

    (void)state;
    assert_string_not_equal(dpop_key_jkt(a), dpop_key_jkt(b));
    assert_int_equal(strlen(dpop_key_jkt(c)), DPOP_JKT_CHARS);
    assert_null(dpop_key_open(slice_cstr(ed25519), JWT_ES256, &err));
    assert_non_null(strstr(err.msg, "EdDSA"));
    dpop_key_free(a);
    dpop_key_free(b);
    dpop_key_free(c);
}

static void claims_are(const struct dpop_request *r, const char *want)
{
    struct dpop_key *k = dpop_key_open(slice_cstr(ed25519), JWT_EDDSA, NULL);
    struct buf header, claims;

    buf_init(&header, 4096);
    buf_init(&claims, 4096);
    assert_true(dpop_json(k, r, "-BwC3ESc6acc2lTc", 1562262616999, &header, &claims));
    assert_true(
        slice_is(buf_slice(&header),
                 "{\"typ\":\"dpop+jwt\",\"alg\":\"EdDSA\",\"jwk\":{\"crv\":\"Ed25519\","
                 "\"kty\":\"OKP\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}}"));
    if (!slice_is(buf_slice(&claims), want))
        fail_msg("%.*s", SLICE_FMT(buf_slice(&claims)));
    buf_deinit(&header);
    buf_deinit(&claims);
    dpop_key_free(k);
}

static void test_what_it_says(void **state)
{
    const struct dpop_request token = {.method = "POST",
                                       .url = SLICE_LIT("https://server.example.com/token?a=b#c")};
    const struct dpop_request call = {
        /* section 7.1 */
        .method = "GET",
        .url = SLICE_LIT("https://resource.example.org/protectedresource"),
        .access_token = SLICE_LIT("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"),
        .nonce = SLICE_LIT("eyJ7S_zG.eyJH0-Z.HX4w-7v"),
    };

    (void)state;
    claims_are(&token, "{\"jti\":\"-BwC3ESc6acc2lTc\",\"htm\":\"POST\","
                       "\"htu\":\"https://server.example.com/token\",\"iat\":1562262616}");
    claims_are(&call, "{\"jti\":\"-BwC3ESc6acc2lTc\",\"htm\":\"GET\","
                      "\"htu\":\"https://resource.example.org/protectedresource\","
                      "\"iat\":1562262616,\"ath\":\"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo\","
                      "\"nonce\":\"eyJ7S_zG.eyJH0-Z.HX4w-7v\"}");
}

static void test_each_proof_is_new(void **state)
{
    const struct dpop_request r = {.method = "GET", .url = SLICE_LIT("https://a.example/")};
    struct dpop_key *k = key_of(JWT_ES256);
    struct buf a, b;

    (void)state;
    buf_init(&a, DPOP_PROOF_MAX);
    buf_init(&b, DPOP_PROOF_MAX);
    assert_true(dpop_proof(k, &r, 0, &a, NULL) && dpop_proof(k, &r, 0, &b, NULL));
    assert_false(slice_eq(buf_slice(&a), buf_slice(&b)));
    buf_deinit(&a);
    buf_deinit(&b);
    dpop_key_free(k);
}

static void test_nonces(void **state)
{
    char nonce[DPOP_NONCE_MAX + 1] = "", long_one[DPOP_NONCE_MAX + 2];

    (void)state;
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    dpop_take_nonce(nonce, SLICE_LIT("eyJ7S_zG.eyJH0-Z.HX4w-7v"));
    assert_string_equal(nonce, "eyJ7S_zG.eyJH0-Z.HX4w-7v");
    dpop_take_nonce(nonce, SLICE_NONE);
    dpop_take_nonce(nonce, SLICE_LIT("a b"));
    dpop_take_nonce(nonce, SLICE_LIT("a\"b"));
    dpop_take_nonce(nonce, slice_cstr(long_one));
    assert_string_equal(nonce, "eyJ7S_zG.eyJH0-Z.HX4w-7v");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_thumbprint),   cmocka_unit_test(test_keys_are_new),
        cmocka_unit_test(test_what_it_says), cmocka_unit_test(test_each_proof_is_new),
        cmocka_unit_test(test_nonces),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

/* The RFCs' own examples that cannot be repeated byte for byte, for an ECDSA signature is another
 * each time: ours and theirs are verified by libcrypto instead. RFC 7515 appendix A.3 to A.5, RFC
 * 9449 sections 4.1 and 6.1, RFC 7523 sections 2.1 and 2.2. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <sodium.h>
#include "common/dpop.h"
#include "common/jwt.h"
#include "common/oauth_code.h"

#define JOE "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
#define JOE_JWS                                                                                    \
    "eyJhbGciOiJFUzI1NiJ9."                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ."
#define JOE_SIGNATURE                                                                              \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define JOE_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define JOE_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
/* The key of A.3.1 in PKCS #8. */
static const char joe_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff\n"
                              "H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp\n"
                              "7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt\n"
                              "-----END PRIVATE KEY-----\n";

#define PROOF_X "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"
#define PROOF_Y "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"
#define PROOF                                                                                      \
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNo" \
    "UklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERW" \
    "clUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh" \
    "0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8" \
    "v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"

static size_t from64(struct slice text, unsigned char *to, size_t size)
{
    size_t len = 0;

    assert_int_equal(sodium_base642bin(to, size, text.ptr, text.len, NULL, &len, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    return len;
}

static EVP_PKEY *public_key(const char *x, const char *y)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    unsigned char point[65] = {4};
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params;

    assert_int_equal(from64(slice_cstr(x), point + 1, 32), 32);
    assert_int_equal(from64(slice_cstr(y), point + 33, 32), 32);
    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0);
    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point);
    params = OSSL_PARAM_BLD_to_param(build);
    assert_true(EVP_PKEY_fromdata_init(ctx) > 0 &&
                EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) > 0);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    return key;
}

/* RFC 7518 section 3.4: R and S, 32 bytes each; libcrypto wants them in DER. */
static bool verifies(struct slice jws, const char *x, const char *y)
{
    size_t dot = slice_find(jws, '.');
    struct slice rest = slice_sub(jws, dot + 1, jws.len);
    struct slice input = slice_sub(jws, 0, dot + 1 + slice_find(rest, '.'));
    unsigned char raw[64], *der = NULL;
    EVP_PKEY *key = public_key(x, y);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *sig = ECDSA_SIG_new();
    int len;
    bool ok;

    assert_int_equal(from64(slice_sub(jws, input.len + 1, jws.len), raw, sizeof raw), 64);
    ECDSA_SIG_set0(sig, BN_bin2bn(raw, 32, NULL), BN_bin2bn(raw + 32, 32, NULL));
    len = i2d_ECDSA_SIG(sig, &der);
    EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key);
    ok = EVP_DigestVerify(ctx, der, (size_t)len, (const unsigned char *)input.ptr, input.len) == 1;
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return ok;
}

static void test_es256(void **state)
{
    struct err err = {0};
    struct jwt_key *k = jwt_key_pem(slice_cstr(joe_pem), JWT_ES256, &err);
    struct buf out;

    (void)state;
    assert_non_null(k);
    buf_init(&out, 4096);
    assert_true(verifies(SLICE_LIT(JOE_JWS JOE_SIGNATURE), JOE_X, JOE_Y));
    assert_true(jwt_sign(k, SLICE_LIT("{\"alg\":\"ES256\"}"), SLICE_LIT(JOE), &out, &err));
    assert_memory_equal(out.ptr, JOE_JWS, strlen(JOE_JWS));
    assert_true(verifies(buf_slice(&out), JOE_X, JOE_Y));
    out.ptr[30] ^= 1;
    assert_false(verifies(buf_slice(&out), JOE_X, JOE_Y));
    buf_clear(&out);
    assert_true(jwt_key_jwk(k, &out)); /* members in the order of RFC 7638 section 3.3 */
    assert_string_equal(out.ptr, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" JOE_X
                                 "\",\"y\":\"" JOE_Y "\"}");
    buf_deinit(&out);
    jwt_key_free(k);
}

/* A.4 has ES512 and A.5 no signature at all: neither is one of ours. */
static void test_others_are_refused(void **state)
{
    EVP_PKEY *p521 = EVP_EC_gen("P-521");
    BIO *bio = BIO_new(BIO_s_mem());
    enum jwt_alg alg = JWT_ALG_OF_KEY;
    struct err err = {0};
    char *pem = NULL;
    long len;

    (void)state;
    PEM_write_bio_PrivateKey(bio, p521, NULL, NULL, 0, NULL, NULL);
    len = BIO_get_mem_data(bio, &pem);
    assert_null(jwt_key_pem(slice_of(pem, (size_t)len), JWT_ALG_OF_KEY, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_false(jwt_alg_parse(SLICE_LIT("ES512"), &alg));
    assert_false(jwt_alg_parse(SLICE_LIT("none"), &alg));
    assert_false(jwt_alg_parse(SLICE_LIT(""), &alg));
    BIO_free(bio);
    EVP_PKEY_free(p521);
}

/* Their proof verifies; ours says the same of the same request, word for word. */
static void test_dpop_proof(void **state)
{
    const struct dpop_request r = {.method = "POST",
                                   .url = SLICE_LIT("https://server.example.com/token")};
    struct slice proof = SLICE_LIT(PROOF), header, claims;
    struct err err = {0};
    struct dpop_key *k = dpop_key_open(slice_cstr(joe_pem), JWT_ES256, &err);
    struct buf our_header, our_claims, ours;
    unsigned char text[512];
    size_t len;

    (void)state;
    assert_true(verifies(proof, PROOF_X, PROOF_Y));
    slice_cut(&proof, '.', &header);
    slice_cut(&proof, '.', &claims);
    buf_init(&our_header, 4096);
    buf_init(&our_claims, 4096);
    buf_init(&ours, DPOP_PROOF_MAX);
    assert_true(dpop_json(k, &r, "-BwC3ESc6acc2lTc", 1562262616000, &our_header, &our_claims));
    len = from64(claims, text, sizeof text);
    assert_true(slice_eq(slice_of(text, len), buf_slice(&our_claims)));
    len = from64(header, text, sizeof text);
    assert_true(
        slice_eq(slice_of(text, len),
                 SLICE_LIT("{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{\"kty\":\"EC\","
                           "\"x\":\"" PROOF_X "\",\"y\":\"" PROOF_Y "\",\"crv\":\"P-256\"}}")));
    assert_string_equal(our_header.ptr,
                        "{\"typ\":\"dpop+jwt\",\"alg\":\"ES256\",\"jwk\":{\"crv\":"
                        "\"P-256\",\"kty\":\"EC\",\"x\":\"" JOE_X "\",\"y\":\"" JOE_Y "\"}}");
    assert_true(dpop_proof(k, &r, 0, &ours, &err));
    assert_true(verifies(buf_slice(&ours), JOE_X, JOE_Y));
    buf_deinit(&our_header);
    buf_deinit(&our_claims);
    buf_deinit(&ours);
    dpop_key_free(k);
}

/* Section 6.1: the thumbprint of that proof's key, from the same form that a key of ours is put in.
 */
static void test_thumbprint(void **state)
{
    static const char jwk[] =
        "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"" PROOF_X "\",\"y\":\"" PROOF_Y "\"}";
    unsigned char hash[crypto_hash_sha256_BYTES];
    char jkt[DPOP_JKT_CHARS + 1];

    (void)state;
    crypto_hash_sha256(hash, (const unsigned char *)jwk, strlen(jwk));
    sodium_bin2base64(jkt, sizeof jkt, hash, sizeof hash, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    assert_string_equal(jkt, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

/* RFC 7523: the requests of sections 2.1 and 2.2, with a word for what is signed. */
static void test_assertion_requests(void **state)
{
    const struct connection_cfg grant = {.grant = GRANT_JWT_BEARER, .auth = CLIENT_AUTH_NONE};
    const struct connection_cfg client = {.grant = GRANT_AUTHORIZATION_CODE,
                                          .auth = CLIENT_AUTH_PRIVATE_KEY_JWT,
                                          .profile = {.no_pkce = true},
                                          .shown = true};
    static const struct oauth_code q = {.verifier = "V"};
    struct oauth_request rq;
    struct err err = {0};

    (void)state;
    assert_true(oauth_request_build_from(
        &rq, &grant, SLICE_NONE, SLICE_LIT("eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0"), 0, &err));
    assert_string_equal(rq.body.ptr, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-"
                                     "bearer&assertion=eyJhbGciOiJFUzI1NiIsImtpZCI6IjE2In0");
    oauth_request_deinit(&rq);
    assert_true(oauth_code_request(&rq, &client, &q, SLICE_LIT("key"),
                                   SLICE_LIT("n0esc3NRze7LTCu7iYzS6a5acc3f0ogp4"),
                                   SLICE_LIT("http://r"), 0, &err));
    assert_string_equal(
        rq.body.ptr,
        "grant_type=authorization_code&code=n0esc3NRze7LTCu7iYzS6a5acc3f0ogp4&redirect_uri=http%3A"
        "%2F%2Fr&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-"
        "bearer&client_assertion=CLIENT_ASSERTION");
    oauth_request_deinit(&rq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_es256),
        cmocka_unit_test(test_others_are_refused),
        cmocka_unit_test(test_dpop_proof),
        cmocka_unit_test(test_thumbprint),
        cmocka_unit_test(test_assertion_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

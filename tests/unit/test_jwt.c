/* jwt.c: the examples of RFC 7515 and RFC 8037, and keys that are none. PS256 and ES256 are other
 * bytes each time: the tests with a real authorization server see that it takes them. */
#include "common/jwt.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

/* RFC 7515 appendix A.2 */
static const char rsa[] = "-----BEGIN RSA PRIVATE KEY-----\n"
                          "MIIEowIBAAKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0\n"
                          "l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pC\n"
                          "gNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSX\n"
                          "ndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD\n"
                          "Zlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8\n"
                          "q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQABAoIBABKucaRpzQorw35S\n"
                          "bEUAVx8dYXUdZOlJcHtiWQ+dC6V8ljxAHj/PLyzTveyI5QO/xkObCyjIL303l2cf\n"
                          "UhPu2MFaJdjVzqACXuOrLot/eSFvxjvqVidTtAZExqFRJ9mylUVAoLvhowVWmC1O\n"
                          "n95fZCXxTUtxNEG1Xcc7m0rtzJKs45J+N/V9DP1edYH6USyPSWGp6wuA+KgHRnKK\n"
                          "Vf9GRx80JQY7nVNkL17eHoTWEwga+lwi0FEoW9Y7lDtWXYmKBWhUE+U8PGxlJf8f\n"
                          "40493HDw1WRQ/aSLoS4QTp3rn7gYgeHEvfJdkkf0UMhlknlo53M09EFPdadQ4TlU\n"
                          "bjqKc50CgYEA4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH/5IB3jw3bcxGn6QLvnE\n"
                          "tfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw/Py5PJdTJNPY8cQn7ouZ2KKDcmnPG\n"
                          "BY5t7yLc1QlQ5xHdwW1VhvKn+nXqhJTBgIPgtldC+KDV5z+y2XDwGUcCgYEAuQPE\n"
                          "fgmVtjL0Uyyx88GZFF1fOunH3+7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYs\n"
                          "p1ZSe7zFYHj7C6ul7TjeLQeZD/YwD66t62wDmpe/HlB+TnBA+njbglfIsRLtXlnD\n"
                          "zQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdcCgYAHAp9XcCSrn8wVkMVkKdb7\n"
                          "DOX4IKjzdahm+ctDAJN4O/y7OW5FKebvUjdAIt2GuoTZ71iTG+7F0F+lP88jtjP4\n"
                          "U4qe7VHoewl4MKOfXZKTe+YCS1XbNvfgwJ3Ltyl1OH9hWvu2yza7q+d5PCsDzqtm\n"
                          "27kxuvULVeya+TEdAB1ijQKBgQCH/3r6YrVH/uCWGy6bzV1nGNOdjKc9tmkfOJmN\n"
                          "54dxdixdpozCQ6U4OxZrsj3FcOhHBsqAHvX2uuYjagqvo3cOj1TRqNocX40omfCC\n"
                          "Mx3bD1yPPf/6TI2XECva/ggqEY2mYzmIiA5LVVmc5nrybr+lssFKneeyxN2Wq93S\n"
                          "0iJMdQKBgCGHewxzoa1r8ZMD0LETNrToK423K377UCYqXfg5XMclbrjPbEC3YI1Z\n"
                          "NqMtuhdBJqUnBi6tjKMF+34Xf0CUN8ncuXGO2CAYvO8PdyCixHX52ybaDjy1FtCE\n"
                          "6yUXjoKNXKvUm7MWGsAYH6f4IegOetN5NvmUMFStCSkh7ixZLkN1\n"
                          "-----END RSA PRIVATE KEY-----\n";
/* RFC 8037 appendix A.1 */
static const char ed25519[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
                              "-----END PRIVATE KEY-----\n";
/* of nobody */
static const char p256[] = "-----BEGIN EC PRIVATE KEY-----\n"
                           "MHcCAQEEIG9VaubDnOG2BoVf7nu584tpid7dopRFyjVz68XmjK3loAoGCCqGSM49\n"
                           "AwEHoUQDQgAEY7tfweC8v2NUNfOf5NDsELzXhwKC4RRZ1vM0AAfN7KyVYbpXYENn\n"
                           "+QGZYcbCrtijQhaDeUthzn0iq6AG4p6FEQ==\n"
                           "-----END EC PRIVATE KEY-----\n";
static const char p384[] = "-----BEGIN EC PRIVATE KEY-----\n"
                           "MIGkAgEBBDCfPUZvipk16ot6cQOqv6z8BH7H16ds8Gr9eCKa1sRLlL2fM+pFSz98\n"
                           "6n4GaVhvB5igBwYFK4EEACKhZANiAAT86f5AE9nA2plQCZuvNwlEkbPUZ6HTD7AE\n"
                           "xFfZbSDedsMQZpyWrrVJP928H/Qn6liKumY2qQJlZdy8pVwJdqiZbTzLC70UJ1kr\n"
                           "OsufEB6Nvx8uLIRj6SYPY1mrrt5J/ng=\n"
                           "-----END EC PRIVATE KEY-----\n";
static const char rsa_1024[] = "-----BEGIN PRIVATE KEY-----\n"
                               "MIICeAIBADANBgkqhkiG9w0BAQEFAASCAmIwggJeAgEAAoGBAN/du4WXBqAuce0T\n"
                               "J9UYMkk1qvc0akb+h1epeakfpM+ER51Uth9oyNtyxWT/pCSFhOttEZoXAMyjZWNg\n"
                               "2W6gAD2GabgrZGK2808BHURTMbSdRkEYMy9bCsvkkQKsgHgWuQ3oBmlBMa/Qa380\n"
                               "g+escs47iijcaSihz77gWyLM2YtTAgMBAAECgYEA2nc0jQX5fVBV9ZoAAUD/sdoh\n"
                               "4eTQ4j96LN5Cz/0FhU395VfJ85T6js3OPOYNdWandGiYCNvx98JtKzJUflS+ZXjd\n"
                               "W2VjJk+/JnsoiKFvK2UmcV8MZtneyl1aG+TOhGCt1kfZOnXAFDsVltMcqDwOautA\n"
                               "Zrufm/qfeba5lvsXx0ECQQD2JutDMnAf+2Vl9rGaEC043yh77/16bSioP5gGyyqu\n"
                               "7tE94FAi9QqZiWRR1Ri8UmJD7JyH3aui478I1puKnH5pAkEA6NKP7RWTyv+SqDQe\n"
                               "ihdoFuLVyl35QN4Mihj9IueWlDYv9g8Y2ZqCjcy5AePvfEra4oQArqEjAUcVrAzz\n"
                               "idg8WwJASfYvwqUpI7L6KMUTYGNz8x66n2LhGyQpj0Rsfb4WOTHxFVKNQbO3V6L8\n"
                               "zcnmANAQTrCN6BUnOW6NPC6f1epn4QJBAKdzylCa1FGMv856rfxkGVlcjKegL0WY\n"
                               "byxkDKyuJH80+gnfkd/wYTXbqLTTW8vpisSgbF0tSCADIHM+XWsnO0ECQQCZvIse\n"
                               "rjYSLY9Ye0Ppe4c+3Fp/yNW5/7UtpOBZpLbE6cWL5cIeC9r+WvkJK8cl8OYqlXIL\n"
                               "XHCVBC0NvZH9mWwK\n"
                               "-----END PRIVATE KEY-----\n";
static const char encrypted[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
                                "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAj95speNo4E8wICCAAw\n"
                                "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFTHMd01huSInv7nc4QqNzkEgZBM\n"
                                "6FF6s6tqVWCIvlqcCIXpfp6jsx7mecJQekuTeyjZQQT/Jowkov+kh29Wl2MGPgvK\n"
                                "v9aHkDkEbe/j229sz9Q1LpEWffM/qF9kBAHC9BTIKOxaOgowx55DnfiPnekId7FM\n"
                                "CG4KnNR2JPgtmbTUSISPxmvXH49/BSLVBrlqKD8c1o5E0vD9unjsybqeG8RzoOk=\n"
                                "-----END ENCRYPTED PRIVATE KEY-----\n";

static void signs(struct jwt_key *k, const char *header, const char *claims, const char *want)
{
    struct err err = {0};
    struct buf out;

    assert_non_null(k);
    buf_init(&out, 8192);
    assert_true(jwt_sign(k, slice_cstr(header), slice_cstr(claims), &out, &err));
    assert_string_equal(out.ptr, want);
    buf_deinit(&out);
    jwt_key_free(k);
}

#define JOE "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}"
#define JOE_64                                                                                     \
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV" \
    "lfQ."

static void test_hs256(void **state)
{
    char secret[64];
    struct err err = {0};
    size_t len = 0;

    (void)state;
    sodium_base642bin(
        (unsigned char *)secret, sizeof secret,
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1"
        "Z9CAow",
        86, NULL, &len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    signs(jwt_key_secret(slice_of(secret, len), &err), "{\"typ\":\"JWT\",\r\n \"alg\":\"HS256\"}",
          JOE,
          "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9" JOE_64
          "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert_null(jwt_key_secret(slice_of(secret, 31), &err)); /* RFC 7518 section 3.2 */
    assert_int_equal(err.code, ERR_CONFIG);
}

static void test_rs256(void **state)
{
    struct err err = {0};

    (void)state;
    signs(jwt_key_pem(slice_cstr(rsa), JWT_ALG_OF_KEY, &err), "{\"alg\":\"RS256\"}", JOE,
          "eyJhbGciOiJSUzI1NiJ9" JOE_64
          "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
          "O8W2Fp5"
          "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
          "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb"
          "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"
          "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
          "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
}

static void test_eddsa(void **state)
{
    struct err err = {0};

    (void)state;
    signs(jwt_key_pem(slice_cstr(ed25519), JWT_EDDSA, &err), "{\"alg\":\"EdDSA\"}",
          "Example of Ed25519 signing",
          "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-"
          "09PGcvM"
          "g3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg");
}

/* R and S of 32 bytes each, whatever zeros they begin with: 86 characters. */
static void test_es256_has_one_length(void **state)
{
    struct err err = {0};
    struct jwt_key *k = jwt_key_pem(slice_cstr(p256), JWT_ES256, &err);
    struct buf out;

    (void)state;
    assert_non_null(k);
    assert_string_equal(jwt_alg_name(jwt_key_alg(k)), "ES256");
    buf_init(&out, 1024);
    for (int i = 0; i < 600; i++) { /* one in 128 has a zero in front */
        buf_clear(&out);
        assert_true(jwt_sign(k, SLICE_LIT("h"), SLICE_LIT("c"), &out, &err));
        assert_int_equal(out.len, 2 + 1 + 2 + 1 + 86);
    }
    buf_deinit(&out);
    jwt_key_free(k);
}

static void test_keys_that_are_none(void **state)
{
    static const struct {
        const char *pem;
        enum jwt_alg alg;
        const char *says;
    } cases[] = {
        {"", JWT_ALG_OF_KEY, "no private key"},
        {"hunter2", JWT_ALG_OF_KEY, "no private key"},
        {encrypted, JWT_ALG_OF_KEY, "no private key"},
        {p384, JWT_ALG_OF_KEY, "P-256"},
        {rsa_1024, JWT_ALG_OF_KEY, "1024 bits"},
        {rsa, JWT_ES256, "RS256; alg says ES256"},
        {p256, JWT_RS256, "ES256; alg says RS256"},
        {ed25519, JWT_PS256, "EdDSA; alg says PS256"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};

        assert_null(jwt_key_pem(slice_cstr(cases[i].pem), cases[i].alg, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("case %zu says: %s", i, err.msg);
        assert_null(strstr(err.msg, "hunter2"));
    }
}

static void test_names(void **state)
{
    enum jwt_alg alg = JWT_ALG_OF_KEY;

    (void)state;
    assert_true(jwt_alg_parse(SLICE_LIT("PS256"), &alg) && alg == JWT_PS256);
    assert_false(jwt_alg_parse(SLICE_LIT("none"), &alg));
    assert_false(jwt_alg_parse(SLICE_LIT("HS256"), &alg));
    assert_false(jwt_alg_parse(SLICE_LIT(""), &alg));
    assert_string_equal(jwt_alg_name(JWT_ALG_OF_KEY), "");
}

static void test_jwk(void **state)
{
    struct jwt_key *k = jwt_key_pem(slice_cstr(p256), JWT_ES256, NULL);
    struct buf jwk;

    (void)state;
    buf_init(&jwk, 1024);
    assert_true(jwt_key_jwk(k, &jwk));
    assert_true(slice_is(buf_slice(&jwk),
                         "{\"crv\":\"P-256\",\"kty\":\"EC\","
                         "\"x\":\"Y7tfweC8v2NUNfOf5NDsELzXhwKC4RRZ1vM0AAfN7Kw\","
                         "\"y\":\"lWG6V2BDZ_kBmWHGwq7Yo0IWg3lLYc59IqugBuKehRE\"}"));
    jwt_key_free(k);
    k = jwt_key_pem(slice_cstr(rsa), JWT_RS256, NULL);
    assert_false(jwt_key_jwk(k, &jwk));
    jwt_key_free(k);
    buf_deinit(&jwk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jwk),
        cmocka_unit_test(test_hs256),
        cmocka_unit_test(test_rs256),
        cmocka_unit_test(test_eddsa),
        cmocka_unit_test(test_es256_has_one_length),
        cmocka_unit_test(test_keys_that_are_none),
        cmocka_unit_test(test_names),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

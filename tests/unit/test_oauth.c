/* oauth.c: what is asked of a token endpoint, and what each of its answers means. */
#include "common/oauth.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

static const struct connection_cfg plain = {.grant = GRANT_REFRESH_TOKEN};

#define NOW_MS 1445412420000 /* Wed, 21 Oct 2015 07:27:00 GMT */

/* ---- requests ---- */

static void test_form_encoding(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"", ""},
        {"azAZ09*-._", "azAZ09*-._"},
        {"a b", "a+b"},
        {"a+b&c=d/e:f%g~h", "a%2Bb%26c%3Dd%2Fe%3Af%25g%7Eh"},
        {" %&+\xc2\xa3\xe2\x82\xac", "+%25%26%2B%C2%A3%E2%82%AC"}, /* RFC 6749 appendix B */
        {"a\r\nb", "a%0D%0Ab"},
    };
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&out);
        assert_true(oauth_form_encode(&out, slice_cstr(cases[i].in)));
        assert_string_equal(out.ptr ? out.ptr : "", cases[i].want);
    }
    buf_clear(&out);
    assert_true(oauth_form_add(&out, "a", SLICE_LIT("1&2")));
    assert_true(oauth_form_add(&out, "b", SLICE_NONE));
    assert_string_equal(out.ptr, "a=1%262&b=");
    buf_deinit(&out);
}

static void test_requests(void **state)
{
    static const struct {
        enum grant_kind grant;
        enum client_auth auth;
        const char *client, *secret, *scopes, *refresh;
        const char *body, *basic; /* basic: id:secret as they are base64-encoded */
    } cases[] = {
        {GRANT_CLIENT_CREDENTIALS, CLIENT_AUTH_BASIC, "awq", "s", "", "",
         "grant_type=client_credentials", "awq:s"},
        {GRANT_CLIENT_CREDENTIALS, CLIENT_AUTH_BASIC, "awq", "s", "read write", "",
         "grant_type=client_credentials&scope=read+write", "awq:s"},
        {GRANT_CLIENT_CREDENTIALS, CLIENT_AUTH_POST, "a&b", "p=w", "", "",
         "grant_type=client_credentials&client_id=a%26b&client_secret=p%3Dw", NULL},
        /* no scope with a refresh token */
        {GRANT_REFRESH_TOKEN, CLIENT_AUTH_BASIC, "awq", "s", "read", "1//r+t",
         "grant_type=refresh_token&refresh_token=1%2F%2Fr%2Bt", "awq:s"},
        {GRANT_REFRESH_TOKEN, CLIENT_AUTH_NONE, "public", "", "", "rt",
         "grant_type=refresh_token&refresh_token=rt&client_id=public", NULL},
        /* servers that know no form-encoding there */
        {GRANT_REFRESH_TOKEN, CLIENT_AUTH_BASIC_RAW, "a/b", "p:\xc3\xa9 %+", "", "rt",
         "grant_type=refresh_token&refresh_token=rt", "a/b:p:\xc3\xa9 %+"},
        /* a colon in the id, bytes outside ASCII, blanks: section 2.3.1 */
        {GRANT_REFRESH_TOKEN, CLIENT_AUTH_BASIC, "https://a:1/x", "p:\xc3\xa9 %+", "", "rt",
         "grant_type=refresh_token&refresh_token=rt", "https%3A%2F%2Fa%3A1%2Fx:p%3A%C3%A9+%25%2B"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_cfg c = {
            .id = SLICE_LIT("crm"),
            .grant = cases[i].grant,
            .auth = cases[i].auth,
            .client_id = slice_cstr(cases[i].client),
            .scopes = slice_cstr(cases[i].scopes),
        };
        struct oauth_request rq;
        struct err err = {0};

        if (!oauth_request_build(&rq, &c, slice_cstr(cases[i].secret), slice_cstr(cases[i].refresh),
                                 0, &err))
            fail_msg("case %zu: %s", i, err.msg);
        assert_string_equal(rq.body.ptr, cases[i].body);
        if (cases[i].basic) {
            char clear[200] = "";
            size_t n = 0;

            assert_memory_equal(rq.authorization.ptr, "Basic ", 6);
            assert_int_equal(sodium_base642bin((unsigned char *)clear, sizeof clear - 1,
                                               rq.authorization.ptr + 6, rq.authorization.len - 6,
                                               NULL, &n, NULL, sodium_base64_VARIANT_ORIGINAL),
                             0);
            assert_string_equal(clear, cases[i].basic);
            assert_int_equal(strlen(rq.authorization.ptr), rq.authorization.len);
        } else {
            assert_int_equal(rq.authorization.len, 0);
        }
        oauth_request_deinit(&rq);
        assert_null(rq.body.ptr);
    }
}

static void test_requests_refused(void **state)
{
    struct connection_cfg c = {.id = SLICE_LIT("crm"), .client_id = SLICE_LIT("awq")};
    char *big = calloc(1, 70000);
    struct oauth_request rq;
    struct err err = {0};

    (void)state;
    assert_false(oauth_request_build(&rq, &c, SLICE_NONE, SLICE_NONE, 0, &err));
    assert_int_equal(err.code, ERR_CONFIG); /* basic without a secret */
    oauth_request_deinit(&rq);
    c.grant = GRANT_REFRESH_TOKEN;
    assert_false(oauth_request_build(&rq, &c, SLICE_LIT("s3cret"), SLICE_NONE, 0, &err));
    assert_int_equal(err.code, ERR_CONSENT);
    oauth_request_deinit(&rq);
    memset(big, 'x', 69999);
    assert_false(oauth_request_build(&rq, &c, SLICE_LIT("s3cret"), slice_cstr(big), 0, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    assert_null(strstr(err.msg, "s3cret"));
    oauth_request_deinit(&rq);
    free(big);
}

/* ---- answers ---- */

static void test_tokens(void **state)
{
    static const struct {
        const char *body, *access, *refresh, *scope;
        int64_t lifetime_ms;
    } cases[] = {
        {"{\"access_token\":\"a.b-c_d~e+f/g=\",\"token_type\":\"Bearer\",\"expires_in\":3600,"
         "\"refresh_token\":\"r 1\",\"scope\":\"read write\",\"example\":{\"x\":[1]}}",
         "a.b-c_d~e+f/g=", "r 1", "read write", 3600000}, /* RFC 6749 section 5.1 */
        {"{\"access_token\":\"a\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"token_type\":\"bearer\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"token_type\":\"BEARER\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"token_type\":null}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"refresh_token\":null}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"refresh_token\":\"\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"scope\":[\"x\",\"y\"]}", "a", "", "x y", -1},
        {"{\"access_token\":\"a\",\"scope\":\"read \\u001b]0;pwned\\u0007\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"error\":null}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"error\":\"\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"error\":false}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"error\":0}", "a", "", "", -1},
        {"\r\n {\"access_token\":\"a\"} \n", "a", "", "", -1},
        /* expires_in in all its shapes */
        {"{\"access_token\":\"a\",\"expires_in\":\"3599\"}", "a", "", "", 3599000},
        {"{\"access_token\":\"a\",\"expires_in\":1}", "a", "", "", 1000},
        {"{\"access_token\":\"a\",\"expires_in\":3599.9}", "a", "", "", 3599000},
        {"{\"access_token\":\"a\",\"expires_in\":3.6e3}", "a", "", "", 3600000},
        {"{\"access_token\":\"a\",\"expires_in\":0.5}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":0}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":-1}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":\"-5\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":\"\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":\"1h\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":\" 60\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":1e300}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":99999999999}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":\"99999999999999999999\"}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":18446744073709551615}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":9223372036854775807}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":null}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":true}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":[60]}", "a", "", "", -1},
        {"{\"access_token\":\"a\",\"expires_in\":315360000}", "a", "", "", 315360000000},
    };
    static const int statuses[] = {200, 201, 299};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t n = 0; n < ARRAY_LEN(statuses); n++) {
            struct oauth_answer a;

            oauth_answer_judge(&a, &plain, statuses[n], slice_cstr(cases[i].body),
                               SLICE_LIT("text/plain"), SLICE_LIT("5"), NOW_MS);
            if (a.outcome != OAUTH_TOKEN)
                fail_msg("%s: %s", cases[i].body, a.text);
            assert_true(slice_is(a.access_token, cases[i].access));
            assert_true(slice_is(a.refresh_token, cases[i].refresh));
            assert_true(slice_is(a.scope, cases[i].scope));
            if (a.lifetime_ms != cases[i].lifetime_ms)
                fail_msg("%s: %lld", cases[i].body, (long long)a.lifetime_ms);
            assert_string_equal(a.reason, "");
            assert_int_equal(a.retry_after_ms, 0);
            oauth_answer_deinit(&a);
            assert_int_equal(a.access_token.len, 0);
        }
    }
}

/* "SECRET" stands wherever a careless server might put something that must not get into a text. */
static void test_no_tokens(void **state)
{
    static const struct {
        int status;
        const char *body, *type;
        enum oauth_outcome outcome;
        const char *reason, *why;
    } cases[] = {
        /* 200 that is no token answer */
        {200, "", "", OAUTH_TRANSIENT, "empty", "empty body"},
        {200, "SECRET", "text/plain", OAUTH_TRANSIENT, "not_json", "not JSON"},
        {200, "<html>SECRET</html>", "text/html; charset=utf-8", OAUTH_TRANSIENT, "not_json",
         "a login page"},
        {200, "access_token=SECRET&token_type=bearer", "application/x-www-form-urlencoded",
         OAUTH_TRANSIENT, "not_json", "form text"},
        {200, "{\"access_token\":\"SECRET", "", OAUTH_TRANSIENT, "not_json", "cut short"},
        {200, "{\"access_token\":\"SECRET\"}x", "", OAUTH_TRANSIENT, "not_json", "more after it"},
        {200, "[\"SECRET\"]", "", OAUTH_TRANSIENT, "not_json", "a list"},
        {200, "null", "", OAUTH_TRANSIENT, "not_json", "null"},
        {200, "{}", "", OAUTH_TRANSIENT, "no_access_token", "nothing in it"},
        {200, "{\"data\":{\"access_token\":\"SECRET\"}}", "", OAUTH_TRANSIENT, "no_access_token",
         "nested"},
        {200, "{\"access_token\":\"\"}", "", OAUTH_TRANSIENT, "access_token_invalid", "empty"},
        {200, "{\"access_token\":null}", "", OAUTH_TRANSIENT, "access_token_invalid", "null"},
        {200, "{\"access_token\":7}", "", OAUTH_TRANSIENT, "access_token_invalid", "number"},
        {200, "{\"access_token\":{\"t\":\"SECRET\"}}", "", OAUTH_TRANSIENT, "access_token_invalid",
         "map"},
        {200, "{\"access_token\":\"SECRET x\"}", "", OAUTH_TRANSIENT, "access_token_invalid",
         "a blank"},
        {200, "{\"access_token\":\"SECRET\\r\\nX-Evil: 1\"}", "", OAUTH_TRANSIENT,
         "access_token_invalid", "a header smuggled in"},
        {200, "{\"access_token\":\"SECRET\\u0000\"}", "", OAUTH_TRANSIENT, "access_token_invalid",
         "a NUL"},
        {200, "{\"access_token\":\"SECRET\\u00e9\"}", "", OAUTH_TRANSIENT, "access_token_invalid",
         "not ASCII"},
        {200, "{\"access_token\":\"SECRET\",\"refresh_token\":5}", "", OAUTH_TRANSIENT,
         "refresh_token_invalid", "to keep the old one would be wrong"},
        {200, "{\"access_token\":\"SECRET\",\"refresh_token\":\"a\\nb\"}", "", OAUTH_TRANSIENT,
         "refresh_token_invalid", "a newline"},
        {200, "{\"access_token\":\"SECRET\",\"token_type\":\"mac\"}", "", OAUTH_CONFIG,
         "token_type", "another type"},
        {200, "{\"access_token\":\"SECRET\",\"token_type\":\"DPoP\"}", "", OAUTH_CONFIG,
         "token_type", "no proof could be sent with it"},
        {200, "{\"access_token\":\"SECRET\",\"token_type\":1}", "", OAUTH_CONFIG, "token_type",
         "a number"},
        {200, "{\"access_token\":\"SECRET\",\"token_type\":\"\"}", "", OAUTH_CONFIG, "token_type",
         "empty"},
        /* 200 with an error inside */
        {200, "{\"error\":\"invalid_grant\",\"error_description\":\"SECRET\"}", "", OAUTH_REFUSED,
         "invalid_grant", "whatever the status"},
        {200, "{\"error\":\"bad_refresh_token\"}", "", OAUTH_REFUSED, "bad_refresh_token",
         "GitHub"},
        {200, "{\"ok\":false,\"error\":\"invalid_refresh_token\"}", "", OAUTH_REFUSED,
         "invalid_refresh_token", "Slack"},
        {200, "{\"access_token\":\"SECRET\",\"error\":\"oops\"}", "", OAUTH_TRANSIENT, "oops",
         "both"},
        {200, "{\"error\":\"invalid_client\"}", "", OAUTH_CONFIG, "invalid_client", ""},
        {200, "{\"error\":{\"message\":\"SECRET\"}}", "", OAUTH_TRANSIENT, "unnamed_error", "map"},
        {200, "{\"error\":true}", "", OAUTH_TRANSIENT, "unnamed_error", "true"},
        {200, "{\"error\":42}", "", OAUTH_TRANSIENT, "42", "number"},
        /* RFC 6749 section 5.2 */
        {400, "{\"error\":\"invalid_grant\"}", "", OAUTH_REFUSED, "invalid_grant", ""},
        {401, "{\"error\":\"invalid_grant\"}", "", OAUTH_REFUSED, "invalid_grant", ""},
        {403, "{\"error\":\"invalid_grant\"}", "", OAUTH_REFUSED, "invalid_grant", ""},
        {400, "{\"error\":\"interaction_required\"}", "", OAUTH_REFUSED, "interaction_required",
         "OpenID Connect"},
        {401, "{\"error\":\"invalid_client\"}", "", OAUTH_CONFIG, "invalid_client", ""},
        {400, "{\"error\":\"unauthorized_client\"}", "", OAUTH_CONFIG, "unauthorized_client", ""},
        {400, "{\"error\":\"invalid_scope\"}", "", OAUTH_CONFIG, "invalid_scope", ""},
        {400, "{\"error\":\"unsupported_grant_type\"}", "", OAUTH_CONFIG, "unsupported_grant_type",
         ""},
        {400, "{\"error\":\"something_new\"}", "", OAUTH_CONFIG, "something_new", "unknown code"},
        {400, "{\"error\":\"temporarily_unavailable\"}", "", OAUTH_TRANSIENT,
         "temporarily_unavailable", ""},
        {400, "{\"error\":\"slow_down\"}", "", OAUTH_THROTTLED, "slow_down", "RFC 8628"},
        /* 4xx without a code */
        {400, "", "", OAUTH_TRANSIENT, "http_400", "an empty 400: the caller counts"},
        {400, "<h1>SECRET</h1>", "text/html", OAUTH_TRANSIENT, "http_400", "HTML"},
        {400, "{\"message\":\"SECRET\"}", "", OAUTH_TRANSIENT, "http_400", "no code"},
        {401, "", "", OAUTH_CONFIG, "http_401", ""},
        {403, "blocked by SECRET", "", OAUTH_TRANSIENT, "http_403", "a firewall"},
        {404, "", "", OAUTH_CONFIG, "http_404", "wrong token_url"},
        {302, "", "", OAUTH_CONFIG, "http_302", "token endpoints do not redirect"},
        {408, "", "", OAUTH_TRANSIENT, "http_408", ""},
        {425, "", "", OAUTH_TRANSIENT, "http_425", ""},
        {429, "", "", OAUTH_THROTTLED, "http_429", ""},
        {429, "{\"error\":\"invalid_grant\"}", "", OAUTH_THROTTLED, "invalid_grant",
         "not judged: a limit was met before"},
        /* 5xx never says anything about the grant */
        {500, "{\"error\":\"invalid_grant\"}", "", OAUTH_TRANSIENT, "invalid_grant", ""},
        {500, "", "", OAUTH_TRANSIENT, "http_500", ""},
        {502, "<html>SECRET", "text/html", OAUTH_TRANSIENT, "http_502", ""},
        {503, "", "", OAUTH_THROTTLED, "http_503", ""},
        {599, "{\"access_token\":\"SECRET\"}", "", OAUTH_TRANSIENT, "http_599",
         "a token with such a status is not taken"},
        {400, "{\"access_token\":\"SECRET\"}", "", OAUTH_TRANSIENT, "http_400", "nor with this"},
        /* what a careless server writes as code */
        {400, "{\"error\":\"the refresh token SECRET is bad\"}", "", OAUTH_CONFIG, "unnamed_error",
         "a sentence"},
        {400, "{\"error\":\"rt0123456789\"}", "", OAUTH_CONFIG, "unnamed_error",
         "digits: may be the token itself"},
        {400, "{\"error\":\"a\\u001b[31m\"}", "", OAUTH_CONFIG, "unnamed_error", "an escape"},
        {400, "{\"error\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         "", OAUTH_CONFIG, "unnamed_error", "65 letters"},
        {400, "{\"error\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}",
         "", OAUTH_CONFIG, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "64 letters"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct oauth_answer a;

        oauth_answer_judge(&a, &plain, cases[i].status, slice_cstr(cases[i].body),
                           slice_cstr(cases[i].type), SLICE_NONE, NOW_MS);
        if (a.outcome != cases[i].outcome || strcmp(a.reason, cases[i].reason) != 0)
            fail_msg("%d %s (%s): %d %s", cases[i].status, cases[i].body, cases[i].why,
                     (int)a.outcome, a.reason);
        assert_true(strlen(a.text) > 10);
        assert_null(strstr(a.text, "SECRET"));
        assert_null(strstr(a.reason, "SECRET"));
        assert_null(strstr(a.text, "0123"));
        assert_int_equal(a.access_token.len, 0);
        assert_int_equal(a.refresh_token.len, 0);
        assert_int_equal(a.lifetime_ms, -1);
        assert_int_equal(a.retry_after_ms, 0);
        oauth_answer_deinit(&a);
        oauth_answer_deinit(&a); /* twice is fine */
    }
}

static void test_sizes(void **state)
{
    static const struct {
        size_t token;
        enum oauth_outcome outcome;
        const char *reason;
    } cases[] = {
        {16384, OAUTH_TOKEN, ""},
        {16385, OAUTH_TRANSIENT, "access_token_invalid"},
        {200000, OAUTH_TRANSIENT, "http_200"}, /* not even parsed */
    };
    struct buf body;

    (void)state;
    buf_init(&body, 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct oauth_answer a;

        buf_clear(&body);
        buf_add_cstr(&body, "{\"access_token\":\"");
        for (size_t n = 0; n < cases[i].token; n++)
            buf_add_char(&body, 'a');
        buf_add_cstr(&body, "\"}");
        oauth_answer_judge(&a, &plain, 200, buf_slice(&body), SLICE_NONE, SLICE_NONE, NOW_MS);
        assert_int_equal(a.outcome, cases[i].outcome);
        assert_string_equal(a.reason, cases[i].reason);
        oauth_answer_deinit(&a);
    }
    buf_clear(&body); /* deep nesting is refused by the parser, not by the stack */
    for (size_t n = 0; n < 50000; n++)
        buf_add_cstr(&body, "[");
    for (size_t n = 0; n < 2; n++) {
        struct oauth_answer a;

        oauth_answer_judge(&a, &plain, 200, buf_slice(&body), SLICE_NONE, SLICE_NONE, NOW_MS);
        assert_string_equal(a.reason, "not_json");
        oauth_answer_deinit(&a);
    }
    buf_deinit(&body);
}

static void test_retry_after(void **state)
{
    static const struct {
        const char *in;
        int64_t want_ms;
    } cases[] = {
        {"", 0},
        {"30", 30000},
        {"Wed, 21 Oct 2015 07:28:00 GMT", 60000},
        {"Wed, 21 Oct 2015 07:26:00 GMT", 0}, /* already past */
        {"soon", 0},
        {"-3", 0},
        {"99999999", 86400000}, /* a day at most: somebody mistook a unit */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct oauth_answer a;

        oauth_answer_judge(&a, &plain, 429, SLICE_NONE, SLICE_NONE, slice_cstr(cases[i].in),
                           NOW_MS);
        assert_int_equal(a.outcome, OAUTH_THROTTLED);
        if (a.retry_after_ms != cases[i].want_ms)
            fail_msg("'%s': %lld", cases[i].in, (long long)a.retry_after_ms);
        oauth_answer_deinit(&a);
    }
}

/* ---- challenges ---- */

static void test_challenges(void **state)
{
    static const struct {
        const char *in;
        enum oauth_challenge want;
    } cases[] = {
        {"", CHALLENGE_NONE},
        {"Basic realm=\"x\"", CHALLENGE_NONE},
        {"Bearer", CHALLENGE_OTHER},
        {"Bearer realm=\"example\"", CHALLENGE_OTHER}, /* RFC 6750 section 3: no token was sent */
        {"Bearer realm=\"example\", error=\"invalid_token\", error_description=\"expired\"",
         CHALLENGE_INVALID_TOKEN},
        {"bearer ERROR=invalid_token", CHALLENGE_INVALID_TOKEN},
        {"Bearer error = \"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"DPoP algs=\"ES256\", error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"Bearer error=\"insufficient_scope\", scope=\"a b\"", CHALLENGE_INSUFFICIENT_SCOPE},
        {"Bearer error=\"invalid_request\"", CHALLENGE_OTHER},
        {"Bearer error=\"INVALID_TOKEN\"", CHALLENGE_OTHER},
        /* several schemes, in any order */
        {"Basic realm=\"x\", Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"Bearer error=\"invalid_token\", Basic realm=\"x\"", CHALLENGE_INVALID_TOKEN},
        {"Negotiate, Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"Negotiate abc==, Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"Negotiate YII/+~=  , Bearer error=invalid_token", CHALLENGE_INVALID_TOKEN},
        {", ,Bearer , error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"DPoP algs=\"ES256\", Bearer error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"Bearer realm=\"a\", Bearer error=\"insufficient_scope\"", CHALLENGE_INSUFFICIENT_SCOPE},
        {"Basic realm=\"x\", error=\"invalid_token\"", CHALLENGE_NONE}, /* not Bearer's */
        {"Digest realm=\"x\", nonce=\"y\", error=\"invalid_token\", Bearer", CHALLENGE_OTHER},
        /* quoted strings with what looks like more */
        {"Bearer realm=\"x, error=\\\"invalid_token\\\"\"", CHALLENGE_OTHER},
        {"Basic realm=\"Bearer error=invalid_token\"", CHALLENGE_NONE},
        {"Bearer realm=\"a\\\\\", error=\"invalid_token\"", CHALLENGE_INVALID_TOKEN},
        {"Bearer error=\"invalid\\_token\"", CHALLENGE_INVALID_TOKEN}, /* a quoted pair is its
                                                                          character */
        /* not readable from some point on: what was said before stands */
        {"Bearer error=\"invalid_token\", x=\"", CHALLENGE_INVALID_TOKEN},
        {"Bearer error=\"invalid_token", CHALLENGE_OTHER},
        {"Bearer error=", CHALLENGE_OTHER},
        {"Bearer \"", CHALLENGE_OTHER},
        {"=,=", CHALLENGE_NONE},
        {"\"\"", CHALLENGE_NONE},
        {"Bearer error=\"\\", CHALLENGE_OTHER},
        {"Bearer error=\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"",
         CHALLENGE_OTHER},
        {"Bearer error=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, "
         "error=invalid_token",
         CHALLENGE_INVALID_TOKEN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        enum oauth_challenge got = oauth_challenge_read(slice_cstr(cases[i].in));

        if (got != cases[i].want)
            fail_msg("%s: %d, not %d", cases[i].in, (int)got, (int)cases[i].want);
    }
}

/* Any cut of any challenge is read without looking past its end (sanitizers watch). */
static void test_challenges_cut(void **state)
{
    static const char text[] =
        "Negotiate abc==, Bearer realm=\"a\\\"b\", error=\"invalid_token\", DPoP algs=x";

    (void)state;
    for (size_t n = 0; n < sizeof text; n++) {
        char *exact = malloc(n > 0 ? n : 1); /* no NUL behind it */

        memcpy(exact, text, n);
        assert_true(oauth_challenge_read(slice_of(exact, n)) <= CHALLENGE_OTHER);
        free(exact);
    }
}

/* ---- renewal ---- */

static void test_renew_at(void **state)
{
    static const struct {
        int64_t born, exp, margin, earliest, latest;
        const char *why;
    } cases[] = {
        {1000000, 4600000, 60000, 4534000, 4540000, "an hour: the margin"},
        {1000000, 1003000, 60000, 1002340, 1002400, "3 s: a fifth of it"},
        {1000000, 4600000, 0, 4600000, 4600000, "no margin, no jitter"},
        {1000000, 4600000, -5, 4600000, 4600000, "nonsense is none"},
        {1000000, 1000001, 60000, 1000001, 1000001, "1 ms"},
        {0, 4600000, 60000, 4600000, 4600000, "age not known"},
        {1000000, 1000000, 60000, 1000000, 1000000, "no lifetime"},
        {5, 4, 60000, 4, 4, "expired before it was made"},
        {0, 0, 60000, 0, 0, "no token yet"},
        {1, INT64_MAX, INT64_MAX, INT64_MAX - 2946240000, INT64_MAX, "no overflow"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (uint64_t ver = 0; ver < 50; ver++) {
            int64_t at = oauth_renew_at_ms(SLICE_LIT("crm"), ver, cases[i].born, cases[i].exp,
                                           cases[i].margin);

            if (at < cases[i].earliest || at > cases[i].latest)
                fail_msg("%s: %lld", cases[i].why, (long long)at);
        }
    }
}

static void test_renew_jitter(void **state)
{
    int64_t a = oauth_renew_at_ms(SLICE_LIT("crm"), 1, 1, 3600001, 60000);
    int64_t least = INT64_MAX, most = 0;

    (void)state;
    assert_int_equal(oauth_renew_at_ms(SLICE_LIT("crm"), 1, 1, 3600001, 60000), a); /* agreed */
    for (unsigned i = 0; i < 1000; i++) {
        char id[16];
        int64_t at;

        snprintf(id, sizeof id, "c%u", i);
        at = oauth_renew_at_ms(slice_cstr(id), 1, 1, 3600001, 60000);
        least = at < least ? at : least;
        most = at > most ? at : most;
    }
    assert_true(most - least > 5500); /* spread over nearly all of the 6 s */
    assert_true(oauth_renew_at_ms(SLICE_LIT("crm"), 2, 1, 3600001, 60000) != a ||
                oauth_renew_at_ms(SLICE_LIT("crm"), 3, 1, 3600001, 60000) != a);
}

static void test_descriptions(void **state)
{
    static const struct {
        const char *body, *text;
    } cases[] = {
        {"{\"error\":\"invalid_request\",\"error_description\":\"redirect_uri did not match any of "
         "the client's registered redirect_uris\"}",
         "redirect_uri did not match any of the client's registered redirect_uris"},
        {"{\"error_description\":\"AADSTS7000215: Invalid client secret\\r\\nTrace ID: "
         "1\\u001b[31m\"}",
         "AADSTS7000215: Invalid client secret Trace ID: 1 [31m"},
        {"{\"error_description\":\"the token hunter2 is dead\"}", ""},
        {"{\"error_description\":\"the token abcdefghijklmnopqrstuvwxyz0123456 is dead\"}",
         "the token ... is dead"},
        {"{\"error_description\":\"na\xc3\xafve \xc2\x9b[1m\"}", "na ve [1m"},
        {"{\"error_description\":7}", ""},
        {"{\"error_description\":\"\"}", ""},
        {"error_description=x", ""},
        {"", ""},
    };
    static const struct slice secrets[] = {{"", 0}, {"hunter2", 7}};
    char text[120], small[40];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        oauth_description(slice_cstr(cases[i].body), secrets, 2, text, sizeof text);
        assert_string_equal(text, cases[i].text);
        oauth_description(slice_cstr(cases[i].body), secrets, 2, small, sizeof small);
        assert_true(strlen(small) < sizeof small);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form_encoding),    cmocka_unit_test(test_requests),
        cmocka_unit_test(test_requests_refused), cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_no_tokens),        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_retry_after),      cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_challenges_cut),   cmocka_unit_test(test_renew_at),
        cmocka_unit_test(test_renew_jitter),     cmocka_unit_test(test_descriptions),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

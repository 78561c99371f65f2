/* oauth_code.c: what is asked, and which answers are none. */
#include "common/oauth_code.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>

static struct connection_cfg cfg(const char *issuer)
{
    return (struct connection_cfg){
        .id = SLICE_LIT("crm"),
        .grant = GRANT_AUTHORIZATION_CODE,
        .authorize_url = SLICE_LIT("https://login.example/authorize"),
        .issuer = slice_cstr(issuer),
        .client_id = SLICE_LIT("awq client"),
        .auth = CLIENT_AUTH_POST,
        .scopes = SLICE_LIT("read write"),
    };
}

/* RFC 7636 appendix B. */
static void test_challenge(void **state)
{
    char challenge[OAUTH_VERIFIER_CHARS + 1];

    (void)state;
    oauth_code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", challenge);
    assert_string_equal(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
}

static void test_each_question_is_another(void **state)
{
    struct oauth_code a, b;

    (void)state;
    oauth_code_begin(&a);
    oauth_code_begin(&b);
    assert_int_equal(strlen(a.verifier), 43); /* RFC 7636 section 4.1: 43 to 128 */
    assert_int_equal(strlen(a.state), 43);
    assert_string_not_equal(a.verifier, b.verifier);
    assert_string_not_equal(a.state, b.state);
    assert_string_not_equal(a.state, a.verifier);
    oauth_code_deinit(&a);
    assert_string_equal(a.verifier, "");
}

static void test_url(void **state)
{
    static const struct oauth_code q = {.state = "S", .challenge = "C", .verifier = "V"};
    struct connection_cfg c = cfg(NULL);
    struct err err = {0};
    struct buf url;

    (void)state;
    buf_init(&url, 4096);
    assert_true(oauth_code_url(&url, &c, &q, SLICE_LIT("http://127.0.0.1:5/callback"), &err));
    assert_string_equal(url.ptr,
                        "https://login.example/authorize?response_type=code&client_id=awq+client"
                        "&redirect_uri=http%3A%2F%2F127.0.0.1%3A5%2Fcallback&scope=read+write"
                        "&state=S&code_challenge=C&code_challenge_method=S256");
    buf_clear(&url);
    c.authorize_url = SLICE_LIT("https://login.example/authorize?access_type=offline");
    c.scopes = SLICE_NONE;
    assert_true(oauth_code_url(&url, &c, &q, SLICE_LIT("http://127.0.0.1:5/callback"), &err));
    assert_non_null(strstr(url.ptr, "access_type=offline&response_type=code"));
    assert_null(strstr(url.ptr, "scope="));
    buf_clear(&url);
    c.resources = SLICE_LIT("https://a.example urn:b");
    assert_true(oauth_code_url(&url, &c, &q, SLICE_LIT("http://127.0.0.1:5/callback"), &err));
    assert_non_null(strstr(url.ptr, "&resource=https%3A%2F%2Fa.example&resource=urn%3Ab&state"));
    buf_deinit(&url);
}

/* RFC 9126 section 2.2: what to open is the client and the request_uri, and nothing else. */
static void test_pushed(void **state)
{
    static const struct {
        int status;
        const char *answer, *opens, *says; /* opens NULL: refused */
    } cases[] = {
        {201, "{\"request_uri\":\"urn:example:bwc4JK-ESC0w8acc191e-Y1LTC2\",\"expires_in\":60}",
         "https://login.example/authorize?client_id=awq+client&request_uri=urn%3Aexample%3Abwc4JK-"
         "ESC0w8acc191e-Y1LTC2",
         NULL},
        {200, "{\"request_uri\":\"urn:x\"}",
         "https://login.example/authorize?client_id=awq+client&request_uri=urn%3Ax", NULL},
        {201, "{}", NULL, "no request_uri"},
        {201, "{\"request_uri\":\"\"}", NULL, "no request_uri"},
        {201, "{\"request_uri\":\"a b\"}", NULL, "no request_uri"},
        {201, "{\"request_uri\":7}", NULL, "no request_uri"},
        {201, "<html>", NULL, "no request_uri"},
        {400, "{\"error\":\"invalid_request\"}", NULL,
         "answered 400: the authorization server refused: invalid_request"},
        {400, "{\"error\":\"a\\u001b[31m\"}", NULL, "an error without a readable code"},
        {500, "", NULL, "answered 500"},
        {302, "{\"request_uri\":\"urn:x\"}", NULL, "answered 302"},
    };
    struct connection_cfg c = cfg(NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct buf url;
        bool ok;

        buf_init(&url, 4096);
        ok = oauth_code_pushed(&url, &c, cases[i].status, slice_cstr(cases[i].answer), &err);
        if (ok != !!cases[i].opens || (!ok && !strstr(err.msg, cases[i].says)))
            fail_msg("case %zu: %s", i, ok ? url.ptr : err.msg);
        if (ok)
            assert_string_equal(url.ptr, cases[i].opens);
        buf_deinit(&url);
    }
}

/* STATE stands for the state of the question. */
static void test_answers(void **state)
{
    static const struct {
        const char *query, *rule, *code; /* rule NULL: it is the answer */
    } cases[] = {
        {"code=abc&state=STATE", NULL, "abc"},
        {"state=STATE&code=a%2Fb%2B+c&session_state=x", NULL, "a/b+ c"},
        {"code=abc&state=STATE&iss=https%3A%2F%2Flogin.example", NULL, "abc"},
        {"", "state_mismatch", NULL},
        {"code=abc", "state_mismatch", NULL},
        {"code=abc&state=", "state_mismatch", NULL},
        {"code=abc&state=STATEx", "state_mismatch", NULL},
        {"code=abc&state=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "state_mismatch", NULL},
        {"code=abc&state=STATE&state=STATE", "state_mismatch", NULL},
        {"code=abc&code=def&state=STATE", "parameter_twice", NULL},
        {"code=a%0Ab&state=STATE", "parameter_twice", NULL},
        {"code=a%zzb&state=STATE", "parameter_twice", NULL},
        {"code=a%2&state=STATE", "parameter_twice", NULL},
        {"state=STATE", "code_missing", NULL},
        {"state=STATE&code=", "code_missing", NULL},
        {"state=STATE&error=access_denied", "refused", NULL},
        {"state=STATE&error=server_error&code=abc", "refused", NULL},
        {"error=access_denied", "state_mismatch", NULL},
    };
    struct connection_cfg c = cfg(NULL);
    struct oauth_code q;

    (void)state;
    oauth_code_begin(&q);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char query[512] = "";
        const char *from = cases[i].query, *mark;
        struct err err = {0};
        struct buf code;
        bool ok;

        for (; (mark = strstr(from, "STATE")); from = mark + 5)
            snprintf(query + strlen(query), sizeof query - strlen(query), "%.*s%s",
                     (int)(mark - from), from, q.state);
        snprintf(query + strlen(query), sizeof query - strlen(query), "%s", from);
        buf_init(&code, OAUTH_CODE_MAX);
        ok = oauth_code_read(&c, &q, slice_cstr(query), &code, &err);
        if (ok != !cases[i].rule || (!ok && strcmp(err.rule, cases[i].rule) != 0))
            fail_msg("%s: %s", cases[i].query, ok ? "taken" : err.rule);
        if (ok)
            assert_true(slice_is(buf_slice(&code), cases[i].code));
        assert_null(strstr(err.msg, "abc"));
        buf_wipe(&code);
    }
}

/* Mix-up (RFC 9700 section 4.4, RFC 9207): where the server is known to name itself, another name
 * or none is refused. */
static void test_mix_up(void **state)
{
    static const struct {
        const char *iss;
        bool ok;
    } cases[] = {
        {"&iss=https%3A%2F%2Flogin.example", true},
        {"", false},
        {"&iss=", false},
        {"&iss=https%3A%2F%2Fevil.example", false},
        {"&iss=https%3A%2F%2Flogin.example%2F", false},
    };
    struct connection_cfg c = cfg("https://login.example");
    struct oauth_code q;

    (void)state;
    oauth_code_begin(&q);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        char query[256];
        struct buf code;

        snprintf(query, sizeof query, "code=abc&state=%s%s", q.state, cases[i].iss);
        buf_init(&code, OAUTH_CODE_MAX);
        assert_int_equal(oauth_code_read(&c, &q, slice_cstr(query), &code, &err), cases[i].ok);
        if (!cases[i].ok)
            assert_string_equal(err.rule, "iss_mismatch");
        buf_wipe(&code);
    }
}

static void test_token_request(void **state)
{
    static const struct oauth_code q = {.state = "S", .challenge = "C", .verifier = "V"};
    struct connection_cfg c = cfg(NULL);
    struct oauth_request rq;
    struct err err = {0};

    (void)state;
    assert_true(oauth_code_request(&rq, &c, &q, SLICE_LIT("shh"), SLICE_LIT("a+b"),
                                   SLICE_LIT("http://127.0.0.1:5/callback"), 0, &err));
    assert_string_equal(rq.body.ptr,
                        "grant_type=authorization_code&code=a%2Bb"
                        "&redirect_uri=http%3A%2F%2F127.0.0.1%3A5%2Fcallback&code_verifier=V"
                        "&client_id=awq+client&client_secret=shh");
    oauth_request_deinit(&rq);
    assert_false(
        oauth_code_request(&rq, &c, &q, SLICE_NONE, SLICE_LIT("a"), SLICE_LIT("b"), 0, &err));
    oauth_request_deinit(&rq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge),     cmocka_unit_test(test_each_question_is_another),
        cmocka_unit_test(test_url),           cmocka_unit_test(test_pushed),
        cmocka_unit_test(test_answers),       cmocka_unit_test(test_mix_up),
        cmocka_unit_test(test_token_request),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

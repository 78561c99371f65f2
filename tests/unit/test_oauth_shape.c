/* oauth_request.c, oauth_answer.c: what a profile makes of a request, and of an answer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "common/http.h"
#include "common/oauth_code.h"

#define NOW_MS INT64_C(1795834800000) /* 2026-11-28T03:00:00Z */
#define BASE                                                                                       \
    "{\"grant\":\"authorization_code\",\"token_url\":\"https://as.example/token\",\"scopes\":"     \
    "\"a b\",\"authorize_url\":\"https://as.example/auth?x=1\",\"client_id\":\"me\",\"auth\":"     \
    "\"post\",\"hosts\":[\"api.example\",\"*.eu.example\"],"

static struct connection_cfg *settings(const char *members)
{
    char json[4096];
    struct err err = {0};
    struct connection_cfg *c;

    snprintf(json, sizeof json, BASE "%s}", members);
    c = connection_cfg_parse(slice_cstr(json), &err);
    if (!c)
        fail_msg("%s: %s", members, err.msg);
    return c;
}

/* ---- requests ---- */

static void check_request(const char *members, struct oauth_request *rq, const char *want)
{
    struct http_header headers[OAUTH_HEADERS_MAX];
    size_t n = oauth_request_headers(rq, headers);
    char got[2048];
    size_t used = (size_t)snprintf(got, sizeof got, "%s %s", rq->method, rq->url.ptr);

    for (size_t i = 0; i < n; i++)
        used += (size_t)snprintf(got + used, sizeof got - used, "\n%.*s: %.*s",
                                 SLICE_FMT(headers[i].name), SLICE_FMT(headers[i].value));
    snprintf(got + used, sizeof got - used, "\n%s", rq->body.ptr ? rq->body.ptr : "");
    if (strcmp(got, want) != 0)
        fail_msg("%s: got\n%s\nwant\n%s", members, got, want);
}

static void test_renewals(void **state)
{
#define ACCEPT "\nAccept: application/json\n"
#define FORM   "\nContent-Type: application/x-www-form-urlencoded" ACCEPT
    static const struct {
        const char *members, *request;
    } cases[] = {
        {"\"pkce\":true",
         "POST https://as.example/token" FORM
         "grant_type=refresh_token&refresh_token=r%2Bt&client_id=me&client_secret=s"},
        {"\"refresh_url\":\"https://as.example/again\"",
         "POST https://as.example/again" FORM
         "grant_type=refresh_token&refresh_token=r%2Bt&client_id=me&client_secret=s"},
        {"\"token_request.params\":{\"audience\":\"x y\"}",
         "POST https://as.example/token" FORM "grant_type=refresh_token&refresh_token=r%2Bt&client_"
         "id=me&client_secret=s&audience=x+y"},
        {"\"token_request.params\":{\"audience\":\"x\"},\"refresh_request.params\":{\"grant_type\":"
         "\"again\"}",
         "POST https://as.example/token" FORM
         "refresh_token=r%2Bt&client_id=me&client_secret=s&grant_type=again"},
        {"\"refresh_request.rename\":{\"refresh_token\":\"token\",\"client_id\":\"key\"},"
         "\"refresh_request.omit\":[\"grant_type\"]",
         "POST https://as.example/token" FORM "token=r%2Bt&key=me&client_secret=s"},
        {"\"token_request.body\":\"json\",\"token_request.headers\":{\"X-V\":\"1\",\"accept\":\"*/"
         "*\"}",
         "POST https://as.example/token\nContent-Type: application/json\nX-V: 1\naccept: */*\n"
         "{\"grant_type\":\"refresh_token\",\"refresh_token\":\"r+t\",\"client_id\":\"me\","
         "\"client_secret\":\"s\"}"},
        {"\"refresh_request.method\":\"GET\"",
         "GET https://as.example/token?grant_type=refresh_token&refresh_token=r%2Bt&client_id=me"
         "&client_secret=s" ACCEPT},
        {"\"token_request.body\":\"query\"",
         "POST https://as.example/token?grant_type=refresh_token&refresh_token=r%2Bt&client_id=me"
         "&client_secret=s" ACCEPT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_cfg *c = settings(cases[i].members);
        struct oauth_request rq;
        struct err err = {0};

        assert_true(oauth_request_build(&rq, c, SLICE_LIT("s"), SLICE_LIT("r+t"), 0, &err));
        check_request(cases[i].members, &rq, cases[i].request);
        oauth_request_deinit(&rq);
        connection_cfg_free(c);
    }
}

static void test_questions(void **state)
{
    static const struct oauth_code q = {.verifier = "V", .challenge = "C", .state = "S"};
    static const struct {
        const char *members, *url;
    } cases[] = {
        {"\"pkce\":true",
         "https://as.example/auth?x=1&response_type=code&client_id=me&redirect_uri=http%3A%2F%2Fr"
         "&scope=a+b&state=S&code_challenge=C&code_challenge_method=S256"},
        {"\"pkce\":false,\"scope_separator\":\",\"",
         "https://as.example/auth?x=1&response_type=code&client_id=me&redirect_uri=http%3A%2F%2Fr"
         "&scope=a%2Cb&state=S"},
        {"\"pkce\":false,\"authorize.params\":{\"access_type\":\"offline\",\"scope\":\"all\"},"
         "\"authorize.rename\":{\"client_id\":\"client_key\"},\"authorize.omit\":[\"redirect_"
         "uri\"]",
         "https://as.example/auth?x=1&response_type=code&client_key=me&state=S&access_type=offline"
         "&scope=all"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_cfg *c = settings(cases[i].members);
        struct err err = {0};
        struct buf url;

        buf_init(&url, 4096);
        assert_true(oauth_code_url(&url, c, &q, SLICE_LIT("http://r"), &err));
        assert_string_equal(url.ptr, cases[i].url);
        buf_deinit(&url);
        connection_cfg_free(c);
    }
}

static void test_the_code_and_the_chain(void **state)
{
    static const struct oauth_code q = {.verifier = "V", .challenge = "C", .state = "S"};
    struct connection_cfg *c = settings(
        "\"pkce\":false,\"chain.url\":\"https://as.example/longer\",\"chain.method\":"
        "\"GET\",\"chain.rename\":{\"access_token\":\"old\"},\"chain.omit\":[\"client_id\"]"
        ",\"chain.params\":{\"grant_type\":\"longer\"}");
    struct oauth_request rq;
    struct err err = {0};

    (void)state;
    assert_true(oauth_code_request(&rq, c, &q, SLICE_LIT("s"), SLICE_LIT("c"),
                                   SLICE_LIT("http://r"), 0, &err));
    assert_string_equal(rq.body.ptr, "grant_type=authorization_code&code=c&redirect_uri=http%3A%2F"
                                     "%2Fr&client_id=me&client_secret=s");
    oauth_request_deinit(&rq);
    assert_true(oauth_code_chain(&rq, c, SLICE_LIT("s"), SLICE_LIT("t"), 0, &err));
    check_request("chain", &rq,
                  "GET https://as.example/longer?old=t&client_secret=s&grant_type=longer" ACCEPT);
    oauth_request_deinit(&rq);
    connection_cfg_free(c);
}

/* ---- answers ---- */

/* Words that lead somebody who writes a profile: where it was looked, and what is there. */
static void test_texts(void **state)
{
    static const struct {
        const char *members, *body, *text;
    } cases[] = {
        {"\"answer.access_token\":\"data.token\"",
         "{\"access_token\":\"SECRET\",\"expires_in\":3600,\"rt0123\":1}",
         "the token endpoint answered without an access token at data.token (answer.access_token); "
         "it has access_token, expires_in"},
        {"\"pkce\":true", "{\"SECRETSECRETSECRETSECRETS\":1}",
         "the token endpoint answered without an access token at access_token; it has nothing by "
         "that or another name"},
        {"\"answer.success.at\":\"ok\",\"answer.success.is\":\"true\"",
         "{\"access_token\":\"tok\"}",
         "the token endpoint answered 200, and nothing stands at ok (answer.success.at)"},
        {"\"answer.success.at\":\"ok\",\"answer.success.is\":\"true\"", "{\"ok\":\"SECRET\"}",
         "the token endpoint answered 200, and another text stands at ok (answer.success.at) than "
         "in answer.success.is"},
        {"\"answer.format\":\"form\"", "{\"access_token\":\"tok\"}",
         "the token endpoint answered 200 with no form; is answer.format right?"},
        {"\"pkce\":true", "access_token=tok",
         "the token endpoint answered 200 with no JSON object; is token_url right?"},
        {"\"answer.expiry\":\"data.at\"", "{\"access_token\":\"tok\",\"expires_in\":60}",
         "its end cannot be read: nothing stands at data.at (answer.expiry, answer.expiry_kind); "
         "token.default_lifetime_s is taken"},
        {"\"answer.expiry_kind\":\"date\"", "{\"access_token\":\"tok\",\"expires_in\":3600}",
         "its end cannot be read: something else stands at expires_in (answer.expiry, "
         "answer.expiry_kind); token.default_lifetime_s is taken"},
        {"\"answer.expiry_kind\":\"epoch\"", "{\"access_token\":\"tok\",\"expires_in\":3600}",
         "its end cannot be read: something else stands at expires_in (answer.expiry, "
         "answer.expiry_kind); token.default_lifetime_s is taken"},
        {"\"pkce\":true", "{\"access_token\":\"tok\",\"expires_in\":\"SECRET\"}",
         "its end cannot be read: something else stands at expires_in (answer.expiry, "
         "answer.expiry_kind); token.default_lifetime_s is taken"},
        {"\"pkce\":true", "{\"access_token\":\"tok\",\"expires_in\":60}", ""},
        {"\"pkce\":true", "{\"access_token\":\"tok\",\"expires_in\":0}", ""},
        {"\"pkce\":true", "{\"access_token\":\"tok\",\"expires_in\":null}", ""},
        {"\"pkce\":true", "{\"access_token\":\"tok\"}", ""},
        {"\"answer.expiry_kind\":\"never\"", "{\"access_token\":\"tok\",\"expires_in\":\"x\"}", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_cfg *c = settings(cases[i].members);
        struct oauth_answer a;

        oauth_answer_judge(&a, c, 200, slice_cstr(cases[i].body), SLICE_NONE, SLICE_NONE, NOW_MS);
        assert_string_equal(a.text, cases[i].text);
        oauth_answer_deinit(&a);
        connection_cfg_free(c);
    }
}

static void test_answers(void **state)
{
    static const struct {
        const char *members, *body;
        enum oauth_outcome outcome;
        const char *reason; /* or, with a token, the token */
        int64_t lifetime_ms;
    } cases[] = {
        {"\"answer.access_token\":\"data.0.t\"", "{\"data\":[{\"t\":\"tok\"}],\"expires_in\":60}",
         OAUTH_TOKEN, "tok", 60000},
        {"\"answer.access_token\":\"data.t\"", "{\"access_token\":\"tok\"}", OAUTH_TRANSIENT,
         "no_access_token", 0},
        {"\"answer.expiry\":\"ttl\",\"answer.expiry_kind\":\"milliseconds\"",
         "{\"access_token\":\"tok\",\"ttl\":\"1500\",\"expires_in\":1}", OAUTH_TOKEN, "tok", 1500},
        {"\"answer.expiry_kind\":\"minutes\"", "{\"access_token\":\"tok\",\"expires_in\":2}",
         OAUTH_TOKEN, "tok", 120000},
        {"\"answer.expiry\":\"at\",\"answer.expiry_kind\":\"epoch\"",
         "{\"access_token\":\"tok\",\"at\":1795834860}", OAUTH_TOKEN, "tok", 60000},
        {"\"answer.expiry\":\"at\",\"answer.expiry_kind\":\"epoch\"",
         "{\"access_token\":\"tok\",\"at\":1795834740}", OAUTH_TOKEN, "tok", -1},
        {"\"answer.expiry\":\"at\",\"answer.expiry_kind\":\"epoch_ms\"",
         "{\"access_token\":\"tok\",\"at\":1795834800500}", OAUTH_TOKEN, "tok", 500},
        {"\"answer.expiry\":\"at\",\"answer.expiry_kind\":\"date\"",
         "{\"access_token\":\"tok\",\"at\":\"2026-11-28T04:01:00+01:00\"}", OAUTH_TOKEN, "tok",
         60000},
        {"\"answer.expiry\":\"at\",\"answer.expiry_kind\":\"date\"",
         "{\"access_token\":\"tok\",\"at\":\"soon\"}", OAUTH_TOKEN, "tok", -1},
        {"\"answer.expiry_kind\":\"never\"", "{\"access_token\":\"tok\",\"expires_in\":60}",
         OAUTH_TOKEN, "tok", INT64_C(316224000000)},
        {"\"answer.expiry_kind\":\"fixed\"", "{\"access_token\":\"tok\",\"expires_in\":60}",
         OAUTH_TOKEN, "tok", -1},
        {"\"answer.format\":\"form\"", "access_token=t%2Bk&expires_in=60", OAUTH_TOKEN, "t+k",
         60000},
        {"\"answer.format\":\"form\"", "error=invalid_grant", OAUTH_REFUSED, "invalid_grant", 0},
        {"\"answer.format\":\"form\"", "{\"access_token\":\"tok\"}", OAUTH_TRANSIENT, "not_json",
         0},
        {"\"pkce\":true", "access_token=tok", OAUTH_TRANSIENT, "not_json", 0},
        {"\"answer.success.at\":\"ok\",\"answer.success.is\":\"true\"",
         "{\"ok\":true,\"access_token\":\"tok\",\"error\":\"odd\"}", OAUTH_TOKEN, "tok", -1},
        {"\"answer.success.at\":\"ok\",\"answer.success.is\":\"true\"",
         "{\"ok\":false,\"error\":\"invalid_grant\",\"access_token\":\"tok\"}", OAUTH_REFUSED,
         "invalid_grant", 0},
        {"\"answer.success.at\":\"code\",\"answer.success.is\":\"0\"",
         "{\"code\":0,\"access_token\":\"tok\"}", OAUTH_TOKEN, "tok", -1},
        {"\"answer.success.at\":\"code\",\"answer.success.is\":\"0\"", "{\"access_token\":\"tok\"}",
         OAUTH_TRANSIENT, "not_success", 0},
        {"\"answer.error\":\"e.code\",\"answer.refused\":[\"10\",\"dead-1\"]",
         "{\"e\":{\"code\":10}}", OAUTH_REFUSED, "10", 0},
        {"\"answer.error\":\"e.code\",\"answer.refused\":[\"10\",\"dead-1\"]",
         "{\"e\":{\"code\":\"dead-1\"}}", OAUTH_REFUSED, "dead-1", 0},
        {"\"answer.transient\":[\"invalid_grant\"]", "{\"error\":\"invalid_grant\"}",
         OAUTH_TRANSIENT, "invalid_grant", 0},
        {"\"pkce\":true", "{\"access_token\":\"tok\",\"token_type\":\"bot\"}", OAUTH_CONFIG,
         "token_type", 0},
        {"\"answer.token_type\":\"any\"", "{\"access_token\":\"tok\",\"token_type\":\"bot\"}",
         OAUTH_TOKEN, "tok", -1},
        {"\"answer.token_type\":\"kind\"",
         "{\"access_token\":\"tok\",\"kind\":\"bearer\",\"token_type\":\"bot\"}", OAUTH_TOKEN,
         "tok", -1},
        {"\"api.base_url\":\"{answer.url}\"",
         "{\"access_token\":\"tok\",\"url\":\"https://x.eu.example\"}", OAUTH_TOKEN, "tok", -1},
        {"\"api.base_url\":\"{answer.url}\"",
         "{\"access_token\":\"tok\",\"url\":\"https://eu.example.evil\"}", OAUTH_CONFIG, "base_url",
         0},
        {"\"api.base_url\":\"{answer.url}\"",
         "{\"access_token\":\"tok\",\"url\":\"http://api.example\"}", OAUTH_CONFIG, "base_url", 0},
        {"\"api.base_url\":\"{answer.url}\"", "{\"access_token\":\"tok\"}", OAUTH_CONFIG,
         "base_url", 0},
        /* a renewal does not say it: where it was for the token of the link */
        {"\"api.base_url\":\"{answer.url}\",\"callback\":{\"base_url\":\"https://x.eu.example\"}",
         "{\"access_token\":\"tok\"}", OAUTH_TOKEN, "tok", -1},
        {"\"api.base_url\":\"{answer.url}\",\"callback\":{\"base_url\":\"https://x.evil\"}",
         "{\"access_token\":\"tok\"}", OAUTH_CONFIG, "base_url", 0},
        {"\"api.base_url\":\"{answer.url}\",\"callback\":{\"base_url\":\"https://x.eu.example\"}",
         "{\"access_token\":\"tok\",\"url\":\"https://x.evil\"}", OAUTH_CONFIG, "base_url", 0},
        {"\"answer.tokens\":{\"bot\":\"b\"}", "{\"access_token\":\"tok\",\"b\":\"a b\"}",
         OAUTH_TRANSIENT, "access_token_invalid", 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_cfg *c = settings(cases[i].members);
        struct oauth_answer a;

        oauth_answer_judge(&a, c, 200, slice_cstr(cases[i].body), SLICE_NONE, SLICE_NONE, NOW_MS);
        if (a.outcome != cases[i].outcome ||
            (a.outcome == OAUTH_TOKEN && (!slice_is(a.access_token, cases[i].reason) ||
                                          a.lifetime_ms != cases[i].lifetime_ms)) ||
            (a.outcome != OAUTH_TOKEN && strcmp(a.reason, cases[i].reason) != 0))
            fail_msg("%s %s: %d %s %lld", cases[i].members, cases[i].body, (int)a.outcome, a.reason,
                     (long long)a.lifetime_ms);
        oauth_answer_deinit(&a);
        connection_cfg_free(c);
    }
}

static void test_what_comes_beside_the_token(void **state)
{
    struct connection_cfg *c =
        settings("\"answer.tokens\":{\"bot\":\"b\",\"user\":\"u.t\"},\"answer.scope_separator\":"
                 "\",\",\"api.base_url\":\"{answer.url}/v1\",\"answer.refresh_token\":"
                 "\"access_token\"");
    struct oauth_answer a;

    (void)state;
    oauth_answer_judge(&a, c, 200,
                       SLICE_LIT("{\"access_token\":\"tok\",\"u\":{\"t\":\"us\"},\"b\":null,"
                                 "\"scope\":\"x,y\",\"url\":\"https://api.example/\"}"),
                       SLICE_NONE, SLICE_NONE, NOW_MS);
    assert_int_equal(a.outcome, OAUTH_TOKEN);
    assert_true(slice_is(a.scope, "x y") && slice_is(a.refresh_token, "tok"));
    assert_string_equal(a.base_url.ptr, "https://api.example/v1");
    assert_int_equal(a.token_count, 1);
    assert_true(slice_is(a.tokens[0].name, "user") && slice_is(a.tokens[0].value, "us"));
    oauth_answer_deinit(&a);
    connection_cfg_free(c);
}

/* ---- what the browser brings, how a token is introduced ---- */

static void test_brought(void **state)
{
    struct connection_cfg *c =
        settings("\"api.base_url\":\"https://api.example/{callback.realm}/{callback.b}\"");
    struct oauth_brought b;
    struct err err = {0};

    (void)state;
    assert_true(oauth_code_brought(c, SLICE_LIT("code=x&b=2&realm=7%2D1"), &b, &err));
    assert_int_equal(b.count, 2);
    assert_true(slice_is(b.at[0].name, "realm") && slice_is(b.at[0].value, "7-1"));
    assert_false(oauth_code_brought(c, SLICE_LIT("code=x&realm=7"), &b, &err));
    assert_string_equal(err.rule, "callback_missing");
    err = (struct err){0};
    assert_false(oauth_code_brought(c, SLICE_LIT("realm=7&realm=8&b=1"), &b, &err));
    connection_cfg_free(c);
}

static void test_schemes(void **state)
{
    static const struct {
        const char *members, *scheme;
    } cases[] = {
        {"\"pkce\":true", "Bearer "},
        {"\"dpop\":\"ES256\"", "DPoP "},
        {"\"api.token_scheme\":\"token\"", "token "},
        {"\"api.token_scheme\":\"\"", ""},
        {"\"api.token_name\":\"X-Token\"", ""},
        {"\"api.token_name\":\"authorization\"", "Bearer "},
        {"\"api.token_name\":\"X-Token\",\"api.token_scheme\":\"Key\"", "Key "},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_cfg *c = settings(cases[i].members);
        struct buf out;

        buf_init(&out, 64);
        assert_true(oauth_token_scheme(c, &out));
        assert_true(slice_is(buf_slice(&out), cases[i].scheme));
        buf_deinit(&out);
        connection_cfg_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renewals),
        cmocka_unit_test(test_questions),
        cmocka_unit_test(test_the_code_and_the_chain),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_what_comes_beside_the_token),
        cmocka_unit_test(test_brought),
        cmocka_unit_test(test_schemes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

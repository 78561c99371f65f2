/* oauth_device.c: RFC 8628: what is a code, and when it is asked again. */
#include "common/oauth_device.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#define CODES "\"device_code\":\"D\",\"user_code\":\"WDJB-MJHT\","

static void test_read(void **state)
{
    static const struct {
        int status;
        const char *answer, *says; /* NULL: it is one */
        int64_t expires_ms, interval_ms;
        const char *complete;
    } cases[] = {
        /* the example of section 3.2 */
        {200,
         "{\"device_code\":\"GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS\",\"user_code\":\"WDJB-"
         "MJHT\","
         "\"verification_uri\":\"https://example.com/device\",\"verification_uri_complete\":"
         "\"https://example.com/device?user_code=WDJB-MJHT\",\"expires_in\":1800,\"interval\":5}",
         NULL, 1800000, 5000, "https://example.com/device?user_code=WDJB-MJHT"},
        {200, "{" CODES "\"verification_uri\":\"https://a/\"}", NULL, 600000, 5000, ""},
        {200, "{" CODES "\"verification_url\":\"https://a/\",\"expires_in\":0,\"interval\":0}",
         NULL, 600000, 5000, ""},
        {200,
         "{" CODES "\"verification_uri\":\"https://a/\",\"expires_in\":99999999,\"interval\":9999}",
         NULL, 86400000, 60000, ""},
        {200,
         "{" CODES
         "\"verification_uri\":\"https://a/\",\"verification_uri_complete\":\"javascript:x\"}",
         NULL, 600000, 5000, ""},
        {200, "{}", "lacks a code", 0, 0, NULL},
        {200, "<html>", "lacks a code", 0, 0, NULL},
        {200, "{" CODES "\"verification_uri\":\"javascript:alert(1)\"}", "lacks a code", 0, 0,
         NULL},
        {200, "{" CODES "\"verification_uri\":\"https://a/\\u001b[2J\"}", "lacks a code", 0, 0,
         NULL},
        {200, "{\"device_code\":\"D\",\"user_code\":\"a\\nb\",\"verification_uri\":\"https://a/\"}",
         "lacks a code", 0, 0, NULL},
        {400, "{\"error\":\"invalid_client\"}", "answered 400: invalid_client", 0, 0, NULL},
        {200, "{\"error\":\"invalid_scope\"}", "answered 200: invalid_scope", 0, 0, NULL},
        {503, "", "answered 503: no error that can be read", 0, 0, NULL},
        {400, "{\"error\":\"\\u001b[31mred\"}", "no error that can be read", 0, 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct oauth_device d;
        struct err err = {0};
        bool ok = oauth_device_read(&d, cases[i].status, slice_cstr(cases[i].answer), &err);

        if (ok != !cases[i].says || (!ok && !strstr(err.msg, cases[i].says)))
            fail_msg("case %zu: %s", i, ok ? "taken" : err.msg);
        if (!ok)
            continue;
        assert_int_equal(d.expires_ms, cases[i].expires_ms);
        assert_int_equal(d.interval_ms, cases[i].interval_ms);
        assert_string_equal(d.uri_complete, cases[i].complete);
        assert_string_equal(d.user_code, "WDJB-MJHT");
        oauth_device_deinit(&d);
        assert_string_equal(d.code, "");
    }
}

/* Section 3.5. */
static void test_goes_on(void **state)
{
    struct oauth_device d = {.interval_ms = 5000};
    struct oauth_answer a = {.outcome = OAUTH_CONFIG, .reason = "authorization_pending"};

    (void)state;
    assert_true(oauth_device_goes_on(&d, &a));
    assert_int_equal(d.interval_ms, 5000);
    a = (struct oauth_answer){.outcome = OAUTH_THROTTLED, .reason = "slow_down"};
    assert_true(oauth_device_goes_on(&d, &a));
    assert_int_equal(d.interval_ms, 10000); /* for good */
    assert_true(oauth_device_goes_on(&d, NULL));
    assert_int_equal(d.interval_ms, 20000);
    a = (struct oauth_answer){.outcome = OAUTH_TRANSIENT, .reason = "http_503"};
    assert_true(oauth_device_goes_on(&d, &a) && oauth_device_goes_on(&d, &a));
    assert_int_equal(d.interval_ms, 60000);
    a = (struct oauth_answer){.outcome = OAUTH_CONFIG, .reason = "access_denied"};
    assert_false(oauth_device_goes_on(&d, &a));
    a = (struct oauth_answer){.outcome = OAUTH_CONFIG, .reason = "expired_token"};
    assert_false(oauth_device_goes_on(&d, &a));
    a = (struct oauth_answer){.outcome = OAUTH_REFUSED, .reason = "invalid_grant"};
    assert_false(oauth_device_goes_on(&d, &a));
}

static void test_requests(void **state)
{
    static const struct oauth_device d = {.code = "GmRh/x"};
    struct connection_cfg c = {.id = SLICE_LIT("tv"),
                               .grant = GRANT_DEVICE_CODE,
                               .auth = CLIENT_AUTH_NONE,
                               .client_id = SLICE_LIT("1406020730"),
                               .scopes = SLICE_LIT("a b"),
                               .resources = SLICE_LIT("urn:x")};
    struct oauth_request rq;
    struct err err = {0};

    (void)state;
    assert_true(oauth_device_ask(&rq, &c, SLICE_NONE, 0, &err));
    assert_string_equal(rq.body.ptr, "scope=a+b&resource=urn%3Ax&client_id=1406020730");
    oauth_request_deinit(&rq);
    assert_true(oauth_device_poll(&rq, &c, &d, SLICE_NONE, 0, &err));
    assert_string_equal(rq.body.ptr,
                        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code"
                        "&device_code=GmRh%2Fx&resource=urn%3Ax&client_id=1406020730");
    oauth_request_deinit(&rq);
    c.auth = CLIENT_AUTH_BASIC;
    assert_true(oauth_device_ask(&rq, &c, SLICE_LIT("s"), 0, &err));
    assert_string_equal(rq.body.ptr, "client_id=1406020730&scope=a+b&resource=urn%3Ax");
    assert_true(rq.authorization.len > 0);
    oauth_request_deinit(&rq);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_goes_on),
        cmocka_unit_test(test_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

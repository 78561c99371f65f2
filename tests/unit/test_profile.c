/* profile_members.c, profile_check.c: what a profile may say, and that it is written as it was
 * read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "common/connection_inside.h"

#define BASE                                                                                       \
    "{\"grant\":\"authorization_code\",\"token_url\":\"https://as.example/token\","                \
    "\"authorize_url\":\"https://as.example/"                                                      \
    "auth\",\"client_id\":\"me\",\"hosts\":[\"api.example\""                                       \
    "]"

static struct connection_cfg *parse(const char *members, struct cfg_fault *at, struct err *err)
{
    char json[8192];

    snprintf(json, sizeof json, BASE "%s%s}", *members ? "," : "", members);
    return connection_cfg_parse_at(slice_cstr(json), at, err);
}

/* Every member that there is, so that none is read and forgotten when it is written. */
static const char everything[] =
    "\"profile\":\"mine\",\"scope_separator\":\",\","
    "\"redirect_uri\":\"http://localhost:8900/back\",\"refresh_url\":\"https://as.example/again\","
    "\"authorize.params\":{\"access_type\":\"offline\"},\"authorize.rename\":{\"scope\":\"s\"},"
    "\"authorize.omit\":[\"redirect_uri\"],"
    "\"token_request.method\":\"GET\",\"token_request.body\":\"query\","
    "\"token_request.params\":{\"audience\":\"x\"},\"token_request.rename\":{\"client_id\":\"key\"}"
    ","
    "\"token_request.omit\":[\"redirect_uri\"],\"token_request.headers\":{\"Accept\":\"*/*\"},"
    "\"refresh_request.method\":\"POST\",\"refresh_request.body\":\"json\","
    "\"refresh_request.params\":{},\"refresh_request.rename\":{\"refresh_token\":\"t\"},"
    "\"refresh_request.omit\":[\"grant_type\"],\"refresh_request.headers\":{\"X-A\":\"b\"},"
    "\"chain.url\":\"https://as.example/longer\",\"chain.method\":\"GET\",\"chain.body\":\"query\","
    "\"chain.params\":{\"grant_type\":\"x\"},\"chain.rename\":{\"access_token\":\"t\"},"
    "\"chain.omit\":[\"client_id\"],\"chain.headers\":{\"X-A\":\"b\"},"
    "\"chain.answer.format\":\"form\",\"chain.answer.access_token\":\"a.0.b\","
    "\"chain.answer.refresh_token\":\"a\",\"chain.answer.expiry\":\"e\","
    "\"chain.answer.expiry_kind\":\"minutes\",\"chain.answer.error\":\"e\","
    "\"chain.answer.success.at\":\"ok\",\"chain.answer.success.is\":\"true\","
    "\"answer.format\":\"json\",\"answer.access_token\":\"data.token\","
    "\"answer.refresh_token\":\"data.refresh\",\"answer.expiry\":\"data.at\","
    "\"answer.expiry_kind\":\"epoch_ms\",\"answer.error\":\"error.code\","
    "\"answer.success.at\":\"code\",\"answer.success.is\":\"0\",\"answer.token_type\":\"any\","
    "\"answer.scope\":\"scopes\",\"answer.scope_separator\":\";\",\"answer.refused\":[\"gone\"],"
    "\"answer.transient\":[\"later\"],\"answer.tokens\":{\"bot\":\"bot.token\"},"
    "\"api.base_url\":\"https://api.example/{callback.realm}\",\"api.token_in\":\"header\","
    "\"api.token_name\":\"X-Token\",\"api.token_scheme\":\"\",\"api.headers\":{\"V\":\"1\"},"
    "\"callback\":{\"realm\":\"7\"},"
    "\"limits.signals\":[{\"status\":403,\"header\":\"x-left: 0\",\"body\":\"slow\","
    "\"wait_header\":\"x-reset\",\"wait_kind\":\"epoch\"}]";

static void test_all_is_written_as_it_was_read(void **state)
{
    struct cfg_fault at;
    struct err err = {0};
    struct connection_cfg *c = parse(everything, &at, &err), *again;
    struct buf first, second;

    (void)state;
    if (!c)
        fail_msg("%s: %s", at.setting, err.msg);
    buf_init(&first, 1 << 20);
    buf_init(&second, 1 << 20);
    assert_true(connection_cfg_to_json(&first, c));
    again = connection_cfg_parse(buf_slice(&first), &err);
    assert_non_null(again);
    assert_true(connection_cfg_to_json(&second, again));
    assert_string_equal(first.ptr, second.ptr);
    for (size_t i = 0; i < PROFILE_MEMBERS; i++) {
        char key[64];

        snprintf(key, sizeof key, "\"%s\":", profile_members[i].place);
        if (strcmp(profile_members[i].place, "pkce") == 0 || /* these two say it by themselves */
            strcmp(profile_members[i].place, "token.renewal") == 0)
            continue;
        if (!strstr(first.ptr, key))
            fail_msg("%s is not written", key);
    }
    assert_int_equal(again->profile.refresh.body, REQUEST_JSON);
    assert_int_equal(again->profile.refresh.params.count, 0);
    assert_int_equal(again->profile.signals[0].wait_kind, WAIT_EPOCH);
    assert_true(slice_is(again->profile.signals[0].value, "0"));
    assert_true(again->profile.api.has_scheme);
    connection_cfg_free(c);
    connection_cfg_free(again);
    buf_deinit(&first);
    buf_deinit(&second);
}

static void test_a_renewal_inherits(void **state)
{
    struct cfg_fault at;
    struct err err = {0};
    struct connection_cfg *c =
        parse("\"token_request.method\":\"GET\",\"token_request.params\":{\"a\":\"b\"},"
              "\"token_request.rename\":{\"scope\":\"s\"},\"refresh_request.params\":{\"c\":\"d\"}",
              &at, &err);
    const struct request_shape *r;

    (void)state;
    assert_non_null(c);
    r = &c->profile.refresh;
    assert_int_equal(r->method, REQUEST_GET);
    assert_int_equal(r->body, REQUEST_QUERY);
    assert_int_equal(r->params.count, 1);
    assert_non_null(name_map_find(&r->params, SLICE_LIT("c")));
    assert_non_null(name_map_find(&r->rename, SLICE_LIT("scope")));
    connection_cfg_free(c);
}

static void test_nothing_said_is_the_standard(void **state)
{
    static const struct profile standard;
    struct cfg_fault at;
    struct err err = {0};
    struct connection_cfg *c = parse("", &at, &err);
    struct buf json;

    (void)state;
    assert_non_null(c);
    assert_memory_equal(&c->profile, &standard, sizeof standard);
    buf_init(&json, 1 << 16);
    assert_true(connection_cfg_to_json(&json, c));
    for (size_t i = 0; i < PROFILE_MEMBERS; i++)
        assert_null(strstr(json.ptr, profile_members[i].place));
    connection_cfg_free(c);
    buf_deinit(&json);
}

static void test_refused(void **state)
{
    static const struct {
        const char *members, *setting, *says;
    } cases[] = {
        {"\"authorize.params\":{\"state\":\"x\"}", "authorize.params",
         "params.state may not be set"},
        {"\"token_request.params\":{\"client_secret\":\"x\"}", "token_request.params",
         "may not be set"},
        {"\"token_request.params\":{\"refresh_token\":\"x\"}", "token_request.params",
         "may not be set"},
        {"\"token_request.params\":[]", "token_request.params", "must be a map of texts"},
        {"\"token_request.rename\":{\"no_such\":\"x\"}", "token_request.rename", "no request of"},
        {"\"token_request.rename\":{\"scope\":\"\"}", "token_request.rename", "the new name"},
        {"\"authorize.rename\":{\"scope\":\"state\"}", "authorize.rename", "that name is taken"},
        {"\"authorize.rename\":{\"state\":\"st\"}", "authorize.rename", "no request of"},
        {"\"token_request.omit\":[\"code\"]", "token_request.omit", "omit: code must be there"},
        {"\"token_request.omit\":[\"state\"]", "token_request.omit", "no request of"},
        {"\"token_request.omit\":[\"scope\"],\"token_request.rename\":{\"scope\":\"s\"}",
         "token_request.omit", "as well"},
        {"\"token_request.omit\":[\"client_secret\"]", "token_request.omit",
         "client.auth: post only"},
        {"\"chain.url\":\"https://as.example/x\",\"chain.rename\":{\"client_secret\":\"s\"}",
         "chain.rename", "client.auth: post only"},
        {"\"token_request.headers\":{\"Authorization\":\"x\"}", "token_request.headers",
         "not for it to set"},
        {"\"token_request.headers\":{\"a(b\":\"x\"}", "token_request.headers",
         "no header may have"},
        {"\"token_request.body\":\"json\",\"resource\":\"https://a/ https://b/\"",
         "token_request.body", "there are several"},
        {"\"token_request.method\":\"PUT\"", "token_request.method", "POST or GET"},
        {"\"token_request.body\":\"xml\"", "token_request.body", "form, json or query"},
        {"\"token_request.method\":\"GET\",\"token_request.body\":\"form\"", "token_request.body",
         "must be query"},
        {"\"pkce\":false,\"auth\":\"none\"", "pkce", "without a secret"},
        {"\"pkce\":1", "pkce", "true or false"},
        {"\"chain.method\":\"GET\"", "chain.method", "without chain.url"},
        {"\"chain.url\":\"http://as.example/x\"", "chain.url", "https://"},
        {"\"refresh_url\":\"as.example\"", "refresh_url", "https://"},
        {"\"redirect_uri\":\"http://evil.example/\"", "redirect_uri", "127.0.0.1 or localhost"},
        {"\"redirect_uri\":\"http://localhost.evil.example/\"", "redirect_uri", "127.0.0.1 or"},
        {"\"redirect_uri\":\"http://127.0.0.1@evil.example/\"", "redirect_uri", "127.0.0.1 or"},
        {"\"redirect_uri\":\"http://localhost:80@evil.example/\"", "redirect_uri", "127.0.0.1 or"},
        {"\"redirect_uri\":\"https://me.example/#x\"", "redirect_uri", "fragment"},
        {"\"token.renewal\":\"none\",\"refresh_url\":\"https://as.example/x\"", "refresh_url",
         "token.renewal: none"},
        {"\"token.renewal\":\"perhaps\"", "token.renewal", "refresh_token or none"},
        {"\"answer.expiry_kind\":\"never\",\"answer.expiry\":\"x\"", "answer.expiry", "no use"},
        {"\"answer.expiry_kind\":\"weeks\"", "answer.expiry_kind", "seconds, milliseconds"},
        {"\"answer.success.at\":\"ok\"", "answer.success.at", "both"},
        {"\"answer.access_token\":\"a..b\"", "answer.access_token", "must be a path"},
        {"\"answer.access_token\":\"a.\"", "answer.access_token", "dot"},
        {"\"answer.tokens\":{\"Bot\":\"b\"}", "answer.tokens", "1-32 of a-z"},
        {"\"answer.tokens\":{\"bot\":\"\"}", "answer.tokens", "a path"},
        {"\"answer.token_type\":\"any\",\"dpop\":\"ES256\"", "answer.token_type", "dpop"},
        {"\"api.token_in\":\"query\"", "api.token_name", "is missing"},
        {"\"api.token_in\":\"body\"", "api.token_in", "header, query or cookie"},
        {"\"api.token_in\":\"query\",\"api.token_name\":\"t\",\"api.token_scheme\":\"x\"",
         "api.token_scheme", "goes in a header"},
        {"\"api.token_name\":\"Host\"", "api.token_name", "not for it to set"},
        {"\"api.token_name\":\"X Y\"", "api.token_name", "character"},
        {"\"api.token_name\":\"X-T\",\"dpop\":\"ES256\"", "api.token_in", "dpop"},
        {"\"api.headers\":{\"Cookie\":\"x\"}", "api.headers", "not for it to set"},
        {"\"api.base_url\":\"http://api.example\"", "api.base_url", "https://"},
        {"\"api.base_url\":\"https://api.example?x\"", "api.base_url", "character"},
        {"\"api.base_url\":\"https://{host}/\"", "api.base_url", "{answer.PATH}"},
        {"\"api.base_url\":\"https://{answer.x\"", "api.base_url", "{answer.PATH}"},
        {"\"api.base_url\":\"{callback.x}\"", "api.base_url", "must begin"},
        {"\"limits.signals\":[{}]", "limits.signals", "signals.1 needs status"},
        {"\"limits.signals\":[{\"status\":99}]", "limits.signals", "not 100 to 599"},
        {"\"limits.signals\":[{\"staus\":\"x\"}]", "limits.signals", "a key other than"},
        {"\"limits.signals\":[{\"status\":403,\"wait_kind\":\"epoch\"}]", "limits.signals",
         "no wait_header"},
        {"\"limits.signals\":[{\"header\":\"a b: c\"}]", "limits.signals", "cannot be"},
        {"\"limits.signals\":[1]", "limits.signals", "signals.1 must be a map"},
        {"\"scope_separator\":\"ab\"", "scope_separator", "one of"},
        {"\"scope_separator\":\",\",\"scope_separator\":\",\"", "scope_separator", "twice"},
        {"\"grant\":\"x\"", "grant", "twice"},
        {"\"answer.acess_token\":\"x\"", "settings", "does not know"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cfg_fault at;
        struct err err = {0};
        struct connection_cfg *c = parse(cases[i].members, &at, &err);

        if (c)
            fail_msg("%s is taken", cases[i].members);
        if (strcmp(at.setting, cases[i].setting) != 0 || !strstr(err.msg, cases[i].says))
            fail_msg("%s: %s: %s", cases[i].members, at.setting, err.msg);
        assert_int_equal(err.code, ERR_FORMAT);
    }
}

static void test_of_other_grants(void **state)
{
    static const char *const members[] = {
        "\"authorize.params\":{\"a\":\"b\"}", "\"pkce\":false",
        "\"redirect_uri\":\"https://x/\"",    "\"chain.url\":\"https://x/\"",
        "\"token.renewal\":\"none\"",         "\"refresh_url\":\"https://x/\"",
        "\"refresh_request.body\":\"json\"",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
        struct err err = {0};
        char json[1024];

        snprintf(json, sizeof json,
                 "{\"grant\":\"client_credentials\",\"token_url\":\"https://as.example/token\","
                 "\"client_id\":\"me\",\"hosts\":[\"api.example\"],%s}",
                 members[i]);
        assert_null(connection_cfg_parse(slice_cstr(json), &err));
        if (!strstr(err.msg, "has no use with this grant"))
            fail_msg("%s: %s", members[i], err.msg);
    }
}

/* As many lists and maps as one connection can have room for, and one more. */
static void test_room(void **state)
{
    struct cfg_fault at;
    struct err err = {0};
    struct connection_cfg *c;
    char members[8000];
    size_t used;

    (void)state;
    used = (size_t)snprintf(members, sizeof members, "\"token_request.params\":{");
    for (int i = 0; i < PROFILE_PAIRS_MAX; i++)
        used += (size_t)snprintf(members + used, sizeof members - used, "%s\"p%d\":\"v\"",
                                 i > 0 ? "," : "", i);
    snprintf(members + used, sizeof members - used, "}");
    c = parse(members, &at, &err);
    assert_non_null(c);
    connection_cfg_free(c);
    snprintf(members + used, sizeof members - used, "},\"authorize.params\":{\"a\":\"b\"}");
    assert_null(parse(members, &at, &err));
    assert_string_equal(at.setting, "authorize.params");
    assert_non_null(strstr(err.msg, "too many"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_written_as_it_was_read),
        cmocka_unit_test(test_a_renewal_inherits),
        cmocka_unit_test(test_nothing_said_is_the_standard),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_of_other_grants),
        cmocka_unit_test(test_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

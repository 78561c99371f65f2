/* connection_file.c: YAML to settings and secrets; every error says where it stands. */
#include "common/connection.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

static char folder[] = "/tmp/awq-connfile-XXXXXX";
static char path[128];

static void write_file(const char *name, const char *text, mode_t mode)
{
    char full[256];
    FILE *f;

    snprintf(full, sizeof full, "%s/%s", folder, name);
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(full, mode), 0);
}

static void test_whole_file(void **state)
{
    struct connection_file f;
    struct err err = {0};
    struct buf json;

    (void)state;
    write_file("secret", "s3cret\n", 0600);
    write_file("refresh", "r3fresh", 0400);
    write_file(
        "conn.yaml",
        "# the CRM\n"
        "id: crm\n"
        "grant: refresh_token\n"
        "token_url: https://login.example/token\n"
        "client:\n"
        "  id: awq\n"
        "  secret: {file: secret}   # beside this file\n"
        "  auth: post\n"
        "scopes: [write, read]\n"
        "refresh_token:\n"
        "  file: refresh\n"
        "policy:\n"
        "  hosts: [API.example, '*.crm.example:8443']\n"
        "  methods: [get, POST]\n"
        "  paths: [/v1/]\n"
        "  insecure_http: false\n"
        "  allow_private: true\n"
        "limits: {concurrency: 10, rate: 90/90s, burst: 5}\n"
        "token: {default_lifetime_s: 1800, renew_before_s: 30, max_idle_s: 86400, replay: never}\n",
        0644);
    if (!connection_file_read(&f, path, NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(slice_is(buf_slice(&f.client_secret), "s3cret")); /* the newline is off */
    assert_true(slice_is(buf_slice(&f.grant_secret), "r3fresh"));
    buf_init(&json, 10000);
    assert_true(connection_cfg_to_json(&json, f.cfg));
    assert_string_equal(
        json.ptr,
        "{\"grant\":\"refresh_token\",\"token_url\":\"https://login.example/token\","
        "\"client_id\":\"awq\",\"auth\":\"post\",\"scopes\":\"read write\","
        "\"default_lifetime_ms\":1800000,\"refresh_margin_ms\":30000,\"max_idle_ms\":86400000,"
        "\"replay\":\"never\","
        "\"hosts\":[\"*.crm.example:8443\",\"api.example\"],\"methods\":[\"GET\",\"POST\"],"
        "\"paths\":[\"/v1\"],\"insecure_http\":false,\"allow_private\":true,\"concurrency\":10,"
        "\"rate\":\"90/90s\",\"burst\":5}");
    buf_deinit(&json);
    connection_file_deinit(&f);
    assert_null(f.client_secret.ptr);
}

#define LEAST(client, more)                                                                        \
    "id: crm\ngrant: client_credentials\ntoken_url: https://login.example/token\n"                 \
    "client: {id: awq" client "}\npolicy: {hosts: [api.example]}\n" more

static void test_other_ways(void **state)
{
    struct connection_file f;
    struct err err = {0};

    (void)state;
    setenv("AWQ_TEST_SECRET", "fr0m-env", 1);
    write_file("conn.yaml", LEAST(", secret: {env: AWQ_TEST_SECRET}", "scopes: write read\n"),
               0644);
    if (!connection_file_read(&f, path, NULL, &err))
        fail_msg("%s", err.msg);
    assert_true(slice_is(buf_slice(&f.client_secret), "fr0m-env"));
    assert_int_equal(f.grant_secret.len, 0);
    assert_true(slice_is(f.cfg->scopes, "read write"));
    connection_file_deinit(&f);

    /* applied again by a machine that does not have the refresh token (any more) */
    write_file("conn.yaml",
               "id: crm\ngrant: refresh_token\ntoken_url: https://login.example/token\n"
               "client: {id: public, auth: none}\npolicy: {hosts: [api.example]}\n",
               0644);
    if (!connection_file_read(&f, path, NULL, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(f.client_secret.len, 0);
    assert_non_null(
        strstr(f.unlinked.msg, "conn.yaml: line 2, column 8: refresh_token is missing"));
    connection_file_deinit(&f);
}

static void test_bad_files(void **state)
{
#define S ", secret: {file: secret}"
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "conn.yaml"},
        {"- a\n", "line 1, column 1"},
        {"just words\n", "line 1, column 1: 'a connection file' must be a map"},
        {"id:m\n", "line 1, column 1: a connection file must be a map: a blank is missing after a "
                   "colon, as in `id: m`?"},
        {"id: [\n", "line"},
        {LEAST(S, "polcy: {}\n"), "line 6, column 1: unknown key 'polcy'"},
        {LEAST(S, "limits: {concurency: 3}\n"), "line 6, column 10: unknown key"},
        {LEAST(S, "limits: 3\n"), "line 6, column 9: 'limits' must be a map"},
        {LEAST(S, "limits: {concurrency: -3}\n"),
         "line 6, column 23: limits.concurrency is out of bounds: 0 to 1000000"},
        {LEAST(S, "limits: {concurrency: many}\n"), "line 6, column 23"},
        {LEAST(S, "limits: {rate: 100}\n"),
         "line 6, column 16: limits.rate must be calls and a time"},
        {LEAST(S, "limits: {rate: 100/2y}\n"),
         "line 6, column 16: limits.rate must be calls and a time"},
        {LEAST(S, "limits: {burst: 5}\n"),
         "line 6, column 17: limits.burst has no use without rate"},
        {LEAST(S, "limits: {rate: 1/1m, burst: many}\n"), "line 6, column 29"},
        {LEAST(S, "token: {renew_before_s: 9223372036854775807}\n"),
         "line 6, column 25: token.renew_before_s is out of bounds: 0 to 2678400"},
        {LEAST(S, "token: {renew_before_s: -3}\n"),
         "line 6, column 25: token.renew_before_s is out of bounds: 0 to 2678400"},
        {LEAST(S, "token: {default_lifetime_s: 0}\n"),
         "line 6, column 29: token.default_lifetime_s is out of bounds: 1 to 316224000"},
        {LEAST(S, "token: {max_idle_s: -1}\n"),
         "line 6, column 21: token.max_idle_s is out of bounds: 0 to 316224000"},
        {LEAST(S, "token: {replay: often}\n"),
         "line 6, column 17: token.replay must be once, never or always"},
        {LEAST(S, "token: {replay: [never]}\n"), "line 6, column 17: 'token.replay' must be text"},
        {LEAST(S, "scopes: [a b]\n"), "line 6, column 10: scopes: a word is not empty and has"},
        {LEAST(S, "scopes: [a, '']\n"), "line 6, column 13: scopes: a word is not empty"},
        {LEAST(S, "scopes: {a: b}\n"), "line 6, column 9"},
        {LEAST(S, "id: twice\n"), "line 6, column 1"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://10/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [h]}\n",
         "line 3, column 12: token_url: the URL cannot be used: the host is a number"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy:\n  hosts:\n    - a.example\n    - https://b.example\n",
         "line 8, column 7: policy.hosts: https://b.example must be a host name with"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [a, 'https://me:hunter2@b']}\n",
         "line 5, column 21: policy.hosts: one with an @ must be"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [a], methods: [GET, 'P T']}\n",
         "line 5, column 37: policy.methods: P T must be the name of an HTTP method"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [a], paths: [/a, '']}\n",
         "line 5, column 34: policy.paths has an empty text in it"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [a]}\nresource: [https://a/, b]\n",
         "line 6, column 24: resource: b must be an absolute URI"},
        {"title: Acme\ngrants: [client_credentials]\ntoken_url: https://h/t\n",
         "line 1, column 8: this is a profile; a connection's file names it: profile: conn (or"},
        {"id: crm\ngrant: implicit\n", "line 2, column 8: grant must be"},
        {"id: a/b\n", "line 1, column 5: id must be"},
        {"id: 7\ngrant: client_credentials\ntoken_url: http://h/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [h]}\n",
         "line 3, column 12: token_url must begin with https://"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy:\n  methods: [GET]\n",
         "line 6, column 3: policy.hosts is missing"},
        {"id: crm\ngrant: client_credentials\ntoken_url: https://h/t\n"
         "policy: {hosts: [h]}\n",
         "client.id is missing"},
        {"grant: client_credentials\ntoken_url: https://h/t\nclient: {id: awq" S "}\n"
         "policy: {hosts: [h]}\n",
         "id is missing"},
        {LEAST(S, "policy: {}\n"), "line 6, column 1"},
        /* secrets in addresses */
        {LEAST(S, "revoke_url: https://h/r?a=b&client_secret=hunter2\n"),
         "line 6, column 13: revoke_url has a secret's name in its query, and would be shown and "
         "logged with it: its place is client: {secret: {file: PATH}}"},
        {LEAST(S, "introspect_url: https://h/i?Refresh%5Ftoken=hunter2\n"), "line 6, column 17"},
        {LEAST(S, "api: {base_url: 'https://h/a?access_token=hunter2'}\n"),
         "line 6, column 17: api.base_url has a secret's name"},
        {LEAST(S, "token: {renewal: none}\nrefresh_url: https://h/?password=hunter2\n"),
         "line 7, column 14"},
        /* secrets */
        {LEAST("", ""), "client.secret is missing"},
        {LEAST(", secret: hunter2", ""), "client.secret must be {file: PATH} or {env: NAME}"},
        {LEAST(", secret: {}", ""), "client.secret needs either file or env"},
        {LEAST(", secret: {file: secret, env: HOME}", ""), "needs either file or env"},
        {LEAST(", secret: {path: secret}", ""), "unknown key 'path'"},
        {LEAST(", secret: {env: AWQ_NO_SUCH_THING}", ""), "the environment has no AWQ_NO_SUCH"},
        {LEAST(", secret: {env: AWQ_EMPTY}", ""), "the environment has no AWQ_EMPTY"},
        {LEAST(", secret: {file: no-such-file}", ""), "no-such-file"},
        {LEAST(", secret: {file: open}", ""), "open"},
        {LEAST(", secret: {file: empty}", ""), "empty"},
        {LEAST(", secret: {file: ''}", ""), "the name is empty"},
        {LEAST(S, "refresh_token: {file: secret}\n"),
         "line 6, column 16: refresh_token has no use"},
        {"id: crm\ngrant: refresh_token\ntoken_url: https://h/t\n"
         "client: {id: awq, auth: none" S "}\npolicy: {hosts: [h]}\n",
         "client.secret has no use with auth: none"},
    };

    (void)state;
    write_file("secret", "s3cret\n", 0600);
    write_file("empty", "\n", 0600);
    write_file("open", "s3cret\n", 0644); /* others may read it: it is no secret */
    setenv("AWQ_EMPTY", "", 1);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct connection_file f = {.cfg = (struct connection_cfg *)(uintptr_t)1};
        struct err err = {0};

        write_file("conn.yaml", cases[i].text, 0644);
        if (connection_file_read(&f, path, NULL, &err))
            fail_msg("taken:\n%s", cases[i].text);
        assert_int_equal(err.code, ERR_CONFIG);
        if (!strstr(err.msg, cases[i].want) || !strstr(err.msg, "conn.yaml: "))
            fail_msg("%s\nsays '%s', not '%s'", cases[i].text, err.msg, cases[i].want);
        assert_null(strstr(err.msg, "hunter2"));
        assert_null(strstr(err.msg, "s3cret"));
        assert_ptr_equal(f.cfg, (struct connection_cfg *)(uintptr_t)1); /* as it was */
    }
}

static void test_no_file(void **state)
{
    struct connection_file f;
    struct err err = {0};

    (void)state;
    assert_false(connection_file_read(&f, "/tmp/no-such-folder/x.yaml", NULL, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.msg, "No such file"));
    assert_false(connection_file_read(&f, folder, NULL, &err)); /* a folder */
    assert_int_equal(err.code, ERR_CONFIG);
    assert_false(connection_file_read(&f, "/dev/zero", NULL, &err)); /* endless */
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.msg, "larger than"));
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/conn.yaml", folder);
    return 0;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"conn.yaml", "secret", "refresh", "open", "empty"};
    char full[256];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(full, sizeof full, "%s/%s", folder, names[i]);
        unlink(full);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_file),
        cmocka_unit_test(test_other_ways),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_no_file),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, make_folder, remove_folder);
}

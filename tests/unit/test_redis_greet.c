/* Which servers are talked to: addresses, users, TLS, and servers that are no Redis. */
#include "common/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>
#include "tests/unit/redis_rig.h"

/* ---- addresses ---- */

/* Each reason in the text is what somebody with that mistake needs to read. */
static void test_bad_addresses(void **state)
{
    static const struct {
        const char *url, *says;
    } cases[] = {
        {NULL, "no scheme"},
        {"", "no scheme"},
        {"http://host", "no scheme"},
        {"redis://", "no host"},
        {"redis://:6379", "no host"},
        {"redis://ho st", "odd characters"},
        {"redis://h:0", "port"},
        {"redis://h:65536", "port"},
        {"redis://h:12x", "port"},
        {"redis://[::1", "no host"},
        {"redis://[::1]x", "odd characters"},
        {"redis://h/x", "database"},
        {"redis://h/1/2", "database"},
        {"redis://u:hush-hush@h", "file"},
        {"redis://:hush-hush@h", "file"},
        {"redis://@h", "user"},
        {"redis://u%zz@h", "user"},
        {"unix://relative", "absolute"},
        {"unix:///123456789012345678901234567890123456789012345678901234567890"
         "123456789012345678901234567890123456789012345678",
         "too long"},
        {"redis+sentinel://", "no host"},
        {"redis+sentinel://h", "which primary"},
        {"redis+sentinel://h/", "which primary"},
        {"redis+sentinel://h//1", "which primary"},
        {"redis+sentinel://h/a b", "odd characters"},
        {"redis+sentinel://h/my/x", "database"},
        {"redis+sentinel://h,/my", "no host"},
        {"redis+sentinel://h:0,i/my", "port"},
        {"redis+sentinel://a,b,c,d,e,f,g,h,i,j/my", "more than 9"},
        {"redis+sentinel://u:hush-hush@h/my", "file"},
        {"redis+sentinel:/h/my", "no scheme"},
    };
    struct redis_options o = {0};
    uv_loop_t loop;
    struct err err;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        o.url = cases[i].url;
        assert_null(redis_new(&loop, &o, rig_on_state, NULL, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%s: %s", cases[i].url, err.msg);
        assert_null(strstr(err.msg, "hush-hush"));
    }
    o = (struct redis_options){.url = server.url, .name = "two words"};
    assert_null(redis_new(&loop, &o, rig_on_state, NULL, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_address_forms(void **state)
{
    char url[6][128];
    struct rig g;

    (void)state;
    snprintf(url[0], sizeof url[0], "%s", server.sock); /* a bare path */
    snprintf(url[1], sizeof url[1], "unix://%s", server.sock);
    snprintf(url[2], sizeof url[2], "redis://127.0.0.1:%d/3", server.port);
    snprintf(url[3], sizeof url[3], "redis://localhost:%d/", server.port);
    snprintf(url[4], sizeof url[4], "redis://default@127.0.0.1:%d", server.port); /* nopass */
    snprintf(url[5], sizeof url[5], "redis://[::ffff:127.0.0.1]:%d", server.port);
    for (size_t i = 0; i < ARRAY_LEN(url); i++) {
        rig_up(&g, (struct redis_options){.url = url[i], .name = "who"});
        assert_non_null(strstr(test_redis_do(&server, "CLIENT LIST"), "name=who"));
        rig_ask(&g, "SET here 1");
        if (i == 2)
            assert_string_equal(test_redis_do(&server, "GET here"), ""); /* another database */
        else
            assert_string_equal(test_redis_do(&server, "GET here"), "1");
        rig_ask(&g, "DEL here");
        rig_close(&g);
    }
}

/* One try, and its reason. */
static void one_try(struct rig *g, struct redis_options o)
{
    o.once = true;
    rig_open(g);
    rig_link(g, &o);
    UNTIL(g, g->downs + g->refusals + g->ups > 0);
    assert_int_equal(g->connects, 1);
}

static void expect_down(struct redis_options o, const char *says)
{
    struct rig g;

    one_try(&g, o);
    assert_int_equal(g.downs, 1);
    if (!strstr(g.why.msg, says))
        fail_msg("wanted '%s' in: %s", says, g.why.msg);
    rig_close(&g); /* runs the loop to its end: nothing more was planned */
    assert_int_equal(g.connects, 1);
}

static void expect_refused(struct redis_options o, const char *says)
{
    struct rig g;

    one_try(&g, o);
    if (g.refusals != 1 || !strstr(g.why.msg, says))
        fail_msg("wanted '%s' in: %s", says, g.why.msg);
    assert_int_equal(g.why.code, ERR_CONFIG);
    assert_null(strstr(g.why.msg, "hush-hush"));
    rig_close(&g);
}

static void test_unreachable(void **state)
{
    (void)state;
    expect_down((struct redis_options){.url = "unix:///tmp/awq-no-such-socket"},
                "No such file or directory");
    expect_down((struct redis_options){.url = "redis://127.0.0.1:1"}, "Connection refused");
    expect_down((struct redis_options){.url = "redis://localhost:1"}, "Connection refused");
    /* An empty label: the resolver says no without asking anybody. */
    expect_down((struct redis_options){.url = "redis://x..y"}, "resolve");
}

/* ---- who may come in ---- */

static void test_server_info(void **state)
{
    const struct redis_server *s;
    struct rig g;

    (void)state;
    test_redis_do(&server, "CONFIG SET maxmemory-policy allkeys-lru");
    rig_up(&g, (struct redis_options){0});
    s = redis_server_info(g.link);
    assert_int_equal(strlen(s->run_id), 40);
    assert_true(s->version_number >= 60200);
    assert_string_equal(s->eviction, "allkeys-lru");
    assert_int_equal(s->replicas, 0);
    assert_string_equal(redis_where(g.link), server.sock);
    test_redis_do(&server, "CONFIG SET maxmemory-policy noeviction");
    redis_reset(g.link, "look again");
    UNTIL(&g, g.ups == 2);
    assert_string_equal(redis_server_info(g.link)->eviction, "noeviction");
    rig_close(&g);
}

static void test_cluster_refused(void **state)
{
    static const char *const args[] = {"--cluster-enabled", "yes", NULL};
    struct test_redis own;

    (void)state;
    test_redis_start(&own, args);
    expect_refused((struct redis_options){.url = own.url}, "cluster");
    test_redis_stop(&own);
}

static void test_password(void **state)
{
    static const char *const args[] = {"--requirepass", "hush-hush", NULL};
    struct test_redis own;
    struct redis_options o = {.backoff_cap_ms = 50};
    struct rig g;

    (void)state;
    test_redis_start(&own, args);
    snprintf(own.password, sizeof own.password, "hush-hush");
    o.url = own.url;
    expect_refused(o, "NOAUTH");
    o.password_file = test_redis_path(&own, "none");
    expect_refused(o, "No such file");
    o.password_file = test_redis_file(&own, "open", "hush-hush\n", 0644);
    expect_refused(o, "chmod 600");
    o.password_file = test_redis_file(&own, "empty", "\n", 0600);
    expect_refused(o, "empty");
    o.password_file = own.dir;
    expect_refused(o, "not a regular file");
    o.user = "nobody";
    o.password_file = test_redis_file(&own, "right", "hush-hush\n", 0600);
    expect_refused(o, "WRONGPASS");
    o.user = NULL;
    rig_up(&g, o);
    rig_close(&g);
    o.password_file = test_redis_file(&own, "group", "hush-hush", 0440); /* a mounted secret */
    rig_up(&g, o);
    rig_close(&g);

    /* Wrong now, right later: the file is read at each try. */
    o.password_file = test_redis_file(&own, "rotated", "hush-hush-not", 0600);
    rig_open(&g);
    rig_link(&g, &o);
    UNTIL(&g, g.refusals >= 2);
    assert_non_null(strstr(g.why.msg, "WRONGPASS"));
    assert_null(strstr(g.why.msg, "hush-hush"));
    test_redis_file(&own, "rotated", "hush-hush", 0600);
    UNTIL(&g, g.ups == 1);
    rig_close(&g);
    test_redis_stop(&own);
}

static void test_password_not_wanted(void **state)
{
    (void)state;
    expect_refused(
        (struct redis_options){.url = server.url,
                               .password_file = test_redis_file(&server, "pw", "hush-hush", 0600)},
        "AUTH");
}

static void test_acl(void **state)
{
    struct redis_options o = {.url = server.tcp_url, .user = "bob"};
    struct answer a;
    struct rig g;

    (void)state;
    o.password_file = test_redis_file(&server, "bob", "hush-hush", 0600);
    test_redis_do(&server, "ACL SETUSER bob on >hush-hush ~bob:* +@all -config -ping -client "
                           "-incr -@pubsub");
    rig_up(&g, o); /* neither CLIENT SETNAME nor CONFIG nor PING is needed */
    assert_string_equal(rig_ask(&g, "ACL WHOAMI").text, "bob");
    a = rig_ask(&g, "INCR bob:n");
    assert_string_equal(a.err.rule, "NOPERM");
    assert_int_equal(a.err.code, ERR_CONFIG);
    a = rig_ask(&g, "GET alice:n");
    assert_string_equal(a.err.rule, "NOPERM");
    assert_null(strstr(a.err.msg, "alice"));
    assert_int_equal(g.downs, 0); /* a new link would be told the same */
    assert_true(redis_subscribe(g.link, "wake", NULL, NULL, NULL));
    UNTIL(&g, g.refusals == 1);
    assert_non_null(strstr(g.why.msg, "SUBSCRIBE"));
    rig_close(&g);

    test_redis_do(&server, "ACL SETUSER bob -info");
    expect_refused(o, "INFO: NOPERM");
    test_redis_do(&server, "ACL DELUSER bob");
    expect_refused(o, "WRONGPASS");
}

/* The server forgets who we are: a new link, with the file read again. */
static void test_noauth_reconnects(void **state)
{
    struct answer a;
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    test_redis_do(&server, "CONFIG SET requirepass hush-hush");
    rig_ask(&g, "RESET"); /* as if the link had never been authenticated */
    a = rig_ask(&g, "PING");
    assert_string_equal(a.err.rule, "NOAUTH");
    UNTIL(&g, g.refusals >= 1);
    snprintf(server.password, sizeof server.password, "hush-hush");
    test_redis_do(&server, "ACL SETUSER default nopass");
    server.password[0] = '\0';
    rig_close(&g);
}

static void test_too_many_clients(void **state)
{
    struct rig g;

    (void)state;
    rig_up(&g, (struct redis_options){0});
    rig_ask(&g, "CONFIG SET maxclients 1");
    expect_down((struct redis_options){.url = server.tcp_url}, "maxclients");
    rig_ask(&g, "CONFIG SET maxclients 1000");
    rig_close(&g);
}

/* ---- TLS ---- */

static void copy_file(struct test_redis *t, const char *from, const char *to)
{
    char text[8192] = "";
    FILE *f = fopen(test_redis_path(t, from), "r");

    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    test_redis_file(t, to, text, 0600);
}

static void test_tls(void **state)
{
    struct test_redis own;
    struct redis_options o = {.backoff_cap_ms = 50, .connect_timeout_ms = 10000};
    char by_address[64], plain[64];
    struct rig g;

    (void)state;
    test_redis_start_tls(&own, "DNS:localhost", false);
    snprintf(by_address, sizeof by_address, "rediss://127.0.0.1:%d", own.tls_port);
    snprintf(plain, sizeof plain, "redis://127.0.0.1:%d", own.tls_port);
    o.url = own.tls_url;
    expect_refused(o, "certificate"); /* the system's CAs know nothing of ours */
    o.tls_ca = test_redis_path(&own, "other.crt");
    expect_refused(o, "certificate");
    o.tls_ca = test_redis_path(&own, "none.crt");
    expect_refused(o, "none.crt");
    o.tls_ca = test_redis_path(&own, "ca.crt");
    o.url = by_address; /* the certificate is for the name only */
    expect_refused(o, "mismatch");
    o.url = plain;
    expect_down(o, "redis at");
    o.url = own.tls_url;
    rig_up(&g, o);
    assert_string_equal(rig_ask(&g, "PING").text, "PONG");
    test_redis_do(&own, "CLIENT KILL TYPE normal");
    UNTIL(&g, g.ups == 2); /* the name is checked each time */
    rig_close(&g);
    rig_big_value(&o);

    /* A CA file that is replaced while the link tries. */
    copy_file(&own, "other.crt", "now.crt");
    o.tls_ca = test_redis_path(&own, "now.crt");
    rig_open(&g);
    rig_link(&g, &o);
    UNTIL(&g, g.refusals >= 2);
    copy_file(&own, "ca.crt", "now.crt");
    UNTIL(&g, g.ups == 1);
    rig_close(&g);
    o.tls_cert = test_redis_path(&own, "client.crt");
    expect_refused(o, "both");
    test_redis_stop(&own);

    test_redis_start_tls(&own, "DNS:other.example", false);
    expect_refused(
        (struct redis_options){.url = own.tls_url, .tls_ca = test_redis_path(&own, "ca.crt")},
        "mismatch");
    test_redis_stop(&own);
}

static void test_tls_client_certificate(void **state)
{
    struct test_redis own;
    struct redis_options o = {.backoff_cap_ms = 50, .connect_timeout_ms = 10000};
    char by_address[64], key[192];
    struct rig g;

    (void)state;
    test_redis_start_tls(&own, "IP:127.0.0.1", true);
    snprintf(by_address, sizeof by_address, "rediss://127.0.0.1:%d", own.tls_port);
    o.url = by_address;
    o.tls_ca = test_redis_path(&own, "ca.crt");
    expect_refused(o, "certificate required");
    o.tls_cert = test_redis_path(&own, "client.crt");
    snprintf(key, sizeof key, "%s", test_redis_path(&own, "client.key"));
    o.tls_key = key;
    rig_up(&g, o);
    rig_close(&g);
    o.tls_key = test_redis_path(&own, "server.key");
    expect_refused(o, "server.key");
    o.tls_key = test_redis_file(&own, "open.key", "x", 0644);
    expect_refused(o, "chmod 600");
    test_redis_stop(&own);
}

/* ---- servers that are no Redis, or a broken one ---- */

static void test_odd_servers(void **state)
{
#define OKS "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n"
    static const struct {
        const char *says, *why;
        bool closes, refused;
    } cases[] = {
        {"220 mail.example ESMTP\r\n", "not the Redis protocol", false, false},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", "not the Redis protocol", false, false},
        {"", "closed the link", true, false},
        {"$100\r\nhalf", "closed the link", true, false},
        {"*-7\r\n", "not the Redis protocol", false, false},
        {"", "not ready after", false, false},
        {OKS, "which version", false, true},         /* answers, but says nothing of itself */
        {OKS OKS OKS, "which version", false, true}, /* answers nobody asked for */
        {"-ERR no\r\n-ERR no\r\n", "INFO: ERR no", false, true},
        {"-LOADING Redis is loading\r\n-LOADING x\r\n", "loading", false, false},
        {"-DENIED Redis is running in protected mode\r\n-DENIED x\r\n", "protected", false, true},
        {"+OK\r\n$35\r\nredis_version:5.0.14\r\nrun_id:abcdef\r\n+OK\r\n+OK\r\n+OK\r\n+PONG\r\n",
         "is version 5.0.14; awq needs Redis 6.2", false, true},
        {"+OK\r\n$54\r\nredis_version:7.0.15\r\nrun_id:abcdef\r\ncluster_enabled:1\r\n+OK\r\n+OK"
         "\r\n+OK\r\n+PONG\r\n",
         "cluster", false, true},
        {"+OK\r\n$56\r\nredis_version:7.0.15\r\nrun_id:abcdef\r\nredis_mode:sentinel\r\n+OK\r\n"
         "+OK\r\n+OK\r\n+PONG\r\n",
         "Sentinel", false, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fake f = {.says = cases[i].says, .closes = cases[i].closes};
        struct redis_options o = {.connect_timeout_ms = 500, .once = true};
        struct rig g;

        rig_open(&g);
        fake_open(&f, &g);
        o.url = f.url;
        rig_link(&g, &o);
        UNTIL(&g, g.ups + g.downs + g.refusals > 0);
        if (g.ups || cases[i].refused != (g.refusals == 1) || !strstr(g.why.msg, cases[i].why))
            fail_msg("case %zu: wanted '%s' in: %s", i, cases[i].why, g.why.msg);
        redis_free(g.link);
        g.link = NULL;
        uv_close((uv_handle_t *)&f.listener, NULL);
        if (f.has_peer)
            uv_close((uv_handle_t *)&f.peer, NULL);
        rig_close(&g);
    }
}

/* ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_addresses),
        cmocka_unit_test(test_address_forms),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_server_info),
        cmocka_unit_test(test_cluster_refused),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_password_not_wanted),
        cmocka_unit_test(test_acl),
        cmocka_unit_test(test_noauth_reconnects),
        cmocka_unit_test(test_too_many_clients),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_client_certificate),
        cmocka_unit_test(test_odd_servers),
    };

    return cmocka_run_group_tests(tests, rig_start_server, rig_stop_server);
}

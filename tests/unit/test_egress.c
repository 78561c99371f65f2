/* Where a request may go: each row is a case with its reason. */
#include "common/egress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#define MAX_OUT 20000

static struct slice hosts[] = {
    SLICE_LIT("api.example.com"),
    SLICE_LIT("*.wild.example"),
    SLICE_LIT("127.0.0.1:8080"),
    SLICE_LIT("8.8.8.8"),
    SLICE_LIT("[::1]:8443"),
    SLICE_LIT("[2606:4700::1111]"),
    SLICE_LIT("odd.example.com:8443"),
    SLICE_LIT("*.0.0.9"),
    SLICE_LIT("xn--bcher-kva.example"),
    SLICE_LIT("*."),
};
static struct slice paths[] = {SLICE_LIT("/v1"), SLICE_LIT("/files/"), SLICE_LIT("/exact")};
static struct slice methods[] = {SLICE_LIT("GET"), SLICE_LIT("PURGE"), SLICE_LIT("TRACE")};

static const struct policy open_policy = {
    .hosts = hosts,
    .host_count = ARRAY_LEN(hosts),
};
static const struct policy local_policy = {
    .hosts = hosts,
    .host_count = ARRAY_LEN(hosts),
    .insecure_http = true,
    .allow_private = true,
};
static const struct policy narrow_policy = {
    .hosts = hosts,
    .host_count = ARRAY_LEN(hosts),
    .methods = methods,
    .method_count = ARRAY_LEN(methods),
    .paths = paths,
    .path_count = ARRAY_LEN(paths),
};

/* want: the URL that is sent, or the name of the rule that says no. */
static const struct {
    const struct policy *policy;
    const char *method, *url, *want;
} checks[] = {
    {&open_policy, "GET", "https://api.example.com/v1/x?y=1#z", "https://api.example.com/v1/x?y=1"},
    {&open_policy, "GET", "HTTPS://API.Example.COM/A", "https://api.example.com/A"},
    {&open_policy, "GET", "https://api.example.com", "https://api.example.com/"},
    {&open_policy, "GET", "https://api.example.com?q", "https://api.example.com/?q"},
    {&open_policy, "GET", "https://api.example.com:443/", "https://api.example.com/"},
    {&open_policy, "GET", "https://api.example.com/#", "https://api.example.com/"},
    {&open_policy, "GET", "https://api.example.com/a?u=http://x/../y",
     "https://api.example.com/a?u=http://x/../y"}, /* a query is data */
    {&open_policy, "GET", "https://api.example.com/a?f[x]=1", "https://api.example.com/a?f[x]=1"},
    {&open_policy, "GET", "https://api.example.com/a//b", "https://api.example.com/a//b"},
    {&open_policy, "GET", "https://api.example.com/a.b/..c/d..",
     "https://api.example.com/a.b/..c/d.."}, /* dots inside a name are fine */
    {&open_policy, "GET", "https://api.example.com/%C3%BC", "https://api.example.com/%C3%BC"},
    {&open_policy, "GET", "https://api.example.com/100%25", "https://api.example.com/100%25"},
    /* scheme */
    {&open_policy, "GET", "http://api.example.com/", "scheme_not_allowed"},
    {&local_policy, "GET", "http://api.example.com:80/", "http://api.example.com/"},
    {&local_policy, "GET", "ftp://api.example.com/", "scheme_not_allowed"},
    {&local_policy, "GET", "file:///etc/passwd", "scheme_not_allowed"},
    {&open_policy, "GET", "gopher://api.example.com/", "scheme_not_allowed"},
    {&open_policy, "GET", "//api.example.com/", "url_invalid"},
    {&open_policy, "GET", "api.example.com/", "url_invalid"},
    {&open_policy, "GET", "https:api.example.com", "url_invalid"},
    {&open_policy, "GET", "https:/api.example.com", "url_invalid"},
    {&open_policy, "GET", "", "url_invalid"},
    {&open_policy, "GET", " https://api.example.com/", "scheme_not_allowed"},
    /* user info and what pretends to be a host */
    {&open_policy, "GET", "https://u:p@api.example.com/", "url_userinfo"},
    {&open_policy, "GET", "https://api.example.com@evil.example/", "url_userinfo"},
    {&open_policy, "GET", "https://evil.example\\@api.example.com/", "path_encoded_separator"},
    {&open_policy, "GET", "https://evil.example#@api.example.com/", "host_not_allowed"},
    {&open_policy, "GET", "https://evil.example?@api.example.com/", "host_not_allowed"},
    {&open_policy, "GET", "https:///v1", "url_invalid"},
    {&open_policy, "GET", "https://:443/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com./",
     "url_invalid"}, /* another Host, same place */
    {&open_policy, "GET", "https://api..example.com/", "url_invalid"},
    {&open_policy, "GET", "https://.api.example.com/", "url_invalid"},
    {&open_policy, "GET", "https://-api.example.com/", "url_invalid"},
    {&open_policy, "GET", "https://api%2eexample.com/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com%00.evil.example/", "url_invalid"},
    {&open_policy, "GET",
     "https://b\xc3\xbc"
     "cher.example/",
     "url_invalid"}, /* IDN must come as punycode */
    {&open_policy, "GET",
     "https://api\xe3\x80\x82"
     "example.com/",
     "url_invalid"}, /* an ideographic full stop */
    {&open_policy, "GET", "https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
    {&open_policy, "GET", "https://api.example.com\t/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com\r\nHost: x/", "url_invalid"},
    /* host list */
    {&open_policy, "GET", "https://evil.example/", "host_not_allowed"},
    {&open_policy, "GET", "https://api.example.com.evil.example/", "host_not_allowed"},
    {&open_policy, "GET", "https://xapi.example.com/", "host_not_allowed"},
    {&open_policy, "GET", "https://a.wild.example/", "https://a.wild.example/"},
    {&open_policy, "GET", "https://a.b.wild.example/", "https://a.b.wild.example/"},
    {&open_policy, "GET", "https://wild.example/", "host_not_allowed"}, /* one label or more */
    {&open_policy, "GET", "https://notwild.example/", "host_not_allowed"},
    {&open_policy, "GET", "https://api.example.com:8443/", "host_not_allowed"},
    {&open_policy, "GET", "https://odd.example.com:8443/", "https://odd.example.com:8443/"},
    {&open_policy, "GET", "https://odd.example.com/", "host_not_allowed"},
    {&open_policy, "GET", "https://8.0.0.9/", "host_not_allowed"}, /* no wildcard over addresses */
    /* ports */
    {&open_policy, "GET", "https://api.example.com:/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:0/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:0443/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:65536/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:443x/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:4 43/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:-1/", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com:443:443/", "url_invalid"},
    /* addresses in the URL */
    {&open_policy, "GET", "https://8.8.8.8/", "https://8.8.8.8/"},
    {&local_policy, "GET", "http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"},
    {&open_policy, "GET", "https://127.0.0.1:8080/", "address_not_allowed"},
    {&local_policy, "GET", "https://[0:0::1]:8443/", "https://[::1]:8443/"}, /* one spelling */
    {&open_policy, "GET", "https://[::1]:8443/", "address_not_allowed"},
    {&open_policy, "GET", "https://[2606:4700::1111]/", "https://[2606:4700::1111]/"},
    {&open_policy, "GET", "https://127.1/", "url_invalid"},       /* loopback to getaddrinfo */
    {&open_policy, "GET", "https://2130706433/", "url_invalid"},  /* so is this */
    {&open_policy, "GET", "https://0x7f.1/", "url_invalid"},      /* and this */
    {&open_policy, "GET", "https://0x7f000001/", "url_invalid"},  /* and this */
    {&open_policy, "GET", "https://0177.0.0.1/", "url_invalid"},  /* and this */
    {&open_policy, "GET", "https://127.0.0.0x1/", "url_invalid"}, /* and this */
    {&open_policy, "GET", "https://256.1.1.1/", "url_invalid"},
    {&open_policy, "GET", "https://1.2.3.4.5/", "url_invalid"},
    {&open_policy, "GET", "https://x.wild.example.1/", "url_invalid"},
    {&open_policy, "GET", "https://[::1/", "url_invalid"},
    {&open_policy, "GET", "https://[::1]x/", "url_invalid"},
    {&open_policy, "GET", "https://[]/", "url_invalid"},
    {&open_policy, "GET", "https://[fe80::1%25eth0]/", "url_invalid"}, /* a zone */
    {&open_policy, "GET", "https://[fe80::1%eth0]/", "url_invalid"},
    {&open_policy, "GET", "https://[v1.x]/", "url_invalid"},
    {&open_policy, "GET", "https://::1/", "url_invalid"},
    /* dots */
    {&open_policy, "GET", "https://api.example.com/v1/../admin", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/leads/..", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/./v1", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/.", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/..;/admin", "path_dot_segment"}, /* Tomcat */
    {&open_policy, "GET", "https://api.example.com/v1/..;a=b/admin", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/..?x", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/..#x", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/%2e%2e/admin", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/%2E./admin", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/v1/.%2e/admin", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/a%2eb", "path_dot_segment"},
    {&open_policy, "GET", "https://api.example.com/%252e%252e/", "path_dot_segment"}, /* twice */
    {&open_policy, "GET", "https://api.example.com/%25252e/", "path_dot_segment"},
    /* separators and bytes */
    {&open_policy, "GET", "https://api.example.com/v1%2fadmin", "path_encoded_separator"},
    {&open_policy, "GET", "https://api.example.com/v1%2Fadmin", "path_encoded_separator"},
    {&open_policy, "GET", "https://api.example.com/v1%252fadmin", "path_encoded_separator"},
    {&open_policy, "GET", "https://api.example.com/v1\\admin", "path_encoded_separator"},
    {&open_policy, "GET", "https://api.example.com/v1%5cadmin", "path_encoded_separator"},
    {&open_policy, "GET", "https://api.example.com/v1/%00", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v1/%0d%0aX:%20y", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v1/%7f", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v1/%zz", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v1/%2", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v1/%", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v 1", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/v1\n", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/\xc3\xbc", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/a?b c", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/a?b\r\nX: y", "url_invalid"},
    {&open_policy, "GET", "https://api.example.com/a?\xff", "url_invalid"},
    /* methods */
    {&open_policy, "DELETE", "https://api.example.com/", "https://api.example.com/"},
    {&open_policy, "PURGE", "https://api.example.com/", "method_not_allowed"},
    {&open_policy, "OPTIONS", "https://api.example.com/", "method_not_allowed"},
    {&open_policy, "get", "https://api.example.com/", "method_not_allowed"}, /* case matters */
    {&open_policy, "", "https://api.example.com/", "method_invalid"},
    {&open_policy, "GET /", "https://api.example.com/", "method_invalid"},
    {&open_policy, "GET\r\n", "https://api.example.com/", "method_invalid"},
    {&narrow_policy, "PURGE", "https://api.example.com/v1", "https://api.example.com/v1"},
    {&narrow_policy, "POST", "https://api.example.com/v1", "method_not_allowed"},
    {&narrow_policy, "TRACE", "https://api.example.com/v1", "method_not_allowed"}, /* ever */
    {&open_policy, "CONNECT", "https://api.example.com/v1", "method_not_allowed"},
    /* path prefixes, by whole segments */
    {&narrow_policy, "GET", "https://api.example.com/v1/", "https://api.example.com/v1/"},
    {&narrow_policy, "GET", "https://api.example.com/v1/x", "https://api.example.com/v1/x"},
    {&narrow_policy, "GET", "https://api.example.com/v1?x", "https://api.example.com/v1?x"},
    {&narrow_policy, "GET", "https://api.example.com/v10", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com/V1", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com/", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com//v1", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com/%76%31/x", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com/v1;x", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com/files/a", "https://api.example.com/files/a"},
    {&narrow_policy, "GET", "https://api.example.com/files", "path_not_allowed"},
    {&narrow_policy, "GET", "https://api.example.com/x?/v1", "path_not_allowed"},
};

static void test_check(void **state)
{
    struct buf out, origin;

    (void)state;
    buf_init(&out, MAX_OUT);
    buf_init(&origin, MAX_OUT);
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        struct err err = {0};
        const char *got;

        buf_clear(&out);
        got = egress_check(checks[i].policy, slice_cstr(checks[i].method),
                           slice_cstr(checks[i].url), &out, &origin, &err)
                  ? out.ptr
                  : err.rule;
        if (strcmp(got, checks[i].want) != 0)
            fail_msg("%s %s: got %s (%s), want %s", checks[i].method, checks[i].url, got, err.msg,
                     checks[i].want);
        if (err.code) {
            assert_int_equal(err.code, ERR_DENIED);
            assert_int_equal(out.len, 0); /* a refusal leaves its outputs alone */
        }
    }
    buf_deinit(&out);
    buf_deinit(&origin);
}

static void test_check_outputs(void **state)
{
    static const struct {
        const char *url, *origin;
    } rows[] = {
        {"https://API.example.com/v1", "https://api.example.com:443"},
        {"http://127.0.0.1:8080/", "http://127.0.0.1:8080"},
        {"https://[::1]:8443/", "https://[::1]:8443"},
    };
    struct buf out, origin, small;
    struct err err = {0};

    (void)state;
    buf_init(&out, MAX_OUT);
    buf_init(&origin, MAX_OUT);
    buf_init(&small, 8);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(egress_check(&local_policy, SLICE_LIT("GET"), slice_cstr(rows[i].url), &out,
                                 &origin, &err));
        assert_string_equal(origin.ptr, rows[i].origin);
        assert_true(egress_check(&local_policy, SLICE_LIT("GET"), slice_cstr(rows[i].url), &out,
                                 NULL, &err));
    }
    assert_false(egress_check(&local_policy, SLICE_LIT("GET"), slice_cstr(rows[0].url), &small,
                              NULL, &err)); /* it does not fit */
    assert_int_equal(err.code, ERR_NOMEM);
    buf_deinit(&out);
    buf_deinit(&origin);
    buf_deinit(&small);
}

static void test_long_url(void **state)
{
    static char url[17000] = "https://api.example.com/";
    char host[400] = "https://";
    struct err err = {0};

    (void)state;
    memset(url + strlen(url), 'a', sizeof url - strlen(url) - 1);
    assert_false(egress_check_endpoint(false, slice_cstr(url), &err));
    assert_string_equal(err.rule, "url_invalid");
    for (int i = 0; i < 60; i++)
        strcat(host, "abcd.");
    strcat(host, "x/");
    assert_false(egress_check_endpoint(false, slice_cstr(host), &err));
    memset(host + 8, 'a', 64); /* a label over 63 */
    strcpy(host + 72, ".example/");
    assert_false(egress_check_endpoint(false, slice_cstr(host), &err));
    memmove(host + 71, host + 72, 10);
    assert_true(egress_check_endpoint(false, slice_cstr(host), &err));
    assert_false(egress_check_endpoint(false, SLICE_LIT("https://a.example\0.b.example/"), &err));
}

static void test_endpoint(void **state)
{
    static const struct {
        bool insecure;
        const char *url, *rule; /* "" = allowed */
    } rows[] = {
        {false, "https://login.example.com/token", ""},
        {false, "https://login.example.com:8443/token?x=y", ""},
        {false, "http://login.example.com/token", "scheme_not_allowed"},
        {true, "http://127.0.0.1:9000/token", ""},
        {true, "ftp://127.0.0.1/token", "scheme_not_allowed"},
        {false, "https://u@login.example.com/token", "url_userinfo"},
        {false, "https://login.example.com/../token", "path_dot_segment"},
        {false, "https://login.example.com/a%2ftoken", "path_encoded_separator"},
        {false, "https://0x7f.1/token", "url_invalid"},
        {false, "token", "url_invalid"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err err = {.rule = ""};
        bool ok = egress_check_endpoint(rows[i].insecure, slice_cstr(rows[i].url), &err);

        if (ok != (rows[i].rule[0] == '\0') || strcmp(err.rule, rows[i].rule) != 0)
            fail_msg("%s: got %d %s, want %s", rows[i].url, ok, err.rule, rows[i].rule);
    }
}

enum verdict { PUBLIC, PRIVATE, NEVER };

static const struct {
    const char *ip;
    enum verdict want;
} addresses[] = {
    {"8.8.8.8", PUBLIC},
    {"1.1.1.1", PUBLIC},
    {"9.255.255.255", PUBLIC},
    {"11.0.0.0", PUBLIC},
    {"172.15.255.255", PUBLIC},
    {"172.32.0.0", PUBLIC},
    {"192.167.255.255", PUBLIC},
    {"192.169.0.0", PUBLIC},
    {"100.63.255.255", PUBLIC},
    {"100.128.0.0", PUBLIC},
    {"223.255.255.255", PUBLIC},
    {"198.17.255.255", PUBLIC},
    {"198.20.0.0", PUBLIC},
    {"168.63.129.15", PUBLIC},
    {"126.255.255.255", PUBLIC},
    {"128.0.0.0", PUBLIC},
    {"10.0.0.0", PRIVATE},
    {"10.255.255.255", PRIVATE},
    {"172.16.0.1", PRIVATE},
    {"172.31.255.255", PRIVATE},
    {"192.168.1.1", PRIVATE},
    {"127.0.0.1", PRIVATE},
    {"127.255.255.255", PRIVATE}, /* all of 127/8 is loopback */
    {"169.254.0.1", PRIVATE},
    {"169.254.169.254", PRIVATE}, /* metadata */
    {"100.100.100.200", PRIVATE}, /* metadata */
    {"168.63.129.16", PRIVATE},   /* metadata, in a public range */
    {"100.64.0.1", PRIVATE},      /* carrier-grade NAT */
    {"192.0.0.192", PRIVATE},     /* metadata, in 192.0.0.0/24 */
    {"198.18.0.1", PRIVATE},
    {"198.19.255.255", PRIVATE},
    {"0.0.0.0", NEVER}, /* Linux dials loopback */
    {"0.1.2.3", NEVER},
    {"224.0.0.1", NEVER},
    {"239.255.255.255", NEVER},
    {"240.0.0.1", NEVER},
    {"255.255.255.255", NEVER},
    {"192.0.2.1", NEVER},
    {"198.51.100.1", NEVER},
    {"203.0.113.1", NEVER},
    {"192.88.99.1", NEVER},
    {"2606:4700:4700::1111", PUBLIC},
    {"2a00:1450::1", PUBLIC},
    {"2001:200::1", PUBLIC}, /* the first block given to a registry */
    {"::1", PRIVATE},
    {"fc00::1", PRIVATE},
    {"fdff::1", PRIVATE},
    {"fd00:ec2::254", PRIVATE}, /* metadata */
    {"fe80::1", PRIVATE},
    {"febf::1", PRIVATE},
    {"fec0::1", PRIVATE},
    {"64:ff9b:1::1", PRIVATE},
    {"::", NEVER},
    {"ff02::1", NEVER},
    {"2001:db8::1", NEVER},
    {"3fff::1", NEVER},
    {"2001:2::1", NEVER},  /* benchmarks */
    {"2001:10::1", NEVER}, /* ORCHID */
    {"2001::1", NEVER},    /* Teredo */
    {"100::1", NEVER},     /* discard */
    {"5f00::1", NEVER},
    {"4000::1", NEVER},
    /* IPv4 in IPv6: the verdict is that of the IPv4 address */
    {"::ffff:8.8.8.8", PUBLIC},
    {"::ffff:127.0.0.1", PRIVATE},
    {"::ffff:169.254.169.254", PRIVATE},
    {"::ffff:0.0.0.0", NEVER},
    {"::ffff:0:10.0.0.1", PRIVATE},
    {"::ffff:0:8.8.8.8", PUBLIC},
    {"::127.0.0.1", PRIVATE},
    {"::8.8.8.8", PUBLIC},
    {"::2", NEVER}, /* 0.0.0.2 */
    {"64:ff9b::7f00:1", PRIVATE},
    {"64:ff9b::808:808", PUBLIC},
    {"64:ff9b:0:0:1::808:808", NEVER}, /* not the translation prefix */
    {"2002:7f00:1::", PRIVATE},
    {"2002:a9fe:a9fe::1", PRIVATE},
    {"2002:808:808::1", PUBLIC},
    {"2606:4700::5efe:7f00:1", PRIVATE}, /* ISATAP */
    {"2606:4700::200:5efe:808:808", PUBLIC},
    {"2606:4700::5efe:e000:1", NEVER},
};

static struct sockaddr_storage address(const char *ip)
{
    struct sockaddr_storage a = {0};

    if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)&a)->sin_addr) == 1)
        a.ss_family = AF_INET;
    else if (inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)&a)->sin6_addr) == 1)
        a.ss_family = AF_INET6;
    else
        fail_msg("%s is no address", ip);
    return a;
}

static void test_addresses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) {
        struct sockaddr_storage a = address(addresses[i].ip);
        struct err err = {.rule = ""};
        bool plain = egress_check_address(false, (struct sockaddr *)&a, &err);
        bool lax = egress_check_address(true, (struct sockaddr *)&a, NULL);
        enum verdict got = plain ? PUBLIC : lax ? PRIVATE : NEVER;

        if (got != addresses[i].want || (plain && !lax))
            fail_msg("%s: got %d, want %d (%s)", addresses[i].ip, got, addresses[i].want, err.msg);
        if (!plain)
            assert_string_equal(err.rule, "address_not_allowed");
    }
}

static void test_other_family(void **state)
{
    struct sockaddr_storage a = {.ss_family = AF_UNIX};

    (void)state;
    assert_false(egress_check_address(true, (struct sockaddr *)&a, NULL));
}

static void test_headers(void **state)
{
    static const struct {
        const char *name, *value;
        bool cookie;
        const char *rule;
    } rows[] = {
        {"Accept", "text/plain", false, ""},
        {"X-Empty", "", false, ""},
        {"X-Tab", "a\tb", false, ""},
        {"X-Utf8", "\xc3\xbc", false, ""},
        {"Cookie", "a=b", true, ""}, /* the profile says so */
        {"Cookie", "a=b", false, "header_forbidden"},
        {"cOOkie", "a=b", false, "header_forbidden"},
        {"Host", "x", false, "header_forbidden"},
        {"host", "x", true, "header_forbidden"},
        {"Authorization", "x", false, "header_forbidden"},
        {"Proxy-Authorization", "x", false, "header_forbidden"},
        {"Proxy-Anything", "x", false, "header_forbidden"},
        {"Proxy", "x", false, "header_forbidden"}, /* CGI reads it as http_proxy */
        {"Proxyfoo", "x", false, ""},
        {"DPoP", "x", false, "header_forbidden"},
        {"X-HTTP-Method-Override", "DELETE", false, "header_forbidden"},
        {"X_HTTP_Method", "DELETE", false, "header_forbidden"},
        {"X-Original-URL", "/admin", false, "header_forbidden"},
        {"X-Rewrite-Url", "/admin", false, "header_forbidden"},
        {"X-Forwarded-For", "10.0.0.1", false, "header_forbidden"},
        {"x-forwarded-host", "a", true, "header_forbidden"},
        {"Forwarded", "for=x", false, "header_forbidden"},
        {"Via", "1.1 x", false, "header_forbidden"},
        {"Set-Cookie", "a=b", true, "header_forbidden"},
        {"X-Forward", "x", false, ""},
        {"DPoP-Nonce", "x", false, ""},
        {"Content-Length", "1", false, "header_forbidden"},
        {"Content_Length", "1", false, "header_forbidden"}, /* CGI reads _ as - */
        {"Transfer-Encoding", "chunked", false, "header_forbidden"},
        {"Connection", "close", false, "header_forbidden"},
        {"Keep-Alive", "1", false, "header_forbidden"},
        {"Upgrade", "h2c", false, "header_forbidden"},
        {"HTTP2-Settings", "x", false, "header_forbidden"},
        {"TE", "trailers", false, "header_forbidden"},
        {"Trailer", "x", false, "header_forbidden"},
        {"Expect", "100-continue", false, "header_forbidden"},
        {"Content-Type", "a/b", false, ""},
        {"", "x", false, "header_invalid"},
        {"a b", "x", false, "header_invalid"},
        {"a:", "x", false, "header_invalid"},
        {"Host ", "x", false, "header_invalid"},
        {"a\r\nb", "x", false, "header_invalid"},
        {"\xc3\xbc", "x", false, "header_invalid"},
        {"a", "x\r\nHost: y", false, "header_invalid"},
        {"a", "x\ny", false, "header_invalid"},
        {"a", "\x7f", false, "header_invalid"},
        {"a", "\x01", false, "header_invalid"},
    };
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool ok;

        err = (struct err){.rule = ""};
        ok = egress_check_header(slice_cstr(rows[i].name), slice_cstr(rows[i].value),
                                 rows[i].cookie, &err);
        if (ok != (rows[i].rule[0] == '\0') || strcmp(err.rule, rows[i].rule) != 0)
            fail_msg("%s: got %d %s, want %s", rows[i].name, ok, err.rule, rows[i].rule);
    }
    assert_false(egress_check_header(SLICE_LIT("X-Key"), slice_of("x\0y", 3), false, &err));
    assert_string_equal(err.msg, "the value of the header X-Key holds characters that are not "
                                 "allowed there");
    assert_false(egress_check_header(slice_of("a\0b", 3), SLICE_LIT("x"), false, &err));
}

/* The examples of RFC 3986 section 5.4, then what servers really send. */
static const struct {
    const char *base, *location, *want; /* NULL: refused */
} resolves[] = {
    {"http://a/b/c/d;p?q", "g:h", "g:h"},
    {"http://a/b/c/d;p?q", "g", "http://a/b/c/g"},
    {"http://a/b/c/d;p?q", "./g", "http://a/b/c/g"},
    {"http://a/b/c/d;p?q", "g/", "http://a/b/c/g/"},
    {"http://a/b/c/d;p?q", "/g", "http://a/g"},
    {"http://a/b/c/d;p?q", "//g", "http://g"},
    {"http://a/b/c/d;p?q", "?y", "http://a/b/c/d;p?y"},
    {"http://a/b/c/d;p?q", "g?y", "http://a/b/c/g?y"},
    {"http://a/b/c/d;p?q", "#s", "http://a/b/c/d;p?q"}, /* without fragment */
    {"http://a/b/c/d;p?q", "g#s", "http://a/b/c/g"},
    {"http://a/b/c/d;p?q", ";x", "http://a/b/c/;x"},
    {"http://a/b/c/d;p?q", "", "http://a/b/c/d;p?q"},
    {"http://a/b/c/d;p?q", ".", "http://a/b/c/"},
    {"http://a/b/c/d;p?q", "./", "http://a/b/c/"},
    {"http://a/b/c/d;p?q", "..", "http://a/b/"},
    {"http://a/b/c/d;p?q", "../g", "http://a/b/g"},
    {"http://a/b/c/d;p?q", "../..", "http://a/"},
    {"http://a/b/c/d;p?q", "../../g", "http://a/g"},
    {"http://a/b/c/d;p?q", "../../../g", "http://a/g"},
    {"http://a/b/c/d;p?q", "/./g", "http://a/g"},
    {"http://a/b/c/d;p?q", "/../g", "http://a/g"},
    {"http://a/b/c/d;p?q", "g.", "http://a/b/c/g."},
    {"http://a/b/c/d;p?q", "..g", "http://a/b/c/..g"},
    {"http://a/b/c/d;p?q", "./../g", "http://a/b/g"},
    {"http://a/b/c/d;p?q", "./g/.", "http://a/b/c/g/"},
    {"http://a/b/c/d;p?q", "g/../h", "http://a/b/c/h"},
    {"http://a/b/c/d;p?q", "g;x=1/../y", "http://a/b/c/y"},
    {"http://a/b/c/d;p?q", "g?y/../x", "http://a/b/c/g?y/../x"},
    {"http://a/b/c/d;p?q", "http:g", "http:g"}, /* strict; refused by egress_check */
    {"https://a", "b", "https://a/b"},
    {"https://a?q", "b", "https://a/b"},
    {"https://a:8443/x", "https://b/y/../z?q#f", "https://b/z?q"},
    {"https://a/x", "https://b", "https://b"},
    {"https://a/x", "  /y ", "https://a/y"},
    {"https://a/x", "/y z", "https://a/y%20z"},
    {"https://a/x", "/\xc3\xbc?\xc3\xa4", "https://a/%C3%BC?%C3%A4"},
    {"https://a/x", "/a//b", "https://a/a//b"},
    {"https://a/x", "/y\r\nX: z", NULL},
    {"https://a/x", "/\x01", NULL},
    {"https://a/x", "mailto:a/b?c", "mailto:a/b?c"},
    {"https://a/x", "x:", "x:"},
};

static void test_resolve(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, MAX_OUT);
    for (size_t i = 0; i < ARRAY_LEN(resolves); i++) {
        struct err err = {.rule = ""};
        const char *want = resolves[i].want;
        bool ok;

        buf_clear(&out);
        ok = egress_resolve(slice_cstr(resolves[i].base), slice_cstr(resolves[i].location), &out,
                            &err);
        if (ok != (want != NULL) || (want && strcmp(out.ptr, want) != 0))
            fail_msg("%s + %s: got %s, want %s", resolves[i].base, resolves[i].location,
                     ok ? out.ptr : err.rule, want ? want : "a refusal");
        if (!ok)
            assert_string_equal(err.rule, "url_invalid");
    }
    buf_deinit(&out);
}

static void test_resolve_bounds(void **state)
{
    static char path[40000];
    struct buf out;
    struct err err = {0};

    (void)state;
    buf_init(&out, 16);
    assert_false(
        egress_resolve(SLICE_LIT("https://a/"), SLICE_LIT("/a-rather-long-one"), &out, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    memset(path, '/', sizeof path);
    assert_false(egress_resolve(SLICE_LIT("https://a/"), slice_of(path, sizeof path), &out, &err));
    assert_string_equal(err.rule, "url_invalid");
    for (size_t i = 0; i + 3 < 16000; i += 3)
        memcpy(path + i, "../", 3);
    assert_true(egress_resolve(SLICE_LIT("https://a/"), slice_of(path, 15999), &out, &err));
    assert_string_equal(out.ptr, "https://a/");
    buf_deinit(&out);
}

static void test_same_origin(void **state)
{
    static const struct {
        const char *a, *b;
        bool want;
    } rows[] = {
        {"https://a.example/x", "https://A.example:443/y?z", true},
        {"https://a.example/", "http://a.example/", false},
        {"https://a.example/", "https://a.example:8443/", false},
        {"https://a.example/", "https://b.example/", false},
        {"http://a.example:443/", "https://a.example/", false},
        {"https://[::1]/", "https://[0:0::1]:443/", true},
        {"https://a.example/", "https://a.example./", false}, /* refused anyway */
        {"nonsense", "nonsense", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (egress_same_origin(slice_cstr(rows[i].a), slice_cstr(rows[i].b)) != rows[i].want)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),          cmocka_unit_test(test_check_outputs),
        cmocka_unit_test(test_long_url),       cmocka_unit_test(test_endpoint),
        cmocka_unit_test(test_addresses),      cmocka_unit_test(test_other_family),
        cmocka_unit_test(test_headers),        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_resolve_bounds), cmocka_unit_test(test_same_origin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

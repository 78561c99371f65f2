#include "common/egress.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "common/http.h"

enum {
    MAX_URL = 16 * 1024,
    MAX_HOST = 253, /* RFC 1035 section 3.1, in text */
};

/* A URL taken apart; every part borrows from the URL, but for the host. */
struct parts {
    bool https;
    char host[MAX_HOST + 3]; /* lower case; an IPv6 literal in brackets, in its one short form */
    bool is_ip;
    struct sockaddr_storage addr; /* when is_ip */
    uint16_t port;                /* never 0 */
    struct slice path;            /* "" or from the slash */
    struct slice query;           /* with the question mark, or "" */
};

static bool bad_url(struct err *err, const char *why)
{
    return err_rule(err, ERR_DENIED, "url_invalid", "the URL cannot be used: %s", why);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t find_any(struct slice s, const char *chars)
{
    size_t i = 0;

    while (i < s.len && !strchr(chars, s.ptr[i]))
        i++;
    return i;
}

/* ---- the address table ---- */

enum reach {
    REACH_PUBLIC,
    REACH_PRIVATE, /* allowed by allow_private */
    REACH_NEVER,   /* no server lives there */
};

struct range4 {
    uint32_t net;
    unsigned bits;
    enum reach reach;
    const char *what;
};

struct range6 {
    uint64_t high, low;
    unsigned bits;
    enum reach reach;
    const char *what;
};

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (b) << 16 | (c) << 8 | (d))

/* IANA's special-purpose registries (RFC 6890), first match wins, and the metadata services of
 * clouds, which hand out credentials to whoever can reach them. */
static const struct range4 ranges4[] = {
    {IP4(169, 254, 169, 254), 32, REACH_PRIVATE, "a metadata service"},
    {IP4(100, 100, 100, 200), 32, REACH_PRIVATE, "a metadata service"},
    {IP4(168, 63, 129, 16), 32, REACH_PRIVATE, "a metadata service"},
    {IP4(0, 0, 0, 0), 8, REACH_NEVER, "unspecified"}, /* 0.0.0.0 dials this very host */
    {IP4(10, 0, 0, 0), 8, REACH_PRIVATE, "private"},
    {IP4(100, 64, 0, 0), 10, REACH_PRIVATE, "shared by a carrier"},
    {IP4(127, 0, 0, 0), 8, REACH_PRIVATE, "loopback"},
    {IP4(169, 254, 0, 0), 16, REACH_PRIVATE, "link-local"},
    {IP4(172, 16, 0, 0), 12, REACH_PRIVATE, "private"},
    {IP4(192, 0, 0, 0), 24, REACH_PRIVATE, "for protocols"},
    {IP4(192, 0, 2, 0), 24, REACH_NEVER, "for documentation"},
    {IP4(192, 88, 99, 0), 24, REACH_NEVER, "a 6to4 relay"},
    {IP4(192, 168, 0, 0), 16, REACH_PRIVATE, "private"},
    {IP4(198, 18, 0, 0), 15, REACH_PRIVATE, "for benchmarks"},
    {IP4(198, 51, 100, 0), 24, REACH_NEVER, "for documentation"},
    {IP4(203, 0, 113, 0), 24, REACH_NEVER, "for documentation"},
    {IP4(224, 0, 0, 0), 4, REACH_NEVER, "multicast"},
    {IP4(255, 255, 255, 255), 32, REACH_NEVER, "broadcast"},
    {IP4(240, 0, 0, 0), 4, REACH_NEVER, "reserved"},
};

static const struct range6 ranges6[] = {
    {0, 0, 128, REACH_NEVER, "unspecified"},
    {0, 1, 128, REACH_PRIVATE, "loopback"},
    {0xfd000ec200000000, 0x254, 128, REACH_PRIVATE, "a metadata service"}, /* fd00:ec2::254 */
    {0xfc00000000000000, 0, 7, REACH_PRIVATE, "private"},
    {0xfe80000000000000, 0, 10, REACH_PRIVATE, "link-local"},
    {0xfec0000000000000, 0, 10, REACH_PRIVATE, "site-local"},
    {0x0064ff9b00010000, 0, 48, REACH_PRIVATE, "behind a local translator"}, /* RFC 8215 */
    {0xff00000000000000, 0, 8, REACH_NEVER, "multicast"},
    {0x2001000000000000, 0, 32, REACH_NEVER, "a Teredo tunnel"},
    {0x2001000000000000, 0, 23, REACH_NEVER, "for protocols"},
    {0x20010db800000000, 0, 32, REACH_NEVER, "for documentation"},
    {0x3fff000000000000, 0, 20, REACH_NEVER, "for documentation"}, /* RFC 9637 */
    {0x2000000000000000, 0, 3, REACH_PUBLIC, ""},
    {0, 0, 0, REACH_NEVER, "outside the global range"},
};

static bool in_range6(uint64_t high, uint64_t low, const struct range6 *r)
{
    if (r->bits == 0)
        return true;
    if (r->bits <= 64)
        return (high ^ r->high) >> (64 - r->bits) == 0;
    return high == r->high && (low ^ r->low) >> (128 - r->bits) == 0;
}

static bool allow_reach(bool allow_private, enum reach reach, const char *what, int family,
                        const void *addr, struct err *err)
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (reach == REACH_PUBLIC || (reach == REACH_PRIVATE && allow_private))
        return true;
    inet_ntop(family, addr, text, sizeof text);
    return err_rule(err, ERR_DENIED, "address_not_allowed", "the address %s is %s%s", text, what,
                    reach == REACH_PRIVATE ? "; only a policy with allow_private may reach it"
                                           : "");
}

static bool check4(bool allow_private, const uint8_t *a, struct err *err)
{
    uint32_t addr = IP4(a[0], a[1], a[2], a[3]);

    for (size_t i = 0; i < ARRAY_LEN(ranges4); i++) {
        const struct range4 *r = &ranges4[i];

        if ((addr ^ r->net) >> (32 - r->bits) == 0)
            return allow_reach(allow_private, r->reach, r->what, AF_INET, a, err);
    }
    return true;
}

static uint64_t load64(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* The IPv4 address that the kernel or a gateway would really talk to; NULL when there is none. */
static const uint8_t *embedded4(const uint8_t *a, uint64_t high, uint64_t low)
{
    if (high == 0 && (low >> 32 == 0xffff ||        /* ::ffff:a.b.c.d, IPv4-mapped */
                      low >> 32 == 0xffff0000 ||    /* ::ffff:0:a.b.c.d, translated, RFC 2765 */
                      (low >> 32 == 0 && low > 1))) /* ::a.b.c.d, compatible; not :: nor ::1 */
        return a + 12;
    if (high == 0x0064ff9b00000000 && low >> 32 == 0) /* NAT64, RFC 6052 */
        return a + 12;
    if (high >> 48 == 0x2002) /* 6to4, RFC 3056 */
        return a + 2;
    return NULL;
}

static bool check6(bool allow_private, const uint8_t *a, struct err *err)
{
    uint64_t high = load64(a), low = load64(a + 8);
    const uint8_t *v4 = embedded4(a, high, low);

    if (v4)
        return check4(allow_private, v4, err);
    /* ISATAP (RFC 5214): any prefix, and the IPv4 address behind it */
    if ((low >> 32 & ~(uint64_t)0x02000000) == 0x5efe && !check4(allow_private, a + 12, err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(ranges6); i++) {
        const struct range6 *r = &ranges6[i];

        if (in_range6(high, low, r))
            return allow_reach(allow_private, r->reach, r->what, AF_INET6, a, err);
    }
    return true;
}

bool egress_check_address(bool allow_private, const struct sockaddr *addr, struct err *err)
{
    if (addr->sa_family == AF_INET)
        return check4(allow_private, (const uint8_t *)&((const struct sockaddr_in *)addr)->sin_addr,
                      err);
    if (addr->sa_family == AF_INET6)
        return check6(allow_private,
                      (const uint8_t *)&((const struct sockaddr_in6 *)addr)->sin6_addr, err);
    return err_rule(err, ERR_DENIED, "address_not_allowed", "not an internet address");
}

/* ---- scheme, host, port ---- */

static bool take_scheme(struct slice *s, struct parts *p, struct err *err)
{
    size_t at = find_any(*s, ":/?#");
    struct slice scheme = slice_sub(*s, 0, at);

    if (at == 0 || !slice_starts(slice_sub(*s, at, s->len), SLICE_LIT("://")))
        return bad_url(err, "it does not begin with a scheme and //");
    *s = slice_sub(*s, at + 3, s->len);
    p->https = slice_eq_nocase(scheme, SLICE_LIT("https"));
    if (!p->https && !slice_eq_nocase(scheme, SLICE_LIT("http")))
        return err_rule(err, ERR_DENIED, "scheme_not_allowed",
                        "only https (and http, where the policy allows it) may be called");
    return true;
}

static bool take_port(struct slice text, struct parts *p, struct err *err)
{
    uint64_t port;

    if (text.len > 5 || !slice_to_u64(text, &port) || port == 0 || port > 65535 ||
        text.ptr[0] == '0')
        return bad_url(err, "the port is not a number from 1 to 65535");
    p->port = (uint16_t)port;
    return true;
}

static bool ipv6_host(struct slice text, struct parts *p, struct err *err)
{
    struct sockaddr_in6 *to = (struct sockaddr_in6 *)&p->addr;
    char copy[INET6_ADDRSTRLEN], canon[INET6_ADDRSTRLEN];

    /* a zone id ("%25eth0") picks a network card of this machine: not for a URL to say */
    if (!slice_copy(text, copy, sizeof copy) || inet_pton(AF_INET6, copy, &to->sin6_addr) != 1 ||
        !inet_ntop(AF_INET6, &to->sin6_addr, canon, sizeof canon))
        return bad_url(err, "the host in brackets is not an IPv6 address");
    to->sin6_family = AF_INET6;
    p->is_ip = true;
    snprintf(p->host, sizeof p->host, "[%s]", canon);
    return true;
}

static bool label_ok(struct slice label)
{
    if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];

        if (!is_digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
            return false;
    }
    return true;
}

/* 127.1, 2130706433, 0x7f.1 and 0177.0.0.1 are loopback to getaddrinfo. A name whose last label
 * looks like a number is therefore an IPv4 address in its usual form or nothing (the rule of the
 * WHATWG URL standard). */
static bool ends_in_number(struct slice host)
{
    size_t dot = host.len;
    struct slice last;
    bool hex;

    while (dot > 0 && host.ptr[dot - 1] != '.')
        dot--;
    last = slice_sub(host, dot, host.len);
    hex = slice_starts(last, SLICE_LIT("0x"));
    if (hex)
        last = slice_sub(last, 2, last.len);
    for (size_t i = 0; i < last.len; i++) {
        if (hex ? hex_value(last.ptr[i]) < 0 : !is_digit(last.ptr[i]))
            return false;
    }
    return true;
}

static bool name_host(struct slice text, struct parts *p, struct err *err)
{
    struct sockaddr_in *to = (struct sockaddr_in *)&p->addr;
    struct slice rest, label;

    if (text.len == 0)
        return bad_url(err, "it has no host");
    if (text.len > MAX_HOST || text.ptr[text.len - 1] == '.')
        return bad_url(err, "the host is too long or ends in a dot");
    for (size_t i = 0; i < text.len; i++)
        p->host[i] = lower(text.ptr[i]);
    p->host[text.len] = '\0';
    rest = text = slice_cstr(p->host);
    while (slice_cut(&rest, '.', &label)) {
        if (!label_ok(label))
            return bad_url(err, "the host is not a name of letters, digits, dots and hyphens "
                                "(write other scripts as xn--)");
    }
    if (!ends_in_number(text))
        return true;
    if (inet_pton(AF_INET, p->host, &to->sin_addr) != 1)
        return bad_url(err, "the host is a number that is not a plain IPv4 address");
    to->sin_family = AF_INET;
    p->is_ip = true;
    return true;
}

static bool take_authority(struct slice *s, struct parts *p, struct err *err)
{
    size_t end = find_any(*s, "/?#\\");
    struct slice text = slice_sub(*s, 0, end);
    size_t colon;

    *s = slice_sub(*s, end, s->len);
    p->port = p->https ? 443 : 80;
    if (slice_find(text, '@') < text.len)
        return err_rule(err, ERR_DENIED, "url_userinfo", "the URL holds a user name or password");
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = slice_find(text, ']');
        struct slice after = slice_sub(text, close + 1, text.len);

        if (close == text.len || (after.len > 0 && after.ptr[0] != ':'))
            return bad_url(err, "the host's brackets do not match");
        return ipv6_host(slice_sub(text, 1, close - 1), p, err) &&
               (after.len == 0 || take_port(slice_sub(after, 1, after.len), p, err));
    }
    colon = slice_find(text, ':');
    return name_host(slice_sub(text, 0, colon), p, err) &&
           (colon == text.len || take_port(slice_sub(text, colon + 1, text.len), p, err));
}

/* ---- path and query ---- */

/* The byte that s[i] stands for, and in *len how many characters say so: "%2e" is three. Decoded
 * as often as it goes ("%252e"), since somebody behind the server may decode twice. -1: a percent
 * sign without two hex digits. */
static int decoded_at(struct slice s, size_t i, size_t *len)
{
    int high, low, c;

    *len = 1;
    if (s.ptr[i] != '%')
        return (unsigned char)s.ptr[i];
    if (i + 2 >= s.len || (high = hex_value(s.ptr[i + 1])) < 0 ||
        (low = hex_value(s.ptr[i + 2])) < 0)
        return -1;
    *len = 3;
    c = high * 16 + low;
    while (c == '%' && i + *len + 1 < s.len && (high = hex_value(s.ptr[i + *len])) >= 0 &&
           (low = hex_value(s.ptr[i + *len + 1])) >= 0) {
        c = high * 16 + low;
        *len += 2;
    }
    return c;
}

static bool path_byte_ok(int c, bool encoded, struct err *err)
{
    if (c == '\\' || (encoded && c == '/'))
        return err_rule(err, ERR_DENIED, "path_encoded_separator",
                        "the path holds a backslash or an encoded slash, which servers read in "
                        "different ways");
    if (encoded && c == '.')
        return err_rule(err, ERR_DENIED, "path_dot_segment", "the path holds an encoded dot");
    if (c < 0x20 || c == 0x7f)
        return bad_url(err, "the path holds a control character or a broken percent sign");
    if (!encoded && (c > 0x7e || strchr(" \"<>^`{|}", c)))
        return bad_url(err, "the path holds a character that must be percent-encoded");
    return true;
}

/* "." and "..", also with a parameter ("..;x"), which some servers cut off first. */
static bool is_dot_segment(struct slice segment)
{
    struct slice name = slice_sub(segment, 0, slice_find(segment, ';'));

    return slice_is(name, ".") || slice_is(name, "..");
}

static bool check_path(struct slice path, struct err *err)
{
    struct slice segment;
    size_t len;

    for (size_t i = 0; i < path.len; i += len) {
        int c = decoded_at(path, i, &len);

        if (!path_byte_ok(c, len > 1, err))
            return false;
    }
    while (slice_cut(&path, '/', &segment)) {
        if (is_dot_segment(segment))
            return err_rule(err, ERR_DENIED, "path_dot_segment",
                            "the path holds a . or .. segment");
    }
    return true;
}

static bool check_query(struct slice query, struct err *err)
{
    for (size_t i = 0; i < query.len; i++) {
        unsigned char c = (unsigned char)query.ptr[i];

        if (c <= 0x20 || c >= 0x7f)
            return bad_url(err, "the query holds a character that must be percent-encoded");
    }
    return true;
}

static bool take_apart(struct slice url, struct parts *p, struct err *err)
{
    struct slice rest = url;
    size_t at;

    *p = (struct parts){0};
    if (url.len > MAX_URL)
        return bad_url(err, "it is longer than 16 KiB");
    if (!take_scheme(&rest, p, err) || !take_authority(&rest, p, err))
        return false;
    rest = slice_sub(rest, 0, slice_find(rest, '#'));
    at = slice_find(rest, '?');
    p->path = slice_sub(rest, 0, at);
    p->query = slice_sub(rest, at, rest.len);
    return check_path(p->path, err) && check_query(p->query, err);
}

/* ---- the policy ---- */

static bool host_matches(struct slice entry, const struct parts *p)
{
    struct slice host = slice_cstr(p->host), name = entry, suffix;
    size_t from = entry.len > 0 && entry.ptr[0] == '[' ? slice_find(entry, ']') : 0;
    size_t colon = from + slice_find(slice_sub(entry, from, entry.len), ':');
    uint64_t port = p->https ? 443 : 80;

    if (colon < entry.len) {
        name = slice_sub(entry, 0, colon);
        if (!slice_to_u64(slice_sub(entry, colon + 1, entry.len), &port))
            return false;
    }
    if (port != p->port)
        return false;
    if (!slice_starts(name, SLICE_LIT("*.")))
        return slice_eq_nocase(name, host);
    suffix = slice_sub(name, 1, name.len); /* ".example.com" */
    return !p->is_ip && suffix.len > 1 && host.len > suffix.len &&
           slice_eq_nocase(slice_sub(host, host.len - suffix.len, suffix.len), suffix);
}

static bool host_allowed(const struct policy *policy, const struct parts *p)
{
    for (size_t i = 0; i < policy->host_count; i++) {
        if (host_matches(policy->hosts[i], p))
            return true;
    }
    return false;
}

/* CONNECT makes a tunnel and TRACE sends the token back in a body: no list allows them. */
static bool method_allowed(const struct policy *policy, struct slice method)
{
    static const char *const usual[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};

    if (slice_is(method, "CONNECT") || slice_is(method, "TRACE"))
        return false;
    for (size_t i = 0; i < policy->method_count; i++) {
        if (slice_eq(policy->methods[i], method))
            return true;
    }
    for (size_t i = 0; policy->method_count == 0 && i < ARRAY_LEN(usual); i++) {
        if (slice_is(method, usual[i]))
            return true;
    }
    return false;
}

static bool path_allowed(const struct policy *policy, struct slice path)
{
    if (path.len == 0)
        path = SLICE_LIT("/");
    for (size_t i = 0; i < policy->path_count; i++) {
        struct slice prefix = policy->paths[i];

        if (!slice_starts(path, prefix) || prefix.len == 0)
            continue;
        if (prefix.len == path.len || prefix.ptr[prefix.len - 1] == '/' ||
            path.ptr[prefix.len] == '/')
            return true;
    }
    return policy->path_count == 0;
}

static void put_origin(struct buf *out, const struct parts *p, bool always_port)
{
    bool usual = p->port == (p->https ? 443 : 80);

    buf_add_slice(out, p->https ? SLICE_LIT("https://") : SLICE_LIT("http://"));
    buf_add_cstr(out, p->host);
    if (always_port || !usual)
        buf_addf(out, ":%u", (unsigned)p->port);
}

static bool put_url(struct buf *out, struct buf *origin, const struct parts *p, struct err *err)
{
    buf_clear(out);
    put_origin(out, p, false);
    if (p->path.len == 0)
        buf_add_char(out, '/');
    buf_add_slice(out, p->path);
    buf_add_slice(out, p->query);
    if (origin) {
        buf_clear(origin);
        put_origin(origin, p, true);
    }
    if (!buf_ok(out) || (origin && !buf_ok(origin)))
        return err_set(err, ERR_NOMEM, "the URL does not fit");
    return true;
}

bool egress_check(const struct policy *p, struct slice method, struct slice url, struct buf *out,
                  struct buf *origin, struct err *err)
{
    struct parts parts;

    if (!http_is_token(method))
        return err_rule(err, ERR_DENIED, "method_invalid", "the method is not a word of letters");
    if (!take_apart(url, &parts, err))
        return false;
    if (!parts.https && !p->insecure_http)
        return err_rule(err, ERR_DENIED, "scheme_not_allowed",
                        "http is not allowed; the policy would need insecure_http");
    if (!host_allowed(p, &parts))
        return err_rule(err, ERR_DENIED, "host_not_allowed",
                        "the policy's hosts do not name %.200s:%u", parts.host,
                        (unsigned)parts.port);
    if (parts.is_ip && !egress_check_address(p->allow_private, (struct sockaddr *)&parts.addr, err))
        return false;
    if (!method_allowed(p, method))
        return err_rule(err, ERR_DENIED, "method_not_allowed",
                        "the policy's methods do not name %.*s",
                        method.len > 32 ? 32 : (int)method.len, method.ptr);
    if (!path_allowed(p, parts.path))
        return err_rule(err, ERR_DENIED, "path_not_allowed",
                        "the policy's paths hold no prefix of this one");
    return put_url(out, origin, &parts, err);
}

bool egress_check_endpoint(bool insecure_http, struct slice url, struct err *err)
{
    struct parts parts;

    if (!take_apart(url, &parts, err))
        return false;
    if (!parts.https && !insecure_http)
        return err_rule(err, ERR_DENIED, "scheme_not_allowed",
                        "http is not allowed; the policy would need insecure_http");
    return true;
}

/* ---- headers ---- */

/* Some servers read "_" in a name as "-" (CGI variables know no hyphen). */
static bool name_is(struct slice name, const char *other)
{
    size_t i = 0;

    for (; i < name.len && other[i] != '\0'; i++) {
        char c = name.ptr[i] == '_' ? '-' : lower(name.ptr[i]);

        if (c != other[i])
            return false;
    }
    return i == name.len && other[i] == '\0';
}

bool egress_check_header(struct slice name, struct slice value, bool allow_cookie, struct err *err)
{
    static const char *const forbidden[] = {
        "host",
        "authorization",
        "dpop",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "keep-alive",
        "te",
        "trailer",
        "expect",
        "http2-settings",
        "proxy",
    };
    bool no;

    if (!http_is_token(name) || !http_is_header_value(value))
        return err_rule(err, ERR_DENIED, "header_invalid",
                        "a header's name or value holds characters that are not allowed there");
    no = (name_is(name, "cookie") && !allow_cookie) ||
         (name.len > 6 && name_is(slice_sub(name, 0, 6), "proxy-"));
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        no = no || name_is(name, forbidden[i]);
    if (no)
        return err_rule(err, ERR_DENIED, "header_forbidden", "a job may not set the header %.*s",
                        name.len > 64 ? 64 : (int)name.len, name.ptr);
    return true;
}

/* ---- redirects ---- */

/* RFC 3986 section 5.2.4, for a path that begins with its slash. */
static void add_without_dots(struct buf *out, struct slice path)
{
    size_t floor = out->len; /* ".." goes no further back */

    for (size_t at = 1, end; at <= path.len; at = end + 1) {
        struct slice rest = slice_sub(path, at, path.len), segment;
        bool up, here;

        end = at + slice_find(rest, '/');
        segment = slice_sub(path, at, end - at);
        up = slice_is(segment, "..");
        here = up || slice_is(segment, ".");
        while (up && out->len > floor && out->ptr[--out->len] != '/')
            ;
        if (!here || end == path.len)
            buf_add_char(out, '/');
        if (!here)
            buf_add_slice(out, segment);
    }
}

struct split {
    struct slice head; /* "scheme://authority", as written */
    struct slice path, query;
};

static struct split split_url(struct slice url)
{
    struct slice u = slice_sub(url, 0, slice_find(url, '#'));
    size_t scheme = slice_find(u, ':') + 3;
    size_t path = scheme < u.len ? scheme + find_any(slice_sub(u, scheme, u.len), "/?") : u.len;
    size_t query = slice_find(u, '?');

    return (struct split){
        .head = slice_sub(u, 0, path),
        .path = slice_sub(u, path, query > path ? query - path : 0),
        .query = slice_sub(u, query, u.len),
    };
}

static bool has_scheme(struct slice ref)
{
    size_t colon = find_any(ref, ":/?#");

    return colon > 0 && colon < ref.len && ref.ptr[colon] == ':';
}

/* Where the reference leads, in three parts; `path` is filled when base and reference are merged.
 */
static bool merge(struct slice base_url, struct slice ref, struct split *to, struct buf *text)
{
    struct split base = split_url(base_url);
    size_t query = slice_find(ref, '?'), dir = base.path.len;

    *to = base;
    if (ref.len == 0)
        return true;
    if (has_scheme(ref)) {
        *to = split_url(ref);
        return true;
    }
    if (slice_starts(ref, SLICE_LIT("//"))) {
        buf_add_slice(text, slice_sub(base.head, 0, slice_find(base.head, ':') + 1));
        buf_add_slice(text, ref);
        *to = split_url(buf_slice(text));
        return buf_ok(text);
    }
    to->query = slice_sub(ref, query, ref.len);
    if (query == 0)
        return true;
    to->path = slice_sub(ref, 0, query);
    if (ref.ptr[0] == '/')
        return true;
    while (dir > 0 && base.path.ptr[dir - 1] != '/')
        dir--;
    buf_add_slice(text, dir > 0 ? slice_sub(base.path, 0, dir) : SLICE_LIT("/"));
    buf_add_slice(text, to->path);
    to->path = buf_slice(text);
    return buf_ok(text);
}

/* A Location is a URI reference, but servers do write spaces and raw UTF-8 into it. */
static bool clean_location(struct slice location, struct buf *out, struct err *err)
{
    location = slice_trim(location);
    location = slice_sub(location, 0, slice_find(location, '#'));
    for (size_t i = 0; i < location.len; i++) {
        unsigned char c = (unsigned char)location.ptr[i];

        if (c < 0x20 || c == 0x7f)
            return bad_url(err, "the Location holds a control character");
        if (c == ' ' || c > 0x7f)
            buf_addf(out, "%%%02X", c);
        else
            buf_add_char(out, (char)c);
    }
    return buf_ok(out) || bad_url(err, "the Location is longer than 16 KiB");
}

bool egress_resolve(struct slice base, struct slice location, struct buf *out, struct err *err)
{
    struct buf ref, text, whole;
    struct split to;
    bool ok = false;

    buf_init(&ref, MAX_URL);
    buf_init(&text, 2 * MAX_URL);
    buf_init(&whole, MAX_URL);
    if (!clean_location(location, &ref, err))
        goto out;
    if (merge(base, buf_slice(&ref), &to, &text)) {
        buf_add_slice(&whole, to.head);
        if (to.path.len > 0)
            add_without_dots(&whole, to.path);
        buf_add_slice(&whole, to.query);
    }
    if (!buf_ok(&text) || !buf_ok(&whole)) {
        bad_url(err, "it is longer than 16 KiB");
        goto out;
    }
    buf_clear(out);
    ok = buf_add_slice(out, buf_slice(&whole)) || err_set(err, ERR_NOMEM, "the URL does not fit");
out:
    buf_deinit(&whole);
    buf_deinit(&text);
    buf_deinit(&ref);
    return ok;
}

bool egress_same_origin(struct slice url_a, struct slice url_b)
{
    struct parts a, b;

    return take_apart(url_a, &a, NULL) && take_apart(url_b, &b, NULL) && a.https == b.https &&
           a.port == b.port && strcmp(a.host, b.host) == 0;
}

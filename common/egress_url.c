#include "common/egress_url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "common/char.h"
#include "common/egress.h"

bool egress_url_bad(struct err *err, const char *why)
{
    return err_rule(err, ERR_DENIED, "url_invalid", "the URL cannot be used: %s", why);
}

/* ---- scheme, host, port ---- */

static bool take_scheme(struct slice *s, struct egress_url *u, struct err *err)
{
    size_t at = slice_find_any(*s, ":/?#");
    struct slice scheme = slice_sub(*s, 0, at);

    if (at == 0 || !slice_starts(slice_sub(*s, at, s->len), SLICE_LIT("://")))
        return egress_url_bad(err, "it does not begin with a scheme and //");
    *s = slice_sub(*s, at + 3, s->len);
    u->https = slice_eq_nocase(scheme, SLICE_LIT("https"));
    if (!u->https && !slice_eq_nocase(scheme, SLICE_LIT("http")))
        return err_rule(err, ERR_DENIED, "scheme_not_allowed",
                        "only https (and http, where the policy allows it) may be called");
    return true;
}

static bool take_port(struct slice text, struct egress_url *u, struct err *err)
{
    uint64_t port;

    if (text.len > 5 || !slice_to_u64(text, &port) || port == 0 || port > 65535 ||
        text.ptr[0] == '0')
        return egress_url_bad(err, "the port is not a number from 1 to 65535");
    u->port = (uint16_t)port;
    return true;
}

static bool ipv6_host(struct slice text, struct egress_url *u, struct err *err)
{
    struct sockaddr_in6 *to = (struct sockaddr_in6 *)&u->addr;
    char copy[INET6_ADDRSTRLEN], canon[INET6_ADDRSTRLEN];

    /* a zone id ("%25eth0") picks a network card of this machine: not for a URL to say */
    if (!slice_copy(text, copy, sizeof copy) || inet_pton(AF_INET6, copy, &to->sin6_addr) != 1 ||
        !inet_ntop(AF_INET6, &to->sin6_addr, canon, sizeof canon))
        return egress_url_bad(err, "the host in brackets is not an IPv6 address");
    to->sin6_family = AF_INET6;
    u->is_ip = true;
    snprintf(u->host, sizeof u->host, "[%s]", canon);
    return true;
}

static bool label_ok(struct slice label)
{
    if (label.len == 0 || label.len > 63 || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
        return false;
    for (size_t i = 0; i < label.len; i++) {
        char c = label.ptr[i];

        if (!char_is_digit(c) && !(c >= 'a' && c <= 'z') && c != '-' && c != '_')
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
        if (hex ? char_hex(last.ptr[i]) < 0 : !char_is_digit(last.ptr[i]))
            return false;
    }
    return true;
}

static bool name_host(struct slice text, struct egress_url *u, struct err *err)
{
    struct sockaddr_in *to = (struct sockaddr_in *)&u->addr;
    struct slice rest, label;

    if (text.len == 0)
        return egress_url_bad(err, "it has no host");
    if (text.len > EGRESS_HOST_MAX || text.ptr[text.len - 1] == '.')
        return egress_url_bad(err, "the host is too long or ends in a dot");
    for (size_t i = 0; i < text.len; i++)
        u->host[i] = char_lower(text.ptr[i]);
    u->host[text.len] = '\0';
    rest = text = slice_cstr(u->host);
    while (slice_cut(&rest, '.', &label)) {
        if (!label_ok(label))
            return egress_url_bad(err,
                                  "the host is not a name of letters, digits, dots and hyphens "
                                  "(write other scripts as xn--)");
    }
    if (!ends_in_number(text))
        return true;
    if (inet_pton(AF_INET, u->host, &to->sin_addr) != 1)
        return egress_url_bad(err, "the host is a number that is not a plain IPv4 address");
    to->sin_family = AF_INET;
    u->is_ip = true;
    return true;
}

static bool take_authority(struct slice *s, struct egress_url *u, struct err *err)
{
    size_t end = slice_find_any(*s, "/?#\\");
    struct slice text = slice_sub(*s, 0, end);
    size_t colon;

    *s = slice_sub(*s, end, s->len);
    u->port = u->https ? 443 : 80;
    if (slice_find(text, '@') < text.len)
        return err_rule(err, ERR_DENIED, "url_userinfo", "the URL holds a user name or password");
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = slice_find(text, ']');
        struct slice after = slice_sub(text, close + 1, text.len);

        if (close == text.len || (after.len > 0 && after.ptr[0] != ':'))
            return egress_url_bad(err, "the host's brackets do not match");
        return ipv6_host(slice_sub(text, 1, close - 1), u, err) &&
               (after.len == 0 || take_port(slice_sub(after, 1, after.len), u, err));
    }
    colon = slice_find(text, ':');
    return name_host(slice_sub(text, 0, colon), u, err) &&
           (colon == text.len || take_port(slice_sub(text, colon + 1, text.len), u, err));
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
    if (i + 2 >= s.len || (high = char_hex(s.ptr[i + 1])) < 0 || (low = char_hex(s.ptr[i + 2])) < 0)
        return -1;
    *len = 3;
    c = high * 16 + low;
    while (c == '%' && i + *len + 1 < s.len && (high = char_hex(s.ptr[i + *len])) >= 0 &&
           (low = char_hex(s.ptr[i + *len + 1])) >= 0) {
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
        return egress_url_bad(err, "the path holds a control character or a broken percent sign");
    if (!encoded && (c > 0x7e || strchr(" \"<>^`{|}", c)))
        return egress_url_bad(err, "the path holds a character that must be percent-encoded");
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
            return egress_url_bad(err, "the query holds a character that must be percent-encoded");
    }
    return true;
}

/* ---- the whole ---- */

bool egress_url_parse(struct slice url, struct egress_url *u, struct err *err)
{
    struct slice rest = url;
    size_t at;

    *u = (struct egress_url){0};
    if (url.len > EGRESS_URL_MAX)
        return egress_url_bad(err, "it is longer than 16 KiB");
    if (!take_scheme(&rest, u, err) || !take_authority(&rest, u, err))
        return false;
    rest = slice_sub(rest, 0, slice_find(rest, '#'));
    at = slice_find(rest, '?');
    u->path = slice_sub(rest, 0, at);
    u->query = slice_sub(rest, at, rest.len);
    return check_path(u->path, err) && check_query(u->query, err);
}

static void put_origin(struct buf *out, const struct egress_url *u, bool always_port)
{
    bool usual = u->port == (u->https ? 443 : 80);

    buf_add_slice(out, u->https ? SLICE_LIT("https://") : SLICE_LIT("http://"));
    buf_add_cstr(out, u->host);
    if (always_port || !usual)
        buf_addf(out, ":%u", (unsigned)u->port);
}

bool egress_url_put(const struct egress_url *u, struct buf *out, struct buf *origin,
                    struct err *err)
{
    buf_clear(out);
    put_origin(out, u, false);
    if (u->path.len == 0)
        buf_add_char(out, '/');
    buf_add_slice(out, u->path);
    buf_add_slice(out, u->query);
    if (origin) {
        buf_clear(origin);
        put_origin(origin, u, true);
    }
    if (!buf_ok(out) || (origin && !buf_ok(origin)))
        return err_set(err, ERR_NOMEM, "the URL does not fit");
    return true;
}

bool egress_same_origin(struct slice url_a, struct slice url_b)
{
    struct egress_url a, b;

    return egress_url_parse(url_a, &a, NULL) && egress_url_parse(url_b, &b, NULL) &&
           a.https == b.https && a.port == b.port && strcmp(a.host, b.host) == 0;
}

#include "common/egress.h"

#include <sys/socket.h>
#include "common/char.h"
#include "common/egress_url.h"
#include "common/http.h"

/* ---- the policy ---- */

static bool host_matches(struct slice entry, const struct egress_url *u)
{
    struct slice host = slice_cstr(u->host), name = entry, suffix;
    size_t from = entry.len > 0 && entry.ptr[0] == '[' ? slice_find(entry, ']') : 0;
    size_t colon = from + slice_find(slice_sub(entry, from, entry.len), ':');
    uint64_t port = u->https ? 443 : 80;

    if (colon < entry.len) {
        name = slice_sub(entry, 0, colon);
        if (!slice_to_u64(slice_sub(entry, colon + 1, entry.len), &port))
            return false;
    }
    if (port != u->port)
        return false;
    if (!slice_starts(name, SLICE_LIT("*.")))
        return slice_eq_nocase(name, host);
    suffix = slice_sub(name, 1, name.len); /* ".example.com" */
    return !u->is_ip && suffix.len > 1 && host.len > suffix.len &&
           slice_eq_nocase(slice_sub(host, host.len - suffix.len, suffix.len), suffix);
}

static bool host_allowed(const struct policy *policy, const struct egress_url *u)
{
    for (size_t i = 0; i < policy->host_count; i++) {
        if (host_matches(policy->hosts[i], u))
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

bool egress_check(const struct policy *p, struct slice method, struct slice url, struct buf *out,
                  struct buf *origin, struct err *err)
{
    struct egress_url u;

    if (!http_is_token(method))
        return err_rule(err, ERR_DENIED, "method_invalid", "the method is not a word of letters");
    if (!egress_url_parse(url, &u, err))
        return false;
    if (!u.https && !p->insecure_http)
        return err_rule(err, ERR_DENIED, "scheme_not_allowed",
                        "http is not allowed; the policy would need insecure_http");
    if (!host_allowed(p, &u))
        return err_rule(err, ERR_DENIED, "host_not_allowed",
                        "the policy's hosts do not name %.200s:%u", u.host, (unsigned)u.port);
    if (u.is_ip && !egress_check_address(p->allow_private, (struct sockaddr *)&u.addr, err))
        return false;
    if (!method_allowed(p, method))
        return err_rule(err, ERR_DENIED, "method_not_allowed",
                        "the policy's methods do not name %.*s",
                        method.len > 32 ? 32 : (int)method.len, method.ptr);
    if (!path_allowed(p, u.path))
        return err_rule(err, ERR_DENIED, "path_not_allowed",
                        "the policy's paths hold no prefix of this one");
    return egress_url_put(&u, out, origin, err);
}

bool egress_check_base(const struct policy *p, struct slice url, struct err *err)
{
    struct policy hosts = *p;
    struct buf out;
    bool ok;

    hosts.path_count = hosts.method_count = 0;
    buf_init(&out, url.len * 3 + 64);
    ok = egress_check(&hosts, SLICE_LIT("GET"), url, &out, NULL, err);
    buf_deinit(&out);
    return ok;
}

bool egress_check_endpoint(bool insecure_http, struct slice url, struct err *err)
{
    struct egress_url u;

    if (!egress_url_parse(url, &u, err))
        return false;
    if (!u.https && !insecure_http)
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
        char c = name.ptr[i] == '_' ? '-' : char_lower(name.ptr[i]);

        if (c != other[i])
            return false;
    }
    return i == name.len && other[i] == '\0';
}

bool egress_same_header(struct slice a, struct slice b)
{
    char lower[256];

    for (size_t i = 0; i < b.len && i < sizeof lower - 1; i++)
        lower[i] = b.ptr[i] == '_' ? '-' : char_lower(b.ptr[i]);
    lower[b.len < sizeof lower ? b.len : 0] = '\0';
    return name_is(a, lower);
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
        /* what some servers take for another method, path or caller than those that were checked */
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-rewrite-url",
        "forwarded",
        "via",
        "set-cookie",
    };
    int shown = name.len > 64 ? 64 : (int)name.len;
    bool no;

    if (!http_is_token(name))
        return err_rule(err, ERR_DENIED, "header_invalid",
                        "a header's name holds characters that are not allowed there");
    if (!http_is_header_value(value))
        return err_rule(err, ERR_DENIED, "header_invalid",
                        "the value of the header %.*s holds characters that are not allowed there",
                        shown, name.ptr);
    no = (name_is(name, "cookie") && !allow_cookie) ||
         (name.len > 6 && name_is(slice_sub(name, 0, 6), "proxy-")) ||
         (name.len > 12 && name_is(slice_sub(name, 0, 12), "x-forwarded-"));
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        no = no || name_is(name, forbidden[i]);
    if (no)
        return err_rule(err, ERR_DENIED, "header_forbidden", "a job may not set the header %.*s",
                        shown, name.ptr);
    return true;
}

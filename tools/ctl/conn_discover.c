/* awq-ctl conn discover: what an authorization server publishes of itself (RFC 8414, OpenID Connect
 * Discovery), as lines for a connection's file. They are printed, not applied: a file says itself
 * where secrets are sent, and shows in its history when that changes. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "common/egress.h"
#include "common/json.h"
#include "tools/ctl/checks.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/once.h"

#define URL_MAX  2048
#define AUTH_MAX 16

enum { D_GRANT, D_INSECURE_HTTP, D_ALLOW_PRIVATE, D_MTLS };
const struct flag conn_discover_flags[4] = {
    [D_GRANT] = {"--grant", NULL, "NAME", "the lines of this grant only: client_credentials ..."},
    [D_INSECURE_HTTP] = {"--insecure-http", NULL, NULL, "http:// too"},
    [D_ALLOW_PRIVATE] = {"--allow-private", NULL, NULL,
                         "loopback, private and link-local addresses too"},
    [D_MTLS] =
        {"--mtls", NULL, NULL,
         "for a connection with `tls`: the addresses that want certificates, where there are"},
};

/* Endpoints, literally as published, and what they are called in a connection's file. */
#define AT(member) offsetof(struct connection_cfg, member)
static const struct {
    const char *published, *setting;
    size_t at;
} endpoints[] = {
    {"token_endpoint", "token_url", AT(token_url)},
    {"authorization_endpoint", "authorize_url", AT(authorize_url)},
    {"pushed_authorization_request_endpoint", "par_url", AT(par_url)},
    {"device_authorization_endpoint", "device_url", AT(device_url)},
    {"revocation_endpoint", "revoke_url", AT(revoke_url)},
    {"introspection_endpoint", "introspect_url", AT(introspect_url)},
};
#undef AT
static const struct {
    const char *published, *setting;
} methods[] = {
    {"client_secret_basic", "basic"},
    {"client_secret_post", "post"},
    {"client_secret_jwt", "client_secret_jwt"},
    {"private_key_jwt", "private_key_jwt"},
    {"tls_client_auth", "tls_client_auth"},
    {"self_signed_tls_client_auth", "self_signed_tls_client_auth"},
    {"none", "none"},
};

struct discovery {
    struct ctl *c;
    struct slice issuer;
    bool insecure_http, allow_private, mtls;
    bool one_grant; /* is printed: */
    enum grant_kind grant;
    bool found, no_json;
    int status;
    const struct connection_cfg *cfg; /* to compare with; NULL: it is printed */
    struct checks *checks;
    struct err err;
};

/* Is it a list that has this word? */
static bool lists(const struct json_val *list, const char *word)
{
    const struct json_val *one;
    struct json_iter it;
    struct slice key, s;

    if (json_type(list) != JSON_ARR)
        return false;
    json_iter_init(&it, list);
    while (json_iter_next(&it, &key, &one))
        if (json_str(one, &s) && slice_is(s, word))
            return true;
    return false;
}

static bool is_address(const struct discovery *d, struct slice url)
{
    return url.len > 0 && url.len <= URL_MAX && slice_is_visible(url) &&
           egress_check_endpoint(d->insecure_http, url, NULL);
}

static void show(struct out *o, const char *setting, struct slice value)
{
    struct json_writer w;
    struct buf text;

    if (o->json) {
        out_key(o, setting);
        out_text(o, value);
        return;
    }
    buf_init(&text, URL_MAX * 8);
    jw_init(&w, &text);
    jw_str(&w, value); /* a JSON text is one of YAML, too */
    out_note(o, "%s: %.*s", setting, SLICE_FMT(buf_slice(&text)));
    buf_deinit(&text);
}

static void show_methods(const struct discovery *d, const struct json_val *root)
{
    bool shows_itself = d->one_grant && d->grant == GRANT_CLIENT_CREDENTIALS;
    struct out *o = &d->c->out;
    const struct json_val *list = json_get(root, "token_endpoint_auth_methods_supported");
    struct buf text;

    buf_init(&text, 256);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if ((json_type(list) == JSON_NONE ? i == 0 : lists(list, methods[i].published)) &&
            !(shows_itself && strcmp(methods[i].setting, "none") == 0))
            buf_addf(&text, "%s%s", text.len > 0 ? ", " : "", methods[i].setting);
    if (o->json) {
        out_key(o, "client_auth");
        out_text(o, buf_slice(&text));
    } else {
        out_note(o, "# client.auth: %.*s", SLICE_FMT(buf_slice(&text)));
    }
    buf_deinit(&text);
}

/* RFC 8705 section 5: who shows a certificate asks at the alias, where there is one, and else at
 * the endpoint of all. The owner's browser, who has another certificate or none, has no alias. */
static bool alias(const struct json_val *root, size_t endpoint, struct slice *url)
{
    const char *published = endpoints[endpoint].published;

    return strcmp(published, "authorization_endpoint") != 0 &&
           json_str(json_get(json_get(root, "mtls_endpoint_aliases"), published), url);
}

/* RFC 8414 section 3.3: the issuer in it must be the one that was asked for, to the letter. */
static bool check(struct discovery *d, const struct json_val *root)
{
    struct slice issuer = SLICE_NONE, url;

    json_str(json_get(root, "issuer"), &issuer);
    if (!slice_eq(issuer, d->issuer))
        return err_set(&d->err, ERR_DENIED,
                       "its metadata is of another issuer%s%.*s: nothing of it is to be believed",
                       is_address(d, issuer) ? ", " : "",
                       SLICE_FMT(is_address(d, issuer) ? issuer : SLICE_NONE));
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        url = SLICE_NONE;
        if (json_str(json_get(root, endpoints[i].published), &url) && !is_address(d, url))
            return err_set(&d->err, ERR_DENIED, "its %s is no https:// address",
                           endpoints[i].published);
        if (d->mtls && alias(root, i, &url) && !is_address(d, url))
            return err_set(&d->err, ERR_DENIED,
                           "its %s of mtls_endpoint_aliases is no https:// address",
                           endpoints[i].published);
    }
    url = SLICE_NONE;
    return json_str(json_get(root, "token_endpoint"), &url) ||
           err_set(&d->err, ERR_DENIED, "its metadata has no token_endpoint");
}

/* As who asks it uses it; false: it publishes none. */
static bool published(const struct discovery *d, const struct json_val *root, size_t endpoint,
                      struct slice *url)
{
    return (d->mtls && alias(root, endpoint, url)) ||
           json_str(json_get(root, endpoints[endpoint].published), url);
}

/* Has the server moved, or does the file send secrets to another place than its issuer's? */
static void compare(struct discovery *d, const struct json_val *root)
{
    bool same = true;
    struct slice url;

    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++) {
        const struct slice *ours = (const struct slice *)((const char *)d->cfg + endpoints[i].at);

        if (ours->len == 0 || !published(d, root, i, &url) || slice_eq(*ours, url))
            continue;
        same = false;
        checks_add(d->checks, CHECK_WARN, "discovery",
                   "If the provider has moved, conn discover prints its addresses for the file; if "
                   "not, the file is wrong",
                   "%s is %.*s, and its issuer publishes %.*s", endpoints[i].setting,
                   SLICE_FMT(*ours), SLICE_FMT(url));
    }
    if (same)
        checks_add(d->checks, CHECK_OK, "discovery", NULL, "%.*s publishes the same addresses",
                   SLICE_FMT(d->issuer));
}

/* The issuer of a server whose redirects have it (RFC 9207): each of them has, and one without is
 * none. Where there are none, conn test compares with it. */
static bool shows_issuer(const struct discovery *d, const struct json_val *root)
{
    bool iss = false;

    json_bool(json_get(root, "authorization_response_iss_parameter_supported"), &iss);
    return iss || (d->one_grant && d->grant != GRANT_AUTHORIZATION_CODE);
}

static void report(struct discovery *d, const struct json_val *root)
{
    struct out *o = &d->c->out;
    struct slice url;

    if (o->json)
        out_thing(o);
    for (size_t i = 0; i < ARRAY_LEN(endpoints); i++)
        if ((!d->one_grant || grant_has_url(d->grant, endpoints[i].setting)) &&
            published(d, root, i, &url))
            show(o, endpoints[i].setting, url);
    if (shows_issuer(d, root))
        show(o, "issuer", d->issuer);
    show_methods(d, root);
    if (!o->json && !d->one_grant)
        out_note(o, "# these are of all grants; a file has one: --grant NAME");
    if (!o->json && !d->mtls && json_type(json_get(root, "mtls_endpoint_aliases")) == JSON_OBJ)
        out_note(o, "# with tls in the file it has other addresses: --mtls");
    if (json_str(json_get(root, "registration_endpoint"), &url) && is_address(d, url)) {
        if (o->json)
            show(o, "registration", url);
        else
            out_note(o, "# conn register %.*s", SLICE_FMT(url));
    }
    if (o->json)
        out_thing_end(o);
}

static void on_metadata(void *owner, const struct http_result *answer)
{
    struct discovery *d = owner;
    struct json *doc;

    d->status = answer->status;
    if (answer->status != 200)
        return;
    doc = json_parse(buf_slice(answer->body), NULL);
    d->no_json = d->no_json || !doc; /* a page for people, perhaps: the next place is asked */
    d->found = doc != NULL;
    if (doc && check(d, json_root(doc))) {
        if (d->cfg)
            compare(d, json_root(doc));
        else
            report(d, json_root(doc));
    }
    json_free(doc);
}

static bool ask(struct discovery *d, const struct buf *url)
{
    const struct once o = {.what = "its metadata",
                           .url = buf_slice(url),
                           .insecure_http = d->insecure_http,
                           .allow_private = d->allow_private,
                           .by_option = !d->cfg};

    return once_ask(&o, on_metadata, d, &d->err);
}

/* RFC 8414 section 3.1: between host and path; OpenID Connect Discovery section 4: behind the path.
 */
static bool discover(struct discovery *d)
{
    struct slice rest = slice_sub(d->issuer, 8, d->issuer.len), path;
    size_t slash = 8 + slice_find(rest, '/');
    struct buf url;
    bool ok;

    path = slice_sub(d->issuer, slash, d->issuer.len);
    while (path.len > 0 && path.ptr[path.len - 1] == '/')
        path.len--;
    buf_init(&url, URL_MAX * 2);
    buf_add_slice(&url, slice_sub(d->issuer, 0, slash));
    buf_add_cstr(&url, "/.well-known/oauth-authorization-server");
    ok = buf_add_slice(&url, path) && ask(d, &url);
    if (ok && !d->found) {
        buf_clear(&url);
        buf_add_slice(&url, slice_sub(d->issuer, 0, slash));
        buf_add_slice(&url, path);
        ok = buf_add_cstr(&url, "/.well-known/openid-configuration") && ask(d, &url);
    }
    buf_deinit(&url);
    if (ok && !d->found && d->no_json)
        return err_set(&d->err, ERR_DENIED, "what it publishes is no JSON");
    if (ok && !d->found)
        return err_set(&d->err, ERR_NOT_FOUND,
                       "it publishes nothing of itself (answered %d); its documentation has the "
                       "addresses",
                       d->status);
    return ok && d->err.code == ERR_NONE;
}

void conn_compare(struct ctl *c, const struct connection_cfg *cfg, struct checks *checks)
{
    struct discovery d = {.c = c,
                          .issuer = cfg->issuer,
                          .insecure_http = cfg->policy.insecure_http,
                          .allow_private = cfg->policy.allow_private,
                          .mtls = cfg->certificate.len > 0,
                          .cfg = cfg,
                          .checks = checks};

    if (cfg->issuer.len == 0 || discover(&d) || d.err.code == ERR_NOT_FOUND)
        return; /* not every server publishes something */
    checks_add(checks, CHECK_WARN, "discovery", "Is issuer right? Workers do not ask it",
               "%.*s: %s", SLICE_FMT(d.issuer), d.err.msg);
}

int conn_discover(struct ctl *c, const struct args *a)
{
    struct discovery d = {.c = c,
                          .issuer = slice_cstr(a->names[0]),
                          .insecure_http = a->flag[D_INSECURE_HTTP] != NULL,
                          .allow_private = a->flag[D_ALLOW_PRIVATE] != NULL,
                          .mtls = a->flag[D_MTLS] != NULL,
                          .one_grant = a->flag[D_GRANT] != NULL};
    int code;

    if (d.one_grant && !grant_kind_parse(slice_cstr(a->flag[D_GRANT]), &d.grant))
        return ctl_usage(c,
                         "--grant must be client_credentials, refresh_token, authorization_code, "
                         "device_code, jwt_bearer, saml2_bearer, token_exchange or password");

    if (!is_address(&d, d.issuer) || slice_find(d.issuer, '?') < d.issuer.len ||
        slice_find(d.issuer, '#') < d.issuer.len)
        return ctl_usage(c, "ISSUER must be an https:// address without query or fragment");
    if (discover(&d))
        return CTL_OK;
    err_prefix(&d.err, "%s: ", a->names[0]);
    code = ctl_fail(c, &d.err);
    return code == CTL_UNREACHABLE ? CTL_FAILED : code; /* that code is Redis' */
}

/* What a connection's settings say together: which of them have a use beside which. */
#include "common/connection_inside.h"

#include <stddef.h>
#include <string.h>

struct check {
    const struct connection_cfg *cfg;
    const char *setting; /* that is looked at */
    struct err *err;
};

bool connection_wrong(const char *setting, const char *why, struct err *err)
{
    return err_rule(err, ERR_FORMAT, "connection_broken", "%s %s", connection_in_file(setting),
                    why);
}

bool connection_wrong_entry(struct cfg_fault *at, enum entry_of of, struct slice entry,
                            const char *why, struct err *err)
{
    bool secret = slice_find(entry, '@') < entry.len; /* perhaps: as in https://me:PASSWORD@host */

    slice_copy(entry, at->entry, sizeof at->entry);
    return err_rule(err, ERR_FORMAT, "connection_broken", "%s%s%.*s %s",
                    connection_in_file(at->setting), of == OF_MAP ? "." : ": ",
                    SLICE_FMT(secret ? SLICE_LIT("one with an @") : slice_sub(entry, 0, 64)), why);
}

static bool wrong(struct check *k, const char *why)
{
    return connection_wrong(k->setting, why, k->err);
}

bool connection_check_url(const struct connection_cfg *c, const char *setting, struct slice url,
                          struct err *err)
{
    struct err why = {0};
    struct slice host;
    size_t scheme = 0;

    if (!slice_is_visible(url) || slice_find(url, '#') < url.len || slice_find(url, '\\') < url.len)
        return connection_wrong(setting, "has a character that no URL has, or a fragment", err);
    if (slice_starts(url, SLICE_LIT("https://")))
        scheme = 8;
    else if (slice_starts(url, SLICE_LIT("http://")) && c->policy.insecure_http)
        scheme = 7;
    else
        return connection_wrong(
            setting, "must begin with https:// (http:// needs policy.insecure_http: true)", err);
    host = slice_sub(url, scheme, url.len);
    host = slice_sub(host, 0, slice_find(host, '/'));
    host = slice_sub(host, 0, slice_find(host, '?'));
    if (host.len == 0 || slice_find(host, '@') < host.len)
        return connection_wrong(setting, "must name a host, and no user", err);
    return egress_check_endpoint(c->policy.insecure_http, url, &why) ||
           err_rule(err, ERR_FORMAT, "connection_broken", "%s: %s", connection_in_file(setting),
                    why.msg);
}

/* Addresses, and which grant has a use for them. */
static const struct {
    const char *setting;
    size_t at;
    enum { NO_OTHER, ANY_GRANT, ANY_ASKED } more; /* grants than this one: */
    enum grant_kind grant;
    const char *missing; /* it cannot do without: why */
} urls[] = {
    {"token_url", offsetof(struct connection_cfg, token_url), ANY_GRANT, 0, NULL},
    {"revoke_url", offsetof(struct connection_cfg, revoke_url), ANY_GRANT, 0, NULL},
    {"introspect_url", offsetof(struct connection_cfg, introspect_url), ANY_GRANT, 0, NULL},
    {"authorize_url", offsetof(struct connection_cfg, authorize_url), NO_OTHER,
     GRANT_AUTHORIZATION_CODE, "is missing: it is where the owner is asked (RFC 6749 section 3.1)"},
    {"par_url", offsetof(struct connection_cfg, par_url), NO_OTHER, GRANT_AUTHORIZATION_CODE, NULL},
    {"issuer", offsetof(struct connection_cfg, issuer), ANY_GRANT, 0, NULL},
    {"device_url", offsetof(struct connection_cfg, device_url), ANY_ASKED, GRANT_DEVICE_CODE,
     "is missing: it gives the code that the owner enters (RFC 8628 section 3.1)"},
};

static bool has_use(size_t url, enum grant_kind g)
{
    switch (urls[url].more) {
    case ANY_GRANT:
        return true;
    case ANY_ASKED:
        return grant_is_asked(g);
    case NO_OTHER:
        break;
    }
    return urls[url].grant == g;
}

bool grant_has_url(enum grant_kind g, const char *setting)
{
    for (size_t i = 0; i < ARRAY_LEN(urls); i++)
        if (strcmp(urls[i].setting, setting) == 0)
            return has_use(i, g);
    return false;
}

static bool check_urls(struct check *k)
{
    const struct connection_cfg *c = k->cfg;

    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        const struct slice *url = (const struct slice *)((const char *)c + urls[i].at);
        bool own = urls[i].more != ANY_GRANT && urls[i].grant == c->grant;

        k->setting = urls[i].setting;
        if (own && urls[i].missing && url->len == 0)
            return wrong(k, urls[i].missing);
        if (!has_use(i, c->grant) && url->len > 0)
            return wrong(k, "has no use with this grant");
        if (url->len > 0 && !connection_check_url(c, urls[i].setting, *url, k->err))
            return false;
    }
    return true;
}

/* What only one grant has a use for, but for addresses. */
static bool check_grant(struct check *k)
{
    const struct connection_cfg *c = k->cfg;
    const struct assertion_cfg *a = &c->assertion;
    const struct {
        const char *setting;
        bool given;
        enum grant_kind grant;
    } own[] = {
        {"assertion_alg", a->alg != JWT_ALG_OF_KEY, GRANT_JWT_BEARER},
        {"assertion_issuer", a->issuer.len > 0, GRANT_JWT_BEARER},
        {"assertion_subject", a->subject.len > 0, GRANT_JWT_BEARER},
        {"assertion_audience", a->audience.len > 0, GRANT_JWT_BEARER},
        {"assertion_kid", a->kid.len > 0, GRANT_JWT_BEARER},
        {"assertion_x5t_s256", a->x5t_s256.len > 0, GRANT_JWT_BEARER},
        {"assertion_lifetime_ms", a->lifetime_ms != ASSERTION_MS_DEFAULT, GRANT_JWT_BEARER},
        {"assertion_scope", a->scope, GRANT_JWT_BEARER},
        {"assertion_no_subject", a->no_subject, GRANT_JWT_BEARER},
        {"assertion_in_header", a->in_header, GRANT_JWT_BEARER},
        {"subject_token_type", c->subject_token_type.len > 0, GRANT_TOKEN_EXCHANGE},
        {"requested_token_type", c->requested_token_type.len > 0, GRANT_TOKEN_EXCHANGE},
        {"actor_token_type", c->actor_token_type.len > 0, GRANT_TOKEN_EXCHANGE},
        {"exchange_audience", c->exchange_audience.len > 0, GRANT_TOKEN_EXCHANGE},
        {"username", c->username.len > 0, GRANT_PASSWORD},
    };

    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        k->setting = own[i].setting;
        if (own[i].given && own[i].grant != c->grant)
            return wrong(k, "has no use with this grant");
    }
    k->setting = "assertion_issuer";
    if (c->grant == GRANT_JWT_BEARER && a->issuer.len == 0 && c->client_id.len == 0)
        return wrong(k, "is missing: who signs (RFC 7523 section 3); else client.id is taken");
    k->setting = "assertion_in_header";
    if (a->in_header && c->auth != CLIENT_AUTH_NONE)
        return wrong(k, "is all that says who asks: client.auth must be none");
    k->setting = "assertion_no_subject";
    if (a->no_subject && a->subject.len > 0)
        return wrong(k, "cannot be true beside assertion.subject");
    k->setting = "username";
    if (c->grant == GRANT_PASSWORD && c->username.len == 0)
        return wrong(k, "is missing");
    k->setting = "allow_insecure_grants";
    if (c->grant == GRANT_PASSWORD && !c->allow_insecure_grants)
        return wrong(k, "must be true for grant: password, which shows the owner's password to awq "
                        "and its server (RFC 9700 section 2.4 forbids it)");
    return true;
}

static bool check_client(struct check *k)
{
    const struct connection_cfg *c = k->cfg;

    k->setting = "client_id";
    if (c->client_id.len == 0 && grant_needs_client(c->grant))
        return wrong(k, "is missing");
    if (c->client_id.len == 0 && c->auth != CLIENT_AUTH_NONE)
        return wrong(k, "is missing: client.auth says that it shows who it is");
    return true;
}

/* A certificate is shown in a TLS handshake or not at all, and what it protects goes nowhere in the
 * clear. */
static bool check_certificate(struct check *k)
{
    const struct connection_cfg *c = k->cfg;

    k->setting = "auth";
    if (client_auth_is_tls(c->auth) && c->certificate.len == 0)
        return wrong(k, "says that its certificate shows who it is: `tls` is missing");
    k->setting = "insecure_http";
    if (c->certificate.len > 0 && c->policy.insecure_http)
        return wrong(k, "must not be true with `tls`: a certificate is shown over https:// only");
    return true;
}

/* What an assertion says has no use where there is none. */
static bool check_assertion(struct check *k)
{
    const struct connection_cfg *c = k->cfg;
    const struct {
        const char *setting;
        bool given;
    } signing[] = {{"kid", c->kid.len > 0},
                   {"x5t_s256", c->x5t_s256.len > 0},
                   {"audience", c->audience.len > 0}};

    k->setting = "alg";
    if (c->alg != JWT_ALG_OF_KEY && c->auth != CLIENT_AUTH_PRIVATE_KEY_JWT)
        return wrong(k, "is for auth: private_key_jwt");
    for (size_t i = 0; !client_auth_signs(c->auth) && i < ARRAY_LEN(signing); i++) {
        k->setting = signing[i].setting;
        if (signing[i].given)
            return wrong(k, "is for auth: private_key_jwt or client_secret_jwt");
    }
    return true;
}

static bool check_rest(struct check *k)
{
    const struct connection_cfg *c = k->cfg;

    k->setting = "auth";
    if (c->grant == GRANT_CLIENT_CREDENTIALS && c->auth == CLIENT_AUTH_NONE)
        return wrong(k, "must not be none: this grant is for clients that can show who they are "
                        "(RFC 6749 section 4.4)");
    k->setting = "burst";
    if (c->burst > 0 && c->rate_calls == 0)
        return wrong(k, "has no use without rate");
    return true;
}

bool connection_check(const struct connection_cfg *c, struct cfg_fault *at, struct err *err)
{
    struct check k = {.cfg = c, .setting = at->setting, .err = err};
    bool ok = check_urls(&k) && check_client(&k) && check_certificate(&k) && check_grant(&k) &&
              check_assertion(&k) && check_rest(&k);

    at->setting = k.setting;
    return ok && profile_check(c, at, err);
}

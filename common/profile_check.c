/* What a profile's members say together, and of what they may not be made. */
#include "common/connection_inside.h"

#include <stdio.h>
#include <string.h>
#include "common/http.h"

struct check {
    const struct connection_cfg *cfg;
    const struct profile *p;
    const char *setting; /* that is looked at */
    struct cfg_fault *at;
    struct err *err;
};

static bool wrong(struct check *k, const char *why)
{
    return connection_wrong(k->setting, why, k->err);
}

/* One entry of a map or list. */
static bool wrong_entry(struct check *k, enum entry_of of, struct slice entry, const char *why)
{
    k->at->setting = k->setting;
    return connection_wrong_entry(k->at, of, entry, why, k->err);
}

static bool said(struct check *k, const char *place)
{
    k->setting = place;
    return profile_said(k->p, place);
}

/* Parameters that the standards name, so that they can be renamed or left out. */
static const char *const standard[] = {
    "response_type",
    "client_id",
    "client_secret",
    "redirect_uri",
    "scope",
    "resource",
    "code",
    "code_verifier",
    "grant_type",
    "refresh_token",
    "access_token",
    "code_challenge",
    "assertion",
    "username",
    "password",
    "code_challenge_method",
    "subject_token",
    "audience",
    "client_assertion_type",
    "client_assertion",
    "device_code",
};

/* What ties an answer to its question, or is a secret: it is awq's to say. */
static const char *const own[] = {
    "state",         "code",      "code_challenge", "code_challenge_method", "response_type",
    "code_verifier", "client_id", "access_token",   "client_secret",         "refresh_token",
};

/* Left out, they would change what the request is. */
static const char *const needed[] = {
    "code",      "refresh_token", "access_token", "response_type",
    "assertion", "subject_token", "device_code",  "password",
};

static bool one_of(struct slice s, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_is(s, list[i]))
            return true;
    return false;
}

struct shape_places {
    const struct request_shape *shape;
    const char *params, *rename, *omit, *headers, *body;
    const char *sent; /* standard parameters that it has, with blanks around: no other may be
                         called so */
};

static bool is_sent(const struct shape_places *at, struct slice name)
{
    char word[64];

    if (name.len + 3 > sizeof word || word_list_has(&at->shape->omit, name) ||
        name_map_find(&at->shape->rename, name))
        return false;
    snprintf(word, sizeof word, " %.*s ", SLICE_FMT(name));
    return strstr(at->sent, word) != NULL;
}

/* Servers take the first of two, or the last, or neither. */
static bool is_taken(const struct shape_places *at, size_t i)
{
    const struct name_map *rename = &at->shape->rename;
    struct slice to = rename->at[i].value;

    for (size_t k = 0; k < i; k++)
        if (slice_eq(rename->at[k].value, to))
            return true;
    return name_map_find(&at->shape->params, to) || is_sent(at, to);
}

static bool check_names(struct check *k, const struct shape_places *at)
{
    static const char no_such[] = "is a parameter that no request of a standard has";

    k->setting = at->params;
    for (size_t i = 0; i < at->shape->params.count; i++)
        if (one_of(at->shape->params.at[i].name, own, ARRAY_LEN(own)))
            return wrong_entry(k, OF_MAP, at->shape->params.at[i].name,
                               "may not be set: state, response_type, a code, a challenge, a token "
                               "and the client's id and secret are not for it to say");
    k->setting = at->rename;
    for (size_t i = 0; i < at->shape->rename.count; i++) {
        const struct name_value *p = &at->shape->rename.at[i];

        if (!one_of(p->name, standard, ARRAY_LEN(standard)))
            return wrong_entry(k, OF_MAP, p->name, no_such);
        if (p->value.len == 0)
            return wrong_entry(k, OF_MAP, p->name,
                               "must say the new name (omit leaves a parameter out)");
        if (slice_is(p->value, "state"))
            return wrong_entry(k, OF_MAP, p->name, "may not be called state: that name is taken");
        if (is_taken(at, i))
            return wrong_entry(k, OF_MAP, p->name,
                               "has a new name that another parameter of the same request has");
    }
    k->setting = at->omit;
    for (size_t i = 0; i < at->shape->omit.count; i++) {
        struct slice name = at->shape->omit.at[i];

        if (!one_of(name, standard, ARRAY_LEN(standard)))
            return wrong_entry(k, OF_LIST, name, no_such);
        if (one_of(name, needed, ARRAY_LEN(needed)))
            return wrong_entry(k, OF_LIST, name, "must be there: it is what the request is about");
        if (name_map_find(&at->shape->rename, name) || name_map_find(&at->shape->params, name))
            return wrong_entry(k, OF_LIST, name, "is renamed or set as well");
    }
    return true;
}

static bool check_headers(struct check *k, const struct name_map *headers)
{
    if (headers->count > PROFILE_HEADERS_MAX)
        return wrong(k, "has more than 16 members");
    for (size_t i = 0; i < headers->count; i++) {
        const struct name_value *h = &headers->at[i];
        struct err why = {0};

        if (!http_is_token(h->name) || !http_is_header_value(h->value))
            return wrong_entry(k, OF_MAP, h->name, "has a name or value that no header may have");
        if (!egress_check_header(h->name, h->value, false, &why))
            return wrong_entry(
                k, OF_MAP, h->name,
                "is a header that is not for it to set (as Authorization, Host ...)");
    }
    return true;
}

/* Only auth: post sends it as a parameter. */
static bool check_secret(struct check *k, const struct shape_places *at)
{
    static const char why[] = "is a parameter with client.auth: post only";
    struct slice name = SLICE_LIT("client_secret");
    bool sent = k->cfg->auth == CLIENT_AUTH_POST;

    k->setting = at->rename;
    if (!sent && name_map_find(&at->shape->rename, name))
        return wrong_entry(k, OF_MAP, name, why);
    k->setting = at->omit;
    return sent || !word_list_has(&at->shape->omit, name) || wrong_entry(k, OF_LIST, name, why);
}

static bool check_shape(struct check *k, const struct shape_places *at)
{
    if (!check_names(k, at) || !check_secret(k, at))
        return false;
    k->setting = at->body;
    if (at->shape->method == REQUEST_GET && at->shape->body != REQUEST_QUERY)
        return wrong(k, "must be query where method is GET");
    k->setting = at->headers;
    return check_headers(k, &at->shape->headers);
}

static bool check_shapes(struct check *k)
{
    const struct shape_places places[] = {
        {&k->p->authorize, "authorize.params", "authorize.rename", "authorize.omit", "", "",
         " response_type client_id redirect_uri scope code_challenge code_challenge_method "},
        {&k->p->token, "token_request.params", "token_request.rename", "token_request.omit",
         "token_request.headers", "token_request.body",
         " grant_type client_id client_secret code code_verifier redirect_uri assertion "},
        {&k->p->refresh, "refresh_request.params", "refresh_request.rename", "refresh_request.omit",
         "refresh_request.headers", "refresh_request.body",
         " grant_type client_id client_secret refresh_token "},
        {&k->p->chain, "chain.params", "chain.rename", "chain.omit", "chain.headers", "chain.body",
         " access_token client_id client_secret "},
    };

    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (!check_shape(k, &places[i]))
            return false;
    k->setting = "token_request.body";
    return (k->p->token.body != REQUEST_JSON && k->p->refresh.body != REQUEST_JSON) ||
           slice_find(k->cfg->resources, ' ') == k->cfg->resources.len ||
           wrong(k, "is json, which has one place for resource, and there are several");
}

/* ---- which of them have a use ---- */

static bool no_use(struct check *k, const char *prefix, const char *why)
{
    for (size_t i = 0; i < PROFILE_MEMBERS; i++) {
        const char *place = profile_members[i].place;

        if (strncmp(place, prefix, strlen(prefix)) == 0 && said(k, place))
            return wrong(k, why);
    }
    return true;
}

static bool check_uses(struct check *k)
{
    enum grant_kind g = k->cfg->grant;
    static const char why[] = "has no use with this grant";

    if (g != GRANT_AUTHORIZATION_CODE &&
        (!no_use(k, "authorize.", why) || !no_use(k, "chain.", why) || !no_use(k, "pkce", why) ||
         !no_use(k, "redirect_uri", why)))
        return false;
    if (!grant_is_asked(g) && !no_use(k, "token.renewal", why))
        return false;
    if (!grant_is_renewed(g) && (!no_use(k, "refresh_", why)))
        return false;
    if (k->p->not_renewed && !no_use(k, "refresh_", "has no use with token.renewal: none"))
        return false;
    if (k->p->chain_url.len == 0 && !no_use(k, "chain.", "has no use without chain.url"))
        return false;
    k->setting = "pkce";
    if (k->p->no_pkce && k->cfg->auth == CLIENT_AUTH_NONE)
        return wrong(k, "must not be false for a client without a secret (RFC 9700 section 2.1.1)");
    return true;
}

/* ---- addresses ---- */

static bool is_loopback(struct slice uri)
{
    struct slice host = slice_sub(uri, 7, uri.len);

    if (!slice_starts(uri, SLICE_LIT("http://")) || slice_find(uri, '@') < uri.len)
        return false;
    host = slice_sub(host, 0, slice_find_any(host, ":/?"));
    return slice_is(host, "127.0.0.1") || slice_is(host, "localhost");
}

static bool check_addresses(struct check *k)
{
    const struct profile *p = k->p;

    k->setting = "refresh_url";
    if (p->refresh_url.len > 0 && !connection_check_url(k->cfg, k->setting, p->refresh_url, k->err))
        return false;
    k->setting = "chain.url";
    if (p->chain_url.len > 0 && !connection_check_url(k->cfg, k->setting, p->chain_url, k->err))
        return false;
    k->setting = "redirect_uri";
    return p->redirect_uri.len == 0 ||
           (slice_is_visible(p->redirect_uri) &&
            slice_find(p->redirect_uri, '#') == p->redirect_uri.len &&
            (slice_starts(p->redirect_uri, SLICE_LIT("https://")) ||
             is_loopback(p->redirect_uri))) ||
           wrong(k, "must be https://, or http:// of 127.0.0.1 or localhost, without a fragment");
}

/* Only {answer.PATH} and {callback.NAME}: all else was filled in when the file was read. */
static bool check_base_url(struct check *k)
{
    struct slice rest = k->p->api.base_url, part;

    k->setting = "api.base_url";
    if (rest.len == 0)
        return true;
    if (!slice_is_visible(rest) || slice_find_any(rest, "#?\\@") < rest.len)
        return wrong(k, "has a character that it may not have");
    if (!slice_starts(rest, SLICE_LIT("{answer.")) && !slice_starts(rest, SLICE_LIT("https://")) &&
        !(slice_starts(rest, SLICE_LIT("http://")) && k->cfg->policy.insecure_http))
        return wrong(k, "must begin with https:// or {answer.PATH} (http:// needs "
                        "policy.insecure_http: true)");
    while (slice_find(rest, '{') < rest.len) {
        rest = slice_sub(rest, slice_find(rest, '{') + 1, rest.len);
        part = slice_sub(rest, 0, slice_find(rest, '}'));
        if (part.len == rest.len || (!slice_starts(part, SLICE_LIT("answer.")) &&
                                     !slice_starts(part, SLICE_LIT("callback."))))
            return wrong(k, "may have {answer.PATH} and {callback.NAME} only");
        if (slice_starts(part, SLICE_LIT("callback.")) &&
            k->cfg->grant != GRANT_AUTHORIZATION_CODE &&
            !name_map_find(&k->p->callback, slice_sub(part, 9, part.len)))
            return wrong(k, "has {callback.NAME}, which comes with grant: authorization_code only; "
                            "say it: callback: {NAME: ...}");
    }
    return true;
}

/* ---- answers ---- */

static bool check_answer(struct check *k, const struct answer_shape *a, const char *expiry,
                         const char *success)
{
    k->setting = expiry;
    if (a->expiry.len > 0 && (a->expiry_kind == EXPIRY_NEVER || a->expiry_kind == EXPIRY_FIXED))
        return wrong(k, "has no use with expiry_kind: never or fixed");
    k->setting = success;
    return (a->success_at.len > 0) == (a->success_is.len > 0) ||
           wrong(k, "needs both: at (a path) and is (what stands there)");
}

static bool is_name(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!(s.ptr[i] >= 'a' && s.ptr[i] <= 'z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') &&
            s.ptr[i] != '_')
            return false;
    return s.len > 0 && s.len <= 32;
}

static bool check_tokens(struct check *k)
{
    const struct name_map *t = &k->p->answer.tokens;

    k->setting = "answer.tokens";
    if (t->count > PROFILE_TOKENS_MAX)
        return wrong(k, "has more than 8 members");
    for (size_t i = 0; i < t->count; i++)
        if (!is_name(t->at[i].name) || t->at[i].value.len == 0)
            return wrong_entry(k, OF_MAP, t->at[i].name,
                               "must be a name (1-32 of a-z 0-9 _) with a path");
    k->setting = "answer.token_type";
    return k->cfg->dpop == JWT_ALG_OF_KEY || k->p->answer.token_type.len == 0 ||
           wrong(k, "must be what the answer says where dpop is set");
}

static bool check_answers(struct check *k)
{
    return check_answer(k, &k->p->answer, "answer.expiry", "answer.success.at") &&
           check_answer(k, &k->p->chain_answer, "chain.answer.expiry", "chain.answer.success.at") &&
           check_tokens(k);
}

/* ---- calls ---- */

static bool check_api(struct check *k)
{
    const struct api_shape *a = &k->p->api;
    struct err why = {0};

    k->setting = "api.token_name";
    if (a->token_in != TOKEN_IN_HEADER && a->token_name.len == 0)
        return wrong(k, "is missing: of the parameter or cookie");
    if (a->token_name.len > 0 && !http_is_token(a->token_name))
        return wrong(k, "has a character that no such name may have");
    if (a->token_in == TOKEN_IN_HEADER && a->token_name.len > 0 &&
        !slice_eq_nocase(a->token_name, SLICE_LIT("Authorization")) &&
        !egress_check_header(a->token_name, SLICE_LIT("x"), false, &why))
        return wrong(k, "is a header that is not for it to set");
    k->setting = "api.token_scheme";
    if (a->has_scheme && a->token_in != TOKEN_IN_HEADER)
        return wrong(k, "has no use unless the token goes in a header");
    if (!http_is_header_value(a->token_scheme))
        return wrong(k, "has a character that no header may have");
    k->setting = "api.token_in";
    if (k->cfg->dpop != JWT_ALG_OF_KEY &&
        (a->token_in != TOKEN_IN_HEADER || a->token_name.len > 0 || a->has_scheme))
        return wrong(k, "and the like have no use with dpop, which says how the token is sent");
    k->setting = "api.headers";
    return check_headers(k, &a->headers);
}

static bool check_signals(struct check *k)
{
    k->setting = "limits.signals";
    for (size_t i = 0; i < k->p->signal_count; i++) {
        const struct limit_signal *s = &k->p->signals[i];
        struct slice number = profile_signal_number(i);

        if (s->status == 0 && s->header.len == 0 && s->body.len == 0)
            return wrong_entry(k, OF_MAP, number, "needs status, header or body");
        if ((s->header.len > 0 && !http_is_token(s->header)) ||
            (s->wait_header.len > 0 && !http_is_token(s->wait_header)))
            return wrong_entry(k, OF_MAP, number, "names a header that cannot be");
        if (s->wait_header.len == 0 && s->wait_kind != WAIT_SECONDS)
            return wrong_entry(k, OF_MAP, number, "has a wait_kind and no wait_header");
    }
    return true;
}

static bool is_separator(struct slice s)
{
    return s.len == 0 || slice_is(s, ",") || slice_is(s, " ") || slice_is(s, ";") ||
           slice_is(s, "|") || slice_is(s, ":");
}

static bool check_separators(struct check *k)
{
    k->setting = "scope_separator";
    if (!is_separator(k->p->scope_separator))
        return wrong(k, "must be one of , ; | : or a blank");
    k->setting = "answer.scope_separator";
    return is_separator(k->p->answer.scope_separator) ||
           wrong(k, "must be one of , ; | : or a blank");
}

bool profile_check(const struct connection_cfg *c, struct cfg_fault *at, struct err *err)
{
    struct check k = {.cfg = c, .p = &c->profile, .setting = at->setting, .at = at, .err = err};
    bool ok = check_uses(&k) && check_addresses(&k) && check_shapes(&k) && check_answers(&k) &&
              check_api(&k) && check_base_url(&k) && check_signals(&k) && check_separators(&k);

    at->setting = k.setting;
    return ok;
}

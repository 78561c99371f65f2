/* Requests to an authorization server, as the profile spells them, and what each grant says in its
 * token request. */
#include <sodium.h>
#include "common/char.h"
#include "common/http.h"
#include "common/jwt.h"
#include "common/oauth_assertion.h"

#define REQUEST_MAX (64 * 1024) /* bytes: a refresh token, every byte encoded as three */

static bool stands_for_itself(char c) /* the application/x-www-form-urlencoded serializer */
{
    return char_is_alnum(c) || c == '*' || c == '-' || c == '.' || c == '_';
}

bool oauth_form_encode(struct buf *out, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];

        if (stands_for_itself((char)c))
            buf_add_char(out, (char)c);
        else if (c == ' ')
            buf_add_char(out, '+');
        else
            buf_add(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
    return buf_ok(out);
}

bool oauth_form_add(struct buf *body, const char *name, struct slice value)
{
    if (body->len > 0)
        buf_add_char(body, '&');
    oauth_form_encode(body, slice_cstr(name));
    buf_add_char(body, '=');
    return oauth_form_encode(body, value);
}

/* ---- parameters, as the provider wants them ---- */

void oauth_request_begin(struct oauth_request *rq, struct slice url,
                         const struct request_shape *shape)
{
    *rq = (struct oauth_request){.method = "POST"};
    buf_init(&rq->url, REQUEST_MAX * 2);
    buf_init(&rq->body, REQUEST_MAX);
    buf_init(&rq->authorization, REQUEST_MAX * 2);
    if (shape)
        rq->shape = *shape;
    if (rq->shape.method == REQUEST_GET)
        rq->method = "GET";
    rq->type = rq->shape.body == REQUEST_QUERY  ? NULL
               : rq->shape.body == REQUEST_JSON ? "application/json"
                                                : "application/x-www-form-urlencoded";
    buf_add_slice(&rq->url, url);
    jw_init(&rq->json, &rq->body);
    if (rq->shape.body == REQUEST_JSON)
        jw_obj(&rq->json);
}

static bool put(struct oauth_request *rq, struct slice name, struct slice value)
{
    struct buf *to = rq->shape.body == REQUEST_QUERY ? &rq->url : &rq->body;
    struct slice url = buf_slice(&rq->url);

    if (rq->shape.body == REQUEST_JSON) {
        rq->json.out = &rq->body;
        jw_key_slice(&rq->json, name);
        jw_str(&rq->json, value);
        return buf_ok(to);
    }
    if (to == &rq->url) /* which may have a query of its own: RFC 6749 sections 3.1 and 3.2 */
        buf_add_char(to, slice_find(url, '?') < url.len ? '&' : '?');
    else if (to->len > 0)
        buf_add_char(to, '&');
    oauth_form_encode(to, name);
    buf_add_char(to, '=');
    return oauth_form_encode(to, value);
}

bool oauth_request_add(struct oauth_request *rq, const char *name, struct slice value)
{
    struct slice standard = slice_cstr(name);
    const struct slice *renamed = name_map_find(&rq->shape.rename, standard);

    if (word_list_has(&rq->shape.omit, standard) || name_map_find(&rq->shape.params, standard))
        return true; /* what the profile says in its place comes last */
    return put(rq, renamed ? *renamed : standard, value);
}

bool oauth_request_finish(struct oauth_request *rq)
{
    for (size_t i = 0; i < rq->shape.params.count; i++)
        put(rq, rq->shape.params.at[i].name, rq->shape.params.at[i].value);
    if (rq->shape.body == REQUEST_JSON)
        jw_end_obj(&rq->json);
    return buf_ok(&rq->url) && buf_ok(&rq->body);
}

void oauth_request_deinit(struct oauth_request *rq)
{
    buf_wipe(&rq->url); /* a query may hold what a body does */
    buf_wipe(&rq->body);
    buf_wipe(&rq->authorization);
}

static bool has_header(const struct name_map *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++)
        if (slice_eq_nocase(headers->at[i].name, slice_cstr(name)))
            return true;
    return false;
}

size_t oauth_request_headers(const struct oauth_request *rq, struct http_header *to)
{
    const struct name_map *own = &rq->shape.headers;
    size_t n = 0;

    if (rq->type && !has_header(own, "content-type"))
        to[n++] = (struct http_header){SLICE_LIT("Content-Type"), slice_cstr(rq->type)};
    if (!has_header(own, "accept"))
        to[n++] = (struct http_header){SLICE_LIT("Accept"), SLICE_LIT("application/json")};
    for (size_t i = 0; i < own->count && n < OAUTH_HEADERS_MAX; i++)
        to[n++] = (struct http_header){own->at[i].name, own->at[i].value};
    return n;
}

bool oauth_request_add_resources(struct oauth_request *rq, const struct connection_cfg *c)
{
    struct slice rest = c->resources, one;

    while (slice_cut(&rest, ' ', &one))
        if (!oauth_request_add(rq, "resource", one))
            return false;
    return true;
}

bool oauth_request_add_scopes(struct oauth_request *rq, const struct connection_cfg *c)
{
    struct slice separator = c->profile.scope_separator, rest = c->scopes, one;
    struct buf all;
    bool ok;

    if (c->scopes.len == 0)
        return true;
    if (separator.len == 0)
        return oauth_request_add(rq, "scope", c->scopes);
    buf_init(&all, REQUEST_MAX);
    while (slice_cut(&rest, ' ', &one)) {
        if (all.len > 0)
            buf_add_slice(&all, separator);
        buf_add_slice(&all, one);
    }
    ok = buf_ok(&all) && oauth_request_add(rq, "scope", buf_slice(&all));
    buf_deinit(&all);
    return ok;
}

static bool add_some(struct oauth_request *rq, const char *name, struct slice value)
{
    return value.len == 0 || oauth_request_add(rq, name, value);
}

/* ---- what each grant says ---- */

static bool add_exchange(struct oauth_request *rq, const struct connection_cfg *c,
                         struct slice tokens)
{
    struct slice type = c->subject_token_type, subject = tokens;

    if (type.len == 0)
        type = SLICE_LIT(OAUTH_ACCESS_TOKEN_TYPE);
    if (c->actor_token_type.len > 0)
        slice_cut(&tokens, '\0', &subject);
    return oauth_request_add(rq, "subject_token", subject) &&
           oauth_request_add(rq, "subject_token_type", type) &&
           (c->actor_token_type.len == 0 ||
            (oauth_request_add(rq, "actor_token", tokens) &&
             oauth_request_add(rq, "actor_token_type", c->actor_token_type))) &&
           add_some(rq, "requested_token_type", c->requested_token_type) &&
           add_some(rq, "audience", c->exchange_audience);
}

static bool add_grant(struct oauth_request *rq, const struct connection_cfg *c, struct slice sent)
{
    bool ok;

    if (c->grant == GRANT_JWT_BEARER && c->assertion.in_header)
        return buf_addf(&rq->authorization, "Bearer %.*s", SLICE_FMT(sent)) &&
               (c->assertion.scope || oauth_request_add_scopes(rq, c));
    ok = oauth_request_add(rq, "grant_type", slice_cstr(grant_type_of(c->grant)));
    switch (c->grant) {
    case GRANT_CLIENT_CREDENTIALS:
        break;
    case GRANT_REFRESH_TOKEN:
    case GRANT_AUTHORIZATION_CODE:
    case GRANT_DEVICE_CODE:
        /* No scope with a refresh token: it would be the granted one at most (section 6), and some
         * servers refuse it. */
        return ok && oauth_request_add(rq, "refresh_token", sent);
    case GRANT_JWT_BEARER:
        ok = ok && oauth_request_add(rq, "assertion", sent);
        if (c->assertion.scope)
            return ok;
        break;
    case GRANT_SAML2_BEARER:
        ok = ok && oauth_request_add(rq, "assertion", sent);
        break;
    case GRANT_TOKEN_EXCHANGE:
        ok = ok && add_exchange(rq, c, sent);
        break;
    case GRANT_PASSWORD:
        ok = ok && oauth_request_add(rq, "username", c->username) &&
             oauth_request_add(rq, "password", sent);
        break;
    }
    return ok && oauth_request_add_scopes(rq, c);
}

struct slice oauth_renewal_url(const struct connection_cfg *c)
{
    bool elsewhere = grant_is_renewed(c->grant) && c->profile.refresh_url.len > 0;

    return elsewhere ? c->profile.refresh_url : c->token_url;
}

bool oauth_request_build_from(struct oauth_request *rq, const struct connection_cfg *c,
                              struct slice client_secret, struct slice sent, int64_t now_ms,
                              struct err *err)
{
    const struct profile *p = &c->profile;

    oauth_request_begin(rq, oauth_renewal_url(c),
                        grant_is_renewed(c->grant) ? &p->refresh : &p->token);
    if (!add_grant(rq, c, sent) || !oauth_request_add_resources(rq, c))
        return err_set(err, ERR_NOMEM, "connection %.*s: its token request is too big",
                       SLICE_FMT(c->id));
    return oauth_request_end(rq, c, client_secret, now_ms, err);
}

struct jwt_key *oauth_grant_key(const struct connection_cfg *c, struct slice secret,
                                struct err *err)
{
    return c->assertion.alg == JWT_HS256 ? jwt_key_secret(secret, err)
                                         : jwt_key_pem(secret, c->assertion.alg, err);
}

static bool sign_assertion(struct buf *out, const struct connection_cfg *c, struct slice pem,
                           int64_t now_ms, struct err *err)
{
    struct jwt_key *k = oauth_grant_key(c, pem, err);
    struct oauth_assertion a;
    bool ok;

    oauth_assertion_of_grant(&a, c);
    ok = k && oauth_assertion_sign(&a, k, now_ms, out, err);
    jwt_key_free(k);
    return ok || err_prefix(err, "connection %.*s: assertion.key: ", SLICE_FMT(c->id));
}

static bool encode(struct buf *out, struct slice s, struct err *err)
{
    size_t room = sodium_base64_encoded_len(s.len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);

    if (!buf_reserve(out, room))
        return err_set(err, ERR_NOMEM, "out of memory");
    sodium_bin2base64(out->ptr, room, (const unsigned char *)s.ptr, s.len,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    out->len = room - 1; /* room counts the NUL */
    return true;
}

bool oauth_request_build(struct oauth_request *rq, const struct connection_cfg *c,
                         struct slice client_secret, struct slice grant_secret, int64_t now_ms,
                         struct err *err)
{
    struct buf made;
    bool ok;

    if (grant_secret_name(c->grant) && grant_secret.len == 0) {
        oauth_request_begin(rq, SLICE_NONE, NULL);
        return grant_is_renewed(c->grant)
                   ? err_set(err, ERR_CONSENT,
                             "connection %.*s has no refresh token; link the account again",
                             SLICE_FMT(c->id))
                   : err_set(err, ERR_CONFIG, "connection %.*s: no %s is stored; apply its file",
                             SLICE_FMT(c->id), grant_secret_name(c->grant));
    }
    buf_init(&made, REQUEST_MAX);
    if (c->grant == GRANT_JWT_BEARER)
        ok = sign_assertion(&made, c, grant_secret, now_ms, err);
    else if (c->grant == GRANT_SAML2_BEARER)
        ok = encode(&made, grant_secret, err);
    else
        ok = true;
    if (ok)
        ok = oauth_request_build_from(rq, c, client_secret,
                                      made.len > 0 ? buf_slice(&made) : grant_secret, now_ms, err);
    else
        oauth_request_begin(rq, SLICE_NONE, NULL);
    buf_wipe(&made);
    return ok;
}

bool oauth_token_form(struct oauth_request *rq, const struct connection_cfg *c, struct slice url,
                      struct slice client_secret, struct slice token, const char *hint,
                      int64_t now_ms, struct err *err)
{
    oauth_request_begin(rq, url, NULL);
    if (!oauth_request_add(rq, "token", token) ||
        !oauth_request_add(rq, "token_type_hint", slice_cstr(hint)))
        return err_set(err, ERR_NOMEM, "connection %.*s: its request is too big", SLICE_FMT(c->id));
    return oauth_request_end(rq, c, client_secret, now_ms, err);
}

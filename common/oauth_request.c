/* The bodies of requests to a token endpoint. */
#include <sodium.h>
#include "common/char.h"
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

bool oauth_add_resources(struct buf *form, const struct connection_cfg *c)
{
    struct slice rest = c->resources, one;

    while (slice_cut(&rest, ' ', &one))
        oauth_form_add(form, "resource", one);
    return buf_ok(form);
}

static bool add_some(struct buf *body, const char *name, struct slice value)
{
    return value.len == 0 || oauth_form_add(body, name, value);
}

static bool add_exchange(struct buf *body, const struct connection_cfg *c, struct slice token)
{
    struct slice type = c->subject_token_type;

    if (type.len == 0)
        type = SLICE_LIT("urn:ietf:params:oauth:token-type:access_token");
    return oauth_form_add(body, "subject_token", token) &&
           oauth_form_add(body, "subject_token_type", type) &&
           add_some(body, "requested_token_type", c->requested_token_type) &&
           add_some(body, "audience", c->exchange_audience);
}

static bool add_grant(struct buf *body, const struct connection_cfg *c, struct slice sent)
{
    bool ok = oauth_form_add(body, "grant_type", slice_cstr(grant_type_of(c->grant)));

    switch (c->grant) {
    case GRANT_CLIENT_CREDENTIALS:
        break;
    case GRANT_REFRESH_TOKEN:
    case GRANT_AUTHORIZATION_CODE:
    case GRANT_DEVICE_CODE:
        /* No scope with a refresh token: it would be the granted one at most (section 6), and some
         * servers refuse it. */
        return ok && oauth_form_add(body, "refresh_token", sent);
    case GRANT_JWT_BEARER:
        ok = ok && oauth_form_add(body, "assertion", sent);
        if (c->assertion.scope)
            return ok;
        break;
    case GRANT_SAML2_BEARER:
        ok = ok && oauth_form_add(body, "assertion", sent);
        break;
    case GRANT_TOKEN_EXCHANGE:
        ok = ok && add_exchange(body, c, sent);
        break;
    case GRANT_PASSWORD:
        ok = ok && oauth_form_add(body, "username", c->username) &&
             oauth_form_add(body, "password", sent);
        break;
    }
    return ok && add_some(body, "scope", c->scopes);
}

void oauth_request_init(struct oauth_request *rq)
{
    buf_init(&rq->body, REQUEST_MAX);
    buf_init(&rq->authorization, REQUEST_MAX * 2);
}

bool oauth_request_build_from(struct oauth_request *rq, const struct connection_cfg *c,
                              struct slice client_secret, struct slice sent, struct err *err)
{
    oauth_request_init(rq);
    if (!add_grant(&rq->body, c, sent) || !oauth_add_resources(&rq->body, c))
        return err_set(err, ERR_NOMEM, "connection %.*s: its token request is too big",
                       SLICE_FMT(c->id));
    return oauth_request_add_client(rq, c, client_secret, err);
}

static bool sign_assertion(struct buf *out, const struct connection_cfg *c, struct slice pem,
                           struct err *err)
{
    struct jwt_key *k = jwt_key_pem(pem, c->assertion.alg, err);
    struct oauth_assertion a;
    bool ok;

    oauth_assertion_of_grant(&a, c);
    ok = k && oauth_assertion_sign(&a, k, out, err);
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
                         struct slice client_secret, struct slice grant_secret, struct err *err)
{
    struct buf made;
    bool ok;

    if (grant_secret_name(c->grant) && grant_secret.len == 0) {
        oauth_request_init(rq);
        return grant_is_renewed(c->grant)
                   ? err_set(err, ERR_CONSENT,
                             "connection %.*s has no refresh token; link the account again",
                             SLICE_FMT(c->id))
                   : err_set(err, ERR_CONFIG, "connection %.*s: no %s is stored; apply its file",
                             SLICE_FMT(c->id), grant_secret_name(c->grant));
    }
    buf_init(&made, REQUEST_MAX);
    if (c->grant == GRANT_JWT_BEARER)
        ok = sign_assertion(&made, c, grant_secret, err);
    else if (c->grant == GRANT_SAML2_BEARER)
        ok = encode(&made, grant_secret, err);
    else
        ok = true;
    if (ok)
        ok = oauth_request_build_from(rq, c, client_secret,
                                      made.len > 0 ? buf_slice(&made) : grant_secret, err);
    else
        oauth_request_init(rq);
    buf_wipe(&made);
    return ok;
}

bool oauth_token_form(struct oauth_request *rq, const struct connection_cfg *c,
                      struct slice client_secret, struct slice token, const char *hint,
                      struct err *err)
{
    oauth_request_init(rq);
    if (!oauth_form_add(&rq->body, "token", token) ||
        !oauth_form_add(&rq->body, "token_type_hint", slice_cstr(hint)))
        return err_set(err, ERR_NOMEM, "connection %.*s: its request is too big", SLICE_FMT(c->id));
    return oauth_request_add_client(rq, c, client_secret, err);
}

void oauth_request_deinit(struct oauth_request *rq)
{
    buf_wipe(&rq->body);
    buf_wipe(&rq->authorization);
}

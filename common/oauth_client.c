/* How a client shows who it is: RFC 6749 section 2.3.1, RFC 7523 section 2.2; by its certificate
 * (RFC 8705 section 2), the body has its client_id only. */
#include <sodium.h>
#include "common/jwt.h"
#include "common/oauth_assertion.h"

#define PAIR_MAX  (64 * 1024)
#define ASSERTION "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

/* "Basic " and base64 of ID:SECRET, both form-encoded first, so that a colon in the id and bytes
 * outside ASCII survive (RFC 6749 section 2.3.1); as they are for servers that know no better. */
static bool add_basic(struct buf *out, struct slice id, struct slice secret, bool raw)
{
    struct buf pair;
    size_t room;
    bool ok;

    buf_init(&pair, PAIR_MAX);
    ok = raw ? buf_add_slice(&pair, id) : oauth_form_encode(&pair, id);
    ok = ok && buf_add_char(&pair, ':') &&
         (raw ? buf_add_slice(&pair, secret) : oauth_form_encode(&pair, secret));
    room = sodium_base64_encoded_len(pair.len, sodium_base64_VARIANT_ORIGINAL);
    ok = ok && buf_add_cstr(out, "Basic ") && buf_reserve(out, room);
    if (ok) {
        sodium_bin2base64(out->ptr + out->len, room, (const unsigned char *)pair.ptr, pair.len,
                          sodium_base64_VARIANT_ORIGINAL);
        out->len += room - 1; /* room counts the NUL */
    }
    buf_wipe(&pair);
    return ok;
}

bool oauth_client_is_basic(const struct connection_cfg *c)
{
    return c->auth == CLIENT_AUTH_BASIC || c->auth == CLIENT_AUTH_BASIC_RAW;
}

/* A new one for each request: servers refuse a jti that they have seen. */
static bool add_assertion(struct oauth_request *rq, const struct connection_cfg *c,
                          const struct jwt_key *k, int64_t now_ms, struct err *err)
{
    struct oauth_assertion a;
    struct buf jwt;
    bool ok;

    oauth_assertion_of_client(&a, c);
    buf_init(&jwt, OAUTH_ASSERTION_MAX);
    ok = oauth_assertion_sign(&a, k, now_ms, &jwt, err) &&
         ((oauth_request_add(rq, "client_assertion_type", SLICE_LIT(ASSERTION)) &&
           oauth_request_add(rq, "client_assertion", buf_slice(&jwt))) ||
          err_set(err, ERR_NOMEM, "its token request is too big"));
    buf_wipe(&jwt); /* it opens the token endpoint for a minute */
    return ok;
}

struct jwt_key *oauth_client_key(const struct connection_cfg *c, struct slice secret,
                                 struct err *err)
{
    return c->auth == CLIENT_AUTH_PRIVATE_KEY_JWT ? jwt_key_pem(secret, c->alg, err)
                                                  : jwt_key_secret(secret, err);
}

static bool add_signed(struct oauth_request *rq, const struct connection_cfg *c,
                       struct slice secret, int64_t now_ms, struct err *err)
{
    struct jwt_key *k;
    bool ok;

    if (c->shown)
        return oauth_request_add(rq, "client_assertion_type", SLICE_LIT(ASSERTION)) &&
               oauth_request_add(rq, "client_assertion", SLICE_LIT("CLIENT_ASSERTION"));
    k = oauth_client_key(c, secret, err);
    ok = k && add_assertion(rq, c, k, now_ms, err);

    jwt_key_free(k);
    return ok;
}

/* Never both ways at once (section 2.3). The client_id goes with an assertion too: RFC 7521 section
 * 4.2 allows it, and some servers ask for it. */
static bool add(struct oauth_request *rq, const struct connection_cfg *c, struct slice secret,
                int64_t now_ms, struct err *err)
{
    bool ok = true;

    if (oauth_client_is_basic(c))
        ok = add_basic(&rq->authorization, c->client_id, secret, c->auth == CLIENT_AUTH_BASIC_RAW);
    else if (c->client_id.len > 0)
        ok = oauth_request_add(rq, "client_id", c->client_id) &&
             (c->auth != CLIENT_AUTH_POST || oauth_request_add(rq, "client_secret", secret));
    if (!ok)
        return err_set(err, ERR_NOMEM, "its token request is too big");
    return !client_auth_signs(c->auth) || add_signed(rq, c, secret, now_ms, err);
}

bool oauth_request_end(struct oauth_request *rq, const struct connection_cfg *c,
                       struct slice secret, int64_t now_ms, struct err *err)
{
    if (client_auth_has_secret(c->auth) && secret.len == 0)
        err_set(err, ERR_CONFIG, "no client secret or key is stored; apply its file");
    else if (add(rq, c, secret, now_ms, err) &&
             (oauth_request_finish(rq) || err_set(err, ERR_NOMEM, "its token request is too big")))
        return true;
    return err_prefix(err, "connection %.*s: ", SLICE_FMT(c->id));
}

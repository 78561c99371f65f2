#include "common/oauth_assertion.h"

#include "common/json.h"
#include "common/jwt.h"

#define CLIENT_LIFE_MS 60000 /* it is made for one request */

static struct slice either(struct slice a, struct slice b)
{
    return a.len > 0 ? a : b;
}

void oauth_assertion_of_client(struct oauth_assertion *a, const struct connection_cfg *c)
{
    *a = (struct oauth_assertion){
        .issuer = c->client_id,
        .subject = c->client_id,
        .audience = either(c->audience, c->token_url),
        .kid = c->kid,
        .x5t_s256 = c->x5t_s256,
        .lifetime_ms = CLIENT_LIFE_MS,
    };
}

void oauth_assertion_of_grant(struct oauth_assertion *a, const struct connection_cfg *c)
{
    const struct assertion_cfg *of = &c->assertion;

    *a = (struct oauth_assertion){
        .issuer = either(of->issuer, c->client_id),
        .audience = either(of->audience, c->token_url),
        .scope = of->scope ? c->scopes : SLICE_NONE,
        .kid = of->kid,
        .x5t_s256 = of->x5t_s256,
        .lifetime_ms = of->lifetime_ms,
    };
    if (!of->no_subject)
        a->subject = either(of->subject, a->issuer);
}

static void put(struct json_writer *w, const char *key, struct slice value)
{
    if (value.len == 0)
        return;
    jw_key(w, key);
    jw_str(w, value);
}

bool oauth_assertion_json(const struct oauth_assertion *a, const char *alg, const char *jti,
                          int64_t now_ms, struct buf *header, struct buf *claims)
{
    struct json_writer w;

    jw_init(&w, header);
    jw_obj(&w);
    put(&w, "alg", slice_cstr(alg));
    put(&w, "typ", SLICE_LIT("JWT"));
    put(&w, "kid", a->kid);
    put(&w, "x5t#S256", a->x5t_s256);
    jw_end_obj(&w);
    jw_init(&w, claims);
    jw_obj(&w);
    put(&w, "iss", a->issuer);
    put(&w, "sub", a->subject);
    put(&w, "aud", a->audience);
    put(&w, "scope", a->scope);
    put(&w, "jti", slice_cstr(jti));
    jw_key(&w, "iat");
    jw_int(&w, now_ms / 1000);
    jw_key(&w, "exp");
    jw_int(&w, (now_ms + a->lifetime_ms) / 1000);
    jw_end_obj(&w);
    return buf_ok(header) && buf_ok(claims);
}

static bool texts(const void *of, const char *alg, const char *jti, int64_t now_ms,
                  struct buf *header, struct buf *claims)
{
    return oauth_assertion_json(of, alg, jti, now_ms, header, claims);
}

bool oauth_assertion_sign(const struct oauth_assertion *a, const struct jwt_key *k, int64_t now_ms,
                          struct buf *out, struct err *err)
{
    return jwt_make(k, texts, a, now_ms, out, err) || err_prefix(err, "its assertion: ");
}

/* awq-ctl conn explain: the requests that a connection's settings lead to, as they are built, with
 * words in capitals where a secret would stand. Nothing is sent, and no secret is opened. */
#include "tools/ctl/conn.h"

#include <stdio.h>
#include <string.h>
#include "common/clock.h"
#include "common/oauth_assertion.h"
#include "common/oauth_code.h"
#include "common/oauth_device.h"
#include "tools/ctl/link.h"

#define TEXT_MAX 65536
#define REDIRECT "http://127.0.0.1:PORT/callback"
#define FORM     "Content-Type: application/x-www-form-urlencoded"

static void begin(struct out *o, const char *what, const char *method, struct slice url)
{
    if (o->json) {
        out_row(o);
        out_cstr(o, what);
        out_cstr(o, method);
        out_text(o, url);
    }
    out_note(o, "# %s\n%s %.*s", what, method, SLICE_FMT(url));
}

/* What its DPoP proof says; "" where its tokens are bound to no key. */
static void proof(const struct connection_cfg *c, const char *method, struct slice url, bool token,
                  struct buf *to)
{
    url = slice_sub(url, 0, slice_find(url, '?'));
    if (c->dpop != JWT_ALG_OF_KEY)
        buf_addf(to,
                 "JWT({\"typ\":\"dpop+jwt\",\"alg\":\"%s\",\"jwk\":PUBLIC_KEY}, {\"jti\":\"JTI\","
                 "\"htm\":\"%s\",\"htu\":\"%.*s\",\"iat\":NOW%s})",
                 jwt_alg_name(c->dpop), method, SLICE_FMT(url),
                 token ? ",\"ath\":\"SHA256_OF_ACCESS_TOKEN\"" : "");
}

static void rest(struct out *o, const char *authorization, const struct buf *proof,
                 struct slice body)
{
    struct slice proves = proof ? buf_slice(proof) : SLICE_NONE;

    if (o->json) {
        out_cstr(o, authorization);
        out_text(o, proves);
        out_text(o, body);
        return;
    }
    if (proves.len > 0)
        out_note(o, "DPoP: %.*s", SLICE_FMT(proves));
    if (body.len > 0)
        out_note(o, FORM);
    if (authorization[0])
        out_note(o, "Authorization: %s", authorization);
    if (body.len > 0)
        out_note(o, "\n%.*s", SLICE_FMT(body));
    out_note(o, "%s", "");
}

/* base64 would hide which parts it is made of. */
static bool add_basic(const struct connection_cfg *c, struct buf *to)
{
    if (!oauth_client_is_basic(c))
        return true;
    buf_add_cstr(to, "Basic base64(");
    if (c->auth == CLIENT_AUTH_BASIC_RAW)
        buf_add_slice(to, c->client_id);
    else
        oauth_form_encode(to, c->client_id);
    return buf_add_cstr(to, ":CLIENT_SECRET)");
}

/* The signed text would hide what it says. Its key is not opened, so alg may be known to it only.
 */
static bool add_jwt(struct buf *to, const struct oauth_assertion *a, const char *alg)
{
    struct buf header, claims;
    bool ok;

    buf_init(&header, TEXT_MAX);
    buf_init(&claims, TEXT_MAX);
    ok = oauth_assertion_json(a, *alg ? alg : "ALG_OF_THE_KEY", "JTI", clock_wall_ms(), &header,
                              &claims) &&
         buf_addf(to, "JWT(%.*s, %.*s)", SLICE_FMT(buf_slice(&header)),
                  SLICE_FMT(buf_slice(&claims)));
    buf_deinit(&header);
    buf_deinit(&claims);
    return ok;
}

static bool add_assertion(const struct connection_cfg *c, struct buf *body)
{
    struct oauth_assertion a;

    if (!client_auth_signs(c->auth))
        return true;
    oauth_assertion_of_client(&a, c);
    buf_add_cstr(body, "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type"
                       "%3Ajwt-bearer&client_assertion=");
    return add_jwt(body, &a, c->auth == CLIENT_AUTH_SECRET_JWT ? "HS256" : jwt_alg_name(c->alg));
}

/* The assertion of the grant, in the place that was left for it. */
static bool show_assertion(const struct connection_cfg *c, struct buf *body)
{
    static const char mark[] = "assertion=ASSERTION";
    struct slice all = buf_slice(body);
    struct oauth_assertion a;
    struct buf made;
    size_t at = 0;
    bool ok;

    if (c->grant != GRANT_JWT_BEARER)
        return true;
    while (at < all.len && !slice_starts(slice_sub(all, at, all.len), slice_cstr(mark)))
        at++;
    oauth_assertion_of_grant(&a, c);
    buf_init(&made, TEXT_MAX);
    buf_add_slice(&made, slice_sub(all, 0, at));
    buf_add_cstr(&made, "assertion=");
    ok = add_jwt(&made, &a, jwt_alg_name(c->assertion.alg)) &&
         buf_add_slice(&made, slice_sub(all, at + strlen(mark), all.len));
    buf_clear(body);
    ok = ok && buf_add_slice(body, buf_slice(&made));
    buf_deinit(&made);
    return ok;
}

/* The settings without what only a key could make. */
static struct connection_cfg unsigned_of(const struct connection_cfg *c)
{
    struct connection_cfg plain = *c;

    if (client_auth_signs(c->auth))
        plain.auth = CLIENT_AUTH_NONE;
    return plain;
}

static bool show_form(struct out *o, const struct connection_cfg *c, const char *what,
                      struct slice url, struct oauth_request *rq)
{
    struct buf authorization, proves;
    bool ok;

    buf_init(&authorization, TEXT_MAX);
    buf_init(&proves, TEXT_MAX);
    ok = add_basic(c, &authorization) && add_assertion(c, &rq->body);
    if (ok) {
        begin(o, what, "POST", url);
        if (slice_eq(url, c->token_url))
            proof(c, "POST", url, false, &proves);
        rest(o, authorization.len > 0 ? authorization.ptr : "", &proves, buf_slice(&rq->body));
    }
    buf_deinit(&proves);
    buf_deinit(&authorization);
    return ok;
}

static bool explain_code(struct out *o, const struct connection_cfg *c, struct err *err)
{
    static const struct oauth_code words = {
        .verifier = "VERIFIER", .challenge = "CHALLENGE", .state = "STATE"};
    struct oauth_code q = words;
    const struct connection_cfg plain = unsigned_of(c);
    struct oauth_request rq;
    struct buf url;
    bool ok;

    if (c->dpop != JWT_ALG_OF_KEY)
        q.jkt = "THUMBPRINT_OF_ITS_KEY";
    buf_init(&url, TEXT_MAX);
    if (c->par_url.len > 0) {
        ok = oauth_code_push(&rq, &plain, &q, SLICE_LIT("CLIENT_SECRET"), SLICE_LIT(REDIRECT),
                             err) &&
             show_form(o, c, "the question is pushed (conn link)", c->par_url, &rq) &&
             oauth_code_pushed(&url, c, 201, SLICE_LIT("{\"request_uri\":\"REQUEST_URI\"}"), err);
        oauth_request_deinit(&rq);
    } else {
        ok = oauth_code_url(&url, c, &q, SLICE_LIT(REDIRECT), err);
    }
    if (ok) {
        begin(o, "the owner is asked (conn link)", "GET", buf_slice(&url));
        rest(o, "", NULL, SLICE_NONE);
    }
    buf_deinit(&url);
    ok = ok && oauth_code_request(&rq, &plain, &q, SLICE_LIT("CLIENT_SECRET"), SLICE_LIT("CODE"),
                                  SLICE_LIT(REDIRECT), err);
    if (ok) {
        ok = show_form(o, c, "the code is exchanged (conn link)", c->token_url, &rq);
        oauth_request_deinit(&rq);
    }
    return ok;
}

static bool explain_device(struct out *o, const struct connection_cfg *c, struct err *err)
{
    static const struct oauth_device d = {.code = "DEVICE_CODE"};
    const struct connection_cfg plain = unsigned_of(c);
    struct slice secret = SLICE_LIT("CLIENT_SECRET");
    struct oauth_request rq;
    bool ok = oauth_device_ask(&rq, &plain, secret, err) &&
              show_form(o, c, "a code is asked for (conn link)", c->device_url, &rq);

    oauth_request_deinit(&rq);
    if (!ok)
        return false;
    ok = oauth_device_poll(&rq, &plain, &d, secret, err) &&
         show_form(o, c, "until the owner has entered it (conn link)", c->token_url, &rq);
    oauth_request_deinit(&rq);
    return ok;
}

static const char *sent_for(enum grant_kind g)
{
    switch (g) {
    case GRANT_JWT_BEARER:
        return "ASSERTION";
    case GRANT_SAML2_BEARER:
        return "SAML_ASSERTION_IN_BASE64URL";
    case GRANT_TOKEN_EXCHANGE:
        return "SUBJECT_TOKEN";
    case GRANT_PASSWORD:
        return "PASSWORD";
    default:
        return "REFRESH_TOKEN";
    }
}

static bool explain_token(struct out *o, const struct connection_cfg *c, struct err *err)
{
    const struct connection_cfg plain = unsigned_of(c);
    struct oauth_request rq;
    bool ok = oauth_request_build_from(&rq, &plain, SLICE_LIT("CLIENT_SECRET"),
                                       slice_cstr(sent_for(c->grant)), err) &&
              show_assertion(c, &rq.body) &&
              show_form(o, c,
                        grant_is_renewed(c->grant) ? "the access token is renewed"
                                                   : "an access token is asked for",
                        c->token_url, &rq);

    oauth_request_deinit(&rq);
    return ok;
}

static bool explain_revocation(struct out *o, const struct connection_cfg *c, struct err *err)
{
    const struct connection_cfg plain = unsigned_of(c);
    const char *hint = grant_is_renewed(c->grant) ? "refresh_token" : "access_token";
    struct oauth_request rq;
    bool ok;

    if (c->revoke_url.len == 0)
        return true;
    ok = oauth_token_form(&rq, &plain, SLICE_LIT("CLIENT_SECRET"),
                          grant_is_renewed(c->grant) ? SLICE_LIT("REFRESH_TOKEN")
                                                     : SLICE_LIT("ACCESS_TOKEN"),
                          hint, err) &&
         show_form(o, c, "the grant is revoked (conn revoke, conn rm)", c->revoke_url, &rq);
    oauth_request_deinit(&rq);
    return ok;
}

static void explain_call(struct out *o, const struct connection_cfg *c)
{
    struct buf url, proves;

    buf_init(&url, TEXT_MAX);
    buf_addf(&url, "%s://%.*s/...", c->policy.insecure_http ? "http" : "https",
             SLICE_FMT(c->policy.hosts[0]));
    begin(o, "a call, e.g.", "GET", buf_slice(&url));
    buf_init(&proves, TEXT_MAX);
    proof(c, "GET", buf_slice(&url), true, &proves);
    rest(o, proves.len > 0 ? "DPoP ACCESS_TOKEN" : "Bearer ACCESS_TOKEN", &proves, SLICE_NONE);
    buf_deinit(&proves);
    buf_deinit(&url);
}

int conn_explain(struct ctl *c, const struct args *args)
{
    static const char *const columns[] = {"what", "method", "url", "authorization", "dpop", "body"};
    struct slice id = slice_cstr(args->names[0]);
    struct connection_record rec;
    struct connection_cfg *cfg = NULL;
    struct redis_reply *reply = NULL;
    struct err err = {0};
    int code;

    if ((code = ctl_keys(c)) || (code = ctl_connect(c)) || (code = conn_read(c, id, &rec, &reply)))
        return code;
    if (connection_record_verify(&rec, c->keyring, slice_cstr(c->common.prefix), id, &err))
        cfg = connection_cfg_parse(rec.cfg, &err);
    if (cfg) {
        cfg->id = id;
        if (c->out.json)
            out_list(&c->out, columns, ARRAY_LEN(columns));
        if ((cfg->grant != GRANT_AUTHORIZATION_CODE || explain_code(&c->out, cfg, &err)) &&
            (cfg->grant != GRANT_DEVICE_CODE || explain_device(&c->out, cfg, &err)) &&
            explain_token(&c->out, cfg, &err)) {
            explain_call(&c->out, cfg);
            (void)explain_revocation(&c->out, cfg, &err);
        }
        if (c->out.json)
            out_list_end(&c->out, "");
    }
    connection_cfg_free(cfg);
    redis_reply_free(reply);
    return err.code == ERR_NONE ? CTL_OK : ctl_fail(c, &err);
}

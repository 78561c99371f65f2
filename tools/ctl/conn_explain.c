/* awq-ctl conn explain: the requests that a connection's settings lead to, as they are built, with
 * words in capitals where a secret would stand. Nothing is sent, and no secret of a record is
 * opened. A file is read as conn apply reads it, with the secrets that it names. */
#include "tools/ctl/conn.h"

#include <stdio.h>
#include <string.h>
#include "common/http.h"
#include "common/oauth_assertion.h"
#include "common/oauth_code.h"
#include "common/oauth_device.h"
#include "tools/ctl/link.h"

#define TEXT_MAX 65536
#define REDIRECT "http://127.0.0.1:PORT/callback"

struct explaining {
    struct out *o;
    struct connection_cfg c; /* a copy that signs nothing */
    int64_t now_ms;
    struct err *err;
};

/* ---- one request ---- */

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

struct shown {
    const char *what, *method;
    struct slice url, body, certificate; /* that is shown in the handshake; "" = none */
    struct buf headers, authorization, dpop;
    struct buf answer; /* how it is read, where the standards do not say it */
};

static void shown_init(struct shown *s, const char *what)
{
    *s = (struct shown){.what = what};
    buf_init(&s->headers, TEXT_MAX);
    buf_init(&s->authorization, TEXT_MAX);
    buf_init(&s->dpop, TEXT_MAX);
    buf_init(&s->answer, TEXT_MAX);
}

static void shown_deinit(struct shown *s)
{
    buf_deinit(&s->headers);
    buf_deinit(&s->authorization);
    buf_deinit(&s->dpop);
    buf_deinit(&s->answer);
}

static void show(struct out *o, const struct shown *s)
{
    if (o->json) {
        out_row(o);
        out_cstr(o, s->what);
        out_cstr(o, s->method);
        out_text(o, s->url);
        out_text(o, buf_slice(&s->headers));
        out_text(o, buf_slice(&s->authorization));
        out_text(o, buf_slice(&s->dpop));
        out_text(o, s->body);
        out_text(o, s->certificate);
        out_text(o, buf_slice(&s->answer));
        return;
    }
    out_note(o, "# %s", s->what);
    if (s->certificate.len > 0)
        out_note(o, "# with the TLS client certificate whose x5t#S256 is %.*s",
                 SLICE_FMT(s->certificate));
    out_note(o, "%s %.*s", s->method, SLICE_FMT(s->url));
    if (s->headers.len > 0)
        out_note(o, "%.*s", SLICE_FMT(slice_sub(buf_slice(&s->headers), 0, s->headers.len - 1)));
    if (s->dpop.len > 0)
        out_note(o, "DPoP: %.*s", SLICE_FMT(buf_slice(&s->dpop)));
    if (s->authorization.len > 0)
        out_note(o, "Authorization: %.*s", SLICE_FMT(buf_slice(&s->authorization)));
    if (s->body.len > 0)
        out_note(o, "\n%.*s", SLICE_FMT(s->body));
    if (s->answer.len > 0)
        out_note(o, "\n# its answer is read by %.*s", SLICE_FMT(buf_slice(&s->answer)));
    out_note(o, "%s", "");
}

/* base64 would hide which parts it is made of. */
static void add_basic(const struct connection_cfg *c, struct buf *to)
{
    if (!oauth_client_is_basic(c))
        return;
    buf_add_cstr(to, "Basic base64(");
    if (c->auth == CLIENT_AUTH_BASIC_RAW)
        buf_add_slice(to, c->client_id);
    else
        oauth_form_encode(to, c->client_id);
    buf_add_cstr(to, ":CLIENT_SECRET)");
}

/* The signed text would hide what it says. Its key is not opened, so alg may be known to it only.
 */
static void add_jwt(struct buf *to, const struct oauth_assertion *a, const char *alg,
                    int64_t now_ms)
{
    struct buf header, claims;

    buf_init(&header, TEXT_MAX);
    buf_init(&claims, TEXT_MAX);
    if (oauth_assertion_json(a, *alg ? alg : "ALG_OF_THE_KEY", "JTI", now_ms, &header, &claims))
        buf_addf(to, "JWT(%.*s, %.*s)", SLICE_FMT(buf_slice(&header)),
                 SLICE_FMT(buf_slice(&claims)));
    buf_deinit(&header);
    buf_deinit(&claims);
}

/* Adds the text with what each assertion says in place of the word that stands for it. */
static void add_with_assertions(const struct explaining *e, struct slice text, struct buf *to)
{
    static const char client[] = "CLIENT_ASSERTION", grant[] = "GRANT_ASSERTION";
    const struct connection_cfg *c = &e->c;
    struct oauth_assertion a;

    while (text.len > 0) {
        if (client_auth_signs(c->auth) && slice_starts(text, slice_cstr(client))) {
            oauth_assertion_of_client(&a, c);
            add_jwt(to, &a, c->auth == CLIENT_AUTH_SECRET_JWT ? "HS256" : jwt_alg_name(c->alg),
                    e->now_ms);
            text = slice_sub(text, strlen(client), text.len);
        } else if (c->grant == GRANT_JWT_BEARER && slice_starts(text, slice_cstr(grant))) {
            oauth_assertion_of_grant(&a, c);
            add_jwt(to, &a, jwt_alg_name(c->assertion.alg), e->now_ms);
            text = slice_sub(text, strlen(grant), text.len);
        } else {
            buf_add_char(to, text.ptr[0]);
            text = slice_sub(text, 1, text.len);
        }
    }
}

/* answer: the profile's map that its answer is read by; "" = no token comes with it. */
static void show_request(struct explaining *e, const char *what, const struct oauth_request *rq,
                         bool proves, const char *answer)
{
    struct http_header headers[OAUTH_HEADERS_MAX];
    size_t count = oauth_request_headers(rq, headers);
    struct buf url, body;
    struct shown s;

    shown_init(&s, what);
    buf_init(&url, TEXT_MAX);
    buf_init(&body, TEXT_MAX);
    add_with_assertions(e, buf_slice(&rq->url), &url);
    add_with_assertions(e, buf_slice(&rq->body), &body);
    s.method = rq->method;
    s.url = buf_slice(&url);
    s.body = buf_slice(&body);
    s.certificate = e->c.certificate;
    for (size_t i = 0; i < count; i++)
        buf_addf(&s.headers, "%.*s: %.*s\n", SLICE_FMT(headers[i].name),
                 SLICE_FMT(headers[i].value));
    add_basic(&e->c, &s.authorization);
    if (e->c.assertion.in_header)
        add_with_assertions(e, buf_slice(&rq->authorization), &s.authorization);
    if (proves)
        proof(&e->c, rq->method, buf_slice(&rq->url), false, &s.dpop);
    if (*answer)
        profile_map(&s.answer, &e->c.profile, answer);
    show(e->o, &s);
    buf_deinit(&url);
    buf_deinit(&body);
    shown_deinit(&s);
}

/* ---- the requests ---- */

static const struct slice secret = {"CLIENT_SECRET", 13};

static struct slice redirect_of(const struct connection_cfg *c)
{
    return c->profile.redirect_uri.len > 0 ? c->profile.redirect_uri : SLICE_LIT(REDIRECT);
}

static bool explain_question(struct explaining *e, const struct oauth_code *q)
{
    const struct connection_cfg *c = &e->c;
    struct oauth_request rq = {0};
    struct shown s;
    struct buf url;
    bool ok;

    buf_init(&url, TEXT_MAX);
    if (c->par_url.len > 0) {
        ok = oauth_code_push(&rq, c, q, secret, redirect_of(c), e->now_ms, e->err);
        if (ok)
            show_request(e, "the question is pushed (conn link)", &rq, false, "");
        ok = ok && oauth_code_pushed(&url, c, 201, SLICE_LIT("{\"request_uri\":\"REQUEST_URI\"}"),
                                     e->err);
        oauth_request_deinit(&rq);
    } else {
        ok = oauth_code_url(&url, c, q, redirect_of(c), e->err);
    }
    if (ok) {
        shown_init(&s, "the owner is asked (conn link)");
        s.method = "GET";
        s.url = buf_slice(&url);
        show(e->o, &s);
        shown_deinit(&s);
    }
    buf_deinit(&url);
    return ok;
}

static bool explain_code(struct explaining *e)
{
    struct oauth_code q = {.verifier = "VERIFIER", .challenge = "CHALLENGE", .state = "STATE"};
    const struct connection_cfg *c = &e->c;
    struct oauth_request rq;
    bool ok;

    if (c->dpop != JWT_ALG_OF_KEY)
        q.jkt = "THUMBPRINT_OF_ITS_KEY";
    if (!explain_question(e, &q))
        return false;
    ok = oauth_code_request(&rq, c, &q, secret, SLICE_LIT("CODE"), redirect_of(c), e->now_ms,
                            e->err);
    if (ok)
        show_request(e, "the code is exchanged (conn link)", &rq, true, "answer.");
    oauth_request_deinit(&rq);
    if (!ok || c->profile.chain_url.len == 0)
        return ok;
    ok = oauth_code_chain(&rq, c, secret, SLICE_LIT("FIRST_ACCESS_TOKEN"), e->now_ms, e->err);
    if (ok)
        show_request(e, "its token is exchanged for the one that is kept (conn link)", &rq, false,
                     "chain.answer.");
    oauth_request_deinit(&rq);
    return ok;
}

static bool explain_device(struct explaining *e)
{
    static const struct oauth_device d = {.code = "DEVICE_CODE"};
    struct oauth_request rq;
    bool ok = oauth_device_ask(&rq, &e->c, secret, e->now_ms, e->err);

    if (ok)
        show_request(e,
                     e->c.grant == GRANT_DEVICE_CODE ? "a code is asked for (conn link)"
                                                     : "a code is asked for (conn link --device)",
                     &rq, false, "");
    oauth_request_deinit(&rq);
    if (!ok)
        return false;
    ok = oauth_device_poll(&rq, &e->c, &d, secret, e->now_ms, e->err);
    if (ok)
        show_request(e, "until the owner has entered it", &rq, true, "answer.");
    oauth_request_deinit(&rq);
    return ok;
}

static struct slice sent_for(const struct connection_cfg *c)
{
    switch (c->grant) {
    case GRANT_JWT_BEARER:
        return SLICE_LIT("GRANT_ASSERTION");
    case GRANT_SAML2_BEARER:
        return SLICE_LIT("SAML_ASSERTION_IN_BASE64URL");
    case GRANT_TOKEN_EXCHANGE:
        return c->actor_token_type.len > 0 ? SLICE_LIT("SUBJECT_TOKEN\0ACTOR_TOKEN")
                                           : SLICE_LIT("SUBJECT_TOKEN");
    case GRANT_PASSWORD:
        return SLICE_LIT("PASSWORD");
    default:
        return SLICE_LIT("REFRESH_TOKEN");
    }
}

static bool explain_token(struct explaining *e)
{
    struct oauth_request rq;
    bool ok;

    if (e->c.profile.not_renewed)
        return true;
    ok = oauth_request_build_from(&rq, &e->c, secret, sent_for(&e->c), e->now_ms, e->err);
    if (ok)
        show_request(e,
                     grant_is_renewed(e->c.grant) ? "the access token is renewed"
                                                  : "an access token is asked for",
                     &rq, true, "answer.");
    oauth_request_deinit(&rq);
    return ok;
}

static bool explain_revocation(struct explaining *e)
{
    bool renewed = grant_is_renewed(e->c.grant) && !e->c.profile.not_renewed;
    struct oauth_request rq;
    bool ok;

    if (e->c.revoke_url.len == 0)
        return true;
    ok = oauth_token_form(&rq, &e->c, e->c.revoke_url, secret,
                          renewed ? SLICE_LIT("REFRESH_TOKEN") : SLICE_LIT("ACCESS_TOKEN"),
                          renewed ? "refresh_token" : "access_token", e->now_ms, e->err);
    if (ok)
        show_request(e, "the grant is revoked (conn revoke, conn rm)", &rq, false, "");
    oauth_request_deinit(&rq);
    return ok;
}

static void explain_call(struct explaining *e)
{
    const struct connection_cfg *c = &e->c;
    const struct api_shape *api = &c->profile.api;
    struct buf url, header;
    struct shown s;

    shown_init(&s, "a call, e.g.");
    buf_init(&url, TEXT_MAX);
    buf_init(&header, TEXT_MAX);
    if (api->base_url.len > 0)
        buf_addf(&url, "%.*s/...", SLICE_FMT(api->base_url));
    else
        buf_addf(&url, "%s://%.*s/...", c->policy.insecure_http ? "http" : "https",
                 SLICE_FMT(c->policy.hosts[0]));
    if (api->token_in == TOKEN_IN_QUERY)
        buf_addf(&url, "?%.*s=ACCESS_TOKEN", SLICE_FMT(api->token_name));
    for (size_t i = 0; i < api->headers.count; i++)
        buf_addf(&s.headers, "%.*s: %.*s\n", SLICE_FMT(api->headers.at[i].name),
                 SLICE_FMT(api->headers.at[i].value));
    if (api->token_in == TOKEN_IN_COOKIE)
        buf_addf(&s.headers, "Cookie: %.*s=ACCESS_TOKEN\n", SLICE_FMT(api->token_name));
    oauth_token_scheme(c, &header);
    buf_add_cstr(&header, "ACCESS_TOKEN");
    if (api->token_in == TOKEN_IN_HEADER && api->token_name.len > 0)
        buf_addf(&s.headers, "%.*s: %.*s\n", SLICE_FMT(api->token_name),
                 SLICE_FMT(buf_slice(&header)));
    else if (api->token_in == TOKEN_IN_HEADER)
        buf_add_slice(&s.authorization, buf_slice(&header));
    s.method = "GET";
    s.url = buf_slice(&url);
    s.certificate = c->certificate;
    proof(c, "GET", s.url, true, &s.dpop);
    profile_map(&s.answer, &c->profile, "limits.");
    show(e->o, &s);
    buf_deinit(&header);
    buf_deinit(&url);
    shown_deinit(&s);
}

/* ---- the verb ---- */

static void explain(struct ctl *c, const struct connection_cfg *cfg, struct err *err)
{
    static const char *const columns[] = {"what",    "method",        "url",
                                          "headers", "authorization", "dpop",
                                          "body",    "certificate",   "answer"};
    struct explaining e = {.o = &c->out, .c = *cfg, .now_ms = ctl_clock_ms(c), .err = err};

    e.c.shown = true;
    if (c->out.json)
        out_list(&c->out, columns, ARRAY_LEN(columns));
    if ((cfg->grant != GRANT_AUTHORIZATION_CODE || explain_code(&e)) &&
        (cfg->device_url.len == 0 || explain_device(&e)) && explain_token(&e)) {
        explain_call(&e);
        (void)explain_revocation(&e);
    }
    if (c->out.json)
        out_list_end(&c->out, "");
}

const struct flag conn_explain_flags[2] = {
    {"--file", "-f", "FILE", "a connection file, before it is applied; Redis is not asked"},
    CONN_PROFILES_FLAG};

static int explain_file(struct ctl *c, const struct args *args)
{
    struct connection_file file;
    struct err err = {0};

    if (!conn_read_file(c, &file, args->flag[0], args->flag[1], &err))
        return ctl_fail(c, &err);
    explain(c, file.cfg, &err);
    if (file.unlinked.code != ERR_NONE)
        ctl_say(0, "%s: conn apply takes the file only for an account that is linked already",
                file.unlinked.msg);
    connection_file_deinit(&file);
    return err.code == ERR_NONE ? CTL_OK : ctl_fail(c, &err);
}

int conn_explain(struct ctl *c, const struct args *args)
{
    struct connection_record rec;
    struct connection_cfg *cfg = NULL;
    struct redis_reply *reply = NULL;
    struct err err = {0};
    struct slice id;
    int code;

    if ((args->count == 1) == (args->flag[0] != NULL))
        return ctl_usage(c, "either ID or -f FILE");
    if (args->flag[0])
        return explain_file(c, args);
    id = slice_cstr(args->names[0]);
    if ((code = ctl_keys(c)) || (code = ctl_connect(c)) || (code = conn_read(c, id, &rec, &reply)))
        return code;
    if (connection_record_verify(&rec, c->keyring, slice_cstr(c->common.prefix), id, &err))
        cfg = connection_cfg_parse(rec.cfg, &err);
    if (cfg) {
        cfg->id = id;
        explain(c, cfg, &err);
    }
    connection_cfg_free(cfg);
    redis_reply_free(reply);
    return err.code == ERR_NONE ? CTL_OK : ctl_fail(c, &err);
}

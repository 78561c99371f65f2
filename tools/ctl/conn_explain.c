/* awq-ctl conn explain: the requests that a connection's settings lead to, as they are built, with
 * words in capitals where a secret would stand. Nothing is sent, and no secret is opened. */
#include "tools/ctl/conn.h"

#include <stdio.h>
#include <string.h>
#include "common/oauth_code.h"
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

static void rest(struct out *o, const char *authorization, struct slice body)
{
    if (o->json) {
        out_cstr(o, authorization);
        out_text(o, body);
        return;
    }
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
    if (c->auth != CLIENT_AUTH_BASIC)
        return true;
    buf_add_cstr(to, "Basic base64(");
    oauth_form_encode(to, c->client_id);
    return buf_add_cstr(to, ":CLIENT_SECRET)");
}

static bool show_token(struct out *o, const struct connection_cfg *c, const char *what,
                       const struct oauth_request *rq)
{
    struct buf authorization;
    bool ok;

    buf_init(&authorization, TEXT_MAX);
    ok = add_basic(c, &authorization);
    if (ok) {
        begin(o, what, "POST", c->token_url);
        rest(o, authorization.len > 0 ? authorization.ptr : "", buf_slice(&rq->body));
    }
    buf_deinit(&authorization);
    return ok;
}

static bool explain_code(struct out *o, const struct connection_cfg *c, struct err *err)
{
    static const struct oauth_code q = {
        .verifier = "VERIFIER", .challenge = "CHALLENGE", .state = "STATE"};
    struct oauth_request rq;
    struct buf url;
    bool ok;

    buf_init(&url, TEXT_MAX);
    ok = oauth_code_url(&url, c, &q, SLICE_LIT(REDIRECT), err);
    if (ok) {
        begin(o, "the owner is asked (conn link)", "GET", buf_slice(&url));
        rest(o, "", SLICE_NONE);
    }
    buf_deinit(&url);
    ok = ok && oauth_code_request(&rq, c, &q, SLICE_LIT("CLIENT_SECRET"), SLICE_LIT("CODE"),
                                  SLICE_LIT(REDIRECT), err);
    if (ok) {
        ok = show_token(o, c, "the code is exchanged (conn link)", &rq);
        oauth_request_deinit(&rq);
    }
    return ok;
}

static bool explain_token(struct out *o, const struct connection_cfg *c, struct err *err)
{
    struct oauth_request rq;
    bool ok =
        oauth_request_build(&rq, c, SLICE_LIT("CLIENT_SECRET"), SLICE_LIT("REFRESH_TOKEN"), err) &&
        show_token(o, c,
                   grant_is_renewed(c->grant) ? "the access token is renewed"
                                              : "an access token is asked for",
                   &rq);

    oauth_request_deinit(&rq);
    return ok;
}

static void explain_call(struct out *o, const struct connection_cfg *c)
{
    struct buf url;

    buf_init(&url, TEXT_MAX);
    buf_addf(&url, "%s://%.*s/...", c->policy.insecure_http ? "http" : "https",
             SLICE_FMT(c->policy.hosts[0]));
    begin(o, "a call, e.g.", "GET", buf_slice(&url));
    rest(o, "Bearer ACCESS_TOKEN", SLICE_NONE);
    buf_deinit(&url);
}

int conn_explain(struct ctl *c, const struct args *args)
{
    static const char *const columns[] = {"what", "method", "url", "authorization", "body"};
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
            explain_token(&c->out, cfg, &err))
            explain_call(&c->out, cfg);
        if (c->out.json)
            out_list_end(&c->out, "");
    }
    connection_cfg_free(cfg);
    redis_reply_free(reply);
    return err.code == ERR_NONE ? CTL_OK : ctl_fail(c, &err);
}

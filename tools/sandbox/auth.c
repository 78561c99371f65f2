#include "tools/sandbox/auth.h"

#include <sodium.h>
#include "common/clock.h"
#include "tools/sandbox/client_auth.h"
#include "tools/sandbox/sandbox.h"

#define FORM_TYPE "application/x-www-form-urlencoded"

/* One token request on its way through the checks. */
struct ask {
    struct sandbox *sandbox;
    const struct request *request;
    const struct form *body;
    const struct client *client;
    struct account *account; /* NULL until it is known */
    struct reply *reply;
};

struct issued {
    struct token_text access;
    struct token_text refresh; /* empty: none */
    unsigned scopes;
    int64_t access_ttl_s;
};

static void count(struct ask *a, enum counter what)
{
    account_count(&a->sandbox->accounts, a->account, what);
}

/* RFC 6749 section 5.1. */
static void write_issued(struct reply *reply, const struct issued *t)
{
    struct json_writer *w = &reply->json;

    jw_obj(w);
    jw_key(w, "access_token");
    jw_cstr(w, t->access.text);
    jw_key(w, "token_type");
    jw_cstr(w, "Bearer");
    jw_key(w, "expires_in");
    jw_int(w, t->access_ttl_s);
    jw_key(w, "scope");
    jw_cstr(w, scopes_text(t->scopes));
    if (t->refresh.text[0]) {
        jw_key(w, "refresh_token");
        jw_cstr(w, t->refresh.text);
    }
    jw_end_obj(w);
}

/* The scopes asked for, which must be among those allowed (RFC 6749 section 3.3). */
static bool read_scopes(struct ask *a, unsigned allowed, unsigned *scopes)
{
    if (scopes_read(form_get(a->body, "scope"), allowed, scopes) && (*scopes & ~allowed) == 0)
        return true;
    reply_error(a->reply, 400, "invalid_scope", "this may have the scope '%s' at most",
                scopes_text(allowed));
    return false;
}

/* 503 is what the RFC's temporarily_unavailable means at this endpoint. */
static void refuse_full(struct ask *a, const struct err *err)
{
    reply_error(a->reply, 503, "temporarily_unavailable", "%s", err->msg);
}

/* ---- client_credentials, RFC 6749 section 4.4 ---- */

static void grant_client_credentials(struct ask *a)
{
    const struct client *client = a->client;
    struct issued t = {.access_ttl_s = client->access_ttl_s};
    struct err err;

    if (client->auth == CLIENT_AUTH_NONE) {
        reply_error(a->reply, 400, "unauthorized_client",
                    "client_credentials is for clients that have a secret");
        return;
    }
    a->account = account_get(&a->sandbox->accounts, client, SLICE_NONE, &err);
    if (!a->account) {
        refuse_full(a, &err);
        return;
    }
    if (!read_scopes(a, client->scopes, &t.scopes))
        return;
    if (!grants_issue(&a->sandbox->grants, a->account, NULL, t.scopes, t.access_ttl_s,
                      clock_boot_ms(), &t.access, &err)) {
        refuse_full(a, &err);
        return;
    }
    if (a->account->counts[COUNT_VERSIONS] > 0)
        count(a, COUNT_RENEWALS);
    count(a, COUNT_VERSIONS);
    write_issued(a->reply, &t);
    sodium_memzero(&t, sizeof t);
}

/* ---- refresh_token, RFC 6749 section 6 ---- */

/*
 * Either the thief or the owner used it second, and nobody can tell which: both must go
 * (RFC 9700 section 4.14.2). The access tokens of the grant end with it.
 */
static void end_reused_grant(struct ask *a, struct grant *grant)
{
    count(a, COUNT_REUSE_DETECTED);
    if (grant_kill(grant))
        count(a, COUNT_GRANTS_KILLED);
    reply_error(a->reply, 400, "invalid_grant",
                "this refresh token was replaced earlier; its grant has ended");
}

static void renew(struct ask *a, struct grant *grant)
{
    struct issued t = {.access_ttl_s = grant_access_ttl_s(grant)};
    struct err err;

    if (!read_scopes(a, grant_scopes(grant), &t.scopes))
        return;
    if (!grants_renew(&a->sandbox->grants, grant, t.scopes, clock_boot_ms(), &t.access, &t.refresh,
                      &err)) {
        refuse_full(a, &err);
        return;
    }
    count(a, COUNT_RENEWALS);
    count(a, COUNT_VERSIONS);
    write_issued(a->reply, &t);
    sodium_memzero(&t, sizeof t);
}

static void grant_refresh_token(struct ask *a)
{
    struct slice token = form_get(a->body, "refresh_token");
    struct grant *grant = NULL;
    enum refresh_state state;

    if (token.len == 0) {
        reply_error(a->reply, 400, "invalid_request", "refresh_token is missing");
        return;
    }
    state = grants_find(&a->sandbox->grants, a->client, token, &grant);
    if (grant)
        a->account = grant_account(grant);
    switch (state) {
    case REFRESH_CURRENT:
        renew(a, grant);
        break;
    case REFRESH_REUSED:
        end_reused_grant(a, grant);
        break;
    case REFRESH_DEAD:
        reply_error(a->reply, 400, "invalid_grant", "the grant has ended; link the account again");
        break;
    case REFRESH_UNKNOWN:
        reply_error(a->reply, 400, "invalid_grant", "no such refresh token of this client");
        break;
    }
}

/* ---- the endpoint ---- */

/* RFC 6749 section 3.2: a parameter at most once, and (2.3.1) none of them in the URI. */
static bool check_fields(struct ask *a)
{
    static const char *const of_the_body[] = {"grant_type", "client_id", "client_secret",
                                              "refresh_token", "scope"};
    struct slice twice = form_repeated(a->body);

    if (twice.len > 0) {
        reply_error(a->reply, 400, "invalid_request", "'%.*s' is there twice", SLICE_FMT(twice));
        return false;
    }
    for (size_t i = 0; i < ARRAY_LEN(of_the_body); i++) {
        if (form_has(&a->request->params, of_the_body[i])) {
            reply_error(a->reply, 400, "invalid_request", "%s belongs into the body, not the URI",
                        of_the_body[i]);
            return false;
        }
    }
    return true;
}

static void answer_grant(struct ask *a)
{
    struct slice type = form_get(a->body, "grant_type");

    a->client = client_authenticate(&a->sandbox->accounts, a->request, a->body, a->reply);
    if (!a->client)
        return;
    if (type.len == 0)
        reply_error(a->reply, 400, "invalid_request", "grant_type is missing");
    else if (slice_is(type, "client_credentials"))
        grant_client_credentials(a);
    else if (slice_is(type, "refresh_token"))
        grant_refresh_token(a);
    else
        reply_error(a->reply, 400, "unsupported_grant_type",
                    "only client_credentials and refresh_token");
}

static bool is_form(const struct request *r)
{
    struct slice type, media = SLICE_NONE;

    return request_header(r, "Content-Type", &type) == 1 && slice_cut(&type, ';', &media) &&
           slice_eq_nocase(slice_trim(media), SLICE_LIT(FORM_TYPE));
}

static void answer_form(struct ask *a)
{
    struct form body;
    const char *why = "";

    if (!form_parse(&body, a->request->body, &why)) {
        reply_error(a->reply, 400, "invalid_request", "body: %s", why);
        return;
    }
    a->body = &body;
    if (check_fields(a))
        answer_grant(a);
    form_deinit(&body);
    a->body = NULL;
}

static void count_answer(struct ask *a, const struct fault *fault)
{
    /* What was refused before its account was known is counted in the totals alone. */
    count(a, COUNT_TOKEN_ARRIVED);
    if (fault->status != 0 || fault->drop == DROP_BEFORE)
        count(a, COUNT_TOKEN_FAULTS);
    else
        count(a, a->reply->status == 200 ? COUNT_TOKEN_OK : COUNT_TOKEN_REFUSED);
    if (a->reply->drop)
        count(a, COUNT_DROPPED);
}

void auth_token(struct sandbox *s, const struct request *request, struct reply *reply)
{
    struct ask a = {.sandbox = s, .request = request, .reply = reply};
    struct fault fault;
    struct err err;

    /* RFC 6749 section 5.1: on every answer that might hold a token. */
    reply_header(reply, "Cache-Control", SLICE_LIT("no-store"));
    reply_header(reply, "Pragma", SLICE_LIT("no-cache"));
    if (!request_is(request, "POST")) {
        reply_wrong_method(reply, "POST");
        return;
    }
    if (!faults_read(&s->faults, request, &fault, &err))
        reply_error(reply, 400, "invalid_request", "%s", err.msg);
    else if (fault_apply(&fault, reply))
        ; /* answered as asked for */
    else if (!is_form(request))
        reply_error(reply, 400, "invalid_request", "the body must be " FORM_TYPE);
    else
        answer_form(&a);
    count_answer(&a, &fault);
}

/* ---- metadata ---- */

static void write_list(struct json_writer *w, const char *key, const char *const *words)
{
    jw_key(w, key);
    jw_arr(w);
    for (; *words; words++)
        jw_cstr(w, *words);
    jw_end_arr(w);
}

void auth_metadata(const struct sandbox *s, const struct request *request, struct reply *reply)
{
    static const char *const none[] = {NULL};
    static const char *const grants[] = {"client_credentials", "refresh_token", NULL};
    static const char *const methods[] = {"client_secret_basic", "client_secret_post", "none",
                                          NULL};
    static const char *const scopes[] = {"read", "write", NULL};
    struct json_writer *w = &reply->json;
    struct buf url;

    if (!request_is(request, "GET")) {
        reply_wrong_method(reply, "GET");
        return;
    }
    buf_init(&url, sizeof s->issuer + 16);
    buf_addf(&url, "%s/token", s->issuer);
    jw_obj(w);
    jw_key(w, "issuer");
    jw_cstr(w, s->issuer);
    jw_key(w, "token_endpoint");
    jw_str(w, buf_slice(&url));
    write_list(w, "grant_types_supported", grants);
    write_list(w, "token_endpoint_auth_methods_supported", methods);
    write_list(w, "scopes_supported", scopes);
    write_list(w, "response_types_supported", none); /* required; there is no such endpoint */
    jw_end_obj(w);
    buf_deinit(&url);
}

#include "tools/ctl/once.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <uv.h>
#include "common/egress.h"
#include "common/json.h"
#include "common/version.h"

#define ANSWER_BYTES (256 * 1024)

static const char *trusted;

void once_trust(const char *ca_file)
{
    trusted = ca_file;
}

struct asking {
    const struct once *o;
    once_cb *cb;
    void *owner;
    struct err *err;
    bool over, answered;
    bool only_reach, reached; /* nothing is sent; it could have been */
};

static bool address_ok(void *owner, const struct sockaddr *addr, struct err *err)
{
    const struct asking *a = owner;

    return egress_check_address(a->o->allow_private, addr, err);
}

static bool stop_there(void *owner, struct err *err)
{
    struct asking *a = owner;

    a->reached = true;
    return err_set(err, ERR_CANCELLED, "nothing is sent");
}

/* Not twice in a row: a server that wants another one each time gets no further. */
static bool wants_nonce(struct once_dpop *d, const struct http_result *res)
{
    bool before;
    struct slice error = SLICE_NONE;
    struct json *doc;

    if (!d || !d->key)
        return false;
    before = d->again;
    dpop_take_nonce(d->nonce, http_header_get(res, "dpop-nonce"));
    doc = json_parse(buf_slice(res->body), NULL);
    json_str(json_get(json_root(doc), "error"), &error);
    d->again = !before && d->nonce[0] && slice_is(error, "use_dpop_nonce");
    json_free(doc);
    return d->again;
}

/* There is no policy yet: who asks says what may be reached. */
static void name_option(struct err *err)
{
    char *policy = strstr(err->msg, EGRESS_PRIVATE);

    if (policy)
        snprintf(policy, sizeof err->msg - (size_t)(policy - err->msg),
                 "; --allow-private lets it be reached");
}

static void on_answer(void *owner, const struct http_result *res)
{
    struct asking *a = owner;

    a->over = true;
    a->answered = res->sent == HTTP_ANSWERED;
    if (a->reached)
        return;
    if (!a->answered) {
        *a->err = res->err;
        if (a->o->by_option)
            name_option(a->err);
        err_prefix(a->err, "%s: ", a->o->what);
        return;
    }
    if (!wants_nonce(a->o->dpop, res))
        a->cb(a->owner, res);
    if (res->body->ptr)
        sodium_memzero(res->body->ptr, res->body->cap);
}

static void call(struct asking *a, uv_loop_t *loop, const char *url)
{
    const struct http_options options = {
        .slots = 1, .user_agent = "awq/" AWQ_VERSION, .ca_file = trusted};
    const struct oauth_request *form = a->o->form;
    struct http_header headers[OAUTH_HEADERS_MAX] = {
        {SLICE_LIT("Accept"), SLICE_LIT("application/json")},
        {SLICE_LIT("Content-Type"), SLICE_LIT("application/json")},
    };
    struct slice body = form ? buf_slice(&form->body) : a->o->json;
    struct slice authorization = form ? buf_slice(&form->authorization) : a->o->authorization;
    struct http_call call = {
        .method = form                            ? form->method
                  : body.len > 0 || a->only_reach ? "POST"
                                                  : "GET",
        .url = url,
        .headers = headers,
        .header_count = form           ? oauth_request_headers(form, headers)
                        : body.len > 0 ? 2
                                       : 1,
        .body = body,
        .has_body = form ? strcmp(form->method, "POST") == 0 : body.len > 0,
        .total_timeout_ms = ONCE_MS,
        .max_body_bytes = ANSWER_BYTES,
        .address_ok = address_ok,
        .before_send = a->only_reach ? stop_there : NULL,
        .cert = a->o->cert,
    };
    struct http *http = http_new(loop, &options, a->err);
    const struct once_dpop *dpop = a->o->dpop;
    const struct dpop_request proves = {
        .method = call.method,
        .url = slice_cstr(url),
        .nonce = dpop ? slice_cstr(dpop->nonce) : SLICE_NONE,
    };
    struct buf proof;
    bool ok = http != NULL;

    buf_init(&proof, DPOP_PROOF_MAX);
    if (ok && dpop && dpop->key) {
        ok = dpop_proof(dpop->key, &proves, dpop->now_ms, &proof, a->err);
        call.more = (struct http_header){SLICE_LIT("DPoP"), buf_slice(&proof)};
    }

    if (authorization.len > 0)
        call.secret = (struct http_header){SLICE_LIT("Authorization"), authorization};
    if (ok && http_start(http, &call, on_answer, a, a->err))
        while (!a->over)
            uv_run(loop, UV_RUN_ONCE);
    http_free(http);
    buf_deinit(&proof);
}

static void ask(struct asking *a)
{
    const struct once *o = a->o;
    char *url = slice_dup(o->url);
    uv_loop_t loop;

    if (!url || uv_loop_init(&loop) != 0) {
        free(url);
        err_set(a->err, ERR_NOMEM, "out of memory");
        return;
    }
    if (egress_check_endpoint(o->insecure_http, o->url, a->err))
        call(a, &loop, url);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    sodium_memzero(url, o->url.len); /* its query may be a secret's place */
    free(url);
}

bool once_ask(const struct once *o, once_cb *cb, void *owner, struct err *err)
{
    struct asking a = {.o = o, .cb = cb, .owner = owner, .err = err};

    ask(&a);
    return a.answered;
}

bool once_reach(const struct once *o, struct err *err)
{
    struct asking a = {.o = o, .err = err, .only_reach = true};

    ask(&a);
    return a.reached;
}

bool once_form(const struct connection_cfg *c, struct client_cert *cert, const char *what,
               const struct oauth_request *form, struct once_dpop *dpop, once_cb *cb, void *owner,
               struct err *err)
{
    const struct once o = {.what = what,
                           .url = buf_slice(&form->url),
                           .insecure_http = c->policy.insecure_http,
                           .allow_private = c->policy.allow_private,
                           .form = form,
                           .dpop = dpop,
                           .cert = cert};

    /* A token that is asked for without it would be bound to nothing. */
    if (!slice_is(c->certificate, cert ? client_cert_x5t(cert) : ""))
        return err_set(
            err, ERR_CONFIG,
            "the certificate that its settings name is not stored beside them; apply its "
            "file again");
    return once_ask(&o, cb, owner, err);
}

#include "tools/ctl/post.h"

#include <stdlib.h>
#include <sodium.h>
#include <uv.h>
#include "common/egress.h"
#include "common/version.h"

#define ANSWER_BYTES (256 * 1024)

struct post {
    const struct connection_cfg *cfg;
    const char *what;
    post_cb *cb;
    void *owner;
    struct err *err;
    bool over, answered;
};

static bool address_ok(void *owner, const struct sockaddr *addr, struct err *err)
{
    const struct post *p = owner;

    return egress_check_address(p->cfg->policy.allow_private, addr, err);
}

static void on_answer(void *owner, const struct http_result *res)
{
    struct post *p = owner;

    p->over = true;
    p->answered = res->sent == HTTP_ANSWERED;
    if (!p->answered) {
        *p->err = res->err;
        err_prefix(p->err, "%s: ", p->what);
        return;
    }
    p->cb(p->owner, res);
    if (res->body->ptr)
        sodium_memzero(res->body->ptr, res->body->cap);
}

static void call(struct post *p, uv_loop_t *loop, const char *url, const struct oauth_request *rq)
{
    const struct http_options options = {.slots = 1, .user_agent = "awq/" AWQ_VERSION};
    struct http_header headers[] = {
        {SLICE_LIT("Content-Type"), SLICE_LIT("application/x-www-form-urlencoded")},
        {SLICE_LIT("Accept"), SLICE_LIT("application/json")},
    };
    struct http_call call = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .header_count = ARRAY_LEN(headers),
        .body = buf_slice(&rq->body),
        .has_body = true,
        .total_timeout_ms = POST_MS,
        .max_body_bytes = ANSWER_BYTES,
        .address_ok = address_ok,
    };
    struct http *http = http_new(loop, &options, p->err);

    if (rq->authorization.len > 0)
        call.secret =
            (struct http_header){SLICE_LIT("Authorization"), buf_slice(&rq->authorization)};
    if (http && http_start(http, &call, on_answer, p, p->err))
        while (!p->over)
            uv_run(loop, UV_RUN_ONCE);
    http_free(http);
}

bool post_form(const struct connection_cfg *cfg, const char *what, struct slice url,
               const struct oauth_request *rq, post_cb *cb, void *owner, struct err *err)
{
    struct post p = {.cfg = cfg, .what = what, .cb = cb, .owner = owner, .err = err};
    char *text = slice_dup(url);
    uv_loop_t loop;

    if (!text || uv_loop_init(&loop) != 0) {
        free(text);
        return err_set(err, ERR_NOMEM, "out of memory");
    }
    if (egress_check_endpoint(cfg->policy.insecure_http, url, err))
        call(&p, &loop, text, rq);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    free(text);
    return p.answered;
}

#include "common/http_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/client_cert.h"
#include "common/clock.h"
#include "common/sigpipe.h"

/* ---- ends that libcurl brings ---- */

/* The request is out of libcurl's hands. */
static void finish(struct http_request *rq, CURLcode code)
{
    struct http_result r = {.sent_ms = rq->sent_ms, .new_link = rq->opened > 0};

    http_judge(rq, code, &r);
    if (r.sent == HTTP_ANSWERED || r.head_status > 0)
        r.answered_ms = clock_wall_ms();
    if (r.sent == HTTP_NOT_SENT)
        r.sent_ms = 0;
    http_slot_wipe(rq);
    rq->running = false;
    rq->h->in_flight--;
    if (rq->pool)
        rq->pool->in_flight--;
    rq->cb(rq->owner, &r);
    http_slot_put(rq);
}

static void detach(struct http_request *rq)
{
    if (!rq->attached)
        return;
    rq->attached = false;
    rq->h->in_curl++;
    curl_multi_remove_handle(rq->pool->multi, rq->easy);
    rq->h->in_curl--;
}

void http_drain(struct pool *p)
{
    CURLMsg *m;
    int left;

    p->draining++;
    while (p->multi && (m = curl_multi_info_read(p->multi, &left))) {
        struct http_request *rq = NULL;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&rq);
        detach(rq);
        if (!rq->ended) /* a cancelled one is called back by on_later */
            finish(rq, code);
    }
    p->draining--;
}

/* ---- ends that libcurl did not bring ---- */

static void on_later(uv_timer_t *timer)
{
    struct http *h = timer->data;
    struct http_request *list = h->ended, *rq;

    h->ended = NULL;
    while ((rq = list)) {
        list = rq->next_ended;
        rq->ended = false;
        if (!rq->running) /* http_free was first */
            continue;
        detach(rq);
        finish(rq, CURLE_ABORTED_BY_CALLBACK);
    }
}

void http_cancel(struct http_request *rq)
{
    struct http *h = rq->h;

    if (!rq->running || rq->ended)
        return;
    if (!rq->err.code)
        err_set(&rq->err, ERR_CANCELLED, "the request was cancelled");
    if (h->in_curl == 0) /* else on_prereq stops it, and on_later takes it out */
        detach(rq);
    rq->ended = true;
    rq->next_ended = h->ended;
    h->ended = rq;
    uv_timer_start(&h->later, on_later, 0, 0);
}

static const char *pool_name(const struct http_call *call)
{
    return call->cert ? client_cert_x5t(call->cert) : NULL;
}

struct http_request *http_start(struct http *h, const struct http_call *call, http_cb *cb,
                                void *owner, struct err *err)
{
    struct http_request *rq;
    struct pool *p;

    if (h->closing) {
        err_set(err, ERR_CANCELLED, "the HTTP engine is closing");
        return NULL;
    }
    if (h->in_flight >= h->slots) {
        err_rule(err, ERR_RETRY, "no_slot", "all %u HTTP slots are in use", h->slots);
        return NULL;
    }
    if (!http_call_ok(call, err) || !(p = http_pool_get(h, pool_name(call), err)))
        return NULL;
    rq = http_slot_take(h);
    if (!rq || !http_slot_load(rq, p, call) ||
        curl_multi_add_handle(p->multi, rq->easy) != CURLM_OK) {
        if (rq) {
            http_slot_wipe(rq);
            http_slot_put(rq);
        }
        err_set(err, ERR_NOMEM, "out of memory for a request");
        return NULL;
    }
    rq->cb = cb;
    rq->owner = owner;
    rq->running = rq->attached = true;
    h->in_flight++;
    p->in_flight++;
    p->last_used = ++h->uses;
    return rq;
}

unsigned http_in_flight(const struct http *h)
{
    return h->in_flight;
}

/* ---- the engine ---- */

void http_maybe_free(struct http *h)
{
    struct http_request *rq;

    if (h->handles > 0)
        return;
    while ((rq = h->all)) {
        h->all = rq->next_all;
        http_slot_free(rq);
    }
    free(h->by_fd);
    free(h->ca_file);
    free(h->proxy);
    free(h->user_agent);
    free(h);
    curl_global_cleanup();
}

static void on_later_closed(uv_handle_t *handle)
{
    struct http *h = handle->data;

    h->handles--;
    http_maybe_free(h);
}

void http_free(struct http *h)
{
    struct pool *p;

    if (!h || h->closing)
        return;
    h->closing = true;
    for (struct http_request *rq = h->all; rq; rq = rq->next_all) {
        if (rq->running) {
            detach(rq);
            if (!rq->err.code)
                err_set(&rq->err, ERR_CANCELLED, "the HTTP engine was closed");
            finish(rq, CURLE_ABORTED_BY_CALLBACK);
        }
    }
    for (struct http_request *rq = h->all; rq; rq = rq->next_all) {
        curl_easy_cleanup(rq->easy);
        rq->easy = NULL;
        rq->pool = NULL;
    }
    while ((p = h->pools)) {
        h->pools = p->next;
        http_pool_close(p);
    }
    for (size_t fd = 0; fd < h->fd_cap; fd++)
        http_link_close(h, (int)fd);
    uv_close((uv_handle_t *)&h->later, on_later_closed);
}

static bool copy_text(const char *from, char **to)
{
    if (!from || !*from)
        return true;
    *to = strdup(from);
    return *to != NULL;
}

/* One file, since a directory of certificates (libcurl's other default in some builds) makes
 * libcurl read all of them again for every new link. */
static const char *system_ca_file(void)
{
    static const char *const places[] = {
        "/etc/ssl/certs/ca-certificates.crt", /* Debian, Ubuntu, Alpine, Arch */
        "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
        "/etc/ssl/ca-bundle.pem",             /* openSUSE */
        "/etc/ssl/cert.pem",
    };

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (access(places[i], R_OK) == 0)
            return places[i];
    }
    return places[0]; /* TLS will fail and name it */
}

/* libcurl looks into the file at the first TLS link only, and then every call would fail. */
static bool has_certificate(const char *path)
{
    FILE *f = fopen(path, "re");
    char line[256];
    bool found = false;

    while (f && !found && fgets(line, sizeof line, f))
        found = strstr(line, "CERTIFICATE-----") != NULL;
    if (f)
        fclose(f);
    return found;
}

static bool options_take(struct http *h, const struct http_options *o, struct err *err)
{
    h->slots = o->slots > 0 ? o->slots : 1;
    h->max_links = o->max_links > 0 ? o->max_links : h->slots * 4;
    h->http2 = o->http2;
    if (o->ca_file && access(o->ca_file, R_OK) != 0)
        return err_rule(err, ERR_CONFIG, "tls_ca_file", "cannot read the CA file %s", o->ca_file);
    if (o->ca_file && !has_certificate(o->ca_file))
        return err_rule(err, ERR_CONFIG, "tls_ca_file", "the CA file %s holds no PEM certificate",
                        o->ca_file);
    if (!copy_text(o->ca_file ? o->ca_file : system_ca_file(), &h->ca_file) ||
        !copy_text(o->proxy, &h->proxy) ||
        !copy_text(o->user_agent ? o->user_agent : "awq/0.1", &h->user_agent))
        return err_set(err, ERR_NOMEM, "out of memory for the HTTP engine");
    return true;
}

struct http *http_new(struct uv_loop_s *loop, const struct http_options *o, struct err *err)
{
    struct http *h;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        err_set(err, ERR_CONFIG, "libcurl cannot start");
        return NULL;
    }
    h = calloc(1, sizeof *h);
    if (!h) {
        err_set(err, ERR_NOMEM, "out of memory for the HTTP engine");
        curl_global_cleanup();
        return NULL;
    }
    h->loop = loop;
    if (!options_take(h, o, err) || !http_pool_get(h, NULL, err)) {
        http_maybe_free(h);
        return NULL;
    }
    sigpipe_ignore(); /* CURLOPT_NOSIGNAL: libcurl does not look after it */
    uv_timer_init(loop, &h->later);
    h->later.data = h;
    h->handles++;
    return h;
}

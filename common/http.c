#include "common/http_inside.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <curl/curl.h>
#include <sodium.h>
#include <uv.h>
#include "common/clock.h"

enum {
    CONNECT_MS = 5000,
    TOTAL_MS = 30000,
    HEADER_BYTES = 64 * 1024,
    BODY_BYTES = 1024 * 1024,
    MAX_SENT_HEADERS = 200, /* of one request */
    /* Many servers close an idle link after 60 s; one that is a little younger may be closed under
     * our request, and then nobody knows whether it was done. */
    IDLE_LINK_S = 50,
};

/* ---- libcurl asks ---- */

/* Just before the request is written. libcurl repeats a request by itself when a reused link
 * ends without an answer, whatever the method; what was sent may have been done, so a method that
 * is not idempotent must not go out again here (RFC 9110 section 9.2.2). */
static bool may_send(struct http_request *rq, const char *ip)
{
    if (rq->err.code) /* cancelled */
        return false;
    if (rq->wrote && !rq->idempotent)
        return err_rule(&rq->err, ERR_UNKNOWN, "link_lost",
                        "the link ended before an answer came; the request may have been done");
    if (!http_link_ok(rq, ip))
        return false;
    if (rq->before_send && !rq->before_send(rq->owner, &rq->err))
        return false;
    return !rq->err.code; /* its owner may have cancelled while it was asked */
}

static int on_prereq(void *owner, char *ip, char *local_ip, int port, int local_port)
{
    struct http_request *rq = owner;

    (void)local_ip;
    (void)port;
    (void)local_port;
    if (!may_send(rq, ip)) {
        if (!rq->err.code)
            err_set(&rq->err, ERR_CANCELLED, "its owner did not want it sent");
        return CURL_PREREQFUNC_ABORT;
    }
    rq->tries++;
    rq->wrote = rq->linked = true;
    if (rq->sent_ms == 0)
        rq->sent_ms = clock_wall_ms();
    return CURL_PREREQFUNC_OK;
}

/* ---- slots ---- */

/* What never changes from one request to the next. */
static bool easy_options(struct http_request *rq)
{
    struct http *h = rq->h;
    CURL *e = rq->easy;
    bool ok = true;

#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
    SET(CURLOPT_PRIVATE, rq);
    SET(CURLOPT_ERRORBUFFER, rq->why);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROGRESS, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Without it the end of a request waits for getaddrinfo, and the loop with it. */
    SET(CURLOPT_QUICK_EXIT, 1L);
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L); /* what was checked is what is sent */
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_HTTP_VERSION,
        h->http2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    SET(CURLOPT_USERAGENT, h->user_agent);
    SET(CURLOPT_MAXAGE_CONN, (long)IDLE_LINK_S);
    SET(CURLOPT_PROXY, h->proxy ? h->proxy : ""); /* "": not even from the environment */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* no token to a proxy */
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CAINFO, h->ca_file);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_OPENSOCKETFUNCTION, http_on_open);
    SET(CURLOPT_OPENSOCKETDATA, rq);
    SET(CURLOPT_CLOSESOCKETFUNCTION, http_on_close);
    SET(CURLOPT_CLOSESOCKETDATA, h);
    SET(CURLOPT_PREREQFUNCTION, on_prereq);
    SET(CURLOPT_PREREQDATA, rq);
    SET(CURLOPT_HEADERFUNCTION, http_on_header);
    SET(CURLOPT_HEADERDATA, rq);
    SET(CURLOPT_WRITEFUNCTION, http_on_body);
    SET(CURLOPT_WRITEDATA, rq);
    return ok;
}

static void slot_free(struct http_request *rq)
{
    if (rq->easy)
        curl_easy_cleanup(rq->easy);
    free(rq->lines);
    free(rq->text);
    free(rq->body_copy);
    free(rq->headers);
    buf_deinit(&rq->head);
    buf_deinit(&rq->body);
    free(rq);
}

static struct http_request *slot_new(struct http *h)
{
    struct http_request *rq = calloc(1, sizeof *rq);

    if (!rq)
        return NULL;
    rq->h = h;
    rq->easy = curl_easy_init();
    if (!rq->easy || !easy_options(rq)) {
        slot_free(rq);
        return NULL;
    }
    rq->next_all = h->all;
    h->all = rq;
    return rq;
}

/* The one used last comes first: its memory is warm, and the others need not exist. */
static struct http_request *slot_take(struct http *h)
{
    struct http_request *rq = h->free_slots;

    if (!rq)
        return slot_new(h);
    h->free_slots = rq->next_free;
    return rq;
}

static void trim(struct buf *b)
{
    if (b->cap > HTTP_KEEP_BYTES)
        buf_deinit(b);
    else
        buf_clear(b);
}

/* Wipe what went out. After it nothing of the caller's is left in the slot. */
static void slot_wipe(struct http_request *rq)
{
    if (rq->easy) {
        curl_easy_setopt(rq->easy, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(rq->easy, CURLOPT_POSTFIELDS, NULL);
    }
    if (rq->text)
        sodium_memzero(rq->text, rq->text_len);
    rq->text_len = 0;
    if (rq->text_cap > HTTP_KEEP_BYTES) {
        free(rq->text);
        rq->text = NULL;
        rq->text_cap = 0;
    }
    free(rq->body_copy);
    rq->body_copy = NULL;
}

static void slot_put(struct http_request *rq)
{
    trim(&rq->head);
    trim(&rq->body);
    if (rq->header_cap > 100) {
        free(rq->headers);
        rq->headers = NULL;
        rq->header_cap = 0;
    }
    rq->next_free = rq->h->free_slots;
    rq->h->free_slots = rq;
}

/* ---- what goes out ---- */

static bool framing_header(struct slice name)
{
    return slice_eq_nocase(name, SLICE_LIT("Content-Length")) ||
           slice_eq_nocase(name, SLICE_LIT("Transfer-Encoding")) ||
           slice_eq_nocase(name, SLICE_LIT("Host"));
}

static bool header_ok(const struct http_header *f, struct err *err)
{
    if (!http_is_token(f->name) || !http_is_header_value(f->value))
        return err_rule(err, ERR_FORMAT, "header_invalid",
                        "a header's name or value has characters that are not allowed");
    if (framing_header(f->name))
        return err_rule(err, ERR_FORMAT, "header_forbidden", "the header %.*s is set by awq",
                        SLICE_FMT(f->name));
    return true;
}

static bool call_ok(const struct http_call *c, struct err *err)
{
    struct slice method = slice_cstr(c->method);

    if (!http_is_token(method) || method.len >= sizeof((struct http_request *)0)->method ||
        slice_is(method, "CONNECT"))
        return err_rule(err, ERR_FORMAT, "method_invalid", "not a method that can be sent");
    if (slice_is(method, "HEAD") && (c->has_body || c->body.len > 0))
        return err_rule(err, ERR_FORMAT, "method_invalid", "a HEAD request takes no body");
    if (!c->url || !http_is_header_value(slice_cstr(c->url)))
        return err_rule(err, ERR_FORMAT, "url_invalid", "the URL has control characters");
    if (c->header_count > MAX_SENT_HEADERS)
        return err_rule(err, ERR_FORMAT, "header_invalid", "more than %d headers",
                        MAX_SENT_HEADERS);
    for (size_t i = 0; i < c->header_count; i++) {
        if (!header_ok(&c->headers[i], err))
            return false;
    }
    return c->secret.name.len == 0 || header_ok(&c->secret, err);
}

static bool text_reserve(struct http_request *rq, size_t bytes, size_t lines)
{
    if (bytes > rq->text_cap) {
        free(rq->text); /* wiped when the request before ended */
        rq->text_cap = bytes < 1536 ? 1536 : bytes;
        rq->text = malloc(rq->text_cap);
        if (!rq->text) {
            rq->text_cap = 0;
            return false;
        }
    }
    if (lines > rq->line_cap) {
        struct curl_slist *more = realloc(rq->lines, lines * sizeof *more);

        if (!more)
            return false;
        rq->lines = more;
        rq->line_cap = lines;
    }
    return true;
}

/* One more node of the list; its text goes where the result points. */
static char *add_node(struct http_request *rq, size_t *count)
{
    char *p = rq->text + rq->text_len;

    rq->lines[*count] = (struct curl_slist){p, NULL};
    if (*count > 0)
        rq->lines[*count - 1].next = &rq->lines[*count];
    ++*count;
    return p;
}

/* libcurl's notation: "Name: value", "Name;" for an empty value. */
static void add_line(struct http_request *rq, size_t *count, const struct http_header *f)
{
    char *p = add_node(rq, count);

    p = mempcpy(p, f->name.ptr, f->name.len);
    if (f->value.len > 0) {
        p = mempcpy(p, ": ", 2);
        p = mempcpy(p, f->value.ptr, f->value.len);
    } else {
        *p++ = ';';
    }
    *p++ = '\0';
    rq->text_len = (size_t)(p - rq->text);
}

static void add_fixed(struct http_request *rq, size_t *count, const char *line)
{
    size_t n = strlen(line) + 1;

    memcpy(add_node(rq, count), line, n);
    rq->text_len += n;
}

/* The list and its text are the slot's own memory: no allocation per header, and the secret is in
 * one place, to be wiped. */
static bool set_headers(struct http_request *rq, const struct http_call *c)
{
    static const char no_expect[] = "Expect:";     /* no waiting for 100 Continue */
    static const char no_type[] = "Content-Type:"; /* libcurl would call any body a form */
    size_t bytes = sizeof no_expect + sizeof no_type + c->secret.name.len + c->secret.value.len + 3;
    size_t count = 0;
    bool typed = false;

    for (size_t i = 0; i < c->header_count; i++) {
        bytes += c->headers[i].name.len + c->headers[i].value.len + 3;
        typed = typed || slice_eq_nocase(c->headers[i].name, SLICE_LIT("Content-Type"));
    }
    if (!text_reserve(rq, bytes, c->header_count + 3))
        return false;
    for (size_t i = 0; i < c->header_count; i++)
        add_line(rq, &count, &c->headers[i]);
    if (c->secret.name.len > 0)
        add_line(rq, &count, &c->secret);
    add_fixed(rq, &count, no_expect);
    if (!typed)
        add_fixed(rq, &count, no_type);
    return curl_easy_setopt(rq->easy, CURLOPT_HTTPHEADER, rq->lines) == CURLE_OK;
}

/* Every method is a custom one to libcurl, but for what it reads from the answer (HEAD) and
 * whether a body goes along. */
static bool set_method(struct http_request *rq, const struct http_call *c)
{
    CURL *e = rq->easy;
    bool has_body = c->has_body || c->body.len > 0;
    const char *body = c->body.len > 0 ? c->body.ptr : "";

    if (c->copy_body && c->body.len > 0) {
        rq->body_copy = malloc(c->body.len);
        if (!rq->body_copy)
            return false;
        body = memcpy(rq->body_copy, c->body.ptr, c->body.len);
    }
    rq->no_body = strcmp(c->method, "HEAD") == 0;
    rq->idempotent = http_method_is_idempotent(slice_cstr(c->method));
    if (curl_easy_setopt(e, CURLOPT_HTTPGET, 1L) != CURLE_OK) /* from whatever it was before */
        return false;
    if (rq->no_body && curl_easy_setopt(e, CURLOPT_NOBODY, 1L) != CURLE_OK)
        return false;
    if (has_body &&
        (curl_easy_setopt(e, CURLOPT_POSTFIELDS, body) != CURLE_OK ||
         curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->body.len) != CURLE_OK))
        return false;
    if (strcmp(rq->method, c->method) == 0)
        return true;
    if (curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->method) != CURLE_OK)
        return false;
    snprintf(rq->method, sizeof rq->method, "%s", c->method);
    return true;
}

static bool set_rest(struct http_request *rq, const struct http_call *c)
{
    long connect_ms = (long)(c->connect_timeout_ms > 0 ? c->connect_timeout_ms : CONNECT_MS);
    long total_ms = (long)(c->total_timeout_ms > 0 ? c->total_timeout_ms : TOTAL_MS);
    long fresh = c->fresh_link ? 1 : 0;
    CURL *e = rq->easy;
    bool ok = true;

    SET(CURLOPT_URL, c->url);
    SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
    SET(CURLOPT_TIMEOUT_MS, total_ms);
    SET(CURLOPT_FRESH_CONNECT, fresh);
    SET(CURLOPT_FORBID_REUSE, fresh);
    return ok;
}
#undef SET

static void forget_answer(struct http_request *rq, const struct http_call *c)
{
    rq->max_header_bytes = c->max_header_bytes > 0 ? c->max_header_bytes : HEADER_BYTES;
    rq->head.max = rq->max_header_bytes;
    rq->body.max = c->max_body_bytes > 0 ? c->max_body_bytes : BODY_BYTES;
    rq->head_seen = rq->head_lines = 0;
    rq->status = 0;
    rq->block_start = true;
    rq->head_done = rq->body_began = false;
    rq->wrote = rq->linked = false;
    rq->tries = rq->opened = rq->refused = 0;
    rq->err.code = rq->denied.code = ERR_NONE;
    rq->why[0] = '\0';
    rq->sent_ms = 0;
}

static bool slot_load(struct http_request *rq, struct pool *p, const struct http_call *c)
{
    forget_answer(rq, c);
    rq->address_ok = c->address_ok;
    rq->before_send = c->before_send;
    if (rq->pool != p && curl_easy_setopt(rq->easy, CURLOPT_SHARE, p->share) != CURLE_OK)
        return false;
    rq->pool = p;
    return set_headers(rq, c) && set_method(rq, c) && set_rest(rq, c);
}

/* ---- ends that libcurl brings ---- */

/* The request is out of libcurl's hands. */
static void finish(struct http_request *rq, CURLcode code)
{
    struct http_result r = {.sent_ms = rq->sent_ms, .new_link = rq->opened > 0};

    http_judge(rq, code, &r);
    if (r.sent == HTTP_ANSWERED)
        r.answered_ms = clock_wall_ms();
    if (r.sent == HTTP_NOT_SENT)
        r.sent_ms = 0;
    slot_wipe(rq);
    rq->running = false;
    rq->h->in_flight--;
    if (rq->pool)
        rq->pool->in_flight--;
    rq->cb(rq->owner, &r);
    slot_put(rq);
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
    if (!call_ok(call, err) || !(p = http_pool_get(h, call->pool, err)))
        return NULL;
    rq = slot_take(h);
    if (!rq || !slot_load(rq, p, call) || curl_multi_add_handle(p->multi, rq->easy) != CURLM_OK) {
        if (rq) {
            slot_wipe(rq);
            slot_put(rq);
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
        slot_free(rq);
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

/* OpenSSL writes to its socket with write(2), and CURLOPT_NOSIGNAL means that libcurl does not
 * look after SIGPIPE: a link closed by the far side would end the process. */
static void ignore_sigpipe(void)
{
    struct sigaction now;

    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
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
    ignore_sigpipe();
    uv_timer_init(loop, &h->later);
    h->later.data = h;
    h->handles++;
    return h;
}

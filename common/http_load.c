#include "common/http_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/client_cert.h"

enum {
    CONNECT_MS = 5000,
    TOTAL_MS = 30000,
    HEADER_BYTES = 64 * 1024,
    BODY_BYTES = 1024 * 1024,
    MAX_SENT_HEADERS = 200, /* of one request */
    HTTP2_SENT_BYTES = 16 * 1024,
};

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

bool http_call_ok(const struct http_call *c, struct err *err)
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
    return (c->secret.name.len == 0 || header_ok(&c->secret, err)) &&
           (c->more.name.len == 0 || header_ok(&c->more, err));
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
    size_t bytes = sizeof no_expect + sizeof no_type + c->secret.name.len + c->secret.value.len +
                   c->more.name.len + c->more.value.len + 6;
    size_t count = 0;
    bool typed = false;

    for (size_t i = 0; i < c->header_count; i++) {
        bytes += c->headers[i].name.len + c->headers[i].value.len + 3;
        typed = typed || slice_eq_nocase(c->headers[i].name, SLICE_LIT("Content-Type"));
    }
    if (!text_reserve(rq, bytes, c->header_count + 4))
        return false;
    for (size_t i = 0; i < c->header_count; i++)
        add_line(rq, &count, &c->headers[i]);
    if (c->secret.name.len > 0)
        add_line(rq, &count, &c->secret);
    if (c->more.name.len > 0)
        add_line(rq, &count, &c->more);
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
    rq->idempotent = !c->once && http_method_is_idempotent(slice_cstr(c->method));
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

/* While an HTTP/2 server does not let the rest of a body come, libcurl goes round and round on a
 * whole core, and does not see that the answer may be there already (curl/curl issues 7821 and
 * 10433; 7.88 does). 64 KiB may leave at once, shared by all streams of a link: bodies far below
 * that leave whole, others go over HTTP/1.1, where neither happens. */
static long http_version(const struct http_request *rq, const struct http_call *c)
{
    return rq->h->http2 && c->body.len <= HTTP2_SENT_BYTES ? (long)CURL_HTTP_VERSION_2TLS
                                                           : (long)CURL_HTTP_VERSION_1_1;
}

static bool set_rest(struct http_request *rq, const struct http_call *c)
{
    long connect_ms = (long)(c->connect_timeout_ms > 0 ? c->connect_timeout_ms : CONNECT_MS);
    long total_ms = (long)(c->total_timeout_ms > 0 ? c->total_timeout_ms : TOTAL_MS);
    long fresh = c->fresh_link ? 1 : 0;
    CURL *e = rq->easy;

    return curl_easy_setopt(e, CURLOPT_URL, c->url) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_HTTP_VERSION, http_version(rq, c)) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, total_ms) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, fresh) == CURLE_OK &&
           curl_easy_setopt(e, CURLOPT_FORBID_REUSE, fresh) == CURLE_OK;
}

/* As blobs, never as files: they are borrowed, so libcurl keeps no copy of the key. The bytes stay
 * where they are as long as the request has its reference. Each use of a slot says it anew. */
static bool set_cert(struct http_request *rq, const struct http_call *c)
{
    struct slice chain = c->cert ? client_cert_chain(c->cert) : SLICE_NONE;
    struct slice key = c->cert ? client_cert_key(c->cert) : SLICE_NONE;
    struct curl_blob certs = {(void *)(uintptr_t)chain.ptr, chain.len, CURL_BLOB_NOCOPY};
    struct curl_blob pem = {(void *)(uintptr_t)key.ptr, key.len, CURL_BLOB_NOCOPY};

    rq->cert = client_cert_ref(c->cert);
    return !c->cert || (curl_easy_setopt(rq->easy, CURLOPT_SSLCERT_BLOB, &certs) == CURLE_OK &&
                        curl_easy_setopt(rq->easy, CURLOPT_SSLKEY_BLOB, &pem) == CURLE_OK);
}

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

bool http_slot_load(struct http_request *rq, struct pool *p, const struct http_call *c)
{
    forget_answer(rq, c);
    rq->address_ok = c->address_ok;
    rq->before_send = c->before_send;
    if (rq->pool != p && curl_easy_setopt(rq->easy, CURLOPT_SHARE, p->share) != CURLE_OK)
        return false;
    rq->pool = p;
    return set_cert(rq, c) && set_headers(rq, c) && set_method(rq, c) && set_rest(rq, c);
}

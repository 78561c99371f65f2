/* The answer of a request: reading it within its bounds, and saying what came of the request. */
#include "common/http_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_HEADERS = 1000 }; /* of one answer: each costs an array entry beside its bytes */

/* ---- reading ---- */

static size_t too_big(struct http_request *rq, const char *rule, const char *what, size_t max)
{
    if (!rq->err.code)
        err_rule(&rq->err, ERR_FORMAT, rule, "the answer's %s is over %zu bytes", what, max);
    return 0; /* anything but the length ends the transfer */
}

static void start_block(struct http_request *rq, struct slice line)
{
    struct slice version;
    uint64_t status;

    buf_clear(&rq->head);
    rq->head_lines = 0;
    rq->block_start = false;
    rq->head_done = false;
    rq->status = 0;
    slice_cut(&line, ' ', &version);
    if (slice_to_u64(slice_sub(line, 0, 3), &status))
        rq->status = (int)status;
}

static bool keep_line(struct http_request *rq, struct slice line)
{
    bool folded = line.ptr[0] == ' ' || line.ptr[0] == '\t';
    size_t from;

    if (folded && rq->head_lines > 0) /* RFC 9112 section 5.2: one space in place of the fold */
        rq->head.ptr[rq->head.len - 1] = ' ';
    else if (++rq->head_lines > MAX_HEADERS)
        return false;
    line = slice_trim(line);
    from = rq->head.len;
    if (!buf_add_slice(&rq->head, line) || !buf_add_char(&rq->head, '\n'))
        return false;
    for (char *p = rq->head.ptr + from; p < rq->head.ptr + rq->head.len - 1; p++) {
        if (*p == '\r') /* a bare CR is no line end, but others might think so */
            *p = ' ';
    }
    return true;
}

/* One line of a status block or of a trailer. Interim (1xx) blocks come first, each replaced by
 * the next; what comes after the final block is trailers, which nobody asked for. */
size_t http_on_header(char *ptr, size_t size, size_t count, void *owner)
{
    struct http_request *rq = owner;
    size_t n = size * count;
    struct slice line = {ptr, n};

    rq->head_seen += n;
    if (rq->head_seen > rq->max_header_bytes)
        return too_big(rq, "answer_headers_too_big", "header", rq->max_header_bytes);
    while (line.len > 0 && (line.ptr[line.len - 1] == '\n' || line.ptr[line.len - 1] == '\r'))
        line.len--;
    if (rq->block_start && slice_starts(line, SLICE_LIT("HTTP/"))) {
        start_block(rq, line);
    } else if (line.len == 0) {
        if (!rq->head_done)
            rq->block_start = rq->status < 200;
        rq->head_done = true;
    } else if (!rq->head_done && !keep_line(rq, line)) {
        return too_big(rq, "answer_headers_too_big", "header", rq->max_header_bytes);
    }
    return n;
}

static bool has_length(struct http_request *rq, curl_off_t *length)
{
    return curl_easy_getinfo(rq->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, length) == CURLE_OK &&
           *length >= 0;
}

size_t http_on_body(char *ptr, size_t size, size_t count, void *owner)
{
    struct http_request *rq = owner;
    size_t n = size * count;
    curl_off_t length;

    if (!rq->body_began) {
        rq->body_began = true;
        if (has_length(rq, &length)) {
            if ((uint64_t)length > rq->body.max) /* do not read what must be thrown away */
                return too_big(rq, "answer_too_big", "body", rq->body.max);
            if (length <= HTTP_KEEP_BYTES)
                buf_reserve(&rq->body, (size_t)length);
        }
    }
    if (buf_add(&rq->body, ptr, n))
        return n;
    if (n > rq->body.max - rq->body.len)
        return too_big(rq, "answer_too_big", "body", rq->body.max);
    err_set(&rq->err, ERR_NOMEM, "out of memory for the answer's body");
    return 0;
}

/* ---- what came of it ---- */

/* The name of what happened, by libcurl's code: before the request was written, and after. */
static const struct fault {
    CURLcode code;
    enum err_code before, after;
    const char *rule_before, *rule_after;
} faults[] = {
    {CURLE_COULDNT_RESOLVE_HOST, ERR_UNREACHABLE, ERR_UNKNOWN, "resolve_failed", "link_lost"},
    {CURLE_COULDNT_RESOLVE_PROXY, ERR_UNREACHABLE, ERR_UNKNOWN, "resolve_failed", "link_lost"},
    {CURLE_OPERATION_TIMEDOUT, ERR_UNREACHABLE, ERR_UNKNOWN, "connect_timeout", "timeout"},
    {CURLE_PEER_FAILED_VERIFICATION, ERR_UNREACHABLE, ERR_UNKNOWN, "tls_certificate", "link_lost"},
    {CURLE_SSL_CONNECT_ERROR, ERR_UNREACHABLE, ERR_UNKNOWN, "tls_failed", "link_lost"},
    {CURLE_SSL_CACERT_BADFILE, ERR_CONFIG, ERR_CONFIG, "tls_ca_file", "tls_ca_file"},
    {CURLE_URL_MALFORMAT, ERR_FORMAT, ERR_UNKNOWN, "url_invalid", "answer_broken"},
    {CURLE_LOGIN_DENIED, ERR_FORMAT, ERR_UNKNOWN, "url_invalid", "link_lost"}, /* user:pw@ */
    {CURLE_UNSUPPORTED_PROTOCOL, ERR_FORMAT, ERR_UNKNOWN, "url_invalid", "answer_broken"},
    {CURLE_OUT_OF_MEMORY, ERR_NOMEM, ERR_UNKNOWN, "", "answer_broken"},
    {CURLE_PARTIAL_FILE, ERR_UNREACHABLE, ERR_UNKNOWN, "link_lost", "answer_cut_short"},
    {CURLE_BAD_CONTENT_ENCODING, ERR_UNREACHABLE, ERR_UNKNOWN, "link_lost", "answer_broken"},
    {CURLE_WEIRD_SERVER_REPLY, ERR_UNREACHABLE, ERR_UNKNOWN, "link_lost", "answer_broken"},
    {CURLE_OK, ERR_UNREACHABLE, ERR_UNKNOWN, "link_lost", "answer_broken"}, /* see explain */
};

static const struct fault *fault_of(CURLcode code)
{
    static const struct fault other = {.before = ERR_UNREACHABLE,
                                       .after = ERR_UNKNOWN,
                                       .rule_before = "connect_failed",
                                       .rule_after = "link_lost"};

    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        if (faults[i].code == code)
            return &faults[i];
    }
    return &other;
}

/* Scheme, host and port, for messages: a path, a query or user info may hold what must not be
 * logged. */
static struct slice url_origin(const char *url)
{
    struct slice s = slice_cstr(url);
    const char *at = url ? strstr(url, "://") : NULL;
    const char *user;
    size_t host, end;

    if (!at)
        return SLICE_NONE;
    host = (size_t)(at - url) + 3;
    end = host + strcspn(url + host, "/?#");
    user = memrchr(url + host, '@', end - host);
    return user ? slice_of(user + 1, (size_t)(url + end - user) - 1) : slice_sub(s, 0, end);
}

/* What the server said of the certificate that we showed, or of there being none: a TLS alert, in
 * the words of the TLS library (RFC 8446 section 6.2). NULL: nothing. */
static const char *cert_alert(const struct http_request *rq)
{
    static const char *const alerts[] = {
        "bad certificate",     "unsupported certificate", "certificate revoked",
        "certificate expired", "certificate unknown",     "certificate required",
        "unknown ca",          "access denied",
    };
    const char *alert = strstr(rq->why, " alert ");

    /* libcurl 7.88 takes this alert for a failure of ours, but has none to name then */
    if (strcmp(rq->why, "SSL certificate verification failed") == 0)
        return "certificate expired";
    for (size_t i = 0; alert && i < ARRAY_LEN(alerts); i++) {
        if (strncmp(alert + 7, alerts[i], strlen(alerts[i])) == 0)
            return alerts[i];
    }
    return NULL;
}

/* With TLS 1.3 our side of the handshake is over, and the request on its way, before the server has
 * looked at the certificate. It reads no request before that (RFC 8446 section 4.4.4), so on a link
 * of this request's own nothing was done. */
static bool cert_was_refused(const struct http_request *rq)
{
    return rq->opened == 1 && rq->tries == 1 && rq->head_seen == 0 && cert_alert(rq);
}

static void explain_cert(struct http_request *rq, struct err *err)
{
    char *url = NULL;

    curl_easy_getinfo(rq->easy, CURLINFO_EFFECTIVE_URL, &url);
    err_rule(err, ERR_UNREACHABLE, "tls_client_certificate",
             "%s %.*s: the server %s (TLS alert: %s)", rq->method, SLICE_FMT(url_origin(url)),
             rq->cert ? "does not take the client's certificate" : "wants a client certificate",
             cert_alert(rq));
}

/* libcurl says "Couldn't connect" only: refused, no route and a silent host are three things. */
static void say_errno(struct http_request *rq, CURLcode code)
{
    size_t len = strlen(rq->why);
    long error = 0;

    if (code == CURLE_COULDNT_CONNECT && len > 0 &&
        curl_easy_getinfo(rq->easy, CURLINFO_OS_ERRNO, &error) == CURLE_OK && error > 0)
        snprintf(rq->why + len, sizeof rq->why - len, " (%s)", strerror((int)error));
}

static void explain(struct http_request *rq, CURLcode code, struct err *err)
{
    const struct fault *f = fault_of(code);
    char *url = NULL;
    const char *why = rq->why[0] ? rq->why : curl_easy_strerror(code);
    const char *rule = rq->wrote ? f->rule_after : f->rule_before;
    enum err_code err_code = rq->wrote ? f->after : f->before;

    if (code == CURLE_OK && !rq->head_done) { /* an end by closing, but too early for one */
        rule = "answer_cut_short";
        why = "the answer ended within its header";
    } else if (code == CURLE_OK) {
        why = "the answer's status is not from 200 to 599";
    } else if (rq->wrote && !rq->head_done && (code == CURLE_OUT_OF_MEMORY || code == 100)) {
        rule = "answer_headers_too_big"; /* libcurl's own bound on one line; 100 since its 8.6 */
        err_code = ERR_FORMAT;
    }
    say_errno(rq, code);
    for (char *p = rq->why; *p; p++) {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e) /* the far side's bytes */
            *p = '?';
    }
    curl_easy_getinfo(rq->easy, CURLINFO_EFFECTIVE_URL, &url);
    err_rule(err, err_code, rule, "%s %.*s: %s", rq->method, SLICE_FMT(url_origin(url)), why);
}

static bool is_final(int status)
{
    return status >= 200 && status <= 599;
}

/* A server may answer in full and then reset the link or the HTTP/2 stream because it did not
 * want the rest of our body (RFC 9113 section 8.1): that is an answer. */
static bool answer_is_whole(struct http_request *rq, CURLcode code)
{
    curl_off_t length, got = 0;

    if (!rq->head_done || !is_final(rq->status))
        return false;
    if (code == CURLE_OK)
        return true;
    if (code != CURLE_SEND_ERROR && code != CURLE_RECV_ERROR && code != CURLE_HTTP2 &&
        code != CURLE_HTTP2_STREAM)
        return false;
    if (rq->no_body || rq->status == 204 || rq->status == 304)
        return true;
    curl_easy_getinfo(rq->easy, CURLINFO_SIZE_DOWNLOAD_T, &got);
    return has_length(rq, &length) && got == length;
}

/* Over plain HTTP/1 libcurl counts what the socket took. Over TLS and HTTP/2 bytes may have left
 * that are not counted yet, so there the callback's word stands. */
static bool nothing_left(struct http_request *rq)
{
    char *url = NULL;
    long bytes = -1;

    return rq->tries == 1 &&
           curl_easy_getinfo(rq->easy, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url &&
           strncasecmp(url, "http:", 5) == 0 && !rq->h->proxy &&
           curl_easy_getinfo(rq->easy, CURLINFO_REQUEST_SIZE, &bytes) == CURLE_OK && bytes == 0;
}

static bool split_headers(struct http_request *rq, struct http_result *r)
{
    struct slice rest = buf_slice(&rq->head), line, name;

    if (rq->head_lines > rq->header_cap) {
        size_t cap = rq->head_lines < 24 ? 24 : rq->head_lines;
        struct http_header *more = realloc(rq->headers, cap * sizeof *more);

        if (!more)
            return false;
        rq->headers = more;
        rq->header_cap = cap;
    }
    while (r->header_count < rq->head_lines && slice_cut(&rest, '\n', &line)) {
        struct slice value = line;

        if (!slice_cut(&value, ':', &name) || name.len == line.len)
            continue; /* no colon: no header */
        rq->headers[r->header_count++] = (struct http_header){slice_trim(name), slice_trim(value)};
    }
    r->headers = rq->headers;
    return true;
}

void http_judge(struct http_request *rq, CURLcode code, struct http_result *r)
{
    bool ours = rq->err.code != ERR_NONE;

    if (!ours && answer_is_whole(rq, code)) {
        if (split_headers(rq, r)) {
            r->sent = HTTP_ANSWERED;
            r->status = rq->status;
            r->body = &rq->body;
            return;
        }
        ours = true;
        err_set(&rq->err, ERR_NOMEM, "out of memory for the answer's headers");
    }
    if (rq->wrote && (nothing_left(rq) || cert_was_refused(rq)))
        rq->wrote = false;
    r->sent = rq->wrote ? HTTP_MAYBE_SENT : HTTP_NOT_SENT;
    if (ours)
        r->err = rq->err;
    else if (rq->refused > 0 && rq->opened == 0 && rq->denied.code)
        r->err = rq->denied;
    else if (!rq->wrote && cert_alert(rq))
        explain_cert(rq, &r->err);
    else
        explain(rq, code, &r->err);
    if (rq->wrote && r->err.code == ERR_FORMAT && is_final(rq->status)) /* one of our bounds */
        r->head_status = rq->status;
}

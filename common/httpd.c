#include "common/httpd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <microhttpd.h>
#include <uv.h>

#define AGAIN_MS       250
#define CLIENTS_MAX    64
#define SILENCE_MAX_S  10
#define REQUEST_MEMORY (16 * 1024)

struct httpd {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;   /* on the daemon's epoll descriptor */
    uv_timer_t timer; /* when the daemon wants to be run without an event */
    int open;         /* handles not yet closed */
    unsigned port;
    httpd_cb *cb;
    void *owner;
};

/* ---- answering ---- */

static enum MHD_Result send_text(struct MHD_Connection *link, int status, const char *text)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                             MHD_RESPMEM_PERSISTENT);
    enum MHD_Result ok;

    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, "Content-Type", "text/plain; charset=utf-8");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) /* RFC 9110 section 15.5.6 */
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    ok = MHD_queue_response(link, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

/* Takes the body over. */
static enum MHD_Result send_answer(struct MHD_Connection *link, struct httpd_answer *a)
{
    size_t len = a->body.len;
    char *text = buf_take(&a->body);
    struct MHD_Response *r;
    enum MHD_Result ok;

    if (!text)
        return send_text(link, a->status, a->status == 404 ? "not found\n" : "");
    r = MHD_create_response_from_buffer(len, text, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", a->content_type);
    if (a->location)
        MHD_add_response_header(r, "Location", a->location);
    MHD_add_response_header(r, "Cache-Control", "no-store");
    ok = MHD_queue_response(link, (unsigned)a->status, r);
    MHD_destroy_response(r);
    return ok;
}

static bool has_body(struct MHD_Connection *link)
{
    const char *len = MHD_lookup_connection_value(link, MHD_HEADER_KIND, "Content-Length");

    return (len && strcmp(len, "0") != 0) ||
           MHD_lookup_connection_value(link, MHD_HEADER_KIND, "Transfer-Encoding");
}

/* What is known of a request between the calls about it. */
struct request {
    bool seen;
    char *query; /* wiped: a redirect brings a code in it */
};

static void *on_uri(void *owner, const char *uri, struct MHD_Connection *link)
{
    struct request *rq = calloc(1, sizeof *rq);
    const char *mark = strchr(uri, '?');

    (void)owner;
    (void)link;
    if (rq && mark)
        rq->query = strdup(mark + 1);
    return rq;
}

static void on_completed(void *owner, struct MHD_Connection *link, void **seen,
                         enum MHD_RequestTerminationCode how)
{
    struct request *rq = *seen;

    (void)owner;
    (void)link;
    (void)how;
    if (rq && rq->query)
        explicit_bzero(rq->query, strlen(rq->query));
    if (rq)
        free(rq->query);
    free(rq);
    *seen = NULL;
}

/* Called once with the headers, and once more when the request is complete. Answering the first
 * time closes the link afterwards, so that is for what is refused. */
static enum MHD_Result on_request(void *owner, struct MHD_Connection *link, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_size, void **seen)
{
    struct httpd *h = owner;
    struct request *rq = *seen;
    struct httpd_answer a = {.status = 404, .content_type = "text/plain; charset=utf-8"};

    (void)version;
    (void)upload;
    (void)upload_size;
    if (!rq)
        return MHD_NO; /* out of memory */
    if (!rq->seen) {
        rq->seen = true;
        if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
            return send_text(link, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD only\n");
        if (has_body(link))
            return send_text(link, 413, "no request body, please\n");
        return MHD_YES;
    }
    buf_init(&a.body, HTTPD_BODY_MAX);
    h->cb(h->owner,
          &(struct httpd_request){.path = slice_cstr(url), .query = slice_cstr(rq->query)}, &a);
    if (!buf_ok(&a.body)) {
        buf_deinit(&a.body);
        return send_text(link, 500, "the answer is too big\n");
    }
    return send_answer(link, &a);
}

/* ---- on the loop ---- */

static void on_timer(uv_timer_t *timer);

static unsigned connections(const struct httpd *h)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

    return info ? info->num_connections : 0;
}

static void run(struct httpd *h)
{
    bool had = connections(h) > 0;
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(h->daemon);
    if (MHD_get_timeout(h->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&h->timer, on_timer, wait_ms, 0);
    else if (had) /* one that was freed may leave room to listen again: only the next run does so */
        uv_timer_start(&h->timer, on_timer, AGAIN_MS, 0);
    else
        uv_timer_stop(&h->timer);
}

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)status; /* whatever it is, the daemon looks for itself */
    (void)events;
    run(poll->data);
}

/* ---- starting and ending ---- */

struct place {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len;
};

static bool parse_host(struct slice host, uint16_t port, struct place *p)
{
    char text[64];

    if (host.len == 0)
        host = SLICE_LIT("0.0.0.0");
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']') {
        p->at.v6.sin6_family = AF_INET6;
        p->at.v6.sin6_port = htons(port);
        p->len = sizeof p->at.v6;
        return slice_copy(slice_sub(host, 1, host.len - 2), text, sizeof text) &&
               inet_pton(AF_INET6, text, &p->at.v6.sin6_addr) == 1;
    }
    p->at.v4.sin_family = AF_INET;
    p->at.v4.sin_port = htons(port);
    p->len = sizeof p->at.v4;
    return slice_copy(host, text, sizeof text) && inet_pton(AF_INET, text, &p->at.v4.sin_addr) == 1;
}

static bool parse_address(const char *address, struct place *p, struct err *err)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;

    memset(p, 0, sizeof *p);
    if (!colon || !slice_to_u64(slice_cstr(colon + 1), &port) || port > 65535 ||
        !parse_host(slice_of(address, (size_t)(colon - address)), (uint16_t)port, p))
        return err_set(err, ERR_CONFIG,
                       "'%.64s' is no address; 127.0.0.1:9464, [::1]:9464 and :9464 are", address);
    return true;
}

/* The listening socket, or -1. */
static int listen_at(const char *address, unsigned *port, struct err *err)
{
    struct place p;
    int fd, one = 1;

    if (!parse_address(address, &p, err))
        return -1;
    fd = socket(p.at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, &p.at.any, p.len) != 0 || listen(fd, CLIENTS_MAX) != 0 ||
        getsockname(fd, &p.at.any, &p.len) != 0) {
        err_set(err, ERR_CONFIG, "cannot listen on %.64s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    *port = ntohs(p.at.any.sa_family == AF_INET6 ? p.at.v6.sin6_port : p.at.v4.sin_port);
    return fd;
}

/* The daemon owns fd once it runs. */
static bool start_daemon(struct httpd *h, int fd, struct err *err)
{
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, h,
                                 MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)CLIENTS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned)SILENCE_MAX_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)REQUEST_MEMORY, MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (h->daemon)
        return true;
    close(fd);
    return err_set(err, ERR_NOMEM, "cannot start the HTTP server");
}

static void on_closed(uv_handle_t *handle)
{
    struct httpd *h = handle->data;

    if (--h->open == 0)
        free(h);
}

/* The handles; they can fail only half-way, and then httpd_free closes what is open. */
static bool start_handles(struct httpd *h, uv_loop_t *loop, struct err *err)
{
    int rc, epoll_fd = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

    h->timer.data = h->poll.data = h;
    uv_timer_init(loop, &h->timer); /* cannot fail */
    h->open = 1;
    rc = uv_poll_init(loop, &h->poll, epoll_fd);
    if (rc == 0) {
        h->open = 2;
        rc = uv_poll_start(&h->poll, UV_READABLE, on_poll);
    }
    return rc == 0 || err_set(err, ERR_NOMEM, "cannot watch the HTTP server: %s", uv_strerror(rc));
}

struct httpd *httpd_new(struct uv_loop_s *loop, const char *address, httpd_cb *cb, void *owner,
                        struct err *err)
{
    struct httpd *h = calloc(1, sizeof *h);
    int fd;

    if (!h) {
        err_set(err, ERR_NOMEM, "out of memory for the HTTP server");
        return NULL;
    }
    h->cb = cb;
    h->owner = owner;
    fd = listen_at(address, &h->port, err);
    if (fd < 0 || !start_daemon(h, fd, err)) {
        free(h);
        return NULL;
    }
    if (!start_handles(h, loop, err)) {
        httpd_free(h);
        return NULL;
    }
    return h;
}

unsigned httpd_port(const struct httpd *h)
{
    return h->port;
}

void httpd_free(struct httpd *h)
{
    if (!h)
        return;
    if (h->open == 2) { /* before the descriptor that it watches is closed */
        uv_poll_stop(&h->poll);
        uv_close((uv_handle_t *)&h->poll, on_closed);
    }
    uv_close((uv_handle_t *)&h->timer, on_closed);
    MHD_stop_daemon(h->daemon);
    h->daemon = NULL;
}

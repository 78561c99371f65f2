#include "tools/sandbox/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <microhttpd.h>
#include <sodium.h>

/* What one link may use for its request line and headers; libmicrohttpd answers 431 past it. */
#define LINK_MEMORY_BYTES (32u << 10)
#define LINKS_MAX         4096u
#define BACKLOG           1024 /* links that wait to be accepted */

/*
 * Longer than libcurl keeps a spare link (118 s, CURLOPT_MAXAGE_CONN), so that the client closes
 * first. It also ends links whose client left within a request: libmicrohttpd 0.9.75 can miss an
 * end that arrives together with the last bytes, as its epoll is edge-triggered.
 */
#define LINK_IDLE_S 130u

/* All bodies and late answers together. 64 MiB is 64 of the largest, or 100,000 usual ones. */
#define HELD_MAX_BYTES (64u << 20)

/*
 * So much of a body that is too large is read and thrown away before 413 is sent. A server that
 * answers and closes while the client still sends makes the kernel reset the link, and the client
 * then often loses the answer (RFC 9112 section 9.6).
 */
#define DISCARD_MAX_BYTES (64u << 20)

enum exchange_state {
    EXCHANGE_NEW,      /* the request line is there */
    EXCHANGE_READING,  /* the body comes in */
    EXCHANGE_WAITING,  /* acted; the link is suspended until the answer is due */
    EXCHANGE_ANSWERED, /* the answer is with libmicrohttpd */
};

/* One request and its answer; lives from the request line to libmicrohttpd's last word on it. */
struct exchange {
    struct server *server;
    struct MHD_Connection *link;
    enum exchange_state state;
    char *target; /* path and query as sent */
    char *method;
    struct buf body;
    size_t seen_bytes;             /* of the body, kept or thrown away */
    size_t held_bytes;             /* what this one has added to server->held_bytes */
    unsigned refused;              /* 0, or the status that the body earned */
    struct reply reply;            /* its body is borrowed by libmicrohttpd until the end */
    uv_timer_t timer;              /* only while WAITING */
    struct exchange *next, **self; /* the list of those WAITING */
};

struct server {
    uv_loop_t *loop;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t turn;
    unsigned closing; /* handles whose close callback is still to come */
    uint16_t port;
    size_t body_max_bytes;
    size_t held_bytes;
    server_handler handler;
    void *owner;
    struct exchange *waiting;
};

/* ---- turning libmicrohttpd ---- */

static void on_turn(uv_timer_t *timer);

static void server_turn(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(s->daemon);
    if (MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES)
        uv_timer_start(&s->turn, on_turn, wait_ms, 0);
    else
        uv_timer_stop(&s->turn);
}

static void on_turn(uv_timer_t *timer)
{
    server_turn(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status; /* an error on the descriptor: MHD_run finds out what it is */
    (void)events;
    server_turn(poll->data);
}

/* ---- an exchange's life ---- */

static void exchange_hold(struct exchange *x, size_t bytes)
{
    x->server->held_bytes += bytes - x->held_bytes;
    x->held_bytes = bytes;
}

static void exchange_unlist(struct exchange *x)
{
    *x->self = x->next;
    if (x->next)
        x->next->self = x->self;
    x->next = NULL;
    x->self = NULL;
}

static void exchange_list(struct exchange *x)
{
    x->self = &x->server->waiting;
    x->next = x->server->waiting;
    if (x->next)
        x->next->self = &x->next;
    x->server->waiting = x;
}

static void on_exchange_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void exchange_end(struct exchange *x)
{
    exchange_hold(x, 0);
    reply_deinit(&x->reply);
    buf_wipe(&x->body);
    free(x->method);
    if (x->target)
        sodium_memzero(x->target, strlen(x->target));
    free(x->target);
    uv_close((uv_handle_t *)&x->timer, on_exchange_closed);
}

/* libmicrohttpd hands the raw request target only to this callback, the first one of a request. */
static void *on_target(void *owner, const char *target, struct MHD_Connection *link)
{
    struct server *s = owner;
    struct exchange *x = calloc(1, sizeof *x);

    if (!x)
        return NULL;
    x->target = strdup(target);
    if (!x->target) {
        free(x);
        return NULL;
    }
    x->server = s;
    x->link = link;
    buf_init(&x->body, s->body_max_bytes);
    reply_init(&x->reply);
    uv_timer_init(s->loop, &x->timer);
    x->timer.data = x;
    return x;
}

static void on_completed(void *owner, struct MHD_Connection *link, void **slot,
                         enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *slot;

    (void)owner;
    (void)link;
    (void)code;
    *slot = NULL;
    if (x)
        exchange_end(x);
}

/* ---- answering ---- */

static enum MHD_Result exchange_answer(struct exchange *x)
{
    struct reply *r = &x->reply;
    struct MHD_Response *response;
    enum MHD_Result queued;

    x->state = EXCHANGE_ANSWERED;
    if (r->drop)
        return MHD_NO; /* closes the link without a byte */
    if (!buf_ok(&r->body))
        reply_error(r, 500, "too_large", "the answer does not fit; ask for less");
    response = MHD_create_response_from_buffer(r->body.len, r->body.ptr, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", r->content_type);
    for (size_t i = 0; i < r->header_count; i++)
        MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
    queued = MHD_queue_response(x->link, r->status, response);
    MHD_destroy_response(response);
    return queued;
}

/* Give the link back to libmicrohttpd, which calls on_request again at its next turn. */
static void exchange_resume(struct exchange *x)
{
    exchange_unlist(x);
    uv_timer_stop(&x->timer);
    MHD_resume_connection(x->link);
}

static void on_due(uv_timer_t *timer)
{
    struct exchange *x = timer->data;
    struct server *s = x->server;

    exchange_resume(x);
    /* One turn for all that fall due in this round of the loop. */
    uv_timer_start(&s->turn, on_turn, 0, 0);
}

static enum MHD_Result on_header(void *owner, enum MHD_ValueKind kind, const char *name,
                                 size_t name_len, const char *value, size_t value_len)
{
    struct request *r = owner;

    (void)kind;
    if (r->header_count < REQUEST_HEADERS_MAX)
        r->headers[r->header_count++] =
            (struct header){slice_of(name, name_len), slice_of(value, value_len)};
    return MHD_YES;
}

static void request_fill(struct request *r, const struct exchange *x)
{
    struct slice target = slice_cstr(x->target);
    size_t path_len = slice_find(target, '?');

    r->method = slice_cstr(x->method);
    r->path = slice_sub(target, 0, path_len);
    r->query = slice_sub(target, path_len + 1, target.len);
    r->body = buf_slice(&x->body);
    MHD_get_connection_values_n(x->link, MHD_HEADER_KIND, on_header, r);
}

static void exchange_route(struct exchange *x)
{
    struct request request = {0};
    const char *why = "";

    request_fill(&request, x);
    if (x->refused == 413)
        reply_error(&x->reply, 413, "too_large", "a body may have %zu bytes",
                    x->server->body_max_bytes);
    else if (x->refused)
        reply_error(&x->reply, x->refused, "busy", "too much is held at once; try again");
    else if (request.header_count == REQUEST_HEADERS_MAX)
        reply_error(&x->reply, 431, "too_many_headers", "fewer than %d may be sent",
                    REQUEST_HEADERS_MAX);
    else if (!form_parse(&request.params, request.query, &why))
        reply_error(&x->reply, 400, "invalid_request", "query: %s", why);
    else
        x->server->handler(x->server->owner, &request, &x->reply);
    form_deinit(&request.params);
}

static enum MHD_Result exchange_act(struct exchange *x)
{
    exchange_route(x);
    buf_wipe(&x->body);
    exchange_hold(x, x->reply.body.len);
    if (x->reply.delay_ms <= 0)
        return exchange_answer(x);
    x->state = EXCHANGE_WAITING;
    exchange_list(x);
    MHD_suspend_connection(x->link);
    uv_timer_start(&x->timer, on_due, (uint64_t)x->reply.delay_ms, 0);
    return MHD_YES;
}

/* ---- reading ---- */

static enum MHD_Result exchange_begin(struct exchange *x, const char *method)
{
    const char *text = MHD_lookup_connection_value(x->link, MHD_HEADER_KIND, "Content-Length");
    uint64_t bytes = 0;

    x->method = strdup(method);
    if (!x->method)
        return MHD_NO;
    x->state = EXCHANGE_READING;
    if (!text || !slice_to_u64(slice_cstr(text), &bytes) || bytes <= DISCARD_MAX_BYTES)
        return MHD_YES;
    x->refused = 413; /* not worth reading at all */
    return exchange_act(x);
}

static enum MHD_Result exchange_read(struct exchange *x, const char *data, size_t bytes)
{
    struct server *s = x->server;

    x->seen_bytes += bytes;
    if (x->seen_bytes > DISCARD_MAX_BYTES)
        return MHD_NO; /* no length was stated and there is no end in sight */
    if (!x->refused && x->seen_bytes > s->body_max_bytes)
        x->refused = 413;
    else if (!x->refused && s->held_bytes + bytes > HELD_MAX_BYTES)
        x->refused = 503;
    if (x->refused) {
        buf_wipe(&x->body);
        exchange_hold(x, 0);
        return MHD_YES;
    }
    if (!buf_add(&x->body, data, bytes))
        return MHD_NO;
    exchange_hold(x, x->body.len);
    return MHD_YES;
}

static enum MHD_Result on_request(void *owner, struct MHD_Connection *link, const char *path,
                                  const char *method, const char *version, const char *data,
                                  size_t *bytes, void **slot)
{
    struct exchange *x = *slot;
    size_t taken = *bytes;

    (void)owner;
    (void)link;
    (void)path;
    (void)version;
    if (!x)
        return MHD_NO; /* there was no memory for it */
    *bytes = 0;
    switch (x->state) {
    case EXCHANGE_NEW:
        return exchange_begin(x, method);
    case EXCHANGE_READING:
        return taken > 0 ? exchange_read(x, data, taken) : exchange_act(x);
    case EXCHANGE_WAITING:
        return exchange_answer(x);
    case EXCHANGE_ANSWERED:
        break;
    }
    return MHD_NO;
}

/* ---- start and stop ---- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Nothing here asks for a password at the control routes, so nobody else may reach them. */
static bool address_read(union address *a, const struct server_options *options, struct err *err)
{
    *a = (union address){0};
    if (inet_pton(AF_INET, options->address, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(options->port);
        if (ntohl(a->v4.sin_addr.s_addr) >> 24 == 127)
            return true;
    } else if (inet_pton(AF_INET6, options->address, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons(options->port);
        if (IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr))
            return true;
    } else {
        return err_set(err, ERR_CONFIG,
                       "'%s' is not an IP address; the sandbox listens on 127.0.0.1",
                       options->address);
    }
    return err_set(err, ERR_DENIED,
                   "'%s' is not a loopback address; the sandbox listens on no other",
                   options->address);
}

/* By hand, since libmicrohttpd 1.0 does not leave errno as the failed call set it. -1: see *err. */
static int listen_on(struct server *s, const struct server_options *options, struct err *err)
{
    union address address;
    socklen_t len = sizeof address;
    int fd, on = 1;

    if (!address_read(&address, options, err))
        return -1;
    fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* past links in TIME_WAIT */
    if (fd < 0 || bind(fd, &address.any, sizeof address) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &address.any, &len) != 0) {
        err_set(err, ERR_CONFIG, "cannot listen on %s port %u: %s", options->address, options->port,
                strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    /* The port lies at the same place in both families. */
    s->port = ntohs(address.v4.sin_port);
    return fd;
}

static bool daemon_start(struct server *s, const struct server_options *options, struct err *err)
{
    int fd = listen_on(s, options, err);

    if (fd < 0)
        return false;
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK, on_target, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_LIMIT, LINKS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, LINK_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)LINK_MEMORY_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (s->daemon)
        return true;
    close(fd);
    return err_set(err, ERR_CONFIG, "libmicrohttpd does not start (is it built with epoll?)");
}

static bool loop_join(struct server *s, struct err *err)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int rc;

    if (!info)
        return err_set(err, ERR_CONFIG, "this libmicrohttpd was built without epoll");
    rc = uv_poll_init(s->loop, &s->poll, info->epoll_fd);
    if (rc < 0)
        return err_set(err, ERR_CONFIG, "cannot poll the listening socket: %s", uv_strerror(rc));
    uv_timer_init(s->loop, &s->turn);
    s->poll.data = s->turn.data = s;
    uv_poll_start(&s->poll, UV_READABLE, on_readable);
    server_turn(s);
    return true;
}

bool server_start(struct server **out, uv_loop_t *loop, const struct server_options *options,
                  struct err *err)
{
    struct server *s = calloc(1, sizeof *s);

    if (!s)
        return err_set(err, ERR_NOMEM, "out of memory");
    s->loop = loop;
    s->body_max_bytes = options->body_max_bytes;
    s->handler = options->handler;
    s->owner = options->owner;
    if (!daemon_start(s, options, err)) {
        free(s);
        return false;
    }
    if (!loop_join(s, err)) {
        MHD_stop_daemon(s->daemon);
        free(s);
        return false;
    }
    *out = s;
    return true;
}

uint16_t server_port(const struct server *s)
{
    return s->port;
}

static void on_server_closed(uv_handle_t *handle)
{
    struct server *s = handle->data;

    if (--s->closing == 0)
        free(s);
}

void server_stop(struct server *s)
{
    if (!s)
        return;
    while (s->waiting) {
        s->waiting->reply.drop = true;
        exchange_resume(s->waiting); /* MHD_stop_daemon aborts the process on a suspended link */
    }
    uv_poll_stop(&s->poll);
    MHD_stop_daemon(s->daemon);
    s->closing = 2;
    uv_close((uv_handle_t *)&s->poll, on_server_closed);
    uv_close((uv_handle_t *)&s->turn, on_server_closed);
}

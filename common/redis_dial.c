#include "common/redis_dial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>
#include "common/slice.h"

#define ADDRESSES_MAX    8
#define ADDRESS_MIN_MS   250 /* no address gets less than this of the time there is */
#define KEEPALIVE_IDLE_S 15  /* a dead peer is noticed after 15 + 3 * 5 seconds of silence */
#define KEEPALIVE_STEP_S 5
#define KEEPALIVE_PROBES 3

struct address {
    struct sockaddr_storage sa;
    socklen_t len;
};

/* One connect in progress. Allocated by itself because its handle outlives it by a loop turn. */
struct attempt {
    uv_poll_t poll;
    int fd;
    struct redis_dial *dial;
};

struct redis_dial {
    uv_loop_t *loop;
    const struct redis_url *url;
    int64_t silence_ms, slice_ms, timeout_ms;
    redis_dial_cb *cb;
    void *owner;
    uv_timer_t timer; /* time for this address is up; or, with 0, "soon" */
    uv_getaddrinfo_t lookup;
    bool looking; /* the lookup is with the thread pool; it cannot be given back */
    bool busy;    /* a dial is on its way */
    bool freed;
    bool timer_closed;
    struct attempt *attempt;
    struct address addresses[ADDRESSES_MAX];
    unsigned count, next;
    struct err err; /* of the last address tried */
};

static void try_next(struct redis_dial *d);

static void drop_memory(struct redis_dial *d)
{
    if (d->freed && d->timer_closed && !d->looking)
        free(d);
}

static void on_attempt_closed(uv_handle_t *h)
{
    free(h->data);
}

/* The socket is handed out, or closed when the caller takes none. */
static int end_attempt(struct redis_dial *d, bool keep)
{
    struct attempt *a = d->attempt;
    int fd = -1;

    if (!a)
        return -1;
    d->attempt = NULL;
    fd = a->fd;
    uv_close((uv_handle_t *)&a->poll, on_attempt_closed);
    if (!keep) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void finish(struct redis_dial *d, int fd)
{
    struct err err = d->err; /* the callback may free d */

    d->busy = false;
    uv_timer_stop(&d->timer);
    d->cb(d->owner, fd, fd >= 0 ? NULL : &err);
}

static void on_timer(uv_timer_t *t)
{
    struct redis_dial *d = t->data;

    if (d->attempt) {
        err_set(&d->err, ERR_UNREACHABLE, "redis at %s: no answer to connect", d->url->where);
        end_attempt(d, false);
    }
    try_next(d);
}

static void soon(struct redis_dial *d)
{
    uv_timer_start(&d->timer, on_timer, 0, 0);
}

static void failed(struct redis_dial *d, const char *what, int error)
{
    err_set(&d->err, ERR_UNREACHABLE, "redis at %s: %s: %s", d->url->where, what, strerror(error));
}

static void tune(struct redis_dial *d, int fd)
{
    const struct {
        int level, option, value;
    } wanted[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_STEP_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, (int)d->silence_ms},
    };

    /* A kernel that refuses one of them still has the timeouts of redis.c above it. */
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        setsockopt(fd, wanted[i].level, wanted[i].option, &wanted[i].value, sizeof(int));
}

static void on_connected(uv_poll_t *p, int status, int events)
{
    struct attempt *a = p->data;
    struct redis_dial *d = a->dial;
    int error = 0;
    socklen_t len = sizeof error;

    (void)events;
    /* libuv says EBADF for every socket error; the socket itself knows which. */
    if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    else if (error == 0 && status < 0)
        error = -status;
    if (error == 0) {
        finish(d, end_attempt(d, true));
        return;
    }
    failed(d, "connect", error);
    end_attempt(d, false);
    try_next(d);
}

/* False: this address cannot even be begun; d->err says why. */
static bool try_address(struct redis_dial *d, const struct address *to)
{
    struct attempt *a = calloc(1, sizeof *a);
    int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (!a || fd < 0) {
        failed(d, "socket", fd < 0 ? errno : ENOMEM);
        goto fail;
    }
    if (to->sa.ss_family != AF_UNIX)
        tune(d, fd);
    if (connect(fd, (const struct sockaddr *)&to->sa, to->len) != 0 && errno != EINPROGRESS) {
        failed(d, "connect", errno);
        goto fail;
    }
    rc = uv_poll_init(d->loop, &a->poll, fd);
    if (rc != 0) {
        failed(d, "poll", -rc);
        goto fail;
    }
    a->fd = fd;
    a->dial = d;
    a->poll.data = a;
    d->attempt = a;
    uv_poll_start(&a->poll, UV_WRITABLE, on_connected);
    uv_timer_start(&d->timer, on_timer, (uint64_t)d->slice_ms, 0);
    return true;
fail:
    if (fd >= 0)
        close(fd);
    free(a);
    return false;
}

static void try_next(struct redis_dial *d)
{
    while (d->next < d->count)
        if (try_address(d, &d->addresses[d->next++]))
            return;
    finish(d, -1);
}

static void take_addresses(struct redis_dial *d, const struct addrinfo *list)
{
    d->count = d->next = 0;
    for (; list && d->count < ADDRESSES_MAX; list = list->ai_next) {
        struct address *a = &d->addresses[d->count];

        if (list->ai_addrlen > sizeof a->sa)
            continue;
        memcpy(&a->sa, list->ai_addr, list->ai_addrlen);
        a->len = list->ai_addrlen;
        d->count++;
    }
    d->slice_ms = d->timeout_ms / (d->count > 0 ? d->count : 1);
    if (d->slice_ms < ADDRESS_MIN_MS)
        d->slice_ms = ADDRESS_MIN_MS;
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct redis_dial *d = req->data;

    d->looking = false;
    if (d->freed) {
        uv_freeaddrinfo(list);
        drop_memory(d);
        return;
    }
    if (status < 0)
        err_set(&d->err, ERR_UNREACHABLE, "redis at %s: its name cannot be resolved: %s",
                d->url->where, uv_strerror(status));
    take_addresses(d, list);
    uv_freeaddrinfo(list);
    if (d->busy)
        try_next(d);
}

/* A lookup that hangs keeps a thread of the pool until the resolver gives up, so there is never a
 * second one: a new dial waits for the one that is under way. */
static void look_up(struct redis_dial *d)
{
    /* No AI_ADDRCONFIG: it would hide localhost on a machine that has only that. */
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int rc;

    if (d->looking)
        return;
    d->lookup.data = d;
    rc = uv_getaddrinfo(d->loop, &d->lookup, on_lookup, d->url->host, d->url->port, &hints);
    d->looking = rc == 0;
    if (rc != 0) {
        failed(d, "resolve", -rc);
        soon(d);
    }
}

static void use_path(struct redis_dial *d)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&d->addresses[0].sa;

    un->sun_family = AF_UNIX;
    snprintf(un->sun_path, sizeof un->sun_path, "%s", d->url->path);
    d->addresses[0].len = sizeof *un;
    d->count = 1;
    d->slice_ms = d->timeout_ms;
    soon(d);
}

struct redis_dial *redis_dial_new(struct uv_loop_s *loop, const struct redis_url *url,
                                  int64_t silence_ms, redis_dial_cb *cb, void *owner,
                                  struct err *err)
{
    struct redis_dial *d = calloc(1, sizeof *d);

    if (!d || uv_timer_init(loop, &d->timer) != 0) {
        free(d);
        err_set(err, ERR_NOMEM, "no memory to connect to redis at %s", url->where);
        return NULL;
    }
    d->timer.data = d;
    d->loop = loop;
    d->url = url;
    d->silence_ms = silence_ms;
    d->cb = cb;
    d->owner = owner;
    return d;
}

void redis_dial_start(struct redis_dial *d, int64_t timeout_ms)
{
    redis_dial_stop(d);
    d->busy = true;
    d->timeout_ms = timeout_ms;
    d->count = d->next = 0;
    err_set(&d->err, ERR_UNREACHABLE, "redis at %s: its name has no address", d->url->where);
    if (d->url->path)
        use_path(d);
    else
        look_up(d);
}

void redis_dial_stop(struct redis_dial *d)
{
    d->busy = false;
    uv_timer_stop(&d->timer);
    end_attempt(d, false);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct redis_dial *d = h->data;

    d->timer_closed = true;
    drop_memory(d);
}

void redis_dial_free(struct redis_dial *d)
{
    if (!d)
        return;
    redis_dial_stop(d);
    d->freed = true;
    if (d->looking)
        uv_cancel((uv_req_t *)&d->lookup);
    uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

const char *redis_dial_doing(const struct redis_dial *d)
{
    return d->looking ? "resolving its name" : "connecting";
}

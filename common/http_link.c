/* The links of the HTTP engine: libcurl's sockets and timers on the libuv loop, the addresses that
 * may be dialled, and the pools that keep links for the next request. */
#include "common/http_inside.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A descriptor that libcurl wants watched. A link stays in epoll between two requests (want == 0):
 * libcurl drops and takes its interest at every request, which would cost four system calls each
 * time. An event that comes meanwhile ends the watch. This is only for links that were fully
 * opened: some versions of libcurl close others, and the resolver's pipes, without telling. */
struct sock {
    uv_poll_t poll;
    struct http *h;
    struct pool *pool;
    int fd;
    int want;   /* UV_READABLE | UV_WRITABLE, as libcurl asks */
    int polled; /* what libuv watches now */
};

/* ---- polls and timers ---- */

static void on_sock_closed(uv_handle_t *handle)
{
    struct sock *s = handle->data;
    struct http *h = s->h;

    free(s);
    h->handles--;
    http_maybe_free(h);
}

static void sock_arm(struct sock *s);

static void act(struct pool *p, curl_socket_t fd, int flags)
{
    int running;

    if (!p->multi)
        return;
    p->h->in_curl++;
    curl_multi_socket_action(p->multi, fd, flags, &running);
    p->h->in_curl--;
    http_drain(p);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct sock *s = poll->data;
    int flags = 0;

    if (status < 0) { /* libuv has stopped the watch; reading will tell libcurl why */
        s->polled = 0;
        flags = CURL_CSELECT_ERR | CURL_CSELECT_IN | CURL_CSELECT_OUT;
    }
    if (s->want == 0) {
        uv_poll_stop(&s->poll);
        s->polled = 0;
        return;
    }
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(s->pool, s->fd, flags);
    if (!uv_is_closing((uv_handle_t *)poll))
        sock_arm(s); /* after an error, libcurl thinks that it is still being watched */
}

static void sock_arm(struct sock *s)
{
    if (s->want == s->polled || s->want == 0)
        return;
    if (uv_poll_start(&s->poll, s->want, on_poll) == 0)
        s->polled = s->want;
}

static bool sock_table_reserve(struct http *h, size_t fd)
{
    size_t cap = h->fd_cap > 0 ? h->fd_cap : 64;
    struct sock **table;

    if (fd < h->fd_cap)
        return true;
    while (cap <= fd)
        cap *= 2;
    table = realloc(h->by_fd, cap * sizeof *table);
    if (!table)
        return false;
    memset(table + h->fd_cap, 0, (cap - h->fd_cap) * sizeof *table);
    h->by_fd = table;
    h->fd_cap = cap;
    return true;
}

static struct sock *sock_new(struct pool *p, int fd)
{
    struct http *h = p->h;
    struct sock *s;

    if (fd < 0 || !sock_table_reserve(h, (size_t)fd))
        return NULL;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    if (uv_poll_init(h->loop, &s->poll, fd) < 0) {
        free(s);
        return NULL;
    }
    s->poll.data = s;
    s->h = h;
    s->pool = p;
    s->fd = fd;
    h->handles++;
    h->by_fd[fd] = s;
    return s;
}

static struct sock *sock_get(struct http *h, int fd)
{
    return fd >= 0 && (size_t)fd < h->fd_cap ? h->by_fd[fd] : NULL;
}

void http_link_close(struct http *h, int fd)
{
    struct sock *s = sock_get(h, fd);

    if (!s)
        return;
    h->by_fd[fd] = NULL;
    s->want = 0;
    uv_close((uv_handle_t *)&s->poll, on_sock_closed);
}

static void on_drop(struct http *h, CURL *easy, struct sock *s)
{
    struct http_request *rq = NULL;

    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&rq); /* NULL for libcurl's own handles */
    if (!rq || !rq->linked) {
        http_link_close(h, s->fd);
        return;
    }
    rq->linked = false;
    s->want = 0;
    uv_unref((uv_handle_t *)&s->poll); /* an idle link keeps no loop alive */
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *unused)
{
    struct pool *p = owner;
    struct sock *s = sock_get(p->h, fd);

    (void)unused;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            on_drop(p->h, easy, s);
        return 0;
    }
    if (!s)
        s = sock_new(p, fd);
    if (!s)
        return -1;
    s->want = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    uv_ref((uv_handle_t *)&s->poll);
    sock_arm(s);
    return 0;
}

static void on_timeout(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

/* -1 stops; 0 means soon, and the timer makes sure that it is not from inside libcurl. */
static int on_timer(CURLM *multi, long ms, void *owner)
{
    struct pool *p = owner;

    (void)multi;
    if (ms < 0)
        uv_timer_stop(&p->timer);
    else
        uv_timer_start(&p->timer, on_timeout, (uint64_t)ms, 0);
    return 0;
}

/* ---- sockets ---- */

static bool address_ok(struct http_request *rq, const struct sockaddr *addr, struct err *err)
{
    if (!rq->address_ok || rq->h->proxy) /* a proxy is the operator's choice, and it dials */
        return true;
    return rq->address_ok(rq->owner, addr, err);
}

curl_socket_t http_on_open(void *owner, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct http_request *rq = owner;
    int fd;

    (void)purpose;
    if (!address_ok(rq, &a->addr, &rq->denied)) {
        rq->refused++;
        return CURL_SOCKET_BAD;
    }
    fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    http_link_close(rq->h, fd); /* if libcurl closed a link of this number behind our back */
    rq->opened++;
    return fd;
}

int http_on_close(void *owner, curl_socket_t fd)
{
    http_link_close(owner, fd);
    return close(fd);
}

static bool parse_ip(const char *text, struct sockaddr_storage *to)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)to;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)to;

    memset(to, 0, sizeof *to);
    if (!text)
        return false;
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        to->ss_family = AF_INET;
        return true;
    }
    to->ss_family = AF_INET6;
    return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1;
}

bool http_link_ok(struct http_request *rq, const char *ip)
{
    struct sockaddr_storage addr;

    if (!rq->address_ok)
        return true;
    if (!parse_ip(ip, &addr))
        return err_rule(&rq->err, ERR_DENIED, "address_not_allowed",
                        "the address of the link is not known");
    return address_ok(rq, (struct sockaddr *)&addr, &rq->err);
}

/* ---- pools ---- */

static void on_timer_closed(uv_handle_t *handle)
{
    struct pool *p = handle->data;
    struct http *h = p->h;

    free(p->name);
    free(p);
    h->handles--;
    http_maybe_free(h);
}

void http_pool_close(struct pool *p)
{
    CURLM *multi = p->multi;

    for (struct http_request *rq = p->h->all; rq; rq = rq->next_all) {
        if (rq->easy && rq->pool == p) {
            curl_easy_setopt(rq->easy, CURLOPT_SHARE, NULL);
            rq->pool = NULL;
        }
    }
    p->multi = NULL;
    p->h->in_curl++;
    curl_multi_cleanup(multi);
    curl_share_cleanup(p->share);
    p->h->in_curl--;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

static bool pool_open(struct pool *p)
{
    CURLM *m = p->multi = curl_multi_init();
    CURLSH *sh = p->share = curl_share_init();

    return m && sh && curl_multi_setopt(m, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_SOCKETDATA, p) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_TIMERDATA, p) == CURLM_OK &&
           curl_multi_setopt(m, CURLMOPT_MAXCONNECTS, (long)p->h->max_links) == CURLM_OK &&
           curl_share_setopt(sh, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) == CURLSHE_OK;
}

static struct pool *pool_new(struct http *h, const char *name, struct err *err)
{
    struct pool *p = calloc(1, sizeof *p);

    if (!p)
        goto nomem;
    p->h = h;
    p->name = name ? strdup(name) : NULL;
    if ((name && !p->name) || !pool_open(p))
        goto nomem;
    uv_timer_init(h->loop, &p->timer);
    p->timer.data = p;
    h->handles++;
    p->next = h->pools;
    h->pools = p;
    return p;
nomem:
    if (p) {
        if (p->multi)
            curl_multi_cleanup(p->multi);
        if (p->share)
            curl_share_cleanup(p->share);
        free(p->name);
        free(p);
    }
    err_set(err, ERR_NOMEM, "out of memory for a pool of links");
    return NULL;
}

/* Too many names: the one that rests longest makes room. When none rests, each has a request in one
 * of the slots. */
static void pool_make_room(struct http *h)
{
    struct pool **oldest = NULL, *p;
    unsigned count = 0;

    for (struct pool **at = &h->pools; *at; at = &(*at)->next) {
        count++;
        if ((*at)->in_flight == 0 && (*at)->draining == 0 &&
            (!oldest || (*at)->last_used < (*oldest)->last_used))
            oldest = at;
    }
    if (count < HTTP_MAX_POOLS || !oldest)
        return;
    p = *oldest;
    *oldest = p->next;
    http_pool_close(p);
}

struct pool *http_pool_get(struct http *h, const char *name, struct err *err)
{
    for (struct pool *p = h->pools; p; p = p->next) {
        if (p->name == name || (p->name && name && strcmp(p->name, name) == 0))
            return p;
    }
    pool_make_room(h);
    return pool_new(h, name, err);
}

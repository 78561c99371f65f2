/*
 * post: what the HTTP call alone costs - libcurl's multi interface on libuv, as many POSTs at once
 * as asked for, each with a bearer token and 200 bytes of JSON, and nothing else: no queue, no
 * checks, the answer dropped.
 *
 *   post URL TOKEN_FILE COUNT_FILE CONCURRENCY
 */
#include <uv.h>
#include "tests/bench/call.h"
#include "tests/bench/count.h"

static CURLM *multi;
static uv_loop_t *loop;
static uv_timer_t timer;
static volatile uint64_t *count;

struct sock {
    uv_poll_t poll; /* first */
    curl_socket_t fd;
};

static void drain(void)
{
    CURLMsg *m;
    int left;

    while ((m = curl_multi_info_read(multi, &left)) != NULL) {
        CURL *easy = m->easy_handle;

        call_check(easy, m->data.result);
        (*count)++;
        curl_multi_remove_handle(multi, easy);
        curl_multi_add_handle(multi, easy);
    }
}

static void act(curl_socket_t fd, int what)
{
    int running;

    curl_multi_socket_action(multi, fd, what, &running);
    drain();
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    int what = status < 0 ? CURL_CSELECT_ERR : 0;

    what |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    what |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    act(((struct sock *)p)->fd, what);
}

static void on_timer(uv_timer_t *t)
{
    (void)t;
    act(CURL_SOCKET_TIMEOUT, 0);
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *owner, void *of_socket)
{
    struct sock *s = of_socket;
    int events = 0;

    (void)easy;
    (void)owner;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            uv_close((uv_handle_t *)&s->poll, on_closed);
        curl_multi_assign(multi, fd, NULL);
        return 0;
    }
    if (!s) {
        s = calloc(1, sizeof *s);
        if (!s)
            return -1;
        s->fd = fd;
        uv_poll_init_socket(loop, &s->poll, fd);
        curl_multi_assign(multi, fd, s);
    }
    events |= what & CURL_POLL_IN ? UV_READABLE : 0;
    events |= what & CURL_POLL_OUT ? UV_WRITABLE : 0;
    uv_poll_start(&s->poll, events, on_poll);
    return 0;
}

static int on_set_timer(CURLM *m, long ms, void *owner)
{
    (void)m;
    (void)owner;
    if (ms < 0)
        uv_timer_stop(&timer);
    else
        uv_timer_start(&timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

int main(int argc, char **argv)
{
    struct curl_slist *headers;
    long n;

    if (argc != 5) {
        fprintf(stderr, "usage: post URL TOKEN_FILE COUNT_FILE CONCURRENCY\n");
        return 2;
    }
    n = atol(argv[4]);
    curl_global_init(CURL_GLOBAL_ALL);
    loop = uv_default_loop();
    uv_timer_init(loop, &timer);
    multi = curl_multi_init();
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_set_timer);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, n + 8);
    count = count_open(argv[3]);
    headers = call_headers(argv[2]);
    for (long i = 0; i < n; i++)
        curl_multi_add_handle(multi, call_new(argv[1], headers));
    return uv_run(loop, UV_RUN_DEFAULT); /* until it is killed */
}

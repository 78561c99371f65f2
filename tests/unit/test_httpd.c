#include "common/httpd.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <uv.h>
#include <cmocka.h>

static uv_loop_t loop;
static struct httpd *server;
static int calls;
static char last_path[64];

static void on_get(void *owner, const struct httpd_request *rq, struct httpd_answer *a)
{
    struct slice path = rq->path;

    assert_ptr_equal(owner, &loop);
    calls++;
    slice_copy(path, last_path, sizeof last_path);
    if (slice_is(path, "/livez")) {
        a->status = 200;
        buf_add_cstr(&a->body, "ok\n");
    } else if (slice_is(path, "/json")) {
        a->status = 503;
        a->content_type = "application/json";
        buf_add_cstr(&a->body, "{}");
    } else if (slice_is(path, "/query")) {
        a->status = 200;
        buf_add_slice(&a->body, rq->query);
    } else if (slice_is(path, "/empty")) {
        a->status = 200;
    } else if (slice_is(path, "/large") || slice_is(path, "/overflow")) {
        a->status = 200;
        for (int i = 0; i < (slice_is(path, "/large") ? 30000 : 50000); i++)
            buf_addf(&a->body, "%0100d", i); /* 3 MB, and more than fits */
    }
}

static int setup(void **state)
{
    struct err err = {0};

    (void)state;
    calls = 0;
    uv_loop_init(&loop);
    server = httpd_new(&loop, "127.0.0.1:0", on_get, &loop, &err);
    return server ? 0 : -1;
}

/* Everything must be gone once the loop is empty. */
static int teardown(void **state)
{
    (void)state;
    httpd_free(server);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static int dial(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)httpd_port(server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void send_text(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Turn the loop until the link's answer is there: until `bytes` came, or it ended. */
static void receive(int fd, struct buf *b, size_t bytes)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char piece[65536];
    ssize_t n = 1;

    while (n != 0 && b->len < bytes) {
        uv_run(&loop, UV_RUN_NOWAIT);
        poll(&p, 1, 1);
        n = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
        assert_true(n >= 0 || errno == EAGAIN || errno == ECONNRESET);
        if (n < 0 && errno == ECONNRESET)
            n = 0;
        if (n > 0)
            assert_true(buf_add(b, piece, (size_t)n));
    }
}

/* What is asked, and what the answer has in it. */
static void test_requests(void **state)
{
    static const struct {
        const char *request;
        const char *has[4], *hasnt;
        int calls;
    } cases[] = {
        {"GET /livez", {"HTTP/1.1 200", "text/plain", "no-store", "\r\n\r\nok\n"}, NULL, 1},
        {"GET /livez?verbose=1", {"HTTP/1.1 200", "\r\n\r\nok\n"}, NULL, 1},
        {"GET /query?code=a%2Fb&state=x", {"HTTP/1.1 200", "\r\n\r\ncode=a%2Fb&state=x"}, NULL, 1},
        {"GET /query", {"HTTP/1.1 200", "Content-Length: 0\r\n"}, NULL, 1},
        {"HEAD /livez", {"HTTP/1.1 200", "Content-Length: 3\r\n"}, "ok\n", 1},
        {"GET /json", {"HTTP/1.1 503", "application/json", "\r\n\r\n{}"}, NULL, 1},
        {"GET /empty", {"HTTP/1.1 200", "Content-Length: 0\r\n"}, NULL, 1},
        {"GET /nowhere", {"HTTP/1.1 404", "not found\n"}, NULL, 1},
        {"GET /overflow", {"HTTP/1.1 500", "too big"}, NULL, 1},
        {"POST /livez", {"HTTP/1.1 405", "Allow: GET, HEAD\r\n"}, NULL, 0},
        {"DELETE /livez", {"HTTP/1.1 405"}, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[200];
        int fd = dial();
        struct buf b;

        calls = 0;
        buf_init(&b, 1 << 20);
        snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                 cases[i].request);
        send_text(fd, request);
        receive(fd, &b, SIZE_MAX);
        for (size_t k = 0; k < 4 && cases[i].has[k]; k++) {
            if (!b.ptr || !strstr(b.ptr, cases[i].has[k]))
                fail_msg("%s: no '%s' in\n%s", cases[i].request, cases[i].has[k], b.ptr);
        }
        if (cases[i].hasnt && strstr(b.ptr, cases[i].hasnt))
            fail_msg("%s: has '%s'", cases[i].request, cases[i].hasnt);
        assert_int_equal(calls, cases[i].calls);
        buf_deinit(&b);
        close(fd);
    }
    assert_string_equal(last_path, "/overflow");
}

static void test_body_refused(void **state)
{
    static const char *const headers[] = {"Content-Length: 5\r\n\r\nhello",
                                          "Content-Length: 99999999999\r\n\r\n",
                                          "Transfer-Encoding: chunked\r\n\r\n"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        int fd = dial();
        struct buf b;

        buf_init(&b, 65536);
        send_text(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n");
        send_text(fd, headers[i]);
        receive(fd, &b, SIZE_MAX); /* ends: the link is not used again */
        if (!b.ptr || !strstr(b.ptr, "HTTP/1.1 413"))
            fail_msg("case %zu: %s", i, b.ptr);
        buf_deinit(&b);
        close(fd);
    }
    assert_int_equal(calls, 0);
}

/* Prometheus keeps its link: two requests on one. */
static void test_keep_alive(void **state)
{
    int fd = dial();
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    for (int i = 1; i <= 2; i++) {
        buf_clear(&b);
        send_text(fd, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
        while (!b.ptr || !strstr(b.ptr, "\r\n\r\nok\n"))
            receive(fd, &b, b.len + 1);
        assert_int_equal(calls, i);
    }
    buf_deinit(&b);
    close(fd);
}

/* More than a socket takes at once: goes out piece by piece as the reader reads. */
static void test_large(void **state)
{
    int fd = dial();
    struct buf b;
    const char *body;

    (void)state;
    buf_init(&b, 8 << 20);
    send_text(fd, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    receive(fd, &b, SIZE_MAX);
    body = strstr(b.ptr, "\r\n\r\n") + 4;
    assert_int_equal(b.len - (size_t)(body - b.ptr), 3000000);
    assert_memory_equal(b.ptr + b.len - 5, "29999", 5);
    buf_deinit(&b);
    close(fd);
}

/* Nonsense and floods end the link, not the server. */
static void test_nonsense(void **state)
{
    char *big = malloc(40000);
    int fd = dial(), other = dial();
    struct buf b;

    (void)state;
    assert_non_null(big);
    buf_init(&b, 65536);
    send_text(fd, "\x16\x03\x01 this is not HTTP\r\n\r\n");
    receive(fd, &b, SIZE_MAX);
    buf_clear(&b);
    memset(big, 'x', 39999);
    big[39999] = '\0';
    send_text(other, "GET /livez HTTP/1.1\r\nHost: x\r\nX: ");
    send_text(other, big);
    receive(other, &b, SIZE_MAX);
    if (!b.ptr || !strstr(b.ptr, " 431 ")) /* at once, not after its silence */
        fail_msg("%s", b.ptr);
    close(fd);
    close(other);
    fd = dial();
    buf_clear(&b);
    send_text(fd, "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    receive(fd, &b, SIZE_MAX);
    assert_non_null(strstr(b.ptr, "HTTP/1.1 200"));
    assert_int_equal(calls, 1);
    buf_deinit(&b);
    close(fd);
    free(big);
}

/* Links that are open when the server goes. */
static void test_free_while_open(void **state)
{
    int fd = dial();
    struct buf b;

    (void)state;
    buf_init(&b, 65536);
    send_text(fd, "GET /livez HTTP/1.1\r\n"); /* half a request */
    uv_run(&loop, UV_RUN_NOWAIT);
    httpd_free(server);
    server = NULL;
    receive(fd, &b, SIZE_MAX);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
    close(fd);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *in;
        bool ok;
    } cases[] = {
        {":0", true},
        {"127.0.0.2:0", true},
        {"[::1]:0", true},
        {"127.0.0.1", false},
        {"localhost:0", false}, /* would need a lookup */
        {"::1:0", false},       /* without brackets */
        {"[]:0", false},
        {"[127.0.0.1]:0", false},
        {"127.0.0.1:65536", false},
        {"127.0.0.1:-1", false},
        {"127.0.0.1:", false},
        {"", false},
        {"192.0.2.1:0", false}, /* not ours (RFC 5737) */
    };
    struct err err = {0};
    char taken[40];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct httpd *h = httpd_new(&loop, cases[i].in, on_get, &loop, &err);

        if (!h != !cases[i].ok)
            fail_msg("'%s': %s", cases[i].in, h ? "taken" : err.msg);
        if (h)
            assert_true(httpd_port(h) > 0);
        else
            assert_int_equal(err.code, ERR_CONFIG);
        httpd_free(h);
    }
    snprintf(taken, sizeof taken, "127.0.0.1:%u", httpd_port(server));
    assert_null(httpd_new(&loop, taken, on_get, &loop, &err));
    assert_non_null(strstr(err.msg, "in use"));
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_requests), UNIT(test_body_refused),    UNIT(test_keep_alive), UNIT(test_large),
        UNIT(test_nonsense), UNIT(test_free_while_open), UNIT(test_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

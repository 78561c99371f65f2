/*
 * Requests against a server that says exactly what a row tells it to say, on the same loop. The
 * engine's inside is included, so that a test can look into a slot.
 */
#include "common/http_inside.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "common/clock.h"

/* ---- the server ---- */

enum then {
    KEEP,    /* wait for the next request on this link */
    CLOSE,   /* send FIN */
    RESET,   /* send RST */
    ENDLESS, /* the reply's last `tail` bytes again and again */
    DRIP,    /* one byte every 20 ms */
};

struct act {
    const char *reply; /* NULL: say nothing */
    size_t len;        /* 0: strlen(reply) */
    size_t tail;       /* for ENDLESS */
    enum then then;
    bool unread; /* do it once linked, without reading */
    bool early;  /* do it once the head is there, without the body */
};

#define SAY(what, and_then)                                                                        \
    {                                                                                              \
        .reply = (what), .then = (and_then)                                                        \
    }
#define REPEAT(what, bytes)                                                                        \
    {                                                                                              \
        .reply = (what), .then = ENDLESS, .tail = (bytes)                                          \
    }

struct server {
    uv_tcp_t listener;
    int port;
    const struct act *acts; /* for the first, second, ... request, over all links */
    size_t act_count, act_next;
    unsigned links, open;
    struct buf got; /* the last request's bytes */
    struct peer *peers;
    bool closing;
};

struct peer {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    struct server *server;
    struct peer *next;
    const struct act *act;
    struct buf in;
    size_t dripped;
    bool writing, closing;
    int handles;
};

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *p = handle->data;

    if (--p->handles > 0)
        return;
    for (struct peer **at = &p->server->peers; *at; at = &(*at)->next) {
        if (*at == p) {
            *at = p->next;
            break;
        }
    }
    p->server->open--;
    buf_deinit(&p->in);
    free(p);
}

static void peer_close(struct peer *p, bool reset)
{
    if (p->closing)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->timer, on_peer_closed);
    if (reset && uv_tcp_close_reset(&p->tcp, on_peer_closed) == 0)
        return;
    uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

static void peer_write(struct peer *p, const char *bytes, size_t len);

static void on_peer_written(uv_write_t *w, int status)
{
    struct peer *p = w->data;
    const struct act *a = p->act;

    p->writing = false;
    if (p->closing)
        return;
    if (status < 0)
        peer_close(p, false);
    else if (a->then == ENDLESS)
        peer_write(p, a->reply + strlen(a->reply) - a->tail, a->tail);
    else if (a->then == CLOSE || a->then == RESET)
        peer_close(p, a->then == RESET);
}

static void peer_write(struct peer *p, const char *bytes, size_t len)
{
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);

    p->writing = true;
    p->write.data = p;
    if (uv_write(&p->write, (uv_stream_t *)&p->tcp, &b, 1, on_peer_written) < 0)
        peer_close(p, false);
}

static void on_drip(uv_timer_t *timer)
{
    struct peer *p = timer->data;

    if (!p->writing && p->dripped < strlen(p->act->reply))
        peer_write(p, p->act->reply + p->dripped++, 1);
}

static void peer_act(struct peer *p)
{
    struct server *s = p->server;

    if (s->act_next >= s->act_count) {
        peer_close(p, false);
        return;
    }
    p->act = &s->acts[s->act_next++];
    if (p->act->then == DRIP)
        uv_timer_start(&p->timer, on_drip, 0, 20);
    else if (p->act->reply)
        peer_write(p, p->act->reply, p->act->len > 0 ? p->act->len : strlen(p->act->reply));
    else if (p->act->then != KEEP)
        peer_close(p, p->act->then == RESET);
}

/* The length of the first whole request in `in`, 0 when it is not there yet. */
static size_t whole_request(const struct buf *in, bool head_only)
{
    const char *end = in->len > 0 ? strstr(in->ptr, "\r\n\r\n") : NULL, *length;
    size_t head;

    if (!end)
        return 0;
    head = (size_t)(end - in->ptr) + 4;
    length = strcasestr(in->ptr, "\r\nContent-Length: ");
    if (length && length < end && !head_only)
        head += (size_t)atoi(length + 18);
    return in->len >= head ? head : 0;
}

static void on_peer_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct peer *p = stream->data;
    struct server *s = p->server;
    bool early = s->act_next < s->act_count && s->acts[s->act_next].early;
    size_t len;

    if (n > 0)
        buf_add(&p->in, b->base, (size_t)n);
    free(b->base);
    if (n < 0) {
        peer_close(p, false);
        return;
    }
    len = whole_request(&p->in, early);
    if (len == 0 || p->closing)
        return;
    buf_clear(&s->got);
    buf_add(&s->got, p->in.ptr, len);
    buf_clear(&p->in);
    peer_act(p);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *b)
{
    (void)handle;
    *b = uv_buf_init(malloc(hint), (unsigned)hint);
}

static void on_link(uv_stream_t *listener, int status)
{
    struct server *s = listener->data;
    struct peer *p = calloc(1, sizeof *p);

    assert_int_equal(status, 0);
    assert_non_null(p);
    buf_init(&p->in, 4 << 20);
    p->server = s;
    p->next = s->peers;
    s->peers = p;
    s->links++;
    s->open++;
    uv_tcp_init(listener->loop, &p->tcp);
    uv_timer_init(listener->loop, &p->timer);
    p->handles = 2;
    p->tcp.data = p->timer.data = p;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
    if (s->act_next < s->act_count && s->acts[s->act_next].unread)
        peer_act(p);
    else
        uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_peer_read);
}

static void server_start(uv_loop_t *loop, struct server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int size = sizeof a;

    buf_init(&s->got, 4 << 20);
    uv_tcp_init(loop, &s->listener);
    s->listener.data = s;
    assert_int_equal(uv_tcp_bind(&s->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s->listener, 128, on_link), 0);
    assert_int_equal(uv_tcp_getsockname(&s->listener, (struct sockaddr *)&a, &size), 0);
    s->port = ntohs(a.sin_port);
}

static void server_stop(struct server *s)
{
    uv_close((uv_handle_t *)&s->listener, NULL);
    for (struct peer *p = s->peers; p; p = p->next)
        peer_close(p, false);
}

/* ---- the client ---- */

struct fixture {
    uv_loop_t loop;
    struct http *http;
    struct server server;
    char url[64];
};

struct outcome {
    struct fixture *f;
    struct http_request *rq;
    struct outcome *again; /* start this one from the callback */
    struct outcome *cancel_in_callback;
    bool free_in_callback, in_start, was_in_start, new_link;
    int calls; /* of the callback: must end as 1 */
    enum http_sent sent;
    int status;
    char *body;
    size_t body_len;
    int64_t sent_ms, answered_ms;
    /* what the callbacks answer, and how often they were asked */
    unsigned addresses, sends;
    unsigned refuse_address_at, refuse_send_at; /* the n-th question; 0 = never */
    unsigned cancel_address_at, cancel_send_at;
    struct err err;
    char headers[512]; /* "name=value;" each */
};

static const struct http_options plain_options = {.slots = 8, .user_agent = "awq-test"};

static void setup(struct fixture *f, const struct act *acts, size_t count)
{
    struct err err = {0};

    alarm(30);
    *f = (struct fixture){0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->server.acts = acts;
    f->server.act_count = count;
    server_start(&f->loop, &f->server);
    f->http = http_new(&f->loop, &plain_options, &err);
    assert_non_null(f->http);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/x", f->server.port);
}

/* Every test ends by closing the loop and seeing that nothing is left on it. */
static void teardown(struct fixture *f)
{
    http_free(f->http);
    server_stop(&f->server);
    while (uv_run(&f->loop, UV_RUN_DEFAULT) != 0)
        ;
    assert_int_equal(uv_loop_close(&f->loop), 0);
    buf_deinit(&f->server.got);
    alarm(0);
}

static bool on_address(void *owner, const struct sockaddr *addr, struct err *err)
{
    struct outcome *o = owner;

    assert_int_equal(addr->sa_family, AF_INET);
    assert_int_equal(((const struct sockaddr_in *)addr)->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    o->addresses++;
    if (o->addresses == o->cancel_address_at)
        http_cancel(o->rq);
    if (o->addresses == o->refuse_address_at)
        return err_rule(err, ERR_DENIED, "address_not_allowed", "not today");
    return true;
}

static bool on_send(void *owner, struct err *err)
{
    struct outcome *o = owner;

    o->sends++;
    if (o->sends == o->cancel_send_at)
        http_cancel(o->rq);
    if (o->sends == o->refuse_send_at)
        return err_rule(err, ERR_LOST, "lease_lost", "the lease is gone");
    return true;
}

static void begin(struct outcome *o, const struct http_call *call);

static void on_result(void *owner, const struct http_result *r)
{
    struct outcome *o = owner;

    o->calls++;
    uv_stop(&o->f->loop); /* a timer called: do not go on to wait for the network */
    o->was_in_start = o->in_start;
    o->sent = r->sent;
    o->err = r->err;
    o->status = r->status;
    o->sent_ms = r->sent_ms;
    o->answered_ms = r->answered_ms;
    o->new_link = r->new_link;
    for (size_t i = 0; i < r->header_count; i++) {
        size_t n = strlen(o->headers);

        snprintf(o->headers + n, sizeof o->headers - n, "%.*s=%.*s;", SLICE_FMT(r->headers[i].name),
                 SLICE_FMT(r->headers[i].value));
    }
    if (r->sent == HTTP_ANSWERED) {
        assert_int_equal(r->err.code, ERR_NONE);
        o->body_len = r->body->len;
        o->body = buf_take(r->body);
    } else {
        assert_int_not_equal(r->err.code, ERR_NONE);
        assert_null(r->body);
    }
    if (o->again)
        begin(o->again, &(struct http_call){.method = "GET", .url = o->f->url});
    if (o->cancel_in_callback)
        http_cancel(o->cancel_in_callback->rq);
    if (o->free_in_callback) {
        http_free(o->f->http);
        o->f->http = NULL;
    }
}

static void begin(struct outcome *o, const struct http_call *call)
{
    struct http_call c = *call;
    struct err err = {0};

    c.address_ok = c.address_ok ? c.address_ok : on_address;
    c.before_send = on_send;
    o->in_start = true;
    o->rq = http_start(o->f->http, &c, on_result, o, &err);
    o->in_start = false;
    if (!o->rq)
        fail_msg("http_start: %s", err.msg);
}

static void wait_for(struct outcome *o)
{
    while (o->calls == 0)
        uv_run(&o->f->loop, UV_RUN_ONCE);
    assert_int_equal(o->calls, 1);
    assert_false(o->was_in_start);
}

static void forget(struct outcome *o)
{
    free(o->body);
    o->body = NULL;
}

static void call(struct outcome *o, const char *method, const char *body)
{
    begin(o, &(struct http_call){.method = method,
                                 .url = o->f->url,
                                 .body = slice_cstr(body),
                                 .has_body = body != NULL});
    wait_for(o);
}

/* ---- answers ---- */

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define GZ_HELLO                                                                                   \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00" \
    "\x00\x00"

#define HDR100                                                                                     \
    "X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"

static const struct answer_case {
    const char *why;
    const char *method;
    struct act act;
    int status;       /* 0: no answer */
    const char *body; /* or the rule */
} answers[] = {
    {"plain", "GET", SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP), 200, "ok"},
    {"empty", "GET", SAY(OK_HEAD "Content-Length: 0\r\n\r\n", KEEP), 200, ""},
    {"an error status is an answer", "POST",
     SAY("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", KEEP), 503, "busy"},
    {"a redirect is an answer too", "GET",
     SAY("HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n", KEEP), 302, ""},
    {"401 is not for libcurl to answer", "GET",
     SAY("HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n", KEEP),
     401, ""},
    {"chunked", "GET", SAY(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", KEEP),
     200, "ok"},
    {"trailers are not headers", "GET",
     SAY(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: HTTP/1.1\r\n\r\n", KEEP),
     200, "ok"},
    {"chunked and a length", "GET",
     SAY(OK_HEAD "Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
         KEEP),
     200, "ok"},
    {"ended by closing", "GET", SAY(OK_HEAD "\r\nok", CLOSE), 200, "ok"},
    {"HTTP/1.0", "GET", SAY("HTTP/1.0 200 OK\r\n\r\nok", CLOSE), 200, "ok"},
    {"204 has no body", "GET", SAY("HTTP/1.1 204 None\r\n\r\n", KEEP), 204, ""},
    {"304 has no body, whatever its length says", "GET",
     SAY("HTTP/1.1 304 Same\r\nContent-Length: 10\r\n\r\n", KEEP), 304, ""},
    {"HEAD has no body", "HEAD", SAY(OK_HEAD "Content-Length: 9999999\r\n\r\n", KEEP), 200, ""},
    {"interim answers come first", "POST",
     SAY("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" OK_HEAD
         "Content-Length: 2\r\n\r\nok",
         KEEP),
     200, "ok"},
    {"bare LF", "GET", SAY("HTTP/1.1 200 OK\nContent-Length: 2\n\nok", KEEP), 200, "ok"},
    {"more than its length", "GET", SAY(OK_HEAD "Content-Length: 2\r\n\r\nokxx", KEEP), 200, "ok"},
    {"gzip",
     "GET",
     {.reply = OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 25\r\n\r\n" GZ_HELLO,
      .len = sizeof(OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 25\r\n\r\n" GZ_HELLO) - 1},
     200,
     "hello"},
    {"whole, then the rest of the body is refused", "POST",
     SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", RESET), 200, "ok"},
    {"before the body was read",
     "POST",
     {.reply = "HTTP/1.1 413 Big\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
      .then = CLOSE,
      .early = true},
     413,
     "no"},

    {"cut short", "GET", SAY(OK_HEAD "Content-Length: 5\r\n\r\nok", CLOSE), 0, "answer_cut_short"},
    {"cut short by a reset", "GET", SAY(OK_HEAD "Content-Length: 5\r\n\r\nok", RESET), 0,
     "link_lost"},
    {"cut in the head", "GET", SAY(OK_HEAD "Content-Le", CLOSE), 0, "answer_cut_short"},
    {"cut in a chunk", "GET", SAY(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\nok", CLOSE), 0,
     "answer_cut_short"},
    {"no last chunk", "GET", SAY(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", CLOSE), 0,
     "answer_cut_short"},
    {"a chunk size that is none", "GET",
     SAY(OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", KEEP), 0, "link_lost"},
    {"closed without a word", "GET", SAY(NULL, CLOSE), 0, "link_lost"},
    {"reset without a word", "GET", SAY(NULL, RESET), 0, "link_lost"},
    {"closed before reading", "POST", {.then = CLOSE, .unread = true}, 0, "link_lost"},
    {"garbage", "GET", SAY("\x01\x02\x03garbage\r\n\r\n", CLOSE), 0, "answer_broken"},
    {"HTTP/0.9", "GET", SAY("hello from 1991\n", CLOSE), 0, "answer_broken"},
    {"another protocol", "GET", SAY("220 mail.example ESMTP\r\n", KEEP), 0, "answer_broken"},
    {"a status that is none", "GET", SAY("HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", KEEP), 0,
     "answer_broken"},
    {"an unasked protocol switch", "GET", SAY("HTTP/1.1 101 Now\r\n\r\n", CLOSE), 0, "link_lost"},
    {"not gzip", "GET",
     SAY(OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", KEEP), 0,
     "answer_broken"},
    {"an unknown coding", "GET",
     SAY(OK_HEAD "Content-Encoding: zork\r\nContent-Length: 5\r\n\r\nhello", KEEP), 0,
     "answer_broken"},
    {"a length over the bound", "GET", REPEAT(OK_HEAD "Content-Length: 2000000\r\n\r\n", 2), 0,
     "answer_too_big"},
    {"an endless body", "GET", REPEAT(OK_HEAD "\r\n" HDR100 HDR100 HDR100, 200), 0,
     "answer_too_big"},
    {"endless chunks", "GET",
     REPEAT(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n", 22), 0,
     "answer_too_big"},
    {"endless headers", "GET", REPEAT(OK_HEAD HDR100, 87), 0, "answer_headers_too_big"},
    {"endless small headers", "GET", REPEAT(OK_HEAD "a: b\r\n", 6), 0, "answer_headers_too_big"},
    {"one endless header line", "GET", REPEAT(OK_HEAD "X-A: aaaaaaaaaaaaaaaa", 16), 0,
     "answer_headers_too_big"},
    {"endless interim answers", "GET", REPEAT("HTTP/1.1 100 C\r\n\r\n", 18), 0,
     "answer_headers_too_big"},
    {"an endless trailer", "GET",
     REPEAT(OK_HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n" HDR100, 87), 0,
     "answer_headers_too_big"},
};

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        const struct answer_case *c = &answers[i];
        struct fixture f;
        struct outcome o = {.f = &f};
        const char *got;

        setup(&f, &c->act, 1);
        call(&o, c->method, strcmp(c->method, "POST") == 0 ? "the body" : NULL);
        got = o.sent == HTTP_ANSWERED ? (o.body ? o.body : "") : o.err.rule;
        if (o.status != c->status || strcmp(got, c->body) != 0)
            fail_msg("%s: got %d %.40s (%s), want %d %s", c->why, o.status, got, o.err.msg,
                     c->status, c->body);
        if (o.sent != (c->status > 0 ? HTTP_ANSWERED : HTTP_MAYBE_SENT))
            fail_msg("%s: sent is %d", c->why, o.sent);
        assert_int_equal(o.answered_ms > 0, c->status > 0);
        assert_true(o.sent_ms > 0);
        assert_int_equal(f.server.links, 1); /* a new link is never tried twice */
        assert_int_equal(o.sends, 1);
        assert_null(strchr(o.err.msg, '\x01')); /* no garbage in a text for people */
        assert_null(strstr(o.err.msg, "/x"));   /* nor a path */
        forget(&o);
        teardown(&f);
    }
}

static void test_headers_of_the_answer(void **state)
{
    static const struct act act =
        SAY("HTTP/1.1 100 C\r\nX-Early: 1\r\n\r\n" OK_HEAD
            "Content-Length: 0\r\nX-A:  one \r\nx-a: two\r\nEmpty:\r\nFolded: a\r\n  b\r\n\r\n",
            KEEP);
    struct fixture f;
    struct outcome o = {.f = &f};
    struct http_header list[] = {{SLICE_LIT("X-A"), SLICE_LIT("one")},
                                 {SLICE_LIT("x-a"), SLICE_LIT("two")}};
    struct http_result r = {.headers = list, .header_count = 2};

    (void)state;
    setup(&f, &act, 1);
    call(&o, "GET", NULL);
    assert_int_equal(o.sent, HTTP_ANSWERED);
    assert_string_equal(o.headers, "Content-Length=0;X-A=one;x-a=two;Empty=;Folded=a b;");
    assert_true(slice_is(http_header_get(&r, "X-a"), "one")); /* the first, in any case */
    assert_int_equal(http_header_get(&r, "X").len, 0);
    forget(&o);
    teardown(&f);
}

/* 30 KiB of zeros in 63 bytes of gzip; the bound is on what it becomes. */
static void test_gzip_bomb(void **state)
{
    static const char bomb[] = OK_HEAD
        "Content-Encoding: gzip\r\nContent-Length: 62\r\n\r\n"
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xed\xc1\x01\x0d\x00\x00\x00\xc2\xa0\xf7\x4f\x6d"
        "\x0e\x37\xa0\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    static const struct act act = {.reply = bomb, .len = sizeof bomb - 1};
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    setup(&f, &act, 1);
    begin(&o, &(struct http_call){.method = "GET", .url = f.url, .max_body_bytes = 1000});
    wait_for(&o);
    assert_int_equal(o.sent, HTTP_MAYBE_SENT);
    assert_int_equal(o.err.code, ERR_FORMAT);
    assert_string_equal(o.err.rule, "answer_too_big");
    teardown(&f);
}

/* ---- what goes out ---- */

static const struct act ok_act = SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP);
static const struct act ok_acts[] = {SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                                     SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                                     SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                                     SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                                     SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                                     SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP)};

static void expect_request(struct fixture *f, const struct http_call *call, const char *want)
{
    struct outcome o = {.f = f};
    char text[1024];

    begin(&o, call);
    wait_for(&o);
    assert_int_equal(o.sent, HTTP_ANSWERED);
    snprintf(text, sizeof text, want, f->server.port);
    assert_string_equal(f->server.got.ptr, text);
    forget(&o);
}

#define SENT_HEAD                                                                                  \
    "Host: 127.0.0.1:%d\r\nUser-Agent: awq-test\r\nAccept: */*\r\nAccept-Encoding: "               \
    "gzip, deflate\r\n"

/* One slot is used for all of them: nothing of one request may be left in the next. */
static void test_requests(void **state)
{
    struct http_header headers[] = {{SLICE_LIT("X-A"), SLICE_LIT("1")},
                                    {SLICE_LIT("X-Empty"), SLICE_NONE},
                                    {SLICE_LIT("Content-Type"), SLICE_LIT("a/b")}};
    struct fixture f;
    char url[100];

    (void)state;
    setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* never obeyed */
    expect_request(
        &f,
        &(struct http_call){.method = "POST",
                            .url = f.url,
                            .headers = headers,
                            .header_count = 3,
                            .secret = {SLICE_LIT("Authorization"), SLICE_LIT("Bearer t")},
                            .body = SLICE_LIT("body"),
                            .copy_body = true},
        "POST /x HTTP/1.1\r\n" SENT_HEAD
        "X-A: 1\r\nX-Empty:\r\nContent-Type: a/b\r\nAuthorization: Bearer "
        "t\r\nContent-Length: 4\r\n\r\nbody");
    expect_request(&f, &(struct http_call){.method = "GET", .url = f.url},
                   "GET /x HTTP/1.1\r\n" SENT_HEAD "\r\n");
    expect_request(&f, &(struct http_call){.method = "POST", .url = f.url, .has_body = true},
                   "POST /x HTTP/1.1\r\n" SENT_HEAD "Content-Length: 0\r\n\r\n");
    expect_request(&f,
                   &(struct http_call){.method = "DELETE", .url = f.url, .body = SLICE_LIT("x")},
                   "DELETE /x HTTP/1.1\r\n" SENT_HEAD "Content-Length: 1\r\n\r\nx");
    expect_request(&f, &(struct http_call){.method = "PATCH", .url = f.url},
                   "PATCH /x HTTP/1.1\r\n" SENT_HEAD "\r\n");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/a/../b/./c", f.server.port);
    expect_request(&f, &(struct http_call){.method = "GET", .url = url},
                   "GET /a/../b/./c HTTP/1.1\r\n" SENT_HEAD "\r\n"); /* as checked, so sent */
    assert_int_equal(f.server.links, 1);
    unsetenv("http_proxy");
    teardown(&f);
}

static void test_refused_calls(void **state)
{
    struct http_header bad[] = {{SLICE_LIT("X"), SLICE_LIT("a\r\nY: b")}};
    struct http_header empty[] = {{SLICE_NONE, SLICE_LIT("a")}};
    struct http_header length[] = {{SLICE_LIT("content-length"), SLICE_LIT("1")}};
    const struct {
        struct http_call call;
        const char *rule;
    } rows[] = {
        {{.method = "GET", .headers = bad, .header_count = 1}, "header_invalid"},
        {{.method = "GET", .headers = empty, .header_count = 1}, "header_invalid"},
        {{.method = "GET", .headers = length, .header_count = 1}, "header_forbidden"},
        {{.method = "GET", .secret = {SLICE_LIT("A"), SLICE_LIT("t\n")}}, "header_invalid"},
        {{.method = "GE T"}, "method_invalid"},
        {{.method = ""}, "method_invalid"},
        {{.method = "CONNECT"}, "method_invalid"},
        {{.method = "AVERYLONGMETHODNAME"}, "method_invalid"},
        {{.method = "HEAD", .body = SLICE_LIT("x")}, "method_invalid"},
        {{.method = "GET", .url = "http://x/\r\nX: y"}, "url_invalid"},
    };
    struct fixture f;

    (void)state;
    setup(&f, &ok_act, 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_call c = rows[i].call;
        struct err err = {0};

        c.url = c.url ? c.url : f.url;
        assert_null(http_start(f.http, &c, on_result, NULL, &err));
        assert_int_equal(err.code, ERR_FORMAT);
        assert_string_equal(err.rule, rows[i].rule);
    }
    assert_int_equal(http_in_flight(f.http), 0);
    teardown(&f);
}

/* %d is the server's port: a URL that were dialled would be seen there. */
static void test_bad_urls(void **state)
{
    static const char *const urls[] = {"",
                                       "nonsense://127.0.0.1:%d/",
                                       "http://",
                                       "ftp://127.0.0.1:%d/",
                                       "file:///etc/passwd",
                                       "http://u:p@127.0.0.1:%d/",
                                       "http://a@u:p@127.0.0.1:%d/"};
    struct fixture f;

    (void)state;
    setup(&f, &ok_act, 1);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct outcome o = {.f = &f};
        const char *port = strstr(urls[i], "%d");
        char url[100];

        snprintf(url, sizeof url, "%s", urls[i]);
        if (port)
            snprintf(url + (port - urls[i]), 20, "%d/", f.server.port);
        begin(&o, &(struct http_call){.method = "GET", .url = url});
        wait_for(&o);
        if (o.sent != HTTP_NOT_SENT || o.err.code != ERR_FORMAT ||
            strcmp(o.err.rule, "url_invalid") != 0 || o.sends > 0 || o.addresses > 0)
            fail_msg("%s: sent %d, %s", url, o.sent, o.err.msg);
        assert_null(strstr(o.err.msg, "u:p"));
    }
    assert_int_equal(f.server.links, 0);
    teardown(&f);
}

static void test_slots(void **state)
{
    static const struct act silent[8] = {SAY(NULL, KEEP)};
    struct fixture f;
    struct outcome o[8];
    struct err err = {0};

    (void)state;
    setup(&f, silent, 8);
    for (int i = 0; i < 8; i++) {
        o[i] = (struct outcome){.f = &f};
        begin(&o[i], &(struct http_call){.method = "GET", .url = f.url});
    }
    assert_int_equal(http_in_flight(f.http), 8);
    assert_null(http_start(f.http, &(struct http_call){.method = "GET", .url = f.url}, on_result,
                           &o[0], &err));
    assert_int_equal(err.code, ERR_RETRY);
    assert_string_equal(err.rule, "no_slot");
    while (f.server.links < 8)
        uv_run(&f.loop, UV_RUN_ONCE);
    http_free(f.http); /* with all of them in flight: each is called back, now */
    f.http = NULL;
    for (int i = 0; i < 8; i++) {
        assert_int_equal(o[i].calls, 1);
        assert_int_equal(o[i].err.code, ERR_CANCELLED);
    }
    teardown(&f);
}

/* ---- links ---- */

static void test_reuse(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    for (int i = 0; i < 5; i++) {
        struct outcome o = {.f = &f};

        call(&o, i % 2 ? "POST" : "GET", i % 2 ? "x" : NULL);
        assert_int_equal(o.sent, HTTP_ANSWERED);
        assert_int_equal(o.new_link, i == 0);
        assert_int_equal(o.addresses, i == 0 ? 2 : 1); /* also for a kept link */
        forget(&o);
    }
    assert_int_equal(f.server.links, 1);
    teardown(&f);
}

static void test_fresh_link(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    for (unsigned i = 0; i < 4; i++) {
        struct outcome o = {.f = &f};

        begin(&o, &(struct http_call){.method = "GET", .url = f.url, .fresh_link = i % 2 == 0});
        wait_for(&o);
        assert_int_equal(o.new_link, i != 3); /* the second one's is kept for the fourth */
        forget(&o);
    }
    assert_int_equal(f.server.links, 3);
    teardown(&f);
}

static void test_pools(void **state)
{
    static struct act acts[2 * HTTP_MAX_POOLS + 20];
    static const char *const names[] = {NULL, "a", "b", NULL, "a", "b"};
    struct fixture f;
    char name[20];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        acts[i] = ok_act;
    setup(&f, acts, ARRAY_LEN(acts));
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct outcome o = {.f = &f};

        begin(&o, &(struct http_call){.method = "GET", .url = f.url, .pool = names[i]});
        wait_for(&o);
        assert_int_equal(o.sent, HTTP_ANSWERED);
        assert_int_equal(o.new_link, i < 3); /* its own link per name */
        forget(&o);
    }
    for (int i = 0; i < 2 * HTTP_MAX_POOLS; i++) { /* more names than are kept */
        struct outcome o = {.f = &f};

        snprintf(name, sizeof name, "n%d", i);
        begin(&o, &(struct http_call){.method = "GET", .url = f.url, .pool = name});
        wait_for(&o);
        assert_int_equal(o.sent, HTTP_ANSWERED);
        forget(&o);
    }
    while (f.server.open > HTTP_MAX_POOLS)
        uv_run(&f.loop, UV_RUN_ONCE);
    teardown(&f);
}

/* The server answers one request and closes the link under the next. libcurl repeats such a
 * request by itself; only what is idempotent may go out twice. */
static void test_stale_link(void **state)
{
    static const struct {
        const char *method;
        enum then end;
        enum http_sent want;
    } rows[] = {
        {"GET", CLOSE, HTTP_ANSWERED},    {"PUT", CLOSE, HTTP_ANSWERED},
        {"POST", CLOSE, HTTP_MAYBE_SENT}, {"PATCH", CLOSE, HTTP_MAYBE_SENT},
        {"GET", RESET, HTTP_ANSWERED},    {"POST", RESET, HTTP_MAYBE_SENT},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct act acts[] = {ok_act, SAY(NULL, rows[i].end), ok_act};
        struct fixture f;
        struct outcome first = {.f = &f}, second = {.f = &f};

        setup(&f, acts, 3);
        call(&first, "GET", NULL);
        call(&second, rows[i].method, rows[i].method[0] == 'G' ? NULL : "body");
        if (second.sent != rows[i].want)
            fail_msg("%s: sent is %d (%s)", rows[i].method, second.sent, second.err.msg);
        if (second.sent == HTTP_MAYBE_SENT) {
            assert_int_equal(second.err.code, ERR_UNKNOWN);
            assert_string_equal(second.err.rule, "link_lost");
            assert_int_equal(f.server.act_next, 2); /* the far side has seen it once */
        }
        forget(&first);
        forget(&second);
        teardown(&f);
    }
}

/* Closed while nobody used it: seen before anything is written, so any method goes out. */
static void test_closed_idle_link(void **state)
{
    struct fixture f;
    struct outcome first = {.f = &f}, second = {.f = &f};

    (void)state;
    setup(&f, ok_acts, 2);
    call(&first, "GET", NULL);
    peer_close(f.server.peers, false);
    while (f.server.open > 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    call(&second, "POST", "x");
    assert_int_equal(second.sent, HTTP_ANSWERED);
    assert_true(second.new_link);
    forget(&first);
    forget(&second);
    teardown(&f);
}

static void test_connection_refused(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0); /* bound, not listening */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    setup(&f, &ok_act, 1);
    snprintf(f.url, sizeof f.url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    call(&o, "POST", "x");
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    assert_string_equal(o.err.rule, "connect_failed");
    assert_int_equal(o.sent_ms, 0);
    close(fd);
    teardown(&f);
}

static void test_no_such_host(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    setup(&f, &ok_act, 1);
    snprintf(f.url, sizeof f.url, "http://nowhere.invalid/"); /* RFC 6761: never resolves */
    call(&o, "POST", "x");
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    teardown(&f);
}

/* ---- deadlines ---- */

static void test_deadlines(void **state)
{
    static const struct {
        struct act act;
        bool answered;
    } rows[] = {
        {SAY(NULL, KEEP), false},                                     /* no word */
        {SAY(OK_HEAD "Content-Length: 1000\r\n\r\nok", KEEP), false}, /* no more words */
        {SAY(OK_HEAD "Content-Length: 1000\r\n\r\n....................................", DRIP),
         false},
        {SAY(OK_HEAD "X-Slow: ..........................................", DRIP), false},
        {SAY(OK_HEAD "Content-Length: 0\r\n\r\n", KEEP), true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct outcome o = {.f = &f};
        int64_t began = clock_boot_ms();

        setup(&f, &rows[i].act, 1);
        begin(&o, &(struct http_call){.method = "GET", .url = f.url, .total_timeout_ms = 150});
        wait_for(&o);
        assert_int_equal(o.sent, rows[i].answered ? HTTP_ANSWERED : HTTP_MAYBE_SENT);
        if (!rows[i].answered) {
            assert_string_equal(o.err.rule, "timeout");
            assert_true(clock_boot_ms() - began >= 150);
        }
        forget(&o);
        teardown(&f);
    }
}

/* A listener whose queue is full: the kernel drops our SYN. */
static void test_connect_deadline(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};
    int fd = socket(AF_INET, SOCK_STREAM, 0), fill[8];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    for (size_t i = 0; i < ARRAY_LEN(fill); i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill[i], (struct sockaddr *)&a, sizeof a);
    }
    setup(&f, &ok_act, 1);
    snprintf(f.url, sizeof f.url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    begin(&o, &(struct http_call){.method = "POST", .url = f.url, .connect_timeout_ms = 100});
    wait_for(&o);
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    assert_string_equal(o.err.rule, "connect_timeout");
    for (size_t i = 0; i < ARRAY_LEN(fill); i++)
        close(fill[i]);
    close(fd);
    teardown(&f);
}

/* ---- refusals ---- */

static void test_address_refused(void **state)
{
    struct fixture f;
    struct outcome dialled = {.f = &f, .refuse_address_at = 1}, good = {.f = &f};
    struct outcome kept = {.f = &f, .refuse_address_at = 1};

    (void)state;
    setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    call(&dialled, "POST", "x");
    assert_int_equal(dialled.sent, HTTP_NOT_SENT);
    assert_int_equal(dialled.err.code, ERR_DENIED);
    assert_string_equal(dialled.err.rule, "address_not_allowed");
    assert_int_equal(f.server.links, 0);
    call(&good, "GET", NULL);
    assert_int_equal(good.sent, HTTP_ANSWERED);
    call(&kept, "POST", "x"); /* the link is there, but its address is not for this one */
    assert_int_equal(kept.sent, HTTP_NOT_SENT);
    assert_string_equal(kept.err.rule, "address_not_allowed");
    assert_false(kept.new_link);
    assert_int_equal(f.server.act_next, 1); /* only the good one arrived */
    forget(&good);
    teardown(&f);
}

static void test_before_send_refuses(void **state)
{
    struct fixture f;
    struct outcome fresh = {.f = &f, .refuse_send_at = 1}, good = {.f = &f};
    struct outcome kept = {.f = &f, .refuse_send_at = 1};

    (void)state;
    setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    call(&fresh, "POST", "x");
    assert_int_equal(fresh.sent, HTTP_NOT_SENT);
    assert_int_equal(fresh.err.code, ERR_LOST);
    assert_string_equal(fresh.err.rule, "lease_lost");
    call(&good, "GET", NULL);
    call(&kept, "POST", "x");
    assert_int_equal(kept.sent, HTTP_NOT_SENT);
    assert_int_equal(kept.err.code, ERR_LOST);
    assert_int_equal(f.server.act_next, 1);
    forget(&good);
    teardown(&f);
}

/* ---- cancelling ---- */

static void test_cancel_at_once(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    setup(&f, &ok_act, 1);
    begin(&o, &(struct http_call){.method = "GET", .url = f.url});
    http_cancel(o.rq);
    http_cancel(o.rq);            /* twice is once */
    assert_int_equal(o.calls, 0); /* later */
    wait_for(&o);
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_CANCELLED);
    assert_int_equal(f.server.links, 0);
    assert_int_equal(http_in_flight(f.http), 0);
    teardown(&f);
}

static void test_cancel_in_questions(void **state)
{
    struct fixture f;
    struct outcome dialling = {.f = &f, .cancel_address_at = 1};
    struct outcome sending = {.f = &f, .cancel_send_at = 1};

    (void)state;
    setup(&f, &ok_act, 1);
    call(&dialling, "POST", "x");
    assert_int_equal(dialling.sent, HTTP_NOT_SENT);
    assert_int_equal(dialling.err.code, ERR_CANCELLED);
    call(&sending, "POST", "x");
    assert_int_equal(sending.err.code, ERR_CANCELLED);
    assert_int_equal(sending.sent, HTTP_NOT_SENT);
    assert_int_equal(f.server.act_next, 0);
    teardown(&f);
}

static void test_cancel_after_sending(void **state)
{
    static const struct act acts[] = {SAY(NULL, KEEP),
                                      SAY(OK_HEAD "Content-Length: 9\r\n\r\nok", KEEP)};
    struct fixture f;

    (void)state;
    setup(&f, acts, 2);
    for (int i = 0; i < 2; i++) { /* waiting for the answer; in the middle of it */
        struct outcome o = {.f = &f};

        begin(&o, &(struct http_call){.method = "GET", .url = f.url});
        while (f.server.act_next == (size_t)i || (i == 1 && o.rq->body.len < 2))
            uv_run(&f.loop, UV_RUN_ONCE);
        http_cancel(o.rq);
        wait_for(&o);
        assert_int_equal(o.sent, HTTP_MAYBE_SENT);
        assert_int_equal(o.err.code, ERR_CANCELLED);
    }
    teardown(&f);
}

static void test_cancel_in_callback(void **state)
{
    static const struct act acts[] = {SAY(NULL, KEEP),
                                      SAY(OK_HEAD "Content-Length: 0\r\n\r\n", KEEP)};
    struct fixture f;
    struct outcome waits = {.f = &f}, ends = {.f = &f, .cancel_in_callback = &waits};

    (void)state;
    setup(&f, acts, 2);
    begin(&waits, &(struct http_call){.method = "GET", .url = f.url});
    while (f.server.act_next == 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    call(&ends, "GET", NULL);
    wait_for(&waits);
    assert_int_equal(waits.err.code, ERR_CANCELLED);
    assert_int_equal(ends.sent, HTTP_ANSWERED);
    forget(&ends);
    teardown(&f);
}

static void test_start_in_callback(void **state)
{
    struct fixture f;
    struct outcome second = {.f = &f}, first = {.f = &f, .again = &second};

    (void)state;
    setup(&f, ok_acts, 2);
    call(&first, "GET", NULL);
    wait_for(&second);
    assert_string_equal(first.body, "ok");
    assert_string_equal(second.body, "ok");
    forget(&first);
    forget(&second);
    teardown(&f);
}

static void test_free_in_callback(void **state)
{
    static const struct act acts[] = {SAY(NULL, KEEP),
                                      SAY(OK_HEAD "Content-Length: 0\r\n\r\n", KEEP)};
    struct fixture f;
    struct outcome waits = {.f = &f}, ends = {.f = &f, .free_in_callback = true};
    struct outcome cancelled = {.f = &f};

    (void)state;
    setup(&f, acts, 2);
    begin(&waits, &(struct http_call){.method = "GET", .url = f.url});
    while (f.server.act_next == 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    begin(&ends, &(struct http_call){.method = "GET", .url = f.url});
    begin(&cancelled, &(struct http_call){.method = "GET", .url = f.url});
    http_cancel(cancelled.rq);
    wait_for(&ends);
    assert_int_equal(waits.calls, 1);
    assert_int_equal(waits.sent, HTTP_MAYBE_SENT);
    assert_int_equal(cancelled.calls, 1);
    teardown(&f);
}

static void test_free_while_resolving(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    setup(&f, &ok_act, 1);
    begin(&o, &(struct http_call){.method = "GET", .url = "http://nowhere.invalid/"});
    uv_run(&f.loop, UV_RUN_NOWAIT);
    http_free(f.http);
    f.http = NULL;
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    http_free(NULL);
    teardown(&f);
}

/* ---- secrets ---- */

static bool memory_has(const void *mem, size_t len, const char *what)
{
    return mem && memmem(mem, len, what, strlen(what)) != NULL;
}

static void test_secret_is_wiped(void **state)
{
    static const char token[] = "Bearer s3cr3t-t0ken-that-must-not-stay";
    struct fixture f;
    struct outcome o = {.f = &f};
    const struct http_request *slot;
    size_t len;

    (void)state;
    setup(&f, &ok_act, 1);
    begin(&o, &(struct http_call){.method = "GET",
                                  .url = f.url,
                                  .secret = {SLICE_LIT("Authorization"), slice_cstr(token)}});
    slot = o.rq;
    len = slot->text_len;
    assert_true(memory_has(slot->text, len, token)); /* so the check below can fail */
    wait_for(&o);
    assert_true(memory_has(f.server.got.ptr, f.server.got.len, token));
    assert_ptr_equal(slot, f.http->free_slots);
    assert_non_null(slot->text);
    assert_false(memory_has(slot->text, len, "s3cr3t"));
    assert_false(memory_has(slot, sizeof *slot, "s3cr3t"));
    forget(&o);
    teardown(&f);
}

/* ---- TLS, by openssl's own server ---- */

static char tls_dir[] = "/tmp/awq-test-http-XXXXXX";

static void shell(const char *fmt, ...)
{
    char cmd[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    if (system(cmd) != 0) /* NOLINT(cert-env33-c): the words are this file's own */
        fail_msg("failed: %s", cmd);
}

/* `when` and `or_when` are options of openssl x509 that say the same; the first one it knows is
 * taken.
 */
static void make_certificate(const char *name, const char *san, const char *when,
                             const char *or_when)
{
    shell("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key "
          "-out %s.csr -subj /CN=%s 2>/dev/null && echo subjectAltName=%s > %s.ext && "
          "for when in '%s' '%s'; do openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key "
          "-CAcreateserial $when -extfile %s.ext -out %s.pem 2>/dev/null && break; done",
          tls_dir, name, name, name, san, name, when, or_when, name, name, name);
}

static int make_certificates(void **state)
{
    (void)state;
    if (!mkdtemp(tls_dir))
        return -1;
    shell("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
          "-subj /CN=test-ca -keyout ca.key -out ca.pem 2>/dev/null",
          tls_dir);
    make_certificate("good", "IP:127.0.0.1", "-days 30", "");
    make_certificate("wrong", "DNS:other.example", "-days 30", "");
    /* openssl 3.4 has the second, and no longer lets an end be before the beginning in days. */
    make_certificate("expired", "IP:127.0.0.1", "-days -1",
                     "-not_before 20200101000000Z -not_after 20200102000000Z");
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    shell("rm -rf %s", tls_dir);
    return 0;
}

static pid_t tls_server(const char *name, int *port)
{
    char cert[100], key[100], line[200] = "";
    int out[2];
    FILE *from;
    pid_t pid;

    snprintf(cert, sizeof cert, "%s/%s.pem", tls_dir, name);
    snprintf(key, sizeof key, "%s/%s.key", tls_dir, name);
    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key",
               key, "-www", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    from = fdopen(out[0], "r");
    while (fgets(line, sizeof line, from) && sscanf(line, "ACCEPT 127.0.0.1:%d", port) != 1)
        ;
    fclose(from);
    assert_true(*port > 0);
    return pid;
}

static void test_tls(void **state)
{
    static const struct {
        const char *server, *ca, *rule; /* "" = answered */
    } rows[] = {
        {"good", "ca.pem", ""},
        {"good", NULL, "tls_certificate"}, /* the system knows no such CA */
        {"wrong", "ca.pem", "tls_certificate"},
        {"expired", "ca.pem", "tls_certificate"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct outcome o = {.f = &f};
        struct http_options options = plain_options;
        struct err err = {0};
        char ca[100];
        int port = 0, status;
        pid_t pid = tls_server(rows[i].server, &port);

        setup(&f, &ok_act, 1);
        http_free(f.http);
        snprintf(ca, sizeof ca, "%s/%s", tls_dir, rows[i].ca ? rows[i].ca : "");
        options.ca_file = rows[i].ca ? ca : NULL;
        options.http2 = true;
        f.http = http_new(&f.loop, &options, &err);
        assert_non_null(f.http);
        snprintf(f.url, sizeof f.url, "https://127.0.0.1:%d/", port);
        call(&o, "GET", NULL);
        if (o.sent != (rows[i].rule[0] ? HTTP_NOT_SENT : HTTP_ANSWERED) ||
            strcmp(o.err.code ? o.err.rule : "", rows[i].rule) != 0)
            fail_msg("%s: sent %d, %s %s", rows[i].server, o.sent, o.err.rule, o.err.msg);
        assert_int_equal(o.sends, rows[i].rule[0] ? 0 : 1);
        forget(&o);
        teardown(&f);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
}

/* A plain server where TLS is expected. */
static void test_tls_to_plain(void **state)
{
    static const struct act act = {.reply = "hello", .then = CLOSE, .unread = true};
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    setup(&f, &act, 1);
    snprintf(f.url, sizeof f.url, "https://127.0.0.1:%d/", f.server.port);
    call(&o, "POST", "x");
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    assert_string_equal(o.err.rule, "tls_failed");
    teardown(&f);
}

static void test_bad_ca_file(void **state)
{
    struct http_options o = plain_options;
    struct err err = {0};
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    o.ca_file = "/nonexistent/ca.pem";
    assert_null(http_new(&loop, &o, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* ---- text ---- */

#define NOW_MS 1445412420000 /* Wed, 21 Oct 2015 07:27:00 GMT */

/* Retry-After is seconds or a date (RFC 9110 section 10.2.3). */
static const struct {
    const char *in;
    bool ok;
    int64_t want_ms;
} retry_afters[] = {
    {"120", true, 120000},
    {"0", true, 0},
    {" 5 ", true, 5000},
    {"Wed, 21 Oct 2015 07:28:00 GMT", true, 60000},
    {"Wed, 21 Oct 2015 07:26:00 GMT", true, 0}, /* already past */
    {"Thu, 01 Jan 1970 00:00:00 GMT", true, 0},
    {"Mon, 29 Feb 2016 00:00:00 GMT", true, 11291580000}, /* over a leap day */
    {"Tue, 01 Mar 2016 00:00:00 GMT", true, 11377980000},
    {"Wednesday, 21-Oct-15 07:28:00 GMT", true, 60000}, /* RFC 850 */
    {"Sunday, 06-Nov-94 08:49:37 GMT", true, 0},        /* 1994, since 2094 is too far */
    {"Wed Oct 21 07:28:00 2015", true, 60000},          /* asctime */
    {"Sun Nov  1 07:27:00 2015", true, 950400000},
    {"", false, -1},
    {"-1", false, -1},
    {"+1", false, -1},
    {"1.5", false, -1},
    {"12s", false, -1},
    {"99999999999999999999", false, -1}, /* does not fit */
    {"9999999999999999", false, -1},     /* not in ms */
    {"Wed, 21 Oct 2015 07:28:00", false, -1},
    {"Wed, 21 Oct 2015 07:28:00 CET", false, -1},
    {"Wed, 41 Oct 2015 07:28:00 GMT", false, -1},
    {"Wed, 21 Oct 2015 24:28:00 GMT", false, -1},
    {"Wed, 21 Foo 2015 07:28:00 GMT", false, -1},
    {"21 Oct 2015 07:28:00 GMT", false, -1},
    {"tomorrow", false, -1},
};

static void test_retry_after(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(retry_afters); i++) {
        int64_t wait_ms = -1; /* must stay so when the input is refused */
        bool ok = http_retry_after(slice_cstr(retry_afters[i].in), NOW_MS, &wait_ms);

        if (ok != retry_afters[i].ok || wait_ms != retry_afters[i].want_ms)
            fail_msg("'%s': got %d %lld", retry_afters[i].in, ok, (long long)wait_ms);
    }
}

static void test_words(void **state)
{
    (void)state;
    assert_true(http_method_is_idempotent(SLICE_LIT("PUT")));
    assert_false(http_method_is_idempotent(SLICE_LIT("POST")));
    assert_false(http_method_is_idempotent(SLICE_LIT("PATCH")));
    assert_false(http_method_is_idempotent(SLICE_LIT("get"))); /* methods have a case */
    assert_true(http_is_token(SLICE_LIT("X-a_b!1~")));
    assert_false(http_is_token(SLICE_NONE));
    assert_false(http_is_token(SLICE_LIT("a/b")));
    assert_false(http_is_token(slice_of("a\0", 2)));
    assert_true(http_is_header_value(SLICE_NONE));
    assert_true(http_is_header_value(SLICE_LIT("a\tb \xff")));
    assert_false(http_is_header_value(slice_of("a\0", 2)));
    assert_false(http_is_header_value(SLICE_LIT("\x7f")));
    for (int c = 0; c < 256; c++) { /* every byte, at every place of a long value */
        for (size_t at = 0; at < 20; at++) {
            char value[] = "abcdefgh\tjklmno\xfc"
                           "qrst";
            bool want = c == '\t' || (c >= 0x20 && c != 0x7f);

            value[at] = (char)c;
            assert_int_equal(http_is_header_value(slice_of(value, 20)), want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_headers_of_the_answer),
        cmocka_unit_test(test_gzip_bomb),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_refused_calls),
        cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_fresh_link),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_stale_link),
        cmocka_unit_test(test_closed_idle_link),
        cmocka_unit_test(test_connection_refused),
        cmocka_unit_test(test_no_such_host),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_connect_deadline),
        cmocka_unit_test(test_address_refused),
        cmocka_unit_test(test_before_send_refuses),
        cmocka_unit_test(test_cancel_at_once),
        cmocka_unit_test(test_cancel_in_questions),
        cmocka_unit_test(test_cancel_after_sending),
        cmocka_unit_test(test_cancel_in_callback),
        cmocka_unit_test(test_start_in_callback),
        cmocka_unit_test(test_free_in_callback),
        cmocka_unit_test(test_free_while_resolving),
        cmocka_unit_test(test_secret_is_wiped),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_to_plain),
        cmocka_unit_test(test_bad_ca_file),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}

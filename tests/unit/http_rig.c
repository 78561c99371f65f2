#include "tests/unit/http_rig.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct act ok_act = SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP);
const struct act ok_acts[6] = {SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                               SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                               SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                               SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                               SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP),
                               SAY(OK_HEAD "Content-Length: 2\r\n\r\nok", KEEP)};

/* ---- the server ---- */

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

void http_peer_close(struct peer *p, bool reset)
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
        http_peer_close(p, false);
    else if (a->then == ENDLESS)
        peer_write(p, a->reply + strlen(a->reply) - a->tail, a->tail);
    else if (a->then == CLOSE || a->then == RESET)
        http_peer_close(p, a->then == RESET);
}

static void peer_write(struct peer *p, const char *bytes, size_t len)
{
    uv_buf_t b = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);

    p->writing = true;
    p->write.data = p;
    if (uv_write(&p->write, (uv_stream_t *)&p->tcp, &b, 1, on_peer_written) < 0)
        http_peer_close(p, false);
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
        http_peer_close(p, false);
        return;
    }
    p->act = &s->acts[s->act_next++];
    if (p->act->then == DRIP)
        uv_timer_start(&p->timer, on_drip, 0, 20);
    else if (p->act->reply)
        peer_write(p, p->act->reply, p->act->len > 0 ? p->act->len : strlen(p->act->reply));
    else if (p->act->then != KEEP)
        http_peer_close(p, p->act->then == RESET);
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
        http_peer_close(p, false);
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

void http_server_start(uv_loop_t *loop, struct server *s)
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

void http_server_stop(struct server *s)
{
    uv_close((uv_handle_t *)&s->listener, NULL);
    for (struct peer *p = s->peers; p; p = p->next)
        http_peer_close(p, false);
}

/* ---- the client ---- */

const struct http_options plain_options = {.slots = 8, .user_agent = "awq-test"};

void http_setup(struct fixture *f, const struct act *acts, size_t count)
{
    struct err err = {0};

    alarm(30);
    *f = (struct fixture){0};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->server.acts = acts;
    f->server.act_count = count;
    http_server_start(&f->loop, &f->server);
    f->http = http_new(&f->loop, &plain_options, &err);
    assert_non_null(f->http);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/x", f->server.port);
}

/* Every test ends by closing the loop and seeing that nothing is left on it. */
void http_teardown(struct fixture *f)
{
    http_free(f->http);
    http_server_stop(&f->server);
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

void http_begin(struct outcome *o, const struct http_call *call);

void http_on_result(void *owner, const struct http_result *r)
{
    struct outcome *o = owner;

    o->calls++;
    uv_stop(&o->f->loop); /* a timer called: do not go on to wait for the network */
    o->was_in_start = o->in_start;
    o->sent = r->sent;
    o->err = r->err;
    o->status = r->status;
    o->head_status = r->head_status;
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
        http_begin(o->again, &(struct http_call){.method = "GET", .url = o->f->url});
    if (o->cancel_in_callback)
        http_cancel(o->cancel_in_callback->rq);
    if (o->free_in_callback) {
        http_free(o->f->http);
        o->f->http = NULL;
    }
}

void http_begin(struct outcome *o, const struct http_call *call)
{
    struct http_call c = *call;
    struct err err = {0};

    c.address_ok = c.address_ok ? c.address_ok : on_address;
    c.before_send = on_send;
    o->in_start = true;
    o->rq = http_start(o->f->http, &c, http_on_result, o, &err);
    o->in_start = false;
    if (!o->rq)
        fail_msg("http_start: %s", err.msg);
}

void http_wait_for(struct outcome *o)
{
    while (o->calls == 0)
        uv_run(&o->f->loop, UV_RUN_ONCE);
    assert_int_equal(o->calls, 1);
    assert_false(o->was_in_start);
}

void http_forget(struct outcome *o)
{
    free(o->body);
    o->body = NULL;
}

void http_do(struct outcome *o, const char *method, const char *body)
{
    http_begin(o, &(struct http_call){.method = method,
                                      .url = o->f->url,
                                      .body = slice_cstr(body),
                                      .has_body = body != NULL});
    http_wait_for(o);
}

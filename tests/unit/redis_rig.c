#include "tests/unit/redis_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a loop, a link, and what was heard of it ---- */

struct test_redis server;

void rig_on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct rig *g = owner;

    switch (state) {
    case REDIS_CONNECTING:
        g->connects++;
        break;
    case REDIS_UP:
        g->ups++;
        if (g->free_when_up) {
            redis_free(g->link);
            g->link = NULL;
        }
        break;
    case REDIS_DOWN:
        g->downs++;
        g->why = *why;
        break;
    case REDIS_REFUSED:
        g->refusals++;
        g->why = *why;
        break;
    }
}

/* Also wakes the loop: what a condition waits for may have happened in a timer, and the loop would
 * then sleep on its sockets. */
void rig_on_limit(uv_timer_t *t)
{
    struct rig *g = t->data;

    g->waited_ms += RIG_LOOK_MS;
    g->too_late = g->waited_ms > RIG_LIMIT_MS;
}

void rig_open(struct rig *g)
{
    memset(g, 0, sizeof *g);
    assert_int_equal(uv_loop_init(&g->loop), 0);
    uv_timer_init(&g->loop, &g->limit);
    g->limit.data = g;
}

void rig_link(struct rig *g, const struct redis_options *o)
{
    struct err err;

    g->link = redis_new(&g->loop, o, rig_on_state, g, &err);
    if (!g->link)
        fail_msg("redis_new: %s", err.msg);
}

/* Everything must go: no handle, no request left. */
void rig_close(struct rig *g)
{
    redis_free(g->link);
    uv_close((uv_handle_t *)&g->limit, NULL);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&g->loop), 0);
}

/* A link to the shared server that has come up. */
void rig_up(struct rig *g, struct redis_options o)
{
    if (!o.url)
        o.url = server.url;
    if (!o.name)
        o.name = "test";
    if (!o.backoff_cap_ms)
        o.backoff_cap_ms = 50;
    rig_open(g);
    rig_link(g, &o);
    UNTIL(g, g->ups > 0);
}

void rig_on_answer(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct answer *a = owner;

    a->calls++;
    assert_true(!err || !reply); /* one of the two */
    if (err) {
        a->err = *err;
        assert_int_not_equal(err->code, ERR_NONE);
    } else {
        a->type = redis_reply_type(reply);
        a->number = redis_reply_int(reply, -1);
        a->len = redis_reply_type(reply) == REDIS_ARRAY ? redis_reply_len(reply)
                                                        : redis_reply_str(reply).len;
        slice_copy(redis_reply_str(reply), a->text, sizeof a->text);
    }
    if (a->free_then)
        redis_free(a->free_then);
}

/* Words at blanks. */
void rig_start(struct rig *g, struct answer *a, int64_t timeout_ms, const char *line)
{
    struct slice argv[32], rest = slice_cstr(line), word;
    size_t n = 0;
    struct err err;

    memset(a, 0, sizeof *a);
    while (n < ARRAY_LEN(argv) && slice_cut(&rest, ' ', &word))
        argv[n++] = word;
    if (!redis_command(g->link, n, argv, timeout_ms, rig_on_answer, a, &err))
        fail_msg("%s: %s", line, err.msg);
    assert_int_equal(a->calls, 0); /* never inside the call that started it */
}

struct answer rig_ask(struct rig *g, const char *line)
{
    struct answer a;

    rig_start(g, &a, 0, line);
    UNTIL(g, a.calls > 0);
    assert_int_equal(a.calls, 1);
    return a;
}

/* ---- servers that are no Redis, or a broken one ---- */

static void fake_on_alloc(uv_handle_t *h, size_t size, uv_buf_t *buf)
{
    static char sink[65536];

    (void)h;
    (void)size;
    *buf = uv_buf_init(sink, sizeof sink);
}

static void fake_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct fake *f = s->data;
    uv_buf_t out = uv_buf_init((char *)(uintptr_t)f->says, (unsigned)strlen(f->says));

    (void)buf;
    if (n > 0)
        uv_try_write(s, &out, 1);
    if ((n < 0 || f->closes) && !uv_is_closing((uv_handle_t *)s)) {
        uv_close((uv_handle_t *)s, NULL);
        f->has_peer = false;
    }
}

static void fake_on_peer(uv_stream_t *listener, int status)
{
    struct fake *f = listener->data;

    assert_int_equal(status, 0);
    assert_false(f->has_peer);
    uv_tcp_init(listener->loop, &f->peer);
    f->peer.data = f;
    f->has_peer = true;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&f->peer), 0);
    uv_read_start((uv_stream_t *)&f->peer, fake_on_alloc, fake_on_read);
}

void fake_open(struct fake *f, struct rig *g)
{
    struct sockaddr_in a;
    int len = sizeof a;

    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(&g->loop, &f->listener);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 4, fake_on_peer), 0);
    assert_int_equal(uv_tcp_getsockname(&f->listener, (struct sockaddr *)&a, &len), 0);
    snprintf(f->url, sizeof f->url, "redis://127.0.0.1:%d", ntohs(a.sin_port));
}

void fake_close(struct fake *f)
{
    uv_close((uv_handle_t *)&f->listener, NULL);
    if (f->has_peer)
        uv_close((uv_handle_t *)&f->peer, NULL);
}

static void on_len(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct slice *want = owner, got = redis_reply_str(reply);

    assert_null(err);
    assert_true(slice_eq(*want, got));
    want->len = 0;
}

/* Far more than a socket takes at once, both ways. */
void rig_big_value(const struct redis_options *o)
{
    size_t len = (size_t)24 << 20;
    char *big = malloc(len);
    struct slice want, get[] = {SLICE_LIT("GET"), SLICE_LIT("big")};
    struct slice set[] = {SLICE_LIT("SET"), SLICE_LIT("big"), {big, len}};
    struct answer a = {0};
    struct rig g;

    assert_non_null(big);
    for (size_t i = 0; i < len; i++)
        big[i] = (char)(i * 2654435761u >> 13);
    want = slice_of(big, len);
    rig_up(&g, *o);
    assert_true(redis_command(g.link, 3, set, 10000, rig_on_answer, &a, NULL));
    assert_true(redis_command(g.link, 2, get, 10000, on_len, &want, NULL));
    UNTIL(&g, a.calls == 1 && want.len == 0);
    rig_ask(&g, "DEL big");
    rig_close(&g);
    free(big);
}

int rig_start_server(void **state)
{
    (void)state;
    test_redis_start(&server, NULL);
    return 0;
}

int rig_stop_server(void **state)
{
    (void)state;
    test_redis_stop(&server);
    return 0;
}

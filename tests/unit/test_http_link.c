/* Links, deadlines, refusals, and what is cancelled (http_rig.h). The engine's inside is included,
 * so that a test can look into a slot. */
#include "common/http_inside.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "common/clock.h"
#include "tests/unit/cert_rig.h"
#include "tests/unit/http_rig.h"

/* ---- links ---- */

static void test_reuse(void **state)
{
    struct fixture f;

    (void)state;
    http_setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    for (int i = 0; i < 5; i++) {
        struct outcome o = {.f = &f};

        http_do(&o, i % 2 ? "POST" : "GET", i % 2 ? "x" : NULL);
        assert_int_equal(o.sent, HTTP_ANSWERED);
        assert_int_equal(o.new_link, i == 0);
        assert_int_equal(o.addresses, i == 0 ? 2 : 1); /* also for a kept link */
        http_forget(&o);
    }
    assert_int_equal(f.server.links, 1);
    http_teardown(&f);
}

static void test_fresh_link(void **state)
{
    struct fixture f;

    (void)state;
    http_setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    for (unsigned i = 0; i < 4; i++) {
        struct outcome o = {.f = &f};

        http_begin(&o,
                   &(struct http_call){.method = "GET", .url = f.url, .fresh_link = i % 2 == 0});
        http_wait_for(&o);
        assert_int_equal(o.new_link, i != 3); /* the second one's is kept for the fourth */
        http_forget(&o);
    }
    assert_int_equal(f.server.links, 3);
    http_teardown(&f);
}

static void test_pools(void **state)
{
    static struct act acts[2 * HTTP_MAX_POOLS + 20];
    struct client_cert *a = cert_client("a"), *b = cert_client("b");
    struct client_cert *certs[] = {NULL, a, b, NULL, a, b};
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        acts[i] = ok_act;
    http_setup(&f, acts, ARRAY_LEN(acts));
    for (size_t i = 0; i < ARRAY_LEN(certs); i++) {
        struct outcome o = {.f = &f};

        http_begin(&o, &(struct http_call){.method = "GET", .url = f.url, .cert = certs[i]});
        http_wait_for(&o);
        assert_int_equal(o.sent, HTTP_ANSWERED);
        assert_int_equal(o.new_link, i < 3); /* its own link per certificate */
        http_forget(&o);
    }
    client_cert_unref(a);
    client_cert_unref(b);
    for (int i = 0; i < 2 * HTTP_MAX_POOLS; i++) { /* more than are kept */
        struct outcome o = {.f = &f};
        struct client_cert *one = cert_client("one");

        http_begin(&o, &(struct http_call){.method = "GET", .url = f.url, .cert = one});
        client_cert_unref(one); /* the request has its own reference */
        http_wait_for(&o);
        assert_int_equal(o.sent, HTTP_ANSWERED);
        http_forget(&o);
    }
    while (f.server.open > HTTP_MAX_POOLS)
        uv_run(&f.loop, UV_RUN_ONCE);
    http_teardown(&f);
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

        http_setup(&f, acts, 3);
        http_do(&first, "GET", NULL);
        http_do(&second, rows[i].method, rows[i].method[0] == 'G' ? NULL : "body");
        if (second.sent != rows[i].want)
            fail_msg("%s: sent is %d (%s)", rows[i].method, second.sent, second.err.msg);
        if (second.sent == HTTP_MAYBE_SENT) {
            assert_int_equal(second.err.code, ERR_UNKNOWN);
            assert_string_equal(second.err.rule, "link_lost");
            assert_int_equal(f.server.act_next, 2); /* the far side has seen it once */
        }
        http_forget(&first);
        http_forget(&second);
        http_teardown(&f);
    }
}

/* Closed while nobody used it: seen before anything is written, so any method goes out. */
static void test_closed_idle_link(void **state)
{
    struct fixture f;
    struct outcome first = {.f = &f}, second = {.f = &f};

    (void)state;
    http_setup(&f, ok_acts, 2);
    http_do(&first, "GET", NULL);
    http_peer_close(f.server.peers, false);
    while (f.server.open > 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    http_do(&second, "POST", "x");
    assert_int_equal(second.sent, HTTP_ANSWERED);
    assert_true(second.new_link);
    http_forget(&first);
    http_forget(&second);
    http_teardown(&f);
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
    http_setup(&f, &ok_act, 1);
    snprintf(f.url, sizeof f.url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    http_do(&o, "POST", "x");
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    assert_string_equal(o.err.rule, "connect_failed");
    assert_int_equal(o.sent_ms, 0);
    close(fd);
    http_teardown(&f);
}

static void test_no_such_host(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    http_setup(&f, &ok_act, 1);
    snprintf(f.url, sizeof f.url, "http://nowhere.invalid/"); /* RFC 6761: never resolves */
    http_do(&o, "POST", "x");
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    http_teardown(&f);
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

        http_setup(&f, &rows[i].act, 1);
        http_begin(&o, &(struct http_call){.method = "GET", .url = f.url, .total_timeout_ms = 150});
        http_wait_for(&o);
        assert_int_equal(o.sent, rows[i].answered ? HTTP_ANSWERED : HTTP_MAYBE_SENT);
        if (!rows[i].answered) {
            assert_string_equal(o.err.rule, "timeout");
            assert_true(clock_boot_ms() - began >= 150);
        }
        http_forget(&o);
        http_teardown(&f);
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
    http_setup(&f, &ok_act, 1);
    snprintf(f.url, sizeof f.url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    http_begin(&o, &(struct http_call){.method = "POST", .url = f.url, .connect_timeout_ms = 100});
    http_wait_for(&o);
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    assert_string_equal(o.err.rule, "connect_timeout");
    for (size_t i = 0; i < ARRAY_LEN(fill); i++)
        close(fill[i]);
    close(fd);
    http_teardown(&f);
}

/* ---- refusals ---- */

static void test_address_refused(void **state)
{
    struct fixture f;
    struct outcome dialled = {.f = &f, .refuse_address_at = 1}, good = {.f = &f};
    struct outcome kept = {.f = &f, .refuse_address_at = 1};

    (void)state;
    http_setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    http_do(&dialled, "POST", "x");
    assert_int_equal(dialled.sent, HTTP_NOT_SENT);
    assert_int_equal(dialled.err.code, ERR_DENIED);
    assert_string_equal(dialled.err.rule, "address_not_allowed");
    assert_int_equal(f.server.links, 0);
    http_do(&good, "GET", NULL);
    assert_int_equal(good.sent, HTTP_ANSWERED);
    http_do(&kept, "POST", "x"); /* the link is there, but its address is not for this one */
    assert_int_equal(kept.sent, HTTP_NOT_SENT);
    assert_string_equal(kept.err.rule, "address_not_allowed");
    assert_false(kept.new_link);
    assert_int_equal(f.server.act_next, 1); /* only the good one arrived */
    http_forget(&good);
    http_teardown(&f);
}

static void test_before_send_refuses(void **state)
{
    struct fixture f;
    struct outcome fresh = {.f = &f, .refuse_send_at = 1}, good = {.f = &f};
    struct outcome kept = {.f = &f, .refuse_send_at = 1};

    (void)state;
    http_setup(&f, ok_acts, ARRAY_LEN(ok_acts));
    http_do(&fresh, "POST", "x");
    assert_int_equal(fresh.sent, HTTP_NOT_SENT);
    assert_int_equal(fresh.err.code, ERR_LOST);
    assert_string_equal(fresh.err.rule, "lease_lost");
    http_do(&good, "GET", NULL);
    http_do(&kept, "POST", "x");
    assert_int_equal(kept.sent, HTTP_NOT_SENT);
    assert_int_equal(kept.err.code, ERR_LOST);
    assert_int_equal(f.server.act_next, 1);
    http_forget(&good);
    http_teardown(&f);
}

/* ---- cancelling ---- */

static void test_cancel_at_once(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    http_setup(&f, &ok_act, 1);
    http_begin(&o, &(struct http_call){.method = "GET", .url = f.url});
    http_cancel(o.rq);
    http_cancel(o.rq);            /* twice is once */
    assert_int_equal(o.calls, 0); /* later */
    http_wait_for(&o);
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_CANCELLED);
    assert_int_equal(f.server.links, 0);
    assert_int_equal(http_in_flight(f.http), 0);
    http_teardown(&f);
}

static void test_cancel_in_questions(void **state)
{
    struct fixture f;
    struct outcome dialling = {.f = &f, .cancel_address_at = 1};
    struct outcome sending = {.f = &f, .cancel_send_at = 1};

    (void)state;
    http_setup(&f, &ok_act, 1);
    http_do(&dialling, "POST", "x");
    assert_int_equal(dialling.sent, HTTP_NOT_SENT);
    assert_int_equal(dialling.err.code, ERR_CANCELLED);
    http_do(&sending, "POST", "x");
    assert_int_equal(sending.err.code, ERR_CANCELLED);
    assert_int_equal(sending.sent, HTTP_NOT_SENT);
    assert_int_equal(f.server.act_next, 0);
    http_teardown(&f);
}

static void test_cancel_after_sending(void **state)
{
    static const struct act acts[] = {SAY(NULL, KEEP),
                                      SAY(OK_HEAD "Content-Length: 9\r\n\r\nok", KEEP)};
    struct fixture f;

    (void)state;
    http_setup(&f, acts, 2);
    for (int i = 0; i < 2; i++) { /* waiting for the answer; in the middle of it */
        struct outcome o = {.f = &f};

        http_begin(&o, &(struct http_call){.method = "GET", .url = f.url});
        while (f.server.act_next == (size_t)i || (i == 1 && o.rq->body.len < 2))
            uv_run(&f.loop, UV_RUN_ONCE);
        http_cancel(o.rq);
        http_wait_for(&o);
        assert_int_equal(o.sent, HTTP_MAYBE_SENT);
        assert_int_equal(o.err.code, ERR_CANCELLED);
    }
    http_teardown(&f);
}

static void test_cancel_in_callback(void **state)
{
    static const struct act acts[] = {SAY(NULL, KEEP),
                                      SAY(OK_HEAD "Content-Length: 0\r\n\r\n", KEEP)};
    struct fixture f;
    struct outcome waits = {.f = &f}, ends = {.f = &f, .cancel_in_callback = &waits};

    (void)state;
    http_setup(&f, acts, 2);
    http_begin(&waits, &(struct http_call){.method = "GET", .url = f.url});
    while (f.server.act_next == 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    http_do(&ends, "GET", NULL);
    http_wait_for(&waits);
    assert_int_equal(waits.err.code, ERR_CANCELLED);
    assert_int_equal(ends.sent, HTTP_ANSWERED);
    http_forget(&ends);
    http_teardown(&f);
}

static void test_start_in_callback(void **state)
{
    struct fixture f;
    struct outcome second = {.f = &f}, first = {.f = &f, .again = &second};

    (void)state;
    http_setup(&f, ok_acts, 2);
    http_do(&first, "GET", NULL);
    http_wait_for(&second);
    assert_string_equal(first.body, "ok");
    assert_string_equal(second.body, "ok");
    http_forget(&first);
    http_forget(&second);
    http_teardown(&f);
}

static void test_free_in_callback(void **state)
{
    static const struct act acts[] = {SAY(NULL, KEEP),
                                      SAY(OK_HEAD "Content-Length: 0\r\n\r\n", KEEP)};
    struct fixture f;
    struct outcome waits = {.f = &f}, ends = {.f = &f, .free_in_callback = true};
    struct outcome cancelled = {.f = &f};

    (void)state;
    http_setup(&f, acts, 2);
    http_begin(&waits, &(struct http_call){.method = "GET", .url = f.url});
    while (f.server.act_next == 0)
        uv_run(&f.loop, UV_RUN_ONCE);
    http_begin(&ends, &(struct http_call){.method = "GET", .url = f.url});
    http_begin(&cancelled, &(struct http_call){.method = "GET", .url = f.url});
    http_cancel(cancelled.rq);
    http_wait_for(&ends);
    assert_int_equal(waits.calls, 1);
    assert_int_equal(waits.sent, HTTP_MAYBE_SENT);
    assert_int_equal(cancelled.calls, 1);
    http_teardown(&f);
}

static void test_free_while_resolving(void **state)
{
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    http_setup(&f, &ok_act, 1);
    http_begin(&o, &(struct http_call){.method = "GET", .url = "http://nowhere.invalid/"});
    uv_run(&f.loop, UV_RUN_NOWAIT);
    http_free(f.http);
    f.http = NULL;
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    http_free(NULL);
    http_teardown(&f);
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
    http_setup(&f, &ok_act, 1);
    http_begin(&o, &(struct http_call){.method = "GET",
                                       .url = f.url,
                                       .secret = {SLICE_LIT("Authorization"), slice_cstr(token)}});
    slot = o.rq;
    len = slot->text_len;
    assert_true(memory_has(slot->text, len, token)); /* so the check below can fail */
    http_wait_for(&o);
    assert_true(memory_has(f.server.got.ptr, f.server.got.len, token));
    assert_ptr_equal(slot, f.http->free_slots);
    assert_non_null(slot->text);
    assert_false(memory_has(slot->text, len, "s3cr3t"));
    assert_false(memory_has(slot, sizeof *slot, "s3cr3t"));
    http_forget(&o);
    http_teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Requests and answers (http_rig.h). */
#include "common/http_inside.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/http_rig.h"

/* ---- answers ---- */

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
        /* of what was too much, the head is known: all but the interim answers begin so */
        int head = strstr(c->body, "_too_big") && strstr(c->act.reply, OK_HEAD) ? 200 : 0;
        const char *got;

        http_setup(&f, &c->act, 1);
        http_do(&o, c->method, strcmp(c->method, "POST") == 0 ? "the body" : NULL);
        got = o.sent == HTTP_ANSWERED ? (o.body ? o.body : "") : o.err.rule;
        if (o.status != c->status || strcmp(got, c->body) != 0)
            fail_msg("%s: got %d %.40s (%s), want %d %s", c->why, o.status, got, o.err.msg,
                     c->status, c->body);
        if (o.sent != (c->status > 0 ? HTTP_ANSWERED : HTTP_MAYBE_SENT))
            fail_msg("%s: sent is %d", c->why, o.sent);
        if (o.head_status != head)
            fail_msg("%s: the head's status is %d", c->why, o.head_status);
        assert_int_equal(o.answered_ms > 0, c->status + head > 0);
        assert_true(o.sent_ms > 0);
        assert_int_equal(f.server.links, 1); /* a new link is never tried twice */
        assert_int_equal(o.sends, 1);
        assert_null(strchr(o.err.msg, '\x01')); /* no garbage in a text for people */
        assert_null(strstr(o.err.msg, "/x"));   /* nor a path */
        http_forget(&o);
        http_teardown(&f);
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
    http_setup(&f, &act, 1);
    http_do(&o, "GET", NULL);
    assert_int_equal(o.sent, HTTP_ANSWERED);
    assert_string_equal(o.headers, "Content-Length=0;X-A=one;x-a=two;Empty=;Folded=a b;");
    assert_true(slice_is(http_header_get(&r, "X-a"), "one")); /* the first, in any case */
    assert_int_equal(http_header_get(&r, "X").len, 0);
    http_forget(&o);
    http_teardown(&f);
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
    http_setup(&f, &act, 1);
    http_begin(&o, &(struct http_call){.method = "GET", .url = f.url, .max_body_bytes = 1000});
    http_wait_for(&o);
    assert_int_equal(o.sent, HTTP_MAYBE_SENT);
    assert_int_equal(o.err.code, ERR_FORMAT);
    assert_string_equal(o.err.rule, "answer_too_big");
    http_teardown(&f);
}

/* ---- what goes out ---- */

static void expect_request(struct fixture *f, const struct http_call *call, const char *want)
{
    struct outcome o = {.f = f};
    char text[1024];

    http_begin(&o, call);
    http_wait_for(&o);
    assert_int_equal(o.sent, HTTP_ANSWERED);
    snprintf(text, sizeof text, want, f->server.port);
    assert_string_equal(f->server.got.ptr, text);
    http_forget(&o);
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
    http_setup(&f, ok_acts, ARRAY_LEN(ok_acts));
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
    http_teardown(&f);
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
    http_setup(&f, &ok_act, 1);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_call c = rows[i].call;
        struct err err = {0};

        c.url = c.url ? c.url : f.url;
        assert_null(http_start(f.http, &c, http_on_result, NULL, &err));
        assert_int_equal(err.code, ERR_FORMAT);
        assert_string_equal(err.rule, rows[i].rule);
    }
    assert_int_equal(http_in_flight(f.http), 0);
    http_teardown(&f);
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
    http_setup(&f, &ok_act, 1);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct outcome o = {.f = &f};
        const char *port = strstr(urls[i], "%d");
        char url[100];

        snprintf(url, sizeof url, "%s", urls[i]);
        if (port)
            snprintf(url + (port - urls[i]), 20, "%d/", f.server.port);
        http_begin(&o, &(struct http_call){.method = "GET", .url = url});
        http_wait_for(&o);
        if (o.sent != HTTP_NOT_SENT || o.err.code != ERR_FORMAT ||
            strcmp(o.err.rule, "url_invalid") != 0 || o.sends > 0 || o.addresses > 0)
            fail_msg("%s: sent %d, %s", url, o.sent, o.err.msg);
        assert_null(strstr(o.err.msg, "u:p"));
    }
    assert_int_equal(f.server.links, 0);
    http_teardown(&f);
}

static void test_slots(void **state)
{
    static const struct act silent[8] = {SAY(NULL, KEEP)};
    struct fixture f;
    struct outcome o[8];
    struct err err = {0};

    (void)state;
    http_setup(&f, silent, 8);
    for (int i = 0; i < 8; i++) {
        o[i] = (struct outcome){.f = &f};
        http_begin(&o[i], &(struct http_call){.method = "GET", .url = f.url});
    }
    assert_int_equal(http_in_flight(f.http), 8);
    assert_null(http_start(f.http, &(struct http_call){.method = "GET", .url = f.url},
                           http_on_result, &o[0], &err));
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
    http_teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),       cmocka_unit_test(test_headers_of_the_answer),
        cmocka_unit_test(test_gzip_bomb),     cmocka_unit_test(test_requests),
        cmocka_unit_test(test_refused_calls), cmocka_unit_test(test_bad_urls),
        cmocka_unit_test(test_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

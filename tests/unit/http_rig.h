/*
 * http_rig.h - a server that says exactly what a row tells it to say, and requests to it.
 * Owns    loop, engine and server, from http_setup to http_teardown, which sees that nothing is
 *         left; an outcome owns its body, until http_forget.
 * Thread  the test's.
 * Errors  fails the running cmocka test; one that hangs is ended by SIGALRM.
 */
#ifndef AWQ_TESTS_HTTP_RIG_H
#define AWQ_TESTS_HTTP_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <uv.h>
#include "common/buf.h"
#include "common/http.h"

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
    int status, head_status;
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

#define OK_HEAD "HTTP/1.1 200 OK\r\n"

extern const struct act ok_act, ok_acts[6];
extern const struct http_options plain_options;

void http_peer_close(struct peer *p, bool reset);
void http_server_start(uv_loop_t *loop, struct server *s);
void http_server_stop(struct server *s);
void http_setup(struct fixture *f, const struct act *acts, size_t count);
void http_teardown(struct fixture *f);
void http_on_result(void *owner, const struct http_result *r);
void http_begin(struct outcome *o, const struct http_call *call);
void http_wait_for(struct outcome *o);
void http_forget(struct outcome *o);
void http_do(struct outcome *o, const char *method, const char *body);

#endif

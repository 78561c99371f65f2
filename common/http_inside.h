/*
 * http_inside.h - what the files of the HTTP engine know of each other; nobody else includes it.
 * Owns    as http.h says: http.c the engine and the life of a request, http_slot.c the libcurl
 *         handles that requests take turns with, http_load.c what goes out, http_link.c the links
 *         it goes over, http_answer.c what comes back.
 * Thread  the loop thread only.
 */
#ifndef AWQ_HTTP_INSIDE_H
#define AWQ_HTTP_INSIDE_H

#include <curl/curl.h>
#include <uv.h>
#include "common/http.h"

enum {
    HTTP_KEEP_BYTES = 16 * 1024, /* a slot keeps buffers up to this for its next request */
    HTTP_MAX_POOLS = 64, /* that rest; those in use come on top, no more than there are slots */
};

struct sock;

/* Links and TLS sessions that may be shared: those of one client certificate, or of none. A multi
 * handle and a share each, so that no version of libcurl can hand a link, or a session to resume,
 * that showed one certificate to a request with another: 7.88 compares the certificate of both
 * (Curl_ssl_config_matches), but not its key, and HTTP/2 streams join whatever link it finds. */
struct pool {
    struct http *h;
    char *name; /* of the certificate (x5t#S256); NULL: without one */
    CURLM *multi;
    CURLSH *share;
    uv_timer_t timer;
    unsigned in_flight;
    unsigned draining; /* on the stack: do not close it */
    uint64_t last_used;
    struct pool *next;
};

struct http_request {
    struct http *h;
    struct pool *pool;
    CURL *easy;
    struct http_request *next_free, *next_all, *next_ended;
    bool running;  /* http_start has returned it, its callback has not begun */
    bool attached; /* to its pool's multi handle */
    bool ended;    /* waits in h->ended for its callback */

    http_cb *cb;
    void *owner;
    http_address_ok *address_ok;
    http_before_send *before_send;
    bool idempotent, no_body; /* no_body: HEAD, whose answer has none */
    size_t max_header_bytes;

    /* What goes out: the header lines, one after the other in `text`, wiped afterwards. */
    struct curl_slist *lines;
    size_t line_cap;
    char *text;
    size_t text_len, text_cap;
    char *body_copy;
    char method[16]; /* as last told to `easy` */
    struct client_cert *cert;

    /* What is known */
    bool wrote;  /* the request's first byte may have left */
    bool linked; /* its link is open: when libcurl drops it, it may be kept */
    unsigned tries, opened, refused;
    struct err err;    /* why we ended it ourselves */
    struct err denied; /* what address_ok said */
    char why[CURL_ERROR_SIZE];
    int64_t sent_ms;

    /* The answer: header lines of the last block, each ended by LF */
    struct buf head, body;
    size_t head_seen, head_lines;
    int status;
    bool block_start, head_done, body_began;
    struct http_header *headers;
    size_t header_cap;
};

struct http {
    uv_loop_t *loop;
    unsigned slots, max_links, in_flight;
    char *ca_file, *proxy, *user_agent;
    bool http2, closing;
    unsigned in_curl; /* we are below a libcurl call: no other may be made */
    unsigned handles; /* libuv handles not yet closed */
    uint64_t uses;
    struct pool *pools;
    struct http_request *free_slots, *all, *ended;
    uv_timer_t later; /* calls back what has ended outside a libcurl event */
    struct sock **by_fd;
    size_t fd_cap;
};

/* ---- http.c ---- */

void http_drain(struct pool *p);      /* finish what libcurl says is done */
void http_maybe_free(struct http *h); /* once its last handle is closed */

/* ---- http_slot.c ---- */

struct http_request *http_slot_take(struct http *h); /* NULL when out of memory */
void http_slot_wipe(struct http_request *rq);        /* what went out; nothing of the caller's is
                                                        left in the slot after it */
void http_slot_put(struct http_request *rq);         /* wiped: for the next request */
void http_slot_free(struct http_request *rq);

/* ---- http_load.c ---- */

bool http_call_ok(const struct http_call *c, struct err *err);
bool http_slot_load(struct http_request *rq, struct pool *p, const struct http_call *c);

/* ---- http_link.c ---- */

/* The links of that name, new if need be; NULL: *err says why. */
struct pool *http_pool_get(struct http *h, const char *name, struct err *err);
/* Only when none of its requests is in flight. Its links are closed here. */
void http_pool_close(struct pool *p);

void http_link_close(struct http *h, int fd); /* stop watching it */
bool http_link_ok(struct http_request *rq, const char *ip);
curl_socket_t http_on_open(void *owner, curlsocktype purpose, struct curl_sockaddr *a);
int http_on_close(void *owner, curl_socket_t fd);

/* ---- http_answer.c ---- */

size_t http_on_header(char *ptr, size_t size, size_t count, void *owner);
size_t http_on_body(char *ptr, size_t size, size_t count, void *owner);
void http_judge(struct http_request *rq, CURLcode code, struct http_result *r);

#endif

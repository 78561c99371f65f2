#include "common/http_inside.h"

#include <stdlib.h>
#include <sodium.h>
#include "common/client_cert.h"
#include "common/clock.h"

enum {
    /* Many servers close an idle link after 60 s; one that is a little younger may be closed under
     * our request, and then nobody knows whether it was done. */
    IDLE_LINK_S = 50,
};

/* ---- libcurl asks ---- */

/* Just before the request is written. libcurl repeats a request by itself when a reused link
 * ends without an answer, whatever the method; what was sent may have been done, so a method that
 * is not idempotent must not go out again here (RFC 9110 section 9.2.2). */
static bool may_send(struct http_request *rq, const char *ip)
{
    if (rq->err.code) /* cancelled */
        return false;
    if (rq->wrote && !rq->idempotent)
        return err_rule(&rq->err, ERR_UNKNOWN, "link_lost",
                        "the link ended before an answer came; the request may have been done");
    if (!http_link_ok(rq, ip))
        return false;
    if (rq->before_send && !rq->before_send(rq->owner, &rq->err))
        return false;
    return !rq->err.code; /* its owner may have cancelled while it was asked */
}

static int on_prereq(void *owner, char *ip, char *local_ip, int port, int local_port)
{
    struct http_request *rq = owner;

    (void)local_ip;
    (void)port;
    (void)local_port;
    if (!may_send(rq, ip)) {
        if (!rq->err.code)
            err_set(&rq->err, ERR_CANCELLED, "its owner did not want it sent");
        return CURL_PREREQFUNC_ABORT;
    }
    rq->tries++;
    rq->wrote = rq->linked = true;
    if (rq->sent_ms == 0)
        rq->sent_ms = clock_wall_ms();
    return CURL_PREREQFUNC_OK;
}

/* ---- slots ---- */

/* What never changes from one request to the next. */
static bool easy_options(struct http_request *rq)
{
    struct http *h = rq->h;
    CURL *e = rq->easy;
    bool ok = true;

#define SET(option, value) (ok = curl_easy_setopt(e, option, value) == CURLE_OK && ok)
    SET(CURLOPT_PRIVATE, rq);
    SET(CURLOPT_ERRORBUFFER, rq->why);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROGRESS, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Without it the end of a request waits for getaddrinfo, and the loop with it. */
    SET(CURLOPT_QUICK_EXIT, 1L);
#endif
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L); /* what was checked is what is sent */
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
    SET(CURLOPT_USERAGENT, h->user_agent);
    SET(CURLOPT_MAXAGE_CONN, (long)IDLE_LINK_S);
    SET(CURLOPT_PROXY, h->proxy ? h->proxy : ""); /* "": not even from the environment */
    SET(CURLOPT_NOPROXY, "");
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* no token to a proxy */
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_CAINFO, h->ca_file);
    SET(CURLOPT_CAPATH, NULL);
    SET(CURLOPT_OPENSOCKETFUNCTION, http_on_open);
    SET(CURLOPT_OPENSOCKETDATA, rq);
    SET(CURLOPT_CLOSESOCKETFUNCTION, http_on_close);
    SET(CURLOPT_CLOSESOCKETDATA, h);
    SET(CURLOPT_PREREQFUNCTION, on_prereq);
    SET(CURLOPT_PREREQDATA, rq);
    SET(CURLOPT_HEADERFUNCTION, http_on_header);
    SET(CURLOPT_HEADERDATA, rq);
    SET(CURLOPT_WRITEFUNCTION, http_on_body);
    SET(CURLOPT_WRITEDATA, rq);
    return ok;
}
#undef SET

void http_slot_free(struct http_request *rq)
{
    if (rq->easy)
        curl_easy_cleanup(rq->easy);
    free(rq->lines);
    free(rq->text);
    free(rq->body_copy);
    free(rq->headers);
    buf_deinit(&rq->head);
    buf_deinit(&rq->body);
    free(rq);
}

static struct http_request *slot_new(struct http *h)
{
    struct http_request *rq = calloc(1, sizeof *rq);

    if (!rq)
        return NULL;
    rq->h = h;
    rq->easy = curl_easy_init();
    if (!rq->easy || !easy_options(rq)) {
        http_slot_free(rq);
        return NULL;
    }
    rq->next_all = h->all;
    h->all = rq;
    return rq;
}

/* The one used last comes first: its memory is warm, and the others need not exist. */
struct http_request *http_slot_take(struct http *h)
{
    struct http_request *rq = h->free_slots;

    if (!rq)
        return slot_new(h);
    h->free_slots = rq->next_free;
    return rq;
}

static void trim(struct buf *b)
{
    if (b->cap > HTTP_KEEP_BYTES)
        buf_deinit(b);
    else
        buf_clear(b);
}

void http_slot_wipe(struct http_request *rq)
{
    if (rq->easy) {
        curl_easy_setopt(rq->easy, CURLOPT_HTTPHEADER, NULL);
        curl_easy_setopt(rq->easy, CURLOPT_POSTFIELDS, NULL);
        curl_easy_setopt(rq->easy, CURLOPT_SSLCERT_BLOB, NULL);
        curl_easy_setopt(rq->easy, CURLOPT_SSLKEY_BLOB, NULL);
    }
    if (rq->text)
        sodium_memzero(rq->text, rq->text_len);
    rq->text_len = 0;
    if (rq->text_cap > HTTP_KEEP_BYTES) {
        free(rq->text);
        rq->text = NULL;
        rq->text_cap = 0;
    }
    free(rq->body_copy);
    rq->body_copy = NULL;
    client_cert_unref(rq->cert);
    rq->cert = NULL;
}

void http_slot_put(struct http_request *rq)
{
    trim(&rq->head);
    trim(&rq->body);
    if (rq->header_cap > 100) {
        free(rq->headers);
        rq->headers = NULL;
        rq->header_cap = 0;
    }
    rq->next_free = rq->h->free_slots;
    rq->h->free_slots = rq;
}

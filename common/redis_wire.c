#include "common/redis_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <hiredis/hiredis.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <uv.h>
#include "common/buf.h"
#include "common/redis_arena.h"
#include "common/redis_tls.h"

#define OUT_MAX      ((size_t)256 << 20) /* bytes that may wait to be written */
#define OUT_KEEP     ((size_t)1 << 20)   /* a bigger buffer is given back once it is empty */
#define READ_CHUNK   65536
#define READS_A_TURN 8 /* others on the loop want their turn too */
#define READER_KEEP  ((size_t)256 << 10)

struct redis_wire {
    uv_poll_t poll;
    uv_idle_t flush; /* runs once before the loop waits again, so a turn's commands go together */
    int closing;     /* handles whose close callback is still to come */
    int fd;
    SSL *ssl;
    struct redis_arena *arena; /* holds what the reader reads */
    redisReader *reader;
    const char *where;
    const struct redis_wire_events *on;
    void *owner;
    struct buf out;
    size_t out_sent; /* of out */
    uint64_t queued, written, trips;
    bool is_open, closed, secret;
    bool blocked; /* the socket is full (or TLS wants to write): wait for UV_WRITABLE */
};

static void on_poll(uv_poll_t *p, int status, int events);
static void read_in(struct redis_wire *w);

static void on_closed(uv_handle_t *h)
{
    struct redis_wire *w = h->data;

    if (--w->closing > 0)
        return;
    redis_arena_free(w->arena); /* only now: who closed the wire may be looking at a reply */
    free(w);
}

void redis_wire_close(struct redis_wire *w)
{
    if (!w || w->closed)
        return;
    w->closed = true;
    w->closing = 2;
    uv_close((uv_handle_t *)&w->poll, on_closed);
    uv_close((uv_handle_t *)&w->flush, on_closed);
    SSL_free(w->ssl);
    close(w->fd);
    redisReaderFree(w->reader);
    if (w->secret)
        buf_wipe(&w->out);
    else
        buf_deinit(&w->out);
}

static void gone(struct redis_wire *w, const struct err *err)
{
    redis_wire_close(w);
    w->on->gone(w->owner, err);
}

static void gone_because(struct redis_wire *w, const char *why)
{
    struct err err;

    err_set(&err, ERR_UNREACHABLE, "redis at %s: %s", w->where, why);
    gone(w, &err);
}

static void watch(struct redis_wire *w)
{
    uv_poll_start(&w->poll, UV_READABLE | (w->blocked ? UV_WRITABLE : 0), on_poll);
}

static void block(struct redis_wire *w, bool blocked)
{
    if (w->blocked == blocked)
        return;
    w->blocked = blocked;
    watch(w);
}

/* What a TLS call wants when it could not go on. False: it failed, and the wire is gone. */
static bool tls_waits(struct redis_wire *w, int rc)
{
    struct err err;

    switch (SSL_get_error(w->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return true;
    case SSL_ERROR_WANT_WRITE:
        block(w, true);
        return true;
    default:
        redis_tls_fail(w->ssl, rc, w->where, &err);
        gone(w, &err);
        return false;
    }
}

/* ---- writing ---- */

/* A server that throws us out says why before it closes (too many clients, a TLS alert); our write
 * hears of the closing first. What it said is still there to be read. */
static void write_failed(struct redis_wire *w, const struct err *err)
{
    struct err first = *err;

    read_in(w);
    if (!w->closed)
        gone(w, &first);
}

static ssize_t write_tls(struct redis_wire *w, const char *ptr, size_t len)
{
    struct err err;
    int n;

    ERR_clear_error();
    n = SSL_write(w->ssl, ptr, len > INT32_MAX ? INT32_MAX : (int)len);
    if (n > 0)
        return n;
    if (SSL_get_error(w->ssl, n) != SSL_ERROR_SYSCALL)
        return tls_waits(w, n) ? 0 : -1;
    redis_tls_fail(w->ssl, n, w->where, &err);
    write_failed(w, &err);
    return -1;
}

/* Bytes written; 0 when the socket is full; -1 when the wire is gone. */
static ssize_t write_some(struct redis_wire *w, const char *ptr, size_t len)
{
    struct err err;
    ssize_t n;

    if (w->ssl)
        return write_tls(w, ptr, len);
    do {
        n = send(w->fd, ptr, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return n;
    if (errno == EAGAIN) {
        block(w, true);
        return 0;
    }
    err_set(&err, ERR_UNREACHABLE, "redis at %s: %s", w->where, strerror(errno));
    write_failed(w, &err);
    return -1;
}

static void empty_out(struct redis_wire *w)
{
    w->out_sent = 0;
    if (w->secret)
        buf_wipe(&w->out);
    else if (w->out.cap > OUT_KEEP)
        buf_deinit(&w->out);
    else
        buf_clear(&w->out);
    w->secret = false;
}

static void flush_out(struct redis_wire *w)
{
    bool wrote = false;
    ssize_t n;

    block(w, false);
    while (w->out_sent < w->out.len) {
        n = write_some(w, w->out.ptr + w->out_sent, w->out.len - w->out_sent);
        if (n <= 0)
            return;
        w->trips += wrote ? 0 : 1; /* several rounds here are one trip: nobody was waited for */
        wrote = true;
        w->out_sent += (size_t)n;
        w->written += (size_t)n;
    }
    empty_out(w);
}

static void on_flush(uv_idle_t *idle)
{
    struct redis_wire *w = idle->data;

    uv_idle_stop(idle);
    if (!w->is_open && !w->ssl) { /* a plain socket is open as soon as it is connected */
        w->is_open = true;
        w->on->open(w->owner);
    } else if (w->is_open && !w->blocked) {
        flush_out(w);
    }
}

void redis_wire_kick(struct redis_wire *w)
{
    uv_idle_start(&w->flush, on_flush);
}

void redis_wire_is_secret(struct redis_wire *w)
{
    w->secret = true;
}

/* ---- reading ---- */

static void take_replies(struct redis_wire *w)
{
    void *reply = NULL;

    while (!w->closed) {
        if (redisReaderGetReply(w->reader, &reply) != REDIS_OK) {
            gone_because(w, "its answer is not the Redis protocol (does it want TLS, rediss://?)");
            return;
        }
        if (!reply)
            return;
        w->on->reply(w->owner, reply);
        redis_arena_clear(w->arena);
    }
}

/* Bytes read; 0 when there are none now; -1 when the wire is gone. */
static ssize_t read_some(struct redis_wire *w, char *chunk, size_t size)
{
    ssize_t n;

    if (w->ssl) {
        ERR_clear_error();
        n = SSL_read(w->ssl, chunk, (int)size);
        if (n <= 0)
            return tls_waits(w, (int)n) ? 0 : -1;
        return n;
    }
    n = recv(w->fd, chunk, size, 0);
    if (n > 0)
        return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    gone_because(w, n == 0 ? "Redis closed the link" : strerror(errno));
    return -1;
}

/* What does not fit into a turn comes with the next: the poll is level-triggered. That holds for
 * TLS too, as a chunk takes more than one whole record, so OpenSSL keeps nothing back. */
static void read_in(struct redis_wire *w)
{
    char chunk[READ_CHUNK];
    ssize_t n = 0;

    for (int i = 0; i < READS_A_TURN && !w->closed; i++) {
        n = read_some(w, chunk, sizeof chunk);
        if (n <= 0)
            return;
        if (redisReaderFeed(w->reader, chunk, (size_t)n) != REDIS_OK) {
            gone_because(w, "no memory for its answer");
            return;
        }
        take_replies(w);
        if (!w->ssl && (size_t)n < sizeof chunk)
            return;
    }
}

static void shake_hands(struct redis_wire *w)
{
    int rc;

    block(w, false);
    ERR_clear_error();
    rc = SSL_do_handshake(w->ssl);
    if (rc == 1) {
        w->is_open = true;
        w->on->open(w->owner);
    } else {
        tls_waits(w, rc);
    }
}

/* libuv says EBADF for every socket error and stops polling; the socket knows the real one.
 * What the server had to say before it left is still there to be read. */
static void broken(struct redis_wire *w, int status)
{
    int error = 0;
    socklen_t len = sizeof error;

    getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (w->is_open)
        read_in(w);
    else if (w->ssl)
        shake_hands(w);
    if (!w->closed)
        gone_because(w, error ? strerror(error) : uv_strerror(status));
}

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct redis_wire *w = p->data;

    if (status < 0) {
        broken(w, status);
        return;
    }
    if (!w->is_open) {
        if (w->ssl)
            shake_hands(w);
        return;
    }
    if (events & UV_WRITABLE)
        flush_out(w);
    if (!w->closed && (events & UV_READABLE || w->ssl))
        read_in(w);
    if (!w->closed && w->ssl && !w->blocked && w->out_sent < w->out.len)
        redis_wire_kick(w); /* TLS may have had to read before it could write on */
}

/* ---- putting ---- */

static char *put_bulk(char *to, struct slice s)
{
    char digits[24];
    size_t n = sizeof digits, len = s.len;

    do {
        digits[--n] = (char)('0' + len % 10);
        len /= 10;
    } while (len > 0);
    *to++ = '$';
    memcpy(to, digits + n, sizeof digits - n);
    to += sizeof digits - n;
    *to++ = '\r';
    *to++ = '\n';
    if (s.len > 0)
        memcpy(to, s.ptr, s.len);
    to += s.len;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

/* Room in `out`, which stays usable when there is none. */
static bool reserve(struct redis_wire *w, size_t need)
{
    if (w->out_sent > 0 &&
        w->out_sent * 2 > w->out.len) { /* move the unwritten half to the front */
        memmove(w->out.ptr, w->out.ptr + w->out_sent, w->out.len - w->out_sent);
        w->out.len -= w->out_sent;
        w->out_sent = 0;
    }
    if (buf_reserve(&w->out, need))
        return true;
    w->out.failed = false;
    return false;
}

bool redis_wire_put(struct redis_wire *w, struct slice head, size_t argc, const struct slice *argv)
{
    size_t need = head.len;
    char *to;

    for (size_t i = 0; i < argc; i++) {
        if (argv[i].len > OUT_MAX - need || OUT_MAX - need - argv[i].len < 32)
            return false;
        need += argv[i].len + 32;
    }
    if (!reserve(w, need))
        return false;
    to = w->out.ptr + w->out.len;
    if (head.len > 0)
        memcpy(to, head.ptr, head.len);
    to += head.len;
    for (size_t i = 0; i < argc; i++)
        to = put_bulk(to, argv[i]);
    *to = '\0';
    need = (size_t)(to - w->out.ptr) - w->out.len;
    w->out.len += need;
    w->queued += need;
    return true;
}

bool redis_wire_put_raw(struct redis_wire *w, struct slice head, struct slice rest)
{
    if (!reserve(w, head.len + rest.len))
        return false;
    buf_add_slice(&w->out, head);
    buf_add_slice(&w->out, rest);
    w->queued += head.len + rest.len;
    return true;
}

struct slice redis_wire_tail(const struct redis_wire *w, uint64_t from)
{
    size_t len = (size_t)(w->queued - from);

    return slice_of(w->out.ptr + w->out.len - len, len);
}

uint64_t redis_wire_queued(const struct redis_wire *w)
{
    return w->queued;
}

uint64_t redis_wire_written(const struct redis_wire *w)
{
    return w->written;
}

uint64_t redis_wire_trips(const struct redis_wire *w)
{
    return w->trips;
}

/* ---- opening ---- */

struct redis_wire *redis_wire_open(struct uv_loop_s *loop, int fd, struct ssl_st *ssl,
                                   const char *where, const struct redis_wire_events *on,
                                   void *owner, struct err *err)
{
    struct redis_wire *w = calloc(1, sizeof *w);
    struct redis_arena *arena = redis_arena_new();
    redisReader *reader = arena ? redis_arena_reader(arena) : NULL;

    if (!w || !reader || uv_poll_init(loop, &w->poll, fd) != 0) {
        err_set(err, ERR_NOMEM, "redis at %s: no memory for the link", where);
        redisReaderFree(reader);
        redis_arena_free(arena);
        SSL_free(ssl);
        close(fd);
        free(w);
        return NULL;
    }
    uv_idle_init(loop, &w->flush);
    w->poll.data = w->flush.data = w;
    w->fd = fd;
    w->ssl = ssl;
    w->arena = arena;
    w->reader = reader;
    w->reader->maxbuf = READER_KEEP;
    w->where = where;
    w->on = on;
    w->owner = owner;
    buf_init(&w->out, OUT_MAX);
    w->blocked = ssl != NULL; /* a handshake begins with our writing */
    watch(w);
    redis_wire_kick(w);
    return w;
}

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "common/json.h"

#define TAIL ",\"truncated\":true}\n" /* room for it is kept until the line is ended */

/* How to write without ever waiting. */
enum sink {
    SINK_ASK,    /* ask poll(2) first; enough where nobody else writes to the same pipe */
    SINK_OWN,    /* a non-blocking open file description of our own */
    SINK_SOCKET, /* send(2) takes a flag for it */
};

static struct {
    int fd;
    enum sink sink;
    _Atomic int level;
    char service[96], worker[96];
    _Atomic uint64_t dropped; /* since the start */
    _Atomic uint64_t unsaid;  /* dropped, and not yet reported by log.dropped */
    _Atomic bool cut_off;     /* the last write was short: the next line begins with a newline */
} out = {.fd = 1, .level = LOG_INFO};

static const char *const event_names[] = {
#define X(id, name, help) [EV_##id] = name,
#include "common/log_events.h"
#undef X
};

static const char *const level_names[] = {[LOG_DEBUG] = "debug",
                                          [LOG_INFO] = "info",
                                          [LOG_WARN] = "warn",
                                          [LOG_ERROR] = "error",
                                          [LOG_ALWAYS] = "info"};

/* ---- the way out ---- */

static void close_own(void)
{
    if (out.sink == SINK_OWN)
        close(out.fd);
}

void log_set_fd(int fd)
{
    char path[32];
    struct stat st;
    int own;

    close_own();
    out.fd = fd;
    out.sink = SINK_ASK;
    if (fstat(fd, &st) != 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        out.sink = SINK_SOCKET;
        return;
    }
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return;
    /* O_NONBLOCK belongs to the open file description, which stdout shares with the shell and with
     * other programs; so set it on one of our own. Where that is not allowed, ask poll. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own >= 0) {
        out.fd = own;
        out.sink = SINK_OWN;
    }
}

static ssize_t put_now(const char *line, size_t len)
{
    struct pollfd p = {.fd = out.fd, .events = POLLOUT};

    if (out.sink == SINK_SOCKET)
        return send(out.fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (out.sink == SINK_ASK && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))) {
        errno = EAGAIN;
        return -1;
    }
    return write(out.fd, line, len);
}

/* False: not written, or not whole. `line` has room for one byte before it. */
static bool put_line(char *line, size_t len)
{
    ssize_t n;

    if (atomic_load(&out.cut_off)) { /* end the broken line */
        *--line = '\n';
        len++;
    }
    do
        n = put_now(line, len);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        atomic_store(&out.cut_off, (size_t)n < len);
    return n == (ssize_t)len;
}

/* ---- one line ---- */

static void add_time(struct json_writer *w)
{
    char text[40];
    struct timespec now;
    struct tm tm;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, sizeof text - n, ".%06ldZ", now.tv_nsec / 1000);
    jw_key(w, "ts");
    jw_cstr(w, text);
}

static void add_text(struct json_writer *w, const char *key, struct slice s)
{
    char cut[LOG_VALUE_MAX];
    size_t n = sizeof cut - 3;

    jw_key(w, key);
    if (s.len <= sizeof cut) {
        jw_str(w, s);
        return;
    }
    while (n > 0 && ((unsigned char)s.ptr[n] & 0xC0) == 0x80) /* not inside a character */
        n--;
    memcpy(cut, s.ptr, n);
    memcpy(cut + n, "...", 3);
    jw_str(w, slice_of(cut, n + 3));
}

static void add_err(struct json_writer *w, const struct err *err)
{
    jw_key(w, "error_code");
    jw_cstr(w, err_code_name(err->code));
    if (err->rule && err->rule[0]) {
        jw_key(w, "error_rule");
        jw_cstr(w, err->rule);
    }
    add_text(w, "error", slice_cstr(err->msg));
}

static void add_field(struct json_writer *w, const struct log_field *f)
{
    switch (f->kind) {
    case LOG_KIND_STR:
        add_text(w, f->key, f->v.str);
        return;
    case LOG_KIND_INT:
        jw_key(w, f->key);
        jw_int(w, f->v.i);
        return;
    case LOG_KIND_UINT:
        jw_key(w, f->key);
        jw_uint(w, f->v.u);
        return;
    case LOG_KIND_REAL:
        jw_key(w, f->key);
        jw_real(w, f->v.real);
        return;
    case LOG_KIND_BOOL:
        jw_key(w, f->key);
        jw_bool(w, f->v.b);
        return;
    case LOG_KIND_ERR:
        if (f->v.err)
            add_err(w, f->v.err);
        return;
    }
}

static void add_static(struct json_writer *w, enum log_level level, enum log_ev event)
{
    add_time(w);
    jw_key(w, "level");
    jw_cstr(w, level_names[level]);
    jw_key(w, "event");
    jw_cstr(w, event_names[event]);
    if (out.service[0]) {
        jw_key(w, "service");
        jw_cstr(w, out.service);
    }
    if (out.worker[0]) {
        jw_key(w, "worker");
        jw_cstr(w, out.worker);
    }
}

static bool write_line(enum log_level level, enum log_ev event, const struct log_field *fields,
                       size_t count)
{
    char memory[1 + LOG_LINE_MAX + 1]; /* a newline before it, a NUL after */
    /* Never grows: max is below the capacity. */
    struct buf b = {.ptr = memory + 1, .cap = LOG_LINE_MAX, .max = LOG_LINE_MAX - 1 - sizeof TAIL};
    struct json_writer w;
    bool truncated = false;

    jw_init(&w, &b);
    jw_obj(&w);
    add_static(&w, level, event);
    for (size_t i = 0; i < count; i++) {
        struct json_writer before = w;
        size_t len = b.len;

        add_field(&w, &fields[i]);
        if (!buf_ok(&b)) { /* take the half-written field back */
            w = before;
            b.len = len;
            b.failed = false;
            truncated = true;
        }
    }
    b.max = LOG_LINE_MAX - 2;
    buf_add_cstr(&b, truncated ? TAIL : "}\n");
    return put_line(b.ptr, b.len);
}

static void count_dropped(uint64_t n)
{
    atomic_fetch_add(&out.unsaid, n);
}

static bool say_dropped(void)
{
    uint64_t n = atomic_exchange(&out.unsaid, 0);

    if (n == 0)
        return true;
    if (write_line(LOG_WARN, EV_LOG_DROPPED, &(struct log_field)F_UINT("n", n), 1))
        return true;
    count_dropped(n);
    return false;
}

void log_write(enum log_level level, enum log_ev event, const struct log_field *fields,
               size_t count)
{
    if (say_dropped() && write_line(level, event, fields, count))
        return;
    count_dropped(1);
    atomic_fetch_add(&out.dropped, 1);
}

/* ---- settings and names ---- */

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&out.level, memory_order_relaxed);
}

void log_set_level(enum log_level level)
{
    atomic_store(&out.level, (int)level);
}

void log_set_identity(const char *service, const char *worker)
{
    snprintf(out.service, sizeof out.service, "%s", service ? service : "");
    snprintf(out.worker, sizeof out.worker, "%s", worker ? worker : "");
}

uint64_t log_dropped(void)
{
    return atomic_load(&out.dropped);
}

bool log_level_parse(struct slice text, enum log_level *level)
{
    for (size_t i = 0; i < LOG_LEVEL_COUNT; i++) {
        if (slice_is(text, level_names[i])) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

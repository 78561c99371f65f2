/*
 * log.h - what happened, as one JSON line per event on stdout.
 * Owns    the descriptor it writes to, the level, the fields that every line carries.
 * Thread  log_event from any; the log_set_ functions at the start, before there are threads
 *         (log_set_level also later, from the loop thread).
 * Units   ts is RFC 3339 in UTC with microseconds. Numbers carry their unit in their key (took_ms).
 * Errors  none: a line that cannot be written at once (a full pipe, a closed one) is dropped and
 *         counted; the next line that can be written is preceded by log.dropped with the count.
 *         A line is at most LOG_LINE_MAX bytes: long values are cut and end with "...", fields
 *         that do not fit are left out and the line says "truncated":true. A program that logs
 *         to a pipe must ignore SIGPIPE.
 * Source  RFC 3339; pipe(7): writes of up to PIPE_BUF (4096) bytes are not mixed with others'.
 *
 *     log_event(LOG_INFO, EV_JOB_COMMITTED, F_STR("job", name), F_INT("took_ms", took_ms));
 *     log_event(LOG_WARN, EV_REDIS_DOWN, F_CSTR("link", "fetch"), F_ERR(&err));
 *
 * gives  {"ts":"...","level":"info","event":"job.committed","service":"awq-worker",
 *         "worker":"...","job":"r-1.0.0","took_ms":12}
 * Never a token, key, cookie, header value or body. Log where an error is handled, not where it
 * passes.
 */
#ifndef AWQ_LOG_H
#define AWQ_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

#define LOG_LINE_MAX                                                                               \
    4096 /* with its newline: PIPE_BUF, so that lines of several writers stay whole */
#define LOG_VALUE_MAX 1024 /* bytes of one text value */

enum log_level {
    LOG_DEBUG,
    LOG_INFO,
    LOG_WARN,
    LOG_ERROR,
    LOG_ALWAYS, /* written at every level, as "info": what somebody will have to compare with */
    LOG_LEVEL_COUNT
};

/* The closed list of events: names and meanings are in log_events.h. */
enum log_ev {
#define X(id, name, help) EV_##id,
#include "common/log_events.h"
#undef X
};

enum log_kind {
    LOG_KIND_STR,
    LOG_KIND_INT,
    LOG_KIND_UINT,
    LOG_KIND_REAL,
    LOG_KIND_BOOL,
    LOG_KIND_ERR
};

struct log_field {
    enum log_kind kind;
    const char *key;
    union {
        struct slice str;
        int64_t i;
        uint64_t u;
        double real;
        bool b;
        const struct err *err;
    } v;
};

#define F_STR(k, s)                                                                                \
    {                                                                                              \
        .kind = LOG_KIND_STR, .key = (k), .v.str = (s)                                             \
    }
#define F_CSTR(k, s)                                                                               \
    {                                                                                              \
        .kind = LOG_KIND_STR, .key = (k), .v.str = slice_cstr(s)                                   \
    }
#define F_INT(k, n)                                                                                \
    {                                                                                              \
        .kind = LOG_KIND_INT, .key = (k), .v.i = (n)                                               \
    }
#define F_UINT(k, n)                                                                               \
    {                                                                                              \
        .kind = LOG_KIND_UINT, .key = (k), .v.u = (n)                                              \
    }
#define F_REAL(k, n)                                                                               \
    {                                                                                              \
        .kind = LOG_KIND_REAL, .key = (k), .v.real = (n)                                           \
    }
#define F_BOOL(k, x)                                                                               \
    {                                                                                              \
        .kind = LOG_KIND_BOOL, .key = (k), .v.b = (x)                                              \
    }
/* error_code, error_rule (when there is one) and error. */
#define F_ERR(e)                                                                                   \
    {                                                                                              \
        .kind = LOG_KIND_ERR, .key = "error", .v.err = (e)                                         \
    }

/* Write one event with any number of fields. Off levels evaluate nothing but the level. A macro so
 * that the fields can be an array on the stack of the caller, ended by the call itself. */
#define log_event(level, event, ...)                                                               \
    do {                                                                                           \
        if (log_is_on(level)) {                                                                    \
            const struct log_field log_fields_[] = {{.key = NULL}, ##__VA_ARGS__};                 \
            log_write((level), (event), log_fields_ + 1, ARRAY_LEN(log_fields_) - 1);              \
        }                                                                                          \
    } while (0)

bool log_is_on(enum log_level level);
void log_write(enum log_level level, enum log_ev event, const struct log_field *fields,
               size_t count);

void log_set_fd(int fd);                  /* default 1; stays the caller's, who must keep it open */
void log_set_level(enum log_level level); /* default info */
/* Fields of every line; copied, cut to 95 bytes. NULL or "" = leave the field out. */
void log_set_identity(const char *service, const char *worker);
uint64_t log_dropped(void); /* lines dropped since the start */

/* "debug", "info", "warn", "error". False: *out is as it was. */
bool log_level_parse(struct slice text, enum log_level *out);

#endif

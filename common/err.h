/*
 * err.h - the one shape of failure.
 * Owns    nothing: a struct err is the caller's memory, no allocation on the way out.
 * Thread  any.
 * Errors  the code is for programs and says what to DO; `rule` is a fixed short name that tests,
 *         dead letters and ops can rely on (host_not_allowed); msg is for people: what failed, on
 *         which id, what to do. No secret ever goes into msg.
 */
#ifndef AWQ_ERR_H
#define AWQ_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
    ERR_FORMAT,      /* the input is wrong and stays wrong: do not repeat */
    ERR_DENIED,      /* a policy, the egress rules or an ACL say no */
    ERR_CONFIG,      /* a setting or a file must be mended by its owner */
    ERR_NOT_FOUND,   /* no such thing */
    ERR_NOMEM,       /* out of memory, or over a bound that protects it */
    ERR_RETRY,       /* passing trouble, nothing was done: try again with backoff */
    ERR_UNKNOWN,     /* it may or may not have been done: repeat only what is idempotent */
    ERR_LOST,        /* the lease is gone: stop, write nothing */
    ERR_CONSENT,     /* the account must be linked again */
    ERR_UNREACHABLE, /* no link to Redis or to the server */
    ERR_CANCELLED,   /* we are shutting down, or the owner took it back */
};

struct err {
    enum err_code code;
    const char *rule; /* static text, never NULL once set; "" when there is none */
    char msg[256]; /* one line: control characters are '?'; cut with "..." when longer; always valid
                      UTF-8 if the parts were */
};

/* Fill *e (NULL is fine) and return false, so that reporting is one line. */
bool err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with the name of the rule that was broken. `rule` must be static text. */
bool err_rule(struct err *e, enum err_code code, const char *rule, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Put words before a message that a callee wrote: "connection c_1: ...". Returns false. */
bool err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* They answer false, always. Said here once more for compilers and analysers: they see one source
 * at a time, and must know what `return err_set(...)` means to its caller. */
static inline bool err_false_(bool answered)
{
    (void)answered;
    return false;
}
#define err_set(...)    err_false_(err_set(__VA_ARGS__))
#define err_rule(...)   err_false_(err_rule(__VA_ARGS__))
#define err_prefix(...) err_false_(err_prefix(__VA_ARGS__))

const char *err_code_name(enum err_code code); /* "format", "denied", ... for logs and JSON */

#endif

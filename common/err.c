#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Here they are defined, there they are wrapped. */
#undef err_set
#undef err_rule
#undef err_prefix

static void put(char *to, size_t size, const char *fmt, va_list ap)
{
    int n = vsnprintf(to, size, fmt, ap);

    if (n >= (int)size) /* say that it was cut */
        memcpy(to + size - 4, "...", 4);
    /* a part that came from outside may hold anything: a message stays one line */
    for (; *to; to++) {
        if ((unsigned char)*to < ' ' || *to == 0x7f)
            *to = '?';
    }
}

bool err_set(struct err *e, enum err_code code, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return false;
    e->code = code;
    e->rule = "";
    va_start(ap, fmt);
    put(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return false;
}

bool err_rule(struct err *e, enum err_code code, const char *rule, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return false;
    e->code = code;
    e->rule = rule;
    va_start(ap, fmt);
    put(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    return false;
}

bool err_prefix(struct err *e, const char *fmt, ...)
{
    char old[sizeof e->msg];
    va_list ap;
    size_t n;

    if (!e)
        return false;
    memcpy(old, e->msg, sizeof old);
    va_start(ap, fmt);
    put(e->msg, sizeof e->msg, fmt, ap);
    va_end(ap);
    n = strlen(e->msg);
    if (snprintf(e->msg + n, sizeof e->msg - n, "%s", old) >= (int)(sizeof e->msg - n))
        memcpy(e->msg + sizeof e->msg - 4, "...", 4);
    return false;
}

const char *err_code_name(enum err_code code)
{
    static const char *const names[] = {
        [ERR_NONE] = "none",           [ERR_FORMAT] = "format",
        [ERR_DENIED] = "denied",       [ERR_CONFIG] = "config",
        [ERR_NOT_FOUND] = "not_found", [ERR_NOMEM] = "no_memory",
        [ERR_RETRY] = "retry",         [ERR_UNKNOWN] = "unknown_outcome",
        [ERR_LOST] = "lost",           [ERR_CONSENT] = "consent",
        [ERR_CANCELLED] = "cancelled", [ERR_UNREACHABLE] = "unreachable",
    };

    return (size_t)code < sizeof names / sizeof *names && names[code] ? names[code] : "unknown";
}

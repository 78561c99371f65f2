#include "common/awq_inside.h"

#include <stdio.h>

static const enum awq_status status_of[] = {
    [ERR_NONE] = AWQ_OK,
    [ERR_FORMAT] = AWQ_INVALID,
    [ERR_DENIED] = AWQ_REFUSED,
    [ERR_CONFIG] = AWQ_REFUSED,
    [ERR_NOT_FOUND] = AWQ_INVALID,
    [ERR_NOMEM] = AWQ_NOMEM,
    [ERR_RETRY] = AWQ_UNREACHABLE,
    [ERR_UNKNOWN] = AWQ_UNKNOWN,
    [ERR_LOST] = AWQ_INVALID,
    [ERR_CONSENT] = AWQ_INVALID,
    [ERR_UNREACHABLE] = AWQ_UNREACHABLE,
    [ERR_CANCELLED] = AWQ_CLOSED,
};

const char *awq_status_name(enum awq_status status)
{
    static const char *const names[] = {
        [AWQ_OK] = "ok",           [AWQ_DUPLICATE] = "duplicate", [AWQ_FULL] = "full",
        [AWQ_INVALID] = "invalid", [AWQ_TIMEOUT] = "timeout",     [AWQ_UNREACHABLE] = "unreachable",
        [AWQ_UNKNOWN] = "unknown", [AWQ_REFUSED] = "refused",     [AWQ_NOMEM] = "out_of_memory",
        [AWQ_CLOSED] = "closed",
    };

    return (size_t)status < ARRAY_LEN(names) ? names[status] : "?";
}

bool awq_error_set(struct awq_error *to, enum awq_status status, const char *code, const char *text)
{
    if (!to)
        return false;
    to->status = status;
    snprintf(to->code, sizeof to->code, "%s", code);
    snprintf(to->text, sizeof to->text, "%s", text);
    return false;
}

bool awq_error_from(struct awq_error *to, const struct err *err)
{
    return awq_error_set(to, status_of[err->code], err->code == ERR_FORMAT ? err->rule : "",
                         err->msg);
}

bool awq_error_nomem(struct awq_error *err)
{
    return awq_error_set(err, AWQ_NOMEM, "", "out of memory");
}

#include "tools/ctl/checks.h"

#include <stdarg.h>
#include <stdio.h>
#include "tools/ctl/ctl.h"

static const char *const columns[] = {"result", "check", "found", "what_to_do"};

void checks_begin(struct checks *k, struct out *out)
{
    k->out = out;
    k->bad = 0;
    out_list(out, columns, ARRAY_LEN(columns));
}

void checks_add(struct checks *k, enum check_level level, const char *what, const char *advice,
                const char *found, ...)
{
    static const char *const words[] = {
        [CHECK_OK] = "ok", [CHECK_WARN] = "warn", [CHECK_BAD] = "BAD"};
    char text[2048];
    va_list ap;

    va_start(ap, found);
    vsnprintf(text, sizeof text, found, ap);
    va_end(ap);
    k->bad += level == CHECK_BAD;
    out_row(k->out);
    out_cstr(k->out, k->out->json && level == CHECK_BAD ? "bad" : words[level]);
    out_cstr(k->out, what);
    out_cstr(k->out, text);
    out_cstr(k->out, level == CHECK_OK || !advice ? "" : advice);
}

int checks_end(struct checks *k)
{
    out_list_end(k->out, "nothing to check");
    return k->bad > 0 ? CTL_FAILED : CTL_OK;
}

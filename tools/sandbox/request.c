#include "tools/sandbox/request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

size_t request_header(const struct request *r, const char *name, struct slice *value)
{
    size_t found = 0;

    *value = SLICE_NONE;
    for (size_t i = 0; i < r->header_count; i++) {
        if (!slice_eq_nocase(r->headers[i].name, slice_cstr(name)))
            continue;
        if (found++ == 0)
            *value = r->headers[i].value;
    }
    return found;
}

bool request_is(const struct request *r, const char *method)
{
    return slice_is(r->method, method);
}

void reply_init(struct reply *r)
{
    *r = (struct reply){.status = 200, .content_type = "application/json"};
    buf_init(&r->body, REPLY_BODY_MAX_BYTES);
    jw_init(&r->json, &r->body);
}

void reply_deinit(struct reply *r)
{
    if (r)
        buf_wipe(&r->body); /* a token answer holds tokens */
}

void reply_header(struct reply *r, const char *name, struct slice value)
{
    struct reply_header *h;
    size_t len = 0;

    if (r->header_count == REPLY_HEADERS_MAX)
        return;
    h = &r->headers[r->header_count++];
    h->name = name;
    for (; len < value.len && len < sizeof h->value - 1; len++) {
        char c = value.ptr[len];

        h->value[len] = c >= 0x20 && c < 0x7f ? c : '?';
    }
    h->value[len] = '\0';
}

void reply_error(struct reply *r, unsigned status, const char *error, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_clear(&r->body);
    jw_init(&r->json, &r->body);
    r->status = status;
    jw_obj(&r->json);
    jw_key(&r->json, "error");
    jw_cstr(&r->json, error);
    jw_key(&r->json, "error_description");
    jw_cstr(&r->json, text);
    jw_end_obj(&r->json);
}

void reply_wrong_method(struct reply *r, const char *allowed)
{
    reply_error(r, 405, "method_not_allowed", "this route takes %s", allowed);
    reply_header(r, "Allow", slice_cstr(allowed));
}

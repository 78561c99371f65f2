/* What a provider says, in its own way, of limits that were reached: its profile's signals. */
#include <string.h>

#include "worker/step_parts.h"

#define WAIT_MAX_MS ((int64_t)24 * 3600 * 1000)

static bool has_text(const struct buf *body, struct slice text)
{
    size_t len = body->len < PROFILE_BODY_LOOK ? body->len : PROFILE_BODY_LOOK;

    return len > 0 && memmem(body->ptr, len, text.ptr, text.len) != NULL;
}

static bool has_header(const struct http_result *res, const struct limit_signal *l)
{
    for (size_t i = 0; i < res->header_count; i++)
        if (slice_eq_nocase(res->headers[i].name, l->header) &&
            (l->value.len == 0 || slice_eq_nocase(slice_trim(res->headers[i].value), l->value)))
            return true;
    return false;
}

static bool holds(const struct limit_signal *l, const struct http_result *res)
{
    return (l->status == 0 || l->status == res->status) &&
           (l->header.len == 0 || has_header(res, l)) &&
           (l->body.len == 0 || has_text(res->body, l->body));
}

static struct slice header_of(const struct http_result *res, struct slice name)
{
    for (size_t i = 0; i < res->header_count; i++)
        if (slice_eq_nocase(res->headers[i].name, name))
            return slice_trim(res->headers[i].value);
    return SLICE_NONE;
}

/* What is absurd is not believed: a lane that is shut for years is lost work. */
static int64_t wait_of(const struct limit_signal *l, const struct http_result *res, int64_t now)
{
    struct slice value = header_of(res, l->wait_header);
    int64_t n = 0;

    if (!slice_to_i64(slice_sub(value, 0, slice_find(value, '.')), &n) || n <= 0 ||
        n > INT64_MAX / 1000)
        return 0;
    if (l->wait_kind == WAIT_SECONDS || l->wait_kind == WAIT_EPOCH)
        n *= 1000;
    if (l->wait_kind == WAIT_EPOCH || l->wait_kind == WAIT_EPOCH_MS)
        n -= now;
    return n <= 0 ? 0 : n < WAIT_MAX_MS ? n : WAIT_MAX_MS;
}

bool step_is_too_much(const struct step *s, const struct http_result *res, int64_t *wait_ms)
{
    const struct profile *p = &s->conn->cfg->profile;

    *wait_ms = 0;
    if (s->drop_token) /* another site's words are no limits of this connection */
        return false;
    for (size_t i = 0; i < p->signal_count; i++) {
        if (!holds(&p->signals[i], res))
            continue;
        *wait_ms = wait_of(&p->signals[i], res, worker_now_ms(s->w));
        return true;
    }
    return false;
}

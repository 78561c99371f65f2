#include "common/ratelimit.h"

#include <stdbool.h>

#define EPOCH_S  1000000000    /* from here on a reset is a Unix time: 2001 */
#define EPOCH_MS 1000000000000 /* and from here on one in milliseconds */

void ratelimit_note(struct ratelimit *l, struct slice name, struct slice value)
{
    const struct {
        const char *name;
        struct slice *to;
    } known[] = {
        {"RateLimit", &l->limits},
        {"RateLimit-Policy", &l->policy},
        {"RateLimit-Remaining", &l->remaining},
        {"RateLimit-Reset", &l->reset},
        {"X-RateLimit-Remaining", &l->remaining},
        {"X-RateLimit-Reset", &l->reset},
        {"X-Rate-Limit-Remaining", &l->remaining},
        {"X-Rate-Limit-Reset", &l->reset},
    };
    char first = name.len >= sizeof "RateLimit" - 1 ? (char)(name.ptr[0] | 0x20) : '\0';

    if (first != 'r' && first != 'x')
        return;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (known[i].to->len == 0 && slice_eq_nocase(name, slice_cstr(known[i].name)))
            *known[i].to = slice_trim(value);
    }
}

/* The part before the next `sep` that stands in no string (RFC 9651 section 3.3.3). */
static bool cut(struct slice *s, char sep, struct slice *part)
{
    bool quoted = false;
    size_t n = 0;

    if (s->len == 0)
        return false;
    for (; n < s->len && (quoted || s->ptr[n] != sep); n++) {
        if (s->ptr[n] == '"')
            quoted = !quoted;
        else if (quoted && s->ptr[n] == '\\')
            n++;
    }
    *part = slice_trim(slice_sub(*s, 0, n));
    *s = slice_sub(*s, n + 1, s->len);
    return true;
}

static bool number(struct slice pair, const char *key, uint64_t *to)
{
    size_t at = slice_find(pair, '=');

    return at < pair.len && slice_is(slice_sub(pair, 0, at), key) &&
           slice_to_u64(slice_sub(pair, at + 1, pair.len), to);
}

static bool parameter(struct slice item, const char *key, uint64_t *to)
{
    struct slice part;

    while (cut(&item, ';', &part)) {
        if (number(part, key, to))
            return true;
    }
    return false;
}

static int64_t bounded(uint64_t seconds)
{
    return seconds < (uint64_t)RATELIMIT_MAX_MS / 1000 ? (int64_t)seconds * 1000 : RATELIMIT_MAX_MS;
}

/* No time with it: the whole window of its policy, at the most. */
static int64_t window_ms(struct slice policy, struct slice name)
{
    struct slice item;
    uint64_t w = 0;

    while (cut(&policy, ',', &item)) {
        struct slice rest = item, this;

        if (cut(&rest, ';', &this) && slice_eq(this, name) && parameter(rest, "w", &w))
            return bounded(w);
    }
    return 0;
}

static int64_t of_items(const struct ratelimit *l)
{
    struct slice list = l->limits, item;
    int64_t wait = 0;

    while (cut(&list, ',', &item)) {
        struct slice rest = item, name;
        uint64_t left = 1, t = 0;
        int64_t ms;

        if (!cut(&rest, ';', &name) || !parameter(rest, "r", &left) || left > 0)
            continue;
        ms = parameter(rest, "t", &t) ? bounded(t) : window_ms(l->policy, name);
        wait = ms > wait ? ms : wait;
    }
    return wait;
}

/* remaining=0, reset=30 */
static int64_t of_dictionary(const struct ratelimit *l)
{
    struct slice list = l->limits, member;
    uint64_t left = 1, reset = 0;

    while (cut(&list, ',', &member)) {
        (void)(number(member, "remaining", &left) || number(member, "reset", &reset));
    }
    return left == 0 ? bounded(reset) : 0;
}

static int64_t of_two_fields(const struct ratelimit *l, int64_t now_ms)
{
    struct slice whole = slice_sub(l->reset, 0, slice_find(l->reset, '.'));
    uint64_t left = 1, reset = 0;
    int64_t ms;

    if (!slice_to_u64(l->remaining, &left) || left > 0 || !slice_to_u64(whole, &reset))
        return 0;
    if (reset < EPOCH_S)
        return bounded(reset);
    if (reset > INT64_MAX / 1000)
        return RATELIMIT_MAX_MS;
    ms = (int64_t)(reset < EPOCH_MS ? reset * 1000 : reset) - now_ms;
    return ms < 0 ? 0 : ms < RATELIMIT_MAX_MS ? ms : RATELIMIT_MAX_MS;
}

int64_t ratelimit_wait_ms(const struct ratelimit *l, int64_t now_ms)
{
    int64_t wait = 0;

    if (l->limits.len > 0)
        wait = of_items(l);
    if (l->limits.len > 0 && wait == 0)
        wait = of_dictionary(l);
    return wait > 0 ? wait : of_two_fields(l, now_ms);
}

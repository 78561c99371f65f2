/* What HTTP says in text: methods, names and values of headers, dates. No library but libc. */
#include "common/http.h"

#include <string.h>
#include "common/char.h"

/* ---- words and values ---- */

static bool is_tchar(char c)
{
    return char_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_tchar(s.ptr[i]))
            return false;
    }
    return s.len > 0;
}

static bool is_value_byte(unsigned char c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

/* Eight bytes at once, since tokens are long: does any of them look like a control? May say yes
 * wrongly (a tab, a byte after a control), never no. */
static bool may_have_control(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
    uint64_t below_20 = (x - ones * 0x20) & ~x, del = x ^ ones * 0x7f;

    return ((below_20 | ((del - ones) & ~del)) & highs) != 0;
}

bool http_is_header_value(struct slice s)
{
    size_t i = 0;

    while (i < s.len) {
        uint64_t x;

        if (s.len - i >= sizeof x) {
            memcpy(&x, s.ptr + i, sizeof x);
            if (!may_have_control(x)) {
                i += sizeof x;
                continue;
            }
        }
        if (!is_value_byte((unsigned char)s.ptr[i++]))
            return false;
    }
    return true;
}

bool http_method_is_idempotent(struct slice method)
{
    static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_is(method, names[i]))
            return true;
    }
    return false;
}

struct slice http_header_get(const struct http_result *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (slice_eq_nocase(r->headers[i].name, slice_cstr(name)))
            return r->headers[i].value;
    }
    return SLICE_NONE;
}

/* ---- dates ---- */

struct date {
    int64_t year;
    int month, day, hour, minute, second; /* month 1-12 */
};

/* Match `s` against a pattern: Y four digits, D two, d two or blank and one, M a month name,
 * W a short and L a long day name, y two digits of a year; all else is itself. */
static bool take_digits(struct slice *s, size_t n, int *out)
{
    uint64_t v;

    if (s->len < n || !slice_to_u64(slice_sub(*s, 0, n), &v))
        return false;
    *out = (int)v;
    *s = slice_sub(*s, n, s->len);
    return true;
}

static bool take_name(struct slice *s, const char *const *names, size_t count, int *out)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_starts(*s, slice_cstr(names[i]))) {
            *out = (int)i;
            *s = slice_sub(*s, strlen(names[i]), s->len);
            return true;
        }
    }
    return false;
}

static bool take_text(struct slice *s, const char *text)
{
    int ignored;

    return take_name(s, &text, 1, &ignored);
}

static const char *const short_days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char *const long_days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                        "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

static bool take_month(struct slice *s, struct date *d)
{
    if (!take_name(s, months, ARRAY_LEN(months), &d->month))
        return false;
    d->month++;
    return true;
}

static bool take_time(struct slice *s, struct date *d)
{
    return take_digits(s, 2, &d->hour) && take_text(s, ":") && take_digits(s, 2, &d->minute) &&
           take_text(s, ":") && take_digits(s, 2, &d->second);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool imf_date(struct slice s, struct date *d)
{
    int day, year;
    bool ok = take_name(&s, short_days, 7, &day) && take_text(&s, ", ") &&
              take_digits(&s, 2, &d->day) && take_text(&s, " ") && take_month(&s, d) &&
              take_text(&s, " ") && take_digits(&s, 4, &year) && take_text(&s, " ") &&
              take_time(&s, d) && slice_is(s, " GMT");

    if (ok)
        d->year = year;
    return ok;
}

/* Sunday, 06-Nov-94 08:49:37 GMT. The century is the one that puts the date at most 50 years
 * ahead (RFC 9110 section 5.6.7). */
static bool rfc850_date(struct slice s, int64_t this_year, struct date *d)
{
    int day, year;
    bool ok = take_name(&s, long_days, 7, &day) && take_text(&s, ", ") &&
              take_digits(&s, 2, &d->day) && take_text(&s, "-") && take_month(&s, d) &&
              take_text(&s, "-") && take_digits(&s, 2, &year) && take_text(&s, " ") &&
              take_time(&s, d) && slice_is(s, " GMT");

    if (!ok)
        return false;
    d->year = this_year - this_year % 100 + year;
    if (d->year > this_year + 50)
        d->year -= 100;
    return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool asctime_date(struct slice s, struct date *d)
{
    int day, year;
    bool ok = take_name(&s, short_days, 7, &day) && take_text(&s, " ") && take_month(&s, d) &&
              take_text(&s, " ") &&
              (take_text(&s, " ") ? take_digits(&s, 1, &d->day) : take_digits(&s, 2, &d->day)) &&
              take_text(&s, " ") && take_time(&s, d) && take_text(&s, " ") &&
              take_digits(&s, 4, &year) && s.len == 0;

    if (ok)
        d->year = year;
    return ok;
}

/* Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March. */
static int64_t date_days(const struct date *d)
{
    int64_t y = d->month > 2 ? d->year : d->year - 1;
    int64_t era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (d->month + (d->month > 2 ? -3 : 9)) + 2) / 5 + d->day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static bool date_ms(struct slice s, int64_t now_ms, int64_t *out)
{
    struct date d = {0};
    int64_t this_year = 1970 + now_ms / 31556952000; /* the mean year, in ms */

    if (!imf_date(s, &d) && !rfc850_date(s, this_year, &d) && !asctime_date(s, &d))
        return false;
    if (d.day < 1 || d.day > 31 || d.hour > 23 || d.minute > 59 || d.second > 60)
        return false;
    *out = (date_days(&d) * 86400 + d.hour * 3600 + d.minute * 60 + d.second) * 1000;
    return true;
}

/* Whoever says more may have written a time of day there; a day later a call finds out. */
#define RETRY_AFTER_MAX ((int64_t)24 * 3600 * 1000)

bool http_retry_after(struct slice value, int64_t now_ms, int64_t *wait_ms)
{
    uint64_t seconds;
    int64_t at_ms;

    value = slice_trim(value);
    if (slice_to_u64(value, &seconds)) {
        *wait_ms = seconds < RETRY_AFTER_MAX / 1000 ? (int64_t)seconds * 1000 : RETRY_AFTER_MAX;
        return true;
    }
    if (!date_ms(value, now_ms, &at_ms))
        return false;
    *wait_ms = at_ms <= now_ms                    ? 0
               : at_ms - now_ms < RETRY_AFTER_MAX ? at_ms - now_ms
                                                  : RETRY_AFTER_MAX;
    return true;
}

/* awq-ctl doctor: whose jobs stand still, whose tokens and certificates end. */
#include "tools/ctl/doctor_parts.h"

#include <inttypes.h>
#include "common/client_cert.h"
#include "common/key.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/link.h"

#define ACCOUNTS_MAX 500 /* looked at, one round trip each: ZRANGE 0 499 */
#define NAMED_MAX    5   /* said by name */

/* Why an account's jobs stand still, if they do; STALE: not yet, for its access token is good. */
enum trouble { CONSENT, BACKOFF, DISABLED, REFUSED, HELD, STALE, NO_TROUBLE };
static const char *const troubles[NO_TROUBLE] = {
    "need consent",      "cannot renew",
    "are disabled",      "have fresh tokens refused",
    "fail and are held", "cannot renew, and have an access token yet",
};

struct accounts {
    struct doctor *d;
    size_t counts[NO_TROUBLE];
    struct slice names[NO_TROUBLE][NAMED_MAX];
    int64_t stale_until_ms; /* the first end of an access token that nobody renews; 0 = none */
    size_t ending;          /* certificates that end soon, or have */
    struct buf ends, unread;
};

enum { A_STATE, A_COOL, A_COOL_WHY, A_TRIPS, A_EXP, A_GEN, A_CD, A_TK };

static enum trouble trouble_of(const struct doctor *d, const struct redis_reply *r)
{
    struct slice state = redis_reply_str(redis_reply_at(r, A_STATE));
    bool backoff = slice_is(state, "BACKOFF");

    if (slice_is(state, "NEEDS_CONSENT"))
        return CONSENT;
    if (backoff && redis_reply_int(redis_reply_at(r, A_EXP), 0) <= d->now_ms)
        return BACKOFF;
    if (slice_is(state, "DISABLED"))
        return DISABLED;
    if (redis_reply_int(redis_reply_at(r, A_TRIPS), 0) > 0)
        return HELD;
    if (redis_reply_int(redis_reply_at(r, A_COOL), 0) > d->now_ms &&
        slice_is(redis_reply_str(redis_reply_at(r, A_COOL_WHY)), "401"))
        return REFUSED;
    return backoff ? STALE : NO_TROUBLE;
}

static void count(struct accounts *a, struct slice id, const struct redis_reply *r)
{
    enum trouble t = trouble_of(a->d, r);
    int64_t exp_ms = redis_reply_int(redis_reply_at(r, A_EXP), 0);

    if (t == NO_TROUBLE)
        return;
    if (a->counts[t] < NAMED_MAX)
        a->names[t][a->counts[t]] = id;
    a->counts[t]++;
    if (t == STALE && (a->stale_until_ms == 0 || exp_ms < a->stale_until_ms))
        a->stale_until_ms = exp_ms;
}

/* Servers refuse a client whose certificate has ended, and nothing else tells of it before. */
static void look_at_cert(struct accounts *a, struct slice id, const struct redis_reply *r)
{
    struct connection_record rec = {.cd = redis_reply_str(redis_reply_at(r, A_CD)),
                                    .tk = redis_reply_str(redis_reply_at(r, A_TK)),
                                    .gen = (uint64_t)redis_reply_int(redis_reply_at(r, A_GEN), 0)};
    struct client_cert *cert = NULL;
    char day[CLIENT_CERT_DAY];
    int64_t left_ms;

    if (!a->d->c->keyring || rec.tk.len == 0)
        return;
    if (!conn_open_cert(a->d->c, id, &rec, &cert, NULL)) {
        if (a->unread.len == 0)
            buf_addf(&a->unread, "that of %.*s is not opened by the key file", SLICE_FMT(id));
        return;
    }
    left_ms = client_cert_until_ms(cert) - a->d->now_ms;
    client_cert_day(cert, day);
    client_cert_unref(cert);
    if (left_ms >= CLIENT_CERT_WARN_MS)
        return;
    if (a->ending++ < NAMED_MAX)
        buf_addf(&a->ends, "%sthat of %.*s %s on %s", a->ends.len > 0 ? ", " : "", SLICE_FMT(id),
                 left_ms > 0 ? "ends" : "ended", day);
}

static void look_at(struct accounts *a, struct slice id)
{
    struct redis_reply *r;
    struct key conn;

    key_conn(&conn, id);
    r = a->d->c->keyring
            ? link_ask(a->d->c->link, NULL, "HMGET", conn.s, "state", "cool", "cw", "bo", "exp",
                       "gen", "cd", "tk")
            : link_ask(a->d->c->link, NULL, "HMGET", conn.s, "state", "cool", "cw", "bo", "exp");
    count(a, id, r);
    look_at_cert(a, id, r);
    redis_reply_free(r);
}

static void say_certs(struct accounts *a)
{
    if (a->ending > NAMED_MAX)
        buf_addf(&a->ends, " and %zu others", a->ending - NAMED_MAX);
    if (a->ending > 0)
        checks_add(&a->d->checks, CHECK_WARN, "certificates",
                   "Have new ones issued, put them where tls.certificate and tls.key point, and "
                   "conn apply",
                   "%.*s", SLICE_FMT(buf_slice(&a->ends)));
    if (a->unread.len > 0)
        checks_add(&a->d->checks, CHECK_WARN, "certificates", "conn test says why", "%.*s",
                   SLICE_FMT(buf_slice(&a->unread)));
}

/* "2 need consent: a, b; 7 cannot renew: c, d, e and 4 others" */
static void name_them(const struct accounts *a, struct buf *to)
{
    size_t left = NAMED_MAX, shown;

    for (size_t t = 0; t < NO_TROUBLE; t++) {
        if (a->counts[t] == 0)
            continue;
        shown = a->counts[t] < left ? a->counts[t] : left;
        left -= shown;
        buf_addf(to, "%s%zu %s", to->len > 0 ? "; " : "", a->counts[t], troubles[t]);
        if (t == STALE)
            buf_addf(to, " (for %" PRId64 " s)", (a->stale_until_ms - a->d->now_ms) / 1000);
        for (size_t i = 0; i < shown; i++)
            buf_addf(to, "%s%.*s", i > 0 ? ", " : ": ", SLICE_FMT(a->names[t][i]));
        if (shown > 0 && shown < a->counts[t])
            buf_addf(to, " and %zu others", a->counts[t] - shown);
    }
}

static void say_troubles(struct accounts *a, size_t looked_at)
{
    size_t all = 0;
    struct buf found;

    for (size_t t = 0; t < NO_TROUBLE; t++)
        all += a->counts[t];
    if (all == 0) {
        checks_add(&a->d->checks, CHECK_OK, "accounts", NULL, "%zu%s, none in trouble", looked_at,
                   looked_at == ACCOUNTS_MAX ? " looked at" : "");
        return;
    }
    buf_init(&found, 4096);
    name_them(a, &found);
    checks_add(&a->d->checks, CHECK_WARN, "accounts",
               a->counts[STALE] == 0 ? "awq-ctl conn ls; conn test ID says what to do; their jobs "
                                       "wait"
               : a->counts[STALE] == all
                   ? "awq-ctl conn ls; conn test ID says what to do; their jobs go on as long as "
                     "the access token is good"
                   : "awq-ctl conn ls; conn test ID says what to do; their jobs wait, but for "
                     "those that have an access token yet",
               "%.*s", SLICE_FMT(buf_slice(&found)));
    buf_deinit(&found);
}

/* An account that nobody links again stops its jobs without a line in any queue. */
void doctor_accounts(struct doctor *d)
{
    struct accounts a = {.d = d};
    struct redis_reply *names;
    struct key conns;

    key_conns(&conns);
    buf_init(&a.ends, 4096);
    buf_init(&a.unread, 4096);
    names = link_ask(d->c->link, NULL, "ZRANGE", conns.s, "0", "499");
    for (size_t i = 0; i < redis_reply_len(names); i++)
        look_at(&a, redis_reply_str(redis_reply_at(names, i)));
    say_troubles(&a, redis_reply_len(names));
    say_certs(&a);
    buf_deinit(&a.ends);
    buf_deinit(&a.unread);
    redis_reply_free(names);
}

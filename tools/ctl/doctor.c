/* awq-ctl doctor: is this Redis fit for awq, and does the fleet get on? Reads only. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/key.h"
#include "tools/ctl/doctor_parts.h"
#include "tools/ctl/link.h"

#define RTT_WARN_MS    50
#define CLOCK_WARN_MS  2000
#define VERSION_BETTER 70000

/* A field of INFO; empty when it is not there. */
static struct slice info(const struct doctor *d, const char *name)
{
    struct slice text = redis_reply_str(d->info), line, key;

    while (slice_cut(&text, '\n', &line)) {
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (slice_cut(&line, ':', &key) && slice_is(key, name))
            return line;
    }
    return SLICE_NONE;
}

static int64_t info_int(const struct doctor *d, const char *name)
{
    int64_t n = 0;

    slice_to_i64(info(d, name), &n);
    return n;
}

int64_t doctor_ask(struct doctor *d, const char *command, const char *key)
{
    struct redis_reply *r = link_ask(d->c->link, NULL, command, key);
    int64_t n = redis_reply_int(r, -1);

    redis_reply_free(r);
    return n;
}

int64_t doctor_count(struct doctor *d, const char *command, const char *key)
{
    int64_t n = doctor_ask(d, command, key);

    return n > 0 ? n : 0; /* of another type: check_types says so */
}

/* ---- Redis itself ---- */

static bool check_link(struct doctor *d)
{
    struct err err = {0};
    int64_t from, took;

    d->c->link = link_open(&d->c->common, &err);
    if (!d->c->link) {
        checks_add(&d->checks, CHECK_BAD, "redis",
                   "What the server says; else --redis-url, --redis-user, --redis-password-file",
                   "%s", err.msg);
        return false;
    }
    from = clock_boot_us();
    redis_reply_free(link_ask(d->c->link, NULL, "PING"));
    took = (clock_boot_us() - from) / 1000;
    checks_add(&d->checks, took > RTT_WARN_MS ? CHECK_WARN : CHECK_OK, "redis",
               "Every step costs round trips: put workers near to Redis",
               "answers as this user in %" PRId64 " ms", took);
    return true;
}

static void check_server(struct doctor *d)
{
    const struct redis_server *s = link_server(d->c->link);

    checks_add(&d->checks, s->version_number < VERSION_BETTER ? CHECK_WARN : CHECK_OK, "version",
               "6.2 works; 7.0 and later are what is tested most", "%s", s->version);
    checks_add(&d->checks, s->is_replica ? CHECK_BAD : CHECK_OK, "role",
               "Give the address of the primary: nothing can be written here",
               s->is_replica ? "read-only replica" : "primary, %d replicas", s->replicas);
}

static void check_memory(struct doctor *d)
{
    struct slice policy = info(d, "maxmemory_policy");
    int64_t max = info_int(d, "maxmemory"), used = info_int(d, "used_memory");

    checks_add(&d->checks, slice_is(policy, "noeviction") ? CHECK_OK : CHECK_BAD, "eviction",
               "CONFIG SET maxmemory-policy noeviction: Redis may delete jobs otherwise", "%.*s",
               SLICE_FMT(policy));
    if (max > 0)
        checks_add(&d->checks,
                   used >= max          ? CHECK_BAD
                   : used > max / 5 * 4 ? CHECK_WARN
                                        : CHECK_OK,
                   "memory", "Raise maxmemory, or find what grows: queue ls, dead ls",
                   "%" PRId64 " of %" PRId64 " MiB%s", used >> 20, max >> 20,
                   used >= max ? ": Redis refuses new jobs" : "");
    else
        checks_add(&d->checks, CHECK_OK, "memory", NULL, "%" PRId64 " MiB, no maxmemory",
                   used >> 20);
}

static void check_disk(struct doctor *d)
{
    bool aof = slice_is(info(d, "aof_enabled"), "1");
    bool fine = slice_is(info(d, "aof_last_write_status"), "ok") &&
                slice_is(info(d, "rdb_last_bgsave_status"), "ok");

    checks_add(&d->checks, aof ? CHECK_OK : CHECK_WARN, "append-only file",
               "CONFIG SET appendonly yes (everysec): without it a restart of Redis forgets jobs "
               "and tokens since the last snapshot",
               aof ? "on" : "off");
    if (!fine)
        checks_add(&d->checks, CHECK_BAD, "writing to disk",
                   "Look into Redis' log: a full disk makes it refuse writes",
                   "the last AOF write or snapshot failed");
}

static int check_clock(struct doctor *d)
{
    int64_t off;
    int code = ctl_now(d->c, &d->now_ms);

    if (code != CTL_OK)
        return code;
    off = d->now_ms - clock_wall_ms();
    checks_add(&d->checks, llabs(off) > CLOCK_WARN_MS ? CHECK_WARN : CHECK_OK, "clock",
               "Run NTP on both: awq goes by Redis' clock, deadlines and logs by yours",
               "Redis is %" PRId64 " ms %s this machine", (int64_t)llabs(off),
               off < 0 ? "behind" : "ahead of");
    return CTL_OK;
}

static void check_scripts(struct doctor *d)
{
    struct key due, held;
    struct redis_reply *r;
    struct err err = {0};

    key_due(&due, CTL_SHARD);
    key_held(&held, CTL_SHARD);
    const struct slice argv[] = {key_slice(&due), key_slice(&held), SLICE_LIT("now"),
                                 SLICE_LIT("1")};

    r = link_script(d->c->link, SCRIPT_peek, 2, ARRAY_LEN(argv), argv, &err);
    checks_add(&d->checks, r ? CHECK_OK : CHECK_BAD, "scripts",
               "The ACL user needs EVALSHA, EVAL and the prefix's keys", "%s", r ? "run" : err.msg);
    redis_reply_free(r);
}

/* ---- the whole ---- */

static int examine(struct doctor *d)
{
    struct err err = {0};
    int code;

    check_server(d);
    if (!doctor_rights(d))
        return CTL_OK; /* nothing can be asked */
    d->info = link_ask(d->c->link, &err, "INFO");
    if (!d->info)
        return ctl_fail(d->c, &err);
    check_memory(d);
    check_disk(d);
    if ((code = check_clock(d)))
        return code;
    check_scripts(d);
    if ((code = doctor_fleet(d)))
        return code;
    doctor_aside(d);
    doctor_accounts(d);
    return CTL_OK;
}

static int doctor(struct ctl *c, const struct args *a)
{
    struct doctor d = {.c = c};
    int code, found;

    (void)a;
    checks_begin(&d.checks, &c->out);
    if (!check_link(&d)) {
        checks_end(&d.checks);
        return CTL_UNREACHABLE;
    }
    code = examine(&d);
    redis_reply_free(d.info);
    found = checks_end(&d.checks); /* what could be asked is said, whatever failed */
    return code ? code : found;
}

const struct verb doctor_verbs[] = {
    {.noun = "doctor",
     .name = "",
     .usage = "",
     .help = "Check Redis and the fleet, say what to do; exit 1 when something is bad",
     .run = doctor},
    {.name = NULL},
};

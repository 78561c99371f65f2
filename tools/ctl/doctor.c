/* awq-ctl doctor: is this Redis fit for awq, and does the fleet get on? Reads only. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/key.h"
#include "tools/ctl/checks.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/link.h"
#include "tools/ctl/queues.h"

#define RTT_WARN_MS    50
#define CLOCK_WARN_MS  2000
#define STUCK_MS       (5 * 60 * 1000) /* longer than the longest step that is usual */
#define OVERDUE_MS     10000
#define ACCOUNTS_MAX   500 /* looked at, one round trip each: ZRANGE 0 499 */
#define VERSION_BETTER 70000

struct doctor {
    struct ctl *c;
    struct checks checks;
    struct redis_reply *info;
    int64_t now_ms;
};

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

/* An integer reply, or -1 where Redis answers with an error. */
static int64_t ask_int(struct doctor *d, const char *command, const char *key)
{
    struct redis_reply *r = link_ask(d->c->link, NULL, command, key);
    int64_t n = redis_reply_int(r, -1);

    redis_reply_free(r);
    return n;
}

/* ---- Redis itself -------------------------------------------------------------------------------
 */

static bool check_link(struct doctor *d)
{
    struct err err = {0};
    int64_t from, took;

    d->c->link = link_open(&d->c->common, &err);
    if (!d->c->link) {
        checks_add(&d->checks, CHECK_BAD, "redis",
                   "Check --redis-url, --redis-user, --redis-password-file and the server", "%s",
                   err.msg);
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
        checks_add(&d->checks, used > max / 5 * 4 ? CHECK_WARN : CHECK_OK, "memory",
                   "Raise maxmemory, or find what grows: queue ls, dead ls",
                   "%" PRId64 " of %" PRId64 " MiB", used >> 20, max >> 20);
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

/* ---- the fleet ----------------------------------------------------------------------------------
 */

static void check_install(struct doctor *d)
{
    struct redis_reply *r;
    struct key meta;

    key_meta(&meta);
    r = link_ask(d->c->link, NULL, "HMGET", meta.s, "install", "shards");
    if (redis_reply_str(redis_reply_at(r, 0)).len > 0)
        checks_add(&d->checks, redis_reply_int(redis_reply_at(r, 1), 1) == 1 ? CHECK_OK : CHECK_BAD,
                   "install", "This version of awq-ctl works with 1 shard",
                   "id %.*s, shards %" PRId64, SLICE_FMT(redis_reply_str(redis_reply_at(r, 0))),
                   redis_reply_int(redis_reply_at(r, 1), 1));
    else
        checks_add(&d->checks, CHECK_OK, "install", NULL, "nothing of awq here yet (prefix %s)",
                   d->c->common.prefix);
    redis_reply_free(r);
}

static void check_keys(struct doctor *d)
{
    struct redis_reply *r;
    struct err err = {0};
    struct keyring *k;
    struct key meta;
    bool fit;

    if (!d->c->common.keys) {
        checks_add(&d->checks, CHECK_WARN, "key file",
                   "--keys FILE or AWQ_KEYS; conn apply and conn test need it", "not given");
        return;
    }
    k = keyring_load(d->c->common.keys, &err);
    key_meta(&meta);
    r = link_ask(d->c->link, NULL, "HMGET", meta.s, "install", "keys");
    fit = k && ctl_keys_fit(k, redis_reply_at(r, 0), redis_reply_at(r, 1));
    redis_reply_free(r);
    checks_add(&d->checks, fit ? CHECK_OK : CHECK_BAD, "key file",
               "Copy the workers' key file here, mode 0600", "%s",
               !k                          ? err.msg
               : !fit                      ? "not the workers': none of its run keys is theirs"
               : keyring_has(k, KEY_GRANT) ? "good, with a grant key"
                                           : "good, without a grant key");
    keyring_free(k);
}

static void check_workers(struct doctor *d)
{
    struct redis_reply *r;
    struct key workers;
    char now[24];
    int64_t alive;

    key_workers(&workers, CTL_SHARD);
    snprintf(now, sizeof now, "(%" PRId64, d->now_ms);
    r = link_ask(d->c->link, NULL, "ZCOUNT", workers.s, now, "+inf");
    alive = redis_reply_int(r, 0);
    redis_reply_free(r);
    checks_add(&d->checks, alive > 0 ? CHECK_OK : CHECK_BAD, "workers",
               "Start awq-worker; if some run, compare their --redis-url and --prefix with these",
               "%" PRId64 " alive", alive);
}

/* The group that workers read with is made by them; a queue with jobs and without it waits. */
static void check_group(struct doctor *d, const char *queue)
{
    struct redis_reply *r;
    const struct redis_reply *p;
    int64_t waiting, idle;
    struct err err = {0};

    waiting = ask_int(d, "XLEN", queue);
    r = link_ask(d->c->link, &err, "XPENDING", queue, "w", "-", "+", "1");
    if (!r) {
        checks_add(&d->checks, waiting > 0 ? CHECK_WARN : CHECK_OK, "queue default",
                   "A worker makes the group when it works on this queue: --queues",
                   waiting > 0 ? "%" PRId64 " jobs and no group w" : "not used yet", waiting);
        return;
    }
    p = redis_reply_at(r, 0);
    idle = p ? redis_reply_int(redis_reply_at(p, 2), 0) : 0;
    checks_add(&d->checks, idle > STUCK_MS ? CHECK_WARN : CHECK_OK, "queue default",
               "A worker holds a step for long: worker ls, and its log",
               "%" PRId64 " jobs, the oldest in flight for %" PRId64 " s", waiting, idle / 1000);
    redis_reply_free(r);
}

/* Of the first due names: how many have no job behind them. peek answers the queue of each: empty
 * or ? when there is no body, or none that can be read. */
static size_t count_junk(struct doctor *d, char first[64])
{
    struct key due, held;
    struct redis_reply *r;
    struct job_name parts;
    size_t junk = 0;

    key_due(&due, CTL_SHARD);
    key_held(&held, CTL_SHARD);
    const struct slice argv[] = {key_slice(&due), key_slice(&held), SLICE_LIT("now"),
                                 SLICE_LIT("50")};

    r = link_script(d->c->link, SCRIPT_peek, 2, ARRAY_LEN(argv), argv, NULL);
    for (size_t i = 2; i + 1 < redis_reply_len(r); i += 2) {
        struct slice name = redis_reply_str(redis_reply_at(r, i));

        if (job_name_parse(name, &parts) && id_is_queue(redis_reply_str(redis_reply_at(r, i + 1))))
            continue;
        if (junk++ == 0)
            slice_copy(slice_sub(name, 0, 63), first, 64);
    }
    redis_reply_free(r);
    return junk;
}

static bool has_housekeeper(struct doctor *d)
{
    struct key boss;

    key_boss(&boss, CTL_SHARD);
    return ask_int(d, "EXISTS", boss.s) > 0;
}

static int64_t count_of(struct doctor *d, const char *command, const char *key)
{
    int64_t n = ask_int(d, command, key);

    return n > 0 ? n : 0; /* of another type: check_types says so */
}

/* A queue that grows: nobody works on it, or all who do are busy. */
static int check_queues(struct doctor *d)
{
    struct queues n;
    struct key queue;
    int64_t waiting = 0;
    int code = queues_read(&n, d->c, d->now_ms);

    if (code)
        return code;
    for (size_t i = 0; i < n.count; i++) {
        int64_t jobs;

        key_queue(&queue, CTL_SHARD, slice_cstr(n.queue[i].name));
        jobs = count_of(d, "XLEN", queue.s);
        if (n.queue[i].workers > 0)
            waiting += jobs;
        else if (jobs > 0 && n.slots > 0)
            checks_add(&d->checks, CHECK_WARN, "queues",
                       "Give a worker this queue (--queues), or have its producer name another",
                       "%" PRId64 " jobs on %s, and none of the workers alive works on it", jobs,
                       n.queue[i].name);
    }
    /* beats are some seconds old: nearly all is all */
    if (n.slots > 0 && n.active * 10 >= n.slots * 9 && waiting > n.slots)
        checks_add(&d->checks, CHECK_WARN, "slots",
                   "Start more workers, or give them more --slots; if the queue grew of a sudden, "
                   "look whether calls became slow (awq_step_duration_seconds)",
                   "%" PRId64 " of %" PRId64 " are busy, and %" PRId64 " jobs wait", n.active,
                   n.slots, waiting - n.active);
    return CTL_OK;
}

static void check_due(struct doctor *d)
{
    struct redis_reply *r;
    struct key due;
    char first[64] = "";
    size_t junk = count_junk(d, first);
    int64_t at, late;

    key_due(&due, CTL_SHARD);
    r = link_ask(d->c->link, NULL, "ZRANGE", due.s, "0", "0", "WITHSCORES");
    at = redis_reply_len(r) == 2 ? ctl_score(redis_reply_str(redis_reply_at(r, 1))) : d->now_ms;
    redis_reply_free(r);
    late = d->now_ms - at;
    if (late <= OVERDUE_MS)
        checks_add(&d->checks, CHECK_OK, "due jobs", NULL, "on time");
    else if (!has_housekeeper(d))
        checks_add(&d->checks, CHECK_BAD, "due jobs",
                   "Nobody keeps house: start a worker, or look why the running ones cannot beat",
                   "the first is %" PRId64 " s late", late / 1000);
    else if (junk > 0)
        checks_add(&d->checks, CHECK_BAD, "due jobs",
                   "Somebody else wrote into due. The housekeeper sets such names aside at its "
                   "next look (house.junk in its log); if they stay, its log says why",
                   "%zu of the first 50 have no job behind them: %s", junk, first);
    else
        checks_add(&d->checks, CHECK_BAD, "due jobs",
                   "The housekeeper (worker ls) does not get on: its log says why; a queue that "
                   "is full or of a wrong type puts its jobs off by a minute",
                   "the first is %" PRId64 " s late", late / 1000);
}

/* What is set aside has a name in one set and a body in held. Counted at two moments, for both
 * change while workers run. */
static int64_t count_bodies_over(struct doctor *d)
{
    struct redis_reply *lots;
    struct key key;
    int64_t bodies, names;

    key_held(&key, CTL_SHARD);
    bodies = count_of(d, "HLEN", key.s);
    key_due(&key, CTL_SHARD);
    names = count_of(d, "ZCARD", key.s);
    key_dead(&key, CTL_SHARD);
    names += count_of(d, "ZCARD", key.s);
    key_lots(&key, CTL_SHARD);
    lots = link_ask(d->c->link, NULL, "ZRANGE", key.s, "0", "499");
    for (size_t i = 0; i < redis_reply_len(lots); i++) {
        key_park(&key, CTL_SHARD, redis_reply_str(redis_reply_at(lots, i)));
        names += count_of(d, "ZCARD", key.s);
    }
    if (redis_reply_len(lots) == ACCOUNTS_MAX)
        bodies = names; /* more lots than are looked at: nothing can be said */
    redis_reply_free(lots);
    return bodies - names;
}

static void check_aside(struct doctor *d)
{
    int64_t over = count_bodies_over(d);

    for (int i = 0; over != 0 && i < 4; i++) {
        int64_t again = count_bodies_over(d);

        over = (over > 0) == (again > 0) ? (llabs(again) < llabs(over) ? again : over) : 0;
    }
    if (over == 0)
        checks_add(&d->checks, CHECK_OK, "set aside", NULL, "each job has one place");
    else
        checks_add(&d->checks, CHECK_WARN, "set aside",
                   "Somebody else wrote there. The housekeeper mends it by and by (house.junk in "
                   "its log); it may take minutes where much is parked",
                   over > 0 ? "%" PRId64 " bodies lie in no set" : "%" PRId64 " names have no body",
                   (int64_t)llabs(over));
}

/* Each key must be of its type: whoever reads one of another gets an error with every look. */
static void check_types(struct doctor *d)
{
    static const struct {
        void (*build)(struct key *k, unsigned shard);
        const char *type;
    } keys[] = {{key_due, "zset"},  {key_held, "hash"},    {key_lots, "zset"},
                {key_dead, "zset"}, {key_workers, "zset"}, {key_worker_numbers, "hash"},
                {key_queues, "set"}};
    struct redis_reply *r;
    struct key k;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        keys[i].build(&k, CTL_SHARD);
        r = link_ask(d->c->link, NULL, "TYPE", k.s);
        if (r && !slice_is(redis_reply_str(r), "none") &&
            !slice_is(redis_reply_str(r), keys[i].type))
            checks_add(&d->checks, CHECK_BAD, "key types",
                       "Somebody else wrote there: look what it is, then RENAME it out of the way",
                       "%s is a %.*s and must be a %s", k.s, SLICE_FMT(redis_reply_str(r)),
                       keys[i].type);
        redis_reply_free(r);
    }
}

static void check_dead(struct doctor *d)
{
    struct key dead;
    int64_t n;

    key_dead(&dead, CTL_SHARD);
    n = ask_int(d, "ZCARD", dead.s);
    checks_add(&d->checks, n > 0 ? CHECK_WARN : CHECK_OK, "dead letters",
               "awq-ctl dead ls: mend the cause, then replay or purge them", "%" PRId64,
               n > 0 ? n : 0);
}

/* An account that nobody links again stops its jobs without a line in any queue. */
static void check_accounts(struct doctor *d)
{
    struct redis_reply *names, *r;
    struct slice id, state, first = SLICE_NONE;
    struct key conns, conn;
    int consent = 0, backoff = 0;

    key_conns(&conns);
    names = link_ask(d->c->link, NULL, "ZRANGE", conns.s, "0", "499");
    for (size_t i = 0; i < redis_reply_len(names); i++) {
        id = redis_reply_str(redis_reply_at(names, i));
        key_conn(&conn, id);
        r = link_ask(d->c->link, NULL, "HGET", conn.s, "state");
        state = redis_reply_str(r);
        consent += slice_is(state, "NEEDS_CONSENT");
        backoff += slice_is(state, "BACKOFF");
        if (first.len == 0 && (slice_is(state, "NEEDS_CONSENT") || slice_is(state, "BACKOFF")))
            first = id;
        redis_reply_free(r);
    }
    if (first.len > 0)
        checks_add(&d->checks, CHECK_WARN, "accounts",
                   "awq-ctl conn ls; conn test ID says what to do; their jobs wait",
                   "%d need consent, %d cannot renew: %.*s%s", consent, backoff, SLICE_FMT(first),
                   consent + backoff > 1 ? " and others" : "");
    else
        checks_add(&d->checks, CHECK_OK, "accounts", NULL, "%zu%s, none in trouble",
                   redis_reply_len(names),
                   redis_reply_len(names) == ACCOUNTS_MAX ? " looked at" : "");
    redis_reply_free(names);
}

static int examine(struct doctor *d)
{
    struct err err = {0};
    struct key queue;
    int code;

    check_server(d);
    d->info = link_ask(d->c->link, &err, "INFO");
    if (!d->info)
        return ctl_fail(d->c, &err);
    check_memory(d);
    check_disk(d);
    if ((code = check_clock(d)))
        return code;
    check_scripts(d);
    check_install(d);
    check_keys(d);
    check_workers(d);
    key_queue(&queue, CTL_SHARD, SLICE_LIT("default"));
    check_group(d, queue.s);
    if ((code = check_queues(d)))
        return code;
    check_types(d);
    check_due(d);
    check_aside(d);
    check_dead(d);
    check_accounts(d);
    return CTL_OK;
}

static int doctor(struct ctl *c, const struct args *a)
{
    struct doctor d = {.c = c};
    int code;

    (void)a;
    checks_begin(&d.checks, &c->out);
    if (!check_link(&d)) {
        checks_end(&d.checks);
        return CTL_UNREACHABLE;
    }
    code = examine(&d);
    redis_reply_free(d.info);
    return code ? code : checks_end(&d.checks);
}

const struct verb doctor_verbs[] = {
    {.noun = "doctor",
     .name = "",
     .usage = "",
     .help = "Check Redis and the fleet, say what to do; exit 1 when something is bad",
     .run = doctor},
    {.name = NULL},
};

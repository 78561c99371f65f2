/* awq-ctl doctor: what lies aside, and whether it is awq's. */
#include "tools/ctl/doctor_parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include "common/key.h"
#include "tools/ctl/link.h"

#define OVERDUE_MS 10000
#define LOTS_MAX   500 /* looked at, one round trip each: ZRANGE 0 499 */

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
    return doctor_ask(d, "EXISTS", boss.s) > 0;
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
    bodies = doctor_count(d, "HLEN", key.s);
    key_due(&key, CTL_SHARD);
    names = doctor_count(d, "ZCARD", key.s);
    key_dead(&key, CTL_SHARD);
    names += doctor_count(d, "ZCARD", key.s);
    key_lots(&key, CTL_SHARD);
    lots = link_ask(d->c->link, NULL, "ZRANGE", key.s, "0", "499");
    for (size_t i = 0; i < redis_reply_len(lots); i++) {
        key_park(&key, CTL_SHARD, redis_reply_str(redis_reply_at(lots, i)));
        names += doctor_count(d, "ZCARD", key.s);
    }
    if (redis_reply_len(lots) == LOTS_MAX)
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
    n = doctor_ask(d, "ZCARD", dead.s);
    checks_add(&d->checks, n > 0 ? CHECK_WARN : CHECK_OK, "dead letters",
               "awq-ctl dead ls: mend the cause, then replay or purge them", "%" PRId64,
               n > 0 ? n : 0);
}

void doctor_aside(struct doctor *d)
{
    check_types(d);
    check_due(d);
    check_aside(d);
    check_dead(d);
}

/* awq-ctl doctor: does the fleet get on? */
#include "tools/ctl/doctor_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/clock.h"
#include "common/id.h"
#include "common/key.h"
#include "common/producer.h"
#include "common/seal.h"
#include "tools/ctl/fleet.h"
#include "tools/ctl/link.h"
#include "tools/ctl/producer.h"

static void check_install(struct doctor *d)
{
    struct redis_reply *r;
    struct err err = {0};
    struct key meta;

    key_meta(&meta);
    r = link_ask(d->c->link, &err, "HMGET", meta.s, "install", "shards");
    if (!r)
        checks_add(&d->checks, CHECK_BAD, "install", "What is said of the rights, first",
                   "not known: %s", err.msg);
    else if (redis_reply_str(redis_reply_at(r, 0)).len > 0)
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
                   "--keys FILE or AWQ_KEYS; conn apply and conn test need it, and so does who "
                   "would know when client certificates end",
                   "not given");
        return;
    }
    k = keyring_load(d->c->common.keys, &err);
    key_meta(&meta);
    r = link_ask(d->c->link, NULL, "HMGET", meta.s, "install", "keys");
    fit = k && ctl_keys_fit(k, redis_reply_at(r, 0), redis_reply_at(r, 1));
    redis_reply_free(r);
    checks_add(
        &d->checks, fit ? CHECK_OK : CHECK_BAD, "key file",
        "Copy the workers' key file here, mode 0600; lost for good: awq-ctl keys replace-lost",
        "%s",
        !k                          ? err.msg
        : !fit                      ? "not the workers': none of its run keys is theirs"
        : keyring_has(k, KEY_GRANT) ? "good, with a grant key"
                                    : "good, without a grant key");
    if (fit)
        d->c->keyring = k; /* for doctor_accounts */
    else
        keyring_free(k);
}

static void check_workers(struct doctor *d)
{
    struct redis_reply *r;
    struct err err = {0};
    struct key workers;
    char now[24];
    int64_t alive;

    key_workers(&workers, CTL_SHARD);
    snprintf(now, sizeof now, "(%" PRId64, d->now_ms);
    r = link_ask(d->c->link, &err, "ZCOUNT", workers.s, now, "+inf");
    alive = redis_reply_int(r, 0);
    if (!r)
        checks_add(&d->checks, CHECK_BAD, "workers", "What is said of the rights, first",
                   "not known: %s", err.msg);
    redis_reply_free(r);
    if (err.code != ERR_NONE)
        return;
    checks_add(
        &d->checks, alive > 0 ? CHECK_OK : CHECK_BAD, "workers",
        "Start awq-worker; if some run, their logs say why they are not here: a password, or "
        "another --redis-url or --prefix than this",
        "%" PRId64 " alive", alive);
}

struct fleet {
    int64_t alive, renew, idle; /* idle: takes no jobs, paused (TSTP) or draining (TERM) */
    int64_t off, ahead_ms;      /* with a wrong clock; the worst one, and whose it is */
    char worst[WORKER_ID_MAX];
};

static void look_at_clock(struct fleet *n, struct slice id, const struct json_val *beat)
{
    int64_t ahead;

    if (!json_int(json_get(beat, "clock_ahead_ms"), &ahead) || ahead == INT64_MIN)
        return; /* its first beat, or it is older than this */
    n->off += llabs(ahead) > CLOCK_OFF_MS;
    if (llabs(ahead) <= llabs(n->ahead_ms))
        return;
    n->ahead_ms = ahead;
    slice_copy(slice_sub(id, 0, sizeof n->worst - 1), n->worst, sizeof n->worst);
}

static void on_worker(void *owner, struct slice id, const struct json_val *beat)
{
    struct fleet *n = owner;
    struct slice state = SLICE_NONE;
    bool renews = false;

    json_bool(json_get(beat, "renews"), &renews);
    n->alive++;
    n->renew += renews;
    json_str(json_get(beat, "phase"), &state);
    n->idle += state.len > 0 && !slice_is(state, "running");
    look_at_clock(n, id, beat);
}

static int check_fleet(struct doctor *d)
{
    struct fleet n = {0};
    int code = fleet_each(d->c, on_worker, &n);

    if (code == CTL_OK && n.alive > 0)
        checks_add(&d->checks, n.renew > 0 ? CHECK_OK : CHECK_BAD, "renewers",
                   "Start one with --role renew (or both) and the grant key: tokens run out",
                   "%" PRId64 " of %" PRId64 " workers renew tokens", n.renew, n.alive);
    if (code == CTL_OK && n.idle > 0)
        checks_add(&d->checks, n.idle == n.alive ? CHECK_BAD : CHECK_WARN, "paused",
                   "A worker that got a TSTP goes on with a CONT; one that got a TERM ends soon",
                   "%" PRId64 " of %" PRId64 " workers take no jobs (worker ls)", n.idle, n.alive);
    if (code == CTL_OK && n.off > 0)
        checks_add(&d->checks, CHECK_WARN, "worker clocks",
                   "Run NTP there, or on Redis' machine if it is Redis that is wrong: certificates "
                   "are judged and log lines dated by the worker's, all else goes by Redis'",
                   "that of %s is %" PRId64 " s %s Redis'; %" PRId64 " of %" PRId64
                   " are off (worker ls)",
                   n.worst, (int64_t)llabs(n.ahead_ms) / 1000,
                   n.ahead_ms < 0 ? "behind" : "ahead of", n.off, n.alive);
    return code;
}

/* Only the inboxes of producers that were added with --inbox are read. */
static int check_inboxes(struct doctor *d)
{
    struct redis_reply *all = NULL;
    int code = producers_read(d->c, &all);

    for (size_t i = 0; code == CTL_OK && i + 1 < redis_reply_len(all); i += 2) {
        struct slice name = redis_reply_str(redis_reply_at(all, i));
        struct slice record = redis_reply_str(redis_reply_at(all, i + 1));
        struct producer *p =
            producer_parse(name, slice_sub(record, SEAL_MAC_BYTES, record.len), NULL);
        struct key inbox;
        int64_t jobs;

        key_inbox(&inbox, CTL_SHARD, name);
        jobs = p && !p->inbox ? doctor_count(d, "XLEN", inbox.s) : 0;
        if (jobs > 0)
            checks_add(&d->checks, CHECK_WARN, "inboxes",
                       "producer add it with --inbox, or have it put its jobs on a queue",
                       "%" PRId64 " jobs in that of %s, which was added without --inbox: nobody "
                       "reads them",
                       jobs, p->name);
        producer_free(p);
    }
    redis_reply_free(all);
    return code;
}

int doctor_fleet(struct doctor *d)
{
    int code;

    check_install(d);
    check_keys(d);
    check_workers(d);
    if ((code = check_fleet(d)))
        return code;
    if ((code = doctor_queues(d)))
        return code;
    return check_inboxes(d);
}

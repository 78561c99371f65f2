#include "worker/house_parts.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/log.h"

static void on_purged(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* found again */
}

static void purge(struct house *h, struct slice name)
{
    struct key dead, held, run;
    struct job_name parts;
    char ttl[24];
    struct err err = {0};
    bool job = job_name_parse(name, &parts);
    size_t keys = 2;

    key_dead(&dead, SHARD);
    key_held(&held, SHARD);
    snprintf(ttl, sizeof ttl, "%" PRId64, h->w->set->dedup_ms);
    struct slice argv[5] = {key_slice(&dead), key_slice(&held)};

    if (job) { /* else somebody else's line: there is no run to end */
        key_run(&run, SHARD, parts.run);
        argv[keys++] = key_slice(&run);
    }
    argv[keys] = name;
    argv[keys + 1] = slice_cstr(ttl);
    log_event(LOG_WARN, EV_HOUSE_PURGED, F_STR("job", name));
    (void)redis_script(h->w->link, SCRIPT_purge, keys, keys + 2, argv, on_purged, h, &err);
}

static void on_old_dead(void *owner, const struct redis_reply *reply, const struct err *err)
{
    for (size_t i = 0; !err && i < redis_reply_len(reply); i++)
        purge(owner, redis_reply_str(redis_reply_at(reply, i)));
}

void house_look_for_old_dead(struct house *h)
{
    struct key dead;
    char before[24];
    struct err err = {0};

    key_dead(&dead, SHARD);
    snprintf(before, sizeof before, "%" PRId64, worker_now_ms(h->w) - h->w->set->dead_keep_ms);
    const struct slice argv[] = {SLICE_LIT("ZRANGE"), key_slice(&dead),     SLICE_LIT("-inf"),
                                 slice_cstr(before),  SLICE_LIT("BYSCORE"), SLICE_LIT("LIMIT"),
                                 SLICE_LIT("0"),      SLICE_LIT("50")};

    (void)redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_old_dead, h, &err);
}

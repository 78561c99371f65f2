#include "worker/house_parts.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

/* Bodies whose name lies in no set: a sample of held is looked at with each look for strays, so
 * that the work does not grow with what is parked. None is awq's making; half a restore is. */

#define SAMPLE "50"

struct batch { /* arguments: keys, then names, then places */
    struct slice keys[3 + 2 * HOUSE_BATCH], names[HOUSE_BATCH], places[HOUSE_BATCH];
    struct key fixed[3], run[HOUSE_BATCH], lot[HOUSE_BATCH];
    size_t key_count, count;
};

static void add_key(struct batch *b, const struct key *k)
{
    b->keys[b->key_count++] = key_slice(k);
}

/* For a name that is no job's there is no run to ask; once among the due it becomes a letter. */
static void add_run(struct batch *b, struct slice name)
{
    struct job_name parts;

    key_run(&b->run[b->count], SHARD, job_name_parse(name, &parts) ? parts.run : SLICE_LIT("?"));
    add_key(b, &b->run[b->count]);
}

static bool call_script(struct house *h, const struct batch *b, enum script script, bool places,
                        redis_cb *cb, struct err *err)
{
    struct slice argv[3 + 4 * HOUSE_BATCH];
    size_t n = b->key_count;

    memcpy(argv, b->keys, n * sizeof *argv);
    memcpy(argv + n, b->names, b->count * sizeof *argv);
    n += b->count;
    if (places) {
        memcpy(argv + n, b->places, b->count * sizeof *argv);
        n += b->count;
    }
    return redis_script(h->w->link, script, b->key_count, n, argv, cb, h, err);
}

static void on_settled(void *owner, const struct redis_reply *reply, const struct err *err)
{
    if (err) { /* found again, when the sample has it */
        log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "adrift"), F_ERR(err));
        return;
    }
    for (size_t i = 0; i < redis_reply_len(reply); i++)
        house_log_settled(owner, redis_reply_str(redis_reply_at(reply, i)));
}

static void on_adrift(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    struct batch *b = !err && redis_reply_len(reply) > 0 ? calloc(1, sizeof *b) : NULL;
    struct err why = {0};

    if (!b)
        return;
    key_held(&b->fixed[0], SHARD);
    key_due(&b->fixed[1], SHARD);
    key_dead(&b->fixed[2], SHARD);
    for (size_t i = 0; i < 3; i++)
        add_key(b, &b->fixed[i]);
    for (size_t i = 0; i + 1 < redis_reply_len(reply) && b->count < HOUSE_BATCH; i += 2) {
        struct slice place = redis_reply_str(redis_reply_at(reply, i + 1));
        struct slice lot = SLICE_NONE;

        b->names[b->count] = redis_reply_str(redis_reply_at(reply, i));
        b->places[b->count] = place;
        if (slice_starts(place, SLICE_LIT("park:")))
            lot = slice_sub(place, strlen("park:"), place.len);
        add_run(b, b->names[b->count]);
        if (lot.len > 0)
            key_park(&b->lot[b->count], SHARD, lot);
        else
            key_due(&b->lot[b->count], SHARD);
        add_key(b, &b->lot[b->count]);
        b->count++;
    }
    (void)call_script(h, b, SCRIPT_settle, true, on_settled, &why);
    free(b);
}

static void on_sample(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    struct batch *b = !err && redis_reply_len(reply) > 0 ? calloc(1, sizeof *b) : NULL;
    struct err why = {0};

    if (!b)
        return;
    key_due(&b->fixed[0], SHARD);
    key_dead(&b->fixed[1], SHARD);
    add_key(b, &b->fixed[0]);
    add_key(b, &b->fixed[1]);
    for (size_t i = 0; i < redis_reply_len(reply) && b->count < HOUSE_BATCH; i++) {
        b->names[b->count] = redis_reply_str(redis_reply_at(reply, i));
        add_run(b, b->names[b->count]);
        b->count++;
    }
    (void)call_script(h, b, SCRIPT_adrift, false, on_adrift, &why);
    free(b);
}

/* HRANDFIELD does not read the values, which may be long; HSCAN would (redis.io). */
void house_look_for_adrift(struct house *h)
{
    struct key held;
    struct err err = {0};

    key_held(&held, SHARD);
    const struct slice argv[] = {SLICE_LIT("HRANDFIELD"), key_slice(&held), SLICE_LIT(SAMPLE)};

    (void)redis_command(h->w->link, ARRAY_LEN(argv), argv, 0, on_sample, h, &err);
}

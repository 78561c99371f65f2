/* awq-ctl worker: who is alive, by the beats that workers leave in Redis. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/json.h"
#include "common/key.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/link.h"

static const char *const columns[] = {"worker",      "host",  "pid",           "alive", "until",
                                      "housekeeper", "phase", "active",        "slots", "queues",
                                      "version",     "role",  "clock_ahead_ms"};

static void add_queues(struct buf *to, const struct json_val *list)
{
    const struct json_val *v;
    struct json_iter it;
    struct slice key, name;

    json_iter_init(&it, list);
    while (json_iter_next(&it, &key, &v)) {
        if (!json_str(v, &name))
            continue;
        if (to->len > 0)
            buf_add_char(to, ',');
        buf_add_slice(to, name);
    }
}

static int row(struct ctl *c, struct slice id, int64_t until, int64_t now, struct slice boss)
{
    struct slice role = SLICE_NONE, phase = SLICE_NONE, version = SLICE_NONE, host = SLICE_NONE;
    int64_t active = 0, slots = 0, pid = 0, ahead;
    struct err err = {0};
    struct redis_reply *r;
    struct json *doc;
    struct buf queues;
    struct key numbers;

    key_worker_numbers(&numbers, CTL_SHARD);
    const struct slice argv[] = {SLICE_LIT("HGET"), key_slice(&numbers), id};

    r = link_argv(c->link, ARRAY_LEN(argv), argv, &err);
    if (!r)
        return ctl_fail(c, &err);
    doc = json_parse(redis_reply_str(r), NULL);
    json_str(json_get(json_root(doc), "phase"), &phase);
    json_str(json_get(json_root(doc), "version"), &version);
    json_str(json_get(json_root(doc), "role"), &role);
    json_str(json_get(json_root(doc), "host"), &host);
    json_int(json_get(json_root(doc), "pid"), &pid);
    json_int(json_get(json_root(doc), "active"), &active);
    json_int(json_get(json_root(doc), "slots"), &slots);
    buf_init(&queues, 4096);
    add_queues(&queues, json_get(json_root(doc), "queues"));
    out_row(&c->out);
    out_text(&c->out, id);
    out_text(&c->out, host);
    out_int(&c->out, pid);
    out_bool(&c->out, until > now);
    out_time(&c->out, until);
    out_bool(&c->out, slice_eq(id, boss));
    out_text(&c->out, phase);
    out_int(&c->out, active);
    out_int(&c->out, slots);
    out_text(&c->out, buf_slice(&queues));
    out_text(&c->out, version);
    out_text(&c->out, role);
    if (json_int(json_get(json_root(doc), "clock_ahead_ms"), &ahead))
        out_int(&c->out, ahead);
    else /* its first beat, or it is older than this */
        out_age(&c->out, -1);
    buf_deinit(&queues);
    json_free(doc);
    redis_reply_free(r);
    return CTL_OK;
}

static int worker_ls(struct ctl *c, const struct args *a)
{
    struct redis_reply *list = NULL, *boss = NULL;
    int64_t limit, cursor, now;
    char from[24], to[24];
    struct key workers, seat;
    struct err err = {0};
    int code;

    if ((code = ctl_flag_int(c, a, 0, 1, 1000, 100, &limit)) ||
        (code = ctl_flag_int(c, a, 1, 0, INT32_MAX, 0, &cursor)) || (code = ctl_connect(c)) ||
        (code = ctl_now(c, &now)))
        return code;
    key_workers(&workers, CTL_SHARD);
    key_boss(&seat, CTL_SHARD);
    snprintf(from, sizeof from, "%" PRId64, cursor);
    snprintf(to, sizeof to, "%" PRId64, cursor + limit - 1);
    boss = link_ask(c->link, &err, "GET", seat.s);
    if (boss)
        list = link_ask(c->link, &err, "ZRANGE", workers.s, from, to, "REV", "WITHSCORES");
    if (list) {
        out_list(&c->out, columns, ARRAY_LEN(columns));
        for (size_t i = 0; code == CTL_OK && i + 1 < redis_reply_len(list); i += 2)
            code = row(c, redis_reply_str(redis_reply_at(list, i)),
                       ctl_score(redis_reply_str(redis_reply_at(list, i + 1))), now,
                       redis_reply_str(boss));
    } else {
        code = ctl_fail(c, &err);
    }
    if (code == CTL_OK) {
        out_list_end(&c->out, "no workers");
        if ((int64_t)redis_reply_len(list) == 2 * limit)
            out_note(&c->out, "more: --cursor %" PRId64, cursor + limit);
    }
    redis_reply_free(list);
    redis_reply_free(boss);
    return code;
}

static const struct flag ls_flags[] = {LIST_FLAGS};

const struct verb worker_verbs[] = {
    {.noun = "worker",
     .name = "ls",
     .usage = "[--limit N] [--cursor N]",
     .help = "List workers: alive or gone, what they are doing, who keeps house",
     .flags = ls_flags,
     .flag_count = ARRAY_LEN(ls_flags),
     .run = worker_ls},
    {.name = NULL},
};

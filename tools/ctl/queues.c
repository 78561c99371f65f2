#include "tools/ctl/queues.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/key.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/link.h"

#define WORKERS_MAX "200"
#define SCAN_CALLS  20 /* of 1000 keys: the key space may be huge, a look must not be */

static void add_name(struct queues *n, struct slice name, int64_t workers)
{
    if (!id_is_queue(name))
        return;
    for (size_t i = 0; i < n->count; i++) {
        if (slice_is(name, n->queue[i].name)) {
            n->queue[i].workers += workers;
            return;
        }
    }
    if (n->count == QUEUES_MAX) {
        n->more = true;
        return;
    }
    slice_copy(name, n->queue[n->count].name, sizeof n->queue[0].name);
    n->queue[n->count++].workers = workers;
}

/* QUEUE~ is ours: what waits there for its tenant's turn (key_lane). */
static bool is_misnamed(struct slice name)
{
    bool lane = name.len > 0 && name.ptr[name.len - 1] == '~';

    return !id_is_queue(lane ? slice_sub(name, 0, name.len - 1) : name);
}

/* A name from a key: somebody may have put it there by mistake. */
static void add_found(struct queues *n, struct slice name)
{
    if (!is_misnamed(name)) {
        add_name(n, name, 0);
        return;
    }
    if (n->misnamed++ == 0)
        slice_copy(slice_sub(name, 0, ID_MAX), n->misnamed_one, sizeof n->misnamed_one);
}

/* A worker's line says until when it is taken for alive. */
static bool is_alive(struct ctl *c, struct slice worker, int64_t now_ms)
{
    struct redis_reply *r;
    struct key workers;
    bool alive;

    key_workers(&workers, CTL_SHARD);
    const struct slice argv[] = {SLICE_LIT("ZSCORE"), key_slice(&workers), worker};

    r = link_argv(c->link, ARRAY_LEN(argv), argv, NULL);
    alive = ctl_score(redis_reply_str(r)) > now_ms;
    redis_reply_free(r);
    return alive;
}

static void read_numbers(struct queues *n, struct slice numbers, bool alive)
{
    struct json *doc = json_parse(numbers, NULL);
    int64_t active = 0, slots = 0;
    const struct json_val *v;
    struct json_iter it;
    struct slice key, name;

    json_int(json_get(json_root(doc), "active"), &active);
    json_int(json_get(json_root(doc), "slots"), &slots);
    n->active += alive ? active : 0;
    n->slots += alive ? slots : 0;
    json_iter_init(&it, json_get(json_root(doc), "queues"));
    while (json_iter_next(&it, &key, &v)) {
        if (json_str(v, &name))
            add_name(n, name, alive);
    }
    json_free(doc);
}

/* The queues that workers say they work on. */
static int ask_workers(struct queues *n, struct ctl *c, int64_t now_ms)
{
    const struct redis_reply *lines;
    struct redis_reply *r;
    struct err err = {0};
    struct key numbers;

    key_worker_numbers(&numbers, CTL_SHARD);
    r = link_ask(c->link, &err, "HSCAN", numbers.s, "0", "COUNT", WORKERS_MAX);
    if (!r)
        return ctl_fail(c, &err);
    lines = redis_reply_at(r, 1);
    for (size_t i = 0; i + 1 < redis_reply_len(lines); i += 2)
        read_numbers(n, redis_reply_str(redis_reply_at(lines, i + 1)),
                     is_alive(c, redis_reply_str(redis_reply_at(lines, i)), now_ms));
    redis_reply_free(r);
    return CTL_OK;
}

/* The queues that nobody works on: a bounded walk over the keys. */
static int scan_keys(struct queues *n, struct ctl *c)
{
    char cursor[24] = "0", pattern[300];
    struct err err = {0};
    struct key base;
    size_t used = 0;

    key_queue(&base, CTL_SHARD, SLICE_NONE);
    for (size_t i = 0; i < base.len; i++) { /* {s0} means itself, not a choice, to MATCH */
        if (strchr("[]*?\\{}", base.s[i]))
            pattern[used++] = '\\';
        pattern[used++] = base.s[i];
    }
    snprintf(pattern + used, sizeof pattern - used, "*");
    for (int call = 0; call < SCAN_CALLS; call++) {
        struct redis_reply *r = link_ask(c->link, &err, "SCAN", cursor, "MATCH", pattern, "COUNT",
                                         "1000", "TYPE", "stream");
        const struct redis_reply *keys = redis_reply_at(r, 1);

        if (!r)
            return ctl_fail(c, &err);
        for (size_t i = 0; i < redis_reply_len(keys); i++) {
            struct slice key = redis_reply_str(redis_reply_at(keys, i));

            add_found(n, slice_sub(key, base.len, key.len));
        }
        slice_copy(redis_reply_str(redis_reply_at(r, 0)), cursor, sizeof cursor);
        redis_reply_free(r);
        if (strcmp(cursor, "0") == 0)
            return CTL_OK;
    }
    n->more = true;
    return CTL_OK;
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct queue_seen *)a)->name, ((const struct queue_seen *)b)->name);
}

static bool is_named(const struct args *a, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->names[i], name) == 0)
            return true;
    return false;
}

static void keep_named(struct queues *n, const struct args *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < n->count; i++)
        if (is_named(a, n->queue[i].name))
            n->queue[kept++] = n->queue[i];
    n->count = kept;
    n->more = false;
}

int queues_read(struct queues *n, struct ctl *c, const struct args *a, int64_t now_ms)
{
    int code;

    *n = (struct queues){.count = 0};
    for (size_t i = 0; i < a->count; i++)
        add_name(n, slice_cstr(a->names[i]), 0);
    if (a->count == 0)
        add_name(n, SLICE_LIT("default"), 0);
    if ((code = ask_workers(n, c, now_ms)) || (a->count == 0 && (code = scan_keys(n, c))))
        return code;
    if (a->count > 0)
        keep_named(n, a);
    qsort(n->queue, n->count, sizeof n->queue[0], compare);
    return CTL_OK;
}

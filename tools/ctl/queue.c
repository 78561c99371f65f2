/* awq-ctl queue: how much lies where. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/key.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/link.h"

#define QUEUES_MAX  64
#define WORKERS_MAX "200"
#define SCAN_CALLS  20 /* of 1000 keys: the key space may be huge, a look must not be */

struct names {
    char name[QUEUES_MAX][ID_MAX + 1];
    size_t count;
    bool more; /* there may be others */
};

static void add_name(struct names *n, struct slice name)
{
    if (!id_is_queue(name))
        return;
    for (size_t i = 0; i < n->count; i++) {
        if (slice_is(name, n->name[i]))
            return;
    }
    if (n->count == QUEUES_MAX)
        n->more = true;
    else
        slice_copy(name, n->name[n->count++], sizeof n->name[0]);
}

/* The queues that workers say they work on. */
static int ask_workers(struct ctl *c, struct names *n)
{
    struct redis_reply *r;
    struct err err = {0};
    struct key numbers;
    int code = CTL_OK;

    key_worker_numbers(&numbers, CTL_SHARD);
    r = link_ask(c->link, &err, "HSCAN", numbers.s, "0", "COUNT", WORKERS_MAX);
    if (!r)
        return ctl_fail(c, &err);
    for (size_t i = 1; i < redis_reply_len(redis_reply_at(r, 1)); i += 2) {
        struct json *doc =
            json_parse(redis_reply_str(redis_reply_at(redis_reply_at(r, 1), i)), NULL);
        const struct json_val *v;
        struct json_iter it;
        struct slice key, name;

        json_iter_init(&it, json_get(json_root(doc), "queues"));
        while (json_iter_next(&it, &key, &v)) {
            if (json_str(v, &name))
                add_name(n, name);
        }
        json_free(doc);
    }
    redis_reply_free(r);
    return code;
}

/* The queues that nobody works on: a bounded walk over the keys. */
static int scan_keys(struct ctl *c, struct names *n)
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

            add_name(n, slice_sub(key, base.len, key.len));
        }
        slice_copy(redis_reply_str(redis_reply_at(r, 0)), cursor, sizeof cursor);
        redis_reply_free(r);
        if (strcmp(cursor, "0") == 0)
            return CTL_OK;
    }
    n->more = true;
    return CTL_OK;
}

/* One number; `otherwise` where Redis has an error for it (no group yet). */
static int64_t number(struct ctl *c, const char *command, const char *key, const char *arg,
                      int64_t otherwise)
{
    struct redis_reply *r = link_ask(c->link, NULL, command, key, arg);
    int64_t n = otherwise;

    if (redis_reply_type(r) == REDIS_ARRAY) /* XPENDING's summary begins with how many */
        n = redis_reply_int(redis_reply_at(r, 0), otherwise);
    else if (r)
        n = redis_reply_int(r, otherwise);
    redis_reply_free(r);
    return n;
}

/* When the oldest entry was put: its id begins with the time. 0 = there is none. */
static int64_t oldest_ms(struct ctl *c, const char *key)
{
    struct redis_reply *r = link_ask(c->link, NULL, "XRANGE", key, "-", "+", "COUNT", "1");
    struct slice id = redis_reply_str(redis_reply_at(redis_reply_at(r, 0), 0));
    int64_t ms = 0;

    slice_to_i64(slice_sub(id, 0, slice_find(id, '-')), &ms);
    redis_reply_free(r);
    return ms;
}

static const char *const columns[] = {"queue", "ready", "in_flight", "oldest_age_ms"};
static const char *const table_columns[] = {"queue", "ready", "in_flight", "oldest_age"};

static void row(struct ctl *c, const char *name, int64_t now)
{
    struct key queue;
    int64_t all, pending, oldest;

    key_queue(&queue, CTL_SHARD, slice_cstr(name));
    all = number(c, "XLEN", queue.s, NULL, 0);
    pending = number(c, "XPENDING", queue.s, "w", 0);
    oldest = oldest_ms(c, queue.s);
    out_row(&c->out);
    out_cstr(&c->out, name);
    out_int(&c->out, all > pending ? all - pending : 0);
    out_int(&c->out, pending);
    out_age(&c->out, oldest > 0 ? (now > oldest ? now - oldest : 0) : -1);
}

static void aside(struct ctl *c)
{
    struct key held, due, dead;
    int64_t in_due, in_dead, in_held;

    key_held(&held, CTL_SHARD);
    key_due(&due, CTL_SHARD);
    key_dead(&dead, CTL_SHARD);
    in_due = number(c, "ZCARD", due.s, NULL, 0);
    in_dead = number(c, "ZCARD", dead.s, NULL, 0);
    in_held = number(c, "HLEN", held.s, NULL, 0) - in_due - in_dead;
    out_note(&c->out,
             "set aside: %" PRId64 " due later, %" PRId64 " parked, %" PRId64 " dead letters",
             in_due, in_held > 0 ? in_held : 0, in_dead);
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int queue_ls(struct ctl *c, const struct args *a)
{
    struct names n = {.count = 0};
    struct err err = {0};
    struct redis_reply *r;
    int64_t now;
    int code;

    (void)a;
    if ((code = ctl_connect(c)) || (code = ctl_now(c, &now)))
        return code;
    add_name(&n, SLICE_LIT("default"));
    if ((code = ask_workers(c, &n)) || (code = scan_keys(c, &n)))
        return code;
    qsort(n.name, n.count, sizeof n.name[0], compare);
    out_list(&c->out, c->out.json ? columns : table_columns, ARRAY_LEN(columns));
    for (size_t i = 0; i < n.count; i++)
        row(c, n.name[i], now);
    r = link_ask(c->link, &err, "PING"); /* numbers that could not be read are not 0 */
    if (!r)
        return ctl_fail(c, &err);
    redis_reply_free(r);
    out_list_end(&c->out, "no queues");
    if (!c->out.json)
        aside(c);
    if (n.more)
        out_note(&c->out, "There may be more queues: the key space is larger than one look.");
    return CTL_OK;
}

const struct verb queue_verbs[] = {
    {.noun = "queue",
     .name = "ls",
     .usage = "",
     .help = "List queues: ready, in flight, age of the oldest; and what is set aside",
     .run = queue_ls},
    {.name = NULL},
};

/* awq-ctl dead: dead letters, the jobs that need a person. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/key.h"
#include "common/wire.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/letter.h"
#include "tools/ctl/link.h"

#define AT_A_TIME  500
#define RUN_TTL_MS "600000" /* a purged run is remembered as long as a finished one */

static struct redis_reply *held_of(struct ctl *c, struct slice name, struct err *err)
{
    struct key held;

    key_held(&held, CTL_SHARD);
    const struct slice argv[] = {SLICE_LIT("HGET"), key_slice(&held), name};

    return link_argv(c->link, ARRAY_LEN(argv), argv, err);
}

/* ---- ls -----------------------------------------------------------------------------------------
 */

static const char *const columns[] = {"name", "id", "buried", "queue", "code", "text"};

static int row(struct ctl *c, struct slice name, int64_t ms)
{
    struct letter l = {.buried_ms = 0};
    struct err err = {0};
    struct redis_reply *r = held_of(c, name, &err);

    if (!r)
        return ctl_fail(c, &err);
    letter_read(&l, redis_reply_str(r));
    out_row(&c->out);
    out_text(&c->out, name);
    out_text(&c->out, envelope_id(l.j));
    out_time(&c->out, ms);
    out_text(&c->out, l.queue);
    out_text(&c->out, l.code);
    out_text(&c->out, l.text);
    redis_reply_free(r);
    return CTL_OK;
}

static int dead_ls(struct ctl *c, const struct args *a)
{
    int64_t limit, cursor, now;
    struct redis_reply *list;
    char from[24], to[24];
    struct err err = {0};
    struct key dead;
    int code;

    if ((code = ctl_flag_int(c, a, 0, 1, 1000, 100, &limit)) ||
        (code = ctl_flag_int(c, a, 1, 0, INT32_MAX, 0, &cursor)) || (code = ctl_connect(c)) ||
        (code = ctl_now(c, &now)))
        return code;
    key_dead(&dead, CTL_SHARD);
    snprintf(from, sizeof from, "%" PRId64, cursor);
    snprintf(to, sizeof to, "%" PRId64, cursor + limit - 1);
    list = link_ask(c->link, &err, "ZRANGE", dead.s, from, to, "REV", "WITHSCORES");
    if (!list)
        return ctl_fail(c, &err);
    out_list(&c->out, columns, ARRAY_LEN(columns));
    for (size_t i = 0; code == CTL_OK && i + 1 < redis_reply_len(list); i += 2)
        code = row(c, redis_reply_str(redis_reply_at(list, i)),
                   ctl_score(redis_reply_str(redis_reply_at(list, i + 1))));
    if (code == CTL_OK) {
        out_list_end(&c->out, "no dead letters");
        if ((int64_t)redis_reply_len(list) == 2 * limit)
            out_note(&c->out, "more: --cursor %" PRId64, cursor + limit);
    }
    redis_reply_free(list);
    return code;
}

/* ---- show ---------------------------------------------------------------------------------------
 */

/* The call that could not be made, without what it may carry: no header values, no body, no query.
 */
static void show_call(struct out *o, struct slice j)
{
    struct envelope env;
    struct err err = {0};

    envelope_init(&env);
    if (envelope_decode(&env, j, WIRE_MAX_DEFAULT * 64, &err)) {
        out_key(o, "connection");
        out_text(o, env.call.conn);
        out_key(o, "method");
        out_text(o, env.call.method);
        out_key(o, "url");
        out_text(o, slice_sub(env.call.url, 0, slice_find(env.call.url, '?')));
        out_key(o, "step");
        out_int(o, env.k.position);
        out_key(o, "steps");
        out_int(o, env.call_count);
        out_key(o, "attempts");
        out_int(o, (int64_t)env.k.attempt + 1); /* which one it ended at, as its result says */
        out_key(o, "deadline");
        out_time(o, env.deadline);
        out_key(o, "results_to");
        out_text(o, env.out);
    } else {
        out_key(o, "envelope");
        out_cstr(o, err.msg);
    }
    envelope_deinit(&env);
}

static int dead_show(struct ctl *c, const struct args *a)
{
    struct slice name = slice_cstr(a->names[0]);
    struct redis_reply *r;
    struct err err = {0};
    struct letter l;
    int64_t now;
    int code;

    if ((code = ctl_connect(c)) || (code = ctl_now(c, &now)))
        return code;
    r = held_of(c, name, &err);
    if (!r)
        return ctl_fail(c, &err);
    if (redis_reply_type(r) != REDIS_STR || !letter_read(&l, redis_reply_str(r)) ||
        l.buried_ms == 0) {
        redis_reply_free(r);
        return ctl_say(CTL_NOT_FOUND, "no dead letter %.96s; awq-ctl dead ls lists their names",
                       a->names[0]);
    }
    out_thing(&c->out);
    out_key(&c->out, "name");
    out_text(&c->out, name);
    out_key(&c->out, "id");
    out_text(&c->out, envelope_id(l.j));
    out_key(&c->out, "buried");
    out_time(&c->out, l.buried_ms);
    out_key(&c->out, "code");
    out_text(&c->out, l.code);
    out_key(&c->out, "text");
    out_text(&c->out, l.text);
    out_key(&c->out, "queue");
    out_text(&c->out, l.queue);
    out_key(&c->out, "reclaims");
    out_text(&c->out, l.d);
    out_key(&c->out, "envelope_bytes");
    out_int(&c->out, (int64_t)l.j.len);
    show_call(&c->out, l.j);
    out_thing_end(&c->out);
    redis_reply_free(r);
    return CTL_OK;
}

/* ---- replay, purge ------------------------------------------------------------------------------
 */

enum { D_ALL, D_LIMIT };

struct each {
    struct ctl *c;
    bool purge;
    size_t done, missing, failed;
};

/* The queue that a letter came from, and the record of the id that its envelope names, if it does.
 */
static bool origin_of(struct each *e, struct slice name, struct key *queue, struct key *named,
                      bool *there, struct err *err)
{
    struct redis_reply *r = held_of(e->c, name, err);
    struct slice id;
    struct letter l;

    *there = r && letter_read(&l, redis_reply_str(r)) && id_is_queue(l.queue);
    if (*there) {
        id = envelope_id(l.j);
        key_queue(queue, CTL_SHARD, l.queue);
        key_run(named, CTL_SHARD, id.len > 0 ? id : SLICE_LIT("none"));
    }
    redis_reply_free(r);
    return r != NULL;
}

static struct redis_reply *act(struct each *e, struct slice name, bool *there, struct err *err)
{
    struct job_name parts;
    struct key dead, held, run, queue, named;
    bool job = job_name_parse(name, &parts);

    *there = job || e->purge; /* a line of somebody else's can be forgotten, not replayed */
    if (!*there)
        return NULL;
    key_dead(&dead, CTL_SHARD);
    key_held(&held, CTL_SHARD);
    key_run(&run, CTL_SHARD, job ? parts.run : SLICE_LIT("none"));
    if (e->purge) {
        struct slice argv[5] = {key_slice(&dead), key_slice(&held)};
        size_t n = 2;

        if (job) /* else there is no run to end */
            argv[n++] = key_slice(&run);
        argv[n] = name;
        argv[n + 1] = SLICE_LIT(RUN_TTL_MS);
        return link_script(e->c->link, SCRIPT_purge, n, n + 2, argv, err);
    }
    if (!origin_of(e, name, &queue, &named, there, err) || !*there)
        return NULL;
    const struct slice argv[] = {key_slice(&dead), key_slice(&held),  key_slice(&queue),
                                 key_slice(&run),  key_slice(&named), name};

    return link_script(e->c->link, SCRIPT_replay, 5, ARRAY_LEN(argv), argv, err);
}

/* One letter. CTL_OK also when it could not be done: the others are tried. */
static int one(struct each *e, struct slice name)
{
    struct err err = {0};
    bool there;
    struct redis_reply *r = act(e, name, &there, &err);
    int code = CTL_OK;

    if (r && slice_is(redis_reply_str(r), "PASSED")) {
        e->missing++;
        ctl_say(0,
                "%.*s: its step has been done since, by another job of the same id: it would be "
                "dropped; dead purge forgets the letter",
                SLICE_FMT(slice_sub(name, 0, JOB_NAME_MAX)));
    } else if (!there || (r && !slice_is(redis_reply_str(r), "OK"))) {
        e->missing++;
        ctl_say(0, "no dead letter %.*s%s", SLICE_FMT(slice_sub(name, 0, JOB_NAME_MAX)),
                e->purge ? "" : " that could be replayed; dead ls lists them, dead purge forgets");
    } else if (!r) {
        e->failed++;
        code = ctl_fail(e->c, &err);
    } else {
        e->done++;
        out_note(&e->c->out, "%.*s", SLICE_FMT(name));
    }
    redis_reply_free(r);
    return code == CTL_UNREACHABLE ? code : CTL_OK;
}

/* All that lie here now, the oldest first. What is replayed and dies again lies at the end, and is
 * not replayed again. */
static int all_of(struct each *e, const struct args *a)
{
    struct redis_reply *list;
    struct err err = {0};
    struct key dead;
    int64_t limit, count;
    char from[24], to[24];
    int code;

    if ((code = ctl_flag_int(e->c, a, D_LIMIT, 1, INT32_MAX, INT32_MAX, &limit)))
        return code;
    key_dead(&dead, CTL_SHARD);
    if (!(list = link_ask(e->c->link, &err, "ZCARD", dead.s)))
        return ctl_fail(e->c, &err);
    count = redis_reply_int(list, 0);
    redis_reply_free(list);
    limit = limit < count ? limit : count;
    for (int64_t did = 0; code == CTL_OK && did < limit;) {
        size_t stayed = e->missing + e->failed;

        snprintf(from, sizeof from, "%zu", stayed);
        snprintf(to, sizeof to, "%zu", stayed + AT_A_TIME - 1);
        if (!(list = link_ask(e->c->link, &err, "ZRANGE", dead.s, from, to)))
            return ctl_fail(e->c, &err);
        for (size_t i = 0; code == CTL_OK && did < limit && i < redis_reply_len(list); i++, did++)
            code = one(e, redis_reply_str(redis_reply_at(list, i)));
        if (redis_reply_len(list) == 0)
            limit = did; /* somebody else took them */
        redis_reply_free(list);
    }
    if (code == CTL_OK && limit < count)
        out_note(&e->c->out, "%" PRId64 " more lie there", count - limit);
    return code;
}

static int for_each(struct ctl *c, const struct args *a, bool purge)
{
    struct each e = {.c = c, .purge = purge};
    int code;

    if (!a->flag[D_ALL] == (a->count == 0))
        return ctl_usage(c, "give names, or --all");
    if ((code = ctl_connect(c)))
        return code;
    if (a->flag[D_ALL])
        code = all_of(&e, a);
    for (size_t i = 0; code == CTL_OK && i < a->count; i++)
        code = one(&e, slice_cstr(a->names[i]));
    if (c->out.json) {
        out_thing(&c->out);
        out_key(&c->out, purge ? "purged" : "replayed");
        out_int(&c->out, (int64_t)e.done);
        out_key(&c->out, "not_found");
        out_int(&c->out, (int64_t)e.missing);
        out_key(&c->out, "failed");
        out_int(&c->out, (int64_t)e.failed);
        out_thing_end(&c->out);
    }
    out_note(&c->out, "%zu %s", e.done, purge ? "purged" : "put back on their queues");
    if (code != CTL_OK || e.missing + e.failed == 0)
        return code;
    return e.done > 0 ? CTL_PARTIAL : e.failed > 0 ? CTL_FAILED : CTL_NOT_FOUND;
}

static int dead_replay(struct ctl *c, const struct args *a)
{
    return for_each(c, a, false);
}

static int dead_purge(struct ctl *c, const struct args *a)
{
    return for_each(c, a, true);
}

static const struct flag ls_flags[] = {LIST_FLAGS};
static const struct flag each_flags[] = {
    [D_ALL] = {"--all", NULL, NULL, "all that lie there, the oldest first"},
    [D_LIMIT] = {"--limit", NULL, "N", "with --all: at most so many"},
};

const struct verb dead_verbs[] = {
    {.noun = "dead",
     .name = "ls",
     .usage = "[--limit N] [--cursor N]",
     .help = "List dead letters, newest first: which, since when, why",
     .flags = ls_flags,
     .flag_count = ARRAY_LEN(ls_flags),
     .run = dead_ls},
    {.noun = "dead",
     .name = "show",
     .usage = "NAME",
     .help = "Show one dead letter: why it lies here, and the call it would make",
     .more = "Header values, body and query are not shown: upstream may have put secrets there.",
     .least = 1,
     .most = 1,
     .run = dead_show},
    {.noun = "dead",
     .name = "replay",
     .usage = "NAME.. | --all [--limit N]",
     .help = "Put dead letters back on their queues, attempts begun anew, same Idempotency-Key",
     .flags = each_flags,
     .flag_count = ARRAY_LEN(each_flags),
     .most = 512,
     .changes = true,
     .run = dead_replay},
    {.noun = "dead",
     .name = "purge",
     .usage = "NAME.. | --all [--limit N]",
     .help = "Forget dead letters for good; their runs end as expired",
     .flags = each_flags,
     .flag_count = ARRAY_LEN(each_flags),
     .most = 512,
     .changes = true,
     .run = dead_purge},
    {.name = NULL},
};

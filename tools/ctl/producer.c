/* awq-ctl producer: who may sign jobs, and what they may do (common/producer.h). */
#include "common/producer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/key.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/link.h"
#include "tools/ctl/producer.h"

enum { F_KEY, F_QUEUES, F_CONNECTIONS, F_OUTS, F_INBOX };

static const struct flag add_flags[] = {
    [F_KEY] = {"--key", NULL, "HEX", "its public key, as producer keygen prints it"},
    [F_QUEUES] = {"--queues", NULL, "A,B*", "queues that it may use (default default)"},
    [F_CONNECTIONS] = {"--connections", NULL, "A,B*",
                       "connections that it may use: ids, or beginnings that end in *"},
    [F_OUTS] = {"--outs", NULL, "A,B*",
                "result streams that it may name (default results and its own name)"},
    [F_INBOX] = {"--inbox", NULL, NULL, "it writes to an inbox of its own, and to no queue"},
};

int producers_read(struct ctl *c, struct redis_reply **all)
{
    struct err err = {0};
    struct key key;

    key_producers(&key);
    *all = link_ask(c->link, &err, "HGETALL", key.s);
    return *all ? CTL_OK : ctl_fail(c, &err);
}

int producer_write(struct ctl *c, struct slice name, struct slice old, struct slice record,
                   bool *moved)
{
    struct err err = {0};
    struct redis_reply *r;
    struct key key;

    key_producers(&key);
    const struct slice argv[] = {key_slice(&key), name, old, record};

    r = link_script(c->link, SCRIPT_producer, 1, ARRAY_LEN(argv), argv, &err);
    if (!r)
        return ctl_fail(c, &err);
    *moved = slice_is(redis_reply_str(r), "MOVED");
    redis_reply_free(r);
    return CTL_OK;
}

static struct redis_reply *read_one(struct ctl *c, const char *name, struct err *err)
{
    struct key key;

    key_producers(&key);
    return link_ask(c->link, err, "HGET", key.s, name);
}

static int check_name(struct ctl *c, const struct args *a)
{
    if (!producer_is_name(slice_cstr(a->names[0])))
        return ctl_usage(c, "a producer's name is 1-%d of A-Z a-z 0-9 _ -", PRODUCER_NAME_MAX);
    return CTL_OK;
}

/* ---- keygen ---- */

static int producer_keygen(struct ctl *c, const struct args *a)
{
    char hex[PRODUCER_KEY_HEX + 1];
    struct producer_key *k;
    struct err err = {0};

    if (!producer_key_create(a->names[0], &err) || !(k = producer_key_load(a->names[0], &err)))
        return ctl_fail(c, &err);
    producer_key_public(k, hex);
    producer_key_free(k);
    if (c->out.json) {
        out_thing(&c->out);
        out_key(&c->out, "key");
        out_cstr(&c->out, hex);
        out_thing_end(&c->out);
    }
    out_note(&c->out, "%s", hex);
    ctl_say(0,
            "%s is the producer's secret: it goes there and nowhere else. The line printed is its "
            "public key, for: awq-ctl producer add NAME --key HEX --connections ...",
            a->names[0]);
    return CTL_OK;
}

/* ---- add ---- */

struct lists {
    struct slice of[3][PRODUCER_LIST_MAX];
    size_t count[3];
};

static int read_list(struct ctl *c, const struct args *a, size_t flag, const char *otherwise,
                     struct slice *to, size_t *n)
{
    struct slice rest = slice_cstr(a->flag[flag] ? a->flag[flag] : otherwise), one;

    while (slice_cut(&rest, ',', &one)) {
        if (!producer_is_pattern(one) || *n == PRODUCER_LIST_MAX)
            return ctl_usage(c,
                             "%s must be 1-%d names, or beginnings that end in *, commas between",
                             c->verb->flags[flag].name, PRODUCER_LIST_MAX);
        to[(*n)++] = one;
    }
    return *n > 0 ? CTL_OK : ctl_usage(c, "%s is missing", c->verb->flags[flag].name);
}

static int write_record(struct ctl *c, struct slice name, struct slice json)
{
    struct redis_reply *old = NULL;
    struct err err = {0};
    struct buf record;
    bool moved = true;
    int code = CTL_OK;

    buf_init(&record, PRODUCER_RECORD_MAX + 256);
    if (!producer_record(c->keyring, slice_cstr(c->common.prefix), name, json, &record, &err) ||
        !(old = read_one(c, name.ptr, &err)))
        code = ctl_fail(c, &err);
    if (code == CTL_OK)
        code = producer_write(c, name, redis_reply_str(old), buf_slice(&record), &moved);
    if (code == CTL_OK && moved)
        code = ctl_say(CTL_FAILED,
                       "producer %s was changed by somebody else just now; look, and try again",
                       name.ptr);
    redis_reply_free(old);
    buf_deinit(&record);
    return code;
}

static int producer_add(struct ctl *c, const struct args *a)
{
    struct lists *lists = calloc(1, sizeof *lists);
    struct producer *checked = NULL, p = {.inbox = a->flag[F_INBOX] != NULL};
    char outs[PRODUCER_NAME_MAX + 16];
    struct slice name = slice_cstr(a->names[0]);
    struct err err = {0};
    struct buf json;
    int code;

    if (!lists)
        return ctl_say(CTL_FAILED, "out of memory");
    buf_init(&json, PRODUCER_RECORD_MAX);
    snprintf(outs, sizeof outs, "results,%.*s", SLICE_FMT(slice_sub(name, 0, PRODUCER_NAME_MAX)));
    if ((code = check_name(c, a)) == CTL_OK &&
        (code = read_list(c, a, F_QUEUES, "default", lists->of[0], &lists->count[0])) == CTL_OK &&
        (code = read_list(c, a, F_CONNECTIONS, "", lists->of[1], &lists->count[1])) == CTL_OK)
        code = read_list(c, a, F_OUTS, outs, lists->of[2], &lists->count[2]);
    p.queues = lists->of[0];
    p.queue_count = lists->count[0];
    p.connections = lists->of[1];
    p.connection_count = lists->count[1];
    p.outs = lists->of[2];
    p.out_count = lists->count[2];
    if (code == CTL_OK && !slice_copy(slice_cstr(a->flag[F_KEY]), p.key, sizeof p.key))
        code = ctl_usage(c, "--key must be %d hex digits", PRODUCER_KEY_HEX);
    if (code == CTL_OK &&
        (!producer_to_json(&json, &p) || !(checked = producer_parse(name, buf_slice(&json), &err))))
        code = ctl_usage(c,
                         "--key must be a public key: %d hex digits, in lower case, as producer "
                         "keygen prints it",
                         PRODUCER_KEY_HEX);
    if (code == CTL_OK && (code = ctl_keys(c)) == CTL_OK && (code = ctl_connect(c)) == CTL_OK &&
        (code = ctl_meta(c)) == CTL_OK &&
        (code = write_record(c, name, buf_slice(&json))) == CTL_OK &&
        (code = conn_announce_change(c)) == CTL_OK)
        out_note(&c->out, "producer %s: written; its jobs' ids begin with \"%s:\"", a->names[0],
                 a->names[0]);
    producer_free(checked);
    buf_deinit(&json);
    free(lists);
    return code;
}

/* ---- ls, show, rm ---- */

static void show_list(struct out *o, const struct slice *all, size_t count)
{
    struct json_writer w;
    struct buf b;

    buf_init(&b, PRODUCER_RECORD_MAX);
    jw_init(&w, &b);
    if (o->json)
        jw_arr(&w);
    for (size_t i = 0; i < count; i++) {
        if (o->json) {
            jw_str(&w, all[i]);
        } else {
            buf_add_cstr(&b, i ? "," : "");
            buf_add_slice(&b, all[i]);
        }
    }
    if (o->json) {
        jw_end_arr(&w);
        out_json(o, buf_slice(&b));
    } else {
        out_text(o, buf_slice(&b));
    }
    buf_deinit(&b);
}

static void show_producer(struct out *o, const struct producer *p, bool row)
{
    static const char *const keys[] = {"name", "queues", "connections", "outs", "inbox", "key"};
    size_t i = 0;

#define NEXT (row ? (void)0 : out_key(o, keys[i])), i++
    NEXT;
    out_cstr(o, p->name);
    NEXT;
    show_list(o, p->queues, p->queue_count);
    NEXT;
    show_list(o, p->connections, p->connection_count);
    NEXT;
    show_list(o, p->outs, p->out_count);
    NEXT;
    out_bool(o, p->inbox);
    NEXT;
    out_cstr(o, p->key);
#undef NEXT
}

static int producer_ls(struct ctl *c, const struct args *a)
{
    static const char *const columns[] = {"name", "queues", "connections", "outs", "inbox", "key"};
    struct redis_reply *all = NULL;
    int code;

    (void)a;
    if ((code = ctl_keys(c)) || (code = ctl_connect(c)) || (code = producers_read(c, &all)))
        return code;
    out_list(&c->out, columns, ARRAY_LEN(columns));
    for (size_t i = 0; i + 1 < redis_reply_len(all); i += 2) {
        struct err err = {0};
        struct producer *p = producer_open(c->keyring, slice_cstr(c->common.prefix),
                                           redis_reply_str(redis_reply_at(all, i)),
                                           redis_reply_str(redis_reply_at(all, i + 1)), &err);

        if (p) {
            out_row(&c->out);
            show_producer(&c->out, p, true);
        } else {
            code = ctl_fail(c, &err);
        }
        producer_free(p);
    }
    out_list_end(&c->out, "no producers");
    redis_reply_free(all);
    return code;
}

static int producer_show(struct ctl *c, const struct args *a)
{
    struct redis_reply *r;
    struct err err = {0};
    struct producer *p;
    int code;

    if ((code = check_name(c, a)) || (code = ctl_keys(c)) || (code = ctl_connect(c)))
        return code;
    if (!(r = read_one(c, a->names[0], &err)))
        return ctl_fail(c, &err);
    if (redis_reply_type(r) != REDIS_STR) {
        redis_reply_free(r);
        return ctl_say(CTL_NOT_FOUND, "no producer %s", a->names[0]);
    }
    p = producer_open(c->keyring, slice_cstr(c->common.prefix), slice_cstr(a->names[0]),
                      redis_reply_str(r), &err);
    if (p) {
        out_thing(&c->out);
        show_producer(&c->out, p, false);
        out_thing_end(&c->out);
    }
    redis_reply_free(r);
    producer_free(p);
    return p ? CTL_OK : ctl_fail(c, &err);
}

static int producer_rm(struct ctl *c, const struct args *a)
{
    struct redis_reply *r;
    struct err err = {0};
    bool moved = false, there;
    int code;

    if ((code = check_name(c, a)) || (code = ctl_connect(c)))
        return code;
    if (!(r = read_one(c, a->names[0], &err)))
        return ctl_fail(c, &err);
    there = redis_reply_type(r) == REDIS_STR;
    if (there)
        code = producer_write(c, slice_cstr(a->names[0]), redis_reply_str(r), SLICE_NONE, &moved);
    redis_reply_free(r);
    if (code || (code = conn_announce_change(c)))
        return code;
    if (!there)
        return ctl_say(CTL_NOT_FOUND, "no producer %s", a->names[0]);
    if (moved)
        return ctl_say(CTL_FAILED,
                       "producer %s was changed by somebody else just now; look, and try again",
                       a->names[0]);
    out_note(&c->out, "producer %s: removed; what it put and has not begun becomes dead letters",
             a->names[0]);
    return CTL_OK;
}

const struct verb producer_verbs[] = {
    {.noun = "producer",
     .name = "keygen",
     .usage = "FILE",
     .help = "Make a producer's secret key in a new file, and print its public key",
     .least = 1,
     .most = 1,
     .run = producer_keygen},
    {.noun = "producer",
     .name = "add",
     .usage = "NAME --key HEX --connections A,B*",
     .help = "Let a producer sign jobs, and say what it may use; or change that",
     .more = "What is not said is as by default, also when the producer was there already.",
     .flags = add_flags,
     .flag_count = ARRAY_LEN(add_flags),
     .least = 1,
     .most = 1,
     .changes = true,
     .run = producer_add},
    {.noun = "producer",
     .name = "ls",
     .usage = "",
     .help = "List the producers that may sign jobs",
     .run = producer_ls},
    {.noun = "producer",
     .name = "show",
     .usage = "NAME",
     .help = "Show one producer: its public key and what it may use",
     .least = 1,
     .most = 1,
     .run = producer_show},
    {.noun = "producer",
     .name = "rm",
     .usage = "NAME",
     .help = "Take no further job of a producer, and no further step of those it put",
     .least = 1,
     .most = 1,
     .changes = true,
     .run = producer_rm},
    {.name = NULL},
};

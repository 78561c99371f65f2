#include "common/acl.h"

#include <stdarg.h>
#include <stdio.h>
#include "common/key.h"

enum { PLAIN = 0, S = ACL_SCRIPT, R = ACL_READS, F = ACL_FREE };

/* Every link greets so; AUTH needs no right. WAIT, UNBLOCK and the like are the worker's. */
#define GREET "ping info client|setname"

static const struct acl_row worker[] = {
    {"", NULL, GREET " select client|id client|unblock time wait", PLAIN},
    {"{s0}:q:*", NULL,
     "xreadgroup xadd xack xdel xpending xclaim xrange xgroup|create xgroup|delconsumer "
     "xinfo|consumers xinfo|groups xinfo|stream xlen", /* XLEN: the autoscaler of deploy/kubernetes
                                                        */
     S},
    {"{s0}:run:*", NULL, "hget hmget hset hsetnx hdel hexists del persist pexpire pexpireat", S},
    {"{s0}:out:*", NULL, "xadd xdel", S},
    {"{s0}:held", NULL, "hget hset hdel hexists hlen hrandfield", S},
    {"{s0}:due {s0}:dead {s0}:lots {s0}:park:*", NULL, "zadd zrem zcard zrange zscore", S},
    {"{s0}:workers", NULL, "zadd zrem zscore zrange", S},
    {"{s0}:w", NULL, "hset hdel", S},
    {"{s0}:boss", NULL, "get set del", S},
    {"{s0}:queues", NULL, "sadd smembers", S},
    {"{c:*}", NULL, "hget hmget hset hsetnx hdel hincrby", S},
    {"{c:*}:lease", NULL, "get set del pttl", S},
    {"{c:*}:lane", NULL, "zadd zrem zcard zrange zscore zremrangebyscore pexpireat", S},
    {"{s0}:in:*", NULL, "xlen xrange xdel", S},
    {"{s0}:id:* {s0}:run:*", NULL, "exists", S},
    {"{s0}:id:*", NULL, "set del", S},
    {"producers", NULL, "hgetall", R},
    {"{s0}:audit", NULL, "xadd", PLAIN},
    {"{s0}:audit:acts", NULL, "xrevrange", R},
    {"conns", NULL, "zadd zrem zrange", PLAIN},
    {"meta", NULL, "hget hmget hset hsetnx", PLAIN},
    {"", "wake changed", "publish subscribe", PLAIN},
};

static const struct acl_row ctl[] = {
    {"", NULL, GREET " select time scan", PLAIN},
    {"{s0}:q:*", NULL, "xadd xdel xlen xpending xrange type xinfo|groups xinfo|stream", S},
    {"{s0}:run:* {s0}:id:*", NULL, "exists", S},
    {"{s0}:id:*", NULL, "set", S},
    {"{s0}:run:*", NULL, "hget hmget hset hdel hexists hkeys del persist pexpire", S},
    {"{s0}:out:*", NULL, "xadd", S},
    {"{s0}:held", NULL, "hget hset hdel hexists hlen hscan type", S},
    {"{s0}:due {s0}:dead {s0}:lots {s0}:park:*", NULL, "zadd zrem zcard zrange zscore type", S},
    {"{s0}:workers", NULL, "zrange zscore zcount type", R},
    {"{s0}:w", NULL, "hget hscan type", R},
    {"{s0}:boss", NULL, "get exists", R},
    {"{s0}:queues", NULL, "smembers type", R},
    {"{s0}:audit:acts", NULL, "xrevrange persist xadd", S},
    {"{s0}:audit {s0}:audit:acts", NULL, "xrange xrevrange xinfo|stream", R},
    {"{s0}:in:*", NULL, "xlen", R},
    {"producers", NULL, "hget hset hdel", S},
    {"producers", NULL, "hgetall hget", R},
    {"{c:*}", NULL, "hget hmget hset hdel", S},
    {"{c:*} {c:*}:lease {c:*}:lane", NULL, "del", S},
    {"conns", NULL, "zadd zrem zrange", PLAIN},
    {"meta", NULL, "hget hmget hsetnx hincrby hdel", S},
    {"", "wake changed", "publish", PLAIN},
};

/* By XADD, by the enqueue script, and waiting for a result by the run record. */
static const struct acl_row producer[] = {
    {"", NULL, GREET " time", PLAIN},
    {"{s0}:q:*", NULL, "xadd xlen", S},
    {"{s0}:run:* {s0}:id:*", NULL, "exists", S},
    {"{s0}:id:*", NULL, "set", S},
    {"{s0}:run:*", NULL, "hmget hset hexists del", S},
    {"{s0}:held", NULL, "hexists hlen", S},
    {"{s0}:due", NULL, "zcard", S},
    {"{s0}:held", NULL, "hset", S | F}, /* a body names the queue that it is for */
    {"{s0}:due", NULL, "zadd zrange", S | F},
    {"{s0}:dead", NULL, "zcard", S},
    {"", "wake", "publish", PLAIN},
};

/* Nothing but an inbox, and the records of its own runs: their ids begin with its name. */
static const struct acl_row inbox[] = {
    {"", NULL, GREET, PLAIN},
    {"{s0}:in:*", NULL, "xadd xlen", PLAIN},
    {"{s0}:run:*", NULL, "hmget", R},
};

static const struct acl_row reader[] = {
    {"", NULL, GREET, PLAIN},
    {"{s0}:out:*", NULL, "xgroup|create xreadgroup xack", PLAIN},
    {"{s0}:run:*", NULL, "hmget", R},
};

static const struct {
    const char *name;
    const struct acl_row *rows;
    size_t count;
} roles[ACL_ROLES] = {
    [ACL_WORKER] = {"worker", worker, ARRAY_LEN(worker)},
    [ACL_CTL] = {"ctl", ctl, ARRAY_LEN(ctl)},
    [ACL_PRODUCER] = {"producer", producer, ARRAY_LEN(producer)},
    [ACL_READER] = {"reader", reader, ARRAY_LEN(reader)},
    [ACL_INBOX] = {"inbox", inbox, ARRAY_LEN(inbox)},
};

const char *acl_role_name(enum acl_role r)
{
    return roles[r].name;
}

bool acl_role_parse(struct slice name, enum acl_role *out)
{
    for (size_t i = 0; i < ACL_ROLES; i++) {
        if (slice_is(name, roles[i].name)) {
            *out = (enum acl_role)i;
            return true;
        }
    }
    return false;
}

size_t acl_rows(enum acl_role r, const struct acl_row **rows)
{
    *rows = roles[r].rows;
    return roles[r].count;
}

/* ---- the line ---- */

/* The names to put in the place of a pattern's star, or nothing. */
static struct slice narrowed(struct slice pattern, const struct acl_options *o)
{
    return slice_is(pattern, "{s0}:q:*")     ? o->queues
           : slice_is(pattern, "{s0}:out:*") ? o->out
           : slice_is(pattern, "{s0}:in:*")  ? o->inbox
                                             : SLICE_NONE;
}

/* One word, once. */
static void add_word(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add_word(struct buf *b, const char *fmt, ...)
{
    char word[300];
    struct slice rest = buf_slice(b), had;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(word, sizeof word, fmt, ap);
    va_end(ap);
    while (slice_cut(&rest, ' ', &had))
        if (slice_is(had, word))
            return;
    buf_addf(b, " %s", word);
}

static void add_keys(struct buf *b, const struct acl_row *row, const struct acl_options *o)
{
    const char *mark = (row->is & ACL_READS) && o->redis >= 7 ? "%R~" : "~";
    struct slice rest = slice_cstr(row->keys), key, names, name;

    while (slice_cut(&rest, ' ', &key)) {
        if (slice_is(key, "{s0}:run:*") && o->inbox.len > 0) {
            add_word(b, "%s%s:{s0}:run:%.*s:*", mark, keys_prefix(), SLICE_FMT(o->inbox));
            continue;
        }
        names = narrowed(key, o);
        if (names.len == 0)
            add_word(b, "%s%s:%.*s", mark, keys_prefix(), SLICE_FMT(key));
        while (slice_cut(&names, ',', &name))
            add_word(b, "%s%s:%.*s%.*s", mark, keys_prefix(), (int)key.len - 1, key.ptr,
                     SLICE_FMT(name));
    }
}

static void add_commands(struct buf *b, const struct acl_row *row)
{
    struct slice rest = slice_cstr(row->commands), command;

    while (slice_cut(&rest, ' ', &command))
        add_word(b, "+%.*s", SLICE_FMT(command));
}

static void add_channels(struct buf *b, const struct acl_row *row)
{
    struct slice rest = slice_cstr(row->channels ? row->channels : ""), channel;

    while (slice_cut(&rest, ' ', &channel))
        add_word(b, "&%s:%.*s", keys_prefix(), SLICE_FMT(channel));
}

static bool is_given(const struct acl_row *row, const struct acl_options *o)
{
    return !(row->is & ACL_FREE) || o->queues.len == 0;
}

static bool is_plain(const struct acl_row *row)
{
    return !row->keys[0] && !row->channels;
}

/* The user's own rules: what has no key, and scripts with the keys that they may declare. The
 * commands of a script then each need a row. */
static void add_scripts(struct buf *b, enum acl_role r, const struct acl_options *o)
{
    bool any = false;

    for (size_t i = 0; i < roles[r].count; i++) {
        const struct acl_row *row = &roles[r].rows[i];

        if ((row->is & ACL_SCRIPT) && is_given(row, o)) {
            add_keys(b, row, o);
            any = true;
        }
    }
    if (any)
        buf_add_cstr(b, " +evalsha +eval");
}

/* Before 7.0 a user has one set of rules. */
static void add_whole(struct buf *b, enum acl_role r, const struct acl_options *o)
{
    add_scripts(b, r, o);
    for (size_t i = 0; i < roles[r].count; i++) {
        const struct acl_row *row = &roles[r].rows[i];

        if (!is_given(row, o))
            continue;
        if (!(row->is & ACL_SCRIPT))
            add_keys(b, row, o);
        add_channels(b, row);
        add_commands(b, row);
    }
}

static void add_selectors(struct buf *b, enum acl_role r, const struct acl_options *o)
{
    add_scripts(b, r, o);
    for (size_t i = 0; i < roles[r].count; i++)
        if (is_plain(&roles[r].rows[i]))
            add_commands(b, &roles[r].rows[i]);
    for (size_t i = 0; i < roles[r].count; i++) {
        const struct acl_row *row = &roles[r].rows[i];
        struct buf one;

        if (is_plain(row) || !is_given(row, o))
            continue;
        buf_init(&one, 1 << 16);
        add_keys(&one, row, o);
        add_channels(&one, row);
        add_commands(&one, row);
        buf_addf(b, " (%.*s)", (int)one.len - 1, one.ptr + 1);
        buf_deinit(&one);
    }
}

bool acl_line(enum acl_role r, const struct acl_options *o, struct buf *out)
{
    if (o->user.len > 0)
        buf_addf(out, "user %.*s reset on", SLICE_FMT(o->user));
    else
        buf_addf(out, "user %s-%s reset on", keys_prefix(), roles[r].name);
    if (o->sha256.len > 0)
        buf_addf(out, " #%.*s", SLICE_FMT(o->sha256));
    buf_add_cstr(out, " resetchannels");
    if (o->redis >= 7)
        add_selectors(out, r, o);
    else
        add_whole(out, r, o);
    return buf_ok(out);
}

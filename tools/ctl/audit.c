/* awq-ctl audit: the newest lines of the audit streams, of operators and of workers together. */
#include "tools/ctl/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "common/key.h"
#include "tools/ctl/link.h"

#define LOOK_MAX 100000 /* lines of one stream that a search reads */

enum { T_LIMIT, T_CONNECTION, T_KIND };

static const struct flag tail_flags[] = {
    [T_LIMIT] = {"--limit", NULL, "N", "so many lines, 1-1000 (default 20)"},
    [T_CONNECTION] = {"--connection", NULL, "ID", "only of this connection"},
    [T_KIND] = {"--kind", NULL, "KIND", "only these: act, ended, renewal, use or dropped"},
};

/* One stream, read backwards a page at a time. */
struct source {
    struct ctl *c;
    const struct args *a;
    struct key key;
    struct redis_reply *page;
    size_t at, looked;
    char last[48]; /* entry id that was shown or passed last */
    bool ended;
    /* the line to show next */
    struct json *doc;
    int64_t t;
    char writer[128];
};

static bool is_wanted(const struct source *s, const struct json_val *line)
{
    struct slice text;

    if (s->a->flag[T_CONNECTION] && (!json_str(json_get(line, "connection"), &text) ||
                                     !slice_is(text, s->a->flag[T_CONNECTION]))) {
        const struct json_val *args = json_get(line, "args"), *arg;
        struct json_iter it;
        struct slice key;
        bool named = false;

        json_iter_init(&it, args);
        while (!named && args && json_iter_next(&it, &key, &arg))
            named = json_str(arg, &text) && slice_is(text, s->a->flag[T_CONNECTION]);
        if (!named)
            return false;
    }
    return !s->a->flag[T_KIND] ||
           (json_str(json_get(line, "kind"), &text) && slice_is(text, s->a->flag[T_KIND]));
}

static bool next_page(struct source *s, struct err *err)
{
    char from[64];

    snprintf(from, sizeof from, "%s%s", s->last[0] ? "(" : "+", s->last);
    redis_reply_free(s->page);
    s->at = 0;
    s->page = link_ask(s->c->link, err, "XREVRANGE", s->key.s, from, "-", "COUNT", AUDIT_PAGE);
    s->ended = redis_reply_len(s->page) < strtoul(AUDIT_PAGE, NULL, 10);
    return s->page != NULL;
}

/* Put the next line that is wanted into s->doc, or leave that NULL at the end. */
static bool advance(struct source *s, struct err *err)
{
    struct audit_line line;
    struct err bad = {0};
    struct slice id;

    json_free(s->doc);
    s->doc = NULL;
    while (!s->doc && s->looked < LOOK_MAX) {
        if (s->at >= redis_reply_len(s->page)) {
            if ((s->page && s->ended) || !next_page(s, err))
                return s->page != NULL;
            continue;
        }
        s->looked++;
        if (!audit_entry_read(redis_reply_at(s->page, s->at++), &id, &line) ||
            !slice_copy(id, s->last, sizeof s->last)) {
            slice_copy(id, s->last, sizeof s->last);
            continue;
        }
        s->doc = json_parse(line.text, &bad);
        slice_copy(slice_sub(line.writer, 0, sizeof s->writer - 1), s->writer, sizeof s->writer);
        if (s->doc && !is_wanted(s, json_root(s->doc))) {
            json_free(s->doc);
            s->doc = NULL;
        }
    }
    s->t = 0;
    json_int(json_get(json_root(s->doc), "t"), &s->t);
    return true;
}

/* What a line says beside its time, kind and connection. */
static void show_rest(struct out *o, const struct json_val *line)
{
    static const char *const skip[] = {"t", "prev", "kind", "connection"};
    const struct json_val *value;
    struct json_iter it;
    struct slice key, text;
    struct buf b;

    buf_init(&b, 2 * AUDIT_LINE_MAX);
    json_iter_init(&it, line);
    while (json_iter_next(&it, &key, &value)) {
        bool known = false;

        for (size_t i = 0; i < ARRAY_LEN(skip); i++)
            known = known || slice_is(key, skip[i]);
        if (known)
            continue;
        buf_addf(&b, "%s%.*s=", b.len ? " " : "", SLICE_FMT(key));
        if (json_str(value, &text))
            buf_add_slice(&b, text);
        else
            json_write(&b, value);
    }
    out_text(o, buf_slice(&b));
    buf_deinit(&b);
}

static void show(struct out *o, const struct source *s)
{
    const struct json_val *line = json_root(s->doc);
    struct slice kind = SLICE_NONE, connection = SLICE_NONE;
    struct buf raw;

    json_str(json_get(line, "kind"), &kind);
    json_str(json_get(line, "connection"), &connection);
    out_row(o);
    out_time(o, s->t);
    out_text(o, kind);
    out_text(o, connection);
    out_cstr(o, s->writer);
    if (!o->json) {
        show_rest(o, line);
        return;
    }
    buf_init(&raw, 2 * AUDIT_LINE_MAX);
    json_write(&raw, line);
    out_json(o, buf_slice(&raw));
    buf_deinit(&raw);
}

static bool is_kind(const char *text)
{
    static const char *const kinds[] = {"act", "ended", "renewal", "use", "dropped"};

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (slice_is(slice_cstr(text), kinds[i]))
            return true;
    return false;
}

static int audit_tail(struct ctl *c, const struct args *a)
{
    static const char *const columns[] = {"time", "kind", "connection", "writer", "line"};
    struct source s[2] = {{.c = c, .a = a}, {.c = c, .a = a}};
    struct err err = {0};
    int64_t limit, now;
    bool ok;
    int code;

    if (a->flag[T_KIND] && !is_kind(a->flag[T_KIND]))
        return ctl_usage(c, "--kind must be act, ended, renewal, use or dropped");
    if ((code = ctl_flag_int(c, a, T_LIMIT, 1, 1000, 20, &limit)) || (code = ctl_connect(c)) ||
        (code = ctl_now(c, &now)))
        return code;
    key_audit(&s[0].key, CTL_SHARD);
    key_audit_acts(&s[1].key, CTL_SHARD);
    out_list(&c->out, columns, ARRAY_LEN(columns));
    ok = advance(&s[0], &err) && advance(&s[1], &err);
    while (ok && limit-- > 0 && (s[0].doc || s[1].doc)) {
        struct source *newer = !s[1].doc || (s[0].doc && s[0].t >= s[1].t) ? &s[0] : &s[1];

        show(&c->out, newer);
        ok = advance(newer, &err);
    }
    if (ok)
        out_list_end(&c->out, "no such line in the audit streams");
    else
        out_list_drop(&c->out);
    for (size_t i = 0; i < ARRAY_LEN(s); i++) {
        if (ok && s[i].looked >= LOOK_MAX)
            out_note(&c->out, "%s: only its newest %d lines were looked through", s[i].key.s,
                     LOOK_MAX);
        json_free(s[i].doc);
        redis_reply_free(s[i].page);
    }
    return ok ? CTL_OK : ctl_fail(c, &err);
}

const struct verb audit_verbs[] = {
    {.noun = "audit",
     .name = "tail",
     .usage = "[--limit N] [--connection ID] [--kind KIND]",
     .help = "Show the newest lines of the audit streams, newest first",
     .more =
         "act: what an operator did; ended: how that went; renewal, use: what workers did with a\n"
         "token; dropped: so many lines are missing, for Redis was away too long.",
     .flags = tail_flags,
     .flag_count = ARRAY_LEN(tail_flags),
     .run = audit_tail},
    {.noun = "audit",
     .name = "verify",
     .usage = "[--retired IDS] [LOGFILE..]",
     .help = "Check every line of the audit streams, and with the checkpoints in workers' logs "
             "their ends",
     .more =
         "Finds a line that was altered, taken out or put in. Without log files nobody can tell\n"
         "whether the newest lines of a writer were taken off. A line without a keyed hash, or "
         "with\n"
         "one under a key that --keys does not have, is vouched for by a later line or checkpoint "
         "of\n"
         "its writer; where there is none, it is a problem. Exit 1 when something is wrong.",
     .flags = audit_verify_flags,
     .flag_count = 1,
     .most = 512,
     .run = audit_verify},
    {.name = NULL},
};

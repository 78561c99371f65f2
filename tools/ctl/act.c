#include "tools/ctl/act.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/audit.h"
#include "common/json.h"
#include "common/key.h"
#include "tools/ctl/link.h"

#define TRIES     20
#define LINES_MAX "100000"
#define WHO_MAX   64

const struct flag act_flags[2] = {
    {"--reason", NULL, "TEXT", "why, for the audit stream and whoever looks at it next"},
    {"--as", NULL, "NAME", "who does it, where the user of this machine does not tell"},
};

int act_check(const struct ctl *c, const struct args *a)
{
    struct slice reason = slice_cstr(a->flag[ACT_REASON]), as = slice_cstr(a->flag[ACT_AS]);

    if (c->verb->needs_reason && reason.len == 0)
        return ctl_usage(c, "--reason TEXT is missing");
    if (reason.len > ACT_REASON_MAX || !json_is_utf8(reason))
        return ctl_usage(c, "--reason is longer than %d bytes, or not UTF-8", ACT_REASON_MAX);
    if (as.len > WHO_MAX || !json_is_utf8(as) || (a->flag[ACT_AS] && as.len == 0))
        return ctl_usage(c, "--as must be 1 to %d bytes of UTF-8", WHO_MAX);
    return CTL_OK;
}

static int not_written(const struct ctl *c, struct err *err)
{
    err_prefix(err, "the audit stream was not written, %s: ",
               c->act_number > 0 ? "so it does not say how this ended" : "and nothing was done");
    return ctl_fail(c, err);
}

/* The chain's last line, as far as the next one needs it. */
struct head {
    char entry[48]; /* "" when there is none */
    uint64_t number;
    struct audit_digest digest;
};

static int read_head(struct ctl *c, const char *key, struct head *h)
{
    struct err err = {0};
    struct redis_reply *r = link_ask(c->link, &err, "XREVRANGE", key, "+", "-", "COUNT", "1");
    const struct redis_reply *entry = redis_reply_at(r, 0);
    struct audit_line last;
    struct slice id;

    *h = (struct head){.number = 0};
    if (!r)
        return not_written(c, &err);
    if (entry &&
        audit_entry_read(entry, &id, &last)) { /* behind anything else a new chain begins */
        h->number = last.number;
        h->digest = audit_digest(&last);
    }
    slice_copy(redis_reply_str(redis_reply_at(entry, 0)), h->entry, sizeof h->entry);
    redis_reply_free(r);
    return CTL_OK;
}

/* Adds the line behind the last one. *moved: somebody else was quicker. */
static int add_behind(struct ctl *c, const struct key *key, const struct head *h, struct slice text,
                      bool *moved)
{
    struct audit_line line = {.writer = SLICE_LIT(AUDIT_ACTS),
                              .number = h->number + 1,
                              .before = slice_of(h->digest.bytes, sizeof h->digest.bytes),
                              .text = text};
    struct redis_reply *r = NULL;
    struct err err = {0};
    char number[24];
    struct buf mac;

    snprintf(number, sizeof number, "%" PRIu64, line.number);
    buf_init(&mac, SEAL_MAC_BYTES);
    if (!c->keyring || audit_seal(c->keyring, slice_cstr(c->common.prefix), &line, &mac, &err)) {
        const struct slice argv[] = {key_slice(key), slice_cstr(h->entry), SLICE_LIT(LINES_MAX),
                                     line.writer,    slice_cstr(number),   line.before,
                                     line.text,      buf_slice(&mac)};

        r = link_script(c->link, SCRIPT_act, 1, ARRAY_LEN(argv), argv, &err);
    }
    buf_deinit(&mac);
    if (!r)
        return not_written(c, &err);
    *moved = slice_is(redis_reply_str(redis_reply_at(r, 0)), "MOVED");
    redis_reply_free(r);
    return CTL_OK;
}

static int add(struct ctl *c, struct slice text)
{
    struct head h;
    struct key key;
    bool moved = true;
    int code = CTL_OK;

    key_audit_acts(&key, CTL_SHARD);
    for (int i = 0; code == CTL_OK && moved && i < TRIES; i++) {
        if ((code = read_head(c, key.s, &h)) == CTL_OK)
            code = add_behind(c, &key, &h, text, &moved);
    }
    if (code)
        return code;
    if (moved)
        return ctl_say(CTL_FAILED,
                       "the audit stream was not written: others write to it all the time");
    c->act_number = h.number + 1;
    return CTL_OK;
}

/* ---- what a line says ---- */

static void add_who(struct json_writer *jw, const struct args *a)
{
    const struct passwd *me = getpwuid(geteuid());
    const char *sudo = getenv("SUDO_USER");
    char host[64] = "";

    gethostname(host, sizeof host - 1);
    jw_key(jw, "who");
    jw_cstr(jw, a->flag[ACT_AS] ? a->flag[ACT_AS] : sudo ? sudo : me ? me->pw_name : "?");
    jw_key(jw, "user");
    jw_cstr(jw, me ? me->pw_name : "?");
    jw_key(jw, "at");
    jw_cstr(jw, host);
}

/* The names and flags it was called with: none of them is a secret, secrets come from files. */
static void add_arguments(struct json_writer *jw, const struct ctl *c, const struct args *a)
{
    size_t shown = a->count < 20 ? a->count : 20;

    jw_key(jw, "args");
    jw_arr(jw);
    for (size_t i = 0; i < shown; i++)
        jw_str(jw, slice_sub(slice_cstr(a->names[i]), 0, 100));
    for (size_t i = 0; i < c->verb->flag_count; i++) {
        if (!a->flag[i])
            continue;
        jw_cstr(jw, c->verb->flags[i].name);
        if (c->verb->flags[i].value)
            jw_str(jw, slice_sub(slice_cstr(a->flag[i]), 0, 100));
    }
    jw_end_arr(jw);
    if (a->count > shown) {
        jw_key(jw, "more_names");
        jw_uint(jw, a->count - shown);
    }
}

static void begin(struct ctl *c, struct json_writer *jw, struct buf *text, const char *kind)
{
    char verb[40];

    snprintf(verb, sizeof verb, "%s %s", c->verb->noun, c->verb->name);
    buf_init(text, AUDIT_LINE_MAX);
    jw_init(jw, text);
    jw_obj(jw);
    jw_key(jw, "t");
    jw_int(jw, c->out.now_ms);
    jw_key(jw, "kind");
    jw_cstr(jw, kind);
    jw_key(jw, "act");
    jw_cstr(jw, verb);
}

int act_begin(struct ctl *c)
{
    int (*check)(struct ctl *) = c->verb->check ? c->verb->check : ctl_check_install;
    struct json_writer jw;
    struct buf text;
    int64_t now;
    int code;

    if (!c->verb->changes || c->act_number > 0)
        return CTL_OK;
    if (c->common.keys && ((code = ctl_keys(c)) || (code = check(c))))
        return code; /* a line under keys that are not the workers' is no one's line */
    if ((code = ctl_now(c, &now)))
        return code;
    begin(c, &jw, &text, "act");
    add_who(&jw, c->args);
    if (c->about.len == 0 && strcmp(c->verb->noun, "conn") == 0 && c->args->count > 0)
        c->about = slice_sub(slice_cstr(c->args->names[0]), 0, 100);
    if (c->about.len > 0) {
        jw_key(&jw, "connection");
        jw_str(&jw, c->about);
    }
    add_arguments(&jw, c, c->args);
    if (c->args->flag[ACT_REASON]) {
        jw_key(&jw, "reason");
        jw_cstr(&jw, c->args->flag[ACT_REASON]);
    }
    jw_end_obj(&jw);
    code = buf_ok(&text) ? add(c, buf_slice(&text))
                         : ctl_say(CTL_FAILED, "the arguments are too long for the audit stream");
    buf_deinit(&text);
    return code;
}

int act_end(struct ctl *c, int code)
{
    uint64_t of = c->act_number;
    struct json_writer jw;
    struct buf text;
    int64_t now;
    int wrote;

    if (of == 0 || code == CTL_UNREACHABLE)
        return code;
    if ((wrote = ctl_now(c, &now)) == CTL_OK) {
        begin(c, &jw, &text, "ended");
        jw_key(&jw, "of");
        jw_uint(&jw, of);
        jw_key(&jw, "exit");
        jw_int(&jw, code);
        jw_end_obj(&jw);
        wrote = add(c, buf_slice(&text));
        buf_deinit(&text);
    }
    return code ? code : wrote;
}

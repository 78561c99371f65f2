/* awq-ctl conn disable, enable, revoke, rm: take a connection out of use, and know that it is. */
#include "tools/ctl/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/clock.h"
#include "common/json.h"
#include "common/key.h"
#include "tools/ctl/act.h"
#include "tools/ctl/fleet.h"
#include "tools/ctl/link.h"

const struct flag conn_switch_flags[1] = {
    {"--timeout", NULL, "TIME", "wait so long for every living worker to know it (default 10s)"},
};

static int change_rev(struct ctl *c, int64_t *rev)
{
    struct redis_reply *r;
    struct key meta, changed;
    struct err err = {0};

    key_meta(&meta);
    key_changed(&changed);
    const struct slice argv[] = {key_slice(&meta)};

    r = link_script(c->link, SCRIPT_rev, 1, ARRAY_LEN(argv), argv, &err);
    if (!r)
        return ctl_fail(c, &err);
    *rev = redis_reply_int(r, 0);
    redis_reply_free(r);
    /* A hint may fail: workers look at the revision by themselves. */
    redis_reply_free(link_ask(c->link, NULL, "PUBLISH", changed.s, "*"));
    return CTL_OK;
}

int conn_announce_change(struct ctl *c)
{
    int64_t rev;

    return change_rev(c, &rev);
}

struct asked { /* how many know it */
    int64_t rev;
    size_t alive, know;
    char first[ID_MAX * 2]; /* who does not */
};

static void ask_one(void *owner, struct slice id, const struct json_val *beat)
{
    struct asked *a = owner;
    int64_t rev = -1;

    a->alive++;
    if (json_int(json_get(beat, "rev"), &rev) && rev >= a->rev)
        a->know++;
    else if (!a->first[0])
        snprintf(a->first, sizeof a->first, "%.*s", SLICE_FMT(slice_sub(id, 0, ID_MAX)));
}

/* A beat says which revision its worker knows. */
static int wait_for_fleet(struct ctl *c, int64_t rev, int64_t limit_ms, struct asked *a)
{
    int64_t until = clock_boot_ms() + limit_ms;
    int code;

    for (;;) {
        *a = (struct asked){.rev = rev};
        if ((code = fleet_each(c, ask_one, a)) || a->know == a->alive || clock_boot_ms() >= until)
            return code;
        link_sleep(c->link, 50);
    }
}

static int report(struct ctl *c, struct slice id, const char *what, bool already,
                  const struct asked *a)
{
    if (c->out.json) {
        out_thing(&c->out);
        out_key(&c->out, "id");
        out_text(&c->out, id);
        out_key(&c->out, "change");
        out_cstr(&c->out, what);
        out_key(&c->out, "workers");
        out_int(&c->out, (int64_t)a->alive);
        out_key(&c->out, "workers_know");
        out_int(&c->out, (int64_t)a->know);
        out_thing_end(&c->out);
    }
    if (a->alive == 0) {
        out_note(&c->out, "connection %.*s: %s%s; no worker is alive, and those that start know it",
                 SLICE_FMT(id), what, already ? " already" : "");
        return CTL_OK;
    }
    if (a->know == a->alive) {
        out_note(&c->out, "connection %.*s: %s%s; all %zu living workers know it", SLICE_FMT(id),
                 what, already ? " already" : "", a->alive);
        return CTL_OK;
    }
    return ctl_say(CTL_PARTIAL,
                   "connection %.*s: %s in Redis, and known to %zu of %zu living workers; not to "
                   "%s. A worker that reaches Redis knows it within a second; one that does not "
                   "starts no call once its lease is over. awq-ctl worker ls",
                   SLICE_FMT(id), what, a->know, a->alive, a->first);
}

/* The change is in Redis: see that the workers hear of it. */
static int spread(struct ctl *c, const struct args *args, struct slice id, const char *what,
                  bool already)
{
    int64_t rev = 0, limit_ms = 0;
    struct asked a;
    int code;

    if ((code = ctl_flag_ms(c, args, 0, 10000, &limit_ms)) || (code = change_rev(c, &rev)))
        return code;
    ctl_wake(c, id);
    if ((code = wait_for_fleet(c, rev, limit_ms, &a)))
        return code;
    return report(c, id, what, already, &a);
}

/* ---- the verbs ---- */

static int begin(struct ctl *c, const struct args *args, struct slice *id)
{
    int64_t limit_ms;
    int code = ctl_flag_ms(c, args, 0, 10000, &limit_ms);

    *id = slice_cstr(args->names[0]);
    if (code == CTL_OK && !id_is_connection(*id))
        return ctl_usage(c, "a connection id is 1-64 of A-Z a-z 0-9 _ : -");
    return code ? code : ctl_connect(c);
}

static int flip(struct ctl *c, const struct args *args, bool off, struct slice reason)
{
    const char *what = off ? "disabled" : "enabled";
    struct key conn, changed;
    struct redis_reply *r;
    struct err err = {0};
    struct slice id;
    bool none, same;
    int code = begin(c, args, &id);

    if (code)
        return code;
    key_conn(&conn, id);
    key_changed(&changed);
    const struct slice argv[] = {key_slice(&conn), off ? SLICE_LIT("1") : SLICE_LIT("0"), reason,
                                 key_slice(&changed), id};

    r = link_script(c->link, SCRIPT_disable, 1, ARRAY_LEN(argv), argv, &err);
    if (!r)
        return ctl_fail(c, &err);
    none = slice_is(redis_reply_str(r), "NONE");
    same = slice_is(redis_reply_str(r), "SAME");
    redis_reply_free(r);
    if (none)
        return ctl_say(CTL_NOT_FOUND, "no connection %.*s", SLICE_FMT(id));
    /* Also when it was so already: a try that died in between is finished by the next. */
    return spread(c, args, id, what, same);
}

int conn_disable(struct ctl *c, const struct args *a)
{
    return flip(c, a, true, slice_cstr(a->flag[ACT_REASON]));
}

int conn_enable(struct ctl *c, const struct args *a)
{
    return flip(c, a, false, SLICE_NONE);
}

/* What ends the waiting of its jobs. */
static void say_revoked(struct ctl *c, struct slice id, const struct redis_reply *had)
{
    struct connection_cfg *cfg =
        connection_cfg_parse(redis_reply_str(redis_reply_at(had, 5)), NULL);
    const char *secret = cfg ? grant_secret_name(cfg->grant) : NULL;

    out_note(&c->out,
             "connection %.*s: its tokens and secrets are gone from Redis; its jobs wait until",
             SLICE_FMT(id));
    if (cfg && grant_is_asked(cfg->grant))
        out_note(&c->out,
                 "conn apply puts the client's secret back, and conn link %.*s asks its owner.",
                 SLICE_FMT(id));
    else if (secret)
        out_note(&c->out, "conn apply links it with a new %s (or --relink).",
                 grant_is_renewed(cfg->grant) ? "refresh token" : secret);
    else
        out_note(&c->out, "conn apply --relink asks for its grant again.");
    connection_cfg_free(cfg);
}

int conn_revoke(struct ctl *c, const struct args *a)
{
    struct key conn, lease, changed;
    struct redis_reply *r;
    struct err err = {0};
    struct slice id, reason;
    int code, told;
    bool none;

    if ((code = begin(c, a, &id)))
        return code;
    reason = slice_cstr(a->flag[ACT_REASON]);
    key_conn(&conn, id);
    key_conn_lease(&lease, id);
    key_changed(&changed);
    const struct slice argv[] = {key_slice(&conn), key_slice(&lease), reason, key_slice(&changed),
                                 id};

    r = link_script(c->link, SCRIPT_revoke, 2, ARRAY_LEN(argv), argv, &err);
    if (!r)
        return ctl_fail(c, &err);
    none = slice_is(redis_reply_str(redis_reply_at(r, 0)), "NONE");
    if (none) {
        redis_reply_free(r);
        return ctl_say(CTL_NOT_FOUND, "no connection %.*s", SLICE_FMT(id));
    }
    say_revoked(c, id, r);
    code = spread(c, a, id, "revoked", false); /* nobody uses them here, before they end there */
    told = conn_tell_provider(c, id, r);
    redis_reply_free(r);
    return code ? code : told;
}

int conn_rm(struct ctl *c, const struct args *a)
{
    struct key conn, lease, lane, changed, conns;
    struct redis_reply *r, *had;
    struct err err = {0};
    struct slice id;
    int code, told;

    if ((code = begin(c, a, &id)))
        return code;
    key_conn(&conn, id);
    key_conn_lease(&lease, id);
    key_conn_lane(&lane, id);
    key_changed(&changed);
    key_conns(&conns);
    const struct slice argv[] = {key_slice(&conn), key_slice(&lease), key_slice(&lane),
                                 key_slice(&changed), id};

    had = link_script(c->link, SCRIPT_remove, 3, ARRAY_LEN(argv), argv, &err);
    if (!had)
        return ctl_fail(c, &err);
    /* Also when the record was gone: a try that died in between is finished by the next. */
    r = link_ask(c->link, &err, "ZREM", conns.s, a->names[0]);
    redis_reply_free(r);
    if (!r) {
        code = ctl_fail(c, &err);
    } else if (!slice_is(redis_reply_str(redis_reply_at(had, 0)), "OK")) {
        if ((code = conn_announce_change(c)) == CTL_OK) {
            ctl_wake(c, id);
            code = ctl_say(CTL_NOT_FOUND, "no connection %.*s", SLICE_FMT(id));
        }
    } else {
        out_note(&c->out,
                 "connection %.*s: its tokens and secrets are gone from Redis; its jobs are told.",
                 SLICE_FMT(id));
        code = spread(c, a, id, "removed", false);
        told = conn_tell_provider(c, id, had);
        code = code ? code : told;
    }
    redis_reply_free(had);
    return code;
}

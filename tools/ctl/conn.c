/* awq-ctl conn: list, show, refresh and remove connections; conn_apply.c and conn_test.c do the
 * rest. */
#include "tools/ctl/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/access.h"
#include "common/client_cert.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/key.h"
#include "tools/ctl/link.h"

#define ASK_AGAIN_MS 2000

struct redis_reply *conn_fetch(struct ctl *c, struct slice id, struct err *err)
{
    struct slice argv[CONNECTION_RECORD_ARGS];
    struct key conn;
    size_t words;

    key_conn(&conn, id);
    words = connection_record_ask(key_slice(&conn), argv);
    return link_argv(c->link, words, argv, err);
}

int conn_read(struct ctl *c, struct slice id, struct connection_record *rec,
              struct redis_reply **reply)
{
    struct err err = {0};

    *reply = NULL;
    if (!id_is_connection(id))
        return ctl_usage(c, "a connection id is 1-64 of A-Z a-z 0-9 _ : -");
    *reply = conn_fetch(c, id, &err);
    if (!*reply || !connection_record_read(rec, *reply, &err)) {
        err_prefix(&err, "connection %.*s: ", SLICE_FMT(id));
        redis_reply_free(*reply);
        *reply = NULL;
        return ctl_fail(c, &err);
    }
    if (rec->exists && !slice_is(rec->state, "REMOVED"))
        return CTL_OK;
    redis_reply_free(*reply);
    *reply = NULL;
    return ctl_say(CTL_NOT_FOUND, "no connection %.*s", SLICE_FMT(id));
}

/* ---- ls -----------------------------------------------------------------------------------------
 */

static const char *const ls_columns[] = {
    "id", "state", "grant", "generation", "version", "expires", "failed_at", "next_try", "why"};

/* What a person has to do comes first: no call is made before that, whenever the lane opens. Then
 * why no call is made although there is a token, then the last failure; of a renewal under way it
 * says nothing any more. */
static void why_of(const struct ctl *c, const struct redis_reply *r, char *to, size_t size)
{
    struct slice state = redis_reply_str(redis_reply_at(r, 0));
    bool disabled = slice_is(state, "DISABLED"), consent = slice_is(state, "NEEDS_CONSENT");
    bool held = redis_reply_int(redis_reply_at(r, 8), 0) > c->out.now_ms && !disabled && !consent;

    if (held && redis_reply_int(redis_reply_at(r, 10), 0) > 0)
        snprintf(to, size, "held: failures in a row");
    else if (held)
        snprintf(to, size, "held: the API answered %.*s",
                 SLICE_FMT(slice_sub(redis_reply_str(redis_reply_at(r, 9)), 0, 8)));
    else if (slice_is(state, "RENEWING"))
        to[0] = '\0';
    else
        snprintf(
            to, size, "%.*s",
            SLICE_FMT(slice_sub(redis_reply_str(redis_reply_at(r, disabled ? 11 : 7)), 0, 80)));
}

static int ls_row(struct ctl *c, struct slice id)
{
    char why[96];
    struct redis_reply *r;
    struct err err = {0};
    struct slice state;
    struct key conn;

    key_conn(&conn, id);
    r = link_ask(c->link, &err, "HMGET", conn.s, "state", "grant", "gen", "ver", "exp", "ft",
                 "next", "why", "cool", "cw", "bo", "dr");
    if (!r)
        return ctl_fail(c, &err);
    state = redis_reply_str(redis_reply_at(r, 0));
    if (state.len == 0 ||
        slice_is(state, "REMOVED")) { /* the index is a hint, the record decides */
        redis_reply_free(r);
        return CTL_OK;
    }
    out_row(&c->out);
    out_text(&c->out, id);
    out_text(&c->out, state);
    out_text(&c->out, redis_reply_str(redis_reply_at(r, 1)));
    out_int(&c->out, redis_reply_int(redis_reply_at(r, 2), 0));
    out_int(&c->out, redis_reply_int(redis_reply_at(r, 3), 0));
    out_time(&c->out, redis_reply_int(redis_reply_at(r, 4), 0));
    out_time(&c->out, redis_reply_int(redis_reply_at(r, 5), 0));
    out_time(&c->out, slice_is(state, "BACKOFF") ? redis_reply_int(redis_reply_at(r, 6), 0) : 0);
    why_of(c, r, why, sizeof why);
    out_cstr(&c->out, why);
    redis_reply_free(r);
    return CTL_OK;
}

static int conn_ls(struct ctl *c, const struct args *a)
{
    struct redis_reply *names;
    int64_t limit, cursor, now;
    char from[24], to[24];
    struct err err = {0};
    struct key conns;
    int code;

    if ((code = ctl_flag_int(c, a, 0, 1, 1000, 100, &limit)) ||
        (code = ctl_flag_int(c, a, 1, 0, INT32_MAX, 0, &cursor)) || (code = ctl_connect(c)) ||
        (code = ctl_now(c, &now)))
        return code;
    key_conns(&conns);
    snprintf(from, sizeof from, "%" PRId64, cursor);
    snprintf(to, sizeof to, "%" PRId64, cursor + limit - 1);
    names = link_ask(c->link, &err, "ZRANGE", conns.s, from, to);
    if (!names)
        return ctl_fail(c, &err);
    out_list(&c->out, ls_columns, ARRAY_LEN(ls_columns));
    for (size_t i = 0; code == CTL_OK && i < redis_reply_len(names); i++)
        code = ls_row(c, redis_reply_str(redis_reply_at(names, i)));
    if (code == CTL_OK) {
        out_list_end(&c->out, "no connections");
        if ((int64_t)redis_reply_len(names) == limit)
            out_note(&c->out, "more: --cursor %" PRId64, cursor + limit);
    }
    redis_reply_free(names);
    return code;
}

/* ---- show ---------------------------------------------------------------------------------------
 */

static void show_text(struct out *o, const char *key, struct slice s)
{
    out_key(o, key);
    out_text(o, s);
}

static void show_time(struct out *o, const char *key, int64_t ms)
{
    out_key(o, key);
    out_time(o, ms);
}

static void show_int(struct out *o, const char *key, int64_t n)
{
    out_key(o, key);
    out_int(o, n);
}

/* Sealed fields are said to be there, never shown: not even sealed. */
static void show_record(struct ctl *c, struct slice id, const struct connection_record *r)
{
    struct out *o = &c->out;
    struct json *cfg = json_parse(r->cfg, NULL);
    enum grant_kind grant = GRANT_REFRESH_TOKEN;
    bool known = grant_kind_parse(r->grant, &grant);

    out_thing(o);
    show_text(o, "id", id);
    show_text(o, "state", r->state);
    show_text(o, "grant", r->grant);
    show_int(o, "generation", (int64_t)r->gen);
    show_int(o, "version", (int64_t)r->ver);
    show_time(o, "expires", r->exp_ms);
    show_time(o, "renewed", r->born_ms);
    show_text(o, "scope", r->scope);
    out_key(o, "has_access_token");
    out_bool(o, r->at.len > 0);
    out_key(o, known && !grant_is_renewed(grant) ? "has_grant_secret" : "has_refresh_token");
    out_bool(o, r->rt.len > 0);
    out_key(o, "has_client_secret");
    out_bool(o, r->cs.len > 0);
    show_text(o, "disabled_because", r->disabled_why);
    show_time(o, "disabled", r->disabled_ms);
    show_text(o, "why", r->why);
    show_text(o, "last_failure", r->fail_text);
    show_time(o, "failed", r->fail_ms);
    show_int(o, "failed_tries", r->tries);
    show_time(o, "next_try", slice_is(r->state, "BACKOFF") ? r->next_ms : 0);
    show_time(o, "held_back_until", r->cool_ms);
    show_text(o, "held_back_by_status", r->trips > 0 ? SLICE_NONE : r->cool_why);
    show_int(o, "breaker_opened", r->trips);
    out_key(o, "settings");
    if (cfg)
        out_json(o, r->cfg);
    else
        out_text(o, SLICE_LIT("(not readable)"));
    json_free(cfg);
    out_thing_end(o);
}

static int conn_show(struct ctl *c, const struct args *a)
{
    struct slice id = slice_cstr(a->names[0]);
    struct connection_record rec = {.exists = false};
    struct redis_reply *reply;
    int64_t now;
    int code;

    if ((code = ctl_connect(c)) || (code = ctl_now(c, &now)) ||
        (code = conn_read(c, id, &rec, &reply)))
        return code;
    show_record(c, id, &rec);
    redis_reply_free(reply);
    return CTL_OK;
}

/* ---- refresh ------------------------------------------------------------------------------------
 */

/* What is looked at while a worker renews: version, time of the last failure, state. */
struct glance {
    uint64_t gen, ver;
    int64_t fail_ms, next_ms;
    char state[24], text[256];
    bool not_renewed;
};

static int look(struct ctl *c, struct slice id, struct glance *g)
{
    struct connection_record rec = {.exists = false};
    struct connection_cfg *cfg;
    struct err err = {0};
    struct redis_reply *reply;
    int code = conn_read(c, id, &rec, &reply);

    if (code != CTL_OK)
        return code;
    g->gen = rec.gen;
    g->ver = rec.ver;
    g->fail_ms = rec.fail_ms;
    g->next_ms = rec.next_ms;
    snprintf(g->state, sizeof g->state, "%.*s", SLICE_FMT(rec.state));
    snprintf(g->text, sizeof g->text, "%.*s: %.*s", SLICE_FMT(rec.why), SLICE_FMT(rec.fail_text));
    cfg = connection_cfg_parse(rec.cfg, &err);
    g->not_renewed = cfg && cfg->profile.not_renewed;
    connection_cfg_free(cfg);
    redis_reply_free(reply);
    return CTL_OK;
}

/* A score below 0 is an ask, made at that time: whoever renews looks whether a token was born
 * since. */
static int ask_since(struct ctl *c, struct slice id, int64_t since_ms)
{
    struct key conns, changed;
    struct redis_reply *r;
    struct err err = {0};
    char score[24];

    snprintf(score, sizeof score, "%" PRId64, -since_ms);
    key_conns(&conns);
    key_changed(&changed);
    const struct slice due[] = {SLICE_LIT("ZADD"), key_slice(&conns), slice_cstr(score), id};
    const struct slice hint[] = {SLICE_LIT("PUBLISH"), key_slice(&changed), id};

    r = link_argv(c->link, ARRAY_LEN(due), due, &err);
    if (!r)
        return ctl_fail(c, &err);
    redis_reply_free(r);
    redis_reply_free(link_argv(c->link, ARRAY_LEN(hint), hint, NULL)); /* a hint may fail */
    return CTL_OK;
}

int conn_ask(struct ctl *c, struct slice id)
{
    int64_t now_ms;
    int code = ctl_now(c, &now_ms);

    return code ? code : ask_since(c, id, now_ms);
}

/* Nobody would renew it now: why. */
static int check_renewable(struct slice id, const struct glance *g, int64_t now_ms)
{
    if (strcmp(g->state, "NEEDS_CONSENT") == 0)
        return ctl_say(CTL_FAILED,
                       "connection %.*s needs consent (%s): it cannot be renewed; link the account "
                       "again with conn apply (authorization_code, device_code: conn link)",
                       SLICE_FMT(id), g->text);
    if (g->not_renewed)
        return ctl_say(
            CTL_FAILED,
            "connection %.*s has token: {renewal: none}: its provider renews nothing. conn "
            "link asks its owner for another token",
            SLICE_FMT(id));
    if (strcmp(g->state, "BACKOFF") == 0 && g->next_ms > now_ms)
        return ctl_say(CTL_FAILED,
                       "connection %.*s is held back for %" PRId64 " s after a failure (%s); conn "
                       "test says what to do, conn apply of its file tries at once",
                       SLICE_FMT(id), (g->next_ms - now_ms + 999) / 1000, g->text);
    if (strcmp(g->state, "DISABLED") == 0)
        return ctl_say(CTL_FAILED, "connection %.*s is disabled; awq-ctl conn enable ends that",
                       SLICE_FMT(id));
    return CTL_OK;
}

/* Its time is over. */
static int not_in_time(struct ctl *c, struct slice id, const struct glance *g)
{
    struct connection_record rec = {.exists = false};
    struct renewal_now now;
    struct connection_cfg *cfg;
    struct redis_reply *reply;
    int code = conn_read(c, id, &rec, &reply);

    if (code != CTL_OK)
        return code;
    cfg = connection_cfg_parse(rec.cfg, NULL);
    code = conn_renewal(c, &rec, cfg, &now);
    connection_cfg_free(cfg);
    redis_reply_free(reply);
    if (code != CTL_OK)
        return code;
    if (now.under_way)
        return ctl_say(CTL_FAILED,
                       "connection %.*s: no new token in time: %s. It waits on (--timeout waits "
                       "longer here); conn test says what becomes of it",
                       SLICE_FMT(id), now.text);
    return ctl_say(CTL_FAILED,
                   "connection %.*s: no worker renewed it in time (state %s). It stays "
                   "due. Is a worker with the grant key alive? awq-ctl worker ls",
                   SLICE_FMT(id), g->state);
}

static int conn_refresh(struct ctl *c, const struct args *a)
{
    struct slice id = slice_cstr(a->names[0]);
    struct glance before, now;
    int64_t limit_ms, until, now_ms, again;
    int code;

    if ((code = ctl_flag_ms(c, a, 0, 30000, &limit_ms)) || (code = ctl_connect(c)) ||
        (code = look(c, id, &before)) || (code = ctl_now(c, &now_ms)) ||
        (code = check_renewable(id, &before, now_ms)) || (code = ask_since(c, id, now_ms)))
        return code;
    until = clock_boot_ms() + limit_ms;
    again = clock_boot_ms() + ASK_AGAIN_MS;
    for (;;) {
        /* who renewed just before us may have written its next look over our ask */
        if (clock_boot_ms() >= again) {
            if ((code = ask_since(c, id, now_ms)))
                return code;
            again += ASK_AGAIN_MS;
        }
        if ((code = look(c, id, &now)))
            return code;
        if (now.gen != before.gen || now.ver != before.ver) {
            out_note(&c->out, "connection %.*s: renewed, version %" PRIu64, SLICE_FMT(id), now.ver);
            if (c->out.json) {
                out_thing(&c->out);
                show_text(&c->out, "id", id);
                show_int(&c->out, "version", (int64_t)now.ver);
                out_thing_end(&c->out);
            }
            return CTL_OK;
        }
        if (now.fail_ms != before.fail_ms)
            return ctl_say(CTL_FAILED, "connection %.*s: the renewal failed, state %s; %s",
                           SLICE_FMT(id), now.state, now.text);
        if (clock_boot_ms() >= until)
            return not_in_time(c, id, &now);
        link_sleep(c->link, 100);
    }
}

bool conn_open(struct ctl *c, struct slice id, const struct connection_record *rec,
               enum key_kind kind, const char *field, struct buf *to, struct err *err)
{
    bool access = kind == KEY_ACCESS;
    struct slice sealed = strcmp(field, "dk") == 0   ? rec->dk
                          : strcmp(field, "tk") == 0 ? rec->tk
                          : access                   ? rec->at
                          : strcmp(field, "rt") == 0 ? rec->rt
                                                     : rec->cs;
    struct seal_place at = connection_place(slice_cstr(c->common.prefix), id, field, rec->gen,
                                            access ? rec->ver : 0, rec->cd);
    size_t len = 0;

    if (sealed.len == 0)
        return true;
    if (!buf_reserve(to, seal_clear_len(sealed) + 1))
        return err_set(err, ERR_NOMEM, "its sealed %s is too long", seal_field_name(field));
    if (!seal_open(c->keyring, kind, &at, sealed, to->ptr, to->cap, &len, err))
        return false;
    to->len = len;
    if (strcmp(field, "at") == 0) { /* the token alone (access.h) */
        struct access a;

        access_read(&a, buf_slice(to));
        to->len = a.token.len;
        to->ptr[to->len] = '\0';
    }
    return true;
}

bool conn_open_cert(struct ctl *c, struct slice id, const struct connection_record *rec,
                    struct client_cert **cert, struct err *err)
{
    struct buf clear;
    bool ok;

    buf_init(&clear, CLIENT_CERT_PEM_MAX);
    ok = conn_open(c, id, rec, KEY_ACCESS, "tk", &clear, err);
    if (ok && clear.len > 0)
        ok = (*cert = client_cert_open(buf_slice(&clear), NULL, err)) != NULL;
    buf_wipe(&clear);
    return ok;
}

static const struct flag apply_flags[] = {
    {"--file", "-f", "FILE", "the connection file (YAML; tools/README.md)"},
    {"--relink", NULL, NULL,
     "link anew, also with the refresh token that it was linked with before"},
    CONN_PROFILES_FLAG,
};
static const struct flag ls_flags[] = {LIST_FLAGS};
static const struct flag refresh_flags[] = {
    {"--timeout", NULL, "TIME", "wait so long for a worker to do it (default 30s)"},
};

#define AT_PROVIDER                                                                                \
    "Its tokens are revoked at the provider too, where its settings have a revoke_url and "        \
    "--keys\n"                                                                                     \
    "is given. Else revoke the grant there by hand: a token that leaked is good until then."

const struct verb conn_verbs[] = {
    {.noun = "conn",
     .name = "apply",
     .usage = "-f FILE [--relink] [--profiles DIR]",
     .help = "Write a connection's settings; link the account when it is new or its grant changed",
     .more = "Applying the same file again changes nothing: a refresh token that was rotated since "
             "is kept.",
     .flags = apply_flags,
     .flag_count = ARRAY_LEN(apply_flags),
     .changes = true,
     .run = conn_apply},
    {.noun = "conn",
     .name = "link",
     .usage = "ID [--device] [--no-listen] [--no-browser] [--timeout TIME]",
     .help =
         "Ask the account's owner (grant: authorization_code, device_code), and store the grant",
     .more =
         "Prints the address to open, and opens it where there is a browser (BROWSER, or a\n"
         "desktop). It comes back to 127.0.0.1 of this machine, or with --no-listen you paste the\n"
         "address that it ends on.",
     .flags = conn_link_flags,
     .flag_count = CONN_LINK_FLAGS,
     .least = 1,
     .most = 1,
     .changes = true,
     .run = conn_link},
    {.noun = "conn",
     .name = "ls",
     .usage = "[--limit N] [--cursor N]",
     .help = "List connections, those whose renewal is due first at the top",
     .flags = ls_flags,
     .flag_count = ARRAY_LEN(ls_flags),
     .run = conn_ls},
    {.noun = "conn",
     .name = "show",
     .usage = "ID",
     .help = "Show one connection: state, times, settings; never a secret",
     .least = 1,
     .most = 1,
     .run = conn_show},
    {.noun = "conn",
     .name = "explain",
     .usage = "ID | -f FILE [--profiles DIR]",
     .help =
         "Show the requests that its settings lead to, secrets as words in capitals; sends none",
     .flags = conn_explain_flags,
     .flag_count = ARRAY_LEN(conn_explain_flags),
     .most = 1,
     .run = conn_explain},
    {.noun = "conn",
     .name = "discover",
     .usage = "ISSUER [--grant NAME] [--mtls] [--insecure-http] [--allow-private]",
     .help = "Print what a server publishes of itself (RFC 8414), for a connection's file",
     .more =
         "With --grant the lines can be pasted as they are: those without a use for that grant\n"
         "are left out.",
     .flags = conn_discover_flags,
     .flag_count = ARRAY_LEN(conn_discover_flags),
     .least = 1,
     .most = 1,
     .run = conn_discover},
    {.noun = "conn",
     .name = "register",
     .usage = "URL --name NAME --secret-file FILE [--grant GRANT] [--auth METHOD] ...",
     .help = "Register a client at a server that lets anybody (RFC 7591); print it for the file",
     .more = "URL is the server's registration endpoint: conn discover shows it.",
     .flags = conn_register_flags,
     .flag_count = 8,
     .least = 1,
     .most = 1,
     .run = conn_register},
    {.noun = "conn",
     .name = "test",
     .usage = "ID",
     .help = "Check one connection from here, step by step, and say what to do; no API is called",
     .least = 1,
     .most = 1,
     .run = conn_test},
    {.noun = "conn",
     .name = "refresh",
     .usage = "ID [--timeout TIME]",
     .help = "Have a worker renew the access token now, and wait for it",
     .flags = refresh_flags,
     .flag_count = ARRAY_LEN(refresh_flags),
     .least = 1,
     .most = 1,
     .changes = true,
     .run = conn_refresh},
    {.noun = "conn",
     .name = "disable",
     .usage = "ID --reason TEXT [--timeout TIME]",
     .help = "No further call with its token, on any worker, until it is enabled; its jobs wait",
     .more = "Its grant stays and is not renewed. Waits until every living worker knows of it.",
     .flags = conn_switch_flags,
     .flag_count = ARRAY_LEN(conn_switch_flags),
     .least = 1,
     .most = 1,
     .changes = true,
     .needs_reason = true,
     .run = conn_disable},
    {.noun = "conn",
     .name = "enable",
     .usage = "ID [--timeout TIME]",
     .help = "Let a disabled connection's calls go on",
     .flags = conn_switch_flags,
     .flag_count = ARRAY_LEN(conn_switch_flags),
     .changes = true,
     .least = 1,
     .most = 1,
     .run = conn_enable},
    {.noun = "conn",
     .name = "revoke",
     .usage = "ID --reason TEXT [--timeout TIME]",
     .help = "Forget its tokens and secrets; its jobs wait until the account is linked anew",
     .more = AT_PROVIDER,
     .flags = conn_switch_flags,
     .flag_count = ARRAY_LEN(conn_switch_flags),
     .least = 1,
     .most = 1,
     .changes = true,
     .needs_reason = true,
     .run = conn_revoke},
    {.noun = "conn",
     .name = "rm",
     .usage = "ID [--timeout TIME]",
     .help = "Remove a connection and its secrets; jobs that wait for it are told",
     .more = AT_PROVIDER,
     .flags = conn_switch_flags,
     .flag_count = ARRAY_LEN(conn_switch_flags),
     .least = 1,
     .most = 1,
     .changes = true,
     .run = conn_rm},
    {.name = NULL},
};

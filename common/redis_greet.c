#include "common/redis_inside.h"

#include <stdio.h>
#include <string.h>
#include "common/buf.h"
#include "common/secret_file.h"

/* In this order: AUTH, then what INFO says, then PING. */

void redis_greet_failed(struct redis *r, const struct err *said)
{
    struct err err = *said;

    if (!strstr(err.msg, r->url.where)) /* what Redis said names the link only */
        err_prefix(&err, "%s: ", r->url.where);
    if (err.code == ERR_RETRY || err.code == ERR_UNREACHABLE) {
        redis_link_fail(r, REDIS_DOWN, &err);
        return;
    }
    err.code = ERR_CONFIG;
    redis_link_fail(r, REDIS_REFUSED, &err);
}

/* CLIENT SETNAME: a user may lack the right, and no harm is done. But as the first command of all
 * it is the one to hear that there are too many clients. */
static void on_named(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (err && err->code == ERR_RETRY && r->phase == LINK_CHECKING)
        redis_greet_failed(r, err);
}

static void on_must(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (err && r->phase == LINK_CHECKING)
        redis_greet_failed(r, err);
}

static void on_info(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    if (r->phase != LINK_CHECKING)
        return;
    if (err)
        redis_greet_failed(r, err);
    else
        redis_check_read(&r->facts, redis_reply_str(reply));
}

/* A Sentinel may be behind, and a primary that comes back may not know yet that it is none any more
 * (redis.io: guidelines for clients of Sentinel, step 3). */
static bool is_primary(struct redis *r, struct err *err)
{
    if (!r->url.primary || !r->facts.server.is_replica)
        return true;
    return err_set(err, ERR_UNREACHABLE,
                   "redis at %s: a replica, and a Sentinel says that it is the primary %s: a "
                   "failover is under way, or the Sentinel is cut off",
                   r->url.where, r->url.primary);
}

/* The last answer of the check. PING is refused while Redis loads its data, or when a replica has
 * lost its primary; a user who may not PING has at least been answered. */
static void on_checked(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;
    struct err why;

    (void)reply;
    if (r->phase != LINK_CHECKING)
        return;
    if (err && !slice_is(slice_cstr(err->rule), "NOPERM"))
        redis_greet_failed(r, err);
    else if (!redis_check_judge(&r->facts, r->url.where, &why) || !is_primary(r, &why))
        redis_greet_failed(r, &why);
    else
        redis_link_up(r);
}

/* INFO takes one section a call before 7.0. The eviction policy is in its memory section, which
 * needs no right to CONFIG. */
static void ask_server(struct redis *r)
{
    static const char *const sections[] = {"server", "replication", "cluster", "memory"};
    const char *const setname[] = {"CLIENT", "SETNAME", r->name, NULL};
    const char *const ping[] = {"PING", NULL};
    char db[16];
    const char *const select[] = {"SELECT", db, NULL};

    snprintf(db, sizeof db, "%d", r->url.db);
    r->facts = (struct redis_facts){0};
    if (!redis_ask(r, setname, on_named) || (r->url.db > 0 && !redis_ask(r, select, on_must)))
        return;
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        const char *const info[] = {"INFO", sections[i], NULL};

        if (!redis_ask(r, info, on_info))
            return;
    }
    redis_ask(r, ping, on_checked);
}

static void on_auth(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (r->phase != LINK_CHECKING)
        return;
    if (err)
        redis_greet_failed(r, err);
    else
        ask_server(r);
}

/* AUTH goes alone, so that the wire's buffer can be wiped behind it. */
static bool send_auth(struct redis *r, struct err *err)
{
    const char *user = r->user ? r->user : r->url.user;
    struct slice argv[3] = {SLICE_LIT("AUTH")};
    size_t argc = 1;
    struct buf password;
    bool ok;

    buf_init(&password, SECRET_FILE_MAX);
    ok = !r->password_file || secret_file_read(r->password_file, "Redis password", &password, err);
    if (ok) {
        if (user)
            argv[argc++] = slice_cstr(user);
        argv[argc++] = buf_slice(&password);
        redis_wire_is_secret(r->wire);
        ok = redis_start(r, true, argc, argv, 0, on_auth, r, err);
    }
    buf_wipe(&password);
    return ok;
}

void redis_greet(struct redis *r)
{
    struct err err;

    r->phase = LINK_CHECKING;
    if (!r->password_file && !r->user && !r->url.user)
        ask_server(r);
    else if (!send_auth(r, &err))
        redis_greet_failed(r, &err);
}

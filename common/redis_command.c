#include "common/redis_inside.h"

#include <stdio.h>
#include "common/redis_error.h"

/* ---- starting commands ---- */

static void queue_call(struct redis *r, struct redis_call *c)
{
    redis_calls_push(&r->calls, c, redis_link_now_ms(r));
    c->end = redis_wire_queued(r->wire);
    redis_wire_kick(r->wire);
    redis_link_watch(r);
}

static bool full(struct redis *r, const char *what, struct err *err)
{
    return err_set(err, ERR_NOMEM, "redis %s: %s: no memory, or too much waits to be sent", r->name,
                   what);
}

bool redis_start(struct redis *r, bool internal, size_t argc, const struct slice *argv,
                 int64_t timeout_ms, redis_cb *cb, void *owner, struct err *err)
{
    struct redis_call *c = redis_calls_take(&r->calls);
    char head[32];
    int n = snprintf(head, sizeof head, "*%zu\r\n", argc);

    if (!c || !redis_wire_put(r->wire, slice_of(head, (size_t)n), argc, argv)) {
        if (c)
            redis_calls_give(&r->calls, c);
        return full(r, "a command", err);
    }
    redis_call_name(c, argv[0]);
    c->internal = internal;
    c->timeout_ms = timeout_ms > 0 ? timeout_ms : r->read_timeout_ms;
    c->cb = cb;
    c->owner = owner;
    queue_call(r, c);
    return true;
}

bool redis_ask(struct redis *r, const char *const *words, redis_cb *cb)
{
    struct slice argv[4] = {SLICE_NONE};
    size_t argc = 0;
    struct err err;

    for (; words[argc]; argc++)
        argv[argc] = slice_cstr(words[argc]);
    if (redis_start(r, true, argc, argv, 0, cb, r, &err))
        return true;
    redis_link_fail(r, REDIS_DOWN, &err);
    return false;
}

static bool check_up(const struct redis *r, struct err *err)
{
    if (redis_is_up(r))
        return true;
    if (r->resetting)
        return err_set(err, ERR_UNREACHABLE, "redis %s: reconnecting to %s: %s", r->name,
                       r->url.where, r->reset_why);
    return err_set(err, ERR_UNREACHABLE, "redis %s: no link to %s%s%.150s", r->name, r->url.where,
                   r->why.code ? ": " : "", r->why.msg);
}

bool redis_command(struct redis *r, size_t argc, const struct slice *argv, int64_t timeout_ms,
                   redis_cb *cb, void *owner, struct err *err)
{
    if (argc == 0)
        return err_set(err, ERR_FORMAT, "redis %s: a command without a name", r->name);
    return check_up(r, err) && redis_start(r, false, argc, argv, timeout_ms, cb, owner, err);
}

/* "*N EVALSHA digest numkeys": everything after the digest is the same for EVAL. */
static bool put_script(struct redis *r, struct redis_call *c, size_t nkeys, size_t argc,
                       const struct slice *argv)
{
    uint64_t from = redis_wire_queued(r->wire);
    char head[128], count[24];
    int fixed = snprintf(head, sizeof head, "*%zu\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n", c->argc,
                         script_sha(c->script));
    int digits = snprintf(count, sizeof count, "%zu", nkeys);
    int n =
        fixed + snprintf(head + fixed, sizeof head - (size_t)fixed, "$%d\r\n%s\r\n", digits, count);
    size_t need = (size_t)(n - fixed);

    for (size_t i = 0; i < argc; i++)
        need += argv[i].len + 32;
    /* Room to keep it comes first: what is in the wire's buffer cannot be taken out again. */
    if (!buf_reserve(&c->keep, need) ||
        !redis_wire_put(r->wire, slice_of(head, (size_t)n), argc, argv))
        return false;
    return buf_add_slice(&c->keep, redis_wire_tail(r->wire, from + (size_t)fixed));
}

bool redis_script(struct redis *r, enum script s, size_t nkeys, size_t argc,
                  const struct slice *argv, redis_cb *cb, void *owner, struct err *err)
{
    struct redis_call *c;

    if ((unsigned)s >= SCRIPT_COUNT || nkeys > argc)
        return err_set(err, ERR_FORMAT, "redis %s: no such script, or more keys than arguments",
                       r->name);
    if (!check_up(r, err))
        return false;
    c = redis_calls_take(&r->calls);
    if (!c)
        return full(r, script_name(s), err);
    c->script = s;
    c->argc = argc + 3;
    if (!put_script(r, c, nkeys, argc, argv)) {
        redis_calls_give(&r->calls, c);
        return full(r, script_name(s), err);
    }
    redis_call_name(c, slice_cstr(script_name(s)));
    c->is_script = true;
    c->timeout_ms = r->read_timeout_ms;
    c->cb = cb;
    c->owner = owner;
    queue_call(r, c);
    return true;
}

/* NOSCRIPT: a restart, SCRIPT FLUSH or a failover emptied the cache of this node. EVAL fills it
 * again (redis.io/commands/evalsha). */
static bool resend_as_eval(struct redis *r, struct redis_call *c)
{
    struct slice body = slice_cstr(script_body(c->script));
    struct buf head;
    bool ok;

    buf_init(&head, body.len + 128);
    buf_addf(&head, "*%zu\r\n$4\r\nEVAL\r\n$%zu\r\n", c->argc, body.len);
    buf_add_slice(&head, body);
    buf_add_cstr(&head, "\r\n");
    ok = buf_ok(&head) && redis_wire_put_raw(r->wire, buf_slice(&head), buf_slice(&c->keep));
    buf_deinit(&head);
    if (!ok)
        return false;
    c->evaled = true;
    queue_call(r, c);
    return true;
}

/* ---- answers ---- */

static void answer_error(struct redis *r, struct redis_call *c, const struct redis_reply *reply)
{
    struct slice text = redis_reply_str(reply);
    enum redis_do act = redis_err_class(redis_error_word(text));
    struct err err;

    if (act == REDIS_DO_REEVAL && c->is_script && !c->evaled && resend_as_eval(r, c))
        return;
    if (act == REDIS_DO_FINE) {
        redis_calls_answer(&r->calls, c, reply, NULL);
        return;
    }
    redis_error_fill(&err, r->name, c->what, text);
    /* NOAUTH: the link lost its user; a new one reads the password file again. NOPERM is left
     * alone: Redis applies ACL changes to open links, so a new link is told the same. */
    if (act == REDIS_DO_RESET || slice_is(slice_cstr(err.rule), "NOAUTH"))
        redis_reset(r, err.rule);
    redis_calls_answer(&r->calls, c, NULL, &err);
}

void redis_on_reply(void *owner, const struct redis_reply *reply)
{
    struct redis *r = owner;
    struct redis_call *c;
    struct err err;

    r->heard_ms = redis_link_now_ms(r);
    r->second_look = false;
    if (redis_sub_message(r, reply))
        return;
    c = redis_calls_shift(&r->calls);
    if (!c) {
        err_set(&err, ERR_UNREACHABLE, "redis at %s answers what was not asked", r->url.where);
        redis_link_fail(r, REDIS_DOWN, &err);
        return;
    }
    r->calls.head_since_ms = r->heard_ms;
    redis_link_watch(r);
    if (redis_reply_type(reply) == REDIS_ERROR)
        answer_error(r, c, reply);
    else
        redis_calls_answer(&r->calls, c, reply, NULL);
}

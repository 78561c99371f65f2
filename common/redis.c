#include "common/redis.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>
#include "common/buf.h"
#include "common/id.h"
#include "common/redis_check.h"
#include "common/redis_dial.h"
#include "common/redis_error.h"
#include "common/redis_tls.h"
#include "common/redis_url.h"
#include "common/redis_wire.h"
#include "common/secret_file.h"

#define CONNECT_TIMEOUT_MS 3000
#define READ_TIMEOUT_MS    5000
#define BACKOFF_CAP_MS     2000
#define BACKOFF_BASE_MS    50
#define SECOND_LOOK_MS     1
#define POOL_MAX           256        /* call records kept for reuse */
#define KEEP_MAX           (64 << 10) /* a pooled record gives back a bigger buffer than this */

/* One command on its way. Redis answers in order, so they stand in one queue. */
struct call {
    struct call *next;
    redis_cb *cb;
    void *owner;
    int64_t timeout_ms;
    uint64_t end;  /* the wire's count of bytes after this command: tells whether it was sent */
    bool internal; /* ours, not a caller's: not counted as in flight */
    bool is_script, evaled;
    enum script script;
    size_t argc;     /* of the whole EVALSHA */
    struct buf keep; /* what follows the digest, as RESP, in case Redis forgot the script */
    char what[24];   /* the command's or script's name */
};

struct sub {
    struct sub *next;
    char *channel;
    void (*on_message)(void *owner, struct slice channel, struct slice message);
    void *owner;
};

enum phase {
    PHASE_WAITING,  /* for the next try */
    PHASE_DIALING,  /* name, socket */
    PHASE_SHAKING,  /* TLS */
    PHASE_CHECKING, /* AUTH, INFO */
    PHASE_UP,
    PHASE_OVER, /* `once`, or redis_free */
};

struct redis {
    uv_loop_t *loop;
    uv_timer_t timer; /* next try, connect deadline, or watchdog, by phase */
    int64_t timer_due_ms;
    enum phase phase;
    enum redis_state state;
    struct err why; /* of the last DOWN or REFUSED */
    redis_state_cb *on_state;
    void *owner;

    char *name, *user, *password_file, *tls_ca, *tls_cert, *tls_key;
    struct redis_url url;
    int64_t connect_timeout_ms, read_timeout_ms, backoff_cap_ms;
    bool once, freed;

    struct redis_dial *dial;
    struct redis_tls *tls;   /* NULL until it is needed */
    struct redis_wire *wire; /* NULL unless SHAKING, CHECKING or UP */
    uint64_t old_trips;      /* of wires that are gone */
    unsigned tries;
    int64_t up_since_ms;
    bool resetting;
    char reset_why[96];

    struct call *first, **last; /* waiting for their answers, in order */
    struct call *pool;
    unsigned pooled;
    size_t in_flight;
    int64_t head_since_ms; /* since when Redis owes us the first one's answer */
    int64_t heard_ms;
    bool second_look;

    struct redis_facts facts;
    struct redis_server server;
    struct sub *subs;
};

static void on_timer(uv_timer_t *t);
static void fail(struct redis *r, enum redis_state state, const struct err *why);

/* ---- time ---- */

static int64_t now_ms(const struct redis *r)
{
    return (int64_t)uv_now(r->loop);
}

static void set_timer(struct redis *r, int64_t wait_ms)
{
    r->timer_due_ms = now_ms(r) + wait_ms;
    uv_timer_start(&r->timer, on_timer, (uint64_t)(wait_ms > 0 ? wait_ms : 0), 0);
}

/* When to look at an open link next: the first command's answer is due, or, when nobody waits for
 * one, it is time to ask whether Redis is still there. */
static int64_t watch_due_ms(const struct redis *r)
{
    return r->first ? r->head_since_ms + r->first->timeout_ms : r->heard_ms + r->read_timeout_ms;
}

/* The timer is only ever moved forward here; when it fires too early it is set again. So the hot
 * path does not touch it. */
static void watch(struct redis *r)
{
    int64_t due_ms = watch_due_ms(r);

    if (r->phase == PHASE_UP && !r->resetting && due_ms < r->timer_due_ms)
        set_timer(r, due_ms - now_ms(r));
}

/* ---- the queue of calls ---- */

static struct call *call_take(struct redis *r)
{
    struct call *c = r->pool;

    if (!c) {
        c = calloc(1, sizeof *c);
        if (c)
            buf_init(&c->keep, SIZE_MAX / 2);
        return c;
    }
    r->pool = c->next;
    r->pooled--;
    return c;
}

static void call_destroy(struct call *c)
{
    buf_deinit(&c->keep);
    free(c);
}

static void call_give(struct redis *r, struct call *c)
{
    if (r->pooled >= POOL_MAX) {
        call_destroy(c);
        return;
    }
    if (c->keep.cap > KEEP_MAX)
        buf_deinit(&c->keep);
    else
        buf_clear(&c->keep);
    c->is_script = c->evaled = c->internal = false;
    c->next = r->pool;
    r->pool = c;
    r->pooled++;
}

static void call_push(struct redis *r, struct call *c)
{
    if (!r->first)
        r->head_since_ms = now_ms(r);
    c->next = NULL;
    *r->last = c;
    r->last = &c->next;
    r->in_flight += c->internal ? 0 : 1;
    c->end = redis_wire_queued(r->wire);
    redis_wire_kick(r->wire);
    watch(r);
}

static struct call *call_shift(struct redis *r)
{
    struct call *c = r->first;

    if (!c)
        return NULL;
    r->first = c->next;
    if (!r->first)
        r->last = &r->first;
    r->in_flight -= c->internal ? 0 : 1;
    return c;
}

/* The record is given back first: the callback may start new work, or free the link. */
static void call_answer(struct redis *r, struct call *c, const struct redis_reply *reply,
                        const struct err *err)
{
    redis_cb *cb = c->cb;
    void *owner = c->owner;

    call_give(r, c);
    cb(owner, reply, err);
}

/* Every waiting call is told. One by one from the queue, for a callback may call redis_free, which
 * then tells the rest. */
static void call_fail_all(struct redis *r, uint64_t written, bool cancelled, const char *why)
{
    struct call *c;
    struct err err;

    while ((c = call_shift(r))) {
        if (cancelled)
            err_set(&err, ERR_CANCELLED, "redis %s: %s: the link is being closed", r->name,
                    c->what);
        else if (c->end > written)
            err_set(&err, ERR_UNREACHABLE, "redis %s: %s was not sent: %.150s", r->name, c->what,
                    why);
        else
            err_set(&err, ERR_UNKNOWN,
                    "redis %s: %s has no answer and may or may not have been done: %.120s", r->name,
                    c->what, why);
        call_answer(r, c, NULL, &err);
    }
}

/* ---- starting commands ---- */

static void name_call(struct call *c, struct slice name)
{
    size_t n = name.len < sizeof c->what ? name.len : sizeof c->what - 1;

    if (n > 0)
        memcpy(c->what, name.ptr, n);
    c->what[n] = '\0';
}

static bool full(struct redis *r, const char *what, struct err *err)
{
    return err_set(err, ERR_NOMEM, "redis %s: %s: no memory, or too much waits to be sent", r->name,
                   what);
}

static bool start(struct redis *r, bool internal, size_t argc, const struct slice *argv,
                  int64_t timeout_ms, redis_cb *cb, void *owner, struct err *err)
{
    struct call *c = call_take(r);
    char head[32];
    int n = snprintf(head, sizeof head, "*%zu\r\n", argc);

    if (!c || !redis_wire_put(r->wire, slice_of(head, (size_t)n), argc, argv)) {
        if (c)
            call_give(r, c);
        return full(r, "a command", err);
    }
    name_call(c, argv[0]);
    c->internal = internal;
    c->timeout_ms = timeout_ms > 0 ? timeout_ms : r->read_timeout_ms;
    c->cb = cb;
    c->owner = owner;
    call_push(r, c);
    return true;
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
    return check_up(r, err) && start(r, false, argc, argv, timeout_ms, cb, owner, err);
}

/* "*N EVALSHA digest numkeys": everything after the digest is the same for EVAL. */
static bool put_script(struct redis *r, struct call *c, size_t nkeys, size_t argc,
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
    struct call *c;

    if ((unsigned)s >= SCRIPT_COUNT || nkeys > argc)
        return err_set(err, ERR_FORMAT, "redis %s: no such script, or more keys than arguments",
                       r->name);
    if (!check_up(r, err))
        return false;
    c = call_take(r);
    if (!c)
        return full(r, script_name(s), err);
    c->script = s;
    c->argc = argc + 3;
    if (!put_script(r, c, nkeys, argc, argv)) {
        call_give(r, c);
        return full(r, script_name(s), err);
    }
    name_call(c, slice_cstr(script_name(s)));
    c->is_script = true;
    c->timeout_ms = r->read_timeout_ms;
    c->cb = cb;
    c->owner = owner;
    call_push(r, c);
    return true;
}

/* NOSCRIPT: a restart, SCRIPT FLUSH or a failover emptied the cache of this node. EVAL fills it
 * again (redis.io/commands/evalsha). */
static bool resend_as_eval(struct redis *r, struct call *c)
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
    call_push(r, c);
    return true;
}

/* ---- answers ---- */

static void answer_error(struct redis *r, struct call *c, const struct redis_reply *reply)
{
    struct slice text = redis_reply_str(reply);
    enum redis_do act = redis_err_class(redis_error_word(text));
    struct err err;

    if (act == REDIS_DO_REEVAL && c->is_script && !c->evaled && resend_as_eval(r, c))
        return;
    if (act == REDIS_DO_FINE) {
        call_answer(r, c, reply, NULL);
        return;
    }
    redis_error_fill(&err, r->name, c->what, text);
    /* NOAUTH: the link lost its user; a new one reads the password file again. NOPERM is left
     * alone: Redis applies ACL changes to open links, so a new link is told the same. */
    if (act == REDIS_DO_RESET || slice_is(slice_cstr(err.rule), "NOAUTH"))
        redis_reset(r, err.rule);
    call_answer(r, c, NULL, &err);
}

/* RESP2 sends a message as an array of its own accord; only a link with subscriptions gets any. */
static bool take_message(struct redis *r, const struct redis_reply *reply)
{
    struct slice channel;

    if (!r->subs || redis_reply_len(reply) != 3 ||
        !slice_is(redis_reply_str(redis_reply_at(reply, 0)), "message"))
        return false;
    channel = redis_reply_str(redis_reply_at(reply, 1));
    for (struct sub *s = r->subs; s; s = s->next) {
        if (!slice_is(channel, s->channel))
            continue;
        s->on_message(s->owner, channel, redis_reply_str(redis_reply_at(reply, 2)));
        break;
    }
    return true;
}

static void on_reply(void *owner, const struct redis_reply *reply)
{
    struct redis *r = owner;
    struct call *c;
    struct err err;

    r->heard_ms = now_ms(r);
    r->second_look = false;
    if (take_message(r, reply))
        return;
    c = call_shift(r);
    if (!c) {
        err_set(&err, ERR_UNREACHABLE, "redis at %s answers what was not asked", r->url.where);
        fail(r, REDIS_DOWN, &err);
        return;
    }
    r->head_since_ms = r->heard_ms;
    watch(r);
    if (redis_reply_type(reply) == REDIS_ERROR)
        answer_error(r, c, reply);
    else
        call_answer(r, c, reply, NULL);
}

/* ---- coming up: AUTH, then what INFO says, then PING ---- */

static void set_state(struct redis *r, enum redis_state state, const struct err *why)
{
    if (r->freed)
        return;
    r->state = state;
    r->on_state(r->owner, state, why);
}

/* What Redis answers before the link is up decides about the link. */
static void fail_check(struct redis *r, const struct err *said)
{
    struct err err = *said;

    if (err.code == ERR_RETRY || err.code == ERR_UNREACHABLE) {
        fail(r, REDIS_DOWN, &err);
        return;
    }
    err.code = ERR_CONFIG;
    fail(r, REDIS_REFUSED, &err);
}

static bool ask(struct redis *r, const char *const *words, redis_cb *cb)
{
    struct slice argv[4];
    size_t argc = 0;
    struct err err;

    for (; words[argc]; argc++)
        argv[argc] = slice_cstr(words[argc]);
    if (start(r, true, argc, argv, 0, cb, r, &err))
        return true;
    fail(r, REDIS_DOWN, &err);
    return false;
}

/* CLIENT SETNAME: a user may lack the right, and no harm is done. But as the first command of all
 * it is the one to hear that there are too many clients. */
static void on_named(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (err && err->code == ERR_RETRY && r->phase == PHASE_CHECKING)
        fail_check(r, err);
}

static void on_must(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (err && r->phase == PHASE_CHECKING)
        fail_check(r, err);
}

static void on_info(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    if (r->phase != PHASE_CHECKING)
        return;
    if (err)
        fail_check(r, err);
    else
        redis_check_read(&r->facts, redis_reply_str(reply));
}

static void on_subscribed(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (err && r->phase == PHASE_UP)
        fail_check(r, err);
}

static bool send_subscribe(struct redis *r, const struct sub *s)
{
    const char *const words[] = {"SUBSCRIBE", s->channel, NULL};

    return ask(r, words, on_subscribed);
}

static void go_up(struct redis *r)
{
    r->phase = PHASE_UP;
    r->server = r->facts.server;
    r->up_since_ms = now_ms(r);
    r->second_look = false;
    r->timer_due_ms = INT64_MAX; /* it was the connect deadline */
    watch(r);
    for (const struct sub *s = r->subs; s; s = s->next)
        if (!send_subscribe(r, s))
            return;
    set_state(r, REDIS_UP, NULL);
}

/* The last answer of the check. PING is refused while Redis loads its data, or when a replica has
 * lost its primary; a user who may not PING has at least been answered. */
static void on_checked(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;
    struct err why;

    (void)reply;
    if (r->phase != PHASE_CHECKING)
        return;
    if (err && !slice_is(slice_cstr(err->rule), "NOPERM"))
        fail_check(r, err);
    else if (!redis_check_judge(&r->facts, r->url.where, &why))
        fail_check(r, &why);
    else
        go_up(r);
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
    if (!ask(r, setname, on_named) || (r->url.db > 0 && !ask(r, select, on_must)))
        return;
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        const char *const info[] = {"INFO", sections[i], NULL};

        if (!ask(r, info, on_info))
            return;
    }
    ask(r, ping, on_checked);
}

static void on_auth(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct redis *r = owner;

    (void)reply;
    if (r->phase != PHASE_CHECKING)
        return;
    if (err)
        fail_check(r, err);
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
        ok = start(r, true, argc, argv, 0, on_auth, r, err);
    }
    buf_wipe(&password);
    return ok;
}

static void on_open(void *owner)
{
    struct redis *r = owner;
    struct err err;

    r->phase = PHASE_CHECKING;
    if (!r->password_file && !r->user && !r->url.user)
        ask_server(r);
    else if (!send_auth(r, &err))
        fail_check(r, &err);
}

/* ---- connecting ---- */

static void on_gone(void *owner, const struct err *err)
{
    struct redis *r = owner;

    fail(r, err->code == ERR_CONFIG && r->phase != PHASE_UP ? REDIS_REFUSED : REDIS_DOWN, err);
}

static const struct redis_wire_events wire_events = {on_open, on_reply, on_gone};

/* Certificates are renewed while we run: the context is made anew when its files have changed. */
static bool start_tls(struct redis *r, int fd, struct ssl_st **ssl, struct err *err)
{
    *ssl = NULL;
    if (!r->url.tls)
        return true;
    if (r->tls && !redis_tls_is_current(r->tls)) {
        redis_tls_free(r->tls);
        r->tls = NULL;
    }
    if (!r->tls)
        r->tls = redis_tls_new(r->tls_ca, r->tls_cert, r->tls_key, err);
    if (r->tls)
        *ssl = redis_tls_session(r->tls, fd, r->url.host, err);
    return *ssl != NULL;
}

static void on_dialed(void *owner, int fd, const struct err *failed)
{
    struct redis *r = owner;
    struct ssl_st *ssl;
    struct err err;

    if (failed) {
        fail(r, REDIS_DOWN, failed);
        return;
    }
    r->phase = PHASE_SHAKING;
    if (!start_tls(r, fd, &ssl, &err)) {
        close(fd);
        fail_check(r, &err);
        return;
    }
    r->wire = redis_wire_open(r->loop, fd, ssl, r->url.where, &wire_events, r, &err);
    if (!r->wire)
        fail(r, REDIS_DOWN, &err);
}

static void connect_now(struct redis *r)
{
    r->phase = PHASE_DIALING;
    set_timer(r, r->connect_timeout_ms);
    redis_dial_start(r->dial, r->connect_timeout_ms);
    set_state(r, REDIS_CONNECTING, NULL);
}

static void drop_wire(struct redis *r, uint64_t *written)
{
    redis_dial_stop(r->dial);
    if (!r->wire)
        return;
    *written = redis_wire_written(r->wire);
    r->old_trips += redis_wire_trips(r->wire);
    redis_wire_close(r->wire);
    r->wire = NULL;
}

/* A link that broke soon after it came up counts as another failed try: a server that takes us in
 * and throws us out must not be asked without pause. */
static int64_t next_wait_ms(struct redis *r, enum redis_state state)
{
    if (state == REDIS_REFUSED) /* a person has to mend something: look at times, not at once */
        return r->backoff_cap_ms / 2 + id_uniform_ms(r->backoff_cap_ms / 2);
    if (r->phase == PHASE_UP && now_ms(r) - r->up_since_ms > r->backoff_cap_ms)
        r->tries = 0;
    return id_backoff_ms(BACKOFF_BASE_MS, r->backoff_cap_ms, r->tries < 30 ? r->tries++ : 30);
}

static void fail(struct redis *r, enum redis_state state, const struct err *why)
{
    int64_t wait_ms = next_wait_ms(r, state);
    uint64_t written = 0;

    r->why = *why;
    drop_wire(r, &written);
    r->state = state;
    r->resetting = false;
    r->phase = r->once ? PHASE_OVER : PHASE_WAITING;
    uv_timer_stop(&r->timer);
    if (!r->once)
        set_timer(r, wait_ms);
    call_fail_all(r, written, false, r->why.msg);
    set_state(r, state, &r->why);
}

/* ---- the timer ---- */

static void connect_too_slow(struct redis *r)
{
    const char *doing = r->phase == PHASE_DIALING   ? redis_dial_doing(r->dial)
                        : r->phase == PHASE_SHAKING ? "the TLS handshake"
                                                    : "its first answers";
    struct err err;

    err_set(&err, ERR_UNREACHABLE, "redis at %s: not ready after %lld ms, in %s", r->url.where,
            (long long)r->connect_timeout_ms, doing);
    fail(r, REDIS_DOWN, &err);
}

static void on_pong(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner; /* that it came is enough: on_reply has noted it */
    (void)reply;
    (void)err;
}

/* An open link is due for a look. When it was this process that stood still (stopped, suspended,
 * a long turn), the answer may lie in the socket already: it gets one more turn of the loop. */
static void look_at_link(struct redis *r)
{
    const char *const ping[] = {"PING", NULL};
    int64_t due_ms = watch_due_ms(r), late_ms = now_ms(r) - due_ms;
    struct err err;

    r->timer_due_ms = INT64_MAX;
    if (late_ms < 0) {
        watch(r);
    } else if (!r->second_look) {
        r->second_look = true;
        set_timer(r, SECOND_LOOK_MS);
    } else if (!r->first) {
        r->second_look = false;
        ask(r, ping, on_pong);
    } else {
        err_set(&err, ERR_UNREACHABLE, "redis at %s: no answer to %s for %lld ms", r->url.where,
                r->first->what, (long long)r->first->timeout_ms);
        fail(r, REDIS_DOWN, &err);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct redis *r = t->data;
    struct err err;

    switch (r->phase) {
    case PHASE_WAITING:
        connect_now(r);
        break;
    case PHASE_DIALING:
    case PHASE_SHAKING:
    case PHASE_CHECKING:
        connect_too_slow(r);
        break;
    case PHASE_UP:
        if (!r->resetting) {
            look_at_link(r);
            break;
        }
        err_set(&err, ERR_UNREACHABLE, "redis at %s: link dropped on purpose: %s", r->url.where,
                r->reset_why);
        fail(r, REDIS_DOWN, &err);
        break;
    case PHASE_OVER:
        break;
    }
}

void redis_reset(struct redis *r, const char *why)
{
    if (r->phase != PHASE_UP || r->resetting)
        return; /* on its way already */
    r->resetting = true;
    snprintf(r->reset_why, sizeof r->reset_why, "%s", why);
    set_timer(r, 0);
}

/* ---- the rest of the face ---- */

bool redis_is_up(const struct redis *r)
{
    return r->phase == PHASE_UP && !r->resetting;
}

const struct redis_server *redis_server_info(const struct redis *r)
{
    return &r->server;
}

size_t redis_in_flight(const struct redis *r)
{
    return r->in_flight;
}

uint64_t redis_round_trips(const struct redis *r)
{
    return r->old_trips + (r->wire ? redis_wire_trips(r->wire) : 0);
}

bool redis_subscribe(struct redis *r, const char *channel,
                     void (*on_message)(void *owner, struct slice channel, struct slice message),
                     void *owner, struct err *err)
{
    struct sub *s = calloc(1, sizeof *s), **end = &r->subs;

    if (s)
        s->channel = strdup(channel);
    if (!s || !s->channel) {
        free(s);
        return err_set(err, ERR_NOMEM, "redis %s: no memory to subscribe", r->name);
    }
    s->on_message = on_message;
    s->owner = owner;
    while (*end)
        end = &(*end)->next;
    *end = s;
    if (redis_is_up(r))
        send_subscribe(r, s);
    return true;
}

static bool name_ok(const char *name)
{
    for (; *name; name++)
        if (*name <= ' ' || *name > '~')
            return false;
    return true;
}

static bool copy(char **to, const char *from, struct err *err)
{
    if (!from)
        return true;
    *to = strdup(from);
    return *to || err_set(err, ERR_NOMEM, "no memory for a Redis link");
}

static bool copy_options(struct redis *r, const struct redis_options *o, struct err *err)
{
    const char *name = o->name ? o->name : "awq";

    if (!name_ok(name))
        return err_set(err, ERR_CONFIG, "the name of a Redis link has a space or an odd character");
    r->connect_timeout_ms = o->connect_timeout_ms > 0 ? o->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    r->read_timeout_ms = o->read_timeout_ms > 0 ? o->read_timeout_ms : READ_TIMEOUT_MS;
    r->backoff_cap_ms = o->backoff_cap_ms > 0 ? o->backoff_cap_ms : BACKOFF_CAP_MS;
    r->once = o->once;
    return redis_url_parse(&r->url, o->url, err) && copy(&r->name, name, err) &&
           copy(&r->user, o->user, err) && copy(&r->password_file, o->password_file, err) &&
           copy(&r->tls_ca, o->tls_ca, err) && copy(&r->tls_cert, o->tls_cert, err) &&
           copy(&r->tls_key, o->tls_key, err);
}

static void destroy(struct redis *r)
{
    struct call *c;
    struct sub *s;

    while ((c = r->pool)) {
        r->pool = c->next;
        call_destroy(c);
    }
    while ((s = r->subs)) {
        r->subs = s->next;
        free(s->channel);
        free(s);
    }
    redis_tls_free(r->tls);
    redis_url_deinit(&r->url);
    free(r->name);
    free(r->user);
    free(r->password_file);
    free(r->tls_ca);
    free(r->tls_cert);
    free(r->tls_key);
    free(r);
}

/* OpenSSL writes with write(2), which raises SIGPIPE on a link that the server closed. */
static void ignore_sigpipe(void)
{
    struct sigaction now;

    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

struct redis *redis_new(struct uv_loop_s *loop, const struct redis_options *o, redis_state_cb *cb,
                        void *owner, struct err *err)
{
    struct redis *r = calloc(1, sizeof *r);

    if (!r) {
        err_set(err, ERR_NOMEM, "no memory for a Redis link");
        return NULL;
    }
    r->loop = loop;
    r->on_state = cb;
    r->owner = owner;
    r->last = &r->first;
    r->state = REDIS_CONNECTING;
    if (!copy_options(r, o, err) ||
        !(r->dial = redis_dial_new(loop, &r->url, r->read_timeout_ms, on_dialed, r, err))) {
        destroy(r);
        return NULL;
    }
    ignore_sigpipe();
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    set_timer(r, 0); /* the first state callback comes from the loop, too */
    return r;
}

static void on_timer_closed(uv_handle_t *h)
{
    destroy(h->data);
}

void redis_free(struct redis *r)
{
    uint64_t written = 0;

    if (!r)
        return;
    r->freed = true;
    r->phase = PHASE_OVER;
    drop_wire(r, &written);
    uv_timer_stop(&r->timer);
    call_fail_all(r, written, true, "");
    redis_dial_free(r->dial);
    r->dial = NULL;
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

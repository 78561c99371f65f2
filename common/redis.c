#include "common/redis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/id.h"
#include "common/redis_inside.h"
#include "common/sigpipe.h"

#define CONNECT_TIMEOUT_MS 3000
#define READ_TIMEOUT_MS    5000
#define BACKOFF_CAP_MS     2000
#define BACKOFF_BASE_MS    50
#define SECOND_LOOK_MS     1

static void on_timer(uv_timer_t *t);

/* ---- time ---- */

int64_t redis_link_now_ms(const struct redis *r)
{
    return (int64_t)uv_now(r->loop);
}

void redis_link_timer(struct redis *r, int64_t wait_ms)
{
    r->timer_due_ms = redis_link_now_ms(r) + wait_ms;
    uv_timer_start(&r->timer, on_timer, (uint64_t)(wait_ms > 0 ? wait_ms : 0), 0);
}

/* When to look at an open link next: the first command's answer is due, or, when nobody waits for
 * one, it is time to ask whether Redis is still there. */
static int64_t watch_due_ms(const struct redis *r)
{
    return r->calls.first ? r->calls.head_since_ms + r->calls.first->timeout_ms
                          : r->heard_ms + r->read_timeout_ms;
}

/* The timer is only ever moved forward here; when it fires too early it is set again. So the hot
 * path does not touch it. */
void redis_link_watch(struct redis *r)
{
    int64_t due_ms = watch_due_ms(r);

    if (r->phase == LINK_UP && !r->resetting && due_ms < r->timer_due_ms)
        redis_link_timer(r, due_ms - redis_link_now_ms(r));
}

/* ---- connecting ---- */

static void set_state(struct redis *r, enum redis_state state, const struct err *why)
{
    if (r->freed)
        return;
    r->state = state;
    r->on_state(r->owner, state, why);
}

void redis_link_up(struct redis *r)
{
    r->phase = LINK_UP;
    r->server = r->facts.server;
    r->up_since_ms = redis_link_now_ms(r);
    r->second_look = false;
    redis_sentinels_were_right(r);
    r->timer_due_ms = INT64_MAX; /* it was the connect deadline */
    redis_link_watch(r);
    if (redis_sub_send_all(r))
        set_state(r, REDIS_UP, NULL);
}

static void on_open(void *owner)
{
    redis_greet(owner);
}

static void on_gone(void *owner, const struct err *err)
{
    struct redis *r = owner;

    redis_link_fail(r, err->code == ERR_CONFIG && r->phase != LINK_UP ? REDIS_REFUSED : REDIS_DOWN,
                    err);
}

static const struct redis_wire_events wire_events = {on_open, redis_on_reply, on_gone};

/* Certificates are renewed while we run: the context is made anew when its files have changed. */
bool redis_link_tls(struct redis *r, int fd, const char *host, struct ssl_st **ssl, struct err *err)
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
        *ssl = redis_tls_session(r->tls, fd, host, err);
    return *ssl != NULL;
}

static void on_dialed(void *owner, int fd, const struct err *failed)
{
    struct redis *r = owner;
    struct ssl_st *ssl;
    struct err err;

    if (failed) {
        redis_link_fail(r, REDIS_DOWN, failed);
        return;
    }
    r->phase = LINK_SHAKING;
    if (!redis_link_tls(r, fd, r->url.host, &ssl, &err)) {
        close(fd);
        redis_greet_failed(r, &err);
        return;
    }
    r->wire = redis_wire_open(r->loop, fd, ssl, r->url.where, &wire_events, r, &err);
    if (!r->wire)
        redis_link_fail(r, REDIS_DOWN, &err);
}

static bool make_dial(struct redis *r, struct err *err)
{
    redis_dial_free(r->dial); /* where it went to before may be looked up still */
    r->dial = redis_dial_new(r->loop, &r->url, r->read_timeout_ms, on_dialed, r, err);
    return r->dial != NULL;
}

void redis_link_dial(struct redis *r)
{
    struct err err;

    if (r->sentinels && !make_dial(r, &err)) {
        redis_link_fail(r, REDIS_DOWN, &err);
        return;
    }
    r->phase = LINK_DIALING;
    redis_link_timer(r, r->connect_timeout_ms);
    redis_dial_start(r->dial, r->connect_timeout_ms);
}

static void connect_now(struct redis *r)
{
    if (r->sentinels)
        redis_sentinels_ask(r);
    else
        redis_link_dial(r);
    set_state(r, REDIS_CONNECTING, NULL);
}

static void drop_wire(struct redis *r, uint64_t *written)
{
    redis_sentinels_stop(r);
    if (r->dial)
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
    if (r->phase == LINK_UP && redis_link_now_ms(r) - r->up_since_ms > r->backoff_cap_ms)
        r->tries = 0;
    return id_backoff_ms(BACKOFF_BASE_MS, r->backoff_cap_ms, r->tries < 30 ? r->tries++ : 30);
}

void redis_link_fail(struct redis *r, enum redis_state state, const struct err *why)
{
    int64_t wait_ms = next_wait_ms(r, state);
    uint64_t written = 0;

    r->why = *why;
    drop_wire(r, &written);
    r->state = state;
    r->resetting = false;
    r->phase = r->once ? LINK_OVER : LINK_WAITING;
    uv_timer_stop(&r->timer);
    if (!r->once)
        redis_link_timer(r, wait_ms);
    redis_calls_fail(&r->calls, r->name, written, false, r->why.msg);
    set_state(r, state, &r->why);
}

/* ---- the timer ---- */

static void connect_too_slow(struct redis *r)
{
    const char *doing = r->phase == LINK_DIALING   ? redis_dial_doing(r->dial)
                        : r->phase == LINK_SHAKING ? "the TLS handshake (does this port speak TLS?)"
                                                   : "its first answers";
    struct err err;

    err_set(&err, ERR_UNREACHABLE, "redis at %s: not ready after %lld ms, in %s", r->url.where,
            (long long)r->connect_timeout_ms, doing);
    redis_link_fail(r, REDIS_DOWN, &err);
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
    int64_t due_ms = watch_due_ms(r), late_ms = redis_link_now_ms(r) - due_ms;
    struct err err;

    r->timer_due_ms = INT64_MAX;
    if (late_ms < 0) {
        redis_link_watch(r);
    } else if (!r->second_look) {
        r->second_look = true;
        redis_link_timer(r, SECOND_LOOK_MS);
    } else if (!r->calls.first) {
        r->second_look = false;
        redis_ask(r, ping, on_pong);
    } else {
        err_set(&err, ERR_UNREACHABLE, "redis at %s: no answer to %s for %lld ms", r->url.where,
                r->calls.first->what, (long long)r->calls.first->timeout_ms);
        redis_link_fail(r, REDIS_DOWN, &err);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct redis *r = t->data;
    struct err err;

    switch (r->phase) {
    case LINK_WAITING:
        connect_now(r);
        break;
    case LINK_ASKING:
        redis_sentinels_next(r);
        break;
    case LINK_DIALING:
    case LINK_SHAKING:
    case LINK_CHECKING:
        connect_too_slow(r);
        break;
    case LINK_UP:
        if (!r->resetting) {
            look_at_link(r);
            break;
        }
        err_set(&err, ERR_UNREACHABLE, "redis at %s: link dropped on purpose: %s", r->url.where,
                r->reset_why);
        redis_link_fail(r, REDIS_DOWN, &err);
        break;
    case LINK_OVER:
        break;
    }
}

void redis_reset(struct redis *r, const char *why)
{
    if (r->phase != LINK_UP || r->resetting)
        return; /* on its way already */
    r->resetting = true;
    snprintf(r->reset_why, sizeof r->reset_why, "%s", why);
    redis_link_timer(r, 0);
}

/* ---- the rest of the face ---- */

bool redis_is_up(const struct redis *r)
{
    return r->phase == LINK_UP && !r->resetting;
}

const char *redis_where(const struct redis *r)
{
    return r->url.where;
}

const struct redis_server *redis_server_info(const struct redis *r)
{
    return &r->server;
}

size_t redis_in_flight(const struct redis *r)
{
    return r->calls.in_flight;
}

uint64_t redis_round_trips(const struct redis *r)
{
    return r->old_trips + (r->wire ? redis_wire_trips(r->wire) : 0);
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
           copy(&r->sentinel_password_file, o->sentinel_password_file, err) &&
           copy(&r->tls_ca, o->tls_ca, err) && copy(&r->tls_cert, o->tls_cert, err) &&
           copy(&r->tls_key, o->tls_key, err);
}

static void destroy(struct redis *r)
{
    redis_calls_deinit(&r->calls);
    redis_sub_free_all(r);
    redis_tls_free(r->tls);
    redis_url_deinit(&r->url);
    free(r->name);
    free(r->user);
    free(r->password_file);
    free(r->sentinel_password_file);
    free(r->tls_ca);
    free(r->tls_cert);
    free(r->tls_key);
    free(r);
}

/* Whom to dial, or whom to ask first. */
static bool make_way(struct redis *r, struct err *err)
{
    if (r->url.primary)
        return (r->sentinels = redis_sentinels_new(r, err)) != NULL;
    return make_dial(r, err);
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
    redis_calls_init(&r->calls);
    r->state = REDIS_CONNECTING;
    if (!copy_options(r, o, err) || !make_way(r, err)) {
        destroy(r);
        return NULL;
    }
    sigpipe_ignore();
    uv_timer_init(loop, &r->timer);
    r->timer.data = r;
    redis_link_timer(r, 0); /* the first state callback comes from the loop, too */
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
    r->phase = LINK_OVER;
    drop_wire(r, &written);
    uv_timer_stop(&r->timer);
    redis_calls_fail(&r->calls, r->name, written, true, "");
    redis_dial_free(r->dial);
    r->dial = NULL;
    redis_sentinels_free(r);
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

#include "tools/ctl/link.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define ARGS_MAX 32

struct link {
    uv_loop_t loop;
    uv_timer_t timer;
    struct redis *redis;
    bool settled; /* up, or never will be */
    struct err why;
};

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    struct link *l = owner;

    if (state == REDIS_CONNECTING)
        return;
    l->settled = true;
    if (why && state != REDIS_UP) {
        l->why = *why;
        l->why.code = ERR_UNREACHABLE;
    }
}

struct link *link_open(const struct config_common *common, struct err *err)
{
    struct redis_options o = {
        .url = common->redis_url,
        .user = common->redis_user,
        .password_file = common->redis_password_file,
        .sentinel_password_file = common->redis_sentinel_password_file,
        .tls_ca = common->redis_tls_ca,
        .tls_cert = common->redis_tls_cert,
        .tls_key = common->redis_tls_key,
        .name = "awq-ctl",
        .once = true,
    };
    struct link *l = calloc(1, sizeof *l);

    if (!l) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    uv_loop_init(&l->loop);
    uv_timer_init(&l->loop, &l->timer);
    l->redis = redis_new(&l->loop, &o, on_state, l, err);
    while (l->redis && !l->settled && uv_run(&l->loop, UV_RUN_ONCE))
        ;
    if (l->redis && redis_is_up(l->redis))
        return l;
    if (l->redis && err) {
        *err = l->why;
        if (err->code == ERR_NONE)
            err_set(err, ERR_UNREACHABLE, "no link to Redis at %s", common->redis_url);
    }
    link_close(l);
    return NULL;
}

void link_close(struct link *l)
{
    if (!l)
        return;
    redis_free(l->redis);
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_run(&l->loop, UV_RUN_DEFAULT);
    uv_loop_close(&l->loop);
    free(l);
}

const struct redis_server *link_server(const struct link *l)
{
    return redis_server_info(l->redis);
}

/* ---- one answer ---- */

struct waiting {
    bool done;
    struct redis_reply *reply;
    struct err err;
};

static void on_reply(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct waiting *w = owner;

    w->done = true;
    if (err) {
        w->err = *err;
        return;
    }
    w->reply = redis_reply_copy(reply);
    if (!w->reply)
        err_set(&w->err, ERR_NOMEM, "out of memory for an answer of Redis");
}

static struct redis_reply *wait_for(struct link *l, struct waiting *w, struct err *err)
{
    while (!w->done) /* redis.h: called exactly once, a silent server runs into its time limit */
        uv_run(&l->loop, UV_RUN_ONCE);
    if (!w->reply && err)
        *err = w->err;
    return w->reply;
}

struct redis_reply *link_argv(struct link *l, size_t argc, const struct slice *argv,
                              struct err *err)
{
    struct waiting w = {0};

    if (!redis_command(l->redis, argc, argv, 0, on_reply, &w, err))
        return NULL;
    return wait_for(l, &w, err);
}

struct redis_reply *link_texts(struct link *l, struct err *err, size_t count,
                               const char *const *texts)
{
    struct slice argv[ARGS_MAX];
    size_t argc = 0;

    while (argc < count && argc < ARGS_MAX && texts[argc]) {
        argv[argc] = slice_cstr(texts[argc]);
        argc++;
    }
    return link_argv(l, argc, argv, err);
}

struct redis_reply *link_script(struct link *l, enum script s, size_t nkeys, size_t argc,
                                const struct slice *argv, struct err *err)
{
    struct waiting w = {0};

    if (!redis_script(l->redis, s, nkeys, argc, argv, on_reply, &w, err))
        return NULL;
    return wait_for(l, &w, err);
}

static void on_timer(uv_timer_t *t)
{
    *(bool *)t->data = true;
}

void link_sleep(struct link *l, int64_t ms)
{
    bool over = false;

    l->timer.data = &over;
    uv_update_time(&l->loop); /* another loop may have run meanwhile */
    uv_timer_start(&l->timer, on_timer, (uint64_t)(ms > 0 ? ms : 0), 0);
    while (!over)
        uv_run(&l->loop, UV_RUN_ONCE);
}

/*
 * main.c - awq-worker: settings, keys, the loop, and the exit code.
 * Exit: 0 clean end; 1 something was left behind or went wrong; 2 settings or key file; 3 Redis
 * must not be used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#include "common/log.h"
#include "worker/meters.h"
#include "worker/step.h"
#include "worker/token.h"
#include "worker/worker.h"

static int complain(const struct err *err)
{
    fprintf(stderr, "awq-worker: %s\n", err->msg);
    return 2;
}

/* An argument that is not taken would be a setting that its writer believes in. */
static bool no_arguments(const struct config *c, struct err *err)
{
    size_t count;
    char *const *rest = config_rest(c, &count);

    return count == 0 ||
           err_set(err, ERR_CONFIG,
                   "'%.64s': only flags are taken (--name value); --help lists them", rest[0]);
}

/* Settings into w; -1 = go on, else the exit code. */
static int configure(struct worker *w, struct settings *set, int argc, char **argv, struct err *err)
{
    struct buf print;
    int code = -1;

    buf_init(&print, 1 << 20);
    w->config = config_new(&settings_spec, set);
    if (!w->config) {
        err_set(err, ERR_NOMEM, "out of memory");
        return complain(err);
    }
    switch (config_load(w->config, argc, argv, NULL, &print, err)) {
    case CONFIG_OK:
        if (!no_arguments(w->config, err))
            code = complain(err);
        break;
    case CONFIG_DONE:
        fwrite(print.ptr, 1, print.len, stdout);
        code = 0;
        break;
    case CONFIG_BAD:
        code = complain(err);
        break;
    }
    buf_deinit(&print);
    return code;
}

static bool prepare(struct worker *w, struct err *err)
{
    enum log_level level = LOG_INFO;

    log_level_parse(slice_cstr(w->set->common.log_level), &level);
    log_set_level(level);
    id_worker(w->id);
    id_hex(w->nonce, 8);
    log_set_identity("awq-worker", w->id);
    if (!keys_init(slice_cstr(w->set->common.prefix), err))
        return false;
    w->keys = keyring_load(w->set->common.keys, err);
    w->secrets = w->keys ? secret_pool_new((size_t)w->set->token_cache_bytes, err) : NULL;
    if (!w->secrets)
        return false;
    if (!keyring_has(w->keys, KEY_RUN) || !keyring_has(w->keys, KEY_ACCESS))
        return err_set(err, ERR_CONFIG, "%s: a worker needs a run key and an access key",
                       w->set->common.keys);
    if (!worker_takes_jobs(w) && !worker_renews(w))
        return err_set(err, ERR_CONFIG, "%s has no grant key: a worker with --role renew needs one",
                       w->set->common.keys);
    return true;
}

/* No error: Kubernetes puts AWQ_SERVICE_HOST and the like there when a service is called awq. */
static void warn_unknown(const struct worker *w)
{
    const char *names = config_unknown_env(w->config);
    struct err err = {0};

    if (!names[0])
        return;
    err_set(&err, ERR_CONFIG, "the environment has %s, which no setting goes by", names);
    log_event(LOG_WARN, EV_CONFIG_BAD, F_ERR(&err));
}

/* It works, and renews nothing: that is meant so in a step worker's file, elsewhere a line is lost.
 */
static void warn_keyless(const struct worker *w)
{
    struct err err = {0};

    if (strcmp(w->set->role, "both") != 0 || worker_renews(w))
        return;
    err_set(&err, ERR_CONFIG,
            "%s has no grant key: this worker renews no token; if that is meant, say --role step",
            w->set->common.keys);
    log_event(LOG_WARN, EV_CONFIG_BAD, F_ERR(&err));
}

static int run(struct worker *w)
{
    struct err err = {0};
    int rc = uv_loop_init(w->loop);

    if (rc != 0) {
        err_set(&err, ERR_NOMEM, "cannot make an event loop: %s", uv_strerror(rc));
        complain(&err);
        return 1;
    }
    log_event(LOG_INFO, EV_WORKER_START, F_CSTR("version", settings_spec.version),
              F_INT("slots", w->set->slots), F_CSTR("prefix", w->set->common.prefix));
    warn_unknown(w);
    warn_keyless(w);
    if (!worker_start(w, &err)) {
        complain(&err);
        worker_stop(w, 2);
    }
    uv_run(w->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(w->loop) != 0)
        log_event(LOG_ERROR, EV_WORKER_FAILED, F_CSTR("what", "handles were left open"));
    return w->exit_code;
}

int main(int argc, char **argv)
{
    struct settings set = {0};
    uv_loop_t loop;
    struct worker w = {.set = &set, .loop = &loop};
    struct err err = {0};
    int code;

    if (!secret_harden_process(&err))
        return complain(&err);
    code = configure(&w, &set, argc, argv, &err);
    if (code < 0)
        code = prepare(&w, &err) ? run(&w) : complain(&err);
    steps_free(w.steps);
    tokens_free(w.tokens);
    meters_deinit();
    secret_pool_free(w.secrets);
    keyring_free(w.keys);
    config_free(w.config);
    return code;
}

#include "worker/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/version.h"
#include "worker/audit.h"
#include "worker/changes.h"
#include "worker/commit.h"
#include "worker/endpoint.h"
#include "worker/fair.h"
#include "worker/hints.h"
#include "worker/housekeeping.h"
#include "worker/intake.h"
#include "worker/journal.h"
#include "worker/liveness.h"
#include "worker/memory.h"
#include "worker/inbox.h"
#include "worker/meters.h"
#include "worker/probe.h"
#include "worker/producers.h"
#include "worker/renew.h"
#include "worker/replicas.h"
#include "worker/step.h"
#include "worker/token.h"

#define HOLD_RENEWALS_MS 2000 /* another Redis: for those who stored last to say so */
#define ABORT_SLACK_MS   2000 /* after the drain's end: for the last moves to be written */

int64_t worker_now_ms(const struct worker *w)
{
    return clock_wall_ms() + w->skew_ms;
}

bool worker_may_call(const struct worker *w)
{
    return liveness_confirmed(w->liveness) && w->install[0];
}

bool worker_takes_jobs(const struct worker *w)
{
    return strcmp(w->set->role, "renew") != 0;
}

bool worker_renews(const struct worker *w)
{
    return strcmp(w->set->role, "step") != 0 && keyring_has(w->keys, KEY_GRANT);
}

struct redis_options worker_redis_options(const struct worker *w, const char *name)
{
    const struct config_common *c = &w->set->common;

    return (struct redis_options){
        .url = c->redis_url,
        .user = c->redis_user,
        .password_file = c->redis_password_file,
        .sentinel_password_file = c->redis_sentinel_password_file,
        .tls_ca = c->redis_tls_ca,
        .tls_cert = c->redis_tls_cert,
        .tls_key = c->redis_tls_key,
        .name = name,
        .backoff_cap_ms = w->set->lease_ms / 3,
    };
}

/* ---- the end ---- */

static void close_parts(struct worker *w)
{
    hints_free(w->hints);
    intake_free(w->intake);
    house_free(w->house);
    inbox_free(w->inbox);
    fair_free(w->fair);
    liveness_free(w->liveness);
    http_free(w->http);
    redis_free(w->link);
    probe_free(w->probe);   /* after the link: it may wait for the shard's numbers */
    memory_free(w->memory); /* after the link as well */
    endpoints_free(w->endpoints);
    w->endpoints = NULL;
    replicas_free(w->replicas); /* a renewal that it ends begins no other */
    changes_free(w->changes);
    audit_free(w->audit);
    producers_free(w->producers);
    commits_free(w->commits); /* what the link took with it, and what it had not been given yet */
    journal_free(w->journal);
    uv_close((uv_handle_t *)&w->drain_timer, NULL);
    for (size_t i = 0; i < ARRAY_LEN(w->signals); i++)
        uv_close((uv_handle_t *)&w->signals[i], NULL);
}

void worker_stop(struct worker *w, int exit_code)
{
    if (w->phase == PHASE_STOPPING)
        return;
    w->phase = PHASE_STOPPING;
    if (w->audit)
        audit_close(w->audit);
    w->exit_code = exit_code;
    log_event(LOG_INFO, EV_WORKER_STOP, F_INT("exit", exit_code),
              F_UINT("left", steps_active(w->steps)));
    close_parts(w);
}

static void on_left(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct worker *w = owner;

    (void)reply;
    if (err && err->code == ERR_CANCELLED)
        return;
    w->left = true;
    worker_stop(w, 0);
}

/* Nothing is held any more: take our line and our consumers away, then end. */
static void leave(struct worker *w)
{
    struct key workers, numbers, boss;
    struct slice argv[3 + 2 * QUEUES_MAX + 1];
    struct err err = {0};
    size_t n = 0;

    w->leaving = true;
    key_workers(&workers, SHARD);
    key_worker_numbers(&numbers, SHARD);
    key_boss(&boss, SHARD);
    argv[n++] = key_slice(&workers);
    argv[n++] = key_slice(&numbers);
    argv[n++] = key_slice(&boss);
    for (size_t q = 0; q < 2 * w->queue_count; q++)
        argv[n++] = key_slice(&w->queues[q].key);
    argv[n] = slice_cstr(w->id);
    if (!redis_script(w->link, SCRIPT_leave, n, n + 1, argv, on_left, w, &err))
        worker_stop(w, 0); /* Redis is away: the housekeeper will see that we are gone */
}

void worker_on_idle(struct worker *w)
{
    if (w->phase == PHASE_RUNNING || w->phase == PHASE_DRAINING)
        intake_wake(w->intake);
    if (w->phase == PHASE_DRAINING && !w->leaving && steps_active(w->steps) == 0 &&
        renewals_active(w) == 0 && commits_waiting(w->commits) == 0 && intake_is_quiet(w->intake) &&
        audit_is_quiet(w->audit))
        leave(w);
}

static void on_drain_over(uv_timer_t *t)
{
    struct worker *w = t->data;

    if (steps_active(w->steps) == 0 && renewals_active(w) == 0) {
        worker_on_idle(w);
        if (w->leaving)
            return;
    }
    if (!w->leaving && steps_calling(w->steps) > 0) {
        steps_abort(w->steps);
        uv_timer_start(&w->drain_timer, on_drain_over, ABORT_SLACK_MS, 0);
        return;
    }
    worker_stop(w, steps_active(w->steps) > 0 || renewals_active(w) > 0 ? 1 : 0);
}

static void drain(struct worker *w)
{
    w->phase = PHASE_DRAINING;
    log_event(LOG_INFO, EV_WORKER_DRAIN, F_UINT("active", steps_active(w->steps)),
              F_INT("drain_ms", w->set->drain_ms));
    uv_timer_start(&w->drain_timer, on_drain_over, (uint64_t)w->set->drain_ms, 0);
    intake_stop(w->intake);
    steps_release_unsent(w->steps);
    liveness_beat(w->liveness); /* gives up the housekeeper's seat, if it was ours */
    worker_on_idle(w);
}

/* ---- signals ---- */

static void read_install(struct worker *w, const char *write, struct slice mac);

static void reload(struct worker *w)
{
    struct buf applied, refused;
    struct err err = {0};
    enum log_level level;

    buf_init(&applied, 4096);
    buf_init(&refused, 4096);
    if (config_reload(w->config, &applied, &refused, &err)) {
        log_event(LOG_INFO, EV_CONFIG_RELOADED, F_STR("applied", buf_slice(&applied)),
                  F_STR("needs_restart", buf_slice(&refused)));
        if (log_level_parse(slice_cstr(w->set->common.log_level), &level))
            log_set_level(level);
    } else {
        log_event(LOG_ERROR, EV_CONFIG_BAD, F_ERR(&err));
    }
    buf_deinit(&applied);
    buf_deinit(&refused);
}

/* The key file once more: `keys rotate` changes it while workers run. What it lacks could not be
 * opened any more, so a file that is not this one's successor changes nothing. */
static void reload_keys(struct worker *w)
{
    struct err err = {0};
    struct keyring *old = w->keys, *next = keyring_load(w->set->common.keys, &err);

    if (next && !keyring_follows(next, old)) {
        err_set(&err, ERR_CONFIG,
                "key file %s lacks a key that this worker seals with; the old keys stay",
                w->set->common.keys);
        keyring_free(next);
        next = NULL;
    }
    if (!next) {
        log_event(LOG_ERROR, EV_CONFIG_BAD, F_ERR(&err));
        return;
    }
    w->keys = next;
    memory_seal_anew(w->memory);
    keyring_free(old);
    log_event(LOG_INFO, EV_KEYS_RELOADED);
    if (redis_is_up(w->link))
        read_install(w, "", SLICE_NONE); /* the run key that it goes by; then a beat */
}

static void on_signal(uv_signal_t *s, int number)
{
    struct worker *w = s->data;

    switch (number) {
    case SIGTERM:
    case SIGINT:
        if (w->phase == PHASE_RUNNING)
            drain(w);
        else
            worker_stop(w, w->phase == PHASE_STARTING ? 0 : 1); /* the second time: now */
        break;
    case SIGTSTP:
        w->paused = true;
        intake_stop(w->intake); /* the fetch that waits now would still bring jobs */
        log_event(LOG_INFO, EV_WORKER_PAUSED);
        break;
    case SIGCONT:
        if (w->paused) {
            log_event(LOG_INFO, EV_WORKER_RESUMED);
            intake_expect(w->intake);
        }
        w->paused = false;
        worker_on_idle(w);
        break;
    case SIGHUP:
        reload(w);
        reload_keys(w);
        break;
    default:
        break;
    }
}

static void listen_to_signals(struct worker *w)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGTSTP, SIGCONT, SIGHUP};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        uv_signal_init(w->loop, &w->signals[i]);
        w->signals[i].data = w;
        uv_signal_start(&w->signals[i], on_signal, numbers[i]);
    }
}

/* ---- Redis comes up ---- */

/* What an operator must mend before jobs are safe here. */
static bool server_is_fit(struct worker *w, struct err *err)
{
    const struct redis_server *s = redis_server_info(w->link);

    if (s->is_replica)
        return err_rule(err, ERR_CONFIG, "redis_is_replica",
                        "Redis at %s is a read-only replica; point redis-url at the primary",
                        w->set->common.redis_url);
    if (s->eviction[0] && strcmp(s->eviction, "noeviction") != 0 && !w->set->accept_eviction)
        return err_rule(err, ERR_CONFIG, "redis_evicts",
                        "Redis has maxmemory-policy %s and may evict jobs; set it to noeviction "
                        "(or start with --accept-eviction)",
                        s->eviction);
    return true;
}

/* Is it one of our own files (keys, TLS, password) that keeps us out, rather than the server? */
static bool is_own_file(const struct err *why)
{
    struct slice rule = slice_cstr(why->rule);

    return slice_is(rule, "redis_tls_file") || slice_is(rule, "keys_foreign") ||
           slice_starts(rule, SLICE_LIT("secret_file"));
}

static void refuse(struct worker *w, const struct err *why)
{
    log_event(LOG_ERROR, EV_REDIS_REFUSED, F_CSTR("link", "main"), F_ERR(why));
    if (w->phase == PHASE_STARTING) {
        fprintf(stderr, "awq-worker: %s\n", why->msg);
        worker_stop(w, is_own_file(why) ? 2 : 3);
    }
}

static void on_ignored(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    if (err && err->code != ERR_CANCELLED)
        log_event(LOG_WARN, EV_REDIS_ERROR, F_ERR(err));
}

/* What P:meta says in `keys`: the install's id, under the run key that signs. A worker with another
 * install's key file would take genuine jobs for forged ones and bury them as fast as it can fetch.
 */
static bool keys_fit(struct worker *w, struct slice install, struct slice kept, struct slice ours,
                     struct err *err)
{
    if (slice_eq(kept, ours) || kept.len == 0 ||
        seal_mac_ok(w->keys, KEY_RUN, "install", install, kept))
        return true;
    return err_rule(err, ERR_CONFIG, "keys_foreign",
                    "key file %s has none of the run keys of this install (prefix %s): give this "
                    "worker the file of the others; if it is lost for good: awq-ctl keys "
                    "replace-lost",
                    w->set->common.keys, w->set->common.prefix);
}

static void on_install(void *owner, const struct redis_reply *reply, const struct err *err);

/* The id is made once, by whoever comes first; Idempotency-Keys are made with it. `keys` follows
 * the first run key of whoever starts last. `write`: what to say about it first, or empty. */
static void read_install(struct worker *w, const char *write, struct slice mac)
{
    struct key meta;
    char fresh[17];
    struct err err = {0};

    key_meta(&meta);
    id_hex(fresh, 8);
    const struct slice make[] = {SLICE_LIT("HSETNX"), key_slice(&meta), SLICE_LIT("install"),
                                 slice_cstr(fresh)};
    const struct slice set[] = {slice_cstr(write), key_slice(&meta), SLICE_LIT("keys"), mac};
    const struct slice read[] = {SLICE_LIT("HMGET"), key_slice(&meta), SLICE_LIT("install"),
                                 SLICE_LIT("keys")};

    (void)redis_command(w->link, 4, mac.len > 0 ? set : make, 0, on_ignored, w, &err);
    (void)redis_command(w->link, 4, read, 0, on_install, w, &err);
}

static void on_install(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct worker *w = owner;
    struct slice install = redis_reply_str(redis_reply_at(reply, 0));
    struct slice kept = redis_reply_str(redis_reply_at(reply, 1));
    struct err why = {0};
    struct buf ours;

    if (err) {
        if (err->code != ERR_CANCELLED)
            log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "install id"), F_ERR(err));
        return; /* what we know holds; if we do not, the next beat asks again */
    }
    w->install[0] = '\0';
    if (install.len == 0 || install.len >= sizeof w->install)
        return;
    buf_init(&ours, SEAL_MAC_BYTES);
    if (!seal_mac(w->keys, KEY_RUN, "install", install, &ours, &why) ||
        !keys_fit(w, install, kept, buf_slice(&ours), &why)) {
        refuse(w, &why);
        if (w->phase != PHASE_STOPPING)
            redis_reset(w->link, "keys");
    } else if (slice_eq(kept, buf_slice(&ours))) {
        slice_copy(install, w->install, sizeof w->install);
        w->keys_asked = false;
        liveness_beat(w->liveness); /* what waits goes on when it comes back: worker_on_alive */
    } else {
        /* once: a Redis that refuses it (out of memory) is asked again with the next beat */
        w->keys_asked = !w->keys_asked;
        if (w->keys_asked)
            read_install(w, kept.len == 0 ? "HSETNX" : "HSET", buf_slice(&ours));
    }
    buf_deinit(&ours);
}

/* Another Redis process, after a restart or a failover, may have forgotten the newest tokens: they
 * are put back first, and nobody renews from what is there before all had the time to do so. */
static void meet_server(struct worker *w)
{
    const char *run_id = redis_server_info(w->link)->run_id;

    if (w->run_id[0] && strcmp(w->run_id, run_id) != 0) {
        w->hold_renewals_boot_ms = clock_boot_ms() + HOLD_RENEWALS_MS;
        tokens_forget_all(w->tokens);
        memory_restore(w->memory, NULL);
    }
    slice_copy(slice_cstr(run_id), w->run_id, sizeof w->run_id);
}

static void on_link(void *owner, enum redis_state state, const struct err *why)
{
    struct worker *w = owner;
    struct err err = {0};

    switch (state) {
    case REDIS_UP:
        if (!server_is_fit(w, &err)) {
            refuse(w, &err);
            if (w->phase != PHASE_STOPPING)
                redis_reset(w->link, "unfit");
            return;
        }
        log_event(LOG_INFO, EV_REDIS_UP, F_CSTR("link", "main"), F_CSTR("at", redis_where(w->link)),
                  F_CSTR("version", redis_server_info(w->link)->version));
        meet_server(w);
        replicas_on_up(w->replicas);
        read_install(w, "", SLICE_NONE);
        break;
    case REDIS_DOWN:
        log_event(LOG_WARN, EV_REDIS_DOWN, F_CSTR("link", "main"), F_ERR(why));
        replicas_on_down(w->replicas);
        break;
    case REDIS_REFUSED:
        refuse(w, why);
        break;
    case REDIS_CONNECTING:
        break;
    }
}

/* The beat came back: first what is finished goes out, then what waits goes on, then new work comes
 * in. */
void worker_on_alive(struct worker *w)
{
    if (w->phase == PHASE_STARTING) {
        w->phase = PHASE_RUNNING;
        log_event(LOG_INFO, EV_WORKER_READY);
    }
    if (w->phase == PHASE_STOPPING)
        return;
    if (!w->install[0])
        read_install(w, "", SLICE_NONE);
    commits_resume(w->commits);
    renewals_resume(w);
    endpoints_tick(w->endpoints);
    tokens_renew_ahead(w->tokens);
    if (w->asks_wait || !liveness_is_boss(w->liveness)) /* the housekeeper asks by itself */
        renewals_take_asked(w);
    steps_resume(w->steps);
    worker_on_idle(w);
    house_tick(w->house);
    audit_tick(w->audit);
    intake_tick(w->intake);
}

/* ---- the beginning ---- */

static void name_queues(struct worker *w)
{
    for (size_t i = 0; i < w->set->queues.count && i < QUEUES_MAX; i++) {
        struct slice text = slice_cstr(w->set->queues.items[i]), name;
        struct queue *q = &w->queues[w->queue_count++];
        uint64_t weight = 1;

        slice_cut(&text, ':', &name);
        slice_copy(name, q->name, sizeof q->name);
        slice_to_u64(text, &weight); /* stays 1 when there is none */
        q->weight = (unsigned)weight;
        key_queue(&q->key, SHARD, name);
    }
    for (size_t i = 0; i < w->queue_count; i++) {
        struct queue *lane = &w->queues[w->queue_count + i];

        *lane = w->queues[i];
        key_lane(&lane->key, SHARD, slice_cstr(lane->name));
    }
}

static bool make_parts(struct worker *w, struct err *err)
{
    struct http_options ho = {
        .slots = (unsigned)w->set->slots + 64, /* token requests too */
        .max_links = (unsigned)w->set->slots * 4 + 64,
        .ca_file = w->set->http_ca,
        .proxy = w->set->http_proxy,
        .user_agent = "awq/" AWQ_VERSION,
        .http2 = w->set->http2,
    };
    struct redis_options ro = worker_redis_options(w, "main");

    w->commits = commits_new(w);
    w->liveness = liveness_new(w);
    w->house = house_new(w);
    w->memory = memory_new(w);
    w->endpoints = endpoints_new(w);
    w->changes = changes_new(w);
    w->replicas = replicas_new(w);
    w->audit = audit_new(w);
    w->producers = producers_new(w);
    w->inbox = inbox_new(w);
    w->fair = fair_new(w);
    w->tokens = tokens_new(w, err);
    w->steps = steps_new(w, (size_t)w->set->slots, err);
    w->http = http_new(w->loop, &ho, err);
    if (!w->commits || !w->liveness || !w->house || !w->memory || !w->endpoints || !w->changes ||
        !w->replicas || !w->audit || !w->producers || !w->inbox || !w->fair)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (!w->tokens || !w->steps || !w->http)
        return false;
    w->link = redis_new(w->loop, &ro, on_link, w, err);
    w->intake = w->link ? intake_new(w, err) : NULL;
    w->hints = w->intake ? hints_new(w, err) : NULL;
    if (!w->hints)
        return false;
    if (w->set->journal) {
        w->journal = journal_open(w, w->set->journal, err);
        if (!w->journal)
            return false;
    }
    if (w->set->probe_listen)
        w->probe = probe_new(w, w->set->probe_listen, err);
    return w->probe || !w->set->probe_listen;
}

bool worker_start(struct worker *w, struct err *err)
{
    uv_timer_init(w->loop, &w->drain_timer);
    w->drain_timer.data = w;
    listen_to_signals(w);
    name_queues(w);
    return meters_init(w, err) && make_parts(w, err);
}

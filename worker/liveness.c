#include "worker/liveness.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/changes.h"
#include "worker/housekeeping.h"
#include "worker/intake.h"
#include "worker/journal.h"
#include "worker/meters.h"
#include "worker/step.h"
#include "worker/worker.h"

#define SKEW_TRIP_MS 1000 /* a beat that took longer says little about Redis' clock */

struct liveness {
    struct worker *w;
    uv_timer_t timer;
    bool waiting; /* a beat is on its way */
    bool boss;
    int64_t sent_ms;      /* of the beat on its way */
    int64_t confirmed_ms; /* when the last good beat was sent; 0 = none yet */
    int64_t since_ms;     /* first beat of the row without a gap */
    uint64_t lapses;
    bool clock_off; /* the log says so */
    int64_t told_ahead_ms;
};

static int64_t period_ms(const struct liveness *l)
{
    return l->w->set->lease_ms / 3;
}

bool liveness_confirmed(const struct liveness *l)
{
    return l->confirmed_ms > 0 && clock_boot_ms() - l->confirmed_ms < l->w->set->lease_ms;
}

uint64_t liveness_lapses(const struct liveness *l)
{
    return l->lapses;
}

bool liveness_is_boss(const struct liveness *l)
{
    return l->boss && liveness_confirmed(l);
}

int64_t liveness_link_up_ms(const struct liveness *l)
{
    return liveness_confirmed(l) ? clock_boot_ms() - l->since_ms : 0;
}

/* Said once, and again when it is off by something else. It is right when it is half as far off:
 * one on the brink is not told of with each beat. */
static void look_at_clock(struct liveness *l)
{
    int64_t ahead = -l->w->skew_ms;
    bool off = llabs(ahead) > (l->clock_off ? CLOCK_OFF_MS / 2 : CLOCK_OFF_MS);

    if (off == l->clock_off && (!off || llabs(ahead - l->told_ahead_ms) <= CLOCK_OFF_MS))
        return;
    l->clock_off = off;
    l->told_ahead_ms = ahead;
    log_event(off ? LOG_WARN : LOG_INFO, off ? EV_CLOCK_OFF : EV_CLOCK_RIGHT,
              F_INT("ahead_ms", ahead));
}

static void on_beat(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct liveness *l = owner;
    int64_t now = clock_boot_ms();
    bool boss;

    l->waiting = false;
    if (err) {
        if (err->code != ERR_CANCELLED)
            log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "beat"), F_ERR(err));
        meter_redis_error(err);
        l->boss = false;
        l->w->refuse_new = err->code == ERR_NOMEM; /* OOM, MISCONF: finish, fetch nothing */
        return;
    }
    if (!liveness_confirmed(l)) {
        if (l->confirmed_ms > 0) {
            l->lapses++;
            log_event(LOG_WARN, EV_WORKER_RESUMED,
                      F_INT("unconfirmed_ms", now - l->confirmed_ms - l->w->set->lease_ms));
        }
        l->since_ms = now;
        intake_expect(l->w->intake);
    }
    /* Redis read its clock somewhere between sending and now; half the way is the best guess, and a
     * bad one when this process was stopped in between */
    if (l->confirmed_ms == 0 || now - l->sent_ms < SKEW_TRIP_MS)
        l->w->skew_ms = redis_reply_int(redis_reply_at(reply, 0), 0) -
                        (clock_wall_ms() - (now - l->sent_ms) / 2);
    look_at_clock(l);
    l->confirmed_ms = l->sent_ms;
    boss = redis_reply_int(redis_reply_at(reply, 1), 0) == 1;
    if (boss != l->boss)
        log_event(LOG_INFO, boss ? EV_HOUSE_ELECTED : EV_HOUSE_DEPOSED);
    l->boss = boss;
    l->w->refuse_new = false;
    worker_on_alive(l->w);
}

/* `awq-ctl keys` goes by them: which keys this worker knows, and which it seals with. */
static void key_ids(const struct worker *w, struct json_writer *jw, const char *name, bool seals)
{
    struct key_info keys[KEYRING_MAX];
    size_t n = keyring_list(w->keys, keys, ARRAY_LEN(keys));

    jw_key(jw, name);
    jw_arr(jw);
    for (size_t i = 0; i < n; i++) {
        if (keys[i].seals || !seals)
            jw_cstr(jw, keys[i].id);
    }
    jw_end_arr(jw);
}

/* What `awq-ctl worker ls` shows; no ids of jobs or connections. */
static void numbers(struct liveness *l, struct buf *out)
{
    struct worker *w = l->w;
    struct json_writer jw;
    char host[HOST_NAME_MAX + 1] = "";

    gethostname(host, sizeof host - 1);
    jw_init(&jw, out);
    jw_obj(&jw);
    jw_key(&jw, "host");
    jw_cstr(&jw, json_is_utf8(slice_cstr(host)) ? host : "");
    jw_key(&jw, "pid");
    jw_int(&jw, getpid());
    jw_key(&jw, "slots");
    jw_int(&jw, w->set->slots);
    jw_key(&jw, "active");
    jw_uint(&jw, steps_active(w->steps));
    jw_key(&jw, "phase");
    jw_cstr(&jw, w->phase == PHASE_DRAINING ? "draining" : w->paused ? "paused" : "running");
    jw_key(&jw, "version");
    jw_cstr(&jw, settings_spec.version);
    jw_key(&jw, "role");
    jw_cstr(&jw, w->set->role);
    jw_key(&jw, "renews");
    jw_bool(&jw, worker_renews(w));
    key_ids(w, &jw, "keys", false);
    key_ids(w, &jw, "seals", true);
    jw_key(&jw, "rev");
    jw_int(&jw, changes_rev(w->changes));
    if (l->confirmed_ms > 0) { /* from its first answer on it is known */
        jw_key(&jw, "clock_ahead_ms");
        jw_int(&jw, -w->skew_ms);
    }
    jw_key(&jw, "queues");
    jw_arr(&jw);
    for (size_t i = 0; worker_takes_jobs(w) && i < w->queue_count; i++)
        jw_cstr(&jw, w->queues[i].name);
    jw_end_arr(&jw);
    jw_end_obj(&jw);
}

void liveness_beat(struct liveness *l)
{
    struct worker *w = l->w;
    struct key workers, numbers_key, boss;
    char lease[24], boss_ms[24];
    struct buf text;
    struct err err = {0};

    if (l->waiting || !redis_is_up(w->link))
        return;
    buf_init(&text, 4096);
    numbers(l, &text);
    key_workers(&workers, SHARD);
    key_worker_numbers(&numbers_key, SHARD);
    key_boss(&boss, SHARD);
    snprintf(lease, sizeof lease, "%" PRId64, w->set->lease_ms);
    /* a little shorter than the lease: a dead housekeeper is replaced before its jobs are due back
     */
    snprintf(boss_ms, sizeof boss_ms, "%" PRId64,
             w->phase == PHASE_DRAINING ? 0 : w->set->lease_ms * 5 / 6);
    struct slice argv[7 + JOURNAL_OTHERS] = {
        key_slice(&workers), key_slice(&numbers_key), key_slice(&boss),   slice_cstr(w->id),
        slice_cstr(lease),   buf_slice(&text),        slice_cstr(boss_ms)};
    size_t argc = 7 + journal_others(w->journal, argv + 7);

    l->sent_ms = clock_boot_ms();
    l->waiting = redis_script(w->link, SCRIPT_beat, 3, argc, argv, on_beat, l, &err);
    buf_deinit(&text);
}

static void on_timer(uv_timer_t *t)
{
    struct liveness *l = t->data;

    liveness_beat(l);
    /* up to a tenth earlier, at random: a fleet that was started at once does not beat at once */
    uv_timer_start(&l->timer, on_timer, (uint64_t)(period_ms(l) - id_uniform_ms(period_ms(l) / 10)),
                   0);
}

struct liveness *liveness_new(struct worker *w)
{
    struct liveness *l = calloc(1, sizeof *l);

    if (!l)
        return NULL;
    l->w = w;
    uv_timer_init(w->loop, &l->timer);
    l->timer.data = l;
    uv_timer_start(&l->timer, on_timer, (uint64_t)period_ms(l), 0);
    return l;
}

static void on_closed(uv_handle_t *h)
{
    free(h->data);
}

void liveness_free(struct liveness *l)
{
    if (l)
        uv_close((uv_handle_t *)&l->timer, on_closed);
}

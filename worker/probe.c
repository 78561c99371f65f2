#include "worker/probe.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/httpd.h"
#include "common/log.h"
#include "common/metrics.h"
#include "worker/intake.h"
#include "worker/liveness.h"
#include "worker/meters.h"
#include "worker/step.h"
#include "worker/worker.h"

struct probe {
    struct worker *w;
    struct httpd *httpd;
    bool started;   /* was live and ready once */
    bool gathering; /* numbers of the shard are on their way */
    int64_t failed_log_ms;
};

/* Room, a link, a confirmed life - and yet nothing is fetched: this process is stuck. */
static bool is_live(const struct probe *p)
{
    const struct worker *w = p->w;

    if (w->phase != PHASE_RUNNING || w->paused || w->refuse_new || !worker_may_call(w) ||
        steps_free_slots(w->steps) == 0 || !worker_takes_jobs(w))
        return true;
    return intake_idle_ms(w->intake) < 3 * w->set->lease_ms;
}

static bool is_ready(const struct probe *p)
{
    return p->w->phase == PHASE_RUNNING && worker_may_call(p->w);
}

/* ---- the shard's numbers: only the housekeeper shows them, else every pod would count the same
 * jobs ---- */

static void on_stats(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct probe *p = owner;

    p->gathering = false;
    if (!err && liveness_is_boss(p->w->liveness))
        meters_shard(p->w, reply);
}

static void gather(struct probe *p)
{
    struct worker *w = p->w;
    struct key due, held, dead;
    struct slice argv[3 + 16];
    struct err err = {0};
    size_t n = 0;

    if (!liveness_is_boss(w->liveness)) {
        meters_shard(w, NULL);
        return;
    }
    if (p->gathering)
        return;
    key_due(&due, SHARD);
    key_held(&held, SHARD);
    key_dead(&dead, SHARD);
    argv[n++] = key_slice(&due);
    argv[n++] = key_slice(&held);
    argv[n++] = key_slice(&dead);
    for (size_t q = 0; q < w->queue_count; q++)
        argv[n++] = key_slice(&w->queues[q].key);
    p->gathering = redis_script(w->link, SCRIPT_stats, n, n, argv, on_stats, p, &err);
}

/* ---- answers ---- */

static void say(struct probe *p, struct httpd_answer *a, const char *what, bool ok)
{
    a->status = ok ? 200 : 503;
    buf_add_cstr(&a->body, ok ? "ok\n" : "no\n");
    if (!ok && clock_boot_ms() - p->failed_log_ms > 10000) {
        p->failed_log_ms = clock_boot_ms();
        log_event(LOG_WARN, EV_PROBE_FAILED, F_CSTR("probe", what),
                  F_BOOL("redis", redis_is_up(p->w->link)),
                  F_BOOL("confirmed", liveness_confirmed(p->w->liveness)),
                  F_INT("fetch_idle_ms", intake_idle_ms(p->w->intake)));
    }
}

static void on_request(void *owner, const struct httpd_request *rq, struct httpd_answer *a)
{
    struct slice path = rq->path;
    struct probe *p = owner;
    bool live = is_live(p), ready = is_ready(p);

    p->started = p->started || (live && ready);
    if (slice_is(path, "/livez")) {
        say(p, a, "livez", live);
    } else if (slice_is(path, "/readyz")) {
        say(p, a, "readyz", ready);
    } else if (slice_is(path, "/startupz")) {
        say(p, a, "startupz", p->started);
    } else if (slice_is(path, "/metrics")) {
        a->status = 200;
        a->content_type = METRICS_CONTENT_TYPE;
        meters_write(&a->body, p->w);
        gather(p); /* for the next time */
    }
}

struct probe *probe_new(struct worker *w, const char *listen, struct err *err)
{
    struct probe *p = calloc(1, sizeof *p);

    if (!p) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    p->w = w;
    p->httpd = httpd_new(w->loop, listen, on_request, p, err);
    if (!p->httpd) {
        err_prefix(err, "probe-listen: ");
        free(p);
        return NULL;
    }
    log_event(LOG_INFO, EV_PROBE_LISTENING, F_INT("port", httpd_port(p->httpd)));
    return p;
}

void probe_free(struct probe *p)
{
    if (!p)
        return;
    httpd_free(p->httpd);
    free(p);
}

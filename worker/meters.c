#include "worker/meters.h"

#include <stdio.h>

#include "common/metrics.h"
#include "worker/step.h"
#include "worker/worker.h"

enum {
    M_COMMITS,
    M_LOST,
    M_RECLAIMED,
    M_JUNK,
    M_STEP_SECONDS,
    M_WAIT_SECONDS,
    M_HTTP,
    M_RENEWALS,
    M_ACQUIRES,
    M_TOKEN_WAIT,
    M_NOT_COPIED,
    M_REDIS_ERRORS,
    M_GROUPS,
    M_TRIPS,
    M_ACTIVE,
    M_SLOTS,
    M_READY,
    M_OLDEST,
    M_DUE,
    M_PARKED,
    M_DEAD,
    M_OVERDUE,
    M_DRAIN,
    M_COUNT
};

static const char *const outcomes[] = {"done", "failed", "dead", "expired", "ready", "other"};
static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx", "no_answer"};
static const char *const renewals[] = {"renewed", "failed", "needs_consent", "late"};
static const char *const acquires[] = {"HAVE",    "BUSY",   "GRACE", "BACKOFF",
                                       "CONSENT", "BEHIND", "GONE",  "other"};

static const char *const fates[] = {"buried", "dropped", "settled"};
static const char *const redis_words[] = {"ERR",        "LOADING",    "BUSY",      "READONLY",
                                          "MASTERDOWN", "OOM",        "MISCONF",   "NOAUTH",
                                          "NOPERM",     "WRONGPASS",  "NOGROUP",   "WRONGTYPE",
                                          "UNBLOCKED",  "NOREPLICAS", "no_answer", "other"};
static const char *queue_names[16]; /* set once, before the table is used */

static struct metric table[M_COUNT] = {
    [M_COMMITS] = {.name = "awq_commits_total",
                   .type = METRIC_COUNTER,
                   .label = "outcome",
                   METRIC_VALUES(outcomes),
                   .help = "Steps that ended here: done, failed, dead, expired; ready = done, and "
                           "the run goes on."},
    [M_LOST] =
        {.name = "awq_lease_lost_total",
         .type = METRIC_COUNTER,
         .help = "Steps whose lease was gone when they were to be written; nothing was written."},
    [M_RECLAIMED] = {.name = "awq_redeliveries_total",
                     .type = METRIC_COUNTER,
                     .help =
                         "Jobs of gone workers that this housekeeper gave back to their queues."},
    [M_JUNK] = {.name = "awq_house_junk_total",
                .type = METRIC_COUNTER,
                .label = "fate",
                METRIC_VALUES(fates),
                .help = "What this housekeeper found among the jobs and is none: buried = a dead "
                        "letter now, dropped = there was nothing but a name, settled = a job that "
                        "lay nowhere and has a place again."},
    [M_STEP_SECONDS] = {.name = "awq_step_duration_seconds",
                        .type = METRIC_HISTOGRAM,
                        .label = "outcome",
                        METRIC_VALUES(outcomes),
                        METRIC_BUCKETS(metric_seconds),
                        .help = "From taken to committed."},
    [M_WAIT_SECONDS] = {.name = "awq_step_wait_seconds",
                        .type = METRIC_HISTOGRAM,
                        METRIC_BUCKETS(metric_seconds),
                        .help = "From queued to sent."},
    [M_HTTP] = {.name = "awq_http_requests_total",
                .type = METRIC_COUNTER,
                .label = "class",
                METRIC_VALUES(classes),
                .help = "Calls made, by class of the answer."},
    [M_RENEWALS] = {.name = "awq_token_renewals_total",
                    .type = METRIC_COUNTER,
                    .label = "outcome",
                    METRIC_VALUES(renewals),
                    .help = "Token renewals that this worker held the lease for."},
    [M_ACQUIRES] = {.name = "awq_token_lease_answers_total",
                    .type = METRIC_COUNTER,
                    .label = "answer",
                    METRIC_VALUES(acquires),
                    .help = "Asked for a renewal lease and did not get it."},
    [M_TOKEN_WAIT] = {.name = "awq_token_wait_seconds",
                      .type = METRIC_HISTOGRAM,
                      METRIC_BUCKETS(metric_seconds),
                      .help =
                          "Of renewals made here: from asking for the lease to the token stored."},
    [M_NOT_COPIED] = {.name = "awq_token_not_copied_total",
                      .type = METRIC_COUNTER,
                      .help =
                          "Tokens renewed here and in use that too few replicas had copied in "
                          "time: a failover now would lose them, but for this worker's memory."},
    [M_REDIS_ERRORS] = {.name = "awq_redis_errors_total",
                        .type = METRIC_COUNTER,
                        .label = "code",
                        METRIC_VALUES(redis_words),
                        .help = "Error replies by their first word; no_answer = the link failed."},
    [M_GROUPS] = {.name = "awq_group_recreated_total",
                  .type = METRIC_COUNTER,
                  .help = "Times a consumer group was found gone and made again."},
    [M_TRIPS] = {.name = "awq_redis_roundtrips_total",
                 .type = METRIC_COUNTER,
                 .help = "Writes to Redis on the script link; each carries all commands of one "
                         "turn of the loop."},
    [M_ACTIVE] = {.name = "awq_steps_active", .type = METRIC_GAUGE, .help = "Steps in hand."},
    [M_SLOTS] = {.name = "awq_slots", .type = METRIC_GAUGE, .help = "Steps in hand at most."},
    [M_READY] = {.name = "awq_jobs_ready",
                 .type = METRIC_GAUGE,
                 .label = "queue",
                 .values = queue_names,
                 .help = "Jobs on the queue, ready or in flight (from the housekeeper only)."},
    [M_OLDEST] = {.name = "awq_oldest_ready_age_seconds",
                  .type = METRIC_GAUGE,
                  .label = "queue",
                  .values = queue_names,
                  .help = "Age of the oldest entry on the queue (from the housekeeper only)."},
    [M_DUE] = {.name = "awq_jobs_due",
               .type = METRIC_GAUGE,
               .help = "Jobs set aside until a time: retries, delays (from the housekeeper only)."},
    [M_PARKED] = {.name = "awq_jobs_parked",
                  .type = METRIC_GAUGE,
                  .help =
                      "Jobs waiting for a token, a lane, a consent (from the housekeeper only)."},
    [M_DEAD] = {.name = "awq_jobs_dead",
                .type = METRIC_GAUGE,
                .help = "Dead letters (from the housekeeper only)."},
    [M_OVERDUE] = {.name = "awq_due_overdue_seconds",
                   .type = METRIC_GAUGE,
                   .help = "How late the first due job is (from the housekeeper only)."},
    [M_DRAIN] =
        {.name = "awq_backlog_drain_seconds",
         .type = METRIC_GAUGE,
         .label = "queue",
         .values = queue_names,
         .help = "Length of the queue over the rate at which jobs left it since the last scrape "
                 "(from the housekeeper only)."},
};

static struct metrics *meters;

bool meters_init(const struct worker *w, struct err *err)
{
    for (size_t q = 0; q < w->queue_count; q++)
        queue_names[q] = w->queues[q].name;
    table[M_READY].value_count = table[M_OLDEST].value_count = table[M_DRAIN].value_count =
        w->queue_count;
    meters = metrics_new(table, M_COUNT, err);
    return meters != NULL;
}

void meters_deinit(void)
{
    metrics_free(meters);
    meters = NULL;
}

/* ---- the shard ---- */

static struct {
    int64_t now_ms;
    int64_t length[16], added[16];
} last; /* the numbers before these: what left a queue since */

static void show_queue(size_t q, int64_t now, const struct redis_reply *stats)
{
    int64_t length = redis_reply_int(redis_reply_at(stats, 5 + 3 * q), 0);
    int64_t first = redis_reply_int(redis_reply_at(stats, 6 + 3 * q), now);
    int64_t added = redis_reply_int(redis_reply_at(stats, 7 + 3 * q), -1);
    int64_t gone = added - last.added[q] - (length - last.length[q]);

    metrics_set(meters, M_READY, q, (double)length);
    metrics_set(meters, M_OLDEST, q, (double)(now > first ? now - first : 0) / 1000);
    if (added >= 0 && last.now_ms > 0 && gone > 0)
        metrics_set(meters, M_DRAIN, q,
                    (double)length * (double)(now - last.now_ms) / 1000 / (double)gone);
    last.length[q] = length;
    last.added[q] = added;
}

void meters_shard(const struct worker *w, const struct redis_reply *stats)
{
    static const size_t gauges[] = {M_READY, M_OLDEST, M_DUE, M_PARKED, M_DEAD, M_OVERDUE, M_DRAIN};
    int64_t now = redis_reply_int(redis_reply_at(stats, 0), 0);
    int64_t first_due = redis_reply_int(redis_reply_at(stats, 4), now);

    for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
        metrics_unset(meters, gauges[i]);
    if (!stats) {
        last.now_ms = 0;
        return;
    }
    metrics_set(meters, M_DUE, 0, (double)redis_reply_int(redis_reply_at(stats, 1), 0));
    metrics_set(meters, M_PARKED, 0, (double)redis_reply_int(redis_reply_at(stats, 2), 0));
    metrics_set(meters, M_DEAD, 0, (double)redis_reply_int(redis_reply_at(stats, 3), 0));
    metrics_set(meters, M_OVERDUE, 0, (double)(now > first_due ? now - first_due : 0) / 1000);
    for (size_t q = 0; q < w->queue_count; q++)
        show_queue(q, now, stats);
    last.now_ms = now;
}

bool meters_write(struct buf *out, const struct worker *w)
{
    uint64_t trips = w->link ? redis_round_trips(w->link) : 0;

    metrics_set(meters, M_ACTIVE, 0, (double)steps_active(w->steps));
    metrics_set(meters, M_SLOTS, 0, (double)w->set->slots);
    if (trips > metrics_count(meters, M_TRIPS, 0))
        metrics_add(meters, M_TRIPS, 0, trips - metrics_count(meters, M_TRIPS, 0));
    return metrics_write(meters, out);
}

static void add(size_t metric, struct slice label)
{
    if (meters)
        metrics_add(meters, metric, metrics_label(meters, metric, label), 1);
}

void meter_move(enum move_kind kind, enum verdict verdict)
{
    (void)kind;
    if (meters && verdict == VERDICT_LOST)
        metrics_add(meters, M_LOST, 0, 1);
}

void meter_step(const char *state, int64_t took_ms, int64_t wait_ms)
{
    struct slice label = slice_cstr(state);

    if (!meters)
        return;
    add(M_COMMITS, label);
    metrics_observe(meters, M_STEP_SECONDS, metrics_label(meters, M_STEP_SECONDS, label),
                    (double)took_ms / 1000);
    if (wait_ms >= 0)
        metrics_observe(meters, M_WAIT_SECONDS, 0, (double)wait_ms / 1000);
}

void meter_http(int status)
{
    if (meters)
        metrics_add(meters, M_HTTP, status >= 100 && status < 600 ? (size_t)(status / 100 - 1) : 5,
                    1);
}

void meter_acquire(struct slice said)
{
    add(M_ACQUIRES, said);
}

void meter_renewal(const char *outcome)
{
    add(M_RENEWALS, slice_cstr(outcome));
}

void meter_reclaimed(uint64_t jobs)
{
    if (meters)
        metrics_add(meters, M_RECLAIMED, 0, jobs);
}

void meter_junk(const char *fate)
{
    add(M_JUNK, slice_cstr(fate));
}

void meter_group_recreated(void)
{
    if (meters)
        metrics_add(meters, M_GROUPS, 0, 1);
}

void meter_not_copied(void)
{
    if (meters)
        metrics_add(meters, M_NOT_COPIED, 0, 1);
}

void meter_token_wait(int64_t ms)
{
    if (meters)
        metrics_observe(meters, M_TOKEN_WAIT, 0, (double)ms / 1000);
}

void meter_redis_error(const struct err *err)
{
    bool link = err->code == ERR_UNREACHABLE || err->code == ERR_UNKNOWN;

    add(M_REDIS_ERRORS, link ? SLICE_LIT("no_answer") : slice_cstr(err->rule));
}

#include "worker/meters.h"

#include <stdio.h>

#include "common/metrics.h"
#include "worker/step.h"
#include "worker/worker.h"

enum {
    M_COMMITS,
    M_LOST,
    M_RECLAIMED,
    M_STEP_SECONDS,
    M_WAIT_SECONDS,
    M_HTTP,
    M_RENEWALS,
    M_ACQUIRES,
    M_GROUPS,
    M_TRIPS,
    M_ACTIVE,
    M_SLOTS,
    M_COUNT
};

static const char *const outcomes[] = {"done", "failed", "dead", "expired", "ready", "other"};
static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx", "no_answer"};
static const char *const renewals[] = {"renewed", "failed", "needs_consent", "late"};
static const char *const acquires[] = {"HAVE",    "BUSY",   "GRACE", "BACKOFF",
                                       "CONSENT", "BEHIND", "GONE",  "other"};

static const struct metric table[M_COUNT] = {
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
    [M_GROUPS] = {.name = "awq_group_recreated_total",
                  .type = METRIC_COUNTER,
                  .help = "Times a consumer group was found gone and made again."},
    [M_TRIPS] = {.name = "awq_redis_roundtrips_total",
                 .type = METRIC_COUNTER,
                 .help = "Writes to Redis on the script link; each carries all commands of one "
                         "turn of the loop."},
    [M_ACTIVE] = {.name = "awq_steps_active", .type = METRIC_GAUGE, .help = "Steps in hand."},
    [M_SLOTS] = {.name = "awq_slots", .type = METRIC_GAUGE, .help = "Steps in hand at most."},
};

static struct metrics *meters;

bool meters_init(struct err *err)
{
    meters = metrics_new(table, M_COUNT, err);
    return meters != NULL;
}

void meters_deinit(void)
{
    metrics_free(meters);
    meters = NULL;
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

void meter_group_recreated(void)
{
    if (meters)
        metrics_add(meters, M_GROUPS, 0, 1);
}

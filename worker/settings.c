#include "worker/settings.h"

#include <stddef.h>
#include <string.h>

#include "common/id.h"
#include "common/slice.h"
#include "common/version.h"

#define ROW(field, n, t, d, lo, hi, fl, h)                                                         \
    {                                                                                              \
        .name = n, .type = t, .offset = offsetof(struct settings, field), .def = d, .min = lo,     \
        .max = hi, .flags = fl, .help = h                                                          \
    }

static const struct config_row rows[] = {
    CONFIG_COMMON_ROWS(struct settings, common),
    ROW(queues, "queues", CONFIG_LIST, "default", 1, 16, 0,
        "queues to work on, NAME or NAME:WEIGHT (1-100)"),
    {.name = "role",
     .type = CONFIG_CHOICE,
     .offset = offsetof(struct settings, role),
     .def = "both",
     .choices = "step|renew|both",
     .help = "step: runs jobs and asks others for tokens, needs no grant key; renew: the reverse"},
    ROW(slots, "slots", CONFIG_INT, "64", 1, 4096, 0, "steps in flight at most"),
    ROW(lease_ms, "lease", CONFIG_MS, "6s", 1000, 300000, 0,
        "a worker that was not heard of for so long is taken for dead"),
    ROW(drain_ms, "drain", CONFIG_MS, "25s", 0, 3600000, CONFIG_RELOADABLE,
        "after TERM, finish what is on the wire for so long at most"),
    ROW(step_timeout_ms, "step-timeout", CONFIG_MS, "30s", 100, 3600000, CONFIG_RELOADABLE,
        "a call without timeout_ms may take so long"),
    ROW(step_max_ms, "step-max", CONFIG_MS, "60s", 100, 3600000, 0,
        "no call may take longer, whatever its timeout_ms says"),
    ROW(connect_timeout_ms, "connect-timeout", CONFIG_MS, "5s", 100, 60000, CONFIG_RELOADABLE,
        "name lookup, TCP and TLS of a new link"),
    ROW(job_max_bytes, "job-max", CONFIG_SIZE, "1MiB", 1024, 64 << 20, 0, "biggest envelope"),
    ROW(answer_max_bytes, "answer-max", CONFIG_SIZE, "1MiB", 1024, 64 << 20, 0,
        "biggest answer, unpacked"),
    ROW(results_max, "results-max", CONFIG_INT, "100000", 100, 100000000, 0,
        "results kept in each result stream, about"),
    ROW(dedup_ms, "dedup", CONFIG_MS, "10m", 1000, 604800000, 0,
        "a finished run is remembered for so long: repeats are dropped, its result can be read"),
    ROW(park_max, "park-max", CONFIG_INT, "100000", 1, 100000000, 0,
        "jobs parked for one connection at most; more become dead letters"),
    ROW(dead_keep_ms, "dead-keep", CONFIG_MS, "720h", 60000, 31536000000, 0,
        "dead letters older than this are purged; the log says which"),
    ROW(token_cache_bytes, "token-cache", CONFIG_SIZE, "2MiB", 65536, 1 << 30, 0,
        "guarded memory for access tokens in use"),
    ROW(connections_max, "connections-cached", CONFIG_INT, "4096", 16, 10000000, 0,
        "connections kept in memory"),
    ROW(renew_timeout_ms, "renew-timeout", CONFIG_MS, "20s", 100, 300000, 0,
        "a token request may take so long"),
    ROW(renew_lease_ms, "renew-lease", CONFIG_MS, "60s", 1000, 900000, 0,
        "lease on a connection's renewal; at least twice renew-timeout"),
    ROW(renew_grace_ms, "renew-grace", CONFIG_MS, "10s", 0, 900000, 0,
        "after a lost lease, so long is waited for a late answer"),
    ROW(renew_at_once, "renew-at-once", CONFIG_INT, "16", 1, 4096, 0,
        "token requests at once to one token endpoint, from this worker"),
    {.name = "renew-replicas",
     .type = CONFIG_CHOICE,
     .offset = offsetof(struct settings, renew_replicas),
     .def = "auto",
     .choices = "auto|0|1|2|3",
     .help = "so many replicas must have a renewal's lease before the token request, and its token "
             "before it is used; auto: one, while Redis has any"},
    ROW(journal, "journal", CONFIG_PATH, NULL, 0, 0, 0,
        "folder for outcomes that Redis could not take yet; default: memory only"),
    {.name = "audit-level",
     .type = CONFIG_CHOICE,
     .offset = offsetof(struct settings, audit_level),
     .def = "renewals",
     .choices = "acts|renewals|uses",
     .help = "what this worker writes to the audit stream: nothing, its renewals, or each use of a "
             "token too"},
    ROW(audit_max, "audit-max", CONFIG_INT, "100000", 1000, 100000000, 0,
        "lines kept in the audit stream, about"),
    ROW(probe_listen, "probe-listen", CONFIG_STR, NULL, 0, 255, 0,
        "ADDRESS:PORT for /livez /readyz /startupz /metrics; default: none"),
    ROW(http_ca, "http-ca", CONFIG_PATH, NULL, 0, 0, 0,
        "PEM bundle to check servers with; default: the system's"),
    ROW(http_proxy, "http-proxy", CONFIG_STR, NULL, 0, 1024, 0,
        "proxy for calls and token requests; default: none, whatever http_proxy says"),
    ROW(http2, "http2", CONFIG_BOOL, "true", 0, 0, 0,
        "try HTTP/2 over TLS, for bodies up to 16 KiB"),
    ROW(require_signed, "require-signed", CONFIG_BOOL, "false", 0, 0, 0,
        "take only jobs that a producer signed (awq-ctl producer); others become dead letters"),
    ROW(accept_eviction, "accept-eviction", CONFIG_BOOL, "false", 0, 0, 0,
        "run although Redis may evict keys (maxmemory-policy is not noeviction): jobs can be lost"),
};

static bool queue_ok(struct slice text, struct err *err)
{
    size_t colon = slice_find(text, ':');
    struct slice weight = slice_sub(text, colon + 1, text.len);
    uint64_t n = 1;

    if (!id_is_queue(slice_sub(text, 0, colon)) ||
        (colon < text.len && (!slice_to_u64(weight, &n) || n < 1 || n > 100)))
        return err_set(err, ERR_CONFIG, "queues: '%.*s' is not NAME or NAME:WEIGHT, weight 1-100",
                       SLICE_FMT(slice_sub(text, 0, 80)));
    return true;
}

static bool check(const void *settings, struct err *err)
{
    const struct settings *s = settings;

    for (size_t i = 0; i < s->queues.count; i++) {
        if (!queue_ok(slice_cstr(s->queues.items[i]), err))
            return false;
    }
    if (!s->common.keys)
        return err_set(
            err, ERR_CONFIG,
            "keys: no key file given; name a copy of the other workers'; for a new install, make "
            "one with awq-ctl keys new");
    if (s->renew_lease_ms < 2 * s->renew_timeout_ms)
        return err_set(err, ERR_CONFIG, "renew-lease must be at least twice renew-timeout");
    if (s->step_timeout_ms > s->step_max_ms)
        return err_set(err, ERR_CONFIG, "step-timeout must not be over step-max");
    return true;
}

/* awq-ctl's: an operator has both programs' settings in one environment. */
static const char *const env_of_others[] = {"AWQ_OUTPUT", "AWQ_PROFILES", NULL};

const struct config_spec settings_spec = {
    .program = "awq-worker",
    .version = AWQ_VERSION,
    .usage = "[options]",
    .about = "Takes step jobs from Redis streams, makes their HTTP calls, commits the results.",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .settings_size = sizeof(struct settings),
    .check = check,
    .env_of_others = env_of_others,
};

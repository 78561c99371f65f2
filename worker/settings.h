/*
 * settings.h - what an operator can set on awq-worker: one table, see common/config.h.
 * Units   _ms milliseconds, _bytes bytes.
 */
#ifndef AWQ_WORKER_SETTINGS_H
#define AWQ_WORKER_SETTINGS_H

#include "common/config.h"

struct settings {
    struct config_common common;
    struct config_list queues;
    const char *role; /* "step", "renew", "both" */
    int64_t slots;
    int64_t lease_ms;
    int64_t drain_ms;
    int64_t step_timeout_ms, step_max_ms, connect_timeout_ms;
    int64_t job_max_bytes, answer_max_bytes;
    int64_t results_max, dedup_ms, park_max, dead_keep_ms;
    int64_t token_cache_bytes, connections_max;
    int64_t renew_timeout_ms, renew_lease_ms, renew_grace_ms;
    int64_t renew_at_once;
    const char *renew_replicas; /* auto, or a digit */
    const char *journal;
    const char *audit_level; /* acts, renewals, uses */
    int64_t audit_max;
    const char *probe_listen;
    const char *http_ca, *http_proxy;
    bool http2;
    bool accept_eviction;
    bool require_signed;
};

extern const struct config_spec settings_spec;

#endif

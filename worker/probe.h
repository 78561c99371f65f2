/*
 * probe.h - what Kubernetes and Prometheus ask: /livez /readyz /startupz /metrics, on a port of
 * its own.
 * Owns    the port; the shard's numbers, gathered (by the housekeeper only) when somebody asks for
 *         metrics.
 * Thread  the loop thread only.
 * Errors  ERR_CONFIG when the address cannot be bound.
 *
 * /livez     the loop turns (it answers), and it is not so that there is room and a link and yet no
 *            fetch was answered for three leases. Never tied to Redis being up, nor to jobs
 *            succeeding.
 * /readyz    the real beat script ran within the last lease, and the worker is not draining.
 * /startupz  the first time both were true.
 */
#ifndef AWQ_WORKER_PROBE_H
#define AWQ_WORKER_PROBE_H

#include "common/err.h"

struct worker;
struct probe;

struct probe *probe_new(struct worker *w, const char *listen, struct err *err);
void probe_free(struct probe *p); /* NULL is fine */

#endif

/*
 * queues.h - which queues there are, and who works on them: by the beats of living workers, and by
 *            a bounded walk over the keys, which finds those that nobody works on.
 *
 * Owns    nothing beyond its struct.
 * Thread  the only one.
 * Errors  exit codes of ctl.h; what was wrong is said.
 */
#ifndef AWQ_CTL_QUEUES_H
#define AWQ_CTL_QUEUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/id.h"

#define QUEUES_MAX 64

struct args;
struct ctl;

struct queue_seen {
    char name[ID_MAX + 1];
    int64_t workers; /* alive, that work on it; of the first 200 */
};

struct queues { /* by name; `default` is always among them */
    struct queue_seen queue[QUEUES_MAX];
    size_t count;
    bool more;       /* there may be others */
    size_t misnamed; /* streams below q: whose names no queue has: no worker looks there */
    char misnamed_one[ID_MAX + 1]; /* how one of them begins */
    int64_t active, slots;         /* of those workers, all together */
};

/* `a` names queues: only these, without a walk. None: all that are found. */
int queues_read(struct queues *n, struct ctl *c, const struct args *a, int64_t now_ms);

#endif

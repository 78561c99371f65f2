/*
 * work.h - the jobs of the demo: put on the queue at a pace, and their results taken in.
 * Owns    what is known about each job and step.
 * Thread  the loop thread only.
 * Units   milliseconds of the boot clock.
 * Errors  those of Redis; ERR_FORMAT for a result that cannot be read.
 * Source  common/PROTOCOL.md: bare XADD of envelopes, results in a stream.
 */
#ifndef AWQ_DEMO_WORK_H
#define AWQ_DEMO_WORK_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"
#include "tools/demo/ask.h"

#define WORK_JOBS  2000
#define WORK_STEPS 2 /* of a job: read a record here, write it there */

struct work {
    struct ask *ask;
    const char *sandbox_url;
    unsigned enqueued;
    int64_t started_ms, ended_ms; /* first job put, last job's end seen */
    unsigned results;             /* different (job, step) seen */
    unsigned ended;               /* jobs whose last result was seen */
    unsigned duplicates;          /* (job, step) that came once more */
    unsigned not_done;            /* results with another state than done */
    char complaint[160];          /* the first of those, in words */
    unsigned char seen[WORK_JOBS][WORK_STEPS];
    char after[48]; /* the last result entry read */
};

void work_init(struct work *w, struct ask *ask, const char *sandbox_url);
/* Put what is due by now, in batches. */
bool work_enqueue(struct work *w, int64_t now_ms, struct err *err);
bool work_take_results(struct work *w, int64_t now_ms, struct err *err);
bool work_is_over(const struct work *w);

/* "demo-0017" -> 17; false for any other id. */
bool work_job_number(struct slice id, unsigned *number);
#endif

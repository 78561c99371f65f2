/*
 * job.h - awq-ctl job: what its files share.
 * Owns    nothing; the reply of a struct run is freed by whoever read it (redis_reply_free).
 * Thread  the only one.
 */
#ifndef AWQ_CTL_JOB_H
#define AWQ_CTL_JOB_H

#include "common/id.h"
#include "tools/ctl/ctl.h"

#define JOB_DEDUP_MS (10 * 60 * 1000) /* how long an id and a record are kept, unless told */

struct buf;
struct redis_reply;

/* The flags of enqueue. */
enum { E_FILE, E_QUEUE, E_WAIT, E_TIMEOUT, E_BACKLOG, E_DEDUP, E_SIGN, E_PRODUCER };

struct attempt {    /* the last one that failed, of the step that the run is at */
    uint64_t count; /* how many there were */
    int64_t status; /* 0: there was no answer */
    struct slice code, text;
};

/* What the record of a run says; the texts lie in the reply. */
struct run {
    struct redis_reply *reply;
    struct slice state, place, result;
    struct slice letter; /* it was refused before its id was trusted: its dead letter's name */
    struct attempt failed;
    int64_t time_ms;
    uint64_t seq;
    bool cancel_asked;
};

int job_enqueue(struct ctl *c, const struct args *a);
int job_wait(struct ctl *c, const struct args *a);
int job_cancel(struct ctl *c, const struct args *a);

/* The first name of the command, when it can be a job's id. */
int job_id(struct ctl *c, const struct args *a, char to[ID_MAX + 1]);
int job_read_run(struct ctl *c, const char *id, struct run *r);
bool job_has_ended(struct slice state);

/* The last result of a run as JSON; one that has none (a purged letter) is said by its state. */
bool job_result_json(struct buf *out, struct slice id, struct slice state, struct slice bytes);

/* Wait for all of them, and print the last result of each. */
int job_wait_runs(struct ctl *c, char (*ids)[ID_MAX + 1], size_t count, int64_t limit_ms);

#endif

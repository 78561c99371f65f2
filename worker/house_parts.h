/*
 * house_parts.h - the inside of housekeeping, for the files that make it up: housekeeping.c (the
 * timer, the agenda, a round), house_promote.c (jobs back to their queues), house_lots.c (who may
 * go on), house_gone.c (jobs of workers that are gone), house_dead.c (old dead letters),
 * house_junk.c (what is no job and lies among them), house_adrift.c (jobs that lie nowhere).
 *
 *   look -> agenda -> due jobs -> each due lot -> each gone worker -> strays -> end of the round
 *
 * Each part ends by beginning the next one. One errand is under way at a time.
 */
#ifndef AWQ_WORKER_HOUSE_PARTS_H
#define AWQ_WORKER_HOUSE_PARTS_H

#include "worker/housekeeping.h"
#include "worker/worker.h"

#define HOUSE_LOOK_MS                                                                              \
    2000 /* the longest sleep; hints make it shorter, correctness never needs them */
#define HOUSE_BATCH      50 /* jobs moved by one call */
#define HOUSE_QUEUES_MAX 1024

enum errand { ERRAND_NONE, ERRAND_AGENDA, ERRAND_DUE, ERRAND_LOT, ERRAND_RECLAIM, ERRAND_STRAYS };

struct lot {
    char resource[ID_MAX + 8];
    char score[32]; /* as it was when we looked */
};

struct house {
    struct worker *w;
    uv_timer_t timer;
    enum errand errand;
    int64_t stray_at_ms; /* boot clock */
    size_t stray_queue;
    bool stray_stays;   /* that one is looked at again */
    size_t stray_looks; /* at streams, so far */
    int64_t ask_at_ms;  /* boot clock */
    int64_t next_ms;    /* of the agenda: when to look again */
    struct lot lots[20];
    size_t lot_count, lot_at;
    char gone[5][WORKER_ID_MAX];
    size_t gone_count, gone_at, queue_at;
    char queues[HOUSE_QUEUES_MAX][ID_MAX + 1]; /* all that any worker works on */
    size_t queue_count;
    int64_t agenda_ms; /* when the agenda was read */
    bool again;        /* a full batch was moved: look again at once */
    bool moved;        /* this round changed something, or a hint came: the next may find more */
    bool drain_lot;    /* the lot's jobs may go on */
    int64_t lot_next_ms;
    int64_t lot_pace_ms; /* of a lot that has more: until the next batch may go */
};

void house_sleep(struct house *h, int64_t ms);
/* An error of an errand (NULL: none, false): said, and the next look is the next attempt. */
bool house_failed(struct house *h, const struct err *err);
void house_end_round(struct house *h);

struct promotion { /* arguments of one promote */
    struct slice argv[2 + 3 * HOUSE_BATCH];
    struct key set, held;
    struct key queue[HOUSE_BATCH], run[HOUSE_BATCH];
    size_t count;
};

/* The i-th stream that workers take from: the queues, then their lanes. */
size_t house_streams(const struct house *h);
void house_stream_key(const struct house *h, size_t i, struct key *key);
const char *house_stream_name(const struct house *h, size_t i);

/* Move jobs of p->set back to their queues. names: name, queue, name, queue ... from that element
 * on, as agenda and peek answer them. */
bool house_promote(struct house *h, struct promotion *p, const struct redis_reply *names,
                   size_t from, redis_cb *cb, struct err *err);
void house_count_promoted(struct house *h, const struct redis_reply *reply);

/* Is there a job behind what agenda and peek answer for a member: a job's name, and a body whose
 * queue is one? */
bool house_is_job(struct slice name, struct slice queue);
/* Set aside those that are none: dead letters of what has a body, a log line for each. */
void house_set_aside(struct house *h, const struct key *set, const struct redis_reply *names,
                     size_t from);
/* A member that names nothing was, or is being, taken out of a set other than these. */
void house_log_junk(struct house *h, const char *place, struct slice name);
/* A body that lay nowhere was given a place. */
void house_log_settled(struct house *h, struct slice name);
void house_look_for_adrift(struct house *h);

void house_read_lots(struct house *h, const struct redis_reply *lots);
void house_next_lot(struct house *h);
void house_read_gone(struct house *h, const struct redis_reply *gone);
void house_next_gone(struct house *h);
void house_look_for_old_dead(struct house *h);

#endif

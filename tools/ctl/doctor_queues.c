/* awq-ctl doctor: are the queues worked on? */
#include <inttypes.h>
#include <stdio.h>
#include "common/key.h"
#include "tools/ctl/doctor_parts.h"
#include "tools/ctl/link.h"
#include "tools/ctl/queues.h"

#define STUCK_MS (5 * 60 * 1000) /* longer than the longest step that is usual */
#define OLD_MS   15000           /* ready for so long, although slots are free */
#define LAST_ID  "18446744073709551615-18446744073709551615"

struct queue_state {
    int64_t jobs, flies_ms, waits_ms; /* of the oldest in flight, of the oldest that is ready */
    bool group, used_up;
};

/* An entry's id begins with the time that it was added at. */
static int64_t age_ms(const struct doctor *d, struct slice id)
{
    int64_t ms = 0;

    return slice_to_i64(slice_sub(id, 0, slice_find(id, '-')), &ms) && ms < d->now_ms
               ? d->now_ms - ms
               : 0;
}

/* XINFO GROUPS: where the group `w` is; "" without it. */
static void read_group(struct doctor *d, const char *queue, char *last, size_t size)
{
    struct redis_reply *r = link_ask(d->c->link, NULL, "XINFO", "GROUPS", queue);

    *last = '\0';
    for (size_t i = 0; i < redis_reply_len(r); i++) {
        const struct redis_reply *g = redis_reply_at(r, i);

        if (slice_is(redis_reply_str(redis_reply_field(g, "name")), "w"))
            slice_copy(redis_reply_str(redis_reply_field(g, "last-delivered-id")), last, size);
    }
    redis_reply_free(r);
}

static void read_state(struct doctor *d, const char *queue, struct queue_state *q)
{
    char last[48], after[50];
    struct redis_reply *r;

    *q = (struct queue_state){.jobs = doctor_count(d, "XLEN", queue)};
    r = link_ask(d->c->link, NULL, "XINFO", "STREAM", queue);
    q->used_up = slice_is(redis_reply_str(redis_reply_field(r, "last-generated-id")), LAST_ID);
    redis_reply_free(r);
    read_group(d, queue, last, sizeof last);
    q->group = last[0] != '\0';
    if (!q->group || q->jobs == 0)
        return;
    r = link_ask(d->c->link, NULL, "XPENDING", queue, "w", "-", "+", "1");
    q->flies_ms = redis_reply_int(redis_reply_at(redis_reply_at(r, 0), 2), 0);
    redis_reply_free(r);
    snprintf(after, sizeof after, "(%s", last);
    r = link_ask(d->c->link, NULL, "XRANGE", queue, after, "+", "COUNT", "1");
    if (redis_reply_len(r) > 0)
        q->waits_ms = age_ms(d, redis_reply_str(redis_reply_at(redis_reply_at(r, 0), 0)));
    redis_reply_free(r);
}

/* The group that workers read with is made by them; a queue with jobs and without it waits. */
static void check_queue(struct doctor *d, const struct queue_seen *seen, const struct queues *n)
{
    bool slots_free = seen->workers > 0 && n->active * 10 < n->slots * 9;
    struct queue_state q;
    struct key key;
    char what[ID_MAX + 16];

    key_queue(&key, CTL_SHARD, slice_cstr(seen->name));
    read_state(d, key.s, &q);
    snprintf(what, sizeof what, "queue %s", seen->name);
    if (q.used_up)
        checks_add(&d->checks, CHECK_BAD, what,
                   "Let workers drain it, then DEL it (while XLEN is 0): a new one begins; who may "
                   "XADD there has done it",
                   "takes no more jobs: its last id is the last that there is; %" PRId64
                   " jobs on it",
                   q.jobs);
    else if (!q.group)
        checks_add(&d->checks, q.jobs > 0 ? CHECK_WARN : CHECK_OK, what,
                   "A worker makes the group when it works on this queue: --queues",
                   q.jobs > 0 ? "%" PRId64 " jobs and no group w" : "not used yet", q.jobs);
    else if (q.waits_ms > OLD_MS && slots_free)
        checks_add(&d->checks, CHECK_WARN, what,
                   "worker ls: are its workers paused, do they hang? Their logs say what Redis "
                   "refuses them",
                   "%" PRId64 " jobs, the oldest ready for %" PRId64 " s although slots are free",
                   q.jobs, q.waits_ms / 1000);
    else
        checks_add(&d->checks, q.flies_ms > STUCK_MS ? CHECK_WARN : CHECK_OK, what,
                   "A worker holds a step for long: worker ls, and its log",
                   "%" PRId64 " jobs, the oldest in flight for %" PRId64 " s", q.jobs,
                   q.flies_ms / 1000);
}

/* A queue that grows: nobody works on it, or all who do are busy. */
int doctor_queues(struct doctor *d)
{
    struct queues n;
    struct key queue;
    int64_t waiting = 0;
    const struct args all = {.count = 0};
    int code = queues_read(&n, d->c, &all, d->now_ms);

    if (code)
        return code;
    for (size_t i = 0; i < n.count; i++) {
        int64_t jobs;

        key_queue(&queue, CTL_SHARD, slice_cstr(n.queue[i].name));
        jobs = doctor_count(d, "XLEN", queue.s);
        if (n.queue[i].workers > 0)
            waiting += jobs;
        if (n.queue[i].workers > 0 || slice_is(SLICE_LIT("default"), n.queue[i].name))
            check_queue(d, &n.queue[i], &n);
        else if (jobs > 0 && n.slots > 0)
            checks_add(&d->checks, CHECK_WARN, "queues",
                       "Give a worker this queue (--queues), or have its producer name another",
                       "%" PRId64 " jobs on %s, and none of the workers alive works on it", jobs,
                       n.queue[i].name);
    }
    if (n.misnamed > 0)
        checks_add(&d->checks, CHECK_WARN, "queue names",
                   "No worker looks there: a queue's name is 1-64 of A-Z a-z 0-9 _ -. Have its "
                   "producer mended, put the jobs again, DEL the stream",
                   "\"%s\" is none; streams below q: with such a name: %zu", n.misnamed_one,
                   n.misnamed);
    /* beats are some seconds old: nearly all is all */
    if (n.slots > 0 && n.active * 10 >= n.slots * 9 && waiting > n.slots)
        checks_add(&d->checks, CHECK_WARN, "slots",
                   "Start more workers, or give them more --slots; if the queue grew of a sudden, "
                   "look whether calls became slow (awq_step_duration_seconds)",
                   "%" PRId64 " of %" PRId64 " are busy, and %" PRId64 " jobs wait", n.active,
                   n.slots, waiting - n.active);
    return CTL_OK;
}

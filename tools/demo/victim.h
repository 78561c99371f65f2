/*
 * victim.h - kill -9 for one worker at the worst moment, and how long its jobs took to be done by
 * others.
 * Owns    the list of steps that it held.
 * Thread  the loop thread only.
 * Units   milliseconds of the boot clock.
 * Errors  those of Redis.
 *
 * The moment is looked at while the worker is stopped (SIGSTOP), so that what was seen is still so
 * when it is killed: it has at least VICTIM_PENDING jobs, an answer of the API waits unread in one
 * of its sockets (the call was on the wire), and nobody holds a renewal lease. Else it goes on.
 */
#ifndef AWQ_DEMO_VICTIM_H
#define AWQ_DEMO_VICTIM_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "tools/demo/site.h"
#include "tools/demo/work.h"

#define VICTIM_PENDING     20
#define VICTIM_PENDING_MAX 1024

struct victim_step {
    unsigned job;
    unsigned step;
};

struct victim {
    struct site *site;
    struct work *work;
    struct site_worker *worker; /* NULL: nobody was killed yet */
    int pid;
    int64_t killed_ms, recovered_ms; /* 0: not yet */
    struct victim_step held[VICTIM_PENDING_MAX];
    unsigned held_count;
};

void victim_init(struct victim *v, struct site *site, struct work *work);
/* Try once; *v tells if it came to it. False only on an error. */
bool victim_try(struct victim *v, struct err *err);
/* Have all the steps that it held got their results? Sets recovered_ms. */
void victim_look(struct victim *v, int64_t now_ms);
#endif

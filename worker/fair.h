/*
 * fair.h - fair turns between tenants: one tenant's hundred thousand jobs do not hold up another's
 * ten.
 *
 * Owns    what the housekeeper knows of queues that have a backlog: whose jobs lie where.
 * Thread  the loop thread only.
 * Errors  none: a look that fails is made again with the next hint.
 *
 * Each queue has a second stream, its lane (P:{sN}:q:QUEUE~), from which workers take as many jobs
 * as from the queue itself. A worker that has found a queue full for a while, with jobs of tenants
 * in it, says so (P:wake, "fair:QUEUE"). The housekeeper then reads ahead in the queue, notes whose
 * jobs come when, and moves jobs of all tenants but the one that has most into the lane, FAIR_SHARE
 * of each at a time. So a tenant's next job waits for at most FAIR_SHARE jobs of each other tenant
 * in the lane, and as many of the queue, whatever lies in front of it there.
 *
 * Bounds: FAIR_QUEUES queues with a backlog at a time; of each the first 65,536 stretches of one
 * tenant's jobs, and 4,096 tenants. What is beyond waits until some of that was worked off.
 */
#ifndef AWQ_WORKER_FAIR_H
#define AWQ_WORKER_FAIR_H

#include "common/slice.h"

#define FAIR_SHARE  32 /* jobs of one tenant in a lane */
#define FAIR_QUEUES 8

struct worker;
struct fair;

struct fair *fair_new(struct worker *w);
void fair_free(struct fair *f); /* NULL is fine */
/* This queue has a backlog; if we keep house, look into it. */
void fair_hint(struct fair *f, struct slice queue);

#endif

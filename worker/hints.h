/*
 * hints.h - listens to P:changed and P:wake, so that this worker looks sooner than it would by
 * itself.
 * Owns    a link that does nothing else.
 * Thread  the loop thread only.
 * Errors  none: a hint that is missed costs time, never correctness.
 * Source  redis.io SUBSCRIBE.
 */
#ifndef AWQ_WORKER_HINTS_H
#define AWQ_WORKER_HINTS_H

struct worker;
struct err;
struct hints;

struct hints *hints_new(struct worker *w, struct err *err);
void hints_free(struct hints *h);
void hints_say_backlog(struct hints *h, const char *queue); /* to the housekeeper (fair.h) */

#endif

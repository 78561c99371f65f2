/*
 * replicas.h - has a replica what a renewal wrote? A failover loses what no replica had copied, and
 * then two workers hold one lease, or a rotated refresh token is nowhere.
 * Owns    how many replicas there are and must have copied (setting renew-replicas), and, while
 * there are any, a link for the scripts of renewals: WAIT counts the writes of its own link, and
 *         holds up whatever comes behind it there, so commits have another. Without replicas there
 *         is no such link: an idle worker says nothing on it.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  the link's, when it broke before the replicas were heard of.
 * Source  redis.io/commands/wait.
 */
#ifndef AWQ_WORKER_REPLICAS_H
#define AWQ_WORKER_REPLICAS_H

#include <stdbool.h>
#include "common/err.h"

struct redis;
struct replicas;
struct worker;

typedef void replicas_cb(void *owner, bool enough, const struct err *err); /* err: not known */

struct replicas_wait { /* one who waits; in the waiter's own memory until it was called back */
    struct replicas_wait *next;
    replicas_cb *cb;
    void *owner;
};

struct replicas *replicas_new(struct worker *w);
void replicas_free(
    struct replicas *p); /* calls back whoever waits, with ERR_CANCELLED; NULL is fine */

void replicas_on_up(struct replicas *p); /* the main link is */
void replicas_on_down(
    struct replicas *p); /* and now it is not: neither is the server behind ours */

/* The link for a renewal's next script: it and the wait after it go the same way. */
struct redis *replicas_link(struct replicas *p);
/* Count the replicas anew: they come and go while the link stays. What is asked on replicas_link
 * after this is answered later. A renewal is rare enough for that. */
void replicas_look(struct replicas *p);

/* So many must have copied; 0: nothing is waited for. */
int replicas_wanted(const struct replicas *p);
/* Have they copied what `link`, from replicas_link, answered so far? Waits WAIT_MS for them at
 * most. False: it could not be asked, and cb is not called. To be called in the callback of that
 * answer, before the link can have become another. */
bool replicas_ask(struct replicas *p, struct redis *link, struct replicas_wait *one,
                  replicas_cb *cb, void *owner, struct err *err);

#endif

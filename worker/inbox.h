/*
 * inbox.h - producers who may write to nothing but an inbox of their own: the housekeeper looks at
 *           what they put there, and moves onto the queue what passes.
 *
 * Owns    its timer.
 * Thread  the loop thread only.
 * Errors  a job that fails its checks is deleted from the inbox and said (inbox.refused): no dead
 *         letter, or whoever can write there could fill Redis with them.
 *
 * An entry of P:{sN}:in:NAME has the fields q (queue), j and s, as common/PROTOCOL.md says.
 */
#ifndef AWQ_WORKER_INBOX_H
#define AWQ_WORKER_INBOX_H

struct worker;
struct inbox;

struct inbox *inbox_new(struct worker *w);
void inbox_free(struct inbox *b); /* NULL is fine */

#endif

/*
 * producers.h - the producers that may sign jobs (common/producer.h), as P:producers has them.
 * Owns    the records read last.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  a record that this key file did not write is none, and is said once (producer.broken).
 */
#ifndef AWQ_WORKER_PRODUCERS_H
#define AWQ_WORKER_PRODUCERS_H

#include <stdbool.h>
#include <stddef.h>
#include "common/producer.h"

struct worker;
struct producers;

struct producers *producers_new(struct worker *w);
void producers_free(struct producers *p); /* NULL is fine */

/* False: they are being read, and steps_resume follows. Else *out is the producer, or NULL when
 * there is none of that name. It is valid until the loop turns. */
bool producers_find(struct producers *p, struct slice name, const struct producer **out);
void producers_forget(
    struct producers *p); /* something changed: read them again before the next is looked for */

/* The next one with an inbox, from *at (0 = the first) on; NULL at the end, and *at is 0 again. */
const struct producer *producers_next_inbox(const struct producers *p, size_t *at);

#endif

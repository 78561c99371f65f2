/*
 * changes.h - has an operator changed a connection since this worker read it?
 * Owns    the revision that this worker knows: `rev` of P:meta, which awq-ctl counts up after each
 *         disable, enable, revoke and removal.
 * Thread  the loop thread only.
 * Units   milliseconds on CLOCK_BOOTTIME.
 * Errors  none: a look that fails is made again when somebody asks.
 *
 * Hints (P:changed) may be missed, so the promise that no call uses a disabled connection's token
 * after a second does not rest on them: what was read of a connection is believed for SURE_MS, and
 * longer only while looks at the revision, asked for as calls go out, say that nothing changed.
 */
#ifndef AWQ_WORKER_CHANGES_H
#define AWQ_WORKER_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

struct worker;
struct changes;

struct changes *changes_new(struct worker *w);
void changes_free(struct changes *c); /* after the link; NULL is fine */
void changes_look(struct changes *c); /* now: somebody says that there is news */
/* May what was read at that time be acted on? While Redis is away no news can come: then it may,
 * and the worker's own lease is the bound. */
bool changes_sure(struct changes *c, int64_t read_boot_ms);
int64_t changes_rev(const struct changes *c); /* -1: not known yet */

#endif

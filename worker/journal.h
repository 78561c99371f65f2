/*
 * journal.h - outcomes that Redis could not take yet, on disk, so that they outlive this process.
 * Owns    one file of its own in the folder, locked while it lives; and the files of processes
 *         that are gone, until what is in them has been committed.
 * Thread  the loop thread; writing and fsync on libuv's pool.
 * Errors  a record that cannot be written is logged (journal.bad) and stays in memory only; a file
 *         that cannot be read to its end (cut by a crash) is used up to there.
 * Source  none outside; journal_record.h says how a file looks.
 *
 * Whatever a call's answer was, it is known here before Redis knows it. If Redis is away and this
 * process dies, the next one in the same folder commits it, in the name of the worker that took the
 * job, and beats for that name until it has. Committing twice is harmless: the scripts check. The
 * same holds for what a token server answered: a rotated refresh token exists nowhere else.
 */
#ifndef AWQ_WORKER_JOURNAL_H
#define AWQ_WORKER_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include "common/err.h"
#include "common/slice.h"

#define JOURNAL_OTHERS 8 /* files of gone processes taken over at once */

struct worker;
struct move;
struct journal;

struct journal *journal_open(struct worker *w, const char *folder, struct err *err);
void journal_free(struct journal *j);                 /* NULL is fine */
void journal_keep(struct journal *j, struct move *m); /* j NULL, or already kept: nothing */
void journal_done(struct journal *j, struct move *m);
/* Any record (journal_record.h), sealed here. False: not kept. Dropped when it is over. */
bool journal_add(struct journal *j, struct slice clear);
void journal_drop(struct journal *j);
/* Ids to beat for. Writes at most JOURNAL_OTHERS slices. */
size_t journal_others(const struct journal *j, struct slice *out);

#endif

/*
 * journal_record.h - what stands in a journal file, as bytes.
 * Owns    nothing: what is read borrows from the bytes.
 * Thread  any.
 * Errors  false: not such a record (a file is outside data), or out of memory.
 * Source  none outside. The file is a row of frames: length of the sealed bytes (4 bytes) and
 *         record number (8 bytes, both big-endian), sealed bytes (common/seal.h, run key, bound to
 *         worker id and record number). Sealed are texts, each with its length (4 bytes) before it,
 *         and a NUL behind it when it is to be a C string again; the first one says what kind of
 *         record it is.
 */
#ifndef AWQ_WORKER_JOURNAL_RECORD_H
#define AWQ_WORKER_JOURNAL_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/seal.h"
#include "common/slice.h"

struct move;
struct queue;

/* Bit i of c_strings: text i is one. */
bool journal_texts_write(struct buf *b, const struct slice *texts, size_t count,
                         uint32_t c_strings);
bool journal_texts_read(struct slice in, struct slice *texts, size_t count, uint32_t c_strings);

/* The number is written down, for a record that the disk did not take leaves a gap. */
bool journal_frame(struct buf *b, uint64_t number, struct slice sealed);
bool journal_unframe(struct slice *in, uint64_t *number, struct slice *sealed);

struct seal_place journal_place(struct slice prefix, struct slice worker, uint64_t number);

bool journal_move_write(struct buf *b, const struct move *m);
/* `queue` is filled for it. */
bool journal_move_read(struct move *m, struct queue *queue, const char *worker, struct slice bytes);

#endif

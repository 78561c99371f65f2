/*
 * key_file.h - changes of the key file: new keys, their turn, their end. common/seal.h has its
 * form.
 *
 * Owns    nothing; a change writes the whole file beside the old one, fsynced, with its mode and
 *         owner, and puts it in its place by one rename: a reader sees the one or the other.
 * Thread  the only one.
 * Errors  ERR_CONFIG with the path; the file is as it was.
 */
#ifndef AWQ_CTL_KEY_FILE_H
#define AWQ_CTL_KEY_FILE_H

#include "common/err.h"
#include "common/seal.h"

/* One more key of each kind that the file has, staged. */
bool key_file_stage(const char *path, const struct keyring *k, struct err *err);
/* The staged keys seal: they go before the others, without the word. */
bool key_file_promote(const char *path, struct err *err);
/* Take out the keys that only open, and are not staged. */
bool key_file_drop_old(const char *path, const struct keyring *k, struct err *err);

#endif

/*
 * secret_file.h - a secret that its owner keeps in a file.
 * Owns    nothing: the bytes go into the caller's buffer, which wipes them (buf_wipe).
 * Thread  any; small local files only.
 * Errors  ERR_CONFIG with the path and what to do; never a byte of the content.
 * Source  a file that others can read is no secret. Group reading is allowed: a Kubernetes secret
 *         volume with fsGroup is 0440 and a symlink.
 */
#ifndef AWQ_SECRET_FILE_H
#define AWQ_SECRET_FILE_H

#include <stdbool.h>
#include "common/buf.h"
#include "common/err.h"

#define SECRET_FILE_MAX 65536

/* `what` names it in messages: "Redis password". One newline at the end is dropped. */
bool secret_file_read(const char *path, const char *what, struct buf *out, struct err *err);
/* Only look at what kind of file it is and who may read it. */
bool secret_file_check(const char *path, const char *what, struct err *err);
/* Any text file, at most as long as the buffer may be; whoever can read it. */
bool secret_file_text(const char *path, struct buf *text, struct err *err);

#endif

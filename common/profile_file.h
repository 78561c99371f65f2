/*
 * profile_file.h - a profile file, filled into a connection file that names it.
 * Owns    nothing.
 * Thread  any.
 * Errors  ERR_CONFIG with line and column, in whichever of the two files it is.
 * Source  deploy/providers/README.md.
 */
#ifndef AWQ_PROFILE_FILE_H
#define AWQ_PROFILE_FILE_H

#include <stdbool.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/yaml.h"

/* The file that a connection file at `path` means by `profile: NAME` (n is NAME): beside it when
 * NAME has a slash, else NAME.yaml in `dir` (NULL: there are none). It is there. */
bool profile_path(struct buf *out, const char *path, const char *dir, const struct yaml_node *n,
                  struct err *err);
/* Parse a profile and check what only profiles have. `path` must live as long as the document. */
struct yaml_doc *profile_doc(const char *path, struct err *err);
/* Fill `connection` with what it does not say itself: variables replaced, what belongs to another
 * grant left out. Texts move from one document to the other, which stays to be freed. */
bool profile_fill(struct yaml_doc *connection, struct yaml_doc *profile, struct err *err);

#endif

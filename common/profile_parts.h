/*
 * profile_parts.h - what profile_file.c and profile_fill.c share; nobody else includes it.
 * Owns    nothing.
 * Thread  any.
 * Errors  none.
 */
#ifndef AWQ_PROFILE_PARTS_H
#define AWQ_PROFILE_PARTS_H

#include <stdbool.h>
#include "common/profile_file.h"
#include "common/slice.h"

#define PROFILE_NAME_ROOM 64 /* bytes of a variable's name, with the NUL */
#define PROFILE_OWN_KEYS  6

/* What is the profile's alone, and does not go into a connection. */
extern const char *const profile_own_keys[PROFILE_OWN_KEYS];
bool profile_is_own(struct slice key);

/* Is it one of the list's texts? */
bool profile_is_one_of(struct slice s, const struct yaml_node *list);

#endif

/*
 * connection_inside.h - what the files that read and write a connection's settings share.
 * Owns    nothing.
 * Thread  any.
 * Errors  ERR_FORMAT connection_broken; a name behind the last is "unknown".
 */
#ifndef AWQ_CONNECTION_INSIDE_H
#define AWQ_CONNECTION_INSIDE_H

#include "common/connection.h"

#define BREAKER_DEFAULT      10
#define ASSERTION_MS_DEFAULT 60000
#define RATE_UNITS           4

const char *connection_grant_name(int i);
const char *connection_auth_name(int i);
const char *connection_replay_name(int i);

/* ERR_FORMAT connection_broken: the setting, by its place in a connection's file, and what is wrong
 * with it. */
bool connection_wrong(const char *setting, const char *why, struct err *err);
/* connection_check.c: false and *setting when settings, each good by itself, do not go together. */
bool connection_check(const struct connection_cfg *c, const char **setting, struct err *err);

struct rate_unit {
    char letter;
    int64_t ms;
};
extern const struct rate_unit connection_rate_units[RATE_UNITS]; /* longest first */

#endif

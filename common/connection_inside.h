/*
 * connection_inside.h - what the files that read and write a connection's settings share.
 * Owns    nothing.
 * Thread  any.
 * Errors  none; a name behind the last is "unknown".
 */
#ifndef AWQ_CONNECTION_INSIDE_H
#define AWQ_CONNECTION_INSIDE_H

#include "common/connection.h"

#define BREAKER_DEFAULT 10
#define RATE_UNITS      4

const char *connection_grant_name(int i);
const char *connection_auth_name(int i);
const char *connection_replay_name(int i);

struct rate_unit {
    char letter;
    int64_t ms;
};
extern const struct rate_unit connection_rate_units[RATE_UNITS]; /* longest first */

#endif

/*
 * fleet.h - the living workers, by their beats.
 * Owns    nothing.
 * Thread  the only one.
 * Errors  said already; an exit code, or CTL_OK.
 */
#ifndef AWQ_CTL_FLEET_H
#define AWQ_CTL_FLEET_H

#include "common/json.h"
#include "tools/ctl/ctl.h"

/* `beat`: what the worker last said of itself (worker/liveness.c); NULL when that is unreadable. */
typedef void fleet_cb(void *owner, struct slice id, const struct json_val *beat);
int fleet_each(struct ctl *c, fleet_cb *cb, void *owner);

#endif

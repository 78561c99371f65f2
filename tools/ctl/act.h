/*
 * act.h - every change that awq-ctl makes is written to the audit stream first (common/audit.h).
 * Owns    nothing; struct ctl remembers the act under way.
 * Thread  the only one.
 * Errors  as ctl.h has them: what cannot be written down is not done.
 */
#ifndef AWQ_CTL_ACT_H
#define AWQ_CTL_ACT_H

#include "tools/ctl/ctl.h"

#define ACT_REASON_MAX 200

/* Flags of every verb that changes something, behind its own in struct args. */
enum { ACT_REASON = CTL_FLAGS_MAX, ACT_AS, ACT_FLAGS_END };
extern const struct flag act_flags[2];

int act_check(const struct ctl *c, const struct args *a); /* --reason, --as */
int act_begin(struct ctl *c);         /* by ctl_connect, before anything is asked of Redis */
int act_end(struct ctl *c, int code); /* how it ended; the exit code of the program */

#endif

/*
 * audit.h - awq-ctl audit: reading the audit streams (common/audit.h).
 * Owns    nothing.
 * Thread  the only one.
 */
#ifndef AWQ_CTL_AUDIT_H
#define AWQ_CTL_AUDIT_H

#include "common/audit.h"
#include "tools/ctl/ctl.h"

struct redis_reply;

/* One entry as XRANGE has it; its texts are the reply's. False: it is no line at all. */
bool audit_entry_read(const struct redis_reply *entry, struct slice *id, struct audit_line *line);

int audit_verify(struct ctl *c, const struct args *a); /* audit_verify.c */

#endif

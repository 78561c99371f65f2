/*
 * audit.h - awq-ctl audit: reading the audit streams (common/audit.h).
 * Owns    nothing.
 * Thread  the only one.
 */
#ifndef AWQ_CTL_AUDIT_H
#define AWQ_CTL_AUDIT_H

#include "common/audit.h"
#include "tools/ctl/ctl.h"

#define AUDIT_PAGE "500" /* lines read at once */

extern const struct flag audit_verify_flags[1];
int audit_verify(struct ctl *c, const struct args *a); /* audit_verify.c */

#endif

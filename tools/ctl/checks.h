/*
 * checks.h - a list of checks, each ok, warn or bad, with what to do: doctor and conn test.
 * Owns    nothing; the lines are struct out's.
 * Thread  the only one.
 */
#ifndef AWQ_CTL_CHECKS_H
#define AWQ_CTL_CHECKS_H

#include "tools/ctl/out.h"

enum check_level { CHECK_OK, CHECK_WARN, CHECK_BAD };

struct checks {
    struct out *out;
    unsigned bad;
};

void checks_begin(struct checks *k, struct out *out);
/* advice is NULL or says what to do. */
void checks_add(struct checks *k, enum check_level level, const char *what, const char *advice,
                const char *found, ...) __attribute__((format(printf, 5, 6)));
int checks_end(struct checks *k); /* CTL_OK, or CTL_FAILED when something is bad */

#endif

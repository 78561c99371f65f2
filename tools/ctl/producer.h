/*
 * producer.h - the records of producers, for the nouns that need them.
 * Owns    nothing.
 * Thread  the only one.
 * Errors  said already; an exit code, or CTL_OK.
 */
#ifndef AWQ_CTL_PRODUCER_H
#define AWQ_CTL_PRODUCER_H

#include "tools/ctl/ctl.h"

/* name, record, name, record ... */
int producers_read(struct ctl *c, struct redis_reply **all);
/* Over the record as it was read ("" = none); "" takes it away. */
int producer_write(struct ctl *c, struct slice name, struct slice old, struct slice record,
                   bool *moved);

#endif

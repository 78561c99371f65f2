/*
 * redact.h - takes a token out of a text. APIs echo what they were sent, and a result travels on.
 * Owns    nothing: what it copies on the way is wiped.
 * Thread  any.
 * Errors  out of memory marks the buffer that the text goes to (buf_ok).
 * Source  RFC 8259 section 7 and RFC 3986 section 2.1 for how a token may be spelled in an answer.
 *
 * A token of less than 8 bytes is never looked for: it would be no token but a coincidence.
 */
#ifndef AWQ_WORKER_REDACT_H
#define AWQ_WORKER_REDACT_H

#include <stdbool.h>
#include "common/buf.h"
#include "common/slice.h"

bool redact_holds(struct slice text, struct slice token); /* as it is, not escaped */
/* Is it worth a closer look? Asked of every answer, so it costs one search. */
bool redact_may_hold(struct slice text, struct slice token);
/* Adds the text to *out with "[redacted]" for the token, as it is or escaped. True: it was there.
 */
bool redact(struct slice text, struct slice token, struct buf *out);

#endif

/*
 * audit.h - what this worker did with tokens, one line each into P:{sN}:audit (common/audit.h).
 * Owns    the chain of this worker, and the lines that Redis has not taken yet.
 * Thread  the loop thread only.
 * Units   lines carry Unix ms.
 * Errors  none to the caller: a line waits in memory while Redis is away. When too many wait,
 * further ones are counted, and the next line that fits says how many are missing (audit.dropped).
 */
#ifndef AWQ_WORKER_AUDIT_H
#define AWQ_WORKER_AUDIT_H

#include <stdbool.h>

struct worker;
struct step;
struct renewal;
struct audit;

struct audit *audit_new(struct worker *w);
void audit_free(struct audit *a); /* after the link; NULL is fine */

/* A request with the connection's token was answered, or its fate is unknown (level `uses`). */
void audit_use(struct audit *a, const struct step *s);
/* A renewal came to its end (level `renewals`): renewed, failed, needs_consent, late. */
void audit_renewal(struct audit *a, const struct renewal *r, const char *outcome);
/* A token that Redis had forgotten was put back. */
void audit_restored(struct audit *a, const char *connection, unsigned long long gen,
                    unsigned long long ver);

/* With each beat: what could not be written goes out; now and then a checkpoint goes into the log.
 */
void audit_tick(struct audit *a);
bool audit_is_quiet(const struct audit *a); /* nothing waits for Redis */
/* The last checkpoint of this worker. */
void audit_close(struct audit *a);

#endif

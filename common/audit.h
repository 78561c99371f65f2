/*
 * audit.h - one line of the audit streams: who did what with which token, bound to the line before.
 * Owns    nothing.
 * Thread  any one at a time.
 * Errors  audit_seal: what seal_mac says.
 * Source  a hash chain with a keyed hash (BLAKE2b under the run key), as in RFC 5848 and in forward
 *         linking logs: a line that is changed, moved or taken out is noticed by whoever has the
 *         key.
 *
 * In Redis (P:{sN}:audit by the workers, P:{sN}:audit:acts by awq-ctl) a line has the fields
 *     w   the writer: a worker's id; "acts" for the one chain of all operators
 *     n   its number in this writer's chain, from 1 on
 *     b   digest of the writer's line before, 32 bytes; zeros for its first
 *     l   the line itself, JSON: `t` (Unix ms), `kind`, and what follows from that; never a token
 *     m   keyed hash over prefix, w, n, b and l; empty when it was written without the key file
 * Workers write `prev` into each line, the `t` of the one before: a chain that begins in the middle
 * is fine only if what is missing is older than all that is there (by a second: clocks differ).
 */
#ifndef AWQ_AUDIT_H
#define AWQ_AUDIT_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/seal.h"
#include "common/slice.h"

#define AUDIT_ACTS         "acts" /* the writer of all operators' acts */
#define AUDIT_DIGEST_BYTES 32
#define AUDIT_LINE_MAX     4096

struct audit_line {
    struct slice writer;
    uint64_t number;
    struct slice before; /* AUDIT_DIGEST_BYTES */
    struct slice text;
    struct slice mac; /* empty: not signed */
};

struct redis_reply;
/* One entry as XRANGE has it; its texts are the reply's. False: it is no line at all. */
bool audit_entry_read(const struct redis_reply *entry, struct slice *id, struct audit_line *line);

struct audit_digest {
    char bytes[AUDIT_DIGEST_BYTES];
};

/* What the writer's next line says as `before`. */
struct audit_digest audit_digest(const struct audit_line *line);
/* Adds the keyed hash to `mac`. */
bool audit_seal(const struct keyring *k, struct slice prefix, const struct audit_line *line,
                struct buf *mac, struct err *err);
/* Is it as it was written? False as well when it is not signed, or with a key that we lack. */
bool audit_is_sound(const struct keyring *k, struct slice prefix, const struct audit_line *line);

#endif

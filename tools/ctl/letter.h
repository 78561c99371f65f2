/*
 * letter.h - what `held` keeps of a job that is set aside: due, parked or dead.
 * Owns    nothing; the texts borrow from the bytes.
 * Thread  any.
 * Source  common/scripts/bury.lua, retry.lua, park.lua: values of MessagePack one after the other:
 *         queue, j (envelope), d (reclaims), s (signature), and for a dead letter code, text, ms.
 */
#ifndef AWQ_CTL_LETTER_H
#define AWQ_CTL_LETTER_H

#include <stdbool.h>
#include <stdint.h>
#include "common/slice.h"

struct letter {
    struct slice queue, j, d, s;
    struct slice code, text; /* empty unless dead */
    int64_t buried_ms;
};
bool letter_read(struct letter *l, struct slice held); /* false: not such bytes */

#endif

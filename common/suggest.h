/*
 * suggest.h - "did you mean": the known name nearest to a mistyped one.
 * Owns    nothing; the names offered are borrowed.
 * Thread  any.
 * Source  edit distance with neighbours swapped counted as one (optimal string alignment).
 *
 *     struct suggest s = suggest_for(word);
 *     for (i = 0; i < n; i++)
 *         suggest_offer(&s, names[i]);
 *     if (s.best) ... "did you mean '%s'?"
 */
#ifndef AWQ_SUGGEST_H
#define AWQ_SUGGEST_H

#include "common/slice.h"

struct suggest {
    struct slice word;
    const char *best; /* NULL: nothing is near enough (a third of the word, at least one letter) */
    size_t distance;  /* of best; until then the least that is too far */
};

struct suggest suggest_for(struct slice word);
void suggest_offer(struct suggest *s, const char *name);

#endif

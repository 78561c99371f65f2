#include "common/suggest.h"

#include <string.h>

#define WORD_MAX 64 /* longer words are not compared */

struct suggest suggest_for(struct slice word)
{
    return (struct suggest){.word = word, .distance = word.len / 3 + 2};
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

static size_t distance(struct slice a, struct slice b)
{
    size_t row[3][WORD_MAX + 1]; /* the last three rows of the table */

    for (size_t j = 0; j <= b.len; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = a.ptr[i - 1] == b.ptr[j - 1];

            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + !same);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return row[a.len % 3][b.len];
}

void suggest_offer(struct suggest *s, const char *name)
{
    struct slice other = slice_cstr(name);
    size_t d;

    if (s->word.len > WORD_MAX || other.len > WORD_MAX)
        return;
    d = distance(s->word, other);
    if (d < s->distance) {
        s->distance = d;
        s->best = name;
    }
}

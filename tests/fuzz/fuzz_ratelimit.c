/* What an API says of its limits: no crash, and never a wait outside the bounds. */
#include <stdio.h>
#include <stdlib.h>
#include "common/ratelimit.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct slice text = slice_of(data, size), line;
    struct ratelimit l = {.limits = SLICE_NONE};
    int64_t wait;

    while (slice_cut(&text, '\n', &line)) {
        size_t colon = slice_find(line, ':');

        ratelimit_note(&l, slice_sub(line, 0, colon), slice_sub(line, colon + 1, line.len));
    }
    wait = ratelimit_wait_ms(&l, 1790000000000);
    CHECK(wait >= 0 && wait <= RATELIMIT_MAX_MS);
    return 0;
}

/* A record's settings: no crash, and what is taken is canonical: written and read again it is the
 * same bytes. */
#include <stdio.h>
#include <stdlib.h>
#include "common/connection.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct connection_cfg *c, *again;
    struct err err = {0};
    struct buf one, two;

    c = connection_cfg_parse(slice_of(data, size), &err);
    if (!c) {
        CHECK(err.code != ERR_NONE && err.msg[0]);
        return 0;
    }
    buf_init(&one, 1 << 20);
    buf_init(&two, 1 << 20);
    if (!connection_cfg_to_json(&one, c)) { /* only at the very limit */
        CHECK(size > 60000);
        goto out;
    }
    again = connection_cfg_parse(buf_slice(&one), &err);
    CHECK(again);
    CHECK(connection_cfg_to_json(&two, again));
    CHECK(slice_eq(buf_slice(&one), buf_slice(&two)));
    connection_cfg_free(again);
out:
    connection_cfg_free(c);
    buf_deinit(&one);
    buf_deinit(&two);
    return 0;
}

#include "tools/ctl/letter.h"

#include "common/wire_read.h"

/* cmsgpack writes a number as whole or real, as it finds it; texts as str. */
static bool take(struct reader *r, struct slice *text, int64_t *number)
{
    struct item item;

    if (read_item(r, &item) != WIRE_FINE)
        return false;
    if (item.type == ITEM_STR || item.type == ITEM_BIN)
        *text = item.bytes;
    else if (item.type == ITEM_UINT && number)
        *number = (int64_t)item.number;
    else if (item.type == ITEM_REAL && number)
        *number = (int64_t)item.real;
    else
        return item.type == ITEM_UINT; /* d as a number: nobody asks for it */
    return true;
}

bool letter_read(struct letter *l, struct slice held)
{
    struct reader r = reader_of(held);
    struct letter got = {.buried_ms = 0};
    struct slice none;

    if (!take(&r, &got.queue, NULL) || !take(&r, &got.j, NULL) || !take(&r, &got.d, NULL) ||
        !take(&r, &got.s, NULL))
        return false;
    if (r.at < r.end && (!take(&r, &got.code, NULL) || !take(&r, &got.text, NULL) ||
                         !take(&r, &none, &got.buried_ms)))
        return false;
    *l = got;
    return true;
}

#include "common/wire_read.h"

#include <string.h>
#include "common/wire.h"

struct reader reader_of(struct slice bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.ptr;

    return (struct reader){p, bytes.len > 0 ? p + bytes.len : p};
}

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* n bytes, big endian (spec.md "network byte order"); n is 1, 2, 4 or 8. */
static bool take_number(struct reader *r, size_t n, uint64_t *out)
{
    uint64_t v = 0;

    if (left(r) < n)
        return false;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | r->at[i];
    r->at += n;
    *out = v;
    return true;
}

static enum wire_fault take_bytes(struct reader *r, enum item_type type, uint64_t len,
                                  struct item *out)
{
    if (len > left(r))
        return WIRE_TRUNCATED;
    out->type = type;
    out->bytes = (struct slice){(const char *)r->at, (size_t)len};
    r->at += len;
    return WIRE_FINE;
}

/* Every element takes a byte at least, so a count that the bytes cannot hold is known to be cut
 * short before anything looks at its elements. */
static enum wire_fault take_count(struct reader *r, enum item_type type, uint64_t count,
                                  struct item *out)
{
    if (count > left(r) / (type == ITEM_MAP ? 2 : 1))
        return WIRE_TRUNCATED;
    out->type = type;
    out->count = (uint32_t)count;
    return WIRE_FINE;
}

static enum wire_fault take_signed(struct reader *r, size_t n, struct item *out)
{
    uint64_t v;
    int64_t i;

    if (!take_number(r, n, &v))
        return WIRE_TRUNCATED;
    i = n == 8   ? (int64_t)v
        : n == 4 ? (int64_t)(int32_t)v
        : n == 2 ? (int64_t)(int16_t)v
                 : (int64_t)(int8_t)v;
    out->type = i < 0 ? ITEM_NEGINT : ITEM_UINT;
    out->number = i < 0 ? 0 : (uint64_t)i;
    out->negative = i < 0 ? i : 0;
    return WIRE_FINE;
}

static enum wire_fault take_real(struct reader *r, size_t n, struct item *out)
{
    uint64_t v;

    if (!take_number(r, n, &v))
        return WIRE_TRUNCATED;
    out->type = ITEM_REAL;
    if (n == 4) {
        uint32_t bits = (uint32_t)v;
        float f;

        memcpy(&f, &bits, sizeof f);
        out->real = (double)f;
    } else {
        memcpy(&out->real, &v, sizeof out->real);
    }
    return WIRE_FINE;
}

/* A length of n bytes, then that many bytes. An ext has a type byte in between. */
static enum wire_fault take_sized(struct reader *r, enum item_type type, size_t n, struct item *out)
{
    uint64_t len;

    if (!take_number(r, n, &len))
        return WIRE_TRUNCATED;
    return take_bytes(r, type, type == ITEM_EXT ? len + 1 : len, out);
}

static enum wire_fault take_counted(struct reader *r, enum item_type type, size_t n,
                                    struct item *out)
{
    uint64_t count;

    if (!take_number(r, n, &count))
        return WIRE_TRUNCATED;
    return take_count(r, type, count, out);
}

/* The heads 0xc0 to 0xdf, in the order of the table in spec.md "formats". */
static enum wire_fault take_by_head(struct reader *r, unsigned char head, struct item *out)
{
    switch (head) {
    case 0xc0:
        out->type = ITEM_NIL;
        return WIRE_FINE;
    case 0xc2:
    case 0xc3:
        out->type = ITEM_BOOL;
        out->truth = head == 0xc3;
        return WIRE_FINE;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return take_sized(r, ITEM_BIN, (size_t)1 << (head - 0xc4), out);
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return take_sized(r, ITEM_EXT, (size_t)1 << (head - 0xc7), out);
    case 0xca:
    case 0xcb:
        return take_real(r, head == 0xca ? 4 : 8, out);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        out->type = ITEM_UINT;
        return take_number(r, (size_t)1 << (head - 0xcc), &out->number) ? WIRE_FINE
                                                                        : WIRE_TRUNCATED;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return take_signed(r, (size_t)1 << (head - 0xd0), out);
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return take_bytes(r, ITEM_EXT, 1 + ((uint64_t)1 << (head - 0xd4)), out);
    case 0xd9:
    case 0xda:
    case 0xdb:
        return take_sized(r, ITEM_STR, (size_t)1 << (head - 0xd9), out);
    case 0xdc:
    case 0xdd:
        return take_counted(r, ITEM_ARR, head == 0xdc ? 2 : 4, out);
    case 0xde:
    case 0xdf:
        return take_counted(r, ITEM_MAP, head == 0xde ? 2 : 4, out);
    default: /* 0xc1 is never used */
        return WIRE_INVALID;
    }
}

static enum wire_fault take_item(struct reader *r, struct item *out)
{
    unsigned char head;

    if (r->at == r->end)
        return WIRE_TRUNCATED;
    head = *r->at++;
    if (head < 0x80 || head >= 0xe0) {
        out->type = head < 0x80 ? ITEM_UINT : ITEM_NEGINT;
        out->number = head < 0x80 ? head : 0;
        out->negative = head < 0x80 ? 0 : (int64_t)head - 256;
        return WIRE_FINE;
    }
    if (head < 0x90)
        return take_count(r, ITEM_MAP, head & 0x0f, out);
    if (head < 0xa0)
        return take_count(r, ITEM_ARR, head & 0x0f, out);
    if (head < 0xc0)
        return take_bytes(r, ITEM_STR, head & 0x1f, out);
    return take_by_head(r, head, out);
}

enum wire_fault read_item(struct reader *r, struct item *out)
{
    struct reader start = *r;
    enum wire_fault fault = take_item(r, out);

    if (fault != WIRE_FINE)
        *r = start;
    return fault;
}

enum wire_fault read_value(struct reader *r, unsigned max_depth, struct slice *value)
{
    uint64_t open[WIRE_MAX_DEPTH]; /* values still to come, at each level */
    unsigned depth = 0;
    struct reader at = *r;
    enum wire_fault fault;
    struct item it;

    do {
        if ((fault = take_item(&at, &it)) != WIRE_FINE)
            return fault;
        if (depth > 0)
            open[depth - 1]--;
        if (it.type == ITEM_ARR || it.type == ITEM_MAP) {
            if (depth == max_depth || depth == WIRE_MAX_DEPTH)
                return WIRE_DEEP;
            open[depth++] = (uint64_t)it.count * (it.type == ITEM_MAP ? 2 : 1);
        }
        while (depth > 0 && open[depth - 1] == 0)
            depth--;
    } while (depth > 0);
    if (value)
        *value = slice_of(r->at, (size_t)(at.at - r->at));
    *r = at;
    return WIRE_FINE;
}

struct slice read_raw(struct reader *r)
{
    struct slice value = SLICE_NONE;

    if (read_value(r, WIRE_MAX_DEPTH, &value) != WIRE_FINE)
        r->at = r->end;
    return value;
}

/*
 * wire_pack.h - writing MessagePack into a struct buf, for the wire_*.c files only: the one place
 * that sees msgpack-c.
 * Owns    nothing.
 * Thread  any.
 * Errors  an add that does not fit marks the buffer failed; look once at the end with buf_ok.
 */
#ifndef AWQ_WIRE_PACK_H
#define AWQ_WIRE_PACK_H

#include <string.h>
#include <msgpack/pack.h>
#include "common/buf.h"
#include "common/slice.h"

static inline int pack_write(void *to, const char *bytes, size_t len)
{
    return buf_add(to, bytes, len) ? 0 : -1;
}

static inline msgpack_packer pack_into(struct buf *out)
{
    msgpack_packer pk;

    msgpack_packer_init(&pk, out, pack_write);
    return pk;
}

static inline void pack_str(msgpack_packer *pk, struct slice s)
{
    msgpack_pack_str(pk, s.len);
    if (s.len > 0)
        msgpack_pack_str_body(pk, s.ptr, s.len);
}

static inline void pack_bin(msgpack_packer *pk, struct slice s)
{
    msgpack_pack_bin(pk, s.len);
    if (s.len > 0)
        msgpack_pack_bin_body(pk, s.ptr, s.len);
}

static inline void pack_key(msgpack_packer *pk, const char *key)
{
    pack_str(pk, slice_cstr(key));
}

/* Take back what was added since the buffer held `len` bytes: a failed function leaves its output
 * as it was. */
static inline void pack_undo(struct buf *out, size_t len)
{
    if (out->len > len) {
        out->len = len;
        out->ptr[len] = '\0';
    }
}

#endif

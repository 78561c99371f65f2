/* What of a connection is authenticated and sealed, and for which place. */
#include "common/connection.h"

#include <string.h>

/* Prefix, id and settings, each with its length before it. */
static bool signed_bytes(struct buf *out, struct slice prefix, struct slice id, struct slice cfg)
{
    buf_init(out, CONNECTION_CFG_MAX + 1024);
    buf_addf(out, "%zu:", prefix.len);
    buf_add_slice(out, prefix);
    buf_addf(out, "%zu:", id.len);
    buf_add_slice(out, id);
    buf_addf(out, "%zu:", cfg.len);
    return buf_add_slice(out, cfg);
}

bool connection_cfg_sign(const struct keyring *k, struct slice prefix, struct slice id,
                         struct slice cfg_json, struct buf *cm, struct err *err)
{
    struct buf bytes;
    bool ok;

    if (!signed_bytes(&bytes, prefix, id, cfg_json))
        ok = err_set(err, ERR_NOMEM, "connection %.*s: its settings are too long", SLICE_FMT(id));
    else
        ok = seal_mac(k, KEY_ACCESS, "cfg", buf_slice(&bytes), cm, err);
    buf_deinit(&bytes);
    return ok;
}

static bool edited(struct slice id, struct err *err)
{
    return err_rule(err, ERR_FORMAT, "connection_broken",
                    "connection %.*s: its settings do not match their authentication: edited in "
                    "Redis, or written with other keys; apply its file again",
                    SLICE_FMT(id));
}

bool connection_record_authentic(const struct connection_record *r, const struct keyring *k,
                                 struct slice prefix, struct slice id, struct err *err)
{
    struct buf bytes;
    bool ok;

    ok = signed_bytes(&bytes, prefix, id, r->cfg) &&
         seal_mac_ok(k, KEY_ACCESS, "cfg", buf_slice(&bytes), r->cm);
    buf_deinit(&bytes);
    return ok || edited(id, err);
}

bool connection_record_verify(const struct connection_record *r, const struct keyring *k,
                              struct slice prefix, struct slice id, struct err *err)
{
    char digest[65];

    if (!connection_record_authentic(r, k, prefix, id, err))
        return false;
    seal_digest(r->cfg, digest);
    return slice_is(r->cd, digest) || edited(id, err);
}

struct seal_place connection_place(struct slice prefix, struct slice id, const char *field,
                                   uint64_t gen, uint64_t ver, struct slice cfg_digest)
{
    return (struct seal_place){
        .prefix = prefix,
        .connection = id,
        .field = field,
        .gen = gen,
        .ver = strcmp(field, "at") == 0 ? ver : 0,
        .cfg_digest = cfg_digest,
    };
}

struct seal_place connection_link_place(struct slice prefix, struct slice id)
{
    return (struct seal_place){.prefix = prefix, .connection = id, .field = "lh"};
}

bool connection_seal_again(const struct keyring *k, enum key_kind kind,
                           const struct seal_place *from, const struct seal_place *to,
                           struct buf *sealed, struct err *err)
{
    size_t len = seal_clear_len(buf_slice(sealed));
    struct buf clear, again;
    bool ok;

    if (sealed->len == 0)
        return true;
    buf_init(&clear, CONNECTION_CFG_MAX);
    buf_init(&again, sealed->max);
    ok = buf_reserve(&clear, len + 1) || err_set(err, ERR_NOMEM, "out of memory");
    ok = ok && seal_open(k, kind, from, buf_slice(sealed), clear.ptr, clear.cap, &clear.len, err) &&
         seal_seal(k, kind, to, buf_slice(&clear), &again, err);
    if (ok) {
        buf_deinit(sealed);
        *sealed = again;
    } else {
        buf_deinit(&again);
    }
    buf_wipe(&clear);
    return ok;
}

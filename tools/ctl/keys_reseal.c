#include "tools/ctl/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/key.h"
#include "common/producer.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/link.h"
#include "tools/ctl/producer.h"

#define TRIES      8 /* it was renewed in between: read again */
#define SEALED_MAX (128 * 1024)
#define SAY_EVERY  1000

/* ---- the walk ---- */

/* The id in P:{c:ID}; other keys of a connection do not end so. */
static struct slice id_in(struct slice key)
{
    size_t head = strlen(keys_prefix()) + 4;

    return key.len > head + 1 ? slice_sub(key, head, key.len - head - 1) : SLICE_NONE;
}

static int visit(struct ctl *c, struct slice id, conn_walk_cb *cb, void *owner)
{
    struct connection_record rec = {.exists = false};
    struct redis_reply *r;
    struct err err = {0};
    int code = CTL_OK;

    r = conn_fetch(c, id, &err);
    if (!r && err.code != ERR_FORMAT)
        return ctl_fail(c, &err);
    if (r && !connection_record_read(&rec, r, &err))
        rec = (struct connection_record){.exists = true}; /* nothing of it opens */
    if (rec.exists && !slice_is(rec.state, "REMOVED"))
        code = cb(owner, id, &rec);
    redis_reply_free(r);
    return code;
}

/* A name that SCAN gives twice is looked at twice; what is done to it is done once. */
int conn_walk(struct ctl *c, conn_walk_cb *cb, void *owner)
{
    char cursor[32] = "0", match[KEY_PREFIX_MAX + 16];
    const struct redis_reply *page;
    struct redis_reply *r;
    struct err err = {0};
    struct slice id;
    int code = CTL_OK;

    snprintf(match, sizeof match, "%s:{c:*}", keys_prefix());
    do {
        r = link_ask(c->link, &err, "SCAN", cursor, "MATCH", match, "COUNT", "500");
        if (!r)
            return ctl_fail(c, &err);
        page = redis_reply_at(r, 1);
        for (size_t i = 0; i < redis_reply_len(page) && code == CTL_OK; i++) {
            id = id_in(redis_reply_str(redis_reply_at(page, i)));
            if (id_is_connection(id))
                code = visit(c, id, cb, owner);
        }
        if (!slice_copy(redis_reply_str(redis_reply_at(r, 0)), cursor, sizeof cursor))
            snprintf(cursor, sizeof cursor, "0");
        redis_reply_free(r);
    } while (code == CTL_OK && strcmp(cursor, "0") != 0);
    return code;
}

/* ---- one record ---- */

#define FIELDS 7

struct again { /* what is put in its place; a field without new bytes stays */
    struct ctl *c;
    struct slice id;
    const char *field[FIELDS];
    struct slice old[FIELDS];
    struct buf new[FIELDS];
    size_t count;
    struct err err;
};

/* The id of the key that seals now. */
static bool seals_now(const struct keyring *k, enum key_kind kind, const char *id)
{
    struct key_info keys[KEYRING_MAX];
    size_t n = keyring_list(k, keys, KEYRING_MAX);

    for (size_t i = 0; i < n; i++) {
        if (keys[i].kind == kind && keys[i].seals)
            return strcmp(keys[i].id, id) == 0;
    }
    return true; /* nothing to seal it with: it stays */
}

static bool take(struct again *a, enum key_kind kind, struct slice sealed, struct seal_place at)
{
    struct buf *new = &a->new[a->count];
    char id[KEY_ID_HEX];

    if (sealed.len == 0)
        return true;
    if (!seal_key_id(sealed, id))
        return err_set(&a->err, ERR_FORMAT, "connection %.*s: its %s is no sealed text",
                       SLICE_FMT(a->id), seal_field_name(at.field));
    if (seals_now(a->c->keyring, kind, id))
        return true;
    a->field[a->count] = at.field;
    a->old[a->count] = sealed;
    a->count++;
    return buf_add_slice(new, sealed)
               ? connection_seal_again(a->c->keyring, kind, &at, &at, new, &a->err)
               : err_set(&a->err, ERR_NOMEM, "connection %.*s: its %s is too long",
                         SLICE_FMT(a->id), seal_field_name(at.field));
}

static bool sign(struct again *a, const struct connection_record *rec)
{
    char id[KEY_ID_HEX];

    if (seal_mac_key_id(rec->cm, id) && seals_now(a->c->keyring, KEY_ACCESS, id))
        return true;
    a->field[a->count] = "cm";
    a->old[a->count] = rec->cm;
    return connection_cfg_sign(a->c->keyring, slice_cstr(keys_prefix()), a->id, rec->cfg,
                               &a->new[a->count++], &a->err);
}

static bool prepare(struct again *a, const struct connection_record *rec)
{
    struct slice p = slice_cstr(keys_prefix()), cd = rec->cd;
    uint64_t gen = rec->gen;

    return connection_record_verify(rec, a->c->keyring, p, a->id, &a->err) && sign(a, rec) &&
           take(a, KEY_ACCESS, rec->at, connection_place(p, a->id, "at", gen, rec->ver, cd)) &&
           take(a, KEY_ACCESS, rec->dk, connection_place(p, a->id, "dk", gen, 0, cd)) &&
           take(a, KEY_ACCESS, rec->tk, connection_place(p, a->id, "tk", gen, 0, cd)) &&
           take(a, KEY_GRANT, rec->rt, connection_place(p, a->id, "rt", gen, 0, cd)) &&
           take(a, KEY_GRANT, rec->cs, connection_place(p, a->id, "cs", gen, 0, cd)) &&
           take(a, KEY_GRANT, rec->lh, connection_link_place(p, a->id));
}

static bool put(struct again *a, uint64_t gen, bool *moved)
{
    struct slice argv[2 + 3 * FIELDS];
    struct redis_reply *r;
    struct key conn;
    char gen_text[24];
    size_t n = 0;

    key_conn(&conn, a->id);
    snprintf(gen_text, sizeof gen_text, "%" PRIu64, gen);
    argv[n++] = key_slice(&conn);
    argv[n++] = slice_cstr(gen_text);
    for (size_t i = 0; i < a->count; i++) {
        argv[n++] = slice_cstr(a->field[i]);
        argv[n++] = a->old[i];
        argv[n++] = buf_slice(&a->new[i]);
    }
    r = link_script(a->c->link, SCRIPT_reseal, 1, n, argv, &a->err);
    *moved = r && !slice_is(redis_reply_str(r), "OK");
    redis_reply_free(r);
    return r != NULL;
}

static bool reseal_once(struct ctl *c, struct slice id, const struct connection_record *rec,
                        bool *moved, bool *changed, struct err *err)
{
    struct again a = {.c = c, .id = id};
    bool ok;

    for (size_t i = 0; i < FIELDS; i++)
        buf_init(&a.new[i], SEALED_MAX);
    *moved = false;
    ok = prepare(&a, rec);
    *changed = ok && a.count > 0;
    if (*changed)
        ok = put(&a, rec->gen, moved);
    for (size_t i = 0; i < FIELDS; i++)
        buf_deinit(&a.new[i]);
    *err = a.err;
    return ok;
}

/* ---- all of them ---- */

struct run {
    struct ctl *c;
    struct resealed *n;
};

static int reseal_one(void *owner, struct slice id, const struct connection_record *first)
{
    struct run *run = owner;
    struct connection_record rec = *first;
    struct redis_reply *r = NULL;
    bool moved = true, changed = false;
    struct err err = {0};

    for (int i = 0; moved && i < TRIES; i++) {
        if (i > 0) {
            redis_reply_free(r);
            r = conn_fetch(run->c, id, &err);
            if (!r)
                return ctl_fail(run->c, &err);
            if (!connection_record_read(&rec, r, &err) || !rec.exists ||
                slice_is(rec.state, "REMOVED"))
                break;
        }
        if (!reseal_once(run->c, id, &rec, &moved, &changed, &err))
            break;
    }
    redis_reply_free(r);
    if (err.code == ERR_UNREACHABLE || err.code == ERR_UNKNOWN)
        return ctl_fail(run->c, &err);
    run->n->looked++;
    if (err.code) {
        run->n->unreadable++;
        ctl_say(0, "%s", err.msg);
    } else if (moved) {
        run->n->moved++;
    } else if (changed) {
        run->n->done++;
    }
    if (run->n->looked % SAY_EVERY == 0)
        ctl_say(0, "%" PRId64 " connections looked at, %" PRId64 " re-sealed", run->n->looked,
                run->n->done);
    return CTL_OK;
}

int keys_reseal(struct ctl *c, struct resealed *n)
{
    struct run run = {c, n};

    *n = (struct resealed){0};
    return conn_walk(c, reseal_one, &run);
}

/* ---- producers ---- */

static int resign(struct ctl *c, struct slice name, struct slice old)
{
    struct slice prefix = slice_cstr(c->common.prefix);
    struct err err = {0};
    struct producer *p = producer_open(c->keyring, prefix, name, old, &err);
    struct buf record;
    bool moved;
    int code;

    if (!p)
        return ctl_fail(c, &err);
    producer_free(p);
    buf_init(&record, PRODUCER_RECORD_MAX + 256);
    if (producer_record(c->keyring, prefix, name, slice_sub(old, SEAL_MAC_BYTES, old.len), &record,
                        &err))
        code = producer_write(c, name, old, buf_slice(&record),
                              &moved); /* moved: written with the new key */
    else
        code = ctl_fail(c, &err);
    buf_deinit(&record);
    return code;
}

int keys_reseal_producers(struct ctl *c)
{
    struct redis_reply *all = NULL;
    int code = producers_read(c, &all);

    for (size_t i = 0; code == CTL_OK && i + 1 < redis_reply_len(all); i += 2) {
        struct slice record = redis_reply_str(redis_reply_at(all, i + 1));
        char id[KEY_ID_HEX];

        if (!seal_mac_key_id(slice_sub(record, 0, SEAL_MAC_BYTES), id) ||
            !seals_now(c->keyring, KEY_RUN, id))
            code = resign(c, redis_reply_str(redis_reply_at(all, i)), record);
    }
    redis_reply_free(all);
    return code;
}

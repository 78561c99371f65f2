#include "tools/ctl/keys.h"

#include <stdio.h>
#include <string.h>
#include <sodium.h>
#include "common/key.h"
#include "tools/ctl/fleet.h"
#include "tools/ctl/link.h"
#include "tools/ctl/producer.h"

/* ---- the table ---- */

static struct use *use_of(struct uses *u, const char *id)
{
    for (size_t i = 0; i < u->count; i++) {
        if (strcmp(u->of[i].key.id, id) == 0)
            return &u->of[i];
    }
    return NULL;
}

/* A key that something was made with, and that the file does not have: it is missed. */
static struct use *use_or_missing(struct uses *u, enum key_kind kind, const char *id)
{
    struct use *it = use_of(u, id);

    if (it)
        return it;
    if (u->count == USES_MAX) {
        u->too_many = true;
        return NULL;
    }
    it = &u->of[u->count++];
    *it = (struct use){.key = {.kind = kind}};
    snprintf(it->key.id, sizeof it->key.id, "%s", id);
    return it;
}

static void list_file(struct uses *u, const struct keyring *k)
{
    struct key_info keys[KEYRING_MAX];
    size_t n = keyring_list(k, keys, KEYRING_MAX);

    *u = (struct uses){.count = n};
    for (size_t i = 0; i < n; i++)
        u->of[i] = (struct use){.key = keys[i], .in_file = true};
}

/* ---- workers ---- */

static bool lists(const struct json_val *beat, const char *name, const char *id)
{
    struct json_iter it;
    const struct json_val *v;
    struct slice key, text;

    json_iter_init(&it, json_get(beat, name));
    while (json_iter_next(&it, &key, &v)) {
        if (json_str(v, &text) && slice_is(text, id))
            return true;
    }
    return false;
}

static void on_worker(void *owner, struct slice id, const struct json_val *beat)
{
    struct uses *u = owner;
    bool renews = true;

    json_bool(json_get(beat, "renews"), &renews);
    for (size_t i = 0; i < u->count; i++) {
        struct use *it = &u->of[i];

        if (it->key.kind == KEY_GRANT && !renews)
            continue; /* step workers do without */
        it->workers_of++;
        if (lists(beat, "keys", it->key.id))
            it->workers++;
        else
            snprintf(it->stranger, sizeof it->stranger, "%.*s", SLICE_FMT(slice_sub(id, 0, 63)));
        if (lists(beat, "seals", it->key.id)) {
            it->sealing++;
            snprintf(it->sealer, sizeof it->sealer, "%.*s", SLICE_FMT(slice_sub(id, 0, 63)));
        }
    }
}

int uses_workers(struct uses *u, struct ctl *c)
{
    list_file(u, c->keyring);
    return fleet_each(c, on_worker, u);
}

/* ---- connections ---- */

static int on_record(void *owner, struct slice id, const struct connection_record *rec)
{
    struct uses *u = owner;
    char ids[5][KEY_ID_HEX] = {{0}};
    bool is[5] = {
        seal_mac_key_id(rec->cm, ids[0]), seal_key_id(rec->at, ids[1]),
        seal_key_id(rec->rt, ids[2]),     seal_key_id(rec->cs, ids[3]),
        seal_key_id(rec->lh, ids[4]),
    };

    (void)id;
    for (size_t i = 0; i < ARRAY_LEN(is); i++) {
        struct use *it = NULL;
        bool before = false;

        for (size_t j = 0; j < i; j++)
            before = before || (is[j] && strcmp(ids[i], ids[j]) == 0);
        if (is[i] && !before)
            it = use_or_missing(u, i < 2 ? KEY_ACCESS : KEY_GRANT, ids[i]);
        if (it)
            it->records++;
    }
    return CTL_OK;
}

/* ---- jobs ---- */

static int look_into(struct uses *u, struct ctl *c, const struct key *place)
{
    char cursor[64] = "0", id[KEY_ID_HEX];
    struct redis_reply *r;
    struct err err = {0};
    struct slice raw;
    struct use *it;

    do {
        const struct slice argv[] = {key_slice(place), slice_cstr(cursor), SLICE_LIT("20")};

        r = link_script(c->link, SCRIPT_signers, 1, ARRAY_LEN(argv), argv, &err);
        if (!r)
            return ctl_fail(c, &err);
        for (size_t i = 1; i + 1 < redis_reply_len(r); i += 2) {
            raw = redis_reply_str(redis_reply_at(r, i));
            if (raw.len != 4)
                continue;
            sodium_bin2hex(id, sizeof id, (const unsigned char *)raw.ptr, raw.len);
            it = use_or_missing(u, KEY_RUN, id);
            if (it)
                it->jobs += redis_reply_int(redis_reply_at(r, i + 1), 0);
        }
        if (!slice_copy(redis_reply_str(redis_reply_at(r, 0)), cursor, sizeof cursor))
            snprintf(cursor, sizeof cursor, "0");
        redis_reply_free(r);
    } while (strcmp(cursor, "0") != 0);
    return CTL_OK;
}

/* Those set aside first, then the queues: a job that is promoted meanwhile is met there, and one
 * that is set aside meanwhile is signed with the first key by who does it. */
static int look_at_jobs(struct uses *u, struct ctl *c)
{
    struct redis_reply *names;
    struct key held, queues, queue, lane;
    struct err err = {0};
    int code;

    key_held(&held, CTL_SHARD);
    key_queues(&queues, CTL_SHARD);
    if ((code = look_into(u, c, &held)))
        return code;
    names = link_ask(c->link, &err, "SMEMBERS", queues.s);
    if (!names)
        return ctl_fail(c, &err);
    for (size_t i = 0; i < redis_reply_len(names) && code == CTL_OK; i++) {
        key_queue(&queue, CTL_SHARD, redis_reply_str(redis_reply_at(names, i)));
        key_lane(&lane, CTL_SHARD, redis_reply_str(redis_reply_at(names, i)));
        if ((code = look_into(u, c, &queue)) == CTL_OK)
            code = look_into(u, c, &lane);
    }
    redis_reply_free(names);
    return code;
}

static int look_at_producers(struct uses *u, struct ctl *c)
{
    struct redis_reply *all = NULL;
    int code = producers_read(c, &all);

    for (size_t i = 1; code == CTL_OK && i < redis_reply_len(all); i += 2) {
        struct slice record = redis_reply_str(redis_reply_at(all, i));
        char id[KEY_ID_HEX];
        struct use *it = NULL;

        if (seal_mac_key_id(slice_sub(record, 0, SEAL_MAC_BYTES), id))
            it = use_or_missing(u, KEY_RUN, id);
        if (it)
            it->producers++;
    }
    redis_reply_free(all);
    return code;
}

static int look_at_install(struct uses *u, struct ctl *c)
{
    struct redis_reply *r;
    struct err err = {0};
    struct key meta;
    char id[KEY_ID_HEX];
    struct use *it;

    key_meta(&meta);
    r = link_ask(c->link, &err, "HGET", meta.s, "keys");
    if (!r)
        return ctl_fail(c, &err);
    it = seal_mac_key_id(redis_reply_str(r), id) ? use_or_missing(u, KEY_RUN, id) : NULL;
    if (it)
        it->install = true;
    redis_reply_free(r);
    return CTL_OK;
}

int uses_records(struct uses *u, struct ctl *c)
{
    int code = conn_walk(c, on_record, u);

    if (code == CTL_OK)
        code = look_at_jobs(u, c);
    if (code == CTL_OK)
        code = look_at_producers(u, c);
    return code ? code : look_at_install(u, c);
}

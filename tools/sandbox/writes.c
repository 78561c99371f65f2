#include "tools/sandbox/writes.h"

#include <stdlib.h>
#include <string.h>
#include <sodium.h>

struct write_key {
    struct table_key fingerprint; /* of the request that used it first */
    struct write *write;
    uint64_t effect;
};

void writes_init(struct writes *w, size_t max)
{
    *w = (struct writes){0};
    table_init(&w->id_table, max);
    table_init(&w->key_table, max);
}

void writes_reset(struct writes *w)
{
    size_t max = w->id_table.max;

    table_clear(&w->id_table, free);
    table_clear(&w->key_table, free);
    free(w->list);
    writes_init(w, max);
}

static bool list_reserve(struct writes *w)
{
    size_t size = w->list_size ? w->list_size * 2 : 256;
    struct write **list;

    if (w->list_count < w->list_size)
        return true;
    list = realloc(w->list, size * sizeof *list);
    if (!list)
        return false;
    w->list = list;
    w->list_size = size;
    return true;
}

/* The write of that id, made at first sight; NULL when there is no room. */
static struct write *write_get(struct writes *w, struct slice id)
{
    struct table_key key = table_key(&id, 1);
    struct write *write = table_get(&w->id_table, &key);

    if (write)
        return write;
    write = list_reserve(w) ? calloc(1, sizeof *write + id.len + 1) : NULL;
    if (!write || !table_put(&w->id_table, &key, write)) {
        free(write);
        return NULL;
    }
    memcpy(write->id, id.ptr, id.len);
    w->list[w->list_count++] = write;
    write->seq = w->list_count;
    return write;
}

static struct table_key key_of(const struct write_request *r)
{
    struct slice parts[3] = {r->who, r->account, r->key};

    return table_key(parts, ARRAY_LEN(parts));
}

static struct table_key fingerprint_of(const struct write_request *r)
{
    struct slice parts[2] = {r->id, r->body};

    return table_key(parts, ARRAY_LEN(parts));
}

static enum write_outcome repeat(struct writes *w, const struct write_key *k,
                                 const struct write_request *r, uint64_t *effect)
{
    struct table_key fingerprint = fingerprint_of(r);

    if (sodium_memcmp(&fingerprint, &k->fingerprint, sizeof fingerprint) != 0) {
        w->conflicts++;
        return WRITE_CONFLICT;
    }
    w->replays++;
    k->write->replays++;
    *effect = k->effect;
    return WRITE_REPLAY;
}

static struct write_key *key_make(struct writes *w, const struct write_request *r,
                                  const struct table_key *key)
{
    struct write_key *k = calloc(1, sizeof *k);

    if (!k || !table_put(&w->key_table, key, k)) {
        free(k);
        return NULL;
    }
    k->fingerprint = fingerprint_of(r);
    return k;
}

static void effect_add(struct writes *w, struct write *write, struct write_key *k)
{
    w->effects++;
    if (++write->effects == 2)
        w->repeated++;
    if (k) {
        write->keys++;
        k->write = write;
        k->effect = write->effects;
    }
}

enum write_outcome writes_record(struct writes *w, const struct write_request *r, uint64_t *effect)
{
    struct table_key key = key_of(r);
    struct write_key *k = r->key.len > 0 ? table_get(&w->key_table, &key) : NULL;
    struct write *write = NULL;

    if (k)
        return repeat(w, k, r, effect);
    if (r->key.len == 0 || !table_is_full(&w->key_table))
        write = write_get(w, r->id);
    if (write && r->key.len > 0)
        k = key_make(w, r, &key);
    if (!write || (r->key.len > 0 && !k)) {
        w->refused_full++;
        return WRITE_FULL;
    }
    effect_add(w, write, k);
    *effect = write->effects;
    return WRITE_EFFECT;
}

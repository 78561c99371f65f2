#include "tools/sandbox/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#define TABLE_FIRST_SIZE 64

static unsigned char process_key[crypto_generichash_KEYBYTES];
static bool process_key_made;

void table_init(struct table *t, size_t max)
{
    if (!process_key_made) {
        randombytes_buf(process_key, sizeof(process_key));
        process_key_made = true;
    }
    *t = (struct table){.max = max};
}

struct table_key table_key(const struct slice *parts, size_t count)
{
    struct table_key key;
    crypto_generichash_state state;

    crypto_generichash_init(&state, process_key, sizeof(process_key), sizeof(key.bytes));
    for (size_t i = 0; i < count; i++) {
        uint64_t len = parts[i].len;

        crypto_generichash_update(&state, (const unsigned char *)&len, sizeof(len));
        crypto_generichash_update(&state, (const unsigned char *)parts[i].ptr, parts[i].len);
    }
    crypto_generichash_final(&state, key.bytes, sizeof(key.bytes));
    return key;
}

/* The slot that holds the key, or the free one where it would go. Never full: see table_put. */
static struct table_slot *slot_find(struct table_slot *slots, size_t size,
                                    const struct table_key *key)
{
    uint64_t start;
    size_t i;

    memcpy(&start, key->bytes, sizeof(start)); /* the key is a digest: any part is uniform */
    for (i = start & (size - 1); slots[i].value; i = (i + 1) & (size - 1)) {
        if (sodium_memcmp(slots[i].key.bytes, key->bytes, sizeof(key->bytes)) == 0)
            break;
    }
    return &slots[i];
}

void *table_get(const struct table *t, const struct table_key *key)
{
    return t->size ? slot_find(t->slots, t->size, key)->value : NULL;
}

bool table_is_full(const struct table *t)
{
    return t->count >= t->max;
}

static bool table_grow(struct table *t)
{
    size_t size = t->size ? t->size * 2 : TABLE_FIRST_SIZE;
    struct table_slot *slots = calloc(size, sizeof(*slots));

    if (!slots)
        return false;
    for (size_t i = 0; i < t->size; i++) {
        if (t->slots[i].value)
            *slot_find(slots, size, &t->slots[i].key) = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->size = size;
    return true;
}

bool table_put(struct table *t, const struct table_key *key, void *value)
{
    if (table_is_full(t))
        return false;
    /* At most three quarters used, so that a search always meets a free slot soon. */
    if ((t->count + 1) * 4 > t->size * 3 && !table_grow(t))
        return false;
    *slot_find(t->slots, t->size, key) = (struct table_slot){*key, value};
    t->count++;
    return true;
}

/* Into a new array: taking one entry out of a run of linear probes would hide those behind it. */
bool table_sweep(struct table *t, bool (*is_over)(const void *value, void *owner), void *owner,
                 void (*drop)(void *value))
{
    struct table_slot *slots;

    if (t->size == 0)
        return true;
    slots = calloc(t->size, sizeof(*slots));
    if (!slots)
        return false;
    for (size_t i = 0; i < t->size; i++) {
        struct table_slot *slot = &t->slots[i];

        if (!slot->value)
            continue;
        if (is_over(slot->value, owner)) {
            drop(slot->value);
            t->count--;
        } else {
            *slot_find(slots, t->size, &slot->key) = *slot;
        }
    }
    free(t->slots);
    t->slots = slots;
    return true;
}

void table_clear(struct table *t, void (*drop)(void *value))
{
    for (size_t i = 0; i < t->size; i++) {
        if (t->slots[i].value)
            drop(t->slots[i].value);
    }
    free(t->slots);
    *t = (struct table){.max = t->max};
}

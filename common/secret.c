#include "common/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sodium.h>

/*
 * A buddy allocator over one region of whole top blocks. A block of order o is 64 << o bytes and
 * starts at a multiple of its size, so the neighbour it was split from is found by flipping one bit
 * of its offset. Free blocks of one order are a list inside the blocks themselves.
 *
 *   top block (64 KiB)  |........order 2........|..order 1..|o 0|o 0|  ...
 */
#define MIN_BYTES  64
#define TOP_ORDER  10
#define TOP_BYTES  ((size_t)MIN_BYTES << TOP_ORDER)
#define POOL_MAX   ((size_t)1 << 32)
#define MARK_USED  0x53454352u /* tells a block that secret_alloc gave out from anything else */
#define MARK_SPARE 0x46524545u

struct block {
    uint32_t mark;
    uint32_t order;
    uint64_t unused;           /* keeps what follows at 16 */
    struct block *next, *prev; /* only while free: the secret's bytes are here else */
};
#define HEAD offsetof(struct block, next)

struct secret_pool {
    char *region;
    size_t bytes, used;
    struct block *spare[TOP_ORDER + 1];
};

static void spare_add(struct secret_pool *p, struct block *b, uint32_t order)
{
    b->mark = MARK_SPARE;
    b->order = order;
    b->prev = NULL;
    b->next = p->spare[order];
    if (b->next)
        b->next->prev = b;
    p->spare[order] = b;
}

static void spare_remove(struct secret_pool *p, struct block *b)
{
    if (b->prev)
        b->prev->next = b->next;
    else
        p->spare[b->order] = b->next;
    if (b->next)
        b->next->prev = b->prev;
}

struct secret_pool *secret_pool_new(size_t bytes, struct err *err)
{
    struct secret_pool *p;

    if (bytes == 0 || bytes > POOL_MAX) {
        err_set(err, ERR_CONFIG, "a pool of %zu bytes for secrets is out of bounds", bytes);
        return NULL;
    }
    bytes = (bytes + TOP_BYTES - 1) / TOP_BYTES * TOP_BYTES;
    p = calloc(1, sizeof *p);
    if (p)
        p->region = sodium_malloc(bytes);
    if (!p || !p->region) {
        free(p);
        err_set(err, ERR_NOMEM, "no memory for a pool of %zu bytes for secrets", bytes);
        return NULL;
    }
    sodium_memzero(p->region, bytes);
    p->bytes = bytes;
    for (size_t at = bytes; at > 0; at -= TOP_BYTES)
        spare_add(p, (struct block *)(void *)(p->region + at - TOP_BYTES), TOP_ORDER);
    return p;
}

void secret_pool_free(struct secret_pool *p)
{
    if (!p)
        return;
    sodium_free(p->region); /* wipes */
    free(p);
}

static struct block *at_offset(struct secret_pool *p, size_t offset)
{
    return (struct block *)(void *)(p->region + offset);
}

/* Take the smallest spare block of at least this order and split it down. */
static struct block *take(struct secret_pool *p, uint32_t order)
{
    uint32_t have = order;
    struct block *b;

    while (have <= TOP_ORDER && !p->spare[have])
        have++;
    if (have > TOP_ORDER)
        return NULL;
    b = p->spare[have];
    spare_remove(p, b);
    while (have > order) {
        have--;
        spare_add(p, (struct block *)(void *)((char *)b + ((size_t)MIN_BYTES << have)), have);
    }
    return b;
}

char *secret_alloc(struct secret_pool *p, size_t len)
{
    uint32_t order = 0;
    struct block *b;

    if (len > SECRET_BYTES_MAX)
        return NULL;
    while (((size_t)MIN_BYTES << order) < HEAD + len)
        order++;
    b = take(p, order);
    if (!b)
        return NULL;
    b->mark = MARK_USED;
    b->order = order;
    p->used += (size_t)MIN_BYTES << order;
    sodium_memzero((char *)b + HEAD, ((size_t)MIN_BYTES << order) - HEAD);
    return (char *)b + HEAD;
}

void secret_drop(struct secret_pool *p, char *s)
{
    struct block *b = (struct block *)(void *)(s ? s - HEAD : NULL);
    uint32_t order;
    size_t at;

    if (!b)
        return;
    assert(s > p->region && s < p->region + p->bytes && b->mark == MARK_USED);
    order = b->order;
    p->used -= (size_t)MIN_BYTES << order;
    sodium_memzero(b, (size_t)MIN_BYTES << order);
    at = (size_t)((char *)b - p->region);
    while (order < TOP_ORDER) { /* join with the other half as long as that is spare and whole */
        struct block *other = at_offset(p, at ^ ((size_t)MIN_BYTES << order));

        if (other->mark != MARK_SPARE || other->order != order)
            break;
        spare_remove(p, other);
        sodium_memzero(other, sizeof *other);
        at &= ~((size_t)MIN_BYTES << order);
        order++;
    }
    spare_add(p, at_offset(p, at), order);
}

size_t secret_pool_used(const struct secret_pool *p)
{
    return p->used;
}

bool secret_harden_process(struct err *err)
{
    struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return err_set(err, ERR_CONFIG, "cannot switch core dumps off: %s", strerror(errno));
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return err_set(err, ERR_CONFIG, "cannot make the process undumpable: %s", strerror(errno));
    if (sodium_init() < 0)
        return err_set(err, ERR_CONFIG, "libsodium cannot start: is there a source of randomness?");
    return true;
}

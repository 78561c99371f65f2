#include "common/redis_arena.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <hiredis/hiredis.h>

#define BLOCK_BYTES ((size_t)64 << 10) /* a fetch of 16 jobs and more */
#define ALIGN       (alignof(max_align_t))

struct block {
    struct block *next;
    size_t used, size;
    alignas(max_align_t) char bytes[];
};

struct redis_arena {
    struct block *first; /* kept; behind it what a big reply needed */
};

static struct block *block_new(size_t size)
{
    struct block *b = malloc(sizeof *b + size);

    if (b) {
        b->next = NULL;
        b->used = 0;
        b->size = size;
    }
    return b;
}

struct redis_arena *redis_arena_new(void)
{
    return calloc(1, sizeof(struct redis_arena));
}

static void free_blocks(struct block *b)
{
    while (b) {
        struct block *next = b->next;

        free(b);
        b = next;
    }
}

void redis_arena_free(struct redis_arena *a)
{
    if (!a)
        return;
    free_blocks(a->first);
    free(a);
}

void redis_arena_clear(struct redis_arena *a)
{
    struct block *b = a->first;

    if (!b)
        return;
    free_blocks(b->next);
    b->next = NULL;
    b->used = 0;
    if (b->size > BLOCK_BYTES) {
        free(b);
        a->first = NULL;
    }
}

/* The newest block comes first, so that only one is looked at. */
static void *take(struct redis_arena *a, size_t bytes)
{
    struct block *b = a->first;
    void *p;

    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ALIGN - 1) & ~(ALIGN - 1);
    if (!b || bytes > b->size - b->used) {
        b = block_new(bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES);
        if (!b)
            return NULL;
        b->next = a->first;
        a->first = b;
    }
    p = b->bytes + b->used;
    b->used += bytes;
    return p;
}

/* ---- what hiredis' reader asks for; NULL tells it that there is no memory ---- */

static redisReply *add(const redisReadTask *task, int type)
{
    redisReply *r = take(task->privdata, sizeof *r);

    if (!r)
        return NULL;
    memset(r, 0, sizeof *r);
    r->type = type;
    if (task->parent)
        ((redisReply *)task->parent->obj)->element[task->idx] = r;
    return r;
}

static void *on_string(const redisReadTask *task, char *str, size_t len)
{
    redisReply *r = add(task, task->type);
    char *copy = r ? take(task->privdata, len + 1) : NULL;

    if (!copy)
        return NULL;
    memcpy(copy, str, len);
    copy[len] = '\0';
    r->str = copy;
    r->len = len;
    return r;
}

static void *on_array(const redisReadTask *task, size_t elements)
{
    redisReply *r = add(task, task->type);

    if (!r || elements > SIZE_MAX / 16)
        return NULL;
    if (elements > 0) {
        r->element = take(task->privdata, elements * sizeof *r->element);
        if (!r->element)
            return NULL;
        memset(r->element, 0, elements * sizeof *r->element);
    }
    r->elements = elements;
    return r;
}

static void *on_integer(const redisReadTask *task, long long value)
{
    redisReply *r = add(task, REDIS_REPLY_INTEGER);

    if (r)
        r->integer = value;
    return r;
}

static void *on_nil(const redisReadTask *task)
{
    return add(task, REDIS_REPLY_NIL);
}

static void *on_double(const redisReadTask *task, double value, char *str, size_t len)
{
    redisReply *r = on_string(task, str, len);

    if (r)
        r->dval = value;
    return r;
}

static void *on_bool(const redisReadTask *task, int value)
{
    redisReply *r = add(task, REDIS_REPLY_BOOL);

    if (r)
        r->integer = value != 0;
    return r;
}

static void on_free(void *reply)
{
    (void)reply; /* goes with the arena */
}

static redisReplyObjectFunctions functions = {
    .createString = on_string,
    .createArray = on_array,
    .createInteger = on_integer,
    .createDouble = on_double,
    .createNil = on_nil,
    .createBool = on_bool,
    .freeObject = on_free,
};

struct redisReader *redis_arena_reader(struct redis_arena *a)
{
    redisReader *reader = redisReaderCreateWithFunctions(&functions);

    if (reader)
        reader->privdata = a;
    return reader;
}

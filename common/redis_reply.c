#include "common/redis.h"

#include <stdlib.h>
#include <hiredis/hiredis.h>

/* struct redis_reply is never defined: it is hiredis' redisReply under a name of ours. */
static const redisReply *of(const struct redis_reply *r)
{
    return (const redisReply *)r;
}

enum redis_type redis_reply_type(const struct redis_reply *r)
{
    if (!r)
        return REDIS_NIL;
    switch (of(r)->type) {
    case REDIS_REPLY_INTEGER:
        return REDIS_INT;
    case REDIS_REPLY_STRING:
        return REDIS_STR;
    case REDIS_REPLY_STATUS:
        return REDIS_STATUS;
    case REDIS_REPLY_ARRAY:
        return REDIS_ARRAY;
    case REDIS_REPLY_ERROR:
        return REDIS_ERROR;
    default: /* nil; RESP3's other types are never asked for */
        return REDIS_NIL;
    }
}

struct slice redis_reply_str(const struct redis_reply *r)
{
    switch (redis_reply_type(r)) {
    case REDIS_STR:
    case REDIS_STATUS:
    case REDIS_ERROR:
        return slice_of(of(r)->str, of(r)->len);
    default:
        return SLICE_NONE;
    }
}

int64_t redis_reply_int(const struct redis_reply *r, int64_t otherwise)
{
    if (redis_reply_type(r) == REDIS_INT)
        return of(r)->integer;
    slice_to_i64(redis_reply_str(r), &otherwise);
    return otherwise;
}

size_t redis_reply_len(const struct redis_reply *r)
{
    return redis_reply_type(r) == REDIS_ARRAY ? of(r)->elements : 0;
}

const struct redis_reply *redis_reply_at(const struct redis_reply *r, size_t i)
{
    return i < redis_reply_len(r) ? (const struct redis_reply *)of(r)->element[i] : NULL;
}

const struct redis_reply *redis_reply_field(const struct redis_reply *r, const char *name)
{
    for (size_t i = 0; i + 1 < redis_reply_len(r); i += 2)
        if (slice_is(redis_reply_str(redis_reply_at(r, i)), name))
            return redis_reply_at(r, i + 1);
    return NULL;
}

/* ---- copies: the same struct, in memory of ours ---- */

static void copy_free(redisReply *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->elements; i++)
        copy_free(r->element[i]);
    free(r->element);
    free(r->str);
    free(r);
}

static redisReply *copy(const redisReply *from)
{
    redisReply *to = calloc(1, sizeof *to);

    if (!to)
        return NULL;
    to->type = from->type;
    to->integer = from->integer;
    if (from->str) {
        to->str = slice_dup(slice_of(from->str, from->len));
        to->len = from->len;
        if (!to->str)
            goto fail;
    }
    if (from->elements > 0) {
        to->element = calloc(from->elements, sizeof(redisReply *));
        if (!to->element)
            goto fail;
        to->elements = from->elements;
    }
    for (size_t i = 0; i < to->elements; i++) { /* as deep as hiredis reads: 9 */
        to->element[i] = copy(from->element[i]);
        if (!to->element[i])
            goto fail;
    }
    return to;
fail:
    copy_free(to);
    return NULL;
}

struct redis_reply *redis_reply_copy(const struct redis_reply *r)
{
    return (struct redis_reply *)copy(of(r));
}

void redis_reply_free(struct redis_reply *r)
{
    copy_free((redisReply *)r);
}

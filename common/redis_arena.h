/*
 * redis_arena.h - the memory that a link's replies are read into.
 * Owns    every part of the reply that is being read or looked at, in a few blocks that are used
 *         again for the next one: a fetched job is seven objects and as many texts, and a malloc
 *         and a free of each cost more than reading them.
 * Thread  the loop thread only.
 * Errors  out of memory is told to hiredis' reader as it wants to hear it.
 * Source  hiredis read.h, redisReplyObjectFunctions.
 */
#ifndef AWQ_REDIS_ARENA_H
#define AWQ_REDIS_ARENA_H

struct redisReader;
struct redis_arena;

struct redis_arena *redis_arena_new(void);     /* NULL when out of memory */
void redis_arena_free(struct redis_arena *a);  /* NULL is fine */
void redis_arena_clear(struct redis_arena *a); /* the replies read so far are gone */
/* A reader whose replies are redisReply in the arena: never freeReplyObject them. */
struct redisReader *redis_arena_reader(struct redis_arena *a);

#endif

/*
 * redis_wire.h - bytes to and from one connected Redis socket, plain or TLS: commands are put into
 * its buffer and leave in one write per loop turn; replies come out parsed.
 * Owns    the socket, the TLS session, hiredis' reader, the bytes not yet written.
 * Thread  the loop thread only.
 * Errors  gone() once, with ERR_CONFIG when the server cannot be trusted (TLS), else
 *         ERR_UNREACHABLE; never inside redis_wire_open or redis_wire_kick. After gone() or
 *         redis_wire_close() nothing is called any more.
 * Source  redis.io: RESP2. hiredis' reader parses; its async layer is not used: it asserts on a
 *         reply that nobody asked for (what a server sends must never stop the process), allocates
 *         for each command, and defers frees out of callbacks.
 */
#ifndef AWQ_REDIS_WIRE_H
#define AWQ_REDIS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"

struct uv_loop_s;
struct ssl_st;
struct redis_reply;
struct redis_wire;

struct redis_wire_events {
    void (*open)(void *owner); /* connected, and the server's certificate accepted */
    void (*reply)(void *owner, const struct redis_reply *reply); /* borrowed until it returns */
    void (*gone)(void *owner, const struct err *err);            /* the wire has closed itself */
};

/* Takes fd and ssl (NULL = plain), also when it fails. `where` must outlive the wire. */
struct redis_wire *redis_wire_open(struct uv_loop_s *loop, int fd, struct ssl_st *ssl,
                                   const char *where, const struct redis_wire_events *on,
                                   void *owner, struct err *err);
void redis_wire_close(struct redis_wire *w); /* NULL is fine; memory goes with the next loop turn */

/* Append one command: `head` is put first as it is (already RESP), then argc arguments as bulk
 * strings. False: no memory, or too much waits to be written; then nothing was appended. */
bool redis_wire_put(struct redis_wire *w, struct slice head, size_t argc, const struct slice *argv);
/* The same for bytes that are RESP as they are. */
bool redis_wire_put_raw(struct redis_wire *w, struct slice head, struct slice rest);
/* What was put since the mark `from` (a queued count). Valid until the next put or loop turn. */
struct slice redis_wire_tail(const struct redis_wire *w, uint64_t from);
void redis_wire_kick(struct redis_wire *w);      /* write what was put, soon */
void redis_wire_is_secret(struct redis_wire *w); /* wipe the buffer once it is written */

uint64_t redis_wire_queued(const struct redis_wire *w);  /* bytes ever put */
uint64_t redis_wire_written(const struct redis_wire *w); /* bytes that the kernel took */
uint64_t redis_wire_trips(const struct redis_wire *w);   /* loop turns that wrote */

#endif

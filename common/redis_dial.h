/*
 * redis_dial.h - from a Redis address to a connected socket, without ever blocking the loop: the
 * name is resolved anew for each dial (a failover may have moved it), its addresses are tried in
 * turn.
 * Owns    its lookup, its timer, the socket it is connecting; a connected one is the caller's.
 * Thread  the loop thread only.
 * Units   milliseconds.
 * Errors  ERR_UNREACHABLE with the last address's reason. The callback is called exactly once for
 *         each dial, never inside redis_dial_start, and not at all after redis_dial_stop.
 * Source  getaddrinfo(3), connect(2), tcp(7).
 */
#ifndef AWQ_REDIS_DIAL_H
#define AWQ_REDIS_DIAL_H

#include <stdint.h>
#include "common/err.h"
#include "common/redis_url.h"

struct uv_loop_s;
struct redis_dial;

typedef void redis_dial_cb(void *owner, int fd, const struct err *err); /* fd -1 and err, or fd */

/* url is borrowed until redis_dial_free. `silence_ms` bounds how long the kernel keeps sending to a
 * peer that does not acknowledge (TCP_USER_TIMEOUT). */
struct redis_dial *redis_dial_new(struct uv_loop_s *loop, const struct redis_url *url,
                                  int64_t silence_ms, redis_dial_cb *cb, void *owner,
                                  struct err *err);
void redis_dial_start(struct redis_dial *d, int64_t timeout_ms); /* shared by all addresses */
void redis_dial_stop(struct redis_dial *d);
void redis_dial_free(struct redis_dial *d); /* NULL is fine; the loop must turn once more */
const char *redis_dial_doing(const struct redis_dial *d); /* "resolving", "connecting" */

#endif

/*
 * renew.h - one renewal of one connection's token: lease, token request, store.
 * Owns    the renewal under way (conn.renewal); its secrets are wiped as soon as each was used.
 * Thread  the loop thread only.
 * Errors  none to its caller: what happened is in the record in Redis, in the log, and waiters are
 *         woken or find the new state by their look-again time.
 * Source  RFC 6749 sections 4.4 and 6; RFC 9700 section 4.14.2 (why a rotated token must never be
 *         used twice). The lease protocol is in common/scripts/{acquire,store,fail}.lua.
 *
 *   ACQUIRING -> CALLING -> STORING -> done
 *   acquire writes the intent before the network is touched; store writes everything at once; only
 *   after it is the new token used, and then waiters are woken.
 */
#ifndef AWQ_WORKER_RENEW_H
#define AWQ_WORKER_RENEW_H

#include <stdbool.h>
#include <stdint.h>
#include "common/slice.h"

struct worker;
struct conn;
struct renewal;

/* Renew the token of version `ver` (0 = has none), or find out that somebody else did or does. Sets
 * c->renewal until it is over. */
void renewal_start(struct worker *w, struct conn *c, uint64_t ver);
/* The link is up again: repeat what Redis had not answered. */
void renewals_resume(struct worker *w);
/* An answer that a process which is gone could not store, from its journal: stored with the first
 * beat. `done` is called when that is over (not when this process ends first). False: no such
 * record. */
bool renewal_of_journal(struct worker *w, struct slice record, void (*done)(void *owner),
                        void *owner);
/* Take up renewals that somebody asked for (`awq-ctl conn refresh` puts minus the time in P:conns).
 */
void renewals_take_asked(struct worker *w);
/* Under way, from asking for the lease to the token stored: a draining worker waits for them. */
unsigned renewals_active(const struct worker *w);

#endif

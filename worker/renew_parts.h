/*
 * renew_parts.h - what the files of a renewal know of each other; nobody else includes it.
 * Owns    as renew.h says: renew.c the life of a renewal, renew_lease.c ACQUIRING, renew_call.c
 *         CALLING, renew_store.c STORING and FAILING, renew_journal.c an answer that waits on
 *         disk, renew_index.c the index P:conns.
 * Thread  the loop thread only.
 */
#ifndef AWQ_WORKER_RENEW_PARTS_H
#define AWQ_WORKER_RENEW_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/client_cert.h"
#include "common/connection.h"
#include "common/dpop.h"
#include "common/err.h"
#include "common/id.h"
#include "common/key.h"
#include "common/oauth.h"
#include "common/redis.h"
#include "worker/endpoint.h"
#include "worker/renew.h"
#include "worker/replicas.h"
#include "worker/token.h"

#define RENEW_TOKEN_MAX (16 * 1024) /* longest token or client secret */

enum renewal_state {
    RENEW_WAITING,
    RENEW_ACQUIRING,
    RENEW_CALLING,
    RENEW_STORING,
    RENEW_STORED,
    RENEW_FAILING
};

struct renewal {
    enum renewal_state state;
    struct worker *w;
    struct conn *c;
    char nonce[2 * WORKER_MARK + 1];
    char fence[24];
    uint64_t gen, ver;     /* what it starts from */
    int64_t replays;       /* times that this refresh token was sent again after a lost answer, this
                              one included */
    int64_t asked_boot_ms; /* when acquire may first have reached Redis: the lease is counted from
                              here, also when it had to be asked again. 0 = not yet */
    int64_t sent_ms;       /* wall clock, when the token request left */
    struct connection_cfg *cfg;
    char cd[65];
    struct dpop_key *dpop;    /* that the token is to be bound to; or NULL */
    struct client_cert *cert; /* that it shows; or NULL */
    bool nonce_used;          /* asked again with the nonce that came */
    struct oauth_request rq;
    struct oauth_answer answer;
    struct buf sealed_at, sealed_rt; /* to store; no refresh token: the one of the lease stays */
    struct buf access;               /* what is sealed in sealed_at (access.h) */
    struct buf lease_rt, lease_cs;   /* sealed, as the lease came with them */
    int64_t lifetime_ms;             /* from sent_ms on */
    const char *fail_class;
    struct err why;
    int64_t retry_after_ms;
    struct buf old_scope;            /* of an answer that comes from a journal */
    bool journaled;                  /* in this process's own journal */
    void (*of_journal)(void *owner); /* it comes from another one's: told when it is over */
    void *of_journal_owner;
    struct redis *link;          /* its last script went out there */
    struct replicas_wait copied; /* acquire, or store */
    uint64_t stored_ver;
    int64_t stored_ms, stored_exp_ms;
    bool maybe_asked;           /* an acquire is without answer: its lease may be there */
    bool waiting;               /* for the link to come back */
    struct place_in_line place; /* before its token endpoint */
    struct renewal *next, **prev_next;
};

/* ---- renew.c ---- */

struct renewal *renewal_new(struct worker *w, struct conn *c, uint64_t gen, uint64_t ver);
void renewal_free(struct renewal *r);
struct slice renewal_scope(const struct renewal *r);
struct place_in_line *renewal_place(struct renewal *r);
/* Redis did not answer: it is asked again with the same names when the link is back, so that
 * nothing is done twice. An answer of the token server is kept until it is stored. */
void renewal_wait(struct renewal *r, const struct err *err);
/* Did Redis answer? If not, it will be asked again, or the renewal is over. */
bool renewal_answered(struct renewal *r, const struct err *err);

/* One of its scripts, on the link for renewals. */
bool renewal_script(struct renewal *r, enum script s, size_t argc, const struct slice *argv,
                    redis_cb *cb, struct err *err);

/* What the scripts of a renewal are told by all of its states. */
struct renewal_args {
    struct key conn, lease, changed;
    char gen[24], ver[24];
};
void renewal_args_fill(const struct renewal *r, struct renewal_args *a);

/* ---- the states: each begins one ---- */

void renewal_acquire(struct renewal *r);
bool renewal_build(struct renewal *r); /* its request, anew; false: r->why */
void renewal_call(struct renewal *r);
void renewal_seal(struct renewal *r); /* the answer, and store it */
void renewal_store(struct renewal *r);
/* `class` as fail.lua says; r->why, and r->answer.reason if there is one, say the rest. */
void renewal_fail(struct renewal *r, const char *class);

/* ---- renew_journal.c ---- */

void renewal_journal(struct renewal *r); /* keep an answer that is not stored */

/* ---- renew_index.c ---- */

void renew_index_put(struct worker *w, const char *id, int64_t at_ms);
/* A token was stored: when somebody has to look at it although nobody uses it. */
void renew_index_stored(struct worker *w, const char *id, const struct connection_cfg *cfg,
                        int64_t born_ms);
/* This worker never renews: those who do are asked, for a token newer than what it knows. */
void renew_index_ask(struct worker *w, struct conn *c);

#endif

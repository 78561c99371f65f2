/*
 * token.h - the connections this worker knows, and their access tokens, opened.
 * Owns    a bounded table of connections read from Redis; tokens in guarded memory, shared by
 *         reference with the steps that send them. What was read is trusted for TRUST_MS, or until
 *         somebody hints that it changed.
 * Thread  the loop thread only.
 * Units   milliseconds; times in a record are Redis' clock.
 * Errors  a look that fails for want of Redis says ERR_UNREACHABLE or ERR_UNKNOWN: try again later.
 *         ERR_FORMAT (connection_broken): the record was edited by somebody without the keys.
 * Source  RFC 6749 section 6, RFC 9700 section 4.14; the protocol of leases is in renew.h.
 */
#ifndef AWQ_WORKER_TOKEN_H
#define AWQ_WORKER_TOKEN_H

#include <stdbool.h>
#include <stdint.h>
#include "common/access.h"
#include "common/connection.h"
#include "common/err.h"
#include "common/id.h"
#include "common/slice.h"

struct worker;
struct tokens;
struct renewal;
struct client_cert;
struct dpop_key;
struct dpop_nonces;

struct token { /* one version of one connection's access token */
    unsigned refs;
    uint64_t gen, ver;
    int64_t born_ms, exp_ms;
    char *header; /* its scheme and it, as calls send it, and behind that what came with it
                     (access.h); guarded memory */
    size_t header_len, scheme_len; /* scheme_len: with the blank */
    struct access access;          /* what came with it; in the same memory */
    struct secret_pool *pool;
};

enum conn_state {
    CONN_UNKNOWN,  /* no such connection */
    CONN_OK,       /* FRESH, DUE, RENEWING: the token decides */
    CONN_BACKOFF,  /* the last renewal failed; next_ms says when it is tried again */
    CONN_CONSENT,  /* needs its owner */
    CONN_DISABLED, /* by an operator, who may enable it again */
    CONN_GONE,     /* removed */
    CONN_BROKEN,   /* the record is not authentic, or a key is missing */
};

struct conn {
    char id[ID_MAX + 1];
    enum conn_state state;
    uint64_t gen, ver;
    int64_t exp_ms, born_ms, cool_ms, next_ms;
    const char *cd;                   /* digest of cfg; "" before */
    char *scope;                      /* as the token answer named it; NULL: it named none */
    const struct connection_cfg *cfg; /* NULL unless the record was good */
    struct token *token;              /* NULL: none, or none that opens */
    struct dpop_key *dpop;            /* that its tokens are bound to; NULL: to none */
    struct client_cert *cert;         /* that its calls show; NULL: none */
    struct dpop_nonces *nonces; /* that its servers gave last; NULL as long as there is none */
    struct err broken;          /* CONN_BROKEN: why */
    struct renewal *renewal;    /* under way here */
    bool held;                  /* by the breaker: calls must ask, one of them is the probe */
    bool failing;               /* our last word on its calls was a failure */
    unsigned refused_fresh;     /* 401s in a row for a token that was fresh */
    unsigned lane_rate;         /* jobs a LANE_PACE_MS that its lane lets go; 0 = it was closed */
    int64_t used_ms;            /* its token was last handed out; 0 = never; Redis' clock */
    int64_t behind_boot_ms;     /* since when Redis has an older version than we know; 0 = no */
    bool no_room; /* there is a token or certificate, and no guarded memory to open it in */
    /* private */
    uint64_t dpop_gen;   /* whose key `dpop` is */
    char tk[65];         /* digest of the sealed text that `cert` was opened from */
    struct terms *terms; /* what cfg and cd are of */
    unsigned refs;
    bool linked; /* in the table */
    bool stale, rechecking, recheck_again;
    int64_t looked_ms;
    int64_t asked_boot_ms; /* when others were last asked to renew it */
    struct reading *reading;
    struct conn *hash_next, *lru_prev, *lru_next;
    struct tokens *home;
};

typedef void token_look_cb(void *owner, struct conn *c, const struct err *err);

struct tokens *tokens_new(struct worker *w, struct err *err);
void tokens_free(struct tokens *t);
/* Know a connection: as it was lately (fresh = false), or by a read that begins now (true: what was
 * asked before does not count). NOW: *out has it, with a reference. LATER: cb comes, with a
 * reference of its own or with NULL and err. FAILED: *err says why, cb does not come. */
enum look_answer { LOOK_NOW, LOOK_LATER, LOOK_FAILED };
enum look_answer tokens_look(struct tokens *t, struct slice id, bool fresh, struct conn **out,
                             token_look_cb *cb, void *owner, struct err *err);
/* As it is known now, if at all; with a reference. NULL: out of memory. */
struct conn *tokens_conn(struct tokens *t, struct slice id);
/* What was sealed as `tk`, opened into this worker's guarded memory; connections least lately used
 * make room. NULL: ERR_RETRY when there is none all the same. */
struct client_cert *tokens_open_cert(struct tokens *t, struct slice packed, struct err *err);
struct conn *conn_ref(struct conn *c);
void conn_unref(struct conn *c); /* NULL is fine */

/* A token that can be sent now, with a reference; NULL when there is none. One that is due is
 * renewed meanwhile, in the background. */
struct token *tokens_use(struct tokens *t, struct conn *c);
/* The nonce for proofs to a server, from the last answer that had one (RFC 9449 sections 8 and 9):
 * the token endpoint's (origin "") or an API's, which are two servers. "" = none. */
const char *conn_nonce(const struct conn *c, struct slice origin);
void conn_take_nonce(struct conn *c, struct slice origin, struct slice header);
void token_unref(struct token *k); /* NULL is fine */
/* No token until its owner links it, or an operator enables it: nothing is tried meanwhile. */
bool tokens_waits_for_a_person(const struct conn *c);
/* Renew what is due and was used lately, so that the next step does not wait; what nobody uses is
 * left alone. */
void tokens_renew_ahead(struct tokens *t);
/* Somebody needs a newer token than this version (0 = has none): renew it, or find out who does. */
void tokens_want(struct tokens *t, struct conn *c, uint64_t ver);
/* The API refused this version, old enough to be believed: nobody on the fleet is to send it again,
 * and it is renewed. */
void tokens_refused(struct tokens *t, struct conn *c, uint64_t ver);
/* Was this scope granted? What the token answer named counts, and where it named none, what was
 * asked for (RFC 6749 section 5.1). */
bool conn_has_scope(const struct conn *c, struct slice scope);
/* Does its policy let this producer's jobs use it ("" = nobody signed)? */
bool conn_takes_producer(const struct conn *c, struct slice producer);
/* When a job that is parked for this connection should be looked at again at the latest. */
int64_t tokens_look_again_ms(const struct tokens *t, const struct conn *c);
/* A job was just parked for conn:ID: look once more, and wake it if the connection moved meanwhile.
 */
void tokens_on_parked(struct tokens *t, struct slice id);
/* Redis has an older version than this worker knows of: put back what we have. */
void tokens_forgotten(struct tokens *t, struct conn *c);
/* A hint (P:changed), or our own knowledge, that the record is newer than what we have. */
void tokens_forget(struct tokens *t, struct slice id);
void tokens_forget_all(struct tokens *t); /* hints may have been missed */
/* conn:ID or lane:ID may go on: have its lot looked at. */
void tokens_wake(struct tokens *t, const char *kind, const char *id);

/* For renew.c: take over what store answered, without another read. */
void tokens_adopt(struct tokens *t, struct conn *c, uint64_t gen, uint64_t ver, int64_t born_ms,
                  int64_t exp_ms, struct slice access, struct slice scope);

#endif

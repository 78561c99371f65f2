/*
 * producer.h - who may put jobs: a producer's key, what it may do with it, its signature over a
 * job.
 *
 * Owns    a struct producer owns its lists; a struct producer_key its secret, in guarded memory.
 * Thread  any one at a time.
 * Units   milliseconds, Unix time.
 * Errors  ERR_CONFIG for key files, ERR_FORMAT for records; ERR_DENIED from producer_check, with a
 *         rule that becomes the dead letter's code: unsigned, signature_bad, producer_queue,
 *         producer_connection, producer_out, producer_id, producer_time.
 * Source  Ed25519 (RFC 8032; libsodium crypto_sign_detached). common/PROTOCOL.md, "Signed jobs".
 *
 * An entry's field `s` is then the signature (64 bytes) and behind it the producer's name. It is
 * over
 *
 *     "awq job 1" LF prefix LF queue LF producer LF j
 *
 * and a worker's own keyed hash is 36 bytes long, so neither is ever taken for the other.
 *
 * P:producers is a hash: name -> keyed hash (run key; 36 bytes), then the record as JSON.
 */
#ifndef AWQ_PRODUCER_H
#define AWQ_PRODUCER_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/id.h"
#include "common/seal.h"
#include "common/slice.h"

#define PRODUCER_NAME_MAX   32 /* A-Z a-z 0-9 _ - */
#define PRODUCER_KEY_HEX    64
#define PRODUCER_SIG_BYTES  64
#define PRODUCER_LIST_MAX   64
#define PRODUCER_RECORD_MAX 16384

struct producer {
    char name[PRODUCER_NAME_MAX + 1];
    char key[PRODUCER_KEY_HEX + 1]; /* public, hex */
    /* What it may use: names, or beginnings that end in '*'. */
    struct slice *queues, *connections, *outs;
    size_t queue_count, connection_count, out_count;
    bool inbox; /* its jobs come by P:{sN}:in:NAME */
    void *doc;  /* private: what the slices borrow from */
};

bool producer_is_name(struct slice s);
bool producer_is_pattern(
    struct slice s); /* 1-64 of A-Z a-z 0-9 _ : - and one '*' at the end, or "*" */

/* ---- the record ---- */

struct producer *producer_parse(struct slice name, struct slice json, struct err *err);
void producer_free(struct producer *p); /* NULL is fine */
bool producer_to_json(struct buf *out, const struct producer *p);
/* What is kept in P:producers, and back. */
bool producer_record(const struct keyring *k, struct slice prefix, struct slice name,
                     struct slice json, struct buf *out, struct err *err);
struct producer *producer_open(const struct keyring *k, struct slice prefix, struct slice name,
                               struct slice record, struct err *err);

/* ---- signatures ---- */

/* Is the field a signature, and whose? */
bool producer_split(struct slice s, struct slice *signature, struct slice *name);

struct producer_job { /* what is looked at */
    struct slice prefix, queue, j, signature;
    struct slice id, out;
    const struct slice *connections; /* of all its calls */
    size_t connection_count;
    int64_t iat, deadline;
};
/* Is it this producer's, may it, and can no copy of it run again? dedup_ms: so long is a finished
 * run remembered. */
bool producer_check(const struct producer *p, const struct producer_job *job, int64_t now_ms,
                    int64_t dedup_ms, struct err *err);
/* Of a later step, for which a worker vouches: may the producer use this connection (still)? */
bool producer_may_connect(const struct producer *p, struct slice connection, struct err *err);

/* What the signature is over; inits `b`. */
bool producer_signed_bytes(struct buf *b, struct slice prefix, struct slice queue,
                           struct slice name, struct slice j);

/* What can be said of a job before it is signed: the id, iat and deadline that producer_check asks
 * for. */
bool producer_may_sign(struct slice name, struct slice id, int64_t iat, int64_t deadline,
                       int64_t now_ms, int64_t dedup_ms, struct err *err);

/* ---- the producer's own side (producer_key.c) ---- */

struct producer_key;
/* A new file with a new secret, mode 0600; never over another one. */
bool producer_key_create(const char *path, struct err *err);
struct producer_key *producer_key_load(const char *path, struct err *err);
void producer_key_free(struct producer_key *k); /* wipes; NULL is fine */
void producer_key_public(const struct producer_key *k, char hex[PRODUCER_KEY_HEX + 1]);
/* Adds the field `s`. */
bool producer_sign(const struct producer_key *k, struct slice prefix, struct slice queue,
                   struct slice name, struct slice j, struct buf *s);

#endif

/*
 * keys.h - awq-ctl keys: what its files share. keys.c has the verbs, keys_use.c counts what each
 *          key is needed for, keys_reseal.c re-seals connections, keys_lost.c goes on without a
 *          file that is lost.
 *
 * Owns    nothing.
 * Thread  the only one.
 * Errors  said already; an exit code, or CTL_OK.
 */
#ifndef AWQ_CTL_KEYS_H
#define AWQ_CTL_KEYS_H

#include "common/connection.h"
#include "tools/ctl/ctl.h"

struct redis_reply;

#define USES_MAX (2 * KEYRING_MAX) /* also keys that the file does not have */

struct use { /* of one key */
    struct key_info key;
    bool in_file;
    int64_t records;            /* connections with something sealed or signed by it */
    int64_t producers;          /* their records */
    int64_t jobs;               /* ready, in flight or set aside */
    bool install;               /* P:meta goes by it */
    size_t workers, workers_of; /* how many living workers know it, of those who need it */
    char stranger[64];          /* one who does not */
    size_t sealing;             /* how many seal with it */
    char sealer[64];
};

struct uses {
    struct use of[USES_MAX];
    size_t count;
    bool too_many; /* more keys than fit: nothing may be taken out */
};

/* The keys of the file, and which living workers know them. */
int uses_workers(struct uses *u, struct ctl *c);
/* What needs them: reads every connection and every job, a page at a time. */
int uses_records(struct uses *u, struct ctl *c);

/* Each connection's record, by SCAN: also one that no index has. `read` when it is one; a cb that
 * does not answer CTL_OK ends the walk. */
typedef int conn_walk_cb(void *owner, struct slice id, const struct connection_record *rec);
int conn_walk(struct ctl *c, conn_walk_cb *cb, void *owner);

struct resealed {
    int64_t looked, done, moved, unreadable;
};
/* Everything sealed by a key that is not the first of its kind any more is sealed anew. */
int keys_reseal(struct ctl *c, struct resealed *n);
int keys_reseal_producers(struct ctl *c); /* their records too */

/* keys replace-lost, and whether it may be done: its file is not the workers', and none is alive.
 */
int keys_replace_lost(struct ctl *c, const struct args *a);
int keys_check_lost(struct ctl *c);

#endif

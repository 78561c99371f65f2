/*
 * key.h - the names of places in Redis, and of jobs. Nothing else in awq spells one.
 * Owns    the prefix, one per process.
 * Thread  any, after keys_init.
 * Errors  ERR_CONFIG from keys_init. The builders cannot fail: names given to them have passed the
 *         checks of id.h, so that they fit; what is longer than ID_MAX bytes is cut there.
 * Source  Redis Cluster specification, "Hash tags" and "Key distribution model": {sN} and {c:ID}
 *         keep what one script touches in one slot. Keys are short, because Redis repeats them in
 *         every replicated delivery.
 *
 *     P:{sN}:q:QUEUE  stream  ready jobs; q:QUEUE~  P:{sN}:run:ID   hash    one run
 *                             is that queue's lane
 *     P:{sN}:due      zset    jobs for later        P:{sN}:id:ID    string  dedup of enqueued ids
 *     P:{sN}:held     hash    bodies of due, park,  P:{sN}:out:NAME stream  results
 *                             dead                  P:{sN}:workers  zset    alive until
 *     P:{sN}:park:R   zset    jobs waiting for R,   P:{sN}:w        hash    workers' numbers
 *                             conn:ID or lane:ID    P:{sN}:boss     string  the housekeeper
 *     P:{sN}:lots     zset    when to look at R     P:{sN}:queues   set     those worked on
 *     P:{sN}:dead     zset    dead letters          P:{sN}:audit       stream  uses of tokens
 *                                                   P:{sN}:audit:acts  stream  operators' acts
 *     P:{c:ID}        hash    a connection          P:conns         zset    when to renew which
 *     P:{c:ID}:lease  string  who renews it         P:meta          hash    fixed at install
 *     P:{c:ID}:lane           its limits            P:wake, P:changed       pub/sub, hints only
 *     P:producers     hash    who may sign jobs     P:{sN}:in:NAME  stream  a producer's inbox
 */
#ifndef AWQ_KEY_H
#define AWQ_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/id.h"
#include "common/slice.h"

#define KEY_PREFIX_MAX 32
#define KEY_BRANCH_MAX 8 /* bytes of a job name's branch */

struct key {
    char s[256]; /* NUL-ended */
    size_t len;
};

/* 1-32 of A-Za-z0-9_- ; until then the prefix is "awq". */
bool keys_init(struct slice prefix, struct err *err);
const char *keys_prefix(void);
struct slice key_slice(const struct key *k);

/* Of a shard. */
void key_queue(struct key *k, unsigned shard, struct slice queue);
void key_lane(struct key *k, unsigned shard,
              struct slice queue); /* of that queue: turns of tenants */
void key_due(struct key *k, unsigned shard);
void key_held(struct key *k, unsigned shard);
void key_park(struct key *k, unsigned shard, struct slice resource);
void key_lots(struct key *k, unsigned shard);
void key_dead(struct key *k, unsigned shard);
void key_run(struct key *k, unsigned shard, struct slice run);
void key_dedup(struct key *k, unsigned shard, struct slice id);
void key_out(struct key *k, unsigned shard, struct slice name);
void key_workers(struct key *k, unsigned shard);
void key_worker_numbers(struct key *k, unsigned shard);
void key_boss(struct key *k, unsigned shard);
void key_audit(struct key *k, unsigned shard);      /* uses and renewals of tokens */
void key_audit_acts(struct key *k, unsigned shard); /* what operators did */
void key_queues(struct key *k, unsigned shard); /* set: names of all queues that workers work on */

/* Of a connection. */
void key_conn(struct key *k, struct slice id);
void key_conn_lease(struct key *k, struct slice id);
void key_conn_lane(struct key *k, struct slice id);

/* Of the whole. */
void key_conns(struct key *k);
void key_meta(struct key *k);
void key_producers(struct key *k); /* who may sign jobs */
void key_inbox(struct key *k, unsigned shard,
               struct slice producer); /* its jobs, not yet looked at */
void key_wake(struct key *k);          /* channels */
void key_changed(struct key *k);

/* What jobs park on: "conn:ID", "lane:ID". No prefix: it is a part of key_park and a member of
 * key_lots. */
void key_resource_conn(struct key *k, struct slice id);
void key_resource_lane(struct key *k, struct slice id);

/* CRC16 of the run id modulo the number of shards (0 counts as 1). The CRC is Redis Cluster's:
 * CRC16/XMODEM, "123456789" gives 0x31C3. */
unsigned key_shard_of(struct slice run, unsigned shard_count);
uint16_t key_crc16(struct slice s);

/* RUN.BRANCH.SEQ: RUN is the id of the run's first job (id_is_run), BRANCH 1-8 of A-Za-z0-9_- ("0"
 * until a fork), SEQ decimal without leading zeros, so that a place has one name only. */
struct job_name {
    struct slice run, branch;
    uint64_t seq;
};
/* False: a part is not as above; *out is as it was. out is NUL-ended. */
bool job_name_build(const struct job_name *n, char out[JOB_NAME_MAX]);
bool job_name_parse(struct slice name, struct job_name *out); /* borrows from name */

#endif

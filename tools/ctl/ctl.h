/*
 * ctl.h - awq-ctl: what its nouns share.
 * Owns    struct ctl: the settings, the link to Redis, the keys, the output of one run.
 * Thread  the only one.
 * Errors  a verb answers an exit code; what went wrong is said on standard error by ctl_fail, once.
 */
#ifndef AWQ_CTL_CTL_H
#define AWQ_CTL_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/config.h"
#include "common/err.h"
#include "common/seal.h"
#include "common/slice.h"
#include "tools/ctl/out.h"

#define CTL_SHARD 0 /* one shard in this version; ctl_meta refuses an install with more */

enum ctl_exit {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_NOT_FOUND = 3,
    CTL_PARTIAL = 4,
    CTL_UNREACHABLE = 5,
};

struct link;
struct redis_reply;
struct ctl {
    struct config_common common;
    struct link *link;       /* NULL until ctl_connect */
    struct keyring *keyring; /* NULL until ctl_keys */
    struct out out;
    int64_t skew_ms; /* Redis' clock minus this machine's; 0 until ctl_now */
    const struct verb *verb;
    const struct args *args;
    struct slice about;  /* the connection that a file is of, for the audit stream */
    uint64_t act_number; /* of the act under way there; 0 = none */
};

/* ---- the arguments of a verb ---- */

struct flag {
    const char *name;  /* "--file" */
    const char *brief; /* "-f", or NULL */
    const char *value; /* what --help calls its value; NULL: a switch */
    const char *help;
};

#define CTL_FLAGS_MAX 8

struct args {
    /* By index in the verb's table, then those of act.h: the value, "" for a switch, else NULL. */
    const char *flag[CTL_FLAGS_MAX + 2];
    const char *const *names; /* what is no flag */
    size_t count;
};

struct verb {
    const char *noun, *name;
    const char *usage; /* after the name: "ID" */
    const char *help;  /* one line */
    const struct flag *flags;
    size_t flag_count;
    size_t least, most; /* names */
    const char *more;   /* more lines for --help, or NULL */
    bool changes;       /* an act: it is written to the audit stream (act.h) */
    bool needs_reason;  /* --reason is not left to choice */
    /* Whether it may be done here, before it is written down. NULL: ctl_check_install. */
    int (*check)(struct ctl *c);
    int (*run)(struct ctl *c, const struct args *a);
};

#define LIST_FLAGS                                                                                 \
    {"--limit", NULL, "N", "at most so many, 1-1000 (default 100)"},                               \
    {                                                                                              \
        "--cursor", NULL, "N", "begin after the first N"                                           \
    }

/* ---- helpers; each says what went wrong itself and answers an exit code, or CTL_OK ---- */

int ctl_connect(struct ctl *c); /* the link, the prefix */
/* Redis answers, by the link there is or by a new one; else false and *err, and the link stays. */
bool ctl_reach(struct ctl *c, struct err *err);
int ctl_keys(struct ctl *c); /* the key file */
/* Is it the key file of the workers? install, mac: as P:meta has them. */
bool ctl_keys_fit(const struct keyring *k, const struct redis_reply *install,
                  const struct redis_reply *mac);
/* This install has one shard, and the key file (where one is loaded) is its workers'. */
int ctl_check_install(struct ctl *c);
int ctl_meta(struct ctl *c); /* the same, and it has an id from now on */
int ctl_fail(const struct ctl *c, const struct err *err); /* say it; the code that fits */
int ctl_say(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int ctl_usage(const struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A flag with a number; `otherwise` when it is not given. */
int ctl_flag_int(const struct ctl *c, const struct args *a, size_t flag, int64_t min, int64_t max,
                 int64_t otherwise, int64_t *out);
/* A flag with a duration of 366 days at most: 250ms, 30s, 5m, 2h. */
int ctl_flag_ms(const struct ctl *c, const struct args *a, size_t flag, int64_t otherwise,
                int64_t *out);
/* Redis' clock, by which all times in Redis are. */
int ctl_now(struct ctl *c, int64_t *now_ms);
/* The same without asking: this machine's, and as far off as ctl_now last found it. */
int64_t ctl_clock_ms(const struct ctl *c);
/* A score of a sorted set, which may be written as a float. */
int64_t ctl_score(struct slice text);
void ctl_wake(struct ctl *c, struct slice connection); /* whoever waits for it is to look again */

/* The verbs, one table a noun; each ends with a row without a name. */
extern const struct verb keys_verbs[], conn_verbs[], job_verbs[], queue_verbs[], dead_verbs[],
    worker_verbs[], doctor_verbs[], acl_verbs[], audit_verbs[], producer_verbs[], profile_verbs[];

#endif

/*
 * redis.h - one link to Redis: commands and scripts out, replies in.
 * Owns    the socket, its reconnects (full jitter, capped), its watchdog and its credentials.
 * Thread  the loop thread only. Nothing here blocks: names are resolved in libuv's pool.
 * Units   milliseconds.
 * Errors  every callback is called exactly once, never inside the call that started the work,
 *         also when the link drops (ERR_UNREACHABLE if the command did not leave whole, so that
 *         it was surely not done; ERR_UNKNOWN if it did) and at redis_free (ERR_CANCELLED). An
 *         error reply of Redis comes as err with the code that says what to do (see
 *         redis_err_class) and `rule` = the reply's first word, e.g. "NOSCRIPT", "OOM",
 *         "READONLY" ("ERR" for words not in that table); the text never holds an argument of the
 *         command. BUSYGROUP, which asks for nothing, comes as success.
 * Source  redis.io: RESP2 protocol, EVALSHA, ACL, client handling. hiredis' reader parses; the
 *         socket and TLS are our own (redis_wire.h says why).
 *
 *     url (--redis_sentinel--> address) --redis_dial--> socket --redis_tls, redis_wire-->
 *         bytes and replies --redis_greet--> up --redis_command, redis_sub--> callbacks
 */
#ifndef AWQ_REDIS_H
#define AWQ_REDIS_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"

struct uv_loop_s;
struct redis; /* one link */

/* ---- replies: a borrowed view, valid until the callback returns ---- */

enum redis_type { REDIS_NIL, REDIS_INT, REDIS_STR, REDIS_STATUS, REDIS_ARRAY, REDIS_ERROR };

struct redis_reply;                                            /* hides hiredis' type */
enum redis_type redis_reply_type(const struct redis_reply *r); /* NULL gives REDIS_NIL */
int64_t redis_reply_int(const struct redis_reply *r,
                        int64_t otherwise);                /* ints, and decimal text */
struct slice redis_reply_str(const struct redis_reply *r); /* empty when not text */
size_t redis_reply_len(const struct redis_reply *r);       /* elements of an array, else 0 */
const struct redis_reply *redis_reply_at(const struct redis_reply *r, size_t i); /* NULL outside */
/* HGETALL-shaped arrays: the value after `name`, or NULL. */
const struct redis_reply *redis_reply_field(const struct redis_reply *r, const char *name);
/* A copy to keep, for programs that do one thing after the other. NULL when out of memory. */
struct redis_reply *redis_reply_copy(const struct redis_reply *r);
void redis_reply_free(struct redis_reply *copy); /* NULL is fine */

/* ---- scripts, embedded at build time from common/scripts/<name>.lua ---- */

enum script {
#define SCRIPT(name, sha, body) SCRIPT_##name,
#include "scripts.inc"
#undef SCRIPT
    SCRIPT_COUNT
};
const char *script_name(enum script s);
const char *script_sha(enum script s);
const char *script_body(enum script s);

/* ---- the link ---- */

struct redis_options {
    const char *url;  /* redis://[user@]host[:port][/db], rediss://..., unix:///path or /path;
                         a password in it is refused. redis+sentinel://host[:port],.../NAME[/db]:
                         the Sentinels are asked anew at each (re)connect where the primary is */
    const char *user; /* ACL user, or NULL: the one in url, else Redis' default user */
    const char *password_file; /* read again at each (re)connect, so that a rotation is picked up;
                                  or NULL. Refused when others can read it (secret_file.h) */
    const char *sentinel_password_file; /* the same for the Sentinels, or NULL: they want none */
    const char *tls_ca;                 /* PEM bundle; NULL = the system's */
    const char *tls_cert;       /* client certificate and key, or NULL; all three are read again */
    const char *tls_key;        /* at each (re)connect */
    const char *name;           /* CLIENT SETNAME, and in every message; NULL = "awq" */
    int64_t connect_timeout_ms; /* name, socket, TLS, AUTH and server check together. 0 = 3000. To
                                   ask the Sentinels may take as long before that */
    int64_t read_timeout_ms;    /* Redis owes an answer for so long: drop the link. An idle link is
                                   asked by PING as often. 0 = 5000 */
    int64_t backoff_cap_ms;     /* longest wait between connects. 0 = 2000 */
    bool once;                  /* do not reconnect: for command line tools */
};

enum redis_state {
    REDIS_CONNECTING,
    REDIS_UP,
    REDIS_DOWN /* waiting to reconnect */,
    REDIS_REFUSED
};
/* Called at every change. REDIS_UP comes after AUTH and the server check have passed.
 * REDIS_REFUSED: the server can be reached but must not be used (wrong password, cluster, too
 * old, a certificate that is not trusted ...): *why says so in one line; with `once` nothing more
 * happens, else it is tried again. redis_free may be called here, and in any other callback. */
typedef void redis_state_cb(void *owner, enum redis_state state, const struct err *why);
typedef void redis_cb(void *owner, const struct redis_reply *reply, const struct err *err);
/* err is NULL on success; reply is NULL when err is set. */

/* What the server said of itself at the last REDIS_UP (INFO server, replication, cluster, memory;
 * the right to CONFIG is not needed). run_id tells another process or a failover from a mere
 * reconnect. */
struct redis_server {
    char run_id[48];
    char version[24];
    int version_number; /* 7.0.15 -> 70015 */
    bool is_replica;
    int replicas;      /* online: neither gone nor still copying the whole data set */
    char eviction[32]; /* maxmemory-policy; "" when INFO does not tell */
};

/* Also ignores SIGPIPE, unless the program has a handler of its own: TLS writes would raise it. */
struct redis *redis_new(struct uv_loop_s *loop, const struct redis_options *o, redis_state_cb *cb,
                        void *owner, struct err *err); /* copies o; starts connecting at once */
void redis_free(struct redis *r); /* cancels what waits (callbacks come before it returns), closes;
                                     NULL is fine */
bool redis_is_up(const struct redis *r);
const char *redis_where(const struct redis *r); /* "host:port" or the path, for messages */
const struct redis_server *redis_server_info(const struct redis *r);
size_t redis_in_flight(const struct redis *r); /* commands without an answer yet */
uint64_t redis_round_trips(
    const struct redis *r); /* loop ticks that wrote at least one command: one write(2), one trip */
/* Drop the link and connect again (resolve anew), as after READONLY, MASTERDOWN, UNBLOCKED. From
 * here on it is not up; the waiting commands are told in the next turn of the loop. */
void redis_reset(struct redis *r, const char *why);

/* Start one command of `argc` binary-safe arguments. False and *err when the link is not up or out
 * of memory: then cb is not called. timeout_ms 0 = the link's read timeout; a blocking command
 * passes its own BLOCK time plus slack. */
bool redis_command(struct redis *r, size_t argc, const struct slice *argv, int64_t timeout_ms,
                   redis_cb *cb, void *owner, struct err *err);
/* EVALSHA; on NOSCRIPT once more as EVAL, invisibly to the caller. argv = keys, then arguments. */
bool redis_script(struct redis *r, enum script s, size_t nkeys, size_t argc,
                  const struct slice *argv, redis_cb *cb, void *owner, struct err *err);
/* SUBSCRIBE on a link that does nothing else; on_message is called for each message, and the
 * subscription is made again after each reconnect. May be called before the link is up. */
bool redis_subscribe(struct redis *r, const char *channel,
                     void (*on_message)(void *owner, struct slice channel, struct slice message),
                     void *owner, struct err *err);

/* The table "Redis said -> do", for an error reply's first word. Used inside the link, which acts
 * on RESET, REEVAL and NOAUTH itself; public so that callers and tests see the same table. */
enum redis_do {
    REDIS_DO_FAIL,    /* the caller's own error: ERR_FORMAT */
    REDIS_DO_RETRY,   /* LOADING BUSY TRYAGAIN CLUSTERDOWN NOREPLICAS: back off, keep what you hold:
                         ERR_RETRY */
    REDIS_DO_RESET,   /* READONLY UNBLOCKED MASTERDOWN MOVED ASK: drop the link, resolve again:
                         ERR_RETRY */
    REDIS_DO_STOP,    /* OOM MISCONF: stop fetching, keep finishing, alarm: ERR_NOMEM */
    REDIS_DO_AUTH,    /* NOAUTH NOPERM WRONGPASS DENIED: reload credentials, then fail readiness:
                       * ERR_CONFIG
                       */
    REDIS_DO_REEVAL,  /* NOSCRIPT */
    REDIS_DO_REGROUP, /* NOGROUP: create the group again from 0: ERR_NOT_FOUND */
    REDIS_DO_FINE,    /* BUSYGROUP: it is there already */
    REDIS_DO_BUG,     /* WRONGTYPE CROSSSLOT: say so loudly: ERR_FORMAT */
};
enum redis_do redis_err_class(struct slice first_word);

#endif

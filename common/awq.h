/*
 * awq.h - the C client of awq: put jobs on its queues, and wait for their results.
 * Owns    struct awq owns one link to Redis, its reconnects, and every request under way.
 * Thread  the thread that opened it, or that runs the loop it is attached to.
 * Units   milliseconds (_ms); times of a job are Unix milliseconds.
 * Errors  functions answer false or NULL and fill *err (NULL is fine). Every callback is called
 *         exactly once, never inside the call that started it, and at awq_close with AWQ_CLOSED.
 * Source  common/PROTOCOL.md, which says what a job may hold.
 *
 *     struct awq *q = awq_open(&(struct awq_options){.url = "redis://127.0.0.1"}, &err);
 *     struct awq_call call = {.conn = "crm-1", .method = "POST", .url = "https://...",
 *                             .body_kind = AWQ_JSON, .body = "{\"name\":\"Ann\"}", .body_len = 14};
 *     struct awq_job job = {.id = "lead-17", .calls = &call, .call_count = 1};
 *     size_t len;
 *     char *bytes = awq_encode(&job, &len, &err);
 *     awq_put(q, NULL, bytes, len, &err);
 *     struct awq_result *r = awq_wait(q, "lead-17", 30000, &err);
 *
 * A result is read from the run's own record, by asking again with growing pauses (10 to 250 ms).
 * The result stream would tell sooner, but it is capped: whoever is away for long misses entries,
 * and each waiter would be sent everybody's results. The record is written by the script that ends
 * the step, is not trimmed, and is there whenever the asker comes, until its time after the end is
 * over (ten minutes, unless the workers are set otherwise).
 *
 * One process works with one prefix. Open ignores SIGPIPE, unless the program handles it.
 */
#ifndef AWQ_H
#define AWQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct uv_loop_s;
struct awq;

/* What to do, rather than what happened; the text tells that. */
enum awq_status {
    AWQ_OK,
    AWQ_DUPLICATE,   /* put: this id is there already; nothing was done */
    AWQ_FULL,        /* put: the backlog is full; nothing was done; come back later */
    AWQ_INVALID,     /* the job or an argument is bad; mend it */
    AWQ_TIMEOUT,     /* wait: the run has not ended; ask again whenever you like */
    AWQ_UNREACHABLE, /* Redis could not be asked; nothing was done */
    AWQ_UNKNOWN,     /* put: it may have been done; put it again, the id makes that safe */
    AWQ_REFUSED,     /* Redis must not or will not be used: password, rights, kind of server */
    AWQ_NOMEM,
    AWQ_CLOSED /* awq_close came first */
};

struct awq_error {
    enum awq_status status;
    char code[64];  /* of a bad job, as in PROTOCOL.md "Error codes"; else "" */
    char text[256]; /* for people; holds no credential */
};

/* All may be left out but url. Texts are copied. */
struct awq_options {
    const char *url;           /* redis://[user@]host[:port][/db], rediss://..., unix:///path,
                                  redis+sentinel://host[:port],.../NAME[/db] */
    const char *prefix;        /* "awq" */
    const char *user;          /* ACL user */
    const char *password_file; /* read at each connect; must not be readable by others */
    const char *tls_ca, *tls_cert, *tls_key; /* PEM files */
    unsigned shards;                         /* as the installation says; 0 = 1 */
    int64_t backlog_limit;                   /* 0 = 1,000,000 jobs */
    int64_t dedup_ms;                        /* 0 = 600,000 */
    int64_t timeout_ms;                      /* of open and put, reconnects included; 0 = 10,000 */
    const char *sentinel_password_file;      /* of the Sentinels, when they want one */
    /* To sign what is put (PROTOCOL.md, "Signed jobs"): both or neither. Each job must then have
     * iat and deadline, and an id that begins with the producer's name and ':'. */
    const char *producer, *producer_key_file;
    /* Put into the producer's inbox: its Redis user may write nothing else. Nobody says then
     * whether a job was known already or is refused: awq_put is true, and a wait ends as
     * AWQ_TIMEOUT. */
    bool inbox;
};

/* ---- jobs ---- */

enum awq_body { AWQ_NO_BODY, AWQ_BYTES, AWQ_TEXT, AWQ_JSON /* text of an object or array */ };

struct awq_pair {
    const char *name, *value;
};

struct awq_call { /* zero and NULL = not said */
    const char *conn, *method, *url;
    const struct awq_pair *query, *headers;
    size_t query_count, header_count;
    enum awq_body body_kind;
    const void *body;
    size_t body_len;
    const char *as;           /* content, raw, response */
    const char *idem;         /* auto, none, or a key */
    const char *ambiguous;    /* retry, dead */
    const char *const *needs; /* scopes that the connection must have been granted */
    size_t need_count;
    const char *token; /* one of the connection's answer.tokens by name; NULL = its access token */
    int64_t timeout_ms;
    int64_t retry_max; /* as retry.max; -1 = none at all, 0 = not said */
    int64_t retry_base_ms, retry_cap_ms;
};

struct awq_job {
    const char *id;
    const struct awq_call *calls; /* the first, and those of `then` */
    size_t call_count;
    const char *out; /* NULL = not said; "" = no result stream */
    const char *tenant, *tp, *ts;
    int64_t not_before_ms, deadline_ms;
    int64_t iat_ms; /* when it was made: signed jobs need it */
};

/* The envelope's bytes, free() them; NULL and *err when it is bad. All calls are checked. */
char *awq_encode(const struct awq_job *job, size_t *len, struct awq_error *err);
/* From JSON, as in PROTOCOL.md "Vectors"; body_base64 stands for a binary body. */
char *awq_encode_json(const char *json, size_t json_len, size_t *len, struct awq_error *err);

/* The id in an envelope that awq_put would take. */
bool awq_envelope_id(const char *bytes, size_t len, char id[65], struct awq_error *err);

/* ---- results ---- */

struct awq_result {
    const char *state; /* done, failed, dead, expired, cancelled */
    int http_status;   /* 0 = no answer */
    unsigned step;     /* 0 = the first call */
    unsigned attempts;
    const char *output; /* output_len bytes and a NUL; NULL when there is none */
    size_t output_len;
    bool output_is_binary;
    const char *output_type;  /* media type, or "" */
    const char *error_code;   /* "" when done */
    const char *error_detail; /* "" when done */
    const char *bytes;        /* the result as it is in Redis, MessagePack */
    size_t len;
};
void awq_result_free(struct awq_result *r);          /* NULL is fine */
char *awq_result_json(const struct awq_result *r);   /* free() it; NULL when out of memory */
const char *awq_status_name(enum awq_status status); /* "ok", "duplicate" ... */

/* ---- blocking: on a loop of its own; AWQ_INVALID for a client that is attached to yours ---- */

/* Connects, and comes back when the link is up or cannot be. */
struct awq *awq_open(const struct awq_options *o, struct awq_error *err);
/* Put an envelope on a queue (NULL = "default"). True: it is there, or set aside for its
 * not_before. False: *err says whether it may be there. */
bool awq_put(struct awq *q, const char *queue, const char *bytes, size_t len,
             struct awq_error *err);
/* The run's last result, or NULL: AWQ_TIMEOUT when it has not ended in timeout_ms. */
struct awq_result *awq_wait(struct awq *q, const char *id, int64_t timeout_ms,
                            struct awq_error *err);

/* ---- on your loop ---- */

/* Begins to connect. What is started before the link is up waits for it. */
struct awq *awq_attach(struct uv_loop_s *loop, const struct awq_options *o, struct awq_error *err);
typedef void awq_put_cb(void *owner, const struct awq_error *err); /* err NULL: it is there */
typedef void awq_wait_cb(void *owner, struct awq_result *r,        /* yours now; or NULL and err */
                         const struct awq_error *err);
bool awq_put_start(struct awq *q, const char *queue, const char *bytes, size_t len, awq_put_cb *cb,
                   void *owner, struct awq_error *err);
bool awq_wait_start(struct awq *q, const char *id, int64_t timeout_ms, awq_wait_cb *cb, void *owner,
                    struct awq_error *err);

/* Ends what is under way (its callbacks come before this returns) and lets go of the link. Of an
 * attached one the memory goes once the loop has turned. NULL is fine. */
void awq_close(struct awq *q);

#ifdef __cplusplus
}
#endif

#endif

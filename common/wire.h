/*
 * wire.h - the job envelope and the result as MessagePack; common/PROTOCOL.md specifies both.
 * Owns    a struct envelope owns a little memory that is used again and again; every slice in it
 *         borrows from the bytes that were decoded, or from that memory until the next decode.
 * Thread  whoever owns it.
 * Units   milliseconds, Unix time.
 * Errors  ERR_FORMAT with a rule that becomes the dead letter's code:
 *         envelope_not_msgpack, envelope_truncated, envelope_trailing_bytes, envelope_not_a_map,
 *         envelope_too_big, envelope_too_deep, envelope_version, envelope_id_missing,
 *         envelope_id_invalid, envelope_key_type, envelope_duplicate_key, envelope_value_invalid,
 *         call_missing, call_type, call_url_missing, call_url_invalid, call_method_invalid,
 *         call_conn_invalid, call_header_invalid, call_query_invalid, call_value_invalid,
 *         connection_missing, flow_not_supported, then_type, then_too_many, k_invalid, out_invalid,
 *         result_invalid. The text names the key ("then[2].timeout_ms must be ...") and never shows
 *         a header's or a body's value. Functions with an `out` add to it, and leave it as it was
 *         when they fail.
 * Source  msgpack spec; W3C Trace Context for tp and ts.
 */
#ifndef AWQ_WIRE_H
#define AWQ_WIRE_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/id.h"
#include "common/slice.h"

#define WIRE_DIGEST_HEX  64
#define WIRE_VERSION     1
#define WIRE_MAX_DEFAULT (1024 * 1024)
#define WIRE_MAX_CALLS   64 /* call + then */
#define WIRE_MAX_PAIRS   64 /* headers, query members of one call */
#define WIRE_MAX_DEPTH   32
#define WIRE_MAX_NEEDS   16 /* scopes that one call may need */

enum call_as { AS_CONTENT, AS_RAW, AS_RESPONSE };
enum call_idem { IDEM_AUTO, IDEM_NONE, IDEM_VALUE };
enum call_ambiguous {
    AMBIGUOUS_AUTO, /* not said: by the method, and whether there is a key */
    AMBIGUOUS_RETRY,
    AMBIGUOUS_DEAD
};
enum body_kind {
    BODY_NONE,
    BODY_BYTES /* msgpack bin: as it is */,
    BODY_TEXT /* str: as it is */,
    BODY_JSON /* map or array */
};

struct pair {
    struct slice name, value; /* numbers and booleans in query and headers arrive here as text */
};

struct call {
    struct slice conn, method, url; /* method upper case, default GET */
    struct pair query[WIRE_MAX_PAIRS];
    size_t query_count;
    struct pair headers[WIRE_MAX_PAIRS];
    size_t header_count;
    enum body_kind body_kind;
    struct slice body; /* bytes, text, or the value's MessagePack (wire_value_to_json) */
    enum call_as as;
    int64_t timeout_ms;    /* 0 = the worker's default */
    uint32_t retry_max;    /* default 5 */
    int64_t retry_base_ms; /* default 500 */
    int64_t retry_cap_ms;  /* default 60000 */
    enum call_idem idem;
    struct slice idem_value;
    enum call_ambiguous ambiguous;
    struct slice token; /* by the connection's answer.tokens; empty = the one there always is */
    struct slice needs[WIRE_MAX_NEEDS]; /* scopes that the connection must have been granted */
    size_t need_count;
};

/* The continuation (`k`): where a run stands. Written and signed by workers only. */
struct cont {
    struct slice branch; /* "0" until a fork */
    uint64_t seq;        /* SEQ of this job */
    uint32_t position;   /* 0 = call, i = then[i - 1] */
    uint64_t calls;      /* N: calls begun in this branch before this one */
    uint32_t attempt;    /* attempts of this step that have ended already */
    struct slice input;  /* output of the step before, never NULL then; SLICE_NONE for the first */
    struct slice input_type;   /* its media type */
    struct slice producer;     /* who signed the job; empty = nobody */
    int64_t queued_ms;         /* when this step was first put on the queue; 0 = not known */
    struct slice input_digest; /* 64 hex digits: the input is too long to travel; it lies in the
                                  run record under this digest, and `input` is empty */
};

struct envelope {
    struct slice id;
    struct slice tenant, out, tp, ts;   /* out: default "results"; empty = none */
    int64_t not_before, deadline;       /* 0 = none */
    int64_t iat;                        /* when a signed job was made; 0 = not said */
    struct call call;                   /* the call at k.position: the one to make now */
    uint32_t call_count;                /* 1 + then */
    struct slice conns[WIRE_MAX_CALLS]; /* of all calls, in order; read without a `k` only */
    bool has_k;
    struct cont k;      /* defaults (branch "0", seq 0 ...) when has_k is false */
    char stranger[96];  /* the first member that this version does not know: "call.bdy"; or "" */
    struct slice bytes; /* all of it, borrowed */
    void *arena;        /* private */
};

void envelope_init(struct envelope *e);
void envelope_deinit(struct envelope *e);
void envelope_clear(struct envelope *e); /* as before a decode; its memory is kept */
/* Check everything, all calls, and fill *e for the call to make now. On false *e keeps only what
 * could be read of `id` (empty if nothing), so that the dead letter can carry it. */
bool envelope_decode(struct envelope *e, struct slice bytes, size_t max_bytes, struct err *err);
/* The id of an envelope that may be no good otherwise; empty when it has none that a job may have.
 */
struct slice envelope_id(struct slice bytes);
/* The same envelope with another continuation: every key is copied as it came, unknown ones too. */
bool envelope_with_k(struct buf *out, const struct envelope *e, const struct cont *k,
                     struct err *err);

/* What a signature over `k` covers: prefix, queue and all bytes of j, each with its length before
 * it. */
bool wire_signed_bytes(struct buf *out, struct slice prefix, struct slice queue, struct slice j);

/* Can the value be written as JSON? It can when it is one whole value of strings that are UTF-8,
 * numbers, booleans, nil, arrays, and maps with string keys. */
bool wire_value_check(struct slice value, struct err *err);
/* MessagePack value <-> JSON text. bin is refused (ERR_FORMAT call_value_invalid), as are map keys
 * that are not str; 64-bit integers stay exact. `expand`, when not NULL, is asked for every str
 * value: it may write JSON in its place and answer true, or answer false to have the string written
 * as it is; with *failed set its owner knows why, and the whole fails. */
typedef bool wire_expand(void *owner, struct slice str, struct buf *json, bool *failed);
bool wire_value_to_json(struct buf *out, struct slice value, wire_expand *expand, void *owner,
                        struct err *err);
bool wire_json_to_value(struct buf *out, struct slice json, struct err *err);
/* A JSON job (as in a file) -> envelope bytes. "body_base64" in a call becomes a bin body. */
bool wire_from_json(struct buf *out, struct slice json, struct err *err);

/* ---- results ---- */

enum result_state { RESULT_DONE, RESULT_FAILED, RESULT_DEAD, RESULT_EXPIRED, RESULT_CANCELLED };
const char *result_state_name(enum result_state s); /* "done" ... */

struct result {
    struct slice id;  /* the job's id = RUN */
    struct slice run; /* the same, for the reader's convenience */
    uint32_t step;    /* position: 0 = call, i = then[i - 1] */
    uint64_t seq;
    bool end; /* the run's last result */
    enum result_state state;
    int status;               /* HTTP status; 0 = no answer */
    struct slice output;      /* as asked by `as` */
    struct slice output_type; /* media type; "" when there is no output */
    bool output_is_bin;       /* written as bin, else as str */
    /* RFC 9457 members; none when the code is empty */
    struct slice error_code, error_title,
        error_detail; /* code = rule; title = short; detail = the text */
    uint32_t attempts;
    struct {
        int64_t queued, started, sent, answered, committed; /* Unix ms; 0 = did not happen */
    } times;
    struct slice worker, tp;
    bool redacted; /* the answer held the sent token; it was taken out */
};
bool result_encode(struct buf *out, const struct result *r);
/* Decoded slices borrow from `bytes`. */
bool result_decode(struct result *r, struct slice bytes, struct err *err);
/* As JSON, for people and awq-ctl: output as a JSON value when its type is JSON, else text or
 * base64. */
bool result_to_json(struct buf *out, const struct result *r);

#endif

/*
 * request.h - one HTTP request as the sandbox's routes see it, and the answer
 * they fill in. Plain data, no library types: server.h does the talking.
 * Owns    a reply owns its body; a request only borrows, until the route returns.
 * Thread  the loop thread only.
 * Units   delay_ms waits before the answer is sent, after the route has acted.
 * Errors  error bodies have the members of RFC 6749 section 5.2: error and
 *         error_description.
 */
#ifndef AWQ_SANDBOX_REQUEST_H
#define AWQ_SANDBOX_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/slice.h"
#include "tools/sandbox/form.h"

#define REQUEST_HEADERS_MAX  128 /* a request with more is refused */
#define REPLY_HEADERS_MAX    6
#define REPLY_BODY_MAX_BYTES (16u << 20)

struct header {
    struct slice name;
    struct slice value;
};

struct request {
    struct slice method;
    struct slice path;  /* as sent: not decoded */
    struct slice query; /* as sent, without '?' */
    struct form params; /* the query, decoded */
    struct header headers[REQUEST_HEADERS_MAX];
    size_t header_count;
    struct slice body;
};

struct reply_header {
    const char *name; /* static text */
    char value[256];
};

struct reply {
    unsigned status;
    const char *content_type; /* static text */
    struct reply_header headers[REPLY_HEADERS_MAX];
    size_t header_count;
    struct buf body;
    struct json_writer json; /* writes into body */
    int64_t delay_ms;
    bool drop; /* close the link instead of answering */
};

/* How often the header is there (names in any case); *value is the first one. */
size_t request_header(const struct request *r, const char *name, struct slice *value);
bool request_is(const struct request *r, const char *method);

void reply_init(struct reply *r); /* 200, JSON, an empty body */
void reply_deinit(struct reply *r);

/* Add a header; value is cut to what fits, bytes that may not stand in one become '?'. */
void reply_header(struct reply *r, const char *name, struct slice value);

/* Forget the body so far and make it {"error": error, "error_description": ...}. */
void reply_error(struct reply *r, unsigned status, const char *error, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* 405 with the one method that is allowed. */
void reply_wrong_method(struct reply *r, const char *allowed);
#endif

/*
 * site.h - what the demo runs on: a folder, a private Redis, the sandbox, a key file, two
 * connections, workers.
 * Owns    all of it, until site_end. Secrets are made up at each run; they are in files of the
 *         folder that only its owner can read, never in an argument list.
 * Thread  the loop thread only.
 * Errors  ERR_CONFIG: something does not start; the text names its log.
 */
#ifndef AWQ_DEMO_SITE_H
#define AWQ_DEMO_SITE_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/id.h"
#include "tools/demo/ask.h"
#include "tools/demo/child.h"

#define SITE_TOKEN_TTL_S 3
#define SITE_WORKERS     3 /* two, and the one that takes the place of the killed one */

/* One reads, one writes; the sandbox knows them by these names too. */
#define CONN_READER "reader" /* client_credentials */
#define CONN_WRITER "writer" /* a refresh token that works once */
#define ACCOUNT     "ann"    /* whose grant the writer has */

struct site_worker {
    struct child child;
    char id[WORKER_ID_MAX]; /* its consumer name */
};

struct site {
    struct ask *ask;
    bool keep;
    char folder[64];
    char redis_url[96];
    char sandbox_url[64];
    unsigned sandbox_port;
    struct child redis, sandbox;
    struct site_worker workers[SITE_WORKERS];
    unsigned worker_count;
};

bool site_start(struct site *s, struct ask *ask, bool keep, struct err *err);
bool site_start_worker(struct site *s, struct err *err); /* one more, waited for */
/* Stop all of it, and remove the folder unless its logs are wanted. Fine when half made. */
void site_end(struct site *s, bool keep_logs);
void site_tell_how(const struct site *s); /* how to go on with what is kept */
#endif

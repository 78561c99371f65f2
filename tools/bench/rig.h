/*
 * rig.h - what the bench runs on: a folder, an upstream (nginx), Redis servers, key file, linked
 * connections, workers. All servers and workers are held to one core, the bench to another.
 * Owns    all of it, until rig_end.
 * Thread  the loop thread only.
 * Errors  ERR_CONFIG: something does not start; the text names its log.
 */
#ifndef AWQ_BENCH_RIG_H
#define AWQ_BENCH_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/seal.h"
#include "tools/demo/ask.h"
#include "tools/demo/child.h"

struct store { /* one Redis */
    struct child child;
    struct redis *link;
    unsigned port;
    char url[48];
};

struct rig {
    struct ask ask;
    struct keyring *keys;
    char folder[64];
    char token[1024], token_file[96];
    unsigned plain, tls, once; /* ports of the upstream */
    struct child nginx;
    int core; /* of everything that is measured */
};

bool rig_start(struct rig *r, struct err *err);
void rig_end(struct rig *r, bool keep);

/* Start a program on the measured core; its output goes to FOLDER/NAME.log. */
bool rig_spawn(struct rig *r, struct child *c, const char *name, const char *const *argv,
               struct err *err);
/* Run one to its end, beside the measured core. */
bool rig_run(struct rig *r, const char *name, const char *const *argv, struct err *err);

bool store_start(struct rig *r, struct store *s, const char *name, bool aof, struct err *err);
void store_end(struct store *s);
bool store_ask(struct rig *r, struct store *s, size_t argc, const char *const *argv, ask_take *take,
               void *owner, struct err *err);
int64_t store_int(struct rig *r, struct store *s, size_t argc, const char *const *argv);
bool store_clear(struct rig *r, struct store *s, struct err *err); /* FLUSHALL */
/* Connections c0 ... with the same token, good for hours. */
bool store_link(struct rig *r, struct store *s, size_t connections, struct err *err);
bool store_worker(struct rig *r, struct store *s, struct child *c, const char *const *options,
                  struct err *err);

#endif

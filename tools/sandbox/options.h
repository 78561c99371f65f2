/*
 * options.h - the command line of awq-sandbox.
 * Owns    nothing: texts point into argv.
 * Thread  before the loop runs.
 * Errors  ERR_CONFIG: one line that names the option.
 *
 * Not the settings table of common/config.h: the sandbox takes nothing from files or the
 * environment, so that what a demo or a test did is what its command line says.
 */
#ifndef AWQ_SANDBOX_OPTIONS_H
#define AWQ_SANDBOX_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"

#define OPTIONS_CLIENTS_MAX 64

struct options {
    const char *address;
    uint16_t port;
    int64_t access_ttl_s;
    int64_t delay_min_ms, delay_max_ms;
    int64_t max_writes;
    struct slice clients[OPTIONS_CLIENTS_MAX]; /* ID:SECRET, or ID alone */
    size_t client_count;
    bool help;
};

bool options_read(struct options *o, int argc, char **argv, struct err *err);
const char *options_help(void);
#endif

/*
 * config.h - the settings engine: one table of rows per program, values from four sources.
 * Owns    the text of the values; the settings struct is the program's and points into it.
 * Thread  the loop thread only.
 * Units   durations are milliseconds (int64_t), sizes are bytes (int64_t).
 * Errors  ERR_CONFIG, one line: which source and line, which name, what is allowed. On an error
 *         the settings are as they were.
 * Source  each source beats the one before it: the row's default; a file (--config FILE or
 *         AWQ_CONFIG; lines `name = value`, # starts a comment); the environment (AWQ_<NAME>, and
 *         AWQ_<NAME>_FILE for the value of a secret row, read from that file; empty = not set);
 *         flags (--name value, --name=value, --name and --no-name for bools; never for secrets).
 *
 *     struct settings { struct config_common common; int64_t slots; int64_t drain_ms; };
 *     static const struct config_row rows[] = {
 *         CONFIG_COMMON_ROWS(struct settings, common),
 *         {.name = "slots", .type = CONFIG_INT, .offset = offsetof(struct settings, slots),
 *          .def = "64", .min = 1, .max = 4096, .help = "steps in flight at most"},
 *         {.name = "drain", .type = CONFIG_MS, .offset = offsetof(struct settings, drain_ms),
 *          .def = "30s", .min = 0, .max = 3600000, .flags = CONFIG_RELOADABLE, .help = "..."},
 *     };
 */
#ifndef AWQ_CONFIG_H
#define AWQ_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"

/* STR, PATH   const char *, NULL when empty     text, a file name; min..max bound a STR's bytes
 * CHOICE      const char *                     one of `choices`
 * BOOL        bool                             true false yes no on off 1 0
 * INT         int64_t                          decimal
 * MS          int64_t                          250ms 30s 5m 2h 0
 * SIZE        int64_t                          512B 64KiB 8MiB 1GiB 0
 * LIST        struct config_list               a,b,c; min..max bound how many */
enum config_type {
    CONFIG_STR,
    CONFIG_PATH,
    CONFIG_CHOICE,
    CONFIG_BOOL,
    CONFIG_INT,
    CONFIG_MS,
    CONFIG_SIZE,
    CONFIG_LIST
};

struct config_list {
    const char *const *items; /* NULL when count is 0 */
    size_t count;
};

#define CONFIG_RELOADABLE 1u /* config_reload applies it */
#define CONFIG_SECRET     2u /* never printed; may come from AWQ_<NAME>_FILE */
#define CONFIG_REQUIRED   4u /* has no default and must be set */

struct config_row {
    const char *name; /* kebab-case; the environment name is AWQ_ and the same in UPPER_SNAKE */
    enum config_type type;
    size_t offset;
    const char *def;     /* as one would write it; NULL = not set (0, false, NULL, empty) */
    int64_t min, max;    /* in the member's unit; both 0 = no bound */
    const char *choices; /* CONFIG_CHOICE: "debug|info|warn|error" */
    unsigned flags;
    const char *help; /* one line */
};

struct config_spec {
    const char *program; /* "awq-worker" */
    const char *version; /* "0.1.0" */
    const char *usage;   /* what follows the program's name: "[options]" */
    const char *about;   /* one or two lines under it; NULL = none */
    const struct config_row *rows;
    size_t row_count;
    size_t settings_size;
    /* Flags that the table does not have are handed back with the positional arguments, in order,
     * for a program with verbs that have flags of their own. Else they are an error. */
    bool pass_unknown_flags;
    /* AWQ_* names in the environment that another program goes by, so that the two can share one;
     * ends with NULL. NULL = none. */
    const char *const *env_of_others;
    /* Rules between settings; asked with the new values before they are taken. NULL = none. */
    bool (*check)(const void *settings, struct err *err);
};

struct config;

enum config_result {
    CONFIG_OK,   /* *settings is filled */
    CONFIG_DONE, /* --help, --version, --print-config or --help-markdown: print `print`, exit 0 */
    CONFIG_BAD,  /* *err says what; print it, exit 2 */
};

/* spec and settings must outlive it. NULL when out of memory. */
struct config *config_new(const struct config_spec *spec, void *settings);
void config_free(struct config *c); /* NULL is fine; wipes; the settings' texts are gone with it */

/* argv as main got it (borrowed until config_free, read again by config_reload); envp NULL = the
 * process's own. */
enum config_result config_load(struct config *c, int argc, char *const *argv, char *const *envp,
                               struct buf *print, struct err *err);
/* Read all sources again and apply the rows that may change. `applied` and `refused` (cleared
 * first) get the names of changed rows, with ", " between: refused ones need a restart. Texts of
 * applied rows are freed here: whoever copied such a pointer out must take the new one. */
bool config_reload(struct config *c, struct buf *applied, struct buf *refused, struct err *err);

/* The arguments that are no settings, in order, without argv[0]; "--" ends the flags. */
char *const *config_rest(const struct config *c, size_t *count);
/* AWQ_* names in the environment that nobody goes by, ", " between; "" when none. No error, because
 * Kubernetes puts AWQ_SERVICE_HOST and the like there when a service is called awq. */
const char *config_unknown_env(const struct config *c);
/* Where the value of a row came from, for messages: "default", "FILE line 3", "environment
 * AWQ_SLOTS", "flag --slots". NULL: no such row. Valid until asked again. */
const char *config_source(struct config *c, const char *name);

/* Pages made from the table. */
bool config_help(const struct config_spec *spec, struct buf *out);
bool config_markdown(const struct config_spec *spec, struct buf *out);
bool config_print(const struct config *c, struct buf *out); /* a file that config_load can read */

/* ---- what every program needs ---- */

struct config_common {
    const char *redis_url, *redis_user, *redis_password_file, *redis_sentinel_password_file;
    const char *redis_tls_ca, *redis_tls_cert, *redis_tls_key;
    const char *prefix;
    const char *keys;      /* the key file, or NULL */
    const char *log_level; /* for log_level_parse */
};

#define CONFIG_ROW_PATH_(S, m, member, n, h)                                                       \
    {                                                                                              \
        .name = n, .type = CONFIG_PATH, .offset = offsetof(S, m.member), .help = h                 \
    }
#define CONFIG_COMMON_ROWS(S, m)                                                                   \
    {.name = "redis-url",                                                                          \
     .type = CONFIG_STR,                                                                           \
     .offset = offsetof(S, m.redis_url),                                                           \
     .def = "redis://127.0.0.1:6379",                                                              \
     .min = 1,                                                                                     \
     .max = 1024,                                                                                  \
     .help =                                                                                       \
         "redis://[user@]host[:port][/db], rediss://... for TLS, unix:///path; with Sentinels "    \
         "redis+sentinel://host[:port],.../NAME[/db], rediss+sentinel://..."},                     \
        {.name = "redis-user",                                                                     \
         .type = CONFIG_STR,                                                                       \
         .offset = offsetof(S, m.redis_user),                                                      \
         .max = 128,                                                                               \
         .help = "ACL user; without it the default user"},                                         \
        CONFIG_ROW_PATH_(S, m, redis_password_file, "redis-password-file",                         \
                         "file with the password; read again at each connect"),                    \
        CONFIG_ROW_PATH_(S, m, redis_sentinel_password_file, "redis-sentinel-password-file",       \
                         "the same for the Sentinels; without it they want none"),                 \
        CONFIG_ROW_PATH_(S, m, redis_tls_ca, "redis-tls-ca",                                       \
                         "PEM bundle to check the server with; default: the system's"),            \
        CONFIG_ROW_PATH_(S, m, redis_tls_cert, "redis-tls-cert", "client certificate, PEM"),       \
        CONFIG_ROW_PATH_(S, m, redis_tls_key, "redis-tls-key", "its private key, PEM"),            \
        {.name = "prefix",                                                                         \
         .type = CONFIG_STR,                                                                       \
         .offset = offsetof(S, m.prefix),                                                          \
         .def = "awq",                                                                             \
         .min = 1,                                                                                 \
         .max = 32,                                                                                \
         .help = "first part of every key in Redis: 1-32 of A-Z a-z 0-9 _ -"},                     \
        CONFIG_ROW_PATH_(S, m, keys, "keys", "key file that opens tokens (awq-ctl keys new)"),     \
    {                                                                                              \
        .name = "log-level", .type = CONFIG_CHOICE, .offset = offsetof(S, m.log_level),            \
        .def = "info", .choices = "debug|info|warn|error", .flags = CONFIG_RELOADABLE,             \
        .help = "least level that is logged"                                                       \
    }

#endif

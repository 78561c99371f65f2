/*
 * config_inside.h - what the files of config.h know of each other; nobody else includes it.
 * Owns    config.c reads the sources and says which one wins; config_value.c knows what a setting
 *         may hold; config_page.c writes the pages for people.
 * Thread  any, one at a time.
 */
#ifndef AWQ_CONFIG_INSIDE_H
#define AWQ_CONFIG_INSIDE_H

#include "common/config.h"

#define CONFIG_NAME_MAX 64

enum config_from { FROM_DEFAULT, FROM_FILE, FROM_ENV, FROM_FLAG }; /* later beats earlier */

struct config_value {
    char *text; /* as written; NULL = not set */
    size_t text_len;
    enum config_from source;
    int line;        /* of the file */
    int64_t number;  /* INT, MS, SIZE, and BOOL as 0 or 1 */
    char *item_text; /* LIST: a copy that is cut up */
    const char **items;
    size_t count;
};

/* One reading of all sources. */
struct config_reading {
    struct config_value *values; /* one per row */
    char *file;                  /* its name, or NULL */
    char **rest;
    size_t rest_count;
    struct buf unknown_env;
    bool print_config;
};

struct config {
    const struct config_spec *spec;
    void *settings;
    int argc;
    char *const *argv;
    char *const *envp;
    struct config_reading now;
    char source[192]; /* what config_source answered last */
};

/* ---- config_value.c ---- */

void config_value_deinit(struct config_value *v);
/* Fill in the rest from v->text; false when the row does not allow it. */
bool config_value_parse(const struct config_row *row, struct config_value *v);
/* Put the value into the member of a settings struct. */
void config_value_store(const struct config_row *row, const struct config_value *v, void *settings);

/* What is allowed, in words; bounds as "1 to 4096", or "" when there are none. */
void config_allowed_text(const struct config_row *row, char *to, size_t size);
void config_bounds_text(const struct config_row *row, char *to, size_t size);
void config_env_name(const struct config_row *row, char to[CONFIG_NAME_MAX + 8]);
/* Where it came from, in words. */
void config_source_text(const struct config_reading *r, const struct config_row *row,
                        const struct config_value *v, char *to, size_t size);

#endif

/*
 * terms.h - what a connection's settings say, kept once for all connections that say the same.
 *
 * A hundred thousand accounts of one provider have the same settings, byte for byte. Each record's
 * keyed hash is checked (it binds the settings to that one connection); the text is parsed and its
 * digest taken only where no connection of late had the same.
 *
 * Owns    the parsed settings, as long as somebody holds them, and a small table of those used
 *         last.
 * Thread  the loop thread only.
 * Errors  connection_broken; config for settings that cannot be parsed.
 */
#ifndef AWQ_TERMS_H
#define AWQ_TERMS_H

#include "common/connection.h"

struct terms { /* shared: nobody changes them */
    struct connection_cfg *cfg;
    char cd[65]; /* digest of the settings */
    /* private */
    char *json;
    size_t json_len;
    unsigned refs;
};

struct terms_table;
struct terms_table *terms_table_new(void); /* NULL when out of memory */
void terms_table_free(struct terms_table *t);

/* The settings of a record whose place is (prefix, id), checked, with a reference. NULL and *err.
 */
struct terms *terms_of(struct terms_table *t, const struct connection_record *r,
                       const struct keyring *k, struct slice prefix, struct slice id,
                       struct err *err);
struct terms *terms_ref(struct terms *terms);
void terms_unref(struct terms *terms); /* NULL is fine */

#endif

/*
 * acl.h - who may do what in Redis: the rights of awq's roles, as a line of its ACL file.
 * Owns    the table of roles, places and commands. Who reads or writes a place that key.h names, in
 *         C or in a script, has a row there: the tests run as these users, and nothing else is let.
 * Thread  any.
 * Errors  acl_line: false when the buffer is full.
 * Source  redis.io "ACL": a command passes when the user's own rules, or one selector (7.0), let
 *         both it and all its keys and channels; commands inside a script are looked at one by one,
 *         and the script's call as a whole by the keys that it declares.
 */
#ifndef AWQ_ACL_H
#define AWQ_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include "common/buf.h"
#include "common/slice.h"

enum acl_role { ACL_WORKER, ACL_CTL, ACL_PRODUCER, ACL_READER, ACL_INBOX, ACL_ROLES };

struct acl_row {
    const char *keys;     /* glob patterns without the prefix, a space between; "" = no key */
    const char *channels; /* the same, or NULL */
    const char *commands; /* "xadd xgroup|create" */
    unsigned is;
};

/* What a row is. */
#define ACL_SCRIPT 1u /* its keys are declared by scripts of this role */
#define ACL_READS  2u /* they are only read, and declared by none */
#define ACL_FREE   4u /* not for a producer of some queues: it would lead to the others */

struct acl_options {
    int redis;           /* 6: one set of rules, where each command goes for each key; 7: exactly */
    struct slice user;   /* empty = PREFIX-ROLE */
    struct slice sha256; /* hex of the password's; empty = none: nobody gets in as this user yet */
    struct slice queues; /* producer: names with commas between; empty = all */
    struct slice inbox;  /* inbox: the producer's name; empty = any */
    struct slice out;    /* reader: the result stream; empty = all */
};

const char *acl_role_name(enum acl_role r);
bool acl_role_parse(struct slice name, enum acl_role *out);
/* The rows of a role; the count. */
size_t acl_rows(enum acl_role r, const struct acl_row **rows);
/* "user NAME reset on ...", one line without its end. */
bool acl_line(enum acl_role r, const struct acl_options *o, struct buf *out);

#endif

/*
 * accounts.h - the clients that may ask for tokens, the accounts they act for,
 * and what each of them did, counted.
 * Owns    clients and accounts; pointers to them are good until accounts_reset
 *         (accounts) or accounts_deinit (clients). A secret is kept as a hash only.
 * Thread  the loop thread only.
 * Units   access_ttl_s in seconds.
 * Errors  ERR_FORMAT for a name or a setting that is wrong, ERR_NOMEM when full.
 * Source  RFC 6749 sections 2.1 (client types) and 2.3 (client authentication).
 */
#ifndef AWQ_SANDBOX_ACCOUNTS_H
#define AWQ_SANDBOX_ACCOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/json.h"
#include "common/slice.h"
#include "tools/sandbox/table.h"

#define NAME_MAX_BYTES    128
#define SECRET_HASH_BYTES 32
#define ACCESS_TTL_MAX_S  (10 * 365 * 86400LL)

enum scope {
    SCOPE_READ = 1,
    SCOPE_WRITE = 2,
    SCOPE_ALL = SCOPE_READ | SCOPE_WRITE,
};

enum client_auth {
    CLIENT_AUTH_SECRET, /* basic or post, as the client likes */
    CLIENT_AUTH_BASIC,
    CLIENT_AUTH_POST,
    CLIENT_AUTH_NONE, /* a public client: it has no secret */
};

enum counter {
    COUNT_TOKEN_ARRIVED,
    COUNT_TOKEN_OK,
    COUNT_TOKEN_REFUSED,
    COUNT_TOKEN_FAULTS, /* answered by a fault switch, nothing issued */
    COUNT_RENEWALS,     /* versions that came after a first one */
    COUNT_VERSIONS,     /* access tokens issued */
    COUNT_GRANTS_MINTED,
    COUNT_GRANTS_KILLED,
    COUNT_REUSE_DETECTED,
    COUNT_API_ARRIVED,
    COUNT_API_OK,
    COUNT_API_401,
    COUNT_API_403,
    COUNT_API_4XX, /* other ones */
    COUNT_API_5XX,
    COUNT_DROPPED, /* links closed in place of an answer */
    COUNTERS,
};

struct client {
    char id[NAME_MAX_BYTES + 1];
    unsigned char secret_hash[SECRET_HASH_BYTES];
    enum client_auth auth;
    unsigned scopes;
    int64_t access_ttl_s;
};

struct account {
    const struct client *client;
    char name[NAME_MAX_BYTES + 1]; /* empty: the client itself (client_credentials) */
    uint64_t counts[COUNTERS];
};

struct accounts {
    struct table client_table;
    struct table account_table;
    struct account **list; /* in the order they came */
    size_t list_count, list_size;
    uint64_t totals[COUNTERS];
};

void accounts_init(struct accounts *a);
void accounts_deinit(struct accounts *a);
void accounts_reset(struct accounts *a); /* accounts and counters; clients stay */

/* Add a client, or change the one of that id. secret is not looked at with CLIENT_AUTH_NONE. */
bool client_set(struct accounts *a, struct slice id, struct slice secret, enum client_auth auth,
                unsigned scopes, int64_t access_ttl_s, struct err *err);
const struct client *client_find(const struct accounts *a, struct slice id); /* NULL: none */
bool client_secret_matches(const struct client *c, struct slice secret);

/* The account of that name, made at first sight; NULL with *err when there are too many. */
struct account *account_get(struct accounts *a, const struct client *client, struct slice name,
                            struct err *err);

/* Count in the totals and, where it is known (not NULL), for the account. */
void account_count(struct accounts *a, struct account *account, enum counter what);
void accounts_write_counters(const uint64_t counts[COUNTERS], struct json_writer *w);

/* "read write" both ways; false: a word that is no scope. No text gives all of dflt. */
bool scopes_read(struct slice text, unsigned dflt, unsigned *scopes);
const char *scopes_text(unsigned scopes);
#endif

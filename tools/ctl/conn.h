/*
 * conn.h - awq-ctl conn: what its files share.
 * Owns    nothing.
 * Thread  the only one.
 */
#ifndef AWQ_CTL_CONN_H
#define AWQ_CTL_CONN_H

#include "common/connection.h"
#include "tools/ctl/ctl.h"

struct client_cert;
struct redis_reply;

int conn_apply(struct ctl *c, const struct args *args); /* flags: --file, --relink */
/* The account was linked by its owner: store it, unless its settings (digest cd) changed meanwhile.
 * The file's secrets are sealed; it stays the caller's. */
#define CONN_NOBODY_ANSWERED "nobody answered in time; nothing was stored. Run conn link again"
struct linked_token { /* that came with the grant; access: as access.h has it, "" = none */
    struct slice access, scope;
    int64_t lifetime_ms, answered_ms; /* from when it counts, by our clock */
};
/* A Redis that is away is asked again until until_ms (clock_boot_ms). False and *err; ERR_UNKNOWN:
 * it may have been stored. */
bool conn_apply_linked(struct ctl *c, const struct connection_file *linked,
                       const struct linked_token *token, const char *cd, uint64_t gen,
                       int64_t until_ms, struct err *err);
#define CONN_LINK_FLAGS 4
extern const struct flag conn_link_flags[CONN_LINK_FLAGS];
int conn_link(struct ctl *c, const struct args *args); /* conn_link.c */
extern const struct flag conn_explain_flags[2];
int conn_explain(struct ctl *c, const struct args *args);
/* A connection file with its profile filled in; profiles: the folder, NULL = the usual one. */
#define CONN_PROFILES_FLAG                                                                         \
    {                                                                                              \
        "--profiles", NULL, "DIR", "folder of provider profiles (default: AWQ_PROFILES, or ours)"  \
    }
bool conn_read_file(struct ctl *c, struct connection_file *file, const char *path,
                    const char *profiles, struct err *err);
extern const struct flag conn_discover_flags[4];
int conn_discover(struct ctl *c, const struct args *args);
extern const struct flag conn_register_flags[8];
int conn_register(struct ctl *c, const struct args *args);
int conn_test(struct ctl *c, const struct args *args);

/* conn_switch.c */
extern const struct flag conn_switch_flags[1];
int conn_disable(struct ctl *c, const struct args *args);
int conn_enable(struct ctl *c, const struct args *args);
int conn_revoke(struct ctl *c, const struct args *args);
int conn_rm(struct ctl *c, const struct args *args);
/* Count up the revision that workers compare what they know with. */
int conn_announce_change(struct ctl *c);

/* conn_introspect.c: what the server says of the access token, as a line of conn test. */
struct checks;
void conn_introspect(struct ctl *c, const struct connection_cfg *cfg, struct slice id,
                     const struct connection_record *rec, struct checks *checks);

/* conn_discover.c: does the issuer, where the settings name one, publish the addresses that they
 * have? Lines of conn test. */
void conn_compare(struct ctl *c, const struct connection_cfg *cfg, struct checks *checks);

/* conn_scopes.c: does its token have the scopes that its settings ask for? A line of conn test. */
void conn_check_scopes(const struct connection_cfg *cfg, const struct connection_record *rec,
                       struct checks *checks);
/* What brings the scopes of its settings into force. */
const char *conn_scopes_cure(const struct connection_cfg *cfg);

/* conn_renewal.c: is a renewal under way? */
struct renewal_now {
    bool under_way;
    int64_t waited_ms;
    char text[512]; /* "worker X has waited 6 s for the token endpoint HOST" */
};
int conn_renewal(struct ctl *c, const struct connection_record *rec,
                 const struct connection_cfg *cfg, struct renewal_now *now);

/* Ask the workers for a new access token now. */
int conn_ask(struct ctl *c, struct slice id);

/* Redis' answer to connection_record_ask, for connection_record_read; NULL and *err on failure. */
struct redis_reply *conn_fetch(struct ctl *c, struct slice id, struct err *err);
/* The record of a connection, or CTL_NOT_FOUND said already; *reply holds its texts. A removed one
 * counts as not there. */
int conn_read(struct ctl *c, struct slice id, struct connection_record *rec,
              struct redis_reply **reply);

/* Its TLS client certificate, opened (`tk`, conn_open); *cert stays NULL when it has none. */
bool conn_open_cert(struct ctl *c, struct slice id, const struct connection_record *rec,
                    struct client_cert **cert, struct err *err);

/* What is sealed in a record (at, dk, tk, rt, cs), opened; an empty field stays empty. */
bool conn_open(struct ctl *c, struct slice id, const struct connection_record *rec,
               enum key_kind kind, const char *field, struct buf *to, struct err *err);

/* conn_provider.c: what was forgotten here is revoked there (RFC 7009). `had`: the answer of
 * revoke.lua or remove.lua. Says how it went; CTL_PARTIAL when it did not. */
int conn_tell_provider(struct ctl *c, struct slice id, const struct redis_reply *had);
/* The same of tokens that were never stored. False and *err. */
bool conn_revoke_unstored(struct ctl *c, const struct connection_file *linked,
                          struct client_cert *cert, struct slice access, struct err *err);

#endif

/*
 * connection_inside.h - what the files that read and write a connection's settings share.
 * Owns    nothing; what is read goes into the block of settings being made.
 * Thread  any.
 * Errors  ERR_FORMAT connection_broken; a name behind the last is "unknown".
 */
#ifndef AWQ_CONNECTION_INSIDE_H
#define AWQ_CONNECTION_INSIDE_H

#include "common/client_cert.h"
#include "common/connection.h"
#include "common/json.h"
#include "common/yaml.h"

#define CONNECTION_SECRET_MAX 16384 /* bytes of a secret that a file names */
#define BREAKER_DEFAULT       10
#define ASSERTION_MS_DEFAULT  60000
#define RATE_UNITS            4
#define CFG_LIST_MAX          256
#define CFG_SLICES_MAX        (3 * CFG_LIST_MAX) /* of all lists together */
#define CFG_TEXT_MAX          1024               /* of ids and the like */
#define CFG_URL_MAX           2048

#define GRANT_NAMES                                                                                \
    "client_credentials, refresh_token, authorization_code, device_code, jwt_bearer, "             \
    "saml2_bearer, token_exchange or password"

const char *connection_grant_name(int i);
const char *connection_auth_name(int i);
const char *connection_replay_name(int i);

/* ERR_FORMAT connection_broken: the setting, by its place in a connection's file, and what is wrong
 * with it. */
bool connection_wrong(const char *setting, const char *why, struct err *err);
/* The same of one entry: "api.headers.Host ..." of a map, "policy.hosts: a/b ..." of a list. */
enum entry_of { OF_MAP, OF_LIST };
bool connection_wrong_entry(struct cfg_fault *at, enum entry_of of, struct slice entry,
                            const char *why, struct err *err);
const char *connection_in_file(const char *setting); /* its place in a connection's file */
/* connection_check.c: false and *at when settings, each good by itself, do not go together. */
bool connection_check(const struct connection_cfg *c, struct cfg_fault *at, struct err *err);
/* A URL that awq may call: https, or http where the policy says so. */
bool connection_check_url(const struct connection_cfg *c, const char *setting, struct slice url,
                          struct err *err);
/* profile_check.c: the same for its profile. */
bool profile_check(const struct connection_cfg *c, struct cfg_fault *at, struct err *err);

struct rate_unit {
    char letter;
    int64_t ms;
};
extern const struct rate_unit connection_rate_units[RATE_UNITS]; /* longest first */

/* ---- reading (connection_value.c) ---- */

/* Settings, their lists and their texts are one block. No text is longer than its JSON spelling
 * with the quotes, so a copy with its NUL always fits. */
struct cfg_reader {
    struct connection_cfg *cfg;
    struct slice *slices;     /* CFG_SLICES_MAX */
    struct name_value *pairs; /* PROFILE_PAIRS_MAX */
    size_t slices_used, pairs_used;
    char *text;           /* where the next copy goes */
    struct cfg_fault *at; /* being read, for messages */
    struct slice entry;   /* of a map or list being read; "" = none */
    enum entry_of of;
    bool said_auth;
    struct err *err;
};
bool cfg_wrong(struct cfg_reader *r, const char *why); /* false */
bool cfg_text(struct cfg_reader *r, const struct json_val *v, size_t max, struct slice *to);
bool cfg_text_or_none(struct cfg_reader *r, const struct json_val *v, size_t max, struct slice *to);
/* unit: of which the file counts one, so that the bounds are said in it. */
bool cfg_int(struct cfg_reader *r, const struct json_val *v, int64_t unit, int64_t min, int64_t max,
             int64_t *to);
bool cfg_bool(struct cfg_reader *r, const struct json_val *v, bool *to);
/* name: of the i-th value; "unknown" behind the last. */
bool cfg_name(struct cfg_reader *r, const struct json_val *v, const char *(*name)(int i),
              const char *allowed, int *to);
/* A check may rewrite its text, or cut it. Sorted, and nothing twice. */
typedef bool cfg_item_check(struct cfg_reader *r, char *s, size_t *len);
bool cfg_list(struct cfg_reader *r, const struct json_val *v, size_t max_bytes,
              cfg_item_check *check, struct slice **list, size_t *count);
/* A list that is kept as one text of words: their order does not matter. */
bool cfg_words(struct cfg_reader *r, const struct json_val *v, bool (*is_word)(struct slice),
               const char *wrong_word, struct slice *to);
/* Name to text; sorted by name. */
bool cfg_pairs(struct cfg_reader *r, const struct json_val *v, struct name_map *to);

/* ---- a connection's file, by its parts (`path`: names in it are relative to it) ---- */

/* The certificate and its key, packed; x5t: its thumbprint, which the settings have. "" = none. */
bool connection_file_tls(struct connection_file *f, const char *path, const struct yaml_node *root,
                         char x5t[CLIENT_CERT_X5T_CHARS + 1], struct err *err);
struct connection_cfg *connection_file_settings(const struct yaml_node *root, const char *x5t,
                                                struct err *err);
bool connection_file_secrets(struct connection_file *f, const char *path,
                             const struct yaml_node *root, struct err *err);

/* ---- the profile's members (profile_members.c) ---- */

enum profile_kind {
    PROFILE_TEXT,  /* struct slice */
    PROFILE_MAYBE, /* the same; may be empty */
    PROFILE_PATH,  /* the same: a path in an answer */
    PROFILE_OFF,   /* bool: true when it says false */
    PROFILE_NAME,  /* an enum, by names */
    PROFILE_PAIRS, /* struct name_map */
    PROFILE_WORDS, /* struct word_list */
    PROFILE_SIGNALS,
};
struct profile_member {
    const char *place; /* in a connection's file, and in its settings */
    enum profile_kind kind;
    size_t at; /* in struct profile */
    const char *const *names;
};
#define PROFILE_MEMBERS 57
extern const struct profile_member profile_members[PROFILE_MEMBERS];
/* False when it is none of the profile's, or with *err. */
bool profile_read(struct cfg_reader *r, struct slice key, const struct json_val *v, bool *known);
/* What a renewal does not say is as in any other token request; what GET implies. */
void profile_inherit(struct profile *p);
void profile_write(struct json_writer *w, const struct profile *p);
bool profile_said(const struct profile *p, const char *place);
struct slice profile_signal_number(size_t i); /* its name in messages, from "1" */

#endif

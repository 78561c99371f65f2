/*
 * profile.h - how a provider's OAuth 2.0 differs from the standards: a part of a connection's
 * settings, most often read from a profile file (deploy/providers/).
 * Owns    nothing: all of it borrows from the settings that it is a part of.
 * Thread  any.
 * Units   milliseconds, where nothing else is said.
 * Errors  ERR_FORMAT connection_broken, by connection_cfg_parse.
 * Source  deploy/providers/README.md, for what each member means. Zeroed, it is the standards:
 *         RFC 6749 sections 4.1.3, 5.1, 6; RFC 6750 section 2.1; RFC 7636.
 */
#ifndef AWQ_PROFILE_H
#define AWQ_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/slice.h"

#define PROFILE_PAIRS_MAX   192 /* of all its maps together */
#define PROFILE_SIGNALS_MAX 8
#define PROFILE_TOKENS_MAX  8
#define PROFILE_HEADERS_MAX 16 /* of one kind of request */

struct buf;

struct name_value {
    struct slice name, value;
};
struct name_map {
    const struct name_value *at;
    size_t count;
};
struct word_list {
    const struct slice *at;
    size_t count;
};
/* The value of that name, or NULL. */
const struct slice *name_map_find(const struct name_map *p, struct slice name);
bool word_list_has(const struct word_list *w, struct slice word);

enum request_body { REQUEST_FORM, REQUEST_JSON, REQUEST_QUERY /* all in the URL */ };
enum request_method { REQUEST_POST, REQUEST_GET };

/* What becomes of the parameters that a standard asks for. */
struct request_shape {
    enum request_method method;
    enum request_body body;
    struct name_map params;  /* more of them, or others in place of the standard ones */
    struct name_map rename;  /* of the standard ones */
    struct word_list omit;   /* of the standard ones */
    struct name_map headers; /* beside them */
};

enum answer_format { ANSWER_JSON, ANSWER_FORM };
enum expiry_kind {
    EXPIRY_SECONDS, /* from now: expires_in */
    EXPIRY_MILLISECONDS,
    EXPIRY_MINUTES,
    EXPIRY_EPOCH, /* a time: seconds since 1970 */
    EXPIRY_EPOCH_MS,
    EXPIRY_DATE,  /* a time: RFC 3339 */
    EXPIRY_NEVER, /* whatever it says, or does not say */
    EXPIRY_FIXED, /* token.default_lifetime_s, whatever it says */
};

/* Where a token answer has what. Paths: names of members and positions in lists, with dots between;
 * "" = where the standard has it. */
struct answer_shape {
    enum answer_format format;
    struct slice access_token, refresh_token, scope, expiry, error;
    struct slice token_type; /* "any" = not looked at */
    struct slice scope_separator;
    enum expiry_kind expiry_kind;
    struct slice success_at, success_is; /* path, and what stands there when it went well */
    struct word_list refused, transient; /* error codes of its own */
    struct name_map tokens;              /* name -> path: more tokens in the same answer */
};

enum token_place { TOKEN_IN_HEADER, TOKEN_IN_QUERY, TOKEN_IN_COOKIE };
struct api_shape {
    struct slice base_url; /* of calls whose url begins with "/"; may have {answer.PATH} */
    enum token_place token_in;
    struct slice token_name; /* of the header, parameter or cookie; "" = Authorization */
    struct slice token_scheme;
    bool has_scheme; /* token_scheme counts, also when it is "" */
    struct name_map headers;
};

enum wait_kind { WAIT_SECONDS, WAIT_MILLISECONDS, WAIT_EPOCH, WAIT_EPOCH_MS };
struct limit_signal {           /* an answer for which all that is given holds says: too much */
    int status;                 /* 0 = any */
    struct slice header, value; /* value "" = that it is there */
    struct slice body;          /* a text in its first PROFILE_BODY_LOOK bytes */
    struct slice wait_header;   /* for how long */
    enum wait_kind wait_kind;
};
#define PROFILE_BODY_LOOK   65536
#define PROFILE_LINKED_BASE "base_url" /* in callback */

struct profile {
    struct slice name; /* "" = none: all of it stands in the connection's file */
    bool no_pkce;
    bool not_renewed; /* the token of the link is used until it ends or is refused */
    struct slice scope_separator, redirect_uri, refresh_url;
    struct request_shape authorize, token, refresh;
    struct slice chain_url; /* "" = the code's answer is what is kept */
    struct request_shape chain;
    struct answer_shape answer, chain_answer;
    struct api_shape api;
    struct name_map callback; /* what the redirect brought beside the code, as base_url wants it;
                                 and what base_url was for the token of the link */
    struct limit_signal signals[PROFILE_SIGNALS_MAX];
    size_t signal_count;
    uint64_t said; /* private: which of its members were given */
};

/* Has a member been given? Only then it is written. */
void profile_say(struct profile *p, const char *place, bool given);
/* Adds what it says in one of its maps ("answer.", "limits."), as JSON; nothing when it says
 * nothing there. */
bool profile_map(struct buf *out, const struct profile *p, const char *map);
/* Does its base_url come with each token? */
bool profile_base_is_answered(const struct profile *p);

#endif

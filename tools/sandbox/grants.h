/*
 * grants.h - what the authorization server has handed out: grants with their
 * current refresh token, and access tokens.
 * Owns    grants and access tokens, until grants_reset. No token is kept, only its hash.
 * Thread  the loop thread only.
 * Units   now_ms is clock_boot_ms; lifetimes in seconds.
 * Errors  ERR_NOMEM when a bound is reached; nothing has changed then.
 * Source  RFC 6749 section 6; RFC 9700 section 4.14.2: a refresh token is
 *         replaced at each use, and one that is used again ends its grant.
 */
#ifndef AWQ_SANDBOX_GRANTS_H
#define AWQ_SANDBOX_GRANTS_H

#include <stdbool.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"
#include "tools/sandbox/accounts.h"
#include "tools/sandbox/table.h"

#define TOKEN_TEXT_MAX 80

struct token_text { /* wipe it with sodium_memzero once it was sent */
    char text[TOKEN_TEXT_MAX];
};

struct grant;

struct access {
    struct account *account;
    unsigned scopes;
    int64_t expires_ms;        /* by the boot clock */
    const struct grant *grant; /* NULL: client_credentials */
};

struct grants {
    struct table grant_table;
    struct table access_table;
    int64_t swept_ms; /* when expired access tokens were last looked for */
};

enum refresh_state {
    REFRESH_CURRENT,
    REFRESH_UNKNOWN, /* not ours, or of another client */
    REFRESH_REUSED,  /* it was ours and has been replaced: grant_kill is called for */
    REFRESH_DEAD,    /* its grant has ended */
};

enum access_state {
    ACCESS_GOOD,
    ACCESS_UNKNOWN,
    ACCESS_EXPIRED,
    ACCESS_REVOKED, /* its grant has ended */
};

void grants_init(struct grants *g);
void grants_reset(struct grants *g); /* also the end of it: nothing else is held */

/* A new grant for an account, as if its owner had just consented. */
bool grants_mint(struct grants *g, struct account *account, unsigned scopes, int64_t access_ttl_s,
                 struct token_text *refresh, struct err *err);

enum refresh_state grants_find(const struct grants *g, const struct client *client,
                               struct slice refresh, struct grant **out);
struct account *grant_account(const struct grant *grant);
unsigned grant_scopes(const struct grant *grant);
int64_t grant_access_ttl_s(const struct grant *grant);
bool grant_kill(struct grant *grant);                                      /* false: was dead */
unsigned grants_kill_all(struct grants *g, const struct account *account); /* how many died */

/* Replace the refresh token and issue an access token with these scopes. */
bool grants_renew(struct grants *g, struct grant *grant, unsigned scopes, int64_t now_ms,
                  struct token_text *access, struct token_text *refresh, struct err *err);

/* An access token alone; grant may be NULL. */
bool grants_issue(struct grants *g, struct account *account, const struct grant *grant,
                  unsigned scopes, int64_t access_ttl_s, int64_t now_ms, struct token_text *access,
                  struct err *err);

/* *out is NULL with ACCESS_UNKNOWN. An expired token is known until its memory is needed. */
enum access_state grants_check(const struct grants *g, struct slice token, int64_t now_ms,
                               const struct access **out);
#endif

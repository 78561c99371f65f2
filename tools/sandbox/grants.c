#include "tools/sandbox/grants.h"

#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#define GRANTS_MAX     100000
#define ACCESS_MAX     200000
#define SWEEP_EVERY_MS 1000 /* a full table of good tokens is not searched at each request */

#define ACCESS_BYTES 32
#define HASH_BYTES   32

struct grant {
    struct table_key key;
    struct account *account;
    unsigned scopes;
    int64_t access_ttl_s;
    bool dead;
    unsigned char current[HASH_BYTES]; /* of the one refresh token that may be used */
};

/*
 * A refresh token names its grant, as RFC 9700 section 4.14.2 suggests: any earlier one then
 * leads to the grant it must end, without a list of all that ever were. Its tag keeps anybody
 * from making up one that ends a stranger's grant.
 */
struct refresh_token {
    unsigned char grant[TABLE_KEY_BYTES];
    unsigned char random[16];
    unsigned char tag[16];
};

static unsigned char tag_key[crypto_generichash_KEYBYTES];

void grants_init(struct grants *g)
{
    *g = (struct grants){0};
    table_init(&g->grant_table, GRANTS_MAX);
    table_init(&g->access_table, ACCESS_MAX);
    randombytes_buf(tag_key, sizeof tag_key);
}

static void grant_free(void *grant)
{
    sodium_memzero(grant, sizeof(struct grant));
    free(grant);
}

void grants_reset(struct grants *g)
{
    table_clear(&g->access_table, free);
    table_clear(&g->grant_table, grant_free);
}

static void text_of(const void *bytes, size_t len, struct token_text *out)
{
    sodium_bin2base64(out->text, sizeof out->text, bytes, len,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

/* ---- refresh tokens ---- */

static void tag_make(const struct refresh_token *t, unsigned char tag[16])
{
    crypto_generichash(tag, 16, t->grant, sizeof t->grant + sizeof t->random, tag_key,
                       sizeof tag_key);
}

static void refresh_hash(const struct refresh_token *t, unsigned char hash[HASH_BYTES])
{
    crypto_generichash(hash, HASH_BYTES, (const unsigned char *)t, sizeof *t, NULL, 0);
}

static void refresh_make(const struct table_key *grant, unsigned char hash[HASH_BYTES],
                         struct token_text *out)
{
    struct refresh_token t;

    memcpy(t.grant, grant->bytes, sizeof t.grant);
    randombytes_buf(t.random, sizeof t.random);
    tag_make(&t, t.tag);
    refresh_hash(&t, hash);
    text_of(&t, sizeof t, out);
    sodium_memzero(&t, sizeof t);
}

static bool refresh_read(struct slice text, struct refresh_token *t)
{
    unsigned char tag[16];
    size_t len = 0;

    if (sodium_base642bin((unsigned char *)t, sizeof *t, text.ptr, text.len, NULL, &len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
        len != sizeof *t)
        return false;
    tag_make(t, tag);
    return sodium_memcmp(tag, t->tag, sizeof tag) == 0;
}

bool grants_mint(struct grants *g, struct account *account, unsigned scopes, int64_t access_ttl_s,
                 struct token_text *refresh, struct err *err)
{
    struct grant *grant = calloc(1, sizeof *grant);
    struct table_key key;

    randombytes_buf(key.bytes, sizeof key.bytes);
    if (!grant || !table_put(&g->grant_table, &key, grant)) {
        free(grant);
        return err_set(err, ERR_NOMEM, "no room for another grant (%d at most)", GRANTS_MAX);
    }
    grant->key = key;
    grant->account = account;
    grant->scopes = scopes;
    grant->access_ttl_s = access_ttl_s;
    refresh_make(&key, grant->current, refresh);
    return true;
}

static enum refresh_state refresh_state_of(const struct grant *grant, const struct refresh_token *t)
{
    unsigned char hash[HASH_BYTES];

    if (grant->dead)
        return REFRESH_DEAD;
    refresh_hash(t, hash);
    return sodium_memcmp(hash, grant->current, sizeof hash) == 0 ? REFRESH_CURRENT : REFRESH_REUSED;
}

enum refresh_state grants_find(const struct grants *g, const struct client *client,
                               struct slice refresh, struct grant **out)
{
    enum refresh_state state = REFRESH_UNKNOWN;
    struct grant *grant = NULL;
    struct refresh_token t;
    struct table_key key;

    *out = NULL;
    if (refresh_read(refresh, &t)) {
        memcpy(key.bytes, t.grant, sizeof key.bytes);
        grant = table_get(&g->grant_table, &key);
    }
    if (grant && grant->account->client == client) {
        state = refresh_state_of(grant, &t);
        *out = grant;
    }
    sodium_memzero(&t, sizeof t);
    return state;
}

struct account *grant_account(const struct grant *grant)
{
    return grant->account;
}

unsigned grant_scopes(const struct grant *grant)
{
    return grant->scopes;
}

int64_t grant_access_ttl_s(const struct grant *grant)
{
    return grant->access_ttl_s;
}

/* Its access tokens end with it: grants_check looks here. */
bool grant_kill(struct grant *grant)
{
    bool was_alive = !grant->dead;

    grant->dead = true;
    return was_alive;
}

unsigned grants_kill_all(struct grants *g, const struct account *account)
{
    unsigned killed = 0;

    for (size_t i = 0; i < g->grant_table.size; i++) {
        struct grant *grant = g->grant_table.slots[i].value;

        if (grant && grant->account == account && grant_kill(grant))
            killed++;
    }
    return killed;
}

/* ---- access tokens ---- */

static bool access_is_over(const void *value, void *now_ms)
{
    const struct access *a = value;

    return a->expires_ms <= *(int64_t *)now_ms || (a->grant && a->grant->dead);
}

static bool access_make_room(struct grants *g, int64_t now_ms)
{
    if (table_is_full(&g->access_table) && now_ms - g->swept_ms >= SWEEP_EVERY_MS) {
        g->swept_ms = now_ms;
        table_sweep(&g->access_table, access_is_over, &now_ms, free);
    }
    return !table_is_full(&g->access_table);
}

bool grants_issue(struct grants *g, struct account *account, const struct grant *grant,
                  unsigned scopes, int64_t access_ttl_s, int64_t now_ms, struct token_text *access,
                  struct err *err)
{
    struct access *a = access_make_room(g, now_ms) ? malloc(sizeof *a) : NULL;
    unsigned char bytes[ACCESS_BYTES];
    struct table_key key;
    struct slice text;

    if (a)
        *a = (struct access){account, scopes, now_ms + access_ttl_s * 1000, grant};
    randombytes_buf(bytes, sizeof bytes);
    text_of(bytes, sizeof bytes, access);
    sodium_memzero(bytes, sizeof bytes);
    text = slice_cstr(access->text);
    key = table_key(&text, 1);
    if (!a || !table_put(&g->access_table, &key, a)) {
        free(a);
        sodium_memzero(access, sizeof *access);
        return err_set(err, ERR_NOMEM, "no room for another access token (%d at most)", ACCESS_MAX);
    }
    return true;
}

enum access_state grants_check(const struct grants *g, struct slice token, int64_t now_ms,
                               const struct access **out)
{
    struct table_key key = table_key(&token, 1);
    const struct access *a = table_get(&g->access_table, &key);

    *out = a;
    if (!a)
        return ACCESS_UNKNOWN;
    if (a->grant && a->grant->dead)
        return ACCESS_REVOKED;
    return a->expires_ms <= now_ms ? ACCESS_EXPIRED : ACCESS_GOOD;
}

bool grants_renew(struct grants *g, struct grant *grant, unsigned scopes, int64_t now_ms,
                  struct token_text *access, struct token_text *refresh, struct err *err)
{
    if (!grants_issue(g, grant->account, grant, scopes, grant->access_ttl_s, now_ms, access, err))
        return false;
    refresh_make(&grant->key, grant->current, refresh);
    return true;
}

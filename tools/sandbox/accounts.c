#include "tools/sandbox/accounts.h"

#include <stdlib.h>
#include <string.h>
#include <sodium.h>

#define CLIENTS_MAX  10000
#define ACCOUNTS_MAX 10000

static const char *const counter_names[COUNTERS] = {
    [COUNT_TOKEN_ARRIVED] = "token_arrived",
    [COUNT_TOKEN_OK] = "token_ok",
    [COUNT_TOKEN_REFUSED] = "token_refused",
    [COUNT_TOKEN_FAULTS] = "token_faults",
    [COUNT_RENEWALS] = "renewals",
    [COUNT_VERSIONS] = "versions",
    [COUNT_GRANTS_MINTED] = "grants_minted",
    [COUNT_GRANTS_KILLED] = "grants_killed",
    [COUNT_REUSE_DETECTED] = "reuse_detected",
    [COUNT_API_ARRIVED] = "api_arrived",
    [COUNT_API_OK] = "api_ok",
    [COUNT_API_401] = "api_401",
    [COUNT_API_403] = "api_403",
    [COUNT_API_4XX] = "api_4xx",
    [COUNT_API_5XX] = "api_5xx",
    [COUNT_DROPPED] = "dropped",
};

void accounts_init(struct accounts *a)
{
    *a = (struct accounts){0};
    table_init(&a->client_table, CLIENTS_MAX);
    table_init(&a->account_table, ACCOUNTS_MAX);
}

void accounts_reset(struct accounts *a)
{
    table_clear(&a->account_table, free);
    free(a->list);
    a->list = NULL;
    a->list_count = a->list_size = 0;
    memset(a->totals, 0, sizeof a->totals);
}

void accounts_deinit(struct accounts *a)
{
    accounts_reset(a);
    table_clear(&a->client_table, free);
}

/* ---- clients ---- */

static void secret_hash(struct slice secret, unsigned char hash[SECRET_HASH_BYTES])
{
    crypto_generichash(hash, SECRET_HASH_BYTES, (const unsigned char *)secret.ptr, secret.len, NULL,
                       0);
}

static bool name_check(struct slice name, size_t min, const char *what, struct err *err)
{
    if (name.len < min || name.len > NAME_MAX_BYTES)
        return err_set(err, ERR_FORMAT, "%s has %zu to %d bytes", what, min, NAME_MAX_BYTES);
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < 0x20 || name.ptr[i] > 0x7e) /* VSCHAR, RFC 6749 appendix A */
            return err_set(err, ERR_FORMAT, "%s is made of printable ASCII", what);
    }
    return true;
}

static bool settings_check(struct slice id, struct slice secret, enum client_auth auth,
                           int64_t access_ttl_s, struct err *err)
{
    if (!name_check(id, 1, "a client id", err))
        return false;
    if (auth != CLIENT_AUTH_NONE && !name_check(secret, 1, "a client secret", err))
        return false;
    if (access_ttl_s < 1 || access_ttl_s > ACCESS_TTL_MAX_S)
        return err_set(err, ERR_FORMAT, "an access token lives 1 to %lld seconds",
                       ACCESS_TTL_MAX_S);
    return true;
}

static struct client *client_make(struct accounts *a, struct slice id, struct err *err)
{
    struct table_key key = table_key(&id, 1);
    struct client *c = table_get(&a->client_table, &key);

    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (!c || !table_put(&a->client_table, &key, c)) {
        free(c);
        err_set(err, ERR_NOMEM, "no room for another client (%d at most)", CLIENTS_MAX);
        return NULL;
    }
    slice_copy(id, c->id, sizeof c->id);
    return c;
}

bool client_set(struct accounts *a, struct slice id, struct slice secret, enum client_auth auth,
                unsigned scopes, int64_t access_ttl_s, struct err *err)
{
    struct client *c;

    if (!settings_check(id, secret, auth, access_ttl_s, err))
        return false;
    c = client_make(a, id, err);
    if (!c)
        return false;
    if (auth != CLIENT_AUTH_NONE)
        secret_hash(secret, c->secret_hash);
    c->auth = auth;
    c->scopes = scopes;
    c->access_ttl_s = access_ttl_s;
    return true;
}

const struct client *client_find(const struct accounts *a, struct slice id)
{
    struct table_key key = table_key(&id, 1);

    return table_get(&a->client_table, &key);
}

bool client_secret_matches(const struct client *c, struct slice secret)
{
    unsigned char hash[SECRET_HASH_BYTES];

    secret_hash(secret, hash);
    return sodium_memcmp(hash, c->secret_hash, sizeof hash) == 0;
}

/* ---- accounts ---- */

static bool list_reserve(struct accounts *a)
{
    size_t size = a->list_size ? a->list_size * 2 : 16;
    struct account **list;

    if (a->list_count < a->list_size)
        return true;
    list = realloc(a->list, size * sizeof *list);
    if (!list)
        return false;
    a->list = list;
    a->list_size = size;
    return true;
}

struct account *account_get(struct accounts *a, const struct client *client, struct slice name,
                            struct err *err)
{
    struct slice parts[2] = {slice_cstr(client->id), name};
    struct table_key key = table_key(parts, ARRAY_LEN(parts));
    struct account *account = table_get(&a->account_table, &key);

    if (account)
        return account;
    if (!name_check(name, 0, "an account", err))
        return NULL;
    account = list_reserve(a) ? calloc(1, sizeof *account) : NULL;
    if (!account || !table_put(&a->account_table, &key, account)) {
        free(account);
        err_set(err, ERR_NOMEM, "no room for another account (%d at most)", ACCOUNTS_MAX);
        return NULL;
    }
    account->client = client;
    slice_copy(name, account->name, sizeof account->name);
    a->list[a->list_count++] = account;
    return account;
}

void account_count(struct accounts *a, struct account *account, enum counter what)
{
    a->totals[what]++;
    if (account)
        account->counts[what]++;
}

void accounts_write_counters(const uint64_t counts[COUNTERS], struct json_writer *w)
{
    for (size_t i = 0; i < COUNTERS; i++) {
        jw_key(w, counter_names[i]);
        jw_uint(w, counts[i]);
    }
}

/* ---- scopes ---- */

bool scopes_read(struct slice text, unsigned dflt, unsigned *scopes)
{
    unsigned found = 0;
    struct slice word;

    while (slice_cut(&text, ' ', &word)) {
        if (slice_is(word, "read"))
            found |= SCOPE_READ;
        else if (slice_is(word, "write"))
            found |= SCOPE_WRITE;
        else
            return false;
    }
    *scopes = found ? found : dflt;
    return true;
}

const char *scopes_text(unsigned scopes)
{
    static const char *const texts[] = {
        [0] = "",
        [SCOPE_READ] = "read",
        [SCOPE_WRITE] = "write",
        [SCOPE_ALL] = "read write",
    };

    return texts[scopes & SCOPE_ALL];
}

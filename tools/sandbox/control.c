#include "tools/sandbox/control.h"

#include <sodium.h>
#include "tools/sandbox/sandbox.h"

#define PAGE_DEFAULT 1000
#define PAGE_MAX     10000

/* A control request; params are the fields of the body (POST) or of the query (GET). */
struct order {
    struct sandbox *sandbox;
    const struct form *params;
    struct reply *reply;
};

static bool refuse(struct order *o, const char *why)
{
    reply_error(o->reply, 400, "invalid_request", "%s", why);
    return false;
}

static void answer_ok(struct order *o)
{
    jw_obj(&o->reply->json);
    jw_key(&o->reply->json, "ok");
    jw_bool(&o->reply->json, true);
    jw_end_obj(&o->reply->json);
}

/* *out keeps its default when the field is not there. */
static bool number_read(struct order *o, const char *name, int64_t min, int64_t max, int64_t *out)
{
    struct slice text = form_get(o->params, name);
    int64_t n;

    if (text.len == 0)
        return true;
    if (!slice_to_i64(text, &n) || n < min || n > max) {
        reply_error(o->reply, 400, "invalid_request", "%s is a number from %lld to %lld", name,
                    (long long)min, (long long)max);
        return false;
    }
    *out = n;
    return true;
}

static const struct client *client_read(struct order *o)
{
    struct slice id = form_get(o->params, "client_id");
    const struct client *client = client_find(&o->sandbox->accounts, id);

    if (!client)
        reply_error(o->reply, 400, "invalid_request", "client_id: no client '%.*s'",
                    SLICE_FMT(slice_sub(id, 0, NAME_MAX_BYTES)));
    return client;
}

static bool scopes_field(struct order *o, unsigned allowed, unsigned *scopes)
{
    if (scopes_read(form_get(o->params, "scope"), allowed, scopes) && (*scopes & ~allowed) == 0)
        return true;
    reply_error(o->reply, 400, "invalid_request", "scope is some of '%s'", scopes_text(allowed));
    return false;
}

/* ---- accounts ---- */

static struct account *account_read(struct order *o, const struct client *client)
{
    struct slice name = form_get(o->params, "account");
    struct account *account;
    struct err err;

    if (name.len == 0) {
        refuse(o, "account is missing");
        return NULL;
    }
    account = account_get(&o->sandbox->accounts, client, name, &err);
    if (!account)
        reply_error(o->reply, err.code == ERR_NOMEM ? 507 : 400, "invalid_request", "%s", err.msg);
    return account;
}

static void answer_mint(struct order *o, const struct account *account, unsigned scopes,
                        int64_t access_ttl_s, const struct token_text *refresh)
{
    struct json_writer *w = &o->reply->json;

    reply_header(o->reply, "Cache-Control", SLICE_LIT("no-store"));
    jw_obj(w);
    jw_key(w, "refresh_token");
    jw_cstr(w, refresh->text);
    jw_key(w, "client_id");
    jw_cstr(w, account->client->id);
    jw_key(w, "account");
    jw_cstr(w, account->name);
    jw_key(w, "scope");
    jw_cstr(w, scopes_text(scopes));
    jw_key(w, "access_ttl_s");
    jw_int(w, access_ttl_s);
    jw_end_obj(w);
}

static void post_mint(struct order *o)
{
    const struct client *client = client_read(o);
    struct token_text refresh;
    struct account *account;
    int64_t access_ttl_s;
    unsigned scopes;
    struct err err;

    if (!client)
        return;
    access_ttl_s = client->access_ttl_s;
    if (!scopes_field(o, client->scopes, &scopes) ||
        !number_read(o, "access_ttl_s", 1, ACCESS_TTL_MAX_S, &access_ttl_s))
        return;
    account = account_read(o, client);
    if (!account)
        return;
    if (!grants_mint(&o->sandbox->grants, account, scopes, access_ttl_s, &refresh, &err)) {
        reply_error(o->reply, 507, "full", "%s", err.msg);
        return;
    }
    account_count(&o->sandbox->accounts, account, COUNT_GRANTS_MINTED);
    answer_mint(o, account, scopes, access_ttl_s, &refresh);
    sodium_memzero(&refresh, sizeof refresh);
}

static void post_revoke(struct order *o)
{
    const struct client *client = client_read(o);
    struct account *account = client ? account_read(o, client) : NULL;
    unsigned killed;

    if (!account)
        return;
    killed = grants_kill_all(&o->sandbox->grants, account);
    for (unsigned i = 0; i < killed; i++)
        account_count(&o->sandbox->accounts, account, COUNT_GRANTS_KILLED);
    jw_obj(&o->reply->json);
    jw_key(&o->reply->json, "grants_killed");
    jw_uint(&o->reply->json, killed);
    jw_end_obj(&o->reply->json);
}

static bool auth_read(struct order *o, enum client_auth *auth)
{
    static const struct {
        const char *name;
        enum client_auth auth;
    } names[] = {{"secret", CLIENT_AUTH_SECRET},
                 {"basic", CLIENT_AUTH_BASIC},
                 {"post", CLIENT_AUTH_POST},
                 {"none", CLIENT_AUTH_NONE}};
    struct slice text = form_get(o->params, "auth");
    bool has_secret = form_get(o->params, "client_secret").len > 0;

    *auth = has_secret ? CLIENT_AUTH_SECRET : CLIENT_AUTH_NONE;
    if (text.len == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!slice_is(text, names[i].name))
            continue;
        *auth = names[i].auth;
        return (*auth == CLIENT_AUTH_NONE) != has_secret ||
               refuse(o, "auth=none goes without client_secret, the others with it");
    }
    return refuse(o, "auth is secret, basic, post or none");
}

static void post_clients(struct order *o)
{
    int64_t access_ttl_s = o->sandbox->access_ttl_s;
    enum client_auth auth;
    unsigned scopes;
    struct err err;

    if (!auth_read(o, &auth) || !scopes_field(o, SCOPE_ALL, &scopes) ||
        !number_read(o, "access_ttl_s", 1, ACCESS_TTL_MAX_S, &access_ttl_s))
        return;
    if (client_set(&o->sandbox->accounts, form_get(o->params, "client_id"),
                   form_get(o->params, "client_secret"), auth, scopes, access_ttl_s, &err))
        answer_ok(o);
    else
        reply_error(o->reply, err.code == ERR_NOMEM ? 507 : 400, "invalid_request", "%s", err.msg);
}

static void post_reset(struct order *o)
{
    sandbox_reset(o->sandbox);
    answer_ok(o);
}

/* ---- counters ---- */

static void get_counters(struct order *o)
{
    const struct accounts *a = &o->sandbox->accounts;
    struct json_writer *w = &o->reply->json;

    jw_obj(w);
    jw_key(w, "totals");
    jw_obj(w);
    accounts_write_counters(a->totals, w);
    jw_end_obj(w);
    jw_key(w, "accounts");
    jw_arr(w);
    for (size_t i = 0; i < a->list_count; i++) {
        jw_obj(w);
        jw_key(w, "client");
        jw_cstr(w, a->list[i]->client->id);
        jw_key(w, "account");
        jw_cstr(w, a->list[i]->name);
        accounts_write_counters(a->list[i]->counts, w);
        jw_end_obj(w);
    }
    jw_end_arr(w);
    jw_end_obj(w);
}

/* ---- writes ---- */

static void write_one(struct json_writer *w, const struct write *write)
{
    jw_obj(w);
    jw_key(w, "seq");
    jw_uint(w, write->seq);
    jw_key(w, "id");
    jw_cstr(w, write->id);
    jw_key(w, "effects");
    jw_uint(w, write->effects);
    jw_key(w, "keys");
    jw_uint(w, write->keys);
    jw_key(w, "replays");
    jw_uint(w, write->replays);
    jw_end_obj(w);
}

static void get_writes(struct order *o)
{
    const struct writes *writes = &o->sandbox->writes;
    struct json_writer *w = &o->reply->json;
    int64_t after = 0, limit = PAGE_DEFAULT;
    size_t i;

    if (!number_read(o, "after", 0, INT64_MAX, &after) ||
        !number_read(o, "limit", 1, PAGE_MAX, &limit))
        return;
    jw_obj(w);
    jw_key(w, "writes");
    jw_arr(w);
    for (i = (size_t)after; i < writes->list_count && limit-- > 0; i++)
        write_one(w, writes->list[i]);
    jw_end_arr(w);
    jw_key(w, "next"); /* the after= of the next page; null: this was the last */
    if (i < writes->list_count)
        jw_uint(w, i);
    else
        jw_null(w);
    jw_end_obj(w);
}

static void get_summary(struct order *o)
{
    const struct writes *writes = &o->sandbox->writes;
    const struct {
        const char *name;
        uint64_t n;
    } sums[] = {
        {"ids", writes->list_count},       {"effects", writes->effects},
        {"keys", writes->key_table.count}, {"replays", writes->replays},
        {"repeated", writes->repeated}, /* ids with more than one effect */
        {"conflicts", writes->conflicts},  {"refused_full", writes->refused_full},
    };
    struct json_writer *w = &o->reply->json;

    jw_obj(w);
    for (size_t i = 0; i < ARRAY_LEN(sums); i++) {
        jw_key(w, sums[i].name);
        jw_uint(w, sums[i].n);
    }
    jw_end_obj(w);
}

/* ---- routing ---- */

static const struct route {
    const char *method;
    const char *path;
    void (*answer)(struct order *o);
} routes[] = {
    {"POST", "/_sandbox/mint", post_mint},
    {"POST", "/_sandbox/clients", post_clients},
    {"POST", "/_sandbox/revoke", post_revoke},
    {"POST", "/_sandbox/reset", post_reset},
    {"GET", "/_sandbox/counters", get_counters},
    {"GET", "/_sandbox/writes", get_writes},
    {"GET", "/_sandbox/writes/summary", get_summary},
};

static void answer_post(struct order *o, const struct route *route, struct slice body)
{
    struct form form;
    const char *why = "";

    if (!form_parse(&form, body, &why)) {
        refuse(o, why);
        return;
    }
    o->params = &form;
    route->answer(o);
    o->params = NULL;
    form_deinit(&form);
}

void control_route(struct sandbox *s, const struct request *request, struct reply *reply)
{
    struct order o = {.sandbox = s, .params = &request->params, .reply = reply};
    const struct route *route = NULL;
    struct slice origin;

    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (slice_is(request->path, routes[i].path))
            route = &routes[i];
    }
    if (!route)
        reply_error(reply, 404, "not_found", "no such route; awq-sandbox --help lists them");
    else if (!request_is(request, route->method))
        reply_wrong_method(reply, route->method);
    else if (request_header(request, "Origin", &origin) > 0)
        reply_error(reply, 403, "forbidden", "not for web pages");
    else if (request_is(request, "POST"))
        answer_post(&o, route, request->body);
    else
        route->answer(&o);
}

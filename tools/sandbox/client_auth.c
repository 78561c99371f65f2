#include "tools/sandbox/client_auth.h"

#include <string.h>
#include <sodium.h>

#define CREDENTIAL_MAX 1024

struct credential {
    enum client_auth method;
    struct slice id;
    struct slice secret;
    char text[CREDENTIAL_MAX]; /* what id and secret point into, when they came by Basic */
};

/* RFC 6749 section 5.2: 401, and the scheme that may be used. */
static bool refuse_client(struct reply *reply, const char *why)
{
    reply_error(reply, 401, "invalid_client", "%s", why);
    reply_header(reply, "WWW-Authenticate", SLICE_LIT("Basic realm=\"awq-sandbox\""));
    return false;
}

static bool refuse_request(struct reply *reply, const char *why)
{
    reply_error(reply, 400, "invalid_request", "%s", why);
    return false;
}

/* Decodes in place: what comes out is never longer than what went in. */
static bool half_decode(struct slice half, char *to, struct slice *out)
{
    size_t len;

    if (!form_decode(half, true, to, &len))
        return false;
    *out = slice_of(to, len);
    return true;
}

static bool basic_read(struct slice header, struct credential *c)
{
    struct slice scheme, coded, pair, secret;
    size_t len = 0, colon;

    if (!slice_cut(&header, ' ', &scheme) || !slice_eq_nocase(scheme, SLICE_LIT("Basic")))
        return false;
    coded = slice_trim(header);
    if (sodium_base642bin((unsigned char *)c->text, sizeof c->text, coded.ptr, coded.len, NULL,
                          &len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return false;
    pair = slice_of(c->text, len);
    colon = slice_find(pair, ':');
    if (colon == pair.len)
        return false;
    secret = slice_sub(pair, colon + 1, pair.len);
    c->method = CLIENT_AUTH_BASIC;
    return half_decode(slice_sub(pair, 0, colon), c->text, &c->id) &&
           half_decode(secret, c->text + colon + 1, &c->secret);
}

static bool from_header(struct slice header, const struct form *body, struct credential *c,
                        struct reply *reply)
{
    if (form_has(body, "client_secret"))
        return refuse_request(reply, "client credentials in the header and in the body too");
    if (!basic_read(header, c))
        return refuse_client(reply, "the Authorization header is not Basic with "
                                    "form-encoded id and secret");
    if (form_has(body, "client_id") && !slice_eq(form_get(body, "client_id"), c->id))
        return refuse_request(reply, "client_id in the body is another than in the header");
    return true;
}

static bool from_body(const struct form *body, struct credential *c, struct reply *reply)
{
    c->id = form_get(body, "client_id");
    c->secret = form_get(body, "client_secret");
    c->method = c->secret.len > 0 ? CLIENT_AUTH_POST : CLIENT_AUTH_NONE;
    if (c->id.len == 0)
        return refuse_client(reply, "no client authentication");
    return true;
}

static bool method_fits(const struct client *client, enum client_auth used)
{
    if (client->auth == CLIENT_AUTH_SECRET)
        return used == CLIENT_AUTH_BASIC || used == CLIENT_AUTH_POST;
    return client->auth == used;
}

/* One text for a wrong id and a wrong secret, as servers have it that do not tell their ids. */
static const struct client *check(const struct accounts *accounts, const struct credential *c,
                                  struct reply *reply)
{
    const struct client *client = client_find(accounts, c->id);

    if (client && !method_fits(client, c->method)) {
        refuse_client(reply, "this client authenticates in another way");
        return NULL;
    }
    if (!client || (c->method != CLIENT_AUTH_NONE && !client_secret_matches(client, c->secret))) {
        refuse_client(reply, "unknown client or wrong secret");
        return NULL;
    }
    return client;
}

const struct client *client_authenticate(const struct accounts *accounts,
                                         const struct request *request, const struct form *body,
                                         struct reply *reply)
{
    const struct client *client = NULL;
    struct credential c = {0};
    struct slice header;
    size_t headers = request_header(request, "Authorization", &header);
    bool ok;

    if (headers > 1)
        ok = refuse_request(reply, "more than one Authorization header");
    else if (headers == 1)
        ok = from_header(header, body, &c, reply);
    else
        ok = from_body(body, &c, reply);
    if (ok)
        client = check(accounts, &c, reply);
    sodium_memzero(&c, sizeof c);
    return client;
}

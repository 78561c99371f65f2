/* awq-ctl conn test: what the server says of the access token (RFC 7662). It is asked as the
 * client, and tells more than an API's 401: revoked, expired, another scope. */
#include <sodium.h>
#include "common/access.h"
#include "common/json.h"
#include "tools/ctl/checks.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/once.h"

#define SECRET_MAX 16384

static void say_active(struct checks *k, const struct json_val *root)
{
    struct slice scope = SLICE_NONE;

    json_str(json_get(root, "scope"), &scope);
    checks_add(k, CHECK_OK, "introspection", NULL, "active%s%.*s", scope.len > 0 ? ", scope " : "",
               SLICE_FMT(slice_sub(scope, 0, 512)));
}

static void on_answer(void *owner, const struct http_result *answer)
{
    struct checks *k = owner;
    struct json *doc = answer->status == 200 ? json_parse(buf_slice(answer->body), NULL) : NULL;
    const struct json_val *active = json_get(json_root(doc), "active");
    bool yes = false;

    if (answer->status == 200 && json_bool(active, &yes) && yes)
        say_active(k, json_root(doc));
    else if (answer->status == 200 && json_type(active) == JSON_BOOL)
        checks_add(
            k, CHECK_BAD, "introspection",
            "It was revoked there, or its account was: conn refresh asks for another; if that "
            "is refused, it is to be linked again",
            "the server says that the access token is not active");
    else if (answer->status == 401 || answer->status == 403)
        checks_add(k, CHECK_WARN, "introspection",
                   "Have the client allowed to introspect, or leave introspect_url out",
                   "the server does not let this client ask (%d)", answer->status);
    else
        checks_add(k, CHECK_WARN, "introspection", "Is introspect_url right?",
                   "answered %d without a word on `active`", answer->status);
    json_free(doc);
}

void conn_introspect(struct ctl *c, const struct connection_cfg *cfg, struct slice id,
                     const struct connection_record *rec, struct checks *checks)
{
    struct oauth_request rq = {0};
    struct client_cert *cert = NULL;
    struct buf token, secret;
    struct err err = {0};

    if (cfg->introspect_url.len == 0 || rec->at.len == 0)
        return;
    buf_init(&token, ACCESS_MAX + 1); /* it is opened with what came beside it */
    buf_init(&secret, SECRET_MAX);
    if (!conn_open(c, id, rec, KEY_ACCESS, "at", &token, &err) ||
        !conn_open(c, id, rec, KEY_GRANT, "cs", &secret, &err) ||
        !conn_open_cert(c, id, rec, &cert, &err) ||
        !oauth_token_form(&rq, cfg, cfg->introspect_url, buf_slice(&secret), buf_slice(&token),
                          "access_token", ctl_clock_ms(c), &err) ||
        !once_form(cfg, cert, "the introspection endpoint", &rq, NULL, on_answer, checks, &err))
        checks_add(checks, CHECK_WARN, "introspection", "What it says", "%s", err.msg);
    client_cert_unref(cert);
    oauth_request_deinit(&rq);
    buf_wipe(&token);
    buf_wipe(&secret);
}

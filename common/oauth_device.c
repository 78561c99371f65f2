#include "common/oauth_device.h"

#include <string.h>
#include <sodium.h>
#include "common/json.h"

#define GRANT         "urn:ietf:params:oauth:grant-type:device_code"
#define INTERVAL_MS   5000 /* section 3.2: when the server does not say; 3.5: what slow_down adds */
#define INTERVAL_MAX  60000
#define EXPIRES_MS    600000 /* required; for servers that leave it out */
#define EXPIRES_MAX_S 86400

void oauth_device_deinit(struct oauth_device *d)
{
    sodium_memzero(d, sizeof *d);
}

bool oauth_device_ask(struct oauth_request *rq, const struct connection_cfg *c,
                      struct slice client_secret, int64_t now_ms, struct err *err)
{
    oauth_request_begin(rq, c->device_url, NULL);
    if ((oauth_client_is_basic(c) && !oauth_request_add(rq, "client_id", c->client_id)) ||
        !oauth_request_add_scopes(rq, c) || !oauth_request_add_resources(rq, c))
        return err_set(err, ERR_NOMEM, "connection %.*s: its question is too long",
                       SLICE_FMT(c->id));
    return oauth_request_end(rq, c, client_secret, now_ms, err);
}

/* What is shown on a terminal, or sent back, is visible ASCII. */
static bool take(const struct json_val *root, const char *name, char *to, size_t size)
{
    struct slice s = SLICE_NONE;

    json_str(json_get(root, name), &s);
    return s.len > 0 && slice_is_visible(s) && slice_copy(s, to, size);
}

static bool is_web(const char *uri)
{
    return slice_starts(slice_cstr(uri), SLICE_LIT("https://")) ||
           slice_starts(slice_cstr(uri), SLICE_LIT("http://"));
}

static void refusal(int status, struct slice code, struct err *err)
{
    err_rule(err, ERR_DENIED, "refused", "the device authorization endpoint answered %d: %.*s",
             status,
             SLICE_FMT(oauth_is_error_code(code) ? code : SLICE_LIT("no error that can be read")));
}

bool oauth_device_read(struct oauth_device *d, int status, struct slice answer, struct err *err)
{
    struct json *doc = json_parse(answer, NULL);
    const struct json_val *root = json_root(doc);
    struct slice error = SLICE_NONE;
    int64_t seconds = 0;
    bool ok = false;

    *d = (struct oauth_device){.expires_ms = EXPIRES_MS, .interval_ms = INTERVAL_MS};
    json_str(json_get(root, "error"), &error);
    if (status < 200 || status > 299 || error.len > 0)
        refusal(status, error, err);
    else if (!take(root, "device_code", d->code, sizeof d->code) ||
             !take(root, "user_code", d->user_code, sizeof d->user_code) ||
             (!take(root, "verification_uri", d->uri, sizeof d->uri) &&
              !take(root, "verification_url", d->uri, sizeof d->uri)) || /* of before the RFC */
             !is_web(d->uri))
        err_rule(err, ERR_DENIED, "refused",
                 "the device authorization endpoint's answer lacks a code or an address");
    else
        ok = true;
    if (!take(root, "verification_uri_complete", d->uri_complete, sizeof d->uri_complete) ||
        !is_web(d->uri_complete))
        d->uri_complete[0] = '\0';
    if (json_int(json_get(root, "expires_in"), &seconds) && seconds > 0)
        d->expires_ms = (seconds < EXPIRES_MAX_S ? seconds : EXPIRES_MAX_S) * 1000;
    if (json_int(json_get(root, "interval"), &seconds) && seconds > 0)
        d->interval_ms = (seconds < INTERVAL_MAX / 1000 ? seconds : INTERVAL_MAX / 1000) * 1000;
    json_free(doc);
    return ok;
}

bool oauth_device_poll(struct oauth_request *rq, const struct connection_cfg *c,
                       const struct oauth_device *d, struct slice client_secret, int64_t now_ms,
                       struct err *err)
{
    oauth_request_begin(rq, c->token_url, &c->profile.token);
    if (!oauth_request_add(rq, "grant_type", SLICE_LIT(GRANT)) ||
        !oauth_request_add(rq, "device_code", slice_cstr(d->code)) ||
        !oauth_request_add_resources(rq, c))
        return err_set(err, ERR_NOMEM, "connection %.*s: its token request is too big",
                       SLICE_FMT(c->id));
    return oauth_request_end(rq, c, client_secret, now_ms, err);
}

/* Section 3.5. */
bool oauth_device_goes_on(struct oauth_device *d, const struct oauth_answer *a)
{
    struct slice reason = slice_cstr(a ? a->reason : "");

    if (slice_is(reason, "authorization_pending"))
        return true;
    if (slice_is(reason, "slow_down"))
        d->interval_ms += INTERVAL_MS;
    else if (!a || a->outcome == OAUTH_TRANSIENT || a->outcome == OAUTH_THROTTLED)
        d->interval_ms *= 2;
    else
        return false;
    if (d->interval_ms > INTERVAL_MAX)
        d->interval_ms = INTERVAL_MAX;
    return true;
}

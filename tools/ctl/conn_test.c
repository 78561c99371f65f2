/* awq-ctl conn test: walk a connection from here, and say in plain words what is wrong. Nothing is
 * sent to the token endpoint: a request without a grant tells nothing, and servers count them. */
#include "tools/ctl/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/client_cert.h"
#include "common/egress_url.h"
#include "common/key.h"
#include "common/oauth.h"
#include "tools/ctl/checks.h"
#include "tools/ctl/link.h"
#include "tools/ctl/once.h"

#define SLOW_MS 3000 /* a token endpoint that takes so long is worth a word */

struct test {
    struct ctl *c;
    struct slice prefix, id;
    struct connection_record rec;
    struct connection_cfg *cfg; /* NULL: not authentic */
    struct client_cert *cert;   /* NULL: none, or not opened */
    struct checks checks;
    int64_t now_ms;
    char advice[512];
};

/* ---- the record ---------------------------------------------------------------------------------
 */

static void check_sealed(struct test *t, enum key_kind kind, const char *field, const char *name,
                         struct slice sealed)
{
    struct seal_place at =
        connection_place(t->prefix, t->id, field, t->rec.gen, t->rec.ver, t->rec.cd);
    size_t size = seal_clear_len(sealed) + 1, len;
    struct err err = {0};
    char *clear;

    if (sealed.len == 0)
        return;
    clear = malloc(size);
    if (clear && seal_open(t->c->keyring, kind, &at, sealed, clear, size, &len, &err))
        checks_add(&t->checks, CHECK_OK, name, NULL, "opens with the key file");
    else
        checks_add(&t->checks, CHECK_BAD, name,
                   "Use the key file of the workers; if that is it, link the account again: conn "
                   "apply --relink",
                   "%s", clear ? err.msg : "out of memory");
    if (clear)
        sodium_memzero(clear, size);
    free(clear);
}

static void check_certificate(struct test *t)
{
    char day[CLIENT_CERT_DAY];
    struct err err = {0};
    int64_t left_ms;

    if (!conn_open_cert(t->c, t->id, &t->rec, &t->cert, &err)) {
        checks_add(
            &t->checks, CHECK_BAD, "TLS certificate",
            "Use the key file of the workers; if that is it, apply the connection's file with "
            "--relink",
            "%s", err.msg);
        return;
    }
    if (!t->cert)
        return;
    client_cert_day(t->cert, day);
    left_ms = client_cert_until_ms(t->cert) - t->now_ms;
    if (left_ms <= 0)
        checks_add(&t->checks, CHECK_BAD, "TLS certificate",
                   "Have a new one issued, put it where tls.certificate and tls.key point, and "
                   "conn apply",
                   "%s has expired (%s): servers refuse it", client_cert_subject(t->cert), day);
    else if (left_ms < CLIENT_CERT_WARN_MS)
        checks_add(&t->checks, CHECK_WARN, "TLS certificate",
                   "Have a new one issued, put it where tls.certificate and tls.key point, and "
                   "conn apply",
                   "%s expires in %lld days (%s)", client_cert_subject(t->cert),
                   (long long)(left_ms / 86400000), day);
    else
        checks_add(&t->checks, CHECK_OK, "TLS certificate", NULL, "%s, until %s",
                   client_cert_subject(t->cert), day);
}

static struct connection_cfg *check_settings(struct test *t)
{
    struct connection_cfg *cfg = NULL;
    struct err err = {0};

    if (connection_record_verify(&t->rec, t->c->keyring, t->prefix, t->id, &err))
        cfg = connection_cfg_parse(t->rec.cfg, &err);
    if (cfg)
        checks_add(&t->checks, CHECK_OK, "settings", NULL, "authentic");
    else
        checks_add(&t->checks, CHECK_BAD, "settings",
                   "Check that --keys is the workers' file, then apply the connection's file with "
                   "--relink",
                   "%s", err.msg);
    return cfg;
}

/* ---- the token endpoint -------------------------------------------------------------------------
 */

/* By what went wrong (http.h). */
static const char *how_to_reach(const struct err *err)
{
    struct slice rule = slice_cstr(err->rule);

    if (slice_is(rule, "tls_certificate"))
        return "Where a private CA issued its certificate, name that CA's file: --http-ca, here "
               "and of the workers; else its name or its end is what is wrong";
    if (slice_starts(rule, SLICE_LIT("tls_")))
        return "Check scheme and port of token_url (or refresh_url): TLS fails there; with a "
               "client certificate (tls), whether the server takes it";
    return "Check token_url (or refresh_url) in the connection's file, DNS and the firewall; "
           "workers may see another network than this machine";
}

static void check_endpoint(struct test *t, const struct connection_cfg *cfg)
{
    const struct once o = {.what = "as a worker would ask",
                           .url = oauth_renewal_url(cfg), /* what workers ask */
                           .insecure_http = cfg->policy.insecure_http,
                           .allow_private = cfg->policy.allow_private,
                           .cert = t->cert};
    struct egress_url url;
    struct err err = {0};

    if (egress_url_parse(o.url, &url, &err) && once_reach(&o, &err))
        checks_add(&t->checks, CHECK_OK, "token endpoint", NULL, "%s port %u answers%s", url.host,
                   (unsigned)url.port, url.https ? ", its certificate is trusted here" : "");
    else
        checks_add(&t->checks, CHECK_BAD, "token endpoint", how_to_reach(&err), "%s", err.msg);
}

/* ---- the token, and who waits for it ------------------------------------------------------------
 */

static bool says(struct slice text, const char *word)
{
    return text.len > 0 && memmem(text.ptr, text.len, word, strlen(word));
}

/* The settings are at fault; a client that is known by its certificate has no secret to mend. */
static const char *what_to_mend(struct test *t)
{
    static const char again[] = "then conn apply: that tries at once";
    char day[CLIENT_CERT_DAY];

    if (!t->cfg || !t->cert || !client_auth_is_tls(t->cfg->auth) ||
        !slice_is(t->rec.why, "invalid_client"))
        return "Mend what the failure names (client secret, scopes, token_url; where something is "
               "signed perhaps a clock: doctor) and apply; that tries at once";
    client_cert_day(t->cert, day);
    if (client_cert_until_ms(t->cert) <= t->now_ms)
        snprintf(t->advice, sizeof t->advice,
                 "Its certificate %s ended on %s: have a new one issued, put it where "
                 "tls.certificate and tls.key point, %s",
                 client_cert_subject(t->cert), day, again);
    else
        snprintf(t->advice, sizeof t->advice,
                 "Have the server know its certificate %s, until %s, as this client's (x5t#S256 "
                 "%s), or put the one that it knows where tls.certificate points, %s",
                 client_cert_subject(t->cert), day, client_cert_x5t(t->cert), again);
    return t->advice;
}

static const char *what_to_do_not_sent(struct slice text)
{
    if (says(text, "SSL certificate problem"))
        return "Nothing was sent: the workers do not trust the server's certificate. Where a "
               "private CA issued it, name that CA's file: --http-ca of the workers";
    if (says(text, "SSL"))
        return "Nothing was sent: TLS fails there. Mend what the failure names (scheme and port "
               "of token_url, the server's certificate) and apply; that tries at once";
    return "Nothing was sent: mend what the failure names (address, DNS, firewall, "
           "policy.allow_private) and apply; that tries at once";
}

/* It answered as if all were well, and no token was found there. */
static bool is_not_read(struct slice why)
{
    static const char *const reasons[] = {
        "no_access_token",       "not_json",    "empty", "access_token_invalid",
        "refresh_token_invalid", "not_success",
    };

    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (slice_is(why, reasons[i]))
            return true;
    return false;
}

/* By the class of the failure (fail.lua). */
static const char *what_to_do(struct test *t)
{
    struct slice class = t->rec.fail_class;

    if (slice_is(class, "throttled"))
        return "Nothing: the token endpoint asked for a pause, and is asked again after it when a "
               "job wants the token";
    if (slice_is(class, "not_sent"))
        return what_to_do_not_sent(t->rec.fail_text);
    if (slice_is(class, "config"))
        return what_to_mend(t);
    if (is_not_read(t->rec.why))
        return "If it never gave a token, it writes its answers otherwise than the settings say: "
               "mend token_url or answer (conn explain shows how it is read) and apply. Else it is "
               "in trouble: a worker tries again when a job wants the token";
    return "The token endpoint is in trouble, not the settings: a worker tries again when a job "
           "wants the token, conn apply tries at once";
}

/* No call is made until a person has done something, whatever else is to be waited for. */
static bool waits_for_a_person(const struct test *t)
{
    return slice_is(t->rec.state, "NEEDS_CONSENT") || slice_is(t->rec.state, "DISABLED");
}

/* Why the API refuses tokens that are seconds old is known to the token endpoint, if to anybody. */
static const char *what_refuses(const struct test *t)
{
    if (slice_is(t->rec.state, "BACKOFF"))
        return "Its grant may have been revoked, or the API wants tokens for another audience or "
               "scope; the access token's line says why no other can be asked for now";
    if (t->cfg && t->cfg->profile.not_renewed)
        return "It may have been revoked, or the API wants tokens for another audience or scope: "
               "conn link asks its owner for another";
    return "Its grant may have been revoked, or the API wants tokens for another audience or "
           "scope: conn refresh asks the token endpoint now";
}

/* Why no call is made for a time: the breaker, or the answer that closed the lane (its status). */
static void check_lane(struct test *t)
{
    const struct connection_record *r = &t->rec;
    long long left_s = (long long)(r->cool_ms - t->now_ms) / 1000;

    if (r->trips > 0)
        checks_add(&t->checks, CHECK_WARN, "lane",
                   "Its API fails: one call finds out when it is well again, and opens the lane",
                   "too many failures in a row: held for another %lld s, then one call finds out",
                   left_s);
    else if (slice_is(r->cool_why, "401"))
        checks_add(&t->checks, CHECK_BAD, "lane", what_refuses(t),
                   "the API refuses fresh access tokens (401); tried again in %lld s", left_s);
    else if (slice_starts(r->cool_why, SLICE_LIT("2")))
        checks_add(&t->checks, CHECK_WARN, "lane", "Nothing: it opens by itself",
                   "the API said that nothing is left of its limit, %lld s left", left_s);
    else
        checks_add(&t->checks, CHECK_WARN, "lane", "Nothing: it opens by itself",
                   "the API asked for a pause (429 or Retry-After), %lld s left", left_s);
}

static const char *how_to_consent(struct slice name)
{
    enum grant_kind grant;

    if (!grant_kind_parse(name, &grant) || grant_is_asked(grant))
        return "conn link asks its owner; waiting jobs go on by themselves";
    if (grant_is_renewed(grant))
        return "Have its owner link the account again, then conn apply with the new refresh "
               "token; waiting jobs go on by themselves";
    return "Mend what the server refuses (its client, or what the file's secret for this grant "
           "is), "
           "then conn apply: it asks again; waiting jobs go on by themselves";
}

/* What jobs have now, whatever becomes of the renewal. */
static const char *how_good(const struct test *t, char text[64])
{
    const struct connection_record *r = &t->rec;

    if (r->exp_ms > t->now_ms)
        snprintf(text, 64, "good for %" PRId64 " s", (r->exp_ms - t->now_ms) / 1000);
    else
        snprintf(text, 64, "%s", r->ver > 0 ? "expired" : "none yet");
    return text;
}

static void check_token(struct test *t)
{
    const struct connection_record *r = &t->rec;
    bool good = r->exp_ms > t->now_ms;
    char token[64];

    if (slice_is(r->state, "NEEDS_CONSENT"))
        checks_add(&t->checks, CHECK_BAD, "access token", how_to_consent(r->grant),
                   "needs consent: %.*s: %.*s", SLICE_FMT(r->why), SLICE_FMT(r->fail_text));
    else if (slice_is(r->state, "DISABLED"))
        checks_add(&t->checks, CHECK_BAD, "access token",
                   "conn enable, when the reason has passed; its grant is kept, and not renewed "
                   "meanwhile",
                   "disabled by an operator: %.*s", SLICE_FMT(r->disabled_why));
    else if (slice_is(r->state, "BACKOFF"))
        checks_add(&t->checks, good ? CHECK_WARN : CHECK_BAD, "access token", what_to_do(t),
                   "%s; renewal failed, try %" PRIu32 ": %.*s: %.*s", how_good(t, token), r->tries,
                   SLICE_FMT(r->why), SLICE_FMT(r->fail_text));
    else if (good)
        checks_add(&t->checks, CHECK_OK, "access token", NULL, "%s", how_good(t, token));
    else
        checks_add(
            &t->checks, CHECK_WARN, "access token",
            slice_is(r->state, "RENEWING")
                ? "Nothing: a worker is about to renew it"
                : "Nothing, if no job uses it: it is renewed when one comes, by a worker that "
                  "renews (doctor: renewers). conn refresh does it now",
            "%s", how_good(t, token));
    if (r->cool_ms > t->now_ms && !waits_for_a_person(t))
        check_lane(t);
}

static int check_renewal(struct test *t)
{
    struct renewal_now now;
    int code = conn_renewal(t->c, &t->rec, t->cfg, &now);

    if (code == CTL_OK && now.under_way)
        checks_add(&t->checks, now.waited_ms < SLOW_MS ? CHECK_OK : CHECK_WARN, "renewal",
                   "The token endpoint is slow, or does not answer: its worker waits as long as "
                   "its --renew-timeout says, then it counts as a failure",
                   "under way: %s", now.text);
    return code;
}

static int count_parked(struct test *t, bool lane, int64_t *n)
{
    struct redis_reply *r;
    struct err err = {0};
    struct key park, resource;

    if (lane)
        key_resource_lane(&resource, t->id);
    else
        key_resource_conn(&resource, t->id);
    key_park(&park, CTL_SHARD, key_slice(&resource));
    r = link_ask(t->c->link, &err, "ZCARD", park.s);
    if (!r)
        return ctl_fail(t->c, &err);
    *n = redis_reply_int(r, 0);
    redis_reply_free(r);
    return CTL_OK;
}

static const char *when_they_go_on(const struct test *t, bool lane)
{
    if (slice_is(t->rec.state, "NEEDS_CONSENT"))
        return "They go on once what is said of the access token is done";
    if (slice_is(t->rec.state, "DISABLED"))
        return "They go on once it is enabled";
    return lane ? "They go on, a few at first and then faster, once its lane is open"
                : "They go on once there is a token";
}

static int check_waiting(struct test *t)
{
    int64_t token = 0, lane = 0;
    int code;

    if ((code = count_parked(t, false, &token)) || (code = count_parked(t, true, &lane)))
        return code;
    if (token > 0)
        checks_add(&t->checks, CHECK_WARN, "waiting jobs", when_they_go_on(t, false),
                   "%" PRId64 " parked for a token of it", token);
    if (lane > 0)
        checks_add(&t->checks, CHECK_WARN, "waiting jobs", when_they_go_on(t, true),
                   "%" PRId64 " parked for its lane", lane);
    return CTL_OK;
}

int conn_test(struct ctl *c, const struct args *args)
{
    struct test t = {
        .c = c, .prefix = slice_cstr(c->common.prefix), .id = slice_cstr(args->names[0])};
    struct redis_reply *reply;
    int code;

    if ((code = ctl_keys(c)) || (code = ctl_connect(c)) || (code = ctl_now(c, &t.now_ms)) ||
        (code = conn_read(c, t.id, &t.rec, &reply)))
        return code;
    checks_begin(&t.checks, &c->out);
    checks_add(&t.checks, CHECK_OK, "record", NULL, "generation %" PRIu64 ", version %" PRIu64,
               t.rec.gen, t.rec.ver);
    t.cfg = check_settings(&t);
    check_sealed(&t, KEY_ACCESS, "at", "sealed access token", t.rec.at);
    check_sealed(&t, KEY_ACCESS, "dk", "sealed DPoP key", t.rec.dk);
    check_certificate(&t);
    check_sealed(&t, KEY_GRANT, "rt", "sealed grant", t.rec.rt);
    check_sealed(&t, KEY_GRANT, "cs", "sealed client secret", t.rec.cs);
    if (t.cfg) {
        check_endpoint(&t, t.cfg);
        conn_compare(c, t.cfg, &t.checks);
    }
    check_token(&t);
    code = check_renewal(&t);
    if (t.cfg) {
        conn_check_scopes(t.cfg, &t.rec, &t.checks);
        conn_introspect(c, t.cfg, t.id, &t.rec, &t.checks);
    }
    if (code == CTL_OK)
        code = check_waiting(&t);
    connection_cfg_free(t.cfg);
    client_cert_unref(t.cert);
    redis_reply_free(reply);
    return code ? code : checks_end(&t.checks);
}

/* awq-ctl conn test: walk a connection from here, and say in plain words what is wrong. Nothing is
 * sent to the token endpoint: a request without a grant tells nothing, and servers count them. */
#include "tools/ctl/conn.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <sodium.h>
#include "common/client_cert.h"
#include "common/key.h"
#include "common/oauth.h"
#include "tools/ctl/checks.h"
#include "tools/ctl/link.h"

#define CONNECT_MS 5000

struct test {
    struct ctl *c;
    struct slice prefix, id;
    struct connection_record rec;
    struct checks checks;
    int64_t now_ms;
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
    struct client_cert *cert = NULL;
    char day[CLIENT_CERT_DAY];
    struct err err = {0};
    int64_t left_ms;

    if (!conn_open_cert(t->c, t->id, &t->rec, &cert, &err)) {
        checks_add(
            &t->checks, CHECK_BAD, "TLS certificate",
            "Use the key file of the workers; if that is it, apply the connection's file with "
            "--relink",
            "%s", err.msg);
        return;
    }
    if (!cert)
        return;
    client_cert_day(cert, day);
    left_ms = client_cert_until_ms(cert) - t->now_ms;
    if (left_ms <= 0)
        checks_add(&t->checks, CHECK_BAD, "TLS certificate",
                   "Have a new one issued, put it where tls.certificate and tls.key point, and "
                   "conn apply",
                   "%s has expired (%s): servers refuse it", client_cert_subject(cert), day);
    else if (left_ms < CLIENT_CERT_WARN_MS)
        checks_add(&t->checks, CHECK_WARN, "TLS certificate",
                   "Have a new one issued, put it where tls.certificate and tls.key point, and "
                   "conn apply",
                   "%s expires in %lld days (%s)", client_cert_subject(cert),
                   (long long)(left_ms / 86400000), day);
    else
        checks_add(&t->checks, CHECK_OK, "TLS certificate", NULL, "%s, until %s",
                   client_cert_subject(cert), day);
    client_cert_unref(cert);
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

static bool dial(const struct addrinfo *ai, char *why, size_t size)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), error = 0;
    socklen_t len = sizeof error;
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    if (fd < 0 || (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0 && errno != EINPROGRESS))
        error = errno;
    else if (poll(&p, 1, CONNECT_MS) == 0)
        error = ETIMEDOUT;
    else
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (fd >= 0)
        close(fd);
    if (error)
        snprintf(why, size, "%s", strerror(error));
    return error == 0;
}

/* Host and port of a URL that connection_cfg_parse has checked. */
static void split(struct slice url, char host[256], char port[8])
{
    size_t scheme = slice_starts(url, SLICE_LIT("https://")) ? 8 : 7, end, colon;
    struct slice rest = slice_sub(url, scheme, url.len);

    snprintf(port, 8, "%s", scheme == 8 ? "443" : "80");
    rest = slice_sub(rest, 0, slice_find(rest, '/'));
    rest = slice_sub(rest, 0, slice_find(rest, '?'));
    end = rest.len > 0 && rest.ptr[0] == '[' ? slice_find(rest, ']') : 0;
    colon = end + slice_find(slice_sub(rest, end, rest.len), ':');
    if (colon < rest.len)
        slice_copy(slice_sub(rest, colon + 1, rest.len), port, 8);
    rest = slice_sub(rest, 0, colon);
    if (end > 0)
        rest = slice_sub(rest, 1, end - 1);
    if (!slice_copy(rest, host, 256))
        host[0] = '\0';
}

static void check_endpoint(struct test *t, const struct connection_cfg *cfg)
{
    static const char advice[] =
        "Check token_url (or refresh_url) in the connection's file, DNS and the firewall; "
        "workers may see another network than this machine";
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char host[256], port[8], why[256] = "no address";
    struct err err = {0};
    bool ok = false;
    int code;

    split(oauth_renewal_url(cfg), host, port); /* what workers ask */
    code = getaddrinfo(host, port, &hints, &list);
    if (code != 0) {
        checks_add(&t->checks, CHECK_BAD, "token endpoint", advice, "%s: %s", host,
                   gai_strerror(code));
        return;
    }
    for (const struct addrinfo *ai = list; ai && !ok; ai = ai->ai_next) {
        if (!egress_check_address(cfg->policy.allow_private, ai->ai_addr, &err))
            snprintf(why, sizeof why, "%s", err.msg);
        else
            ok = dial(ai, why, sizeof why);
    }
    freeaddrinfo(list);
    if (ok)
        checks_add(&t->checks, CHECK_OK, "token endpoint", NULL, "%s port %s answers", host, port);
    else
        checks_add(&t->checks, CHECK_BAD, "token endpoint", advice, "%s port %s: %s", host, port,
                   why);
}

/* ---- the token, and who waits for it ------------------------------------------------------------
 */

/* By the class of the failure (fail.lua). */
static const char *what_to_do(struct slice class)
{
    if (slice_is(class, "throttled"))
        return "Nothing: the token endpoint asked for a pause, and is asked again after it when a "
               "job wants the token";
    if (slice_is(class, "not_sent"))
        return "Nothing was sent: mend what the failure names (address, DNS, firewall, "
               "policy.allow_private) and apply; that tries at once";
    if (slice_is(class, "config"))
        return "Mend what the failure names (client secret, scopes, token_url) and apply; that "
               "tries at once";
    return "The token endpoint is in trouble, not the settings: a worker tries again when a job "
           "wants the token, conn apply tries at once";
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
        checks_add(
            &t->checks, CHECK_BAD, "lane",
            "Its grant may have been revoked, or the API wants tokens for another audience or "
            "scope: conn refresh asks the token endpoint now",
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

static void check_token(struct test *t)
{
    const struct connection_record *r = &t->rec;
    int64_t left_s = (r->exp_ms - t->now_ms) / 1000;

    if (slice_is(r->state, "NEEDS_CONSENT"))
        checks_add(&t->checks, CHECK_BAD, "access token", how_to_consent(r->grant),
                   "needs consent: %.*s: %.*s", SLICE_FMT(r->why), SLICE_FMT(r->fail_text));
    else if (slice_is(r->state, "DISABLED"))
        checks_add(&t->checks, CHECK_BAD, "access token",
                   "conn enable, when the reason has passed; its grant is kept, and not renewed "
                   "meanwhile",
                   "disabled by an operator: %.*s", SLICE_FMT(r->disabled_why));
    else if (slice_is(r->state, "BACKOFF"))
        checks_add(&t->checks, r->exp_ms > t->now_ms ? CHECK_WARN : CHECK_BAD, "access token",
                   what_to_do(r->fail_class), "renewal failed, try %" PRIu32 ": %.*s: %.*s",
                   r->tries, SLICE_FMT(r->why), SLICE_FMT(r->fail_text));
    else if (r->exp_ms > t->now_ms)
        checks_add(&t->checks, CHECK_OK, "access token", NULL, "good for %" PRId64 " s", left_s);
    else
        checks_add(
            &t->checks, CHECK_WARN, "access token",
            slice_is(r->state, "RENEWING")
                ? "Nothing: a worker is about to renew it"
                : "Nothing, if no job uses it: it is renewed when one comes, by a worker that "
                  "renews (doctor: renewers). conn refresh does it now",
            r->ver > 0 ? "expired" : "none yet");
    if (r->cool_ms > t->now_ms)
        check_lane(t);
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

static int check_waiting(struct test *t)
{
    int64_t token = 0, lane = 0;
    int code;

    if ((code = count_parked(t, false, &token)) || (code = count_parked(t, true, &lane)))
        return code;
    if (token > 0)
        checks_add(&t->checks, CHECK_WARN, "waiting jobs",
                   slice_is(t->rec.state, "DISABLED") ? "They go on once it is enabled"
                                                      : "They go on once there is a token",
                   "%" PRId64 " parked for a token of it", token);
    if (lane > 0)
        checks_add(&t->checks, CHECK_WARN, "waiting jobs",
                   "They go on, a few at first and then faster, once its lane is open",
                   "%" PRId64 " parked for its lane", lane);
    return CTL_OK;
}

int conn_test(struct ctl *c, const struct args *args)
{
    struct test t = {
        .c = c, .prefix = slice_cstr(c->common.prefix), .id = slice_cstr(args->names[0])};
    struct redis_reply *reply;
    struct connection_cfg *cfg;
    int code;

    if ((code = ctl_keys(c)) || (code = ctl_connect(c)) || (code = ctl_now(c, &t.now_ms)) ||
        (code = conn_read(c, t.id, &t.rec, &reply)))
        return code;
    checks_begin(&t.checks, &c->out);
    checks_add(&t.checks, CHECK_OK, "record", NULL, "generation %" PRIu64 ", version %" PRIu64,
               t.rec.gen, t.rec.ver);
    cfg = check_settings(&t);
    check_sealed(&t, KEY_ACCESS, "at", "sealed access token", t.rec.at);
    check_sealed(&t, KEY_ACCESS, "dk", "sealed DPoP key", t.rec.dk);
    check_certificate(&t);
    check_sealed(&t, KEY_GRANT, "rt", "sealed grant", t.rec.rt);
    check_sealed(&t, KEY_GRANT, "cs", "sealed client secret", t.rec.cs);
    if (cfg) {
        check_endpoint(&t, cfg);
        conn_compare(c, cfg, &t.checks);
    }
    check_token(&t);
    if (cfg)
        conn_introspect(c, cfg, t.id, &t.rec, &t.checks);
    code = check_waiting(&t);
    connection_cfg_free(cfg);
    redis_reply_free(reply);
    return code ? code : checks_end(&t.checks);
}

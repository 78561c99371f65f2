/* awq-ctl conn revoke, rm: what is gone from Redis is revoked at the provider too (RFC 7009). */
#include <stdio.h>
#include <string.h>
#include "tools/ctl/conn.h"
#include "tools/ctl/link.h"
#include "tools/ctl/once.h"

#define SECRET_MAX 65536
#define TRIES      3
#define WAIT_MS    1000
#define WAIT_MAX   5000

struct revocation {
    struct ctl *c;
    struct connection_record rec;
    struct connection_cfg *cfg;
    struct slice secret;
    struct client_cert *cert;
    int status;
    int64_t wait_ms; /* the server asked for it */
    struct err err;
};

static void read_had(struct connection_record *rec, const struct redis_reply *had)
{
    *rec = (struct connection_record){
        .exists = true,
        .at = redis_reply_str(redis_reply_at(had, 2)),
        .rt = redis_reply_str(redis_reply_at(had, 3)),
        .cs = redis_reply_str(redis_reply_at(had, 4)),
        .cfg = redis_reply_str(redis_reply_at(had, 5)),
        .cm = redis_reply_str(redis_reply_at(had, 6)),
        .cd = redis_reply_str(redis_reply_at(had, 7)),
        .gen = (uint64_t)redis_reply_int(redis_reply_at(had, 8), 0),
        .ver = (uint64_t)redis_reply_int(redis_reply_at(had, 9), 0),
        .tk = redis_reply_str(redis_reply_at(had, 10)),
    };
}

static void on_answer(void *owner, const struct http_result *answer)
{
    struct revocation *v = owner;

    v->status = answer->status;
    v->wait_ms = WAIT_MS;
    http_retry_after(http_header_get(answer, "retry-after"), ctl_clock_ms(v->c), &v->wait_ms);
}

/* Section 2.2: 200 also for a token that it does not know. Section 2.2.1: 503 = try again later. */
static bool send(struct revocation *v, struct slice token, const char *hint)
{
    struct oauth_request rq;
    bool ok = false;

    for (int i = 0; i < TRIES; i++) {
        if (i > 0)
            link_sleep(v->c->link, v->wait_ms < WAIT_MAX ? v->wait_ms : WAIT_MAX);
        ok =
            oauth_token_form(&rq, v->cfg, v->cfg->revoke_url, v->secret, token, hint,
                             ctl_clock_ms(v->c), &v->err) &&
            once_form(v->cfg, v->cert, "the revocation endpoint", &rq, NULL, on_answer, v, &v->err);
        oauth_request_deinit(&rq);
        if (!ok || v->status != 503)
            break;
    }
    if (ok && (v->status < 200 || v->status > 299))
        ok = err_set(&v->err, ERR_DENIED, "the revocation endpoint answered %d", v->status);
    return ok;
}

static bool revoke(struct revocation *v, struct slice id, enum key_kind kind, const char *field,
                   const char *hint)
{
    struct buf token;
    bool ok;

    buf_init(&token, SECRET_MAX);
    ok = conn_open(v->c, id, &v->rec, kind, field, &token, &v->err) &&
         (token.len == 0 || send(v, buf_slice(&token), hint));
    buf_wipe(&token);
    return ok;
}

/* The refresh token first (what other grants keep in its place is no token of the server's): most
 * servers take its access tokens with it, some do not. */
static bool revoke_both(struct revocation *v, struct slice id)
{
    bool ok, refresh = true;
    struct buf secret;

    if (!v->c->keyring)
        return err_set(&v->err, ERR_CONFIG, "its tokens cannot be opened without the key file");
    buf_init(&secret, SECRET_MAX);
    ok = conn_open(v->c, id, &v->rec, KEY_GRANT, "cs", &secret, &v->err) &&
         conn_open_cert(v->c, id, &v->rec, &v->cert, &v->err);
    v->secret = buf_slice(&secret);
    if (ok && grant_is_renewed(v->cfg->grant))
        refresh = revoke(v, id, KEY_GRANT, "rt", "refresh_token");
    /* whatever came of that: nobody has this one any more to send it later */
    ok = ok && revoke(v, id, KEY_ACCESS, "at", "access_token") && refresh;
    buf_wipe(&secret);
    return ok;
}

bool conn_revoke_unstored(struct ctl *c, const struct connection_file *linked,
                          struct client_cert *cert, struct slice access, struct err *err)
{
    struct slice refresh = buf_slice(&linked->grant_secret);
    struct revocation v = {
        .c = c, .cfg = linked->cfg, .secret = buf_slice(&linked->client_secret), .cert = cert};
    bool ok;

    if (linked->cfg->revoke_url.len == 0)
        return err_set(err, ERR_CONFIG, "its settings have no revoke_url");
    ok = refresh.len == 0 || send(&v, refresh, "refresh_token");
    ok = send(&v, access, "access_token") && ok;
    *err = v.err;
    return ok;
}

int conn_tell_provider(struct ctl *c, struct slice id, const struct redis_reply *had)
{
    struct revocation v = {.c = c};
    int code = CTL_OK;

    read_had(&v.rec, had);
    if (!c->keyring ||
        connection_record_verify(&v.rec, c->keyring, slice_cstr(c->common.prefix), id, &v.err))
        v.cfg = connection_cfg_parse(v.rec.cfg, &v.err);
    if (v.cfg)
        v.cfg->id = id;
    if (v.cfg && v.rec.at.len == 0 && (v.rec.rt.len == 0 || !grant_is_renewed(v.cfg->grant)))
        ; /* it had no token of the provider's */
    else if (v.cfg && v.cfg->revoke_url.len == 0)
        out_note(&c->out,
                 "Revoke the grant at the provider too (its settings have no revoke_url).");
    else if (v.cfg && revoke_both(&v, id))
        out_note(&c->out, "Its tokens are revoked at the provider too.");
    else
        code = ctl_say(CTL_PARTIAL,
                       "connection %.*s: gone from Redis, and not revoked at the provider: %s. "
                       "Revoke the grant there by hand",
                       SLICE_FMT(id), v.err.msg);
    client_cert_unref(v.cert);
    connection_cfg_free(v.cfg);
    return code;
}

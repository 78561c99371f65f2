/* awq-ctl conn apply: a connection file into the record, with its secrets sealed. */
#include "tools/ctl/conn.h"
#include "tools/ctl/profile.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/clock.h"
#include "common/connection.h"
#include "common/dpop.h"
#include "common/key.h"
#include "tools/ctl/link.h"

#define TRIES      8 /* somebody else changed the record in between: read again */
#define SEALED_MAX (64 * 1024)
#define AGAIN_MS   1000

/*
 * Is the account linked anew, or are only settings written?
 *
 * A refresh token that rotates lives in Redis only: the one in the file is used up at the first
 * renewal. Applying the same file again (GitOps does, all day) must not put it back, for its reuse
 * makes the server revoke the whole grant (RFC 9700 section 4.14.2). So the record remembers a
 * digest of the token it was linked with (`lh`, sealed): the same token again is no new link.
 */
enum change { CHANGE_LINK, CHANGE_SETTINGS, CHANGE_NONE };

struct apply {
    struct ctl *c;
    struct slice prefix, id;
    struct connection_file file;
    bool relink, own_callback; /* the file says what the browser would bring */
    const char *linked_cd; /* conn link: of the settings that the owner was asked for; else NULL */
    uint64_t linked_gen;   /* and the generation */
    uint64_t sent_gen;     /* that a write for it was sent with: the record's, when it was done */
    bool unsure;           /* the answer to one did not come */
    bool written;
    struct linked_token token;   /* of conn link */
    struct connection_cfg *kept; /* whose callback the settings have now */
    struct buf json, cm, lh;     /* the new settings, signed; the refresh token's digest, sealed */
    char cd[65];
    struct connection_record rec;
    struct redis_reply *reply; /* rec borrows from it */
    enum change change;
    const char *why; /* of a link */
    uint64_t gen;    /* after the change */
    struct buf at, rt, cs, dk, tk;
    bool other_cert;   /* than the stored settings have: tokens may be bound to that one */
    bool other_scopes; /* than those that its tokens were asked with */
    struct err err;
};

static void apply_deinit(struct apply *a)
{
    connection_file_deinit(&a->file);
    connection_cfg_free(a->kept);
    buf_deinit(&a->json);
    buf_deinit(&a->cm);
    buf_deinit(&a->lh);
    buf_deinit(&a->at);
    buf_deinit(&a->rt);
    buf_deinit(&a->cs);
    buf_deinit(&a->dk);
    buf_deinit(&a->tk);
    redis_reply_free(a->reply);
}

static bool seal_link_digest(struct apply *a, struct slice refresh)
{
    struct seal_place at = connection_link_place(a->prefix, a->id);
    char digest[65];

    seal_digest(refresh, digest);
    return seal_seal(a->c->keyring, KEY_GRANT, &at, slice_cstr(digest), &a->lh, &a->err);
}

static bool write_settings(struct apply *a)
{
    buf_clear(&a->json);
    buf_clear(&a->cm);
    if (!connection_cfg_to_json(&a->json, a->file.cfg))
        return err_set(&a->err, ERR_CONFIG, "connection %.*s: its settings are too long",
                       SLICE_FMT(a->id));
    seal_digest(buf_slice(&a->json), a->cd);
    return connection_cfg_sign(a->c->keyring, a->prefix, a->id, buf_slice(&a->json), &a->cm,
                               &a->err);
}

/* What the redirect brought when the account was linked is no file's to know: it stays, if the
 * record that has it is authentic. */
static bool keep_callback(struct apply *a)
{
    struct profile *p = &a->file.cfg->profile;
    struct connection_cfg *old = NULL;
    struct err why = {0};

    if (a->linked_cd || a->own_callback)
        return true;
    if (a->rec.exists && !slice_is(a->rec.state, "REMOVED") &&
        connection_record_verify(&a->rec, a->c->keyring, a->prefix, a->id, &why))
        old = connection_cfg_parse(a->rec.cfg, &why);
    p->callback = old ? old->profile.callback : (struct name_map){0};
    connection_cfg_free(a->kept); /* of a look before this one */
    a->kept = old;
    profile_say(p, "callback", p->callback.count > 0);
    return write_settings(a);
}

static bool prepare(struct apply *a)
{
    struct slice refresh = buf_slice(&a->file.grant_secret);

    a->own_callback = a->file.cfg->profile.callback.count > 0;
    buf_init(&a->json, SEALED_MAX * 2);
    buf_init(&a->cm, 64);
    buf_init(&a->lh, 256);
    buf_init(&a->at, SEALED_MAX);
    buf_init(&a->rt, SEALED_MAX);
    buf_init(&a->cs, SEALED_MAX);
    buf_init(&a->dk, SEALED_MAX);
    buf_init(&a->tk, SEALED_MAX * 2);
    return write_settings(a) && (refresh.len == 0 || seal_link_digest(a, refresh));
}

static bool read_record(struct apply *a)
{
    redis_reply_free(a->reply);
    a->reply = conn_fetch(a->c, a->id, &a->err);
    return a->reply && (connection_record_read(&a->rec, a->reply, &a->err) ||
                        err_prefix(&a->err, "connection %.*s: ", SLICE_FMT(a->id)));
}

/* ---- link or settings ---------------------------------------------------------------------------
 */

/* Of what the grant was given for: with another one it is another grant. NULL: the same. A refresh
 * token outlives another token_url: its server has moved, or the address was mistyped. */
static const char *grant_differs(const struct connection_cfg *old, const struct connection_cfg *new)
{
    if (old->grant != new->grant)
        return "another grant";
    if (!slice_eq(old->client_id, new->client_id))
        return "another client id";
    if (!slice_eq(old->token_url, new->token_url) && !grant_is_renewed(new->grant))
        return "another token_url";
    return NULL;
}

/* Is it the one that the account was linked with? False with *err when nobody can tell: to take it
 * for a new one would put back a token that may be used up. */
static bool token_is_known(struct apply *a, struct slice refresh)
{
    struct seal_place at = connection_link_place(a->prefix, a->id);
    char now[65], then[65];
    size_t len = 0;

    if (a->rec.lh.len == 0)
        return false;
    seal_digest(refresh, now);
    if (seal_open(a->c->keyring, KEY_GRANT, &at, a->rec.lh, then, sizeof then, &len, &a->err))
        return len == 64 && sodium_memcmp(now, then, 64) == 0;
    if (slice_is(slice_cstr(a->err.rule), "seal_key_unknown"))
        return err_set(&a->err, ERR_CONFIG,
                       "connection %.*s was linked with a grant key that the key file does not "
                       "have: whether its refresh token is new cannot be told. Leave refresh_token "
                       "out of its file, or --relink if it is new",
                       SLICE_FMT(a->id));
    return err_prefix(&a->err, "(--relink writes it anew) ");
}

static bool decide(struct apply *a)
{
    struct slice refresh = buf_slice(&a->file.grant_secret);
    struct connection_cfg *old;
    bool known;

    a->change = CHANGE_LINK;
    if (a->linked_cd && (!a->rec.exists || slice_is(a->rec.state, "REMOVED")))
        return err_set(&a->err, ERR_NOT_FOUND,
                       "connection %.*s was removed while its owner was asked", SLICE_FMT(a->id));
    if (!a->rec.exists || slice_is(a->rec.state, "REMOVED")) {
        a->why = "new";
        return true;
    }
    if (a->linked_cd && (!slice_is(a->rec.cd, a->linked_cd) || a->rec.gen != a->linked_gen))
        return err_set(&a->err, ERR_RETRY,
                       "connection %.*s: %s while its owner was asked; nothing was stored, link it "
                       "again",
                       SLICE_FMT(a->id),
                       a->rec.gen != a->linked_gen ? "it was revoked, removed or linked"
                                                   : "its settings were changed");
    if (a->linked_cd) {
        a->why = "its owner said yes";
        return true;
    }
    if (a->relink) {
        a->why = "asked to";
        return true;
    }
    if (!connection_record_verify(&a->rec, a->c->keyring, a->prefix, a->id, &a->err))
        return err_prefix(&a->err, "--relink writes it anew; ");
    old = connection_cfg_parse(a->rec.cfg, &a->err);
    if (!old)
        return err_prefix(&a->err, "connection %.*s, as it is stored: ", SLICE_FMT(a->id));
    a->why = grant_differs(old, a->file.cfg);
    a->other_cert = !slice_eq(old->certificate, a->file.cfg->certificate);
    a->other_scopes = !slice_eq(old->scopes, a->file.cfg->scopes);
    connection_cfg_free(old);
    /* Where nothing of the owner's is sent, a grant that was refused is simply asked for again. A
     * password that was refused would lock the account in the end. */
    if (!a->why && !grant_secret_name(a->file.cfg->grant) &&
        slice_is(a->rec.state, "NEEDS_CONSENT") && !slice_is(a->rec.why, "revoked"))
        a->why = "its grant was refused";
    if (refresh.len == 0)
        known = false;
    else if (!(known = token_is_known(a, refresh)) && a->err.code != ERR_NONE)
        return false;
    if (a->why && known && a->rec.ver > 0 && grant_is_renewed(a->file.cfg->grant))
        return err_set(&a->err, ERR_CONFIG,
                       "connection %.*s: %s, and its file has the refresh token that it was linked "
                       "with, which has been used since: to send it again may end the grant. Put "
                       "the new client's token there (--relink sends this one all the same)",
                       SLICE_FMT(a->id), a->why);
    if (!a->why && refresh.len > 0 && !known)
        a->why = grant_is_renewed(a->file.cfg->grant) ? "another refresh token" : "another secret";
    if (!a->why)
        a->change = CHANGE_SETTINGS;
    return true;
}

/* ---- sealing ------------------------------------------------------------------------------------
 */

static bool seal(struct apply *a, enum key_kind kind, const char *field, uint64_t ver,
                 struct slice clear, struct buf *out)
{
    struct seal_place at =
        connection_place(a->prefix, a->id, field, a->gen, ver, slice_cstr(a->cd));

    buf_clear(out);
    return clear.len == 0 || seal_seal(a->c->keyring, kind, &at, clear, out, &a->err);
}

/* Open what the record holds, in the place it was sealed for. */
static bool open_old(struct apply *a, enum key_kind kind, const char *field, struct slice sealed,
                     struct buf *clear)
{
    struct seal_place at =
        connection_place(a->prefix, a->id, field, a->rec.gen, a->rec.ver, a->rec.cd);
    size_t len = 0;

    buf_init(clear, SEALED_MAX);
    if (sealed.len == 0)
        return true;
    if (!buf_reserve(clear, seal_clear_len(sealed) + 1))
        return err_set(&a->err, ERR_NOMEM, "connection %.*s: its %s is too long", SLICE_FMT(a->id),
                       seal_field_name(field));
    if (!seal_open(a->c->keyring, kind, &at, sealed, clear->ptr, clear->cap, &len, &a->err))
        return err_prefix(&a->err, "(--relink writes it anew) ");
    clear->len = len;
    return true;
}

/* Keep a token that the record has: seal it for the new settings. */
static bool carry_over(struct apply *a, enum key_kind kind, const char *field, struct slice sealed,
                       struct buf *out)
{
    struct buf clear;
    bool ok = open_old(a, kind, field, sealed, &clear) &&
              seal(a, kind, field, a->rec.ver, buf_slice(&clear), out);

    buf_wipe(&clear);
    return ok;
}

/* The key that its tokens are bound to: the file's, the one it has, or a new one. */
static bool pick_dpop_key(struct apply *a, bool link, struct buf *pem)
{
    enum jwt_alg alg = a->file.cfg->dpop;
    struct dpop_key *fits;

    if (a->file.dpop_key.len > 0) {
        buf_init(pem, SEALED_MAX);
        return buf_add_slice(pem, buf_slice(&a->file.dpop_key));
    }
    if (link) { /* what it has is of another grant, perhaps of another hand */
        buf_init(pem, SEALED_MAX);
        return dpop_key_make(alg, pem, &a->err);
    }
    if (!open_old(a, KEY_ACCESS, "dk", a->rec.dk, pem))
        return false;
    fits = pem->len > 0 ? dpop_key_open(buf_slice(pem), alg, NULL) : NULL;
    dpop_key_free(fits);
    if (fits)
        return true;
    buf_wipe(pem);
    buf_init(pem, SEALED_MAX);
    return dpop_key_make(alg, pem, &a->err);
}

static bool seal_dpop_key(struct apply *a, bool link)
{
    struct buf pem = {0};
    bool ok;

    buf_clear(&a->dk);
    if (a->file.cfg->dpop == JWT_ALG_OF_KEY)
        return true;
    ok = pick_dpop_key(a, link, &pem) && seal(a, KEY_ACCESS, "dk", 0, buf_slice(&pem), &a->dk);
    buf_wipe(&pem);
    return ok;
}

static bool holds(struct apply *a, enum key_kind kind, const char *field, struct slice sealed,
                  struct slice wanted, bool *same)
{
    struct buf clear;
    bool ok = open_old(a, kind, field, sealed, &clear);

    *same = ok && clear.len == wanted.len &&
            (wanted.len == 0 || sodium_memcmp(clear.ptr, wanted.ptr, wanted.len) == 0);
    buf_wipe(&clear);
    return ok;
}

/* Settings, client secret and certificate as they are stored already: nothing is to be written. A
 * connection that waits or failed is written all the same: that is how its owner says "try again".
 */
static bool is_same(struct apply *a, bool *same)
{
    *same = false;
    if (!slice_is(a->rec.cd, a->cd) || slice_is(a->rec.state, "BACKOFF"))
        return true;
    return holds(a, KEY_GRANT, "cs", a->rec.cs, buf_slice(&a->file.client_secret), same) &&
           (!*same || holds(a, KEY_ACCESS, "tk", a->rec.tk, buf_slice(&a->file.certificate), same));
}

/* Redis' time in us, which is not handed out again when Redis forgets that it was (apply.lua). */
static bool new_gen(struct apply *a)
{
    struct redis_reply *r;
    uint64_t us;

    if (a->sent_gen > a->rec.gen) { /* the same link: whichever write arrives first, it is done */
        a->gen = a->sent_gen;
        return true;
    }
    r = link_ask(a->c->link, &a->err, "TIME");
    if (!r)
        return false;
    us = (uint64_t)redis_reply_int(redis_reply_at(r, 0), 0) * 1000000 +
         (uint64_t)redis_reply_int(redis_reply_at(r, 1), 0);
    a->gen = us > a->rec.gen ? us : a->rec.gen + 1;
    redis_reply_free(r);
    return true;
}

static bool seal_link(struct apply *a)
{
    if (!new_gen(a))
        return false;
    if (a->file.unlinked.code != ERR_NONE)
        return err_set(&a->err, ERR_CONFIG, "%s: connection %.*s is to be linked with it (%s)",
                       a->file.unlinked.msg, SLICE_FMT(a->id), a->why);
    if (!seal(a, KEY_ACCESS, "at", 1, a->token.access, &a->at) ||
        !seal(a, KEY_GRANT, "rt", 0, buf_slice(&a->file.grant_secret), &a->rt) ||
        !seal_dpop_key(a, true))
        return false;
    if (a->linked_cd) /* the newest there is: it may have been applied while the owner was asked */
        return carry_over(a, KEY_GRANT, "cs", a->rec.cs, &a->cs) &&
               carry_over(a, KEY_ACCESS, "tk", a->rec.tk, &a->tk);
    return seal(a, KEY_GRANT, "cs", 0, buf_slice(&a->file.client_secret), &a->cs) &&
           seal(a, KEY_ACCESS, "tk", 0, buf_slice(&a->file.certificate), &a->tk);
}

static bool seal_settings(struct apply *a)
{
    bool same;

    a->gen = a->rec.gen;
    if (!is_same(a, &same))
        return false;
    if (same) {
        a->change = CHANGE_NONE;
        return true;
    }
    buf_clear(&a->at);
    buf_clear(&a->rt);
    buf_clear(&a->dk);
    if (!slice_is(a->rec.cd, a->cd) && !seal_dpop_key(a, false))
        return false;
    /* An access token may be bound to the certificate that asked for it (RFC 8705 section 3): with
     * another one it is asked for anew. What was sealed for these settings stays as it is. */
    return seal(a, KEY_GRANT, "cs", 0, buf_slice(&a->file.client_secret), &a->cs) &&
           seal(a, KEY_ACCESS, "tk", 0, buf_slice(&a->file.certificate), &a->tk) &&
           (slice_is(a->rec.cd, a->cd) ||
            ((a->other_cert || carry_over(a, KEY_ACCESS, "at", a->rec.at, &a->at)) &&
             carry_over(a, KEY_GRANT, "rt", a->rec.rt, &a->rt)));
}

/* ---- writing ------------------------------------------------------------------------------------
 */

/* apply.lua; *moved: somebody was faster, read again. */
static bool write_record(struct apply *a, bool *moved)
{
    bool fresh = !a->rec.exists || slice_is(a->rec.state, "REMOVED");
    int64_t left = a->token.lifetime_ms;
    struct key conn, lease, changed;
    struct redis_reply *r;
    char gen[24], ver[24], next_gen[24], life[24];

    key_conn(&conn, a->id);
    key_conn_lease(&lease, a->id);
    key_changed(&changed);
    snprintf(gen, sizeof gen, "%" PRIu64, a->rec.gen);
    snprintf(ver, sizeof ver, "%" PRIu64, a->rec.ver);
    snprintf(next_gen, sizeof next_gen, "%" PRIu64, a->gen);
    if (a->linked_cd) {
        left -= clock_wall_ms() - a->token.answered_ms;
        a->sent_gen = a->gen;
    }
    snprintf(life, sizeof life, "%" PRId64, left);
    const struct slice argv[] = {
        key_slice(&conn),
        key_slice(&lease),
        slice_cstr(fresh ? "" : gen),
        slice_cstr(fresh ? "" : ver),
        buf_slice(&a->json),
        buf_slice(&a->cm),
        slice_cstr(a->cd),
        slice_cstr(grant_kind_name(a->file.cfg->grant)),
        buf_slice(&a->cs),
        buf_slice(&a->rt),
        buf_slice(&a->at),
        buf_slice(&a->lh),
        a->change == CHANGE_LINK ? SLICE_LIT("1") : SLICE_LIT("0"),
        key_slice(&changed),
        a->id,
        slice_cstr(next_gen),
        buf_slice(&a->dk),
        buf_slice(&a->tk),
        slice_cstr(life),
        a->token.scope,
    };

    r = link_script(a->c->link, SCRIPT_apply, 2, ARRAY_LEN(argv), argv, &a->err);
    a->unsure = a->unsure || (!r && a->err.code == ERR_UNKNOWN);
    if (!r)
        return false;
    *moved = !slice_is(redis_reply_str(redis_reply_at(r, 0)), "OK");
    a->written = !*moved;
    redis_reply_free(r);
    return true;
}

/* Written, and nobody has said yes yet. */
static bool is_unlinked(const struct apply *a)
{
    return a->change == CHANGE_LINK && grant_is_asked(a->file.cfg->grant) &&
           a->file.grant_secret.len == 0 && a->token.access.len == 0;
}

/* Renewers find it in P:conns; jobs that waited for it look again. */
static bool announce(struct apply *a)
{
    bool has_token = a->token.access.len > 0;
    struct key conns;
    struct redis_reply *r;

    /* A first token at once: a mistake shows now, not at night. So does whether it is mended. */
    if ((a->change == CHANGE_LINK && !is_unlinked(a) && !has_token) ||
        slice_is(a->rec.state, "BACKOFF") || (a->change == CHANGE_SETTINGS && a->other_cert)) {
        if (conn_ask(a->c, a->id) != CTL_OK)
            return err_set(&a->err, ERR_UNREACHABLE, "written, but no renewal could be asked for");
        ctl_wake(a->c, a->id);
        return true;
    }
    key_conns(&conns);
    const struct slice argv[] = {SLICE_LIT("ZADD"), key_slice(&conns),
                                 has_token ? SLICE_LIT("XX") : SLICE_LIT("NX"), SLICE_LIT("0"),
                                 a->id};

    r = link_argv(a->c->link, ARRAY_LEN(argv), argv, &a->err);
    redis_reply_free(r);
    if (r)
        ctl_wake(a->c, a->id);
    return r != NULL;
}

static bool apply(struct apply *a)
{
    bool moved = true;

    for (int i = 0; moved && i < TRIES; i++) {
        if (!read_record(a))
            return false;
        if (a->sent_gen > 0 && a->rec.gen == a->sent_gen) { /* only its answer got lost */
            a->written = true;
            break;
        }
        if (!keep_callback(a) || !decide(a) ||
            !(a->change == CHANGE_LINK ? seal_link(a) : seal_settings(a)))
            return false;
        if (a->change == CHANGE_NONE)
            break;
        if (!write_record(a, &moved))
            return false;
    }
    if (!a->written && a->change != CHANGE_NONE)
        return err_set(&a->err, ERR_RETRY,
                       "connection %.*s keeps changing while it is written; try again",
                       SLICE_FMT(a->id));
    return announce(a);
}

/* ---- the verb -----------------------------------------------------------------------------------
 */

/* It was written, and its jobs still wait. */
static void say_consent(struct apply *a)
{
    enum grant_kind g = a->file.cfg->grant;
    const char *secret = grant_is_renewed(g) ? "refresh token" : grant_secret_name(g);
    struct out *o = &a->c->out;

    if (grant_is_asked(g))
        out_note(o, "It still needs consent (%.*s): awq-ctl conn link %.*s", SLICE_FMT(a->rec.why),
                 SLICE_FMT(a->id));
    else if (secret)
        out_note(o,
                 "It still needs consent (%.*s): put a new %s where the file points, or\n"
                 "apply with --relink if the one that is there is good.",
                 SLICE_FMT(a->rec.why), secret);
    else
        out_note(o, "It still stands still (%.*s): apply with --relink to ask for its grant again.",
                 SLICE_FMT(a->rec.why));
}

/* What became of the tokens with other settings. */
static const char *what_stayed(const struct apply *a)
{
    bool renewed = grant_is_renewed(a->file.cfg->grant) && a->rec.rt.len > 0;

    if (a->other_cert && a->rec.at.len > 0)
        return renewed ? ", its refresh token kept; an access token for the new certificate is due "
                         "now"
                       : "; an access token for the new certificate is due now";
    return a->rec.at.len > 0 || renewed ? ", its tokens kept" : "; it has no tokens to keep";
}

static void report(struct apply *a)
{
    static const char *const words[] = {
        [CHANGE_LINK] = "linked", [CHANGE_SETTINGS] = "settings", [CHANGE_NONE] = "unchanged"};
    struct out *o = &a->c->out;

    if (o->json) {
        out_thing(o);
        out_key(o, "id");
        out_text(o, a->id);
        out_key(o, "change");
        out_cstr(o, is_unlinked(a) ? "written" : words[a->change]);
        out_key(o, "generation");
        out_int(o, (int64_t)a->gen);
        out_thing_end(o);
        return;
    }
    if (is_unlinked(a))
        out_note(o,
                 "connection %.*s: written (%s); its owner is to be asked: awq-ctl conn link %.*s",
                 SLICE_FMT(a->id), a->why, SLICE_FMT(a->id));
    else if (a->change == CHANGE_LINK && a->token.access.len > 0)
        out_note(o, "connection %.*s: linked (%s)", SLICE_FMT(a->id), a->why);
    else if (a->change == CHANGE_LINK)
        out_note(o, "connection %.*s: linked (%s); its first token is due now", SLICE_FMT(a->id),
                 a->why);
    else if (a->change == CHANGE_SETTINGS)
        out_note(o, "connection %.*s: settings written%s", SLICE_FMT(a->id), what_stayed(a));
    else
        out_note(o, "connection %.*s: unchanged", SLICE_FMT(a->id));
    if (slice_is(a->rec.state, "DISABLED"))
        out_note(o, "It is still disabled (%.*s), and calls nothing: conn enable %.*s",
                 SLICE_FMT(a->rec.disabled_why), SLICE_FMT(a->id));
    if (a->change != CHANGE_LINK && slice_is(a->rec.state, "NEEDS_CONSENT"))
        say_consent(a);
    else if (a->change == CHANGE_SETTINGS && a->other_scopes && a->rec.at.len > 0)
        out_note(o, "Its scopes have changed, and its tokens have those of before. %s",
                 conn_scopes_cure(a->file.cfg));
}

int conn_apply(struct ctl *c, const struct args *args)
{
    struct apply a = {.c = c, .prefix = slice_cstr(c->common.prefix)};
    int code;

    if (!args->flag[0])
        return ctl_usage(c, "-f FILE is missing");
    a.relink = args->flag[1] != NULL;
    if (!conn_read_file(c, &a.file, args->flag[0], args->flag[2], &a.err))
        return ctl_fail(c, &a.err);
    a.id = c->about = a.file.cfg->id;
    if ((code = ctl_keys(c)) == CTL_OK && (code = ctl_connect(c)) == CTL_OK &&
        (code = ctl_meta(c)) == CTL_OK) {
        if (prepare(&a) && apply(&a))
            report(&a);
        else
            code = ctl_fail(c, &a.err);
    }
    apply_deinit(&a);
    return code;
}

/* Redis is away, loads, or has no room: that passes. */
static bool passes(const struct err *e)
{
    return e->code == ERR_UNREACHABLE || e->code == ERR_UNKNOWN ||
           (e->rule[0] && (e->code == ERR_RETRY || e->code == ERR_NOMEM));
}

/* Its owner said yes, which is not to be lost for want of a Redis. */
static bool apply_until(struct apply *a, int64_t until_ms)
{
    bool done = apply(a);

    if (!done && passes(&a->err))
        ctl_say(0, "the owner said yes, and it is not stored yet: %s; trying again", a->err.msg);
    while (!done && passes(&a->err) && clock_boot_ms() < until_ms) {
        link_sleep(a->c->link, AGAIN_MS);
        a->err = (struct err){0};
        done = ctl_reach(a->c, &a->err) && apply(a);
    }
    if (!done && a->unsure)
        a->err.code = ERR_UNKNOWN;
    return done || a->written; /* who was not told of it looks now and then */
}

bool conn_apply_linked(struct ctl *c, const struct connection_file *linked,
                       const struct linked_token *token, const char *cd, uint64_t gen,
                       int64_t until_ms, struct err *err)
{
    struct apply a = {.c = c,
                      .prefix = slice_cstr(c->common.prefix),
                      .id = linked->cfg->id,
                      .file = *linked,
                      .linked_cd = cd,
                      .token = *token,
                      .linked_gen = gen};
    bool ok = prepare(&a) && apply_until(&a, until_ms);

    if (ok)
        report(&a);
    *err = a.err;
    a.file = (struct connection_file){0}; /* the caller's */
    apply_deinit(&a);
    return ok;
}

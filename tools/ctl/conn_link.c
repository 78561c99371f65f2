/* awq-ctl conn link: have an account's owner asked, and store what the answer gives. By a browser:
 * conn_consent.c; by a device code: conn_device.c. */
#include "tools/ctl/conn.h"

#include <string.h>
#include "common/access.h"
#include "common/clock.h"
#include "tools/ctl/conn_consent.h"
#include "tools/ctl/conn_device.h"
#include "tools/ctl/link.h"

#define SECRET_MAX 16384
#define URL_ROOM   (16 * 1024)
#define WAIT_MS    600000
#define AGAIN_MS   1000

enum { L_TIMEOUT, L_NO_LISTEN, L_DEVICE, L_NO_BROWSER };

const struct flag conn_link_flags[CONN_LINK_FLAGS] = {
    [L_TIMEOUT] = {"--timeout", NULL, "TIME", "wait so long for the owner (default 10m)"},
    [L_NO_LISTEN] = {"--no-listen", NULL, NULL,
                     "the browser is on another machine: paste the address that it ends on"},
    [L_DEVICE] = {"--device", NULL, NULL, "show a code to enter on any machine (device_url)"},
    [L_NO_BROWSER] = {"--no-browser", NULL, NULL, "open none: the address is printed only"},
};

/* ---- what is stored of it ---- */

/* The one that the connection has, or a new one after a revocation: stored with the grant. */
static bool read_dpop_key(struct consent *l, struct slice id, const struct connection_record *rec)
{
    enum jwt_alg alg = l->file.cfg->dpop;

    if (alg == JWT_ALG_OF_KEY)
        return true;
    if (!conn_open(l->c, id, rec, KEY_ACCESS, "dk", &l->file.dpop_key, &l->err) ||
        (l->file.dpop_key.len == 0 && !dpop_key_make(alg, &l->file.dpop_key, &l->err)))
        return false;
    l->dpop_key = dpop_key_open(buf_slice(&l->file.dpop_key), alg, &l->err);
    if (!l->dpop_key)
        return false;
    l->dpop.key = l->dpop_key;
    l->question.jkt = dpop_key_jkt(l->dpop_key);
    return true;
}

static bool read_settings(struct consent *l, struct slice id, const struct connection_record *rec)
{
    if (!connection_record_verify(rec, l->c->keyring, slice_cstr(l->c->common.prefix), id, &l->err))
        return false;
    l->file.cfg = connection_cfg_parse(rec->cfg, &l->err);
    if (!l->file.cfg)
        return false;
    l->file.cfg->id = id;
    if (!grant_is_asked(l->file.cfg->grant))
        return err_set(&l->err, ERR_CONFIG,
                       "connection %.*s has grant: %s, for which nobody is asked; conn link is for "
                       "authorization_code and device_code",
                       SLICE_FMT(id), grant_kind_name(l->file.cfg->grant));
    if (!conn_open(l->c, id, rec, KEY_GRANT, "cs", &l->file.client_secret, &l->err))
        return false;
    /* conn revoke took it; found only when the owner has said yes, that yes would be lost */
    if (client_auth_has_secret(l->file.cfg->auth) && l->file.client_secret.len == 0)
        return err_set(&l->err, ERR_CONFIG,
                       "connection %.*s: no client secret or key is stored; apply its file, then "
                       "conn link",
                       SLICE_FMT(id));
    return conn_open_cert(l->c, id, rec, &l->cert, &l->err) && read_dpop_key(l, id, rec);
}

/* ---- the tokens ---- */

struct exchanging {
    struct consent *l;
    const struct answer_shape *shape;
    const char *what; /* was asked for */
};

static void on_token(void *owner, const struct http_result *answer)
{
    struct exchanging *e = owner;
    struct consent *l = e->l;

    oauth_answer_judge_as(&l->answer, l->file.cfg, e->shape, answer->status,
                          buf_slice(answer->body), http_header_get(answer, "content-type"),
                          http_header_get(answer, "retry-after"), ctl_clock_ms(l->c));
    if (l->answer.outcome != OAUTH_TOKEN)
        err_set(&l->err, ERR_DENIED, "the token endpoint gave no token for the %s: %s", e->what,
                l->answer.text);
    if (l->answer.outcome != OAUTH_TOKEN)
        consent_description(l, answer);
}

/* A code is good once: it is not spent before Redis is there to take what comes for it. */
static bool wait_for_redis(struct consent *l)
{
    bool there = ctl_reach(l->c, &l->err);

    if (!there)
        ctl_say(0, "the owner has answered; the code is kept until Redis is there: %s", l->err.msg);
    while (!there && clock_boot_ms() < l->until_ms) {
        link_sleep(l->c->link, AGAIN_MS);
        l->err = (struct err){0};
        there = ctl_reach(l->c, &l->err);
    }
    return there || err_prefix(&l->err, "the owner said yes, and the code was not used: ");
}

static bool exchange(struct consent *l)
{
    const struct connection_cfg *cfg = l->file.cfg;
    struct exchanging e = {.l = l, .shape = &cfg->profile.answer, .what = "code"};
    bool ok;

    do { /* anew for a nonce: an assertion is for one request */
        oauth_request_deinit(&l->rq);
        l->dpop.now_ms = ctl_clock_ms(l->c);
        ok = oauth_code_request(&l->rq, cfg, &l->question, buf_slice(&l->file.client_secret),
                                buf_slice(&l->code), slice_cstr(l->redirect_uri), l->dpop.now_ms,
                                &l->err) &&
             once_form(cfg, l->cert, "the token endpoint", &l->rq, &l->dpop, on_token, &e, &l->err);
    } while (ok && l->dpop.again);
    return ok && l->err.code == ERR_NONE;
}

/* The token that came, for the one that is kept. */
static bool exchange_again(struct consent *l)
{
    const struct connection_cfg *cfg = l->file.cfg;
    struct exchanging e = {.l = l, .shape = &cfg->profile.chain_answer, .what = "first token"};
    struct oauth_answer first = l->answer;
    bool ok;

    l->answer = (struct oauth_answer){.outcome = OAUTH_TRANSIENT}; /* it may stay without one */
    oauth_request_deinit(&l->rq);
    ok = oauth_code_chain(&l->rq, cfg, buf_slice(&l->file.client_secret), first.access_token,
                          ctl_clock_ms(l->c), &l->err) &&
         once_form(cfg, l->cert, "chain.url", &l->rq, NULL, on_token, &e, &l->err);
    oauth_answer_deinit(&first);
    return ok && l->err.code == ERR_NONE;
}

/* Where nothing is renewed, the token is all there is. */
static bool take_grant(struct consent *l)
{
    if (l->file.cfg->profile.not_renewed)
        return true;
    if (l->answer.refresh_token.len == 0)
        return err_set(&l->err, ERR_DENIED,
                       "the answer has no refresh token. Ask for one, often by a scope "
                       "(offline_access) or a parameter (authorize: {params: {access_type: "
                       "offline}}); where there is none: token: {renewal: none}");
    return buf_add_slice(&l->file.grant_secret, l->answer.refresh_token) ||
           err_set(&l->err, ERR_NOMEM, "the refresh token is too long");
}

/* A renewal's answer may leave out where the API is: then it is where this one says. */
static void note_base(struct consent *l)
{
    struct profile *p = &l->file.cfg->profile;
    struct oauth_brought *b = &l->brought;

    if (l->answer.base_url.len == 0)
        return;
    b->at[b->count++] =
        (struct name_value){SLICE_LIT(PROFILE_LINKED_BASE), buf_slice(&l->answer.base_url)};
    p->callback = (struct name_map){b->at, b->count};
    profile_say(p, "callback", true);
}

/* By whichever way: l->answer is a token then, and it is ready to be stored. */
static bool by_device(struct consent *l, const struct args *args, bool *device)
{
    const struct connection_cfg *cfg = l->file.cfg;
    struct slice base = cfg->profile.api.base_url;

    *device = cfg->grant == GRANT_DEVICE_CODE || args->flag[L_DEVICE];
    if (!*device)
        return true;
    if (cfg->device_url.len == 0)
        return err_set(&l->err, ERR_CONFIG, "--device: its settings have no device_url");
    return slice_find(base, '{') == base.len || !memmem(base.ptr, base.len, "{callback.", 10) ||
           err_set(&l->err, ERR_CONFIG,
                   "--device: api.base_url has {callback.NAME}, which only a browser brings");
}

static bool obtain(struct consent *l, const struct args *args, int64_t limit_ms)
{
    const struct connection_cfg *cfg = l->file.cfg;
    bool device, ok;

    if (!by_device(l, args, &device))
        return false;
    if (device)
        ok = conn_by_device(l->c, cfg, buf_slice(&l->file.client_secret), &l->dpop, l->cert,
                            limit_ms, &l->answer, &l->err);
    else
        ok = consent_ask(l, !args->flag[L_NO_LISTEN], !args->flag[L_NO_BROWSER], limit_ms) &&
             wait_for_redis(l) && exchange(l);
    ok = ok && (cfg->profile.chain_url.len == 0 || exchange_again(l));
    l->answered_ms = clock_wall_ms();
    if (ok)
        note_base(l);
    return ok && take_grant(l) &&
           (access_write(&l->access, &l->answer) ||
            err_set(&l->err, ERR_NOMEM, "the access token is too long"));
}

/* ---- the verb ---- */

static bool consent_init(struct consent *l)
{
    buf_init(&l->file.client_secret, SECRET_MAX);
    buf_init(&l->file.grant_secret, SECRET_MAX);
    buf_init(&l->file.dpop_key, SECRET_MAX);
    buf_init(&l->code, OAUTH_CODE_MAX);
    buf_init(&l->pasted, CONSENT_PASTE_MAX);
    buf_init(&l->access, ACCESS_MAX);
    buf_init(&l->url, URL_ROOM);
    oauth_code_begin(&l->question);
    if (uv_loop_init(&l->loop) != 0)
        return err_set(&l->err, ERR_NOMEM, "cannot make a loop");
    uv_timer_init(&l->loop, &l->timer);
    l->timer.data = l;
    return true;
}

static void consent_deinit(struct consent *l)
{
    httpd_free(l->httpd);
    uv_close((uv_handle_t *)&l->timer, NULL);
    uv_run(&l->loop, UV_RUN_DEFAULT);
    uv_loop_close(&l->loop);
    oauth_answer_deinit(&l->answer);
    oauth_request_deinit(&l->rq);
    oauth_code_deinit(&l->question);
    buf_wipe(&l->code);
    buf_wipe(&l->access);
    buf_wipe(&l->url); /* it has the state in it */
    buf_wipe(&l->pasted);
    dpop_key_free(l->dpop_key);
    client_cert_unref(l->cert);
    connection_file_deinit(&l->file);
}

static void say_scopes(struct consent *l)
{
    struct slice asked = l->file.cfg->scopes, granted = l->answer.scope;

    if (granted.len > 0 && !slice_eq(asked, granted))
        out_note(&l->c->out, "asked for: %.*s\ngranted:   %.*s", SLICE_FMT(asked),
                 SLICE_FMT(granted));
}

/* A token that nothing renews: when the owner is needed again. */
static void say_end(struct consent *l, int64_t lifetime_ms)
{
    const struct profile *p = &l->file.cfg->profile;

    if (!p->not_renewed || p->answer.expiry_kind == EXPIRY_NEVER)
        return;
    out_note(&l->c->out,
             "Its token cannot be renewed: in %lld h its jobs wait until it is linked again.",
             (long long)(lifetime_ms / 3600000));
}

/* What becomes of tokens that nobody has: what would end another's grant, or may be stored after
 * all, is left alone. */
static void drop_tokens(struct consent *l, struct slice id, enum err_code why)
{
    struct err err = {0};

    if (why == ERR_UNKNOWN)
        ctl_say(0,
                "it may have been stored all the same: look at conn show %.*s once Redis answers. "
                "If it was not, run conn link again",
                SLICE_FMT(id));
    else if (l->in_use)
        ctl_say(0, "the tokens were not revoked at the provider, for that may end the grant that "
                   "the connection has; run conn link again");
    else if (conn_revoke_unstored(l->c, &l->file, l->cert, l->answer.access_token, &err))
        ctl_say(0, "the tokens were revoked at the provider; run conn link again");
    else
        ctl_say(0,
                "the tokens could not be revoked at the provider (%s): revoke the grant there by "
                "hand, and run conn link again",
                err.msg);
}

static int store(struct consent *l, struct slice id, const char *cd, uint64_t gen)
{
    int64_t life =
        l->answer.lifetime_ms >= 0 ? l->answer.lifetime_ms : l->file.cfg->default_lifetime_ms;
    const struct linked_token token = {.access = buf_slice(&l->access),
                                       .scope = l->answer.scope,
                                       .lifetime_ms = life,
                                       .answered_ms = l->answered_ms};
    enum err_code why;
    int code;

    if (conn_apply_linked(l->c, &l->file, &token, cd, gen, l->until_ms, &l->err)) {
        say_scopes(l);
        say_end(l, life);
        if (l->answer.text[0])
            out_note(&l->c->out, "Of the access token: %s.", l->answer.text);
        return CTL_OK;
    }
    why = l->err.code;
    if (why == ERR_RETRY && !l->err.rule[0]) /* somebody changed it meanwhile: what it has is his */
        return ctl_fail(l->c, &l->err);
    err_prefix(&l->err,
               "connection %.*s was not linked: the owner said yes, but it could not be stored: ",
               SLICE_FMT(id));
    code = ctl_fail(l->c, &l->err);
    drop_tokens(l, id, why);
    return code;
}

int conn_link(struct ctl *c, const struct args *args)
{
    struct slice id = slice_cstr(args->names[0]);
    struct consent l = {.c = c};
    struct connection_record rec;
    struct redis_reply *reply = NULL;
    int64_t limit_ms = 0;
    char cd[65] = "";
    int code;

    if ((code = ctl_flag_ms(c, args, L_TIMEOUT, WAIT_MS, &limit_ms)) || (code = ctl_keys(c)) ||
        (code = ctl_connect(c)) || (code = ctl_meta(c)) || (code = conn_read(c, id, &rec, &reply)))
        return code;
    if (!consent_init(&l)) {
        redis_reply_free(reply);
        return ctl_fail(c, &l.err);
    }
    slice_copy(rec.cd, cd, sizeof cd);
    l.until_ms = clock_boot_ms() + limit_ms;
    l.in_use = (rec.rt.len > 0 || rec.at.len > 0) && !slice_is(rec.state, "NEEDS_CONSENT");
    if (!read_settings(&l, id, &rec) || !obtain(&l, args, limit_ms)) {
        err_prefix(&l.err, "connection %.*s was not linked: ", SLICE_FMT(id));
        code = ctl_fail(c, &l.err);
    } else {
        code = store(&l, id, cd, rec.gen);
    }
    redis_reply_free(reply);
    consent_deinit(&l);
    return code;
}

/* awq-ctl conn link: ask an account's owner, by the authorization code grant (RFC 6749
 * section 4.1), and store what the answer gives. The browser comes back to a listener on loopback
 * (RFC 8252 section 7.3), or its last address is pasted. conn_device.c: by a device code. */
#include "tools/ctl/conn.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include <uv.h>
#include "common/access.h"
#include "common/clock.h"
#include "common/httpd.h"
#include "common/oauth_code.h"
#include "tools/ctl/browser.h"
#include "tools/ctl/conn_device.h"
#include "tools/ctl/link.h"
#include "tools/ctl/once.h"

#define SECRET_MAX    16384
#define URL_ROOM      (16 * 1024)
#define PASTE_MAX     16384
#define STRANGERS_MAX 3 /* said of so many: a page can open the callback all day */
#define WAIT_MS       600000
#define AGAIN_MS      1000
#define PORT_FIRST    49152 /* dynamic ports (RFC 6335 section 6) */
#define PORTS         16384
#define CALLBACK      "/callback"
#define START         "/start"

enum { L_TIMEOUT, L_NO_LISTEN, L_DEVICE, L_NO_BROWSER };

const struct flag conn_link_flags[CONN_LINK_FLAGS] = {
    [L_TIMEOUT] = {"--timeout", NULL, "TIME", "wait so long for the owner (default 10m)"},
    [L_NO_LISTEN] = {"--no-listen", NULL, NULL,
                     "the browser is on another machine: paste the address that it ends on"},
    [L_DEVICE] = {"--device", NULL, NULL, "show a code to enter on any machine (device_url)"},
    [L_NO_BROWSER] = {"--no-browser", NULL, NULL, "open none: the address is printed only"},
};

struct consent {
    struct ctl *c;
    struct connection_file file; /* what conn apply would have read */
    struct oauth_code question;
    char redirect_uri[2048];
    struct slice callback;        /* its path, where the listener waits for the browser */
    struct oauth_brought brought; /* beside the code */
    int64_t until_ms;             /* --timeout, by clock_boot_ms */
    bool in_use;                  /* it has a grant that may be good, while its owner is asked */
    struct buf access;            /* what is stored of the token (access.h) */
    int64_t answered_ms;
    uv_loop_t loop;
    uv_timer_t timer;
    struct httpd *httpd;
    struct buf url; /* what the owner's browser is to open */
    bool started;   /* it came for that */
    struct buf code, pasted;
    struct dpop_key *dpop_key; /* that the tokens are to be bound to; or NULL */
    struct once_dpop dpop;
    struct client_cert *cert; /* that awq-ctl shows; or NULL */
    struct oauth_request rq;
    struct oauth_answer answer;
    bool over;     /* of what is waited for */
    int strangers; /* answers with another state */
    struct err err;
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
    return conn_open(l->c, id, rec, KEY_GRANT, "cs", &l->file.client_secret, &l->err) &&
           conn_open_cert(l->c, id, rec, &l->cert, &l->err) && read_dpop_key(l, id, rec);
}

/* ---- the answer ---- */

static void page(struct httpd_answer *a, int status, const char *title, const char *text)
{
    a->status = status;
    a->content_type = "text/html; charset=utf-8";
    buf_addf(&a->body,
             "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>%s</title>\n"
             "<body style=\"font: 1.1em sans-serif; max-width: 34em; margin: 4em auto\">\n"
             "<h1>%s</h1><p>%s</p></body></html>\n",
             title, title, text);
}

/* The code, and what the settings want to know beside it. */
static bool take_answer(struct consent *l, struct slice query, struct err *err)
{
    struct profile *p = &l->file.cfg->profile;

    if (!oauth_code_read(l->file.cfg, &l->question, query, &l->code, err) ||
        !oauth_code_brought(l->file.cfg, query, &l->brought, err))
        return false;
    if (l->brought.count > 0) {
        p->callback = (struct name_map){l->brought.at, l->brought.count};
        profile_say(p, "callback", true);
    }
    return true;
}

/* Of the browser that was opened: once, for this address is in the process list, and whoever else
 * came first must be noticed. */
static void start(struct consent *l, struct httpd_answer *a)
{
    if (l->started || l->over || l->url.len == 0) {
        page(a, 410, "This was opened already",
             "If that was not you, stop the command in the terminal and run it again.");
        return;
    }
    l->started = true;
    page(a, 302, "One moment", "The provider's page opens.");
    a->location = l->url.ptr;
}

/* An answer that is not to this question is somebody's attempt, or an old tab: it ends nothing. */
static void on_redirect(void *owner, const struct httpd_request *rq, struct httpd_answer *a)
{
    struct consent *l = owner;
    struct err err = {0};

    if (slice_is(rq->path, START)) {
        start(l, a);
        return;
    }
    if (!slice_eq(rq->path, l->callback))
        return;
    if (l->over) {
        page(a, 410, "This was answered already",
             "Nothing was done with this second answer. The terminal says how it went.");
        return;
    }
    if (take_answer(l, rq->query, &err)) {
        page(a, 200, "Thank you",
             "The answer has arrived. You can close this page; the terminal says whether the "
             "account is linked.");
        l->over = true;
        return;
    }
    if (slice_is(slice_cstr(err.rule), "state_mismatch")) {
        page(a, 400, "Not the answer that is waited for",
             "This page does not belong to the link that is being made now. Open the address that "
             "the terminal shows.");
        if (++l->strangers <= STRANGERS_MAX)
            ctl_say(0, "somebody opened the callback with another state; still waiting%s",
                    l->strangers == STRANGERS_MAX ? " (and says so no more)" : "");
        return;
    }
    page(a, 400, "The account was not linked", "The terminal says why. Nothing was stored.");
    l->err = err;
    l->over = true;
}

/* A provider that does not know the redirect URI sends nobody there: its error stays where only the
 * owner sees it. */
static bool nobody(struct consent *l)
{
    return err_set(&l->err, ERR_CONSENT,
                   CONN_NOBODY_ANSWERED " (once the redirect URI or the scopes are mended, where "
                                        "the browser shows an error of the provider)");
}

static void on_time(uv_timer_t *t)
{
    struct consent *l = t->data;

    nobody(l);
    l->over = true;
}

static bool wait_for_redirect(struct consent *l, int64_t limit_ms)
{
    uv_timer_start(&l->timer, on_time, (uint64_t)limit_ms, 0);
    while (!l->over)
        uv_run(&l->loop, UV_RUN_ONCE);
    uv_timer_stop(&l->timer);
    /* the page is still to be sent */
    for (int i = 0; i < 20 && l->httpd; i++) {
        uv_run(&l->loop, UV_RUN_NOWAIT);
        link_sleep(l->c->link, 5);
    }
    return l->err.code == ERR_NONE;
}

/* One line of what was typed or pasted, as it comes; false when the time is over or nothing more
 * comes. */
static bool read_line(struct consent *l, int64_t until)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    char c;

    buf_wipe(&l->pasted);
    buf_init(&l->pasted, PASTE_MAX);
    for (;;) {
        int64_t left = until - clock_boot_ms();

        if (left <= 0 || poll(&in, 1, left < INT_MAX ? (int)left : INT_MAX) == 0)
            return nobody(l);
        if (read(STDIN_FILENO, &c, 1) != 1)
            return l->pasted.len > 0 ||
                   err_set(&l->err, ERR_CONSENT, "nothing was pasted; nothing was stored");
        if (c == '\n')
            return true;
        if (!buf_add_char(&l->pasted, c))
            return err_set(&l->err, ERR_CONSENT, "what was pasted is too long for an address");
    }
}

/* What was pasted by mistake ends nothing: the owner has answered, and need not be asked again. */
/* Ours, or what stands for it (RFC 9126). */
static bool is_question(struct slice query)
{
    return slice_starts(query, SLICE_LIT("response_type=")) ||
           memmem(query.ptr, query.len, "&request_uri=", 13) != NULL;
}

static bool read_pasted(struct consent *l, int64_t limit_ms)
{
    int64_t until = clock_boot_ms() + limit_ms;
    struct slice line, query;
    struct err err = {0};

    while (read_line(l, until)) {
        line = slice_trim(buf_slice(&l->pasted));
        while (line.len > 0 && (unsigned char)line.ptr[line.len - 1] <= ' ')
            line.len--;
        if (line.len > 1 && (line.ptr[0] == '"' || line.ptr[0] == '\''))
            line = slice_sub(line, 1, line.len - 2); /* as a shell would have it */
        query = slice_sub(line, slice_find(line, '?') + 1, line.len);
        query = slice_sub(query, 0, slice_find(query, '#'));
        if (is_question(query)) {
            ctl_say(0, "that is the address of the question: open it, and paste the one that the "
                       "browser ends on:");
            continue;
        }
        if (query.len > 0 && take_answer(l, query, &err))
            return true;
        if (query.len > 0 && !slice_is(slice_cstr(err.rule), "state_mismatch")) {
            l->err = err;
            return false;
        }
        ctl_say(0,
                query.len == 0
                    ? "that is no address with an answer in it (http://127.0.0.1:...?code=...); "
                      "paste the whole one:"
                    : "that is the answer to another question; paste the address that this link's "
                      "browser ended on:");
    }
    return false;
}

/* In the server's own words, which name the parameter that it does not like. */
static void say_description(const struct consent *l, const struct http_result *answer)
{
    const struct slice secrets[] = {
        buf_slice(&l->file.client_secret),
        buf_slice(&l->code),
        slice_cstr(l->question.verifier),
        slice_cstr(l->question.state),
    };
    char text[300];

    oauth_description(buf_slice(answer->body), secrets, ARRAY_LEN(secrets), text, sizeof text);
    if (text[0])
        ctl_say(0, "the server says of that: %s", text);
}

struct pushing {
    struct consent *l;
    struct buf *url;
    bool ok;
};

static void on_pushed(void *owner, const struct http_result *answer)
{
    struct pushing *p = owner;

    p->ok = oauth_code_pushed(p->url, p->l->file.cfg, answer->status, buf_slice(answer->body),
                              &p->l->err);
    if (!p->ok)
        say_description(p->l, answer);
}

/* What the owner's browser is to open: the question itself, or what stands for it once the server
 * has it (RFC 9126). */
static bool find_url(struct consent *l, struct buf *url)
{
    const struct connection_cfg *cfg = l->file.cfg;
    struct slice back = slice_cstr(l->redirect_uri);
    struct pushing p = {.l = l, .url = url};
    struct oauth_request rq;

    if (cfg->par_url.len == 0)
        return oauth_code_url(url, cfg, &l->question, back, &l->err);
    p.ok = oauth_code_push(&rq, cfg, &l->question, buf_slice(&l->file.client_secret), back,
                           ctl_clock_ms(l->c), &l->err) &&
           once_form(cfg, l->cert, "the pushed authorization request", &rq, NULL, on_pushed, &p,
                     &l->err) &&
           p.ok;
    oauth_request_deinit(&rq);
    return p.ok;
}

/* Where the browser is sent back to: a port of ours, or what is registered with the provider to the
 * letter. A redirect_uri of another machine, or that the profile sends otherwise, is pasted. */
static bool choose_redirect(struct consent *l, bool *listen)
{
    const struct profile *p = &l->file.cfg->profile;
    struct slice uri = p->redirect_uri, rest;
    char address[32] = "127.0.0.1:0";
    uint64_t port = 80;
    size_t path;

    l->callback = SLICE_LIT(CALLBACK);
    if (uri.len > 0) {
        rest = slice_sub(uri, 7, uri.len); /* http:// */
        path = slice_find_any(rest, "/?");
        l->callback = slice_sub(rest, path, slice_find(rest, '?') - path);
        slice_to_u64(slice_sub(rest, slice_find(rest, ':') + 1,
                               path > slice_find(rest, ':') ? path - slice_find(rest, ':') - 1 : 0),
                     &port);
        snprintf(address, sizeof address, "127.0.0.1:%u", (unsigned)port);
        *listen = *listen && slice_starts(uri, SLICE_LIT("http://")) && port <= 65535;
    }
    *listen = *listen && !name_map_find(&p->authorize.params, SLICE_LIT("redirect_uri"));
    if (*listen && !(l->httpd = httpd_new(&l->loop, address, on_redirect, l, &l->err)))
        return false;
    if (uri.len > 0)
        return slice_copy(uri, l->redirect_uri, sizeof l->redirect_uri) ||
               err_set(&l->err, ERR_CONFIG, "redirect_uri is too long");
    snprintf(l->redirect_uri, sizeof l->redirect_uri, "http://127.0.0.1:%u" CALLBACK,
             *listen ? httpd_port(l->httpd) : PORT_FIRST + randombytes_uniform(PORTS));
    return true;
}

static void say_redirect(const struct consent *l)
{
    const struct profile *p = &l->file.cfg->profile;
    const struct slice *sent = name_map_find(&p->authorize.params, SLICE_LIT("redirect_uri"));

    if (sent || p->redirect_uri.len > 0)
        ctl_say(0, "The client's redirect URI at the provider must be %.*s to the letter.",
                SLICE_FMT(sent ? *sent : p->redirect_uri));
    else
        ctl_say(0, "The client's redirect URI at the provider must be http://127.0.0.1" CALLBACK
                   ", with any port; if it has to have one there: redirect_uri in the file.");
}

static bool ask_owner(struct consent *l, const struct args *args, int64_t limit_ms)
{
    bool listen = !args->flag[L_NO_LISTEN];

    if (!choose_redirect(l, &listen) || !find_url(l, &l->url))
        return false;
    say_redirect(l);
    ctl_say(0, "Open the address on standard output in the browser of the account's owner.");
    printf("%.*s\n", SLICE_FMT(buf_slice(&l->url)));
    fflush(stdout);
    if (!listen) {
        ctl_say(0, "It ends on a page that cannot be shown; paste its whole address here:");
        return read_pasted(l, limit_ms);
    }
    ctl_say(0,
            "Its answer is waited for here, at 127.0.0.1, for %lld s. With a browser on another "
            "machine: --no-listen%s.",
            (long long)(limit_ms / 1000), l->file.cfg->device_url.len > 0 ? ", or --device" : "");
    if (!args->flag[L_NO_BROWSER])
        browser_open(httpd_port(l->httpd), START);
    return wait_for_redirect(l, limit_ms);
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
        say_description(l, answer);
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
        ok = ask_owner(l, args, limit_ms) && wait_for_redis(l) && exchange(l);
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
    buf_init(&l->pasted, PASTE_MAX);
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

/* The owner's yes, by the authorization code grant (RFC 6749 section 4.1). The browser comes back
 * to a listener on loopback (RFC 8252 section 7.3), or its last address is pasted. */
#include "tools/ctl/conn_consent.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include "common/clock.h"
#include "tools/ctl/browser.h"
#include "tools/ctl/link.h"

#define STRANGERS_MAX 3     /* said of so many: a page can open the callback all day */
#define PORT_FIRST    49152 /* dynamic ports (RFC 6335 section 6) */
#define PORTS         16384
#define CALLBACK      "/callback"
#define START         "/start"

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
    buf_init(&l->pasted, CONSENT_PASTE_MAX);
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
           (query.len > 0 && memmem(query.ptr, query.len, "&request_uri=", 13) != NULL);
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
void consent_description(const struct consent *l, const struct http_result *answer)
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
        consent_description(p->l, answer);
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

bool consent_ask(struct consent *l, bool listen, bool browser, int64_t limit_ms)
{
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
    if (browser)
        browser_open(httpd_port(l->httpd), START);
    return wait_for_redirect(l, limit_ms);
}

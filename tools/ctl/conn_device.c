/* awq-ctl conn link for a device grant (RFC 8628): the owner types a code in on any browser, and we
 * ask until that is done. */
#include "tools/ctl/conn_device.h"

#include "tools/ctl/conn.h"

#include <stdio.h>
#include "common/clock.h"
#include "common/oauth_device.h"
#include "tools/ctl/link.h"
#include "tools/ctl/once.h"

struct device {
    struct ctl *c;
    const struct connection_cfg *cfg;
    struct once_dpop *dpop;
    struct client_cert *cert;
    struct oauth_device d;
    struct oauth_answer *answer;
    struct err *err;
    bool ok;
};

static void on_code(void *owner, const struct http_result *answer)
{
    struct device *v = owner;

    v->ok = oauth_device_read(&v->d, answer->status, buf_slice(answer->body), v->err);
}

static bool ask(struct device *v, struct slice secret)
{
    struct oauth_request rq;
    bool ok = oauth_device_ask(&rq, v->cfg, secret, ctl_clock_ms(v->c), v->err) &&
              once_form(v->cfg, v->cert, "the device authorization endpoint", &rq, NULL, on_code, v,
                        v->err) &&
              v->ok;

    oauth_request_deinit(&rq);
    return ok;
}

static void on_poll(void *owner, const struct http_result *answer)
{
    struct device *v = owner;

    oauth_answer_judge(v->answer, v->cfg, answer->status, buf_slice(answer->body),
                       http_header_get(answer, "content-type"),
                       http_header_get(answer, "retry-after"), ctl_clock_ms(v->c));
}

/* One request. An answer that did not come is asked for again (section 3.5): *came is false then.
 */
static bool poll_once(struct device *v, struct slice secret, bool *came)
{
    struct oauth_request rq;
    struct err why = {0};
    bool ok = false;

    oauth_answer_deinit(v->answer);
    v->dpop->again = false;
    do { /* anew for a nonce: an assertion is for one request */
        v->dpop->now_ms = ctl_clock_ms(v->c);
        ok = oauth_device_poll(&rq, v->cfg, &v->d, secret, v->dpop->now_ms, v->err);
        *came =
            ok && once_form(v->cfg, v->cert, "the token endpoint", &rq, v->dpop, on_poll, v, &why);
        oauth_request_deinit(&rq);
    } while (*came && v->dpop->again);
    if (ok && !*came && why.code != ERR_UNREACHABLE && why.code != ERR_UNKNOWN) {
        *v->err = why;
        return false;
    }
    return ok;
}

/* Or somebody did, and Redis is away: then the error says that. */
static bool nobody(struct device *v)
{
    if (v->err->code == ERR_NONE)
        err_set(v->err, ERR_CONSENT, CONN_NOBODY_ANSWERED);
    return false;
}

static bool give_up(struct device *v)
{
    struct slice reason = slice_cstr(v->answer->reason);

    if (slice_is(reason, "expired_token"))
        return nobody(v);
    return err_set(v->err, ERR_DENIED, "%s",
                   slice_is(reason, "access_denied") ? "the owner said no (access_denied)"
                                                     : v->answer->text);
}

/* A poll may bring the tokens, once: none is made before Redis is there to take them. */
static bool redis_is_there(struct device *v)
{
    bool said = v->err->code != ERR_NONE;

    *v->err = (struct err){0};
    if (ctl_reach(v->c, v->err))
        return true;
    if (!said)
        ctl_say(0, "the server is not asked until Redis is there: %s", v->err->msg);
    return false;
}

static bool poll(struct device *v, struct slice secret, int64_t limit_ms)
{
    int64_t end = clock_boot_ms() + (limit_ms < v->d.expires_ms ? limit_ms : v->d.expires_ms);
    bool came;

    for (;;) {
        int64_t left = end - clock_boot_ms();

        link_sleep(v->c->link, left < v->d.interval_ms ? left : v->d.interval_ms);
        if (clock_boot_ms() >= end)
            return nobody(v);
        if (!redis_is_there(v))
            continue;
        if (!poll_once(v, secret, &came))
            return false;
        if (came && v->answer->outcome == OAUTH_TOKEN)
            return true;
        if (!oauth_device_goes_on(&v->d, came ? v->answer : NULL))
            return give_up(v);
    }
}

bool conn_by_device(struct ctl *c, const struct connection_cfg *cfg, struct slice secret,
                    struct once_dpop *dpop, struct client_cert *cert, int64_t limit_ms,
                    struct oauth_answer *answer, struct err *err)
{
    struct device v = {
        .c = c, .cfg = cfg, .dpop = dpop, .cert = cert, .answer = answer, .err = err};
    bool ok = ask(&v, secret);

    if (ok) {
        /* these lines may go another way than ours: each has to make sense alone */
        ctl_say(0,
                "The account's owner opens the address on standard output, on any machine, and "
                "enters the code in the line below it.%s",
                v.d.uri_complete[0] ? " The last line is an address with the code in it." : "");
        printf("%s\n%s\n", v.d.uri, v.d.user_code);
        if (v.d.uri_complete[0])
            printf("%s\n", v.d.uri_complete);
        fflush(stdout);
        ok = poll(&v, secret, limit_ms);
    }
    oauth_device_deinit(&v.d);
    return ok;
}

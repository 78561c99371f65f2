/* The access token's place in a request: a header as a rule, as its profile says. */
#include <string.h>

#include "common/oauth_path.h"
#include "worker/step_parts.h"

#define NAME_OF(s)  ((s)->conn->cfg->profile.api.token_name)
#define PLACE_OF(s) ((s)->conn->cfg->profile.api.token_in)

struct slice step_sent_token(const struct step *s)
{
    struct slice token = SLICE_NONE;

    if (s->token)
        access_token(&s->token->access, s->env.call.token, &token);
    return token;
}

bool step_has_token(const struct step *s, struct err *err)
{
    struct slice token;

    return access_token(&s->token->access, s->env.call.token, &token) ||
           err_rule(err, ERR_DENIED, "token_unknown",
                    "job %s: connection %s has no token named %.*s (answer.tokens)", s->name,
                    s->conn->id, SLICE_FMT(s->env.call.token));
}

bool step_is_token_header(const struct step *s, struct slice name)
{
    return PLACE_OF(s) == TOKEN_IN_HEADER && NAME_OF(s).len > 0 &&
           egress_same_header(name, NAME_OF(s));
}

/* As a server may read it: escaped with %XX, cut at a byte that is no text, after a blank or before
 * a "[", behind a ";", and in upper or lower case. */
static bool is_token_query(const struct step *s, struct slice member)
{
    struct slice one, name;
    struct buf clear;
    bool is = false;

    buf_init(&clear, member.len + 1);
    while (!is && slice_cut(&member, ';', &one)) {
        buf_clear(&clear);
        (void)oauth_form_decode(slice_sub(one, 0, slice_find(one, '=')), &clear);
        name = slice_trim(buf_slice(&clear));
        is = slice_eq_nocase(slice_sub(name, 0, slice_find(name, '[')), NAME_OF(s));
    }
    buf_deinit(&clear);
    return is;
}

/* Of two in one address a server may read the job's, and act for another account. */
bool step_leaves_token_out(const struct step *s, struct slice url, struct err *err)
{
    struct slice query = slice_sub(url, slice_find(url, '?') + 1, url.len), one;

    while (PLACE_OF(s) == TOKEN_IN_QUERY && slice_cut(&query, '&', &one))
        if (is_token_query(s, one))
            return err_rule(err, ERR_DENIED, "call_query_invalid",
                            "a job may not set %.*s in its query: the token goes there",
                            SLICE_FMT(NAME_OF(s)));
    return true;
}

/* A redirect may have it in its address already: there it is dropped, to be put in anew. */
bool step_drop_token(const struct step *s, struct slice url, struct buf *out)
{
    size_t mark = slice_find(url, '?'), end = slice_find(url, '#');
    struct slice query = slice_sub(url, mark + 1, end > mark ? end - mark - 1 : 0), one;
    char sep = '?';

    if (PLACE_OF(s) != TOKEN_IN_QUERY)
        return buf_add_slice(out, url);
    buf_add_slice(out, slice_sub(url, 0, mark < end ? mark : end));
    while (slice_cut(&query, '&', &one)) {
        if (is_token_query(s, one))
            continue;
        buf_add_char(out, sep);
        buf_add_slice(out, one);
        sep = '&';
    }
    return buf_add_slice(out, slice_sub(url, end, url.len));
}

/* In a URL of its own, so that s->url stays free of it. */
static bool in_query(const struct step *s, struct buf *url)
{
    struct slice base = buf_slice(&s->url);

    buf_add_slice(url, base);
    buf_add_char(url, slice_find(base, '?') < base.len ? '&' : '?');
    oauth_form_encode(url, NAME_OF(s));
    buf_add_char(url, '=');
    return oauth_form_encode(url, step_sent_token(s));
}

static bool in_header(const struct step *s, struct http_call *hc, struct buf *room)
{
    struct slice name = NAME_OF(s);

    hc->secret.name = name.len > 0 ? name : SLICE_LIT("Authorization");
    if (s->env.call.token.len == 0) { /* it stands ready */
        hc->secret.value = slice_of(s->token->header, s->token->header_len);
        return true;
    }
    buf_add(room, s->token->header, s->token->scheme_len);
    buf_add_slice(room, step_sent_token(s));
    hc->secret.value = buf_slice(room);
    return buf_ok(room);
}

static bool in_cookie(const struct step *s, struct http_call *hc, struct buf *room)
{
    buf_addf(room, "%.*s=%.*s", SLICE_FMT(NAME_OF(s)), SLICE_FMT(step_sent_token(s)));
    hc->secret = (struct http_header){SLICE_LIT("Cookie"), buf_slice(room)};
    return buf_ok(room);
}

bool step_place_token(const struct step *s, struct http_call *hc, struct buf *room, struct err *err)
{
    bool ok = false;

    switch (PLACE_OF(s)) {
    case TOKEN_IN_HEADER:
        ok = in_header(s, hc, room);
        break;
    case TOKEN_IN_QUERY:
        ok = in_query(s, room);
        hc->url = room->ptr;
        break;
    case TOKEN_IN_COOKIE:
        ok = in_cookie(s, hc, room);
        break;
    }
    return ok || err_set(err, ERR_NOMEM, "job %s: out of memory", s->name);
}

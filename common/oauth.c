#include "common/oauth.h"

#include <stdio.h>
#include <string.h>
#include "common/char.h"
#include "common/http.h"
#include "common/json.h"

#define MARGIN_MAX ((int64_t)31 * 24 * 3600 * 1000)

/* ---- challenges ---------------------------------------------------------------------------------
 */

/*
 * WWW-Authenticate = #( scheme [ 1*SP ( token68 / #( name = ( token / quoted ) ) ) ] )
 *
 * A comma stands between challenges and between the parameters of one. A word with '=' after it is
 * a parameter; a word without is the scheme of the next challenge.
 */
static bool is_word_char(char c)
{
    return c > ' ' && c <= '~' && !strchr("()<>@,;:\\\"/[]?={}", c);
}

static bool is_68_char(char c) /* token68 = letters, digits and -._~+/ , then any number of = */
{
    return char_is_alnum(c) || (c && strchr("-._~+/", c));
}

static void skip_blanks(struct slice *s)
{
    while (s->len > 0 && (s->ptr[0] == ' ' || s->ptr[0] == '\t'))
        *s = slice_sub(*s, 1, s->len);
}

static struct slice take_word(struct slice *s)
{
    size_t n = 0;
    struct slice word;

    while (n < s->len && is_word_char(s->ptr[n]))
        n++;
    word = slice_sub(*s, 0, n);
    *s = slice_sub(*s, n, s->len);
    return word;
}

/* A quoted string; what it says goes to `to`, cut where it is longer. False: no end. */
static bool take_quoted(struct slice *s, char *to, size_t size)
{
    size_t used = 0;

    for (size_t i = 1; i < s->len; i++) {
        char c = s->ptr[i];

        if (c == '"') {
            to[used] = '\0';
            *s = slice_sub(*s, i + 1, s->len);
            return true;
        }
        if (c == '\\' && ++i < s->len)
            c = s->ptr[i];
        if (used + 1 < size)
            to[used++] = c;
    }
    return false;
}

static bool take_value(struct slice *s, char *to, size_t size)
{
    struct slice word;

    if (s->len > 0 && s->ptr[0] == '"')
        return take_quoted(s, to, size);
    word = take_word(s);
    if (!slice_copy(word, to, size))
        to[0] = '\0';
    return word.len > 0;
}

/* After a scheme: token68, if that is what stands there up to a comma or the end. */
static void skip_token68(struct slice *s)
{
    size_t n = 0;

    while (n < s->len && is_68_char(s->ptr[n]))
        n++;
    if (n == 0)
        return;
    while (n < s->len && s->ptr[n] == '=')
        n++;
    while (n < s->len && (s->ptr[n] == ' ' || s->ptr[n] == '\t'))
        n++;
    if (n == s->len || s->ptr[n] == ',')
        *s = slice_sub(*s, n, s->len);
}

static enum oauth_challenge challenge_of(const char *error)
{
    if (strcmp(error, "invalid_token") == 0)
        return CHALLENGE_INVALID_TOKEN;
    if (strcmp(error, "insufficient_scope") == 0)
        return CHALLENGE_INSUFFICIENT_SCOPE;
    if (strcmp(error, "use_dpop_nonce") == 0)
        return CHALLENGE_USE_NONCE;
    return CHALLENGE_OTHER;
}

static bool is_bearer(struct slice scheme)
{
    return slice_eq_nocase(scheme, SLICE_LIT("Bearer")) ||
           slice_eq_nocase(scheme, SLICE_LIT("DPoP"));
}

enum oauth_challenge oauth_challenge_read(struct slice s)
{
    enum oauth_challenge said = CHALLENGE_NONE;
    bool bearer = false;

    while (s.len > 0) {
        char value[32];
        struct slice word;

        skip_blanks(&s);
        if (s.len > 0 && s.ptr[0] == ',') { /* empty members of a list are allowed */
            s = slice_sub(s, 1, s.len);
            continue;
        }
        word = take_word(&s);
        if (word.len == 0)
            return said; /* the end, or not readable from here */
        skip_blanks(&s);
        if (s.len == 0 || s.ptr[0] != '=') { /* the next challenge */
            bearer = is_bearer(word);
            if (bearer && said == CHALLENGE_NONE)
                said = CHALLENGE_OTHER;
            skip_token68(&s);
            continue;
        }
        s = slice_sub(s, 1, s.len);
        skip_blanks(&s);
        if (!take_value(&s, value, sizeof value))
            return said;
        if (bearer && said != CHALLENGE_INVALID_TOKEN &&
            slice_eq_nocase(word, SLICE_LIT("error")) && challenge_of(value) != CHALLENGE_OTHER)
            said = challenge_of(value);
    }
    return said;
}

bool oauth_token_scheme(const struct connection_cfg *c, struct buf *out)
{
    const struct api_shape *api = &c->profile.api;

    if (c->dpop != JWT_ALG_OF_KEY)
        return buf_add_cstr(out, "DPoP ");
    if (api->has_scheme)
        return api->token_scheme.len == 0 ||
               (buf_add_slice(out, api->token_scheme) && buf_add_char(out, ' '));
    /* a header of its own holds the token alone, unless the profile says otherwise */
    return api->token_name.len > 0 && !slice_eq_nocase(api->token_name, SLICE_LIT("Authorization"))
               ? true
               : buf_add_cstr(out, "Bearer ");
}

/* ---- renewal ------------------------------------------------------------------------------------
 */

/* FNV-1a over id and version: no secret is involved, workers need only agree. */
static uint64_t hash(struct slice id, uint64_t ver)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < id.len; i++)
        h = (h ^ (unsigned char)id.ptr[i]) * 0x100000001b3u;
    for (unsigned i = 0; i < 8; i++)
        h = (h ^ ((ver >> (8 * i)) & 0xff)) * 0x100000001b3u;
    return h ^ (h >> 32);
}

int64_t oauth_renew_at_ms(struct slice id, uint64_t ver, int64_t born_ms, int64_t exp_ms,
                          int64_t margin_ms)
{
    int64_t share, at;

    if (born_ms <= 0 || exp_ms <= born_ms)
        return exp_ms;
    if (margin_ms < 0)
        margin_ms = 0;
    if (margin_ms > MARGIN_MAX)
        margin_ms = MARGIN_MAX;
    share = (exp_ms - born_ms) / 5;
    if (margin_ms < share)
        share = margin_ms;
    at = exp_ms - share - (int64_t)(hash(id, ver) % 1024) * share / 10230;
    return at > born_ms ? at : born_ms;
}

#include "common/oauth.h"

#include <stdio.h>
#include <string.h>
#include "common/char.h"
#include "common/http.h"
#include "common/json.h"

#define TOKEN_MAX      16384        /* bytes of one token */
#define SCOPE_MAX      4096         /* bytes of an answer's scope that are kept */
#define ANSWER_MAX     (128 * 1024) /* bytes: two tokens and some words about them */
#define LIFETIME_MAX_S ((int64_t)10 * 366 * 24 * 3600)
#define MARGIN_MAX     ((int64_t)24 * 3600 * 1000)

/* ---- the answer ---------------------------------------------------------------------------------
 */

/* Error codes and what they ask for. Those of RFC 6749 section 5.2 and 4.1.2.1, RFC 8628, RFC 8707,
 * OpenID Connect, and of servers that have words of their own for a dead grant. */
static const struct {
    const char *code;
    enum oauth_outcome outcome;
} codes[] = {
    {"invalid_grant", OAUTH_REFUSED},
    {"bad_refresh_token", OAUTH_REFUSED},
    {"invalid_refresh_token", OAUTH_REFUSED},
    {"token_revoked", OAUTH_REFUSED},
    {"token_expired", OAUTH_REFUSED},
    {"interaction_required", OAUTH_REFUSED},
    {"consent_required", OAUTH_REFUSED},
    {"login_required", OAUTH_REFUSED},
    {"slow_down", OAUTH_THROTTLED},
    {"use_dpop_nonce", OAUTH_TRANSIENT},
    {"server_error", OAUTH_TRANSIENT},
    {"temporarily_unavailable", OAUTH_TRANSIENT},
    {"timeout", OAUTH_TRANSIENT},
    {"invalid_client", OAUTH_CONFIG},
    {"unauthorized_client", OAUTH_CONFIG},
    {"incorrect_client_credentials", OAUTH_CONFIG},
    {"invalid_request", OAUTH_CONFIG},
    {"invalid_scope", OAUTH_CONFIG},
    {"invalid_target", OAUTH_CONFIG},
    {"unsupported_grant_type", OAUTH_CONFIG},
    {"access_denied", OAUTH_CONFIG},
};

static void say(struct oauth_answer *a, enum oauth_outcome outcome, const char *reason,
                const char *text)
{
    a->outcome = outcome;
    snprintf(a->reason, sizeof a->reason, "%s", reason);
    snprintf(a->text, sizeof a->text, "%s", text);
}

/* What a status without a readable error code asks for. */
static enum oauth_outcome outcome_of_status(int status)
{
    if (status == 429 || status == 503)
        return OAUTH_THROTTLED;
    /* the address is wrong, or the client is not known there: waiting will not help */
    if ((status >= 300 && status < 400) || status == 401 || status == 404 || status == 405 ||
        status == 410 || status == 415)
        return OAUTH_CONFIG;
    return OAUTH_TRANSIENT;
}

static enum oauth_outcome outcome_of_code(int status, struct slice code)
{
    /* With these a server has not judged the grant, whatever it wrote into the body. */
    if (status >= 500 || status == 429 || status == 408 || status == 425)
        return outcome_of_status(status);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        if (slice_is(code, codes[i].code))
            return codes[i].outcome;
    }
    return status >= 400 ? OAUTH_CONFIG : outcome_of_status(status);
}

/* Letters and joints only: a server that writes a token there does not get it into our texts. */
bool oauth_is_error_code(struct slice s)
{
    if (s.len == 0 || s.len > 64)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '_' && c != '-' && c != '.')
            return false;
    }
    return true;
}

/* error: null, "", false and 0 stand in good answers of some servers. */
static bool says_error(const struct json_val *v)
{
    struct slice s;
    int64_t n;
    bool b;

    switch (json_type(v)) {
    case JSON_NONE:
    case JSON_NULL:
        return false;
    case JSON_STR:
        return json_str(v, &s) && s.len > 0;
    case JSON_BOOL:
        return json_bool(v, &b) && b;
    case JSON_INT:
        return !json_int(v, &n) || n != 0;
    default:
        return true;
    }
}

static void judge_error(struct oauth_answer *a, int status, const struct json_val *error)
{
    struct slice code = SLICE_NONE;

    if (!json_str(error, &code) || !oauth_is_error_code(code))
        code = SLICE_LIT("unnamed_error");
    a->outcome = outcome_of_code(status, code);
    slice_copy(code, a->reason, sizeof a->reason);
    snprintf(a->text, sizeof a->text, "the token endpoint answered %d with error %.*s", status,
             SLICE_FMT(code));
}

static void judge_status(struct oauth_answer *a, int status, const char *what)
{
    char reason[24];

    snprintf(reason, sizeof reason, "http_%d", status);
    say(a, outcome_of_status(status), reason, "");
    snprintf(a->text, sizeof a->text, "the token endpoint answered %d with %s", status, what);
}

static bool is_html(struct slice type)
{
    return slice_eq_nocase(slice_sub(type, 0, 9), SLICE_LIT("text/html"));
}

/* Seconds, as a number or a decimal text, to milliseconds; -1 when it cannot be taken at its word.
 */
static int64_t lifetime_of(const struct json_val *v)
{
    double real;
    struct slice s;
    int64_t n = -1;

    if (json_str(v, &s)) {
        if (!slice_to_i64(s, &n))
            return -1;
    } else if (!json_int(v, &n)) {
        if (!json_real(v, &real) || !(real >= 1 && real <= (double)LIFETIME_MAX_S))
            return -1;
        n = (int64_t)real; /* a part of a second is none */
    }
    return n > 0 && n <= LIFETIME_MAX_S ? n * 1000 : -1;
}

static bool is_token(struct slice s, char least)
{
    if (s.len == 0 || s.len > TOKEN_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < least || s.ptr[i] > '~')
            return false;
    }
    return true;
}

static bool type_fits(const struct json_val *v, const struct connection_cfg *c)
{
    struct slice s;

    if (c->dpop != JWT_ALG_OF_KEY)
        return json_str(v, &s) && slice_eq_nocase(s, SLICE_LIT("DPoP"));
    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return true;
    return json_str(v, &s) &&
           (slice_eq_nocase(s, SLICE_LIT("Bearer")) ||
            (c->grant == GRANT_TOKEN_EXCHANGE && slice_eq_nocase(s, SLICE_LIT("N_A"))));
}

/* None, null and "" all mean: keep the one you have (RFC 6749 section 6). */
static bool read_refresh_token(const struct json_val *v, struct slice *to)
{
    struct slice s = SLICE_NONE;

    if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
        return true;
    if (!json_str(v, &s) || (s.len > 0 && !is_token(s, ' '))) /* VSCHAR, appendix A.17 */
        return false;
    *to = s;
    return true;
}

/* RFC 6749 section 3.3; what else stands there is nobody's scope, and no text for a terminal. */
static bool is_scopes(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < ' ' || s.ptr[i] > '~' || s.ptr[i] == '"' || s.ptr[i] == '\\')
            return false;
    return true;
}

static void judge_token(struct oauth_answer *a, const struct connection_cfg *c,
                        const struct json_val *root)
{
    struct slice access = SLICE_NONE, refresh = SLICE_NONE, scope = SLICE_NONE;

    if (json_type(json_get(root, "access_token")) == JSON_NONE)
        say(a, OAUTH_TRANSIENT, "no_access_token",
            "the token endpoint answered without an access token");
    else if (!json_str(json_get(root, "access_token"), &access) || !is_token(access, '!'))
        say(a, OAUTH_TRANSIENT, "access_token_invalid",
            "the token endpoint's access token is empty, too long or no visible ASCII text");
    else if (!type_fits(json_get(root, "token_type"), c))
        say(a, OAUTH_CONFIG, "token_type",
            c->dpop != JWT_ALG_OF_KEY
                ? "the token endpoint gave a token that is not bound to the connection's key (dpop)"
                : "the token endpoint gave a token of another type than Bearer; its settings for "
                  "this client must be changed");
    else if (!read_refresh_token(json_get(root, "refresh_token"), &refresh))
        say(a, OAUTH_TRANSIENT, "refresh_token_invalid",
            "the token endpoint's refresh token is no text, or too long");
    else
        say(a, OAUTH_TOKEN, "", "");
    if (a->outcome != OAUTH_TOKEN)
        return;
    json_str(json_get(root, "scope"), &scope);
    a->access_token = access;
    a->refresh_token = refresh;
    a->scope = scope.len <= SCOPE_MAX && is_scopes(scope) ? scope : SLICE_NONE;
    a->lifetime_ms = lifetime_of(json_get(root, "expires_in"));
}

static void judge_body(struct oauth_answer *a, const struct connection_cfg *c, int status,
                       struct slice body, struct slice content_type)
{
    bool good = status >= 200 && status < 300;
    const struct json_val *root;
    const char *what;

    if (body.len > ANSWER_MAX) {
        judge_status(a, status, "more bytes than any token answer has");
        return;
    }
    a->doc = body.len > 0 ? json_parse(body, NULL) : NULL;
    root = json_root(a->doc);
    if (json_type(root) != JSON_OBJ) {
        what = body.len == 0           ? "an empty body"
               : is_html(content_type) ? "an HTML page instead of JSON; is token_url right?"
                                       : "no JSON object; is token_url right?";
        judge_status(a, status, what);
        if (good)
            snprintf(a->reason, sizeof a->reason, "%s", body.len == 0 ? "empty" : "not_json");
    } else if (says_error(json_get(root, "error"))) {
        judge_error(a, status, json_get(root, "error"));
    } else if (good) {
        judge_token(a, c, root);
    } else {
        judge_status(a, status, "no error code");
    }
}

void oauth_answer_judge(struct oauth_answer *a, const struct connection_cfg *c, int status,
                        struct slice body, struct slice content_type, struct slice retry_after,
                        int64_t now_ms)
{
    *a = (struct oauth_answer){.outcome = OAUTH_TRANSIENT, .lifetime_ms = -1};
    judge_body(a, c, status, body, content_type);
    if (a->outcome != OAUTH_TOKEN)
        (void)http_retry_after(retry_after, now_ms, &a->retry_after_ms);
}

void oauth_answer_deinit(struct oauth_answer *a)
{
    json_free(a->doc); /* wipes */
    a->doc = NULL;
    a->access_token = a->refresh_token = a->scope = SLICE_NONE;
}

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

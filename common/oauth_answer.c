/* What a token answer means, and where its provider has put what. */
#include "common/oauth.h"

#include <stdio.h>
#include <string.h>
#include <sodium.h>
#include "common/char.h"
#include "common/egress.h"
#include "common/http.h"
#include "common/json.h"
#include "common/oauth_path.h"

#define TOKEN_MAX      16384        /* bytes of one token */
#define SCOPE_MAX      4096         /* bytes of an answer's scope that are kept */
#define ANSWER_MAX     (128 * 1024) /* bytes: two tokens and some words about them */
#define BASE_URL_MAX   2048
#define WORD_MAX       32 /* bytes of a word for people; a longer one may be a token */
#define NAMES_MAX      8  /* of an answer's members that a message names */
#define NAME_MAX_SHOWN 24 /* bytes; a longer one may be no name */
#define LIFETIME_MAX_S ((int64_t)10 * 366 * 24 * 3600)

/* An answer, and how its provider makes them. */
struct judging {
    struct oauth_answer *a;
    const struct connection_cfg *c;
    const struct answer_shape *shape;
    const struct json_val *root;
    int status;
    int64_t now_ms;
};

static const struct json_val *at(const struct judging *j, struct slice path, const char *standard)
{
    return oauth_path(j->root, path.len > 0 ? path : slice_cstr(standard));
}

/* ---- errors ---- */

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

static enum oauth_outcome outcome_of_code(const struct judging *j, struct slice code)
{
    int status = j->status;

    /* With these a server has not judged the grant, whatever it wrote into the body. */
    if (status >= 500 || status == 429 || status == 408 || status == 425)
        return outcome_of_status(status);
    if (word_list_has(&j->shape->refused, code))
        return OAUTH_REFUSED;
    if (word_list_has(&j->shape->transient, code))
        return OAUTH_TRANSIENT;
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

static bool holds(struct slice text, const struct slice *secrets, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (secrets[i].len > 0 && memmem(text.ptr, text.len, secrets[i].ptr, secrets[i].len))
            return true;
    return false;
}

static size_t word_len(struct slice s)
{
    size_t n = 0;

    while (n < s.len && s.ptr[n] > ' ' && s.ptr[n] <= '~')
        n++;
    return n;
}

void oauth_description(struct slice body, const struct slice *secrets, size_t count, char *to,
                       size_t size)
{
    struct json *doc = json_parse(body, NULL);
    struct slice s = SLICE_NONE;
    size_t used = 0, n;

    to[0] = '\0';
    json_str(oauth_path(json_root(doc), SLICE_LIT("error_description")), &s);
    for (; s.len > 0 && !holds(s, secrets, count); s = slice_sub(s, n > 0 ? n : 1, s.len)) {
        n = word_len(s);
        if (n > 0 && used + WORD_MAX + 2 < size)
            used += (size_t)snprintf(to + used, size - used, "%s%.*s", used > 0 ? " " : "",
                                     n > WORD_MAX ? 3 : (int)n, n > WORD_MAX ? "..." : s.ptr);
    }
    json_free(doc);
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

/* One that may stand in our texts: it looks like a code, or the settings have it. */
static bool is_known_code(const struct judging *j, const struct json_val *error, struct slice code)
{
    return json_type(error) == JSON_STR &&
           (oauth_is_error_code(code) || word_list_has(&j->shape->refused, code) ||
            word_list_has(&j->shape->transient, code));
}

/* By the field that the profile names, and no code says why. */
static void judge_no_success(const struct judging *j)
{
    struct oauth_answer *a = j->a;
    struct slice place = j->shape->success_at;
    bool there = json_type(oauth_path(j->root, place)) != JSON_NONE;

    say(a, outcome_of_code(j, SLICE_NONE), "not_success", "");
    snprintf(a->text, sizeof a->text,
             "the token endpoint answered %d, and %s stands at %.*s (answer.success.at)%s",
             j->status, there ? "another text" : "nothing", SLICE_FMT(slice_sub(place, 0, 64)),
             there ? " than in answer.success.is" : "");
}

static void judge_error(const struct judging *j, const struct json_val *error)
{
    struct oauth_answer *a = j->a;
    char room[24];
    struct slice code = oauth_text_of(error, room);

    if (j->shape->success_at.len > 0 && !says_error(error)) {
        judge_no_success(j);
        return;
    }
    if (json_type(error) != JSON_INT && !is_known_code(j, error, code))
        code = SLICE_LIT("unnamed_error");
    a->outcome = outcome_of_code(j, code);
    slice_copy(slice_sub(code, 0, sizeof a->reason - 1), a->reason, sizeof a->reason);
    snprintf(a->text, sizeof a->text, "the token endpoint answered %d with error %s", j->status,
             a->reason);
}

/* Where the provider says by a field whether it went well, that decides, whatever else is there. */
static bool is_error(const struct judging *j)
{
    const struct answer_shape *shape = j->shape;
    char room[24];

    if (shape->success_at.len > 0)
        return !slice_eq(oauth_text_of(oauth_path(j->root, shape->success_at), room),
                         shape->success_is);
    return says_error(at(j, shape->error, "error"));
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

/* ---- expiry ---- */

/* A number, or a decimal text; false when it cannot be taken at its word. A part of one is none. */
static bool number_of(const struct json_val *v, int64_t *n)
{
    struct slice s;
    double real;

    if (json_str(v, &s))
        return slice_to_i64(s, n);
    if (json_int(v, n))
        return true;
    if (!json_real(v, &real) || !(real >= 1 && real <= 1e15))
        return false;
    *n = (int64_t)real;
    return true;
}

/* To milliseconds from now; -1 = not said, or absurd. */
static int64_t lifetime_of(const struct judging *j)
{
    static const int64_t unit_ms[] = {
        [EXPIRY_SECONDS] = 1000, [EXPIRY_MILLISECONDS] = 1, [EXPIRY_MINUTES] = 60000,
        [EXPIRY_EPOCH] = 1000,   [EXPIRY_EPOCH_MS] = 1,
    };
    enum expiry_kind kind = j->shape->expiry_kind;
    const struct json_val *v = at(j, j->shape->expiry, "expires_in");
    struct slice date = SLICE_NONE;
    int64_t n = -1;

    if (kind == EXPIRY_NEVER)
        return LIFETIME_MAX_S * 1000;
    if (kind == EXPIRY_FIXED)
        return -1;
    if (kind == EXPIRY_DATE) {
        json_str(v, &date);
        if (!oauth_date(date, &n))
            return -1;
    } else {
        if (!number_of(v, &n) || n < 0 || n > INT64_MAX / unit_ms[kind])
            return -1;
        n *= unit_ms[kind];
    }
    if (kind == EXPIRY_EPOCH || kind == EXPIRY_EPOCH_MS || kind == EXPIRY_DATE)
        n -= j->now_ms;
    return n > 0 && n <= LIFETIME_MAX_S * 1000 ? n : -1;
}

/* Somebody says when it ends, in another way or place than the settings have it: the token is good,
 * and its owner is told. 0 stands for "not said" at some providers. */
static void note_unread_expiry(const struct judging *j)
{
    struct slice place = j->shape->expiry;
    const struct json_val *v = at(j, place, "expires_in");
    bool there = json_type(v) != JSON_NONE && json_type(v) != JSON_NULL;
    int64_t n = -1;

    if (j->shape->expiry_kind == EXPIRY_NEVER || j->shape->expiry_kind == EXPIRY_FIXED ||
        (there ? number_of(v, &n) && n == 0 : place.len == 0))
        return;
    snprintf(j->a->text, sizeof j->a->text,
             "its end cannot be read: %s at %.*s (answer.expiry, answer.expiry_kind); "
             "token.default_lifetime_s is taken",
             there ? "something else stands" : "nothing stands",
             SLICE_FMT(place.len > 0 ? slice_sub(place, 0, 64) : SLICE_LIT("expires_in")));
}

/* ---- tokens ---- */

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

static bool type_fits(const struct judging *j)
{
    const struct connection_cfg *c = j->c;
    const struct json_val *v = at(j, j->shape->token_type, "token_type");
    struct slice s;

    if (c->dpop != JWT_ALG_OF_KEY)
        return json_str(v, &s) && slice_eq_nocase(s, SLICE_LIT("DPoP"));
    if (slice_is(j->shape->token_type, "any") || json_type(v) == JSON_NONE ||
        json_type(v) == JSON_NULL)
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

/* One text with blanks between, whatever it came as: a text with another separator, or a list. */
static void read_scope(const struct judging *j)
{
    const struct json_val *v = at(j, j->shape->scope, "scope"), *item;
    struct slice separator = j->shape->scope_separator, s = SLICE_NONE, key;
    struct buf *to = &j->a->scope_text;
    struct json_iter it;

    buf_init(to, SCOPE_MAX);
    if (json_type(v) == JSON_ARR) {
        json_iter_init(&it, v);
        while (json_iter_next(&it, &key, &item)) {
            json_str(item, &s);
            if (to->len > 0)
                buf_add_char(to, ' ');
            buf_add_slice(to, s);
        }
    } else if (json_str(v, &s)) {
        buf_add_slice(to, s);
        for (size_t i = 0; separator.len == 1 && i < to->len; i++)
            if (to->ptr[i] == separator.ptr[0])
                to->ptr[i] = ' ';
    }
    if (buf_ok(to) && is_scopes(buf_slice(to)))
        j->a->scope = buf_slice(to);
}

/* More tokens of the same answer. One that is not there now may be there another time. */
static bool read_tokens(const struct judging *j)
{
    const struct name_map *named = &j->shape->tokens;

    for (size_t i = 0; i < named->count; i++) {
        const struct json_val *v = oauth_path(j->root, named->at[i].value);
        struct slice s = SLICE_NONE;

        if (json_type(v) == JSON_NONE || json_type(v) == JSON_NULL)
            continue;
        if (!json_str(v, &s) || !is_token(s, '!'))
            return false;
        j->a->tokens[j->a->token_count++] = (struct name_value){named->at[i].name, s};
    }
    return true;
}

/* Where the account's API is, if the answer says it: never elsewhere than on its policy's hosts. A
 * renewal that does not say it leaves it where the link's answer had it. */
static bool read_base_url(const struct judging *j)
{
    const struct profile *p = &j->c->profile;
    const struct slice *linked = name_map_find(&p->callback, SLICE_LIT(PROFILE_LINKED_BASE));
    struct buf *to = &j->a->base_url;
    struct err why = {0};
    bool ok;

    buf_init(to, BASE_URL_MAX);
    if (!profile_base_is_answered(p))
        return true;
    ok = oauth_base_url(to, p, j->root, &why);
    if (!ok && linked && strcmp(why.rule, "base_url_missing") == 0) {
        buf_clear(to);
        ok = buf_add_slice(to, *linked);
    }
    ok = ok && egress_check_base(&j->c->policy, buf_slice(to), &why);
    if (!ok)
        buf_clear(to);
    return ok;
}

/* Where it was looked for, and what is there: names that are words, never a value. */
static void say_no_token(const struct judging *j)
{
    struct slice place = j->shape->access_token, key;
    struct oauth_answer *a = j->a;
    const struct json_val *v;
    struct json_iter it;
    size_t len, named = 0;

    say(a, OAUTH_TRANSIENT, "no_access_token", "");
    len = (size_t)snprintf(
        a->text, sizeof a->text,
        "the token endpoint answered without an access token at %.*s%s; it has",
        SLICE_FMT(place.len > 0 ? slice_sub(place, 0, 64) : SLICE_LIT("access_token")),
        place.len > 0 ? " (answer.access_token)" : "");
    json_iter_init(&it, j->root);
    while (json_iter_next(&it, &key, &v) && named < NAMES_MAX) {
        if (!oauth_is_error_code(key) || key.len > NAME_MAX_SHOWN || len >= sizeof a->text)
            continue;
        len += (size_t)snprintf(a->text + len, sizeof a->text - len, "%s %.*s",
                                named++ > 0 ? "," : "", SLICE_FMT(key));
    }
    if (named == 0 && len < sizeof a->text)
        snprintf(a->text + len, sizeof a->text - len, " nothing by that or another name");
}

static void judge_token(const struct judging *j)
{
    struct oauth_answer *a = j->a;
    const struct answer_shape *shape = j->shape;
    const struct json_val *token = at(j, shape->access_token, "access_token");
    struct slice access = SLICE_NONE, refresh = SLICE_NONE;

    if (json_type(token) == JSON_NONE)
        say_no_token(j);
    else if (!json_str(token, &access) || !is_token(access, '!'))
        say(a, OAUTH_TRANSIENT, "access_token_invalid",
            "the token endpoint's access token is empty, too long or no visible ASCII text");
    else if (!type_fits(j))
        say(a, OAUTH_CONFIG, "token_type",
            j->c->dpop != JWT_ALG_OF_KEY
                ? "the token endpoint gave a token that is not bound to the connection's key (dpop)"
                : "the token endpoint gave a token of another type than Bearer; its settings for "
                  "this client must be changed");
    else if (!read_refresh_token(at(j, shape->refresh_token, "refresh_token"), &refresh))
        say(a, OAUTH_TRANSIENT, "refresh_token_invalid",
            "the token endpoint's refresh token is no text, or too long");
    else if (!read_tokens(j))
        say(a, OAUTH_TRANSIENT, "access_token_invalid",
            "one of answer.tokens is empty, too long or no visible ASCII text");
    else if (!read_base_url(j))
        say(a, OAUTH_CONFIG, "base_url",
            "the token endpoint's answer names no address of the API that policy.hosts allows "
            "(api.base_url)");
    else
        say(a, OAUTH_TOKEN, "", "");
    if (a->outcome != OAUTH_TOKEN)
        return;
    a->access_token = access;
    a->refresh_token = refresh;
    read_scope(j);
    a->lifetime_ms = lifetime_of(j);
    if (a->lifetime_ms < 0)
        note_unread_expiry(j);
}

/* ---- the whole ---- */

static struct json *parse(const struct judging *j, struct slice body)
{
    struct json *doc;
    struct buf json;

    if (body.len == 0)
        return NULL;
    if (j->shape->format != ANSWER_FORM)
        return json_parse(body, NULL);
    buf_init(&json, 4 * ANSWER_MAX);
    doc = oauth_form_to_json(body, &json) ? json_parse(buf_slice(&json), NULL) : NULL;
    buf_wipe(&json);
    return doc;
}

/* Instead of what was to be read. With an error of the server's own, nobody asks for the address.
 */
static const char *what_came(const struct judging *j, struct slice body, struct slice content_type)
{
    bool asks = j->status < 429;

    if (body.len == 0)
        return "an empty body";
    if (is_html(content_type))
        return asks ? "an HTML page; is token_url right?" : "an HTML page";
    if (j->shape->format == ANSWER_FORM)
        return asks ? "no form; is answer.format right?" : "no form";
    return asks ? "no JSON object; is token_url right?" : "no JSON object";
}

static void judge_body(struct judging *j, struct slice body, struct slice content_type)
{
    bool good = j->status >= 200 && j->status < 300;
    struct oauth_answer *a = j->a;

    if (body.len > ANSWER_MAX) {
        judge_status(a, j->status, "more bytes than any token answer has");
        return;
    }
    a->doc = parse(j, body);
    j->root = json_root(a->doc);
    if (json_type(j->root) != JSON_OBJ) {
        judge_status(a, j->status, what_came(j, body, content_type));
        if (good)
            snprintf(a->reason, sizeof a->reason, "%s", body.len == 0 ? "empty" : "not_json");
    } else if (is_error(j)) {
        judge_error(j, at(j, j->shape->error, "error"));
    } else if (good) {
        judge_token(j);
    } else {
        judge_status(a, j->status, "no error code");
    }
}

void oauth_answer_judge_as(struct oauth_answer *a, const struct connection_cfg *c,
                           const struct answer_shape *shape, int status, struct slice body,
                           struct slice content_type, struct slice retry_after, int64_t now_ms)
{
    struct judging j = {.a = a, .c = c, .shape = shape, .status = status, .now_ms = now_ms};

    *a = (struct oauth_answer){.outcome = OAUTH_TRANSIENT, .lifetime_ms = -1};
    judge_body(&j, body, content_type);
    if (a->outcome != OAUTH_TOKEN)
        (void)http_retry_after(retry_after, now_ms, &a->retry_after_ms);
}

void oauth_answer_judge(struct oauth_answer *a, const struct connection_cfg *c, int status,
                        struct slice body, struct slice content_type, struct slice retry_after,
                        int64_t now_ms)
{
    oauth_answer_judge_as(a, c, &c->profile.answer, status, body, content_type, retry_after,
                          now_ms);
}

void oauth_answer_deinit(struct oauth_answer *a)
{
    json_free(a->doc); /* wipes */
    a->doc = NULL;
    buf_deinit(&a->scope_text);
    buf_deinit(&a->base_url);
    sodium_memzero(a->tokens, sizeof a->tokens);
    a->token_count = 0;
    a->access_token = a->refresh_token = a->scope = SLICE_NONE;
}

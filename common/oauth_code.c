#include "common/oauth_code.h"

#include <sodium.h>
#include "common/egress.h"
#include "common/json.h"
#include "common/oauth_path.h"

#define VALUE_MAX       OAUTH_CODE_MAX
#define REQUEST_URI_MAX 2048

/* ---- what is asked ---- */

static void base64url(const unsigned char bytes[32], char out[OAUTH_VERIFIER_CHARS + 1])
{
    sodium_bin2base64(out, OAUTH_VERIFIER_CHARS + 1, bytes, 32,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static void random_text(char out[OAUTH_VERIFIER_CHARS + 1])
{
    unsigned char bytes[32];

    randombytes_buf(bytes, sizeof bytes);
    base64url(bytes, out);
    sodium_memzero(bytes, sizeof bytes);
}

void oauth_code_challenge(const char *verifier, char challenge[OAUTH_VERIFIER_CHARS + 1])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, (const unsigned char *)verifier, slice_cstr(verifier).len);
    base64url(hash, challenge);
}

void oauth_code_begin(struct oauth_code *q)
{
    random_text(q->verifier);
    random_text(q->state);
    oauth_code_challenge(q->verifier, q->challenge);
}

void oauth_code_deinit(struct oauth_code *q)
{
    sodium_memzero(q, sizeof *q);
}

static bool add_question(struct oauth_request *rq, const struct connection_cfg *c,
                         const struct oauth_code *q, struct slice redirect_uri, bool with_id)
{
    oauth_request_add(rq, "response_type", SLICE_LIT("code"));
    if (with_id)
        oauth_request_add(rq, "client_id", c->client_id);
    oauth_request_add(rq, "redirect_uri", redirect_uri);
    oauth_request_add_scopes(rq, c);
    oauth_request_add_resources(rq, c);
    oauth_request_add(rq, "state", slice_cstr(q->state));
    if (q->jkt)
        oauth_request_add(rq, "dpop_jkt", slice_cstr(q->jkt));
    return c->profile.no_pkce ||
           (oauth_request_add(rq, "code_challenge", slice_cstr(q->challenge)) &&
            oauth_request_add(rq, "code_challenge_method", SLICE_LIT("S256")));
}

static bool too_long(const struct connection_cfg *c, struct err *err)
{
    return err_set(err, ERR_CONFIG, "connection %.*s: the URL to open is too long",
                   SLICE_FMT(c->id));
}

bool oauth_code_url(struct buf *out, const struct connection_cfg *c, const struct oauth_code *q,
                    struct slice redirect_uri, struct err *err)
{
    struct request_shape shape = c->profile.authorize;
    struct oauth_request rq;
    bool ok;

    shape.body = REQUEST_QUERY;
    oauth_request_begin(&rq, c->authorize_url, &shape);
    add_question(&rq, c, q, redirect_uri, true);
    ok = (oauth_request_finish(&rq) && buf_add_slice(out, buf_slice(&rq.url))) || too_long(c, err);
    oauth_request_deinit(&rq);
    return ok;
}

/* The server's word for it, if it looks like one. */
static void refusal(struct slice code, struct err *err)
{
    if (slice_is(code, "access_denied"))
        err_rule(err, ERR_DENIED, "refused", "the owner said no (access_denied)");
    else
        err_rule(err, ERR_DENIED, "refused", "the authorization server refused: %.*s",
                 SLICE_FMT(oauth_is_error_code(code)
                               ? code
                               : SLICE_LIT("an error without a readable code")));
}

/* ---- pushed before it is asked (RFC 9126) ---- */

bool oauth_code_push(struct oauth_request *rq, const struct connection_cfg *c,
                     const struct oauth_code *q, struct slice client_secret,
                     struct slice redirect_uri, int64_t now_ms, struct err *err)
{
    oauth_request_begin(rq, c->par_url, &c->profile.authorize);
    /* with Basic the body says whose question it is, too (section 2.1); else that is said already
     */
    add_question(rq, c, q, redirect_uri, oauth_client_is_basic(c));
    return oauth_request_end(rq, c, client_secret, now_ms, err);
}

static const struct request_shape in_url = {.body = REQUEST_QUERY};

static bool is_request_uri(struct slice s)
{
    return s.len > 0 && s.len <= REQUEST_URI_MAX && slice_is_visible(s);
}

bool oauth_code_pushed(struct buf *out, const struct connection_cfg *c, int status,
                       struct slice answer, struct err *err)
{
    struct json *doc = json_parse(answer, NULL);
    const struct json_val *root = json_root(doc);
    struct slice uri = SLICE_NONE, code = SLICE_NONE;
    struct oauth_request rq;
    bool ok = false;

    oauth_request_begin(&rq, c->authorize_url, &in_url);
    json_str(json_get(root, "request_uri"), &uri);
    json_str(json_get(root, "error"), &code);
    if (status < 200 || status > 299) {
        refusal(code, err);
        err_prefix(err, "the pushed request was answered %d: ", status);
    } else if (!is_request_uri(uri)) {
        err_rule(err, ERR_DENIED, "refused", "the answer to the pushed request has no request_uri");
    } else {
        oauth_request_add(&rq, "client_id", c->client_id); /* these two and nothing else */
        oauth_request_add(&rq, "request_uri", uri);
        ok = (oauth_request_finish(&rq) && buf_add_slice(out, buf_slice(&rq.url))) ||
             too_long(c, err);
    }
    oauth_request_deinit(&rq);
    json_free(doc);
    return ok;
}

/* ---- what came back ---- */

/* The value of a parameter; empty when it is not there. One that is there twice is no answer: who
 * reads the first and who reads the last would see two (section 3.1). */
static bool param(struct slice query, const char *name, struct buf *value, struct err *err)
{
    struct slice one;
    bool found = false;

    buf_clear(value);
    while (slice_cut(&query, '&', &one)) {
        size_t equals = slice_find(one, '=');

        if (!slice_is(slice_sub(one, 0, equals), name))
            continue;
        buf_clear(value);
        if (found || !oauth_form_decode(slice_sub(one, equals + 1, one.len), value))
            return err_rule(err, ERR_DENIED, "parameter_twice",
                            "the answer has %s twice, or in a form that cannot be read", name);
        found = true;
    }
    return true;
}

static bool is_this_question(const struct oauth_code *q, struct slice state)
{
    return state.len == OAUTH_VERIFIER_CHARS &&
           sodium_memcmp(state.ptr, q->state, OAUTH_VERIFIER_CHARS) == 0;
}

/* Scheme, host and port. */
static struct slice host_of(struct slice url)
{
    size_t scheme = slice_starts(url, SLICE_LIT("https://")) ? 8 : 7;
    struct slice host = slice_sub(url, scheme, url.len);

    host = slice_sub(host, 0, slice_find(host, '/'));
    return slice_sub(url, 0, scheme + slice_sub(host, 0, slice_find(host, '?')).len);
}

/* `iss` is compared where the settings name an issuer (RFC 9207 section 2.4); where they do not, an
 * answer of another host than the one that was asked is the mix-up that it is there against. */
static bool judge(const struct connection_cfg *c, const struct oauth_code *q, struct slice query,
                  struct buf *value, struct buf *code, struct err *err)
{
    /* whatever is wrong before this is known is nobody's answer, and ends nothing */
    if (!param(query, "state", value, err) || !is_this_question(q, buf_slice(value)))
        return err_rule(err, ERR_DENIED, "state_mismatch",
                        "this is not the answer to the question that was asked here (state)");
    if (!param(query, "iss", value, err))
        return false;
    if (c->issuer.len == 0 && value->len > 0 &&
        !slice_eq_nocase(host_of(buf_slice(value)), host_of(c->authorize_url)))
        return err_rule(
            err, ERR_DENIED, "iss_unknown",
            "the answer comes from another server than authorize_url, %.*s (iss): if "
            "it is the provider's, put it into the file as issuer, apply, and link again",
            SLICE_FMT(slice_is_visible(buf_slice(value)) && value->len < 256
                          ? buf_slice(value)
                          : SLICE_LIT("which gives no readable name")));
    if (c->issuer.len > 0 && !slice_eq(buf_slice(value), c->issuer))
        return err_rule(err, ERR_DENIED, "iss_mismatch",
                        "the answer comes from another authorization server than %.*s (iss)",
                        SLICE_FMT(c->issuer));
    if (!param(query, "error", value, err))
        return false;
    if (value->len > 0) {
        refusal(buf_slice(value), err);
        return false;
    }
    if (!param(query, "code", code, err))
        return false;
    return code->len > 0 || err_rule(err, ERR_DENIED, "code_missing", "the answer has no code");
}

bool oauth_code_read(const struct connection_cfg *c, const struct oauth_code *q, struct slice query,
                     struct buf *code, struct err *err)
{
    struct buf value;
    bool ok;

    buf_init(&value, VALUE_MAX);
    ok = judge(c, q, query, &value, code, err);
    buf_wipe(&value);
    return ok;
}

static bool bring(struct slice query, struct slice name, struct oauth_brought *b, struct err *err)
{
    char *to = b->value[b->count];
    char text[64];
    struct buf value;
    bool ok;

    buf_init(&value, VALUE_MAX);
    ok = b->count < OAUTH_BROUGHT_MAX && slice_copy(name, text, sizeof text) &&
         param(query, text, &value, err) && value.len > 0 &&
         slice_copy(buf_slice(&value), to, sizeof b->value[0]);
    buf_deinit(&value);
    if (!ok)
        return err_rule(err, ERR_DENIED, "callback_missing",
                        "the answer has no %.*s, which api.base_url needs", SLICE_FMT(name));
    b->at[b->count++] = (struct name_value){name, slice_cstr(to)};
    return true;
}

/* Who sends the browser back could say anything. What the token answer says is judged with it. */
static bool leads_to_the_api(const struct connection_cfg *c, const struct oauth_brought *b,
                             struct err *err)
{
    struct profile p = c->profile;
    struct buf url;
    bool ok;

    if (b->count == 0 || profile_base_is_answered(&p))
        return true;
    p.callback = (struct name_map){b->at, b->count};
    buf_init(&url, VALUE_MAX);
    ok = oauth_base_url(&url, &p, NULL, err) && egress_check_base(&c->policy, buf_slice(&url), err);
    buf_deinit(&url);
    return ok || err_prefix(err, "api.base_url: ");
}

bool oauth_code_brought(const struct connection_cfg *c, struct slice query, struct oauth_brought *b,
                        struct err *err)
{
    struct slice rest = c->profile.api.base_url, lead = SLICE_LIT("{callback."), name;

    b->count = 0;
    while (slice_find(rest, '{') < rest.len) {
        rest = slice_sub(rest, slice_find(rest, '{'), rest.len);
        name = slice_sub(rest, lead.len, slice_find(rest, '}') - lead.len);
        if (slice_starts(rest, lead) && !bring(query, name, b, err))
            return false;
        rest = slice_sub(rest, 1, rest.len);
    }
    return leads_to_the_api(c, b, err);
}

/* ---- the token request ---- */

bool oauth_code_request(struct oauth_request *rq, const struct connection_cfg *c,
                        const struct oauth_code *q, struct slice client_secret, struct slice code,
                        struct slice redirect_uri, int64_t now_ms, struct err *err)
{
    oauth_request_begin(rq, c->token_url, &c->profile.token);
    if (oauth_request_add(rq, "grant_type", SLICE_LIT("authorization_code")) &&
        oauth_request_add(rq, "code", code) &&
        oauth_request_add(rq, "redirect_uri", redirect_uri) &&
        (c->profile.no_pkce || oauth_request_add(rq, "code_verifier", slice_cstr(q->verifier))) &&
        oauth_request_add_resources(rq, c))
        return oauth_request_end(rq, c, client_secret, now_ms, err);
    return err_set(err, ERR_NOMEM, "connection %.*s: its token request is too big",
                   SLICE_FMT(c->id));
}

bool oauth_code_chain(struct oauth_request *rq, const struct connection_cfg *c,
                      struct slice client_secret, struct slice access_token, int64_t now_ms,
                      struct err *err)
{
    oauth_request_begin(rq, c->profile.chain_url, &c->profile.chain);
    return oauth_request_add(rq, "access_token", access_token)
               ? oauth_request_end(rq, c, client_secret, now_ms, err)
               : err_set(err, ERR_NOMEM, "connection %.*s: its chained request is too big",
                         SLICE_FMT(c->id));
}

/* What a call becomes: its address, headers and body, checked and ready to be sent. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sodium.h>

#include "common/egress.h"
#include "common/oauth_path.h"
#include "worker/step_parts.h"

#define IDEM_BYTES 16 /* 128 bits of the hash */

/* ---- the Idempotency-Key: the same at every attempt, delivery and replay of this call ---- */

static void idem_auto(struct step *s)
{
    crypto_hash_sha256_state h;
    unsigned char sum[crypto_hash_sha256_BYTES];
    char place[64];

    snprintf(place, sizeof place, "\n%" PRIu32 "\n%" PRIu64, s->k.position, s->k.calls);
    crypto_hash_sha256_init(&h);
    crypto_hash_sha256_update(&h, (const unsigned char *)s->w->install, strlen(s->w->install));
    crypto_hash_sha256_update(&h, (const unsigned char *)"\n", 1);
    crypto_hash_sha256_update(&h, (const unsigned char *)s->run, strlen(s->run));
    crypto_hash_sha256_update(&h, (const unsigned char *)"\n", 1);
    crypto_hash_sha256_update(&h, (const unsigned char *)s->k.branch.ptr, s->k.branch.len);
    crypto_hash_sha256_update(&h, (const unsigned char *)place, strlen(place));
    crypto_hash_sha256_final(&h, sum);
    sodium_bin2hex(s->idem, sizeof s->idem, sum, IDEM_BYTES);
}

/* ---- headers ---- */

/* The texts go one behind the other into header_text, which may move while it grows: so names and
 * values are kept as offsets until header_end. */
static bool header_add(struct step *s, struct slice name, struct slice value)
{
    struct http_header *h = &s->headers[s->header_count];

    if (s->header_count == ARRAY_LEN(s->headers))
        return false;
    h->name = slice_of((const char *)(uintptr_t)s->header_text.len, name.len);
    buf_add_slice(&s->header_text, name);
    h->value = slice_of((const char *)(uintptr_t)s->header_text.len, value.len);
    buf_add_slice(&s->header_text, value);
    s->header_count++;
    return buf_ok(&s->header_text);
}

static void header_end(struct step *s)
{
    for (size_t i = 0; i < s->header_count; i++) {
        struct http_header *h = &s->headers[i];

        h->name.ptr = s->header_text.ptr + (uintptr_t)h->name.ptr;
        h->value.ptr = s->header_text.ptr + (uintptr_t)h->value.ptr;
    }
}

static bool call_has_header(const struct call *c, const char *name)
{
    for (size_t i = 0; i < c->header_count; i++) {
        if (slice_eq_nocase(c->headers[i].name, slice_cstr(name)))
            return true;
    }
    return false;
}

static bool profile_has_header(const struct step *s, const char *name)
{
    const struct name_map *own = &s->conn->cfg->profile.api.headers;

    for (size_t i = 0; i < own->count; i++)
        if (slice_eq_nocase(own->at[i].name, slice_cstr(name)))
            return true;
    return false;
}

static bool user_headers(struct step *s, struct err *err)
{
    const struct call *c = &s->env.call;
    struct buf value;
    bool ok = true;

    buf_init(&value, 64 * 1024);
    for (size_t i = 0; ok && i < c->header_count; i++) {
        buf_clear(&value);
        ok = expand_text(s->expand, c->headers[i].value, &value, err) &&
             egress_check_header(c->headers[i].name, buf_slice(&value), false, err) &&
             (!step_is_token_header(s, c->headers[i].name) ||
              err_rule(err, ERR_DENIED, "header_forbidden",
                       "a job may not set the header %.*s: the token goes there",
                       SLICE_FMT(c->headers[i].name))) &&
             (header_add(s, c->headers[i].name, buf_slice(&value)) ||
              err_rule(err, ERR_FORMAT, "call_header_invalid", "headers are too many or too long"));
    }
    buf_wipe(&value);
    return ok;
}

static const char *default_type(const struct step *s)
{
    switch (s->env.call.body_kind) {
    case BODY_JSON:
        return "application/json";
    case BODY_TEXT:
        return "text/plain; charset=utf-8";
    case BODY_BYTES:
        return "application/octet-stream";
    case BODY_NONE:
        break;
    }
    return NULL;
}

/* The profile's: sent unless the call says otherwise. */
static bool call_sets(const struct call *c, struct slice name)
{
    for (size_t i = 0; i < c->header_count; i++)
        if (egress_same_header(c->headers[i].name, name))
            return true;
    return false;
}

void step_drop_own_headers(struct step *s)
{
    const struct name_map *own = &s->conn->cfg->profile.api.headers;

    for (size_t i = 0; i < own->count; i++)
        for (size_t k = 0; k < s->header_count; k++)
            if (!call_sets(&s->env.call, own->at[i].name) &&
                slice_eq(s->headers[k].name, own->at[i].name))
                s->headers[k--] = s->headers[--s->header_count];
}

static bool own_headers(struct step *s, struct err *err)
{
    const struct name_map *own = &s->conn->cfg->profile.api.headers;
    const struct call *c = &s->env.call;
    const char *type = default_type(s);
    bool ok = true;

    if (s->has_body && !call_has_header(c, "content-type") &&
        !profile_has_header(s, "content-type")) {
        if (type)
            ok = header_add(s, SLICE_LIT("Content-Type"), slice_cstr(type));
        else if (s->k.input_type.len > 0) /* the input itself is sent */
            ok = header_add(s, SLICE_LIT("Content-Type"), s->k.input_type);
    }
    if (ok && c->idem != IDEM_NONE && !call_has_header(c, "idempotency-key")) {
        struct slice value = c->idem_value;

        if (c->idem == IDEM_AUTO) {
            idem_auto(s);
            value = slice_cstr(s->idem);
        }
        if (!egress_check_header(SLICE_LIT("Idempotency-Key"), value, false, err))
            return false;
        ok = header_add(s, SLICE_LIT("Idempotency-Key"), value);
    }
    if (ok && s->env.tp.len > 0 && !call_has_header(c, "traceparent") &&
        http_is_header_value(s->env.tp))
        ok = header_add(s, SLICE_LIT("traceparent"), s->env.tp);
    if (ok && s->env.tp.len > 0 && s->env.ts.len > 0 && !call_has_header(c, "traceparent") &&
        !call_has_header(c, "tracestate") && http_is_header_value(s->env.ts))
        ok = header_add(s, SLICE_LIT("tracestate"), s->env.ts);
    for (size_t i = 0; ok && i < own->count; i++)
        ok = call_sets(c, own->at[i].name) || header_add(s, own->at[i].name, own->at[i].value);
    return ok ||
           err_rule(err, ERR_FORMAT, "call_header_invalid", "headers are too many or too long");
}

/* ---- body ---- */

static bool takes_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static bool build_body(struct step *s, struct err *err)
{
    const struct call *c = &s->env.call;

    s->has_body = true;
    switch (c->body_kind) {
    case BODY_JSON:
        return expand_json_body(s->expand, c->body, &s->body, err);
    case BODY_TEXT:
        return expand_text(s->expand, c->body, &s->body, err);
    case BODY_BYTES:
        return buf_add_slice(&s->body, c->body) || err_set(err, ERR_NOMEM, "out of memory");
    case BODY_NONE:
        break;
    }
    s->has_body = takes_body(s->method);
    if (s->has_body && s->k.position > 0)
        return buf_add_slice(&s->body, s->k.input) || err_set(err, ERR_NOMEM, "out of memory");
    return true;
}

bool step_check_url(struct step *s, struct slice url, struct err *err)
{
    struct buf checked;
    bool ok;

    buf_init(&checked, s->url.max);
    ok = egress_check(&s->conn->cfg->policy, slice_cstr(s->method), url, &checked, &s->origin, err);
    if (ok) {
        struct buf old = s->url;

        s->url = checked;
        checked = old;
        slice_copy(slice_cstr(s->conn->cd), s->checked_cd, sizeof s->checked_cd);
    }
    buf_deinit(&checked);
    return ok;
}

/* A url that begins with "/" is below the connection's base_url. */
static bool is_relative(struct slice url)
{
    return slice_starts(url, SLICE_LIT("/")) && !slice_starts(url, SLICE_LIT("//"));
}

static bool below(struct step *s, struct slice base, struct slice path, struct err *err)
{
    struct buf url;
    bool ok;

    buf_init(&url, s->url.max);
    buf_add_slice(&url, base);
    ok = buf_add_slice(&url, path)
             ? step_check_url(s, buf_slice(&url), err)
             : err_rule(err, ERR_FORMAT, "url_invalid", "its url is too long");
    buf_deinit(&url);
    return ok;
}

/* Where its base comes with the token, it is looked at when that is there. */
static bool place_url(struct step *s, struct slice url, struct err *err)
{
    const struct profile *p = &s->conn->cfg->profile;
    struct buf base;
    bool ok;

    if (!is_relative(url))
        return step_check_url(s, url, err);
    if (p->api.base_url.len == 0)
        return err_rule(err, ERR_FORMAT, "url_relative",
                        "the call's url begins with / and connection %s has no api.base_url",
                        s->conn->id);
    s->relative = profile_base_is_answered(p);
    if (s->relative)
        return buf_add_slice(&s->url, url) || err_set(err, ERR_NOMEM, "out of memory");
    buf_init(&base, s->url.max);
    ok = oauth_base_url(&base, p, NULL, err)
             ? below(s, buf_slice(&base), url, err)
             : err_rule(err, ERR_FORMAT, "url_relative", "api.base_url: %s", err->msg);
    buf_deinit(&base);
    return ok;
}

/* The token that is sent now says where its API is. */
bool step_place_by_token(struct step *s, struct err *err)
{
    struct slice base = s->token->access.base_url;
    struct buf path = s->url;
    bool ok;

    buf_init(&s->url, path.max);
    s->relative = false;
    ok = base.len > 0 ? below(s, base, buf_slice(&path), err)
                      : err_rule(err, ERR_FORMAT, "url_relative",
                                 "the call's url begins with / and the token of connection %s did "
                                 "not come with an address of the API",
                                 s->conn->id);
    buf_deinit(&path);
    return ok || err_prefix(err, "job %s: ", s->name);
}

bool step_build_request(struct step *s, struct err *err)
{
    struct buf url;
    bool ok;

    buf_init(&url, s->url.max);
    s->expand = expand_new(s->k.position > 0 ? s->k.input : SLICE_NONE);
    ok = s->expand || err_set(err, ERR_NOMEM, "out of memory");
    if (ok && !slice_copy(s->env.call.method, s->method, sizeof s->method))
        ok = err_rule(err, ERR_FORMAT, "method_invalid", "the method is too long");
    ok = ok && expand_call_url(s->expand, &s->env.call, &url, err) &&
         step_leaves_token_out(s, buf_slice(&url), err) && place_url(s, buf_slice(&url), err) &&
         build_body(s, err) && user_headers(s, err) && own_headers(s, err);
    if (ok)
        header_end(s);
    else
        err_prefix(err, "job %s: ", s->name);
    buf_deinit(&url);
    return ok;
}

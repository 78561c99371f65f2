/* One call of an envelope: each member as PROTOCOL.md says, or a refusal that names it. */
#include "common/wire_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/char.h"
#include "common/json.h"

#define NUMBER_TEXT    24   /* a 64-bit integer in decimal */
#define URL_MAX        8192 /* what servers commonly take (RFC 9110 section 4.1) */
#define VALUE_MAX      8192 /* one header or query value */
#define NAME_MAX_LEN   256  /* one header or query name */
#define SCOPE_MAX      128  /* one scope that is needed */
#define TOKEN_NAME_MAX 32
#define IDEM_MAX       255 /* draft-ietf-httpapi-idempotency-key-header leaves it open */

/* Text of numbers in headers and queries: the one thing that does not stand in the bytes. */
struct arena {
    char numbers[2 * WIRE_MAX_PAIRS][NUMBER_TEXT];
};

/* RFC 9110 section 5.6.2 */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!wire_is_visible(s.ptr[i]) || strchr("\"(),/:;<=>?@[\\]{}", s.ptr[i]))
            return false;
    }
    return s.len > 0;
}

/* RFC 9110 section 5.5: no control character but the tab, so neither CR, LF nor NUL. */
static bool is_field_value(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static const char *number_text(struct place *p, const struct item *it, size_t slot)
{
    struct arena *a = p->e->arena;

    if (!a && !(a = p->e->arena = malloc(sizeof *a)))
        return NULL;
    if (it->type == ITEM_UINT)
        snprintf(a->numbers[slot], NUMBER_TEXT, "%llu", (unsigned long long)it->number);
    else
        snprintf(a->numbers[slot], NUMBER_TEXT, "%lld", (long long)it->negative);
    return a->numbers[slot];
}

/* Text is UTF-8, of which some MessagePack libraries do not make sure; `member` is what holds it,
 * or empty: the key that is being read. */
static bool check_text(struct place *p, const char *rule, struct slice member, struct slice s)
{
    static const char why[] = "is not UTF-8; other bytes have their place in a bin body only";

    if (json_is_utf8(s))
        return true;
    return member.len > 0 ? wire_refuse_member(p, rule, member, why) : wire_refuse(p, rule, why);
}

/* Text, an integer or a boolean, as text. A float has no one spelling, so it is refused. */
static bool pair_value(struct place *p, const char *rule, const struct item *it, struct pair *to,
                       size_t slot)
{
    switch (it->type) {
    case ITEM_STR:
        if (it->bytes.len > VALUE_MAX)
            return wire_refuse_member(p, rule, to->name, "is longer than 8192 bytes");
        to->value = it->bytes;
        return check_text(p, rule, to->name, it->bytes);
    case ITEM_BOOL:
        to->value = it->truth ? SLICE_LIT("true") : SLICE_LIT("false");
        return true;
    case ITEM_UINT:
    case ITEM_NEGINT:
        if (!p->keep)
            return true;
        to->value = slice_cstr(number_text(p, it, slot));
        return to->value.ptr ? true : err_set(p->err, ERR_NOMEM, "out of memory for an envelope");
    case ITEM_NIL:
        return wire_refuse_member(p, rule, to->name, "is null; leave it out instead");
    case ITEM_REAL:
        return wire_refuse_member(p, rule, to->name, "is a float; write it as a string");
    default:
        return wire_refuse_member(p, rule, to->name, "must be a string, an integer or a boolean");
    }
}

/* A map of names to values into `pairs`. Values of refused pairs are never shown: a header may hold
 * a secret. */
static bool read_pairs(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw, struct pair *pairs, size_t *count, size_t slot)
{
    struct reader r = reader_of(raw);
    bool headers = slot > 0;
    struct item key, value;

    if (it->type != ITEM_MAP)
        return wire_refuse(p, f->rule, "must be a map");
    if (it->count > WIRE_MAX_PAIRS)
        return wire_refuse(p, f->rule, "has more than 64 members");
    read_item(&r, &value);
    for (*count = 0; *count < it->count; ++*count) {
        struct pair *to = &pairs[*count];

        if (read_item(&r, &key) != WIRE_FINE || key.type != ITEM_STR)
            return wire_refuse(p, f->rule, "must have strings as keys");
        *to = (struct pair){.name = key.bytes};
        if (key.bytes.len == 0 || key.bytes.len > NAME_MAX_LEN)
            return wire_refuse_member(p, f->rule, key.bytes, "must have a name of 1 to 256 bytes");
        if (headers && !is_token(key.bytes))
            return wire_refuse_member(p, f->rule, key.bytes,
                                      "is not a header name (RFC 9110 5.6.2)");
        if (!check_text(p, f->rule, key.bytes, key.bytes))
            return false;
        wire_read_member(&r, &value);
        if (!pair_value(p, f->rule, &value, to, slot + *count))
            return false;
        if (headers && !is_field_value(to->value))
            return wire_refuse_member(p, f->rule, key.bytes, "holds a control character");
        for (size_t i = 0; i < *count; i++) {
            if (headers ? slice_eq_nocase(pairs[i].name, to->name)
                        : slice_eq(pairs[i].name, to->name))
                return wire_refuse_member(p, f->rule, key.bytes, "is there twice");
        }
    }
    return true;
}

static bool call_conn(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || !id_is_connection(it->bytes))
        return wire_refuse(p, f->rule, "must be 1-64 characters of A-Za-z0-9_:-");
    p->call->conn = it->bytes;
    return true;
}

static bool call_method(struct place *p, const struct field *f, const struct item *it,
                        struct slice raw)
{
    bool ok = it->type == ITEM_STR && it->bytes.len > 0 && it->bytes.len <= 32;

    (void)raw;
    for (size_t i = 0; ok && i < it->bytes.len; i++) {
        char c = it->bytes.ptr[i];

        ok = (c >= 'A' && c <= 'Z') || (c == '-' && i > 0);
    }
    if (!ok)
        return wire_refuse(p, f->rule, "must be an upper-case HTTP method");
    if (slice_is(it->bytes, "CONNECT") || slice_is(it->bytes, "TRACE"))
        return wire_refuse(p, f->rule, "must not be CONNECT or TRACE");
    p->call->method = it->bytes;
    return true;
}

/* Only what no URL may hold; where it may go is looked at when it is expanded (egress.h). */
static bool call_url(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || it->bytes.len == 0)
        return wire_refuse(p, f->rule, "must be a string that is not empty");
    if (it->bytes.len > URL_MAX)
        return wire_refuse(p, f->rule, "is longer than 8192 bytes");
    if (!is_field_value(it->bytes) || memchr(it->bytes.ptr, '\t', it->bytes.len) ||
        memchr(it->bytes.ptr, ' ', it->bytes.len))
        return wire_refuse(p, f->rule, "holds a blank or a control character");
    p->call->url = it->bytes;
    return check_text(p, f->rule, SLICE_NONE, it->bytes);
}

static bool call_query(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    return read_pairs(p, f, it, raw, p->call->query, &p->call->query_count, 0);
}

static bool call_headers(struct place *p, const struct field *f, const struct item *it,
                         struct slice raw)
{
    return read_pairs(p, f, it, raw, p->call->headers, &p->call->header_count, WIRE_MAX_PAIRS);
}

static bool call_body(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    struct err why;

    switch (it->type) {
    case ITEM_BIN:
        p->call->body_kind = BODY_BYTES;
        p->call->body = it->bytes;
        return true;
    case ITEM_STR:
        p->call->body_kind = BODY_TEXT;
        p->call->body = it->bytes;
        return check_text(p, f->rule, SLICE_NONE, it->bytes);
    case ITEM_MAP:
    case ITEM_ARR:
        if (!wire_value_check(raw, &why))
            return wire_refuse(p, f->rule, why.msg);
        p->call->body_kind = BODY_JSON;
        p->call->body = raw;
        return true;
    default:
        return wire_refuse(p, f->rule, "must be binary, a string, a map or an array");
    }
}

static bool call_as(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    static const char *const words[] = {
        [AS_CONTENT] = "content", [AS_RAW] = "raw", [AS_RESPONSE] = "response", NULL};
    int i = wire_word_index(it, words);

    (void)raw;
    if (i < 0)
        return wire_refuse(p, f->rule, "must be content, raw or response");
    p->call->as = (enum call_as)i;
    return true;
}

static bool call_timeout(struct place *p, const struct field *f, const struct item *it,
                         struct slice raw)
{
    (void)raw;
    return wire_take_ms(p, f, it, 1, WIRE_DAY_MS, &p->call->timeout_ms);
}

static bool retry_max(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    uint64_t v = 0;

    (void)raw;
    if (!wire_take_number(p, f, it, 0, 1000, &v))
        return false;
    p->call->retry_max = (uint32_t)v;
    return true;
}

static bool retry_base(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    (void)raw;
    return wire_take_ms(p, f, it, 1, WIRE_DAY_MS, &p->call->retry_base_ms);
}

static bool retry_cap(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    (void)raw;
    return wire_take_ms(p, f, it, 1, WIRE_DAY_MS, &p->call->retry_cap_ms);
}

static bool call_retry(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    static const struct field fields[] = {
        {SLICE_LIT("max"), "call_value_invalid", retry_max},
        {SLICE_LIT("base_ms"), "call_value_invalid", retry_base},
        {SLICE_LIT("cap_ms"), "call_value_invalid", retry_cap},
    };
    bool ok;

    if (it->type != ITEM_MAP)
        return wire_refuse(p, f->rule, "must be a map");
    p->inside = "retry.";
    ok = wire_walk(p, raw, fields, ARRAY_LEN(fields));
    p->inside = "";
    return ok;
}

static bool call_idem(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    static const char *const words[] = {[IDEM_AUTO] = "auto", [IDEM_NONE] = "none", NULL};
    int i = wire_word_index(it, words);
    bool ok = it->type == ITEM_STR && it->bytes.len > 0 && it->bytes.len <= IDEM_MAX;

    (void)raw;
    if (i >= 0) {
        p->call->idem = (enum call_idem)i;
        return true;
    }
    for (size_t k = 0; ok && k < it->bytes.len; k++)
        ok = wire_is_visible(it->bytes.ptr[k]);
    if (!ok)
        return wire_refuse(p, f->rule, "must be auto, none, or 1-255 visible ASCII characters");
    p->call->idem = IDEM_VALUE;
    p->call->idem_value = it->bytes;
    return true;
}

static bool call_ambiguous(struct place *p, const struct field *f, const struct item *it,
                           struct slice raw)
{
    static const char *const words[] = {"retry", "dead", NULL};
    int i = wire_word_index(it, words);

    (void)raw;
    if (i < 0)
        return wire_refuse(p, f->rule, "must be retry or dead");
    p->call->ambiguous = i == 0 ? AMBIGUOUS_RETRY : AMBIGUOUS_DEAD;
    return true;
}

/* As the names of answer.tokens in a connection's settings. */
static bool is_token_char(char c)
{
    return c == '_' || (char_is_alnum(c) && c == char_lower(c));
}

static bool call_token(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    bool ok = it->type == ITEM_STR && it->bytes.len > 0 && it->bytes.len <= TOKEN_NAME_MAX;

    (void)raw;
    for (size_t i = 0; ok && i < it->bytes.len; i++)
        ok = is_token_char(it->bytes.ptr[i]);
    if (!ok)
        return wire_refuse(p, f->rule, "must be a token's name: 1-32 of a-z 0-9 _");
    p->call->token = it->bytes;
    return true;
}

/* RFC 6749 section 3.3: scope-token, visible ASCII but for " and \ */
static bool is_scope(const struct item *it)
{
    bool ok = it->type == ITEM_STR && it->bytes.len > 0 && it->bytes.len <= SCOPE_MAX;

    for (size_t i = 0; ok && i < it->bytes.len; i++) {
        char c = it->bytes.ptr[i];

        ok = wire_is_visible(c) && c != '"' && c != '\\';
    }
    return ok;
}

static bool call_needs(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    struct reader r = reader_of(raw);
    struct call *c = p->call;
    struct item scope;

    if (it->type != ITEM_ARR)
        return wire_refuse(p, f->rule, "must be an array of scopes");
    if (it->count > WIRE_MAX_NEEDS)
        return wire_refuse(p, f->rule, "has more than 16 scopes");
    read_item(&r, &scope);
    for (c->need_count = 0; c->need_count < it->count; c->need_count++) {
        wire_read_member(&r, &scope);
        if (!is_scope(&scope))
            return wire_refuse(p, f->rule,
                               "must hold scopes: strings of 1 to 128 visible ASCII characters "
                               "without \" and \\ (RFC 6749 section 3.3)");
        c->needs[c->need_count] = scope.bytes;
    }
    return true;
}

/* By hand, because zeroing the 8 KiB of pairs would cost more than reading the call. */
void wire_call_default(struct call *c)
{
    c->conn = c->url = c->body = c->idem_value = SLICE_NONE;
    c->method = SLICE_LIT("GET");
    c->query_count = c->header_count = 0;
    c->body_kind = BODY_NONE;
    c->as = AS_CONTENT;
    c->timeout_ms = 0;
    c->retry_max = 5;
    c->retry_base_ms = 500;
    c->retry_cap_ms = 60000;
    c->idem = IDEM_AUTO;
    c->ambiguous = AMBIGUOUS_AUTO;
    c->need_count = 0;
    c->token = SLICE_NONE;
}

bool wire_read_call(struct place *p, struct slice raw, int index, struct call *to, bool keep)
{
    static const struct field fields[] = {
        {SLICE_LIT("conn"), "call_conn_invalid", call_conn},
        {SLICE_LIT("method"), "call_method_invalid", call_method},
        {SLICE_LIT("url"), "call_url_invalid", call_url},
        {SLICE_LIT("query"), "call_query_invalid", call_query},
        {SLICE_LIT("headers"), "call_header_invalid", call_headers},
        {SLICE_LIT("body"), "call_value_invalid", call_body},
        {SLICE_LIT("as"), "call_value_invalid", call_as},
        {SLICE_LIT("timeout_ms"), "call_value_invalid", call_timeout},
        {SLICE_LIT("retry"), "call_value_invalid", call_retry},
        {SLICE_LIT("idem"), "call_value_invalid", call_idem},
        {SLICE_LIT("ambiguous"), "call_value_invalid", call_ambiguous},
        {SLICE_LIT("needs"), "call_value_invalid", call_needs},
        {SLICE_LIT("token"), "call_value_invalid", call_token},
    };
    bool walked;

    wire_call_default(to);
    p->call = to;
    p->index = index;
    p->keep = keep;
    walked = wire_walk(p, raw, fields, ARRAY_LEN(fields));
    p->call = NULL; /* it may be a local of the caller */
    if (!walked)
        return false;
    p->key = "url";
    if (to->url.len == 0)
        return wire_refuse(p, "call_url_missing", "is missing");
    p->key = "conn";
    if (to->conn.len == 0) /* its policy says where a call may go: without one, nowhere */
        return wire_refuse(p, "connection_missing", "is missing; name the connection to act for");
    if (!p->e->has_k)
        p->e->conns[index] = to->conn;
    p->key = "retry.cap_ms";
    if (to->retry_cap_ms < to->retry_base_ms)
        return wire_refuse(p, "call_value_invalid", "(default 60000) is less than retry.base_ms");
    return true;
}

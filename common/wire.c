#include "common/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/wire_pack.h"
#include "common/wire_read.h"

#define NUMBER_TEXT  24   /* a 64-bit integer in decimal */
#define URL_MAX      8192 /* what servers commonly take (RFC 9110 section 4.1) */
#define VALUE_MAX    8192 /* one header or query value */
#define NAME_MAX_LEN 256  /* one header or query name */
#define IDEM_MAX     255  /* draft-ietf-httpapi-idempotency-key-header leaves it open */
#define BRANCH_MAX   8    /* so that RUN.BRANCH.SEQ fits JOB_NAME_MAX */
#define STATE_MAX    512  /* W3C Trace Context section 3.3.1.5 */
#define UNIX_MS_MAX  253402300799999LL  /* the year 9999 ends */
#define DAY_MS       (24 * 3600 * 1000) /* longest timeout and longest wait between retries */

/* Text of numbers in headers and queries: the one thing that does not stand in the bytes. */
struct arena {
    char numbers[2 * WIRE_MAX_PAIRS][NUMBER_TEXT];
};

/* Where in the envelope we are, so that a refusal can name it. */
struct place {
    struct envelope *e;
    struct call *call;  /* the call being read */
    int index;          /* -1 = the envelope itself, 0 = call, i = then[i - 1] */
    const char *inside; /* "", or the map inside it: "retry." */
    const char *key;    /* the member being read */
    const char *key_rule;
    bool keep; /* this is the call to make now: numbers become text */
    struct err *err;
    /* Containers that are read in their turn, whatever the order of the keys. */
    struct slice raw_call, raw_then, raw_k;
    bool has_version;
};

struct field {
    struct slice name;
    const char *rule; /* when the value is of the wrong kind */
    bool (*read)(struct place *p, const struct field *f, const struct item *it, struct slice raw);
};

/* ---- refusals ---- */

static bool refuse(struct place *p, const char *rule, const char *why)
{
    char where[24] = "";

    if (p->index == 0)
        snprintf(where, sizeof where, "call.");
    else if (p->index > 0)
        snprintf(where, sizeof where, "then[%d].", p->index - 1);
    return err_rule(p->err, ERR_FORMAT, rule, "%s%s%s %s", where, p->inside, p->key, why);
}

/* The same about one member of a map of headers or query members. */
static bool refuse_member(struct place *p, const char *rule, struct slice name, const char *why)
{
    char text[160], shown[48];
    size_t n = name.len < sizeof shown - 1 ? name.len : sizeof shown - 1;

    for (size_t i = 0; i < n; i++)
        shown[i] = (char)(name.ptr[i] > 0x20 && name.ptr[i] < 0x7f ? name.ptr[i] : '?');
    shown[n] = '\0';
    snprintf(text, sizeof text, "member \"%s\" %s", shown, why);
    return refuse(p, rule, text);
}

/* ---- a map's members, by a table of those that are known ---- */

static const struct field *field_named(const struct field *fields, size_t n, struct slice name)
{
    for (size_t i = 0; name.len > 0 && i < n; i++) {
        const struct slice *known = &fields[i].name;

        if (known->len == name.len && known->ptr[0] == name.ptr[0] && slice_eq(*known, name))
            return &fields[i];
    }
    return NULL;
}

/* The next value, passed over whole: its head in *it, all its bytes as the answer. */
static struct slice read_member(struct reader *r, struct item *it)
{
    struct reader start = *r;

    if (read_item(r, it) != WIRE_FINE) /* not so after check_shape */
        *it = (struct item){.type = ITEM_NIL};
    if (it->type != ITEM_ARR && it->type != ITEM_MAP)
        return slice_of(start.at, (size_t)(r->at - start.at));
    *r = start;
    return read_raw(r);
}

/* Unknown members are passed over. One that is known and comes twice would mean one thing to us and
 * another to somebody else's decoder. */
static bool walk(struct place *p, struct slice map, const struct field *fields, size_t n)
{
    struct reader r = reader_of(map);
    struct item head, key, value;
    uint32_t seen = 0;

    if (read_item(&r, &head) != WIRE_FINE)
        return refuse(p, p->key_rule, "cannot be read");
    for (uint32_t i = 0; i < head.count; i++) {
        const struct field *f;
        struct slice raw;

        if (read_item(&r, &key) != WIRE_FINE || key.type != ITEM_STR) {
            p->key = "keys";
            return refuse(p, p->key_rule, "must be strings");
        }
        f = field_named(fields, n, key.bytes);
        raw = read_member(&r, &value);
        if (!f)
            continue;
        p->key = f->name.ptr;
        if (seen & 1u << (f - fields))
            return refuse(p, "envelope_duplicate_key", "is there twice");
        seen |= 1u << (f - fields);
        if (value.type == ITEM_NIL)
            return refuse(p, f->rule, "is null; leave the key out instead");
        if (!f->read(p, f, &value, raw))
            return false;
    }
    return true;
}

static bool take_number(struct place *p, const struct field *f, const struct item *it, uint64_t min,
                        uint64_t max, uint64_t *out)
{
    char why[96];

    if (it->type == ITEM_UINT && it->number >= min && it->number <= max) {
        *out = it->number;
        return true;
    }
    snprintf(why, sizeof why, "must be an integer from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    return refuse(p, f->rule, why);
}

static bool take_ms(struct place *p, const struct field *f, const struct item *it, int64_t min,
                    int64_t max, int64_t *out)
{
    uint64_t v = 0;

    if (!take_number(p, f, it, (uint64_t)min, (uint64_t)max, &v))
        return false;
    *out = (int64_t)v;
    return true;
}

/* The place of a word in a list that ends with NULL, or -1. */
static int word_index(const struct item *it, const char *const *words)
{
    for (int i = 0; it->type == ITEM_STR && words[i]; i++) {
        if (slice_is(it->bytes, words[i]))
            return i;
    }
    return -1;
}

/* ---- what may stand in text ---- */

static bool is_visible(char c)
{
    return c > 0x20 && c < 0x7f;
}

/* RFC 9110 section 5.6.2 */
static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_visible(s.ptr[i]) || strchr("\"(),/:;<=>?@[\\]{}", s.ptr[i]))
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

static bool is_hex(struct slice s)
{
    bool zero = true;

    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];

        if ((c < '0' || c > '9') && (c < 'a' || c > 'f'))
            return false;
        zero = zero && c == '0';
    }
    return !zero;
}

/* W3C Trace Context section 3.2: version 00, no all-zero ids. */
static bool is_traceparent(struct slice s)
{
    return s.len == 55 && slice_eq(slice_sub(s, 0, 3), SLICE_LIT("00-")) && s.ptr[35] == '-' &&
           s.ptr[52] == '-' && is_hex(slice_sub(s, 3, 32)) && is_hex(slice_sub(s, 36, 16)) &&
           (is_hex(slice_sub(s, 53, 2)) || slice_eq(slice_sub(s, 53, 2), SLICE_LIT("00")));
}

/* ---- one call ---- */

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

/* Text, an integer or a boolean, as text. A float has no one spelling, so it is refused. */
static bool pair_value(struct place *p, const char *rule, const struct item *it, struct pair *to,
                       size_t slot)
{
    switch (it->type) {
    case ITEM_STR:
        if (it->bytes.len > VALUE_MAX)
            return refuse_member(p, rule, to->name, "is longer than 8192 bytes");
        to->value = it->bytes;
        return true;
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
        return refuse_member(p, rule, to->name, "is null; leave it out instead");
    case ITEM_REAL:
        return refuse_member(p, rule, to->name, "is a float; write it as a string");
    default:
        return refuse_member(p, rule, to->name, "must be a string, an integer or a boolean");
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
        return refuse(p, f->rule, "must be a map");
    if (it->count > WIRE_MAX_PAIRS)
        return refuse(p, f->rule, "has more than 64 members");
    read_item(&r, &value);
    for (*count = 0; *count < it->count; ++*count) {
        struct pair *to = &pairs[*count];

        if (read_item(&r, &key) != WIRE_FINE || key.type != ITEM_STR)
            return refuse(p, f->rule, "must have strings as keys");
        *to = (struct pair){.name = key.bytes};
        if (key.bytes.len == 0 || key.bytes.len > NAME_MAX_LEN)
            return refuse_member(p, f->rule, key.bytes, "must have a name of 1 to 256 bytes");
        if (headers && !is_token(key.bytes))
            return refuse_member(p, f->rule, key.bytes, "is not a header name (RFC 9110 5.6.2)");
        read_member(&r, &value);
        if (!pair_value(p, f->rule, &value, to, slot + *count))
            return false;
        if (headers && !is_field_value(to->value))
            return refuse_member(p, f->rule, key.bytes, "holds a control character");
        for (size_t i = 0; i < *count; i++) {
            if (headers ? slice_eq_nocase(pairs[i].name, to->name)
                        : slice_eq(pairs[i].name, to->name))
                return refuse_member(p, f->rule, key.bytes, "is there twice");
        }
    }
    return true;
}

static bool call_conn(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || !id_is_connection(it->bytes))
        return refuse(p, f->rule, "must be 1-64 characters of A-Za-z0-9_:-");
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
        return refuse(p, f->rule, "must be an upper-case HTTP method");
    if (slice_is(it->bytes, "CONNECT") || slice_is(it->bytes, "TRACE"))
        return refuse(p, f->rule, "must not be CONNECT or TRACE");
    p->call->method = it->bytes;
    return true;
}

/* Only what no URL may hold; where it may go is looked at when it is expanded (egress.h). */
static bool call_url(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || it->bytes.len == 0)
        return refuse(p, f->rule, "must be a string that is not empty");
    if (it->bytes.len > URL_MAX)
        return refuse(p, f->rule, "is longer than 8192 bytes");
    if (!is_field_value(it->bytes) || memchr(it->bytes.ptr, '\t', it->bytes.len) ||
        memchr(it->bytes.ptr, ' ', it->bytes.len))
        return refuse(p, f->rule, "holds a blank or a control character");
    p->call->url = it->bytes;
    return true;
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
        return true;
    case ITEM_MAP:
    case ITEM_ARR:
        if (!wire_value_check(raw, &why))
            return refuse(p, f->rule, why.msg);
        p->call->body_kind = BODY_JSON;
        p->call->body = raw;
        return true;
    default:
        return refuse(p, f->rule, "must be binary, a string, a map or an array");
    }
}

static bool call_as(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    static const char *const words[] = {
        [AS_CONTENT] = "content", [AS_RAW] = "raw", [AS_RESPONSE] = "response", NULL};
    int i = word_index(it, words);

    (void)raw;
    if (i < 0)
        return refuse(p, f->rule, "must be content, raw or response");
    p->call->as = (enum call_as)i;
    return true;
}

static bool call_timeout(struct place *p, const struct field *f, const struct item *it,
                         struct slice raw)
{
    (void)raw;
    return take_ms(p, f, it, 1, DAY_MS, &p->call->timeout_ms);
}

static bool retry_max(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    uint64_t v = 0;

    (void)raw;
    if (!take_number(p, f, it, 0, 1000, &v))
        return false;
    p->call->retry_max = (uint32_t)v;
    return true;
}

static bool retry_base(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    (void)raw;
    return take_ms(p, f, it, 1, DAY_MS, &p->call->retry_base_ms);
}

static bool retry_cap(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    (void)raw;
    return take_ms(p, f, it, 1, DAY_MS, &p->call->retry_cap_ms);
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
        return refuse(p, f->rule, "must be a map");
    p->inside = "retry.";
    ok = walk(p, raw, fields, ARRAY_LEN(fields));
    p->inside = "";
    return ok;
}

static bool call_idem(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    static const char *const words[] = {[IDEM_AUTO] = "auto", [IDEM_NONE] = "none", NULL};
    int i = word_index(it, words);
    bool ok = it->type == ITEM_STR && it->bytes.len > 0 && it->bytes.len <= IDEM_MAX;

    (void)raw;
    if (i >= 0) {
        p->call->idem = (enum call_idem)i;
        return true;
    }
    for (size_t k = 0; ok && k < it->bytes.len; k++)
        ok = is_visible(it->bytes.ptr[k]);
    if (!ok)
        return refuse(p, f->rule, "must be auto, none, or 1-255 visible ASCII characters");
    p->call->idem = IDEM_VALUE;
    p->call->idem_value = it->bytes;
    return true;
}

static bool call_ambiguous(struct place *p, const struct field *f, const struct item *it,
                           struct slice raw)
{
    static const char *const words[] = {
        [AMBIGUOUS_RETRY] = "retry", [AMBIGUOUS_DEAD] = "dead", NULL};
    int i = word_index(it, words);

    (void)raw;
    if (i < 0)
        return refuse(p, f->rule, "must be retry or dead");
    p->call->ambiguous = (enum call_ambiguous)i;
    return true;
}

/* By hand, because zeroing the 8 KiB of pairs would cost more than reading the call. */
static void call_default(struct call *c)
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
    c->ambiguous = AMBIGUOUS_RETRY;
}

/* Read call `index` into *to. */
static bool read_call(struct place *p, struct slice raw, int index, struct call *to, bool keep)
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
    };
    bool walked;

    call_default(to);
    p->call = to;
    p->index = index;
    p->keep = keep;
    walked = walk(p, raw, fields, ARRAY_LEN(fields));
    p->call = NULL; /* it may be a local of the caller */
    if (!walked)
        return false;
    p->key = "url";
    if (to->url.len == 0)
        return refuse(p, "call_url_missing", "is missing");
    p->key = "conn";
    if (to->conn.len == 0) /* its policy says where a call may go: without one, nowhere */
        return refuse(p, "connection_missing", "is missing; name the connection to act for");
    p->key = "retry.cap_ms";
    if (to->retry_cap_ms < to->retry_base_ms)
        return refuse(p, "call_value_invalid", "is less than retry.base_ms");
    return true;
}

/* ---- the continuation ---- */

static bool k_branch(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || it->bytes.len > BRANCH_MAX || !id_is_queue(it->bytes))
        return refuse(p, f->rule, "must be a branch name");
    p->e->k.branch = it->bytes;
    return true;
}

static bool k_seq(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    return take_number(p, f, it, 0, INT64_MAX, &p->e->k.seq);
}

static bool k_position(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    uint64_t v = 0;

    (void)raw;
    if (!take_number(p, f, it, 0, WIRE_MAX_CALLS - 1, &v))
        return false;
    p->e->k.position = (uint32_t)v;
    return true;
}

static bool k_calls(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    return take_number(p, f, it, 0, INT64_MAX, &p->e->k.calls);
}

static bool k_attempt(struct place *p, const struct field *f, const struct item *it,
                      struct slice raw)
{
    uint64_t v = 0;

    (void)raw;
    if (!take_number(p, f, it, 0, UINT32_MAX, &v))
        return false;
    p->e->k.attempt = (uint32_t)v;
    return true;
}

static bool k_input(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_BIN)
        return refuse(p, f->rule, "must be binary");
    p->e->k.input = it->bytes;
    return true;
}

static bool k_type(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR)
        return refuse(p, f->rule, "must be a string");
    p->e->k.input_type = it->bytes;
    return true;
}

static bool k_queued(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    return take_ms(p, f, it, 0, UNIX_MS_MAX, &p->e->k.queued_ms);
}

static bool k_digest(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || it->bytes.len != WIRE_DIGEST_HEX)
        return refuse(p, f->rule, "must be a digest");
    p->e->k.input_digest = it->bytes;
    return true;
}

/* One letter each: the continuation travels with every later step. */
static bool read_k(struct place *p)
{
    static const struct field fields[] = {
        {SLICE_LIT("b"), "k_invalid", k_branch},   {SLICE_LIT("s"), "k_invalid", k_seq},
        {SLICE_LIT("p"), "k_invalid", k_position}, {SLICE_LIT("n"), "k_invalid", k_calls},
        {SLICE_LIT("a"), "k_invalid", k_attempt},  {SLICE_LIT("i"), "k_invalid", k_input},
        {SLICE_LIT("t"), "k_invalid", k_type},     {SLICE_LIT("q"), "k_invalid", k_queued},
        {SLICE_LIT("d"), "k_invalid", k_digest},
    };
    bool ok;

    p->inside = "k.";
    p->key_rule = "k_invalid";
    ok = walk(p, p->raw_k, fields, ARRAY_LEN(fields));
    p->inside = "";
    p->key_rule = "envelope_key_type";
    p->key = "k.p";
    if (ok && p->e->k.position >= p->e->call_count)
        return refuse(p, "k_invalid", "is past the last call");
    if (p->e->k.position > 0 && !p->e->k.input.ptr)
        p->e->k.input = SLICE_LIT("");
    return ok;
}

static void pack_cont(msgpack_packer *pk, const struct cont *k)
{
    bool digest = k->input_digest.len > 0, input = k->position > 0 && !digest;
    bool type = k->input_type.len > 0, queued = k->queued_ms > 0;

    msgpack_pack_map(pk, 5 + (size_t)input + type + queued + digest);
    pack_key(pk, "b");
    pack_str(pk, k->branch);
    pack_key(pk, "s");
    msgpack_pack_uint64(pk, k->seq);
    pack_key(pk, "p");
    msgpack_pack_uint32(pk, k->position);
    pack_key(pk, "n");
    msgpack_pack_uint64(pk, k->calls);
    pack_key(pk, "a");
    msgpack_pack_uint32(pk, k->attempt);
    if (input) {
        pack_key(pk, "i");
        pack_bin(pk, k->input);
    }
    if (type) {
        pack_key(pk, "t");
        pack_str(pk, k->input_type);
    }
    if (queued) {
        pack_key(pk, "q");
        msgpack_pack_int64(pk, k->queued_ms);
    }
    if (digest) {
        pack_key(pk, "d");
        pack_str(pk, k->input_digest);
    }
}

/* ---- the envelope ---- */

static bool env_version(struct place *p, const struct field *f, const struct item *it,
                        struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_UINT || it->number != WIRE_VERSION)
        return refuse(p, f->rule, "is not 1, the only version this awq knows");
    p->has_version = true;
    return true;
}

static bool env_id(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || !id_is_job(it->bytes))
        return refuse(p, f->rule, "must be 1-64 characters of A-Za-z0-9_:-");
    p->e->id = it->bytes;
    return true;
}

static bool env_call(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    if (it->type != ITEM_MAP)
        return refuse(p, f->rule, "must be a map");
    p->raw_call = raw;
    return true;
}

static bool env_then(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    if (it->type != ITEM_ARR)
        return refuse(p, f->rule, "must be an array of calls");
    if (it->count > WIRE_MAX_CALLS - 1)
        return refuse(p, "then_too_many", "holds more than 63 calls");
    p->raw_then = raw;
    p->e->call_count = 1 + it->count;
    return true;
}

static bool env_k(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    if (it->type != ITEM_MAP)
        return refuse(p, f->rule, "must be a map");
    p->raw_k = raw;
    p->e->has_k = true;
    return true;
}

static bool env_flow(struct place *p, const struct field *f, const struct item *it,
                     struct slice raw)
{
    (void)it;
    (void)raw;
    return refuse(p, f->rule, "is not supported; use call and then");
}

static bool env_out(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || (it->bytes.len > 0 && !id_is_queue(it->bytes)))
        return refuse(p, f->rule, "must be empty or 1-64 characters of A-Za-z0-9_-");
    p->e->out = it->bytes;
    return true;
}

static bool env_tenant(struct place *p, const struct field *f, const struct item *it,
                       struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR || !id_is_job(it->bytes))
        return refuse(p, f->rule, "must be 1-64 characters of A-Za-z0-9_:-");
    p->e->tenant = it->bytes;
    return true;
}

static bool env_not_before(struct place *p, const struct field *f, const struct item *it,
                           struct slice raw)
{
    (void)raw;
    return take_ms(p, f, it, 0, UNIX_MS_MAX, &p->e->not_before);
}

static bool env_deadline(struct place *p, const struct field *f, const struct item *it,
                         struct slice raw)
{
    (void)raw;
    return take_ms(p, f, it, 0, UNIX_MS_MAX, &p->e->deadline);
}

/* A trace context that cannot be used is dropped: no job fails for it (W3C Trace Context 2.2.3). */
static bool env_tp(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    (void)raw;
    if (it->type != ITEM_STR)
        return refuse(p, f->rule, "must be a string");
    p->e->tp = is_traceparent(it->bytes) ? it->bytes : SLICE_NONE;
    return true;
}

static bool env_ts(struct place *p, const struct field *f, const struct item *it, struct slice raw)
{
    bool ok = it->type == ITEM_STR && it->bytes.len <= STATE_MAX;

    (void)raw;
    if (it->type != ITEM_STR)
        return refuse(p, f->rule, "must be a string");
    for (size_t i = 0; ok && i < it->bytes.len; i++)
        ok = is_visible(it->bytes.ptr[i]) || it->bytes.ptr[i] == ' ';
    p->e->ts = ok ? it->bytes : SLICE_NONE;
    return true;
}

static const struct field env_fields[] = {
    {SLICE_LIT("v"), "envelope_version", env_version},
    {SLICE_LIT("id"), "envelope_id_invalid", env_id},
    {SLICE_LIT("call"), "call_type", env_call},
    {SLICE_LIT("then"), "then_type", env_then},
    {SLICE_LIT("k"), "k_invalid", env_k},
    {SLICE_LIT("flow"), "flow_not_supported", env_flow},
    {SLICE_LIT("out"), "out_invalid", env_out},
    {SLICE_LIT("tenant"), "envelope_value_invalid", env_tenant},
    {SLICE_LIT("not_before"), "envelope_value_invalid", env_not_before},
    {SLICE_LIT("deadline"), "envelope_value_invalid", env_deadline},
    {SLICE_LIT("tp"), "envelope_value_invalid", env_tp},
    {SLICE_LIT("ts"), "envelope_value_invalid", env_ts},
};

void envelope_init(struct envelope *e)
{
    *e = (struct envelope){0};
}

void envelope_deinit(struct envelope *e)
{
    if (!e)
        return;
    free(e->arena);
    *e = (struct envelope){0};
}

/* Empty, with the defaults; the arena is kept. */
static void envelope_reset(struct envelope *e)
{
    e->id = e->tenant = e->tp = e->ts = e->bytes = SLICE_NONE;
    e->out = SLICE_LIT("results");
    e->not_before = e->deadline = 0;
    call_default(&e->call);
    e->call_count = 1;
    e->has_k = false;
    e->k = (struct cont){.branch = SLICE_LIT("0")};
}

/* The id of an envelope that is otherwise no good, so that its dead letter can carry it. */
static struct slice find_id(struct slice bytes)
{
    struct reader r = reader_of(bytes);
    struct item head, key, value;

    if (read_item(&r, &head) != WIRE_FINE || head.type != ITEM_MAP)
        return SLICE_NONE;
    for (uint32_t i = 0; i < head.count; i++) {
        if (read_item(&r, &key) != WIRE_FINE || key.type != ITEM_STR)
            return SLICE_NONE;
        if (slice_is(key.bytes, "id"))
            return read_item(&r, &value) == WIRE_FINE && value.type == ITEM_STR &&
                           id_is_job(value.bytes)
                       ? value.bytes
                       : SLICE_NONE;
        if (read_value(&r, WIRE_MAX_DEPTH, NULL) != WIRE_FINE)
            return SLICE_NONE;
    }
    return SLICE_NONE;
}

/* Is it one whole map, and nothing else? After this, reading it cannot run out of bytes. */
static bool check_shape(struct slice bytes, size_t max_bytes, struct err *err)
{
    struct reader r = reader_of(bytes), start = r;
    struct item head;
    enum wire_fault fault;

    if (bytes.len > max_bytes)
        return err_rule(err, ERR_FORMAT, "envelope_too_big",
                        "the envelope has %zu bytes, more than the %zu allowed", bytes.len,
                        max_bytes);
    fault = read_value(&r, WIRE_MAX_DEPTH, NULL);
    if (fault == WIRE_TRUNCATED)
        return err_rule(err, ERR_FORMAT, "envelope_truncated",
                        "the envelope is cut short: %zu bytes are not all of it", bytes.len);
    if (fault == WIRE_DEEP)
        return err_rule(err, ERR_FORMAT, "envelope_too_deep",
                        "the envelope has more than %d maps and arrays inside each other",
                        WIRE_MAX_DEPTH);
    if (fault == WIRE_INVALID || read_item(&start, &head) != WIRE_FINE)
        return err_rule(err, ERR_FORMAT, "envelope_not_msgpack", "the envelope is not MessagePack");
    if (head.type != ITEM_MAP && r.at < r.end)
        return err_rule(err, ERR_FORMAT, "envelope_not_msgpack",
                        bytes.ptr[0] == '{' ? "the envelope is JSON text; it must be MessagePack"
                                            : "the envelope is not MessagePack");
    if (head.type != ITEM_MAP)
        return err_rule(err, ERR_FORMAT, "envelope_not_a_map", "the envelope is not a map");
    if (r.at < r.end)
        return err_rule(err, ERR_FORMAT, "envelope_trailing_bytes", "%zu bytes follow the envelope",
                        (size_t)(r.end - r.at));
    return true;
}

/* The call to make now into e->call. The others are checked too, so that a bad third call is found
 * before the first is made; not again by the steps that follow, whose `k` a worker has signed. */
static bool read_calls(struct place *p)
{
    struct reader r = reader_of(p->raw_then);
    uint32_t now = p->e->k.position;
    struct call other;
    struct item it;

    if ((now == 0 || !p->e->has_k) &&
        !read_call(p, p->raw_call, 0, now == 0 ? &p->e->call : &other, now == 0))
        return false;
    if (p->e->call_count > 1)
        read_item(&r, &it);
    for (uint32_t i = 1; i < p->e->call_count; i++) {
        struct slice raw = read_member(&r, &it);

        if (p->e->has_k && i != now)
            continue;
        if (it.type != ITEM_MAP)
            return err_rule(p->err, ERR_FORMAT, "then_type", "then[%u] must be a map", i - 1);
        if (!read_call(p, raw, (int)i, i == now ? &p->e->call : &other, i == now))
            return false;
    }
    return true;
}

static bool read_envelope(struct envelope *e, struct slice bytes, struct err *err)
{
    struct place p = {
        .e = e, .index = -1, .inside = "", .key = "", .key_rule = "envelope_key_type", .err = err};

    if (!walk(&p, bytes, env_fields, ARRAY_LEN(env_fields)))
        return false;
    if (!p.has_version)
        return err_rule(err, ERR_FORMAT, "envelope_version", "v is missing; it must be 1");
    if (e->id.len == 0)
        return err_rule(err, ERR_FORMAT, "envelope_id_missing", "id is missing");
    if (p.raw_call.len == 0)
        return err_rule(err, ERR_FORMAT, "call_missing", "call is missing");
    if (e->has_k && !read_k(&p))
        return false;
    return read_calls(&p);
}

bool envelope_decode(struct envelope *e, struct slice bytes, size_t max_bytes, struct err *err)
{
    envelope_reset(e);
    e->bytes = bytes;
    if (check_shape(bytes, max_bytes, err) && read_envelope(e, bytes, err))
        return true;
    envelope_reset(e);
    e->id = find_id(bytes);
    return false;
}

bool envelope_with_k(struct buf *out, const struct envelope *e, const struct cont *k,
                     struct err *err)
{
    struct reader r = reader_of(e->bytes);
    msgpack_packer pk = pack_into(out);
    size_t start = out->len;
    struct item head, key;

    if (read_item(&r, &head) != WIRE_FINE || head.type != ITEM_MAP)
        return err_set(err, ERR_FORMAT, "job %.*s: its envelope was not decoded", SLICE_FMT(e->id));
    msgpack_pack_map(&pk, (size_t)head.count + (e->has_k ? 0 : 1));
    for (uint32_t i = 0; i < head.count; i++) {
        struct reader at = r;

        read_item(&r, &key);
        read_raw(&r);
        if (!slice_is(key.bytes, "k"))
            buf_add(out, at.at, (size_t)(r.at - at.at));
    }
    pack_key(&pk, "k");
    pack_cont(&pk, k);
    if (buf_ok(out))
        return true;
    pack_undo(out, start);
    return err_set(err, ERR_NOMEM, "job %.*s: its next step takes more than %zu bytes",
                   SLICE_FMT(e->id), out->max);
}

static void add_length(struct buf *out, size_t len)
{
    unsigned char be[8];

    for (int i = 7; i >= 0; i--, len >>= 8)
        be[i] = (unsigned char)(len & 0xff);
    buf_add(out, be, sizeof be);
}

bool wire_signed_bytes(struct buf *out, struct slice prefix, struct slice queue, struct slice j)
{
    const struct slice parts[] = {prefix, queue, j};

    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        add_length(out, parts[i].len);
        buf_add_slice(out, parts[i]);
    }
    return buf_ok(out);
}

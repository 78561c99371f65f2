#include "common/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sodium.h>
#include "common/json.h"

#define MAX (1024 * 1024)

/* ---- vectors: the bytes are python3-msgpack's (tests/vectors/make.py) ---- */

static struct json *load(const char *name)
{
    char path[128], block[4096];
    struct err err = {0};
    struct json *doc;
    struct buf text;
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "tests/vectors/%s", name);
    f = fopen(path, "r");
    if (!f)
        fail_msg("%s: cannot be opened; run this from the top of the tree", path);
    buf_init(&text, 16 * MAX);
    while ((n = fread(block, 1, sizeof block, f)) > 0)
        buf_add(&text, block, n);
    fclose(f);
    doc = json_parse(buf_slice(&text), &err);
    if (!doc)
        fail_msg("%s: %s", path, err.msg);
    buf_deinit(&text);
    return doc;
}

struct vector {
    char name[64], code[64];
    unsigned char *raw;
    struct buf json;    /* compact */
    struct slice exact; /* in a block of just their size: the sanitizer sees a byte too far */
};

static void vector_init(struct vector *v, const struct json_val *row)
{
    struct slice s = SLICE_NONE;
    unsigned char *raw;
    size_t len = 0;

    *v = (struct vector){0};
    buf_init(&v->json, MAX);
    assert_true(json_str(json_get(row, "name"), &s) && slice_copy(s, v->name, sizeof v->name));
    if (json_str(json_get(row, "code"), &s))
        assert_true(slice_copy(s, v->code, sizeof v->code));
    if (json_get(row, "json"))
        assert_true(json_write(&v->json, json_get(row, "json")));
    assert_true(json_str(json_get(row, "hex"), &s));
    v->raw = raw = malloc(s.len / 2 > 0 ? s.len / 2 : 1);
    assert_non_null(raw);
    assert_int_equal(sodium_hex2bin(raw, s.len / 2, s.ptr, s.len, NULL, &len, NULL), 0);
    v->exact = slice_of(raw, len);
}

static void vector_deinit(struct vector *v)
{
    buf_deinit(&v->json);
    free(v->raw);
}

typedef void on_vector(struct vector *v);

static void each_vector(const char *file, size_t at_least, on_vector *fn)
{
    struct json *doc = load(file);
    const struct json_val *row;
    struct json_iter it;
    struct slice key;
    size_t n = 0;

    for (json_iter_init(&it, json_root(doc)); json_iter_next(&it, &key, &row); n++) {
        struct vector v;

        vector_init(&v, row);
        fn(&v);
        vector_deinit(&v);
    }
    assert_true(n >= at_least);
    json_free(doc);
}

static void same_bytes(const char *name, struct slice got, struct slice want)
{
    if (slice_eq(got, want))
        return;
    fail_msg("%s: %zu bytes instead of %zu, or other ones", name, got.len, want.len);
}

static void check_envelope(struct vector *v)
{
    struct err err = {0};
    struct envelope e;
    struct buf b;

    envelope_init(&e);
    buf_init(&b, MAX);
    if (!envelope_decode(&e, v->exact, MAX, &err))
        fail_msg("%s: %s: %s", v->name, err.rule, err.msg);
    if (!wire_from_json(&b, buf_slice(&v->json), &err))
        fail_msg("%s: %s: %s", v->name, err.rule, err.msg);
    same_bytes(v->name, buf_slice(&b), v->exact);
    buf_deinit(&b);
    envelope_deinit(&e);
}

static void test_envelope_vectors(void **state)
{
    (void)state;
    each_vector("envelopes.json", 16, check_envelope);
}

static void check_result(struct vector *v)
{
    struct err err = {0};
    struct result r;
    struct buf b;

    buf_init(&b, MAX);
    if (!result_decode(&r, v->exact, &err))
        fail_msg("%s: %s", v->name, err.msg);
    assert_true(result_to_json(&b, &r));
    if (!slice_eq(buf_slice(&b), buf_slice(&v->json)))
        fail_msg("%s:\n%s\ninstead of\n%s", v->name, b.ptr, v->json.ptr);
    buf_clear(&b);
    assert_true(result_encode(&b, &r));
    same_bytes(v->name, buf_slice(&b), v->exact);
    buf_deinit(&b);
}

static void test_result_vectors(void **state)
{
    (void)state;
    each_vector("results.json", 10, check_result);
}

static void check_bad(struct vector *v)
{
    struct err err = {0};
    struct envelope e;

    envelope_init(&e);
    if (envelope_decode(&e, v->exact, MAX, &err))
        fail_msg("%s: taken", v->name);
    if (strcmp(err.rule, v->code) != 0)
        fail_msg("%s: %s (%s) instead of %s", v->name, err.rule, err.msg, v->code);
    assert_int_equal(err.code, ERR_FORMAT);
    assert_true(json_is_utf8(slice_cstr(err.msg)));
    assert_null(e.call.url.ptr); /* nothing but the id is left */
    envelope_deinit(&e);
}

static void test_bad_vectors(void **state)
{
    (void)state;
    each_vector("bad.json", 90, check_bad);
}

/* ---- what is read ---- */

static struct buf from_json(const char *text)
{
    struct err err = {0};
    struct buf b;

    buf_init(&b, MAX);
    if (!wire_from_json(&b, slice_cstr(text), &err))
        fail_msg("%s: %s: %s", text, err.rule, err.msg);
    return b;
}

static void check_slice(struct slice got, const char *want)
{
    if (!slice_is(got, want))
        fail_msg("\"%.*s\" instead of \"%s\"", SLICE_FMT(got), want);
}

static void test_defaults(void **state)
{
    struct buf b = from_json("{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"http://x\"}}");
    struct err err = {0};
    struct envelope e;

    (void)state;
    envelope_init(&e);
    assert_true(envelope_decode(&e, buf_slice(&b), MAX, &err));
    check_slice(e.id, "a");
    check_slice(e.out, "results");
    check_slice(e.call.method, "GET");
    check_slice(e.call.conn, "c");
    check_slice(e.k.branch, "0");
    assert_int_equal(e.call_count, 1);
    assert_int_equal(e.call.retry_max, 5);
    assert_int_equal(e.call.retry_base_ms, 500);
    assert_int_equal(e.call.retry_cap_ms, 60000);
    assert_int_equal(e.call.body_kind, BODY_NONE);
    assert_int_equal(e.call.as, AS_CONTENT);
    assert_int_equal(e.call.idem, IDEM_AUTO);
    assert_int_equal(e.call.ambiguous, AMBIGUOUS_AUTO);
    assert_int_equal(e.call.need_count, 0);
    assert_int_equal(e.deadline, 0);
    assert_false(e.has_k);
    assert_null(e.k.input.ptr); /* the first call: no input, not an empty one */
    envelope_deinit(&e);
    buf_deinit(&b);
}

static const char full[] =
    "{\"id\":\"a\",\"x\":{\"y\":[1]},\"out\":\"\",\"deadline\":1767225600007,\"not_before\":"
    "1767225600006,\"tenant\":\"t\","
    "\"tp\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\",\"ts\":\"a=1\","
    "\"call\":{\"conn\":\"c\",\"method\":\"PATCH\",\"url\":\"http://x\","
    "\"query\":{\"n\":-5,\"u\":18446744073709551615,\"t\":true,\"f\":false,\"s\":\"v w\"},"
    "\"headers\":{\"X-N\":12},\"body\":{\"a\":1},\"as\":\"raw\",\"timeout_ms\":9,"
    "\"retry\":{\"max\":0,\"base_ms\":1,\"cap_ms\":2},\"idem\":\"key-1\",\"ambiguous\":\"dead\","
    "\"needs\":[\"read\",\"a:b/c\"]},"
    "\"then\":[{\"conn\":\"c\",\"url\":\"http://y/"
    "{id}\",\"idem\":\"none\"},{\"conn\":\"c\",\"url\":\"http://"
    "z\",\"query\":{\"n\":3}}]}";

static void test_all_keys(void **state)
{
    static const char *const values[] = {"-5", "18446744073709551615", "true", "false", "v w"};
    struct buf b = from_json(full);
    struct err err = {0};
    struct envelope e;

    (void)state;
    envelope_init(&e);
    assert_true(envelope_decode(&e, buf_slice(&b), MAX, &err));
    check_slice(e.out, "");
    check_slice(e.tenant, "t");
    check_slice(e.ts, "a=1");
    assert_int_equal(e.tp.len, 55);
    assert_int_equal(e.not_before, 1767225600006);
    assert_int_equal(e.deadline, 1767225600007);
    assert_int_equal(e.call_count, 3);
    check_slice(e.call.conn, "c");
    check_slice(e.call.method, "PATCH");
    assert_int_equal(e.call.query_count, 5);
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        check_slice(e.call.query[i].value, values[i]);
    assert_int_equal(e.call.header_count, 1);
    check_slice(e.call.headers[0].name, "X-N");
    check_slice(e.call.headers[0].value, "12");
    assert_int_equal(e.call.body_kind, BODY_JSON);
    assert_int_equal(e.call.as, AS_RAW);
    assert_int_equal(e.call.timeout_ms, 9);
    assert_int_equal(e.call.retry_max, 0);
    assert_int_equal(e.call.retry_base_ms, 1);
    assert_int_equal(e.call.retry_cap_ms, 2);
    assert_int_equal(e.call.idem, IDEM_VALUE);
    check_slice(e.call.idem_value, "key-1");
    assert_int_equal(e.call.ambiguous, AMBIGUOUS_DEAD);
    assert_int_equal(e.call.need_count, 2);
    check_slice(e.call.needs[0], "read");
    check_slice(e.call.needs[1], "a:b/c");
    envelope_deinit(&e);
    buf_deinit(&b);
}

static const struct cont second = {.branch = {"0", 1},
                                   .seq = 41,
                                   .position = 2,
                                   .calls = 7,
                                   .attempt = 3,
                                   .input = {"{\"id\":9}", 8},
                                   .input_type = {"application/json", 16},
                                   .queued_ms = 1767225600000};

/* Each step's envelope is the one before it but for k; the call to make moves on. */
static void test_continuation(void **state)
{
    struct buf b = from_json(full), next, again;
    struct cont third = second;
    struct err err = {0};
    struct envelope e;

    (void)state;
    envelope_init(&e);
    buf_init(&next, MAX);
    buf_init(&again, MAX);
    assert_true(envelope_decode(&e, buf_slice(&b), MAX, &err));
    assert_true(envelope_with_k(&next, &e, &second, &err));
    assert_memory_equal(next.ptr + 1, b.ptr + 1, b.len - 1); /* unknown keys too, as they came */
    assert_true(e.stranger[0] != '\0');
    assert_true(envelope_decode(&e, buf_slice(&next), MAX, &err));
    assert_true(e.has_k);
    assert_int_equal(e.k.seq, 41);
    assert_int_equal(e.k.position, 2);
    assert_int_equal(e.k.calls, 7);
    assert_int_equal(e.k.attempt, 3);
    assert_int_equal(e.k.queued_ms, 1767225600000);
    check_slice(e.k.input, "{\"id\":9}");
    check_slice(e.k.input_type, "application/json");
    check_slice(e.call.url, "http://z");
    check_slice(e.call.query[0].value, "3");
    check_slice(e.call.method, "GET"); /* nothing of the call before is left */
    assert_int_equal(e.call.header_count, 0);

    third.input = third.input_type = SLICE_NONE;
    third.input_digest =
        SLICE_LIT("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
    assert_true(envelope_with_k(&again, &e, &third, &err)); /* replaces, does not add */
    assert_true(envelope_decode(&e, buf_slice(&again), MAX, &err));
    assert_true(slice_eq(e.k.input_digest, third.input_digest));
    assert_non_null(e.k.input.ptr); /* an output without a body is not "no input" */
    assert_int_equal(e.k.input.len, 0);
    envelope_deinit(&e);
    buf_deinit(&b);
    buf_deinit(&next);
    buf_deinit(&again);
}

static void test_with_k_bounded(void **state)
{
    struct buf b = from_json(full), small;
    struct err err = {0};
    struct envelope e;

    (void)state;
    envelope_init(&e);
    buf_init(&small, b.len);
    buf_add_cstr(&small, "kept");
    assert_true(envelope_decode(&e, buf_slice(&b), MAX, &err));
    assert_false(envelope_with_k(&small, &e, &second, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    check_slice(buf_slice(&small), "kept");
    envelope_deinit(&e);
    buf_deinit(&b);
    buf_deinit(&small);
}

/* A dead letter needs the id of an envelope that is otherwise no good. */
static void test_id_of_bad(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *id;
    } cases[] = {
        {"\x82\xa2id\xa1"
         "a\xa1v\x02",
         8, "a"}, /* a version we do not know */
        {"\x83\xa2id\xa3"
         "abc\xa1v\x01\xa4"
         "ca",
         14, "abc"}, /* cut short behind it */
        {"\x83\xa1x\x93\x01\x02\x03\xa2id\xa1"
         "b\xa1v",
         14, "b"}, /* behind another key */
        {"\x82\xa2id\xa2"
         "a b",
         7, ""}, /* not an id */
        {"\x82\xa2id\x07\xa1v\x01", 8, ""},
        {"\x82\xa2id\xa5"
         "ab",
         7, ""}, /* cut short within it */
        {"\x93\xa2id\xa1"
         "a\x01",
         7, ""}, /* not a map */
        {"", 0, ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct envelope e;

        envelope_init(&e);
        assert_false(envelope_decode(&e, slice_of(cases[i].bytes, cases[i].len), MAX, &err));
        if (!slice_is(e.id, cases[i].id))
            fail_msg("case %zu: id \"%.*s\" (%s)", i, SLICE_FMT(e.id), err.msg);
        envelope_deinit(&e);
    }
}

static void test_too_big(void **state)
{
    struct buf b = from_json(full);
    struct err err = {0};
    struct envelope e;

    (void)state;
    envelope_init(&e);
    assert_false(envelope_decode(&e, buf_slice(&b), b.len - 1, &err));
    assert_string_equal(err.rule, "envelope_too_big");
    check_slice(e.id, "a");
    assert_true(envelope_decode(&e, buf_slice(&b), b.len, &err));
    envelope_deinit(&e);
    buf_deinit(&b);
}

/* The place is named, a header's value never is. */
static void test_texts(void **state)
{
    static const struct {
        const char *json, *msg;
    } cases[] = {
        {"{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\"},\"then\":[{\"conn\":\"c\",\"url\":"
         "\"u\"},{\"conn\":\"c\",\"url\":\"u\","
         "\"timeout_ms\":0}]}",
         "then[1].timeout_ms must be an integer from 1 to 86400000"},
        {"{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\",\"retry\":{\"max\":-1}}}",
         "call.retry.max must be an integer from 0 to 1000"},
        {"{\"id\":\"a\",\"call\":{\"url\":\"u\",\"conn\":null}}",
         "call.conn is null; leave the key out instead"},
        {"{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\",\"headers\":{\"X-Key\":"
         "\"s3cret\\r\\n\"}}}",
         "call.headers member \"X-Key\" holds a control character"},
        {"{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\"},\"then\":[7]}",
         "then[0] must be a map"},
        {"{\"id\":\"a b\",\"call\":{\"conn\":\"c\",\"url\":\"u\"}}",
         "id must be 1-64 characters of A-Za-z0-9_:-"},
        {"{\"id\":7,\"call\":{\"conn\":\"c\",\"url\":\"u\"}}", "id must be a str"},
        {"{\"id\":\"a\",\"deadline\":1795850634}",
         "deadline is 1795850634: it looks like seconds, milliseconds are wanted"},
        {"{\"id\":\"a\",\"not_before\":99999999999}",
         "not_before is 99999999999: it looks like seconds, milliseconds are wanted"},
        {"{\"id\":\"a\",\"iat\":1}", "iat is 1: it looks like seconds, milliseconds are wanted"},
        {"{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\",\"retry\":{\"base_ms\":120000}}}",
         "call.retry.cap_ms (default 60000) is less than retry.base_ms"},
        {"{\"call\":{\"conn\":\"c\",\"url\":\"u\"}}", "id is missing"},
        {"{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\",\"body_base64\":\"*\"}}",
         "body_base64 is not base64 (RFC 4648 4)"},
        {"[]", "the job is not a JSON object"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct buf b;

        buf_init(&b, MAX);
        buf_add_cstr(&b, "kept");
        assert_false(wire_from_json(&b, slice_cstr(cases[i].json), &err));
        assert_string_equal(err.msg, cases[i].msg);
        check_slice(buf_slice(&b), "kept");
        buf_deinit(&b);
    }
}

/* A full map of each kind, and one deep value: the bounds themselves are allowed. */
static void test_bounds(void **state)
{
    struct err err = {0};
    struct envelope e;
    struct buf j, b;

    (void)state;
    envelope_init(&e);
    buf_init(&j, MAX);
    buf_init(&b, MAX);
    buf_add_cstr(&j, "{\"id\":\"a\",\"call\":{\"conn\":\"c\",\"url\":\"u\",\"query\":{");
    for (int i = 0; i < WIRE_MAX_PAIRS; i++)
        buf_addf(&j, "%s\"q%d\":%d", i > 0 ? "," : "", i, i);
    buf_add_cstr(&j, "},\"headers\":{");
    for (int i = 0; i < WIRE_MAX_PAIRS; i++)
        buf_addf(&j, "%s\"h%d\":%d", i > 0 ? "," : "", i, 1000 + i);
    buf_add_cstr(&j, "}},\"then\":[");
    for (int i = 0; i < WIRE_MAX_CALLS - 1; i++)
        buf_addf(&j, "%s{\"conn\":\"c\",\"url\":\"u\"}", i > 0 ? "," : "");
    buf_add_cstr(&j, "],\"deep\":");
    for (int i = 0; i < WIRE_MAX_DEPTH - 1; i++)
        buf_add_char(&j, '[');
    for (int i = 0; i < WIRE_MAX_DEPTH - 1; i++)
        buf_add_char(&j, ']');
    buf_add_char(&j, '}');
    if (!wire_from_json(&b, buf_slice(&j), &err))
        fail_msg("%s", err.msg);
    assert_true(envelope_decode(&e, buf_slice(&b), MAX, &err));
    assert_int_equal(e.call_count, WIRE_MAX_CALLS);
    check_slice(e.call.query[63].value,
                "63"); /* the texts of numbers do not overwrite each other */
    check_slice(e.call.query[0].value, "0");
    check_slice(e.call.headers[63].value, "1063");
    check_slice(e.call.headers[0].value, "1000");
    envelope_deinit(&e);
    buf_deinit(&j);
    buf_deinit(&b);
}

/* ---- values ---- */

static void test_values(void **state)
{
    static const char *const texts[] = {
        "null",
        "true",
        "0",
        "-1",
        "-9223372036854775808",
        "18446744073709551615",
        "1.5",
        "\"\"",
        "\"a\\\"\xC3\xA9\\n\"",
        "[]",
        "{}",
        "[1,[2,{\"a\":{}}],\"x\"]",
        "{\"a\":1,\"b\":[null,false]}",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct err err = {0};
        struct buf v, j;

        buf_init(&v, MAX);
        buf_init(&j, MAX);
        assert_true(wire_json_to_value(&v, slice_cstr(texts[i]), &err));
        assert_true(wire_value_to_json(&j, buf_slice(&v), NULL, NULL, &err));
        assert_string_equal(j.ptr, texts[i]);
        buf_deinit(&v);
        buf_deinit(&j);
    }
}

static void test_value_bounded(void **state)
{
    struct err err = {0};
    struct buf small;

    (void)state;
    buf_init(&small, 5);
    assert_false(wire_value_to_json(&small, SLICE_LIT("\x93\x01\x02\x03"), NULL, NULL, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    assert_int_equal(small.len, 0);
    buf_clear(&small);
    assert_false(wire_json_to_value(&small, SLICE_LIT("[1,2,3,4,5,6]"), &err));
    assert_int_equal(small.len, 0);
    buf_deinit(&small);
}

/* Each part has its length before it: bytes cannot move from one part to the next unnoticed. */
static void test_signed_bytes(void **state)
{
    struct buf a, b;

    (void)state;
    buf_init(&a, MAX);
    buf_init(&b, MAX);
    assert_true(wire_signed_bytes(&a, SLICE_LIT("awq"), SLICE_LIT("default"), SLICE_LIT("j")));
    assert_true(wire_signed_bytes(&b, SLICE_LIT("awqd"), SLICE_LIT("efault"), SLICE_LIT("j")));
    assert_int_equal(a.len, 24 + 3 + 7 + 1);
    assert_int_equal(a.len, b.len);
    assert_memory_not_equal(a.ptr, b.ptr, a.len);
    buf_deinit(&a);
    buf_deinit(&b);
}

/* ---- results ---- */

/* Other decoders refuse a whole result for one str that is not UTF-8. */
static void test_result_not_utf8(void **state)
{
    struct result r = {.id = SLICE_LIT("a"), .state = RESULT_DEAD}, got;
    struct err err = {0};
    struct buf b, j;

    (void)state;
    buf_init(&b, MAX);
    buf_init(&j, MAX);
    r.output = SLICE_LIT("\xff\xfe");
    r.output_type = SLICE_LIT("text/plain");
    r.error_code = SLICE_LIT("x");
    r.error_detail = SLICE_LIT("a\xffz");
    assert_true(result_encode(&b, &r));
    assert_true(result_decode(&got, buf_slice(&b), &err));
    assert_true(got.output_is_bin);
    check_slice(got.output, "\xff\xfe");
    check_slice(got.error_detail, "a?z");
    assert_true(result_to_json(&j, &got));
    assert_non_null(strstr(j.ptr, "\"output_base64\":\"//4=\""));
    buf_deinit(&b);
    buf_deinit(&j);
}

static void test_result_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"", 0},
        {"\x90", 1},                            /* not a map */
        {"\x81\xa2id\x01", 5},                  /* id is text */
        {"\x81\xa5state\xa4gone", 12},          /* a state we do not know */
        {"\x81\xa5times\x81\xa4sent\xa1x", 14}, /* a time is a number */
        {"\x81\x01\x01", 3},                    /* a key is text */
        {"\x80\x80", 2},                        /* two values */
        {"\xdf\xff\xff\xff\xff", 5},            /* a claim that the bytes cannot hold */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct result r = {.attempts = 77};
        struct err err = {0};

        if (result_decode(&r, slice_of(cases[i].bytes, cases[i].len), &err))
            fail_msg("case %zu: taken", i);
        assert_string_equal(err.rule, "result_invalid");
        assert_int_equal(r.attempts, 77); /* as it was */
    }
}

static void test_result_bounded(void **state)
{
    struct result r = {.id = SLICE_LIT("a")};
    struct buf small;

    (void)state;
    buf_init(&small, 20);
    assert_false(result_encode(&small, &r));
    assert_int_equal(small.len, 0);
    buf_deinit(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_envelope_vectors), cmocka_unit_test(test_result_vectors),
        cmocka_unit_test(test_bad_vectors),      cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_all_keys),         cmocka_unit_test(test_continuation),
        cmocka_unit_test(test_with_k_bounded),   cmocka_unit_test(test_id_of_bad),
        cmocka_unit_test(test_too_big),          cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bounds),           cmocka_unit_test(test_values),
        cmocka_unit_test(test_value_bounded),    cmocka_unit_test(test_signed_bytes),
        cmocka_unit_test(test_result_not_utf8),  cmocka_unit_test(test_result_refused),
        cmocka_unit_test(test_result_bounded),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}

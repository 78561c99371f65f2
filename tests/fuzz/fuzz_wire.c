/* Whatever the bytes are: no crash, and what is taken survives being written and read again.
 * awq's own reader is held against msgpack-c's: what one calls whole, the other must too. */
#include <stdio.h>
#include <stdlib.h>
#include <msgpack.h>
#include <sodium.h>
#include "common/json.h"
#include "common/wire.h"
#include "common/wire_read.h"
#include "tests/fuzz/fuzz.h"

#define MAX (4 * 1024 * 1024)

/* Only what our reader takes is shown to msgpack-c: it allocates for what a head claims. */
static void against_msgpack_c(struct slice in)
{
    struct reader r = reader_of(in);
    msgpack_unpacked theirs;
    msgpack_unpack_return said;
    size_t used = 0;

    if (read_value(&r, WIRE_MAX_DEPTH - 1, NULL) != WIRE_FINE)
        return;
    msgpack_unpacked_init(&theirs);
    said = msgpack_unpack_next(&theirs, in.ptr, in.len, &used);
    CHECK(said == MSGPACK_UNPACK_SUCCESS || said == MSGPACK_UNPACK_EXTRA_BYTES);
    CHECK(used == (size_t)((const char *)r.at - in.ptr));
    msgpack_unpacked_destroy(&theirs);
}

static void same_call(const struct call *a, const struct call *b)
{
    CHECK(slice_eq(a->conn, b->conn) && slice_eq(a->method, b->method) && slice_eq(a->url, b->url));
    CHECK(a->query_count == b->query_count && a->header_count == b->header_count);
    for (size_t i = 0; i < a->query_count; i++)
        CHECK(slice_eq(a->query[i].name, b->query[i].name) &&
              slice_eq(a->query[i].value, b->query[i].value));
    for (size_t i = 0; i < a->header_count; i++)
        CHECK(slice_eq(a->headers[i].value, b->headers[i].value));
    CHECK(a->body_kind == b->body_kind && slice_eq(a->body, b->body));
    CHECK(a->timeout_ms == b->timeout_ms && a->retry_max == b->retry_max && a->idem == b->idem);
}

/* MessagePack -> JSON -> MessagePack -> JSON: the two texts are the same. */
static void json_twice(struct slice value)
{
    struct buf a, b, again;
    struct err err;

    buf_init(&a, MAX);
    buf_init(&b, MAX);
    buf_init(&again, MAX);
    if (wire_value_to_json(&a, value, NULL, NULL, &err)) {
        CHECK(wire_json_to_value(&again, buf_slice(&a), &err));
        CHECK(wire_value_to_json(&b, buf_slice(&again), NULL, NULL, &err));
        CHECK(slice_eq(buf_slice(&a), buf_slice(&b)));
    }
    buf_deinit(&a);
    buf_deinit(&b);
    buf_deinit(&again);
}

static void envelopes(struct slice in)
{
    struct envelope e, next;
    struct buf one, two;
    struct err err = {0};
    struct cont k;

    envelope_init(&e);
    envelope_init(&next);
    buf_init(&one, MAX);
    buf_init(&two, MAX);
    if (!envelope_decode(&e, in, MAX, &err)) {
        CHECK(err.code == ERR_FORMAT && err.rule[0] != '\0' && json_is_utf8(slice_cstr(err.msg)));
        CHECK(e.id.len == 0 || id_is_job(e.id));
    } else {
        CHECK(id_is_job(e.id) && e.call.url.len > 0 && e.call_count <= WIRE_MAX_CALLS);
        k = e.k;
        CHECK(envelope_with_k(&one, &e, &k, &err));
        CHECK(envelope_decode(&next, buf_slice(&one), MAX, &err));
        same_call(&e.call, &next.call);
        CHECK(next.k.position == k.position && next.k.seq == k.seq &&
              slice_eq(next.k.input_digest, k.input_digest));
        CHECK(slice_eq(next.k.input, k.position > 0 ? k.input : SLICE_NONE));
        CHECK(envelope_with_k(&two, &next, &next.k, &err));
        CHECK(slice_eq(buf_slice(&one), buf_slice(&two)) || e.has_k);
        if (e.call.body_kind == BODY_JSON)
            json_twice(e.call.body);
    }
    buf_deinit(&one);
    buf_deinit(&two);
    envelope_deinit(&e);
    envelope_deinit(&next);
}

static void results(struct slice in)
{
    struct buf one, two, text;
    struct result r, again;
    struct err err = {0};

    if (!result_decode(&r, in, &err))
        return;
    buf_init(&one, MAX);
    buf_init(&two, MAX);
    buf_init(&text, MAX);
    CHECK(result_encode(&one, &r));
    CHECK(result_decode(&again, buf_slice(&one), &err));
    CHECK(result_encode(&two, &again));
    CHECK(slice_eq(buf_slice(&one), buf_slice(&two)));
    CHECK(result_to_json(&text, &again));
    CHECK(json_is_utf8(buf_slice(&text)));
    buf_deinit(&one);
    buf_deinit(&two);
    buf_deinit(&text);
}

static void jobs_in_json(struct slice in)
{
    struct envelope e;
    struct err err = {0};
    struct buf b;

    buf_init(&b, MAX);
    envelope_init(&e);
    if (wire_from_json(&b, in, &err))
        CHECK(envelope_decode(&e, buf_slice(&b), MAX, &err));
    else
        CHECK(b.len == 0);
    envelope_deinit(&e);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct slice in = slice_of(data, size);

    against_msgpack_c(in);
    envelopes(in);
    results(in);
    json_twice(in);
    if (size > 0 && (data[0] == '{' || data[0] == '['))
        jobs_in_json(in);
    return 0;
}

/* A template, a NUL, an input: no crash, and each place keeps its own rules whatever is put in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/expand.h"
#include "common/json.h"
#include "common/wire.h"
#include "tests/fuzz/fuzz.h"

#define MAX (1024 * 1024)

static const char *const rules[] = {"expand_input_not_object", "expand_property_missing",
                                    "expand_value_not_scalar", "expand_too_big",
                                    "call_value_invalid"};

static void known_rule(const struct err *err)
{
    bool known = false;

    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        known = known || strcmp(err->rule, rules[i]) == 0;
    CHECK(known && err->code == ERR_FORMAT);
    CHECK(json_is_utf8(slice_cstr(err->msg)));
}

static size_t count(struct slice s, char c)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.ptr[i] == c;
    return n;
}

/* Nothing that is put into a URL can add a delimiter to it. */
static void url(struct expand *x, struct slice template)
{
    static const char delimiters[] = ":/?#[]@!$&'()*+,;= \r\n";
    struct err err = {0};
    struct buf out;

    buf_init(&out, MAX);
    if (expand_url(x, template, &out, &err)) {
        for (size_t i = 0; i < sizeof delimiters; i++) /* the NUL too */
            CHECK(count(buf_slice(&out), delimiters[i]) == count(template, delimiters[i]));
    } else {
        known_rule(&err);
        CHECK(out.len == 0);
    }
    buf_deinit(&out);
}

static void text(struct expand *x, struct slice template)
{
    struct err err = {0};
    struct buf out;

    buf_init(&out, MAX);
    if (expand_text(x, template, &out, &err))
        CHECK(count(template, '{') > 0 || slice_eq(buf_slice(&out), template));
    else
        known_rule(&err);
    buf_deinit(&out);
}

/* The body is JSON, with as many members as the template has. */
static void body(struct expand *x, struct slice template)
{
    struct buf value, out;
    struct err err = {0};
    struct json *doc;

    buf_init(&value, MAX);
    buf_init(&out, MAX);
    buf_add_cstr(&value, "\x92"); /* [template, {"k": "-{a"}] */
    buf_add(&value, "\xda", 1);
    buf_add(&value, (char[]){(char)(template.len >> 8), (char)template.len}, 2);
    buf_add_slice(&value, template);
    buf_add_cstr(&value, "\x81\xa1k\xa3-{a");
    if (expand_json_body(x, buf_slice(&value), &out, &err)) {
        doc = json_parse(buf_slice(&out), &err);
        CHECK(doc || err.code == ERR_NOMEM); /* a value put in may be as deep as JSON may be */
        CHECK(!doc || json_len(json_root(doc)) == 2);
        json_free(doc);
    } else {
        known_rule(&err);
        CHECK(out.len == 0);
    }
    buf_deinit(&value);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct slice in = slice_of(data, size);
    size_t nul = slice_find(in, '\0');
    struct slice template = slice_sub(in, 0, nul < 65535 ? nul : 65535);
    struct expand *x;

    x = expand_new(nul == size ? SLICE_NONE : slice_sub(in, nul + 1, size));
    if (!x)
        return 0;
    url(x, template);
    text(x, template);
    body(x, template);
    expand_free(x);
    return 0;
}

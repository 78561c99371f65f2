#include "common/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "common/buf.h"

static struct yaml_doc *parse(const char *text)
{
    struct err err = {0};
    struct yaml_doc *doc = yaml_doc_parse(slice_cstr(text), &err);

    if (!doc)
        fail_msg("%s: %s", text, err.msg);
    return doc;
}

static void test_tree(void **state)
{
    struct yaml_doc *doc = parse("# a connection\n"
                                 "id: crm-1\n"
                                 "policy:\n"
                                 "  hosts: [api.example.com, \"*.b.c\"]\n"
                                 "  methods:\n"
                                 "    - GET\n"
                                 "    - POST\n"
                                 "note: |\n"
                                 "  two\n"
                                 "  lines\n"
                                 "empty:\n");
    const struct yaml_node *root = yaml_doc_root(doc), *n;
    struct slice s;

    (void)state;
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->count, 4);
    assert_true(slice_is(root->keys[1]->text, "policy"));
    assert_true(yaml_str(yaml_get(root, "id"), "id", &s, NULL) && slice_is(s, "crm-1"));
    n = yaml_get(yaml_get(root, "policy"), "hosts");
    assert_int_equal(n->kind, YAML_LIST);
    assert_int_equal(n->count, 2);
    assert_false(n->items[0]->quoted);
    assert_true(n->items[1]->quoted && slice_is(n->items[1]->text, "*.b.c"));
    assert_int_equal(n->items[1]->line, 4);
    assert_int_equal(n->items[1]->column, 28);
    n = yaml_get(yaml_get(root, "policy"), "methods");
    assert_true(slice_is(n->items[1]->text, "POST") && n->items[1]->line == 7);
    assert_true(yaml_str(yaml_get(root, "note"), "note", &s, NULL));
    assert_true(slice_is(s, "two\nlines\n"));
    assert_true(yaml_is_null(yaml_get(root, "empty")));
    assert_null(yaml_get(root, "no"));
    assert_null(yaml_get(NULL, "no"));
    assert_null(yaml_get(n, "of a list"));
    yaml_doc_free(doc);
    doc = parse("\xef\xbb\xbf"
                "id: crm-1\n"); /* as some editors begin a file */
    n = yaml_get(yaml_doc_root(doc), "id");
    assert_true(slice_is(n->text, "crm-1") && n->line == 1 && n->column == 5);
    yaml_doc_free(doc);
    yaml_doc_free(NULL);
    assert_null(yaml_doc_root(NULL));
}

/* The core schema: what a scalar is. t text, i whole number, b bool, n null; several may hold. */
static void test_scalars(void **state)
{
    static const struct {
        const char *in, *is;
        int64_t i;
    } cases[] = {
        {"yes", "t", 0}, /* YAML 1.1 would make bools of these */
        {"no", "t", 0},
        {"on", "t", 0},
        {"y", "t", 0},
        {"2026-11-21", "t", 0}, /* and a date of this */
        {"12:30", "t", 0},      /* and 750 of this */
        {"true", "b", 0},
        {"FALSE", "b", 0},
        {"tRue", "t", 0},
        {"\"true\"", "t", 0},
        {"'12'", "t", 0},
        {"\"\"", "t", 0},
        {"~", "n", 0},
        {"null", "n", 0},
        {"nULL", "t", 0},
        {"12", "ti", 12},
        {"-12", "ti", -12},
        {"+12", "ti", 12},
        {"+-12", "t", 0},
        {"0x1F", "ti", 31},
        {"0o17", "ti", 15},
        {"0x", "t", 0},
        {"0o8", "t", 0},
        {"017", "ti", 17}, /* decimal in 1.2 */
        {"1_000", "t", 0},
        {"1.5", "t", 0},
        {"9223372036854775807", "ti", INT64_MAX},
        {"9223372036854775808", "t", 0},
        {"0x7FFFFFFFFFFFFFFF", "ti", INT64_MAX},
        {"0x8000000000000000", "t", 0},
        {"[a]", "", 0},
        {"{a: b}", "", 0},
    };

    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(cases); k++) {
        struct yaml_doc *doc = parse(cases[k].in);
        const struct yaml_node *n = yaml_doc_root(doc);
        struct slice s = SLICE_LIT("before");
        int64_t i = -77;
        bool b = false, is;
        char got[5] = "";

        if (yaml_str(n, "x", &s, NULL))
            strcat(got, "t");
        else
            assert_true(slice_is(s, "before"));
        is = yaml_int(n, "x", &i, NULL);
        strcat(got, is ? "i" : "");
        if (i != (is ? cases[k].i : -77))
            fail_msg("%s is %lld", cases[k].in, (long long)i);
        strcat(got, yaml_bool(n, "x", &b, NULL) ? "b" : "");
        strcat(got, yaml_is_null(n) ? "n" : "");
        if (strcmp(got, cases[k].is) != 0)
            fail_msg("%s is '%s'", cases[k].in, got);
        assert_true(b == (strcmp(cases[k].in, "true") == 0));
        yaml_doc_free(doc);
    }
}

/* What is refused, where, and in which words. */
static void test_refused(void **state)
{
    static const struct {
        const char *in, *where, *says;
    } cases[] = {
        {"", "line 1, column 1:", "empty"},
        {"# only a comment\n", "line 2, column 1:", "empty"},
        {"a: 1\nb: [1, 2\n", "line 3, column 1:", "expected"},
        {"a: 1\n\tb: 2\n", "line 2, column 1:", "a tab: YAML is indented with blanks"},
        {"a: &x 1\n", "line 1, column 4:", "anchors"},
        {"a: &x [1]\n", "line 1, column 4:", "anchors"},
        {"a: &x {b: 1}\n", "line 1, column 4:", "anchors"},
        {"a: 1\nb: *x\n", "line 2, column 4:", "aliases"},
        {"a: !!str 1\n", "line 1, column 4:", "tags"},
        {"a: ! 1\n", "line 1, column 4:", "tags"},
        {"a: !x [1]\n", "line 1, column 4:", "tags"},
        {"a: !x {b: 1}\n", "line 1, column 4:", "tags"},
        {"%TAG ! tag:x,2000:\n---\na: 1\n", "line 1, column 1:", "%TAG"},
        {"a: 1\n<<: {b: 2}\n", "line 2, column 1:", "merge"},
        {"a: 1\n---\nb: 2\n", "line 2, column 1:", "one document"},
        {"a: 1\nb: 2\na: 3\n", "line 3, column 1:", "'a' was already given in line 1"},
        {"a: 1\n\"a\": 3\n", "line 2, column 1:", "already given"},
        {"{a: 1, a: 1}", "line 1, column 8:", "already given"},
        {"[a]: 1\n", "line 1, column 1:", "a key must be text"},
        {"a: b: c\n", "line 1, column 5:", "a text with `: ` in it that needs quotes"},
        {"a:b\nc: d\n", "line 2, column 2:", "without the blank after its colon"},
        {"a: 1\nb: @x\n", "line 2, column 4:", "needs quotes"},
        {"\xc3\xa4: 1\na:\n\tb: 2\n", "line 3, column 1:", "a tab: YAML is indented with blanks"},
        {"a: \"x\n", "line 2, column 1:", "end of stream"},
        {"a: \xff\n", "byte 3:", "UTF-8"},
        {"a: \x01\n", "byte 3:", "control characters"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct yaml_doc *doc = yaml_doc_parse(slice_cstr(cases[i].in), &err);

        if (doc)
            fail_msg("case %zu taken: %s", i, cases[i].in);
        assert_int_equal(err.code, ERR_CONFIG);
        if (strncmp(err.msg, cases[i].where, strlen(cases[i].where)) != 0 ||
            !strstr(err.msg, cases[i].says))
            fail_msg("case %zu: %s", i, err.msg);
    }
}

static void nested(struct buf *b, unsigned depth)
{
    buf_clear(b);
    for (unsigned i = 0; i < depth; i++)
        buf_add_char(b, '[');
    for (unsigned i = 0; i < depth; i++)
        buf_add_char(b, ']');
}

static void test_bounds(void **state)
{
    struct err err = {0};
    struct yaml_doc *doc;
    struct buf b;

    (void)state;
    buf_init(&b, 3 * YAML_BYTES_MAX);
    nested(&b, YAML_DEPTH_MAX);
    doc = yaml_doc_parse(buf_slice(&b), &err);
    assert_non_null(doc);
    yaml_doc_free(doc);
    nested(&b, YAML_DEPTH_MAX + 1);
    assert_null(yaml_doc_parse(buf_slice(&b), &err));
    assert_non_null(strstr(err.msg, "line 1, column 33: nested too deep"));
    nested(&b, 100000); /* stops at once, without a deep stack */
    assert_null(yaml_doc_parse(buf_slice(&b), &err));

    buf_clear(&b);
    for (int i = 0; i < YAML_ITEMS_MAX; i++)
        buf_addf(&b, "k%d: %d\n", i, i);
    doc = yaml_doc_parse(buf_slice(&b), &err);
    assert_non_null(doc);
    assert_true(slice_is(yaml_get(yaml_doc_root(doc), "k9999")->text, "9999"));
    yaml_doc_free(doc);
    buf_addf(&b, "more: 1\n");
    assert_null(yaml_doc_parse(buf_slice(&b), &err));
    assert_non_null(strstr(err.msg, "more than 10000 entries"));

    buf_clear(&b);
    while (b.len <= YAML_BYTES_MAX)
        buf_add_cstr(&b, "# 4567890123456789012345678901234567890\n");
    assert_null(yaml_doc_parse(buf_slice(&b), &err));
    assert_non_null(strstr(err.msg, "larger than"));
    buf_deinit(&b);
}

static void test_check_keys(void **state)
{
    static const char *const allowed[] = {"id", "policy", "scopes"};
    static const struct {
        const char *in, *says; /* NULL: fine */
    } cases[] = {
        {"id: 1\nscopes: []\n", NULL},
        {"{}", NULL},
        {"id: 1\n\n    \n# x\npolcy: 1\n",
         "line 5, column 1: unknown key 'polcy' (did you mean 'policy'?)"},
        {"zzzzzzz: 1\n", "line 1, column 1: unknown key 'zzzzzzz'"},
        {"- id\n", "line 1, column 1: a map is expected here"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct yaml_doc *doc = parse(cases[i].in);
        struct err err = {0};

        if (yaml_check_keys(yaml_doc_root(doc), allowed, ARRAY_LEN(allowed), &err) !=
            !cases[i].says)
            fail_msg("case %zu", i);
        if (cases[i].says)
            assert_string_equal(err.msg, cases[i].says);
        yaml_doc_free(doc);
    }
    assert_false(yaml_check_keys(NULL, allowed, ARRAY_LEN(allowed), NULL));
}

static void test_messages(void **state)
{
    struct yaml_doc *doc = parse("a: true\nb: [1]\nc: yes\nd: x\n");
    const struct yaml_node *root = yaml_doc_root(doc);
    struct err err = {0};
    struct slice s;
    int64_t i;
    bool b;

    (void)state;
    assert_false(yaml_str(yaml_get(root, "a"), "a", &s, &err));
    assert_string_equal(err.msg,
                        "line 1, column 4: 'a' must be text; put it in quotes if that is meant");
    assert_false(yaml_str(yaml_get(root, "b"), "b", &s, &err));
    assert_string_equal(err.msg, "line 2, column 4: 'b' must be text");
    assert_false(yaml_bool(yaml_get(root, "c"), "c", &b, &err));
    assert_string_equal(err.msg, "line 3, column 4: 'c' must be true or false");
    assert_false(yaml_int(yaml_get(root, "d"), "d", &i, &err));
    assert_string_equal(err.msg, "line 4, column 4: 'd' must be a whole number");
    assert_false(yaml_int(yaml_get(root, "e"), "e", &i, &err));
    assert_string_equal(err.msg, "'e' is missing");
    assert_true(yaml_expect(yaml_get(root, "b"), "b", YAML_LIST, &err));
    assert_false(yaml_expect(yaml_get(root, "b"), "b", YAML_MAP, &err));
    assert_string_equal(err.msg, "line 2, column 4: 'b' must be a map");
    yaml_doc_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),       cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_check_keys), cmocka_unit_test(test_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

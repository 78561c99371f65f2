/* worker/terms.c: settings are shared by those that have the same, and by nobody else. */
#include "worker/terms.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define KEY "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define A                                                                                          \
    "{\"grant\":\"client_credentials\",\"token_url\":\"https://login.example/token\","             \
    "\"client_id\":\"awq\",\"hosts\":[\"a.example\"]}"
#define B                                                                                          \
    "{\"grant\":\"client_credentials\",\"token_url\":\"https://login.example/token\","             \
    "\"client_id\":\"awq\",\"hosts\":[\"b.example\"]}"
#define PREFIX SLICE_LIT("awq")

struct fixture {
    struct keyring *keys;
    struct terms_table *table;
};

struct signed_record {
    struct connection_record r;
    struct buf cm;
    char cd[65];
};

static struct keyring *ring(void)
{
    char path[] = "/tmp/awq-terms-XXXXXX";
    const char *text = "access aaaaaaaa " KEY "\n";
    struct err err = {0};
    struct keyring *k;
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    k = keyring_load(path, &err);
    unlink(path);
    assert_non_null(k);
    return k;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->keys = ring();
    f->table = terms_table_new();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    terms_table_free(f->table);
    keyring_free(f->keys);
    free(f);
    return 0;
}

static void sign(struct fixture *f, struct signed_record *s, const char *id, const char *cfg)
{
    struct err err = {0};

    *s = (struct signed_record){.r = {.exists = true, .cfg = slice_cstr(cfg)}};
    buf_init(&s->cm, 256);
    assert_true(connection_cfg_sign(f->keys, PREFIX, slice_cstr(id), s->r.cfg, &s->cm, &err));
    seal_digest(s->r.cfg, s->cd);
    s->r.cm = buf_slice(&s->cm);
    s->r.cd = slice_cstr(s->cd);
}

static struct terms *of(struct fixture *f, const struct signed_record *s, const char *id)
{
    struct err err = {0};
    struct terms *t = terms_of(f->table, &s->r, f->keys, PREFIX, slice_cstr(id), &err);

    if (!t)
        assert_string_equal(err.rule, "connection_broken");
    return t;
}

static void test_shared(void **state)
{
    struct fixture *f = *state;
    struct signed_record one, two, other;
    struct terms *a, *b, *c;

    sign(f, &one, "one", A);
    sign(f, &two, "two", A);
    sign(f, &other, "three", B);
    a = of(f, &one, "one");
    b = of(f, &two, "two");
    c = of(f, &other, "three");
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_true(slice_is(a->cfg->policy.hosts[0], "a.example"));
    assert_true(slice_is(c->cfg->policy.hosts[0], "b.example"));
    assert_string_equal(a->cd, one.cd);
    terms_unref(a);
    terms_unref(b);
    terms_unref(c);
    terms_unref(NULL);
    buf_deinit(&one.cm);
    buf_deinit(&two.cm);
    buf_deinit(&other.cm);
}

/* That the same settings were found good for one connection says nothing of another one. */
static void test_attacks(void **state)
{
    struct fixture *f = *state;
    struct signed_record good, other, bad;
    struct terms *a;

    sign(f, &good, "one", A);
    sign(f, &other, "one", B);
    a = of(f, &good, "one");
    assert_non_null(a);
    assert_null(of(f, &good, "two")); /* moved to another connection */
    bad = good;
    bad.r.cm = other.r.cm;
    assert_null(of(f, &bad, "one")); /* another's keyed hash */
    bad = good;
    bad.r.cfg = other.r.cfg;
    assert_null(of(f, &bad, "one")); /* other settings under the digest and the hash of these */
    bad.r.cm = other.r.cm;
    assert_null(of(f, &bad, "one")); /* signed settings under the digest of others */
    bad = good;
    bad.r.cd = SLICE_NONE;
    assert_null(of(f, &bad, "one"));
    terms_unref(a);
    buf_deinit(&good.cm);
    buf_deinit(&other.cm);
}

/* The table forgets; who holds settings keeps them. */
static void test_held_though_forgotten(void **state)
{
    struct fixture *f = *state;
    struct signed_record first;
    struct terms *a, *t;
    char cfg[512];

    sign(f, &first, "one", A);
    a = of(f, &first, "one");
    for (int i = 0; i < 2000; i++) {
        struct signed_record s;

        snprintf(cfg, sizeof cfg,
                 "{\"grant\":\"client_credentials\",\"token_url\":\"https://h%d.example/t\","
                 "\"client_id\":\"awq\",\"hosts\":[\"h\"]}",
                 i);
        sign(f, &s, "x", cfg);
        t = of(f, &s, "x");
        assert_non_null(t);
        terms_unref(t);
        buf_deinit(&s.cm);
    }
    assert_true(slice_is(a->cfg->policy.hosts[0], "a.example"));
    t = of(f, &first, "one");
    assert_ptr_not_equal(t, a);
    assert_string_equal(t->cd, a->cd);
    terms_unref(t);
    terms_unref(a);
    buf_deinit(&first.cm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_attacks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_held_though_forgotten, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

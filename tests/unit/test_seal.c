/* seal.c: every kind of bad key file, and sealed texts that open in their own place only. */
#include "common/seal.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

#define K1 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define K2 "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"

static char folder[] = "/tmp/awq-seal-XXXXXX";
static char path[128];

static void write_file(const char *text, mode_t mode)
{
    int fd;

    unlink(path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static struct keyring *ring_of(const char *text)
{
    struct err err = {0};
    struct keyring *k;

    write_file(text, 0600);
    k = keyring_load(path, &err);
    if (!k)
        fail_msg("%s", err.msg);
    return k;
}

static void test_good_files(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        bool run, access, grant;
    } cases[] = {
        {"run 00000001 " K1 "\naccess 00000002 " K2 "\n", 0600, true, true, false},
        {"grant 00000001 " K1, 0400, false, false, true}, /* no newline at the end */
        {"# old\n\n  run\t00000001   " K1 "  # now\r\n", 0640, true, false, false},
        {"run 00000001 " K1 "\nrun 00000002 " K1 "\n", 0440, true, false, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};
        struct keyring *k;

        write_file(cases[i].text, cases[i].mode);
        k = keyring_load(path, &err);
        if (!k)
            fail_msg("case %zu: %s", i, err.msg);
        assert_int_equal(keyring_has(k, KEY_RUN), cases[i].run);
        assert_int_equal(keyring_has(k, KEY_ACCESS), cases[i].access);
        assert_int_equal(keyring_has(k, KEY_GRANT), cases[i].grant);
        keyring_free(k);
    }
    keyring_free(NULL);
    assert_false(keyring_has(NULL, KEY_RUN));
}

static void test_bad_files(void **state)
{
    static const struct {
        const char *text;
        mode_t mode;
        const char *want; /* part of the message */
    } cases[] = {
        {"run 00000001 " K1 "\n", 0604, "mode 0604"}, /* the world may read it */
        {"run 00000001 " K1 "\n", 0602, "mode 0602"},
        {"run 00000001 " K1 "\n", 0660, "mode 0660"}, /* a group may change it */
        {"run 00000001 " K1 "\n", 0700, "mode 0700"},
        {"", 0600, "has no keys"},
        {"# only words\n\n", 0600, "has no keys"},
        {"walk 00000001 " K1 "\n", 0600, "line 1: it must begin with"},
        {"\nRUN 00000001 " K1 "\n", 0600, "line 2: it must begin with"},
        {"run\n", 0600, "key id must be 8"},
        {"run 0001 " K1 "\n", 0600, "key id must be 8"},
        {"run 0000000g " K1 "\n", 0600, "key id must be 8"},
        {"run 00000001\n", 0600, "64 hex digits long"},
        {"run 00000001 " K1 "00\n", 0600, "64 hex digits long"},
        {"run 00000001 0011\n", 0600, "64 hex digits long"},
        {"run 00000001 zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 0600,
         "hex digits only"},
        {"run 00000001 00:102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 0600,
         "hex digits only"},
        {"run 00000001 " K1 " " K2 "\n", 0600, "after the key"},
        {"run 00000001 " K1 "\nrun 00000001 " K2 "\n", 0600, "line 2: this key id was used"},
        {"run 00000001 " K1 "\ngrant 00000001 " K2 "\n", 0600, "line 2: this key id was used"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct err err = {0};

        write_file(cases[i].text, cases[i].mode);
        assert_null(keyring_load(path, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        if (!strstr(err.msg, cases[i].want))
            fail_msg("case %zu: '%s' does not say '%s'", i, err.msg, cases[i].want);
        assert_non_null(strstr(err.msg, path));
        assert_null(strstr(err.msg, "0405060708")); /* no part of a key in any text */
    }
}

static void test_no_regular_file(void **state)
{
    struct err err = {0};
    char *big = malloc(20000);

    (void)state;
    unlink(path);
    assert_null(keyring_load(path, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.msg, "is not there"));
    assert_null(keyring_load(folder, &err));
    assert_non_null(strstr(err.msg, "not a regular file"));
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes: it must not hang */
    assert_null(keyring_load(path, &err));
    assert_non_null(strstr(err.msg, "not a regular file"));
    memset(big, '#', 19999);
    big[19999] = '\0';
    write_file(big, 0600);
    assert_null(keyring_load(path, &err));
    assert_non_null(strstr(err.msg, "larger than"));
    free(big);
}

static void test_too_many_keys(void **state)
{
    struct err err = {0};
    struct buf text;

    (void)state;
    buf_init(&text, 16000);
    for (int i = 0; i < 33; i++)
        buf_addf(&text, "run %08x %s\n", i, K1);
    write_file(text.ptr, 0600);
    assert_null(keyring_load(path, &err));
    assert_non_null(strstr(err.msg, "line 33: too many keys"));
    buf_deinit(&text);
}

static void test_create(void **state)
{
    struct err err = {0};
    struct keyring *k;
    struct stat st;

    (void)state;
    unlink(path);
    assert_true(keyring_create(path, &err));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    k = keyring_load(path, &err);
    assert_non_null(k);
    assert_true(keyring_has(k, KEY_RUN) && keyring_has(k, KEY_ACCESS) && keyring_has(k, KEY_GRANT));
    keyring_free(k);

    assert_false(keyring_create(path, &err)); /* never over keys that are in use */
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.msg, "exists"));
    assert_false(keyring_create("/tmp/no-such-folder/keys", &err));
    assert_int_equal(err.code, ERR_CONFIG);
}

/* ---- sealing ---- */

#define FILE_A "access aaaaaaaa " K1 "\ngrant bbbbbbbb " K2 "\nrun cccccccc " K1 "\n"

static struct seal_place here(void)
{
    return (struct seal_place){
        .prefix = SLICE_LIT("awq"),
        .connection = SLICE_LIT("crm"),
        .field = "at",
        .gen = 3,
        .ver = 7,
        .cfg_digest = SLICE_LIT("00ff"),
    };
}

static bool opens(const struct keyring *k, enum key_kind kind, const struct seal_place *at,
                  struct slice sealed, struct err *err)
{
    char clear[64] = {0};
    size_t len = 99;
    bool ok = seal_open(k, kind, at, sealed, clear, sizeof clear, &len, err);

    if (ok) {
        assert_int_equal(len, 6);
        assert_memory_equal(clear, "s3cret", 6);
    } else {
        assert_int_equal(len, 99); /* outputs as they were */
        assert_null(strstr(err->msg, "s3cret"));
    }
    return ok;
}

static void test_opens_only_in_its_place(void **state)
{
    struct keyring *k = ring_of(FILE_A);
    struct seal_place moved[] = {here(), here(), here(), here(), here(), here(), here(), here()};
    struct seal_place at = here();
    struct err err = {0};
    struct buf sealed;

    (void)state;
    buf_init(&sealed, 1000);
    assert_true(seal_seal(k, KEY_ACCESS, &at, SLICE_LIT("s3cret"), &sealed, &err));
    assert_int_equal(sealed.len, 1 + 4 + 24 + 6 + 16);
    assert_int_equal(seal_clear_len(buf_slice(&sealed)), 6);
    assert_null(memmem(sealed.ptr, sealed.len, "s3cret", 6));
    assert_true(opens(k, KEY_ACCESS, &at, buf_slice(&sealed), &err));

    moved[0].prefix = SLICE_LIT("awr");
    moved[1].connection = SLICE_LIT("crn");
    moved[2].field = "rt";
    moved[3].gen = 4;
    moved[4].ver = 8;
    moved[5].cfg_digest = SLICE_LIT("00fe");
    moved[6].prefix = SLICE_LIT("awqc"); /* the same bytes in a row, cut at another place */
    moved[6].connection = SLICE_LIT("rm");
    moved[7].gen = 7; /* numbers changed over */
    moved[7].ver = 3;
    for (size_t i = 0; i < ARRAY_LEN(moved); i++) {
        err = (struct err){0};
        if (opens(k, KEY_ACCESS, &moved[i], buf_slice(&sealed), &err))
            fail_msg("place %zu opens", i);
        assert_int_equal(err.code, ERR_FORMAT);
        assert_string_equal(err.rule, "seal_broken");
    }
    /* a grant key never opens what an access key sealed */
    assert_false(opens(k, KEY_GRANT, &at, buf_slice(&sealed), &err));
    assert_string_equal(err.rule, "seal_broken");
    buf_deinit(&sealed);
    keyring_free(k);
}

static void test_each_byte_counts(void **state)
{
    struct keyring *k = ring_of(FILE_A);
    struct seal_place at = here();
    struct err err = {0};
    struct buf sealed;

    (void)state;
    buf_init(&sealed, 1000);
    assert_true(seal_seal(k, KEY_ACCESS, &at, SLICE_LIT("s3cret"), &sealed, &err));
    for (size_t i = 0; i < sealed.len; i++) {
        sealed.ptr[i] ^= 1;
        if (opens(k, KEY_ACCESS, &at, buf_slice(&sealed), &err))
            fail_msg("opens with byte %zu changed", i);
        assert_string_equal(err.rule, i >= 1 && i < 5 ? "seal_key_unknown" : "seal_broken");
        sealed.ptr[i] ^= 1;
    }
    for (size_t n = 0; n < sealed.len; n++)
        assert_false(opens(k, KEY_ACCESS, &at, slice_of(sealed.ptr, n), &err)); /* cut short */
    assert_false(opens(k, KEY_ACCESS, &at, SLICE_NONE, &err));
    assert_int_equal(seal_clear_len(SLICE_NONE), 0);
    assert_int_equal(seal_clear_len(slice_of(sealed.ptr, 45)), 0);
    buf_deinit(&sealed);
    keyring_free(k);
}

static void test_nonces_differ_and_room_is_checked(void **state)
{
    struct keyring *k = ring_of(FILE_A);
    struct seal_place at = here();
    struct err err = {0};
    struct buf a, b, small;
    char clear[5];
    size_t len = 0;

    (void)state;
    buf_init(&a, 1000);
    buf_init(&b, 1000);
    buf_init(&small, 50);
    assert_true(seal_seal(k, KEY_GRANT, &at, SLICE_LIT("s3cret"), &a, &err));
    assert_true(seal_seal(k, KEY_GRANT, &at, SLICE_LIT("s3cret"), &b, &err));
    assert_false(slice_eq(buf_slice(&a), buf_slice(&b)));
    assert_false(seal_open(k, KEY_GRANT, &at, buf_slice(&a), clear, sizeof clear, &len, &err));
    assert_int_equal(err.code, ERR_NOMEM);
    assert_false(seal_seal(k, KEY_GRANT, &at, SLICE_LIT("s3cret"), &small, &err));
    assert_int_equal(err.code, ERR_NOMEM);

    buf_clear(&a); /* nothing can be sealed too */
    assert_true(seal_seal(k, KEY_GRANT, &at, SLICE_NONE, &a, &err));
    assert_true(seal_open(k, KEY_GRANT, &at, buf_slice(&a), clear, 0, &len, &err));
    assert_int_equal(len, 0);
    buf_deinit(&a);
    buf_deinit(&b);
    buf_deinit(&small);
    keyring_free(k);
}

/* Rotation: the first key of a kind seals, older ones still open. */
static void test_rotation(void **state)
{
    struct keyring *old = ring_of("access aaaaaaaa " K1 "\n");
    struct keyring *both = ring_of("access dddddddd " K2 "\naccess aaaaaaaa " K1 "\n");
    struct keyring *fresh = ring_of("access dddddddd " K2 "\n");
    struct seal_place at = here();
    struct err err = {0};
    struct buf a, b;

    (void)state;
    buf_init(&a, 1000);
    buf_init(&b, 1000);
    assert_true(seal_seal(old, KEY_ACCESS, &at, SLICE_LIT("s3cret"), &a, &err));
    assert_true(seal_seal(both, KEY_ACCESS, &at, SLICE_LIT("s3cret"), &b, &err));
    assert_true(opens(both, KEY_ACCESS, &at, buf_slice(&a), &err));
    assert_true(opens(fresh, KEY_ACCESS, &at, buf_slice(&b), &err));
    assert_false(opens(fresh, KEY_ACCESS, &at, buf_slice(&a), &err));
    assert_string_equal(err.rule, "seal_key_unknown");
    assert_non_null(strstr(err.msg, "aaaaaaaa")); /* which key is missing */
    assert_non_null(strstr(err.msg, "its access token was"));
    buf_deinit(&a);
    buf_deinit(&b);
    keyring_free(old);
    keyring_free(both);
    keyring_free(fresh);
}

static void test_kind_without_key(void **state)
{
    struct keyring *k = ring_of("run cccccccc " K1 "\n");
    struct seal_place at = here();
    struct err err = {0};
    struct buf out;

    (void)state;
    buf_init(&out, 1000);
    assert_false(seal_seal(k, KEY_GRANT, &at, SLICE_LIT("s3cret"), &out, &err));
    assert_string_equal(err.rule, "seal_key_missing");
    assert_non_null(strstr(err.msg, "no grant key"));
    assert_false(seal_mac(k, KEY_ACCESS, "cfg", SLICE_LIT("x"), &out, &err));
    assert_string_equal(err.rule, "seal_key_missing");
    assert_false(opens(k, KEY_ACCESS, &at, SLICE_LIT("x"), &err));
    assert_string_equal(err.rule, "seal_key_missing");
    assert_int_equal(out.len, 0);
    buf_deinit(&out);
    keyring_free(k);
}

static void test_mac(void **state)
{
    struct keyring *k = ring_of(FILE_A);
    struct slice text = SLICE_LIT("{\"id\":\"crm\"}");
    struct err err = {0};
    struct buf mac;

    (void)state;
    buf_init(&mac, 100);
    assert_true(seal_mac(k, KEY_ACCESS, "cfg", text, &mac, &err));
    assert_int_equal(mac.len, SEAL_MAC_BYTES);
    assert_true(seal_mac_ok(k, KEY_ACCESS, "cfg", text, buf_slice(&mac)));
    assert_true(seal_mac_known(k, KEY_ACCESS, buf_slice(&mac)));
    assert_false(seal_mac_known(k, KEY_GRANT, buf_slice(&mac)));
    assert_false(seal_mac_known(k, KEY_ACCESS, SLICE_NONE));
    assert_false(seal_mac_ok(k, KEY_ACCESS, "k", text, buf_slice(&mac))); /* another use */
    assert_false(seal_mac_ok(k, KEY_RUN, "cfg", text, buf_slice(&mac)));  /* another kind */
    assert_false(seal_mac_ok(k, KEY_ACCESS, "cfg", SLICE_NONE, buf_slice(&mac)));
    assert_false(seal_mac_ok(k, KEY_ACCESS, "cfg", text, SLICE_NONE));
    assert_false(seal_mac_ok(NULL, KEY_ACCESS, "cfg", text, buf_slice(&mac)));
    for (size_t i = 0; i < mac.len; i++) {
        mac.ptr[i] ^= 0x80;
        if (seal_mac_ok(k, KEY_ACCESS, "cfg", text, buf_slice(&mac)))
            fail_msg("byte %zu does not count", i);
        mac.ptr[i] ^= (char)0x80;
    }
    buf_deinit(&mac);
    keyring_free(k);
}

/* The sealed form is stored for years: it must not change by accident. */
static void test_vectors(void **state)
{
    static const unsigned char sealed_then[] = {
        0x01, 0xaa, 0xaa, 0xaa, 0xaa, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b,
        0x6c, 0x6d, 0x6e, 0x6f, 0x70, 0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78,
        0x79, 0x7a, 0x7b, 0xc4, 0x62, 0x8c, 0x91, 0xea, 0x5a, 0xce, 0x92, 0xcf, 0x8e,
        0x73, 0x70, 0xf5, 0x3a, 0xad, 0xdc, 0x8b, 0x43, 0x39, 0x8b, 0xb1, 0xbd,
    };
    struct keyring *k = ring_of(FILE_A);
    struct seal_place at = here();
    struct err err = {0};
    char digest[65], mac_hex[2 * SEAL_MAC_BYTES + 1];
    struct buf mac;

    (void)state;
    assert_true(opens(k, KEY_ACCESS, &at, slice_of(sealed_then, sizeof sealed_then), &err));
    seal_digest(SLICE_LIT("abc"), digest); /* BLAKE2b-256 of "abc", RFC 7693 family */
    assert_string_equal(digest, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    buf_init(&mac, 100);
    assert_true(seal_mac(k, KEY_RUN, "k", SLICE_LIT("abc"), &mac, &err));
    sodium_bin2hex(mac_hex, sizeof mac_hex, (unsigned char *)mac.ptr, mac.len);
    assert_string_equal(mac_hex,
                        "cccccccc"
                        "1fd6be3769c005e2e7b5fefe0b96a8cafbdb570fa4714ac8214f709e6230ee21");
    buf_deinit(&mac);
    keyring_free(k);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/keys", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* A staged key opens and never seals, wherever it stands. */
static void test_staged(void **state)
{
    static const struct {
        const char *text;
        const char *seals; /* "" = nothing of the kind */
    } cases[] = {
        {"run 0000000a " K1 "\nrun 0000000b " K2 " staged\n", "0000000a"},
        {"run 0000000b " K2 " staged\nrun 0000000a " K1 "\n", "0000000a"},
        {"run 0000000b " K2 " staged # soon\n", ""},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct keyring *k = ring_of(cases[i].text);
        struct key_info keys[4];
        size_t n = keyring_list(k, keys, ARRAY_LEN(keys));
        const char *seals = "";

        for (size_t j = 0; j < n; j++)
            seals = keys[j].seals ? keys[j].id : seals;
        assert_string_equal(seals, cases[i].seals);
        assert_int_equal(keyring_has(k, KEY_RUN), cases[i].seals[0] != '\0');
        keyring_free(k);
    }
}

/* A file that takes the place of another at HUP must know all that is sealed with now. */
static void test_follows(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } cases[] = {
        {"run 0000000a " K1 "\naccess 0000000b " K2 "\n", true},
        {"run 0000000c " K2 "\nrun 0000000a " K1 "\naccess 0000000b " K2 "\n", true},
        {"run 0000000a " K1 "\n", false},                                /* access is gone */
        {"run 0000000a " K2 "\naccess 0000000b " K2 "\n", false},        /* another key */
        {"access 0000000a " K1 "\nrun 0000000b " K2 "\n", false},        /* another kind */
        {"run 0000000a " K1 "\naccess 0000000b " K2 " staged\n", false}, /* seals no more */
        {"run 0000000c " K1 "\naccess 0000000b " K2 "\n", false},        /* another id */
    };
    struct keyring *now = ring_of(cases[0].text);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct keyring *next = ring_of(cases[i].text);

        if (keyring_follows(next, now) != cases[i].ok)
            fail_msg("case %zu", i);
        keyring_free(next);
    }
    keyring_free(now);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_files),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_no_regular_file),
        cmocka_unit_test(test_too_many_keys),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_opens_only_in_its_place),
        cmocka_unit_test(test_each_byte_counts),
        cmocka_unit_test(test_nonces_differ_and_room_is_checked),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_kind_without_key),
        cmocka_unit_test(test_mac),
        cmocka_unit_test(test_staged),
        cmocka_unit_test(test_follows),
        cmocka_unit_test(test_vectors),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, make_folder, remove_folder);
}

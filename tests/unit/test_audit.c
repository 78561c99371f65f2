/* audit.c: a line is bound to its writer, its number, the line before it and the prefix. */
#include "common/audit.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>

static struct keyring *keys;

static int make_keys(void **state)
{
    char path[] = "/tmp/awq-test-keys-XXXXXX";
    struct err err = {0};
    int fd = mkstemp(path);

    (void)state;
    close(fd);
    unlink(path);
    assert_true(keyring_create(path, &err));
    keys = keyring_load(path, &err);
    unlink(path);
    return keys ? 0 : -1;
}

static int drop_keys(void **state)
{
    (void)state;
    keyring_free(keys);
    return 0;
}

static const struct audit_line plain = {
    .writer = {"host-1", 6},
    .number = 7,
    .before = {"0123456789abcdef0123456789abcdef", AUDIT_DIGEST_BYTES},
    .text = {"{\"t\":1}", 7},
};

static void seal(struct buf *mac, struct audit_line *line)
{
    struct err err = {0};

    buf_init(mac, SEAL_MAC_BYTES);
    assert_true(audit_seal(keys, SLICE_LIT("awq"), line, mac, &err));
    line->mac = buf_slice(mac);
}

static void test_sound(void **state)
{
    struct audit_line line = plain;
    struct buf mac;

    (void)state;
    seal(&mac, &line);
    assert_int_equal(line.mac.len, SEAL_MAC_BYTES);
    assert_true(audit_is_sound(keys, SLICE_LIT("awq"), &line));
    buf_deinit(&mac);
}

static void test_each_part_is_bound(void **state)
{
    struct audit_line line = plain, bad;
    struct buf mac;

    (void)state;
    seal(&mac, &line);
    assert_false(audit_is_sound(keys, SLICE_LIT("other"), &line));
    bad = line;
    bad.writer = SLICE_LIT("host-2");
    assert_false(audit_is_sound(keys, SLICE_LIT("awq"), &bad));
    bad = line;
    bad.number = 8;
    assert_false(audit_is_sound(keys, SLICE_LIT("awq"), &bad));
    bad = line;
    bad.before = SLICE_LIT("1123456789abcdef0123456789abcdef");
    assert_false(audit_is_sound(keys, SLICE_LIT("awq"), &bad));
    bad = line;
    bad.text = SLICE_LIT("{\"t\":2}");
    assert_false(audit_is_sound(keys, SLICE_LIT("awq"), &bad));
    bad = line;
    bad.mac = SLICE_NONE;
    assert_false(audit_is_sound(keys, SLICE_LIT("awq"), &bad));
    buf_deinit(&mac);
}

/* The next line vouches for all of this one, also for one without a signature. */
static void test_digest(void **state)
{
    struct audit_digest first = audit_digest(&plain), again = audit_digest(&plain), other;
    struct audit_line line = plain;

    (void)state;
    assert_memory_equal(first.bytes, again.bytes, sizeof first.bytes);
    line.text = SLICE_LIT("{\"t\":2}");
    other = audit_digest(&line);
    assert_memory_not_equal(first.bytes, other.bytes, sizeof first.bytes);
    line = plain;
    line.mac = SLICE_LIT("x");
    other = audit_digest(&line);
    assert_memory_not_equal(first.bytes, other.bytes, sizeof first.bytes);
    line = plain;
    line.writer = SLICE_LIT("host-17:"); /* no part runs into the next one */
    line.number = 7;
    other = audit_digest(&line);
    assert_memory_not_equal(first.bytes, other.bytes, sizeof first.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),
        cmocka_unit_test(test_each_part_is_bound),
        cmocka_unit_test(test_digest),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, make_keys, drop_keys);
}

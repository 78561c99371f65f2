#include "common/char.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "common/slice.h"

/* The edges of each range, and bytes that a locale may call letters. */
static void test_kinds(void **state)
{
    static const struct {
        char c;
        bool digit, letter;
        char lower;
        int hex;
    } cases[] = {
        {'0', true, false, '0', 0},         {'9', true, false, '9', 9},
        {'/', false, false, '/', -1},       {':', false, false, ':', -1},
        {'a', false, true, 'a', 10},        {'f', false, true, 'f', 15},
        {'g', false, true, 'g', -1},        {'z', false, true, 'z', -1},
        {'A', false, true, 'a', 10},        {'F', false, true, 'f', 15},
        {'G', false, true, 'g', -1},        {'Z', false, true, 'z', -1},
        {'`', false, false, '`', -1},       {'{', false, false, '{', -1},
        {'@', false, false, '@', -1},       {'[', false, false, '[', -1},
        {'_', false, false, '_', -1},       {'\0', false, false, '\0', -1},
        {'\x10', false, false, '\x10', -1}, /* '0' without one bit */
        {'\xe4', false, false, '\xe4', -1}, /* a letter in Latin-1 */
        {'\xff', false, false, '\xff', -1},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char c = cases[i].c;

        if (char_is_digit(c) != cases[i].digit || char_is_letter(c) != cases[i].letter ||
            char_is_alnum(c) != (cases[i].digit || cases[i].letter) ||
            char_lower(c) != cases[i].lower || char_hex(c) != cases[i].hex)
            fail_msg("character 0x%02x", (unsigned char)c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kinds)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "worker/redact.h"

#include <string.h>
#include "common/char.h"

#define TOKEN_MIN 8

static const char *find(struct slice text, struct slice token)
{
    if (!text.ptr || !token.ptr || token.len < TOKEN_MIN)
        return NULL; /* a few bytes would be no token but a coincidence */
    return memmem(text.ptr, text.len, token.ptr, token.len);
}

/* The first letter of the text, and how many bytes it takes there: JSON may write it with a
 * backslash or \u002f, a URL %2F. */
static size_t letter_of(struct slice text, char *letter)
{
    size_t skip = slice_starts(text, SLICE_LIT("\\u00")) ? 4
                  : slice_starts(text, SLICE_LIT("%"))   ? 1
                                                         : 0;

    if (skip > 0 && text.len >= skip + 2) {
        int high = char_hex(text.ptr[skip]), low = char_hex(text.ptr[skip + 1]);

        if (high >= 0 && low >= 0) {
            *letter = (char)(high * 16 + low);
            return skip + 2;
        }
    }
    skip = text.ptr[0] == '\\' && text.len > 1 ? 1 : 0;
    *letter = text.ptr[skip];
    return skip + 1;
}

static void unescape(struct slice text, struct buf *out)
{
    char letter;

    for (size_t i = 0; i < text.len;) {
        i += letter_of(slice_sub(text, i, text.len), &letter);
        buf_add_char(out, letter);
    }
}

/* Servers that echo what they got may escape it: PHP's json_encode puts a backslash before every
 * slash. The token is looked for in the text without escapes (one pass: whoever answers chooses
 * both), and cut out of the text as it is. */
static bool cut_escaped(struct slice token, struct slice text, struct buf *out)
{
    struct buf plain;
    const char *at, *end = NULL, *p, *over;
    size_t n;
    char letter;

    buf_init(&plain, text.len + 1);
    unescape(text, &plain);
    p = buf_slice(&plain).ptr;
    over = p + buf_slice(&plain).len;
    at = find(buf_slice(&plain), token);
    for (size_t i = 0; at && i < text.len; i += n, p++) {
        n = letter_of(slice_sub(text, i, text.len), &letter);
        if (p == at) {
            buf_add_cstr(out, "[redacted]");
            end = at + token.len;
        }
        if (!end || p >= end)
            buf_add(out, text.ptr + i, n);
        if (end && p + 1 == end) {
            const char *next = find(slice_of(end, (size_t)(over - end)), token);

            at = next ? next : at; /* none: this one is not come by again */
        }
    }
    buf_wipe(&plain);
    return end != NULL;
}

static bool has_escape(struct slice text)
{
    return slice_find(text, '\\') < text.len || slice_find(text, '%') < text.len;
}

bool redact_holds(struct slice text, struct slice token)
{
    return find(text, token) != NULL;
}

bool redact_may_hold(struct slice text, struct slice token)
{
    return token.len >= TOKEN_MIN && (find(text, token) || has_escape(text));
}

/* The text without the token: as it stands there, then as it is escaped there. */
bool redact(struct slice text, struct slice token, struct buf *out)
{
    const char *at;
    bool found = false;
    struct buf rest;

    buf_init(&rest, out->max);
    while ((at = find(text, token)) != NULL) {
        buf_add(&rest, text.ptr, (size_t)(at - text.ptr));
        buf_add_cstr(&rest, "[redacted]");
        text = slice_sub(text, (size_t)(at - text.ptr) + token.len, text.len);
        found = true;
    }
    buf_add_slice(&rest, text);
    text = buf_slice(&rest);
    if (token.len >= TOKEN_MIN && has_escape(text) && cut_escaped(token, text, out))
        found = true;
    else
        buf_add_slice(out, text);
    buf_wipe(&rest);
    return found;
}

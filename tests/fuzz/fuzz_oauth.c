/* What token servers and APIs answer: no crash; a token only where the answer holds one; nothing of
 * the answer in our texts but what looks like an error code. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/oauth.h"
#include "tests/fuzz/fuzz.h"

static const struct name_value more[] = {{{"bot", 3}, {"b.0.t", 5}}};
static const struct slice words[] = {{"gone", 4}};
/* As the standards have it, and as one that differs in all that can be read otherwise. */
static const struct connection_cfg kinds[] = {
    {.grant = GRANT_REFRESH_TOKEN},
    {.grant = GRANT_REFRESH_TOKEN, .profile = {.answer = {.format = ANSWER_FORM}}},
    {.grant = GRANT_REFRESH_TOKEN,
     .profile = {.api = {.base_url = {"{answer.url}/x", 14}},
                 .answer = {.access_token = {"a.0.token", 9},
                            .refresh_token = {"r", 1},
                            .expiry = {"at", 2},
                            .expiry_kind = EXPIRY_DATE,
                            .error = {"e.code", 6},
                            .success_at = {"ok", 2},
                            .success_is = {"true", 4},
                            .scope_separator = {",", 1},
                            .token_type = {"any", 3},
                            .refused = {words, 1},
                            .tokens = {more, 1}}}},
};

static void check_text(const char *s, size_t size)
{
    size_t len = strnlen(s, size);

    CHECK(len < size);
    for (size_t i = 0; i < len; i++)
        CHECK(s[i] >= ' ' && s[i] <= '~');
}

static void check_token(const struct oauth_answer *a, int status)
{
    CHECK(status >= 200 && status < 300);
    CHECK(a->access_token.len >= 1 && a->access_token.len <= 16384);
    for (size_t i = 0; i < a->access_token.len; i++)
        CHECK(a->access_token.ptr[i] > ' ' && a->access_token.ptr[i] <= '~');
    CHECK(a->lifetime_ms == -1 || a->lifetime_ms > 0);
    CHECK(a->text[0] == '\0' && a->reason[0] == '\0');
}

static void answers(const struct connection_cfg *c, struct slice body)
{
    static const int statuses[] = {200, 299, 302, 400, 401, 429, 500, 503};

    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        struct oauth_answer a;

        oauth_answer_judge(&a, c, statuses[i], body, SLICE_LIT("application/json"),
                           slice_sub(body, 0, 40), 1445412420000);
        check_text(a.reason, sizeof a.reason);
        check_text(a.text, sizeof a.text);
        CHECK(a.retry_after_ms >= 0 && a.retry_after_ms <= 86400000);
        if (a.outcome == OAUTH_TOKEN)
            check_token(&a, statuses[i]);
        else
            CHECK(a.access_token.len + a.refresh_token.len == 0 && a.text[0] && a.reason[0]);
        /* a grant is given up only where the server judged it */
        CHECK(a.outcome != OAUTH_REFUSED || (statuses[i] < 500 && statuses[i] != 429));
        oauth_answer_deinit(&a);
    }
}

/* Encoded twice is not the same as once, but every byte of it is safe in a form. */
static void forms(struct slice text)
{
    struct buf out;

    buf_init(&out, 1 << 20);
    if (oauth_form_encode(&out, text)) {
        CHECK(out.len >= text.len);
        for (size_t i = 0; i < out.len; i++)
            CHECK(strchr("&= \r\n:", out.ptr[i]) == NULL);
    }
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct slice in = slice_of(data, size);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        answers(&kinds[i], in);
    CHECK(oauth_challenge_read(in) <= CHALLENGE_OTHER);
    forms(in);
    return 0;
}

#include "common/access.h"

bool access_write(struct buf *out, const struct oauth_answer *a)
{
    buf_add_slice(out, a->access_token);
    if (a->base_url.len > 0)
        buf_addf(out, "\nbase %.*s", SLICE_FMT(buf_slice(&a->base_url)));
    for (size_t i = 0; i < a->token_count; i++)
        buf_addf(out, "\ntoken %.*s %.*s", SLICE_FMT(a->tokens[i].name),
                 SLICE_FMT(a->tokens[i].value));
    return buf_ok(out);
}

void access_read(struct access *a, struct slice text)
{
    struct slice line, word;

    *a = (struct access){0};
    slice_cut(&text, '\n', &a->token);
    while (slice_cut(&text, '\n', &line)) {
        slice_cut(&line, ' ', &word);
        if (slice_is(word, "base")) {
            a->base_url = line;
        } else if (slice_is(word, "token") && a->token_count < PROFILE_TOKENS_MAX) {
            slice_cut(&line, ' ', &word);
            a->tokens[a->token_count++] = (struct name_value){word, line};
        }
    }
}

bool access_token(const struct access *a, struct slice name, struct slice *token)
{
    *token = a->token;
    for (size_t i = 0; name.len > 0 && i < a->token_count; i++) {
        if (!slice_eq(a->tokens[i].name, name))
            continue;
        *token = a->tokens[i].value;
        return true;
    }
    return name.len == 0;
}

#include "common/awq_inside.h"

#include <stdlib.h>
#include "common/wire.h"

struct held_result { /* a result and its texts, in one piece for its owner */
    struct awq_result pub;
    char *bytes, *output, *type, *code, *detail;
};

void awq_result_free(struct awq_result *r)
{
    struct held_result *h = (struct held_result *)r;

    if (!h)
        return;
    free(h->bytes);
    free(h->output);
    free(h->type);
    free(h->code);
    free(h->detail);
    free(h);
}

struct awq_result *awq_result_hold(struct slice bytes, const struct result *r)
{
    struct held_result *h = calloc(1, sizeof *h);

    if (!h)
        return NULL;
    h->bytes = slice_dup(bytes);
    h->output = slice_dup(r->output);
    h->type = slice_dup(r->output_type);
    h->code = slice_dup(r->error_code);
    h->detail = slice_dup(r->error_detail);
    if (!h->bytes || !h->output || !h->type || !h->code || !h->detail) {
        awq_result_free(&h->pub);
        return NULL;
    }
    h->pub = (struct awq_result){
        .state = result_state_name(r->state),
        .http_status = r->status,
        .step = r->step,
        .attempts = r->attempts,
        .output = r->output_type.len > 0 ? h->output : NULL,
        .output_len = r->output.len,
        .output_is_binary = r->output_is_bin,
        .output_type = h->type,
        .error_code = h->code,
        .error_detail = h->detail,
        .bytes = h->bytes,
        .len = bytes.len,
    };
    return &h->pub;
}

char *awq_result_json(const struct awq_result *r)
{
    struct result got;
    struct buf b;

    buf_init(&b, r->len * 8 + 4096); /* a byte becomes six at most, \u0001 */
    if (result_decode(&got, slice_of(r->bytes, r->len), NULL) && result_to_json(&b, &got))
        return buf_take(&b);
    buf_deinit(&b);
    return NULL;
}

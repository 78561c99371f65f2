/* Tokens that are bound to a key (RFC 9449): a proof goes with each request that they go with. */
#include "common/dpop.h"
#include "worker/step_parts.h"

/* Scheme, host and port of where it goes: nonces are one server's. */
static struct slice origin_of(const struct step *s)
{
    struct slice url = buf_slice(&s->url);
    size_t scheme = slice_find(url, ':') + 3; /* it was checked */
    struct slice rest = slice_sub(url, scheme, url.len);

    return slice_sub(url, 0, scheme + slice_find(rest, '/'));
}

static bool is_bound(const struct step *s)
{
    return s->conn->dpop && !s->drop_token;
}

bool step_prove(struct step *s, struct buf *proof, struct err *err)
{
    struct dpop_request proves = {
        .method = s->method,
        .url = buf_slice(&s->url),
        .access_token = step_sent_token(s),
    };

    buf_init(proof, DPOP_PROOF_MAX);
    if (!is_bound(s))
        return true;
    proves.nonce = slice_cstr(conn_nonce(s->conn, origin_of(s)));
    return dpop_proof(s->conn->dpop, &proves, worker_now_ms(s->w), proof, err) ||
           err_prefix(err, "job %s: ", s->name);
}

void step_take_nonce(struct step *s, const struct http_result *res)
{
    if (is_bound(s))
        conn_take_nonce(s->conn, origin_of(s), http_header_get(res, "dpop-nonce"));
}

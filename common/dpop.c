#include "common/dpop.h"

#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/json.h"

#define TEXT_MAX 2048

struct dpop_key {
    struct jwt_key *key;
    struct buf jwk; /* of its public part */
    char jkt[DPOP_JKT_CHARS + 1];
};

/* ---- keys ---- */

bool dpop_key_make(enum jwt_alg alg, struct buf *pem, struct err *err)
{
    struct jwt_key *k = jwt_key_new(alg, err);
    bool ok = k && (jwt_key_to_pem(k, pem) || err_set(err, ERR_NOMEM, "out of memory"));

    jwt_key_free(k);
    return ok;
}

static void digest(struct slice text, char out[DPOP_JKT_CHARS + 1])
{
    unsigned char hash[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(hash, (const unsigned char *)text.ptr, text.len);
    sodium_bin2base64(out, DPOP_JKT_CHARS + 1, hash, sizeof hash,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

struct dpop_key *dpop_key_open(struct slice pem, enum jwt_alg alg, struct err *err)
{
    struct dpop_key *k = calloc(1, sizeof *k);

    if (!k) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    buf_init(&k->jwk, TEXT_MAX);
    k->key = jwt_key_pem(pem, alg, err);
    if (k->key && jwt_key_jwk(k->key, &k->jwk)) {
        digest(buf_slice(&k->jwk), k->jkt);
        return k;
    }
    if (k->key)
        err_set(err, ERR_CONFIG, "a key that DPoP has no use for: ES256 or EdDSA");
    dpop_key_free(k);
    return NULL;
}

void dpop_key_free(struct dpop_key *k)
{
    if (!k)
        return;
    jwt_key_free(k->key);
    buf_deinit(&k->jwk);
    free(k);
}

const char *dpop_key_jkt(const struct dpop_key *k)
{
    return k->jkt;
}

/* ---- proofs ---- */

static void put(struct json_writer *w, const char *key, struct slice value)
{
    jw_key(w, key);
    jw_str(w, value);
}

bool dpop_json(const struct dpop_key *k, const struct dpop_request *r, const char *jti,
               int64_t now_ms, struct buf *header, struct buf *claims)
{
    struct slice htu = slice_sub(r->url, 0, slice_find(r->url, '#'));
    char ath[DPOP_JKT_CHARS + 1];
    struct json_writer w;

    htu = slice_sub(htu, 0, slice_find(htu, '?'));
    jw_init(&w, header);
    jw_obj(&w);
    put(&w, "typ", SLICE_LIT("dpop+jwt"));
    put(&w, "alg", slice_cstr(jwt_alg_name(jwt_key_alg(k->key))));
    jw_key(&w, "jwk");
    jw_raw(&w, buf_slice(&k->jwk));
    jw_end_obj(&w);
    jw_init(&w, claims);
    jw_obj(&w);
    put(&w, "jti", slice_cstr(jti));
    put(&w, "htm", slice_cstr(r->method));
    put(&w, "htu", htu);
    jw_key(&w, "iat");
    jw_int(&w, now_ms / 1000);
    if (r->access_token.len > 0) {
        digest(r->access_token, ath);
        put(&w, "ath", slice_cstr(ath));
    }
    if (r->nonce.len > 0)
        put(&w, "nonce", r->nonce);
    jw_end_obj(&w);
    return buf_ok(header) && buf_ok(claims);
}

struct proof {
    const struct dpop_key *key;
    const struct dpop_request *request;
};

static bool texts(const void *of, const char *alg, const char *jti, int64_t now_ms,
                  struct buf *header, struct buf *claims)
{
    const struct proof *p = of;

    (void)alg; /* the key says it */
    return dpop_json(p->key, p->request, jti, now_ms, header, claims);
}

bool dpop_proof(const struct dpop_key *k, const struct dpop_request *r, int64_t now_ms,
                struct buf *out, struct err *err)
{
    const struct proof p = {k, r};

    return jwt_make(k->key, texts, &p, now_ms, out, err) || err_prefix(err, "the DPoP proof: ");
}

void dpop_take_nonce(char nonce[DPOP_NONCE_MAX + 1], struct slice header)
{
    if (header.len > 0 && header.len <= DPOP_NONCE_MAX && slice_is_visible(header) &&
        slice_find(header, '"') == header.len && slice_find(header, '\\') == header.len)
        slice_copy(header, nonce, DPOP_NONCE_MAX + 1);
}

#include "common/jwt.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sodium.h>
#include "common/id.h"

#define SIGNATURE_MAX 1024 /* RSA of 8192 bits */
#define RSA_BITS_MIN  2048
#define RSA_BITS_MAX  8192
#define SECRET_MIN    32
#define P256_BYTES    32
#define JTI_BYTES     16
#define TEXT_MAX      16384

struct jwt_key {
    enum jwt_alg alg;
    EVP_PKEY *pkey;      /* NULL: HS256 */
    struct slice secret; /* HS256; borrowed */
};

static const char *const alg_names[] = {
    [JWT_ALG_OF_KEY] = "", [JWT_HS256] = "HS256", [JWT_RS256] = "RS256",
    [JWT_PS256] = "PS256", [JWT_ES256] = "ES256", [JWT_EDDSA] = "EdDSA",
};

bool jwt_alg_parse(struct slice name, enum jwt_alg *alg)
{
    for (size_t i = JWT_RS256; i < ARRAY_LEN(alg_names); i++) {
        if (slice_is(name, alg_names[i])) {
            *alg = (enum jwt_alg)i;
            return true;
        }
    }
    return false;
}

const char *jwt_alg_name(enum jwt_alg alg)
{
    return (size_t)alg < ARRAY_LEN(alg_names) ? alg_names[alg] : "";
}

enum jwt_alg jwt_key_alg(const struct jwt_key *k)
{
    return k->alg;
}

/* ---- keys ---- */

/* Asked for a passphrase: there is nobody to ask. */
static int no_passphrase(char *buf, int size, int writing, void *owner)
{
    (void)buf, (void)size, (void)writing, (void)owner;
    return -1;
}

static bool is_p256(const EVP_PKEY *pkey)
{
    char group[32] = "";

    return EVP_PKEY_get_group_name((EVP_PKEY *)pkey, group, sizeof group, NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

/* The algorithms that a key can do: the first is its own. */
static bool fit(EVP_PKEY *pkey, enum jwt_alg *alg, struct err *err)
{
    enum jwt_alg own = JWT_ALG_OF_KEY, other = JWT_ALG_OF_KEY;
    int bits = EVP_PKEY_get_bits(pkey);

    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
            return err_set(err, ERR_CONFIG, "an RSA key of %d bits; it needs %d to %d", bits,
                           RSA_BITS_MIN, RSA_BITS_MAX);
        own = JWT_RS256;
        other = JWT_PS256;
        break;
    case EVP_PKEY_EC:
        if (!is_p256(pkey))
            return err_set(err, ERR_CONFIG, "an EC key on another curve than P-256 (ES256)");
        own = JWT_ES256;
        break;
    case EVP_PKEY_ED25519:
        own = JWT_EDDSA;
        break;
    default:
        return err_set(err, ERR_CONFIG, "neither an RSA, nor a P-256, nor an Ed25519 key");
    }
    if (*alg == JWT_ALG_OF_KEY)
        *alg = own;
    return *alg == own || *alg == other ||
           err_set(err, ERR_CONFIG, "a key for %s; alg says %s", alg_names[own], alg_names[*alg]);
}

struct jwt_key *jwt_key_pem(struct slice pem, enum jwt_alg alg, struct err *err)
{
    struct jwt_key *k = calloc(1, sizeof *k);
    BIO *bio = k && pem.len > 0 ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;

    if (bio)
        k->pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    ERR_clear_error();
    if (k && k->pkey) {
        k->alg = alg;
        if (fit(k->pkey, &k->alg, err))
            return k;
    } else {
        err_set(err, ERR_CONFIG,
                "no private key in PEM (\"-----BEGIN PRIVATE KEY-----\") without a passphrase");
    }
    jwt_key_free(k);
    return NULL;
}

struct jwt_key *jwt_key_secret(struct slice secret, struct err *err)
{
    struct jwt_key *k;

    if (secret.len < SECRET_MIN) {
        err_set(err, ERR_CONFIG, "a secret of %zu bytes; HS256 needs %d at least", secret.len,
                SECRET_MIN);
        return NULL;
    }
    k = calloc(1, sizeof *k);
    if (!k) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    k->alg = JWT_HS256;
    k->secret = secret;
    return k;
}

struct jwt_key *jwt_key_new(enum jwt_alg alg, struct err *err)
{
    struct jwt_key *k = calloc(1, sizeof *k);

    if (k && alg == JWT_ES256)
        k->pkey = EVP_EC_gen("P-256");
    else if (k && alg == JWT_EDDSA)
        k->pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    ERR_clear_error();
    if (k && k->pkey) {
        k->alg = alg;
        return k;
    }
    jwt_key_free(k);
    err_set(err, ERR_CONFIG, "no key can be made for %s", jwt_alg_name(alg));
    return NULL;
}

bool jwt_key_to_pem(const struct jwt_key *k, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;
    long len = 0;
    bool ok;

    if (bio && PEM_write_bio_PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) == 1)
        len = BIO_get_mem_data(bio, &text);
    ok = len > 0 && buf_add(out, text, (size_t)len);
    if (text)
        sodium_memzero(text, (size_t)len);
    BIO_free(bio);
    ERR_clear_error();
    return ok;
}

void jwt_key_free(struct jwt_key *k)
{
    if (!k)
        return;
    EVP_PKEY_free(k->pkey);
    free(k);
}

/* ---- public keys ---- */

static bool add_base64url(struct buf *out, const void *bytes, size_t len)
{
    size_t room = sodium_base64_encoded_len(len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);

    if (!buf_reserve(out, room))
        return false;
    sodium_bin2base64(out->ptr + out->len, room, bytes, len,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    out->len += room - 1; /* room counts the NUL */
    return true;
}

static bool add_coordinate(struct buf *out, const struct jwt_key *k, const char *name)
{
    unsigned char bytes[P256_BYTES];
    BIGNUM *n = NULL;
    bool ok = EVP_PKEY_get_bn_param(k->pkey, name, &n) == 1 &&
              BN_bn2binpad(n, bytes, sizeof bytes) == (int)sizeof bytes &&
              add_base64url(out, bytes, sizeof bytes);

    BN_free(n);
    return ok;
}

bool jwt_key_jwk(const struct jwt_key *k, struct buf *out)
{
    unsigned char x[32];
    size_t len = sizeof x;

    if (k->alg == JWT_ES256)
        return buf_add_cstr(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"") &&
               add_coordinate(out, k, OSSL_PKEY_PARAM_EC_PUB_X) &&
               buf_add_cstr(out, "\",\"y\":\"") &&
               add_coordinate(out, k, OSSL_PKEY_PARAM_EC_PUB_Y) && buf_add_cstr(out, "\"}");
    return k->alg == JWT_EDDSA && EVP_PKEY_get_raw_public_key(k->pkey, x, &len) == 1 &&
           buf_add_cstr(out, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"") &&
           add_base64url(out, x, len) && buf_add_cstr(out, "\"}");
}

/* ---- signatures ---- */

struct signature {
    unsigned char bytes[SIGNATURE_MAX];
    size_t len;
};

static bool sign_hmac(const struct jwt_key *k, struct slice text, struct signature *s)
{
    crypto_auth_hmacsha256_state st;

    crypto_auth_hmacsha256_init(&st, (const unsigned char *)k->secret.ptr, k->secret.len);
    crypto_auth_hmacsha256_update(&st, (const unsigned char *)text.ptr, text.len);
    crypto_auth_hmacsha256_final(&st, s->bytes);
    sodium_memzero(&st, sizeof st);
    s->len = crypto_auth_hmacsha256_BYTES;
    return true;
}

/* RFC 7518 section 3.4: R and S, 32 bytes each, where libcrypto gives their DER. */
static bool raw_ecdsa(struct signature *s)
{
    const unsigned char *der = s->bytes;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)s->len);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), s->bytes, P256_BYTES) == P256_BYTES &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), s->bytes + P256_BYTES, P256_BYTES) == P256_BYTES;

    ECDSA_SIG_free(sig);
    s->len = 2 * P256_BYTES;
    return ok;
}

static bool sign_key(const struct jwt_key *k, struct slice text, struct signature *s)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    bool ok = md && EVP_DigestSignInit(md, &ctx, k->alg == JWT_EDDSA ? NULL : EVP_sha256(), NULL,
                                       k->pkey) == 1;

    if (ok && k->alg == JWT_PS256) /* RFC 7518 section 3.5: the salt is as long as the digest */
        ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    s->len = sizeof s->bytes;
    ok =
        ok && EVP_DigestSign(md, s->bytes, &s->len, (const unsigned char *)text.ptr, text.len) == 1;
    EVP_MD_CTX_free(md);
    ERR_clear_error();
    return ok && (k->alg != JWT_ES256 || raw_ecdsa(s));
}

bool jwt_sign(const struct jwt_key *k, struct slice header, struct slice claims, struct buf *out,
              struct err *err)
{
    struct signature s;
    size_t start = out->len;
    bool ok = add_base64url(out, header.ptr, header.len) && buf_add_char(out, '.') &&
              add_base64url(out, claims.ptr, claims.len);

    if (ok) {
        struct slice text = slice_sub(buf_slice(out), start, out->len);

        if (!(k->pkey ? sign_key(k, text, &s) : sign_hmac(k, text, &s)))
            return err_set(err, ERR_CONFIG, "its key cannot sign by %s", alg_names[k->alg]);
    }
    return (ok && buf_add_char(out, '.') && add_base64url(out, s.bytes, s.len)) ||
           err_set(err, ERR_NOMEM, "the assertion is too long");
}

bool jwt_make(const struct jwt_key *k, jwt_texts *texts, const void *of, int64_t now_ms,
              struct buf *out, struct err *err)
{
    char jti[2 * JTI_BYTES + 1];
    struct buf header, claims;
    bool ok;

    id_hex(jti, JTI_BYTES);
    buf_init(&header, TEXT_MAX);
    buf_init(&claims, TEXT_MAX);
    ok = texts(of, jwt_alg_name(jwt_key_alg(k)), jti, now_ms, &header, &claims);
    if (ok)
        ok = jwt_sign(k, buf_slice(&header), buf_slice(&claims), out, err);
    else
        err_set(err, ERR_NOMEM, "what it says is too long");
    buf_deinit(&header);
    buf_deinit(&claims);
    return ok;
}

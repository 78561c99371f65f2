#include "common/client_cert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sodium.h>
#include "common/secret.h"

#define ISSUERS_MAX 10
#define KEY_BEGINS  "-----BEGIN PRIVATE KEY-----" /* PKCS #8, as PEM_write_bio_PrivateKey has it */

struct client_cert {
    unsigned refs;
    struct secret_pool *pool; /* NULL: the key is sodium_malloc's */
    char *chain, *key;
    size_t chain_len, key_len;
    char x5t[CLIENT_CERT_X5T_CHARS + 1];
    char subject[CLIENT_CERT_SUBJECT];
    int64_t until_ms;
};

/* ---- PEM ---- */

/* Asked for a passphrase: there is nobody to ask. */
static int no_passphrase(char *buf, int size, int writing, void *owner)
{
    (void)buf, (void)size, (void)writing, (void)owner;
    return -1;
}

/* Where the text begins in it, or NULL. */
static const char *find(struct slice in, const char *text)
{
    return in.len > 0 ? memmem(in.ptr, in.len, text, strlen(text)) : NULL;
}

static BIO *reader(struct slice pem)
{
    return pem.len > 0 ? BIO_new_mem_buf(pem.ptr, (int)pem.len) : NULL;
}

static X509 *read_cert(BIO *bio)
{
    X509 *x = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

    ERR_clear_error();
    return x;
}

static EVP_PKEY *read_key(struct slice pem, struct err *err)
{
    BIO *bio = reader(pem);
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    bool encrypted = find(pem, "ENCRYPTED") != NULL;

    BIO_free(bio);
    ERR_clear_error();
    if (!key && encrypted)
        err_set(err, ERR_CONFIG,
                "it is encrypted, and nobody is there to ask for its passphrase: give the key "
                "without one (openssl pkey), in a file that only you can read");
    else if (!key)
        err_set(err, ERR_CONFIG, "no private key in PEM (\"-----BEGIN PRIVATE KEY-----\")");
    return key;
}

static bool add_bio(BIO *bio, struct buf *out)
{
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);

    return len > 0 && buf_add(out, text, (size_t)len);
}

static bool write_cert(X509 *x, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_mem());
    bool ok = bio && PEM_write_bio_X509(bio, x) == 1 && add_bio(bio, out);

    BIO_free(bio);
    return ok;
}

static bool write_key(EVP_PKEY *key, struct buf *out)
{
    BIO *bio = BIO_new(BIO_s_secmem()); /* wipes what it held */
    bool ok = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
              add_bio(bio, out);

    BIO_free(bio);
    return ok;
}

/* ---- packing ---- */

/* What the TLS library says of it when a link is made, said now: a key too small, a digest too
 * weak, a kind of key that it cannot sign with. */
static bool usable(X509 *x, EVP_PKEY *key, bool *of_key, struct err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    bool ok = ctx && SSL_CTX_use_certificate(ctx, x) == 1;
    const char *why;

    *of_key = false;
    if (ok && X509_check_private_key(x, key) != 1) {
        *of_key = true;
        ok = err_set(err, ERR_CONFIG, "it is not the key of the first certificate there");
    } else if (!ok || SSL_CTX_use_PrivateKey(ctx, key) != 1) {
        *of_key = ok;
        why = ERR_reason_error_string(ERR_peek_last_error());
        ok = err_set(err, ERR_CONFIG, "the TLS library does not take it: %s",
                     why ? why : "out of memory");
    }
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static bool write_chain(X509 *leaf, BIO *rest, struct buf *out, struct err *err)
{
    bool ok = write_cert(leaf, out);
    X509 *x;

    for (int n = 0; ok && (x = read_cert(rest)); n++) {
        ok = n < ISSUERS_MAX && write_cert(x, out);
        X509_free(x);
    }
    return ok || err_set(err, ERR_CONFIG, "more than %d certificates, or they are too long",
                         ISSUERS_MAX + 1);
}

bool client_cert_pack(struct slice certificates, struct slice key, struct buf *out, bool *of_key,
                      struct err *err)
{
    BIO *bio = reader(certificates);
    X509 *leaf = read_cert(bio);
    EVP_PKEY *pkey = NULL;
    bool ok = false;

    *of_key = false;
    if (!leaf)
        err_set(err, ERR_CONFIG, "no certificate in PEM (\"-----BEGIN CERTIFICATE-----\")");
    else if ((pkey = read_key(key, err)) == NULL)
        *of_key = true;
    else
        ok = usable(leaf, pkey, of_key, err) && write_chain(leaf, bio, out, err) &&
             (write_key(pkey, out) || err_set(err, ERR_CONFIG, "they are too long"));
    EVP_PKEY_free(pkey);
    X509_free(leaf);
    BIO_free(bio);
    ERR_clear_error();
    return ok;
}

/* ---- opening ---- */

static bool take_facts(struct client_cert *c, X509 *x)
{
    unsigned char *der = NULL, sum[crypto_hash_sha256_BYTES];
    int len = i2d_X509(x, &der);
    BIO *bio = BIO_new(BIO_s_mem());
    struct tm tm;
    int got;

    if (len > 0) {
        crypto_hash_sha256(sum, der, (unsigned long long)len);
        sodium_bin2base64(c->x5t, sizeof c->x5t, sum, sizeof sum,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    }
    OPENSSL_free(der);
    if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) > 0 &&
        (got = BIO_read(bio, c->subject, sizeof c->subject - 1)) > 0)
        c->subject[got] = '\0';
    BIO_free(bio);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1)
        c->until_ms = (int64_t)timegm(&tm) * 1000;
    ERR_clear_error();
    return len > 0;
}

static bool take_key(struct client_cert *c, struct slice key, struct err *err)
{
    c->key = c->pool ? secret_alloc(c->pool, key.len) : sodium_malloc(key.len);
    if (!c->key)
        return err_set(err, ERR_RETRY, "no guarded memory is left for the key of its certificate");
    memcpy(c->key, key.ptr, key.len);
    c->key_len = key.len;
    return true;
}

struct client_cert *client_cert_open(struct slice packed, struct secret_pool *pool, struct err *err)
{
    const char *key = find(packed, KEY_BEGINS);
    size_t chain = key ? (size_t)(key - packed.ptr) : 0;
    struct client_cert *c = calloc(1, sizeof *c);
    BIO *bio = reader(slice_sub(packed, 0, chain));
    X509 *x = read_cert(bio);
    bool ok = false;

    if (!x || chain == 0)
        err_set(err, ERR_CONFIG, "no certificate and key are stored; apply its file");
    else if (!c || (c->chain = malloc(chain)) == NULL)
        err_set(err, ERR_NOMEM, "out of memory");
    else {
        c->refs = 1;
        c->pool = pool;
        c->chain_len = chain;
        memcpy(c->chain, packed.ptr, chain);
        ok = (take_facts(c, x) || err_set(err, ERR_NOMEM, "out of memory")) &&
             take_key(c, slice_sub(packed, chain, packed.len), err);
    }
    X509_free(x);
    BIO_free(bio);
    if (ok)
        return c;
    if (c)
        free(c->chain);
    free(c);
    return NULL;
}

struct client_cert *client_cert_ref(struct client_cert *c)
{
    if (c)
        c->refs++;
    return c;
}

void client_cert_unref(struct client_cert *c)
{
    if (!c || --c->refs > 0)
        return;
    if (c->pool)
        secret_drop(c->pool, c->key);
    else
        sodium_free(c->key);
    free(c->chain);
    free(c);
}

struct slice client_cert_chain(const struct client_cert *c)
{
    return slice_of(c->chain, c->chain_len);
}

struct slice client_cert_key(const struct client_cert *c)
{
    return slice_of(c->key, c->key_len);
}

const char *client_cert_x5t(const struct client_cert *c)
{
    return c->x5t;
}

const char *client_cert_subject(const struct client_cert *c)
{
    return c->subject;
}

int64_t client_cert_until_ms(const struct client_cert *c)
{
    return c->until_ms;
}

void client_cert_day(const struct client_cert *c, char day[CLIENT_CERT_DAY])
{
    time_t until_s = (time_t)(c->until_ms / 1000);
    struct tm tm;

    if (!gmtime_r(&until_s, &tm) || strftime(day, CLIENT_CERT_DAY, "%Y-%m-%d", &tm) == 0)
        snprintf(day, CLIENT_CERT_DAY, "%s", "?");
}

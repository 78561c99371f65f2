#include "tests/unit/cert_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sodium.h>

static void take(BIO *bio, struct buf *to)
{
    char *text = NULL;
    long len = BIO_get_mem_data(bio, &text);

    assert_true(len > 0 && buf_add(to, text, (size_t)len));
    BIO_free(bio);
}

void cert_make(const char *name, int days, unsigned bits, struct buf *cert, struct buf *key)
{
    EVP_PKEY *pkey = bits > 0 ? EVP_RSA_gen(bits) : EVP_EC_gen("P-256");
    BIO *cert_out = BIO_new(BIO_s_mem()), *key_out = BIO_new(BIO_s_mem());
    X509_NAME *subject = X509_NAME_new();
    X509 *x = X509_new();

    assert_true(pkey && cert_out && key_out && subject && x);
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                                (const unsigned char *)name, -1, -1, 0),
                     1);
    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -(long)10 * 86400);
    X509_gmtime_adj(X509_getm_notAfter(x), (long)days * 86400);
    X509_set_subject_name(x, subject);
    X509_set_issuer_name(x, subject);
    X509_set_pubkey(x, pkey);
    assert_true(X509_sign(x, pkey, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_bio_X509(cert_out, x), 1);
    assert_int_equal(PEM_write_bio_PrivateKey(key_out, pkey, NULL, NULL, 0, NULL, NULL), 1);
    take(cert_out, cert);
    take(key_out, key);
    X509_NAME_free(subject);
    X509_free(x);
    EVP_PKEY_free(pkey);
}

struct client_cert *cert_client(const char *name)
{
    struct buf cert, key, packed;
    struct client_cert *c;
    struct err err = {0};
    bool of_key;

    assert_true(sodium_init() >= 0); /* before guarded memory */
    buf_init(&cert, CLIENT_CERT_PEM_MAX);
    buf_init(&key, CLIENT_CERT_PEM_MAX);
    buf_init(&packed, CLIENT_CERT_PEM_MAX);
    cert_make(name, 10, 0, &cert, &key);
    assert_true(client_cert_pack(buf_slice(&cert), buf_slice(&key), &packed, &of_key, &err));
    c = client_cert_open(buf_slice(&packed), NULL, &err);
    assert_non_null(c);
    buf_deinit(&cert);
    buf_wipe(&key);
    buf_wipe(&packed);
    return c;
}

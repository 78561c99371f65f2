#include "common/redis_tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/stat.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "common/secret_file.h"
#include "common/slice.h"

/* Which file it was that was read; zero when there is none. */
struct stamp {
    char *path;
    struct stat st;
};

struct redis_tls {
    SSL_CTX *ctx;
    struct stamp files[3];
};

/* Taken before the file is read: what changes in between is then seen as changed. */
static bool stamp_take(struct stamp *s, const char *path)
{
    if (!path)
        return true;
    s->path = strdup(path);
    if (stat(path, &s->st) != 0)
        s->st = (struct stat){0};
    return s->path != NULL;
}

static bool stamp_holds(const struct stamp *s)
{
    struct stat now = {0};

    if (!s->path)
        return true;
    if (stat(s->path, &now) != 0)
        now = (struct stat){0};
    return now.st_dev == s->st.st_dev && now.st_ino == s->st.st_ino &&
           now.st_size == s->st.st_size && now.st_mtim.tv_sec == s->st.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == s->st.st_mtim.tv_nsec;
}

bool redis_tls_is_current(const struct redis_tls *t)
{
    for (size_t i = 0; i < ARRAY_LEN(t->files); i++)
        if (!stamp_holds(&t->files[i]))
            return false;
    return true;
}

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text ? text : "no reason given";
}

/* Without this OpenSSL would ask for a passphrase on the terminal, and the loop would hang. */
static int no_passphrase(char *buf, int size, int writing, void *owner)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)owner;
    return -1;
}

static bool use_ca(SSL_CTX *ctx, const char *ca, struct err *err)
{
    if (!ca && SSL_CTX_set_default_verify_paths(ctx) == 1)
        return true;
    if (ca && SSL_CTX_load_verify_file(ctx, ca) == 1)
        return true;
    return err_rule(err, ERR_CONFIG, "redis_tls_file", "Redis TLS: CA file %s cannot be used: %s",
                    ca ? ca : "of the system", reason());
}

static bool use_certificate(SSL_CTX *ctx, const char *cert, const char *key, struct err *err)
{
    if (!cert && !key)
        return true;
    if (!cert || !key)
        return err_rule(err, ERR_CONFIG, "redis_tls_file",
                        "Redis TLS: a client certificate needs both its file and its key file");
    if (!secret_file_check(key, "Redis TLS key", err))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        return err_rule(err, ERR_CONFIG, "redis_tls_file",
                        "Redis TLS: certificate %s cannot be used: %s", cert, reason());
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        return err_rule(err, ERR_CONFIG, "redis_tls_file",
                        "Redis TLS: key %s cannot be used with %s: %s", key, cert, reason());
    return true;
}

struct redis_tls *redis_tls_new(const char *ca, const char *cert, const char *key, struct err *err)
{
    struct redis_tls *t = calloc(1, sizeof *t);

    ERR_clear_error();
    if (t)
        t->ctx = SSL_CTX_new(TLS_client_method());
    if (!t || !t->ctx || !stamp_take(&t->files[0], ca ? ca : X509_get_default_cert_file()) ||
        !stamp_take(&t->files[1], cert) || !stamp_take(&t->files[2], key)) {
        err_set(err, ERR_NOMEM, "no memory for TLS");
        goto fail;
    }
    SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(t->ctx, no_passphrase);
    /* What waits to be written may move in memory and is handed over again, perhaps grown. */
    SSL_CTX_set_mode(t->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (use_ca(t->ctx, ca, err) && use_certificate(t->ctx, cert, key, err))
        return t;
fail:
    redis_tls_free(t);
    return NULL;
}

void redis_tls_free(struct redis_tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    for (size_t i = 0; i < ARRAY_LEN(t->files); i++)
        free(t->files[i].path);
    free(t);
}

static bool is_address(const char *host)
{
    struct in6_addr any;

    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

/* An address is compared with the certificate's addresses and is never sent as SNI (RFC 6066
 * section 3). */
static bool expect_host(SSL *ssl, const char *host)
{
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct ssl_st *redis_tls_session(struct redis_tls *t, int fd, const char *host, struct err *err)
{
    SSL *ssl = SSL_new(t->ctx);

    ERR_clear_error();
    if (!ssl || !expect_host(ssl, host) || SSL_set_fd(ssl, fd) != 1) {
        err_set(err, ERR_NOMEM, "Redis TLS: no session for %s: %s", host, reason());
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

bool redis_tls_fail(const struct ssl_st *ssl, int rc, const char *where, struct err *err)
{
    long verified = SSL_get_verify_result(ssl);
    int saved = errno;

    if (verified != X509_V_OK)
        return err_rule(err, ERR_CONFIG, "redis_tls_untrusted",
                        "redis at %s: its certificate is not accepted: %s", where,
                        X509_verify_cert_error_string(verified));
    if (SSL_get_error(ssl, rc) == SSL_ERROR_SSL &&
        ERR_GET_REASON(ERR_peek_last_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return err_rule(err, ERR_CONFIG, "redis_tls", "redis at %s: TLS: %s", where, reason());
    return err_set(err, ERR_UNREACHABLE, "redis at %s closed the link: %s", where,
                   saved ? strerror(saved) : "end of stream");
}

#include "common/producer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include "common/secret_file.h"

/* The file: "ed25519 HEX64", the seed of RFC 8032 section 5.1.5. */
#define KIND "ed25519 "

struct producer_key {
    unsigned char secret[crypto_sign_SECRETKEYBYTES];
    unsigned char public[crypto_sign_PUBLICKEYBYTES];
};

static bool write_new(const char *path, const char *text, size_t len, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;

    if (!ok)
        err_set(err, ERR_CONFIG, "producer key file %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && !ok)
        unlink(path);
    return ok;
}

bool producer_key_create(const char *path, struct err *err)
{
    unsigned char seed[crypto_sign_SEEDBYTES];
    char text[sizeof KIND + 2 * sizeof seed + 1];
    size_t len = strlen(KIND);
    bool ok;

    randombytes_buf(seed, sizeof seed);
    memcpy(text, KIND, len);
    sodium_bin2hex(text + len, 2 * sizeof seed + 1, seed, sizeof seed);
    len += 2 * sizeof seed;
    text[len++] = '\n';
    ok = write_new(path, text, len, err);
    sodium_memzero(seed, sizeof seed);
    sodium_memzero(text, sizeof text);
    return ok;
}

static bool read_seed(struct slice text, unsigned char seed[crypto_sign_SEEDBYTES])
{
    struct slice hex = slice_sub(text, strlen(KIND), text.len);
    size_t len = 0;

    return slice_starts(text, SLICE_LIT(KIND)) && hex.len == 2 * crypto_sign_SEEDBYTES &&
           sodium_hex2bin(seed, crypto_sign_SEEDBYTES, hex.ptr, hex.len, NULL, &len, NULL) == 0 &&
           len == crypto_sign_SEEDBYTES;
}

struct producer_key *producer_key_load(const char *path, struct err *err)
{
    unsigned char seed[crypto_sign_SEEDBYTES];
    struct producer_key *k = NULL;
    struct buf text;

    buf_init(&text, SECRET_FILE_MAX);
    if (secret_file_read(path, "producer key", &text, err)) {
        if (!read_seed(buf_slice(&text), seed))
            err_set(err, ERR_CONFIG,
                    "producer key file %s is none: make one with awq-ctl producer keygen FILE",
                    path);
        else if (!(k = sodium_malloc(sizeof *k)))
            err_set(err, ERR_NOMEM, "out of memory");
        else
            crypto_sign_seed_keypair(k->public, k->secret, seed);
    }
    sodium_memzero(seed, sizeof seed);
    buf_wipe(&text);
    return k;
}

void producer_key_free(struct producer_key *k)
{
    sodium_free(k);
}

void producer_key_public(const struct producer_key *k, char hex[PRODUCER_KEY_HEX + 1])
{
    sodium_bin2hex(hex, PRODUCER_KEY_HEX + 1, k->public, sizeof k->public);
}

bool producer_sign(const struct producer_key *k, struct slice prefix, struct slice queue,
                   struct slice name, struct slice j, struct buf *s)
{
    unsigned char signature[crypto_sign_BYTES];
    struct buf bytes;
    bool ok = producer_signed_bytes(&bytes, prefix, queue, name, j);

    if (ok)
        crypto_sign_detached(signature, NULL, (const unsigned char *)bytes.ptr, bytes.len,
                             k->secret);
    buf_deinit(&bytes);
    return ok && buf_add(s, signature, sizeof signature) && buf_add_slice(s, name);
}

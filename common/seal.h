/*
 * seal.h - the key file and what its keys do: seal tokens, authenticate settings and continuations.
 * Owns    struct keyring owns the keys, in guarded memory of its own.
 * Thread  the loop thread only.
 * Errors  ERR_CONFIG for the key file (missing, world-readable, wrong length, unknown line);
 *         ERR_FORMAT rule seal_broken when a sealed text does not open (wrong place, or edited),
 *         rule seal_key_unknown when it was made with a key that the file does not have.
 * Source  XChaCha20-Poly1305 (libsodium crypto_aead_xchacha20poly1305_ietf), keyed BLAKE2b
 *         (crypto_generichash).
 *
 * Sealed text: 0x01, key id (4 bytes), nonce (24), ciphertext with its tag (clear length + 16).
 *
 * Key file: text, mode 0600 or 0400 (or 0440, 0640: readable by one group), lines
 * `KIND KEYID HEX64`, KEYID 8 hex digits; '#' starts a comment. KIND is run (authenticates
 * continuations), access (access tokens, keys that they are bound to, settings), grant (refresh
 * tokens, client secrets). The first key of a kind seals; the others only open. A key with the word
 * `staged` behind it only opens, wherever it stands: it is made known everywhere before the first
 * of them seals with it. A worker without a grant key runs steps and never renews.
 */
#ifndef AWQ_SEAL_H
#define AWQ_SEAL_H

#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

enum key_kind { KEY_RUN, KEY_ACCESS, KEY_GRANT };
#define SEAL_MAC_BYTES 36 /* key id and BLAKE2b-256 */

struct keyring;
struct keyring *keyring_load(const char *path, struct err *err);
void keyring_free(struct keyring *k);                          /* wipes; NULL is fine */
bool keyring_has(const struct keyring *k, enum key_kind kind); /* one that seals */

/* What may be said of a key. */
#define KEY_ID_HEX 9
struct key_info {
    enum key_kind kind;
    char id[KEY_ID_HEX]; /* hex */
    bool seals, staged;
};
const char *key_kind_name(enum key_kind kind);
/* The keys in the file's order; how many there are, which may be more than fit. */
#define KEYRING_MAX 32
size_t keyring_list(const struct keyring *k, struct key_info *out, size_t max);
/* Does `next` know every key that `now` seals with? Else it could not open what is made here. */
bool keyring_follows(const struct keyring *next, const struct keyring *now);
/* Adds a line with a new key of that kind, without its end. */
bool keyring_new_line(struct buf *text, enum key_kind kind);
/* One new key of each kind into a new file (refuses to overwrite), mode 0600, fsynced. */
bool keyring_create(const char *path, struct err *err);

/* What a sealed text is bound to: nothing of it can be moved to another place and still open. */
struct seal_place {
    struct slice prefix;     /* of Redis keys */
    struct slice connection; /* id */
    const char *field;       /* "at", "rt", "cs": also picks the per-field key */
    uint64_t gen, ver;
    struct slice cfg_digest; /* hex, as in `cd` */
};
/* The field in words, for messages: "access token". One without a name is named as it is. */
const char *seal_field_name(const char *field);
/* Adds the sealed text to `out`. */
bool seal_seal(const struct keyring *k, enum key_kind kind, const struct seal_place *at,
               struct slice clear, struct buf *out, struct err *err);
/* Opens into `clear`, memory of the caller's that he wipes (or a secret pool's), of at least
 * seal_clear_len(sealed) bytes. No NUL is added. */
bool seal_open(const struct keyring *k, enum key_kind kind, const struct seal_place *at,
               struct slice sealed, char *clear, size_t size, size_t *len, struct err *err);
size_t seal_clear_len(struct slice sealed); /* 0 when it is no sealed text */
/* Which key made it, in hex; false when it is no sealed text, or no keyed hash. */
bool seal_key_id(struct slice sealed, char id[KEY_ID_HEX]);
bool seal_mac_key_id(struct slice mac, char id[KEY_ID_HEX]);

/* Keyed hash over the bytes, with a purpose ("k", "cfg", "link", "journal") so that one use never
 * stands for another. Adds key id (4 bytes) and 32 bytes of BLAKE2b to `out`: raw, not hex. */
bool seal_mac(const struct keyring *k, enum key_kind kind, const char *purpose, struct slice bytes,
              struct buf *out, struct err *err);
bool seal_mac_ok(const struct keyring *k, enum key_kind kind, const char *purpose,
                 struct slice bytes, struct slice mac);
/* Was it made with a key that we have? If not, seal_mac_ok says nothing about the bytes. */
bool seal_mac_known(const struct keyring *k, enum key_kind kind, struct slice mac);
/* Hex BLAKE2b-256, no key: digest of settings. out has 65 bytes. */
void seal_digest(struct slice bytes, char out[65]);

#endif

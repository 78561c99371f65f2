#include "common/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sodium.h>

#define KEY_BYTES     32
#define KEY_ID_BYTES  4
#define KEY_FILE_MAX  (16 * 1024) /* bytes */
#define SEAL_VERSION  0x01
#define MAC_USE       "awq mac"
#define SEAL_USE      "awq seal"
#define SEAL_HEAD     (1 + KEY_ID_BYTES)
#define SEAL_NONCE    crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define SEAL_TAG      crypto_aead_xchacha20poly1305_ietf_ABYTES
#define SEAL_OVERHEAD (SEAL_HEAD + SEAL_NONCE + SEAL_TAG)

/* A key of its own for each use. Others than these are derived when they are needed. */
enum use { USE_MAC_K, USE_MAC_CFG, USE_SEAL_AT, USES };
static const struct {
    const char *use, *name;
} often[USES] = {
    [USE_MAC_K] = {MAC_USE, "k"},
    [USE_MAC_CFG] = {MAC_USE, "cfg"},
    [USE_SEAL_AT] = {SEAL_USE, "at"},
};

struct key {
    enum key_kind kind;
    bool staged;
    unsigned char id[KEY_ID_BYTES];
    unsigned char bytes[KEY_BYTES];
    unsigned char derived[USES][KEY_BYTES]; /* those that steps need all the time */
};

struct keyring { /* in sodium_malloc memory */
    size_t count;
    struct key keys[KEYRING_MAX];
};

static const char *const kind_names[] = {
    [KEY_RUN] = "run",
    [KEY_ACCESS] = "access",
    [KEY_GRANT] = "grant",
};

/* What an operator calls what a record holds. */
static const struct {
    const char *field, *name;
} field_names[] = {
    {"at", "access token"}, {"rt", "refresh token"}, {"cs", "client secret"},
    {"dk", "DPoP key"},     {"tk", "certificate"},   {"lh", "digest of the last link"},
};

const char *seal_field_name(const char *field)
{
    for (size_t i = 0; i < ARRAY_LEN(field_names); i++) {
        if (strcmp(field_names[i].field, field) == 0)
            return field_names[i].name;
    }
    return field;
}

const char *key_kind_name(enum key_kind kind)
{
    return (size_t)kind < ARRAY_LEN(kind_names) ? kind_names[kind] : "unknown";
}

/* ---- the key file ------------------------------------------------------------------------------
 */

static bool bad_line(struct err *err, const char *path, unsigned line, const char *why)
{
    return err_set(err, ERR_CONFIG, "key file %s, line %u: %s", path, line, why);
}

/* The next word of a line, blanks before it skipped; empty at the end. */
static struct slice next_word(struct slice *line)
{
    size_t n = 0;
    struct slice word;

    *line = slice_trim(*line);
    while (n < line->len && line->ptr[n] != ' ' && line->ptr[n] != '\t')
        n++;
    word = slice_sub(*line, 0, n);
    *line = slice_sub(*line, n, line->len);
    return word;
}

static bool from_hex(struct slice hex, unsigned char *to, size_t bytes)
{
    size_t n = 0;

    return hex.len == bytes * 2 &&
           sodium_hex2bin(to, bytes, hex.ptr, hex.len, NULL, &n, NULL) == 0 && n == bytes;
}

static const struct key *find_id(const struct keyring *k, const unsigned char *id)
{
    for (size_t i = 0; i < k->count; i++) {
        if (memcmp(k->keys[i].id, id, KEY_ID_BYTES) == 0)
            return &k->keys[i];
    }
    return NULL;
}

static bool kind_parse(struct slice word, enum key_kind *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
        if (slice_is(word, kind_names[i])) {
            *kind = (enum key_kind)i;
            return true;
        }
    }
    return false;
}

/* One line into the next free key. The texts never repeat what stood there: it may be a key. */
static bool take_line(struct keyring *k, struct slice line, const char *path, unsigned no,
                      struct err *err)
{
    struct slice kind = next_word(&line), id = next_word(&line), hex = next_word(&line), mark;
    struct key *key = &k->keys[k->count];

    if (kind.len == 0)
        return true;
    if (k->count == KEYRING_MAX)
        return bad_line(err, path, no, "too many keys");
    if (!kind_parse(kind, &key->kind))
        return bad_line(err, path, no, "it must begin with run, access or grant");
    if (!from_hex(id, key->id, KEY_ID_BYTES))
        return bad_line(err, path, no, "the key id must be 8 hex digits");
    if (hex.len != KEY_BYTES * 2)
        return bad_line(err, path, no, "the key must be 64 hex digits long");
    if (!from_hex(hex, key->bytes, KEY_BYTES))
        return bad_line(err, path, no, "the key must be hex digits only");
    mark = next_word(&line);
    key->staged = slice_is(mark, "staged");
    if ((mark.len > 0 && !key->staged) || next_word(&line).len > 0)
        return bad_line(err, path, no, "only the word staged may stand after the key");
    if (find_id(k, key->id))
        return bad_line(err, path, no, "this key id was used on an earlier line");
    k->count++;
    return true;
}

static bool parse(struct keyring *k, struct slice text, const char *path, struct err *err)
{
    struct slice line;

    for (unsigned no = 1; slice_cut(&text, '\n', &line); no++) {
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (!take_line(k, slice_sub(line, 0, slice_find(line, '#')), path, no, err))
            return false;
    }
    if (k->count == 0)
        return err_set(err, ERR_CONFIG,
                       "key file %s has no keys: put a copy of the other workers' there; for a new "
                       "install, remove it and make one with awq-ctl keys new",
                       path);
    return true;
}

/* Who may read the keys: the owner and at most one group; nobody else, nobody may write but he. */
static bool check_file(int fd, const char *path, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return err_set(err, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFIG, "key file %s is not a regular file", path);
    if (st.st_mode & 0137)
        return err_set(err, ERR_CONFIG,
                       "key file %s has mode %04o: others may read or change it; chmod 600 it",
                       path, (unsigned)(st.st_mode & 07777));
    if (st.st_size > KEY_FILE_MAX)
        return err_set(err, ERR_CONFIG, "key file %s is larger than %d bytes", path, KEY_FILE_MAX);
    return true;
}

static bool read_all(int fd, char *to, size_t size, size_t *len)
{
    *len = 0;
    while (*len < size) {
        ssize_t n = read(fd, to + *len, size - *len);

        if (n == 0)
            return true;
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            *len += (size_t)n;
    }
    return true;
}

/* One use can never stand for another. */
static void derive(unsigned char to[KEY_BYTES], const struct key *key, const char *use,
                   const char *name)
{
    crypto_generichash_state st;

    crypto_generichash_init(&st, key->bytes, KEY_BYTES, KEY_BYTES);
    crypto_generichash_update(&st, (const unsigned char *)use, strlen(use) + 1);
    crypto_generichash_update(&st, (const unsigned char *)name, strlen(name) + 1);
    crypto_generichash_final(&st, to, KEY_BYTES);
    sodium_memzero(&st, sizeof st);
}

/* The derived key: one that is kept, or made in `own`, which the caller wipes. */
static const unsigned char *key_for(const struct key *key, const char *use, const char *name,
                                    unsigned char own[KEY_BYTES])
{
    for (size_t u = 0; u < USES; u++) {
        if (strcmp(often[u].use, use) == 0 && strcmp(often[u].name, name) == 0)
            return key->derived[u];
    }
    derive(own, key, use, name);
    return own;
}

struct keyring *keyring_load(const char *path, struct err *err)
{
    struct keyring *k = NULL;
    char *text = NULL;
    size_t len = 0;
    bool ok = false;
    int fd;

    if (sodium_init() < 0) {
        err_set(err, ERR_CONFIG, "libsodium cannot start: is there a source of randomness?");
        return NULL;
    }
    /* O_NONBLOCK: a pipe of that name must not hang the start. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        if (errno == ENOENT) /* new keys in a running install would open nothing of it */
            err_set(err, ERR_CONFIG,
                    "key file %s is not there: put a copy of the other workers' there; for a new "
                    "install, make one with awq-ctl keys new",
                    path);
        else
            err_set(err, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
        return NULL;
    }
    if (!check_file(fd, path, err))
        goto out;
    k = sodium_malloc(sizeof *k);
    text = sodium_malloc(KEY_FILE_MAX);
    if (!k || !text) {
        err_set(err, ERR_NOMEM, "key file %s: no memory for it", path);
        goto out;
    }
    sodium_memzero(k, sizeof *k);
    if (!read_all(fd, text, KEY_FILE_MAX, &len))
        err_set(err, ERR_CONFIG, "key file %s: %s", path, strerror(errno));
    else
        ok = parse(k, slice_of(text, len), path, err);
out:
    close(fd);
    sodium_free(text);
    if (!ok) {
        sodium_free(k);
        return NULL;
    }
    for (size_t i = 0; i < k->count; i++) {
        for (size_t u = 0; u < USES; u++)
            derive(k->keys[i].derived[u], &k->keys[i], often[u].use, often[u].name);
    }
    return k;
}

void keyring_free(struct keyring *k)
{
    sodium_free(k); /* wipes; NULL is fine */
}

static const struct key *first_of(const struct keyring *k, enum key_kind kind)
{
    for (size_t i = 0; k && i < k->count; i++) {
        if (k->keys[i].kind == kind && !k->keys[i].staged)
            return &k->keys[i];
    }
    return NULL;
}

bool keyring_has(const struct keyring *k, enum key_kind kind)
{
    return first_of(k, kind) != NULL;
}

size_t keyring_list(const struct keyring *k, struct key_info *out, size_t max)
{
    for (size_t i = 0; i < k->count && i < max; i++) {
        const struct key *key = &k->keys[i];

        out[i] = (struct key_info){
            .kind = key->kind, .seals = key == first_of(k, key->kind), .staged = key->staged};
        sodium_bin2hex(out[i].id, sizeof out[i].id, key->id, KEY_ID_BYTES);
    }
    return k->count;
}

bool keyring_follows(const struct keyring *next, const struct keyring *now)
{
    for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
        const struct key *key = first_of(now, (enum key_kind)i), *same;

        same = key ? find_id(next, key->id) : NULL;
        if (key && (!same || same->kind != key->kind ||
                    sodium_memcmp(same->bytes, key->bytes, KEY_BYTES) != 0 ||
                    !keyring_has(next, key->kind)))
            return false;
    }
    return true;
}

static bool write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            s = slice_sub(s, (size_t)n, s.len);
    }
    return true;
}

/* The name of a new file is safe on disk only once its folder is. */
static bool sync_folder(const char *path)
{
    char *copy = slice_dup(slice_cstr(path));
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    bool ok = fd >= 0 && fsync(fd) == 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return ok;
}

bool keyring_new_line(struct buf *text, enum key_kind kind)
{
    unsigned char raw[KEY_BYTES], id[KEY_ID_BYTES];
    char hex[KEY_BYTES * 2 + 1], id_hex[KEY_ID_HEX];

    randombytes_buf(raw, sizeof raw);
    randombytes_buf(id, sizeof id);
    sodium_bin2hex(hex, sizeof hex, raw, sizeof raw);
    sodium_bin2hex(id_hex, sizeof id_hex, id, sizeof id);
    buf_addf(text, "%s %s ", key_kind_name(kind), id_hex);
    buf_add_cstr(text, hex);
    sodium_memzero(raw, sizeof raw);
    sodium_memzero(hex, sizeof hex);
    return buf_ok(text);
}

static bool add_new_keys(struct buf *text)
{
    buf_add_cstr(text, "# awq keys: KIND KEYID KEY. Whoever has them can open every token.\n"
                       "# run: continuations; access: access tokens, settings; grant: refresh\n"
                       "# tokens, client secrets (leave it out where no token is renewed).\n");
    for (size_t i = 0; i < ARRAY_LEN(kind_names); i++) {
        keyring_new_line(text, (enum key_kind)i);
        buf_add_char(text, '\n');
    }
    return buf_ok(text);
}

bool keyring_create(const char *path, struct err *err)
{
    struct buf text;
    bool ok;
    int fd;

    if (sodium_init() < 0)
        return err_set(err, ERR_CONFIG, "libsodium cannot start: is there a source of randomness?");
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return err_set(err, ERR_CONFIG,
                       "%s exists; keys are never written over, because what they sealed could "
                       "not be opened any more",
                       path);
    if (fd < 0)
        return err_set(err, ERR_CONFIG, "cannot make key file %s: %s", path, strerror(errno));
    buf_init(&text, KEY_FILE_MAX);
    ok = add_new_keys(&text) && write_all(fd, buf_slice(&text)) && fsync(fd) == 0;
    if (!ok)
        err_set(err, ERR_CONFIG, "cannot write key file %s: %s", path, strerror(errno));
    buf_wipe(&text);
    close(fd);
    if (ok && !sync_folder(path))
        ok = err_set(err, ERR_CONFIG, "cannot make key file %s safe on disk: %s", path,
                     strerror(errno));
    if (!ok)
        unlink(path); /* ours: O_EXCL made it */
    return ok;
}

/* ---- sealing ------------------------------------------------------------------------------------
 */

static void add_u64(struct buf *b, uint64_t v)
{
    unsigned char le[8];

    for (unsigned i = 0; i < 8; i++)
        le[i] = (unsigned char)(v >> (8 * i));
    buf_add(b, le, sizeof le);
}

static void add_part(struct buf *b,
                     struct slice s) /* its length first: parts cannot run together */
{
    add_u64(b, s.len);
    buf_add_slice(b, s);
}

/* The associated data: head of the sealed text, then every part of the place. */
static bool add_place(struct buf *ad, const unsigned char *head, const struct seal_place *at)
{
    buf_init(ad, 4096);
    buf_add(ad, head, SEAL_HEAD);
    add_part(ad, at->prefix);
    add_part(ad, at->connection);
    add_part(ad, slice_cstr(at->field));
    add_u64(ad, at->gen);
    add_u64(ad, at->ver);
    add_part(ad, at->cfg_digest);
    return buf_ok(ad);
}

static bool no_key(struct err *err, enum key_kind kind)
{
    return err_rule(err, ERR_CONFIG, "seal_key_missing", "the key file has no %s key",
                    key_kind_name(kind));
}

bool seal_seal(const struct keyring *k, enum key_kind kind, const struct seal_place *at,
               struct slice clear, struct buf *out, struct err *err)
{
    const struct key *key = first_of(k, kind);
    unsigned char head[SEAL_HEAD + SEAL_NONCE], own[KEY_BYTES];
    const unsigned char *bytes = (const unsigned char *)(clear.ptr ? clear.ptr : "");
    struct buf ad;

    if (!key)
        return no_key(err, kind);
    head[0] = SEAL_VERSION;
    memcpy(head + 1, key->id, KEY_ID_BYTES);
    randombytes_buf(head + SEAL_HEAD, SEAL_NONCE);
    if (!add_place(&ad, head, at) || !buf_reserve(out, SEAL_OVERHEAD + clear.len)) {
        buf_deinit(&ad);
        return err_set(err, ERR_NOMEM, "no memory to seal the %s of connection %.*s",
                       seal_field_name(at->field), SLICE_FMT(at->connection));
    }
    buf_add(out, head, sizeof head);
    crypto_aead_xchacha20poly1305_ietf_encrypt(
        (unsigned char *)out->ptr + out->len, NULL, bytes, clear.len, (const unsigned char *)ad.ptr,
        ad.len, NULL, head + SEAL_HEAD, key_for(key, SEAL_USE, at->field, own));
    out->len += clear.len + SEAL_TAG;
    out->ptr[out->len] = '\0';
    sodium_memzero(own, sizeof own);
    buf_deinit(&ad);
    return true;
}

size_t seal_clear_len(struct slice sealed)
{
    return sealed.len > SEAL_OVERHEAD ? sealed.len - SEAL_OVERHEAD : 0;
}

bool seal_key_id(struct slice sealed, char id[KEY_ID_HEX])
{
    if (sealed.len <= SEAL_OVERHEAD || sealed.ptr[0] != SEAL_VERSION)
        return false;
    sodium_bin2hex(id, KEY_ID_HEX, (const unsigned char *)sealed.ptr + 1, KEY_ID_BYTES);
    return true;
}

bool seal_mac_key_id(struct slice mac, char id[KEY_ID_HEX])
{
    if (mac.len != SEAL_MAC_BYTES)
        return false;
    sodium_bin2hex(id, KEY_ID_HEX, (const unsigned char *)mac.ptr, KEY_ID_BYTES);
    return true;
}

static bool broken(struct err *err, const struct seal_place *at, const char *why)
{
    return err_rule(err, ERR_FORMAT, "seal_broken", "connection %.*s: its sealed %s %s",
                    SLICE_FMT(at->connection), seal_field_name(at->field), why);
}

/* The key that made it, if it is one of this kind. */
static const struct key *key_of(const struct keyring *k, enum key_kind kind, const char *id)
{
    const struct key *key = find_id(k, (const unsigned char *)id);

    return key && key->kind == kind ? key : NULL;
}

bool seal_open(const struct keyring *k, enum key_kind kind, const struct seal_place *at,
               struct slice sealed, char *clear, size_t size, size_t *len, struct err *err)
{
    const unsigned char *in = (const unsigned char *)sealed.ptr;
    unsigned char own[KEY_BYTES];
    unsigned long long n = 0;
    const struct key *key;
    struct buf ad;
    bool ok;

    if (!keyring_has(k, kind))
        return no_key(err, kind);
    if (sealed.len < SEAL_OVERHEAD || in[0] != SEAL_VERSION)
        return broken(err, at, "is not a sealed text");
    key = key_of(k, kind, sealed.ptr + 1);
    if (!key && find_id(k, in + 1))
        return broken(err, at, "was made with a key of another kind: moved from another field");
    if (!key)
        return err_rule(err, ERR_FORMAT, "seal_key_unknown",
                        "connection %.*s: its %s was sealed with %s key %02x%02x%02x%02x, which "
                        "the key file does not have",
                        SLICE_FMT(at->connection), seal_field_name(at->field), key_kind_name(kind),
                        in[1], in[2], in[3], in[4]);
    if (size < sealed.len - SEAL_OVERHEAD || !add_place(&ad, in, at))
        return err_set(err, ERR_NOMEM, "connection %.*s: no room to open its %s",
                       SLICE_FMT(at->connection), seal_field_name(at->field));
    ok = crypto_aead_xchacha20poly1305_ietf_decrypt(
             (unsigned char *)clear, &n, NULL, in + SEAL_HEAD + SEAL_NONCE,
             sealed.len - SEAL_HEAD - SEAL_NONCE, (const unsigned char *)ad.ptr, ad.len,
             in + SEAL_HEAD, key_for(key, SEAL_USE, at->field, own)) == 0;
    sodium_memzero(own, sizeof own);
    buf_deinit(&ad);
    if (!ok)
        return broken(err, at, "does not open: it was edited or moved from another place");
    *len = (size_t)n;
    return true;
}

/* ---- keyed hashes -------------------------------------------------------------------------------
 */

static void mac_of(const struct key *key, const char *purpose, struct slice bytes,
                   unsigned char to[KEY_BYTES])
{
    unsigned char own[KEY_BYTES];

    crypto_generichash(to, KEY_BYTES, (const unsigned char *)bytes.ptr, bytes.len,
                       key_for(key, MAC_USE, purpose, own), KEY_BYTES);
    sodium_memzero(own, sizeof own);
}

bool seal_mac(const struct keyring *k, enum key_kind kind, const char *purpose, struct slice bytes,
              struct buf *out, struct err *err)
{
    const struct key *key = first_of(k, kind);
    unsigned char mac[KEY_BYTES];

    if (!key)
        return no_key(err, kind);
    mac_of(key, purpose, bytes, mac);
    if (!buf_reserve(out, SEAL_MAC_BYTES))
        return err_set(err, ERR_NOMEM, "no memory for a keyed hash");
    buf_add(out, key->id, KEY_ID_BYTES);
    buf_add(out, mac, sizeof mac);
    return true;
}

bool seal_mac_known(const struct keyring *k, enum key_kind kind, struct slice mac)
{
    return k && mac.len == SEAL_MAC_BYTES && key_of(k, kind, mac.ptr);
}

bool seal_mac_ok(const struct keyring *k, enum key_kind kind, const char *purpose,
                 struct slice bytes, struct slice mac)
{
    unsigned char want[KEY_BYTES];

    if (!seal_mac_known(k, kind, mac))
        return false;
    mac_of(key_of(k, kind, mac.ptr), purpose, bytes, want);
    return sodium_memcmp(want, mac.ptr + KEY_ID_BYTES, sizeof want) == 0;
}

void seal_digest(struct slice bytes, char out[65])
{
    unsigned char raw[32];

    crypto_generichash(raw, sizeof raw, (const unsigned char *)bytes.ptr, bytes.len, NULL, 0);
    sodium_bin2hex(out, 65, raw, sizeof raw);
}

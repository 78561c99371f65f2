#include "common/audit.h"

#include <sodium.h>
#include "common/redis.h"

static void add_part(struct buf *b, struct slice s)
{
    buf_addf(b, "%zu:", s.len);
    buf_add_slice(b, s);
}

static void add_line(struct buf *b, const struct audit_line *line)
{
    add_part(b, line->writer);
    buf_addf(b, "%llu:", (unsigned long long)line->number);
    add_part(b, line->before);
    add_part(b, line->text);
}

struct audit_digest audit_digest(const struct audit_line *line)
{
    struct audit_digest d = {{0}};
    struct buf b;

    buf_init(&b, 2 * AUDIT_LINE_MAX + 1024);
    add_line(&b, line);
    add_part(&b, line->mac);
    crypto_generichash((unsigned char *)d.bytes, sizeof d.bytes, (const unsigned char *)b.ptr,
                       b.len, NULL, 0);
    buf_deinit(&b);
    return d;
}

static bool bytes_of(struct slice prefix, const struct audit_line *line, struct buf *out)
{
    buf_init(out, 2 * AUDIT_LINE_MAX + 1024);
    add_part(out, prefix);
    add_line(out, line);
    return buf_ok(out);
}

bool audit_seal(const struct keyring *k, struct slice prefix, const struct audit_line *line,
                struct buf *mac, struct err *err)
{
    struct buf bytes;
    bool ok = bytes_of(prefix, line, &bytes)
                  ? seal_mac(k, KEY_RUN, "audit", buf_slice(&bytes), mac, err)
                  : err_set(err, ERR_NOMEM, "out of memory");

    buf_deinit(&bytes);
    return ok;
}

bool audit_is_sound(const struct keyring *k, struct slice prefix, const struct audit_line *line)
{
    struct buf bytes;
    bool ok = bytes_of(prefix, line, &bytes) &&
              seal_mac_ok(k, KEY_RUN, "audit", buf_slice(&bytes), line->mac);

    buf_deinit(&bytes);
    return ok;
}

bool audit_entry_read(const struct redis_reply *entry, struct slice *id, struct audit_line *line)
{
    const struct redis_reply *fields = redis_reply_at(entry, 1);
    int64_t number = redis_reply_int(redis_reply_field(fields, "n"), 0);

    *id = redis_reply_str(redis_reply_at(entry, 0));
    *line = (struct audit_line){
        .writer = redis_reply_str(redis_reply_field(fields, "w")),
        .number = number > 0 ? (uint64_t)number : 0,
        .before = redis_reply_str(redis_reply_field(fields, "b")),
        .text = redis_reply_str(redis_reply_field(fields, "l")),
        .mac = redis_reply_str(redis_reply_field(fields, "m")),
    };
    return line->number > 0 && line->writer.len > 0 && line->before.len == AUDIT_DIGEST_BYTES &&
           line->text.len > 0;
}

#include "tools/ctl/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/secret_file.h"

#define FILE_MAX (16 * 1024) /* as keyring_load */

struct change {
    char path[PATH_MAX]; /* of the file itself, links followed */
    char beside[PATH_MAX + 8];
    struct buf old, text;
};

static bool fail(const struct change *ch, const char *what, struct err *err)
{
    return err_set(err, ERR_CONFIG, "key file %.150s: %s: %s", ch->path, what, strerror(errno));
}

static void change_deinit(struct change *ch)
{
    buf_wipe(&ch->old);
    buf_wipe(&ch->text);
}

static bool begin(struct change *ch, const char *path, struct err *err)
{
    buf_init(&ch->old, FILE_MAX);
    buf_init(&ch->text, FILE_MAX);
    snprintf(ch->path, sizeof ch->path, "%s", path);
    if (!realpath(path, ch->path))
        return fail(ch, "cannot be found", err);
    snprintf(ch->beside, sizeof ch->beside, "%s.new", ch->path);
    return secret_file_read(ch->path, "key file", &ch->old, err) &&
           (buf_add_char(&ch->old, '\n') || err_set(err, ERR_NOMEM, "out of memory"));
}

/* ---- its lines ---- */

struct line {
    struct slice all; /* without its end */
    struct slice id;  /* empty: no key stands there */
    bool staged;
};

static struct slice word(struct slice *rest)
{
    size_t n = 0;
    struct slice w;

    *rest = slice_trim(*rest);
    while (n < rest->len && rest->ptr[n] != ' ' && rest->ptr[n] != '\t')
        n++;
    w = slice_sub(*rest, 0, n);
    *rest = slice_sub(*rest, n, rest->len);
    return w;
}

static bool next_line(struct slice *text, struct line *l)
{
    struct slice rest;

    if (text->len == 0 || !slice_cut(text, '\n', &l->all))
        return false;
    rest = slice_sub(l->all, 0, slice_find(l->all, '#'));
    word(&rest);
    l->id = word(&rest);
    word(&rest);
    l->staged = slice_is(word(&rest), "staged");
    return true;
}

static void add_line(struct buf *to, struct slice line)
{
    buf_add_slice(to, line);
    buf_add_char(to, '\n');
}

/* ---- into its place ---- */

/* Of the same owner and mode, so that who read the old one reads the new one. */
static bool write_beside(const struct change *ch, const struct stat *st, struct err *err)
{
    int fd = open(ch->beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct slice left = buf_slice(&ch->text);
    bool ok = true;

    if (fd < 0 && errno == EEXIST)
        return err_set(err, ERR_CONFIG,
                       "%.200s is there: somebody else is changing the key file, or a change was "
                       "broken off; remove it if not",
                       ch->beside);
    if (fd < 0)
        return fail(ch, "nothing can be written beside it", err);
    while (ok && left.len > 0) {
        ssize_t n = write(fd, left.ptr, left.len);

        ok = n > 0 || (n < 0 && errno == EINTR);
        left = slice_sub(left, n > 0 ? (size_t)n : 0, left.len);
    }
    ok = ok && fchown(fd, st->st_uid, st->st_gid) == 0 && fchmod(fd, st->st_mode & 07777) == 0 &&
         fsync(fd) == 0;
    if (!ok)
        fail(ch, "its successor cannot be written", err);
    close(fd);
    if (!ok)
        unlink(ch->beside);
    return ok;
}

static bool sync_folder(const struct change *ch)
{
    char copy[PATH_MAX];
    int fd;
    bool ok;

    snprintf(copy, sizeof copy, "%s", ch->path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool finish(const struct change *ch, struct err *err)
{
    struct keyring *k;
    struct stat st;

    if (!buf_ok(&ch->text))
        return err_set(err, ERR_CONFIG, "key file %.150s would get too long", ch->path);
    if (stat(ch->path, &st) != 0)
        return fail(ch, "cannot be looked at", err);
    if (!write_beside(ch, &st, err))
        return false;
    k = keyring_load(ch->beside, err); /* what no worker could read must not take its place */
    if (!k || rename(ch->beside, ch->path) != 0) {
        if (k)
            fail(ch, "its successor cannot take its place", err);
        keyring_free(k);
        unlink(ch->beside);
        return false;
    }
    keyring_free(k);
    return sync_folder(ch) || fail(ch, "is changed, but not safe on disk", err);
}

/* ---- the changes ---- */

bool key_file_stage(const char *path, const struct keyring *k, struct err *err)
{
    static const enum key_kind kinds[] = {KEY_RUN, KEY_ACCESS, KEY_GRANT};
    struct change ch;
    struct line l;
    bool ok = begin(&ch, path, err);
    struct slice left = buf_slice(&ch.old);

    while (ok && next_line(&left, &l)) {
        if (left.len > 0 || l.all.len > 0)
            add_line(&ch.text, l.all);
    }
    for (size_t i = 0; ok && i < ARRAY_LEN(kinds); i++) {
        if (!keyring_has(k, kinds[i]))
            continue;
        keyring_new_line(&ch.text, kinds[i]);
        buf_add_cstr(&ch.text, " staged\n");
    }
    ok = ok && finish(&ch, err);
    change_deinit(&ch);
    return ok;
}

static void add_promoted(struct buf *to, struct slice line)
{
    struct slice rest = slice_sub(line, 0, slice_find(line, '#'));

    for (int i = 0; i < 3; i++) {
        if (i > 0)
            buf_add_char(to, ' ');
        buf_add_slice(to, word(&rest));
    }
    buf_add_char(to, '\n');
}

static void add_staged(struct buf *to, struct slice left)
{
    struct line l;

    while (next_line(&left, &l)) {
        if (l.staged)
            add_promoted(to, l.all);
    }
}

bool key_file_promote(const char *path, struct err *err)
{
    struct change ch;
    struct line l;
    bool ok = begin(&ch, path, err), done = false;
    struct slice left = buf_slice(&ch.old);

    while (ok && next_line(&left, &l)) {
        if (!done && l.id.len > 0) { /* comments at the head stay there */
            add_staged(&ch.text, buf_slice(&ch.old));
            done = true;
        }
        if (!l.staged && (left.len > 0 || l.all.len > 0))
            add_line(&ch.text, l.all);
    }
    ok = ok && finish(&ch, err);
    change_deinit(&ch);
    return ok;
}

static bool only_opens(const struct keyring *k, struct slice id)
{
    struct key_info keys[KEYRING_MAX];
    size_t n = keyring_list(k, keys, ARRAY_LEN(keys));

    for (size_t i = 0; i < n; i++) {
        if (id.len == 8 && strncasecmp(keys[i].id, id.ptr, 8) == 0)
            return !keys[i].seals && !keys[i].staged;
    }
    return false;
}

bool key_file_drop_old(const char *path, const struct keyring *k, struct err *err)
{
    struct change ch;
    struct line l;
    bool ok = begin(&ch, path, err);
    struct slice left = buf_slice(&ch.old);

    while (ok && next_line(&left, &l)) {
        if ((left.len > 0 || l.all.len > 0) && !only_opens(k, l.id))
            add_line(&ch.text, l.all);
    }
    ok = ok && finish(&ch, err);
    change_deinit(&ch);
    return ok;
}

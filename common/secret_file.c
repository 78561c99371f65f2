#include "common/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sodium.h>

static bool judge(const struct stat *st, const char *path, const char *what, struct err *err)
{
    if (!S_ISREG(st->st_mode))
        return err_rule(err, ERR_CONFIG, "secret_file", "%s: %s is not a regular file", what, path);
    if (st->st_mode & (S_IRWXO | S_IWGRP))
        return err_rule(err, ERR_CONFIG, "secret_file_mode",
                        "%s: others can read or change %s (mode %04o); run chmod 600 on it", what,
                        path, (unsigned)(st->st_mode & 07777));
    if (st->st_size > SECRET_FILE_MAX)
        return err_rule(err, ERR_CONFIG, "secret_file", "%s: %s is too big for a secret", what,
                        path);
    return true;
}

static bool unreadable(const char *path, const char *what, struct err *err)
{
    return err_rule(err, ERR_CONFIG, errno == ENOENT ? "secret_file_missing" : "secret_file",
                    "%s: %s cannot be read: %s", what, path, strerror(errno));
}

/* O_NONBLOCK: opening a FIFO must not hang the loop before judge has seen what it is. */
static int open_secret(const char *path, const char *what, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0) {
        unreadable(path, what, err);
        return -1;
    }
    if (fstat(fd, &st) != 0)
        unreadable(path, what, err);
    else if (judge(&st, path, what, err))
        return fd;
    close(fd);
    return -1;
}

bool secret_file_check(const char *path, const char *what, struct err *err)
{
    int fd = open_secret(path, what, err);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

bool secret_file_read(const char *path, const char *what, struct buf *out, struct err *err)
{
    int fd = open_secret(path, what, err);
    char chunk[1024];
    size_t start = out->len;
    ssize_t n;
    bool ok = false;

    if (fd < 0)
        return false;
    while ((n = read(fd, chunk, sizeof chunk)) > 0 && buf_add(out, chunk, (size_t)n))
        ;
    if (n < 0) {
        unreadable(path, what, err);
        goto out;
    }
    if (!buf_ok(out)) {
        err_set(err, ERR_NOMEM, "%s: %s is too big", what, path);
        goto out;
    }
    if (out->len > start && out->ptr[out->len - 1] == '\n')
        out->len--;
    if (out->len > start && out->ptr[out->len - 1] == '\r')
        out->len--;
    ok = out->len > start ||
         err_rule(err, ERR_CONFIG, "secret_file_empty", "%s: %s is empty", what, path);
out:
    sodium_memzero(chunk, sizeof chunk);
    close(fd);
    return ok;
}

bool secret_file_text(const char *path, struct buf *text, struct err *err)
{
    char chunk[8192];
    FILE *f = fopen(path, "re");
    size_t n;
    bool ok;

    if (!f)
        return err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    errno = 0;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && buf_add(text, chunk, n))
        ;
    ok = !ferror(f);
    if (!ok)
        err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    else if (!buf_ok(text))
        ok = err_set(err, ERR_CONFIG, "%s is larger than %zu bytes", path, text->max);
    fclose(f);
    return ok;
}

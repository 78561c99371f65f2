#include "worker/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/log.h"
#include "worker/commit.h"
#include "worker/journal_record.h"
#include "worker/renew.h"
#include "worker/worker.h"

#define SUFFIX     ".journal"
#define RECORD_MAX (160u << 20) /* two bodies of the biggest kind */

struct kept { /* a move read back from a file, with the bytes it points into */
    struct move move;
    struct queue queue;
    struct other *other;
    char *bytes;
    struct kept *next;
};

struct other { /* the file of a process that is gone */
    struct journal *j;
    int fd;
    char worker[WORKER_ID_MAX];
    char path[4096];
    size_t waiting; /* moves not answered yet */
    struct kept *kept;
};

struct write { /* records on their way to the disk */
    uv_work_t work;
    struct journal *j;
    struct buf bytes;
    off_t from; /* the file's length before: what is half written is cut off again */
    int fd, error;
};

struct journal {
    struct worker *w;
    char path[4096];
    int fd;
    uint64_t number;  /* of the next record */
    size_t waiting;   /* records whose move is not done */
    struct buf fresh; /* records to write; gathered while a write is on its way */
    struct write *writing;
    bool closing;
    struct other others[JOURNAL_OTHERS];
    size_t other_count;
};

/* ---- writing ---- */

static void start_write(struct journal *j);

static void write_all(struct write *wr)
{
    size_t done = 0;

    while (done < wr->bytes.len) {
        ssize_t n = write(wr->fd, wr->bytes.ptr + done, wr->bytes.len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            wr->error = errno;
            return;
        }
        done += (size_t)n;
    }
    if (fdatasync(wr->fd) != 0)
        wr->error = errno;
}

/* A record cut short would make those behind it unreadable. */
static void on_pool(uv_work_t *work)
{
    struct write *wr = work->data;

    wr->from = lseek(wr->fd, 0, SEEK_CUR);
    write_all(wr);
    if (wr->error &&
        (wr->from < 0 || ftruncate(wr->fd, wr->from) != 0 || lseek(wr->fd, wr->from, SEEK_SET) < 0))
        wr->error = EIO;
}

static void journal_delete(struct journal *j)
{
    for (size_t i = 0; i < j->other_count; i++) {
        struct other *o = &j->others[i];

        while (o->kept) {
            struct kept *next = o->kept->next;

            free(o->kept->bytes);
            free(o->kept);
            o->kept = next;
        }
        if (o->fd >= 0)
            close(o->fd);
    }
    if (j->fd >= 0)
        close(j->fd);
    buf_wipe(&j->fresh);
    free(j);
}

static void on_written(uv_work_t *work, int status)
{
    struct write *wr = work->data;
    struct journal *j = wr->j;
    struct err err = {0};

    (void)status;
    if (wr->error) {
        err_set(&err, ERR_CONFIG, "%s: %s; outcomes stay in memory only", j->path,
                strerror(wr->error));
        log_event(LOG_ERROR, EV_JOURNAL_BAD, F_ERR(&err));
    }
    j->writing = NULL;
    buf_wipe(&wr->bytes);
    free(wr);
    start_write(j); /* what came meanwhile, also when this is the end */
    if (j->closing && !j->writing)
        journal_delete(j);
}

/* Everything that has been committed meanwhile makes the file empty again. */
static void empty_file(struct journal *j)
{
    if (j->waiting > 0 || j->writing || j->fresh.len > 0)
        return;
    if (ftruncate(j->fd, 0) == 0)
        (void)lseek(j->fd, 0, SEEK_SET);
    j->number = 0;
}

static void start_write(struct journal *j)
{
    struct write *wr;

    if (j->writing)
        return;
    if (j->fresh.len == 0) {
        empty_file(j);
        return;
    }
    wr = calloc(1, sizeof *wr);
    if (!wr)
        return; /* the next record tries again */
    wr->j = j;
    wr->fd = j->fd;
    wr->bytes = j->fresh;
    wr->work.data = wr;
    buf_init(&j->fresh, RECORD_MAX);
    j->writing = wr;
    uv_queue_work(j->w->loop, &wr->work, on_pool, on_written);
}

bool journal_add(struct journal *j, struct slice clear)
{
    struct seal_place place;
    struct buf sealed;
    struct err err = {0};
    bool ok;

    if (!j)
        return false;
    place = journal_place(slice_cstr(j->w->set->common.prefix), slice_cstr(j->w->id), j->number);
    buf_init(&sealed, RECORD_MAX);
    ok = seal_seal(j->w->keys, KEY_RUN, &place, clear, &sealed, &err) &&
         journal_frame(&j->fresh, j->number, buf_slice(&sealed));
    buf_deinit(&sealed);
    if (ok) {
        j->waiting++;
        if (j->number++ == 0)
            log_event(LOG_WARN, EV_JOURNAL_KEPT, F_CSTR("file", j->path));
    }
    start_write(j);
    return ok;
}

void journal_drop(struct journal *j)
{
    if (!j)
        return;
    j->waiting--;
    empty_file(j);
}

void journal_keep(struct journal *j, struct move *m)
{
    struct buf clear;

    if (!j || m->journaled || !move_is_outcome(m) || strcmp(m->consumer, j->w->id) != 0)
        return;
    buf_init(&clear, RECORD_MAX);
    m->journaled = journal_move_write(&clear, m) && journal_add(j, buf_slice(&clear));
    buf_wipe(&clear);
}

void journal_done(struct journal *j, struct move *m)
{
    m->journaled = false;
    journal_drop(j);
}

/* ---- what gone processes left ---- */

static void other_done(struct other *o)
{
    log_event(LOG_INFO, EV_JOURNAL_REPLAYED, F_CSTR("of", o->worker), F_CSTR("file", o->path));
    unlink(o->path);
    close(o->fd);
    o->fd = -1;
    o->worker[0] = '\0'; /* no more beats for it: what it still holds is given back */
}

static void on_kept(void *owner, struct move *m, enum verdict v, const struct err *why)
{
    struct kept *k = owner;
    struct other *o = k->other;
    static const char *const said[] = {
        [VERDICT_DONE] = "done",           [VERDICT_LOST] = "lost",
        [VERDICT_DUPLICATE] = "duplicate", [VERDICT_CANCELLED] = "cancelled",
        [VERDICT_FULL] = "full",           [VERDICT_BROKEN] = "broken",
    };

    (void)why;
    log_event(LOG_INFO, EV_JOB_COMMITTED, F_CSTR("job", m->name), F_CSTR("from", "journal"),
              F_CSTR("verdict", said[v]));
    if (--o->waiting == 0)
        other_done(o);
    worker_on_idle(o->j->w);
}

static struct kept *kept_new(size_t bytes)
{
    struct kept *k = calloc(1, sizeof *k);

    if (k)
        k->bytes = malloc(bytes);
    if (k && !k->bytes) {
        free(k);
        return NULL;
    }
    return k;
}

static void on_token(void *owner)
{
    struct other *o = owner;

    if (--o->waiting == 0)
        other_done(o);
}

/* What the bytes of k are: an answer of a token server, or a move. */
static bool take(struct kept *k, struct other *o, struct slice bytes)
{
    struct worker *w = o->j->w;

    if (renewal_of_journal(w, bytes, on_token, o)) {
        o->waiting++;
        free(k->bytes);
        free(k);
        return true;
    }
    if (!journal_move_read(&k->move, &k->queue, o->worker, bytes))
        return false;
    k->other = o;
    k->move.cb = on_kept;
    k->move.owner = k;
    k->next = o->kept;
    o->kept = k;
    o->waiting++;
    commit_submit(w->commits, &k->move);
    return true;
}

static bool open_record(struct other *o, uint64_t number, struct slice sealed, struct err *err)
{
    struct worker *w = o->j->w;
    struct seal_place place =
        journal_place(slice_cstr(w->set->common.prefix), slice_cstr(o->worker), number);
    struct kept *k = kept_new(seal_clear_len(sealed) + 1);
    size_t len = 0;

    if (!k)
        return err_set(err, ERR_NOMEM, "out of memory");
    if (!seal_open(w->keys, KEY_RUN, &place, sealed, k->bytes, seal_clear_len(sealed) + 1, &len,
                   err) ||
        !(take(k, o, slice_of(k->bytes, len)) ||
          err_set(err, ERR_FORMAT, "record %" PRIu64 " is neither a move nor a token", number))) {
        free(k->bytes);
        free(k);
        return false;
    }
    return true;
}

static bool read_all(int fd, struct buf *out)
{
    char block[65536];
    ssize_t n;

    while ((n = read(fd, block, sizeof block)) > 0) {
        if (!buf_add(out, block, (size_t)n))
            return false;
    }
    return n == 0;
}

static void read_other(struct other *o)
{
    struct buf all;
    struct slice in, sealed;
    uint64_t number;
    struct err err = {0};

    buf_init(&all, (size_t)1 << 30);
    if (!read_all(o->fd, &all)) {
        err_set(&err, ERR_CONFIG, "%s cannot be read; what was in it is done again", o->path);
        log_event(LOG_ERROR, EV_JOURNAL_BAD, F_ERR(&err));
    }
    in = buf_slice(&all);
    while (journal_unframe(&in, &number, &sealed)) {
        if (!open_record(o, number, sealed, &err))
            log_event(LOG_ERROR, EV_JOURNAL_BAD, F_CSTR("file", o->path), F_ERR(&err));
    }
    buf_deinit(&all);
    if (o->waiting == 0)
        other_done(o);
}

/* A file whose lock we get belongs to nobody alive (flock(2): the kernel frees it when its holder
 * dies). */
static void try_other(struct journal *j, const char *folder, const char *name)
{
    size_t len = strlen(name), suffix = strlen(SUFFIX);
    struct other *o = &j->others[j->other_count];

    if (len <= suffix || strcmp(name + len - suffix, SUFFIX) != 0 ||
        len - suffix >= WORKER_ID_MAX || j->other_count == JOURNAL_OTHERS)
        return;
    if (snprintf(o->path, sizeof o->path, "%s/%s", folder, name) >= (int)sizeof o->path)
        return;
    o->fd = open(o->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (o->fd < 0)
        return;
    if (flock(o->fd, LOCK_EX | LOCK_NB) != 0) {
        close(o->fd);
        return;
    }
    o->j = j;
    slice_copy(slice_of(name, len - suffix), o->worker, sizeof o->worker);
    j->other_count++;
    read_other(o);
}

size_t journal_others(const struct journal *j, struct slice *out)
{
    size_t n = 0;

    for (size_t i = 0; j && i < j->other_count; i++) {
        if (j->others[i].worker[0])
            out[n++] = slice_cstr(j->others[i].worker);
    }
    return n;
}

/* ---- the whole ---- */

/* Locked under a name that nobody reads, then given its own: another process that starts in the
 * same folder could lock it first, find it empty and remove it. */
static bool open_own(struct journal *j, const char *folder, struct err *err)
{
    char making[sizeof j->path + 8];

    if (snprintf(j->path, sizeof j->path, "%s/%s" SUFFIX, folder, j->w->id) >= (int)sizeof j->path)
        return err_set(err, ERR_CONFIG, "journal: the folder's name is too long");
    snprintf(making, sizeof making, "%s.new", j->path);
    j->fd = open(making, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (j->fd < 0 || flock(j->fd, LOCK_EX | LOCK_NB) != 0 || rename(making, j->path) != 0)
        return err_set(err, ERR_CONFIG,
                       "journal: %s: %s; give a folder that this user can write to", j->path,
                       strerror(errno));
    return true;
}

struct journal *journal_open(struct worker *w, const char *folder, struct err *err)
{
    struct journal *j = calloc(1, sizeof *j);
    struct dirent *e;
    DIR *dir;

    if (!j) {
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    j->w = w;
    j->fd = -1;
    buf_init(&j->fresh, RECORD_MAX);
    dir = opendir(folder);
    if (!dir) {
        err_set(err, ERR_CONFIG, "journal: %s: %s", folder, strerror(errno));
        journal_delete(j);
        return NULL;
    }
    while ((e = readdir(dir)) != NULL)
        try_other(j, folder, e->d_name);
    closedir(dir);
    if (!open_own(j, folder, err)) {
        journal_delete(j);
        return NULL;
    }
    log_event(LOG_INFO, EV_JOURNAL_OPENED, F_CSTR("file", j->path),
              F_UINT("others", j->other_count));
    return j;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    if (j->waiting == 0 && j->path[0])
        unlink(j->path); /* a clean end leaves no file */
    j->closing = true;
    start_write(j);
    if (!j->writing)
        journal_delete(j);
}

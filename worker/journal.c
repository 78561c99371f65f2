#include "worker/journal.h"

#include <arpa/inet.h>
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
#include "worker/worker.h"

#define SUFFIX      ".journal"
#define RECORD_HEAD 12
#define RECORD_MAX  (160u << 20) /* two bodies of the biggest kind */

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

/* ---- records: the texts of a move, each with its length before it ---- */

static bool put(struct buf *b, struct slice s)
{
    uint32_t n = htonl((uint32_t)s.len);

    return buf_add(b, &n, 4) && buf_add_slice(b, s);
}

static bool get(struct slice *in, struct slice *out)
{
    uint32_t n;

    if (in->len < 4)
        return false;
    memcpy(&n, in->ptr, 4);
    n = ntohl(n);
    *in = slice_sub(*in, 4, in->len);
    if (n > in->len)
        return false;
    *out = slice_sub(*in, 0, n);
    *in = slice_sub(*in, n, in->len);
    return true;
}

static struct seal_place place_of(const struct worker *w, const char *worker, uint64_t number)
{
    return (struct seal_place){
        slice_cstr(w->set->common.prefix), slice_cstr(worker), "journal", 0, number, SLICE_NONE};
}

#define TEXTS 19

/* Which of a move's texts are C strings: they keep their NUL, so that they are ones again when
 * read. */
static bool is_c_string(size_t i)
{
    return i <= 5 || (i >= 12 && i <= 17);
}

static bool write_move(struct buf *b, const struct move *m)
{
    char numbers[128];

    snprintf(numbers, sizeof numbers, "%d %" PRIu64 " %" PRIu32 " %" PRId64 " %" PRId64 " %" PRId64,
             (int)m->kind, m->seq, m->reclaims, m->at_ms, m->look_ms, m->queued_ms);
    const struct slice texts[TEXTS] = {
        slice_cstr(numbers),
        slice_cstr(m->queue->name),
        slice_cstr(m->entry),
        slice_cstr(m->run),
        slice_cstr(m->name),
        slice_cstr(m->nonce),
        m->j,
        m->s,
        m->out,
        m->result,
        m->next_j,
        m->next_s,
        slice_cstr(m->state),
        slice_cstr(m->resource),
        slice_cstr(m->code),
        slice_cstr(m->text),
        slice_cstr(m->big_digest),
        slice_cstr(m->last_error),
        m->big,
    };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        bool c_string = is_c_string(i);

        if (!put(b, texts[i]) || (c_string && !buf_add_char(b, '\0')))
            return false;
    }
    return true;
}

static bool read_texts(struct slice in, struct slice *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool c_string = is_c_string(i);

        if (!get(&in, &texts[i]))
            return false;
        if (c_string) {
            if (in.len == 0 || in.ptr[0] != '\0')
                return false;
            in = slice_sub(in, 1, in.len);
        }
    }
    return in.len == 0;
}

/* `bytes` stays the kept move's. */
static bool read_move(struct kept *k, const char *worker, struct slice bytes)
{
    struct slice t[TEXTS];
    struct move *m = &k->move;
    int kind;

    if (!read_texts(bytes, t, ARRAY_LEN(t)) ||
        sscanf(t[0].ptr, "%d %" SCNu64 " %" SCNu32 " %" SCNd64 " %" SCNd64 " %" SCNd64, &kind,
               &m->seq, &m->reclaims, &m->at_ms, &m->look_ms, &m->queued_ms) != 6 ||
        kind < MOVE_COMMIT || kind > MOVE_BURY || !id_is_queue(t[1]) ||
        !slice_copy(t[1], k->queue.name, sizeof k->queue.name))
        return false;
    key_queue(&k->queue.key, SHARD, t[1]);
    m->kind = (enum move_kind)kind;
    m->queue = &k->queue;
    m->consumer = worker;
    m->entry = t[2].ptr;
    m->run = t[3].ptr;
    m->name = t[4].ptr;
    m->nonce = t[5].ptr;
    m->j = t[6];
    m->s = t[7];
    m->out = t[8];
    m->result = t[9];
    m->next_j = t[10];
    m->next_s = t[11];
    m->state = t[12].ptr;
    m->resource = t[13].ptr;
    m->code = t[14].ptr;
    m->text = t[15].ptr;
    m->big_digest = t[16].ptr;
    m->last_error = t[17].ptr;
    m->big = t[18];
    return true;
}

/* A record in the file: length of the sealed bytes, record number, sealed bytes. The number is
 * written down, for a record that the disk did not take leaves a gap. */
static void add_number(struct buf *b, uint64_t number)
{
    unsigned char n[8];

    for (size_t i = 0; i < sizeof n; i++)
        n[i] = (unsigned char)(number >> (8 * (7 - i)));
    buf_add(b, n, sizeof n);
}

static bool get_record(struct slice *in, uint64_t *number, struct slice *sealed)
{
    uint32_t n;

    if (in->len < RECORD_HEAD)
        return false;
    memcpy(&n, in->ptr, 4);
    n = ntohl(n);
    *number = 0;
    for (size_t i = 4; i < RECORD_HEAD; i++)
        *number = *number << 8 | (unsigned char)in->ptr[i];
    if (n > in->len - RECORD_HEAD)
        return false;
    *sealed = slice_sub(*in, RECORD_HEAD, n);
    *in = slice_sub(*in, RECORD_HEAD + n, in->len);
    return true;
}

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

void journal_keep(struct journal *j, struct move *m)
{
    struct seal_place place;
    struct buf clear, sealed;
    struct err err = {0};
    uint32_t n;

    if (!j || m->journaled || !move_is_outcome(m) || strcmp(m->consumer, j->w->id) != 0)
        return;
    place = place_of(j->w, j->w->id, j->number);
    buf_init(&clear, RECORD_MAX);
    buf_init(&sealed, RECORD_MAX);
    if (write_move(&clear, m) &&
        seal_seal(j->w->keys, KEY_RUN, &place, buf_slice(&clear), &sealed, &err)) {
        n = htonl((uint32_t)sealed.len);
        if (buf_reserve(&j->fresh, RECORD_HEAD + sealed.len)) {
            buf_add(&j->fresh, &n, 4);
            add_number(&j->fresh, j->number);
            buf_add_slice(&j->fresh, buf_slice(&sealed));
            m->journaled = true;
            j->waiting++;
            if (j->number++ == 0)
                log_event(LOG_WARN, EV_JOURNAL_KEPT, F_CSTR("file", j->path));
        }
    }
    buf_clear(&sealed);
    buf_wipe(&clear);
    buf_deinit(&sealed);
    start_write(j);
}

void journal_done(struct journal *j, struct move *m)
{
    m->journaled = false;
    if (!j)
        return;
    j->waiting--;
    empty_file(j);
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

static bool open_record(struct kept *k, struct other *o, uint64_t number, struct slice sealed,
                        struct err *err)
{
    struct worker *w = o->j->w;
    struct seal_place place = place_of(w, o->worker, number);
    size_t len = seal_clear_len(sealed);

    return seal_open(w->keys, KEY_RUN, &place, sealed, k->bytes, len + 1, &len, err) &&
           (read_move(k, o->worker, slice_of(k->bytes, len)) ||
            err_set(err, ERR_FORMAT, "record %" PRIu64 " is not a move", number));
}

static void add_kept(struct other *o, uint64_t number, struct slice sealed)
{
    struct kept *k = kept_new(seal_clear_len(sealed) + 1);
    struct err err = {0};

    if (!k) {
        err_set(&err, ERR_NOMEM, "out of memory");
        log_event(LOG_ERROR, EV_JOURNAL_BAD, F_CSTR("file", o->path), F_ERR(&err));
        return;
    }
    if (!open_record(k, o, number, sealed, &err)) {
        log_event(LOG_ERROR, EV_JOURNAL_BAD, F_CSTR("file", o->path), F_ERR(&err));
        free(k->bytes);
        free(k);
        return;
    }
    k->other = o;
    k->move.cb = on_kept;
    k->move.owner = k;
    k->next = o->kept;
    o->kept = k;
    o->waiting++;
    commit_submit(o->j->w->commits, &k->move);
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
    while (get_record(&in, &number, &sealed))
        add_kept(o, number, sealed);
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

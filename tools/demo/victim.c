#include "tools/demo/victim.h"

#include <signal.h>
#include "common/clock.h"
#include "common/key.h"
#include "common/wire.h"

#define ANSWER_WAIT_MS 150 /* the API answers within 120 */
#define GROUP          "w"

/*
 * For the first half of the run one is looked for that is also amid several writes: then some were
 * made and their answers lost, and the sandbox sees the repeats.
 */
#define WRITES_WANTED 5

void victim_init(struct victim *v, struct site *site, struct work *work)
{
    *v = (struct victim){.site = site, .work = work};
}

/* ---- what Redis knows of it ---- */

static void take_count(void *owner, const struct redis_reply *reply)
{
    *(int64_t *)owner = redis_reply_int(reply, 0);
}

/* A lease that is held while it is stopped might be its own. */
static bool no_lease(struct victim *v, bool *none, struct err *err)
{
    static const char *const conns[] = {CONN_READER, CONN_WRITER};

    *none = true;
    for (size_t i = 0; i < ARRAY_LEN(conns); i++) {
        struct slice argv[2] = {SLICE_LIT("EXISTS")};
        int64_t there = 0;
        struct key key;

        key_conn_lease(&key, slice_cstr(conns[i]));
        argv[1] = key_slice(&key);
        if (!ask_redis(v->site->ask, 2, argv, take_count, &there, err))
            return false;
        if (there)
            *none = false;
    }
    return true;
}

struct entries {
    char id[VICTIM_PENDING_MAX][40];
    unsigned count;
};

static void take_entries(void *owner, const struct redis_reply *reply)
{
    struct entries *e = owner;

    for (size_t i = 0; i < redis_reply_len(reply) && e->count < VICTIM_PENDING_MAX; i++) {
        struct slice id = redis_reply_str(redis_reply_at(redis_reply_at(reply, i), 0));

        if (slice_copy(id, e->id[e->count], sizeof e->id[0]))
            e->count++;
    }
}

/* The stream entries that were delivered to it and not acknowledged. */
static bool list_pending(struct victim *v, const struct site_worker *w, struct entries *e,
                         struct err *err)
{
    struct slice argv[] = {SLICE_LIT("XPENDING"), SLICE_NONE,     SLICE_LIT(GROUP),
                           SLICE_LIT("-"),        SLICE_LIT("+"), SLICE_LIT("1024"),
                           slice_cstr(w->id)};
    struct key queue;

    key_queue(&queue, 0, SLICE_LIT("default"));
    argv[1] = key_slice(&queue);
    e->count = 0;
    return ask_redis(v->site->ask, ARRAY_LEN(argv), argv, take_entries, e, err);
}

static void take_held(void *owner, const struct redis_reply *reply)
{
    const struct redis_reply *fields = redis_reply_at(redis_reply_at(reply, 0), 1);
    struct slice bytes = redis_reply_str(redis_reply_field(fields, "j"));
    struct victim *v = owner;
    struct envelope e;
    unsigned job;

    envelope_init(&e);
    if (envelope_decode(&e, bytes, WIRE_MAX_DEFAULT, NULL) && work_job_number(e.id, &job) &&
        v->held_count < VICTIM_PENDING_MAX)
        v->held[v->held_count++] = (struct victim_step){job, e.has_k ? e.k.position : 0};
    envelope_deinit(&e);
}

static bool read_held(struct victim *v, const struct entries *e, struct err *err)
{
    struct key queue;

    key_queue(&queue, 0, SLICE_LIT("default"));
    v->held_count = 0;
    for (unsigned i = 0; i < e->count; i++) {
        const struct slice argv[] = {SLICE_LIT("XRANGE"), key_slice(&queue), slice_cstr(e->id[i]),
                                     slice_cstr(e->id[i])};

        if (!ask_redis(v->site->ask, ARRAY_LEN(argv), argv, take_held, v, err))
            return false;
    }
    return true;
}

/* ---- the moment ---- */

static bool wait_unread(struct victim *v, const struct site_worker *w, bool *unread,
                        struct err *err)
{
    int64_t end = clock_boot_ms() + ANSWER_WAIT_MS;

    do {
        *unread = child_unread_sockets(&w->child, v->site->sandbox_port) > 0;
        if (*unread)
            return true;
    } while (clock_boot_ms() < end && ask_sleep(v->site->ask, 5, err));
    return !v->site->ask->interrupted;
}

static bool held_suits(const struct victim *v)
{
    bool picky = v->work->results < WORK_JOBS * WORK_STEPS / 2;
    unsigned writes = 0;

    for (unsigned i = 0; i < v->held_count; i++)
        writes += v->held[i].step > 0 ? 1 : 0;
    return v->held_count >= VICTIM_PENDING && (!picky || writes >= WRITES_WANTED);
}

/* It is stopped. Is this the moment? */
static bool look_closely(struct victim *v, const struct site_worker *w, bool *now, struct err *err)
{
    struct entries e;
    bool none = false, unread = false;

    *now = false;
    if (!list_pending(v, w, &e, err) || !no_lease(v, &none, err))
        return false;
    if (e.count < VICTIM_PENDING || !none)
        return true;
    if (!wait_unread(v, w, &unread, err) || !read_held(v, &e, err))
        return false;
    *now = unread && held_suits(v);
    return true;
}

static bool try_worker(struct victim *v, struct site_worker *w, struct err *err)
{
    struct entries e;
    bool now = false, ok;

    if (!child_is_running(&w->child))
        return err_set(err, ERR_CONFIG, "%s has ended; see %s", w->child.name, w->child.log);
    if (!list_pending(v, w, &e, err))
        return false;
    if (e.count < VICTIM_PENDING)
        return true;
    child_signal(&w->child, SIGSTOP);
    ok = child_wait_stopped(&w->child) && look_closely(v, w, &now, err);
    if (!now) {
        child_signal(&w->child, SIGCONT);
        return ok;
    }
    v->worker = w;
    v->pid = (int)w->child.pid;
    v->killed_ms = clock_boot_ms();
    child_end(&w->child); /* SIGKILL also ends one that is stopped */
    return true;
}

bool victim_try(struct victim *v, struct err *err)
{
    for (unsigned i = 0; i < v->site->worker_count && !v->worker; i++) {
        if (!try_worker(v, &v->site->workers[i], err))
            return false;
    }
    return true;
}

void victim_look(struct victim *v, int64_t now_ms)
{
    if (!v->worker || v->recovered_ms > 0)
        return;
    for (unsigned i = 0; i < v->held_count; i++) {
        if (!v->work->seen[v->held[i].job][v->held[i].step])
            return;
    }
    v->recovered_ms = now_ms;
}

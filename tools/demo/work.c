#include "tools/demo/work.h"

#include <stdio.h>
#include <string.h>
#include "common/clock.h"
#include "common/key.h"
#include "common/wire.h"

/*
 * 2,000 jobs in 50 s: sixteen lifetimes of a 3 s token. They come in batches, as they do when a
 * user imports a file, so that a worker has its hands full when it is killed.
 */
#define BATCH          100
#define BATCH_EVERY_MS 2500

#define RESULTS_PAGE "1000"

static void job_id(unsigned number, char out[16])
{
    snprintf(out, 16, "demo-%04u", number);
}

bool work_job_number(struct slice id, unsigned *number)
{
    const struct slice start = SLICE_LIT("demo-");
    uint64_t n;

    if (!slice_starts(id, start) || !slice_to_u64(slice_sub(id, start.len, id.len), &n) ||
        n >= WORK_JOBS)
        return false;
    *number = (unsigned)n;
    return true;
}

void work_init(struct work *w, struct ask *ask, const char *sandbox_url)
{
    *w = (struct work){.ask = ask, .sandbox_url = sandbox_url};
    snprintf(w->after, sizeof w->after, "-");
}

/* ---- putting jobs ---- */

/* The second call has no body: it sends what the first one answered. */
static bool write_job(const struct work *w, unsigned number, struct buf *envelope, struct err *err)
{
    struct buf json;
    char id[16];
    bool ok;

    buf_init(&json, 1024);
    job_id(number, id);
    buf_addf(&json,
             "{\"v\":1,\"id\":\"%s\",\"call\":{\"conn\":\"reader\",\"method\":\"GET\","
             "\"url\":\"%s/api/records/%u\"},\"then\":[{\"conn\":\"writer\",\"method\":\"POST\","
             "\"url\":\"%s/api/writes/%s\"}]}",
             id, w->sandbox_url, number, w->sandbox_url, id);
    buf_clear(envelope);
    ok = buf_ok(&json) && wire_from_json(envelope, buf_slice(&json), err);
    buf_deinit(&json);
    return ok;
}

static bool put_job(struct work *w, struct slice envelope, struct err *err)
{
    struct key queue;
    struct slice argv[5];

    key_queue(&queue, 0, SLICE_LIT("default"));
    argv[0] = SLICE_LIT("XADD");
    argv[1] = key_slice(&queue);
    argv[2] = SLICE_LIT("*");
    argv[3] = SLICE_LIT("j");
    argv[4] = envelope;
    return ask_redis(w->ask, ARRAY_LEN(argv), argv, NULL, NULL, err);
}

static bool put_batch(struct work *w, struct err *err)
{
    struct buf envelope;
    bool ok = true;

    buf_init(&envelope, 4096);
    for (unsigned i = 0; ok && i < BATCH && w->enqueued < WORK_JOBS; i++) {
        ok = write_job(w, w->enqueued, &envelope, err) && put_job(w, buf_slice(&envelope), err);
        w->enqueued += ok ? 1 : 0;
    }
    buf_deinit(&envelope);
    return ok;
}

bool work_enqueue(struct work *w, int64_t now_ms, struct err *err)
{
    if (w->enqueued == 0)
        w->started_ms = now_ms;
    while (w->enqueued < WORK_JOBS &&
           now_ms - w->started_ms >= (int64_t)(w->enqueued / BATCH) * BATCH_EVERY_MS) {
        if (!put_batch(w, err))
            return false;
    }
    return true;
}

/* ---- taking results ---- */

static void complain(struct work *w, const struct result *r)
{
    if (w->not_done++ == 0)
        snprintf(w->complaint, sizeof w->complaint, "%.*s step %u: %s, status %d %.*s",
                 SLICE_FMT(r->id), r->step, result_state_name(r->state), r->status,
                 SLICE_FMT(slice_sub(r->error_code, 0, 60)));
}

static void take_result(struct work *w, const struct result *r)
{
    unsigned number;

    if (!work_job_number(r->id, &number) || r->step >= WORK_STEPS)
        return;
    if (w->seen[number][r->step]++ > 0) {
        w->duplicates++;
        return;
    }
    w->results++;
    if (r->state != RESULT_DONE)
        complain(w, r);
    if (r->end)
        w->ended++;
}

struct page {
    struct work *work;
    size_t entries;
    struct err err;
};

static void take_page(void *owner, const struct redis_reply *reply)
{
    struct page *p = owner;
    struct result r;

    p->entries = redis_reply_len(reply);
    for (size_t i = 0; i < p->entries; i++) {
        const struct redis_reply *entry = redis_reply_at(reply, i);
        struct slice id = redis_reply_str(redis_reply_at(entry, 0));
        struct slice bytes = redis_reply_str(redis_reply_field(redis_reply_at(entry, 1), "r"));

        if (result_decode(&r, bytes, &p->err))
            take_result(p->work, &r);
        snprintf(p->work->after, sizeof p->work->after, "(%.*s", SLICE_FMT(id));
    }
}

bool work_take_results(struct work *w, int64_t now_ms, struct err *err)
{
    struct page page = {.work = w};
    struct key out;

    key_out(&out, 0, SLICE_LIT("results"));
    do {
        const struct slice argv[] = {SLICE_LIT("XRANGE"),  key_slice(&out),
                                     slice_cstr(w->after), SLICE_LIT("+"),
                                     SLICE_LIT("COUNT"),   SLICE_LIT(RESULTS_PAGE)};

        page.entries = 0;
        if (!ask_redis(w->ask, ARRAY_LEN(argv), argv, take_page, &page, err))
            return false;
    } while (page.entries > 0 && !page.err.code);
    if (work_is_over(w) && w->ended_ms == 0)
        w->ended_ms = now_ms;
    *err = page.err;
    return !page.err.code;
}

bool work_is_over(const struct work *w)
{
    return w->ended == WORK_JOBS;
}

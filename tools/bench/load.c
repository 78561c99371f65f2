#include "tools/bench/load.h"

#include <inttypes.h>
#include "common/buf.h"
#include "common/key.h"
#include "common/wire.h"

#define AT_ONCE 400
#define TEXT    "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy" /* 50 */

struct adding {
    size_t waiting;
    struct err err;
};

static void on_added(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct adding *a = owner;

    (void)reply;
    a->waiting--;
    if (err)
        a->err = *err;
}

static bool write_job(const struct load *l, uint64_t number, struct buf *json, struct buf *out,
                      struct err *err)
{
    uint64_t conn = number % l->connections;

    buf_clear(json);
    buf_clear(out);
    buf_addf(json,
             "{\"v\":1,\"id\":\"bench-%" PRIu64 "\",\"call\":{\"conn\":\"c%" PRIu64
             "\",\"method\":\"POST\",\"url\":\"%s://127.0.0.1:%u/api/records\",\"body\":{\"x\":"
             "\"" TEXT TEXT TEXT "\",\"n\":%" PRIu64 "}},\"then\":[{\"conn\":\"c%" PRIu64
             "\",\"method\":\"POST\",\"url\":\"%s://127.0.0.1:%u/api/writes\",\"body\":{\"x\":"
             "\"" TEXT TEXT TEXT "\"}}]}",
             number, conn, l->scheme, l->port, number, conn, l->scheme, l->port);
    return wire_from_json(out, buf_slice(json), err);
}

bool load_add(struct rig *r, struct store *s, const struct load *l, size_t jobs, struct err *err)
{
    static uint64_t number;
    struct adding a = {0};
    struct buf json, job;
    struct key queue;
    bool ok = true;

    buf_init(&json, 4096);
    buf_init(&job, 4096);
    key_queue(&queue, 0, SLICE_LIT("default"));
    for (size_t i = 0; ok && i < jobs; i++) {
        ok = write_job(l, number++, &json, &job, err);
        const struct slice argv[] = {SLICE_LIT("XADD"), key_slice(&queue), SLICE_LIT("*"),
                                     SLICE_LIT("j"), buf_slice(&job)};

        if (ok && (ok = redis_command(s->link, ARRAY_LEN(argv), argv, 60000, on_added, &a, err)))
            a.waiting++;
        while (a.waiting >= AT_ONCE)
            uv_run(&r->ask.loop, UV_RUN_ONCE);
    }
    while (a.waiting > 0)
        uv_run(&r->ask.loop, UV_RUN_ONCE);
    buf_deinit(&json);
    buf_deinit(&job);
    if (ok && a.err.code) {
        *err = a.err;
        ok = false;
    }
    return ok;
}

int64_t load_queued(struct rig *r, struct store *s)
{
    const char *const argv[] = {"XLEN", "awq:{s0}:q:default"};

    return store_int(r, s, 2, argv);
}

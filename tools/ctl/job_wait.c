/* awq-ctl job wait: until jobs have ended, and then their last results. */
#include "tools/ctl/job.h"

#include <stdio.h>
#include "common/clock.h"
#include "common/json.h"
#include "common/key.h"
#include "common/wire.h"
#include "tools/ctl/link.h"

bool job_has_ended(struct slice state)
{
    static const char *const ends[] = {"done", "failed", "dead", "expired", "cancelled"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (slice_is(state, ends[i]))
            return true;
    }
    return false;
}

bool job_result_json(struct buf *out, struct slice id, struct slice state, struct slice bytes)
{
    struct result r;
    struct json_writer w;

    if (bytes.len > 0 && result_decode(&r, bytes, NULL))
        return result_to_json(out, &r);
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "id");
    jw_str(&w, id);
    jw_key(&w, "state");
    jw_str(&w, state);
    jw_end_obj(&w);
    return buf_ok(out);
}

/* Look once. *ended: its result was printed. */
static int look(struct ctl *c, const char *id, bool *ended, bool *done, bool *seen)
{
    struct redis_reply *r;
    struct err err = {0};
    struct slice state;
    struct buf json;
    struct key run;

    key_run(&run, CTL_SHARD, slice_cstr(id));
    r = link_ask(c->link, &err, "HMGET", run.s, "st", "r");
    if (!r)
        return ctl_fail(c, &err);
    state = redis_reply_str(redis_reply_at(r, 0));
    *seen = *seen || state.len > 0;
    *ended = job_has_ended(state);
    if (*ended) {
        *done = slice_is(state, "done");
        buf_init(&json, 64u * 1024 * 1024);
        if (job_result_json(&json, slice_cstr(id), state, redis_reply_str(redis_reply_at(r, 1))))
            puts(json.ptr);
        fflush(stdout);
        buf_deinit(&json);
    }
    redis_reply_free(r);
    return CTL_OK;
}

static int wait_for_run(struct ctl *c, const char *id, int64_t until, bool *done)
{
    bool ended = false, seen = false;
    int64_t pause = 20;
    int code;

    for (;;) {
        if ((code = look(c, id, &ended, done, &seen)) || ended)
            return code;
        if (clock_boot_ms() >= until)
            return ctl_say(seen ? CTL_FAILED : CTL_NOT_FOUND,
                           seen ? "job %s has not ended yet; awq-ctl job get says where it is"
                                : "no job %s is known (never enqueued, not taken yet, or forgotten "
                                  "after its time)",
                           id);
        link_sleep(c->link, pause);
        pause = pause < 250 ? pause * 3 / 2 : 250;
    }
}

int job_wait_runs(struct ctl *c, char (*ids)[ID_MAX + 1], size_t count, int64_t limit_ms)
{
    int64_t until = clock_boot_ms() + limit_ms;
    size_t failed = 0;
    int code = CTL_OK;

    for (size_t i = 0; i < count; i++) {
        bool done = false;
        int one = wait_for_run(c, ids[i], until, &done);

        if (one == CTL_UNREACHABLE)
            return one;
        failed += !done;
        code = one != CTL_OK ? one : code;
    }
    if (failed > 0 && failed < count)
        return CTL_PARTIAL;
    return failed == 0 ? CTL_OK : code != CTL_OK ? code : CTL_FAILED;
}

int job_wait(struct ctl *c, const struct args *a)
{
    char id[1][ID_MAX + 1];
    int64_t limit_ms;
    int code;

    if ((code = job_id(c, a, id[0])) || (code = ctl_flag_ms(c, a, 0, 30000, &limit_ms)) ||
        (code = ctl_connect(c)))
        return code;
    return job_wait_runs(c, id, 1, limit_ms);
}

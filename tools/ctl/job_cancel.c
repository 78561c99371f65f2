/* awq-ctl job cancel: find where a job lies, and take it back. */
#include "tools/ctl/job.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/key.h"
#include "common/wire.h"
#include "tools/ctl/letter.h"
#include "tools/ctl/link.h"

#define RESULTS_CAP "100000"
#define SEARCH_MAX  1000 /* entries of a queue that are looked through, from each start */
#define SEARCH_PAGE "100"

struct cancel {
    struct ctl *c;
    char id[ID_MAX + 1];
    struct run run;
    char name[JOB_NAME_MAX], entry[48];
    struct key set, queue, other; /* where it lies */
    char out[ID_MAX + 1];
    bool to_out;
};

/* Where its results go: only its envelope knows. */
static void take_out(struct cancel *x, struct slice j)
{
    struct envelope env;

    envelope_init(&env);
    if (envelope_decode(&env, j, WIRE_MAX_DEFAULT * 64, NULL)) {
        x->to_out = env.out.len > 0;
        slice_copy(env.out, x->out, sizeof x->out);
    }
    envelope_deinit(&env);
}

static bool find_held(struct cancel *x, struct err *err)
{
    struct redis_reply *r;
    struct letter letter;
    struct key held;

    key_held(&held, CTL_SHARD);
    r = link_ask(x->c->link, err, "HGET", held.s, x->name);
    if (r && letter_read(&letter, redis_reply_str(r)))
        take_out(x, letter.j);
    redis_reply_free(r);
    return r != NULL;
}

/* One page of a queue, oldest first. *last is where the next begins; "" = that was all. */
static bool find_page(struct cancel *x, char last[48], struct err *err)
{
    struct redis_reply *r;
    struct envelope env;

    r = link_ask(x->c->link, err, "XRANGE", x->queue.s, last, "+", "COUNT", SEARCH_PAGE);
    last[0] = '\0';
    envelope_init(&env);
    for (size_t i = 0; i < redis_reply_len(r) && !x->entry[0]; i++) {
        const struct redis_reply *e = redis_reply_at(r, i);
        struct slice entry = redis_reply_str(redis_reply_at(e, 0));
        struct slice j = redis_reply_str(redis_reply_field(redis_reply_at(e, 1), "j"));

        snprintf(last, 48, "(%.*s", SLICE_FMT(entry));
        envelope_decode(&env, j, WIRE_MAX_DEFAULT * 64, NULL); /* keeps the id of bad ones too */
        if (slice_is(env.id, x->id)) {
            slice_copy(entry, x->entry, sizeof x->entry);
            take_out(x, j);
        }
    }
    envelope_deinit(&env);
    redis_reply_free(r);
    return r != NULL;
}

static bool find_from(struct cancel *x, const char *first, struct err *err)
{
    char last[48];

    snprintf(last, sizeof last, "%s", first);
    for (int n = 0; n < SEARCH_MAX && last[0] && !x->entry[0]; n += 100) {
        if (!find_page(x, last, err))
            return false;
    }
    return true;
}

/* The enqueue script writes the record in the millisecond that names the entry, and a queue's names
 * only grow: from there on it is found however many lie before it. A job that came another way (a
 * next step, a retry) is newer than its record, and is looked for from there and then from the
 * front. */
static bool find_entry(struct cancel *x, struct slice queue, struct err *err)
{
    char put[48];

    key_queue(&x->queue, CTL_SHARD, queue);
    key_lane(&x->other, CTL_SHARD, queue);
    snprintf(put, sizeof put, "%" PRId64, x->run.time_ms);
    if ((x->run.time_ms > 0 && !find_from(x, put, err)) ||
        (!x->entry[0] && !find_from(x, "-", err)))
        return false;
    if (x->entry[0])
        return true;
    x->other = x->queue;
    key_lane(&x->queue, CTL_SHARD, queue); /* its tenant had its turn */
    return find_from(x, "-", err);
}

static bool find_place(struct cancel *x, struct err *err)
{
    const struct job_name name = {slice_cstr(x->id), SLICE_LIT("0"), x->run.seq};
    struct slice place = x->run.place, park = SLICE_LIT("park:"), q = SLICE_LIT("q:");

    x->name[0] = x->entry[0] = '\0';
    key_due(&x->set, CTL_SHARD);
    key_queue(&x->queue, CTL_SHARD, SLICE_LIT("default"));
    key_lane(&x->other, CTL_SHARD, SLICE_LIT("default"));
    if (slice_starts(place, q))
        return find_entry(x, slice_sub(place, q.len, place.len), err);
    if (slice_starts(place, park))
        key_park(&x->set, CTL_SHARD, slice_sub(place, park.len, place.len));
    else if (slice_is(place, "dead"))
        key_dead(&x->set, CTL_SHARD);
    else if (!slice_is(place, "due"))
        return true; /* under way */
    return job_name_build(&name, x->name) && find_held(x, err);
}

static void encode_result(const struct cancel *x, struct buf *bytes)
{
    const struct result result = {
        .id = slice_cstr(x->id),
        .run = slice_cstr(x->id),
        .seq = x->run.seq,
        .end = true,
        .state = RESULT_CANCELLED,
        .error_code = SLICE_LIT("cancelled"),
        .error_title = SLICE_LIT("cancelled"),
        .error_detail = SLICE_LIT("cancelled by awq-ctl job cancel"),
        .times = {.committed = x->c->out.now_ms},
    };

    result_encode(bytes, &result);
}

/* cancel.lua's answer, or NULL and *err. */
static struct redis_reply *send_cancel(struct cancel *x, struct err *err)
{
    struct key run, held, out;
    struct redis_reply *r;
    struct buf bytes;
    char ttl[24];

    buf_init(&bytes, 4096);
    encode_result(x, &bytes);
    key_run(&run, CTL_SHARD, slice_cstr(x->id));
    key_held(&held, CTL_SHARD);
    key_out(&out, CTL_SHARD, slice_cstr(x->out));
    snprintf(ttl, sizeof ttl, "%d", JOB_DEDUP_MS);
    const struct slice argv[] = {
        key_slice(&run),        key_slice(&held),     key_slice(&x->set),
        key_slice(&x->queue),   key_slice(&out),      key_slice(&x->other),
        slice_cstr(x->name),    slice_cstr(x->entry), buf_slice(&bytes),
        SLICE_LIT(RESULTS_CAP), slice_cstr(ttl),      x->to_out ? SLICE_LIT("1") : SLICE_LIT("0"),
    };

    r = link_script(x->c->link, SCRIPT_cancel, 6, ARRAY_LEN(argv), argv, err);
    buf_deinit(&bytes);
    return r;
}

/* Read its record again: is it elsewhere now? *code: what went wrong, or CTL_OK. */
static bool has_moved(struct cancel *x, int *code)
{
    struct run before = x->run;
    bool moved;

    x->run.reply = NULL;
    *code = job_read_run(x->c, x->id, &x->run);
    moved = *code == CTL_OK && (!slice_eq(before.place, x->run.place) || before.seq != x->run.seq);
    redis_reply_free(before.reply);
    return moved;
}

static int say_answer(struct cancel *x, struct slice answer)
{
    if (x->c->out.json) {
        out_thing(&x->c->out);
        out_key(&x->c->out, "id");
        out_cstr(&x->c->out, x->id);
        out_key(&x->c->out, "answer");
        out_text(&x->c->out, answer);
        out_thing_end(&x->c->out);
    }
    if (slice_is(answer, "FINISHED"))
        return ctl_say(CTL_FAILED, "job %s has ended already", x->id);
    if (slice_is(answer, "CANCELLED"))
        out_note(&x->c->out, "job %s: cancelled; it will not run", x->id);
    else
        out_note(&x->c->out,
                 "job %s: marked; a call may be in flight and is not stopped, but no next step\n"
                 "and no retry will follow it",
                 x->id);
    return CTL_OK;
}

/* What carries the mark is not set aside any more (retry.lua, park.lua). It may have been just
 * before, between our look and the mark: hence a second look, and no third. */
static int cancel(struct cancel *x)
{
    struct redis_reply *r = NULL;
    struct err err = {0};
    int code = CTL_OK;

    for (int look = 0; look < 2; look++) {
        redis_reply_free(r);
        r = find_place(x, &err) ? send_cancel(x, &err) : NULL;
        if (!r)
            return ctl_fail(x->c, &err);
        if (!slice_is(redis_reply_str(r), "MARKED") || !has_moved(x, &code))
            break;
    }
    if (code == CTL_OK)
        code = say_answer(x, redis_reply_str(r));
    redis_reply_free(r);
    return code;
}

int job_cancel(struct ctl *c, const struct args *a)
{
    struct cancel x = {.c = c, .out = "results", .to_out = true};
    int64_t now;
    int code;

    if ((code = job_id(c, a, x.id)) || (code = ctl_connect(c)) || (code = ctl_now(c, &now)) ||
        (code = job_read_run(c, x.id, &x.run)))
        return code;
    code = x.run.state.len > 0 ? cancel(&x) : ctl_say(CTL_NOT_FOUND, "no job %s is known", x.id);
    redis_reply_free(x.run.reply);
    return code;
}

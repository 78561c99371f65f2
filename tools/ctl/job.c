/* awq-ctl job: put jobs on a queue, see where one is, wait for it, stop it. */
#include "tools/ctl/job.h"

#include <inttypes.h>

#include "common/key.h"
#include "tools/ctl/link.h"

int job_id(struct ctl *c, const struct args *a, char to[ID_MAX + 1])
{
    if (!id_is_run(slice_cstr(a->names[0])))
        return ctl_usage(c, "a job id is 1-64 of A-Z a-z 0-9 _ : -");
    slice_copy(slice_cstr(a->names[0]), to, ID_MAX + 1);
    return CTL_OK;
}

/* c0 is SEQ:nonce of the last commit, after an x when the run was cancelled (commit.lua): the job
 * is the one after that, unless the run has ended with it. A letter's run ends by what a person
 * does. */
static uint64_t seq_of(struct slice state, struct slice c0)
{
    struct slice seq = SLICE_NONE;
    uint64_t n = 0;

    if (slice_starts(c0, SLICE_LIT("x")))
        c0 = slice_sub(c0, 1, c0.len);
    slice_cut(&c0, ':', &seq);
    if (!slice_to_u64(seq, &n))
        return 0;
    return job_has_ended(state) && !slice_is(state, "dead") ? n : n + 1;
}

/* SEQ ATTEMPTS STATUS CODE TEXT (retry.lua); of an earlier step it says nothing any more. */
static struct attempt attempt_of(struct slice er, uint64_t seq_now)
{
    struct slice seq = SLICE_NONE, count = SLICE_NONE, status = SLICE_NONE;
    struct attempt a = {.count = 0};
    uint64_t of_seq;

    slice_cut(&er, ' ', &seq);
    slice_cut(&er, ' ', &count);
    slice_cut(&er, ' ', &status);
    slice_cut(&er, ' ', &a.code);
    a.text = er;
    if (er.len > 0 && slice_to_u64(seq, &of_seq) && of_seq == seq_now &&
        slice_to_u64(count, &a.count) && slice_to_i64(status, &a.status))
        return a;
    return (struct attempt){.count = 0};
}

int job_read_run(struct ctl *c, const char *id, struct run *r)
{
    struct err err = {0};
    struct key run;

    key_run(&run, CTL_SHARD, slice_cstr(id));
    r->reply =
        link_ask(c->link, &err, "HMGET", run.s, "st", "pl", "tm", "c0", "cn", "r", "er", "lt");
    if (!r->reply)
        return ctl_fail(c, &err);
    r->state = redis_reply_str(redis_reply_at(r->reply, 0));
    r->place = redis_reply_str(redis_reply_at(r->reply, 1));
    r->time_ms = redis_reply_int(redis_reply_at(r->reply, 2), 0);
    r->seq = seq_of(r->state, redis_reply_str(redis_reply_at(r->reply, 3)));
    r->cancel_asked = redis_reply_str(redis_reply_at(r->reply, 4)).len > 0;
    r->result = redis_reply_str(redis_reply_at(r->reply, 5));
    r->letter = redis_reply_str(redis_reply_at(r->reply, 7));
    r->failed = attempt_of(redis_reply_str(redis_reply_at(r->reply, 6)), r->seq);
    return CTL_OK;
}

/* "a token of connection crm: NEEDS_CONSENT, invalid_grant". Whose lane is waited for waits for a
 * person, where the connection does: its lane opens by itself, and nothing is called then. */
static void say_connection(struct ctl *c, struct slice id, bool lane, struct buf *to)
{
    struct redis_reply *r;
    struct slice state, why = SLICE_NONE;
    struct key conn;
    bool disabled;

    key_conn(&conn, id);
    r = link_ask(c->link, NULL, "HMGET", conn.s, "state", "why", "dr");
    state = redis_reply_str(redis_reply_at(r, 0));
    disabled = slice_is(state, "DISABLED");
    if (!slice_is(state, "RENEWING")) /* of one under way an older failure says nothing */
        why = redis_reply_str(redis_reply_at(r, disabled ? 2 : 1));
    if (lane && !disabled && !slice_is(state, "NEEDS_CONSENT"))
        buf_addf(to,
                 "the lane of connection %.*s: its limits, a pause the API asked for, or failures",
                 SLICE_FMT(id));
    else
        buf_addf(to, "a token of connection %.*s: %.*s%s%.*s", SLICE_FMT(id),
                 SLICE_FMT(state.len > 0 ? state : SLICE_LIT("no such connection")),
                 why.len > 0 ? ", " : "", SLICE_FMT(why));
    redis_reply_free(r);
}

/* What its job is called: "" where its id makes no name. */
static const char *name_of(const char *id, const struct run *r, char text[JOB_NAME_MAX])
{
    const struct job_name name = {slice_cstr(id), SLICE_LIT("0"), r->seq};

    return job_name_build(&name, text) ? text : "";
}

/* What is ready, and what is in work until it is committed, lies in the queue or in its lane. */
static bool is_lost(struct ctl *c, const char *id, struct slice queue)
{
    struct redis_reply *r[3];
    struct key key, lane, run;
    bool lost;

    key_queue(&key, CTL_SHARD, queue);
    key_lane(&lane, CTL_SHARD, queue);
    r[0] = link_ask(c->link, NULL, "XLEN", key.s);
    r[1] = link_ask(c->link, NULL, "XLEN", lane.s);
    key_run(&run, CTL_SHARD, slice_cstr(id));
    r[2] = link_ask(c->link, NULL, "HGET", run.s, "st"); /* it may have ended since it was read */
    lost = redis_reply_int(r[0], -1) == 0 && redis_reply_int(r[1], -1) == 0 &&
           slice_is(redis_reply_str(r[2]), "ready");
    for (size_t i = 0; i < ARRAY_LEN(r); i++)
        redis_reply_free(r[i]);
    return lost;
}

static void waits_for(struct ctl *c, const char *id, const struct run *r, struct buf *to)
{
    struct slice park = SLICE_LIT("park:"), conn = SLICE_LIT("park:conn:"),
                 lane = SLICE_LIT("park:lane:"), queue = SLICE_LIT("q:");
    char name[JOB_NAME_MAX];

    if (job_has_ended(r->state) && !slice_is(r->state, "dead"))
        buf_add_cstr(to, "");
    else if (slice_is(r->state, "dead"))
        buf_addf(to, "a person: awq-ctl dead show %.*s",
                 SLICE_FMT(r->letter.len > 0 ? r->letter : slice_cstr(name_of(id, r, name))));
    else if (slice_starts(r->place, conn))
        say_connection(c, slice_sub(r->place, conn.len, r->place.len), false, to);
    else if (slice_starts(r->place, lane))
        say_connection(c, slice_sub(r->place, lane.len, r->place.len), true, to);
    else if (slice_is(r->place, "due"))
        buf_add_cstr(to, "its time");
    else if (slice_starts(r->place, park))
        buf_add_slice(to, slice_sub(r->place, park.len, r->place.len));
    else if (is_lost(c, id, slice_sub(r->place, queue.len, r->place.len)))
        buf_addf(to,
                 "nothing any more: queue %.*s is empty, so somebody deleted its entry there; job "
                 "cancel %s ends it, then enqueue it under another id",
                 SLICE_FMT(slice_sub(r->place, queue.len, r->place.len)), id);
    else
        buf_addf(to, "its turn on queue %.*s (queue ls), if a worker has not begun it already",
                 SLICE_FMT(slice_sub(r->place, queue.len, r->place.len)));
}

/* When it is to be ready again; 0 when it has just been moved on. */
static int64_t due_ms(struct ctl *c, const char *id, const struct run *r)
{
    struct redis_reply *score;
    char name[JOB_NAME_MAX];
    struct key due;
    int64_t ms;

    key_due(&due, CTL_SHARD);
    score = link_ask(c->link, NULL, "ZSCORE", due.s, name_of(id, r, name));
    ms = ctl_score(redis_reply_str(score));
    redis_reply_free(score);
    return ms;
}

static void show_attempt(struct ctl *c, const struct attempt *a)
{
    struct json_writer w;
    struct buf text;

    out_key(&c->out, "attempts");
    out_int(&c->out, (int64_t)a->count);
    if (a->count == 0)
        return;
    buf_init(&text, 4096);
    out_key(&c->out, "last_error");
    if (c->out.json) {
        jw_init(&w, &text);
        jw_obj(&w);
        jw_key(&w, "code");
        jw_str(&w, a->code);
        jw_key(&w, "status");
        jw_int(&w, a->status);
        jw_key(&w, "detail");
        jw_str(&w, a->text);
        jw_end_obj(&w);
        out_json(&c->out, buf_slice(&text));
    } else {
        buf_add_slice(&text, a->code);
        if (a->status > 0)
            buf_addf(&text, " (%" PRId64 ")", a->status);
        buf_addf(&text, ": %.*s", SLICE_FMT(a->text));
        out_text(&c->out, buf_slice(&text));
    }
    buf_deinit(&text);
}

static void show_run(struct ctl *c, const char *id, const struct run *r)
{
    struct buf text;

    buf_init(&text, 64u * 1024 * 1024);
    out_thing(&c->out);
    out_key(&c->out, "id");
    out_cstr(&c->out, id);
    out_key(&c->out, "state");
    out_text(&c->out, r->state);
    if (r->place.len > 0 && (!job_has_ended(r->state) || slice_is(r->state, "dead"))) {
        out_key(&c->out, "place");
        out_text(&c->out, r->place);
    }
    out_key(&c->out, slice_is(r->state, "dead") ? "buried" : "queued");
    out_time(&c->out, r->time_ms);
    if (slice_is(r->place, "due")) {
        out_key(&c->out, "due");
        out_time(&c->out, due_ms(c, id, r));
    }
    if (!job_has_ended(r->state))
        show_attempt(c, &r->failed);
    out_key(&c->out, "seq");
    out_int(&c->out, (int64_t)r->seq);
    out_key(&c->out, "cancel_asked");
    out_bool(&c->out, r->cancel_asked);
    waits_for(c, id, r, &text);
    out_key(&c->out, "waits_for");
    out_text(&c->out, buf_slice(&text));
    buf_clear(&text);
    if (r->result.len > 0 && job_result_json(&text, slice_cstr(id), r->state, r->result)) {
        out_key(&c->out, "last_result");
        out_json(&c->out, buf_slice(&text));
    }
    out_thing_end(&c->out);
    buf_deinit(&text);
}

static int job_get(struct ctl *c, const struct args *a)
{
    char id[ID_MAX + 1];
    struct run r = {.reply = NULL};
    int64_t now;
    int code;

    if ((code = job_id(c, a, id)) || (code = ctl_connect(c)) || (code = ctl_now(c, &now)) ||
        (code = job_read_run(c, id, &r)))
        return code;
    if (r.state.len == 0) {
        redis_reply_free(r.reply);
        return ctl_say(CTL_NOT_FOUND,
                       "no job %s is known (never enqueued, put by bare XADD and not taken yet, or "
                       "forgotten after its time)",
                       id);
    }
    show_run(c, id, &r);
    redis_reply_free(r.reply);
    return CTL_OK;
}

static const struct flag enqueue_flags[] = {
    [E_FILE] = {"--file", "-f", "FILE", "a JSON job, or one a line; - is standard input"},
    [E_QUEUE] = {"--queue", "-q", "NAME", "the queue (default: default)"},
    [E_WAIT] = {"--wait", "-w", NULL, "wait for the results and print them, JSON, one a line"},
    [E_TIMEOUT] = {"--timeout", NULL, "TIME", "wait so long at most, for all (default 30s)"},
    [E_BACKLOG] = {"--backlog", NULL, "N", "refuse when so many wait already (default 1000000)"},
    [E_DEDUP] = {"--dedup", NULL, "TIME",
                 "the same id again within this is the same job "
                 "(default 10m)"},
    [E_SIGN] = {"--sign", NULL, "FILE", "sign with this producer's key (producer keygen)"},
    [E_PRODUCER] = {"--producer", NULL, "NAME", "whose key that is"},
};
static const struct flag wait_flags[] = {
    {"--timeout", NULL, "TIME", "wait so long at most (default 30s)"},
};

const struct verb job_verbs[] = {
    {.noun = "job",
     .name = "enqueue",
     .usage = "-f FILE [--queue NAME] [--wait]",
     .help = "Put jobs on a queue; a job without an id gets one",
     .flags = enqueue_flags,
     .flag_count = ARRAY_LEN(enqueue_flags),
     .run = job_enqueue},
    {.noun = "job",
     .name = "get",
     .usage = "ID",
     .help = "Where a job is, what it waits for, its last error and result",
     .least = 1,
     .most = 1,
     .run = job_get},
    {.noun = "job",
     .name = "wait",
     .usage = "ID [--timeout TIME]",
     .help = "Wait until a job has ended and print its last result, JSON; exit 1 unless it is done",
     .flags = wait_flags,
     .flag_count = ARRAY_LEN(wait_flags),
     .least = 1,
     .most = 1,
     .run = job_wait},
    {.noun = "job",
     .name = "cancel",
     .usage = "ID",
     .help = "Stop a job: what waits is taken back, what is in flight gets no next step, no retry",
     .least = 1,
     .most = 1,
     .changes = true,
     .run = job_cancel},
    {.name = NULL},
};

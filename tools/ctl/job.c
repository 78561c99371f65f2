/* awq-ctl job: put jobs on a queue, see where one is, wait for it, stop it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "common/json.h"
#include "common/key.h"
#include "common/wire.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/letter.h"
#include "tools/ctl/link.h"

#define FILE_MAX        (64u * 1024 * 1024)
#define BACKLOG_DEFAULT 1000000
#define DEDUP_DEFAULT   (10 * 60 * 1000)
#define RESULTS_CAP     "100000"
#define SEARCH_MAX      1000 /* entries of a queue that cancel looks through */
#define SEARCH_PAGE     "100"

/* ---- enqueue ------------------------------------------------------------------------------------
 */

struct enqueue {
    struct ctl *c;
    const char *queue;
    int64_t backlog, dedup_ms;
    struct envelope env;
    char (*ids)[ID_MAX + 1]; /* of those to wait for */
    size_t count, room, good, bad;
};

enum { E_FILE, E_QUEUE, E_WAIT, E_TIMEOUT, E_BACKLOG, E_DEDUP };

static const char *const enqueue_columns[] = {"id", "queue", "answer"};

static bool read_input(const char *name, struct buf *text, struct err *err)
{
    FILE *f = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
    char chunk[16384];
    size_t n;
    bool ok;

    if (!f)
        return err_set(err, ERR_CONFIG, "%s: %s", name, strerror(errno));
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && buf_add(text, chunk, n))
        ;
    ok = !ferror(f) && buf_ok(text);
    if (!ok)
        err_set(err, ERR_CONFIG, "%s: %s", name,
                ferror(f) ? strerror(errno) : "larger than 64 MiB");
    if (f != stdin)
        fclose(f);
    return ok;
}

/* The job with an id: its own, or a new one put before its members. */
static bool with_id(const struct json_val *job, struct buf *out)
{
    const struct json_val *v;
    struct json_writer w;
    struct json_iter it;
    struct slice key;
    char id[33];

    if (json_type(json_get(job, "id")) != JSON_NONE)
        return json_write(out, job);
    id_hex(id, 16);
    jw_init(&w, out);
    jw_obj(&w);
    jw_key(&w, "id");
    jw_cstr(&w, id);
    json_iter_init(&it, job);
    while (json_iter_next(&it, &key, &v)) {
        struct buf value;

        buf_init(&value, WIRE_MAX_DEFAULT * 8);
        json_write(&value, v);
        jw_key_slice(&w, key);
        jw_raw(&w, buf_slice(&value));
        if (!buf_ok(&value))
            out->failed = true;
        buf_deinit(&value);
    }
    jw_end_obj(&w);
    return buf_ok(out);
}

/* JSON to a checked envelope, in `j`; e->env borrows from it. */
static bool pack(struct enqueue *e, const struct json_val *job, struct buf *j, struct err *err)
{
    struct buf text;
    bool ok;

    buf_init(&text, WIRE_MAX_DEFAULT * 8);
    if (json_type(job) != JSON_OBJ)
        ok = err_set(err, ERR_FORMAT, "a job must be a JSON object");
    else if (!with_id(job, &text))
        ok = err_set(err, ERR_NOMEM, "too big for a job");
    else
        ok = wire_from_json(j, buf_slice(&text), err) &&
             envelope_decode(&e->env, buf_slice(j), WIRE_MAX_DEFAULT, err);
    buf_deinit(&text);
    return ok;
}

/* enqueue.lua's word, or NULL and *err. */
static const char *put(struct enqueue *e, struct slice j, struct err *err)
{
    static const char *const words[] = {"OK", "DUPLICATE", "BACKLOG_FULL"};
    const struct job_name name = {e->env.id, SLICE_LIT("0"), 0};
    struct key queue, dedup, run, held, due, dead, wake;
    char at[24], backlog[24], dedup_ms[24], text[JOB_NAME_MAX];
    const char *said = NULL;
    struct redis_reply *r;

    if (!job_name_build(&name, text)) {
        err_set(err, ERR_FORMAT, "its id makes no job name");
        return NULL;
    }
    key_queue(&queue, CTL_SHARD, slice_cstr(e->queue));
    key_dedup(&dedup, CTL_SHARD, e->env.id);
    key_run(&run, CTL_SHARD, e->env.id);
    key_held(&held, CTL_SHARD);
    key_due(&due, CTL_SHARD);
    key_dead(&dead, CTL_SHARD);
    key_wake(&wake);
    snprintf(at, sizeof at, "%" PRId64, e->env.not_before);
    snprintf(backlog, sizeof backlog, "%" PRId64, e->backlog);
    snprintf(dedup_ms, sizeof dedup_ms, "%" PRId64, e->dedup_ms);
    const struct slice argv[] = {
        key_slice(&queue),    key_slice(&dedup), key_slice(&run),     key_slice(&held),
        key_slice(&due),      key_slice(&dead),  slice_cstr(text),    j,
        SLICE_NONE,           slice_cstr(at),    slice_cstr(backlog), slice_cstr(dedup_ms),
        slice_cstr(e->queue), key_slice(&wake),
    };

    r = link_script(e->c->link, SCRIPT_enqueue, 6, ARRAY_LEN(argv), argv, err);
    for (size_t i = 0; r && i < ARRAY_LEN(words); i++) {
        if (slice_is(redis_reply_str(r), words[i]))
            said = words[i];
    }
    if (r && !said)
        err_set(err, ERR_FORMAT, "an answer that this version does not know");
    redis_reply_free(r);
    return said;
}

static bool remember(struct enqueue *e)
{
    if (e->count == e->room) {
        size_t room = e->room * 2 + 16;
        void *p = realloc(e->ids, room * sizeof *e->ids);

        if (!p)
            return false;
        e->ids = p;
        e->room = room;
    }
    slice_copy(e->env.id, e->ids[e->count++], sizeof *e->ids);
    return true;
}

/* One job; what is wrong with it is said with its line (0 = the only one). */
static int enqueue_one(struct enqueue *e, const struct json_val *job, unsigned line)
{
    struct err err = {0};
    const char *said = NULL;
    struct buf j;
    int code = CTL_OK;

    buf_init(&j, WIRE_MAX_DEFAULT * 2);
    if (pack(e, job, &j, &err))
        said = put(e, buf_slice(&j), &err);
    if (!said || strcmp(said, "BACKLOG_FULL") == 0 || !remember(e)) {
        if (said)
            err_set(&err, ERR_RETRY, "queue %s is full (backlog limit %" PRId64 "); try later",
                    e->queue, e->backlog);
        if (line > 0)
            err_prefix(&err, "line %u: ", line);
        code = ctl_fail(e->c, &err);
        e->bad++;
    } else {
        e->good++;
        out_row(&e->c->out);
        out_text(&e->c->out, e->env.id);
        out_cstr(&e->c->out, e->queue);
        out_cstr(&e->c->out, strcmp(said, "OK") == 0 ? "enqueued" : "already known");
    }
    buf_deinit(&j);
    return code == CTL_UNREACHABLE ? code : CTL_OK;
}

static int enqueue_line(struct enqueue *e, struct slice text, unsigned line)
{
    struct err err = {0};
    struct json *doc = json_parse(text, &err);
    int code;

    if (!doc) {
        e->bad++;
        return ctl_say(CTL_OK, "line %u: %s", line, err.msg);
    }
    code = enqueue_one(e, json_root(doc), line);
    json_free(doc);
    return code;
}

/* One object (however many lines it is written on), or an object a line. */
static int enqueue_all(struct enqueue *e, struct slice text)
{
    struct json *doc = json_parse(text, NULL);
    struct slice line;
    int code = CTL_OK;

    if (doc) {
        code = enqueue_one(e, json_root(doc), 0);
        json_free(doc);
        return code;
    }
    for (unsigned no = 1; code == CTL_OK && slice_cut(&text, '\n', &line); no++) {
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (slice_trim(line).len > 0)
            code = enqueue_line(e, line, no);
    }
    if (code == CTL_OK && e->good + e->bad == 0)
        return ctl_say(CTL_FAILED, "there is no job in it");
    return code;
}

static int wait_for_runs(struct ctl *c, char (*ids)[ID_MAX + 1], size_t count, int64_t limit_ms);

static int job_enqueue(struct ctl *c, const struct args *a)
{
    struct enqueue e = {.c = c, .queue = a->flag[E_QUEUE] ? a->flag[E_QUEUE] : "default"};
    struct err err = {0};
    int64_t limit_ms;
    struct buf text;
    int code;

    if (!a->flag[E_FILE])
        return ctl_usage(c, "-f FILE is missing");
    if (!id_is_queue(slice_cstr(e.queue)))
        return ctl_usage(c, "a queue's name is 1-64 of A-Z a-z 0-9 _ -");
    if ((code = ctl_flag_ms(c, a, E_TIMEOUT, 30000, &limit_ms)) ||
        (code = ctl_flag_int(c, a, E_BACKLOG, 1, INT64_MAX, BACKLOG_DEFAULT, &e.backlog)) ||
        (code = ctl_flag_ms(c, a, E_DEDUP, DEDUP_DEFAULT, &e.dedup_ms)))
        return code;
    if (e.dedup_ms < 1)
        return ctl_usage(c, "--dedup must not be 0");
    buf_init(&text, FILE_MAX);
    if (!read_input(a->flag[E_FILE], &text, &err)) {
        buf_deinit(&text);
        return ctl_fail(c, &err);
    }
    envelope_init(&e.env);
    if ((code = ctl_connect(c)) == CTL_OK && (code = ctl_meta(c)) == CTL_OK) {
        bool show = !a->flag[E_WAIT]; /* with --wait the results are what is printed */

        out_list(&c->out, enqueue_columns, ARRAY_LEN(enqueue_columns));
        code = enqueue_all(&e, buf_slice(&text));
        if (show)
            out_list_end(&c->out, "nothing was enqueued");
        else
            out_list_drop(&c->out);
    }
    if (code == CTL_OK && e.bad > 0)
        code = e.good > 0 ? CTL_PARTIAL : CTL_FAILED;
    if (a->flag[E_WAIT] && e.count > 0 && code != CTL_UNREACHABLE) {
        int waited = wait_for_runs(c, e.ids, e.count, limit_ms);

        code = code == CTL_OK ? waited : code;
    }
    envelope_deinit(&e.env);
    buf_deinit(&text);
    free(e.ids);
    return code;
}

/* ---- wait ---------------------------------------------------------------------------------------
 */

static bool has_ended(struct slice state)
{
    static const char *const ends[] = {"done", "failed", "dead", "expired", "cancelled"};

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (slice_is(state, ends[i]))
            return true;
    }
    return false;
}

/* The last result of a run as JSON; one that has none (a purged letter) is said by its state. */
static bool result_json(struct buf *out, struct slice id, struct slice state, struct slice bytes)
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
    *ended = has_ended(state);
    if (*ended) {
        *done = slice_is(state, "done");
        buf_init(&json, 64u * 1024 * 1024);
        if (result_json(&json, slice_cstr(id), state, redis_reply_str(redis_reply_at(r, 1))))
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

static int wait_for_runs(struct ctl *c, char (*ids)[ID_MAX + 1], size_t count, int64_t limit_ms)
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

static int job_id(struct ctl *c, const struct args *a, char to[ID_MAX + 1])
{
    if (!id_is_job(slice_cstr(a->names[0])))
        return ctl_usage(c, "a job id is 1-64 of A-Z a-z 0-9 _ : -");
    slice_copy(slice_cstr(a->names[0]), to, ID_MAX + 1);
    return CTL_OK;
}

static int job_wait(struct ctl *c, const struct args *a)
{
    char id[1][ID_MAX + 1];
    int64_t limit_ms;
    int code;

    if ((code = job_id(c, a, id[0])) || (code = ctl_flag_ms(c, a, 0, 30000, &limit_ms)) ||
        (code = ctl_connect(c)))
        return code;
    return wait_for_runs(c, id, 1, limit_ms);
}

/* ---- get ----------------------------------------------------------------------------------------
 */

struct run {
    struct redis_reply *reply;
    struct slice state, place, result;
    int64_t time_ms;
    uint64_t seq;
    bool cancel_asked;
};

static int read_run(struct ctl *c, const char *id, struct run *r)
{
    struct err err = {0};
    struct key run;

    key_run(&run, CTL_SHARD, slice_cstr(id));
    r->reply = link_ask(c->link, &err, "HMGET", run.s, "st", "pl", "tm", "s0", "cn", "r");
    if (!r->reply)
        return ctl_fail(c, &err);
    r->state = redis_reply_str(redis_reply_at(r->reply, 0));
    r->place = redis_reply_str(redis_reply_at(r->reply, 1));
    r->time_ms = redis_reply_int(redis_reply_at(r->reply, 2), 0);
    r->seq = (uint64_t)redis_reply_int(redis_reply_at(r->reply, 3), 0);
    r->cancel_asked = redis_reply_str(redis_reply_at(r->reply, 4)).len > 0;
    r->result = redis_reply_str(redis_reply_at(r->reply, 5));
    return CTL_OK;
}

/* "connection crm: NEEDS_CONSENT (invalid_grant)" */
static bool say_connection(struct ctl *c, struct slice id, struct buf *to)
{
    struct err err = {0};
    struct redis_reply *r;
    struct key conn;

    key_conn(&conn, id);
    r = link_ask(c->link, &err, "HMGET", conn.s, "state", "why");
    buf_addf(to, "a token of connection %.*s: ", SLICE_FMT(id));
    if (r && redis_reply_str(redis_reply_at(r, 0)).len > 0)
        buf_add_slice(to, redis_reply_str(redis_reply_at(r, 0)));
    else
        buf_add_cstr(to, "no such connection");
    if (r && redis_reply_str(redis_reply_at(r, 1)).len > 0) {
        buf_add_cstr(to, ", ");
        buf_add_slice(to, redis_reply_str(redis_reply_at(r, 1)));
    }
    redis_reply_free(r);
    return buf_ok(to);
}

static void waits_for(struct ctl *c, const struct run *r, struct buf *to)
{
    struct slice park = SLICE_LIT("park:"), conn = SLICE_LIT("park:conn:"),
                 lane = SLICE_LIT("park:lane:");

    if (has_ended(r->state) && !slice_is(r->state, "dead"))
        buf_add_cstr(to, "");
    else if (slice_is(r->state, "dead"))
        buf_add_cstr(to, "a person: awq-ctl dead show");
    else if (slice_starts(r->place, conn))
        say_connection(c, slice_sub(r->place, conn.len, r->place.len), to);
    else if (slice_starts(r->place, lane))
        buf_addf(to, "the lane of connection %.*s: its limit, or a pause the API asked for",
                 SLICE_FMT(slice_sub(r->place, lane.len, r->place.len)));
    else if (slice_is(r->place, "due"))
        buf_add_cstr(to, "its time");
    else if (slice_starts(r->place, park))
        buf_add_slice(to, slice_sub(r->place, park.len, r->place.len));
    else
        buf_add_cstr(to, "a worker, or is being called right now");
}

/* When it is to be ready again; 0 when it has just been moved on. */
static int64_t due_ms(struct ctl *c, const char *id, const struct run *r)
{
    const struct job_name name = {slice_cstr(id), SLICE_LIT("0"), r->seq};
    struct redis_reply *score = NULL;
    char text[JOB_NAME_MAX];
    struct key due;
    int64_t ms;

    key_due(&due, CTL_SHARD);
    if (job_name_build(&name, text))
        score = link_ask(c->link, NULL, "ZSCORE", due.s, text);
    ms = ctl_score(redis_reply_str(score));
    redis_reply_free(score);
    return ms;
}

static int job_get(struct ctl *c, const struct args *a)
{
    char id[ID_MAX + 1];
    struct run r = {.reply = NULL};
    struct buf text;
    int64_t now;
    int code;

    if ((code = job_id(c, a, id)) || (code = ctl_connect(c)) || (code = ctl_now(c, &now)) ||
        (code = read_run(c, id, &r)))
        return code;
    if (r.state.len == 0) {
        redis_reply_free(r.reply);
        return ctl_say(CTL_NOT_FOUND,
                       "no job %s is known (never enqueued, put by bare XADD and not taken yet, or "
                       "forgotten after its time)",
                       id);
    }
    buf_init(&text, 64u * 1024 * 1024);
    out_thing(&c->out);
    out_key(&c->out, "id");
    out_cstr(&c->out, id);
    out_key(&c->out, "state");
    out_text(&c->out, r.state);
    if (!has_ended(r.state) || slice_is(r.state, "dead")) {
        out_key(&c->out, "place");
        out_text(&c->out, r.place);
    }
    if (slice_is(r.place, "due")) {
        out_key(&c->out, "due");
        out_time(&c->out, due_ms(c, id, &r));
    } else {
        out_key(&c->out, slice_is(r.state, "dead") ? "buried" : "queued");
        out_time(&c->out, r.time_ms);
    }
    out_key(&c->out, "seq");
    out_int(&c->out, (int64_t)r.seq);
    out_key(&c->out, "cancel_asked");
    out_bool(&c->out, r.cancel_asked);
    waits_for(c, &r, &text);
    out_key(&c->out, "waits_for");
    out_text(&c->out, buf_slice(&text));
    buf_clear(&text);
    if (r.result.len > 0 && result_json(&text, slice_cstr(id), r.state, r.result)) {
        out_key(&c->out, "last_result");
        out_json(&c->out, buf_slice(&text));
    }
    out_thing_end(&c->out);
    buf_deinit(&text);
    redis_reply_free(r.reply);
    return CTL_OK;
}

/* ---- cancel -------------------------------------------------------------------------------------
 */

struct cancel {
    struct ctl *c;
    char id[ID_MAX + 1];
    struct run run;
    char name[JOB_NAME_MAX], entry[48];
    struct key set, queue; /* where it lies */
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

static bool find_entry(struct cancel *x, struct slice queue, struct err *err)
{
    char last[48] = "-";

    key_queue(&x->queue, CTL_SHARD, queue);
    for (int n = 0; n < SEARCH_MAX && last[0] && !x->entry[0]; n += 100) {
        if (!find_page(x, last, err))
            return false;
    }
    return true;
}

static bool find_place(struct cancel *x, struct err *err)
{
    const struct job_name name = {slice_cstr(x->id), SLICE_LIT("0"), x->run.seq};
    struct slice place = x->run.place, park = SLICE_LIT("park:"), q = SLICE_LIT("q:");

    snprintf(x->out, sizeof x->out, "results");
    x->to_out = true;
    key_due(&x->set, CTL_SHARD);
    key_queue(&x->queue, CTL_SHARD, SLICE_LIT("default"));
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

static int cancel(struct cancel *x, struct err *err)
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
    struct key run, held, out;
    struct redis_reply *r;
    struct buf bytes;
    char ttl[24];
    int code;

    buf_init(&bytes, 4096);
    result_encode(&bytes, &result);
    key_run(&run, CTL_SHARD, slice_cstr(x->id));
    key_held(&held, CTL_SHARD);
    key_out(&out, CTL_SHARD, slice_cstr(x->out));
    snprintf(ttl, sizeof ttl, "%d", DEDUP_DEFAULT);
    const struct slice argv[] = {
        key_slice(&run),
        key_slice(&held),
        key_slice(&x->set),
        key_slice(&x->queue),
        key_slice(&out),
        slice_cstr(x->name),
        slice_cstr(x->entry),
        buf_slice(&bytes),
        SLICE_LIT(RESULTS_CAP),
        slice_cstr(ttl),
        x->to_out ? SLICE_LIT("1") : SLICE_LIT("0"),
    };

    r = link_script(x->c->link, SCRIPT_cancel, 5, ARRAY_LEN(argv), argv, err);
    buf_deinit(&bytes);
    if (!r)
        return -1;
    if (slice_is(redis_reply_str(r), "CANCELLED")) {
        out_note(&x->c->out, "job %s: cancelled; it will not run", x->id);
        code = CTL_OK;
    } else if (slice_is(redis_reply_str(r), "MARKED")) {
        out_note(&x->c->out,
                 "job %s: marked; a call may be in flight and is not stopped, but no next step\n"
                 "will follow it",
                 x->id);
        code = CTL_OK;
    } else {
        code = ctl_say(CTL_FAILED, "job %s has ended already", x->id);
    }
    if (x->c->out.json) {
        out_thing(&x->c->out);
        out_key(&x->c->out, "id");
        out_cstr(&x->c->out, x->id);
        out_key(&x->c->out, "answer");
        out_text(&x->c->out, redis_reply_str(r));
        out_thing_end(&x->c->out);
    }
    redis_reply_free(r);
    return code;
}

static int job_cancel(struct ctl *c, const struct args *a)
{
    struct cancel x = {.c = c};
    struct err err = {0};
    int64_t now;
    int code;

    if ((code = job_id(c, a, x.id)) || (code = ctl_connect(c)) || (code = ctl_now(c, &now)) ||
        (code = read_run(c, x.id, &x.run)))
        return code;
    if (x.run.state.len == 0)
        code = ctl_say(CTL_NOT_FOUND, "no job %s is known", x.id);
    else if (!find_place(&x, &err) || (code = cancel(&x, &err)) < 0)
        code = ctl_fail(c, &err);
    redis_reply_free(x.run.reply);
    return code;
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
     .help = "Where a job is, what it waits for, its last result",
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
     .help = "Stop a job: what waits is taken back, what is in flight gets no next step",
     .least = 1,
     .most = 1,
     .run = job_cancel},
    {.name = NULL},
};

/* awq-ctl job enqueue: put the jobs of a file on a queue. */
#include "tools/ctl/job.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/key.h"
#include "common/producer.h"
#include "common/wire.h"
#include "tools/ctl/link.h"

#define FILE_MAX        (64u * 1024 * 1024)
#define BACKLOG_DEFAULT 1000000
#define SIGNED_MS       300000 /* a signed job without a deadline gets one so far away */

struct enqueue {
    struct ctl *c;
    const char *queue;
    int64_t backlog, dedup_ms;
    struct envelope env;
    struct producer_key *key; /* NULL: nothing is signed */
    struct slice producer;
    struct buf sig;
    char (*ids)[ID_MAX + 1]; /* of those to wait for */
    size_t count, room, good, bad;
    bool wait;
};

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

static bool has(const struct json_val *job, const char *key)
{
    return json_type(json_get(job, key)) != JSON_NONE;
}

static void add_ms(struct json_writer *w, const struct json_val *job, const char *key, int64_t ms)
{
    if (has(job, key))
        return;
    jw_key(w, key);
    jw_int(w, ms);
}

/* The job with an id, and when it is to be signed with its times: its own, or new ones put before
 * its members. */
static bool with_id(const struct enqueue *e, const struct json_val *job, struct buf *out)
{
    const struct json_val *v;
    struct json_writer w;
    struct json_iter it;
    struct slice key;
    char id[33], whole[PRODUCER_NAME_MAX + 40];

    id_hex(id, e->key ? 12 : 16);
    snprintf(whole, sizeof whole, "%.*s%s%s", SLICE_FMT(e->producer), e->key ? ":" : "", id);
    jw_init(&w, out);
    jw_obj(&w);
    if (!has(job, "id")) {
        jw_key(&w, "id");
        jw_cstr(&w, whole);
    }
    if (e->key) {
        add_ms(&w, job, "iat", e->c->out.now_ms);
        add_ms(&w, job, "deadline", e->c->out.now_ms + SIGNED_MS);
    }
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

/* What every worker would refuse is not put. */
static bool sign(struct enqueue *e, struct slice j, struct err *err)
{
    buf_clear(&e->sig);
    if (!e->key)
        return true;
    if (!producer_may_sign(e->producer, e->env.id, e->env.iat, e->env.deadline, e->c->out.now_ms,
                           e->dedup_ms, err))
        return false;
    return producer_sign(e->key, slice_cstr(keys_prefix()), slice_cstr(e->queue), e->producer, j,
                         &e->sig) ||
           err_set(err, ERR_NOMEM, "out of memory");
}

/* JSON to a checked envelope, in `j`; e->env borrows from it. */
static bool pack(struct enqueue *e, const struct json_val *job, struct buf *j, struct err *err)
{
    struct buf text;
    bool ok;

    buf_init(&text, WIRE_MAX_DEFAULT * 8);
    if (json_type(job) != JSON_OBJ)
        ok = err_set(err, ERR_FORMAT, "a job must be a JSON object");
    else if (!with_id(e, job, &text))
        ok = err_set(err, ERR_NOMEM, "too big for a job");
    else
        ok = wire_from_json(j, buf_slice(&text), err) &&
             envelope_decode(&e->env, buf_slice(j), WIRE_MAX_DEFAULT, err) &&
             sign(e, buf_slice(j), err);
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
        buf_slice(&e->sig),   slice_cstr(at),    slice_cstr(backlog), slice_cstr(dedup_ms),
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

/* A worker of another version may know it; more often it is a slip of the pen, and nobody does. */
static void warn_of_stranger(const struct enqueue *e, unsigned line)
{
    char at[24] = "";

    if (e->env.stranger[0] == '\0')
        return;
    if (line > 0)
        snprintf(at, sizeof at, "line %u: ", line);
    ctl_say(0, "%sjob %.*s: no member is called %s: workers of this version do not look at it", at,
            SLICE_FMT(e->env.id), e->env.stranger);
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
            err_set(&err, ERR_RETRY,
                    "queue %s is full (what is on it, due or parked has reached the backlog limit "
                    "of %" PRId64 "); try later",
                    e->queue, e->backlog);
        if (line > 0)
            err_prefix(&err, "line %u: ", line);
        code = ctl_fail(e->c, &err);
        e->bad++;
    } else {
        e->good++;
        warn_of_stranger(e, line);
        out_row(&e->c->out);
        out_text(&e->c->out, e->env.id);
        out_cstr(&e->c->out, e->queue);
        out_cstr(&e->c->out, strcmp(said, "OK") == 0 ? "enqueued" : "already known");
        if (strcmp(said, "OK") != 0 && e->wait)
            ctl_say(0,
                    "job %.*s is known already, and was not put again: what follows is its result "
                    "of then",
                    SLICE_FMT(e->env.id));
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

static int take_key(struct enqueue *e, const struct args *a)
{
    struct err err = {0};

    if (!a->flag[E_SIGN] != !a->flag[E_PRODUCER])
        return ctl_usage(e->c, "--sign and --producer go together");
    if (!a->flag[E_SIGN])
        return CTL_OK;
    e->producer = slice_cstr(a->flag[E_PRODUCER]);
    if (!producer_is_name(e->producer))
        return ctl_usage(e->c, "a producer's name is 1-%d of A-Z a-z 0-9 _ -", PRODUCER_NAME_MAX);
    e->key = producer_key_load(a->flag[E_SIGN], &err);
    return e->key ? CTL_OK : ctl_fail(e->c, &err);
}

int job_enqueue(struct ctl *c, const struct args *a)
{
    struct enqueue e = {.c = c,
                        .queue = a->flag[E_QUEUE] ? a->flag[E_QUEUE] : "default",
                        .wait = a->flag[E_WAIT] != NULL};
    struct err err = {0};
    int64_t limit_ms, now;
    struct buf text;
    int code;

    if (!a->flag[E_FILE])
        return ctl_usage(c, "-f FILE is missing");
    if (!id_is_queue(slice_cstr(e.queue)))
        return ctl_usage(c, "a queue's name is 1-64 of A-Z a-z 0-9 _ -");
    if ((code = ctl_flag_ms(c, a, E_TIMEOUT, 30000, &limit_ms)) ||
        (code = ctl_flag_int(c, a, E_BACKLOG, 1, INT64_MAX, BACKLOG_DEFAULT, &e.backlog)) ||
        (code = ctl_flag_ms(c, a, E_DEDUP, JOB_DEDUP_MS, &e.dedup_ms)))
        return code;
    if (e.dedup_ms < 1)
        return ctl_usage(c, "--dedup must not be 0");
    if ((code = take_key(&e, a)))
        return code;
    buf_init(&e.sig, PRODUCER_SIG_BYTES + PRODUCER_NAME_MAX);
    buf_init(&text, FILE_MAX);
    if (!read_input(a->flag[E_FILE], &text, &err)) {
        buf_deinit(&text);
        producer_key_free(e.key);
        return ctl_fail(c, &err);
    }
    envelope_init(&e.env);
    if ((code = ctl_connect(c)) == CTL_OK && (code = ctl_meta(c)) == CTL_OK &&
        (code = ctl_now(c, &now)) == CTL_OK) {
        out_list(&c->out, enqueue_columns, ARRAY_LEN(enqueue_columns));
        code = enqueue_all(&e, buf_slice(&text));
        if (!e.wait) /* with it the results are what is printed */
            out_list_end(&c->out, "nothing was enqueued");
        else
            out_list_drop(&c->out);
    }
    if (code == CTL_OK && e.bad > 0)
        code = e.good > 0 ? CTL_PARTIAL : CTL_FAILED;
    if (e.wait && e.count > 0 && code != CTL_UNREACHABLE) {
        int waited = job_wait_runs(c, e.ids, e.count, limit_ms);

        code = code == CTL_OK ? waited : code;
    }
    envelope_deinit(&e.env);
    buf_deinit(&text);
    producer_key_free(e.key);
    buf_deinit(&e.sig);
    free(e.ids);
    return code;
}

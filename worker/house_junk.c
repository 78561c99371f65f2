#include "worker/house_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/wire.h"
#include "worker/meters.h"

#define SHOWN_MAX  96 /* bytes of a strange name that a log line or a text shows */
#define ITEM_ARGS  6
#define RESULT_MAX 4096

struct junk_item {
    char letter[JOB_NAME_MAX];
    struct key run;
    struct err why;
    struct buf result;
};

/* As much of a strange name as fits, none of it able to break a line. */
static const char *show(struct slice name, char out[SHOWN_MAX + 1])
{
    size_t n = name.len < SHOWN_MAX ? name.len : SHOWN_MAX;

    for (size_t i = 0; i < n; i++)
        out[i] = name.ptr[i] >= ' ' && name.ptr[i] < 0x7f ? name.ptr[i] : '?';
    out[n] = '\0';
    return out;
}

bool house_is_job(struct slice name, struct slice queue)
{
    struct job_name parts;

    return job_name_parse(name, &parts) && id_is_queue(queue);
}

/* The letter's name is the job's own; for a name that is none it is made of its digest, so that two
 * housekeepers choose the same one. The slice is its run. */
static struct slice name_letter(struct slice name, char letter[JOB_NAME_MAX])
{
    struct job_name parts;
    char digest[65];

    if (!job_name_parse(name, &parts) || !slice_copy(name, letter, JOB_NAME_MAX)) {
        seal_digest(name, digest);
        snprintf(letter, JOB_NAME_MAX, ID_BAD "%.32s.0.0", digest);
    }
    (void)job_name_parse(slice_cstr(letter), &parts);
    return parts.run;
}

static void judge(struct slice set, struct slice name, struct slice queue, struct err *why)
{
    struct job_name parts;
    char shown[SHOWN_MAX + 1];

    show(name, shown);
    if (queue.len == 0)
        err_rule(why, ERR_FORMAT, "job_lost",
                 "%.*s names %s, whose body is gone; enqueue the job again under another id",
                 SLICE_FMT(set), shown);
    else if (job_name_parse(name, &parts))
        err_rule(why, ERR_FORMAT, "job_unreadable",
                 "%.*s names %s, whose body cannot be read: somebody else wrote it; purge the "
                 "letter, and enqueue the job again",
                 SLICE_FMT(set), shown);
    else
        err_rule(why, ERR_FORMAT, "job_misplaced",
                 "%.*s held a job under a name that is none, \"%s\": somebody else wrote it; "
                 "replay the letter, or purge it",
                 SLICE_FMT(set), shown);
}

static void item_init(struct junk_item *it, struct house *h, struct slice set, struct slice name,
                      struct slice queue)
{
    struct slice run = name_letter(name, it->letter);
    struct result r = {
        .id = run,
        .run = run,
        .end = true,
        .state = queue.len == 0 ? RESULT_FAILED : RESULT_DEAD,
        .times.committed = worker_now_ms(h->w),
        .worker = slice_cstr(h->w->id),
    };

    it->why = (struct err){0};
    judge(set, name, queue, &it->why);
    r.error_code = r.error_title = slice_cstr(it->why.rule);
    r.error_detail = slice_cstr(it->why.msg);
    key_run(&it->run, SHARD, run);
    buf_init(&it->result, RESULT_MAX);
    (void)result_encode(&it->result, &r);
}

void house_log_junk(struct house *h, const char *place, struct slice name)
{
    char shown[SHOWN_MAX + 1];

    h->moved = true;
    meter_junk("dropped");
    log_event(LOG_WARN, EV_HOUSE_JUNK, F_CSTR("place", place), F_CSTR("name", show(name, shown)),
              F_CSTR("became", "nothing: it names nothing of awq's"));
}

void house_log_settled(struct house *h, struct slice name)
{
    char shown[SHOWN_MAX + 1];

    meter_junk("settled");
    log_event(LOG_WARN, EV_HOUSE_JUNK, F_CSTR("place", "held"), F_CSTR("name", show(name, shown)),
              F_CSTR("became", "due, or a dead letter again: its body lay in no set"));
    house_hint(h, 0);
}

static void on_junk(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct house *h = owner;
    char shown[SHOWN_MAX + 1];

    if (err) { /* the next look is the next attempt; the good jobs beside it do not wait */
        meter_redis_error(err);
        if (err->code != ERR_CANCELLED)
            log_event(LOG_WARN, EV_REDIS_ERROR, F_CSTR("what", "junk"), F_ERR(err));
        return;
    }
    for (size_t i = 0; i + 2 < redis_reply_len(reply); i += 3) {
        struct slice what = redis_reply_str(redis_reply_at(reply, i + 2));
        bool buried = slice_is(what, "BURIED");

        h->moved = true;
        meter_junk(buried ? "buried" : "dropped");
        log_event(
            LOG_WARN, EV_HOUSE_JUNK,
            F_CSTR("name", show(redis_reply_str(redis_reply_at(reply, i)), shown)),
            F_CSTR("became", buried ? "dead letter" : "nothing: it had no body"),
            F_STR("letter", buried ? redis_reply_str(redis_reply_at(reply, i + 1)) : SLICE_NONE));
    }
}

/* The arguments of one call of junk.lua. */
struct junk_call {
    struct junk_item items[HOUSE_BATCH];
    struct slice keys[4 + HOUSE_BATCH], args[2 + ITEM_ARGS * HOUSE_BATCH];
    size_t count;
};

static void call_add(struct junk_call *c, const struct junk_item *it, struct slice name, bool bare)
{
    struct slice *arg = c->args + 2 + ITEM_ARGS * c->count;

    c->keys[4 + c->count] = key_slice(&it->run);
    arg[0] = name;
    arg[1] = slice_cstr(it->letter);
    arg[2] = slice_cstr(it->why.rule);
    arg[3] = slice_cstr(it->why.msg);
    arg[4] = buf_slice(&it->result);
    arg[5] = bare ? SLICE_LIT("1") : SLICE_LIT("0");
    c->count++;
}

static void call_gather(struct junk_call *c, struct house *h, const struct key *set,
                        const struct redis_reply *names, size_t from)
{
    struct slice all = key_slice(set), place = all;

    if (slice_find(all, '}') + 2 < all.len) /* P:{sN}:due is called due */
        place = slice_sub(all, slice_find(all, '}') + 2, all.len);
    for (size_t i = from; i + 1 < redis_reply_len(names) && c->count < HOUSE_BATCH; i += 2) {
        struct slice name = redis_reply_str(redis_reply_at(names, i));
        struct slice queue = redis_reply_str(redis_reply_at(names, i + 1));
        struct junk_item *it = &c->items[c->count];

        if (house_is_job(name, queue))
            continue;
        item_init(it, h, place, name, queue);
        call_add(c, it, name, queue.len == 0);
    }
}

static bool call_send(struct junk_call *c, struct house *h, const struct key *set, struct err *err)
{
    struct slice argv[4 + HOUSE_BATCH + 2 + ITEM_ARGS * HOUSE_BATCH];
    struct key held, dead, out;
    char ttl[24], cap[24];
    size_t keys = 4 + c->count, args = 2 + ITEM_ARGS * c->count;

    key_held(&held, SHARD);
    key_dead(&dead, SHARD);
    key_out(&out, SHARD, SLICE_LIT("results"));
    snprintf(ttl, sizeof ttl, "%" PRId64, h->w->set->dedup_ms);
    snprintf(cap, sizeof cap, "%" PRId64, h->w->set->results_max);
    c->keys[0] = key_slice(set);
    c->keys[1] = key_slice(&held);
    c->keys[2] = key_slice(&dead);
    c->keys[3] = key_slice(&out);
    c->args[0] = slice_cstr(ttl);
    c->args[1] = slice_cstr(cap);
    memcpy(argv, c->keys, keys * sizeof *argv);
    memcpy(argv + keys, c->args, args * sizeof *argv);
    return redis_script(h->w->link, SCRIPT_junk, keys, keys + args, argv, on_junk, h, err);
}

void house_set_aside(struct house *h, const struct key *set, const struct redis_reply *names,
                     size_t from)
{
    struct junk_call *c = calloc(1, sizeof *c);
    struct err err = {0};

    if (!c)
        return;
    call_gather(c, h, set, names, from);
    if (c->count > 0 && !call_send(c, h, set, &err))
        on_junk(h, NULL, &err);
    for (size_t i = 0; i < c->count; i++)
        buf_deinit(&c->items[i].result);
    free(c);
}

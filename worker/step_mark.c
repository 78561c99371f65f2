#include <inttypes.h>
#include <stdio.h>

#include "worker/step_parts.h"

/* ---- MARK: `ambiguous: dead` must know after a crash whether a call may have left ---- */

static bool must_mark(const struct step *s)
{
    return s->env.call.ambiguous == AMBIGUOUS_DEAD && !s->marked;
}

/* Two commands, one after the other on one link: write our nonce where nothing is written yet, and
 * read what stands there. Ours, also when an answer was lost on the way: the call may leave, and it
 * has not. Another's: a delivery before this one got as far, and nobody knows how much further. */
static void on_mark_set(void *owner, const struct redis_reply *reply, const struct err *err)
{
    (void)owner;
    (void)reply;
    (void)err; /* the reading tells */
}

static void on_mark(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct step *s = owner;

    s->err = err ? *err : (struct err){0};
    s->look_done = true;
    s->marked = !err && slice_is(redis_reply_str(reply), s->nonce);
    if (!err && redis_reply_type(reply) == REDIS_NIL)
        err_set(&s->err, ERR_RETRY, "Redis did not take the mark");
    step_advance(s);
}

static void mark_place(const struct step *s, struct key *run, char *field, size_t size)
{
    key_run(run, SHARD, slice_cstr(s->run));
    snprintf(field, size, "m%" PRIu64 ".%" PRIu32, s->k.seq, s->k.attempt);
}

enum step_state step_mark(struct step *s)
{
    struct key run;
    char field[64];

    if (!must_mark(s))
        return STEP_SEND;
    mark_place(s, &run, field, sizeof field);
    const struct slice set[] = {SLICE_LIT("HSETNX"), key_slice(&run), slice_cstr(field),
                                slice_cstr(s->nonce)};
    const struct slice get[] = {SLICE_LIT("HGET"), key_slice(&run), slice_cstr(field)};

    s->look_done = false;
    if (!redis_command(s->w->link, ARRAY_LEN(set), set, 0, on_mark_set, s->w, &s->err) ||
        !redis_command(s->w->link, ARRAY_LEN(get), get, 0, on_mark, s, &s->err)) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    return STEP_MARKING;
}

/* The call will not be made here: who takes the job next must not think that it was. */
void step_unmark(struct step *s)
{
    struct key run;
    char field[64];
    struct err err = {0};

    if (!s->marked)
        return;
    s->marked = false;
    mark_place(s, &run, field, sizeof field);
    const struct slice argv[] = {SLICE_LIT("HDEL"), key_slice(&run), slice_cstr(field)};

    /* unanswered it stays, and the job is buried as of unknown outcome: never called twice */
    (void)redis_command(s->w->link, ARRAY_LEN(argv), argv, 0, on_mark_set, s->w, &err);
}

enum step_state step_marking(struct step *s)
{
    struct err err = {0};

    if (!s->look_done)
        return STEP_MARKING;
    if (s->marked)
        return STEP_SEND;
    if (s->err.code && s->err.code != ERR_FORMAT) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    err_rule(
        &err, ERR_UNKNOWN, "unknown_outcome",
        "job %s: a worker died when its call may have left; it is not repeated (ambiguous: dead)",
        s->name);
    return step_bury(s, &err);
}

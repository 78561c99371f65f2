#include <stdio.h>

#include "worker/step_parts.h"

/* ---- LOAD: an input that was too long to travel in the job ---- */

static void on_input(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct step *s = owner;

    s->err = err ? *err : (struct err){0};
    if (!err && !buf_add_slice(&s->input, redis_reply_str(reply)))
        err_set(&s->err, ERR_NOMEM, "out of memory");
    s->look_done = true;
    step_advance(s);
}

static enum step_state step_build(struct step *s)
{
    struct err err = {0};

    if (s->url.len == 0 && !step_build_request(s, &err))
        return step_bury(s, &err);
    return STEP_AUTHORIZE;
}

enum step_state step_load(struct step *s)
{
    struct key run;
    char field[WIRE_DIGEST_HEX + 8];

    if (s->k.input_digest.len == 0 || s->input.len > 0)
        return step_build(s);
    key_run(&run, SHARD, slice_cstr(s->run));
    snprintf(field, sizeof field, "i:%.*s", SLICE_FMT(s->k.input_digest));
    const struct slice argv[] = {SLICE_LIT("HGET"), key_slice(&run), slice_cstr(field)};

    s->look_done = false;
    if (!redis_command(s->w->link, ARRAY_LEN(argv), argv, 0, on_input, s, &s->err)) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    return STEP_LOADING;
}

enum step_state step_loading(struct step *s)
{
    struct err err = {0};
    char digest[WIRE_DIGEST_HEX + 1];

    if (!s->look_done)
        return STEP_LOADING;
    if (s->err.code && s->err.code != ERR_FORMAT) {
        s->stalled = true;
        return STEP_ADMIT;
    }
    seal_digest(buf_slice(&s->input), digest);
    if (!slice_is(s->k.input_digest, digest)) {
        err_rule(&err, ERR_NOT_FOUND, "input_lost",
                 "job %s: the output of its previous step is gone from the run record", s->name);
        return step_bury(s, &err);
    }
    s->k.input = buf_slice(&s->input);
    return step_build(s);
}

/* The record of a connection as HMGET gives it; connection.c knows what its settings mean. */
#include "common/connection.h"

#include "common/redis.h"

/* What a step needs comes first: a worker that has not seen a connection lately asks for no more.
 */
enum field {
    F_CFG,
    F_CM,
    F_CD,
    F_STATE,
    F_AT,
    F_DK,
    F_TK,
    F_SCOPE,
    F_GEN,
    F_VER,
    F_EXP,
    F_BORN,
    F_COOL,
    F_TRIPS,
    F_NEXT,
    STEP_FIELDS,
    F_GRANT = STEP_FIELDS,
    F_RT,
    F_CS,
    F_WHY,
    F_FAIL_TEXT,
    F_FAIL_TIME,
    F_LINK_HASH,
    F_TRIES,
    F_DISABLED_WHY,
    F_DISABLED_TIME,
    F_COOL_WHY,
    F_FAIL_CLASS,
    F_INTENT,
    F_INTENT_TIME,
    FIELDS,
};
_Static_assert(FIELDS + 2 == CONNECTION_RECORD_ARGS, "the command has a field for each");

static const char *const names[FIELDS] = {
    [F_CFG] = "cfg",
    [F_CM] = "cm",
    [F_CD] = "cd",
    [F_STATE] = "state",
    [F_AT] = "at",
    [F_DK] = "dk",
    [F_TK] = "tk",
    [F_SCOPE] = "scope",
    [F_GEN] = "gen",
    [F_VER] = "ver",
    [F_EXP] = "exp",
    [F_BORN] = "born",
    [F_COOL] = "cool",
    [F_TRIPS] = "bo",
    [F_NEXT] = "next",
    [F_GRANT] = "grant",
    [F_RT] = "rt",
    [F_CS] = "cs",
    [F_WHY] = "why",
    [F_FAIL_TEXT] = "fm",
    [F_FAIL_TIME] = "ft",
    [F_LINK_HASH] = "lh",
    [F_TRIES] = "tries",
    [F_DISABLED_WHY] = "dr",
    [F_DISABLED_TIME] = "dt",
    [F_COOL_WHY] = "cw",
    [F_FAIL_CLASS] = "fc",
    [F_INTENT] = "in",
    [F_INTENT_TIME] = "it",
};

static size_t ask(struct slice key, size_t fields, struct slice *argv)
{
    argv[0] = SLICE_LIT("HMGET");
    argv[1] = key;
    for (size_t i = 0; i < fields; i++)
        argv[2 + i] = slice_cstr(names[i]);
    return 2 + fields;
}

size_t connection_record_ask(struct slice key, struct slice argv[CONNECTION_RECORD_ARGS])
{
    return ask(key, FIELDS, argv);
}

size_t connection_record_ask_for_step(struct slice key, struct slice argv[CONNECTION_RECORD_ARGS])
{
    return ask(key, STEP_FIELDS, argv);
}

static struct slice text(const struct redis_reply *hmget, enum field f)
{
    return redis_reply_str(redis_reply_at(hmget, f));
}

static bool number(const struct redis_reply *hmget, enum field f, int64_t *to, struct err *err)
{
    struct slice s = text(hmget, f);
    uint64_t n = 0;

    if (s.len > 0 && (!slice_to_u64(s, &n) || n > INT64_MAX))
        return err_rule(
            err, ERR_FORMAT, "connection_broken",
            "its record has no number in field %s: somebody edited it. conn rm it, then "
            "conn apply its file",
            names[f]);
    *to = (int64_t)n;
    return true;
}

/* Fields that were not asked for are not in the reply, and read as not there. */
bool connection_record_read(struct connection_record *r, const struct redis_reply *hmget,
                            struct err *err)
{
    int64_t gen, ver, tries, trips;
    struct connection_record got = {
        .cfg = text(hmget, F_CFG),
        .cm = text(hmget, F_CM),
        .cd = text(hmget, F_CD),
        .state = text(hmget, F_STATE),
        .at = text(hmget, F_AT),
        .dk = text(hmget, F_DK),
        .tk = text(hmget, F_TK),
        .scope = text(hmget, F_SCOPE),
        .grant = text(hmget, F_GRANT),
        .rt = text(hmget, F_RT),
        .cs = text(hmget, F_CS),
        .why = text(hmget, F_WHY),
        .fail_text = text(hmget, F_FAIL_TEXT),
        .lh = text(hmget, F_LINK_HASH),
        .disabled_why = text(hmget, F_DISABLED_WHY),
        .cool_why = text(hmget, F_COOL_WHY),
        .fail_class = text(hmget, F_FAIL_CLASS),
        .intent = text(hmget, F_INTENT),
    };

    for (size_t i = 0; i < redis_reply_len(hmget); i++)
        got.exists = got.exists || redis_reply_type(redis_reply_at(hmget, i)) != REDIS_NIL;
    if (!number(hmget, F_GEN, &gen, err) || !number(hmget, F_VER, &ver, err) ||
        !number(hmget, F_TRIES, &tries, err) || !number(hmget, F_EXP, &got.exp_ms, err) ||
        !number(hmget, F_BORN, &got.born_ms, err) || !number(hmget, F_COOL, &got.cool_ms, err) ||
        !number(hmget, F_TRIPS, &trips, err) || !number(hmget, F_NEXT, &got.next_ms, err) ||
        !number(hmget, F_FAIL_TIME, &got.fail_ms, err) ||
        !number(hmget, F_DISABLED_TIME, &got.disabled_ms, err) ||
        !number(hmget, F_INTENT_TIME, &got.intent_ms, err))
        return false;
    got.gen = (uint64_t)gen;
    got.ver = (uint64_t)ver;
    got.trips = trips < UINT32_MAX ? (uint32_t)trips : UINT32_MAX;
    got.tries = tries < UINT32_MAX ? (uint32_t)tries : UINT32_MAX;
    *r = got;
    return true;
}

/* The record of a connection as HGETALL gives it; connection.c knows what its settings mean. */
#include "common/connection.h"

#include "common/redis.h"

static bool odd(struct err *err, const char *field)
{
    return err_rule(err, ERR_FORMAT, "connection_broken",
                    "a connection's record has no number in field %s", field);
}

static bool number(const struct redis_reply *reply, const char *field, int64_t *to, struct err *err)
{
    struct slice s = redis_reply_str(redis_reply_field(reply, field));
    uint64_t n = 0;

    if (s.len > 0 && (!slice_to_u64(s, &n) || n > INT64_MAX))
        return odd(err, field);
    *to = (int64_t)n;
    return true;
}

bool connection_record_read(struct connection_record *r, const struct redis_reply *hgetall,
                            struct err *err)
{
    struct connection_record got = {.exists = redis_reply_len(hgetall) > 0};
    const struct {
        const char *field;
        struct slice *to;
    } texts[] = {
        {"cfg", &got.cfg},         {"cm", &got.cm}, {"cd", &got.cd},       {"state", &got.state},
        {"grant", &got.grant},     {"at", &got.at}, {"rt", &got.rt},       {"cs", &got.cs},
        {"why", &got.why},         {"lh", &got.lh}, {"scope", &got.scope}, {"fm", &got.fail_text},
        {"dr", &got.disabled_why},
    };
    int64_t gen, ver, tries, trips;

    if (!number(hgetall, "gen", &gen, err) || !number(hgetall, "ver", &ver, err) ||
        !number(hgetall, "tries", &tries, err) || !number(hgetall, "exp", &got.exp_ms, err) ||
        !number(hgetall, "born", &got.born_ms, err) ||
        !number(hgetall, "cool", &got.cool_ms, err) || !number(hgetall, "bo", &trips, err) ||
        !number(hgetall, "next", &got.next_ms, err) || !number(hgetall, "ft", &got.fail_ms, err) ||
        !number(hgetall, "dt", &got.disabled_ms, err))
        return false;
    got.gen = (uint64_t)gen;
    got.ver = (uint64_t)ver;
    got.trips = trips < UINT32_MAX ? (uint32_t)trips : UINT32_MAX;
    got.tries = tries < UINT32_MAX ? (uint32_t)tries : UINT32_MAX;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i].to = redis_reply_str(redis_reply_field(hgetall, texts[i].field));
    *r = got;
    return true;
}

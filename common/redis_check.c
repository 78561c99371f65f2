#include "common/redis_check.h"

#include <string.h>

/* "7.0.15" -> 70015; what does not look like a version gives 0. */
static int version_number(struct slice s)
{
    int64_t part[3] = {0};
    struct slice head;

    for (int i = 0; i < 3 && slice_cut(&s, '.', &head); i++)
        if (!slice_to_i64(head, &part[i]) || part[i] < 0 || part[i] > 99)
            break;
    return (int)(part[0] * 10000 + part[1] * 100 + part[2]);
}

/* slave0, slave1, ... */
static bool is_replica_line(struct slice name)
{
    uint64_t n;

    return slice_starts(name, SLICE_LIT("slave")) &&
           slice_to_u64(slice_sub(name, strlen("slave"), name.len), &n);
}

/* ip=...,port=...,state=online,offset=...,lag=... Those are the ones that WAIT counts. */
static bool is_online(struct slice value)
{
    struct slice part;

    while (slice_cut(&value, ',', &part))
        if (slice_is(part, "state=online"))
            return true;
    return false;
}

static void take_field(struct redis_facts *f, struct slice name, struct slice value)
{
    struct redis_server *s = &f->server;

    if (slice_is(name, "run_id")) {
        slice_copy(value, s->run_id, sizeof s->run_id);
    } else if (slice_is(name, "redis_version")) {
        slice_copy(value, s->version, sizeof s->version);
        s->version_number = version_number(value);
    } else if (slice_is(name, "role")) {
        s->is_replica = slice_is(value, "slave");
    } else if (is_replica_line(name)) {
        s->replicas += is_online(value);
    } else if (slice_is(name, "maxmemory_policy")) {
        slice_copy(value, s->eviction, sizeof s->eviction);
    } else if (slice_is(name, "cluster_enabled")) {
        f->cluster = !slice_is(value, "0");
    } else if (slice_is(name, "redis_mode")) {
        f->cluster = f->cluster || slice_is(value, "cluster");
        f->sentinel = slice_is(value, "sentinel");
    }
}

void redis_check_read(struct redis_facts *f, struct slice info)
{
    struct slice line, name;

    while (slice_cut(&info, '\n', &line)) {
        if (line.len > 0 && line.ptr[line.len - 1] == '\r')
            line.len--;
        if (line.len == 0 || line.ptr[0] == '#' || !slice_cut(&line, ':', &name))
            continue;
        take_field(f, name, line);
    }
}

bool redis_check_judge(const struct redis_facts *f, const char *where, struct err *err)
{
    if (f->sentinel)
        return err_rule(err, ERR_CONFIG, "redis_sentinel",
                        "redis at %s is a Sentinel; to have it asked for the primary, write "
                        "redis+sentinel://%s/NAME",
                        where, where);
    if (f->server.version_number == 0 || f->server.run_id[0] == '\0')
        return err_rule(
            err, ERR_CONFIG, "redis_version",
            "redis at %s does not say which version it is; awq needs Redis 6.2 or later", where);
    if (f->server.version_number < REDIS_VERSION_MIN)
        return err_rule(err, ERR_CONFIG, "redis_version",
                        "redis at %s is version %s; awq needs Redis 6.2 or later", where,
                        f->server.version);
    if (f->cluster)
        return err_rule(
            err, ERR_CONFIG, "redis_cluster",
            "redis at %s has cluster-enabled yes; awq needs a Redis without cluster mode", where);
    return true;
}

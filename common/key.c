#include "common/key.h"

#include <stdio.h>
#include <string.h>

static char prefix[KEY_PREFIX_MAX + 1] = "awq";

bool keys_init(struct slice wanted, struct err *err)
{
    if (wanted.len > KEY_PREFIX_MAX || !id_is_queue(wanted)) /* the same characters */
        return err_set(err, ERR_CONFIG, "prefix must be 1-%d of A-Z a-z 0-9 _ -; it is '%.*s'",
                       KEY_PREFIX_MAX, (int)(wanted.len < 64 ? wanted.len : 64),
                       wanted.ptr ? wanted.ptr : "");
    return slice_copy(wanted, prefix, sizeof prefix);
}

const char *keys_prefix(void)
{
    return prefix;
}

struct slice key_slice(const struct key *k)
{
    return slice_of(k->s, k->len);
}

/* ---- builders: by memcpy, for they are on the way of every job ---- */

static void add(struct key *k, struct slice s)
{
    size_t room = sizeof k->s - 1 - k->len;
    size_t n = s.len < room ? s.len : room;

    if (n > 0)
        memcpy(k->s + k->len, s.ptr, n);
    k->len += n;
    k->s[k->len] = '\0';
}

static void add_name(struct key *k, struct slice name)
{
    add(k, slice_sub(name, 0, ID_MAX));
}

static void start(struct key *k, struct slice rest)
{
    k->len = 0;
    add(k, slice_cstr(prefix));
    add(k, rest);
}

/* P:{sN}:PLACE */
static void of_shard(struct key *k, unsigned shard, struct slice place)
{
    char tag[16];
    size_t at = sizeof tag;

    do {
        tag[--at] = (char)('0' + shard % 10);
        shard /= 10;
    } while (shard > 0);
    start(k, SLICE_LIT(":{s"));
    add(k, slice_of(tag + at, sizeof tag - at));
    add(k, SLICE_LIT("}:"));
    add(k, place);
}

/* P:{c:ID}PLACE */
static void of_conn(struct key *k, struct slice id, struct slice place)
{
    start(k, SLICE_LIT(":{c:"));
    add_name(k, id);
    add(k, SLICE_LIT("}"));
    add(k, place);
}

void key_queue(struct key *k, unsigned shard, struct slice queue)
{
    of_shard(k, shard, SLICE_LIT("q:"));
    add_name(k, queue);
}

void key_lane(struct key *k, unsigned shard, struct slice queue)
{
    key_queue(k, shard, queue);
    add(k, SLICE_LIT("~"));
}

void key_due(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("due"));
}

void key_held(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("held"));
}

void key_park(struct key *k, unsigned shard, struct slice resource)
{
    of_shard(k, shard, SLICE_LIT("park:"));
    add(k, slice_sub(resource, 0, ID_MAX + strlen("conn:")));
}

void key_lots(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("lots"));
}

void key_dead(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("dead"));
}

void key_run(struct key *k, unsigned shard, struct slice run)
{
    of_shard(k, shard, SLICE_LIT("run:"));
    add_name(k, run);
}

void key_dedup(struct key *k, unsigned shard, struct slice id)
{
    of_shard(k, shard, SLICE_LIT("id:"));
    add_name(k, id);
}

void key_out(struct key *k, unsigned shard, struct slice name)
{
    of_shard(k, shard, SLICE_LIT("out:"));
    add_name(k, name);
}

void key_workers(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("workers"));
}

void key_worker_numbers(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("w"));
}

void key_boss(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("boss"));
}

void key_queues(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("queues"));
}

void key_audit(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("audit"));
}

void key_audit_acts(struct key *k, unsigned shard)
{
    of_shard(k, shard, SLICE_LIT("audit:acts"));
}

void key_conn(struct key *k, struct slice id)
{
    of_conn(k, id, SLICE_NONE);
}

void key_conn_lease(struct key *k, struct slice id)
{
    of_conn(k, id, SLICE_LIT(":lease"));
}

void key_conn_lane(struct key *k, struct slice id)
{
    of_conn(k, id, SLICE_LIT(":lane"));
}

void key_conns(struct key *k)
{
    start(k, SLICE_LIT(":conns"));
}

void key_producers(struct key *k)
{
    start(k, SLICE_LIT(":producers"));
}

void key_inbox(struct key *k, unsigned shard, struct slice producer)
{
    of_shard(k, shard, SLICE_LIT("in:"));
    add_name(k, producer);
}

void key_meta(struct key *k)
{
    start(k, SLICE_LIT(":meta"));
}

void key_wake(struct key *k)
{
    start(k, SLICE_LIT(":wake"));
}

void key_changed(struct key *k)
{
    start(k, SLICE_LIT(":changed"));
}

void key_resource_conn(struct key *k, struct slice id)
{
    k->len = 0;
    add(k, SLICE_LIT("conn:"));
    add_name(k, id);
}

void key_resource_lane(struct key *k, struct slice id)
{
    k->len = 0;
    add(k, SLICE_LIT("lane:"));
    add_name(k, id);
}

/* ---- shards ---- */

uint16_t key_crc16(struct slice s)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < s.len; i++) {
        crc = (uint16_t)(crc ^ (unsigned char)s.ptr[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

unsigned key_shard_of(struct slice run, unsigned shard_count)
{
    return shard_count > 1 ? key_crc16(run) % shard_count : 0;
}

/* ---- job names ---- */

static bool parts_ok(const struct job_name *n)
{
    return id_is_run(n->run) && id_is_queue(n->branch) && n->branch.len <= KEY_BRANCH_MAX;
}

bool job_name_build(const struct job_name *n, char out[JOB_NAME_MAX])
{
    /* 64 + 1 + 8 + 1 + 20 + NUL is 95 */
    _Static_assert(ID_MAX + KEY_BRANCH_MAX + 23 <= JOB_NAME_MAX, "a job name fits");

    if (!parts_ok(n))
        return false;
    snprintf(out, JOB_NAME_MAX, "%.*s.%.*s.%llu", SLICE_FMT(n->run), SLICE_FMT(n->branch),
             (unsigned long long)n->seq);
    return true;
}

/* Take what is after the last dot; *name keeps what is before it. */
static bool cut_last(struct slice *name, struct slice *tail)
{
    for (size_t i = name->len; i > 0; i--) {
        if (name->ptr[i - 1] == '.') {
            *tail = slice_sub(*name, i, name->len);
            *name = slice_sub(*name, 0, i - 1);
            return true;
        }
    }
    return false;
}

bool job_name_parse(struct slice name, struct job_name *out)
{
    struct job_name n;
    struct slice seq;

    if (!cut_last(&name, &seq) || !cut_last(&name, &n.branch) || !slice_to_u64(seq, &n.seq) ||
        (seq.len > 1 && seq.ptr[0] == '0'))
        return false;
    n.run = name;
    if (!parts_ok(&n))
        return false;
    *out = n;
    return true;
}

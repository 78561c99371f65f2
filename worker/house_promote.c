#include "worker/house_parts.h"

#include "common/log.h"

static bool promotion_add(struct promotion *p, struct slice name, struct slice queue)
{
    struct job_name parts;

    if (p->count == HOUSE_BATCH || !house_is_job(name, queue) || !job_name_parse(name, &parts))
        return false;
    key_queue(&p->queue[p->count], SHARD, queue);
    key_run(&p->run[p->count], SHARD, parts.run);
    p->argv[2 + 2 * HOUSE_BATCH + p->count] = name;
    p->count++;
    return true;
}

bool house_promote(struct house *h, struct promotion *p, const struct redis_reply *names,
                   size_t from, redis_cb *cb, struct err *err)
{
    struct slice argv[2 + 3 * HOUSE_BATCH];
    size_t n = 0;

    house_set_aside(h, &p->set, names, from); /* before: the answer to promote ends the errand */
    p->count = 0;
    for (size_t i = from; i + 1 < redis_reply_len(names); i += 2)
        promotion_add(p, redis_reply_str(redis_reply_at(names, i)),
                      redis_reply_str(redis_reply_at(names, i + 1)));
    argv[n++] = key_slice(&p->set);
    argv[n++] = key_slice(&p->held);
    for (size_t i = 0; i < p->count; i++) {
        argv[n++] = key_slice(&p->queue[i]);
        argv[n++] = key_slice(&p->run[i]);
    }
    for (size_t i = 0; i < p->count; i++)
        argv[n++] = p->argv[2 + 2 * HOUSE_BATCH + i];
    return redis_script(h->w->link, SCRIPT_promote, 2 + 2 * p->count, n, argv, cb, h, err);
}

void house_count_promoted(struct house *h, const struct redis_reply *reply)
{
    int64_t moved = redis_reply_int(redis_reply_at(reply, 0), 0);
    int64_t refused = redis_reply_int(redis_reply_at(reply, 2), 0);

    h->moved = h->moved || moved > 0 || refused > 0;

    if (refused > 0)
        log_event(LOG_WARN, EV_HOUSE_REFUSED, F_INT("jobs", refused));
    if (moved > 0)
        log_event(LOG_DEBUG, EV_HOUSE_PROMOTED, F_INT("jobs", moved));
}

#include "tools/ctl/fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/key.h"
#include "tools/ctl/link.h"

#define PAGE 100

static int tell(struct ctl *c, struct slice id, fleet_cb *cb, void *owner)
{
    struct key numbers;
    struct redis_reply *r;
    struct err err = {0};
    struct json *doc;

    key_worker_numbers(&numbers, CTL_SHARD);
    const struct slice argv[] = {SLICE_LIT("HGET"), key_slice(&numbers), id};

    r = link_argv(c->link, ARRAY_LEN(argv), argv, &err);
    if (!r)
        return ctl_fail(c, &err);
    doc = json_parse(redis_reply_str(r), NULL);
    cb(owner, id, json_root(doc));
    json_free(doc);
    redis_reply_free(r);
    return CTL_OK;
}

int fleet_each(struct ctl *c, fleet_cb *cb, void *owner)
{
    struct redis_reply *page;
    struct key workers;
    struct err err = {0};
    char now_text[24], from[24];
    int64_t now;
    size_t n = PAGE;
    int code = ctl_now(c, &now);

    key_workers(&workers, CTL_SHARD);
    snprintf(now_text, sizeof now_text, "(%" PRId64, now);
    for (int64_t at = 0; code == CTL_OK && n == PAGE; at += PAGE) {
        snprintf(from, sizeof from, "%" PRId64, at);
        page = link_ask(c->link, &err, "ZRANGE", workers.s, now_text, "+inf", "BYSCORE", "LIMIT",
                        from, "100");
        if (!page)
            return ctl_fail(c, &err);
        n = redis_reply_len(page);
        for (size_t i = 0; i < n && code == CTL_OK; i++)
            code = tell(c, redis_reply_str(redis_reply_at(page, i)), cb, owner);
        redis_reply_free(page);
    }
    return code;
}

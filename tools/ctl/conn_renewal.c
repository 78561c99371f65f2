/* A renewal under way: which worker is at it, since when, and at whose token endpoint. An intent
 * outlives its worker, so it counts while that one is alive. */
#include "tools/ctl/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include "common/egress_url.h"
#include "common/id.h"
#include "common/oauth.h"
#include "tools/ctl/fleet.h"

struct holder {
    struct slice mark;
    char id[WORKER_ID_MAX];
};

static void look_at(void *owner, struct slice id, const struct json_val *beat)
{
    struct holder *h = owner;

    (void)beat;
    if (slice_eq(id_worker_mark(id), h->mark))
        slice_copy(id, h->id, sizeof h->id);
}

int conn_renewal(struct ctl *c, const struct connection_record *rec,
                 const struct connection_cfg *cfg, struct renewal_now *now)
{
    struct holder h = {.mark = slice_sub(rec->intent, 0, WORKER_MARK)};
    struct egress_url url;
    int64_t now_ms;
    int code;

    *now = (struct renewal_now){.under_way = false};
    if (rec->intent.len == 0)
        return CTL_OK;
    if ((code = fleet_each(c, look_at, &h)) || (code = ctl_now(c, &now_ms)))
        return code;
    now->under_way = h.id[0];
    now->waited_ms = now_ms > rec->intent_ms ? now_ms - rec->intent_ms : 0;
    snprintf(now->text, sizeof now->text,
             "worker %s has waited %" PRId64 " s for the token endpoint %s", h.id,
             now->waited_ms / 1000,
             cfg && egress_url_parse(oauth_renewal_url(cfg), &url, NULL) ? url.host : "");
    return CTL_OK;
}

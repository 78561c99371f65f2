#include "worker/replicas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/log.h"
#include "common/redis_check.h"
#include "worker/worker.h"

#define WAIT_MS         500 /* a healthy replica answers in one round trip */
/* Silence that is taken for a dead link, and the pause between two PINGs: those count against what
 * an idle worker may ask of Redis. The main link notices sooner, and then both are dropped. */
#define READ_TIMEOUT_MS 15000

/* Those who wait on one link. One WAIT speaks for all that came before it was sent: a replica that
 * stands still must cost a renewal two times WAIT_MS, not that for each renewal before it. */
struct line {
    struct replicas *home;
    struct redis *link; /* of the WAIT on its way */
    struct replicas_wait *asked, *next;
    bool busy;
};

struct replicas {
    struct worker *w;
    struct redis *link; /* NULL until there was a replica */
    struct line own, main;
    int online;
};

/* ---- how many there are ---- */

static int setting(const struct replicas *p)
{
    const char *text = p->w->set->renew_replicas;

    if (strcmp(text, "auto") == 0)
        return p->online > 0 ? 1 : 0;
    return text[0] - '0';
}

int replicas_wanted(const struct replicas *p)
{
    return setting(p);
}

static void on_state(void *owner, enum redis_state state, const struct err *why)
{
    (void)owner; /* who needs it asks redis_is_up; the main link says in the log how Redis is */
    (void)state;
    (void)why;
}

/* From now on there is a link for renewals. It stays: replicas come back. */
static void open_link(struct replicas *p)
{
    struct redis_options o = worker_redis_options(p->w, "renew");
    struct err err = {0};

    o.read_timeout_ms = READ_TIMEOUT_MS;
    if (!p->link && replicas_wanted(p) > 0)
        p->link = redis_new(p->w->loop, &o, on_state, p, &err); /* if not: the main link does */
}

static void count(struct replicas *p, int online)
{
    p->online = online;
    open_link(p);
}

static void on_info(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct replicas *p = owner;
    struct redis_facts facts = {0};

    if (err)
        return;
    redis_check_read(&facts, redis_reply_str(reply));
    count(p, facts.server.replicas);
}

void replicas_look(struct replicas *p)
{
    const struct slice argv[] = {SLICE_LIT("INFO"), SLICE_LIT("replication")};
    struct err err = {0};

    (void)redis_command(replicas_link(p), ARRAY_LEN(argv), argv, 0, on_info, p, &err);
}

/* ---- the link ---- */

void replicas_on_up(struct replicas *p)
{
    count(p, redis_server_info(p->w->link)->replicas);
}

void replicas_on_down(struct replicas *p)
{
    if (p->link)
        redis_reset(p->link, "the main link is down");
}

/* The main link says which server it is that everybody works with; ours may still, or already, be
 * at another. */
struct redis *replicas_link(struct replicas *p)
{
    const struct redis *main = p->w->link;

    if (!p->link || !redis_is_up(p->link) || !redis_is_up(main))
        return p->w->link;
    if (strcmp(redis_server_info(p->link)->run_id, redis_server_info(main)->run_id) == 0)
        return p->link;
    redis_reset(p->link, "the main link is at another server");
    return p->w->link;
}

/* ---- waiting ---- */

static bool send_wait(struct line *l, struct err *err);

static void tell(struct replicas_wait *list, bool enough, const struct err *err)
{
    for (struct replicas_wait *one = list, *next; one; one = next) {
        next = one->next; /* it may go with the callback */
        one->cb(one->owner, enough, err);
    }
}

static void on_waited(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct line *l = owner;
    struct replicas_wait *asked = l->asked, *next = l->next;
    bool enough = redis_reply_int(reply, 0) >= replicas_wanted(l->home);
    struct err why = {0};

    l->asked = next;
    l->next = NULL;
    l->busy = false;
    if (err)
        why = *err; /* the writes of those behind went with the same link */
    else if (next && send_wait(l, &why))
        next = NULL;
    if (next)
        l->asked = NULL;
    tell(asked, enough, err);
    tell(next, false, &why);
}

static bool send_wait(struct line *l, struct err *err)
{
    char wanted[16], ms[16];

    snprintf(wanted, sizeof wanted, "%d", replicas_wanted(l->home));
    snprintf(ms, sizeof ms, "%d", WAIT_MS);
    const struct slice argv[] = {SLICE_LIT("WAIT"), slice_cstr(wanted), slice_cstr(ms)};

    l->busy = redis_command(l->link, ARRAY_LEN(argv), argv, 0, on_waited, l, err);
    return l->busy;
}

bool replicas_ask(struct replicas *p, struct redis *link, struct replicas_wait *one,
                  replicas_cb *cb, void *owner, struct err *err)
{
    struct line *l = link == p->link ? &p->own : &p->main;

    *one = (struct replicas_wait){.cb = cb, .owner = owner};
    if (l->busy) {
        one->next = l->next;
        l->next = one;
        return true;
    }
    l->link = link;
    l->asked = one;
    if (send_wait(l, err))
        return true;
    l->asked = NULL;
    return false;
}

/* ---- the rest ---- */

struct replicas *replicas_new(struct worker *w)
{
    struct replicas *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->w = w;
    p->own.home = p->main.home = p;
    return p;
}

void replicas_free(struct replicas *p)
{
    if (!p)
        return;
    redis_free(p->link);
    free(p);
}

#include "worker/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include "common/clock.h"
#include "worker/renew_parts.h"
#include "worker/worker.h"

#define ENDPOINTS 256
#define COOL_MAX_MS                                                                                \
    10000 /* the account's own backoff is as long as it was told; the others look again */

struct endpoint {
    char *url;     /* NULL: free */
    unsigned busy; /* renewals under way */
    int64_t cool_boot_ms;
    struct renewal *first, *last; /* that wait */
};

struct endpoints {
    struct worker *w;
    struct endpoint items[ENDPOINTS];
};

struct endpoints *endpoints_new(struct worker *w)
{
    struct endpoints *e = calloc(1, sizeof *e);

    if (e)
        e->w = w;
    return e;
}

void endpoints_free(struct endpoints *e)
{
    for (size_t i = 0; e && i < ENDPOINTS; i++)
        free(e->items[i].url);
    free(e);
}

static bool is_free(const struct endpoint *p)
{
    return !p->url || (p->busy == 0 && !p->first && clock_boot_ms() >= p->cool_boot_ms);
}

static struct endpoint *find(struct endpoints *e, struct slice url)
{
    struct endpoint *room = NULL;

    for (size_t i = 0; i < ENDPOINTS; i++) {
        if (e->items[i].url && slice_is(url, e->items[i].url))
            return &e->items[i];
        if (!room && is_free(&e->items[i]))
            room = &e->items[i];
    }
    if (!room)
        return NULL;
    free(room->url);
    *room = (struct endpoint){.url = slice_dup(url)};
    return room->url ? room : NULL;
}

static bool may_begin(const struct endpoints *e, const struct endpoint *p)
{
    return (int64_t)p->busy < e->w->set->renew_at_once && clock_boot_ms() >= p->cool_boot_ms;
}

bool endpoint_enter(struct endpoints *e, struct slice token_url, struct renewal *r,
                    struct place_in_line *place)
{
    struct endpoint *p = find(e, token_url);

    *place = (struct place_in_line){.at = p};
    if (!p)
        return true;
    place->waits = p->first || !may_begin(e, p);
    if (!place->waits) {
        p->busy++;
        return true;
    }
    if (p->last)
        renewal_place(p->last)->next = r;
    else
        p->first = r;
    p->last = r;
    return false;
}

static void go_on(struct endpoints *e, struct endpoint *p)
{
    while (p->first && e->w->phase == PHASE_RUNNING && may_begin(e, p)) {
        struct renewal *r = p->first;
        struct place_in_line *place = renewal_place(r);

        p->first = place->next;
        if (!p->first)
            p->last = NULL;
        place->next = NULL;
        place->waits = false;
        p->busy++;
        renewal_acquire(r);
    }
}

static void step_out(struct endpoint *p, struct renewal *r)
{
    struct renewal *before = NULL;

    for (struct renewal *at = p->first; at && at != r; at = renewal_place(at)->next)
        before = at;
    *(before ? &renewal_place(before)->next : &p->first) = renewal_place(r)->next;
    if (p->last == r)
        p->last = before;
}

void endpoint_leave(struct endpoints *e, struct renewal *r, struct place_in_line *place)
{
    struct endpoint *p = place->at;

    if (!p)
        return;
    place->at = NULL;
    if (place->waits) {
        step_out(p, r);
        return;
    }
    p->busy--;
    go_on(e, p);
}

void endpoint_cool(struct place_in_line *place, int64_t ms)
{
    if (place->at)
        place->at->cool_boot_ms = clock_boot_ms() + (ms < COOL_MAX_MS ? ms : COOL_MAX_MS);
}

void endpoints_tick(struct endpoints *e)
{
    for (size_t i = 0; i < ENDPOINTS; i++) {
        if (e->items[i].first)
            go_on(e, &e->items[i]);
    }
}

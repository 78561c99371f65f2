#include "worker/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/clock.h"
#include "common/connection.h"
#include "common/log.h"
#include "worker/audit.h"
#include "worker/token.h"
#include "worker/worker.h"

#define FIELD_MAX (32 * 1024)

struct item {
    struct memory *home;
    struct item *next; /* stored after this one */
    char id[ID_MAX + 1];
    char cd[65];
    char fence[24];
    uint64_t gen, ver;
    struct buf at, rt, scope;
    int64_t born_ms, exp_ms, until_boot_ms;
    bool asked;   /* a restore is without answer */
    bool dropped; /* freed when the answer is there */
};

struct memory {
    struct worker *w;
    struct item *oldest, *newest;
    size_t bytes;
};

static size_t size_of(const struct item *it)
{
    return sizeof *it + it->at.len + it->rt.len + it->scope.len;
}

static void item_free(struct item *it)
{
    if (it->asked) {
        it->dropped = true;
        return;
    }
    buf_deinit(&it->at);
    buf_deinit(&it->rt);
    buf_deinit(&it->scope);
    free(it);
}

static void forget(struct memory *m, struct item *it)
{
    struct item **at = &m->oldest, *before = NULL;

    while (*at && *at != it) {
        before = *at;
        at = &(*at)->next;
    }
    if (!*at)
        return;
    *at = it->next;
    if (m->newest == it)
        m->newest = before;
    m->bytes -= size_of(it);
    item_free(it);
}

static struct item *find(const struct memory *m, const char *id)
{
    struct item *it = m->oldest;

    while (it && strcmp(it->id, id) != 0)
        it = it->next;
    return it;
}

struct memory *memory_new(struct worker *w)
{
    struct memory *m = calloc(1, sizeof *m);

    if (m)
        m->w = w;
    return m;
}

void memory_free(struct memory *m)
{
    if (!m)
        return;
    while (m->oldest)
        forget(m, m->oldest);
    free(m);
}

void memory_put(struct memory *m, const struct stored *s)
{
    struct item *it = calloc(1, sizeof *it), *older = find(m, s->id);
    int64_t now = clock_boot_ms();

    if (older)
        forget(m, older);
    while (m->oldest && (m->oldest->until_boot_ms < now || m->bytes > MEMORY_BYTES))
        forget(m, m->oldest);
    if (!it)
        return;
    *it = (struct item){.home = m,
                        .gen = s->gen,
                        .ver = s->ver,
                        .born_ms = s->born_ms,
                        .exp_ms = s->exp_ms,
                        .until_boot_ms = now + MEMORY_MS};
    buf_init(&it->at, FIELD_MAX);
    buf_init(&it->rt, FIELD_MAX);
    buf_init(&it->scope, FIELD_MAX);
    if (!slice_copy(slice_cstr(s->id), it->id, sizeof it->id) ||
        !slice_copy(slice_cstr(s->cd), it->cd, sizeof it->cd) ||
        !slice_copy(slice_cstr(s->fence), it->fence, sizeof it->fence) ||
        !buf_add_slice(&it->at, s->at) || !buf_add_slice(&it->rt, s->rt) ||
        !buf_add_slice(&it->scope, s->scope)) {
        item_free(it);
        return;
    }
    *(m->newest ? &m->newest->next : &m->oldest) = it;
    m->newest = it;
    m->bytes += size_of(it);
}

/* ---- putting back ---- */

static void restore(struct item *it);

/* The settings were changed since: sealed for those, if they are still of this link. */
static void on_settings(void *owner, struct conn *c, const struct err *err)
{
    struct item *it = owner;
    struct worker *w = it->home->w;
    struct slice prefix = slice_cstr(w->set->common.prefix), id = slice_cstr(it->id);
    struct slice old = slice_cstr(it->cd);
    struct err why = {0};
    bool ok = false;

    it->asked = false;
    if (it->dropped) {
        item_free(it);
    } else if (!err && c->cfg && c->gen == it->gen) {
        struct slice now = slice_cstr(c->cd);
        struct seal_place at[2] = {connection_place(prefix, id, "at", it->gen, it->ver, old),
                                   connection_place(prefix, id, "at", it->gen, it->ver, now)};
        struct seal_place rt[2] = {connection_place(prefix, id, "rt", it->gen, 0, old),
                                   connection_place(prefix, id, "rt", it->gen, 0, now)};

        ok = connection_seal_again(w->keys, KEY_ACCESS, &at[0], &at[1], &it->at, &why) &&
             connection_seal_again(w->keys, KEY_GRANT, &rt[0], &rt[1], &it->rt, &why) &&
             slice_copy(now, it->cd, sizeof it->cd);
        if (ok)
            restore(it);
        else
            forget(it->home, it);
    }
    conn_unref(c);
}

static void on_restored(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct item *it = owner;
    struct memory *m = it->home;
    struct slice said = redis_reply_str(redis_reply_at(reply, 0));
    struct conn *now;
    struct err why = {0};

    it->asked = false;
    if (it->dropped) {
        item_free(it);
        return;
    }
    if (err) /* asked again when the link is back, or by who needs it */
        return;
    if (slice_is(said, "CFG")) {
        it->asked = true;
        if (tokens_look(m->w->tokens, slice_cstr(it->id), true, &now, on_settings, it, &why) !=
            LOOK_LATER)
            it->asked = false;
        return;
    }
    tokens_forget(m->w->tokens, slice_cstr(it->id));
    if (slice_is(said, "RESTORED")) {
        log_event(LOG_WARN, EV_TOKEN_RESTORED, F_CSTR("connection", it->id),
                  F_UINT("ver", it->ver));
        audit_restored(m->w->audit, it->id, it->gen, it->ver);
        tokens_wake(m->w->tokens, "conn", it->id);
    } else {
        forget(m, it); /* Redis knows as much, or something else happened since */
    }
}

static void restore(struct item *it)
{
    struct key conn, lease, changed;
    char gen[24], ver[24], born[24], exp[24];
    struct err err = {0};

    key_conn(&conn, slice_cstr(it->id));
    key_conn_lease(&lease, slice_cstr(it->id));
    key_changed(&changed);
    snprintf(gen, sizeof gen, "%" PRIu64, it->gen);
    snprintf(ver, sizeof ver, "%" PRIu64, it->ver);
    snprintf(born, sizeof born, "%" PRId64, it->born_ms);
    snprintf(exp, sizeof exp, "%" PRId64, it->exp_ms);
    const struct slice argv[] = {
        key_slice(&conn),   key_slice(&lease),     slice_cstr(gen),       slice_cstr(ver),
        slice_cstr(it->cd), buf_slice(&it->at),    buf_slice(&it->rt),    slice_cstr(exp),
        slice_cstr(born),   buf_slice(&it->scope), slice_cstr(it->fence), key_slice(&changed),
        slice_cstr(it->id),
    };

    it->asked = redis_script(it->home->w->link, SCRIPT_restore, 2, ARRAY_LEN(argv), argv,
                             on_restored, it, &err);
}

void memory_seal_anew(struct memory *m)
{
    const struct keyring *k = m->w->keys;
    struct slice prefix = slice_cstr(m->w->set->common.prefix);
    struct err err = {0};

    for (struct item *it = m->oldest; it; it = it->next) {
        struct slice id = slice_cstr(it->id), cd = slice_cstr(it->cd);
        struct seal_place at = connection_place(prefix, id, "at", it->gen, it->ver, cd);
        struct seal_place rt = connection_place(prefix, id, "rt", it->gen, 0, cd);

        /* what does not open is of no use to anybody; restore's reader says so */
        (void)(connection_seal_again(k, KEY_ACCESS, &at, &at, &it->at, &err) &&
               connection_seal_again(k, KEY_GRANT, &rt, &rt, &it->rt, &err));
    }
}

bool memory_restore(struct memory *m, const char *id)
{
    bool any = false;

    for (struct item *it = m->oldest, *next; it; it = next) {
        next = it->next;
        if (id && strcmp(it->id, id) != 0)
            continue;
        any = true;
        if (!it->asked)
            restore(it);
    }
    return any;
}

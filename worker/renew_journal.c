/* An answer of the token server that Redis has not taken yet, in the journal: a rotated refresh
 * token exists nowhere else. What is written is sealed as it would stand in Redis. */
#include "worker/renew_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "worker/journal.h"
#include "worker/journal_record.h"
#include "worker/worker.h"

#define TEXTS     9
#define C_STRINGS 0x1fu /* what, id, fence, nonce, cd */

void renewal_journal(struct renewal *r)
{
    struct buf clear;
    char what[128];

    if (r->journaled || r->of_journal || r->state != RENEW_STORING)
        return;
    snprintf(what, sizeof what, "token %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64, r->gen,
             r->ver, r->sent_ms, r->lifetime_ms);
    const struct slice texts[TEXTS] = {
        slice_cstr(what),         slice_cstr(r->c->id),    slice_cstr(r->fence),
        slice_cstr(r->nonce),     slice_cstr(r->cd),       buf_slice(&r->sealed_at),
        buf_slice(&r->sealed_rt), buf_slice(&r->lease_rt), renewal_scope(r),
    };

    buf_init(&clear, 8 * RENEW_TOKEN_MAX);
    r->journaled = journal_texts_write(&clear, texts, TEXTS, C_STRINGS) &&
                   journal_add(r->w->journal, buf_slice(&clear));
    buf_wipe(&clear);
}

bool renewal_of_journal(struct worker *w, struct slice record, void (*done)(void *owner),
                        void *owner)
{
    struct slice t[TEXTS];
    struct renewal *r;
    uint64_t gen, ver;
    int64_t sent_ms, lifetime_ms;
    struct conn *c;

    if (!journal_texts_read(record, t, TEXTS, C_STRINGS) ||
        sscanf(t[0].ptr, "token %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64, &gen, &ver, &sent_ms,
               &lifetime_ms) != 4 ||
        !id_is_connection(t[1]))
        return false;
    c = tokens_conn(w->tokens, t[1]);
    r = c ? renewal_new(w, c, gen, ver) : NULL;
    conn_unref(c);
    if (!r)
        return false;
    r->state = RENEW_STORING;
    r->waiting = true; /* for the first beat */
    r->sent_ms = sent_ms;
    r->lifetime_ms = lifetime_ms;
    if (!slice_copy(t[2], r->fence, sizeof r->fence) ||
        !slice_copy(t[3], r->nonce, sizeof r->nonce) || !slice_copy(t[4], r->cd, sizeof r->cd) ||
        !buf_add_slice(&r->sealed_at, t[5]) || !buf_add_slice(&r->sealed_rt, t[6]) ||
        !buf_add_slice(&r->lease_rt, t[7]) || !buf_add_slice(&r->old_scope, t[8])) {
        renewal_free(r);
        return false;
    }
    r->of_journal = done;
    r->of_journal_owner = owner;
    return true;
}

#include "worker/token.h"

/* What a connection lets a job do, beside where its call may go (common/egress.h). */

bool conn_has_scope(const struct conn *c, struct slice scope)
{
    struct slice granted = c->scope ? slice_cstr(c->scope) : c->cfg->scopes, word;

    while (slice_cut(&granted, ' ', &word)) {
        if (slice_eq(word, scope))
            return true;
    }
    return false;
}

bool conn_takes_producer(const struct conn *c, struct slice producer)
{
    const struct policy *p = c->cfg ? &c->cfg->policy : NULL;
    bool takes = !p || p->producer_count == 0;

    for (size_t i = 0; !takes && i < p->producer_count; i++)
        takes = slice_eq(p->producers[i], producer);
    return takes;
}

#include "worker/terms.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS 256 /* settings that are kept though nobody holds them; 64 KiB each at most */

struct terms_table {
    struct terms *slots[SLOTS]; /* by the first digits of cd: newer ones push older ones out */
};

struct terms_table *terms_table_new(void)
{
    return calloc(1, sizeof(struct terms_table));
}

void terms_table_free(struct terms_table *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        terms_unref(t->slots[i]);
    free(t);
}

struct terms *terms_ref(struct terms *terms)
{
    terms->refs++;
    return terms;
}

void terms_unref(struct terms *terms)
{
    if (!terms || --terms->refs > 0)
        return;
    connection_cfg_free(terms->cfg);
    free(terms->json);
    free(terms);
}

/* A digest is 64 hex digits; what is none finds a slot all the same, and nothing in it. */
static struct terms **slot_of(struct terms_table *t, struct slice cd)
{
    unsigned n = 0;

    for (size_t i = 0; i < cd.len && i < 4; i++)
        n = n * 31 + (unsigned char)cd.ptr[i];
    return &t->slots[n % SLOTS];
}

static bool is_same(const struct terms *terms, const struct connection_record *r)
{
    return terms && slice_is(r->cd, terms->cd) &&
           slice_eq(r->cfg, slice_of(terms->json, terms->json_len));
}

static struct terms *parse(const struct connection_record *r, struct err *err)
{
    struct terms *terms = calloc(1, sizeof *terms);

    if (terms)
        terms->json = slice_dup(r->cfg);
    if (!terms || !terms->json || !slice_copy(r->cd, terms->cd, sizeof terms->cd)) {
        if (terms)
            free(terms->json);
        free(terms);
        err_set(err, ERR_NOMEM, "out of memory");
        return NULL;
    }
    terms->json_len = r->cfg.len;
    terms->refs = 1;
    terms->cfg = connection_cfg_parse(r->cfg, err);
    if (!terms->cfg) {
        terms_unref(terms);
        return NULL;
    }
    return terms;
}

struct terms *terms_of(struct terms_table *t, const struct connection_record *r,
                       const struct keyring *k, struct slice prefix, struct slice id,
                       struct err *err)
{
    struct terms **slot = slot_of(t, r->cd), *terms;

    if (is_same(*slot, r)) /* its text and digest were found to belong together */
        return connection_record_authentic(r, k, prefix, id, err) ? terms_ref(*slot) : NULL;
    if (!connection_record_verify(r, k, prefix, id, err))
        return NULL;
    terms = parse(r, err);
    if (terms) {
        terms_unref(*slot);
        *slot = terms_ref(terms);
    }
    return terms;
}

/* awq-ctl keys: the key file. */
#include "tools/ctl/ctl.h"

static int keys_new(struct ctl *c, const struct args *a)
{
    struct err err = {0};

    if (!keyring_create(a->names[0], &err))
        return ctl_fail(c, &err);
    out_note(&c->out,
             "%s has new keys. Copy it to every worker (mode 0600) and keep a copy safe: without\n"
             "it nothing that was sealed can be opened, and every account must be linked again.",
             a->names[0]);
    return CTL_OK;
}

const struct verb keys_verbs[] = {
    {.noun = "keys",
     .name = "new",
     .usage = "FILE",
     .help = "Make a key file: new run, access and grant keys, mode 0600, never over another file",
     .least = 1,
     .most = 1,
     .run = keys_new},
    {.name = NULL},
};

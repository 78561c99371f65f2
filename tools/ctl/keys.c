/* awq-ctl keys: the key file, and the change from one set of keys to the next while workers run. */
#include "tools/ctl/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "tools/ctl/key_file.h"

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

/* ---- ls ---- */

static const char *const ls_columns[] = {"kind",        "key",          "state",
                                         "connections", "producers",    "jobs",
                                         "install",     "workers_know", "workers_seal"};

static const char *state_of(const struct use *it)
{
    return !it->in_file ? "missing" : it->key.staged ? "staged" : it->key.seals ? "seals" : "old";
}

static int begin(struct ctl *c)
{
    int code = ctl_keys(c);

    return code || (code = ctl_connect(c)) ? code : ctl_meta(c);
}

static int read_uses(struct ctl *c, struct uses *u)
{
    int code = uses_workers(u, c);

    return code ? code : uses_records(u, c);
}

static int keys_ls(struct ctl *c, const struct args *a)
{
    struct uses u;
    char know[48];
    int code;

    (void)a;
    if ((code = begin(c)) || (code = read_uses(c, &u)))
        return code;
    out_list(&c->out, ls_columns, ARRAY_LEN(ls_columns));
    for (size_t i = 0; i < u.count; i++) {
        const struct use *it = &u.of[i];

        snprintf(know, sizeof know, "%zu of %zu", it->workers, it->workers_of);
        out_row(&c->out);
        out_cstr(&c->out, key_kind_name(it->key.kind));
        out_cstr(&c->out, it->key.id);
        out_cstr(&c->out, state_of(it));
        out_int(&c->out, it->records);
        out_int(&c->out, it->producers);
        out_int(&c->out, it->jobs);
        out_bool(&c->out, it->install);
        out_cstr(&c->out, it->in_file ? know : "");
        out_int(&c->out, (int64_t)it->sealing);
    }
    out_list_end(&c->out, "no keys");
    return CTL_OK;
}

/* ---- rotate ---- */

static size_t count_of(const struct keyring *k, bool staged, bool old)
{
    struct key_info keys[KEYRING_MAX];
    size_t n = keyring_list(k, keys, KEYRING_MAX), found = 0;

    for (size_t i = 0; i < n; i++)
        found += keys[i].staged ? staged : !keys[i].seals && old;
    return found;
}

static int stage(struct ctl *c)
{
    struct err err = {0};
    int code = ctl_keys(c);

    if (code || (code = ctl_connect(c))) /* a file that is not the workers' would stop them */
        return code;
    if (count_of(c->keyring, true, false) > 0)
        return ctl_say(CTL_FAILED,
                       "%s has staged keys already; awq-ctl keys ls says who knows them",
                       c->common.keys);
    if (!key_file_stage(c->common.keys, c->keyring, &err))
        return ctl_fail(c, &err);
    out_note(&c->out,
             "%s has new keys that seal nothing yet. Give it to every worker, send each a HUP (or\n"
             "restart them), and when keys ls says that all know them: awq-ctl keys rotate",
             c->common.keys);
    return CTL_OK;
}

/* A worker that does not know a key takes for forged, or edited, what another seals with it. */
static int all_know(struct ctl *c)
{
    struct uses u;
    int code = uses_workers(&u, c);

    for (size_t i = 0; code == CTL_OK && i < u.count; i++) {
        const struct use *it = &u.of[i];

        if (it->key.staged && it->workers < it->workers_of)
            return ctl_say(CTL_FAILED,
                           "%s key %s is known to %zu of %zu living workers, not to %s: give it "
                           "the staged file and send it a HUP. Nothing was changed",
                           key_kind_name(it->key.kind), it->key.id, it->workers, it->workers_of,
                           it->stranger);
    }
    return code;
}

static int promote(struct ctl *c)
{
    struct keyring *next;
    struct err err = {0};
    int code = all_know(c);

    if (code)
        return code;
    if (!key_file_promote(c->common.keys, &err) || !(next = keyring_load(c->common.keys, &err)))
        return ctl_fail(c, &err);
    keyring_free(c->keyring);
    c->keyring = next;
    return CTL_OK;
}

static int report(struct ctl *c, const struct resealed *n)
{
    if (c->out.json) {
        out_thing(&c->out);
        out_key(&c->out, "connections");
        out_int(&c->out, n->looked);
        out_key(&c->out, "resealed");
        out_int(&c->out, n->done);
        out_key(&c->out, "moved");
        out_int(&c->out, n->moved);
        out_key(&c->out, "unreadable");
        out_int(&c->out, n->unreadable);
        out_thing_end(&c->out);
    }
    out_note(&c->out,
             "%" PRId64 " connections: %" PRId64 " re-sealed, %" PRId64 " moved meanwhile, %" PRId64
             " unreadable.",
             n->looked, n->done, n->moved, n->unreadable);
    if (n->moved > 0 || n->unreadable > 0)
        return ctl_say(CTL_PARTIAL, "what moved is re-sealed by the next keys rotate; what is "
                                    "unreadable: awq-ctl conn test ID");
    out_note(&c->out,
             "Give this file to every worker and send each a HUP; then keys rotate once more, for\n"
             "what they sealed until then, and keys retire.");
    return CTL_OK;
}

static int keys_rotate(struct ctl *c, const struct args *a)
{
    struct resealed n;
    int code;

    if (a->flag[0])
        return stage(c);
    if ((code = begin(c)))
        return code;
    if (count_of(c->keyring, true, true) == 0)
        return ctl_say(CTL_FAILED,
                       "%s has no other keys than those that seal; begin with: awq-ctl "
                       "keys rotate --stage",
                       c->common.keys);
    if (count_of(c->keyring, true, false) > 0 && (code = promote(c)))
        return code;
    if ((code = keys_reseal_producers(c)) || (code = keys_reseal(c, &n)))
        return code;
    return report(c, &n);
}

/* ---- retire ---- */

/* What it is needed for, or NULL. */
static const char *needed(const struct use *it, char *text, size_t size)
{
    if (it->records > 0)
        snprintf(text, size, "%" PRId64 " connections need it: awq-ctl keys rotate", it->records);
    else if (it->producers > 0)
        snprintf(text, size, "%" PRId64 " producers need it: awq-ctl keys rotate", it->producers);
    else if (it->jobs > 0)
        snprintf(text, size,
                 "%" PRId64 " jobs, ready or set aside, are signed with it: wait for them",
                 it->jobs);
    else if (it->sealing > 0)
        snprintf(text, size, "%zu workers still seal with it, such as %s: give them the file, HUP",
                 it->sealing, it->sealer);
    else if (it->install)
        snprintf(text, size, "the install goes by it until a worker has the file that you have");
    else
        return NULL;
    return text;
}

static int keys_retire(struct ctl *c, const struct args *a)
{
    struct uses u;
    struct err err = {0};
    char why[200];
    size_t old = 0;
    int code;

    (void)a;
    if ((code = begin(c)) || (code = read_uses(c, &u)))
        return code;
    for (size_t i = 0; i < u.count; i++) {
        const struct use *it = &u.of[i];

        if (!it->in_file || it->key.seals || it->key.staged)
            continue;
        old++;
        if (needed(it, why, sizeof why) || u.too_many)
            return ctl_say(CTL_FAILED, "%s key %s stays: %s. Nothing was changed",
                           key_kind_name(it->key.kind), it->key.id,
                           u.too_many ? "too many keys are in use" : why);
    }
    if (old == 0) {
        out_note(&c->out, "%s has no old keys", c->common.keys);
        return CTL_OK;
    }
    if (!key_file_drop_old(c->common.keys, c->keyring, &err))
        return ctl_fail(c, &err);
    out_note(&c->out, "%zu old keys are out of %s. Give it to every worker and send each a HUP.",
             old, c->common.keys);
    return CTL_OK;
}

static const struct flag rotate_flags[] = {
    {"--stage", NULL, NULL, "add new keys that seal nothing yet: the first step"},
};

const struct verb keys_verbs[] = {
    {.noun = "keys",
     .name = "new",
     .usage = "FILE",
     .help = "Make a key file: new run, access and grant keys, mode 0600, never over another file",
     .least = 1,
     .most = 1,
     .run = keys_new},
    {.noun = "keys",
     .name = "ls",
     .usage = "",
     .help = "List keys: in the file, in use by how much, known to how many living workers",
     .run = keys_ls},
    {.noun = "keys",
     .name = "rotate",
     .usage = "[--stage]",
     .help = "Let the staged keys seal, and re-seal every connection with them, while workers run",
     .more =
         "1 rotate --stage, 2 the file to all workers and HUP, 3 rotate, 4 as 2, 5 rotate, "
         "retire,\n"
         "6 as 2. Nothing is lost by breaking off; each step refuses while the one before is not\n"
         "done everywhere. Exit 4: some connections could not be re-sealed.",
     .flags = rotate_flags,
     .flag_count = ARRAY_LEN(rotate_flags),
     .changes = true,
     .run = keys_rotate},
    {.noun = "keys",
     .name = "retire",
     .usage = "",
     .help = "Take the old keys out of the file; refused while anything needs one",
     .changes = true,
     .run = keys_retire},
    {.noun = "keys",
     .name = "replace-lost",
     .usage = "--reason TEXT",
     .help = "Go on with the file of --keys, a new one, where that of the workers is lost for good",
     .more =
         "Nothing that was sealed can be opened any more: every account is to be linked again\n"
         "(conn apply --relink, conn link), every producer added again, and jobs in the middle of\n"
         "their steps become dead letters. Refused while a worker is alive: it has the file.",
     .changes = true,
     .needs_reason = true,
     .check = keys_check_lost,
     .run = keys_replace_lost},
    {.name = NULL},
};

/* awq-ctl keys replace-lost: the workers' key file is gone, and the install goes on with another.
 */
#include "tools/ctl/keys.h"

#include <stdio.h>
#include "common/key.h"
#include "tools/ctl/fleet.h"
#include "tools/ctl/link.h"

/*
 * The check of the key file (ctl_check_install, the worker's keys_foreign) stops mistakes: a worker
 * with another install's file would bury good jobs, and what an operator sealed with it nobody
 * could open. It keeps no attacker out, so this verb gives him nothing: who may write P:meta takes
 * the field away with any Redis client, and is no nearer to what the lost keys sealed, which stays
 * as it is and opens with them alone. Workers that have them stop rather than take what others
 * sealed: no more than he had by deleting jobs. Nor is anything deleted here: with the old file,
 * found again, the same verb goes back.
 */

struct living {
    size_t count;
    char id[64], host[64]; /* of one */
};

static void on_worker(void *owner, struct slice id, const struct json_val *beat)
{
    struct living *l = owner;
    struct slice host = SLICE_LIT("?");

    json_str(json_get(beat, "host"), &host);
    snprintf(l->id, sizeof l->id, "%.*s", SLICE_FMT(slice_sub(id, 0, 63)));
    snprintf(l->host, sizeof l->host, "%.*s", SLICE_FMT(slice_sub(host, 0, 63)));
    l->count++;
}

/* Whoever lives was let in by the keys of the install: he has them. */
static int none_lives(struct ctl *c)
{
    struct living l = {0};
    int code = fleet_each(c, on_worker, &l);

    if (code || l.count == 0)
        return code;
    return ctl_say(CTL_FAILED,
                   "%zu workers are alive, such as %s on %s, and go by the keys of this install: "
                   "copy their key file here. If it is lost there too, stop them all first (one "
                   "that was killed counts as alive until its --lease is over). Nothing was "
                   "changed",
                   l.count, l.id, l.host);
}

/* What P:meta says, if it is time to change that: *meta has install and keys. */
static int read_lost(struct ctl *c, struct redis_reply **meta)
{
    struct err err = {0};
    struct key key;
    int code = none_lives(c);

    *meta = NULL;
    if (code)
        return code;
    key_meta(&key);
    *meta = link_ask(c->link, &err, "HMGET", key.s, "install", "keys");
    if (!*meta)
        return ctl_fail(c, &err);
    if (redis_reply_str(redis_reply_at(*meta, 1)).len == 0)
        code = ctl_say(CTL_FAILED,
                       "this install (prefix %s) goes by no keys: workers start with any file. "
                       "Nothing was changed",
                       c->common.prefix);
    else if (ctl_keys_fit(c->keyring, redis_reply_at(*meta, 0), redis_reply_at(*meta, 1)))
        code = ctl_say(CTL_FAILED,
                       "key file %s has the keys that this install goes by: they are not lost. "
                       "Nothing was changed",
                       c->common.keys);
    return code;
}

int keys_check_lost(struct ctl *c)
{
    struct redis_reply *meta;
    int code = read_lost(c, &meta);

    redis_reply_free(meta);
    return code;
}

static int replace(struct ctl *c, struct slice install, struct slice lost)
{
    struct redis_reply *r = NULL;
    struct err err = {0};
    struct key meta;
    struct buf ours;
    bool moved;

    key_meta(&meta);
    buf_init(&ours, SEAL_MAC_BYTES);
    if (seal_mac(c->keyring, KEY_RUN, "install", install, &ours, &err)) {
        const struct slice argv[] = {key_slice(&meta), lost, buf_slice(&ours)};

        r = link_script(c->link, SCRIPT_rekey, 1, ARRAY_LEN(argv), argv, &err);
    }
    buf_deinit(&ours);
    if (!r)
        return ctl_fail(c, &err);
    moved = slice_is(redis_reply_str(r), "MOVED");
    redis_reply_free(r);
    return moved ? ctl_say(CTL_FAILED,
                           "somebody else changed the keys of this install just now; look (awq-ctl "
                           "doctor), and try again")
                 : CTL_OK;
}

int keys_replace_lost(struct ctl *c, const struct args *a)
{
    struct redis_reply *meta = NULL;
    char id[KEY_ID_HEX] = "?";
    int code;

    (void)a;
    if ((code = ctl_keys(c)) || (code = ctl_connect(c)))
        return code;
    if ((code = read_lost(c, &meta)) == CTL_OK) {
        seal_mac_key_id(redis_reply_str(redis_reply_at(meta, 1)), id);
        code = replace(c, redis_reply_str(redis_reply_at(meta, 0)),
                       redis_reply_str(redis_reply_at(meta, 1)));
    }
    redis_reply_free(meta);
    if (code)
        return code;
    out_note(
        &c->out,
        "This install goes by %s now. What was sealed with run key %s, and with the access\n"
        "and grant keys beside it, is lost: every token and secret, producers' entries, where\n"
        "jobs stand in their steps. keys ls counts it (missing). Before the workers start:\n"
        "conn apply --relink each account, conn link where its owner is asked, producer add\n"
        "each producer. Then give every worker the file, and keep a copy of it safe.",
        c->common.keys, id);
    return CTL_OK;
}

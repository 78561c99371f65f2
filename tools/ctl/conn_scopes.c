/* The scopes that a connection's settings ask for, and those that its access token has. */
#include "tools/ctl/conn.h"

#include "tools/ctl/checks.h"

#define WORDS_MAX 512

static bool has_word(struct slice words, struct slice wanted)
{
    struct slice one;

    while (slice_cut(&words, ' ', &one)) {
        if (slice_eq(one, wanted))
            return true;
    }
    return false;
}

const char *conn_scopes_cure(const struct connection_cfg *cfg)
{
    if (grant_is_asked(cfg->grant))
        return "awq-ctl conn link asks its owner for them";
    if (grant_is_renewed(cfg->grant))
        return "Have its owner link the account again for them, then conn apply with the new "
               "refresh token";
    return "awq-ctl conn refresh asks for them";
}

/* An answer that names no scope grants what was asked for (RFC 6749 section 5.1). A warning at
 * most: some providers grant under other names than they are asked by. */
void conn_check_scopes(const struct connection_cfg *cfg, const struct connection_record *rec,
                       struct checks *checks)
{
    struct slice rest = cfg->scopes, one;
    struct buf missing;

    if (rec->at.len == 0 || rec->scope.len == 0)
        return;
    buf_init(&missing, CONNECTION_CFG_MAX);
    while (slice_cut(&rest, ' ', &one)) {
        if (!has_word(rec->scope, one))
            buf_addf(&missing, "%s%.*s", missing.len > 0 ? " " : "", SLICE_FMT(one));
    }
    if (missing.len > 0)
        checks_add(checks, CHECK_WARN, "scopes", conn_scopes_cure(cfg),
                   "asked: %.*s; granted: %.*s; missing: %.*s",
                   SLICE_FMT(slice_sub(cfg->scopes, 0, WORDS_MAX)),
                   SLICE_FMT(slice_sub(rec->scope, 0, WORDS_MAX)),
                   SLICE_FMT(slice_sub(buf_slice(&missing), 0, WORDS_MAX)));
    buf_deinit(&missing);
}

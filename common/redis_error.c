#include "common/redis_error.h"

#include <stdio.h>
#include <string.h>
#include "common/char.h"

static const struct row {
    const char *word;
    enum redis_do act;
    enum err_code code;
    const char *say; /* NULL: what Redis said, up to its first quote */
} table[] = {
    {"ERR", REDIS_DO_FAIL, ERR_FORMAT, NULL},
    {"EXECABORT", REDIS_DO_FAIL, ERR_FORMAT, NULL},
    {"LOADING", REDIS_DO_RETRY, ERR_RETRY, "Redis is still loading its data"},
    {"BUSY", REDIS_DO_RETRY, ERR_RETRY, "Redis is busy running somebody's script"},
    {"TRYAGAIN", REDIS_DO_RETRY, ERR_RETRY, "Redis is moving these keys"},
    {"CLUSTERDOWN", REDIS_DO_RETRY, ERR_RETRY, "the cluster is down"},
    {"NOREPLICAS", REDIS_DO_RETRY, ERR_RETRY,
     "Redis refuses writes because too few replicas follow it (min-replicas-to-write)"},
    {"READONLY", REDIS_DO_RESET, ERR_RETRY, "this Redis is a read-only replica, not the primary"},
    {"UNBLOCKED", REDIS_DO_RESET, ERR_RETRY,
     "what was waited on is gone: Redis changed its role, or somebody deleted the stream"},
    {"MASTERDOWN", REDIS_DO_RESET, ERR_RETRY,
     "this replica has lost its primary; looking for the primary"},
    /* Only a server that became part of a cluster says these two: the check at the next connect
     * refuses it in one clear line. */
    {"MOVED", REDIS_DO_RESET, ERR_RETRY, "this Redis has become part of a cluster"},
    {"ASK", REDIS_DO_RESET, ERR_RETRY, "this Redis has become part of a cluster"},
    {"OOM", REDIS_DO_STOP, ERR_NOMEM,
     "Redis is out of memory (maxmemory) and refuses writes; raise it, or let the backlog drain"},
    {"MISCONF", REDIS_DO_STOP, ERR_NOMEM,
     "Redis cannot save to disk and refuses writes; look at its log and its disk"},
    {"NOAUTH", REDIS_DO_AUTH, ERR_CONFIG, "Redis wants a password; set the password file"},
    {"WRONGPASS", REDIS_DO_AUTH, ERR_CONFIG,
     "Redis refuses the user or its password; check user and password file"},
    {"NOPERM", REDIS_DO_AUTH, ERR_CONFIG,
     "this Redis user may not do that: give it what awq-ctl acl print --role ROLE --prefix PREFIX "
     "says for its role (ACL LOG on the server has what was refused)"},
    {"DENIED", REDIS_DO_AUTH, ERR_CONFIG,
     "Redis is in protected mode: it has no password and is asked from another machine"},
    {"NOSCRIPT", REDIS_DO_REEVAL, ERR_NOT_FOUND, "Redis does not know this script"},
    {"NOGROUP", REDIS_DO_REGROUP, ERR_NOT_FOUND, "the stream or its consumer group is not there"},
    {"BUSYGROUP", REDIS_DO_FINE, ERR_NONE, "the consumer group is there already"},
    {"WRONGTYPE", REDIS_DO_BUG, ERR_FORMAT,
     "a key holds another type than awq puts there: is the prefix shared with something else?"},
    {"CROSSSLOT", REDIS_DO_BUG, ERR_FORMAT, "keys of one command live in two slots: a bug in awq"},
};

/* These have no word of their own: what stands in their text tells. */
static const struct special {
    const char *text;
    struct row row;
} specials[] = {
    /* instead of the answer to a link's first command */
    {"max number of clients",
     {"ERR", REDIS_DO_RETRY, ERR_RETRY, "Redis has as many clients as it allows (maxclients)"}},
    {"exhausted the last possible ID",
     {"ERR", REDIS_DO_FAIL, ERR_FORMAT,
      "the stream has exhausted its ids, for somebody added an entry with the last id there is: "
      "when it is drained (XLEN 0), DEL it; until then use another queue"}},
    {"no such key", {"ERR", REDIS_DO_REGROUP, ERR_NOT_FOUND, "no such key"}},
};

static const struct row *find_special(struct slice text)
{
    if (!slice_starts(text, SLICE_LIT("ERR ")))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(specials); i++)
        if (memmem(text.ptr, text.len, specials[i].text, strlen(specials[i].text)))
            return &specials[i].row;
    return NULL;
}

static const struct row *find(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (slice_is(word, table[i].word))
            return &table[i];
    return &table[0];
}

enum redis_do redis_err_class(struct slice first_word)
{
    return find(first_word)->act;
}

static struct slice leading_word(struct slice s)
{
    size_t n = 0;

    while (n < s.len && ((s.ptr[n] >= 'A' && s.ptr[n] <= 'Z') || s.ptr[n] == '_'))
        n++;
    return slice_sub(s, 0, n);
}

/* "ERR Error running script (call to f_SHA): @user_script:12: -OOM command not ...": Redis 6.2
 * repeats "@user_script: LINE: " once or twice; 7.0 puts the word first by itself. */
struct slice redis_error_word(struct slice text)
{
    static const char mark[] = "@user_script:";
    const char *at = text.ptr, *end = text.ptr + text.len, *p = NULL;
    struct slice word;

    if (slice_starts(text, SLICE_LIT("ERR The user executing the script"))) /* 7.0: its rights */
        return SLICE_LIT("NOPERM");
    if (!slice_starts(text, SLICE_LIT("ERR Error running script")))
        return leading_word(text);
    while ((at = memmem(at, (size_t)(end - at), mark, sizeof mark - 1)))
        p = at += sizeof mark - 1;
    while (p && p < end && (*p == ' ' || *p == '-' || *p == ':' || char_is_digit(*p)))
        p++;
    word = p ? leading_word(slice_of(p, (size_t)(end - p))) : SLICE_NONE;
    return word.len > 1 && find(word) != &table[0] ? word : leading_word(text);
}

/* At most up to the first quote; what does not print becomes '?'. */
static void tame(char *to, size_t size, struct slice text)
{
    size_t n = 0;

    while (n < text.len && n + 4 < size && !strchr("'\"`", text.ptr[n])) {
        to[n] = text.ptr[n] >= ' ' && text.ptr[n] < 127 ? text.ptr[n] : '?';
        n++;
    }
    snprintf(to + n, size - n, "%s", n < text.len ? "..." : "");
}

bool redis_error_fill(struct err *err, const char *link, const char *what, struct slice text)
{
    const struct row *row = find_special(text);
    char said[160];

    if (!row)
        row = find(redis_error_word(text));
    if (row->say)
        return err_rule(err, row->code, row->word, "redis %s: %s: %s: %s", link, what, row->word,
                        row->say);
    tame(said, sizeof said, text);
    return err_rule(err, row->code, row->word, "redis %s: %s: %s", link, what, said);
}

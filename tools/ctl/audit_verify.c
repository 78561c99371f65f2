/* awq-ctl audit verify: each writer's chain, line by line, and its end by the checkpoints in the
 * logs. */
#include "tools/ctl/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/char.h"
#include "common/key.h"
#include "tools/ctl/link.h"

#define BUCKETS    4096
#define SHOWN      100  /* problems that are printed; all are counted */
#define EARLY_MAX  1000 /* lines of a writer that wait for one before them */
#define CLOCKS_MS  1000 /* so far the clocks of writers and Redis may differ */
#define WRITER_MAX 128

enum { F_RETIRED };

const struct flag audit_verify_flags[1] = {
    [F_RETIRED] =
        {"--retired", NULL, "IDS",
         "run keys (keys ls) that are in no file any more, commas between: their lines are "
         "taken without proof"},
};

/* A line that stands before one with a lower number: Redis refused that one at first. */
struct early {
    struct early *next;
    uint64_t number;
    struct audit_digest before, digest;
};

struct chain { /* one writer's */
    struct chain *next;
    char writer[WRITER_MAX];
    bool acts;
    uint64_t first, last;       /* numbers */
    struct audit_digest digest; /* of `last` */
    uint64_t vouched;           /* by a keyed hash of ours, or a checkpoint: all up to this one */
    uint64_t doubtful;          /* the last one without */
    char key_id[KEY_ID_HEX];    /* of that; "" = not signed */
    bool checkpointed;
    struct early *early;
    size_t early_count;
    struct audit_digest *known; /* of first and those that follow it without a gap */
    size_t known_count, known_room;
};

struct verify {
    struct ctl *c;
    struct chain *buckets[BUCKETS];
    struct key key; /* of the stream in hand */
    bool acts;
    int64_t oldest_ms[2]; /* of the first line, of uses and of acts; 0 = there is none */
    struct slice retired;
    size_t lines, writers, taken, repeats, problems, checkpoints;
};

static void problem(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct verify *v, const char *fmt, ...)
{
    char text[512];
    va_list ap;

    if (++v->problems > SHOWN)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = '?';
    out_row(&v->c->out);
    out_cstr(&v->c->out, text);
}

static struct chain *find(struct verify *v, struct slice writer, bool make)
{
    unsigned h = 5381;
    struct chain *ch;

    for (size_t i = 0; i < writer.len; i++)
        h = h * 33 + (unsigned char)writer.ptr[i];
    for (ch = v->buckets[h % BUCKETS]; ch; ch = ch->next)
        if (slice_is(writer, ch->writer) && ch->acts == v->acts)
            return ch;
    if (!make || writer.len >= WRITER_MAX || !(ch = calloc(1, sizeof *ch)))
        return NULL;
    slice_copy(writer, ch->writer, sizeof ch->writer);
    ch->acts = v->acts;
    ch->next = v->buckets[h % BUCKETS];
    v->buckets[h % BUCKETS] = ch;
    v->writers++;
    return ch;
}

static bool same(const struct audit_digest *a, struct slice b)
{
    return b.len == sizeof a->bytes && memcmp(a->bytes, b.ptr, b.len) == 0;
}

/* ---- the chain ---- */

/* Keeps the digest if there is room: numbers come from Redis, and may be anything. */
static void remember(struct chain *ch, const struct audit_digest *digest)
{
    if (ch->known_count == ch->known_room) {
        size_t room = ch->known_room ? 2 * ch->known_room : 64;
        struct audit_digest *more = realloc(ch->known, room * sizeof *more);

        if (!more)
            return;
        ch->known = more;
        ch->known_room = room;
    }
    ch->known[ch->known_count++] = *digest;
}

static void advance(struct chain *ch, uint64_t number, const struct audit_digest *digest)
{
    if (number != ch->last + 1) { /* behind a gap: known is what follows from here */
        ch->first = number;
        ch->known_count = 0;
    }
    if (number - ch->first == ch->known_count)
        remember(ch, digest);
    ch->last = number;
    ch->digest = *digest;
}

static const struct audit_digest *known_digest(const struct chain *ch, uint64_t number)
{
    return number >= ch->first && number - ch->first < ch->known_count
               ? &ch->known[number - ch->first]
               : NULL;
}

/* Those that waited for this one. */
static void take_early(struct verify *v, struct chain *ch)
{
    for (struct early **at = &ch->early, *e; (e = *at);) {
        if (e->number != ch->last + 1) {
            at = &e->next;
            continue;
        }
        if (memcmp(e->before.bytes, ch->digest.bytes, sizeof e->before.bytes) != 0)
            problem(v, "%s: line %" PRIu64 " of %s does not follow the one before it: altered",
                    v->key.s, e->number, ch->writer);
        advance(ch, e->number, &e->digest);
        *at = e->next;
        ch->early_count--;
        free(e);
        at = &ch->early;
    }
}

/* Its place is behind others that are not there yet, or never will be. */
static void keep_early(struct verify *v, struct chain *ch, const struct audit_line *line,
                       const struct audit_digest *digest)
{
    struct early **at = &ch->early, *e;

    while (*at && (*at)->number < line->number)
        at = &(*at)->next;
    if (*at && (*at)->number == line->number) {
        v->repeats++;
        return;
    }
    if (!(e = calloc(1, sizeof *e)))
        return;
    e->number = line->number;
    e->digest = *digest;
    memcpy(e->before.bytes, line->before.ptr, sizeof e->before.bytes);
    e->next = *at;
    *at = e;
    ch->early_count++;
}

static void say_missing(struct verify *v, const struct chain *ch, uint64_t from, uint64_t to)
{
    if (from == to)
        problem(v, "%s: line %" PRIu64 " of %s is missing", v->key.s, from, ch->writer);
    else
        problem(v, "%s: lines %" PRIu64 " to %" PRIu64 " of %s are missing", v->key.s, from, to,
                ch->writer);
}

/* What was waited for is not there: go on behind the gap. */
static void close_gap(struct verify *v, struct chain *ch)
{
    struct early *e = ch->early;

    say_missing(v, ch, ch->last + 1, e->number - 1);
    advance(ch, e->number, &e->digest);
    ch->early = e->next;
    ch->early_count--;
    free(e);
    take_early(v, ch);
}

/* A chain that does not begin with 1 is fine if what came before aged out: then it is older than
 * all that is there. */
static void begin(struct verify *v, struct chain *ch, const struct audit_line *line,
                  const struct audit_digest *digest)
{
    struct err err = {0};
    struct json *doc = json_parse(line->text, &err);
    int64_t prev = 0;

    ch->first = line->number;
    if (line->number > 1 && json_int(json_get(json_root(doc), "prev"), &prev) &&
        prev > v->oldest_ms[v->acts] + CLOCKS_MS)
        say_missing(v, ch, 1, line->number - 1);
    json_free(doc);
    advance(ch, line->number, digest);
}

static void follow(struct verify *v, struct chain *ch, struct slice id,
                   const struct audit_line *line)
{
    struct audit_digest digest = audit_digest(line);
    const struct audit_digest *known;

    if (ch->last == 0) {
        begin(v, ch, line, &digest);
    } else if (line->number == ch->last + 1) {
        if (!same(&ch->digest, line->before))
            problem(v,
                    "%s: %.*s, line %" PRIu64 " of %s, does not follow the one before it: altered",
                    v->key.s, SLICE_FMT(id), line->number, ch->writer);
        advance(ch, line->number, &digest);
        take_early(v, ch);
    } else if (line->number > ch->last) {
        keep_early(v, ch, line, &digest);
        if (ch->early_count > EARLY_MAX)
            close_gap(v, ch);
    } else if ((known = known_digest(ch, line->number)) &&
               memcmp(known->bytes, digest.bytes, sizeof digest.bytes) == 0) {
        v->repeats++; /* its answer was lost, and it was written again */
    } else {
        problem(v, "%s: %.*s is a second line %" PRIu64 " of %s", v->key.s, SLICE_FMT(id),
                line->number, ch->writer);
    }
}

/* ---- who vouches for it ---- */

static bool is_retired(const struct verify *v, const char *key_id)
{
    struct slice rest = v->retired, one;

    while (slice_cut(&rest, ',', &one))
        if (slice_is(one, key_id))
            return true;
    return false;
}

/* A keyed hash covers the digest of the line before, that one's the line before it, and so on: one
 * that we can check vouches for all before it. Those behind the last such line are doubtful. */
static void vouch(struct verify *v, struct chain *ch, const struct audit_line *line, bool sound)
{
    char key_id[KEY_ID_HEX] = "";

    if (!sound && seal_mac_key_id(line->mac, key_id) && is_retired(v, key_id)) {
        v->taken++;
        sound = true;
    }
    if (sound && line->number > ch->vouched)
        ch->vouched = line->number;
    if (!sound && line->number > ch->doubtful) {
        ch->doubtful = line->number;
        slice_copy(slice_cstr(key_id), ch->key_id, sizeof ch->key_id);
    }
}

static void check_doubtful(struct verify *v, const struct chain *ch)
{
    uint64_t from = ch->vouched >= ch->first ? ch->vouched + 1 : ch->first;
    char why[160] = "written without the key file";

    if (ch->doubtful <= ch->vouched)
        return;
    if (ch->key_id[0])
        snprintf(why, sizeof why,
                 "signed with run key %s, which is not in the file of --keys (of a key that was "
                 "retired: "
                 "--retired %s)",
                 ch->key_id, ch->key_id);
    problem(v,
            "lines %" PRIu64 " to %" PRIu64
            " of %s are %s, and no later line or checkpoint vouches for them",
            from, ch->doubtful, ch->writer, why);
}

static void check_line(struct verify *v, const struct redis_reply *entry)
{
    struct audit_line line;
    struct slice id;
    struct chain *ch;
    bool sound, unknown;

    v->lines++;
    if (!audit_entry_read(entry, &id, &line)) {
        problem(v, "%s: %.*s is no line of awq", v->key.s, SLICE_FMT(id));
        return;
    }
    sound = audit_is_sound(v->c->keyring, slice_cstr(v->c->common.prefix), &line);
    unknown = (line.mac.len == 0 && v->acts) ||
              (line.mac.len == SEAL_MAC_BYTES && !seal_mac_known(v->c->keyring, KEY_RUN, line.mac));
    if (!sound && !unknown)
        problem(v, "%s: %.*s, line %" PRIu64 " of %.*s, was altered", v->key.s, SLICE_FMT(id),
                line.number, SLICE_FMT(slice_sub(line.writer, 0, 100)));
    if (!(ch = find(v, line.writer, true))) {
        problem(v, "%s: %.*s has a writer whose name is too long", v->key.s, SLICE_FMT(id));
        return;
    }
    follow(v, ch, id, &line);
    vouch(v, ch, &line, sound || !unknown);
}

/* awq never deletes a line of these streams, it only lets the oldest go. */
static void check_deleted(struct verify *v)
{
    struct redis_reply *r = link_ask(v->c->link, NULL, "XINFO", "STREAM", v->key.s);
    struct slice id = redis_reply_str(redis_reply_field(r, "max-deleted-entry-id"));

    if (id.len > 0 && !slice_is(id, "0-0"))
        problem(v, "%s: lines were deleted by XDEL, up to %.*s", v->key.s, SLICE_FMT(id));
    redis_reply_free(r);
}

static bool check_stream(struct verify *v, struct err *err)
{
    const size_t page = strtoul(AUDIT_PAGE, NULL, 10);
    char from[64] = "-";
    size_t count = page;

    while (count == page) {
        struct redis_reply *r =
            link_ask(v->c->link, err, "XRANGE", v->key.s, from, "+", "COUNT", AUDIT_PAGE);
        struct slice last;

        if (!r)
            return false;
        count = redis_reply_len(r);
        for (size_t i = 0; i < count; i++) {
            last = redis_reply_str(redis_reply_at(redis_reply_at(r, i), 0));
            if (v->oldest_ms[v->acts] == 0)
                slice_to_i64(slice_sub(last, 0, slice_find(last, '-')), &v->oldest_ms[v->acts]);
            check_line(v, redis_reply_at(r, i));
            snprintf(from, sizeof from, "(%.*s", SLICE_FMT(slice_sub(last, 0, 48)));
        }
        redis_reply_free(r);
    }
    if (v->oldest_ms[v->acts] > 0)
        check_deleted(v);
    for (size_t b = 0; b < BUCKETS; b++)
        for (struct chain *ch = v->buckets[b]; ch; ch = ch->next)
            while (ch->acts == v->acts && ch->early)
                close_gap(v, ch);
    return true;
}

/* ---- checkpoints ---- */

static bool from_hex(struct slice hex, struct audit_digest *d)
{
    static const char digits[] = "0123456789abcdef";

    if (hex.len != 2 * sizeof d->bytes)
        return false;
    for (size_t i = 0; i < hex.len; i++) {
        const char *at = strchr(digits, hex.ptr[i]);

        if (!at || !hex.ptr[i])
            return false;
        d->bytes[i / 2] =
            (char)((i % 2 ? (unsigned char)d->bytes[i / 2] << 4 : 0) | (unsigned)(at - digits));
    }
    return true;
}

/* When the log says that it was written; 0 when it does not say. */
static int64_t logged_ms(const struct json_val *line)
{
    char text[40];
    struct slice ts;
    struct tm tm = {0};

    if (!json_str(json_get(line, "ts"), &ts) || !slice_copy(ts, text, sizeof text) ||
        !strptime(text, "%Y-%m-%dT%H:%M:%S", &tm))
        return 0;
    return (int64_t)timegm(&tm) * 1000;
}

/* No line of this writer is here. That is as it should be only if all there is came later. */
static void check_absent(struct verify *v, struct slice writer, int64_t n, int64_t at_ms)
{
    int64_t oldest = v->oldest_ms[v->acts];

    if (oldest == 0)
        problem(v, "%s is empty, and %.*s had written %" PRId64 " lines (audit.checkpoint)",
                v->key.s, SLICE_FMT(slice_sub(writer, 0, 100)), n);
    else if (at_ms + CLOCKS_MS >= oldest)
        problem(v,
                "%s has no line of %.*s, which had written %" PRId64
                " (audit.checkpoint): they were taken out",
                v->key.s, SLICE_FMT(slice_sub(writer, 0, 100)), n);
}

static void check_checkpoint(struct verify *v, const struct json_val *line)
{
    struct slice event, writer, hex;
    struct audit_digest digest;
    const struct audit_digest *known;
    struct chain *ch;
    int64_t n;
    uint64_t number;

    if (!json_str(json_get(line, "event"), &event) || !slice_is(event, "audit.checkpoint") ||
        !json_str(json_get(line, "chain"), &writer) || !json_int(json_get(line, "number"), &n) ||
        n < 1 || !json_str(json_get(line, "digest"), &hex) || !from_hex(hex, &digest))
        return;
    number = (uint64_t)n;
    v->checkpoints++;
    v->acts = slice_is(writer, AUDIT_ACTS);
    if (v->acts)
        key_audit_acts(&v->key, CTL_SHARD);
    else
        key_audit(&v->key, CTL_SHARD);
    ch = find(v, writer, false);
    if (!ch) {
        check_absent(v, writer, n, logged_ms(line));
        return;
    }
    ch->checkpointed = true;
    known = known_digest(ch, number);
    if (number > ch->last)
        problem(v,
                "%s: %.*s had written line %" PRId64
                " (audit.checkpoint), and its last one here is %" PRIu64
                ": its newest were taken off",
                v->key.s, SLICE_FMT(slice_sub(writer, 0, 100)), n, ch->last);
    else if (known && memcmp(known->bytes, digest.bytes, sizeof digest.bytes) != 0)
        problem(v, "%s: line %" PRId64 " of %s is not the one of its audit.checkpoint", v->key.s, n,
                ch->writer);
    else if (known && number > ch->vouched)
        ch->vouched = number;
}

static int check_log(struct verify *v, const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;
    ssize_t len;

    if (!f)
        return ctl_say(CTL_FAILED, "%s: %s", path, strerror(errno));
    while ((len = getline(&line, &room, f)) >= 0) {
        struct json *doc = NULL;
        struct err err = {0};

        if (strstr(line, "audit.checkpoint"))
            doc = json_parse(slice_of(line, (size_t)len), &err);

        check_checkpoint(v, json_root(doc));
        json_free(doc);
    }
    free(line);
    fclose(f);
    return CTL_OK;
}

/* ---- the verb ---- */

static void verify_free(struct verify *v)
{
    for (size_t b = 0; b < BUCKETS; b++) {
        struct chain *ch = v->buckets[b], *next;

        for (; ch; ch = next) {
            next = ch->next;
            for (struct early *e = ch->early, *after; e; e = after) {
                after = e->next;
                free(e);
            }
            free(ch->known);
            free(ch);
        }
    }
    free(v);
}

/* Of whom no log that was named has a checkpoint: their ends are not known. */
static size_t without_checkpoint(const struct verify *v, const char **one)
{
    size_t n = 0;

    for (size_t b = 0; b < BUCKETS; b++)
        for (const struct chain *ch = v->buckets[b]; ch; ch = ch->next)
            if (!ch->checkpointed) {
                *one = ch->acts ? "the operators" : ch->writer;
                n++;
            }
    return n;
}

static int report(struct verify *v)
{
    struct out *o = &v->c->out;
    const char *one = "";
    size_t open_ends = without_checkpoint(v, &one);

    out_list_end(o, v->taken > 0 ? "no line was found to be other than it was written"
                                 : "every line is as it was written");
    out_note(o, "%zu lines of %zu writers checked, %zu checkpoints compared: %zu problems",
             v->lines, v->writers, v->checkpoints, v->problems);
    if (open_ends > 0)
        out_note(o,
                 "Of %zu writers (%s%s) no checkpoint was found: whether their newest lines were "
                 "taken off only workers' logs can tell: name them.",
                 open_ends, one, open_ends > 1 ? " and others" : "");
    if (v->problems > SHOWN)
        out_note(o, "the first %d are shown", SHOWN);
    if (v->taken > 0)
        out_note(o, "%zu lines were taken without proof (--retired)", v->taken);
    return v->problems > 0 ? CTL_FAILED : CTL_OK;
}

int audit_verify(struct ctl *c, const struct args *a)
{
    static const char *const columns[] = {"problem"};
    struct verify *v;
    struct err err = {0};
    bool ok = true;
    int code;

    if ((code = ctl_keys(c)) || (code = ctl_connect(c)))
        return code;
    if (!(v = calloc(1, sizeof *v)))
        return ctl_say(CTL_FAILED, "out of memory");
    v->c = c;
    v->retired = slice_cstr(a->flag[F_RETIRED]);
    out_list(&c->out, columns, ARRAY_LEN(columns));
    for (int acts = 0; ok && acts < 2; acts++) {
        v->acts = acts;
        if (acts)
            key_audit_acts(&v->key, CTL_SHARD);
        else
            key_audit(&v->key, CTL_SHARD);
        ok = check_stream(v, &err);
    }
    for (size_t i = 0; ok && code == CTL_OK && i < a->count; i++)
        code = check_log(v, a->names[i]);
    for (size_t b = 0; ok && code == CTL_OK && b < BUCKETS; b++)
        for (struct chain *ch = v->buckets[b]; ch; ch = ch->next)
            check_doubtful(v, ch);
    if (ok && code == CTL_OK) {
        code = report(v);
    } else {
        out_list_drop(&c->out);
        code = ok ? code : ctl_fail(c, &err);
    }
    verify_free(v);
    return code;
}

#include "worker/audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/audit.h"
#include "common/clock.h"
#include "common/json.h"
#include "common/log.h"
#include "worker/liveness.h"
#include "worker/renew_parts.h"
#include "worker/step_parts.h"

#define HELD_MAX         10000 /* lines that wait for Redis */
#define CHECKPOINT_LINES 1000
#define CHECKPOINT_MS    60000

struct line {
    struct audit *home;
    struct line *next;
    char number[24];
    struct audit_digest before;
    struct buf text, mac;
    bool sent, taken; /* by Redis */
};

struct audit {
    struct worker *w;
    struct key key, acts;
    char max[24];
    bool renewals, uses;          /* are written */
    struct line *oldest, *newest; /* not acknowledged */
    size_t held;
    uint64_t number;            /* of the last line made */
    struct audit_digest before; /* what the next one says */
    int64_t prev_ms;            /* when that was */
    uint64_t dropped;           /* since the last line */
    uint64_t checked;           /* number at the last checkpoint */
    int64_t checked_boot_ms;
    uint64_t acts_seen; /* number of the operators' last line in our last checkpoint of it */
    bool asks_acts;
    bool behind; /* some line is to go out again, before any new one */
    bool stuck;  /* Redis refused one: said once */
};

struct audit *audit_new(struct worker *w)
{
    struct audit *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->w = w;
    key_audit(&a->key, SHARD);
    key_audit_acts(&a->acts, SHARD);
    snprintf(a->max, sizeof a->max, "%" PRId64, w->set->audit_max);
    a->uses = strcmp(w->set->audit_level, "uses") == 0;
    a->renewals = a->uses || strcmp(w->set->audit_level, "renewals") == 0;
    a->checked_boot_ms = clock_boot_ms();
    return a;
}

static void line_free(struct line *l)
{
    buf_deinit(&l->text);
    buf_deinit(&l->mac);
    free(l);
}

void audit_free(struct audit *a)
{
    struct line *l = a ? a->oldest : NULL, *next;

    for (; l; l = next) {
        next = l->next;
        line_free(l);
    }
    free(a);
}

bool audit_is_quiet(const struct audit *a)
{
    return a->held == 0;
}

/* ---- to Redis ---- */

/* Lines are let go in order: one that Redis refused keeps those behind it. */
static void let_go(struct audit *a)
{
    struct line *l;

    while ((l = a->oldest) && l->taken) {
        a->oldest = l->next;
        a->held--;
        line_free(l);
    }
    if (!a->oldest)
        a->newest = NULL;
    if (a->held == 0)
        worker_on_idle(a->w);
}

static void on_added(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct line *l = owner;
    struct audit *a = l->home;

    (void)reply;
    if (err) { /* later, with the next beat; written twice it is the same line twice */
        l->sent = false;
        a->behind = true;
        if (err->code != ERR_CANCELLED && err->code != ERR_UNREACHABLE &&
            err->code != ERR_UNKNOWN && !a->stuck) {
            a->stuck = true;
            log_event(LOG_ERROR, EV_REDIS_ERROR, F_CSTR("what", "audit"), F_ERR(err));
        }
        return;
    }
    a->stuck = false;
    l->taken = true;
    let_go(a);
}

static bool send_line(struct audit *a, struct line *l)
{
    struct err err = {0};
    const struct slice argv[] = {
        SLICE_LIT("XADD"),   key_slice(&a->key),
        SLICE_LIT("MAXLEN"), SLICE_LIT("~"),
        slice_cstr(a->max),  SLICE_LIT("*"),
        SLICE_LIT("w"),      slice_cstr(a->w->id),
        SLICE_LIT("n"),      slice_cstr(l->number),
        SLICE_LIT("b"),      slice_of(l->before.bytes, sizeof l->before.bytes),
        SLICE_LIT("l"),      buf_slice(&l->text),
        SLICE_LIT("m"),      buf_slice(&l->mac),
    };

    l->sent = redis_command(a->w->link, ARRAY_LEN(argv), argv, 0, on_added, l, &err);
    return l->sent;
}

static void send_all(struct audit *a)
{
    bool fine = true;

    for (struct line *l = a->oldest; l && fine; l = l->next)
        fine = l->sent || send_line(a, l);
    a->behind = !fine;
}

/* ---- a line ---- */

/* Begins the JSON of a line. */
static void begin(struct audit *a, struct json_writer *jw, struct buf *text, const char *kind)
{
    int64_t now = worker_now_ms(a->w);

    buf_init(text, AUDIT_LINE_MAX);
    jw_init(jw, text);
    jw_obj(jw);
    jw_key(jw, "t");
    jw_int(jw, now);
    if (a->prev_ms > 0) {
        jw_key(jw, "prev");
        jw_int(jw, a->prev_ms);
    }
    jw_key(jw, "kind");
    jw_cstr(jw, kind);
    a->prev_ms = now;
}

static void add_cstr(struct json_writer *jw, const char *key, const char *value)
{
    if (!value[0])
        return;
    jw_key(jw, key);
    jw_cstr(jw, value);
}

static void add_uint(struct json_writer *jw, const char *key, uint64_t value)
{
    jw_key(jw, key);
    jw_uint(jw, value);
}

static void checkpoint(struct audit *a);

/* Takes the text: binds it to the line before and sends it, or counts it as dropped. */
static void add(struct audit *a, struct buf *text)
{
    struct line *l = buf_ok(text) ? calloc(1, sizeof *l) : NULL;
    struct err err = {0};
    struct audit_line as = {
        .writer = slice_cstr(a->w->id), .number = a->number + 1, .text = buf_slice(text)};

    if (!l) {
        a->dropped++;
        buf_deinit(text);
        return;
    }
    l->home = a;
    l->before = a->before;
    l->text = *text;
    snprintf(l->number, sizeof l->number, "%" PRIu64, as.number);
    buf_init(&l->mac, SEAL_MAC_BYTES);
    as.before = slice_of(l->before.bytes, sizeof l->before.bytes);
    if (!audit_seal(a->w->keys, slice_cstr(a->w->set->common.prefix), &as, &l->mac, &err)) {
        a->dropped++;
        line_free(l);
        return;
    }
    as.mac = buf_slice(&l->mac);
    a->before = audit_digest(&as);
    a->number++;
    if (a->newest)
        a->newest->next = l;
    else
        a->oldest = l;
    a->newest = l;
    a->held++;
    if (!a->behind)
        a->behind = !send_line(a, l);
    if (a->number - a->checked >= CHECKPOINT_LINES)
        checkpoint(a);
}

/* Is there room for one more? If there was none for some, that is a line of its own. */
static bool has_room(struct audit *a)
{
    struct json_writer jw;
    struct buf text;
    uint64_t n = a->dropped;

    if (a->held >= HELD_MAX) {
        if (a->dropped++ == 0)
            log_event(LOG_ERROR, EV_AUDIT_DROPPED, F_UINT("held", a->held));
        return false;
    }
    if (n > 0) {
        a->dropped = 0;
        begin(a, &jw, &text, "dropped");
        add_uint(&jw, "lines", n);
        jw_end_obj(&jw);
        add(a, &text);
    }
    return true;
}

static struct slice host_of(struct slice url)
{
    size_t scheme = slice_find(url, ':');
    struct slice rest = slice_sub(url, scheme + strlen("://"), url.len);

    return slice_sub(rest, 0, slice_find_any(rest, "/?#"));
}

void audit_use(struct audit *a, const struct step *s)
{
    struct json_writer jw;
    struct buf text;

    if (a->uses && !s->drop_token && s->token && s->sent != HTTP_NOT_SENT && has_room(a)) {
        begin(a, &jw, &text, "use");
        add_cstr(&jw, "connection", s->conn->id);
        add_uint(&jw, "gen", s->conn->gen);
        add_uint(&jw, "ver", s->token->ver);
        add_cstr(&jw, "run", s->run);
        add_cstr(&jw, "job", s->name);
        add_cstr(&jw, "method", s->method);
        jw_key(&jw, "host");
        jw_str(&jw, host_of(buf_slice(&s->url)));
        if (s->sent == HTTP_ANSWERED)
            add_uint(&jw, "status", (uint64_t)s->status);
        else
            add_cstr(&jw, "error", err_code_name(s->err.code));
        jw_end_obj(&jw);
        add(a, &text);
    }
}

void audit_renewal(struct audit *a, const struct renewal *r, const char *outcome)
{
    struct json_writer jw;
    struct buf text;

    if (!a->renewals || !has_room(a))
        return;
    begin(a, &jw, &text, "renewal");
    add_cstr(&jw, "connection", r->c->id);
    add_uint(&jw, "gen", r->gen);
    add_uint(&jw, "ver", r->stored_ver ? r->stored_ver : r->ver);
    add_cstr(&jw, "outcome", outcome);
    add_cstr(&jw, "reason",
             r->answer.reason[0] || !r->why.code ? r->answer.reason : err_code_name(r->why.code));
    add_cstr(&jw, "fence", r->fence);
    if (r->replays > 0)
        add_uint(&jw, "replays", (uint64_t)r->replays);
    if (r->cfg) {
        jw_key(&jw, "host");
        jw_str(&jw, host_of(oauth_renewal_url(r->cfg)));
    }
    jw_end_obj(&jw);
    add(a, &text);
}

void audit_restored(struct audit *a, const char *connection, unsigned long long gen,
                    unsigned long long ver)
{
    struct json_writer jw;
    struct buf text;

    if (!a->renewals || !has_room(a))
        return;
    begin(a, &jw, &text, "renewal");
    add_cstr(&jw, "connection", connection);
    add_uint(&jw, "gen", gen);
    add_uint(&jw, "ver", ver);
    add_cstr(&jw, "outcome", "restored");
    jw_end_obj(&jw);
    add(a, &text);
}

/* ---- checkpoints: what Redis cannot take back ---- */

static void log_checkpoint(const char *chain, uint64_t number, const struct audit_digest *d)
{
    static const char hex[] = "0123456789abcdef";
    char text[2 * AUDIT_DIGEST_BYTES];

    for (size_t i = 0; i < sizeof d->bytes; i++) {
        text[2 * i] = hex[((unsigned char)d->bytes[i]) >> 4];
        text[2 * i + 1] = hex[((unsigned char)d->bytes[i]) & 15];
    }
    log_event(LOG_ALWAYS, EV_AUDIT_CHECKPOINT, F_CSTR("chain", chain), F_UINT("number", number),
              F_STR("digest", slice_of(text, sizeof text)));
}

static void checkpoint(struct audit *a)
{
    if (a->number == a->checked)
        return;
    a->checked = a->number;
    log_checkpoint(a->w->id, a->number, &a->before);
}

void audit_close(struct audit *a)
{
    checkpoint(a);
}

static void on_acts(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct audit *a = owner;
    struct audit_line last;
    struct audit_digest d;
    struct slice id;

    if (err && err->code == ERR_CANCELLED)
        return;
    a->asks_acts = false;
    if (err || !audit_entry_read(redis_reply_at(reply, 0), &id, &last) ||
        last.number == a->acts_seen)
        return;
    a->acts_seen = last.number;
    d = audit_digest(&last);
    log_checkpoint(AUDIT_ACTS, last.number, &d);
}

/* The housekeeper writes down how far the operators' chain is. */
static void ask_acts(struct audit *a)
{
    struct err err = {0};
    const struct slice argv[] = {SLICE_LIT("XREVRANGE"), key_slice(&a->acts), SLICE_LIT("+"),
                                 SLICE_LIT("-"),         SLICE_LIT("COUNT"),  SLICE_LIT("1")};

    if (!a->asks_acts)
        a->asks_acts = redis_command(a->w->link, ARRAY_LEN(argv), argv, 0, on_acts, a, &err);
}

void audit_tick(struct audit *a)
{
    int64_t now = clock_boot_ms();

    send_all(a);
    if (now - a->checked_boot_ms < CHECKPOINT_MS)
        return;
    a->checked_boot_ms = now;
    checkpoint(a);
    if (liveness_is_boss(a->w->liveness))
        ask_acts(a);
}

/* The members of a profile: each by its place in a connection's file, which is its name in the
 * settings too; read and written by one table. */
#include "common/connection_inside.h"

#include <stddef.h>
#include <string.h>

#define STATUS_MIN 100
#define STATUS_MAX 599

static const char *const method_names[] = {"POST", "GET", NULL};
static const char *const body_names[] = {"form", "json", "query", NULL};
static const char *const format_names[] = {"json", "form", NULL};
static const char *const expiry_names[] = {
    "seconds", "milliseconds", "minutes", "epoch", "epoch_ms", "date", "never", "fixed", NULL};
static const char *const renewal_names[] = {"refresh_token", "none", NULL};
static const char *const place_names[] = {"header", "query", "cookie", NULL};
static const char *const wait_names[] = {"seconds", "milliseconds", "epoch", "epoch_ms", NULL};

#define AT(member) offsetof(struct profile, member)
#define MEMBER(where, what, to)                                                                    \
    {                                                                                              \
        .place = where, .kind = what, .at = AT(to)                                                 \
    }
#define NAMED(where, these, to)                                                                    \
    {                                                                                              \
        where, PROFILE_NAME, AT(to), these                                                         \
    }
#define SHAPE(map, to)                                                                             \
    MEMBER(map ".params", PROFILE_PAIRS, to.params),                                               \
        MEMBER(map ".rename", PROFILE_PAIRS, to.rename),                                           \
        MEMBER(map ".omit", PROFILE_WORDS, to.omit)
#define REQUEST(map, to)                                                                           \
    NAMED(map ".method", method_names, to.method), NAMED(map ".body", body_names, to.body),        \
        SHAPE(map, to), MEMBER(map ".headers", PROFILE_PAIRS, to.headers)
#define ANSWER(map, to)                                                                            \
    NAMED(map ".format", format_names, to.format),                                                 \
        MEMBER(map ".access_token", PROFILE_PATH, to.access_token),                                \
        MEMBER(map ".refresh_token", PROFILE_PATH, to.refresh_token),                              \
        MEMBER(map ".expiry", PROFILE_PATH, to.expiry),                                            \
        NAMED(map ".expiry_kind", expiry_names, to.expiry_kind),                                   \
        MEMBER(map ".error", PROFILE_PATH, to.error),                                              \
        MEMBER(map ".success.at", PROFILE_PATH, to.success_at),                                    \
        MEMBER(map ".success.is", PROFILE_TEXT, to.success_is)

const struct profile_member profile_members[] = {
    MEMBER("profile", PROFILE_TEXT, name),
    MEMBER("pkce", PROFILE_OFF, no_pkce),
    NAMED("token.renewal", renewal_names, not_renewed),
    MEMBER("scope_separator", PROFILE_TEXT, scope_separator),
    MEMBER("redirect_uri", PROFILE_TEXT, redirect_uri),
    MEMBER("refresh_url", PROFILE_TEXT, refresh_url),
    SHAPE("authorize", authorize),
    REQUEST("token_request", token),
    REQUEST("refresh_request", refresh),
    MEMBER("chain.url", PROFILE_TEXT, chain_url),
    REQUEST("chain", chain),
    ANSWER("chain.answer", chain_answer),
    ANSWER("answer", answer),
    MEMBER("answer.token_type", PROFILE_TEXT, answer.token_type),
    MEMBER("answer.scope", PROFILE_PATH, answer.scope),
    MEMBER("answer.scope_separator", PROFILE_TEXT, answer.scope_separator),
    MEMBER("answer.refused", PROFILE_WORDS, answer.refused),
    MEMBER("answer.transient", PROFILE_WORDS, answer.transient),
    MEMBER("answer.tokens", PROFILE_PAIRS, answer.tokens),
    MEMBER("api.base_url", PROFILE_TEXT, api.base_url),
    NAMED("api.token_in", place_names, api.token_in),
    MEMBER("api.token_name", PROFILE_TEXT, api.token_name),
    MEMBER("api.token_scheme", PROFILE_MAYBE, api.token_scheme),
    MEMBER("api.headers", PROFILE_PAIRS, api.headers),
    MEMBER("callback", PROFILE_PAIRS, callback),
    MEMBER("limits.signals", PROFILE_SIGNALS, signals),
};

_Static_assert(PROFILE_MEMBERS <= 64, "said has a bit for each");

const struct slice *name_map_find(const struct name_map *p, struct slice name)
{
    for (size_t i = 0; i < p->count; i++)
        if (slice_eq(p->at[i].name, name))
            return &p->at[i].value;
    return NULL;
}

bool word_list_has(const struct word_list *w, struct slice word)
{
    for (size_t i = 0; i < w->count; i++)
        if (slice_eq(w->at[i], word))
            return true;
    return false;
}

bool profile_base_is_answered(const struct profile *p)
{
    struct slice rest = p->api.base_url;

    while (slice_find(rest, '{') < rest.len) {
        rest = slice_sub(rest, slice_find(rest, '{'), rest.len);
        if (slice_starts(rest, SLICE_LIT("{answer.")))
            return true;
        rest = slice_sub(rest, 1, rest.len);
    }
    return false;
}

bool profile_said(const struct profile *p, const char *place)
{
    for (size_t i = 0; i < PROFILE_MEMBERS; i++)
        if (strcmp(profile_members[i].place, place) == 0)
            return (p->said >> i) & 1;
    return false;
}

/* ---- reading ---- */

static bool read_path(struct cfg_reader *r, const struct json_val *v, struct slice *to)
{
    struct slice rest, part;

    if (!cfg_text(r, v, CFG_TEXT_MAX, to))
        return false;
    rest = *to;
    while (slice_cut(&rest, '.', &part))
        if (part.len == 0 || !slice_is_visible(part) || slice_find_any(part, "$[]") < part.len)
            return cfg_wrong(r, "must be a path: names with dots between, as data.access_token");
    return to->ptr[to->len - 1] != '.' || cfg_wrong(r, "must not end with a dot");
}

/* Enums and flags are both written by the number of their name. */
static bool read_named(struct cfg_reader *r, const struct json_val *v,
                       const struct profile_member *m, void *to)
{
    struct slice s = SLICE_NONE;

    json_str(v, &s);
    for (int i = 0; m->names[i]; i++) {
        if (!slice_is(s, m->names[i]))
            continue;
        if (m->names == renewal_names)
            *(bool *)to = i == 1;
        else
            *(unsigned *)to = (unsigned)i;
        return true;
    }
    return cfg_wrong(r, m->names == method_names    ? "must be POST or GET"
                        : m->names == body_names    ? "must be form, json or query"
                        : m->names == format_names  ? "must be json or form"
                        : m->names == place_names   ? "must be header, query or cookie"
                        : m->names == renewal_names ? "must be refresh_token or none"
                                                    : "must be seconds, milliseconds, minutes, "
                                                      "epoch, epoch_ms, date, never or fixed");
}

static bool any_word(struct cfg_reader *r, char *s, size_t *len)
{
    return slice_is_visible(slice_of(s, *len)) || cfg_wrong(r, "must be a word without blanks");
}

static bool read_list(struct cfg_reader *r, const struct json_val *v, struct word_list *to)
{
    struct slice *list = NULL;

    if (!cfg_list(r, v, CFG_TEXT_MAX, any_word, &list, &to->count))
        return false;
    to->at = list;
    return true;
}

static bool read_wait_kind(struct cfg_reader *r, struct slice s, enum wait_kind *to)
{
    for (int i = 0; wait_names[i]; i++) {
        if (slice_is(s, wait_names[i])) {
            *to = (enum wait_kind)i;
            return true;
        }
    }
    return cfg_wrong(r, "has a wait_kind that is not seconds, milliseconds, epoch or epoch_ms");
}

/* "name: value", or the name alone. */
static void split_header(struct slice s, struct limit_signal *to)
{
    size_t colon = slice_find(s, ':');

    to->header = slice_trim(slice_sub(s, 0, colon));
    to->value = slice_trim(slice_sub(s, colon + 1, s.len));
}

static bool read_signal_member(struct cfg_reader *r, struct slice key, const struct json_val *v,
                               struct limit_signal *to)
{
    struct slice s;
    int64_t n = 0;

    if (slice_is(key, "status")) {
        if (!json_int(v, &n) || n < STATUS_MIN || n > STATUS_MAX)
            return cfg_wrong(r, "has a status that is not 100 to 599");
        to->status = (int)n;
        return true;
    }
    if (!cfg_text(r, v, CFG_TEXT_MAX, &s))
        return false;
    if (slice_is(key, "header"))
        split_header(s, to);
    else if (slice_is(key, "body"))
        to->body = s;
    else if (slice_is(key, "wait_header"))
        to->wait_header = s;
    else if (slice_is(key, "wait_kind"))
        return read_wait_kind(r, s, &to->wait_kind);
    else
        return cfg_wrong(r, "has a key other than status, header, body, wait_header, wait_kind");
    return true;
}

struct slice profile_signal_number(size_t i)
{
    _Static_assert(PROFILE_SIGNALS_MAX <= 9, "a digit for each");

    return slice_sub(SLICE_LIT("123456789"), i, 1);
}

static bool read_signals(struct cfg_reader *r, const struct json_val *v)
{
    struct profile *p = &r->cfg->profile;
    const struct json_val *item, *member;
    struct json_iter list, map;
    struct slice key;

    if (json_type(v) != JSON_ARR || json_len(v) > PROFILE_SIGNALS_MAX)
        return cfg_wrong(r, "must be a list of 8 maps at most");
    json_iter_init(&list, v);
    r->of = OF_MAP;
    while (json_iter_next(&list, &key, &item)) {
        r->entry = profile_signal_number(p->signal_count);
        if (json_type(item) != JSON_OBJ)
            return cfg_wrong(r, "must be a map");
        json_iter_init(&map, item);
        while (json_iter_next(&map, &key, &member))
            if (!read_signal_member(r, key, member, &p->signals[p->signal_count]))
                return false;
        p->signal_count++;
    }
    r->entry = SLICE_NONE;
    return true;
}

static bool read_value(struct cfg_reader *r, const struct profile_member *m,
                       const struct json_val *v)
{
    void *to = (char *)&r->cfg->profile + m->at;
    bool on = false;

    switch (m->kind) {
    case PROFILE_TEXT:
        return cfg_text(r, v, CFG_URL_MAX, to);
    case PROFILE_MAYBE:
        return cfg_text_or_none(r, v, CFG_TEXT_MAX, to);
    case PROFILE_PATH:
        return read_path(r, v, to);
    case PROFILE_OFF:
        if (!cfg_bool(r, v, &on))
            return false;
        *(bool *)to = !on;
        return true;
    case PROFILE_NAME:
        return read_named(r, v, m, to);
    case PROFILE_PAIRS:
        return cfg_pairs(r, v, to);
    case PROFILE_WORDS:
        return read_list(r, v, to);
    case PROFILE_SIGNALS:
        return read_signals(r, v);
    }
    return false;
}

bool profile_read(struct cfg_reader *r, struct slice key, const struct json_val *v, bool *known)
{
    struct profile *p = &r->cfg->profile;

    for (size_t i = 0; i < PROFILE_MEMBERS; i++) {
        if (!slice_is(key, profile_members[i].place))
            continue;
        *known = true;
        r->at->setting = profile_members[i].place;
        if ((p->said >> i) & 1)
            return cfg_wrong(r, "is there twice");
        p->said |= UINT64_C(1) << i;
        return read_value(r, &profile_members[i], v);
    }
    return false;
}

void profile_say(struct profile *p, const char *place, bool given)
{
    for (size_t i = 0; i < PROFILE_MEMBERS; i++)
        if (strcmp(profile_members[i].place, place) == 0)
            p->said = (p->said & ~(UINT64_C(1) << i)) | (uint64_t)given << i;
}

void profile_inherit(struct profile *p)
{
    struct request_shape *refresh = &p->refresh;

    if (!profile_said(p, "refresh_request.method"))
        refresh->method = p->token.method;
    if (!profile_said(p, "refresh_request.body"))
        refresh->body = p->token.body;
    if (!profile_said(p, "refresh_request.params"))
        refresh->params = p->token.params;
    if (!profile_said(p, "refresh_request.rename"))
        refresh->rename = p->token.rename;
    if (!profile_said(p, "refresh_request.omit"))
        refresh->omit = p->token.omit;
    if (!profile_said(p, "refresh_request.headers"))
        refresh->headers = p->token.headers;
    if (p->token.method == REQUEST_GET && !profile_said(p, "token_request.body"))
        p->token.body = REQUEST_QUERY;
    if (refresh->method == REQUEST_GET && !profile_said(p, "refresh_request.body"))
        refresh->body = REQUEST_QUERY;
    if (p->chain.method == REQUEST_GET && !profile_said(p, "chain.body"))
        p->chain.body = REQUEST_QUERY;
    p->api.has_scheme = profile_said(p, "api.token_scheme");
}

/* ---- writing ---- */

static void write_pairs(struct json_writer *w, const struct name_map *p)
{
    jw_obj(w);
    for (size_t i = 0; i < p->count; i++) {
        jw_key_slice(w, p->at[i].name);
        jw_str(w, p->at[i].value);
    }
    jw_end_obj(w);
}

static void write_text(struct json_writer *w, const char *key, struct slice s)
{
    if (s.len == 0)
        return;
    jw_key(w, key);
    jw_str(w, s);
}

static void write_header(struct json_writer *w, const struct limit_signal *s)
{
    struct buf both;

    if (s->header.len == 0)
        return;
    buf_init(&both, 2 * CFG_TEXT_MAX);
    buf_add_slice(&both, s->header);
    if (s->value.len > 0)
        buf_addf(&both, ": %.*s", SLICE_FMT(s->value));
    write_text(w, "header", buf_slice(&both));
    buf_deinit(&both);
}

static void write_signals(struct json_writer *w, const struct profile *p)
{
    jw_arr(w);
    for (size_t i = 0; i < p->signal_count; i++) {
        const struct limit_signal *s = &p->signals[i];

        jw_obj(w);
        if (s->status > 0) {
            jw_key(w, "status");
            jw_int(w, s->status);
        }
        write_header(w, s);
        write_text(w, "body", s->body);
        write_text(w, "wait_header", s->wait_header);
        if (s->wait_kind != WAIT_SECONDS)
            write_text(w, "wait_kind", slice_cstr(wait_names[s->wait_kind]));
        jw_end_obj(w);
    }
    jw_end_arr(w);
}

static void write_value(struct json_writer *w, const struct profile_member *m,
                        const struct profile *p)
{
    const void *from = (const char *)p + m->at;
    const struct word_list *list = from;

    switch (m->kind) {
    case PROFILE_TEXT:
    case PROFILE_MAYBE:
    case PROFILE_PATH:
        jw_str(w, *(const struct slice *)from);
        break;
    case PROFILE_OFF:
        jw_bool(w, !*(const bool *)from);
        break;
    case PROFILE_NAME:
        jw_cstr(
            w, m->names[m->names == renewal_names ? *(const bool *)from : *(const unsigned *)from]);
        break;
    case PROFILE_PAIRS:
        write_pairs(w, from);
        break;
    case PROFILE_WORDS:
        jw_arr(w);
        for (size_t i = 0; i < list->count; i++)
            jw_str(w, list->at[i]);
        jw_end_arr(w);
        break;
    case PROFILE_SIGNALS:
        write_signals(w, p);
        break;
    }
}

static void write_said(struct json_writer *w, const struct profile *p, const char *map)
{
    size_t skip = strlen(map);

    for (size_t i = 0; i < PROFILE_MEMBERS; i++) {
        const char *place = profile_members[i].place;

        if (!((p->said >> i) & 1) || strncmp(place, map, skip) != 0)
            continue;
        jw_key(w, place + skip);
        write_value(w, &profile_members[i], p);
    }
}

/* What was said, whether or not the standards say it too. */
void profile_write(struct json_writer *w, const struct profile *p)
{
    write_said(w, p, "");
}

bool profile_map(struct buf *out, const struct profile *p, const char *map)
{
    struct json_writer w;

    jw_init(&w, out);
    jw_obj(&w);
    write_said(&w, p, map);
    jw_end_obj(&w);
    if (out->len == 2)
        buf_clear(out);
    return buf_ok(out);
}

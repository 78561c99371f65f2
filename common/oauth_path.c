#include "common/oauth_path.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include "common/char.h"

#define VALUE_MAX 32768

const struct json_val *oauth_path(const struct json_val *root, struct slice path)
{
    struct slice name;

    while (root && slice_cut(&path, '.', &name)) {
        const struct json_val *item = NULL;
        struct json_iter it;
        struct slice key;
        uint64_t index;

        if (json_type(root) != JSON_ARR) {
            root = json_get_slice(root, name);
            continue;
        }
        if (!slice_to_u64(name, &index) || index >= json_len(root))
            return NULL;
        json_iter_init(&it, root);
        for (uint64_t i = 0; i <= index; i++)
            json_iter_next(&it, &key, &item);
        root = item;
    }
    return root;
}

struct slice oauth_text_of(const struct json_val *v, char room[24])
{
    struct slice s = SLICE_NONE;
    int64_t n;
    bool b;

    if (json_bool(v, &b))
        return b ? SLICE_LIT("true") : SLICE_LIT("false");
    if (!json_int(v, &n)) {
        json_str(v, &s);
        return s;
    }
    snprintf(room, 24, "%lld", (long long)n);
    return slice_cstr(room);
}

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!char_is_alnum(s.ptr[i]) && slice_find(SLICE_LIT("-._~"), s.ptr[i]) == 4)
            return false;
    return s.len > 0 && !slice_is(s, ".") && !slice_is(s, "..");
}

/* A whole address that an answer gives may end with the slash that calls begin with. */
static bool add_value(struct buf *out, struct slice s, struct slice name, struct err *err)
{
    if (s.len == 0)
        return err_rule(err, ERR_FORMAT, "base_url_missing", "there is no %.*s", SLICE_FMT(name));
    if (out->len > 0 ? !is_plain(s) : !slice_is_visible(s) || slice_find_any(s, "#?\\@") < s.len)
        return err_set(err, ERR_FORMAT, "%.*s has a character that an address may not have there",
                       SLICE_FMT(name));
    while (out->len == 0 && s.len > 0 && s.ptr[s.len - 1] == '/')
        s.len--;
    return buf_add_slice(out, s) || err_set(err, ERR_FORMAT, "%.*s is too long", SLICE_FMT(name));
}

static bool add_answered(struct buf *out, const struct json_val *answer, struct slice name,
                         struct err *err)
{
    char room[24];

    return add_value(out, oauth_text_of(oauth_path(answer, name), room), name, err);
}

/* What stands in braces. */
static bool add_named(struct buf *out, const struct profile *p, const struct json_val *answer,
                      struct slice name, struct err *err)
{
    const struct slice answered = SLICE_LIT("answer."), brought = SLICE_LIT("callback.");
    const struct slice *value;

    if (slice_starts(name, answered)) {
        if (answer)
            return add_answered(out, answer, slice_sub(name, answered.len, name.len), err);
        return buf_addf(out, "{%.*s}", SLICE_FMT(name));
    }
    if (slice_starts(name, brought))
        name = slice_sub(name, brought.len, name.len);
    value = name_map_find(&p->callback, name);
    return add_value(out, value ? *value : SLICE_NONE, name, err);
}

bool oauth_base_url(struct buf *out, const struct profile *p, const struct json_val *answer,
                    struct err *err)
{
    struct slice rest = p->api.base_url;

    while (rest.len > 0) {
        size_t open = slice_find(rest, '{'), close;

        buf_add_slice(out, slice_sub(rest, 0, open));
        if (open == rest.len)
            break;
        rest = slice_sub(rest, open, rest.len);
        close = slice_find(rest, '}');
        if (!add_named(out, p, answer, slice_sub(rest, 1, close - 1), err))
            return false;
        rest = slice_sub(rest, close + 1, rest.len);
    }
    return buf_ok(out) || err_set(err, ERR_FORMAT, "it is too long");
}

bool oauth_form_decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '+') {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < text.len ? char_hex(text.ptr[i + 1]) : -1;
            int low = high >= 0 ? char_hex(text.ptr[i + 2]) : -1;

            if (low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 0x7f || !buf_add_char(out, c))
            return false;
    }
    return true;
}

bool oauth_form_to_json(struct slice form, struct buf *out)
{
    struct json_writer w;
    struct buf text;
    struct slice one;
    bool ok = form.len > 0;

    buf_init(&text, VALUE_MAX);
    jw_init(&w, out);
    jw_obj(&w);
    while (ok && slice_cut(&form, '&', &one)) {
        size_t equals = slice_find(one, '=');

        buf_clear(&text);
        ok = equals > 0 && equals < one.len && oauth_form_decode(slice_sub(one, 0, equals), &text);
        if (!ok)
            break;
        jw_key_slice(&w, buf_slice(&text));
        buf_clear(&text);
        ok = oauth_form_decode(slice_sub(one, equals + 1, one.len), &text);
        jw_str(&w, buf_slice(&text));
    }
    jw_end_obj(&w);
    buf_wipe(&text);
    return ok && buf_ok(out);
}

static bool digits(struct slice s, size_t from, size_t len, int *to)
{
    int64_t n;

    if (!slice_to_i64(slice_sub(s, from, len), &n) || s.len < from + len || n < 0)
        return false;
    *to = (int)n;
    return true;
}

/* Z, +02:00, -0530, or nothing, which is taken for Z. */
static bool zone(struct slice s, int *minutes)
{
    int h = 0, m = 0;
    size_t at = 3;

    *minutes = 0;
    if (s.len == 0 || slice_is(s, "Z") || slice_is(s, "z"))
        return true;
    if ((s.ptr[0] != '+' && s.ptr[0] != '-') || !digits(s, 1, 2, &h))
        return false;
    if (s.len > 3 && s.ptr[3] == ':')
        at = 4;
    if (!digits(s, at, 2, &m) || s.len != at + 2)
        return false;
    *minutes = (h * 60 + m) * (s.ptr[0] == '-' ? -1 : 1);
    return true;
}

bool oauth_date(struct slice s, int64_t *ms)
{
    struct tm t = {0};
    size_t rest = 19;
    int minutes;

    if (s.len < 19 || s.ptr[4] != '-' || s.ptr[7] != '-' || !strchr("Tt ", s.ptr[10]) ||
        s.ptr[13] != ':' || s.ptr[16] != ':')
        return false;
    if (!digits(s, 0, 4, &t.tm_year) || !digits(s, 5, 2, &t.tm_mon) ||
        !digits(s, 8, 2, &t.tm_mday) || !digits(s, 11, 2, &t.tm_hour) ||
        !digits(s, 14, 2, &t.tm_min) || !digits(s, 17, 2, &t.tm_sec) || t.tm_mon < 1 ||
        t.tm_mon > 12 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_year < 1970)
        return false;
    if (rest < s.len && s.ptr[rest] == '.')
        for (rest++; rest < s.len && s.ptr[rest] >= '0' && s.ptr[rest] <= '9';)
            rest++;
    if (!zone(slice_sub(s, rest, s.len), &minutes))
        return false;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    *ms = ((int64_t)timegm(&t) - minutes * 60) * 1000;
    return true;
}

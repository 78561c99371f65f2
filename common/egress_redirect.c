#include "common/egress.h"

#include "common/egress_url.h"

/* RFC 3986 section 5.2.4, for a path that begins with its slash. */
static void add_without_dots(struct buf *out, struct slice path)
{
    size_t floor = out->len; /* ".." goes no further back */

    for (size_t at = 1, end; at <= path.len; at = end + 1) {
        struct slice rest = slice_sub(path, at, path.len), segment;
        bool up, here;

        end = at + slice_find(rest, '/');
        segment = slice_sub(path, at, end - at);
        up = slice_is(segment, "..");
        here = up || slice_is(segment, ".");
        while (up && out->len > floor && out->ptr[--out->len] != '/')
            ;
        if (!here || end == path.len)
            buf_add_char(out, '/');
        if (!here)
            buf_add_slice(out, segment);
    }
}

struct split {
    struct slice head; /* "scheme://authority", as written */
    struct slice path, query;
};

static struct split split_url(struct slice url)
{
    struct slice u = slice_sub(url, 0, slice_find(url, '#'));
    size_t scheme = slice_find(u, ':') + 3;
    size_t path =
        scheme < u.len ? scheme + slice_find_any(slice_sub(u, scheme, u.len), "/?") : u.len;
    size_t query = slice_find(u, '?');

    return (struct split){
        .head = slice_sub(u, 0, path),
        .path = slice_sub(u, path, query > path ? query - path : 0),
        .query = slice_sub(u, query, u.len),
    };
}

static bool has_scheme(struct slice ref)
{
    size_t colon = slice_find_any(ref, ":/?#");

    return colon > 0 && colon < ref.len && ref.ptr[colon] == ':';
}

/* Where the reference leads, in three parts; `path` is filled when base and reference are merged.
 */
static bool merge(struct slice base_url, struct slice ref, struct split *to, struct buf *text)
{
    struct split base = split_url(base_url);
    size_t query = slice_find(ref, '?'), dir = base.path.len;

    *to = base;
    if (ref.len == 0)
        return true;
    if (has_scheme(ref)) {
        *to = split_url(ref);
        return true;
    }
    if (slice_starts(ref, SLICE_LIT("//"))) {
        buf_add_slice(text, slice_sub(base.head, 0, slice_find(base.head, ':') + 1));
        buf_add_slice(text, ref);
        *to = split_url(buf_slice(text));
        return buf_ok(text);
    }
    to->query = slice_sub(ref, query, ref.len);
    if (query == 0)
        return true;
    to->path = slice_sub(ref, 0, query);
    if (ref.ptr[0] == '/')
        return true;
    while (dir > 0 && base.path.ptr[dir - 1] != '/')
        dir--;
    buf_add_slice(text, dir > 0 ? slice_sub(base.path, 0, dir) : SLICE_LIT("/"));
    buf_add_slice(text, to->path);
    to->path = buf_slice(text);
    return buf_ok(text);
}

/* A Location is a URI reference, but servers do write spaces and raw UTF-8 into it. */
static bool clean_location(struct slice location, struct buf *out, struct err *err)
{
    location = slice_trim(location);
    location = slice_sub(location, 0, slice_find(location, '#'));
    for (size_t i = 0; i < location.len; i++) {
        unsigned char c = (unsigned char)location.ptr[i];

        if (c < 0x20 || c == 0x7f)
            return egress_url_bad(err, "the Location holds a control character");
        if (c == ' ' || c > 0x7f)
            buf_addf(out, "%%%02X", c);
        else
            buf_add_char(out, (char)c);
    }
    return buf_ok(out) || egress_url_bad(err, "the Location is longer than 16 KiB");
}

bool egress_resolve(struct slice base, struct slice location, struct buf *out, struct err *err)
{
    struct buf ref, text, whole;
    struct split to;
    bool ok = false;

    buf_init(&ref, EGRESS_URL_MAX);
    buf_init(&text, 2 * EGRESS_URL_MAX);
    buf_init(&whole, EGRESS_URL_MAX);
    if (!clean_location(location, &ref, err))
        goto out;
    if (merge(base, buf_slice(&ref), &to, &text)) {
        buf_add_slice(&whole, to.head);
        if (to.path.len > 0)
            add_without_dots(&whole, to.path);
        buf_add_slice(&whole, to.query);
    }
    if (!buf_ok(&text) || !buf_ok(&whole)) {
        egress_url_bad(err, "it is longer than 16 KiB");
        goto out;
    }
    buf_clear(out);
    ok = buf_add_slice(out, buf_slice(&whole)) || err_set(err, ERR_NOMEM, "the URL does not fit");
out:
    buf_deinit(&whole);
    buf_deinit(&text);
    buf_deinit(&ref);
    return ok;
}

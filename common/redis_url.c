#include "common/redis_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include "common/char.h"
#include "common/slice.h"

#define DEFAULT_PORT "6379"
#define HOST_MAX     253 /* RFC 1035 section 2.3.4 */
#define DB_MAX       1023

static bool bad(struct err *err, const char *why)
{
    return err_set(err, ERR_CONFIG,
                   "the Redis address %s; it looks like redis://host:6379, rediss://host:6379 or "
                   "unix:///path",
                   why);
}

/* Percent-decoded and NUL-ended, free(); NULL when it is not well formed (or no memory). */
static char *decode(struct slice s)
{
    char *out = malloc(s.len + 1);
    size_t n = 0;

    if (!out)
        return NULL;
    for (size_t i = 0; i < s.len; i++, n++) {
        out[n] = s.ptr[i];
        if (s.ptr[i] != '%')
            continue;
        if (i + 2 >= s.len || char_hex(s.ptr[i + 1]) < 0 || char_hex(s.ptr[i + 2]) < 0)
            goto bad;
        out[n] = (char)(char_hex(s.ptr[i + 1]) * 16 + char_hex(s.ptr[i + 2]));
        if (out[n] == '\0')
            goto bad;
        i += 2;
    }
    out[n] = '\0';
    return out;
bad:
    free(out);
    return NULL;
}

static bool parse_path(struct redis_url *u, struct slice path, struct err *err)
{
    u->path = decode(path);
    if (!u->path || u->path[0] != '/')
        return bad(err, "names no absolute socket path");
    if (strlen(u->path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
        return bad(err, "names a socket path that is too long (107 bytes at most, unix(7))");
    snprintf(u->where, sizeof u->where, "%s", u->path);
    return true;
}

static bool parse_port(struct redis_url *u, struct slice port, struct err *err)
{
    uint64_t n = 0;

    if (!slice_to_u64(port, &n) || n < 1 || n > 65535)
        return bad(err, "has a port that is not between 1 and 65535");
    snprintf(u->port, sizeof u->port, "%u", (unsigned)n);
    return true;
}

static bool is_host_char(char c)
{
    return char_is_alnum(c) || c == '.' || c == '-' || c == '_';
}

/* host, host:port, [v6], [v6]:port */
static bool parse_host(struct redis_url *u, struct slice s, struct err *err)
{
    bool literal = s.len > 0 && s.ptr[0] == '[';
    size_t end = slice_find(s, literal ? ']' : ':');
    struct slice host = literal ? slice_sub(s, 1, end - 1) : slice_sub(s, 0, end);
    struct slice rest = slice_sub(s, end + (literal ? 1 : 0), s.len);

    if (host.len == 0 || host.len > HOST_MAX || (literal && end == s.len))
        return bad(err, "names no host");
    for (size_t i = 0; i < host.len; i++)
        if (!is_host_char(host.ptr[i]) && !(literal && strchr(":%", host.ptr[i])))
            return bad(err, "has a host name with odd characters");
    snprintf(u->port, sizeof u->port, "%s", DEFAULT_PORT);
    if (rest.len > 0 && (rest.ptr[0] != ':' || !parse_port(u, slice_sub(rest, 1, rest.len), err)))
        return rest.ptr[0] == ':' ? false : bad(err, "has odd characters after its host");
    u->host = slice_dup(host);
    if (!u->host)
        return err_set(err, ERR_NOMEM, "no memory for the Redis address");
    snprintf(u->where, sizeof u->where, literal ? "[%.120s]:%s" : "%.120s:%s", u->host, u->port);
    return true;
}

static bool parse_user(struct redis_url *u, struct slice user, struct err *err)
{
    if (slice_find(user, ':') < user.len)
        return bad(err, "has a password in it: anyone can see it there; put it in a file");
    u->user = decode(user);
    if (!u->user || u->user[0] == '\0')
        return bad(err, "has an odd user name before its @");
    return true;
}

static bool parse_db(struct redis_url *u, struct slice db, struct err *err)
{
    uint64_t n = 0;

    if (db.len == 0)
        return true;
    if (!slice_to_u64(db, &n) || n > DB_MAX)
        return bad(err, "must end after the port, or with / and a database number");
    u->db = (int)n;
    return true;
}

/* [user@]host[:port][/db]. The user ends at the last @ before the path: host names have none. */
static bool parse_authority(struct redis_url *u, struct slice s, struct err *err)
{
    size_t slash = slice_find(s, '/');
    struct slice host = slice_sub(s, 0, slash), db = slice_sub(s, slash + 1, s.len);
    size_t at = host.len;

    while (at > 0 && host.ptr[at - 1] != '@')
        at--;
    if (at > 0 && !parse_user(u, slice_sub(host, 0, at - 1), err))
        return false;
    return parse_host(u, slice_sub(host, at, host.len), err) && parse_db(u, db, err);
}

static bool take(struct slice *s, const char *prefix)
{
    if (!slice_starts(*s, slice_cstr(prefix)))
        return false;
    *s = slice_sub(*s, strlen(prefix), s->len);
    return true;
}

bool redis_url_parse(struct redis_url *u, const char *text, struct err *err)
{
    struct slice s = slice_cstr(text);
    bool ok;

    *u = (struct redis_url){0};
    if (take(&s, "unix://") || slice_starts(s, SLICE_LIT("/")))
        ok = parse_path(u, s, err);
    else if (take(&s, "redis://") || (u->tls = take(&s, "rediss://")))
        ok = parse_authority(u, s, err);
    else
        ok = bad(err, "has no scheme that awq knows");
    if (!ok)
        redis_url_deinit(u);
    return ok;
}

void redis_url_deinit(struct redis_url *u)
{
    free(u->path);
    free(u->host);
    free(u->user);
    *u = (struct redis_url){0};
}

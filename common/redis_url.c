#include "common/redis_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include "common/char.h"
#include "common/slice.h"

#define DEFAULT_PORT  "6379"
#define SENTINEL_PORT "26379"
#define HOST_MAX      253 /* RFC 1035 section 2.3.4 */
#define PRIMARY_MAX   64
#define DB_MAX        1023

static bool bad(struct err *err, const char *why)
{
    return err_set(err, ERR_CONFIG,
                   "the Redis address %s; it looks like redis://host:6379, rediss://host:6379, "
                   "unix:///path or redis+sentinel://host:26379,host:26379/NAME",
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

static bool set_host(struct redis_url *u, struct slice host, struct err *err)
{
    bool literal = slice_find(host, ':') < host.len;

    u->host = slice_dup(host);
    if (!u->host)
        return err_set(err, ERR_NOMEM, "no memory for the Redis address");
    snprintf(u->where, sizeof u->where, literal ? "[%.120s]:%s" : "%.120s:%s", u->host, u->port);
    return true;
}

/* host, host:port, [v6], [v6]:port */
static bool parse_host(struct redis_url *u, struct slice s, const char *port, struct err *err)
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
    snprintf(u->port, sizeof u->port, "%s", port);
    if (rest.len > 0 && (rest.ptr[0] != ':' || !parse_port(u, slice_sub(rest, 1, rest.len), err)))
        return rest.ptr[0] == ':' ? false : bad(err, "has odd characters after its host");
    return set_host(u, host, err);
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

/* Takes "user@" off the front. The user ends at the last @: host names have none. */
static bool take_user(struct redis_url *u, struct slice *host, struct err *err)
{
    struct slice whole = *host;
    size_t at = whole.len;

    while (at > 0 && whole.ptr[at - 1] != '@')
        at--;
    *host = slice_sub(whole, at, whole.len);
    return at == 0 || parse_user(u, slice_sub(whole, 0, at - 1), err);
}

/* [user@]host[:port][/db] */
static bool parse_authority(struct redis_url *u, struct slice s, struct err *err)
{
    size_t slash = slice_find(s, '/');
    struct slice host = slice_sub(s, 0, slash), db = slice_sub(s, slash + 1, s.len);

    return take_user(u, &host, err) && parse_host(u, host, DEFAULT_PORT, err) &&
           parse_db(u, db, err);
}

/* Sentinel takes no other characters (redis.io/docs/management/sentinel). */
static bool parse_name(struct redis_url *u, struct slice name, struct err *err)
{
    if (name.len == 0 || name.len > PRIMARY_MAX)
        return bad(err, "does not say which primary the Sentinels are to be asked for");
    for (size_t i = 0; i < name.len; i++)
        if (!is_host_char(name.ptr[i]))
            return bad(err, "has a primary's name with odd characters");
    u->primary = slice_dup(name);
    if (!u->primary)
        return err_set(err, ERR_NOMEM, "no memory for the Redis address");
    snprintf(u->where, sizeof u->where, "primary %s", u->primary);
    return true;
}

static bool parse_hosts(struct redis_url *u, struct slice hosts, struct err *err)
{
    bool more = true;

    u->sentinels = calloc(REDIS_SENTINELS_MAX, sizeof *u->sentinels);
    if (!u->sentinels)
        return err_set(err, ERR_NOMEM, "no memory for the Redis address");
    while (more) {
        size_t end = slice_find(hosts, ',');
        struct redis_url *one = &u->sentinels[u->sentinel_count];

        if (u->sentinel_count == REDIS_SENTINELS_MAX)
            return bad(err, "names more than 9 Sentinels");
        u->sentinel_count++;
        one->tls = u->tls;
        if (!parse_host(one, slice_sub(hosts, 0, end), SENTINEL_PORT, err))
            return false;
        more = end < hosts.len;
        hosts = slice_sub(hosts, end + 1, hosts.len);
    }
    return true;
}

/* [user@]host[:port],.../NAME[/db] */
static bool parse_sentinels(struct redis_url *u, struct slice s, struct err *err)
{
    size_t slash = slice_find(s, '/');
    struct slice hosts = slice_sub(s, 0, slash), rest = slice_sub(s, slash + 1, s.len);
    size_t end = slice_find(rest, '/');

    return take_user(u, &hosts, err) && parse_hosts(u, hosts, err) &&
           parse_name(u, slice_sub(rest, 0, end), err) &&
           parse_db(u, slice_sub(rest, end + 1, rest.len), err);
}

bool redis_url_point(struct redis_url *u, struct slice host, struct slice port, struct err *err)
{
    struct redis_url to = {0};

    if (host.len == 0 || host.len > HOST_MAX)
        return bad(err, "names no host");
    for (size_t i = 0; i < host.len; i++)
        if (!is_host_char(host.ptr[i]) && host.ptr[i] != ':' && host.ptr[i] != '%')
            return bad(err, "has a host name with odd characters");
    if (!parse_port(&to, port, err) || !set_host(&to, host, err))
        return false;
    free(u->host);
    u->host = to.host;
    memcpy(u->port, to.port, sizeof u->port);
    snprintf(u->where, sizeof u->where, "%s", to.where);
    return true;
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
    else if (take(&s, "redis+sentinel://") || (u->tls = take(&s, "rediss+sentinel://")))
        ok = parse_sentinels(u, s, err);
    else
        ok = bad(err, "has no scheme that awq knows");
    if (!ok)
        redis_url_deinit(u);
    return ok;
}

void redis_url_deinit(struct redis_url *u)
{
    for (size_t i = 0; i < u->sentinel_count; i++)
        free(u->sentinels[i].host);
    free(u->sentinels);
    free(u->primary);
    free(u->path);
    free(u->host);
    free(u->user);
    *u = (struct redis_url){0};
}

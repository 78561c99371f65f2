#include "tools/demo/site.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include "common/json.h"

#define READY_MS      10000 /* for a program to come up */
#define READY_TRY_MS  20
#define LOG_MAX_BYTES (64u << 10) /* read of a log while a line is waited for */
#define SECRET_BYTES  16

extern char **environ;

/* ---- files ---- */

static bool write_file(const struct site *s, const char *name, struct slice text, struct err *err)
{
    char path[128];
    bool ok;
    int fd;

    snprintf(path, sizeof path, "%s/%s", s->folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ok = fd >= 0 && write(fd, text.ptr, text.len) == (ssize_t)text.len;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    return ok || err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
}

static bool read_log(const struct child *c, struct buf *out)
{
    FILE *file = fopen(c->log, "r");
    char part[4096];
    size_t got;

    buf_clear(out);
    while (file && (got = fread(part, 1, sizeof part, file)) > 0 && buf_add(out, part, got))
        ;
    if (file)
        fclose(file);
    return out->len > 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* ---- waiting for a line in a log ---- */

/* The line {"event": EVENT, ...} in a log so far; *doc is the caller's to free. */
static bool find_event(struct slice log, const char *event, struct json **doc)
{
    struct slice line, name;

    while (slice_cut(&log, '\n', &line)) {
        *doc = json_parse(line, NULL);
        if (json_str(json_get(json_root(*doc), "event"), &name) && slice_is(name, event))
            return true;
        json_free(*doc);
    }
    *doc = NULL;
    return false;
}

static bool wait_event(struct site *s, struct child *c, const char *event, struct json **doc,
                       struct err *err)
{
    bool found = false;
    struct buf log;

    buf_init(&log, LOG_MAX_BYTES);
    err->code = ERR_NONE;
    for (int ms = 0; !found && ms < READY_MS; ms += READY_TRY_MS) {
        bool running = child_is_running(c);

        if (read_log(c, &log) && find_event(buf_slice(&log), event, doc))
            found = true;
        else if (!running || !ask_sleep(s->ask, READY_TRY_MS, err))
            break;
    }
    buf_deinit(&log);
    if (!found && err->code != ERR_CANCELLED)
        err_set(err, ERR_CONFIG, "%s did not get ready; see %s", c->name, c->log);
    return found;
}

/* ---- the parts ---- */

/* Settings that whoever runs the demo has for other awq programs must not reach ours. */
static void clear_environment(void)
{
    char name[128];

    for (char **at = environ; *at;) {
        size_t len = strcspn(*at, "=");

        if (strncmp(*at, "AWQ_", 4) != 0 || len >= sizeof name) {
            at++;
            continue;
        }
        memcpy(name, *at, len);
        name[len] = '\0';
        unsetenv(name); /* moves the rest down: look at the same place again */
    }
}

static bool make_folder(struct site *s, struct err *err)
{
    char keys[96];

    /* Not TMPDIR: the path of a Unix socket has 107 bytes at most. */
    snprintf(s->folder, sizeof s->folder, "/tmp/awq-demo-XXXXXX");
    if (!mkdtemp(s->folder)) {
        s->folder[0] = '\0';
        return err_set(err, ERR_CONFIG, "cannot make a folder in /tmp: %s", strerror(errno));
    }
    clear_environment();
    snprintf(s->redis_url, sizeof s->redis_url, "unix://%s/redis.sock", s->folder);
    snprintf(keys, sizeof keys, "%s/keys", s->folder);
    setenv("AWQ_REDIS_URL", s->redis_url, 1);
    setenv("AWQ_KEYS", keys, 1);
    return true;
}

static bool start_redis(struct site *s, struct err *err)
{
    char socket[96];
    const char *const argv[] = {"redis-server",
                                "--port",
                                "0",
                                "--unixsocket",
                                socket,
                                "--dir",
                                s->folder,
                                "--appendonly",
                                "yes",
                                "--appendfsync",
                                "everysec",
                                "--save",
                                "",
                                "--maxmemory-policy",
                                "noeviction",
                                NULL};

    snprintf(socket, sizeof socket, "%s/redis.sock", s->folder);
    return child_start(&s->redis, "redis", s->folder, argv, s->keep, err) &&
           ask_open_redis(s->ask, s->redis_url, err);
}

static bool start_sandbox(struct site *s, struct err *err)
{
    char ttl[16];
    const char *const argv[] = {"awq-sandbox", "--access-ttl-s", ttl, NULL};
    struct json *doc = NULL;
    struct slice url;
    int64_t port = 0;
    bool ok;

    snprintf(ttl, sizeof ttl, "%d", SITE_TOKEN_TTL_S);
    if (!child_start(&s->sandbox, "sandbox", s->folder, argv, s->keep, err) ||
        !wait_event(s, &s->sandbox, "ready", &doc, err))
        return false;
    ok = json_str(json_get(json_root(doc), "url"), &url) &&
         slice_copy(url, s->sandbox_url, sizeof s->sandbox_url) &&
         json_int(json_get(json_root(doc), "port"), &port);
    s->sandbox_port = (unsigned)port;
    json_free(doc);
    return ok || err_set(err, ERR_FORMAT, "the sandbox's ready line is not understood");
}

/* ---- connections ---- */

/* POST a form to one of the sandbox's control routes. */
static bool tell_sandbox(struct site *s, const char *route, struct slice form, struct buf *answer,
                         struct err *err)
{
    char url[128];

    snprintf(url, sizeof url, "%s/_sandbox/%s", s->sandbox_url, route);
    return ask_http(s->ask, "POST", url, form, answer, err);
}

/* A client of that name with a new secret, which the sandbox and a file get to know. */
static bool make_client(struct site *s, const char *name, struct err *err)
{
    char secret[2 * SECRET_BYTES + 1], file[64];
    struct buf form, answer;
    bool ok;

    buf_init(&form, 256);
    buf_init(&answer, 1024);
    id_hex(secret, SECRET_BYTES);
    snprintf(file, sizeof file, "%s.secret", name);
    buf_addf(&form, "client_id=%s&client_secret=%s", name, secret);
    ok = tell_sandbox(s, "clients", buf_slice(&form), &answer, err) &&
         write_file(s, file, slice_cstr(secret), err);
    sodium_memzero(secret, sizeof secret);
    buf_wipe(&form);
    buf_deinit(&answer);
    return ok;
}

/* What would come back from the provider's consent page in a browser. */
static bool make_refresh_token(struct site *s, struct err *err)
{
    struct json *doc = NULL;
    struct slice token;
    struct buf answer;
    bool ok;

    buf_init(&answer, 4096);
    ok = tell_sandbox(s, "mint", SLICE_LIT("client_id=" CONN_WRITER "&account=" ACCOUNT), &answer,
                      err);
    if (ok) {
        doc = json_parse(buf_slice(&answer), err);
        ok = json_str(json_get(json_root(doc), "refresh_token"), &token) &&
             write_file(s, CONN_WRITER ".refresh", token, err);
    }
    json_free(doc);
    buf_wipe(&answer);
    return ok;
}

static bool link_connection(struct site *s, const char *name, bool refreshes, struct err *err)
{
    char file[64], path[128], log[64];
    const char *const argv[] = {"awq-ctl", "conn", "apply", "-f", path, NULL};
    struct buf yaml;
    bool ok;

    buf_init(&yaml, 4096);
    buf_addf(&yaml,
             "id: %s\n"
             "grant: %s\n"
             "token_url: %s/token\n"
             "client:\n"
             "  id: %s\n"
             "  secret: {file: %s/%s.secret}\n"
             "  auth: basic\n",
             name, refreshes ? "refresh_token" : "client_credentials", s->sandbox_url, name,
             s->folder, name);
    if (refreshes)
        buf_addf(&yaml, "refresh_token: {file: %s/%s.refresh}\n", s->folder, name);
    buf_addf(&yaml,
             "scopes: [%s]\n"
             "policy:\n"
             "  hosts: [\"127.0.0.1:%u\"]\n"
             "  methods: [%s]\n"
             "  paths: [%s]\n"
             "  insecure_http: true # the sandbox is on loopback\n"
             "  allow_private: true\n",
             refreshes ? "write" : "read", s->sandbox_port, refreshes ? "POST" : "GET",
             refreshes ? "/api/writes" : "/api/records");
    snprintf(file, sizeof file, "%s.yaml", name);
    snprintf(path, sizeof path, "%s/%s", s->folder, file);
    snprintf(log, sizeof log, "apply-%s", name);
    ok = write_file(s, file, buf_slice(&yaml), err) && child_run(log, s->folder, argv, err);
    buf_deinit(&yaml);
    return ok;
}

static bool make_keys(struct site *s, struct err *err)
{
    char path[96];
    const char *const argv[] = {"awq-ctl", "keys", "new", path, NULL};

    snprintf(path, sizeof path, "%s/keys", s->folder);
    return child_run("keys", s->folder, argv, err);
}

/* ---- workers ---- */

bool site_start_worker(struct site *s, struct err *err)
{
    const char *const argv[] = {"awq-worker", NULL};
    struct site_worker *w;
    struct json *doc = NULL;
    struct slice id;
    char name[24];
    bool ok;

    if (s->worker_count == SITE_WORKERS)
        return err_set(err, ERR_CONFIG, "no place for another worker");
    w = &s->workers[s->worker_count++];
    snprintf(name, sizeof name, "worker%u", s->worker_count);
    if (!child_start(&w->child, name, s->folder, argv, s->keep, err) ||
        !wait_event(s, &w->child, "worker.ready", &doc, err))
        return false;
    ok = json_str(json_get(json_root(doc), "worker"), &id) && slice_copy(id, w->id, sizeof w->id);
    json_free(doc);
    return ok || err_set(err, ERR_FORMAT, "the worker's ready line is not understood");
}

/* ---- start and end ---- */

static void tell(const struct site *s)
{
    printf("  redis        private, append-only file, %s\n", s->redis_url);
    printf("  sandbox      %s: access tokens live %d s, refresh tokens work once,\n"
           "               the API answers in 20-120 ms\n",
           s->sandbox_url, SITE_TOKEN_TTL_S);
    printf("  connections  %s (client_credentials), %s (refresh_token)\n", CONN_READER,
           CONN_WRITER);
    printf("  workers      pid %d and pid %d\n", (int)s->workers[0].child.pid,
           (int)s->workers[1].child.pid);
}

bool site_start(struct site *s, struct ask *ask, bool keep, struct err *err)
{
    *s = (struct site){.ask = ask, .keep = keep};
    if (!make_folder(s, err) || !start_redis(s, err) || !start_sandbox(s, err) ||
        !make_keys(s, err) || !make_client(s, CONN_READER, err) ||
        !make_client(s, CONN_WRITER, err) || !make_refresh_token(s, err) ||
        !link_connection(s, CONN_READER, false, err) ||
        !link_connection(s, CONN_WRITER, true, err) || !site_start_worker(s, err) ||
        !site_start_worker(s, err))
        return false;
    tell(s);
    return true;
}

void site_end(struct site *s, bool keep_logs)
{
    for (unsigned i = 0; i < s->worker_count; i++)
        child_end(&s->workers[i].child);
    child_end(&s->sandbox);
    child_end(&s->redis);
    if (s->folder[0] && keep_logs)
        fprintf(stderr, "awq-demo: logs are in %s\n", s->folder);
    else if (s->folder[0])
        nftw(s->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    s->folder[0] = '\0';
}

void site_tell_how(const struct site *s)
{
    char ctl[CHILD_PATH_BYTES];

    child_find("awq-ctl", ctl);
    printf("\nAll of it is still up. In another shell:\n"
           "  export AWQ_REDIS_URL=%s AWQ_KEYS=%s/keys\n"
           "  %s worker ls\n"
           "  %s conn ls\n"
           "  redis-cli -s %s/redis.sock XLEN 'awq:{s0}:out:results'\n"
           "  curl %s/_sandbox/counters\n"
           "Logs are in %s. To end it:\n"
           "  kill",
           s->redis_url, s->folder, ctl, ctl, s->folder, s->sandbox_url, s->folder);
    for (unsigned i = 0; i < s->worker_count; i++) {
        if (s->workers[i].child.pid > 0)
            printf(" %d", (int)s->workers[i].child.pid);
    }
    printf(" %d %d; rm -r %s\n", (int)s->sandbox.pid, (int)s->redis.pid, s->folder);
}

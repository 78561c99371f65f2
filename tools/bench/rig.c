#include "tools/bench/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <sodium.h>
#include "common/buf.h"
#include "common/clock.h"
#include "common/connection.h"
#include "common/id.h"
#include "common/key.h"

#define TOKEN_BYTES  675 /* 900 of base64 */
#define OPTIONS_MAX  16
#define LINK_AT_ONCE 500
#define SYSTEM_CA    "/etc/ssl/certs/ca-certificates.crt"

/* ---- files ---- */

static bool write_file(const struct rig *r, const char *name, struct slice text, struct err *err)
{
    char path[160];
    FILE *file;
    bool ok;

    snprintf(path, sizeof path, "%s/%s", r->folder, name);
    file = fopen(path, "w");
    ok = file && fwrite(text.ptr, 1, text.len, file) == text.len;
    if (file && fclose(file) != 0)
        ok = false;
    return ok || err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
}

static bool read_file(const char *path, struct buf *out, struct err *err)
{
    FILE *file = fopen(path, "r");
    char part[4096];
    size_t got;

    if (!file)
        return err_set(err, ERR_CONFIG, "%s: %s", path, strerror(errno));
    while ((got = fread(part, 1, sizeof part, file)) > 0)
        buf_add(out, part, got);
    fclose(file);
    return buf_ok(out) || err_set(err, ERR_CONFIG, "%s: too long", path);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* ---- programs, each on its core ---- */

static void hold_to(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    sched_setaffinity(0, sizeof set, &set);
}

/* A child has the core of its parent at the time of the fork. */
bool rig_spawn(struct rig *r, struct child *c, const char *name, const char *const *argv,
               struct err *err)
{
    bool ok;

    hold_to(r->core);
    ok = child_start(c, name, r->folder, argv, false, err);
    hold_to(0);
    return ok;
}

bool rig_run(struct rig *r, const char *name, const char *const *argv, struct err *err)
{
    return child_run(name, r->folder, argv, err);
}

static unsigned free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned port = 0;

    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
        getsockname(fd, (struct sockaddr *)&a, &len) == 0)
        port = ntohs(a.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

/* ---- the upstream ---- */

/* A CA of our own behind the system's: a worker that checks TLS reads the whole bundle. */
static bool make_certificates(struct rig *r, struct err *err)
{
    static const char script[] =
        "cd \"$1\" && "
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=bench-ca -keyout ca.key -out ca.pem && "
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=127.0.0.1 "
        "-keyout server.key -out server.csr && "
        "printf 'subjectAltName=IP:127.0.0.1' > san && "
        "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
        "-extfile san -out server.pem && cat " SYSTEM_CA " ca.pem > bundle.pem";
    const char *const argv[] = {"sh", "-c", script, "sh", r->folder, NULL};

    return rig_run(r, "openssl", argv, err);
}

static void fill_in(struct buf *out, struct slice text, const struct rig *r)
{
    while (text.len > 0) {
        size_t at = slice_find(text, '@');
        struct slice rest = slice_sub(text, at + 1, text.len), word;
        size_t end = slice_find(rest, '@');

        buf_add_slice(out, slice_sub(text, 0, at));
        if (at >= text.len)
            return;
        word = slice_sub(rest, 0, end);
        if (slice_is(word, "DIR"))
            buf_add_cstr(out, r->folder);
        else if (slice_is(word, "TOKEN"))
            buf_add_cstr(out, r->token);
        else if (slice_is(word, "PLAIN"))
            buf_addf(out, "%u", r->plain);
        else if (slice_is(word, "TLS"))
            buf_addf(out, "%u", r->tls);
        else if (slice_is(word, "ONCE"))
            buf_addf(out, "%u", r->once);
        text = slice_sub(rest, end + 1, rest.len);
    }
}

static bool start_nginx(struct rig *r, struct err *err)
{
    char conf[96];
    const char *const argv[] = {"nginx", "-e", "stderr", "-p", r->folder, "-c", conf, NULL};
    struct buf in, out;
    bool ok;

    buf_init(&in, 1 << 20);
    buf_init(&out, 1 << 20);
    r->plain = free_port();
    r->tls = free_port();
    r->once = free_port();
    snprintf(conf, sizeof conf, "%s/nginx.conf", r->folder);
    ok = read_file("tests/bench/nginx.conf.in", &in, err);
    fill_in(&out, buf_slice(&in), r);
    ok = ok && write_file(r, "nginx.conf", buf_slice(&out), err) &&
         rig_spawn(r, &r->nginx, "nginx", argv, err) && ask_sleep(&r->ask, 300, err) &&
         (child_is_running(&r->nginx) ||
          err_set(err, ERR_CONFIG, "nginx did not start; see %s", r->nginx.log));
    buf_deinit(&in);
    buf_deinit(&out);
    return ok;
}

/* ---- the whole ---- */

static bool make_folder(struct rig *r, struct err *err)
{
    unsigned char random[TOKEN_BYTES];
    char keys[96];

    snprintf(r->folder, sizeof r->folder, "/tmp/awq-bench-XXXXXX");
    if (!mkdtemp(r->folder)) {
        r->folder[0] = '\0';
        return err_set(err, ERR_CONFIG, "cannot make a folder in /tmp: %s", strerror(errno));
    }
    snprintf(keys, sizeof keys, "%s/keys", r->folder);
    if (!keyring_create(keys, err))
        return false;
    r->keys = keyring_load(keys, err);
    setenv("AWQ_KEYS", keys, 1);
    randombytes_buf(random, sizeof random);
    sodium_bin2base64(r->token, sizeof r->token, random, sizeof random,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    snprintf(r->token_file, sizeof r->token_file, "%s/token", r->folder);
    return r->keys && write_file(r, "token", slice_cstr(r->token), err);
}

bool rig_start(struct rig *r, struct err *err)
{
    r->core = (int)sysconf(_SC_NPROCESSORS_ONLN) - 1;
    hold_to(0);
    return keys_init(SLICE_LIT("awq"), err) && ask_init(&r->ask, err) && make_folder(r, err) &&
           make_certificates(r, err) && start_nginx(r, err);
}

void rig_end(struct rig *r, bool keep)
{
    child_end(&r->nginx);
    keyring_free(r->keys);
    r->ask.redis = NULL; /* the stores' own */
    if (r->folder[0] && keep)
        fprintf(stderr, "awq-bench: logs are in %s\n", r->folder);
    else if (r->folder[0])
        nftw(r->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    ask_deinit(&r->ask);
}

/* ---- Redis ---- */

bool store_start(struct rig *r, struct store *s, const char *name, bool aof, struct err *err)
{
    char port[16], dir[96];
    const char *const argv[] = {"redis-server",
                                "--port",
                                port,
                                "--bind",
                                "127.0.0.1",
                                "--dir",
                                dir,
                                "--save",
                                "",
                                "--appendonly",
                                aof ? "yes" : "no",
                                "--appendfsync",
                                "everysec",
                                NULL};

    if (s->link)
        return true;
    s->port = free_port();
    snprintf(port, sizeof port, "%u", s->port);
    snprintf(dir, sizeof dir, "%s/%s", r->folder, name);
    snprintf(s->url, sizeof s->url, "redis://127.0.0.1:%u", s->port);
    mkdir(dir, 0700);
    if (!rig_spawn(r, &s->child, name, argv, err))
        return false;
    r->ask.redis_up = false;
    if (!ask_open_redis(&r->ask, s->url, err))
        return false;
    s->link = r->ask.redis;
    return true;
}

void store_end(struct store *s)
{
    redis_free(s->link);
    child_end(&s->child);
    *s = (struct store){0};
}

#define ARGS_MAX 16

bool store_ask(struct rig *r, struct store *s, size_t argc, const char *const *argv, ask_take *take,
               void *owner, struct err *err)
{
    struct slice args[ARGS_MAX];

    for (size_t i = 0; i < argc && i < ARGS_MAX; i++)
        args[i] = slice_cstr(argv[i]);
    r->ask.redis = s->link;
    return ask_redis(&r->ask, argc, args, take, owner, err);
}

static void take_int(void *owner, const struct redis_reply *reply)
{
    *(int64_t *)owner = redis_reply_int(reply, -1);
}

int64_t store_int(struct rig *r, struct store *s, size_t argc, const char *const *argv)
{
    struct err err = {0};
    int64_t n = -1;

    store_ask(r, s, argc, argv, take_int, &n, &err);
    return n;
}

bool store_clear(struct rig *r, struct store *s, struct err *err)
{
    const char *const argv[] = {"FLUSHALL"};

    return store_ask(r, s, 1, argv, NULL, NULL, err);
}

/* ---- connections ---- */

struct link_job {
    struct rig *rig;
    struct buf json, cfg, cm, at;
    char digest[65];
    size_t waiting;
    struct err err;
};

static void on_linked(void *owner, const struct redis_reply *reply, const struct err *err)
{
    struct link_job *l = owner;

    (void)reply;
    l->waiting--;
    if (err)
        l->err = *err;
}

/* As apply and store leave a record after the first token answer. */
static bool seal_one(struct link_job *l, struct slice id, struct err *err)
{
    const struct rig *r = l->rig;
    struct connection_cfg *cfg;
    struct seal_place at;
    bool ok;

    buf_clear(&l->json);
    buf_clear(&l->cfg);
    buf_clear(&l->cm);
    buf_clear(&l->at);
    buf_addf(&l->json,
             "{\"id\":\"%.*s\",\"grant\":\"client_credentials\",\"token_url\":"
             "\"http://127.0.0.1:%u/token\",\"client_id\":\"bench\",\"auth\":\"basic\","
             "\"hosts\":[\"127.0.0.1:%u\",\"127.0.0.1:%u\",\"127.0.0.1:%u\"],"
             "\"methods\":[\"POST\"],\"paths\":[\"/api\"],\"insecure_http\":true,"
             "\"allow_private\":true}",
             SLICE_FMT(id), r->plain, r->plain, r->tls, r->once);
    cfg = connection_cfg_parse(buf_slice(&l->json), err);
    if (!cfg)
        return false;
    ok = connection_cfg_to_json(&l->cfg, cfg);
    connection_cfg_free(cfg);
    seal_digest(buf_slice(&l->cfg), l->digest);
    at = connection_place(SLICE_LIT("awq"), id, "at", 1, 1, slice_cstr(l->digest));
    return ok &&
           connection_cfg_sign(r->keys, SLICE_LIT("awq"), id, buf_slice(&l->cfg), &l->cm, err) &&
           seal_seal(r->keys, KEY_ACCESS, &at, slice_cstr(r->token), &l->at, err);
}

static bool link_one(struct link_job *l, struct store *s, size_t number, struct err *err)
{
    int64_t now = clock_wall_ms();
    char id[24], exp[24], born[24];
    struct key conn, conns;

    snprintf(id, sizeof id, "c%zu", number);
    snprintf(exp, sizeof exp, "%" PRId64, now + 7200000);
    snprintf(born, sizeof born, "%" PRId64, now);
    if (!seal_one(l, slice_cstr(id), err))
        return false;
    key_conn(&conn, slice_cstr(id));
    key_conns(&conns);
    const struct slice record[] = {
        SLICE_LIT("HSET"),  key_slice(&conn),
        SLICE_LIT("cfg"),   buf_slice(&l->cfg),
        SLICE_LIT("cm"),    buf_slice(&l->cm),
        SLICE_LIT("cd"),    slice_cstr(l->digest),
        SLICE_LIT("grant"), SLICE_LIT("client_credentials"),
        SLICE_LIT("cs"),    SLICE_LIT(""),
        SLICE_LIT("gen"),   SLICE_LIT("1"),
        SLICE_LIT("ver"),   SLICE_LIT("1"),
        SLICE_LIT("state"), SLICE_LIT("FRESH"),
        SLICE_LIT("exp"),   slice_cstr(exp),
        SLICE_LIT("born"),  slice_cstr(born),
        SLICE_LIT("rt"),    SLICE_LIT(""),
        SLICE_LIT("lh"),    SLICE_LIT(""),
        SLICE_LIT("at"),    buf_slice(&l->at),
    };
    const struct slice due[] = {SLICE_LIT("ZADD"), key_slice(&conns), slice_cstr(exp),
                                slice_cstr(id)};

    l->waiting += 2;
    return redis_command(s->link, ARRAY_LEN(record), record, 0, on_linked, l, err) &&
           redis_command(s->link, ARRAY_LEN(due), due, 0, on_linked, l, err);
}

bool store_link(struct rig *r, struct store *s, size_t connections, struct err *err)
{
    struct link_job l = {.rig = r};
    bool ok = true;

    buf_init(&l.json, 4096);
    buf_init(&l.cfg, 4096);
    buf_init(&l.cm, 4096);
    buf_init(&l.at, 8192);
    for (size_t i = 0; ok && i < connections; i++) {
        ok = link_one(&l, s, i, err);
        while (l.waiting > LINK_AT_ONCE || (l.waiting > 0 && (!ok || i + 1 == connections)))
            uv_run(&r->ask.loop, UV_RUN_ONCE);
    }
    if (ok && l.err.code) {
        *err = l.err;
        ok = false;
    }
    buf_deinit(&l.json);
    buf_deinit(&l.cfg);
    buf_deinit(&l.cm);
    buf_deinit(&l.at);
    return ok;
}

/* ---- workers ---- */

bool store_worker(struct rig *r, struct store *s, struct child *c, const char *const *options,
                  struct err *err)
{
    const char *argv[OPTIONS_MAX + 2] = {"awq-worker"};

    for (size_t i = 0; options && options[i] && i < OPTIONS_MAX; i++)
        argv[i + 1] = options[i];
    setenv("AWQ_REDIS_URL", s->url, 1);
    return rig_spawn(r, c, "worker", argv, err);
}

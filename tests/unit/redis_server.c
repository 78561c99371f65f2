#include "tests/unit/redis_server.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <arpa/inet.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <hiredis/hiredis.h>
#include <cmocka.h>

#define START_LIMIT_MS 20000
#define LOOK_AGAIN_MS  5

/* A cluster-enabled server also listens 10000 above: both must be free. */
#define BUS 10000

/* 0 = any; false: it is taken. */
static bool can_bind(int port, int *got)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok;

    assert_true(fd >= 0);
    ok = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 &&
         getsockname(fd, (struct sockaddr *)&a, &len) == 0;
    *got = ntohs(a.sin_port);
    close(fd);
    return ok;
}

static int free_port(void)
{
    int port, bus;

    do
        assert_true(can_bind(0, &port));
    while (port + BUS > 65535 || !can_bind(port + BUS, &bus));
    return port;
}

const char *test_redis_path(struct test_redis *t, const char *name)
{
    static char path[8][192]; /* several in one call */
    static unsigned turn;
    char *p = path[turn++ % 8];

    snprintf(p, sizeof path[0], "%s/%s", t->dir, name);
    return p;
}

const char *test_redis_file(struct test_redis *t, const char *name, const char *text, int mode)
{
    const char *path = test_redis_path(t, name);
    FILE *f;

    unlink(path);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
    return path;
}

static redisContext *dial(struct test_redis *t)
{
    const struct timeval limit = {.tv_sec = 10};
    redisContext *c = redisConnectUnixWithTimeout(t->sock, limit);

    if (c && !c->err)
        redisSetTimeout(c, limit);
    return c;
}

static bool answers(struct test_redis *t)
{
    redisContext *c = dial(t);
    redisReply *r = c && !c->err ? redisCommand(c, "PING") : NULL;
    /* Any answer but "still loading" will do: it may want a password. */
    bool ok = r && !(r->type == REDIS_REPLY_ERROR && strncmp(r->str, "LOADING", 7) == 0);

    freeReplyObject(r);
    redisFree(c);
    return ok;
}

static void spawn(struct test_redis *t)
{
    char port[16], tls_port[16], log[128];
    const char *argv[48] = {"redis-server", "--save",    "",          "--appendonly",
                            "no",           "--dir",     t->dir,      "--unixsocket",
                            t->sock,        "--bind",    "127.0.0.1", "--port",
                            port,           "--logfile", log};
    size_t n = 15;

    snprintf(port, sizeof port, "%d", t->port);
    snprintf(tls_port, sizeof tls_port, "%d", t->tls_port);
    snprintf(log, sizeof log, "%s/log", t->dir);
    if (t->tls_port) {
        argv[n++] = "--tls-port";
        argv[n++] = tls_port;
    }
    for (size_t i = 0; t->args[i]; i++)
        argv[n++] = t->args[i];
    argv[n] = NULL;
    t->pid = fork();
    assert_true(t->pid >= 0);
    if (t->pid > 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves no server behind */
    execvp(argv[0], (char *const *)argv);
    fprintf(stderr, "redis-server cannot be started: %s\n", strerror(errno));
    _exit(127);
}

static void wait_until_ready(struct test_redis *t)
{
    const struct timespec pause = {.tv_nsec = LOOK_AGAIN_MS * 1000000L};

    for (int waited = 0; !answers(t); waited += LOOK_AGAIN_MS) {
        int status;

        if (waitpid(t->pid, &status, WNOHANG) == t->pid || waited > START_LIMIT_MS)
            fail_msg("redis-server did not start; its log is %s/log", t->dir);
        nanosleep(&pause, NULL);
    }
}

static void make_dir(struct test_redis *t)
{
    memset(t, 0, sizeof *t);
    snprintf(t->dir, sizeof t->dir, "/tmp/awq-test-XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    t->port = free_port();
    snprintf(t->sock, sizeof t->sock, "%s/redis.sock", t->dir);
    snprintf(t->url, sizeof t->url, "unix://%s", t->sock);
    snprintf(t->tcp_url, sizeof t->tcp_url, "redis://127.0.0.1:%d", t->port);
}

void test_redis_start(struct test_redis *t, const char *const *args)
{
    make_dir(t);
    for (size_t i = 0; args && args[i]; i++)
        t->args[i] = args[i];
    spawn(t);
    wait_until_ready(t);
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
    char cmd[2048];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    if (system(cmd) != 0) /* NOLINT(cert-env33-c): a test's own fixed words */
        fail_msg("failed: %s", cmd);
}

static void make_certificate(const char *dir, const char *name, const char *san)
{
    run("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key "
        "-out %s.csr -subj /CN=%s >/dev/null 2>&1 && printf 'subjectAltName=%s' > %s.ext && "
        "openssl x509 -req -in %s.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile "
        "%s.ext -out %s.crt >/dev/null 2>&1",
        dir, name, name, name, san, name, name, name, name);
}

static void make_ca(const char *dir, const char *name)
{
    run("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
        "%s.key -out %s.crt -days 2 -subj /CN=awq-test-%s >/dev/null 2>&1",
        dir, name, name, name);
}

void test_redis_start_tls(struct test_redis *t, const char *name, bool client_required)
{
    static const char *const files[] = {"ca", "server", "other", "client"};
    size_t n = 0;

    make_dir(t);
    t->tls_port = free_port();
    snprintf(t->tls_url, sizeof t->tls_url, "rediss://localhost:%d", t->tls_port);
    make_ca(t->dir, files[0]);
    make_ca(t->dir, files[2]);
    make_certificate(t->dir, files[1], name);
    make_certificate(t->dir, files[3], "DNS:awq");
    t->args[n++] = "--tls-cert-file";
    t->args[n++] = "server.crt"; /* from its --dir */
    t->args[n++] = "--tls-key-file";
    t->args[n++] = "server.key";
    t->args[n++] = "--tls-ca-cert-file";
    t->args[n++] = "ca.crt";
    t->args[n++] = "--tls-auth-clients";
    t->args[n++] = client_required ? "yes" : "no";
    spawn(t);
    wait_until_ready(t);
}

void test_redis_signal(struct test_redis *t, int sig)
{
    assert_true(t->pid > 0);
    assert_int_equal(kill(t->pid, sig), 0);
    if (sig == SIGSTOP) /* it may go on for a moment after kill(2) has returned */
        assert_int_equal(waitpid(t->pid, NULL, WUNTRACED), t->pid);
}

void test_redis_kill(struct test_redis *t)
{
    if (t->pid <= 0)
        return;
    kill(t->pid, SIGKILL);
    while (waitpid(t->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    t->pid = 0;
}

void test_redis_restart(struct test_redis *t)
{
    test_redis_kill(t);
    spawn(t);
    wait_until_ready(t);
}

void test_redis_stop(struct test_redis *t)
{
    test_redis_kill(t);
    if (strncmp(t->dir, "/tmp/awq-test-", 14) == 0)
        run("rm -rf %s", t->dir);
    memset(t, 0, sizeof *t);
}

const char *test_redis_do(struct test_redis *t, const char *fmt, ...)
{
    static char answer[16384];
    char line[1024];
    redisContext *c = dial(t);
    redisReply *r;
    va_list ap;

    assert_non_null(c);
    if (c->err)
        fail_msg("redis-server cannot be reached: %s", c->errstr);
    if (t->password[0])
        freeReplyObject(redisCommand(c, "AUTH %s", t->password));
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    r = redisCommand(c, line); /* its format has no % left: words are split at blanks */
    if (!r) {
        fail_msg("%s: %s", line, c->errstr);
        return ""; /* for readers that do not know fail_msg never returns */
    }
    if (r->type == REDIS_REPLY_INTEGER)
        snprintf(answer, sizeof answer, "%lld", r->integer);
    else
        snprintf(answer, sizeof answer, "%s", r->str ? r->str : "");
    freeReplyObject(r);
    redisFree(c);
    return answer;
}

long long test_redis_info(struct test_redis *t, const char *section, const char *field)
{
    const char *at = strstr(test_redis_do(t, "INFO %s", section), field);

    return at ? strtoll(at + strlen(field), NULL, 10) : 0;
}

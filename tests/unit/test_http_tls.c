/* Requests over TLS, by openssl's own server. */
#include "common/http_inside.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sodium.h>
#include "common/client_cert.h"
#include "common/secret_file.h"
#include "tests/unit/http_rig.h"

/* ---- TLS, by openssl's own server ---- */

static char tls_dir[] = "/tmp/awq-test-http-XXXXXX";

static void shell(const char *fmt, ...)
{
    char cmd[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    if (system(cmd) != 0) /* NOLINT(cert-env33-c): the words are this file's own */
        fail_msg("failed: %s", cmd);
}

/* `when` and `or_when` are options of openssl x509 that say the same; the first one it knows is
 * taken.
 */
static void make_certificate(const char *name, const char *san, const char *when,
                             const char *or_when)
{
    shell("cd %s && openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key "
          "-out %s.csr -subj /CN=%s 2>/dev/null && echo subjectAltName=%s > %s.ext && "
          "for when in '%s' '%s'; do openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key "
          "-CAcreateserial $when -extfile %s.ext -out %s.pem 2>/dev/null && break; done",
          tls_dir, name, name, name, san, name, when, or_when, name, name, name);
}

static int make_certificates(void **state)
{
    (void)state;
    umask(077); /* keys are for their owner */
    if (sodium_init() < 0 || !mkdtemp(tls_dir))
        return -1;
    shell("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
          "-subj /CN=test-ca -keyout ca.key -out ca.pem 2>/dev/null",
          tls_dir);
    make_certificate("good", "IP:127.0.0.1", "-days 30", "");
    shell("cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "
          "-subj /CN=stranger -keyout stranger.key -out stranger.pem 2>/dev/null",
          tls_dir);
    make_certificate("wrong", "DNS:other.example", "-days 30", "");
    /* openssl 3.4 has the second, and no longer lets an end be before the beginning in days. */
    make_certificate("expired", "IP:127.0.0.1", "-days -1",
                     "-not_before 20200101000000Z -not_after 20200102000000Z");
    return 0;
}

static int remove_certificates(void **state)
{
    (void)state;
    shell("rm -rf %s", tls_dir);
    return 0;
}

/* wants: a client certificate of the CA, by TLS 1.2 ("-tls1_2") or 1.3 ("-tls1_3"); NULL: none. */
static pid_t tls_server(const char *name, const char *wants, int *port)
{
    char cert[100], key[100], ca[100], line[200] = "";
    int out[2];
    FILE *from;
    pid_t pid;

    snprintf(cert, sizeof cert, "%s/%s.pem", tls_dir, name);
    snprintf(key, sizeof key, "%s/%s.key", tls_dir, name);
    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
        dup2(out[1], 1);
        snprintf(ca, sizeof ca, "%s/ca.pem", tls_dir);
        execlp("openssl", "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", cert, "-key",
               key, "-www", wants, "-Verify", "1", "-verify_return_error", "-CAfile", ca,
               (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    from = fdopen(out[0], "r");
    while (fgets(line, sizeof line, from) && sscanf(line, "ACCEPT 127.0.0.1:%d", port) != 1)
        ;
    fclose(from);
    assert_true(*port > 0);
    return pid;
}

static void test_tls(void **state)
{
    static const struct {
        const char *server, *ca, *rule; /* "" = answered */
    } rows[] = {
        {"good", "ca.pem", ""},
        {"good", NULL, "tls_certificate"}, /* the system knows no such CA */
        {"wrong", "ca.pem", "tls_certificate"},
        {"expired", "ca.pem", "tls_certificate"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct outcome o = {.f = &f};
        struct http_options options = plain_options;
        struct err err = {0};
        char ca[100];
        int port = 0, status;
        pid_t pid = tls_server(rows[i].server, NULL, &port);

        http_setup(&f, &ok_act, 1);
        http_free(f.http);
        snprintf(ca, sizeof ca, "%s/%s", tls_dir, rows[i].ca ? rows[i].ca : "");
        options.ca_file = rows[i].ca ? ca : NULL;
        options.http2 = true;
        f.http = http_new(&f.loop, &options, &err);
        assert_non_null(f.http);
        snprintf(f.url, sizeof f.url, "https://127.0.0.1:%d/", port);
        http_do(&o, "GET", NULL);
        if (o.sent != (rows[i].rule[0] ? HTTP_NOT_SENT : HTTP_ANSWERED) ||
            strcmp(o.err.code ? o.err.rule : "", rows[i].rule) != 0)
            fail_msg("%s: sent %d, %s %s", rows[i].server, o.sent, o.err.rule, o.err.msg);
        assert_int_equal(o.sends, rows[i].rule[0] ? 0 : 1);
        http_forget(&o);
        http_teardown(&f);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
}

static struct client_cert *client(const char *name)
{
    struct buf cert, key, packed;
    struct client_cert *c = NULL;
    struct err err = {0};
    char path[100];
    bool of_key;

    buf_init(&cert, CLIENT_CERT_PEM_MAX);
    buf_init(&key, CLIENT_CERT_PEM_MAX);
    buf_init(&packed, CLIENT_CERT_PEM_MAX);
    snprintf(path, sizeof path, "%s/%s.pem", tls_dir, name);
    assert_true(secret_file_read(path, "certificate", &cert, &err));
    snprintf(path, sizeof path, "%s/%s.key", tls_dir, name);
    assert_true(secret_file_read(path, "key", &key, &err));
    if (client_cert_pack(buf_slice(&cert), buf_slice(&key), &packed, &of_key, &err))
        c = client_cert_open(buf_slice(&packed), NULL, &err);
    assert_non_null(c);
    buf_deinit(&cert);
    buf_wipe(&key);
    buf_wipe(&packed);
    return c;
}

/* A server that looks at certificates. One that it does not take ends the link, with TLS 1.3 after
 * the request has left; it was not done, whatever its method. A slot that showed one shows none the
 * next time. */
static void test_client_certificates(void **state)
{
    static const char *const versions[] = {"-tls1_2", "-tls1_3"};
    static const struct {
        const char *client;
        const char *rule, *says; /* "" = answered */
    } rows[] = {
        {"good", "", ""},
        /* before 1.3 the alert does not say more than that the handshake failed */
        {NULL, NULL, ""},
        {"good", "", ""},
        {"expired", "tls_client_certificate",
         "does not take the client's certificate (TLS alert: certificate expired)"},
        {"stranger", "tls_client_certificate",
         "does not take the client's certificate (TLS alert: unknown ca)"},
        {"good", "", ""},
    };
    static const char *const without[] = {"tls_failed", "tls_client_certificate"};

    (void)state;
    for (size_t n = 0; n < 2 * ARRAY_LEN(rows); n++) {
        const size_t i = n % ARRAY_LEN(rows);
        static struct fixture f;
        static pid_t pid;
        static int port;
        const char *rule = rows[i].rule ? rows[i].rule : without[n / ARRAY_LEN(rows)];
        struct client_cert *cert = rows[i].client ? client(rows[i].client) : NULL;
        struct http_options options = plain_options;
        struct outcome o = {.f = &f};
        struct err err = {0};
        char ca[100];
        int status;

        if (i == 0) {
            port = 0;
            pid = tls_server("good", versions[n / ARRAY_LEN(rows)], &port);
            http_setup(&f, &ok_act, 1);
            http_free(f.http);
            snprintf(ca, sizeof ca, "%s/ca.pem", tls_dir);
            options.ca_file = ca;
            f.http = http_new(&f.loop, &options, &err);
            assert_non_null(f.http);
            snprintf(f.url, sizeof f.url, "https://127.0.0.1:%d/", port);
        }
        /* s_server answers GET only */
        http_begin(&o, &(struct http_call){
                           .method = rule[0] ? "POST" : "GET", .url = f.url, .cert = cert});
        http_wait_for(&o);
        if (o.sent != (rule[0] ? HTTP_NOT_SENT : HTTP_ANSWERED) ||
            strcmp(o.err.code ? o.err.rule : "", rule) != 0 || !strstr(o.err.msg, rows[i].says))
            fail_msg("%s %s: sent %d, %s %s", versions[n / ARRAY_LEN(rows)],
                     rows[i].client ? rows[i].client : "none", o.sent, o.err.rule, o.err.msg);
        http_forget(&o);
        client_cert_unref(cert);
        if (i + 1 < ARRAY_LEN(rows))
            continue;
        http_teardown(&f);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
}

/* A plain server where TLS is expected. */
static void test_tls_to_plain(void **state)
{
    static const struct act act = {.reply = "hello", .then = CLOSE, .unread = true};
    struct fixture f;
    struct outcome o = {.f = &f};

    (void)state;
    http_setup(&f, &act, 1);
    snprintf(f.url, sizeof f.url, "https://127.0.0.1:%d/", f.server.port);
    http_do(&o, "POST", "x");
    assert_int_equal(o.sent, HTTP_NOT_SENT);
    assert_int_equal(o.err.code, ERR_UNREACHABLE);
    assert_string_equal(o.err.rule, "tls_failed");
    http_teardown(&f);
}

static void test_bad_ca_file(void **state)
{
    struct http_options o = plain_options;
    struct err err = {0};
    uv_loop_t loop;

    (void)state;
    assert_int_equal(uv_loop_init(&loop), 0);
    o.ca_file = "/nonexistent/ca.pem";
    assert_null(http_new(&loop, &o, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_client_certificates),
        cmocka_unit_test(test_tls_to_plain),
        cmocka_unit_test(test_bad_ca_file),
    };

    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}

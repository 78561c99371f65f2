/* awq-sandbox: somewhere to try a flow before it goes near a live account. See options.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <sodium.h>
#include <uv.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/json.h"
#include "tools/sandbox/options.h"
#include "tools/sandbox/sandbox.h"
#include "tools/sandbox/server.h"

#define BODY_MAX_BYTES (1u << 20) /* of a request; awq's own limit for a job */
#define EXIT_USAGE     2

struct program {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct sandbox sandbox;
    struct server *server;
};

static void on_signal(uv_signal_t *signal, int number)
{
    struct program *p = signal->data;

    (void)number;
    server_stop(p->server);
    p->server = NULL;
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
}

static void watch_signals(struct program *p)
{
    uv_signal_init(&p->loop, &p->term);
    uv_signal_init(&p->loop, &p->interrupt);
    p->term.data = p->interrupt.data = p;
    uv_signal_start(&p->term, on_signal, SIGTERM);
    uv_signal_start(&p->interrupt, on_signal, SIGINT);
}

/* The secret is a made-up one, but `ps` need not show it; its place keeps its length. */
static void hide_secret(struct slice secret)
{
    memset((char *)secret.ptr, 'x', secret.len);
}

static bool add_clients(struct sandbox *s, const struct options *o, struct err *err)
{
    if (o->client_count == 0)
        return client_set(&s->accounts, SLICE_LIT("demo"), SLICE_LIT("demo-secret"),
                          CLIENT_AUTH_SECRET, SCOPE_ALL, o->access_ttl_s, err);
    for (size_t i = 0; i < o->client_count; i++) {
        struct slice secret = o->clients[i], id = SLICE_NONE;
        bool is_public = slice_find(secret, ':') == secret.len;

        slice_cut(&secret, ':', &id);
        if (!client_set(&s->accounts, id, secret, is_public ? CLIENT_AUTH_NONE : CLIENT_AUTH_SECRET,
                        SCOPE_ALL, o->access_ttl_s, err))
            return err_prefix(err, "--client: ");
        hide_secret(secret);
    }
    return true;
}

static bool print_ready(const struct program *p)
{
    struct json_writer w;
    struct buf line;
    bool ok;

    buf_init(&line, 512);
    jw_init(&w, &line);
    jw_obj(&w);
    jw_key(&w, "event");
    jw_cstr(&w, "ready");
    jw_key(&w, "port");
    jw_int(&w, server_port(p->server));
    jw_key(&w, "url");
    jw_cstr(&w, p->sandbox.issuer);
    jw_key(&w, "pid");
    jw_int(&w, getpid());
    jw_end_obj(&w);
    ok = buf_ok(&line) && puts(line.ptr) >= 0 && fflush(stdout) == 0;
    buf_deinit(&line);
    return ok;
}

static bool start(struct program *p, const struct options *o, struct err *err)
{
    const struct server_options server = {.address = o->address,
                                          .port = o->port,
                                          .body_max_bytes = BODY_MAX_BYTES,
                                          .handler = sandbox_route,
                                          .owner = &p->sandbox};
    const char *format = strchr(o->address, ':') ? "http://[%s]:%u" : "http://%s:%u";

    p->sandbox.access_ttl_s = o->access_ttl_s;
    p->sandbox.delay_min_ms = o->delay_min_ms;
    p->sandbox.delay_max_ms = o->delay_max_ms;
    writes_init(&p->sandbox.writes, (size_t)o->max_writes);
    if (!add_clients(&p->sandbox, o, err) || !server_start(&p->server, &p->loop, &server, err))
        return false;
    snprintf(p->sandbox.issuer, sizeof p->sandbox.issuer, format, o->address,
             (unsigned)server_port(p->server));
    watch_signals(p);
    return true;
}

static int run(const struct options *o)
{
    struct program p = {0};
    struct err err;
    int rc = 0;

    uv_loop_init(&p.loop);
    sandbox_init(&p.sandbox);
    if (!start(&p, o, &err)) {
        fprintf(stderr, "awq-sandbox: %s\n", err.msg);
        rc = EXIT_USAGE;
    } else if (!print_ready(&p)) {
        fprintf(stderr, "awq-sandbox: cannot write to stdout\n");
        on_signal(&p.term, SIGTERM);
        rc = 1;
    }
    uv_run(&p.loop, UV_RUN_DEFAULT);
    sandbox_deinit(&p.sandbox);
    uv_loop_close(&p.loop);
    return rc;
}

/* One descriptor per link: take as many as the system lets us. No core dump: it holds tokens. */
static void set_limits(void)
{
    const struct rlimit none = {0, 0};
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_CORE, &none);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err;

    set_limits();
    if (sodium_init() < 0) {
        fprintf(stderr, "awq-sandbox: libsodium does not start\n");
        return 1;
    }
    if (!options_read(&options, argc, argv, &err)) {
        fprintf(stderr, "awq-sandbox: %s\n", err.msg);
        return EXIT_USAGE;
    }
    if (options.help) {
        fputs(options_help(), stdout);
        return 0;
    }
    return run(&options);
}

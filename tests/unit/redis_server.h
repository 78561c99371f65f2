/*
 * redis_server.h - a real redis-server of a test's own, in a temporary folder.
 * Owns    the process and the folder, from test_redis_start to test_redis_stop.
 * Thread  the test's. Everything here blocks; nothing here is on the loop.
 * Errors  fails the running cmocka test: a Redis that is not there is a failure, never a skip.
 */
#ifndef AWQ_TESTS_REDIS_SERVER_H
#define AWQ_TESTS_REDIS_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct test_redis {
    pid_t pid;          /* 0 when it does not run */
    int port, tls_port; /* tls_port 0: no TLS */
    char dir[64];
    char sock[96];        /* Unix socket */
    char url[128];        /* unix://... */
    char tcp_url[64];     /* redis://127.0.0.1:PORT */
    char tls_url[64];     /* rediss://localhost:TLS_PORT */
    char password[32];    /* that test_redis_do gives, unless empty */
    const char *args[24]; /* what it was started with, for test_redis_restart */
};

/* `args` ends with NULL and is added to the command line; NULL = none. It must outlive *t. */
void test_redis_start(struct test_redis *t, const char *const *args);
/* With TLS, and certificates in its folder: ca.crt (its own), other.crt (another CA), client.crt,
 * client.key. The server's is for `name` only ("DNS:localhost", "IP:127.0.0.1"). */
void test_redis_start_tls(struct test_redis *t, const char *name, bool client_required);
void test_redis_kill(struct test_redis *t);            /* kill -9, and wait for its end */
void test_redis_restart(struct test_redis *t);         /* on the same socket and ports */
void test_redis_stop(struct test_redis *t);            /* kill it, remove the folder */
void test_redis_signal(struct test_redis *t, int sig); /* SIGSTOP: waits until it stands */

/* One command over a link of its own; the answer as text ("" for nil), into a static buffer. */
const char *test_redis_do(struct test_redis *t, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A number from INFO, e.g. ("commandstats", "cmdstat_eval:calls="); 0 when it is not there. */
long long test_redis_info(struct test_redis *t, const char *section, const char *field);
/* The path of a file in its folder, in a static buffer; and one with this content and mode. */
const char *test_redis_path(struct test_redis *t, const char *name);
const char *test_redis_file(struct test_redis *t, const char *name, const char *text, int mode);

#endif

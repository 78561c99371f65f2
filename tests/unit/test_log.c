#include "common/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "common/json.h"

static int pipe_fd[2];
static char got[64 * 1024];

/* Everything that is in the pipe now. */
static struct slice drain(int fd)
{
    ssize_t n = read(fd, got, sizeof got - 1);

    return slice_of(got, n > 0 ? (size_t)n : 0);
}

static int setup(void **state)
{
    (void)state;
    if (pipe2(pipe_fd, O_CLOEXEC) != 0 || fcntl(pipe_fd[0], F_SETFL, O_NONBLOCK) != 0)
        return -1;
    log_set_fd(pipe_fd[1]);
    log_set_level(LOG_INFO);
    log_set_identity(NULL, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_fd(1);
    close(pipe_fd[0]);
    close(pipe_fd[1]);
    return 0;
}

/* The text of a member of the one line that was written. */
static struct json *one_line(void)
{
    struct slice line = drain(pipe_fd[0]);
    struct json *doc;

    assert_true(line.len > 1 && line.len <= LOG_LINE_MAX);
    assert_int_equal(slice_find(line, '\n'), line.len - 1);
    doc = json_parse(line, NULL);
    assert_non_null(doc);
    return doc;
}

static bool member_is(struct json *doc, const char *key, const char *want)
{
    struct slice s;

    return json_str(json_get(json_root(doc), key), &s) && slice_is(s, want);
}

static void test_shape(void **state)
{
    struct err err = {0};
    struct slice line;

    (void)state;
    err_rule(&err, ERR_DENIED, "host_not_allowed", "host \"x\" is not in the policy");
    log_set_identity("awq-worker", "h-1");
    log_event(LOG_WARN, EV_JOB_BURIED, F_STR("job", SLICE_LIT("r\n1.0.0")), F_CSTR("x", NULL),
              F_INT("n", -3), F_UINT("u", UINT64_MAX), F_REAL("r", 0.5), F_BOOL("b", true),
              F_ERR(&err));
    line = drain(pipe_fd[0]);
    /* {"ts":"2026-11-21T23:00:37.123456Z" is 35 bytes */
    assert_memory_equal(line.ptr, "{\"ts\":\"20", 9);
    assert_int_equal(line.ptr[26], '.');
    assert_memory_equal(line.ptr + 33, "Z\",", 3);
    got[line.len] = '\0';
    assert_string_equal(line.ptr + 35,
                        ",\"level\":\"warn\",\"event\":\"job.buried\",\"service\":\"awq-worker\","
                        "\"worker\":\"h-1\",\"job\":\"r\\n1.0.0\",\"x\":\"\",\"n\":-3,"
                        "\"u\":18446744073709551615,\"r\":0.5,\"b\":true,"
                        "\"error_code\":\"denied\",\"error_rule\":\"host_not_allowed\","
                        "\"error\":\"host \\\"x\\\" is not in the policy\"}\n");
}

static void test_no_fields(void **state)
{
    struct json *doc;

    (void)state;
    log_event(LOG_INFO, EV_WORKER_READY);
    doc = one_line();
    assert_true(member_is(doc, "event", "worker.ready"));
    assert_int_equal(json_len(json_root(doc)), 3); /* ts, level, event */
    json_free(doc);
}

static int calls;

static int64_t counted(void)
{
    return ++calls;
}

static void test_levels(void **state)
{
    (void)state;
    calls = 0;
    log_event(LOG_DEBUG, EV_JOB_TAKEN, F_INT("n", counted()));
    assert_int_equal(calls, 0); /* off: not even evaluated */
    assert_int_equal(drain(pipe_fd[0]).len, 0);
    log_set_level(LOG_DEBUG);
    log_event(LOG_DEBUG, EV_JOB_TAKEN, F_INT("n", counted()));
    assert_int_equal(calls, 1);
    assert_true(drain(pipe_fd[0]).len > 0);
    log_set_level(LOG_ERROR);
    log_event(LOG_WARN, EV_JOB_LOST);
    assert_int_equal(drain(pipe_fd[0]).len, 0);
    log_event(LOG_ALWAYS, EV_AUDIT_CHECKPOINT);
    assert_true(memmem(got, drain(pipe_fd[0]).len, "\"level\":\"info\"", 14) != NULL);
}

static void test_long_value(void **state)
{
    char text[3000];
    struct json *doc;
    struct slice s;

    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text + LOG_VALUE_MAX - 4, "\xE2\x82\xAC", 3); /* a character across the cut */
    log_event(LOG_INFO, EV_JOB_LOST, F_STR("job", slice_of(text, sizeof text)),
              F_STR("whole", slice_of(text, LOG_VALUE_MAX)), F_INT("n", 1));
    doc = one_line();
    assert_true(json_str(json_get(json_root(doc), "job"), &s));
    assert_int_equal(s.len, LOG_VALUE_MAX - 4 + 3);
    assert_memory_equal(s.ptr + s.len - 4, "x...", 4);
    assert_true(json_str(json_get(json_root(doc), "whole"), &s));
    assert_int_equal(s.len, LOG_VALUE_MAX);
    assert_null(json_get(json_root(doc), "truncated"));
    json_free(doc);
}

/* Of many long fields those that fit are whole; a short one after them still gets in. */
static void test_long_line(void **state)
{
    char text[LOG_VALUE_MAX];
    struct json *doc;
    bool truncated = false;
    struct slice s;

    (void)state;
    memset(text, 'x', sizeof text);
    s = slice_of(text, sizeof text);
    log_event(LOG_INFO, EV_JOB_LOST, F_STR("a", s), F_STR("b", s), F_STR("c", s), F_STR("d", s),
              F_STR("e", s), F_INT("short", 1));
    doc = one_line();
    assert_non_null(json_get(json_root(doc), "c"));
    assert_null(json_get(json_root(doc), "e"));
    assert_non_null(json_get(json_root(doc), "short"));
    assert_true(json_bool(json_get(json_root(doc), "truncated"), &truncated) && truncated);
    json_free(doc);
}

/* Whatever the length of the value, the line is whole JSON of at most LOG_LINE_MAX bytes. */
static void test_every_length(void **state)
{
    char text[LOG_VALUE_MAX];

    (void)state;
    memset(text, '"', sizeof text); /* doubles when escaped */
    for (size_t n = 0; n <= sizeof text; n++) {
        struct slice s = slice_of(text, n);

        log_event(LOG_INFO, EV_JOB_LOST, F_STR("a", s), F_STR("b", s), F_STR("c", s));
        json_free(one_line());
    }
}

/* A reader that stopped: lines are dropped at once, counted, and the count is told later. */
static void test_full_pipe(void **state)
{
    uint64_t before = log_dropped();
    struct json *doc;
    char want[32];
    int sent = 0;
    int64_t n = 0;
    struct slice rest, line;

    (void)state;
    fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096);
    while (log_dropped() < before + 3 && sent < 1000) {
        log_event(LOG_INFO, EV_JOB_LOST, F_INT("n", sent));
        sent++;
    }
    assert_int_equal(log_dropped(), before + 3);
    rest = drain(pipe_fd[0]);
    snprintf(want, sizeof want, "\"n\":%d}\n", sent - 4); /* the last before the drops, whole */
    assert_memory_equal(rest.ptr + rest.len - strlen(want), want, strlen(want));
    log_event(LOG_INFO, EV_JOB_LOST, F_INT("n", 7777));
    rest = drain(pipe_fd[0]);
    assert_true(slice_cut(&rest, '\n', &line));
    doc = json_parse(line, NULL);
    assert_true(member_is(doc, "event", "log.dropped"));
    assert_true(json_int(json_get(json_root(doc), "n"), &n) && n == 3);
    json_free(doc);
    assert_true(slice_cut(&rest, '\n', &line));
    doc = json_parse(line, NULL);
    assert_true(json_int(json_get(json_root(doc), "n"), &n) && n == 7777);
    json_free(doc);
    assert_int_equal(rest.len, 0);
}

/* Our way of not blocking must not change the descriptor that others share. */
static void test_shared_descriptor(void **state)
{
    (void)state;
    assert_false(fcntl(pipe_fd[1], F_GETFL) & O_NONBLOCK);
}

static void test_socket_and_file(void **state)
{
    char name[] = "/tmp/test_log.XXXXXX";
    int pair[2], file = mkstemp(name);
    struct slice text;

    (void)state;
    assert_true(file >= 0);
    unlink(name);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    log_set_fd(pair[0]);
    log_event(LOG_INFO, EV_WORKER_STOP);
    text = drain(pair[1]);
    assert_true(text.len > 20 && text.ptr[text.len - 1] == '\n');
    close(pair[1]);
    log_event(LOG_INFO, EV_WORKER_STOP); /* the reader is gone: dropped, no SIGPIPE */
    log_set_fd(file);
    log_event(LOG_INFO, EV_WORKER_STOP);
    assert_true(lseek(file, 0, SEEK_CUR) > 100); /* this one, and log.dropped before it */
    log_set_fd(pipe_fd[1]);
    assert_true(fcntl(file, F_GETFD) >= 0); /* it was the caller's: still open */
    close(pair[0]);
    close(file);
}

static void test_level_names(void **state)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    enum log_level level = LOG_ERROR;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_true(log_level_parse(slice_cstr(names[i]), &level));
        assert_int_equal(level, i);
    }
    assert_false(log_level_parse(SLICE_LIT("Debug"), &level));
    assert_false(log_level_parse(SLICE_NONE, &level));
    assert_int_equal(level, LOG_ERROR); /* as it was */
}

/* Dotted, unlike all others, explained. */
static void test_event_names(void **state)
{
    static const struct {
        const char *name, *help;
    } events[] = {
#define X(id, name, help) [EV_##id] = {name, help},
#include "common/log_events.h"
#undef X
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        assert_non_null(strchr(events[i].name, '.'));
        assert_true(strlen(events[i].help) > 10);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(events[i].name, events[k].name);
    }
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_shape),       UNIT(test_no_fields),         UNIT(test_levels),
        UNIT(test_long_value),  UNIT(test_long_line),         UNIT(test_every_length),
        UNIT(test_full_pipe),   UNIT(test_shared_descriptor), UNIT(test_socket_and_file),
        UNIT(test_level_names), UNIT(test_event_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tools/demo/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "common/slice.h"

#define STILL_MS    40  /* one that runs has read by then */
#define STOP_TRIES  200 /* of a millisecond each */
#define SOCKETS_MAX 1024

void child_find(const char *name, char out[CHILD_PATH_BYTES])
{
    char self[CHILD_PATH_BYTES];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self);
    struct slice path = slice_of(self, len > 0 ? (size_t)len : 0);

    while (path.len > 0 && path.ptr[path.len - 1] != '/')
        path.len--;
    if (snprintf(out, CHILD_PATH_BYTES, "%.*s%s", SLICE_FMT(path), name) >= CHILD_PATH_BYTES ||
        access(out, X_OK) != 0)
        snprintf(out, CHILD_PATH_BYTES, "%s", name);
}

/* In the child, between fork and exec. */
static void become(const char *program, int log, const char *const *argv, bool outlives,
                   pid_t parent)
{
    int nothing = open("/dev/null", O_RDONLY);
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (outlives)
        setsid();
    else
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!outlives && getppid() != parent)
        _exit(127); /* the parent died before prctl */
    dup2(nothing, 0);
    dup2(log, 1);
    dup2(log, 2);
    execvp(program, (char *const *)argv);
    dprintf(2, "cannot start %s: %s\n", program, strerror(errno));
    _exit(127);
}

bool child_start(struct child *c, const char *name, const char *folder, const char *const *argv,
                 bool outlives, struct err *err)
{
    char program[CHILD_PATH_BYTES];
    pid_t parent = getpid();
    int log;

    *c = (struct child){0};
    snprintf(c->name, sizeof c->name, "%s", name);
    snprintf(c->log, sizeof c->log, "%s/%s.log", folder, name);
    child_find(argv[0], program);
    log = open(c->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0)
        return err_set(err, ERR_CONFIG, "%s: %s", c->log, strerror(errno));
    c->pid = fork();
    if (c->pid == 0)
        become(program, log, argv, outlives, parent);
    close(log);
    if (c->pid > 0)
        return true;
    c->pid = 0;
    return err_set(err, ERR_CONFIG, "%s: cannot fork: %s", name, strerror(errno));
}

/* The last line of a log, for a message. */
static void last_line(const char *path, char *out, size_t size)
{
    FILE *file = fopen(path, "r");

    out[0] = '\0';
    if (!file)
        return;
    while (fgets(out, (int)size, file))
        out[strcspn(out, "\n")] = '\0';
    fclose(file);
}

bool child_run(const char *name, const char *folder, const char *const *argv, struct err *err)
{
    struct child c;
    char said[160];
    int status = 0;

    if (!child_start(&c, name, folder, argv, false, err))
        return false;
    while (waitpid(c.pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    last_line(c.log, said, sizeof said);
    return err_set(err, ERR_CONFIG, "%s failed: %s (%s)", argv[0], said, c.log);
}

bool child_is_running(struct child *c)
{
    if (c->pid > 0 && waitpid(c->pid, NULL, WNOHANG) != 0)
        c->pid = 0;
    return c->pid > 0;
}

void child_signal(const struct child *c, int number)
{
    if (c->pid > 0)
        kill(c->pid, number);
}

void child_end(struct child *c)
{
    if (c->pid <= 0)
        return;
    kill(c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    c->pid = 0;
}

static char process_state(pid_t pid)
{
    char path[64], line[256] = "", *end;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    file = fopen(path, "r");
    if (!file)
        return '?';
    end = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    fclose(file);
    return end && end[1] ? end[2] : '?';
}

/* A process within a system call stops only at its end. */
bool child_wait_stopped(const struct child *c)
{
    const struct timespec moment = {0, 1000000};

    for (int i = 0; i < STOP_TRIES; i++) {
        char state = process_state(c->pid);

        if (state == 'T')
            return true;
        if (state == '?' || state == 'Z')
            return false;
        nanosleep(&moment, NULL);
    }
    return false;
}

/* ---- sockets ---- */

/* The inode numbers of its sockets, from links like "socket:[12345]". */
static size_t list_sockets(pid_t pid, uint64_t *inodes, size_t max)
{
    char path[64], link[64];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && count < max && (entry = readdir(dir))) {
        ssize_t len = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);

        if (len <= 0)
            continue;
        link[len] = '\0';
        if (sscanf(link, "socket:[%" SCNu64 "]", &inodes[count]) == 1)
            count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

static bool is_one_of(uint64_t inode, const uint64_t *inodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (inodes[i] == inode)
            return true;
    }
    return false;
}

/* Those sockets to the port on which something has come that nobody has read. A line of
 * /proc/net/tcp: sl local:port remote:port st tx:rx tr:when retr uid timeout inode */
static size_t list_unread(unsigned port, uint64_t *inodes, size_t max)
{
    FILE *file = fopen("/proc/net/tcp", "r");
    unsigned remote, unread;
    size_t count = 0;
    char line[256];

    while (file && count < max && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%*d: %*x:%*x %*x:%x %*x %*x:%x %*x:%*x %*x %*u %*u %" SCNu64, &remote,
                   &unread, &inodes[count]) == 3 &&
            remote == port && unread > 0)
            count++;
    }
    if (file)
        fclose(file);
    return count;
}

unsigned child_unread_sockets(const struct child *c, unsigned port)
{
    const struct timespec moment = {.tv_nsec = STILL_MS * 1000000L};
    uint64_t own[SOCKETS_MAX], unread[SOCKETS_MAX];
    size_t own_count = list_sockets(c->pid, own, SOCKETS_MAX), count;
    unsigned found = 0;

    /* A worker cannot be looked into (PR_SET_DUMPABLE), but by root. It is stopped, though, and the
     * others are not: what stays unread is its. */
    if (own_count == 0) {
        own_count = list_unread(port, own, SOCKETS_MAX);
        nanosleep(&moment, NULL);
    }
    count = list_unread(port, unread, SOCKETS_MAX);
    for (size_t i = 0; i < count; i++)
        found += is_one_of(unread[i], own, own_count);
    return found;
}

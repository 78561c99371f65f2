#include "tools/bench/gauge.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double thread_us(pid_t pid, const char *tid)
{
    char path[320];
    uint64_t ns = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, tid);
    file = fopen(path, "r");
    if (!file)
        return 0;
    if (fscanf(file, "%" SCNu64, &ns) != 1)
        ns = 0;
    fclose(file);
    return (double)ns / 1000;
}

double gauge_cpu_us(pid_t pid)
{
    char path[64];
    struct dirent *entry;
    double sum = 0;
    DIR *dir;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.')
            sum += thread_us(pid, entry->d_name);
    }
    if (dir)
        closedir(dir);
    return sum;
}

int64_t gauge_peak_kib(pid_t pid)
{
    char path[64], line[128];
    int64_t kib = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %" SCNd64, &kib) == 1)
            break;
    }
    if (file)
        fclose(file);
    return kib;
}

uint64_t gauge_count(const char *path)
{
    FILE *file = fopen(path, "r");
    uint64_t n = 0;

    if (!file)
        return 0;
    if (fread(&n, sizeof n, 1, file) != 1)
        n = 0;
    fclose(file);
    return n;
}

static void take_added(void *owner, const struct redis_reply *reply)
{
    *(int64_t *)owner = redis_reply_int(redis_reply_field(reply, "entries-added"), 0);
}

int64_t gauge_added(struct rig *r, struct store *s)
{
    const char *const argv[] = {"XINFO", "STREAM", "awq:{s0}:out:results"};
    struct err err = {0}; /* there is none before the first result */
    int64_t n = 0;

    store_ask(r, s, 3, argv, take_added, &n, &err);
    return n;
}

/* These counters include what scripts call; but scripts call none of these, and a worker at work
 * sends hardly anything else. */
static void take_commands(void *owner, const struct redis_reply *reply)
{
    static const char *const names[] = {"evalsha", "eval", "xreadgroup", "ping"};
    struct slice text = redis_reply_str(reply);
    struct slice line;

    while (slice_cut(&text, '\n', &line)) {
        char name[32];
        int64_t calls;

        if (line.len > 200 || sscanf(line.ptr, "cmdstat_%31[^:]:calls=%" SCNd64, name, &calls) != 2)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            *(int64_t *)owner += strcmp(name, names[i]) == 0 ? calls : 0;
    }
}

int64_t gauge_commands(struct rig *r, struct store *s)
{
    const char *const argv[] = {"INFO", "commandstats"};
    struct err err = {0};
    int64_t n = 0;

    store_ask(r, s, 2, argv, take_commands, &n, &err);
    return n;
}

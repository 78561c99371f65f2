/*
 * cycle: the least that a queue with results costs Redis - a read of 64 jobs, and for each 16 of
 * them one script that acknowledges, deletes, stores a result and queues a next job of 300 bytes.
 * No fence, no memory of what was committed.
 *
 *   cycle REDIS_PORT COUNT_FILE [URL TOKEN_FILE]
 *
 * With a URL it makes each job's POST, as post.c does, before the script: then Redis shares the
 * core and its caches with the calls, as it does when a worker is measured.
 */
#include <hiredis/hiredis.h>
#include "tests/bench/call.h"
#include "tests/bench/count.h"

#define JOBS       20000
#define JOB_BYTES  300
#define READ_COUNT 64
#define BATCH      16

static const char script[] = "for i = 1, #ARGV, 3 do\n"
                             "  redis.call('XACK', KEYS[1], 'w', ARGV[i])\n"
                             "  redis.call('XDEL', KEYS[1], ARGV[i])\n"
                             "  redis.call('XADD', KEYS[2], 'MAXLEN', '~', '100000', '*', 'r', "
                             "ARGV[i + 1])\n"
                             "  redis.call('XADD', KEYS[1], '*', 'j', ARGV[i + 2])\n"
                             "end\n"
                             "return 1";

static redisContext *link_to(int port)
{
    redisContext *c = redisConnect("127.0.0.1", port);

    if (!c || c->err) {
        fprintf(stderr, "cycle: %s\n", c ? c->errstr : "out of memory");
        exit(1);
    }
    return c;
}

static redisReply *answer(redisContext *c)
{
    redisReply *r = NULL;

    if (redisGetReply(c, (void **)&r) != REDIS_OK || r->type == REDIS_REPLY_ERROR) {
        fprintf(stderr, "cycle: %s\n", r ? r->str : c->errstr);
        exit(1);
    }
    return r;
}

static void drop_answers(redisContext *c, int n)
{
    while (n-- > 0)
        freeReplyObject(answer(c));
}

static void fill(redisContext *c, const char *job)
{
    redisAppendCommand(c, "DEL cycle cycle-out");
    redisAppendCommand(c, "XGROUP CREATE cycle w 0 MKSTREAM");
    drop_answers(c, 2);
    for (int i = 0; i < JOBS; i += 100) {
        for (int n = 0; n < 100; n++)
            redisAppendCommand(c, "XADD cycle * j %b", job, (size_t)JOB_BYTES);
        drop_answers(c, 100);
    }
}

static void load_script(redisContext *c, char sha[41])
{
    redisReply *r;

    redisAppendCommand(c, "SCRIPT LOAD %s", script);
    r = answer(c);
    snprintf(sha, 41, "%s", r->str);
    freeReplyObject(r);
}

static void commit(redisContext *c, const char *sha, redisReply *entries, size_t from,
                   const char *job)
{
    const char *argv[5 + 3 * BATCH] = {"EVALSHA", sha, "2", "cycle", "cycle-out"};
    size_t len[5 + 3 * BATCH] = {7, 40, 1, 5, 9};
    int n = 5;

    for (size_t i = from; i < entries->elements && i < from + BATCH; i++) {
        redisReply *id = entries->element[i]->element[0];

        argv[n] = id->str;
        len[n++] = id->len;
        argv[n] = argv[n + 1] = job;
        len[n] = len[n + 1] = JOB_BYTES;
        n += 2;
    }
    redisAppendCommandArgv(c, n, argv, len);
}

static void read_more(redisContext *c)
{
    redisAppendCommand(c, "XREADGROUP GROUP w me COUNT %d STREAMS cycle >", READ_COUNT);
}

/* Alone: the next read goes out with the scripts of the last, one trip for 64 jobs. With calls:
 * each script on its own, when its jobs are done. */
static void cycle(redisContext *c, const char *sha, const char *job, CURL *call,
                  volatile uint64_t *count)
{
    redisReply *read = answer(c), *entries = read->element[0]->element[1];
    int scripts = 0;

    for (size_t i = 0; i < entries->elements; i += BATCH) {
        for (size_t n = i; call && n < entries->elements && n < i + BATCH; n++)
            call_check(call, curl_easy_perform(call));
        commit(c, sha, entries, i, job);
        if (call)
            drop_answers(c, 1);
        else
            scripts++;
    }
    read_more(c);
    drop_answers(c, scripts);
    *count += entries->elements;
    freeReplyObject(read);
}

int main(int argc, char **argv)
{
    char job[JOB_BYTES], sha[41];
    volatile uint64_t *count;
    redisContext *c;
    CURL *call = NULL;

    if (argc != 3 && argc != 5) {
        fprintf(stderr, "usage: cycle REDIS_PORT COUNT_FILE [URL TOKEN_FILE]\n");
        return 2;
    }
    memset(job, 'j', sizeof job);
    c = link_to(atoi(argv[1]));
    count = count_open(argv[2]);
    if (argc == 5) {
        curl_global_init(CURL_GLOBAL_ALL);
        call = call_new(argv[3], call_headers(argv[4]));
    }
    load_script(c, sha);
    fill(c, job);
    read_more(c);
    for (;;)
        cycle(c, sha, job, call, count);
}

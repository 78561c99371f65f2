/*
 * producer.c - puts one job on an awq queue and waits for its result, by the C client.
 *
 *     make examples      here, as build/example-producer; elsewhere, where awq is installed:
 *     cc -o producer producer.c $(pkg-config --cflags --libs awq)
 *     ./producer redis://127.0.0.1:6379 job.json     a job in a file, "-" = standard input
 *     ./producer redis://127.0.0.1:6379              a job built here: GET on connection crm-1
 *
 * Prints the result as JSON. Exit 0: done; 1: it ended otherwise, or not in time; 2: not put.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if __has_include("common/awq.h") /* in the source tree */
#include "common/awq.h"
#else
#include <awq.h>
#endif

#define WAIT_MS  30000
#define FILE_MAX (1024 * 1024)

static int complain(const char *what, const struct awq_error *err)
{
    fprintf(stderr, "%s: %s: %s%s%s\n", what, awq_status_name(err->status), err->text,
            err->code[0] ? ", " : "", err->code);
    return 2;
}

/* The two ways to make an envelope: from JSON text ... */
static char *from_file(const char *path, size_t *len, struct awq_error *err)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    char *text = malloc(FILE_MAX), *bytes = NULL;

    if (f && text)
        bytes = awq_encode_json(text, fread(text, 1, FILE_MAX, f), len, err);
    else
        *err = (struct awq_error){.status = AWQ_INVALID, .text = "cannot be read"};
    if (f && f != stdin)
        fclose(f);
    free(text);
    return bytes;
}

/* ... and from structs. */
static char *built_here(size_t *len, struct awq_error *err)
{
    static const struct awq_pair query[] = {{"limit", "10"}};
    const struct awq_call call = {
        .conn = "crm-1",
        .method = "GET",
        .url = "https://api.example.com/v1/leads",
        .query = query,
        .query_count = 1,
    };
    char id[64];
    struct awq_job job = {.id = id, .calls = &call, .call_count = 1};

    snprintf(id, sizeof id, "leads-%lld", (long long)time(NULL));
    return awq_encode(&job, len, err);
}

/* The id stands in the envelope too; a producer that made it knows it. */
static int put_and_wait(struct awq *q, const char *bytes, size_t len)
{
    struct awq_result *r = NULL;
    struct awq_error err;
    char id[65], *json;
    int code;

    if (!awq_envelope_id(bytes, len, id, &err))
        return complain("job", &err);
    if (!awq_put(q, NULL, bytes, len, &err) && err.status != AWQ_DUPLICATE)
        return complain(id, &err);
    r = awq_wait(q, id, WAIT_MS, &err);
    if (!r) {
        complain(id, &err);
        return 1;
    }
    json = awq_result_json(r);
    puts(json ? json : "{}");
    code = strcmp(r->state, "done") == 0 ? 0 : 1;
    free(json);
    awq_result_free(r);
    return code;
}

int main(int argc, char **argv)
{
    struct awq_options options = {.prefix = getenv("AWQ_PREFIX")};
    struct awq_error err;
    struct awq *q;
    size_t len = 0;
    char *bytes;
    int code;

    if (argc < 2) {
        fprintf(stderr, "usage: %s REDIS-URL [JOB.json]\n", argv[0]);
        return 2;
    }
    bytes = argc > 2 ? from_file(argv[2], &len, &err) : built_here(&len, &err);
    if (!bytes)
        return complain(argc > 2 ? argv[2] : "job", &err);
    options.url = argv[1];
    q = awq_open(&options, &err);
    code = q ? put_and_wait(q, bytes, len) : complain(argv[1], &err);
    awq_close(q);
    free(bytes);
    return code;
}

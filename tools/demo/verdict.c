#include "tools/demo/verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "common/json.h"

#define BOOKS_MAX_BYTES  (4u << 20)
#define RENEWALS_MIN     4
#define RECOVERED_MAX_MS 10000

static bool ask_books(const struct site *s, const char *path, struct json **doc, struct err *err)
{
    struct buf answer;
    char url[160];
    bool ok;

    buf_init(&answer, BOOKS_MAX_BYTES);
    snprintf(url, sizeof url, "%s/_sandbox/%s", s->sandbox_url, path);
    *doc = NULL;
    ok = ask_http(s->ask, "GET", url, SLICE_NONE, &answer, err);
    if (ok)
        *doc = json_parse(buf_slice(&answer), err);
    buf_deinit(&answer);
    return *doc != NULL;
}

/* ---- writes ---- */

struct listed {
    bool job[WORK_JOBS];
};

/* Mark the ids of a page; *next is where the next one starts, -1 after the last. */
static bool read_page(const struct json_val *root, struct listed *listed, int64_t *next)
{
    const struct json_val *write;
    struct json_iter it;
    struct slice key, id;
    unsigned number;

    json_iter_init(&it, json_get(root, "writes"));
    while (json_iter_next(&it, &key, &write)) {
        if (json_str(json_get(write, "id"), &id) && work_job_number(id, &number))
            listed->job[number] = true;
    }
    *next = -1;
    return json_int(json_get(root, "next"), next) || json_type(json_get(root, "next")) == JSON_NULL;
}

static bool gather_lost(struct verdict *v, const struct site *s, struct err *err)
{
    struct listed listed = {{false}};
    struct json *doc;
    int64_t next = 0;
    char path[64];
    bool ok = true;

    while (ok && next >= 0) {
        snprintf(path, sizeof path, "writes?after=%" PRId64, next);
        if (!ask_books(s, path, &doc, err))
            return false;
        ok = read_page(json_root(doc), &listed, &next);
        json_free(doc);
    }
    v->lost = 0;
    for (unsigned i = 0; i < WORK_JOBS; i++)
        v->lost += listed.job[i] ? 0 : 1;
    return ok || err_set(err, ERR_FORMAT, "the sandbox's list of writes is not understood");
}

static bool gather_sums(struct verdict *v, const struct site *s, struct err *err)
{
    struct json *doc;
    bool ok;

    if (!ask_books(s, "writes/summary", &doc, err))
        return false;
    ok = json_int(json_get(json_root(doc), "repeated"), &v->repeated) &&
         json_int(json_get(json_root(doc), "replays"), &v->replays);
    json_free(doc);
    return ok || err_set(err, ERR_FORMAT, "the sandbox's sums are not understood");
}

/* ---- tokens ---- */

static void read_counters(const struct json_val *account, struct verdict_conn *c)
{
    json_int(json_get(account, "token_arrived"), &c->renewals);
    json_int(json_get(account, "versions"), &c->versions);
    json_int(json_get(account, "reuse_detected"), &c->reuse);
}

static bool gather_tokens(struct verdict *v, const struct site *s, struct err *err)
{
    const struct json_val *account;
    struct json_iter it;
    struct json *doc;
    struct slice key, client;

    if (!ask_books(s, "counters", &doc, err))
        return false;
    json_iter_init(&it, json_get(json_root(doc), "accounts"));
    while (json_iter_next(&it, &key, &account)) {
        if (!json_str(json_get(account, "client"), &client))
            continue;
        if (slice_is(client, CONN_READER))
            read_counters(account, &v->reader);
        else if (slice_is(client, CONN_WRITER))
            read_counters(account, &v->writer);
    }
    json_free(doc);
    return true;
}

bool verdict_gather(struct verdict *v, const struct site *site, struct err *err)
{
    *v = (struct verdict){0};
    return gather_lost(v, site, err) && gather_sums(v, site, err) && gather_tokens(v, site, err);
}

/* ---- telling ---- */

/* One line when something is off; adds to *off. */
static void __attribute__((format(printf, 3, 4)))
check(bool ok, unsigned *off, const char *fmt, ...)
{
    va_list ap;

    if (ok)
        return;
    ++*off;
    va_start(ap, fmt);
    printf("  OFF: ");
    vprintf(fmt, ap);
    printf("\n");
    va_end(ap);
}

static void check_conn(const char *name, const struct verdict_conn *c, int64_t took_ms,
                       unsigned *off)
{
    /* Twice what would do: short lifetimes must not cause a renewal per step. */
    int64_t versions_max = 2 * took_ms / (SITE_TOKEN_TTL_S * 1000) + 2;

    check(c->versions <= versions_max, off, "%s: %" PRId64 " token versions, %" PRId64 " at most",
          name, c->versions, versions_max);
    check(c->versions >= RENEWALS_MIN, off, "%s: only %" PRId64 " token versions", name,
          c->versions);
    check(c->renewals == c->versions, off,
          "%s: %" PRId64 " token requests for %" PRId64 " versions", name, c->renewals,
          c->versions);
    check(c->reuse == 0, off, "%s: a refresh token was used twice", name);
}

static unsigned check_all(const struct verdict *v, const struct work *work,
                          const struct victim *victim)
{
    int64_t recovered_ms = victim->recovered_ms - victim->killed_ms;
    int64_t took_ms = work->ended_ms - work->started_ms;
    unsigned off = 0;

    check(work->ended == WORK_JOBS, &off, "%u of %d jobs have not ended", WORK_JOBS - work->ended,
          WORK_JOBS);
    check(work->results == WORK_JOBS * WORK_STEPS, &off, "%u results instead of %d", work->results,
          WORK_JOBS * WORK_STEPS);
    check(work->not_done == 0, &off, "%u steps did not succeed; the first: %s", work->not_done,
          work->complaint);
    check(work->duplicates == 0, &off, "%u steps were committed twice", work->duplicates);
    check(v->lost == 0, &off, "%u jobs never wrote", v->lost);
    check(v->repeated == 0, &off, "%" PRId64 " writes took effect twice", v->repeated);
    check_conn(CONN_READER, &v->reader, took_ms, &off);
    check_conn(CONN_WRITER, &v->writer, took_ms, &off);
    check(victim->worker != NULL, &off, "no worker was killed");
    check(!victim->worker || (victim->recovered_ms > 0 && recovered_ms <= RECOVERED_MAX_MS), &off,
          "the killed worker's jobs were not done by others within %d s", RECOVERED_MAX_MS / 1000);
    return off;
}

bool verdict_tell(const struct verdict *v, const struct work *work, const struct victim *victim)
{
    int64_t took_ms = work->ended_ms - work->started_ms;
    int64_t recovered_ms =
        victim->recovered_ms > 0 ? victim->recovered_ms - victim->killed_ms : -1000;
    unsigned off;

    printf("  sandbox      %d jobs, %u of their writes missing, %" PRId64 " made twice;\n"
           "               %" PRId64 " repeats recognised by their Idempotency-Key\n",
           WORK_JOBS, v->lost, v->repeated, v->replays);
    printf("  tokens       %s: %" PRId64 " renewals for %" PRId64 " versions; %s: %" PRId64
           " for %" PRId64 "\n",
           CONN_READER, v->reader.renewals, v->reader.versions, CONN_WRITER, v->writer.renewals,
           v->writer.versions);
    off = check_all(v, work, victim);
    printf("awq demo: steps=%u lost=%u duplicate_commits=%u renewals=%" PRId64
           " token_versions=%" PRId64 " killed=%d recovered_s=%.1f steps_per_s=%.0f\n",
           work->results, v->lost, work->duplicates, v->reader.renewals + v->writer.renewals,
           v->reader.versions + v->writer.versions, victim->worker ? 1 : 0,
           (double)recovered_ms / 1000, took_ms > 0 ? work->results * 1000.0 / (double)took_ms : 0);
    return off == 0;
}

#include "tools/sandbox/faults.h"

#include <stdlib.h>

#define FAULT_KEYS_MAX 100000
#define SLOW_MAX_MS    600000
#define TIMES_MAX      1000000000

void faults_init(struct faults *f)
{
    table_init(&f->used, FAULT_KEYS_MAX);
}

void faults_reset(struct faults *f)
{
    table_clear(&f->used, free);
}

/* *out stays as it is when the switch is not there. */
static bool number_read(const struct form *params, const char *name, int64_t min, int64_t max,
                        int64_t *out, struct err *err)
{
    struct slice text = form_get(params, name);
    int64_t n;

    if (!form_has(params, name))
        return true;
    if (!slice_to_i64(text, &n) || n < min || n > max)
        return err_set(err, ERR_FORMAT, "%s is a number from %lld to %lld", name, (long long)min,
                       (long long)max);
    *out = n;
    return true;
}

static bool drop_read(const struct form *params, enum fault_drop *out, struct err *err)
{
    struct slice text = form_get(params, "drop");

    if (!form_has(params, "drop"))
        *out = DROP_NONE;
    else if (slice_is(text, "before"))
        *out = DROP_BEFORE;
    else if (slice_is(text, "after"))
        *out = DROP_AFTER;
    else
        return err_set(err, ERR_FORMAT, "drop is before or after");
    return true;
}

/* Count this request; *over becomes true when its key had its faults. */
static bool times_count(struct faults *f, const struct request *r, int64_t times, bool *over,
                        struct err *err)
{
    struct slice name = form_get(&r->params, "key");
    struct table_key key = table_key(name.len > 0 ? &name : &r->path, 1);
    int64_t *used = table_get(&f->used, &key);

    if (!used) {
        used = calloc(1, sizeof *used);
        if (!used || !table_put(&f->used, &key, used)) {
            free(used);
            return err_set(err, ERR_NOMEM, "no room for another key= (%d at most)", FAULT_KEYS_MAX);
        }
    }
    *over = *used >= times;
    if (!*over)
        ++*used;
    return true;
}

bool faults_read(struct faults *f, const struct request *request, struct fault *out,
                 struct err *err)
{
    static const struct fault none = {.slow_ms = -1};
    const struct form *params = &request->params;
    struct fault fault = none;
    int64_t status = 0, times = -1, refuse = 0;
    bool over = false;

    *out = none;
    if (params->count == 0)
        return true;
    if (!number_read(params, "slow", 0, SLOW_MAX_MS, &fault.slow_ms, err) ||
        !number_read(params, "status", 400, 599, &status, err) ||
        !number_read(params, "401", 0, 1, &refuse, err) ||
        !number_read(params, "times", 0, TIMES_MAX, &times, err) ||
        !drop_read(params, &fault.drop, err))
        return false;
    if (times >= 0 && !times_count(f, request, times, &over, err))
        return false;
    if (over)
        return true;
    fault.status = (unsigned)status;
    fault.refuse_token = refuse == 1;
    fault.retry_after = form_get(params, "retry_after"); /* seconds or a date, as it was given */
    *out = fault;
    return true;
}

bool fault_apply(const struct fault *fault, struct reply *reply)
{
    if (fault->slow_ms >= 0)
        reply->delay_ms = fault->slow_ms;
    reply->drop = fault->drop != DROP_NONE;
    if (fault->drop == DROP_BEFORE)
        return true;
    if (fault->status == 0)
        return false;
    reply_error(reply, fault->status, "asked_for", "the query asked for status %u", fault->status);
    if (fault->retry_after.len > 0)
        reply_header(reply, "Retry-After", fault->retry_after);
    return true;
}

/* awq-ctl NOUN VERB: settings, arguments, help; the work is done in one file a noun. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include "common/char.h"
#include "common/clock.h"
#include "common/key.h"
#include "common/secret.h"
#include "common/secret_file.h"
#include "common/suggest.h"
#include "common/version.h"
#include "tools/ctl/act.h"
#include "tools/ctl/ctl.h"
#include "tools/ctl/link.h"
#include "tools/ctl/once.h"

static const struct verb *const nouns[] = {
    keys_verbs,   conn_verbs, job_verbs,   queue_verbs,    dead_verbs,    worker_verbs,
    doctor_verbs, acl_verbs,  audit_verbs, producer_verbs, profile_verbs,
};

struct settings {
    struct config_common common;
    const char *output, *http_ca;
};

static const struct config_row rows[] = {
    CONFIG_COMMON_ROWS(struct settings, common),
    {.name = "output",
     .type = CONFIG_CHOICE,
     .offset = offsetof(struct settings, output),
     .def = "table",
     .choices = "table|json",
     .help = "what to print; -o is short for it"},
    {.name = "http-ca",
     .type = CONFIG_PATH,
     .offset = offsetof(struct settings, http_ca),
     .help = "PEM bundle to check authorization servers with; default: the system's"},
};

static const struct config_spec spec = {
    .program = "awq-ctl",
    .version = AWQ_VERSION,
    .usage = "[options] NOUN VERB [arguments]",
    .about = "Look inside a fleet of awq workers, and change it. awq-ctl NOUN lists its verbs,\n"
             "awq-ctl NOUN VERB --help says what one does.",
    .rows = rows,
    .row_count = ARRAY_LEN(rows),
    .settings_size = sizeof(struct settings),
    .pass_unknown_flags = true,
};

/* ---- saying what went wrong ---------------------------------------------------------------------
 */

/* Others may have written what is in it: a line of ours, and nothing that moves a cursor. */
static void say(const char *who, const char *fmt, va_list ap, const char *end)
{
    struct buf clean;
    char *text = NULL;
    int len = vasprintf(&text, fmt, ap);

    buf_init(&clean, len > 0 ? (size_t)len + 16 : 16);
    if (len > 0)
        out_clean(&clean, slice_of(text, (size_t)len));
    fprintf(stderr, "%s: %.*s%s\n", who, SLICE_FMT(buf_slice(&clean)), end);
    buf_deinit(&clean);
    free(text);
}

int ctl_say(int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say("awq-ctl", fmt, ap, "");
    va_end(ap);
    return code;
}

int ctl_usage(const struct ctl *c, const char *fmt, ...)
{
    va_list ap;
    char verb[64], end[96];

    snprintf(verb, sizeof verb, "%s%s%s%s%s", "awq-ctl", c->verb ? " " : "",
             c->verb ? c->verb->noun : "", c->verb && c->verb->name[0] ? " " : "",
             c->verb ? c->verb->name : "");
    snprintf(end, sizeof end, "; %s --help says how", verb);
    va_start(ap, fmt);
    say(verb, fmt, ap, end);
    va_end(ap);
    return CTL_USAGE;
}

int ctl_fail(const struct ctl *c, const struct err *err)
{
    ctl_say(0, "%s", err->msg);
    if (slice_is(slice_cstr(err->rule), "NOPERM"))
        ctl_say(0,
                "the Redis user %s has not all rights that awq-ctl needs: log in as one with what "
                "awq-ctl acl print --role ctl --prefix %s says (--redis-user)",
                c->common.redis_user ? c->common.redis_user : "of --redis-url", c->common.prefix);
    switch (err->code) {
    case ERR_NOT_FOUND:
        return CTL_NOT_FOUND;
    case ERR_UNREACHABLE:
    case ERR_UNKNOWN:
    case ERR_CANCELLED:
        return CTL_UNREACHABLE;
    default:
        return CTL_FAILED;
    }
}

/* ---- what verbs share ---------------------------------------------------------------------------
 */

int ctl_connect(struct ctl *c)
{
    struct err err = {0};

    if (c->link)
        return CTL_OK;
    if (c->common.redis_password_file &&
        !secret_file_check(c->common.redis_password_file, "Redis password", &err))
        return ctl_say(CTL_USAGE, "%s", err.msg);
    c->link = link_open(&c->common, &err);
    if (!c->link && err.code == ERR_CONFIG)
        return ctl_say(CTL_USAGE, "%s", err.msg);
    return c->link ? act_begin(c) : ctl_fail(c, &err);
}

bool ctl_reach(struct ctl *c, struct err *err)
{
    struct redis_reply *r = link_ask(c->link, NULL, "PING");
    bool there = r != NULL;
    struct link *l;

    redis_reply_free(r);
    if (there)
        return true;
    if (!(l = link_open(&c->common, err)))
        return false;
    link_close(c->link);
    c->link = l;
    return true;
}

int ctl_keys(struct ctl *c)
{
    struct err err = {0};

    if (c->keyring)
        return CTL_OK;
    if (!c->common.keys)
        return ctl_say(CTL_USAGE, "this needs the key file: --keys FILE or AWQ_KEYS, a copy of "
                                  "the workers'; for a new install, make one with awq-ctl keys "
                                  "new FILE");
    c->keyring = keyring_load(c->common.keys, &err);
    return c->keyring ? CTL_OK : ctl_say(CTL_USAGE, "%s", err.msg);
}

/* The workers keep the install's id there, under the run key that signs; before the first of them
 * has come, any key file will do. */
bool ctl_keys_fit(const struct keyring *k, const struct redis_reply *install,
                  const struct redis_reply *mac)
{
    struct slice kept = redis_reply_str(mac);

    return kept.len == 0 || seal_mac_ok(k, KEY_RUN, "install", redis_reply_str(install), kept);
}

/* What meta says of this install: is the key file, where there is one, its workers'? */
int ctl_check_install(struct ctl *c)
{
    struct redis_reply *r;
    struct err err = {0};
    struct key meta;
    int64_t shards;
    bool fit;

    key_meta(&meta);
    r = link_ask(c->link, &err, "HMGET", meta.s, "shards", "install", "keys");
    if (!r)
        return ctl_fail(c, &err);
    shards = redis_reply_int(redis_reply_at(r, 0), 1);
    fit = !c->keyring || ctl_keys_fit(c->keyring, redis_reply_at(r, 1), redis_reply_at(r, 2));
    redis_reply_free(r);
    if (!fit)
        return ctl_say(
            CTL_FAILED,
            "key file %s is not the workers': none of its run keys is theirs. What is "
            "sealed with it they could not open; copy their file here, or, if it is lost for "
            "good: awq-ctl keys replace-lost",
            c->common.keys);
    if (shards != 1)
        return ctl_say(CTL_FAILED,
                       "%s says that this install has %" PRId64
                       " shards; this version of awq-ctl works with 1",
                       meta.s, shards);
    return CTL_OK;
}

/* Idempotency keys begin with the install's id: whoever comes first makes one, nobody changes it.
 */
int ctl_meta(struct ctl *c)
{
    static const char *const fields[] = {"install", "shards"};
    struct redis_reply *r;
    struct err err = {0};
    char value[17];
    struct key meta;

    key_meta(&meta);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (i == 0)
            id_hex(value, 8);
        r = link_ask(c->link, &err, "HSETNX", meta.s, fields[i], i == 0 ? value : "1");
        if (!r)
            return ctl_fail(c, &err);
        redis_reply_free(r);
    }
    return ctl_check_install(c);
}

int ctl_now(struct ctl *c, int64_t *now_ms)
{
    struct err err = {0};
    struct redis_reply *r = link_ask(c->link, &err, "TIME");

    if (!r)
        return ctl_fail(c, &err);
    *now_ms = redis_reply_int(redis_reply_at(r, 0), 0) * 1000 +
              redis_reply_int(redis_reply_at(r, 1), 0) / 1000;
    c->out.now_ms = *now_ms;
    c->skew_ms = *now_ms - clock_wall_ms();
    redis_reply_free(r);
    return CTL_OK;
}

int64_t ctl_clock_ms(const struct ctl *c)
{
    return clock_wall_ms() + c->skew_ms;
}

int64_t ctl_score(struct slice text)
{
    char copy[40];

    return slice_copy(text, copy, sizeof copy) ? (int64_t)strtod(copy, NULL) : 0;
}

void ctl_wake(struct ctl *c, struct slice connection)
{
    struct key lots, channel, resource;

    key_lots(&lots, CTL_SHARD);
    key_wake(&channel);
    for (int lane = 0; lane < 2; lane++) {
        if (lane)
            key_resource_lane(&resource, connection);
        else
            key_resource_conn(&resource, connection);
        const struct slice argv[] = {key_slice(&lots), key_slice(&resource), key_slice(&channel)};

        /* A wake that fails costs time only: lots are looked at now and then in any case. */
        redis_reply_free(link_script(c->link, SCRIPT_wake, 1, ARRAY_LEN(argv), argv, NULL));
    }
}

int ctl_flag_int(const struct ctl *c, const struct args *a, size_t flag, int64_t min, int64_t max,
                 int64_t otherwise, int64_t *out)
{
    int64_t n = otherwise;

    if (a->flag[flag] && (!slice_to_i64(slice_cstr(a->flag[flag]), &n) || n < min || n > max))
        return ctl_usage(c, "%s must be %" PRId64 " to %" PRId64, c->verb->flags[flag].name, min,
                         max);
    *out = n;
    return CTL_OK;
}

#define FLAG_MS_MAX (INT64_C(366) * 24 * 3600000)

int ctl_flag_ms(const struct ctl *c, const struct args *a, size_t flag, int64_t otherwise,
                int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    struct slice s = slice_cstr(a->flag[flag]);
    const char *name = c->verb->flags[flag].name;
    size_t digits = 0;
    int64_t n = 0;

    *out = otherwise;
    if (!a->flag[flag])
        return CTL_OK;
    while (digits < s.len && char_is_digit(s.ptr[digits]))
        digits++;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (digits == 0 || !slice_is(slice_sub(s, digits, s.len), units[i].unit))
            continue;
        if (!slice_to_i64(slice_sub(s, 0, digits), &n) || n > FLAG_MS_MAX / units[i].ms)
            return ctl_usage(c, "%s must be at most %dh", name, (int)(FLAG_MS_MAX / 3600000));
        *out = n * units[i].ms;
        return CTL_OK;
    }
    if (digits == s.len)
        return ctl_usage(c, "%s must have a unit, as in 500ms, 30s, 5m, 2h", name);
    return ctl_usage(c, "%s must be a number and ms, s, m or h (no more than %dh), as 500ms, 30s",
                     name, (int)(FLAG_MS_MAX / 3600000));
}

/* ---- help ---------------------------------------------------------------------------------------
 */

static void print_verbs(FILE *to, const struct verb *v)
{
    for (; v->name; v++) {
        int head = fprintf(to, "  %s%s%s %s", v->noun, v->name[0] ? " " : "", v->name, v->usage);

        fprintf(to, "%*s %s\n", head < 46 ? 46 - head : 0, "", v->help);
    }
}

static void print_nouns(FILE *to)
{
    for (size_t i = 0; i < ARRAY_LEN(nouns); i++)
        print_verbs(to, nouns[i]);
}

static void print_flags(const struct flag *flags, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct flag *f = &flags[i];
        char head[60];

        snprintf(head, sizeof head, "%s%s%s%s%s", f->brief ? f->brief : "", f->brief ? ", " : "",
                 f->name, f->value ? " " : "", f->value ? f->value : "");
        printf("  %-24s %s\n", head, f->help);
    }
}

static void print_verb(const struct verb *v)
{
    printf("awq-ctl %s%s%s%s%s\n\n%s.\n", v->noun, v->name[0] ? " " : "", v->name,
           v->usage[0] ? " " : "", v->usage, v->help);
    if (v->more)
        printf("\n%s\n", v->more);
    if (v->flag_count > 0 || v->changes)
        puts("");
    print_flags(v->flags, v->flag_count);
    print_flags(act_flags, v->changes ? ARRAY_LEN(act_flags) : 0);
    puts("\nOptions of every verb (connection to Redis, prefix, keys, -o table|json): "
         "awq-ctl --help");
}

/* ---- arguments ----------------------------------------------------------------------------------
 */

struct input {
    const char *names[512];
    struct args args;
    bool help;
};

static const struct flag *find_in(const struct flag *flags, size_t count, struct slice name)
{
    for (const struct flag *f = flags; f < flags + count; f++)
        if (slice_is(name, f->name) || (f->brief && slice_is(name, f->brief)))
            return f;
    return NULL;
}

static const struct flag *find_flag(const struct verb *v, struct slice name, size_t *at)
{
    const struct flag *f = find_in(v->flags, v->flag_count, name);

    if (f) {
        *at = (size_t)(f - v->flags);
    } else if (v->changes && (f = find_in(act_flags, ARRAY_LEN(act_flags), name))) {
        *at = CTL_FLAGS_MAX + (size_t)(f - act_flags);
    }
    return f;
}

static int take_flag(struct ctl *c, struct input *in, char *const *argv, size_t argc, size_t *i)
{
    struct slice arg = slice_cstr(argv[*i]);
    size_t eq = slice_starts(arg, SLICE_LIT("--")) ? slice_find(arg, '=') : arg.len, at = 0;
    const struct flag *f = find_flag(c->verb, slice_sub(arg, 0, eq), &at);

    if (!f)
        return ctl_usage(c, "no such flag: %.40s", argv[*i]);
    if (!f->value && eq < arg.len)
        return ctl_usage(c, "%s has no value", f->name);
    if (f->value && in->args.flag[at]) /* one of the two would be dropped */
        return ctl_usage(c, "%s is given twice", f->name);
    if (!f->value) {
        in->args.flag[at] = "";
    } else if (eq < arg.len) {
        in->args.flag[at] = arg.ptr + eq + 1;
    } else if (*i + 1 < argc) {
        in->args.flag[at] = argv[++*i];
    } else {
        return ctl_usage(c, "%s needs %s", f->name, f->value);
    }
    return CTL_OK;
}

static int take_output(struct ctl *c, char *const *argv, size_t argc, size_t *i)
{
    const char *value = *i + 1 < argc ? argv[++*i] : "";

    if (strcmp(value, "json") != 0 && strcmp(value, "table") != 0)
        return ctl_usage(c, "-o must be table or json");
    c->out.json = strcmp(value, "json") == 0;
    return CTL_OK;
}

/* What follows NOUN VERB. */
static int take_args(struct ctl *c, struct input *in, char *const *argv, size_t argc)
{
    const struct verb *v = c->verb;
    int code = CTL_OK;

    for (size_t i = 0; i < argc && code == CTL_OK; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            in->help = true;
        else if (strcmp(argv[i], "-o") == 0)
            code = take_output(c, argv, argc, &i);
        else if (argv[i][0] == '-' && argv[i][1])
            code = take_flag(c, in, argv, argc, &i);
        else if (in->args.count == ARRAY_LEN(in->names))
            code = ctl_usage(c, "more than %zu names", ARRAY_LEN(in->names));
        else
            in->names[in->args.count++] = argv[i];
    }
    if (code != CTL_OK || in->help)
        return code;
    if (in->args.count < v->least)
        return ctl_usage(c, "something is missing: %s", v->usage);
    if (in->args.count > v->most)
        return ctl_usage(c, "too many arguments");
    return v->changes ? act_check(c, &in->args) : CTL_OK;
}

/* NOUN VERB, or NOUN alone where it has one verb only (doctor). */
static const struct verb *find_verb(char *const *argv, size_t argc, size_t *used)
{
    for (size_t n = 0; n < ARRAY_LEN(nouns); n++) {
        if (argc == 0 || strcmp(argv[0], nouns[n]->noun) != 0)
            continue;
        if (nouns[n]->name[0] == '\0') {
            *used = 1;
            return nouns[n];
        }
        for (const struct verb *v = nouns[n]; v->name; v++) {
            if (argc > 1 && strcmp(argv[1], v->name) == 0) {
                *used = 2;
                return v;
            }
        }
    }
    return NULL;
}

static int no_option(const struct config_spec *all, const char *arg)
{
    struct slice name = slice_cstr(arg);
    struct suggest s;

    name = slice_sub(name, slice_starts(name, SLICE_LIT("--")) ? 2 : 1, name.len);
    name = slice_sub(name, 0, slice_find(name, '='));
    s = suggest_for(name);
    for (size_t i = 0; i < all->row_count; i++)
        suggest_offer(&s, all->rows[i].name);
    if (s.best)
        return ctl_say(CTL_USAGE, "no such option: %.40s; did you mean --%s?", arg, s.best);
    return ctl_say(CTL_USAGE,
                   "no such option: %.40s; awq-ctl --help lists them (a verb's own come after it)",
                   arg);
}

static int no_verb(char *const *argv, size_t argc)
{
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

    if (argc > 0 && argv[0][0] == '-')
        return no_option(&spec, argv[0]);
    for (size_t n = 0; argc > 0 && n < ARRAY_LEN(nouns); n++) {
        if (strcmp(argv[0], nouns[n]->noun) != 0)
            continue;
        if (!help)
            ctl_say(0, argc > 1 ? "%s has no verb %.40s; it has:" : "%s needs a verb:", argv[0],
                    argc > 1 ? argv[1] : "");
        print_verbs(help ? stdout : stderr, nouns[n]);
        return help ? CTL_OK : CTL_USAGE;
    }
    if (argc > 0)
        ctl_say(0, "no such thing: %.40s%s%.40s", argv[0], argc > 1 ? " " : "",
                argc > 1 ? argv[1] : "");
    fputs("awq-ctl [options] NOUN VERB [arguments]; awq-ctl --help lists the options\n", stderr);
    print_nouns(stderr);
    return CTL_USAGE;
}

static int run(struct ctl *c, char *const *argv, size_t argc)
{
    size_t used = 0;
    struct input *in;
    int code;

    if (argc > 0 && strcmp(argv[0], "-o") == 0) { /* before the noun it is the verb's too */
        if ((code = take_output(c, argv, argc, &used)))
            return code;
        argv += used + 1;
        argc = argc > used + 1 ? argc - used - 1 : 0;
    }
    c->verb = find_verb(argv, argc, &used);
    if (!c->verb)
        return no_verb(argv, argc);
    in = calloc(1, sizeof *in);
    if (!in)
        return ctl_say(CTL_FAILED, "out of memory");
    in->args.names = in->names;
    c->args = &in->args;
    code = take_args(c, in, argv + used, argc - used);
    if (code == CTL_OK && in->help)
        print_verb(c->verb);
    else if (code == CTL_OK)
        code = act_end(c, c->verb->run(c, &in->args));
    c->args = NULL;
    free(in);
    return code;
}

int main(int argc, char **argv)
{
    struct settings set = {0};
    struct config *config = config_new(&spec, &set);
    struct err err = {0};
    struct ctl c = {0};
    struct buf print;
    char *const *rest;
    size_t rest_count;
    int code;

    buf_init(&print, 1 << 20);
    if (!config || !secret_harden_process(&err))
        return ctl_say(CTL_FAILED, "%s", config ? err.msg : "out of memory");
    switch (config_load(config, argc, argv, NULL, &print, &err)) {
    case CONFIG_DONE:
        fwrite(print.ptr ? print.ptr : "", 1, print.len, stdout);
        if (argc == 2 && strcmp(argv[1], "--help") == 0) {
            puts("");
            print_nouns(stdout);
        }
        code = CTL_OK;
        break;
    case CONFIG_BAD:
        code = ctl_say(CTL_USAGE, "%s", err.msg);
        break;
    default:
        c.common = set.common;
        once_trust(set.http_ca);
        out_init(&c.out, strcmp(set.output, "json") == 0);
        rest = config_rest(config, &rest_count);
        code = keys_init(slice_cstr(c.common.prefix), &err) ? run(&c, rest, rest_count)
                                                            : ctl_say(CTL_USAGE, "%s", err.msg);
    }
    link_close(c.link);
    keyring_free(c.keyring);
    out_deinit(&c.out);
    buf_deinit(&print);
    config_free(config);
    return code;
}

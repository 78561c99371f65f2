#include "common/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "common/log.h"
#include "common/suggest.h"

struct settings {
    struct config_common common;
    int64_t slots, drain_ms, body_bytes;
    bool http2;
    const char *role, *token, *dir;
    struct config_list queues;
    int not_in_table;
};

#define AT(m) .offset = offsetof(struct settings, m)

static const struct config_row rows[] = {
    CONFIG_COMMON_ROWS(struct settings, common),
    {.name = "slots",
     .type = CONFIG_INT,
     AT(slots),
     .def = "64",
     .min = 1,
     .max = 4096,
     .help = "steps in flight"},
    {.name = "drain",
     .type = CONFIG_MS,
     AT(drain_ms),
     .def = "30s",
     .min = 0,
     .max = 3600000,
     .flags = CONFIG_RELOADABLE,
     .help = "time to finish"},
    {.name = "max-body",
     .type = CONFIG_SIZE,
     AT(body_bytes),
     .def = "1MiB",
     .min = 1024,
     .max = 64 << 20,
     .flags = CONFIG_RELOADABLE,
     .help = "largest body"},
    {.name = "http2", .type = CONFIG_BOOL, AT(http2), .def = "true", .help = "try HTTP/2"},
    {.name = "role",
     .type = CONFIG_CHOICE,
     AT(role),
     .def = "all",
     .choices = "all|step|renew",
     .help = "what it does"},
    {.name = "token",
     .type = CONFIG_STR,
     AT(token),
     .max = 200,
     .flags = CONFIG_SECRET | CONFIG_RELOADABLE,
     .help = "a secret"},
    {.name = "dir", .type = CONFIG_PATH, AT(dir), .help = "a folder"},
    {.name = "queues",
     .type = CONFIG_LIST,
     AT(queues),
     .def = "default",
     .min = 1,
     .max = 3,
     .flags = CONFIG_RELOADABLE,
     .help = "where from"},
};

static bool check_pair(const void *settings, struct err *err)
{
    const struct settings *s = settings;

    return (s->slots != 13 && s->drain_ms != 13) || err_set(err, ERR_CONFIG, "luck is against it");
}

static struct config_spec spec = {.program = "awq-test",
                                  .version = "1.2.3",
                                  .rows = rows,
                                  .row_count = ARRAY_LEN(rows),
                                  .check = check_pair,
                                  .settings_size = sizeof(struct settings)};

static char file_name[64];
static char *no_env[] = {NULL};

static void write_file(const char *text, size_t len)
{
    FILE *f = fopen(file_name, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static void write_text(const char *text)
{
    write_file(text, strlen(text));
}

static int setup(void **state)
{
    int fd;

    (void)state;
    strcpy(file_name, "/tmp/test_config.XXXXXX");
    fd = mkstemp(file_name);
    spec.pass_unknown_flags = false;
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    return unlink(file_name);
}

/* Arguments and environment as one text each, words with blanks between; @ is the file's name. */
struct words {
    char text[512];
    char *item[24];
    int count;
};

static void words_cut(struct words *w, const char *first, const char *text)
{
    size_t n = 0;

    *w = (struct words){0};
    if (first)
        w->item[w->count++] = (char *)(uintptr_t)first;
    for (; *text; text++) {
        if (*text == '@')
            n += (size_t)sprintf(w->text + n, "%s", file_name);
        else
            w->text[n++] = *text;
    }
    for (char *p = strtok(w->text, " "); p; p = strtok(NULL, " "))
        w->item[w->count++] = p;
}

static struct words args, env;

static enum config_result load(struct config *c, const char *flags, const char *environment,
                               struct buf *print, struct err *err)
{
    words_cut(&args, "awq-test", flags);
    words_cut(&env, NULL, environment);
    return config_load(c, args.count, args.item, env.item, print, err);
}

static void test_defaults(void **state)
{
    struct settings s = {.not_in_table = 42};
    struct config *c = config_new(&spec, &s);
    enum log_level level = LOG_ERROR;
    struct err err = {0};

    (void)state;
    if (load(c, "", "", NULL, &err) != CONFIG_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(s.common.redis_url, "redis://127.0.0.1:6379");
    assert_string_equal(s.common.prefix, "awq");
    assert_null(s.common.keys);
    assert_true(log_level_parse(slice_cstr(s.common.log_level), &level) && level == LOG_INFO);
    assert_int_equal(s.slots, 64);
    assert_int_equal(s.drain_ms, 30000);
    assert_int_equal(s.body_bytes, 1 << 20);
    assert_true(s.http2);
    assert_null(s.token);
    assert_int_equal(s.queues.count, 1);
    assert_string_equal(s.queues.items[0], "default");
    assert_int_equal(s.not_in_table, 42);
    assert_string_equal(config_source(c, "slots"), "default");
    assert_null(config_source(c, "slot"));
    config_free(c);
    config_free(NULL);
}

/* Which source wins for `slots`, and how it is called. */
static void test_order(void **state)
{
    static const struct {
        const char *file, *env, *flags;
        int want;
        const char *source; /* how it ends */
    } cases[] = {
        {"", "", "", 64, "default"},
        {"\n# c\nslots = 2 # two\n", "", "--config @", 2, "line 3"},
        {"slots=2", "AWQ_CONFIG=@", "", 2, "line 1"},
        {"slots=2", "AWQ_CONFIG=/nowhere", "--config=@", 2, "line 1"}, /* the flag's file */
        {"slots=2", "AWQ_CONFIG=@ AWQ_SLOTS=3", "", 3, "environment AWQ_SLOTS"},
        {"slots=2", "AWQ_CONFIG=@ AWQ_SLOTS=3", "--slots 4", 4, "flag --slots"},
        {"slots=2", "AWQ_CONFIG=@", "--slots=4", 4, "flag --slots"},
        {"", "AWQ_SLOTS=3", "--slots 4 --slots 5", 5, "flag --slots"}, /* the last flag */
        {"", "AWQ_SLOTS=", "", 64, "default"},                         /* empty = not set */
        {"slots=2\r\n", "AWQ_CONFIG=@", "", 2, "line 1"},              /* made on Windows */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct settings s = {0};
        struct config *c = config_new(&spec, &s);
        struct err err = {0};
        const char *source;

        write_text(cases[i].file);
        if (load(c, cases[i].flags, cases[i].env, NULL, &err) != CONFIG_OK)
            fail_msg("case %zu: %s", i, err.msg);
        assert_int_equal(s.slots, cases[i].want);
        source = config_source(c, "slots");
        assert_string_equal(source + strlen(source) - strlen(cases[i].source), cases[i].source);
        config_free(c);
    }
}

static void test_values(void **state)
{
    struct settings s = {0};
    struct config *c = config_new(&spec, &s);
    struct err err = {0};

    (void)state;
    write_text("drain = 5m\ndir = /a b#c\nredis-user =\nlog-level = debug\n");
    if (load(c, "--config @ --no-http2 --role step --queues a,b --max-body=8KiB",
             "AWQ_REDIS_TLS_CA=/ca.pem", NULL, &err) != CONFIG_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(s.drain_ms, 300000);
    assert_string_equal(s.dir, "/a b#c");
    assert_null(s.common.redis_user); /* empty text is no text */
    assert_string_equal(s.common.log_level, "debug");
    assert_false(s.http2);
    assert_string_equal(s.role, "step");
    assert_int_equal(s.body_bytes, 8192);
    assert_int_equal(s.queues.count, 2);
    assert_string_equal(s.queues.items[1], "b");
    assert_string_equal(s.common.redis_tls_ca, "/ca.pem");
    config_free(c);
}

/* One flag each: taken with this number, or refused. */
static void test_units(void **state)
{
    static const struct {
        const char *flag;
        bool ok;
        int64_t want;
    } cases[] = {
        {"--drain=250ms", true, 250},
        {"--drain=2s", true, 2000},
        {"--drain=1h", true, 3600000},
        {"--drain=0", true, 0},
        {"--drain=0s", true, 0},
        {"--drain=30", false, 0}, /* of what? */
        {"--drain=1d", false, 0},
        {"--drain=-1s", false, 0},
        {"--drain=1.5s", false, 0},
        {"--drain=2h", false, 0},                   /* over the bound */
        {"--drain=9223372036854775807h", false, 0}, /* does not fit */
        {"--drain=5124095576031h", false, 0},       /* 2048384 ms if it wrapped */
        {"--drain=s", false, 0},
        {"--drain=", false, 0},
        {"--max-body=1KiB", true, 1024},
        {"--max-body=1024B", true, 1024},
        {"--max-body=64MiB", true, 64 << 20},
        {"--max-body=1023B", false, 0}, /* under the bound */
        {"--max-body=1MB", false, 0},   /* a million or 2^20? */
        {"--max-body=1024", false, 0},
        {"--max-body=0", false, 0},
        {"--slots=4096", true, 4096},
        {"--slots=4097", false, 0},
        {"--slots=0", false, 0},
        {"--slots=1e3", false, 0},
        {"--slots=6s", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct settings s = {.slots = -1};
        struct config *c = config_new(&spec, &s);
        struct err err = {0};
        enum config_result got = load(c, cases[i].flag, "", NULL, &err);
        int64_t value = cases[i].flag[2] == 'd'   ? s.drain_ms
                        : cases[i].flag[2] == 'm' ? s.body_bytes
                                                  : s.slots;

        if (got != (cases[i].ok ? CONFIG_OK : CONFIG_BAD))
            fail_msg("%s: %s", cases[i].flag, got == CONFIG_OK ? "taken" : err.msg);
        if (cases[i].ok)
            assert_int_equal(value, cases[i].want);
        else
            assert_int_equal(s.slots, -1); /* nothing was touched */
        config_free(c);
    }
}

/* Each mistake and the words its one line must have. */
static void test_mistakes(void **state)
{
    static const struct {
        const char *file, *env, *flags;
        const char *says[3];
    } cases[] = {
        {"", "", "--slot 3", {"flags", "'--slot'", "did you mean '--slots'?"}},
        {"", "", "--zzzzzz", {"'--zzzzzz'", "--help lists them"}},
        {"", "", "-x", {"unknown flag -x"}},
        {"", "", "--slots", {"--slots", "value is missing"}},
        {"", "", "--no-slots", {"'--no-slots'"}},
        {"", "", "--http2=maybe", {"flag --http2", "true or false", "'maybe'"}},
        {"", "", "--role=none", {"one of all|step|renew", "'none'"}},
        {"", "", "--queues=a,,b", {"queues", "commas between"}},
        {"", "", "--queues=a,b,", {"queues"}},
        {"", "", "--queues=", {"queues", "1 to 3"}},
        {"", "", "--queues=a,b,c,d", {"1 to 3 of them"}},
        {"", "", "--token=x", {"--token", "no argument", "AWQ_TOKEN_FILE"}},
        {"", "", "--slots 13", {"luck"}}, /* the program's own rule */
        {"", "AWQ_SLOTS=many", "", {"environment AWQ_SLOTS", "1 to 4096", "'many'"}},
        {"", "AWQ_DRAIN=30", "", {"environment AWQ_DRAIN", "30s", "0 to 1h"}},
        {"", "AWQ_TOKEN=a AWQ_TOKEN_FILE=@", "", {"AWQ_TOKEN or AWQ_TOKEN_FILE, not both"}},
        {"", "AWQ_TOKEN_FILE=/nowhere/x", "", {"token: cannot open /nowhere/x"}},
        {"", "AWQ_CONFIG=/nowhere/y", "", {"cannot open /nowhere/y", "No such file"}},
        {"slots = 1\nslots = 2\n", "", "--config @", {"line 2", "already set in line 1"}},
        {"\n\nslos = 1\n", "", "--config @", {"line 3", "'slos'", "did you mean 'slots'?"}},
        {"slots\n", "", "--config @", {"line 1", "name = value"}},
        {"slots = 0\n", "", "--config @", {"line 1", "1 to 4096"}},
        {"slots = 0\n", "", "--config @ --slots 5", {"line 1"}}, /* wrong though overruled */
        {"config = x\n", "", "--config @", {"line 1", "'config'"}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct settings s = {.slots = -1};
        struct config *c = config_new(&spec, &s);
        struct err err = {0};

        write_text(cases[i].file);
        if (load(c, cases[i].flags, cases[i].env, NULL, &err) != CONFIG_BAD)
            fail_msg("case %zu: taken", i);
        assert_int_equal(err.code, ERR_CONFIG);
        for (size_t k = 0; k < ARRAY_LEN(cases[i].says) && cases[i].says[k]; k++) {
            if (!strstr(err.msg, cases[i].says[k]))
                fail_msg("case %zu: \"%s\" has no \"%s\"", i, err.msg, cases[i].says[k]);
        }
        assert_int_equal(s.slots, -1);
        config_free(c);
    }
}

static void test_secret(void **state)
{
    struct settings s = {0};
    struct config *c = config_new(&spec, &s);
    struct err err = {0};
    struct buf page;
    char big[300];

    (void)state;
    buf_init(&page, 100000);
    write_text("hunter2 \n");
    if (load(c, "--print-config", "AWQ_TOKEN_FILE=@", &page, &err) != CONFIG_DONE)
        fail_msg("%s", err.msg);
    assert_string_equal(s.token, "hunter2 "); /* only the line's end goes */
    assert_null(strstr(page.ptr, "hunter2"));
    assert_non_null(strstr(page.ptr, "# token is set, not shown  # environment AWQ_TOKEN_FILE\n"));
    memset(big, 'x', sizeof big); /* too long: the message must not quote it */
    write_file(big, sizeof big);
    assert_int_equal(load(c, "", "AWQ_TOKEN_FILE=@", &page, &err), CONFIG_BAD);
    assert_null(strstr(err.msg, "xxx"));
    assert_non_null(strstr(err.msg, "token must be"));
    write_file("a\0b", 3);
    assert_int_equal(load(c, "", "AWQ_TOKEN_FILE=@", &page, &err), CONFIG_BAD);
    buf_deinit(&page);
    config_free(c);
}

static void test_reload(void **state)
{
    struct settings s = {0};
    struct config *c = config_new(&spec, &s);
    struct buf applied, refused;
    struct err err = {0};

    (void)state;
    buf_init(&applied, 1000);
    buf_init(&refused, 1000);
    write_text("drain = 1s\nslots = 5\n");
    assert_int_equal(load(c, "--config @ --max-body 2KiB", "", NULL, &err), CONFIG_OK);

    assert_true(config_reload(c, &applied, &refused, &err)); /* nothing changed */
    assert_int_equal(applied.len + refused.len, 0);

    write_text("drain = 2s\nslots = 6\nqueues = a, b\nmax-body = 4KiB\n");
    assert_true(config_reload(c, &applied, &refused, &err));
    assert_string_equal(applied.ptr, "drain, queues");
    assert_string_equal(refused.ptr, "slots");
    assert_int_equal(s.drain_ms, 2000);
    assert_int_equal(s.slots, 5);
    assert_int_equal(s.body_bytes, 2048); /* the flag still wins */
    assert_int_equal(s.queues.count, 2);
    assert_string_equal(s.queues.items[1], "b");

    write_text("drain = 3s\nqueues = c\nnonsense = 1\n");
    assert_false(config_reload(c, &applied, &refused, &err)); /* all or nothing */
    assert_non_null(strstr(err.msg, "nonsense"));
    assert_int_equal(s.drain_ms, 2000);
    assert_string_equal(s.queues.items[0], "a");

    write_text("drain = 13ms\nqueues = c\n"); /* the program's own rule */
    assert_false(config_reload(c, &applied, &refused, &err));
    assert_int_equal(applied.len + refused.len, 0);
    assert_int_equal(s.drain_ms, 2000);
    assert_string_equal(s.queues.items[0], "a");

    write_text(""); /* gone from the file: the default again */
    assert_true(config_reload(c, &applied, &refused, &err));
    assert_string_equal(applied.ptr, "drain, queues");
    assert_int_equal(s.drain_ms, 30000);
    assert_string_equal(config_source(c, "drain"), "default");
    buf_deinit(&applied);
    buf_deinit(&refused);
    config_free(c);
}

static void test_rest(void **state)
{
    struct settings s = {0};
    struct config *c = config_new(&spec, &s);
    struct err err = {0};
    char *const *rest;
    size_t n;

    (void)state;
    assert_int_equal(
        load(c, "conn --slots 3 - -- --slots", "AWQ_SERVICE_HOST=10.0.0.1 AWQ_X=1", NULL, &err),
        CONFIG_OK);
    rest = config_rest(c, &n);
    assert_int_equal(n, 3);
    assert_string_equal(rest[0], "conn");
    assert_string_equal(rest[1], "-");
    assert_string_equal(rest[2], "--slots");
    assert_int_equal(s.slots, 3);
    assert_string_equal(config_unknown_env(c), "AWQ_SERVICE_HOST, AWQ_X");

    spec.env_of_others = (const char *const[]){"AWQ_Y", "AWQ_X", NULL};
    assert_int_equal(load(c, "", "AWQ_X=1 AWQ_XX=1", NULL, &err), CONFIG_OK);
    assert_string_equal(config_unknown_env(c), "AWQ_XX");
    spec.env_of_others = NULL;

    spec.pass_unknown_flags = true;
    assert_int_equal(load(c, "job get -o json --slots 4 --reason=x --help", "", NULL, &err),
                     CONFIG_OK);
    rest = config_rest(c, &n);
    assert_int_equal(n, 6);
    assert_string_equal(rest[2], "-o");
    assert_string_equal(rest[4], "--reason=x");
    assert_string_equal(rest[5], "--help"); /* the verb's */
    assert_int_equal(s.slots, 4);
    config_free(c);
}

static void test_pages(void **state)
{
    static const struct {
        const char *flags;
        const char *says[4];
    } cases[] = {
        {"--help", {"Usage: awq-test", "  --slots N ", "1 to 4096 (default 64)", "--no-http2"}},
        {"--help --bad", {"Usage: awq-test"}},
        {"--version", {"awq-test 1.2.3\n"}},
        {"--help-markdown",
         {"| `slots` | `AWQ_SLOTS` | a whole number, 1 to 4096 | `64` | no | steps in flight |\n",
          "`AWQ_TOKEN` or its `_FILE`", "one of all\\|step\\|renew", "0 to 1h | `30s` | yes |"}},
        {"--print-config --slots 9",
         {"slots = 9  # flag --slots\n", "drain = 30s  # default\n", "# keys is not set\n"}},
    };
    struct settings s = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config *c = config_new(&spec, &s);
        struct err err = {0};
        struct buf page;

        buf_init(&page, 100000);
        if (load(c, cases[i].flags, "", &page, &err) != CONFIG_DONE)
            fail_msg("%s: %s", cases[i].flags, err.msg);
        for (size_t k = 0; k < ARRAY_LEN(cases[i].says) && cases[i].says[k]; k++) {
            if (!strstr(page.ptr, cases[i].says[k]))
                fail_msg("%s: no \"%s\" in\n%s", cases[i].flags, cases[i].says[k], page.ptr);
        }
        buf_deinit(&page);
        config_free(c);
    }
}

/* What --print-config prints can be read back and says the same. */
static void test_print_reads_back(void **state)
{
    struct settings s = {0}, t = {0};
    struct config *c = config_new(&spec, &s), *d = config_new(&spec, &t);
    struct err err = {0};
    struct buf page;

    (void)state;
    buf_init(&page, 100000);
    assert_int_equal(
        load(c, "--slots 9 --queues a,b --no-http2 --dir /x --drain 90s", "", NULL, &err),
        CONFIG_OK);
    assert_true(config_print(c, &page));
    write_file(page.ptr, page.len);
    if (load(d, "--config @", "", NULL, &err) != CONFIG_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(t.slots, 9);
    assert_int_equal(t.queues.count, 2);
    assert_false(t.http2);
    assert_string_equal(t.dir, "/x");
    assert_int_equal(t.drain_ms, 90000);
    assert_string_equal(t.common.redis_url, s.common.redis_url);
    buf_deinit(&page);
    config_free(c);
    config_free(d);
}

static void test_required(void **state)
{
    static const struct config_row row[] = {
        {.name = "slots", .type = CONFIG_INT, AT(slots), .flags = CONFIG_REQUIRED, .help = "x"}};
    static const struct config_spec one = {
        .program = "p", .rows = row, .row_count = 1, .settings_size = sizeof(struct settings)};
    struct settings s = {0};
    struct config *c = config_new(&one, &s);
    struct err err = {0};

    (void)state;
    assert_int_equal(config_load(c, 0, no_env, no_env, NULL, &err), CONFIG_BAD);
    assert_string_equal(err.msg, "slots is not set; set --slots or AWQ_SLOTS");
    assert_int_equal(load(c, "--slots 1", "", NULL, &err), CONFIG_OK);
    config_free(c);
}

static void test_suggest(void **state)
{
    static const char *const names[] = {"policy", "scopes", "grant", "id", "token_url"};
    static const struct {
        const char *word, *want;
    } cases[] = {
        {"polcy", "policy"},
        {"plociy", "policy"},
        {"policies", "policy"},
        {"ids", "id"},
        {"di", "id"},
        /* swapped: one mistake, not two */ {"token-url", "token_url"},
        {"graant", "grant"},
        {"xx", NULL},
        {"completely other", NULL},
        {"scope", "scopes"},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct suggest s = suggest_for(slice_cstr(cases[i].word));

        for (size_t k = 0; k < ARRAY_LEN(names); k++)
            suggest_offer(&s, names[k]);
        if (!s.best != !cases[i].want || (s.best && strcmp(s.best, cases[i].want) != 0))
            fail_msg("%s gave %s", cases[i].word, s.best ? s.best : "nothing");
    }
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_defaults), UNIT(test_order),
        UNIT(test_values),   UNIT(test_units),
        UNIT(test_mistakes), UNIT(test_secret),
        UNIT(test_reload),   UNIT(test_rest),
        UNIT(test_pages),    UNIT(test_print_reads_back),
        UNIT(test_required), UNIT(test_suggest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

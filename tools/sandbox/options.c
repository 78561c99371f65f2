#include "tools/sandbox/options.h"

#include "tools/sandbox/accounts.h"

static const char help[] =
    "awq-sandbox - an OAuth 2.0 authorization server and a protected API to try things on\n"
    "\n"
    "usage: awq-sandbox [options]\n"
    "  --port N             listen there (0, the default: any free port)\n"
    "  --bind ADDRESS       a loopback address (127.0.0.1)\n"
    "  --client ID:SECRET   a client that may ask for tokens; ID alone: one without a secret.\n"
    "                       May be given up to 64 times (demo:demo-secret when there is none)\n"
    "  --access-ttl-s N     lifetime of access tokens (3600)\n"
    "  --delay-ms A-B       the API answers after so long (20-120)\n"
    "  --max-writes N       ids, and idempotency keys, that are remembered (1000000)\n"
    "  --help               this text\n"
    "\n"
    "It prints one line {\"event\":\"ready\",\"port\":N,...} and runs until SIGTERM or SIGINT. All "
    "is\n"
    "in memory and gone with it. It listens on loopback only.\n"
    "\n"
    "authorization server\n"
    "  POST /token                      client_credentials, refresh_token (each one works once)\n"
    "  GET  /.well-known/oauth-authorization-server\n"
    "protected API: Authorization: Bearer TOKEN, scopes read and write\n"
    "  GET  /api/records/ID             a record, the same each time\n"
    "  POST /api/writes/ID              a write; takes effect once per Idempotency-Key\n"
    "  ANY  /api/echo                   what arrived, but for the token\n"
    "switches in the query of /token and /api\n"
    "  slow=MS  status=NNN  retry_after=S  401=1  drop=before|after\n"
    "  times=N                          only the first N requests with this key=K (else: path)\n"
    "control: no token; the fields are form-encoded in the body\n"
    "  POST /_sandbox/mint              client_id, account[, scope, access_ttl_s]: a refresh "
    "token\n"
    "  POST /_sandbox/clients           client_id[, client_secret, auth=secret|basic|post|none,\n"
    "                                   scope, access_ttl_s]\n"
    "  POST /_sandbox/revoke            client_id, account\n"
    "  GET  /_sandbox/counters\n"
    "  GET  /_sandbox/writes?after=&limit=\n"
    "  GET  /_sandbox/writes/summary\n"
    "  POST /_sandbox/reset             forget all but the clients\n";

const char *options_help(void)
{
    return help;
}

static bool number_read(const char *name, struct slice text, int64_t min, int64_t max, int64_t *out,
                        struct err *err)
{
    int64_t n;

    if (!slice_to_i64(text, &n) || n < min || n > max)
        return err_set(err, ERR_CONFIG, "%s: a number from %lld to %lld, not '%.*s'", name,
                       (long long)min, (long long)max, SLICE_FMT(slice_sub(text, 0, 40)));
    *out = n;
    return true;
}

static bool read_port(struct options *o, const char *name, struct slice value, struct err *err)
{
    int64_t port;

    if (!number_read(name, value, 0, UINT16_MAX, &port, err))
        return false;
    o->port = (uint16_t)port;
    return true;
}

static bool read_bind(struct options *o, const char *name, struct slice value, struct err *err)
{
    (void)name;
    (void)err; /* server_start looks at it */
    o->address = value.ptr;
    return true;
}

static bool read_client(struct options *o, const char *name, struct slice value, struct err *err)
{
    if (o->client_count == OPTIONS_CLIENTS_MAX)
        return err_set(err, ERR_CONFIG, "%s: at most %d of them", name, OPTIONS_CLIENTS_MAX);
    o->clients[o->client_count++] = value;
    return true;
}

static bool read_access_ttl(struct options *o, const char *name, struct slice value,
                            struct err *err)
{
    return number_read(name, value, 1, ACCESS_TTL_MAX_S, &o->access_ttl_s, err);
}

static bool read_delay(struct options *o, const char *name, struct slice value, struct err *err)
{
    struct slice rest = value, low = SLICE_NONE;
    int64_t min, max;

    slice_cut(&rest, '-', &low);
    if (!number_read(name, low, 0, 600000, &min, err) ||
        !number_read(name, rest, min, 600000, &max, err))
        return false;
    o->delay_min_ms = min;
    o->delay_max_ms = max;
    return true;
}

static bool read_max_writes(struct options *o, const char *name, struct slice value,
                            struct err *err)
{
    return number_read(name, value, 1, 100000000, &o->max_writes, err);
}

static const struct {
    const char *name;
    bool (*read)(struct options *o, const char *name, struct slice value, struct err *err);
} rows[] = {
    {"--port", read_port},      {"--bind", read_bind},
    {"--client", read_client},  {"--access-ttl-s", read_access_ttl},
    {"--delay-ms", read_delay}, {"--max-writes", read_max_writes},
};

/* --name value or --name=value; *i moves past what was used. */
static bool option_read(struct options *o, int argc, char **argv, int *i, struct err *err)
{
    struct slice rest = slice_cstr(argv[*i]), name = SLICE_NONE;
    bool has_value = slice_find(rest, '=') < rest.len;

    slice_cut(&rest, '=', &name);
    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        if (!slice_is(name, rows[row].name))
            continue;
        if (!has_value && *i + 1 >= argc)
            return err_set(err, ERR_CONFIG, "%s needs a value", rows[row].name);
        return rows[row].read(o, rows[row].name, has_value ? rest : slice_cstr(argv[++*i]), err);
    }
    return err_set(err, ERR_CONFIG, "unknown option '%.*s'; --help lists them",
                   SLICE_FMT(slice_sub(name, 0, 60)));
}

bool options_read(struct options *o, int argc, char **argv, struct err *err)
{
    *o = (struct options){
        .address = "127.0.0.1",
        .access_ttl_s = 3600,
        .delay_min_ms = 20,
        .delay_max_ms = 120,
        .max_writes = 1000000,
    };
    for (int i = 1; i < argc; i++) {
        if (slice_is(slice_cstr(argv[i]), "--help")) {
            o->help = true;
            return true;
        }
        if (!option_read(o, argc, argv, &i, err))
            return false;
    }
    return true;
}

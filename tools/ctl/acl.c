/* awq-ctl acl: the lines of Redis' ACL file, one for each role (common/acl.h has the table). */
#include "common/acl.h"

#include <stdio.h>
#include <sodium.h>
#include "common/char.h"
#include "common/id.h"
#include "common/producer.h"
#include "common/secret_file.h"
#include "tools/ctl/ctl.h"

enum { A_ROLE, A_USER, A_PASSWORD, A_QUEUE, A_OUT, A_INBOX, A_REDIS };

static const struct flag flags[] = {
    [A_ROLE] = {"--role", NULL, "ROLE", "only this one: worker, ctl, producer, reader or inbox"},
    [A_USER] = {"--user", NULL, "NAME", "the user's name (default PREFIX-ROLE); with --role"},
    [A_PASSWORD] = {"--password-file", NULL, "FILE",
                    "its password: the line gets the SHA-256 of it; with --role"},
    [A_QUEUE] = {"--queue", NULL, "NAME,...", "producer: only these queues"},
    [A_INBOX] = {"--inbox", NULL, "NAME", "inbox: only the one of this producer"},
    [A_OUT] = {"--out", NULL, "NAME", "reader: only this result stream"},
    [A_REDIS] = {"--redis", NULL, "6|7", "for Redis 6.2 or 7.0 and later (default 7)"},
};

struct print {
    struct ctl *c;
    const struct args *a;
    struct acl_options o;
    enum acl_role role;
    bool one; /* only this role */
    char hash[2 * crypto_hash_sha256_BYTES + 1];
};

static bool is_user(struct slice s)
{
    bool fine = s.len > 0 && s.len <= 64;

    for (size_t i = 0; fine && i < s.len; i++)
        fine = char_is_alnum(s.ptr[i]) || s.ptr[i] == '-' || s.ptr[i] == '_' || s.ptr[i] == '.';
    return fine;
}

static bool are_queues(struct slice rest)
{
    struct slice name;
    size_t n = 0;

    while (slice_cut(&rest, ',', &name)) {
        if (!id_is_queue(name) || ++n > 64)
            return false;
    }
    return n > 0;
}

static int read_flags(struct print *p)
{
    const struct args *a = p->a;
    const char *redis = a->flag[A_REDIS] ? a->flag[A_REDIS] : "7";

    if ((p->one = a->flag[A_ROLE]) && !acl_role_parse(slice_cstr(a->flag[A_ROLE]), &p->role))
        return ctl_usage(p->c, "--role must be worker, ctl, producer, reader or inbox");
    if (!p->one && (a->flag[A_USER] || a->flag[A_PASSWORD]))
        return ctl_usage(p->c, "--user and --password-file are of one --role");
    if (a->flag[A_QUEUE] && (!p->one || p->role != ACL_PRODUCER))
        return ctl_usage(p->c, "--queue is for --role producer");
    if (a->flag[A_OUT] && (!p->one || p->role != ACL_READER))
        return ctl_usage(p->c, "--out is for --role reader");
    if (a->flag[A_INBOX] && (!p->one || p->role != ACL_INBOX))
        return ctl_usage(p->c, "--inbox is for --role inbox");
    if (a->flag[A_INBOX] && !producer_is_name(slice_cstr(a->flag[A_INBOX])))
        return ctl_usage(p->c, "--inbox must be a producer's name");
    if (a->flag[A_USER] && !is_user(slice_cstr(a->flag[A_USER])))
        return ctl_usage(p->c, "--user must be 1-64 of A-Z a-z 0-9 _ - .");
    if (a->flag[A_QUEUE] && !are_queues(slice_cstr(a->flag[A_QUEUE])))
        return ctl_usage(p->c, "--queue must be 1-64 queue names, commas between");
    if (a->flag[A_OUT] && !id_is_queue(slice_cstr(a->flag[A_OUT])))
        return ctl_usage(p->c, "--out must be 1-64 of A-Z a-z 0-9 _ -");
    if ((redis[0] != '6' && redis[0] != '7') || redis[1])
        return ctl_usage(p->c, "--redis must be 6 or 7");
    p->o.redis = redis[0] - '0';
    p->o.user = slice_cstr(a->flag[A_USER]);
    p->o.queues = slice_cstr(a->flag[A_QUEUE]);
    p->o.inbox = slice_cstr(a->flag[A_INBOX]);
    p->o.out = slice_cstr(a->flag[A_OUT]);
    return CTL_OK;
}

/* Redis keeps passwords so (redis.io ACL SETUSER, #hash): unsalted and quick to try. */
static int read_password(struct print *p)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    struct err err = {0};
    struct buf password;
    bool ok;

    if (!p->a->flag[A_PASSWORD])
        return CTL_OK;
    buf_init(&password, SECRET_FILE_MAX);
    ok = secret_file_read(p->a->flag[A_PASSWORD], "Redis password", &password, &err);
    if (ok && password.len == 0)
        ok = err_set(&err, ERR_CONFIG, "Redis password file %s is empty", p->a->flag[A_PASSWORD]);
    if (ok) {
        crypto_hash_sha256(digest, (const unsigned char *)password.ptr, password.len);
        sodium_bin2hex(p->hash, sizeof p->hash, digest, sizeof digest);
        p->o.sha256 = slice_cstr(p->hash);
    }
    buf_wipe(&password);
    return ok ? CTL_OK : ctl_fail(p->c, &err);
}

static int print_line(const struct print *p, enum acl_role r)
{
    struct buf line;
    bool ok;

    buf_init(&line, 1 << 18);
    ok = acl_line(r, &p->o, &line);
    if (ok)
        printf("%.*s\n", (int)line.len, line.ptr);
    buf_deinit(&line);
    return ok ? CTL_OK : ctl_say(CTL_FAILED, "out of memory");
}

static int acl_print(struct ctl *c, const struct args *a)
{
    struct print p = {.c = c, .a = a};
    int code = read_flags(&p);

    if (code || (code = read_password(&p)))
        return code;
    for (size_t r = 0; r < ACL_ROLES && code == CTL_OK; r++)
        if (!p.one || r == p.role)
            code = print_line(&p, (enum acl_role)r);
    if (code == CTL_OK && p.o.sha256.len == 0)
        ctl_say(0, "no password: nobody gets in as such a user before it has one "
                   "(--password-file FILE, or #SHA256 after `on`)");
    return code;
}

const struct verb acl_verbs[] = {
    {.noun = "acl",
     .name = "print",
     .usage = "[--role ROLE]",
     .help = "Print lines for Redis' ACL file: what each role needs, and no more",
     .flags = flags,
     .flag_count = ARRAY_LEN(flags),
     .more =
         "Needs no Redis. A line goes into the file that Redis' `aclfile` names (then ACL LOAD), "
         "into\nredis.conf, or, without its first word, after ACL SETUSER.",
     .run = acl_print},
    {.name = NULL},
};

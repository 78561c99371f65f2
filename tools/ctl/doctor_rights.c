/* awq-ctl doctor: has this user all that the role ctl needs? Redis is asked, nothing is tried out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/acl.h"
#include "common/key.h"
#include "tools/ctl/doctor_parts.h"
#include "tools/ctl/link.h"

#define QUESTIONS_MAX 16384

/* Each line of ARGV[1] is a command as far as its key or channel. -1: Redis before 7.0 cannot say.
 */
static const char ask[] = "if not redis.acl_check_cmd then return {-1, ''} end\n"
                          "local n, first = 0, ''\n"
                          "for line in ARGV[1]:gmatch('[^\\n]+') do\n"
                          "  local words = {}\n"
                          "  for w in line:gmatch('%S+') do words[#words + 1] = w end\n"
                          "  if not redis.acl_check_cmd(unpack(words)) then\n"
                          "    n = n + 1\n"
                          "    if n == 1 then first = line end\n"
                          "  end\n"
                          "end\n"
                          "return {n, first}";

/* A key or channel that the pattern stands for. */
static void add_sample(struct buf *b, struct slice pattern)
{
    buf_addf(b, " %s:", keys_prefix());
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.ptr[i] == '*')
            buf_add_cstr(b, "doctor");
        else
            buf_add_char(b, pattern.ptr[i]);
    }
}

static void add_question(struct buf *b, struct slice command, struct slice place)
{
    for (size_t i = 0; i < command.len; i++) /* a subcommand is a word of its own */
        buf_add_char(b, command.ptr[i] == '|' ? ' ' : command.ptr[i]);
    if (place.len > 0)
        add_sample(b, place);
    buf_add_char(b, '\n');
}

static void add_row(struct buf *b, const struct acl_row *row)
{
    struct slice rest = slice_cstr(row->keys[0] || !row->channels ? row->keys : row->channels);
    struct slice place = SLICE_NONE, commands, command;

    do {
        slice_cut(&rest, ' ', &place);
        commands = slice_cstr(row->commands);
        while (slice_cut(&commands, ' ', &command))
            add_question(b, command, place);
        if (row->is & ACL_SCRIPT)
            add_question(b, SLICE_LIT("evalsha ? 1"), place);
    } while (rest.len > 0);
}

bool doctor_rights(struct doctor *d)
{
    static const char advice[] =
        "Log in as a user of role ctl (--redis-user), or give this one what awq-ctl acl print "
        "--role ctl says";
    const struct acl_row *rows;
    size_t count = acl_rows(ACL_CTL, &rows);
    struct redis_reply *r = NULL;
    struct err err = {0};
    struct buf b;
    int64_t missing;
    bool asked;

    buf_init(&b, QUESTIONS_MAX);
    for (size_t i = 0; i < count; i++)
        add_row(&b, &rows[i]);
    const struct slice argv[] = {SLICE_LIT("EVAL"), slice_cstr(ask), SLICE_LIT("0"), buf_slice(&b)};

    if (buf_ok(&b))
        r = link_argv(d->c->link, ARRAY_LEN(argv), argv, &err);
    else
        err_set(&err, ERR_NOMEM, "out of memory");
    missing = redis_reply_int(redis_reply_at(r, 0), 0);
    if (!r)
        checks_add(&d->checks, CHECK_BAD, "rights", advice, "%s", err.msg);
    else if (missing > 0)
        checks_add(&d->checks, CHECK_BAD, "rights", advice,
                   "not allowed: %.*s (%" PRId64 " in all)",
                   SLICE_FMT(redis_reply_str(redis_reply_at(r, 1))), missing);
    else
        checks_add(&d->checks, CHECK_OK, "rights", NULL, "%s",
                   missing < 0 ? "Redis before 7.0 cannot say" : "all that awq-ctl needs");
    asked = r != NULL;
    redis_reply_free(r);
    buf_deinit(&b);
    return asked;
}

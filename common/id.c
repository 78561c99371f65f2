#include "common/id.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sodium.h>
#include "common/char.h"

static bool is_word(char c)
{
    return char_is_alnum(c) || c == '_' || c == '-';
}

static bool all_of(struct slice s, bool colon)
{
    if (s.len == 0 || s.len > ID_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_word(s.ptr[i]) && !(colon && s.ptr[i] == ':'))
            return false;
    }
    return true;
}

bool id_is_job(struct slice s)
{
    return all_of(s, true);
}

bool id_is_run(struct slice s)
{
    struct slice bad = SLICE_LIT(ID_BAD);

    if (s.len <= ID_MAX && slice_starts(s, bad))
        s = slice_sub(s, bad.len, s.len);
    return id_is_job(s);
}

bool id_is_connection(struct slice s)
{
    return all_of(s, true);
}

bool id_is_queue(struct slice s)
{
    return all_of(s, false);
}

void id_hex(char *out, size_t bytes)
{
    unsigned char raw[32];

    if (bytes > sizeof raw)
        bytes = sizeof raw;
    randombytes_buf(raw, bytes);
    sodium_bin2hex(out, bytes * 2 + 1, raw, bytes);
}

void id_worker(char out[WORKER_ID_MAX])
{
    char host[64] = "host", nonce[WORKER_MARK + 1];

    gethostname(host, sizeof host - 1);
    host[sizeof host - 1] = '\0';
    for (char *p = host; *p; p++) {
        if (!is_word(*p) && *p != '.')
            *p = '_';
    }
    id_hex(nonce, WORKER_MARK / 2);
    snprintf(out, WORKER_ID_MAX, "%s-%s", host, nonce);
}

struct slice id_worker_mark(struct slice worker)
{
    return worker.len > WORKER_MARK ? slice_sub(worker, worker.len - WORKER_MARK, WORKER_MARK)
                                    : SLICE_NONE;
}

int64_t id_uniform_ms(int64_t ceiling_ms)
{
    if (ceiling_ms <= 0)
        return 0;
    if (ceiling_ms >= UINT32_MAX)
        ceiling_ms = UINT32_MAX - 1;
    return randombytes_uniform((uint32_t)ceiling_ms + 1);
}

int64_t id_backoff_ms(int64_t base_ms, int64_t cap_ms, unsigned tries)
{
    int64_t ceiling = base_ms;

    for (unsigned i = 0; i < tries && ceiling > 0 && ceiling < cap_ms; i++)
        ceiling = ceiling > cap_ms / 2 ? cap_ms : ceiling * 2; /* never past what fits */
    return id_uniform_ms(ceiling < cap_ms ? ceiling : cap_ms);
}

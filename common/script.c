#include "common/redis.h"

/* The rows are made from common/scripts/ by the Makefile. */
static const struct {
    const char *name, *sha, *body;
} scripts[SCRIPT_COUNT + 1] = {
#define SCRIPT(name, sha, body) [SCRIPT_##name] = {#name, sha, body},
#include "scripts.inc"
#undef SCRIPT
    [SCRIPT_COUNT] = {"", "", ""}, /* also keeps the table from being empty */
};

const char *script_name(enum script s)
{
    return scripts[s].name;
}

const char *script_sha(enum script s)
{
    return scripts[s].sha;
}

const char *script_body(enum script s)
{
    return scripts[s].body;
}

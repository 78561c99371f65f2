#include "tools/sandbox/sandbox.h"

#include "tools/sandbox/api.h"
#include "tools/sandbox/auth.h"
#include "tools/sandbox/control.h"

void sandbox_init(struct sandbox *s)
{
    *s = (struct sandbox){0};
    accounts_init(&s->accounts);
    grants_init(&s->grants);
    faults_init(&s->faults);
}

void sandbox_reset(struct sandbox *s)
{
    grants_reset(&s->grants); /* first: grants point to accounts */
    accounts_reset(&s->accounts);
    writes_reset(&s->writes);
    faults_reset(&s->faults);
    s->answers = 0;
}

void sandbox_deinit(struct sandbox *s)
{
    sandbox_reset(s);
    accounts_deinit(&s->accounts);
}

void sandbox_route(void *owner, const struct request *request, struct reply *reply)
{
    struct sandbox *s = owner;
    struct slice path = request->path;

    if (slice_is(path, "/token"))
        auth_token(s, request, reply);
    else if (slice_is(path, "/.well-known/oauth-authorization-server"))
        auth_metadata(s, request, reply);
    else if (slice_starts(path, SLICE_LIT("/api/")))
        api_route(s, request, reply);
    else if (slice_starts(path, SLICE_LIT("/_sandbox/")))
        control_route(s, request, reply);
    else
        reply_error(reply, 404, "not_found", "no such route; awq-sandbox --help lists them");
}

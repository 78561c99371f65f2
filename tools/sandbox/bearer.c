#include "tools/sandbox/bearer.h"

#include <stdio.h>
#include "common/char.h"

#define REALM "Bearer realm=\"awq-sandbox\""

static void challenge(struct reply *reply, const char *error, const char *why)
{
    char text[200];

    snprintf(text, sizeof text, REALM ", error=\"%s\", error_description=\"%s\"", error, why);
    reply_header(reply, "WWW-Authenticate", slice_cstr(text));
}

void bearer_refuse(struct reply *reply, const char *why)
{
    reply_error(reply, 401, "invalid_token", "%s", why);
    challenge(reply, "invalid_token", why);
}

/* RFC 6750 section 3.1: a request without any token gets no error code. */
static bool refuse_bare(struct reply *reply)
{
    reply_error(reply, 401, "unauthorized",
                "an Authorization header with a Bearer token is needed");
    reply_header(reply, "WWW-Authenticate", SLICE_LIT(REALM));
    return false;
}

static bool refuse_request(struct reply *reply, const char *why)
{
    reply_error(reply, 400, "invalid_request", "%s", why);
    challenge(reply, "invalid_request", why);
    return false;
}

static bool is_token68(struct slice text) /* RFC 6750 section 2.1, b64token */
{
    size_t i = 0;

    for (; i < text.len; i++) {
        char c = text.ptr[i];

        if (!char_is_alnum(c) && c != '-' && c != '.' && c != '_' && c != '~' && c != '+' &&
            c != '/')
            break;
    }
    if (i == 0)
        return false;
    while (i < text.len && text.ptr[i] == '=')
        i++;
    return i == text.len;
}

static bool token_read(const struct request *request, struct slice *token, struct reply *reply)
{
    struct slice header, scheme;
    size_t headers = request_header(request, "Authorization", &header);

    if (form_has(&request->params, "access_token"))
        return refuse_request(reply, "a token does not belong into a URI");
    if (headers > 1)
        return refuse_request(reply, "more than one Authorization header");
    if (headers == 0 || !slice_cut(&header, ' ', &scheme) ||
        !slice_eq_nocase(scheme, SLICE_LIT("Bearer")))
        return refuse_bare(reply);
    *token = slice_trim(header);
    if (!is_token68(*token))
        return refuse_request(reply, "the Bearer token has characters that no token has");
    return true;
}

bool bearer_check(const struct grants *grants, const struct request *request, int64_t now_ms,
                  const struct access **access, struct account **account, struct reply *reply)
{
    static const char *const why[] = {
        [ACCESS_UNKNOWN] = "this server has not issued that token",
        [ACCESS_EXPIRED] = "the token has expired",
        [ACCESS_REVOKED] = "the grant of the token has ended",
    };
    enum access_state state;
    struct slice token;

    *account = NULL;
    if (!token_read(request, &token, reply))
        return false;
    state = grants_check(grants, token, now_ms, access);
    if (*access)
        *account = (*access)->account;
    if (state == ACCESS_GOOD)
        return true;
    bearer_refuse(reply, why[state]);
    return false;
}

bool bearer_check_scope(const struct access *access, enum scope needed, struct reply *reply)
{
    char text[120];

    if (access->scopes & needed)
        return true;
    reply_error(reply, 403, "insufficient_scope", "the scope '%s' is needed", scopes_text(needed));
    snprintf(text, sizeof text, REALM ", error=\"insufficient_scope\", scope=\"%s\"",
             scopes_text(needed));
    reply_header(reply, "WWW-Authenticate", slice_cstr(text));
    return false;
}

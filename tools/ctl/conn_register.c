/* awq-ctl conn register: a client of one's own at an authorization server that lets clients
 * register themselves (RFC 7591). Its secret goes into a file, never on the screen; what belongs
 * into a connection's file is printed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/egress.h"
#include "common/json.h"
#include "common/secret_file.h"
#include "tools/ctl/conn.h"
#include "tools/ctl/once.h"

#define TEXT_MAX 65536
#define ID_BYTES 1024

enum { R_NAME, R_FILE, R_GRANT, R_AUTH, R_SCOPE, R_TOKEN, R_INSECURE_HTTP, R_ALLOW_PRIVATE };
const struct flag conn_register_flags[8] = {
    [R_NAME] = {"--name", NULL, "NAME", "what people are to see who are asked"},
    [R_FILE] = {"--secret-file", NULL, "FILE",
                "is made for its secret; FILE.registration gets the whole answer"},
    [R_GRANT] = {"--grant", NULL, "GRANT",
                 "authorization_code (default), device_code or client_credentials"},
    [R_AUTH] = {"--auth", NULL, "METHOD",
                "basic (default), post, client_secret_jwt, or none for a public client"},
    [R_SCOPE] = {"--scope", NULL, "SCOPES", "scopes that it may ask for, blanks between"},
    [R_TOKEN] = {"--initial-token-file", NULL, "FILE",
                 "the initial access token, where the server wants one"},
    [R_INSECURE_HTTP] = {"--insecure-http", NULL, NULL, "http:// too"},
    [R_ALLOW_PRIVATE] = {"--allow-private", NULL, NULL,
                         "loopback, private and link-local addresses too"},
};

static const struct {
    const char *here, *there; /* --auth, token_endpoint_auth_method (RFC 7591 section 2) */
} methods[] = {
    {"basic", "client_secret_basic"},
    {"post", "client_secret_post"},
    {"client_secret_jwt", "client_secret_jwt"},
    {"none", "none"},
};
static const struct {
    const char *here, *types[2];
    bool redirected;
} grants[] = {
    {"authorization_code", {"authorization_code", "refresh_token"}, true},
    {"device_code", {"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}, false},
    {"client_credentials", {"client_credentials", NULL}, false},
};

struct registration {
    struct ctl *c;
    const struct args *a;
    size_t grant, method;
    int secret_fd, answer_fd;
    char answer_path[PATH_MAX];
    struct err err;
};

static void put(struct json_writer *w, const char *key, const char *value)
{
    jw_key(w, key);
    jw_cstr(w, value);
}

/* RFC 7591 section 2. A native client may come back to any port of loopback (RFC 8252). */
static void write_request(const struct registration *r, struct buf *json)
{
    const char *const *types = grants[r->grant].types;
    bool redirected = grants[r->grant].redirected;
    struct json_writer w;

    jw_init(&w, json);
    jw_obj(&w);
    put(&w, "client_name", r->a->flag[R_NAME]);
    put(&w, "application_type", "native");
    put(&w, "token_endpoint_auth_method", methods[r->method].there);
    jw_key(&w, "grant_types");
    jw_arr(&w);
    for (size_t i = 0; i < 2 && types[i]; i++)
        jw_cstr(&w, types[i]);
    jw_end_arr(&w);
    jw_key(&w, "response_types");
    jw_arr(&w);
    if (redirected)
        jw_cstr(&w, "code");
    jw_end_arr(&w);
    jw_key(&w, "redirect_uris");
    jw_arr(&w);
    if (redirected)
        jw_cstr(&w, "http://127.0.0.1/callback");
    jw_end_arr(&w);
    if (r->a->flag[R_SCOPE])
        put(&w, "scope", r->a->flag[R_SCOPE]);
    jw_end_obj(&w);
}

/* ---- the answer ---- */

static bool write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);

        if (n < 0 && errno != EINTR)
            return false;
        s = slice_sub(s, n > 0 ? (size_t)n : 0, s.len);
    }
    return fsync(fd) == 0;
}

static void show(struct out *o, const char *line, struct slice value)
{
    struct json_writer w;
    struct buf text;

    buf_init(&text, TEXT_MAX);
    jw_init(&w, &text);
    jw_str(&w, value); /* a JSON text is one of YAML, too */
    out_note(o, line, SLICE_FMT(buf_slice(&text)));
    buf_deinit(&text);
}

static void report(struct registration *r, struct slice id, const char *method,
                   const struct json_val *root)
{
    struct out *o = &r->c->out;
    int64_t expires = 0;

    json_int(json_get(root, "client_secret_expires_at"), &expires);
    if (o->json) {
        out_thing(o);
        out_key(o, "client_id");
        out_text(o, id);
        out_key(o, "auth");
        out_cstr(o, method);
        out_key(o, "secret_expires_at");
        out_int(o, expires);
        out_thing_end(o);
        return;
    }
    out_note(o, "client:");
    show(o, "  id: %.*s", id);
    if (strcmp(method, "none") != 0)
        show(o, "  secret: {file: %.*s}", slice_cstr(r->a->flag[R_FILE]));
    out_note(o, "  auth: %s", method);
    if (expires > 0)
        out_note(o, "# the secret is good until %lld (Unix time): register again before",
                 (long long)expires);
}

/* The server may have chosen another way than was asked for (section 3.2.1). */
static const char *method_of(const struct registration *r, const struct json_val *root)
{
    struct slice said;

    if (!json_str(json_get(root, "token_endpoint_auth_method"), &said))
        return methods[r->method].here;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (slice_is(said, methods[i].there))
            return methods[i].here;
    return NULL;
}

static void take(struct registration *r, const struct json_val *root, struct slice whole)
{
    struct slice id = SLICE_NONE, secret = SLICE_NONE;
    const char *method = method_of(r, root);

    json_str(json_get(root, "client_id"), &id);
    json_str(json_get(root, "client_secret"), &secret);
    if (id.len == 0 || id.len > ID_BYTES)
        err_set(&r->err, ERR_DENIED, "its answer has no client_id");
    else if (!method)
        err_set(&r->err, ERR_DENIED, "it made a client that shows who it is by another way");
    else if (strcmp(method, "none") != 0 && secret.len == 0)
        err_set(&r->err, ERR_DENIED, "its answer has no client_secret");
    else if (!write_all(r->secret_fd, secret) || !write_all(r->answer_fd, whole))
        err_set(&r->err, ERR_CONFIG, "the answer cannot be written: %s", strerror(errno));
    else
        report(r, id, method, root);
}

static void on_answer(void *owner, const struct http_result *answer)
{
    struct registration *r = owner;
    struct json *doc = json_parse(buf_slice(answer->body), NULL);
    struct slice code = SLICE_NONE;

    json_str(json_get(json_root(doc), "error"), &code);
    if (answer->status == 201 || answer->status == 200)
        take(r, json_root(doc), buf_slice(answer->body));
    else
        err_set(&r->err, ERR_DENIED, "it answered %d%s%.*s", answer->status,
                oauth_is_error_code(code) ? ": " : "",
                SLICE_FMT(oauth_is_error_code(code) ? code : SLICE_NONE));
    json_free(doc);
}

/* ---- the verb ---- */

static int make(const char *path, struct err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        err_set(err, ERR_CONFIG, "%.300s: %s", path, strerror(errno));
    return fd;
}

/* Before anything is asked: a secret that cannot be kept is lost. */
static bool make_files(struct registration *r)
{
    const char *path = r->a->flag[R_FILE];

    snprintf(r->answer_path, sizeof r->answer_path, "%.4000s.registration", path);
    r->secret_fd = make(path, &r->err);
    if (r->secret_fd < 0)
        return false;
    r->answer_fd = make(r->answer_path, &r->err);
    if (r->answer_fd < 0)
        unlink(path);
    return r->answer_fd >= 0;
}

static void close_files(struct registration *r)
{
    if (r->secret_fd >= 0)
        close(r->secret_fd);
    if (r->answer_fd >= 0)
        close(r->answer_fd);
    if (r->err.code != ERR_NONE && r->secret_fd >= 0 && r->answer_fd >= 0) {
        unlink(r->a->flag[R_FILE]);
        unlink(r->answer_path);
    }
}

static bool send(struct registration *r)
{
    struct buf json, bearer;
    struct once o = {.what = "the registration endpoint",
                     .url = slice_cstr(r->a->names[0]),
                     .insecure_http = r->a->flag[R_INSECURE_HTTP] != NULL,
                     .allow_private = r->a->flag[R_ALLOW_PRIVATE] != NULL,
                     .by_option = true};
    bool ok = true;

    buf_init(&json, TEXT_MAX);
    buf_init(&bearer, TEXT_MAX);
    if (r->a->flag[R_TOKEN])
        ok = buf_add_cstr(&bearer, "Bearer ") &&
             secret_file_read(r->a->flag[R_TOKEN], "initial access token", &bearer, &r->err);
    write_request(r, &json);
    o.json = buf_slice(&json);
    o.authorization = buf_slice(&bearer);
    ok = ok && make_files(r) && once_ask(&o, on_answer, r, &r->err) && r->err.code == ERR_NONE;
    close_files(r);
    buf_deinit(&json);
    buf_wipe(&bearer);
    return ok;
}

/* Not said: the first. */
static bool pick(const char *word, const char *const *names, size_t count, size_t *to)
{
    for (size_t i = 0; i < count; i++) {
        if (!word || strcmp(word, names[i]) == 0) {
            *to = i;
            return true;
        }
    }
    return false;
}

int conn_register(struct ctl *c, const struct args *a)
{
    struct registration r = {.c = c, .a = a, .secret_fd = -1, .answer_fd = -1};
    const char *ways[ARRAY_LEN(methods)], *kinds[ARRAY_LEN(grants)];
    int code;

    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        ways[i] = methods[i].here;
    for (size_t i = 0; i < ARRAY_LEN(grants); i++)
        kinds[i] = grants[i].here;
    if (!a->flag[R_NAME] || !a->flag[R_FILE])
        return ctl_usage(c, "--name and --secret-file are missing");
    if (!pick(a->flag[R_AUTH], ways, ARRAY_LEN(ways), &r.method))
        return ctl_usage(c, "--auth must be basic, post, client_secret_jwt or none");
    if (!pick(a->flag[R_GRANT], kinds, ARRAY_LEN(kinds), &r.grant))
        return ctl_usage(c,
                         "--grant must be authorization_code, device_code or client_credentials");
    if (send(&r))
        return CTL_OK;
    err_prefix(&r.err, "%s: ", a->names[0]);
    code = ctl_fail(c, &r.err);
    return code == CTL_UNREACHABLE ? CTL_FAILED : code; /* that code is Redis' */
}

/* The secrets that a connection file names: read, and looked at as far as that can be done here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/client_cert.h"
#include "common/clock.h"
#include "common/connection_inside.h"
#include "common/dpop.h"
#include "common/jwt.h"
#include "common/oauth.h"
#include "common/secret_file.h"

/* A name relative to the connection file is looked for beside it. */
static bool read_named_file(const char *beside, struct slice name, const char *what, bool secret,
                            struct buf *out, struct err *err)
{
    const char *slash = strrchr(beside, '/');
    struct buf path;
    bool ok;

    buf_init(&path, 4096);
    if (slash && name.ptr[0] != '/')
        buf_add(&path, beside, (size_t)(slash - beside) + 1);
    if (!buf_add_slice(&path, name))
        ok = err_set(err, ERR_CONFIG, "%s: the name of its file is too long", what);
    else
        ok = secret ? secret_file_read(path.ptr, what, out, err)
                    : secret_file_text(path.ptr, out, err);
    buf_deinit(&path);
    return ok;
}

static bool read_secret_env(const struct yaml_node *n, struct slice name, const char *what,
                            struct buf *out, struct err *err)
{
    const char *value = getenv(name.ptr); /* a scalar's text is NUL-ended */

    if (!value || !*value)
        return yaml_err(n, err, "%s: the environment has no %.*s", what, SLICE_FMT(name));
    return buf_add_cstr(out, value) ||
           yaml_err(n, err, "%s is longer than %d bytes", what, CONNECTION_SECRET_MAX);
}

/* {file: PATH} or {env: NAME}. What stands there instead is never repeated: it may be the secret.
 */
static bool read_named(const char *path, const struct yaml_node *n, const char *what, bool secret,
                       struct buf *out, struct err *err)
{
    static const char *const keys[] = {"file", "env"};
    const struct yaml_node *file = yaml_get(n, "file"), *env = yaml_get(n, "env");
    struct err why = {0};
    struct slice name;

    if (n->kind != YAML_MAP)
        return yaml_err(n, err,
                        "%s must be {file: PATH} or {env: NAME}: secrets do not belong in this "
                        "file",
                        what);
    if (!yaml_check_keys(n, keys, ARRAY_LEN(keys), err))
        return false;
    if (!file == !env)
        return yaml_err(n, err, "%s needs either file or env", what);
    if (!yaml_str(file ? file : env, what, &name, err))
        return false;
    if (name.len == 0)
        return yaml_err(n, err, "%s: the name is empty", what);
    if (file && !read_named_file(path, name, what, secret, out, &why))
        return yaml_err(n, err, secret ? "%s%s" : "%s: %s", secret ? "" : what, why.msg);
    if (env && !read_secret_env(env, name, what, out, err))
        return false;
    return out->len > 0 || yaml_err(n, err, "%s is empty", what);
}

static bool read_secret(const char *path, const struct yaml_node *n, const char *what,
                        struct buf *out, struct err *err)
{
    return read_named(path, n, what, true, out, err);
}

/* client.secret, or client.key where an assertion is signed by one; none with auth: none. */
static bool read_client(struct connection_file *f, const char *path, const struct yaml_node *root,
                        struct err *err)
{
    const struct yaml_node *client = yaml_get(root, "client");
    bool signs = client_auth_signs(f->cfg->auth),
         by_key = f->cfg->auth == CLIENT_AUTH_PRIVATE_KEY_JWT;
    const struct yaml_node *secret = yaml_get(client, "secret"), *key = yaml_get(client, "key");
    const struct yaml_node *wanted = by_key ? key : secret, *other = by_key ? secret : key;
    const char *what = by_key ? "client.key" : "client.secret";
    struct jwt_key *k;
    struct err why = {0};

    if (other)
        return yaml_err(other, err,
                        by_key ? "client.secret has no use with auth: private_key_jwt"
                               : "client.key is for auth: private_key_jwt");
    if (!client_auth_has_secret(f->cfg->auth))
        return !wanted || yaml_err(wanted, err, "client.secret has no use with auth: %s",
                                   connection_auth_name((int)f->cfg->auth));
    if (!wanted)
        return yaml_err(client ? client : root, err,
                        by_key ? "client.key is missing"
                               : "client.secret is missing (or auth: none for a client "
                                 "without one)");
    if (!read_secret(path, wanted, what, &f->client_secret, err) || !signs)
        return !signs && f->client_secret.len > 0;
    k = oauth_client_key(f->cfg, buf_slice(&f->client_secret), &why);
    jwt_key_free(k);
    return k || yaml_err(wanted, err, "%s: %s", what, why.msg);
}

static bool check_key(struct connection_file *f, const struct yaml_node *n, const char *what,
                      struct err *err)
{
    struct err why = {0};
    struct jwt_key *k = oauth_grant_key(f->cfg, buf_slice(&f->grant_secret), &why);

    jwt_key_free(k);
    return k || yaml_err(n, err, "%s: %s", what, why.msg);
}

/* exchange.actor_token, behind a NUL (RFC 8693 section 2.1): who acts, for the subject. */
static bool read_actor(struct connection_file *f, const char *path, const struct yaml_node *root,
                       struct err *err)
{
    const struct yaml_node *n = yaml_at(root, "exchange.actor_token");
    bool typed = f->cfg->actor_token_type.len > 0;
    struct buf actor;
    bool ok;

    if (!n)
        return !typed || yaml_err(yaml_at(root, "exchange.actor_token_type"), err,
                                  "exchange.actor_token_type has no use without actor_token");
    if (f->cfg->grant != GRANT_TOKEN_EXCHANGE)
        return yaml_err(n, err, "exchange.actor_token has no use with grant: %s",
                        grant_kind_name(f->cfg->grant));
    if (!typed)
        f->cfg->actor_token_type = SLICE_LIT(OAUTH_ACCESS_TOKEN_TYPE);
    buf_init(&actor, CONNECTION_SECRET_MAX);
    ok = read_secret(path, n, "exchange.actor_token", &actor, err);
    if (ok && !(buf_add_char(&f->grant_secret, '\0') &&
                buf_add_slice(&f->grant_secret, buf_slice(&actor))))
        ok = yaml_err(n, err, "exchange.actor_token is too long");
    buf_wipe(&actor);
    return ok;
}

/* What the grant is asked for with, and nothing that another one would be. A refresh token may come
 * later: with its first link. */
static bool read_grant_secret(struct connection_file *f, const char *path,
                              const struct yaml_node *root, struct err *err)
{
    static const char *const places[] = {"refresh_token", "assertion.key", "assertion.saml",
                                         "exchange.subject_token", "login.password"};
    const char *wanted = grant_secret_name(f->cfg->grant);
    const struct yaml_node *n = NULL;

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        const struct yaml_node *there = yaml_at(root, places[i]);
        bool own = wanted && strcmp(places[i], wanted) == 0 && !grant_is_asked(f->cfg->grant);

        if (there && !own)
            return yaml_err(there, err, "%s has no use with grant: %s", places[i],
                            grant_kind_name(f->cfg->grant));
        n = own ? there : n;
    }
    if (!n && f->cfg->grant == GRANT_REFRESH_TOKEN) {
        yaml_err(yaml_get(root, "grant"), &f->unlinked, "refresh_token is missing");
        return true;
    }
    if (!n)
        return !wanted || grant_is_renewed(f->cfg->grant) ||
               yaml_err(root, err, "%s is missing: grant: %s is asked for with it", wanted,
                        grant_kind_name(f->cfg->grant));
    return read_secret(path, n, wanted, &f->grant_secret, err) &&
           (f->cfg->grant != GRANT_JWT_BEARER || check_key(f, n, wanted, err));
}

static bool read_dpop_key(struct connection_file *f, const char *path, const struct yaml_node *root,
                          struct err *err)
{
    const struct yaml_node *dpop = yaml_get(root, "dpop"), *n = yaml_get(dpop, "key");
    struct dpop_key *k;
    struct err why = {0};

    if (dpop && f->cfg->dpop == JWT_ALG_OF_KEY)
        return yaml_err(dpop, err, "dpop.alg is missing: ES256 or EdDSA");
    if (!n)
        return true;
    if (!read_secret(path, n, "dpop.key", &f->dpop_key, err))
        return false;
    k = dpop_key_open(buf_slice(&f->dpop_key), f->cfg->dpop, &why);
    dpop_key_free(k);
    return k || yaml_err(n, err, "dpop.key: %s", why.msg);
}

/* ---- the certificate: before the settings, which have its thumbprint ---- */

static bool open_tls(const struct connection_file *f, char x5t[CLIENT_CERT_X5T_CHARS + 1],
                     struct err *err)
{
    struct client_cert *c = client_cert_open(buf_slice(&f->certificate), NULL, err);
    char day[CLIENT_CERT_DAY];
    bool ok = c != NULL;

    if (ok && client_cert_until_ms(c) <= clock_wall_ms()) {
        client_cert_day(c, day);
        ok = err_set(err, ERR_CONFIG, "it has expired (%s): no server takes it", day);
    }
    if (ok)
        snprintf(x5t, CLIENT_CERT_X5T_CHARS + 1, "%s", client_cert_x5t(c));
    client_cert_unref(c);
    return ok;
}

static bool pack_tls(struct connection_file *f, const struct yaml_node *tls,
                     const struct buf *certificate, const struct buf *key,
                     char x5t[CLIENT_CERT_X5T_CHARS + 1], struct err *err)
{
    struct err why = {0};
    bool of_key = false;

    if (client_cert_pack(buf_slice(certificate), buf_slice(key), &f->certificate, &of_key, &why) &&
        open_tls(f, x5t, &why))
        return true;
    return yaml_err(yaml_get(tls, of_key ? "key" : "certificate"), err, "tls.%s: %s",
                    of_key ? "key" : "certificate", why.msg);
}

/* x5t: "" when there is none. */
bool connection_file_tls(struct connection_file *f, const char *path, const struct yaml_node *root,
                         char x5t[CLIENT_CERT_X5T_CHARS + 1], struct err *err)
{
    static const char *const keys[] = {"certificate", "key"};
    const struct yaml_node *tls = yaml_get(root, "tls"), *n = NULL;
    struct buf text[ARRAY_LEN(keys)];
    bool ok = true;

    x5t[0] = '\0';
    if (!tls)
        return true;
    if (!yaml_expect(tls, "tls", YAML_MAP, err) ||
        !yaml_check_keys(tls, keys, ARRAY_LEN(keys), err))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *what = i == 0 ? "tls.certificate" : "tls.key";

        buf_init(&text[i], CONNECTION_SECRET_MAX);
        n = yaml_get(tls, keys[i]);
        if (ok)
            ok = n ? read_named(path, n, what, i == 1, &text[i], err)
                   : yaml_err(tls, err, "%s is missing", what);
    }
    ok = ok && pack_tls(f, tls, &text[0], &text[1], x5t, err);
    buf_deinit(&text[0]);
    buf_wipe(&text[1]);
    return ok;
}

bool connection_file_secrets(struct connection_file *f, const char *path,
                             const struct yaml_node *root, struct err *err)
{
    return read_client(f, path, root, err) && read_grant_secret(f, path, root, err) &&
           read_actor(f, path, root, err) && read_dpop_key(f, path, root, err);
}

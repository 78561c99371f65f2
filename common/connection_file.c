/* The connection file, as a whole: read, its profile filled in, then its certificate, its settings
 * and its secrets. */
#include "common/connection_inside.h"

#include <stdio.h>
#include <string.h>
#include "common/profile_file.h"
#include "common/secret_file.h"

#define PATH_ROOM 4096

/* A profile in place of a connection's file. */
static bool refuse_profile(const struct yaml_node *root, const char *path, struct err *err)
{
    const struct yaml_node *title = yaml_get(root, "title");
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

    return !title || !yaml_get(root, "grants") ||
           yaml_err(title, err,
                    "this is a profile; a connection's file names it: profile: %.*s (or its path)",
                    (int)strcspn(name, "."), name);
}

/* A profile's texts move into the connection's document, and go on naming its file in messages. */
static bool fill_in(struct yaml_doc *doc, const char *path, const char *profiles, struct buf *file,
                    struct err *err)
{
    const struct yaml_node *root = yaml_doc_root(doc), *n = yaml_get(root, "profile");
    const struct yaml_node *values = yaml_get(root, "values");
    struct yaml_doc *profile;
    bool ok;

    if (!refuse_profile(root, path, err))
        return false;
    if (!n)
        return !values ||
               yaml_err(values, err, "values are of a profile's variables; none is named");
    if (!profile_path(file, path, profiles, n, err))
        return false;
    profile = profile_doc(file->ptr, err);
    ok = profile && profile_fill(doc, profile, err);
    yaml_doc_free(profile);
    return ok;
}

bool connection_file_read(struct connection_file *f, const char *path, const char *profiles,
                          struct err *err)
{
    struct connection_file got = {0};
    char x5t[CLIENT_CERT_X5T_CHARS + 1] = "";
    struct yaml_doc *doc = NULL;
    struct buf text, profile;
    bool ok = false;

    buf_init(&text, YAML_BYTES_MAX);
    buf_init(&profile, PATH_ROOM);
    buf_init(&got.client_secret, CONNECTION_SECRET_MAX);
    buf_init(&got.grant_secret, CONNECTION_SECRET_MAX);
    buf_init(&got.dpop_key, CONNECTION_SECRET_MAX);
    buf_init(&got.certificate, CLIENT_CERT_PEM_MAX);
    if (secret_file_text(path, &text, err)) {
        doc = yaml_doc_parse(buf_slice(&text), err);
        if (doc && fill_in(doc, path, profiles, &profile, err) &&
            connection_file_tls(&got, path, yaml_doc_root(doc), x5t, err))
            got.cfg = connection_file_settings(yaml_doc_root(doc), x5t, err);
        ok = got.cfg && connection_file_secrets(&got, path, yaml_doc_root(doc), err);
        if (got.unlinked.code != ERR_NONE)
            err_prefix(&got.unlinked, "%s: ", path);
        if (!ok)
            err_prefix(err, "%s: ", path);
    }
    yaml_doc_free(doc);
    buf_deinit(&profile);
    buf_wipe(&text); /* somebody may have put a secret there after all */
    if (ok)
        *f = got;
    else
        connection_file_deinit(&got);
    return ok;
}

void connection_file_deinit(struct connection_file *f)
{
    connection_cfg_free(f->cfg);
    f->cfg = NULL;
    buf_wipe(&f->client_secret);
    buf_wipe(&f->grant_secret);
    buf_wipe(&f->dpop_key);
    buf_wipe(&f->certificate);
}

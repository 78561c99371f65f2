/*
 * yaml.h - a YAML file as a small tree: maps, lists and scalars that know where they stand.
 * Owns    a document owns its nodes and their text, until yaml_doc_free.
 * Thread  whoever owns the document.
 * Errors  ERR_CONFIG, beginning with "line L, column C: "; ERR_NOMEM only for memory. The caller
 *         puts the file's name before it (err_prefix).
 * Source  YAML 1.2.2, core schema (section 10.3): yes, no, on, off and dates are text. What makes a
 *         file say something else than a reader sees is refused: anchors and aliases, tags, merge
 *         keys, several documents, a key twice in a map. Parsed by libyaml, whose own names begin
 *         with yaml_ too: new functions here must not be called as one of its (yaml_free, ...).
 */
#ifndef AWQ_YAML_H
#define AWQ_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/err.h"
#include "common/slice.h"

#define YAML_BYTES_MAX (1024 * 1024) /* of a file */
#define YAML_DEPTH_MAX 32
#define YAML_ITEMS_MAX 10000 /* in one map or list: looking for a key walks them */

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    unsigned line, column; /* from 1 */
    const char *file;      /* named in messages; NULL = the caller's own (yaml_doc_label) */
    struct slice text;     /* SCALAR; NUL-ended too */
    bool quoted;           /* SCALAR: in quotes or a block, so it is text whatever it says */
    size_t count;
    struct yaml_node **items; /* LIST: the elements. MAP: the values */
    struct yaml_node **keys;  /* MAP: the keys, scalars, in the order of the file */
};

struct yaml_doc;

struct yaml_doc *yaml_doc_parse(struct slice text, struct err *err); /* NULL and *err */
void yaml_doc_free(struct yaml_doc *doc);                            /* NULL is fine; wipes */
const struct yaml_node *yaml_doc_root(const struct yaml_doc *doc);

/* Another file's name, for messages about its nodes wherever they end up; it is not copied. */
void yaml_doc_label(struct yaml_doc *doc, const char *file);
/* To change a document: its texts, and which keys its maps have. */
struct yaml_node *yaml_doc_edit(struct yaml_doc *doc);
bool yaml_set_text(struct yaml_node *scalar, struct slice text, struct err *err); /* quoted, then */
bool yaml_put(struct yaml_node *map, const char *key, struct slice text, struct err *err); /* new */
void yaml_drop(struct yaml_node *map, const char *key);
/* What `to` does not have it gets from `from`, which loses it; of maps in both, key by key. A key
 * that is null in `to` is not taken, and gone from both then. */
bool yaml_fill(struct yaml_node *to, struct yaml_node *from, struct err *err);
/* What `from` has goes before what `to` has; of maps in both, key by key. What is null in `from` is
 * taken out of `to`, which must have it. `from` may stand within `to`; what it is left with is of
 * no use. */
bool yaml_override(struct yaml_node *to, struct yaml_node *from, struct err *err);

/* The value of a key; NULL when map is NULL, no map, or has no such key. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
/* The same by way of maps in maps: "client.id". */
const struct yaml_node *yaml_at(const struct yaml_node *map, const char *place);
bool yaml_is_null(const struct yaml_node *n); /* NULL, or plain: nothing, ~, null, Null, NULL */

/* Take a scalar; `name` is what the message calls it. On false *out is as it was.
 * Text: quoted, or plain and neither null nor a bool; numbers as they are written. */
bool yaml_str(const struct yaml_node *n, const char *name, struct slice *out, struct err *err);
bool yaml_int(const struct yaml_node *n, const char *name, int64_t *out, struct err *err);
bool yaml_bool(const struct yaml_node *n, const char *name, bool *out, struct err *err);
bool yaml_expect(const struct yaml_node *n, const char *name, enum yaml_kind kind, struct err *err);

/* A map with no other keys than these: "line 3, column 5: unknown key 'polcy' (did you mean
 * 'policy'?)". */
bool yaml_check_keys(const struct yaml_node *map, const char *const *allowed, size_t count,
                     struct err *err);
/* For the caller's own complaints: "line L, column C: " and the message. Returns false. */
bool yaml_err(const struct yaml_node *n, struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif

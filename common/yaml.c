#include "common/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sodium.h>
#include <yaml.h>
#include "common/char.h"
#include "common/suggest.h"

struct yaml_doc {
    struct yaml_node *root;
};

struct reader {
    yaml_parser_t parser;
    struct slice text;
    struct err *err;
};

/* ---- nodes ---- */

static void node_free(struct yaml_node *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->count; i++) {
        node_free(n->items[i]);
        if (n->keys)
            node_free(n->keys[i]);
    }
    if (n->text.ptr) {
        sodium_memzero((char *)(uintptr_t)n->text.ptr, n->text.len);
        free((char *)(uintptr_t)n->text.ptr);
    }
    free(n->items);
    free(n->keys);
    free(n);
}

static bool no_memory(struct err *err)
{
    return err_set(err, ERR_NOMEM, "out of memory for a YAML file");
}

static struct yaml_node *node_new(enum yaml_kind kind, const yaml_event_t *e, struct err *err)
{
    struct yaml_node *n = calloc(1, sizeof *n);

    if (!n) {
        no_memory(err);
        return NULL;
    }
    n->kind = kind;
    n->line = (unsigned)e->start_mark.line + 1;
    n->column = (unsigned)e->start_mark.column + 1;
    return n;
}

/* Room for one more. Arrays double when full, which they are at 0 and at powers of two from 4. */
static bool node_grow(struct yaml_node *n, struct err *err)
{
    size_t cap = n->count > 0 ? n->count * 2 : 4;
    struct yaml_node **p;

    if (n->count >= YAML_ITEMS_MAX)
        return yaml_err(n, err, "more than %d entries", YAML_ITEMS_MAX);
    if (n->count > 0 && (n->count < 4 || (n->count & (n->count - 1)) != 0))
        return true;
    p = realloc(n->items, cap * sizeof(void *));
    if (!p)
        return no_memory(err);
    n->items = p;
    if (n->kind == YAML_LIST)
        return true;
    p = realloc(n->keys, cap * sizeof(void *));
    if (!p)
        return no_memory(err);
    n->keys = p;
    return true;
}

/* ---- reading ---- */

static bool fail_at(const yaml_mark_t *at, struct err *err, const char *what)
{
    return err_set(err, ERR_CONFIG, "line %zu, column %zu: %s", at->line + 1, at->column + 1, what);
}

/* A mark counts characters. */
static char char_at(struct slice text, const yaml_mark_t *at)
{
    size_t i = 0;

    for (size_t n = 0; i < text.len && n < at->index; n++)
        do
            i++;
        while (i < text.len && ((unsigned char)text.ptr[i] & 0xc0) == 0x80);
    return i < text.len ? text.ptr[i] : '\0';
}

/* What it most often is, where libyaml says only where it stopped. */
static const char *reason(const char *problem)
{
    if (strstr(problem, "tab character"))
        return "a tab: YAML is indented with blanks";
    if (strstr(problem, "mapping values are not allowed"))
        return "a colon that makes no key here: a wrong indentation, a text with `: ` in it that "
               "needs quotes, or a line before without the blank after its colon";
    if (strstr(problem, "cannot start any token"))
        return "a text that begins with this character needs quotes";
    return problem;
}

static bool parser_failed(struct reader *r)
{
    yaml_parser_t *p = &r->parser;

    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(r->err);
    if (p->error == YAML_READER_ERROR)
        return err_set(r->err, ERR_CONFIG, "byte %zu: %s", p->problem_offset,
                       p->problem ? p->problem : "not UTF-8 text");
    if (char_at(r->text, &p->problem_mark) == '\t')
        return fail_at(&p->problem_mark, r->err, reason("tab character"));
    return fail_at(&p->problem_mark, r->err, p->problem ? reason(p->problem) : "not YAML");
}

static bool next_event(struct reader *r, yaml_event_t *e)
{
    return yaml_parser_parse(&r->parser, e) ? true : parser_failed(r);
}

/* What hides the meaning of a node from its reader. */
static bool refuse_marks(const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag,
                         struct err *err)
{
    if (anchor)
        return fail_at(&e->start_mark, err, "anchors (&name) are not allowed; write it out");
    if (tag)
        return fail_at(&e->start_mark, err, "tags (!name) are not allowed");
    return true;
}

static struct yaml_node *read_node(struct reader *r, yaml_event_t *e, unsigned depth);

static struct yaml_node *read_scalar(struct reader *r, const yaml_event_t *e)
{
    struct yaml_node *n;

    if (!refuse_marks(e, e->data.scalar.anchor, e->data.scalar.tag, r->err))
        return NULL;
    n = node_new(YAML_SCALAR, e, r->err);
    if (!n)
        return NULL;
    n->text = slice_of(e->data.scalar.value, e->data.scalar.length);
    n->text.ptr = slice_dup(n->text);
    n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    if (n->text.ptr)
        return n;
    no_memory(r->err);
    node_free(n);
    return NULL;
}

static struct yaml_node *read_list(struct reader *r, const yaml_event_t *start, unsigned depth)
{
    struct yaml_node *n = NULL, *item;
    yaml_event_t e;

    if (refuse_marks(start, start->data.sequence_start.anchor, start->data.sequence_start.tag,
                     r->err))
        n = node_new(YAML_LIST, start, r->err);
    while (n && next_event(r, &e)) {
        if (e.type == YAML_SEQUENCE_END_EVENT) {
            yaml_event_delete(&e);
            return n;
        }
        item = read_node(r, &e, depth + 1);
        yaml_event_delete(&e);
        if (!item || !node_grow(n, r->err)) {
            node_free(item);
            break;
        }
        n->items[n->count++] = item;
    }
    node_free(n);
    return NULL;
}

static bool key_ok(const struct yaml_node *map, const struct yaml_node *key, struct err *err)
{
    if (key->kind != YAML_SCALAR)
        return yaml_err(key, err, "a key must be text");
    if (!key->quoted && slice_is(key->text, "<<"))
        return yaml_err(key, err, "merge keys (<<) are not allowed; write it out");
    for (size_t i = 0; i < map->count; i++) {
        if (slice_eq(map->keys[i]->text, key->text))
            return yaml_err(key, err, "key '%.*s' was already given in line %u",
                            (int)(key->text.len < 64 ? key->text.len : 64), key->text.ptr,
                            map->keys[i]->line);
    }
    return true;
}

/* One key and its value, the key's event being e (deleted here). */
static bool read_pair(struct reader *r, struct yaml_node *map, yaml_event_t *e, unsigned depth)
{
    struct yaml_node *key = read_node(r, e, depth + 1), *value = NULL;

    yaml_event_delete(e);
    if (key && key_ok(map, key, r->err) && node_grow(map, r->err) && next_event(r, e)) {
        value = read_node(r, e, depth + 1);
        yaml_event_delete(e);
    }
    if (!value) {
        node_free(key);
        return false;
    }
    map->keys[map->count] = key;
    map->items[map->count++] = value;
    return true;
}

static struct yaml_node *read_map(struct reader *r, const yaml_event_t *start, unsigned depth)
{
    struct yaml_node *n = NULL;
    yaml_event_t e;

    if (refuse_marks(start, start->data.mapping_start.anchor, start->data.mapping_start.tag,
                     r->err))
        n = node_new(YAML_MAP, start, r->err);
    while (n && next_event(r, &e)) {
        if (e.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&e);
            return n;
        }
        if (!read_pair(r, n, &e, depth))
            break;
    }
    node_free(n);
    return NULL;
}

/* The node that begins with e. Recursion ends at YAML_DEPTH_MAX. */
static struct yaml_node *read_node(struct reader *r, yaml_event_t *e, unsigned depth)
{
    if (depth > YAML_DEPTH_MAX) {
        fail_at(&e->start_mark, r->err, "nested too deep");
        return NULL;
    }
    if (e->type == YAML_SCALAR_EVENT)
        return read_scalar(r, e);
    if (e->type == YAML_SEQUENCE_START_EVENT)
        return read_list(r, e, depth);
    if (e->type == YAML_MAPPING_START_EVENT)
        return read_map(r, e, depth);
    fail_at(&e->start_mark, r->err, "aliases (*name) are not allowed; write it out");
    return NULL;
}

/* The next event must be of this type, else `what` is the complaint. Deletes the event. */
static bool expect_event(struct reader *r, yaml_event_type_t type, const char *what)
{
    yaml_event_t e;
    bool ok;

    if (!next_event(r, &e))
        return false;
    ok = e.type == type || fail_at(&e.start_mark, r->err, what);
    if (ok && type == YAML_DOCUMENT_START_EVENT &&
        e.data.document_start.tag_directives.start != e.data.document_start.tag_directives.end)
        ok = fail_at(&e.start_mark, r->err, "%TAG is not allowed");
    yaml_event_delete(&e);
    return ok;
}

static struct yaml_node *read_document(struct reader *r)
{
    struct yaml_node *root;
    yaml_event_t e;

    if (!expect_event(r, YAML_STREAM_START_EVENT, "not YAML") ||
        !expect_event(r, YAML_DOCUMENT_START_EVENT, "the file is empty") || !next_event(r, &e))
        return NULL;
    root = read_node(r, &e, 1);
    yaml_event_delete(&e);
    if (root && expect_event(r, YAML_DOCUMENT_END_EVENT, "not YAML") &&
        expect_event(r, YAML_STREAM_END_EVENT, "only one document per file"))
        return root;
    node_free(root);
    return NULL;
}

struct yaml_doc *yaml_doc_parse(struct slice text, struct err *err)
{
    struct slice mark = SLICE_LIT("\xef\xbb\xbf"); /* a byte order mark says nothing of UTF-8 */
    struct reader r = {.err = err};
    struct yaml_doc *doc;

    if (text.len > YAML_BYTES_MAX) {
        err_set(err, ERR_CONFIG, "larger than %d bytes", YAML_BYTES_MAX);
        return NULL;
    }
    doc = calloc(1, sizeof *doc);
    if (!doc || !yaml_parser_initialize(&r.parser)) {
        free(doc);
        no_memory(err);
        return NULL;
    }
    r.text = slice_sub(text, slice_starts(text, mark) ? mark.len : 0, text.len);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(r.text.ptr ? r.text.ptr : ""),
                                 r.text.len);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    doc->root = read_document(&r);
    yaml_parser_delete(&r.parser);
    if (doc->root)
        return doc;
    free(doc);
    return NULL;
}

void yaml_doc_free(struct yaml_doc *doc)
{
    if (!doc)
        return;
    node_free(doc->root);
    free(doc);
}

const struct yaml_node *yaml_doc_root(const struct yaml_doc *doc)
{
    return doc ? doc->root : NULL;
}

/* ---- changing ---- */

struct yaml_node *yaml_doc_edit(struct yaml_doc *doc)
{
    return doc->root;
}

static void label(struct yaml_node *n, const char *file)
{
    n->file = file;
    for (size_t i = 0; i < n->count; i++) {
        label(n->items[i], file);
        if (n->keys)
            label(n->keys[i], file);
    }
}

void yaml_doc_label(struct yaml_doc *doc, const char *file)
{
    label(doc->root, file);
}

bool yaml_set_text(struct yaml_node *scalar, struct slice text, struct err *err)
{
    char *copy = slice_dup(text);

    if (!copy)
        return no_memory(err);
    free((char *)(uintptr_t)scalar->text.ptr);
    scalar->text = slice_of(copy, text.len);
    scalar->quoted = true;
    return true;
}

static struct yaml_node *scalar_like(const struct yaml_node *n, struct slice text, struct err *err)
{
    struct yaml_node *made = calloc(1, sizeof *made);

    if (made) {
        *made = (struct yaml_node){
            .kind = YAML_SCALAR, .line = n->line, .column = n->column, .file = n->file};
        if (yaml_set_text(made, text, err))
            return made;
        free(made);
    }
    no_memory(err);
    return NULL;
}

bool yaml_put(struct yaml_node *map, const char *key, struct slice text, struct err *err)
{
    struct yaml_node *k = scalar_like(map, slice_cstr(key), err);
    struct yaml_node *v = k ? scalar_like(map, text, err) : NULL;

    if (!v || !node_grow(map, err)) {
        node_free(k);
        node_free(v);
        return false;
    }
    map->keys[map->count] = k;
    map->items[map->count++] = v;
    return true;
}

static void take_out(struct yaml_node *map, size_t i)
{
    map->count--;
    memmove(map->keys + i, map->keys + i + 1, (map->count - i) * sizeof *map->keys);
    memmove(map->items + i, map->items + i + 1, (map->count - i) * sizeof *map->items);
}

static void drop(struct yaml_node *map, struct slice key)
{
    for (size_t i = 0; i < map->count; i++) {
        if (!slice_eq(map->keys[i]->text, key))
            continue;
        node_free(map->keys[i]);
        node_free(map->items[i]);
        take_out(map, i);
        return;
    }
}

void yaml_drop(struct yaml_node *map, const char *key)
{
    drop(map, slice_cstr(key));
}

static struct yaml_node **find(struct yaml_node *map, struct slice key)
{
    for (size_t i = 0; i < map->count; i++)
        if (slice_eq(map->keys[i]->text, key))
            return &map->items[i];
    return NULL;
}

/* The member i of `from` becomes the last of `to`. */
static bool move(struct yaml_node *to, struct yaml_node *from, size_t i, struct err *err)
{
    if (!node_grow(to, err))
        return false;
    to->keys[to->count] = from->keys[i];
    to->items[to->count++] = from->items[i];
    take_out(from, i);
    return true;
}

bool yaml_fill(struct yaml_node *to, struct yaml_node *from, struct err *err)
{
    for (size_t i = 0; i < from->count;) {
        struct yaml_node **there = find(to, from->keys[i]->text);

        if (!there) {
            if (!move(to, from, i, err))
                return false;
            continue;
        }
        if (yaml_is_null(*there)) /* it is not to have it */
            drop(to, from->keys[i]->text);
        else if ((*there)->kind == YAML_MAP && from->items[i]->kind == YAML_MAP &&
                 !yaml_fill(*there, from->items[i], err))
            return false;
        i++;
    }
    return true;
}

bool yaml_override(struct yaml_node *to, struct yaml_node *from, struct err *err)
{
    for (size_t i = 0; i < from->count;) {
        struct yaml_node *node = from->items[i], **there = find(to, from->keys[i]->text);

        if (!there && yaml_is_null(node))
            return yaml_err(node, err, "null takes away what is not there");
        if (!there) {
            if (!move(to, from, i, err))
                return false;
            continue;
        }
        if (yaml_is_null(node))
            drop(to, from->keys[i]->text);
        else if ((*there)->kind == YAML_MAP && node->kind == YAML_MAP) {
            if (!yaml_override(*there, node, err))
                return false;
        } else {
            from->items[i] = *there;
            *there = node;
        }
        i++;
    }
    return true;
}

/* ---- looking ---- */

bool yaml_err(const struct yaml_node *n, struct err *err, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n->file)
        return err_set(err, ERR_CONFIG, "%s, line %u, column %u: %s", n->file, n->line, n->column,
                       text);
    return err_set(err, ERR_CONFIG, "line %u, column %u: %s", n->line, n->column, text);
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->count; i++) {
        if (slice_is(map->keys[i]->text, key))
            return map->items[i];
    }
    return NULL;
}

const struct yaml_node *yaml_at(const struct yaml_node *map, const char *place)
{
    const struct yaml_node *n = map;
    struct slice rest = slice_cstr(place), part;

    while (n && slice_cut(&rest, '.', &part)) {
        struct yaml_node **there =
            n->kind == YAML_MAP ? find((struct yaml_node *)(uintptr_t)n, part) : NULL;

        n = there ? *there : NULL;
    }
    return n;
}

static bool plain_is(const struct yaml_node *n, const char *const *words, size_t count)
{
    if (n->kind != YAML_SCALAR || n->quoted)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (slice_is(n->text, words[i]))
            return true;
    }
    return false;
}

bool yaml_is_null(const struct yaml_node *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};

    return !n || plain_is(n, words, ARRAY_LEN(words));
}

static bool to_bool(const struct yaml_node *n, bool *out)
{
    static const char *const words[] = {"true", "True", "TRUE", "false", "False", "FALSE"};

    if (!plain_is(n, words, ARRAY_LEN(words)))
        return false;
    *out = n->text.len == 4;
    return true;
}

/* 0x1F and 0o17 have no sign in the core schema. */
static bool to_based(struct slice digits, int base, int64_t *out)
{
    int64_t v = 0;

    if (digits.len == 0)
        return false;
    for (size_t i = 0; i < digits.len; i++) {
        int d = char_hex(digits.ptr[i]);

        if (d < 0 || d >= base || v > (INT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *out = v;
    return true;
}

static bool to_int(const struct yaml_node *n, int64_t *out)
{
    struct slice s = n->text;

    if (n->kind != YAML_SCALAR || n->quoted)
        return false;
    if (slice_starts(s, SLICE_LIT("0x")))
        return to_based(slice_sub(s, 2, s.len), 16, out);
    if (slice_starts(s, SLICE_LIT("0o")))
        return to_based(slice_sub(s, 2, s.len), 8, out);
    if (slice_starts(s, SLICE_LIT("+")) && !slice_starts(s, SLICE_LIT("+-")))
        s = slice_sub(s, 1, s.len);
    return slice_to_i64(s, out);
}

static bool complain(const struct yaml_node *n, const char *name, const char *want, struct err *err)
{
    if (!n)
        return err_set(err, ERR_CONFIG, "'%s' is missing", name);
    return yaml_err(n, err, "'%s' must be %s", name, want);
}

bool yaml_str(const struct yaml_node *n, const char *name, struct slice *out, struct err *err)
{
    bool flag;

    if (!n || n->kind != YAML_SCALAR)
        return complain(n, name, "text", err);
    if (yaml_is_null(n))
        return complain(n, name, "text; it is empty", err);
    if (to_bool(n, &flag))
        return complain(n, name, "text; put it in quotes if that is meant", err);
    *out = n->text;
    return true;
}

bool yaml_int(const struct yaml_node *n, const char *name, int64_t *out, struct err *err)
{
    return (n && to_int(n, out)) || complain(n, name, "a whole number", err);
}

bool yaml_bool(const struct yaml_node *n, const char *name, bool *out, struct err *err)
{
    return (n && to_bool(n, out)) || complain(n, name, "true or false", err);
}

bool yaml_expect(const struct yaml_node *n, const char *name, enum yaml_kind kind, struct err *err)
{
    static const char *const names[] = {
        [YAML_SCALAR] = "a single value", [YAML_LIST] = "a list", [YAML_MAP] = "a map"};

    return (n && n->kind == kind) || complain(n, name, names[kind], err);
}

static bool is_allowed(struct slice key, const char *const *allowed, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_is(key, allowed[i]))
            return true;
    }
    return false;
}

bool yaml_check_keys(const struct yaml_node *map, const char *const *allowed, size_t count,
                     struct err *err)
{
    if (!map || map->kind != YAML_MAP)
        return map ? yaml_err(map, err, "a map is expected here")
                   : err_set(err, ERR_CONFIG, "a map is missing");
    for (size_t i = 0; i < map->count; i++) {
        struct slice key = map->keys[i]->text;
        struct suggest s = suggest_for(key);
        int shown = (int)(key.len < 64 ? key.len : 64);

        if (is_allowed(key, allowed, count))
            continue;
        for (size_t k = 0; k < count; k++)
            suggest_offer(&s, allowed[k]);
        if (s.best)
            return yaml_err(map->keys[i], err, "unknown key '%.*s' (did you mean '%s'?)", shown,
                            key.ptr, s.best);
        return yaml_err(map->keys[i], err, "unknown key '%.*s'", shown, key.ptr);
    }
    return true;
}

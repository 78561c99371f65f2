/* Maps of an envelope: which members are known, which come twice, what a refusal says. */
#include "common/wire_inside.h"

#include <stdio.h>

/* ---- refusals ---- */

static void say_where(const struct place *p, char *out, size_t size)
{
    *out = '\0';
    if (p->index == 0)
        snprintf(out, size, "call.");
    else if (p->index > 0)
        snprintf(out, size, "then[%d].", p->index - 1);
}

bool wire_refuse(struct place *p, const char *rule, const char *why)
{
    char where[24];

    say_where(p, where, sizeof where);
    return err_rule(p->err, ERR_FORMAT, rule, "%s%s%s %s", where, p->inside, p->key, why);
}

static void show_name(struct slice name, char *out, size_t size)
{
    size_t n = name.len < size - 1 ? name.len : size - 1;

    for (size_t i = 0; i < n; i++)
        out[i] = (char)(wire_is_visible(name.ptr[i]) ? name.ptr[i] : '?');
    out[n] = '\0';
}

bool wire_refuse_member(struct place *p, const char *rule, struct slice name, const char *why)
{
    char text[160], shown[48];

    show_name(name, shown, sizeof shown);
    snprintf(text, sizeof text, "member \"%s\" %s", shown, why);
    return wire_refuse(p, rule, text);
}

/* ---- a map's members, by a table of those that are known ---- */

const struct field *wire_field_named(const struct field *fields, size_t n, struct slice name)
{
    for (size_t i = 0; name.len > 0 && i < n; i++) {
        const struct slice *known = &fields[i].name;

        if (known->len == name.len && known->ptr[0] == name.ptr[0] && slice_eq(*known, name))
            return &fields[i];
    }
    return NULL;
}

struct slice wire_read_member(struct reader *r, struct item *it)
{
    struct reader start = *r;

    if (read_item(r, it) != WIRE_FINE) /* not so after check_shape */
        *it = (struct item){.type = ITEM_NIL};
    if (it->type != ITEM_ARR && it->type != ITEM_MAP)
        return slice_of(start.at, (size_t)(r->at - start.at));
    *r = start;
    return read_raw(r);
}

static void note_stranger(struct place *p, struct slice name)
{
    char where[24], shown[48];

    say_where(p, where, sizeof where);
    show_name(name, shown, sizeof shown);
    snprintf(p->e->stranger, sizeof p->e->stranger, "%s%s%s", where, p->inside, shown);
}

/* Unknown members are passed over; the first is noted. One that is known and comes twice would mean
 * one thing to us and another to somebody else's decoder. */
bool wire_walk(struct place *p, struct slice map, const struct field *fields, size_t n)
{
    struct reader r = reader_of(map);
    struct item head, key = {.type = ITEM_NIL}, value;
    uint32_t seen = 0;

    if (read_item(&r, &head) != WIRE_FINE)
        return wire_refuse(p, p->key_rule, "cannot be read");
    for (uint32_t i = 0; i < head.count; i++) {
        const struct field *f;
        struct slice raw;

        if (read_item(&r, &key) != WIRE_FINE || key.type != ITEM_STR) {
            p->key = "keys";
            return wire_refuse(p, p->key_rule,
                               key.type == ITEM_BIN
                                   ? "must be of type str and are bin: tell your MessagePack "
                                     "library that they are text"
                                   : "must be strings");
        }
        f = wire_field_named(fields, n, key.bytes);
        raw = wire_read_member(&r, &value);
        if (!f) {
            if (p->e->stranger[0] == '\0')
                note_stranger(p, key.bytes);
            continue;
        }
        p->key = f->name.ptr;
        if (seen & 1u << (f - fields))
            return wire_refuse(p, "envelope_duplicate_key", "is there twice");
        seen |= 1u << (f - fields);
        if (value.type == ITEM_NIL)
            return wire_refuse(p, f->rule, "is null; leave the key out instead");
        if (!f->read(p, f, &value, raw))
            return false;
    }
    return true;
}

bool wire_take_number(struct place *p, const struct field *f, const struct item *it, uint64_t min,
                      uint64_t max, uint64_t *out)
{
    char why[96];

    if (it->type == ITEM_UINT && it->number >= min && it->number <= max) {
        *out = it->number;
        return true;
    }
    snprintf(why, sizeof why, "must be an integer from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    return wire_refuse(p, f->rule, why);
}

bool wire_take_ms(struct place *p, const struct field *f, const struct item *it, int64_t min,
                  int64_t max, int64_t *out)
{
    uint64_t v = 0;

    if (!wire_take_number(p, f, it, (uint64_t)min, (uint64_t)max, &v))
        return false;
    *out = (int64_t)v;
    return true;
}

int wire_word_index(const struct item *it, const char *const *words)
{
    for (int i = 0; it->type == ITEM_STR && words[i]; i++) {
        if (slice_is(it->bytes, words[i]))
            return i;
    }
    return -1;
}

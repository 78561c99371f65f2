#include "tools/sandbox/form.h"

#include <stdlib.h>
#include <sodium.h>
#include "common/char.h"

/* One byte of text at *i, which is moved past it; -1 when it is a cut or wrong %XX or a NUL. */
static int decode_byte(struct slice text, size_t *i, bool plus_is_space)
{
    char c = text.ptr[(*i)++];
    int high, low;

    if (c == '+' && plus_is_space)
        return ' ';
    if (c != '%')
        return c == '\0' ? -1 : (unsigned char)c;
    if (text.len - *i < 2)
        return -1;
    high = char_hex(text.ptr[*i]);
    low = char_hex(text.ptr[*i + 1]);
    *i += 2;
    if (high < 0 || low < 0 || (high == 0 && low == 0))
        return -1;
    return high * 16 + low;
}

bool form_decode(struct slice text, bool plus_is_space, char *out, size_t *out_len)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len;) {
        int byte = decode_byte(text, &i, plus_is_space);

        if (byte < 0)
            return false;
        out[len++] = (char)byte;
    }
    *out_len = len;
    return true;
}

static bool field_add(struct form *f, struct slice pair, char **out, const char **why)
{
    struct slice name = SLICE_NONE, value = pair;
    struct form_field field = {{*out, 0}, {NULL, 0}};

    slice_cut(&value, '=', &name);
    if (f->count == FORM_MAX) {
        *why = "too many fields";
        return false;
    }
    if (!form_decode(name, true, *out, &field.name.len)) {
        *why = "a field name is not well encoded";
        return false;
    }
    *out += field.name.len;
    field.value.ptr = *out;
    if (!form_decode(value, true, *out, &field.value.len)) {
        *why = "a field value is not well encoded";
        return false;
    }
    *out += field.value.len;
    f->fields[f->count++] = field;
    return true;
}

bool form_parse(struct form *f, struct slice text, const char **why)
{
    struct slice pair;
    char *out;

    *f = (struct form){.text_bytes = text.len};
    if (text.len == 0)
        return true;
    f->text = out = malloc(text.len);
    if (!f->text) {
        *why = "out of memory";
        return false;
    }
    while (slice_cut(&text, '&', &pair)) {
        if (pair.len > 0 && !field_add(f, pair, &out, why)) {
            form_deinit(f);
            return false;
        }
    }
    return true;
}

void form_deinit(struct form *f)
{
    if (!f)
        return;
    if (f->text) {
        sodium_memzero(f->text, f->text_bytes);
        free(f->text);
    }
    f->text = NULL;
    f->text_bytes = 0;
    f->count = 0;
}

static const struct form_field *field_find(const struct form *f, struct slice name)
{
    for (size_t i = 0; i < f->count; i++) {
        if (slice_eq(f->fields[i].name, name))
            return &f->fields[i];
    }
    return NULL;
}

struct slice form_get(const struct form *f, const char *name)
{
    const struct form_field *field = field_find(f, slice_cstr(name));

    return field ? field->value : SLICE_NONE;
}

bool form_has(const struct form *f, const char *name)
{
    return field_find(f, slice_cstr(name)) != NULL;
}

struct slice form_repeated(const struct form *f)
{
    for (size_t i = 0; i < f->count; i++) {
        if (field_find(f, f->fields[i].name) != &f->fields[i])
            return f->fields[i].name;
    }
    return SLICE_NONE;
}

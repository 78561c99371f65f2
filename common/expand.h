/*
 * expand.h - `{name}` in the strings of a call: a top-level property of the step's input.
 * Owns    struct expand owns the parsed input; nothing is parsed before the first `{name}` is met.
 * Thread  whoever owns it.
 * Errors  ERR_FORMAT: expand_input_not_object, expand_property_missing, expand_value_not_scalar,
 *         expand_too_big.
 *
 * `{name}`, name = [A-Za-z_][A-Za-z0-9_-]*, is replaced; `{{name}}` writes `{name}`; any other
 * brace is itself. In text a string stands as it is, numbers and booleans in JSON spelling, null as
 * nothing; objects and arrays have no place in text. In a JSON body a string that is exactly one
 * `{name}` becomes the property's value, of whatever type. The first call has no input: its strings
 * are taken as they are. What comes from the input is never looked at for expressions again.
 */
#ifndef AWQ_EXPAND_H
#define AWQ_EXPAND_H

#include <stdbool.h>
#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct expand;
/* Borrows the input. SLICE_NONE = the first call; an input that is only empty is a step before that
 * answered without a body, and has no properties. NULL when out of memory. */
struct expand *expand_new(struct slice input);
void expand_free(struct expand *x); /* wipes */
/* All of these add to `out`, and leave it as it was when they fail. */
bool expand_text(struct expand *x, struct slice in, struct buf *out, struct err *err);
/* Values are percent-encoded, all but RFC 3986 unreserved characters. */
bool expand_url(struct expand *x, struct slice in, struct buf *out, struct err *err);
/* A MessagePack body as JSON, strings expanded. */
bool expand_json_body(struct expand *x, struct slice value, struct buf *out, struct err *err);
/* The call's URL with its query (expanded, percent-encoded) added. */
struct call;
bool expand_call_url(struct expand *x, const struct call *call, struct buf *out, struct err *err);

#endif

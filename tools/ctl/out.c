#include "tools/ctl/out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX (256u * 1024 * 1024)

static void *must(void *p)
{
    if (p)
        return p;
    fputs("awq-ctl: out of memory\n", stderr);
    exit(1);
}

void out_init(struct out *o, bool json)
{
    *o = (struct out){.json = json};
    buf_init(&o->text, TEXT_MAX);
    jw_init(&o->w, &o->text);
}

static void forget_rows(struct out *o)
{
    for (size_t i = 0; !o->json && i < o->row_count * o->column_count; i++)
        free(o->cells[i]);
    free(o->cells);
    o->cells = NULL;
    o->cell_room = 0;
    o->row_count = 0;
    o->list = false;
}

void out_deinit(struct out *o)
{
    forget_rows(o);
    buf_wipe(&o->text);
}

/* Everything goes out at once: a reader of JSON never sees half of it. */
static void flush(struct out *o)
{
    fwrite(o->text.len > 0 ? o->text.ptr : "", 1, o->text.len, stdout);
    if (o->json && o->text.len > 0)
        putchar('\n');
    fflush(stdout);
    buf_clear(&o->text);
    jw_init(&o->w, &o->text);
}

/* Of n well-formed bytes. */
static uint32_t code_point(const unsigned char *p, size_t n)
{
    uint32_t c = n == 1 ? p[0] : p[0] & (0x7fu >> n);

    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

/* Controls (C0, DEL, C1), and what turns the direction of writing. */
static bool moves_a_terminal(uint32_t c)
{
    return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

void out_clean(struct buf *to, struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;

    for (size_t i = 0, n; i<s.len; i += n> 0 ? n : 1) {
        n = json_utf8_char(p + i, s.len - i);
        if (n == 0 || moves_a_terminal(code_point(p + i, n)))
            buf_add_char(to, '?');
        else
            buf_add(to, s.ptr + i, n);
    }
}

/* ---- lists ---- */

void out_list(struct out *o, const char *const *columns, size_t count)
{
    o->columns = columns;
    o->column_count = count;
    o->row_count = 0;
    o->cell = count;
    o->list = true;
    if (o->json)
        jw_arr(&o->w);
}

void out_row(struct out *o)
{
    if (o->json) {
        if (o->row_count > 0)
            jw_end_obj(&o->w);
        jw_obj(&o->w);
    } else if ((o->row_count + 1) * o->column_count > o->cell_room) {
        o->cell_room = o->cell_room * 2 + o->column_count * 16;
        o->cells = must(realloc(o->cells, o->cell_room * sizeof *o->cells));
    }
    for (size_t i = 0; !o->json && i < o->column_count; i++)
        o->cells[o->row_count * o->column_count + i] = NULL; /* until it is said */
    o->row_count++;
    o->cell = 0;
}

static size_t width_of(const char *s) /* characters, not bytes: UTF-8 tails are not counted */
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *s, size_t width, bool last)
{
    fputs(s, stdout);
    for (size_t n = width_of(s); !last && n < width + 2; n++)
        putchar(' ');
    if (last)
        putchar('\n');
}

static void heading(const char *column, char to[32])
{
    size_t i = 0;

    for (; i < 31 && column[i]; i++)
        to[i] = column[i] == '_'                       ? ' '
                : column[i] >= 'a' && column[i] <= 'z' ? (char)(column[i] - 32)
                                                       : column[i];
    to[i] = '\0';
}

static void print_table(struct out *o)
{
    size_t width[OUT_COLUMNS_MAX];
    char name[32];

    for (size_t c = 0; c < o->column_count; c++) {
        width[c] = strlen(o->columns[c]);
        for (size_t r = 0; r < o->row_count; r++) {
            size_t n = width_of(o->cells[r * o->column_count + c]);

            width[c] = n > width[c] ? n : width[c];
        }
    }
    for (size_t c = 0; c < o->column_count; c++) {
        heading(o->columns[c], name);
        print_cell(name, width[c], c + 1 == o->column_count);
    }
    for (size_t i = 0; i < o->row_count * o->column_count; i++) {
        size_t c = i % o->column_count;

        print_cell(o->cells[i], width[c], c + 1 == o->column_count);
    }
}

void out_list_end(struct out *o, const char *none)
{
    if (o->json) {
        if (o->row_count > 0)
            jw_end_obj(&o->w);
        jw_end_arr(&o->w);
        flush(o);
    } else if (o->row_count == 0) {
        puts(none);
    } else {
        print_table(o);
    }
    fflush(stdout);
    forget_rows(o);
}

void out_list_drop(struct out *o)
{
    forget_rows(o);
    buf_clear(&o->text);
    jw_init(&o->w, &o->text);
}

/* ---- one thing ---- */

void out_thing(struct out *o)
{
    if (o->json)
        jw_obj(&o->w);
}

void out_key(struct out *o, const char *key)
{
    o->key = key;
    if (o->json)
        jw_key(&o->w, key);
}

void out_thing_end(struct out *o)
{
    if (o->json)
        jw_end_obj(&o->w);
    flush(o);
}

/* ---- values ---- */

/* For people: a cell of the table, or a line with its key. */
static void put(struct out *o, struct slice s)
{
    if (o->list) {
        struct buf cell;

        buf_init(&cell, 1 << 20);
        buf_add_cstr(&cell, "");
        out_clean(&cell, s.len > 0 ? s : SLICE_LIT("-"));
        o->cells[(o->row_count - 1) * o->column_count + o->cell++] = must(buf_take(&cell));
        return;
    }
    for (const char *k = o->key; *k; k++)
        buf_add_char(&o->text, *k == '_' ? ' ' : *k);
    buf_add_cstr(&o->text, ": ");
    out_clean(&o->text, s.len > 0 ? s : SLICE_LIT("-"));
    buf_add_char(&o->text, '\n');
}

static void json_key(struct out *o)
{
    if (o->list)
        jw_key(&o->w, o->columns[o->cell++]);
}

void out_text(struct out *o, struct slice s)
{
    if (!o->json) {
        put(o, s);
        return;
    }
    json_key(o);
    jw_str(&o->w, s);
}

void out_cstr(struct out *o, const char *s)
{
    out_text(o, slice_cstr(s));
}

void out_int(struct out *o, int64_t n)
{
    char text[24];

    if (o->json) {
        json_key(o);
        jw_int(&o->w, n);
        return;
    }
    snprintf(text, sizeof text, "%" PRId64, n);
    put(o, slice_cstr(text));
}

void out_bool(struct out *o, bool b)
{
    if (o->json) {
        json_key(o);
        jw_bool(&o->w, b);
        return;
    }
    put(o, b ? SLICE_LIT("yes") : SLICE_LIT("no"));
}

static void span(int64_t ms, char *to, size_t size)
{
    int64_t s = ms / 1000;

    if (ms < 10000)
        snprintf(to, size, "%.1fs", (double)ms / 1000);
    else if (s < 120)
        snprintf(to, size, "%" PRId64 "s", s);
    else if (s < 7200)
        snprintf(to, size, "%" PRId64 "m", s / 60);
    else if (s < 48 * 3600)
        snprintf(to, size, "%" PRId64 "h", s / 3600);
    else
        snprintf(to, size, "%" PRId64 "d", s / 86400);
}

void out_time(struct out *o, int64_t unix_ms)
{
    time_t s = (time_t)(unix_ms / 1000);
    char text[80] = "", far[24];
    struct tm tm;

    if (o->json) {
        json_key(o);
        if (unix_ms > 0)
            jw_int(&o->w, unix_ms);
        else
            jw_null(&o->w);
        return;
    }
    if (unix_ms > 0 && gmtime_r(&s, &tm)) {
        size_t n = strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);

        if (o->now_ms > 0) {
            span(llabs(unix_ms - o->now_ms), far, sizeof far);
            snprintf(text + n, sizeof text - n, unix_ms > o->now_ms ? " (in %s)" : " (%s ago)",
                     far);
        }
    }
    put(o, slice_cstr(text));
}

void out_age(struct out *o, int64_t ms)
{
    char text[24] = "";

    if (o->json) {
        json_key(o);
        if (ms >= 0)
            jw_int(&o->w, ms);
        else
            jw_null(&o->w);
        return;
    }
    if (ms >= 0)
        span(ms, text, sizeof text);
    put(o, slice_cstr(text));
}

void out_json(struct out *o, struct slice json)
{
    if (!o->json) {
        put(o, json);
        return;
    }
    json_key(o);
    jw_raw(&o->w, json);
}

void out_note(struct out *o, const char *fmt, ...)
{
    struct slice rest, line;
    struct buf clean;
    va_list ap;
    char *text;
    int len;

    if (o->json)
        return;
    va_start(ap, fmt);
    len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    text = must(malloc((size_t)len + 1));
    va_start(ap, fmt);
    vsnprintf(text, (size_t)len + 1, fmt, ap);
    va_end(ap);
    rest = slice_of(text, (size_t)len);
    buf_init(&clean, (size_t)len + 16);
    while (slice_cut(&rest, '\n', &line)) { /* what others wrote may be in it; lines are ours */
        out_clean(&clean, line);
        buf_add_char(&clean, '\n');
    }
    fputs(len > 0 ? clean.ptr : "\n", stdout);
    buf_deinit(&clean);
    free(text);
}

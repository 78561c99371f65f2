/* The pages about settings: help, the Markdown table, the settings in use. */
#include "common/config_inside.h"

#include <stdio.h>
#include <string.h>

static const char *value_name(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_STR:
        return "TEXT";
    case CONFIG_PATH:
        return "PATH";
    case CONFIG_CHOICE:
        return row->choices;
    case CONFIG_BOOL:
        return "";
    case CONFIG_INT:
        return "N";
    case CONFIG_MS:
        return "TIME";
    case CONFIG_SIZE:
        return "SIZE";
    case CONFIG_LIST:
        return "A,B,...";
    }
    return "";
}

static void help_row(const struct config_row *row, struct buf *out)
{
    char flag[160], bounds[80];

    config_bounds_text(row, bounds, sizeof bounds);
    if (row->type == CONFIG_BOOL)
        snprintf(flag, sizeof flag, "--%s, --no-%s", row->name, row->name);
    else
        snprintf(flag, sizeof flag, "--%s %s", row->name, value_name(row));
    if (strlen(flag) > 26)
        buf_addf(out, "  %s\n%29s", flag, "");
    else
        buf_addf(out, "  %-26s ", flag);
    buf_add_cstr(out, row->help);
    if (bounds[0] && row->type != CONFIG_STR)
        buf_addf(out, "; %s%s", bounds, row->type == CONFIG_LIST ? " of them" : "");
    if (row->def)
        buf_addf(out, " (default %s)", row->def[0] ? row->def : "empty");
    buf_add_char(out, '\n');
}

bool config_help(const struct config_spec *spec, struct buf *out)
{
    buf_addf(out, "Usage: %s %s\n", spec->program, spec->usage ? spec->usage : "[settings]");
    if (spec->about)
        buf_addf(out, "%s\n", spec->about);
    buf_add_cstr(out, "\nSettings. Each can also be a line `name = value` in the file, or "
                      "AWQ_NAME in the environment\n(--redis-url is AWQ_REDIS_URL); flags beat "
                      "the environment, which beats the file.\n\n");
    for (size_t i = 0; i < spec->row_count; i++)
        help_row(&spec->rows[i], out);
    buf_add_cstr(out, "\n  --config FILE              read settings from FILE (or AWQ_CONFIG)\n"
                      "  --print-config             show every setting and where it came from\n"
                      "  --help-markdown            this list as a Markdown page\n"
                      "  --help, --version\n");
    return buf_ok(out);
}

/* A cell: a bar would end it. */
static void add_cell(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
}

bool config_markdown(const struct config_spec *spec, struct buf *out)
{
    char env[CONFIG_NAME_MAX + 8], allowed[160];

    buf_add_cstr(out, "| setting | environment | value | default | reload | meaning |\n"
                      "|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < spec->row_count; i++) {
        const struct config_row *row = &spec->rows[i];

        config_env_name(row, env);
        config_allowed_text(row, allowed, sizeof allowed);
        buf_addf(out, "| `%s` | `%s`%s | ", row->name, env,
                 row->flags & CONFIG_SECRET ? " or its `_FILE`" : "");
        add_cell(out, row->type == CONFIG_PATH ? "a path" : allowed);
        buf_addf(out, " | %s%s%s | %s | ", row->def ? "`" : "", row->def ? row->def : "",
                 row->def ? "`" : "", row->flags & CONFIG_RELOADABLE ? "yes" : "no");
        add_cell(out, row->help);
        buf_add_cstr(out, " |\n");
    }
    return buf_ok(out);
}

bool config_print(const struct config *c, struct buf *out)
{
    char from[192];

    for (size_t i = 0; i < c->spec->row_count; i++) {
        const struct config_row *row = &c->spec->rows[i];
        const struct config_value *v = &c->now.values[i];

        config_source_text(&c->now, row, v, from, sizeof from);
        if (!v->text)
            buf_addf(out, "# %s is not set\n", row->name);
        else if (row->flags & CONFIG_SECRET)
            buf_addf(out, "# %s is set, not shown  # %s\n", row->name, from);
        else
            buf_addf(out, "%s = %s  # %s\n", row->name, v->text, from);
    }
    return buf_ok(out);
}

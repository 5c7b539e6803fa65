/*
 * larder import NAME FILE.csv: sql/import/NAME.sql once for each row, all in one transaction of the writer.
 *
 * The file is read and understood as a whole before the transaction begins, so a row that is no CSV costs nobody anything; what
 * the database refuses is found inside it, and takes everything back. Either way the message names the line. A column is bound under
 * its header's name, and only where the SQL names it.
 *
 * Invariant: what is to be purged is committed with the data, in the outbox, so that nothing can come between the two. The cache is told
 * after the commit; where it cannot be, the server finds the purge in the outbox, and the message says so.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "cli.h"
#include "command_writer.h"
#include "config/catalog.h"
#include "store/csv.h"
#include "store/writer_client.h"

#define FILE_MAX (1u << 30)
#define SQL_MAX (1u << 20)
#define ARENA_LIMIT (64u << 20)
#define PROGRESS_ROWS 1000

struct import {
    const char *file;
    struct buf text;           /* of the CSV */
    struct arena *header_arena, *row_arena;
    struct params_value columns[PARAMS_MAX]; /* names; values are filled in row by row */
    size_t cells[PARAMS_MAX];  /* where each stands in a row */
    size_t columns_count, header_cells;
    struct csv csv;
    struct buf why;
    bool on_terminal;
    uint64_t rows;
};

/* Whether SQL names the parameter :NAME anywhere. */
static bool sql_names(struct str sql, struct str name)
{
    struct buf wanted = {0};
    bool found = false;
    buf_printf(&wanted, ":%.*s", STR_ARG(name));
    for (const char *at = sql.p; !found && (at = memmem(at, sql.len - (size_t)(at - sql.p), wanted.p, wanted.len)); at++) {
        size_t end = (size_t)(at - sql.p) + wanted.len;
        char next = end < sql.len ? sql.p[end] : ' ';
        found = !(next == '_' || (next >= '0' && next <= '9') || (next >= 'a' && next <= 'z') || (next >= 'A' && next <= 'Z'));
    }
    buf_free(&wanted);
    return found;
}

/* The header: which columns the SQL wants, and where they stand. */
static enum err read_header(struct import *import, struct str sql)
{
    struct str cells[CSV_CELLS_MAX];
    const char *problem = "the file is empty: its first line must name the columns";
    csv_init(&import->csv, buf_str(&import->text));
    enum err err = csv_next(&import->csv, import->header_arena, cells, &import->header_cells, &problem);
    if (err != ERR_OK) {
        buf_printf(&import->why, "%s:%u: %s", import->file, import->csv.line, problem);
        return ERR_SYNTAX;
    }
    for (size_t i = 0; i < import->header_cells; i++) {
        struct str name = csv_parameter_name(cells[i], import->header_arena);
        for (size_t k = 0; k < import->columns_count; k++)
            if (str_equal(import->columns[k].name, name)) {
                buf_printf(&import->why, "%s:1: two columns would both be the parameter :%.*s", import->file, STR_ARG(name));
                return ERR_EXISTS;
            }
        if (!sql_names(sql, name))
            continue;
        if (import->columns_count == PARAMS_MAX) {
            buf_printf(&import->why, "%s:1: the SQL names more than %d of the columns", import->file, PARAMS_MAX);
            return ERR_LIMIT;
        }
        import->cells[import->columns_count] = i;
        import->columns[import->columns_count++] = (struct params_value){.name = name, .type = PARAMS_TEXT};
    }
    if (import->columns_count > 0)
        return ERR_OK;
    if (import->header_cells == 1 && cells[0].len > 0 && memchr(cells[0].p, ';', cells[0].len))
        buf_printf(&import->why, "%s:1: the header is one column; put commas between the cells, not semicolons", import->file);
    else
        buf_printf(&import->why,
                   "%s:1: the SQL names none of these columns; the first line is the header, and a column called `P/E Ratio` is the parameter "
                   ":p_e_ratio", import->file);
    return ERR_SYNTAX;
}

/* A cell as a value: NULL when empty, a number when it is written just as a number of its value is, else text. So `007` and `1.50` stay what
 * they are in a text column, and a real number is the nearest one, which SQLite's own conversion of text often misses. */
static void take_cell(struct str cell, struct params_value *value)
{
    enum { DIGITS_KEPT = 15 }; /* what a text column gives back of a real number */
    struct buf written = {0};
    value->text = cell;
    value->is_null = cell.len == 0;
    if (str_to_int64(cell, &value->integer) == ERR_OK) {
        buf_add_int64(&written, value->integer);
        value->type = str_equal(buf_str(&written), cell) ? PARAMS_INTEGER : PARAMS_TEXT;
    } else if (cell.len <= DIGITS_KEPT && str_to_double(cell, &value->number) == ERR_OK) {
        buf_add_double(&written, value->number);
        value->type = str_equal(buf_str(&written), cell) ? PARAMS_NUMBER : PARAMS_TEXT;
    }
    buf_free(&written);
}

/* The next row as values. ERR_NOT_FOUND at the end. */
static enum err read_row(struct import *import, struct params_values *values)
{
    struct str cells[CSV_CELLS_MAX];
    size_t count;
    const char *problem;
    arena_reset(import->row_arena);
    enum err err = csv_next(&import->csv, import->row_arena, cells, &count, &problem);
    if (err == ERR_NOT_FOUND)
        return err;
    unsigned line = import->csv.record_line;
    if (err == ERR_OK && count != import->header_cells) {
        buf_printf(&import->why, "%s:%u: %zu cells where the header has %zu", import->file, line, count, import->header_cells);
        return ERR_SYNTAX;
    }
    if (err != ERR_OK) {
        buf_printf(&import->why, "%s:%u: %s", import->file, line, problem);
        return err;
    }
    values->count = import->columns_count;
    for (size_t i = 0; i < import->columns_count; i++) {
        struct str cell = cells[import->cells[i]];
        if (!str_is_utf8(cell)) {
            buf_printf(&import->why, "%s:%u: column :%.*s is not UTF-8 text", import->file, line, STR_ARG(import->columns[i].name));
            return ERR_SYNTAX;
        }
        values->items[i] = import->columns[i];
        take_cell(cell, &values->items[i]);
    }
    return ERR_OK;
}

/* Back to the first row behind the header. */
static void rewind_rows(struct import *import)
{
    struct str cells[CSV_CELLS_MAX];
    size_t count;
    const char *problem;
    csv_init(&import->csv, buf_str(&import->text));
    arena_reset(import->row_arena);
    (void)!csv_next(&import->csv, import->row_arena, cells, &count, &problem);
}

static void show_progress(const struct import *import, uint64_t done, bool last)
{
    if (import->on_terminal && (last || done % PROGRESS_ROWS == 0))
        fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " rows%s", done, import->rows, last ? "\n" : "");
}

/* First pass: everything is CSV, and how much there is. */
static enum err count_rows(struct import *import)
{
    struct params_values values;
    enum err err;
    import->rows = 0;
    rewind_rows(import);
    while ((err = read_row(import, &values)) == ERR_OK)
        import->rows++;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* Which line row number ROW (from 0) begins at. */
static unsigned line_of_row(struct import *import, uint64_t row)
{
    struct params_values values;
    rewind_rows(import);
    for (uint64_t i = 0; i <= row; i++)
        if (read_row(import, &values) != ERR_OK)
            break;
    return import->csv.record_line;
}

/* Second pass: every row to the writer, then the commit, with what is to be purged. */
static enum err send_rows(struct import *import, struct writer_client *client, const struct resource *script, int64_t *outbox_id)
{
    struct buf why = {0};
    struct params_values values;
    uint64_t done = 0, failed_row = 0;
    bool unknown = false;
    rewind_rows(import);
    enum err err = writer_client_batch_begin(client, script->sql, script->purge_count > 0, &why);
    while (err == ERR_OK && (err = read_row(import, &values)) == ERR_OK) {
        err = writer_client_batch_row(client, &values, &why);
        done++;
        show_progress(import, done, done == import->rows);
    }
    if (err == ERR_NOT_FOUND) {
        failed_row = UINT64_MAX;
        err = writer_client_batch_commit(client, script->purge, script->purge_count, &failed_row, outbox_id, &why);
        unknown = err == ERR_IO || err == ERR_TIMEOUT;
        if (err != ERR_OK && failed_row != UINT64_MAX)
            buf_printf(&import->why, "%s:%u: ", import->file, line_of_row(import, failed_row));
    }
    if (err != ERR_OK)
        buf_printf(&import->why, "%s; %s", why.p ? why.p : err_text(err),
                   unknown ? "look whether the rows are in the database before you import them again" : "nothing was imported");
    buf_free(&why);
    return err;
}

/* Carries out the script's purge line. What cannot be told now stays in the outbox, and the server carries it out. */
static void purge(const struct config *config, const struct resource *script, const struct command_writer *writer,
                  struct writer_client *client, int64_t outbox_id)
{
    /* Then there is most likely no server, and so no cache that could hold anything old. */
    const bool alone = str_equal(str_from(config->redis.url), STR("memory:")) && !command_writer_is_servers(writer);
    struct buf why = {0};
    uint64_t removed;
    enum err err = script->purge_count == 0 ? ERR_OK : cli_purge_items(config, script->purge, script->purge_count, &removed, &why);
    if (err != ERR_OK && !(alone && err == ERR_UNAVAILABLE))
        fprintf(stderr, "larder: the rows are in the database; what they make old leaves the cache as soon as a server can tell it: %s\n",
                why.p ? why.p : err_text(err));
    else if (err == ERR_OK && outbox_id != 0)
        (void)!writer_client_drained(client, &outbox_id, 1); /* a row that stays is only carried out once more */
    buf_free(&why);
}

static enum err load_script(const struct config *config, const char *name, struct resource *script)
{
    struct buf path = {0}, text = {0};
    struct report *report = report_new();
    buf_printf(&path, "%s/import/%s.sql", config->store.sql, name);
    enum err err = strchr(name, '/') ? ERR_NOT_FOUND : sys_read_file(path.p, SQL_MAX, &text);
    if (err != ERR_OK)
        report_add(report, path.p, 0, 0, "%s; NAME of `larder import` is that of a file in %s/import", err_text(err), config->store.sql);
    else
        err = catalog_parse_import(buf_str(&text), path.p, report, script);
    cli_print_report(report);
    report_free(&report);
    buf_free(&path);
    buf_free(&text);
    return err;
}

static enum err run(struct import *import, const struct config *config, const char *config_path, const struct resource *script)
{
    enum err err = sys_read_file(import->file, FILE_MAX, &import->text);
    if (err != ERR_OK) {
        buf_printf(&import->why, "%s: %s", import->file, err_text(err));
        return err;
    }
    if ((err = read_header(import, script->sql)) != ERR_OK || (err = count_rows(import)) != ERR_OK) {
        buf_add_str(&import->why, STR("; nothing was imported"));
        return err;
    }
    struct command_writer *writer;
    if ((err = command_writer_start(config, config_path, -1, &writer, &import->why)) != ERR_OK)
        return err;
    struct writer_client *client = writer_client_new(config, NULL);
    int64_t outbox_id = 0;
    err = send_rows(import, client, script, &outbox_id);
    if (err == ERR_OK)
        purge(config, script, writer, client, outbox_id);
    writer_client_free(&client);
    command_writer_stop(&writer);
    return err;
}

int cli_import(const struct cli *cli)
{
    struct config *config;
    struct resource script = {0};
    if (cli->argc != 2) {
        fprintf(stderr, "usage: larder import NAME FILE.csv\n");
        return 2;
    }
    if (!cli_load_config(cli, &config))
        return 2;
    if (load_script(config, cli->argv[0], &script) != ERR_OK) {
        config_free(&config);
        return 2;
    }
    struct import import = {.file = cli->argv[1], .on_terminal = isatty(STDERR_FILENO)};
    import.header_arena = arena_new(4096, ARENA_LIMIT);
    import.row_arena = arena_new(4096, ARENA_LIMIT);
    enum err err = run(&import, config, cli_config_path(cli), &script);
    if (err == ERR_OK)
        printf("%" PRIu64 " rows imported\n", import.rows);
    else
        fprintf(stderr, "larder: %s\n", import.why.p ? import.why.p : err_text(err));
    arena_free(&import.header_arena);
    arena_free(&import.row_arena);
    buf_free(&import.text);
    buf_free(&import.why);
    catalog_resource_fini(&script);
    config_free(&config);
    return err == ERR_OK ? 0 : 1;
}

/*
 * fuzz_csv: what the reader accepts means the same when it is written and read again.
 *
 * Each text is read twice: as it is, and as the records of the first reading written with every cell quoted. The second
 * reading must succeed and give the same cells. Line numbers must grow, and each cell must be UTF-8 without NUL. It
 * does not judge what ought to be refused: the unit tests do.
 */
#include "store/csv.h"

#include <stdlib.h>

enum { ARENA_BYTES = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void write_cell(struct str cell, struct buf *out)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < cell.len; i++) {
        if (cell.p[i] == '"')
            buf_add_char(out, '"');
        buf_add_char(out, cell.p[i]);
    }
    buf_add_char(out, '"');
}

/* Reads TEXT to its end or first error and writes what was read, in one canonical form. */
static enum err rewrite(struct str text, struct arena *arena, struct buf *out)
{
    struct str cells[CSV_CELLS_MAX];
    struct csv csv;
    size_t count = 0;
    unsigned line = 0;
    const char *why = NULL;
    enum err err;

    csv_init(&csv, text);
    while ((err = csv_next(&csv, arena, cells, &count, &why)) == ERR_OK) {
        require(count > 0 && count <= CSV_CELLS_MAX);
        require(csv.record_line > line);
        line = csv.record_line;
        for (size_t i = 0; i < count; i++) {
            require(str_is_utf8(cells[i]) && (cells[i].len == 0 || !memchr(cells[i].p, '\0', cells[i].len)));
            if (i > 0)
                buf_add_char(out, ',');
            write_cell(cells[i], out);
            struct str name = csv_parameter_name(cells[i], arena);
            require(name.len <= cells[i].len);
        }
        buf_add_str(out, STR("\r\n"));
    }
    require(err == ERR_NOT_FOUND || why);
    require(csv.rest.len == 0);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct arena *arena;
    struct buf first = {0}, second = {0};

    if (!arena)
        arena = arena_new(65536, ARENA_BYTES);
    arena_reset(arena);
    enum err err = rewrite((struct str){(const char *)data, size}, arena, &first);
    arena_reset(arena);
    if (err != ERR_LIMIT) {
        require(rewrite(buf_str(&first), arena, &second) == ERR_NOT_FOUND);
        require(str_equal(buf_str(&first), buf_str(&second)));
    }
    buf_free(&first);
    buf_free(&second);
    return 0;
}

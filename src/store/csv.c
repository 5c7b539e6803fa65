/*
 * csv: a strict reader of RFC 4180, for people's spreadsheets.
 *
 * One record at a time; a cell borrows from the text unless doubled quotes had to be undone. Where the RFC leaves room,
 * or where programs guess, this one stops and says at which line: a guess here becomes wrong data in somebody's
 * database.
 *
 * Invariant: every byte of the text is in exactly one record or between records, and `line` has counted each line end
 * up to the rest, inside quotes too. Nothing is trimmed, and an empty quoted cell is the same as an empty bare one.
 * What the cells mean is not known here.
 */
#include "store/csv.h"

void csv_init(struct csv *csv, struct str text)
{
    static const struct str mark = {"\xef\xbb\xbf", 3};

    if (str_starts(text, mark))
        text = (struct str){text.p + mark.len, text.len - mark.len};
    *csv = (struct csv){.rest = text, .line = 1, .record_line = 1};
}

/* The length of the line end at the start of TEXT, 0 when there is none. */
static size_t line_end(struct str text)
{
    if (text.len > 0 && text.p[0] == '\n')
        return 1;
    return text.len > 1 && text.p[0] == '\r' && text.p[1] == '\n' ? 2 : 0;
}

static void skip(struct csv *csv, size_t len)
{
    csv->rest = (struct str){csv->rest.p + len, csv->rest.len - len};
}

/* TEXT with each pair of quotes made one. */
static struct str undouble(struct str text, struct arena *arena)
{
    char *copy = arena_alloc(arena, text.len);
    size_t len = 0;

    if (!copy)
        return (struct str){0};
    for (size_t i = 0; i < text.len; i++) {
        copy[len++] = text.p[i];
        if (text.p[i] == '"')
            i++;
    }
    return (struct str){copy, len};
}

static enum err quoted_cell(struct csv *csv, struct arena *arena, struct str *cell, const char **why)
{
    struct str text = {csv->rest.p + 1, 0};
    size_t left = csv->rest.len - 1;
    bool doubled = false;

    for (; text.len < left; text.len++) {
        char c = text.p[text.len];
        if (c == '"') {
            if (text.len + 1 == left || text.p[text.len + 1] != '"')
                break;
            doubled = true;
            text.len++;
        }
        csv->line += c == '\n';
    }
    if (text.len >= left) {
        *why = "a quoted cell is never closed: write a quote at its end, and two for a quote inside it";
        return ERR_SYNTAX;
    }
    skip(csv, text.len + 2);
    if (csv->rest.len > 0 && csv->rest.p[0] != ',' && line_end(csv->rest) == 0) {
        *why = "text follows a closing quote: a quote inside a quoted cell is written twice";
        return ERR_SYNTAX;
    }
    *cell = doubled ? undouble(text, arena) : text;
    return ERR_OK;
}

static enum err bare_cell(struct csv *csv, struct str *cell, const char **why)
{
    struct str text = {csv->rest.p, 0};

    for (; text.len < csv->rest.len; text.len++) {
        char c = text.p[text.len];
        if (c == ',' || c == '\n')
            break;
        if (c == '"') {
            *why = "a quote inside a cell that is not quoted: quote the whole cell and write the quote twice";
            return ERR_SYNTAX;
        }
        if (c == '\r') {
            if (line_end((struct str){csv->rest.p + text.len, csv->rest.len - text.len}))
                break;
            *why = "a carriage return without a line feed";
            return ERR_SYNTAX;
        }
    }
    skip(csv, text.len);
    *cell = text;
    return ERR_OK;
}

static enum err read_cell(struct csv *csv, struct arena *arena, struct str *cell, const char **why)
{
    enum err err =
        csv->rest.len > 0 && csv->rest.p[0] == '"' ? quoted_cell(csv, arena, cell, why) : bare_cell(csv, cell, why);

    if (err != ERR_OK)
        return err;
    if (arena_overflowed(arena)) {
        *why = "the record is too large";
        return ERR_LIMIT;
    }
    if (cell->len > 0 && memchr(cell->p, '\0', cell->len)) {
        *why = "a zero byte";
        return ERR_SYNTAX;
    }
    if (!str_is_utf8(*cell)) {
        *why = "text that is not UTF-8: save the file as UTF-8 first";
        return ERR_SYNTAX;
    }
    return ERR_OK;
}

static enum err read_record(struct csv *csv, struct arena *arena, struct str *cells, size_t *count, const char **why)
{
    for (size_t i = 0; i < CSV_CELLS_MAX; i++) {
        enum err err = read_cell(csv, arena, &cells[i], why);
        if (err != ERR_OK)
            return err;
        if (csv->rest.len > 0 && csv->rest.p[0] == ',') {
            skip(csv, 1);
            continue;
        }
        csv->line += csv->rest.len > 0;
        skip(csv, line_end(csv->rest));
        *count = i + 1;
        return ERR_OK;
    }
    *why = "more cells than a record may have";
    return ERR_LIMIT;
}

enum err csv_next(struct csv *csv, struct arena *arena, struct str *cells, size_t *count, const char **why)
{
    size_t blank;

    while ((blank = line_end(csv->rest)) > 0) {
        skip(csv, blank);
        csv->line++;
    }
    csv->record_line = csv->line;
    if (csv->rest.len == 0)
        return ERR_NOT_FOUND;
    enum err err = read_record(csv, arena, cells, count, why);
    if (err != ERR_OK)
        skip(csv, csv->rest.len);
    return err;
}

struct str csv_parameter_name(struct str header, struct arena *arena)
{
    char *name = arena_alloc(arena, header.len + 1);
    size_t len = 0;

    if (!name)
        return (struct str){0};
    for (size_t i = 0; i < header.len; i++) {
        unsigned char c = (unsigned char)header.p[i];
        if (c >= 'A' && c <= 'Z')
            name[len++] = (char)(c | 0x20);
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            name[len++] = (char)c;
        else if ((c & 0xc0) != 0x80) /* one for a character of several bytes */
            name[len++] = '_';
    }
    name[len] = '\0';
    return (struct str){name, len};
}

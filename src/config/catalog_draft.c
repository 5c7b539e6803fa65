/*
 * catalog_draft: the lines at the top of a .sql file.
 *
 * Invariant: whatever the bytes, a draft that was read holds only UTF-8 text without control characters other than tabs
 * and line ends, so that each of its views can be shown to a person; and every view lies in the draft's own copy of the
 * file, so that a place in it can be named with line and column.
 *
 * A word that is not known is wrong, and so is a known one that comes too late to be read: front matter that is
 * silently ignored is worse than none. What the values mean is not known here, and of the SQL no more than how larder's
 * own parameters would stand in it. A byte order mark and CRLF line ends are accepted.
 */
#include "config/catalog_draft.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/sys.h"
#include "config/config_nearest.h"

enum { EXAMPLE_BYTES = 1024, EXAMPLE_BYTES_MAX = 1 << 20 };

static const char *const word_names[CATALOG_DRAFT_WORDS] = {
    "name",    "doc",  "route", "param", "key",  "shape", "ttl",     "stale", "stale_if_error", "negative",
    "max_age", "tags", "purge", "write", "auth", "limit", "timeout", "warm",  "tables",         "example"};

const char *catalog_draft_word(enum catalog_draft_word word)
{
    return word_names[word];
}

void catalog_draft_complain(struct catalog_draft *draft, const char *at, const char *format, ...)
{
    unsigned line = 1, column = 0;
    va_list arguments;
    char *text;
    int len;

    if (at)
        catalog_locate(&draft->out, at, &line, &column);
    va_start(arguments, format);
    len = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (len < 0)
        return;
    report_add(draft->report, draft->out.file.p, line, column, "%s", text);
    free(text);
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* Cuts a line, without its end, from *REST. */
static struct str take_line(struct str *rest)
{
    struct str line = str_cut(rest, '\n');

    if (line.len > 0 && line.p[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* Whether LINE is a comment that begins with a word; AFTER is what follows it. */
static bool split_comment(struct str line, struct str *word, struct str *after)
{
    struct str rest = line;
    size_t len = 0;

    if (!str_starts(rest, STR("--")))
        return false;
    rest = str_trim((struct str){rest.p + 2, rest.len - 2});
    while (len < rest.len && is_word_char(rest.p[len]) && (len > 0 || is_letter(rest.p[0])))
        len++;
    *word = (struct str){rest.p, len};
    *after = (struct str){rest.p + len, rest.len - len};
    return len > 0;
}

/* Whether LINE is `-- word: value`. */
static bool split_line(struct str line, struct str *word, struct str *value)
{
    struct str after;

    if (!split_comment(line, word, &after) || after.len == 0 || after.p[0] != ':')
        return false;
    *value = str_trim((struct str){after.p + 1, after.len - 1});
    return true;
}

static bool known_word(const struct catalog_draft *draft, struct str text, enum catalog_draft_word *out)
{
    for (size_t i = 0; i < CATALOG_DRAFT_WORDS; i++)
        if (str_equal(text, str_from(word_names[i]))) {
            *out = (enum catalog_draft_word)i;
            return !draft->import || i == CATALOG_DRAFT_NAME || i == CATALOG_DRAFT_DOC || i == CATALOG_DRAFT_PURGE;
        }
    return false;
}

static void refuse_word(struct catalog_draft *draft, struct str text)
{
    const char *nearest = config_nearest(text, word_names, CATALOG_DRAFT_WORDS);

    if (draft->import)
        catalog_draft_complain(draft, text.p, "`%.*s:` means nothing in an import; it may have name, doc and purge",
                               STR_ARG(text));
    else if (nearest)
        catalog_draft_complain(draft, text.p, "`%.*s:` is unknown; did you mean `%s:`?", STR_ARG(text), nearest);
    else
        catalog_draft_complain(draft, text.p, "`%.*s:` is unknown; an ordinary comment goes below an empty line",
                               STR_ARG(text));
}

static void keep_word(struct catalog_draft *draft, struct str text, struct str value)
{
    enum catalog_draft_word word;

    if (!known_word(draft, text, &word)) {
        refuse_word(draft, text);
    } else if (value.len == 0) {
        catalog_draft_complain(draft, text.p, "`%.*s:` has no value; give one or remove the line", STR_ARG(text));
        draft->words[word] = value; /* given, though wrong: not to be reported as missing too */
    } else if (word == CATALOG_DRAFT_PARAM) {
        if (draft->params_count == PARAMS_MAX)
            catalog_draft_complain(draft, text.p, "too many parameters; %d is the most", PARAMS_MAX);
        else
            draft->params[draft->params_count++] = value;
    } else if (draft->words[word].p) {
        catalog_draft_complain(draft, text.p, "`%.*s:` stands twice", STR_ARG(text));
    } else {
        draft->words[word] = value;
    }
}

/* A known word without its colon at the beginning of LINE, which is the one that ended the front matter. */
static void find_bare_word(struct catalog_draft *draft, struct str line)
{
    struct str text, after;
    enum catalog_draft_word word;

    if (split_comment(line, &text, &after) && after.len > 0 && after.p[0] != ':' && known_word(draft, text, &word))
        catalog_draft_complain(
            draft, text.p,
            "`%.*s` has no colon right behind it; write `-- %.*s: value`, or leave an empty line above "
            "an ordinary comment",
            STR_ARG(text), STR_ARG(text));
}

/* Known words in the comments between the front matter's end and the SQL: somebody believes that they count. */
static void find_late_words(struct catalog_draft *draft, struct str rest)
{
    struct str text, value;
    enum catalog_draft_word word;

    while (rest.len > 0) {
        struct str line = str_trim(take_line(&rest));

        if (line.len > 0 && !str_starts(line, STR("--")))
            return;
        if (split_line(line, &text, &value) && known_word(draft, text, &word))
            catalog_draft_complain(draft, text.p, "`%.*s:` is not read here; such lines stand together at the very top",
                                   STR_ARG(text));
    }
}

static void read_front_matter(struct catalog_draft *draft, struct str text)
{
    struct str rest = text, after, word, value;

    draft->out.sql_line = 1;
    for (after = rest; after.len > 0; rest = after, draft->out.sql_line++) {
        if (!split_line(take_line(&after), &word, &value))
            break;
        keep_word(draft, word, value);
    }
    draft->out.sql = rest.len > 0 ? rest : (struct str){text.p + text.len, 0};
    after = rest;
    find_bare_word(draft, take_line(&after));
    find_late_words(draft, rest);
}

/* What cannot be shown to a person, or not in one way, is refused before anything is read. */
static bool check_encoding(struct catalog_draft *draft, struct str text)
{
    for (size_t i = 0, len; i < text.len; i += len) {
        unsigned char c = (unsigned char)text.p[i];

        len = str_utf8_len((struct str){text.p + i, text.len - i});
        if (len == 0) {
            catalog_draft_complain(draft, text.p + i, "this is not UTF-8; save the file as UTF-8");
            return false;
        }
        if ((c < 0x20 && c != '\t' && c != '\n' && !(c == '\r' && i + 1 < text.len && text.p[i + 1] == '\n')) ||
            c == 0x7f) {
            catalog_draft_complain(draft, text.p + i, "a control character (0x%02x) has no place here", c);
            return false;
        }
    }
    return true;
}

bool catalog_draft_read(struct catalog_draft *draft, struct str text, const char *file)
{
    struct str name = str_from(file);
    struct str copy;

    draft->out.storage = sys_alloc(name.len + text.len + 2);
    memcpy(draft->out.storage, name.p, name.len);
    draft->out.storage[name.len] = '\0';
    draft->out.file = (struct str){draft->out.storage, name.len};
    copy = (struct str){draft->out.storage + name.len + 1, text.len};
    if (text.len > 0)
        memcpy(draft->out.storage + name.len + 1, text.p, text.len);
    draft->out.storage[name.len + 1 + text.len] = '\0';
    if (str_starts(copy, STR("\xef\xbb\xbf")))
        copy = (struct str){copy.p + 3, copy.len - 3};
    if (!check_encoding(draft, copy))
        return false;
    read_front_matter(draft, copy);
    return true;
}

/* Bytes of the string, quoted name or comment that SQL begins with; 0 when it begins with none. One not closed goes to
 * the end. */
static size_t measure_quoted(struct str sql)
{
    static const struct {
        struct str open, close;
    } pairs[] = {{STR("'"), STR("'")}, {STR("\""), STR("\"")}, {STR("`"), STR("`")},
                 {STR("["), STR("]")}, {STR("--"), STR("\n")}, {STR("/*"), STR("*/")}};

    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct str open = pairs[i].open, close = pairs[i].close;
        const char *end;

        if (!str_starts(sql, open))
            continue;
        end = memmem(sql.p + open.len, sql.len - open.len, close.p, close.len);
        return end ? (size_t)(end - sql.p) + close.len : sql.len;
    }
    return 0;
}

static bool is_sql_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           (unsigned char)c >= 0x80;
}

static bool is_caller(struct str name)
{
    return str_equal(name, STR("larder_project")) || str_equal(name, STR("larder_key_id")) ||
           str_equal(name, STR("larder_address"));
}

void catalog_draft_scan_sql(struct catalog_draft *draft)
{
    struct str sql = draft->out.sql;
    bool any = false;
    size_t len;

    for (size_t i = 0; i < sql.len; i += len) {
        struct str rest = {sql.p + i, sql.len - i};

        len = measure_quoted(rest);
        if (len > 0) {
            any = any || (rest.p[0] != '-' && rest.p[0] != '/');
            continue;
        }
        any = any || !strchr(" \t\r\n;", rest.p[0]);
        for (len = 1; len < rest.len && is_sql_name_char(rest.p[0]) && is_sql_name_char(rest.p[len]);)
            len++;
        if (!strchr(":@$", rest.p[0]))
            continue;
        while (len < rest.len && is_sql_name_char(rest.p[len]))
            len++;
        draft->out.uses_caller = draft->out.uses_caller || is_caller((struct str){rest.p + 1, len - 1});
    }
    if (!any)
        catalog_draft_complain(draft, NULL, "there is no SQL statement below the `-- word: value` lines");
}

void catalog_draft_take_example(struct catalog_draft *draft)
{
    struct resource *out = &draft->out;
    struct str line = draft->words[CATALOG_DRAFT_EXAMPLE];
    struct arena *arena = arena_new(EXAMPLE_BYTES, EXAMPLE_BYTES_MAX);
    struct params_raw raw[PARAMS_MAX];
    struct params_values values;
    struct buf why = {0};
    size_t count = 0;
    enum err err = params_split_query(line, arena, raw, &count, &why);

    /* Where a declaration is wrong that is complaint enough. */
    if (err == ERR_OK && line.len > 0 && out->params_count == draft->params_count)
        err = params_bind(out->params, out->params_count, raw, count, arena, &values, &why);
    if (err != ERR_OK)
        catalog_draft_complain(draft, line.p, "example: %.*s; write for example `ticker=AAPL&limit=5`",
                               STR_ARG(buf_str(&why)));
    out->example = line;
    buf_free(&why);
    arena_free(&arena);
}

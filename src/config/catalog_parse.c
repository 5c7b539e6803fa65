/*
 * catalog_parse: what the front matter of one .sql file means, to struct resource.
 *
 * Invariant: of an accepted resource every `{parameter}` is declared, and two requests that may get different answers
 * have different keys: the key names every parameter, each in a part of its own between colons, or stands for all by
 * `{*}`.
 *
 * Everything wrong with the file is reported, each with line and column. It refuses to guess: what a route cannot use
 * (tags of a writing one, a purge of a reading one) is wrong, not ignored. Whether SQL is SQL is asked of SQLite,
 * elsewhere.
 */
#include "config/catalog_draft.h"

#include <stdlib.h>

#include "base/sys.h"

enum {
    NAME_MAX_LEN = 64,
    KEY_MAX = 512,
    SEGMENTS_MAX = 16, /* of a path: no more than the router takes */
    TAGS_MAX = 15,     /* an entry takes 16, of which one may be its resource's own */
    PURGES_MAX = 16,
    TABLES_MAX = 64
};

#define LIFE_MAX_MS (INT64_C(366) * 86400 * 1000)
#define TIMEOUT_MAX_MS (INT64_C(600) * 1000)
#define TIMEOUT_MS (INT64_C(2) * 1000)
#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

/* `[a-z][a-z0-9_-]*` */
static bool is_name(struct str text)
{
    if (text.len == 0 || text.len > NAME_MAX_LEN || text.p[0] < 'a' || text.p[0] > 'z')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return true;
}

/* Unreserved by RFC 3986, section 2.3: what no client escapes. */
static bool is_path_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c));
}

static struct params_spec *find_param(const struct resource *resource, struct str name)
{
    for (size_t i = 0; i < resource->params_count; i++)
        if (str_equal(resource->params[i].name, name))
            return &resource->params[i];
    return NULL;
}

static void parse_params(struct catalog_draft *draft)
{
    struct resource *out = &draft->out;
    struct buf why = {0};

    out->params = sys_calloc(draft->params_count, sizeof(*out->params));
    for (size_t i = 0; i < draft->params_count; i++) {
        struct params_spec *spec = &out->params[out->params_count];

        buf_clear(&why);
        if (params_spec_parse(draft->params[i], spec, &why) != ERR_OK) {
            catalog_draft_complain(draft, draft->params[i].p, "param: %.*s", STR_ARG(buf_str(&why)));
        } else if (find_param(out, spec->name)) {
            catalog_draft_complain(draft, draft->params[i].p, "param: `%.*s` is declared twice", STR_ARG(spec->name));
            params_spec_fini(spec);
        } else {
            out->params_count++;
        }
    }
    buf_free(&why);
}

/* Whether SEGMENT is `{name}` and nothing else. */
static bool is_placeholder(struct str segment)
{
    return segment.len > 2 && segment.p[0] == '{' && memchr(segment.p, '}', segment.len) == segment.p + segment.len - 1;
}

static void parse_path_name(struct catalog_draft *draft, struct str segment)
{
    struct str name = {segment.p + 1, segment.len - 2};
    struct params_spec *spec = find_param(&draft->out, name);

    if (!spec) {
        catalog_draft_complain(draft, segment.p, "route: `%.*s` is not declared; add a line `-- param: %.*s text`",
                               STR_ARG(segment), STR_ARG(name));
        return;
    }
    if (spec->in_path)
        catalog_draft_complain(draft, segment.p, "route: `%.*s` stands in the path twice", STR_ARG(segment));
    if (spec->has_default || spec->optional)
        catalog_draft_complain(draft, segment.p,
                               "route: `%.*s` is in the path and so always given: no `=` and no `?` for it",
                               STR_ARG(segment));
    spec->in_path = true;
}

static void parse_segment(struct catalog_draft *draft, struct str segment)
{
    if (segment.len == 0) {
        catalog_draft_complain(draft, segment.p, "route: an empty segment; write one `/`");
    } else if (is_placeholder(segment)) {
        parse_path_name(draft, segment);
    } else if (str_equal(segment, STR(".")) || str_equal(segment, STR(".."))) {
        catalog_draft_complain(draft, segment.p, "route: `%.*s` is no segment that a client could send",
                               STR_ARG(segment));
    } else {
        for (size_t i = 0; i < segment.len; i++)
            if (!is_path_char(segment.p[i])) {
                catalog_draft_complain(
                    draft, segment.p + i,
                    "route: a segment is letters, digits and any of `-._~`, or one `{parameter}` alone");
                return;
            }
    }
}

static void parse_path(struct catalog_draft *draft, struct str path)
{
    struct str rest = path;
    size_t count = 0;

    if (path.len == 0 || path.p[0] != '/') {
        catalog_draft_complain(draft, draft->words[CATALOG_DRAFT_ROUTE].p,
                               "route: a path that begins with `/` is missing; write for example "
                               "`GET /api/stocks/{ticker}`");
        return;
    }
    draft->out.path = path;
    rest = (struct str){path.p + 1, path.len - 1};
    while (rest.len > 0) {
        parse_segment(draft, str_cut(&rest, '/'));
        count++;
    }
    if (count > SEGMENTS_MAX)
        catalog_draft_complain(draft, path.p, "route: more than %d segments", SEGMENTS_MAX);
}

static void parse_route(struct catalog_draft *draft)
{
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
    struct str rest = draft->words[CATALOG_DRAFT_ROUTE], path, method;
    struct resource *out = &draft->out;

    if (!rest.p)
        catalog_draft_complain(
            draft, NULL, "`route:` is missing; write for example `-- route: GET /api/stocks/{ticker}` at the top");
    if (rest.len == 0)
        return;
    method = str_word(&rest);
    path = str_word(&rest);
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (str_equal(method, str_from(methods[i])))
            out->method = method;
    out->reading = str_equal(out->method, STR("GET"));
    if (out->method.len == 0)
        catalog_draft_complain(draft, method.p,
                               "route: `%.*s` is no method; use GET (HEAD comes with it), POST, PUT, PATCH or DELETE",
                               STR_ARG(method));
    parse_path(draft, path);
    if (str_word(&rest).len > 0)
        catalog_draft_complain(draft, draft->words[CATALOG_DRAFT_ROUTE].p,
                               "route: something follows the path; write a method and a path only");
}

static void parse_name(struct catalog_draft *draft)
{
    struct str name = draft->words[CATALOG_DRAFT_NAME];

    if (!name.p && !draft->import)
        catalog_draft_complain(draft, NULL, "`name:` is missing; write for example `-- name: stock` at the top");
    if (name.len > 0 && !is_name(name))
        catalog_draft_complain(
            draft, name.p,
            "name: `%.*s` is no name; use lower-case letters, digits, `-` and `_`, a letter first, %d at most",
            STR_ARG(name), NAME_MAX_LEN);
    draft->out.name = name;
    draft->out.doc = draft->words[CATALOG_DRAFT_DOC];
}

/* Words that the kind of route cannot use. */
static void check_usable(struct catalog_draft *draft)
{
    static const enum catalog_draft_word reading[] = {
        CATALOG_DRAFT_KEY,      CATALOG_DRAFT_TTL,     CATALOG_DRAFT_STALE, CATALOG_DRAFT_STALE_IF_ERROR,
        CATALOG_DRAFT_NEGATIVE, CATALOG_DRAFT_MAX_AGE, CATALOG_DRAFT_TAGS,  CATALOG_DRAFT_WARM,
        CATALOG_DRAFT_TABLES};
    static const enum catalog_draft_word writing[] = {CATALOG_DRAFT_PURGE, CATALOG_DRAFT_WRITE};
    const enum catalog_draft_word *refused = draft->out.reading ? writing : reading;
    size_t count = draft->out.reading ? COUNT_OF(writing) : COUNT_OF(reading);

    if (draft->out.method.len == 0)
        return;
    for (size_t i = 0; i < count; i++)
        if (draft->words[refused[i]].p)
            catalog_draft_complain(draft, draft->words[refused[i]].p, "`%s:` is only for routes that %s",
                                   catalog_draft_word(refused[i]), draft->out.reading ? "write" : "read (GET)");
}

/* The value of WORD, 0 when it was not given. */
static int64_t parse_duration(struct catalog_draft *draft, enum catalog_draft_word word, int64_t min_ms, int64_t max_ms,
                              const char *allowed)
{
    struct str text = draft->words[word];
    int64_t ms = 0;

    if (text.len == 0)
        return 0;
    if (str_to_duration_ms(text, &ms) != ERR_OK || ms < min_ms || ms > max_ms) {
        catalog_draft_complain(draft, text.p,
                               "%s: `%.*s` must be a duration from %s, as `500ms`, `30s`, `5m`, `1h` or `7d`",
                               catalog_draft_word(word), STR_ARG(text), allowed);
        return 0;
    }
    return ms;
}

static void parse_durations(struct catalog_draft *draft)
{
    static const char year[] = "0 to 366d";
    struct resource *out = &draft->out;
    const enum catalog_draft_word of_entries[] = {CATALOG_DRAFT_STALE, CATALOG_DRAFT_STALE_IF_ERROR,
                                                  CATALOG_DRAFT_NEGATIVE};

    out->ttl_ms = parse_duration(draft, CATALOG_DRAFT_TTL, 0, LIFE_MAX_MS, year);
    out->stale_ms = parse_duration(draft, CATALOG_DRAFT_STALE, 0, LIFE_MAX_MS, year);
    out->stale_if_error_ms = parse_duration(draft, CATALOG_DRAFT_STALE_IF_ERROR, 0, LIFE_MAX_MS, year);
    out->negative_ms = parse_duration(draft, CATALOG_DRAFT_NEGATIVE, 0, LIFE_MAX_MS, year);
    out->max_age_ms = parse_duration(draft, CATALOG_DRAFT_MAX_AGE, 0, LIFE_MAX_MS, year);
    out->timeout_ms = parse_duration(draft, CATALOG_DRAFT_TIMEOUT, 1, TIMEOUT_MAX_MS, "1ms to 10m");
    if (!draft->words[CATALOG_DRAFT_STALE_IF_ERROR].p)
        out->stale_if_error_ms = out->stale_ms;
    if (!draft->words[CATALOG_DRAFT_TIMEOUT].p)
        out->timeout_ms = TIMEOUT_MS;
    for (size_t i = 0; out->reading && !draft->words[CATALOG_DRAFT_TTL].p && i < COUNT_OF(of_entries); i++)
        if (draft->words[of_entries[i]].p)
            catalog_draft_complain(draft, draft->words[of_entries[i]].p,
                                   "`%s:` means nothing without `ttl:`, for without one nothing is cached",
                                   catalog_draft_word(of_entries[i]));
}

/* The one of COUNT NAMES that the value of WORD is; FALLBACK when it was not given. */
static size_t parse_choice(struct catalog_draft *draft, enum catalog_draft_word word, const char *const *names,
                           size_t count, size_t fallback)
{
    struct str text = draft->words[word];
    struct buf allowed = {0};

    if (text.len == 0)
        return fallback;
    for (size_t i = 0; i < count; i++)
        if (str_equal(text, str_from(names[i])))
            return i;
    for (size_t i = 0; i < count; i++)
        buf_printf(&allowed, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", names[i]);
    catalog_draft_complain(draft, text.p, "%s: `%.*s` must be %s", catalog_draft_word(word), STR_ARG(text), allowed.p);
    buf_free(&allowed);
    return fallback;
}

static void parse_shape(struct catalog_draft *draft)
{
    static const char *const names[] = {
        [CATALOG_OBJECT] = "object", [CATALOG_LIST] = "list", [CATALOG_VALUE] = "value"};
    struct str path = draft->out.path;
    bool one = !draft->out.reading || (path.len > 0 && path.p[path.len - 1] == '}');

    draft->out.shape = (enum catalog_shape)parse_choice(draft, CATALOG_DRAFT_SHAPE, names, COUNT_OF(names),
                                                        one ? CATALOG_OBJECT : CATALOG_LIST);
}

static void parse_auth(struct catalog_draft *draft)
{
    struct str text = draft->words[CATALOG_DRAFT_AUTH];
    struct resource *out = &draft->out;

    if (text.len == 0) {
        out->auth = out->reading ? CATALOG_AUTH_NONE : CATALOG_AUTH_KEY;
        out->auth_scope = out->reading ? STR("") : STR("write");
    } else if (str_equal(text, STR("none"))) {
        out->auth = CATALOG_AUTH_NONE;
    } else if (str_equal(text, STR("admin"))) {
        out->auth = CATALOG_AUTH_ADMIN;
    } else if (str_equal(text, STR("key"))) {
        out->auth = CATALOG_AUTH_KEY;
    } else if (str_starts(text, STR("key:")) && is_name((struct str){text.p + 4, text.len - 4})) {
        out->auth = CATALOG_AUTH_KEY;
        out->auth_scope = (struct str){text.p + 4, text.len - 4};
    } else {
        catalog_draft_complain(draft, text.p, "auth: `%.*s` must be none, key, key:SCOPE or admin", STR_ARG(text));
    }
}

/* Words that name what has to be there besides the file. */
static void parse_services(struct catalog_draft *draft)
{
    static const char *const names[] = {[CATALOG_WRITE_THROUGH] = "through", [CATALOG_WRITE_BEHIND] = "behind"};
    struct str limit = draft->words[CATALOG_DRAFT_LIMIT];
    size_t write = parse_choice(draft, CATALOG_DRAFT_WRITE, names, COUNT_OF(names), CATALOG_WRITE_THROUGH);

    draft->out.write = (enum catalog_write)write;
    draft->out.limit = limit;
    if (write == CATALOG_WRITE_BEHIND && draft->words[CATALOG_DRAFT_PURGE].len == 0)
        catalog_draft_complain(draft, draft->words[CATALOG_DRAFT_WRITE].p,
                               "write: behind needs a `purge:` line, by which readers know what is about to change");
    if (limit.len > 0)
        catalog_draft_complain(draft, limit.p, "limit: no policy named %.*s is configured", STR_ARG(limit));
}

/* Checks a template of WORD, one word long: its parameters, and the literal text around them. GLOBS: it may be a
 * pattern. */
static bool check_template(struct catalog_draft *draft, enum catalog_draft_word word, struct str text, bool globs)
{
    const char *name = catalog_draft_word(word);
    struct str unknown;
    bool inside = false;

    if (!params_template_valid(text, draft->out.params, draft->out.params_count, &unknown)) {
        if (memchr(unknown.p, '{', unknown.len) || memchr(unknown.p, '}', unknown.len))
            catalog_draft_complain(draft, unknown.p, "%s: a brace without its partner", name);
        else
            catalog_draft_complain(draft, unknown.p, "%s: `{%.*s}` is not declared as a parameter", name,
                                   STR_ARG(unknown));
        return false;
    }
    if (word != CATALOG_DRAFT_KEY && memmem(text.p, text.len, "{*}", 3)) {
        catalog_draft_complain(draft, text.p, "%s: `{*}` belongs to this route's own key; name the parameters instead",
                               name);
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        inside = text.p[i] == '{' || (inside && text.p[i] != '}');
        if (!inside && text.p[i] != '}' && strchr(globs ? "%" : "*?[]\\%", text.p[i])) {
            catalog_draft_complain(draft, text.p + i, "%s: `%c` has a meaning of its own and cannot stand here", name,
                                   text.p[i]);
            return false;
        }
    }
    return true;
}

static bool mentions(struct str key, struct str name)
{
    struct buf braced = {0};
    bool found;

    buf_printf(&braced, "{%.*s}", STR_ARG(name));
    found = memmem(key.p, key.len, braced.p, braced.len) != NULL;
    buf_free(&braced);
    return found;
}

/* Whether no two different sets of values can give one key. */
static void check_key_tells_apart(struct catalog_draft *draft, struct str key)
{
    struct str rest = key, part;

    if (memmem(key.p, key.len, "{*}", 3))
        return;
    for (size_t i = 0; i < draft->out.params_count; i++) {
        const struct params_spec *spec = &draft->out.params[i];

        if (!mentions(key, spec->name))
            catalog_draft_complain(
                draft, key.p,
                "key: `{%.*s}` is not in it, so different answers would share one key; add it, or use `{*}`",
                STR_ARG(spec->name));
        else if (spec->optional && spec->type == PARAMS_TEXT)
            catalog_draft_complain(draft, key.p,
                                   "key: `{%.*s}` may be NULL or empty, which would share one key; use `{*}`",
                                   STR_ARG(spec->name));
    }
    while (rest.p) {
        const char *brace;

        part = str_cut(&rest, ':');
        brace = part.len ? memchr(part.p, '{', part.len) : NULL;
        if (brace && memchr(brace + 1, '{', part.len - (size_t)(brace + 1 - part.p)))
            catalog_draft_complain(draft, part.p,
                                   "key: `%.*s` could be made by different values; put a `:` between two parameters",
                                   STR_ARG(part));
    }
}

static void parse_key(struct catalog_draft *draft)
{
    struct str rest = draft->words[CATALOG_DRAFT_KEY];
    struct str key = str_word(&rest);

    if (!draft->words[CATALOG_DRAFT_KEY].p && draft->out.reading && draft->out.ttl_ms > 0)
        catalog_draft_complain(draft, draft->words[CATALOG_DRAFT_TTL].p,
                               "`key:` is missing: what is cached needs one; write for example `-- key: stocks:{*}`");
    if (key.len == 0)
        return;
    if (str_word(&rest).len > 0 || key.len > KEY_MAX) {
        catalog_draft_complain(draft, key.p, "key: a key is one word of at most %d bytes", KEY_MAX);
        return;
    }
    if (key.p[0] == '{')
        catalog_draft_complain(draft, key.p, "key: let it begin with a word of its own, as `stocks:%.*s`",
                               STR_ARG(key));
    else if (check_template(draft, CATALOG_DRAFT_KEY, key, false))
        check_key_tells_apart(draft, key);
    draft->out.key = key;
}

/* The words of WORD's value, MAX at most, each accepted by CHECK. */
static void parse_list(struct catalog_draft *draft, enum catalog_draft_word word, size_t max,
                       bool (*check)(struct catalog_draft *draft, struct str item), struct str **out, size_t *count)
{
    struct str rest = draft->words[word], item;

    if (rest.len == 0)
        return;
    *out = sys_calloc(max, sizeof(**out));
    while ((item = str_word(&rest)).len > 0) {
        if (*count == max) {
            catalog_draft_complain(draft, item.p, "%s: more than %zu words", catalog_draft_word(word), max);
            return;
        }
        if (check(draft, item))
            (*out)[(*count)++] = item;
    }
}

static bool check_tag(struct catalog_draft *draft, struct str item)
{
    if (str_starts(item, STR("tag:"))) {
        catalog_draft_complain(draft, item.p, "tags: write the tag alone, without `tag:`");
        return false;
    }
    if (str_starts(item, STR(CATALOG_RESOURCE_TAG))) {
        catalog_draft_complain(draft, item.p,
                               "tags: those that begin with `" CATALOG_RESOURCE_TAG
                               "` are larder's own; let it begin with another word");
        return false;
    }
    return check_template(draft, CATALOG_DRAFT_TAGS, item, false);
}

/* Whether PATTERN has a character that stands for itself; without one it would match every key. */
static bool narrows(struct str pattern)
{
    bool inside = false;

    for (size_t i = 0; i < pattern.len; i++) {
        inside = pattern.p[i] == '{' || (inside && pattern.p[i] != '}');
        if (!inside && !strchr("}*?", pattern.p[i]))
            return true;
    }
    return false;
}

static bool check_purge(struct catalog_draft *draft, struct str item)
{
    struct str rest = item;
    struct str kind = str_cut(&rest, ':');
    bool pattern = str_equal(kind, STR("pattern"));

    if (rest.len == 0 || (!pattern && !str_equal(kind, STR("tag")) && !str_equal(kind, STR("key")))) {
        catalog_draft_complain(draft, item.p, "purge: `%.*s` must be tag:TAG, key:KEY or pattern:PATTERN",
                               STR_ARG(item));
        return false;
    }
    if (pattern && !narrows(rest)) {
        catalog_draft_complain(draft, item.p, "purge: `%.*s` could match every key; let it begin with a word",
                               STR_ARG(item));
        return false;
    }
    return check_template(draft, CATALOG_DRAFT_PURGE, rest, pattern);
}

/* Which tables there are is not known here, only that they are named once. */
static bool check_table(struct catalog_draft *draft, struct str item)
{
    const struct resource *out = &draft->out;

    if (str_equal_nocase(item, STR("none"))) {
        catalog_draft_complain(draft, item.p, "tables: `none` stands alone: name tables, or say that there are none");
        return false;
    }
    for (size_t i = 0; i < out->tables_count; i++)
        if (str_equal_nocase(out->tables[i], item)) {
            catalog_draft_complain(draft, item.p, "tables: `%.*s` stands twice", STR_ARG(item));
            return false;
        }
    return true;
}

static void parse_tables(struct catalog_draft *draft)
{
    struct str line = draft->words[CATALOG_DRAFT_TABLES];
    struct resource *out = &draft->out;

    if (line.len > 0 && out->reading && out->ttl_ms == 0)
        catalog_draft_complain(draft, line.p,
                               "`tables:` means nothing without `ttl:`, for without one nothing is cached");
    if (!str_equal(line, STR("none")))
        parse_list(draft, CATALOG_DRAFT_TABLES, TABLES_MAX, check_table, &out->tables, &out->tables_count);
    out->tables_named = line.len > 0;
    out->follows_tables = out->reading && out->ttl_ms > 0 && (!out->tables_named || out->tables_count > 0);
}

/* A line of SQL that gives parameters; to be parsed when it is known what the route is. */
static void parse_warm(struct catalog_draft *draft)
{
    struct str sql = draft->words[CATALOG_DRAFT_WARM];
    struct resource *out = &draft->out;
    unsigned line, column;

    if (sql.len == 0 || !out->reading)
        return;
    const char *wrong = out->ttl_ms == 0   ? "`warm:` means nothing without `ttl:`, for without one nothing is cached"
                        : out->uses_caller ? "warm: the answer depends on who asks, so it cannot be computed ahead"
                                           : NULL;
    if (wrong) {
        catalog_draft_complain(draft, sql.p, "%s", wrong);
        return;
    }
    catalog_locate(out, sql.p, &line, &column);
    out->warm = sys_calloc(1, sizeof *out->warm);
    *out->warm = (struct resource){.storage = out->storage,
                                   .name = out->name,
                                   .file = out->file,
                                   .sql_line = line,
                                   .sql_offset = column - 1,
                                   .sql = sql,
                                   .reading = true,
                                   .shape = CATALOG_LIST,
                                   .timeout_ms = out->timeout_ms};
}

static void parse_resource(struct catalog_draft *draft)
{
    parse_name(draft);
    parse_params(draft);
    parse_route(draft);
    catalog_draft_take_example(draft);
    check_usable(draft);
    parse_durations(draft);
    parse_shape(draft);
    parse_auth(draft);
    parse_services(draft);
    parse_key(draft);
    parse_list(draft, CATALOG_DRAFT_TAGS, TAGS_MAX, check_tag, &draft->out.tags, &draft->out.tags_count);
    parse_list(draft, CATALOG_DRAFT_PURGE, PURGES_MAX, check_purge, &draft->out.purge, &draft->out.purge_count);
    parse_tables(draft);
    catalog_draft_scan_sql(draft);
    parse_warm(draft);
}

static void parse_import(struct catalog_draft *draft)
{
    parse_name(draft);
    parse_list(draft, CATALOG_DRAFT_PURGE, PURGES_MAX, check_purge, &draft->out.purge, &draft->out.purge_count);
    catalog_draft_scan_sql(draft);
}

static enum err parse(struct str text, const char *file, struct report *report, bool import, struct resource *out)
{
    size_t before = report_count(report);
    struct catalog_draft draft = {.report = report, .import = import};

    if (catalog_draft_read(&draft, text, file)) {
        if (import)
            parse_import(&draft);
        else
            parse_resource(&draft);
    }
    if (report_count(report) > before) {
        catalog_resource_fini(&draft.out);
        return ERR_USAGE;
    }
    *out = draft.out;
    return ERR_OK;
}

enum err catalog_parse(struct str text, const char *file, struct report *report, struct resource *out)
{
    return parse(text, file, report, false, out);
}

enum err catalog_parse_import(struct str text, const char *file, struct report *report, struct resource *out)
{
    return parse(text, file, report, true, out);
}

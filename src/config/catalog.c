/*
 * catalog: all files of sql/resources, and what must hold between them.
 *
 * Invariant: in a loaded catalogue no two resources have one name, one route, or keys that could ever be equal. The
 * last is what keeps one resource from answering with the entry of another, so it is judged by the templates and errs
 * on the safe side: a `{parameter}` may stand for anything, save a `:`, which params_expand encodes in every value.
 *
 * A single file is understood in catalog_parse.c. Nothing here runs or understands SQL, and nothing stops at the first
 * mistake: everything wrong with all files is reported in one run.
 */
#include "config/catalog.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "base/sys.h"

enum { FILE_MAX = 1 << 20 };

void catalog_locate(const struct resource *resource, const char *at, unsigned *line, unsigned *column)
{
    const char *start = resource->storage + resource->file.len + 1;

    if (strncmp(start, "\xef\xbb\xbf", 3) == 0)
        start += 3;
    *line = 1;
    for (const char *p = start; p < at; p++)
        if (*p == '\n') {
            (*line)++;
            start = p + 1;
        }
    *column = at < start ? 1 : (unsigned)(at - start) + 1;
}

void catalog_resource_fini(struct resource *resource)
{
    for (size_t i = 0; i < resource->params_count; i++)
        params_spec_fini(&resource->params[i]);
    free(resource->params);
    free(resource->tags);
    free(resource->tables);
    free(resource->purge);
    free(resource->warm);
    free(resource->storage);
    *resource = (struct resource){0};
}

void catalog_free(struct catalog **catalog)
{
    if (!*catalog)
        return;
    for (size_t i = 0; i < (*catalog)->count; i++)
        catalog_resource_fini(&(*catalog)->resources[i]);
    free((*catalog)->resources);
    free(*catalog);
    *catalog = NULL;
}

int64_t catalog_longest_life_ms(const struct catalog *catalog)
{
    int64_t longest = 0;

    for (size_t i = 0; i < catalog->count; i++) {
        const struct resource *resource = &catalog->resources[i];
        int64_t stale_ms = resource->stale_ms;

        if (resource->stale_if_error_ms > stale_ms)
            stale_ms = resource->stale_if_error_ms;
        if (resource->ttl_ms + stale_ms > longest)
            longest = resource->ttl_ms + stale_ms;
        if (resource->negative_ms > longest)
            longest = resource->negative_ms;
    }
    return longest;
}

/* The next segment of a path; false at its end. A slash at the end makes no segment. */
static bool next_segment(struct str *path, struct str *segment)
{
    if (path->len > 0 && path->p[0] == '/')
        *path = (struct str){path->p + 1, path->len - 1};
    if (path->len == 0)
        return false;
    *segment = *path;
    while (segment->len > 0 && memchr(segment->p, '/', segment->len))
        segment->len = (size_t)((const char *)memchr(segment->p, '/', segment->len) - segment->p);
    *path = (struct str){path->p + segment->len, path->len - segment->len};
    return true;
}

/* Whether A and B match exactly the same paths. */
static bool same_shape(struct str a, struct str b)
{
    struct str in_a, in_b;
    bool more_a, more_b;

    for (;;) {
        more_a = next_segment(&a, &in_a);
        more_b = next_segment(&b, &in_b);
        if (!more_a || !more_b)
            return more_a == more_b;
        if (in_a.p[0] == '{' && in_b.p[0] == '{')
            continue;
        if (!str_equal(in_a, in_b))
            return false;
    }
}

/* Whether two parts of keys, `:` excluded, could be made equal by some values. */
static bool parts_may_meet(struct str a, struct str b)
{
    const char *brace_a = a.len ? memchr(a.p, '{', a.len) : NULL;
    const char *brace_b = b.len ? memchr(b.p, '{', b.len) : NULL;
    size_t start_a = brace_a ? (size_t)(brace_a - a.p) : a.len;
    size_t start_b = brace_b ? (size_t)(brace_b - b.p) : b.len;
    size_t start = start_a < start_b ? start_a : start_b;
    size_t end = 0;

    if (!brace_a && !brace_b)
        return str_equal(a, b);
    if (start > 0 && memcmp(a.p, b.p, start) != 0)
        return false;
    while (end < a.len && end < b.len && a.p[a.len - 1 - end] != '}' && b.p[b.len - 1 - end] != '}') {
        if (a.p[a.len - 1 - end] != b.p[b.len - 1 - end])
            return false;
        end++;
    }
    /* A part that is all literal must have room for what stands around the other's parameters. */
    return (brace_a || a.len >= start_b) && (brace_b || b.len >= start_a);
}

static bool keys_may_meet(struct str a, struct str b)
{
    while (a.p && b.p)
        if (!parts_may_meet(str_cut(&a, ':'), str_cut(&b, ':')))
            return false;
    return !a.p && !b.p;
}

/* What must hold between LATER and a resource whose file was read before it. */
static void compare(const struct resource *earlier, struct resource *later, struct report *report)
{
    unsigned line, column;

    if (str_equal(earlier->name, later->name)) {
        catalog_locate(later, later->name.p, &line, &column);
        report_add(report, later->file.p, line, column, "the name `%.*s` is taken by %s; give each resource its own",
                   STR_ARG(later->name), earlier->file.p);
    }
    if (str_equal(earlier->method, later->method) && same_shape(earlier->path, later->path)) {
        later->is_second = true;
        catalog_locate(later, later->method.p, &line, &column);
        report_add(report, later->file.p, line, column,
                   "the route %.*s %.*s is taken by %s, which matches the same paths", STR_ARG(later->method),
                   STR_ARG(later->path), earlier->file.p);
    }
    if (earlier->key.len > 0 && later->key.len > 0 && keys_may_meet(earlier->key, later->key)) {
        catalog_locate(later, later->key.p, &line, &column);
        report_add(report, later->file.p, line, column,
                   "the key `%.*s` could equal the key `%.*s` of %s; let one of them begin with another word",
                   STR_ARG(later->key), STR_ARG(earlier->key), earlier->file.p);
    }
}

static int is_resource_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 4 && strcmp(entry->d_name + len - 4, ".sql") == 0;
}

/* Bytewise: the same order whatever the locale. */
static int compare_names(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum err load_file(const char *path, struct report *report, struct resource *out)
{
    struct buf text = {0};
    enum err err = sys_read_file(path, FILE_MAX, &text);

    if (err == ERR_OK)
        err = catalog_parse(buf_str(&text), path, report, out);
    else if (err == ERR_LIMIT)
        report_add(report, path, 0, 0, "is larger than %d bytes; a resource is one statement or a few", FILE_MAX);
    else
        report_add(report, path, 0, 0, "cannot be read: %s", err_text(err));
    buf_free(&text);
    return err;
}

static void load_files(const char *dir, struct dirent **entries, size_t count, struct report *report,
                       struct catalog *catalog)
{
    struct buf path = {0};

    catalog->resources = sys_calloc(count, sizeof(*catalog->resources));
    for (size_t i = 0; i < count; i++) {
        struct resource *resource = &catalog->resources[catalog->count];

        buf_clear(&path);
        buf_printf(&path, "%s/%s", dir, entries[i]->d_name);
        if (load_file(path.p, report, resource) != ERR_OK)
            continue;
        resource->index = catalog->count;
        for (size_t at = 0; at < catalog->count; at++)
            compare(&catalog->resources[at], resource, report);
        catalog->count++;
    }
    for (size_t at = 0; at < catalog->count; at++)
        if (catalog->resources[at].warm)
            catalog->resources[at].warm->index = catalog->count + at;
    buf_free(&path);
}

enum err catalog_load(const char *dir, struct report *report, struct catalog **out)
{
    size_t before = report_count(report);
    struct catalog *catalog = sys_calloc(1, sizeof(*catalog));
    struct dirent **entries = NULL;
    struct buf path = {0};
    int count;

    buf_printf(&path, "%s/resources", dir);
    count = scandir(path.p, &entries, is_resource_file, compare_names);
    if (count < 0)
        report_add(report, path.p, 0, 0, "cannot be read as the directory of the resources: %s; see `sql` in [store]",
                   strerror(errno));
    else
        load_files(path.p, entries, (size_t)count, report, catalog);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
    buf_free(&path);
    *out = catalog;
    return report_count(report) > before ? ERR_USAGE : ERR_OK;
}

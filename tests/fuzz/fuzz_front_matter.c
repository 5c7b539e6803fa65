/*
 * A resource file and an import file as any bytes: what is refused has a line that says why and where, what is accepted
 * is whole: each of its templates can be filled, and two different sets of values never give one key.
 */
#include <stdint.h>
#include <stdlib.h>

#include "config/catalog.h"

#define HOLDS(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static const char file_name[] = "fuzz.sql";

static void check_report(const struct report *report)
{
    HOLDS(report_count(report) > 0);
    for (size_t i = 0; i < report_count(report); i++) {
        HOLDS(!str_has_control(str_from(report_line(report, i))));
        HOLDS(strncmp(report_line(report, i), "fuzz.sql:", 9) == 0);
    }
}

/* A view lies in the file's text and can be located there. */
static void check_view(const struct resource *it, struct str view, size_t size)
{
    const char *text = it->storage + it->file.len + 1;
    unsigned line, column;

    if (view.len == 0)
        return;
    HOLDS(view.p >= text && view.p + view.len <= text + size);
    catalog_locate(it, view.p, &line, &column);
    HOLDS(line >= 1 && column >= 1 && line <= size + 1);
}

/* One value of SPEC that it allows, if one of a few will do. */
static bool find_value(const struct params_spec *spec, unsigned turn, struct arena *arena, struct params_value *out)
{
    static const char *const texts[] = {"1", "2", "a", "B", "0.5", "true", "a:b", "*", "x y", ""};
    struct buf why = {0};
    bool found = false;

    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts) && !found; i++) {
        const char *text = texts[(i + turn) % (sizeof(texts) / sizeof(*texts))];

        found = params_check(spec, str_from(text), arena, out, &why) == ERR_OK;
        HOLDS(found || why.len > 0);
    }
    buf_free(&why);
    return found;
}

static bool find_values(const struct resource *it, unsigned turn, struct arena *arena, struct params_values *out)
{
    out->count = it->params_count;
    for (size_t i = 0; i < it->params_count; i++)
        if (!find_value(&it->params[i], turn * (unsigned)(i + 1), arena, &out->items[i]))
            return false;
    return true;
}

static bool same_values(const struct params_values *a, const struct params_values *b)
{
    for (size_t i = 0; i < a->count; i++)
        if (!str_equal(a->items[i].text, b->items[i].text))
            return false;
    return true;
}

static void check_key(const struct resource *it, struct arena *arena)
{
    struct params_values values[3];
    struct str keys[3];

    for (unsigned turn = 0; turn < 3; turn++) {
        if (!find_values(it, turn, arena, &values[turn]))
            return;
        keys[turn] = params_expand(it->key, &values[turn], arena);
        HOLDS(keys[turn].len > 0 || it->params_count == 1);
        HOLDS(!str_has_control(keys[turn]) && (keys[turn].len == 0 || !memchr(keys[turn].p, ' ', keys[turn].len)));
        HOLDS(str_glob_is_literal(keys[turn]));
        for (unsigned before = 0; before < turn; before++)
            HOLDS(str_equal(keys[before], keys[turn]) == same_values(&values[before], &values[turn]));
    }
}

static void check_defaults(const struct resource *it, struct arena *arena)
{
    struct buf why = {0};

    for (size_t i = 0; i < it->params_count; i++) {
        const struct params_spec *spec = &it->params[i];
        struct params_value value;

        HOLDS(spec->name.len > 0 && !(spec->has_default && (spec->optional || spec->in_path)));
        if (!spec->has_default)
            continue;
        HOLDS(params_check(spec, spec->default_text, arena, &value, &why) == ERR_OK);
        HOLDS(str_equal(value.text, spec->default_text));
    }
    buf_free(&why);
}

static void check_resource(const struct resource *it, size_t size)
{
    struct arena *arena = arena_new(4096, 1 << 20);

    HOLDS(it->name.len > 0 && it->method.len > 0 && it->path.p[0] == '/' && it->sql.len > 0);
    HOLDS(it->reading == str_equal(it->method, STR("GET")));
    HOLDS(it->reading ? it->purge_count == 0 : it->tags_count == 0 && it->key.len == 0 && it->ttl_ms == 0);
    HOLDS(it->ttl_ms == 0 || it->key.len > 0);
    HOLDS(!it->follows_tables || (it->reading && it->ttl_ms > 0));
    HOLDS(it->tables_count == 0 || (it->tables_named && it->follows_tables));
    HOLDS(it->timeout_ms > 0 && it->ttl_ms >= 0 && it->stale_ms >= 0 && it->write == CATALOG_WRITE_THROUGH);
    check_view(it, it->name, size);
    check_view(it, it->path, size);
    check_view(it, it->key, size);
    check_view(it, it->sql, size);
    for (size_t i = 0; i < it->tables_count; i++)
        check_view(it, it->tables[i], size);
    check_defaults(it, arena);
    if (it->key.len > 0)
        check_key(it, arena);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct report *report = report_new();
    struct resource it;

    if (catalog_parse(text, file_name, report, &it) == ERR_OK) {
        HOLDS(report_count(report) == 0);
        check_resource(&it, size);
        catalog_resource_fini(&it);
    } else {
        check_report(report);
    }
    report_free(&report);
    report = report_new();
    if (catalog_parse_import(text, file_name, report, &it) == ERR_OK) {
        HOLDS(it.sql.len > 0 && it.key.len == 0 && it.params_count == 0);
        check_view(&it, it.sql, size);
        catalog_resource_fini(&it);
    } else {
        check_report(report);
    }
    report_free(&report);
    return 0;
}

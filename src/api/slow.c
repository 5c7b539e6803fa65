/*
 * slow: tells of what took long: its parameters, where the time went, and how SQLite runs its statement.
 *
 * Invariant: what is told of a request is what its URL says, normalised. Bodies and headers are never told of, so of a
 * writing resource there are no parameters.
 *
 * The plan is asked for after the fact, on the thread that ran the statement; what runs on the event thread has none.
 */
#include "api/slow.h"

#include "api/app.h"
#include "base/sys.h"

enum { VALUE_SHOWN = 200, PARAMS_SHOWN = 1000, PLAN_SHOWN = 2000, FIELDS_MAX = 11 + SLOW_PHASES };

static const char *const names[] = {
#define SLOW_NAME(constant, name) #name,
    SLOW_PHASES_TABLE(SLOW_NAME)
#undef SLOW_NAME
};
static const char *const field_names[] = {
#define SLOW_FIELD(constant, name) #name "_us",
    SLOW_PHASES_TABLE(SLOW_FIELD)
#undef SLOW_FIELD
};

static int64_t total_us(const struct slow_clock *clock)
{
    int64_t total = 0;

    for (int i = 0; i < SLOW_PHASES; i++)
        total += clock->spent_us[i];
    return total;
}

/* TEXT, or as many whole characters of it as LEN bytes hold. */
static struct str cut(struct str text, size_t len)
{
    if (text.len <= len)
        return text;
    while (len > 0 && ((unsigned char)text.p[len] & 0xc0) == 0x80)
        len--;
    return (struct str){text.p, len};
}

/* As a query would have them. */
static struct str spell_params(const struct slow_case *it)
{
    const struct params_values *values = it->values;
    struct buf out = {0};

    for (size_t i = 0; values && i < values->count; i++) {
        const struct params_value *value = &values->items[i];

        if (value->is_null)
            continue;
        buf_add_str(&out, out.len == 0 ? STR("") : STR("&"));
        buf_add_str(&out, value->name);
        buf_add_char(&out, '=');
        str_percent_encode(cut(value->text, VALUE_SHOWN), &out);
    }
    return cut(arena_take_buf(it->arena, &out), PARAMS_SHOWN);
}

static struct str find_plan(const struct slow_case *it)
{
    struct str plan = {NULL, 0};
    struct buf why = {0};

    if (it->clock->ran && it->resource && it->thread->store &&
        store_plan(it->thread->store, it->resource, it->arena, &plan, &why) != ERR_OK)
        plan = (struct str){NULL, 0};
    buf_free(&why);
    return cut(plan, PLAN_SHOWN);
}

/* The lines of PLAN in one. */
static struct str join_plan(struct str plan, struct arena *arena)
{
    struct buf out = {0};

    while (plan.len > 0) {
        buf_add_str(&out, out.len == 0 ? STR("") : STR("; "));
        buf_add_str(&out, str_trim(str_cut(&plan, '\n')));
    }
    return arena_take_buf(arena, &out);
}

static void write_line(const struct slow_case *it, struct str params, struct str plan)
{
    struct log_field fields[FIELDS_MAX];
    const struct log_field optional[] = {LOG_STR("method", it->method),
                                         LOG_STR("path", it->path),
                                         LOG_STR("resource", it->resource ? it->resource->name : STR("")),
                                         LOG_STR("route", it->route),
                                         LOG_STR("params", params),
                                         LOG_STR("request_id", it->request_id),
                                         LOG_STR("traceparent", it->traceparent),
                                         LOG_STR("plan", join_plan(plan, it->arena))};
    size_t count = 0;

    if (it->status != 0)
        fields[count++] = LOG_INT("status", it->status);
    fields[count++] = LOG_INT("us", total_us(it->clock));
    for (int i = 0; i < SLOW_PHASES; i++)
        if (it->clock->spent_us[i] > 0)
            fields[count++] = LOG_INT(field_names[i], it->clock->spent_us[i]);
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (optional[i].text.len > 0)
            fields[count++] = optional[i];
    fields[count].name = NULL;
    log_write(LOG_LEVEL_NOTICE, it->event, fields);
}

static void add_member(struct buf *out, const char *name, struct str text)
{
    if (text.len == 0)
        return;
    buf_printf(out, ",\"%s\":", name);
    buf_add_json(out, text);
}

static void add_values(const struct slow_case *it, struct buf *out)
{
    if (!it->values)
        return;
    buf_add_str(out, STR(",\"params\":{"));
    for (size_t i = 0, shown = 0; i < it->values->count; i++) {
        const struct params_value *value = &it->values->items[i];

        if (value->is_null)
            continue;
        buf_add_str(out, shown++ == 0 ? STR("") : STR(","));
        buf_add_json(out, value->name);
        buf_add_char(out, ':');
        buf_add_json(out, cut(value->text, VALUE_SHOWN));
    }
    buf_add_char(out, '}');
}

static void add_plan(struct str plan, struct buf *out)
{
    if (plan.len == 0)
        return;
    buf_add_str(out, STR(",\"plan\":["));
    for (bool first = true; plan.len > 0; first = false) {
        buf_add_str(out, first ? STR("") : STR(","));
        buf_add_json(out, str_cut(&plan, '\n'));
    }
    buf_add_char(out, ']');
}

static void add_ms(struct buf *out, const char *name, int64_t us)
{
    buf_printf(out, "\"%s\":", name);
    buf_add_double(out, (double)us / 1000);
}

/* The members of an object, for the ring. */
static void describe(const struct slow_case *it, struct str plan, bool with_values, struct buf *out)
{
    buf_printf(out, "\"event\":\"%s\",", it->event);
    add_ms(out, "ms", total_us(it->clock));
    if (it->status != 0)
        buf_printf(out, ",\"status\":%d", it->status);
    add_member(out, "method", it->method);
    add_member(out, "path", cut(it->path, VALUE_SHOWN));
    add_member(out, "resource", it->resource ? it->resource->name : STR(""));
    add_member(out, "route", it->route);
    add_member(out, "request_id", it->request_id);
    add_member(out, "traceparent", it->traceparent);
    buf_add_str(out, STR(",\"phases\":{"));
    for (int i = 0; i < SLOW_PHASES; i++) {
        buf_add_str(out, i == 0 ? STR("") : STR(","));
        add_ms(out, names[i], it->clock->spent_us[i]);
    }
    buf_add_char(out, '}');
    if (with_values)
        add_values(it, out);
    add_plan(plan, out);
}

static void keep(const struct slow_case *it, struct str params, struct str plan)
{
    struct recent *slow = it->thread->app->shared->slow;
    uint64_t same = sys_hash64(str_from(it->event), 0);
    struct buf text = {0};

    if (!slow)
        return;
    same = sys_hash64(it->resource ? it->resource->name : it->route, same);
    same = sys_hash64(params, same);
    describe(it, plan, true, &text);
    if (!recent_add(slow, same, sys_now_ms(), buf_str(&text))) {
        buf_clear(&text);
        describe(it, STR(""), false, &text);
        (void)recent_add(slow, same, sys_now_ms(), buf_str(&text));
    }
    buf_free(&text);
}

void slow_tell(const struct slow_case *it)
{
    const int64_t slow_ms = it->thread->app->config->log.slow_ms;

    if (slow_ms == 0 || total_us(it->clock) < slow_ms * 1000)
        return;
    struct str params = spell_params(it);
    struct str plan = find_plan(it);
    write_line(it, params, plan);
    keep(it, params, plan);
}

/*
 * body_parse against a second opinion, store's own JSON scanner: what the one takes is JSON to the other too, and an
 * object that the one refuses is either none to the other or repeats a name, has half a surrogate pair or passes a
 * limit. Members are then bound to parameters.
 */
#include <assert.h>
#include <stdlib.h>

#include "api/body.h"
#include "store/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SPECS = 4 };

static const struct params_spec *make_specs(void)
{
    static const char *const lines[SPECS] = {"a text 0..20 ?", "b integer -5..5", "c number ?", "d boolean = true"};
    static struct params_spec specs[SPECS];
    struct buf why = {0};

    for (size_t i = 0; i < SPECS && specs[i].name.len == 0; i++)
        if (params_spec_parse(str_from(lines[i]), &specs[i], &why) != ERR_OK)
            abort();
    buf_free(&why);
    return specs;
}

static enum err count_object(void *context, size_t index, const struct body *object, struct buf *why)
{
    size_t *count = context;

    (void)why;
    assert(index == *count && object->count <= BODY_MEMBERS_MAX);
    ++*count;
    return ERR_OK;
}

static void check_members(const struct body *body, struct arena *arena, struct buf *why)
{
    for (size_t i = 0; i < body->count; i++) {
        const struct body_member *member = &body->members[i];
        struct str *strings;
        size_t count = 0;

        assert(str_is_utf8(member->name) && body_find(body, member->name) == member);
        if (member->type != BODY_STRING)
            assert(rows_json_valid(member->text) && body_is_json(member->text, arena));
        if (member->type == BODY_NUMBER)
            assert(member->text.p[0] == '-' || (member->text.p[0] >= '0' && member->text.p[0] <= '9'));
        if (body_strings(member, 8, arena, &strings, &count) == ERR_OK)
            assert(member->type == BODY_ARRAY && count <= 8);
        count = 0;
        buf_clear(why);
        if (body_objects(member, 8, arena, count_object, &count, why) == ERR_OK)
            assert(member->type == BODY_ARRAY && count <= 8);
        else
            assert(why->len > 0 && str_is_utf8(buf_str(why)));
    }
}

static void check_binding(const struct body *body, struct arena *arena, struct buf *why)
{
    struct params_raw raw[BODY_MEMBERS_MAX];
    bool nulls[SPECS];
    size_t count = 0;

    buf_clear(why);
    if (body_bind(body, make_specs(), SPECS, arena, raw, &count, nulls, why) != ERR_OK) {
        assert(why->len > 0 && str_is_utf8(buf_str(why)));
        return;
    }
    for (size_t i = 0; i < SPECS; i++)
        count += nulls[i];
    assert(count == body->count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct arena *arena = arena_new(4096, 8 << 20);
    struct buf why = {0};
    struct body body;
    enum err err = body_parse(text, arena, &body, &why);

    if (err == ERR_OK) {
        assert(rows_json_valid(text) && body_is_json(text, arena));
        check_members(&body, arena, &why);
        check_binding(&body, arena, &why);
    } else {
        struct str start = text;

        assert(why.len > 0 && str_is_utf8(buf_str(&why)));
        while (start.len > 0 && strchr(" \t\r\n", start.p[0]) && start.p[0])
            start = (struct str){start.p + 1, start.len - 1};
        if (rows_json_valid(text) && err != ERR_LIMIT)
            assert(start.p[0] != '{' || memmem(why.p, why.len, "given before", 12) ||
                   memmem(why.p, why.len, "half a surrogate pair", 21));
    }
    if (body_is_json(text, arena))
        assert(rows_json_valid(text));
    buf_free(&why);
    arena_free(&arena);
    return 0;
}

/*
 * router: a tree of segments, searched from the root.
 *
 * Each node stands for one beginning of a path: its children are literals, at most one name and at most one rest.
 * Routes of several names at one place ({id} here, {ticker} there) share a node; what their names are called is kept
 * per route. A find tries literal, name and rest in this order and goes back where a choice led nowhere. Since a node
 * has one way to it, each is visited at most once, so no path makes the search long.
 *
 * Invariant: the tree is at most ROUTER_SEGMENTS_MAX deep, and is not written to once finds have begun.
 *
 * It refuses to mend paths: no merging of slashes, no resolving of dots, no folding of case.
 */
#include "http/router.h"

#include <assert.h>
#include <stdlib.h>

#include "base/sys.h"

struct leaf {
    const void *target; /* NULL: no route */
    struct str names[ROUTER_SEGMENTS_MAX];
    size_t names_count;
};

struct node {
    struct str literal; /* of a literal child: its text */
    struct node *next;  /* the next literal child of the same parent */
    struct node *literals, *name, *rest;
    struct leaf *leaves[HTTP_METHOD_COUNT];
};

struct router {
    struct node root;
};

/* A path on its way down the tree. */
struct walk {
    struct str text;                          /* all of the path, decoded */
    struct str segments[ROUTER_SEGMENTS_MAX]; /* one that can match nothing is empty, but begins where it stood */
    size_t count;                             /* of all segments, of which the array holds the first */
    struct str captured[ROUTER_SEGMENTS_MAX];
    size_t captured_count;
};

struct router *router_new(void)
{
    return sys_calloc(1, sizeof(struct router));
}

static void clear(struct node *node)
{
    for (struct node *child = node->literals, *next; child; child = next) {
        next = child->next;
        clear(child);
        free(child);
    }
    if (node->name)
        clear(node->name);
    if (node->rest)
        clear(node->rest);
    free(node->name);
    free(node->rest);
    for (size_t i = 0; i < HTTP_METHOD_COUNT; i++)
        free(node->leaves[i]);
}

void router_free(struct router **router)
{
    if (!*router)
        return;
    clear(&(*router)->root);
    free(*router);
    *router = NULL;
}

static bool is_dots(struct str segment)
{
    return str_equal(segment, STR(".")) || str_equal(segment, STR(".."));
}

static bool is_name(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return text.len > 0;
}

static bool is_literal(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (strchr("{}?#%", text.p[i]))
            return false;
    return text.len > 0 && !is_dots(text) && str_is_utf8(text) && !str_has_control(text);
}

/* The child of NODE that SEGMENT stands for, made where there is none. Adds a name to LEAF. ERR_SYNTAX. */
static enum err grow(struct node **node, struct str segment, bool last, struct leaf *leaf)
{
    struct node **child = &(*node)->literals;

    if (segment.len > 2 && segment.p[0] == '{' && segment.p[segment.len - 1] == '}') {
        struct str name = {segment.p + 1, segment.len - 2};
        bool rest = name.len > 3 && memcmp(name.p + name.len - 3, "...", 3) == 0;

        name.len -= rest ? 3 : 0;
        if (!is_name(name) || (rest && !last))
            return ERR_SYNTAX;
        for (size_t i = 0; i < leaf->names_count; i++)
            if (str_equal(leaf->names[i], name))
                return ERR_SYNTAX;
        leaf->names[leaf->names_count++] = name;
        child = rest ? &(*node)->rest : &(*node)->name;
    } else {
        if (!is_literal(segment))
            return ERR_SYNTAX;
        while (*child && !str_equal((*child)->literal, segment))
            child = &(*child)->next;
    }
    if (!*child) {
        *child = sys_calloc(1, sizeof(struct node));
        (*child)->literal = segment;
    }
    *node = *child;
    return ERR_OK;
}

enum err router_add(struct router *router, enum http_method method, struct str pattern, const void *target)
{
    struct leaf leaf = {.target = target};
    struct node *node = &router->root;
    size_t depth = 0;

    assert(target && method < HTTP_METHOD_COUNT);
    if (pattern.len == 0 || pattern.p[0] != '/')
        return ERR_SYNTAX;
    pattern = (struct str){pattern.p + 1, pattern.len - 1};
    while (pattern.len > 0) {
        struct str segment = str_cut(&pattern, '/');

        if (depth++ == ROUTER_SEGMENTS_MAX || grow(&node, segment, pattern.p == NULL, &leaf) != ERR_OK)
            return ERR_SYNTAX;
    }
    if (node->leaves[method])
        return ERR_EXISTS;
    node->leaves[method] = sys_alloc(sizeof leaf);
    *node->leaves[method] = leaf;
    return ERR_OK;
}

static bool is_plain(struct str path)
{
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.p[i];

        if (c < 0x20 || c >= 0x7f || c == '%')
            return false;
    }
    return true;
}

/* Keeps SEGMENT as the next one of WALK. */
static void keep(struct walk *walk, struct str segment, bool dead)
{
    if (walk->count < ROUTER_SEGMENTS_MAX)
        walk->segments[walk->count] = (struct str){segment.p, dead ? 0 : segment.len};
    walk->count++;
}

/* Splits a path without its leading slash, whose segments are what they say. */
static void split_plain(struct str path, struct walk *walk)
{
    walk->text = path;
    while (path.len > 0) {
        struct str segment = str_cut(&path, '/');

        keep(walk, segment, is_dots(segment));
    }
}

/* The same for a path with escapes. ERR_SYNTAX when it is malformed, ERR_LIMIT when the arena is full. */
static enum err split_encoded(struct str path, struct arena *arena, struct walk *walk)
{
    /* Decoding never lengthens, so the buffer does not leave the arena's memory. */
    struct buf text = {.p = arena_alloc(arena, path.len + 1), .cap = path.len + 1};

    if (!text.p)
        return ERR_LIMIT;
    while (path.len > 0) {
        struct str segment = str_cut(&path, '/');
        size_t before = text.len;

        if (str_percent_decode(segment, false, &text) != ERR_OK)
            return ERR_SYNTAX;
        segment = (struct str){text.p + before, text.len - before};
        keep(walk, segment, is_dots(segment) || (segment.len > 0 && memchr(segment.p, '/', segment.len)));
        if (path.p)
            buf_add_char(&text, '/');
    }
    walk->text = buf_str(&text);
    return ERR_OK;
}

/* What is left of the path from segment DEPTH on; false where that is no rest. */
static bool take_rest(const struct walk *walk, size_t depth, struct str *rest)
{
    struct str text = {walk->segments[depth].p, 0};

    text.len = (size_t)(walk->text.p + walk->text.len - text.p);
    *rest = text;
    while (text.len > 0)
        if (is_dots(str_cut(&text, '/')))
            return false;
    return rest->len > 0;
}

static bool has_routes(const struct node *node)
{
    for (size_t i = 0; i < HTTP_METHOD_COUNT; i++)
        if (node->leaves[i])
            return true;
    return false;
}

/* The node with routes that the path leads to from NODE on, which stands for its first DEPTH segments; NULL for
 * none. */
static const struct node *descend(const struct node *node, size_t depth, struct walk *walk)
{
    const struct node *found = NULL;
    struct str *capture = &walk->captured[walk->captured_count];

    if (depth == walk->count)
        return has_routes(node) ? node : NULL;
    if (depth == ROUTER_SEGMENTS_MAX)
        return NULL;
    for (const struct node *child = node->literals; child; child = child->next)
        if (str_equal(child->literal, walk->segments[depth])) {
            found = descend(child, depth + 1, walk);
            break;
        }
    if (!found && node->name && walk->segments[depth].len > 0) {
        *capture = walk->segments[depth];
        walk->captured_count++;
        found = descend(node->name, depth + 1, walk);
        walk->captured_count -= found == NULL;
    }
    if (!found && node->rest && take_rest(walk, depth, capture)) {
        walk->captured_count++;
        found = node->rest;
    }
    return found;
}

static const struct leaf *leaf_for(const struct node *node, enum http_method method)
{
    if (method == HTTP_METHOD_COUNT)
        return NULL;
    if (node->leaves[method])
        return node->leaves[method];
    return method == HTTP_HEAD || method == HTTP_PURGE ? node->leaves[HTTP_GET] : NULL;
}

/* The value of Allow (RFC 9110, section 10.2.1). */
static struct str list_methods(const struct node *node, struct arena *arena)
{
    enum { NAME_ROOM = 10 };
    char *list = arena_alloc(arena, HTTP_METHOD_COUNT * NAME_ROOM);
    size_t len = 0;

    if (!list)
        return STR("");
    for (enum http_method method = HTTP_GET; method < HTTP_METHOD_COUNT; method++) {
        struct str name = str_from(http_method_name(method));

        if (method != HTTP_OPTIONS && !leaf_for(node, method))
            continue;
        if (len > 0) {
            memcpy(list + len, ", ", 2);
            len += 2;
        }
        memcpy(list + len, name.p, name.len);
        len += name.len;
    }
    return (struct str){list, len};
}

enum router_result router_find(const struct router *router, enum http_method method, struct str path,
                               struct arena *arena, struct router_match *match)
{
    struct walk walk;
    const struct node *node;
    const struct leaf *leaf;

    match->target = NULL;
    match->values_count = 0;
    match->allow = STR("");
    if (path.len == 0 || path.p[0] != '/')
        return ROUTER_NOT_FOUND;
    path = (struct str){path.p + 1, path.len - 1};
    walk.count = walk.captured_count = 0;
    if (is_plain(path)) {
        split_plain(path, &walk);
    } else {
        enum err err = split_encoded(path, arena, &walk);

        if (err != ERR_OK)
            return err == ERR_SYNTAX ? ROUTER_MALFORMED : ROUTER_NOT_FOUND;
    }
    node = descend(&router->root, 0, &walk);
    if (!node)
        return ROUTER_NOT_FOUND;
    leaf = leaf_for(node, method);
    if (!leaf) {
        match->allow = list_methods(node, arena);
        return method == HTTP_OPTIONS ? ROUTER_OPTIONS : ROUTER_METHOD;
    }
    match->target = leaf->target;
    match->values_count = leaf->names_count;
    for (size_t i = 0; i < leaf->names_count; i++)
        match->values[i] = (struct router_value){leaf->names[i], walk.captured[i]};
    return ROUTER_FOUND;
}

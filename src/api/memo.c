/*
 * memo: a table of places, one for each hash; who comes to a place takes it.
 *
 * URLs that share a place push each other out, which costs them what understanding them costs and nothing else. So no
 * order of use is kept, and a find writes nothing.
 *
 * Invariant: a place holds a whole record or nothing, and a record's texts (path, query, key, tags) lie behind it in one
 * piece.
 */
#include "api/memo.h"

#include <stdlib.h>

#include "base/sys.h"

enum { PLACES = 2048, TEXTS_MAX = 1024 };

struct record {
    struct memo_meaning meaning;
    struct str path, query;
    struct str tags[ENTRY_TAGS_MAX];
    char texts[];
};

struct memo {
    struct record *places[PLACES];
};

struct memo *memo_new(void)
{
    return sys_calloc(1, sizeof(struct memo));
}

void memo_free(struct memo **memo)
{
    if (!*memo)
        return;
    for (size_t i = 0; i < PLACES; i++)
        free((*memo)->places[i]);
    free(*memo);
    *memo = NULL;
}

static size_t place_of(struct str path, struct str query)
{
    return sys_hash64(path, query.len > 0 ? sys_hash64(query, 0) : 0) % PLACES;
}

const struct memo_meaning *memo_find(const struct memo *memo, struct str path, struct str query)
{
    const struct record *record = memo->places[place_of(path, query)];

    return record && str_equal(record->path, path) && str_equal(record->query, query) ? &record->meaning : NULL;
}

/* TEXT, copied to *AT, which moves on. */
static struct str put(char **at, struct str text)
{
    struct str copy = {*at, text.len};

    if (text.len > 0)
        memcpy(*at, text.p, text.len);
    *at += text.len;
    return copy;
}

void memo_keep(struct memo *memo, struct str path, struct str query, const struct memo_meaning *meaning)
{
    size_t place = place_of(path, query), len = path.len + query.len + meaning->key.len;

    for (size_t i = 0; i < meaning->tags_count; i++)
        len += meaning->tags[i].len;
    if (len > TEXTS_MAX || meaning->tags_count > ENTRY_TAGS_MAX)
        return;

    struct record *record = sys_alloc(sizeof *record + len);
    char *at = record->texts;

    record->path = put(&at, path);
    record->query = put(&at, query);
    record->meaning = *meaning;
    record->meaning.key = put(&at, meaning->key);
    for (size_t i = 0; i < meaning->tags_count; i++)
        record->tags[i] = put(&at, meaning->tags[i]);
    record->meaning.tags = record->tags;
    /* Only now: what is kept may be what this place gave. */
    free(memo->places[place]);
    memo->places[place] = record;
}

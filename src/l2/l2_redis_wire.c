/*
 * l2_redis_wire: commands as RESP2 bytes, and the judgement of replies.
 *
 * Invariant: an entry is found only if floor <= stamp, every tag's number <= stamp, stamp <= seq, and no ban newer than
 * the stamp matches its key, all taken from one reply that Redis made before it read the entry. The other way round, a
 * job could remove the entry and end its ban in between, and a purged entry would pass; this way, whoever does not find
 * the ban does not find the entry either. A purge that comes in between was not answered when the read was asked.
 *
 * Commands are put together by hand, without printf: this is the way of every hit. A reply of a type that was not asked
 * for is nonsense and never guessed at.
 */
#include "l2/l2_redis_wire.h"

enum {
    FIELDS = 4, /* of the hash, before the tags */
    SOFT_FLAG = 1,
    DAY_MS = 24 * 60 * 60 * 1000,
    HEAD_MAX = 24 /* of a number, what it counts and the end of the line */
};

void l2_redis_wire_init(struct l2_redis_setup *setup, const struct config *config, const struct l2_shared *shared)
{
    struct buf *names[] = {&setup->entries, &setup->leases, &setup->jobs,       &setup->purged,       &setup->log,
                           &setup->boards,  &setup->copies, &setup->board_sets, &setup->board_members};
    static const char *const ends[] = {"e:", "l:", "job:", "purged", "log", "boards", "copy:", "board:", "reached:"};

    *setup = (struct l2_redis_setup){.config = config,
                                     .url = &shared->url,
                                     .health = shared->health,
                                     .boards_host = shared->boards,
                                     .host = shared->host};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        buf_printf(names[i], "%s%lld:%s", config->redis.prefix, (long long)config->redis.cache_version, ends[i]);
    buf_printf(&setup->board_pushed, "pushed:%lu", (unsigned long)setup->host);
    l2_redis_wire_add(&setup->numbers, STR("HMGET"));
    l2_redis_wire_add(&setup->numbers, buf_str(&setup->purged));
    l2_redis_wire_add(&setup->numbers, STR("seq"));
    l2_redis_wire_add(&setup->numbers, STR("floor"));
    l2_redis_wire_add(&setup->numbers, STR("soft"));
    l2_redis_wire_add(&setup->numbers, STR("bans"));
    setup->keep_ms = (shared->life_ms > 0 ? shared->life_ms : 0) + DAY_MS;
}

void l2_redis_wire_fini(struct l2_redis_setup *setup)
{
    buf_free(&setup->entries);
    buf_free(&setup->leases);
    buf_free(&setup->jobs);
    buf_free(&setup->purged);
    buf_free(&setup->log);
    buf_free(&setup->boards);
    buf_free(&setup->copies);
    buf_free(&setup->board_sets);
    buf_free(&setup->board_members);
    buf_free(&setup->board_pushed);
    buf_free(&setup->numbers);
}

/* The numbers of scripts are doubles, and exact up to this (2^53). A sequence beyond it would not grow any more: purges
 * and fills would draw the same number. */
#define NUMBER_MAX INT64_C(9007199254740992)

/* NUMBER in decimal, backwards before END. Returns where it begins. */
static char *write_digits(char *end, uint64_t number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    return end;
}

static void add_head(struct buf *out, char kind, size_t number)
{
    char space[HEAD_MAX], *end = space + sizeof(space), *head;

    end[-2] = '\r';
    end[-1] = '\n';
    head = write_digits(end - 2, number);
    *--head = kind;
    buf_add(out, head, (size_t)(end - head));
}

void l2_redis_wire_command(struct buf *out, size_t arguments)
{
    add_head(out, '*', arguments);
}

void l2_redis_wire_add_joined(struct buf *out, struct str first, struct str second)
{
    buf_reserve(out, HEAD_MAX + first.len + second.len + 2);
    add_head(out, '$', first.len + second.len);
    buf_add_str(out, first);
    buf_add_str(out, second);
    buf_add(out, "\r\n", 2);
}

void l2_redis_wire_add(struct buf *out, struct str part)
{
    l2_redis_wire_add_joined(out, part, (struct str){NULL, 0});
}

void l2_redis_wire_add_number(struct buf *out, uint64_t number)
{
    char space[HEAD_MAX], *end = space + sizeof(space), *digits = write_digits(end, number);

    l2_redis_wire_add(out, (struct str){digits, (size_t)(end - digits)});
}

void l2_redis_wire_get(struct buf *out, const struct l2_redis_setup *setup, struct str key)
{
    l2_redis_wire_command(out, 2);
    l2_redis_wire_add(out, STR("GET"));
    l2_redis_wire_entry(out, setup, key);
}

void l2_redis_wire_entry(struct buf *parts, const struct l2_redis_setup *setup, struct str key)
{
    l2_redis_wire_add_joined(parts, buf_str(&setup->entries), key);
}

void l2_redis_wire_mget(struct buf *out, struct str parts, size_t count)
{
    l2_redis_wire_command(out, 1 + count);
    l2_redis_wire_add(out, STR("MGET"));
    buf_add_str(out, parts);
}

void l2_redis_wire_numbers(struct buf *out, const struct l2_redis_setup *setup, const struct str *tags,
                           size_t tags_count)
{
    l2_redis_wire_command(out, 2 + FIELDS + tags_count);
    buf_add_str(out, buf_str(&setup->numbers));
    for (size_t i = 0; i < tags_count; i++)
        l2_redis_wire_add_joined(out, STR("t:"), tags[i]);
}

struct str l2_redis_wire_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? (struct str){reply->str, reply->len} : (struct str){NULL, 0};
}

static enum err parse_number(struct str text, uint64_t *out)
{
    int64_t number;

    if (str_to_int64(text, &number) != ERR_OK || number < 0 || number > NUMBER_MAX)
        return ERR_CORRUPT;
    *out = (uint64_t)number;
    return ERR_OK;
}

enum err l2_redis_wire_number(const redisReply *reply, uint64_t *out)
{
    return parse_number(l2_redis_wire_text(reply), out);
}

/* Numbers of the hash: one, or two with a comma between them; 0 where there is none. */
static enum err take_numbers(const redisReply *reply, uint64_t *first, uint64_t *second)
{
    struct str rest = l2_redis_wire_text(reply);
    struct str text = second ? str_cut(&rest, ',') : rest;

    *first = 0;
    if (second)
        *second = 0;
    if (reply->type == REDIS_REPLY_NIL)
        return ERR_OK;
    if (parse_number(text, first) != ERR_OK)
        return ERR_CORRUPT;
    return second && rest.p ? parse_number(rest, second) : ERR_OK;
}

enum err l2_redis_wire_understand(const redisReply *reply, size_t tags_count, struct l2_redis_numbers *out)
{
    redisReply **elements = reply->element;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != FIELDS + tags_count ||
        tags_count > L2_REDIS_WIRE_TAGS_MAX)
        return ERR_CORRUPT;
    if (elements[3]->type != REDIS_REPLY_NIL && elements[3]->type != REDIS_REPLY_STRING)
        return ERR_CORRUPT;
    out->lost = elements[0]->type == REDIS_REPLY_NIL || elements[1]->type == REDIS_REPLY_NIL;

    enum err err = take_numbers(elements[0], &out->seq, NULL);

    if (err == ERR_OK)
        err = take_numbers(elements[1], &out->floor, NULL);
    if (err == ERR_OK)
        err = take_numbers(elements[2], &out->soft, NULL);
    if (err == ERR_OK)
        err = l2_bans_parse(l2_redis_wire_text(elements[3]), &out->bans);
    for (size_t i = 0; i < tags_count && err == ERR_OK; i++)
        err = take_numbers(elements[FIELDS + i], &out->tags[i].hard, &out->tags[i].soft);
    return err;
}

/* The stamp in front of an entry; false when it is none. */
static bool take_stamp(const redisReply *entry, uint64_t *stamp)
{
    if (entry->type != REDIS_REPLY_STRING || entry->len < L2_REDIS_WIRE_HEAD_SIZE)
        return false;
    *stamp = 0;
    for (int i = L2_REDIS_WIRE_STAMP_SIZE - 1; i >= 0; i--)
        *stamp = *stamp << 8 | (unsigned char)entry->str[i];
    return true;
}

struct l2_read l2_redis_wire_judge(const redisReply *entry, struct str key, const struct l2_redis_numbers *numbers,
                                   const uint8_t *tags, size_t tags_count, uint64_t seen)
{
    static const struct l2_read absent = {.result = L2_ABSENT};
    uint64_t stamp;

    if (numbers->lost || numbers->seq < seen || !take_stamp(entry, &stamp) || stamp > numbers->seq ||
        stamp < numbers->floor)
        return absent;

    bool soft = (entry->str[L2_REDIS_WIRE_STAMP_SIZE] & SOFT_FLAG) || stamp < numbers->soft;
    enum l2_bans_verdict banned = l2_bans_judge(&numbers->bans, key, stamp);

    for (size_t i = 0; i < tags_count; i++) {
        if (stamp < numbers->tags[tags[i]].hard)
            return absent;
        soft = soft || stamp < numbers->tags[tags[i]].soft;
    }
    if (banned == L2_BANS_HARD)
        return absent;
    return (struct l2_read){
        .result = L2_FOUND,
        .bytes = {entry->str + L2_REDIS_WIRE_HEAD_SIZE, entry->len - L2_REDIS_WIRE_HEAD_SIZE},
        .soft = soft || banned == L2_BANS_SOFT,
    };
}

bool l2_redis_wire_stands(const redisReply *head, struct str key, const struct l2_redis_numbers *numbers)
{
    return l2_redis_wire_judge(head, key, numbers, NULL, 0, 0).result == L2_FOUND;
}

void l2_redis_wire_quote(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] != '\0' && strchr("*?[]^\\", text.p[i]))
            buf_add_char(out, '\\');
        buf_add_char(out, text.p[i]);
    }
}

bool l2_redis_wire_refuses(const redisReply *reply)
{
    static const struct str words[] = {{"OOM ", 4}, {"READONLY ", 9}, {"MISCONF ", 8}, {"NOREPLICAS ", 11}};

    /* What a command in a script is answered stands somewhere within what the script is. */
    for (size_t i = 0; reply->type == REDIS_REPLY_ERROR && i < sizeof(words) / sizeof(*words); i++)
        if (memmem(reply->str, reply->len, words[i].p, words[i].len))
            return true;
    return false;
}

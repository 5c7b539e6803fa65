/*
 * l2_redis_wire: commands as RESP2 bytes, the scripts, and the judgement of replies.
 *
 * Invariant: an entry is found only if floor <= stamp, every tag's number <= stamp and stamp <= seq, all taken from one
 * reply that Redis made after it had read the entry.
 *
 * Commands are put together by hand, without printf: this is the way of every hit. Scripts go as EVAL with their text,
 * which never varies, so Redis compiles each once; the 200 bytes more than EVALSHA spare a fall-back for a server that
 * forgot them. Numbers in scripts are doubles, exact up to 2^53: microseconds since 1970 stay below for two centuries.
 * A reply of a type that was not asked for is nonsense and never guessed at.
 */
#include "l2/l2_redis_wire.h"

enum { STAMP_SIZE = 8, TAGS_REMEMBERED = 100000, DAY_MS = 24 * 60 * 60 * 1000 };

/* KEYS[1] the hash; ARGV: the highest number seen, milliseconds to keep it, what to do, how many tags to remember,
 * tags. */
static const char draw_script[] =
    "local old = redis.call('HMGET', KEYS[1], 'seq', 'floor')\n"
    "local seq, seen = tonumber(old[1] or ''), tonumber(ARGV[1])\n"
    "local anew = ARGV[3] == 'all' or not (seq and old[2]) or seq < seen\n"
    "if not anew and ARGV[3] == 'now' then return old[1] end\n"
    "if redis.call('HLEN', KEYS[1]) + #ARGV - 6 > tonumber(ARGV[4]) then anew = true end\n"
    "local text\n"
    "if anew then\n"
    "  local time = redis.call('TIME')\n"
    "  text = string.format('%.0f', math.max(time[1] * 1000000 + time[2], seen + 1, (seq or 0) + 1))\n"
    "  redis.call('DEL', KEYS[1])\n"
    "  redis.call('HSET', KEYS[1], 'seq', text, 'floor', text)\n"
    "else\n"
    "  text = string.format('%.0f', seq + 1)\n"
    "  redis.call('HSET', KEYS[1], 'seq', text)\n"
    "  for i = 5, #ARGV do redis.call('HSET', KEYS[1], 't:' .. ARGV[i], text) end\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
    "return text\n";

/* KEYS: the entry, the hash; ARGV: stamp, value, milliseconds to keep the entry and the hash. */
static const char fill_script[] = "if redis.call('HGET', KEYS[2], 'seq') ~= ARGV[1] then return 0 end\n"
                                  "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])\n"
                                  "redis.call('PEXPIRE', KEYS[2], ARGV[4])\n"
                                  "return 1\n";

void l2_redis_wire_init(struct l2_redis_setup *setup, const struct config *config, const struct l2_shared *shared)
{
    *setup = (struct l2_redis_setup){.config = config, .url = &shared->url, .health = shared->health};
    buf_printf(&setup->entries, "%s%lld:e:", config->redis.prefix, (long long)config->redis.cache_version);
    buf_printf(&setup->purged, "%s%lld:purged", config->redis.prefix, (long long)config->redis.cache_version);
    setup->keep_ms = (shared->life_ms > 0 ? shared->life_ms : 0) + DAY_MS;
}

void l2_redis_wire_fini(struct l2_redis_setup *setup)
{
    buf_free(&setup->entries);
    buf_free(&setup->purged);
}

static void add_head(struct buf *out, char kind, size_t number)
{
    buf_add_char(out, kind);
    buf_add_int64(out, (int64_t)number);
    buf_add(out, "\r\n", 2);
}

void l2_redis_wire_command(struct buf *out, size_t arguments)
{
    add_head(out, '*', arguments);
}

void l2_redis_wire_add_joined(struct buf *out, struct str first, struct str second)
{
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
    char digits[24];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    l2_redis_wire_add(out, (struct str){digits + at, sizeof(digits) - at});
}

void l2_redis_wire_get(struct buf *out, const struct l2_redis_setup *setup, struct str key)
{
    l2_redis_wire_command(out, 2);
    l2_redis_wire_add(out, STR("GET"));
    l2_redis_wire_add_joined(out, buf_str(&setup->entries), key);
}

void l2_redis_wire_numbers(struct buf *out, const struct l2_redis_setup *setup, const struct str *tags,
                           size_t tags_count)
{
    l2_redis_wire_command(out, 4 + tags_count);
    l2_redis_wire_add(out, STR("HMGET"));
    l2_redis_wire_add(out, buf_str(&setup->purged));
    l2_redis_wire_add(out, STR("seq"));
    l2_redis_wire_add(out, STR("floor"));
    for (size_t i = 0; i < tags_count; i++)
        l2_redis_wire_add_joined(out, STR("t:"), tags[i]);
}

enum err l2_redis_wire_number(const redisReply *reply, uint64_t *out)
{
    int64_t number;

    if (reply->type != REDIS_REPLY_STRING || str_to_int64((struct str){reply->str, reply->len}, &number) != ERR_OK ||
        number < 0)
        return ERR_CORRUPT;
    *out = (uint64_t)number;
    return ERR_OK;
}

uint64_t l2_redis_wire_stamp(const redisReply *entry)
{
    uint64_t stamp = 0;

    if (entry->type != REDIS_REPLY_STRING || entry->len < STAMP_SIZE)
        return 0;
    for (int i = STAMP_SIZE - 1; i >= 0; i--)
        stamp = stamp << 8 | (unsigned char)entry->str[i];
    return stamp;
}

/* A number of the hash; 0 where there is none. */
static enum err take_number(const redisReply *reply, uint64_t *out)
{
    *out = 0;
    return reply->type == REDIS_REPLY_NIL ? ERR_OK : l2_redis_wire_number(reply, out);
}

enum err l2_redis_wire_understand(const redisReply *reply, size_t tags_count, struct l2_redis_numbers *out)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 + tags_count || tags_count > L2_REDIS_WIRE_TAGS_MAX)
        return ERR_CORRUPT;
    out->lost = reply->element[0]->type == REDIS_REPLY_NIL || reply->element[1]->type == REDIS_REPLY_NIL;
    out->count = tags_count;
    enum err err = take_number(reply->element[0], &out->seq);
    if (err == ERR_OK)
        err = take_number(reply->element[1], &out->floor);
    for (size_t i = 0; i < tags_count && err == ERR_OK; i++)
        err = take_number(reply->element[2 + i], &out->tags[i]);
    return err;
}

enum err l2_redis_wire_judge(const redisReply *entry, const struct l2_redis_numbers *numbers, const uint8_t *tags,
                             size_t tags_count, uint64_t seen, struct l2_read *read)
{
    if (numbers->lost || numbers->seq < seen)
        return ERR_NOT_FOUND;

    uint64_t stamp = l2_redis_wire_stamp(entry);
    bool stands = entry->type == REDIS_REPLY_STRING && entry->len >= STAMP_SIZE && stamp <= numbers->seq &&
                  stamp >= numbers->floor;

    for (size_t i = 0; i < tags_count && stands; i++)
        stands = numbers->tags[tags[i]] <= stamp;
    *read = (struct l2_read){.result = L2_ABSENT, .stamp = numbers->seq};
    if (stands) {
        read->result = L2_FOUND;
        read->bytes = (struct str){entry->str + STAMP_SIZE, entry->len - STAMP_SIZE};
    }
    return ERR_OK;
}

void l2_redis_wire_draw(struct buf *out, const struct l2_redis_setup *setup, enum l2_redis_draw draw,
                        const struct str *tags, size_t tags_count)
{
    static const char *const words[] = {
        [L2_REDIS_WIRE_NOW] = "now", [L2_REDIS_WIRE_TAGS] = "tags", [L2_REDIS_WIRE_ALL] = "all"};

    l2_redis_wire_command(out, 8 + tags_count);
    l2_redis_wire_add(out, STR("EVAL"));
    l2_redis_wire_add(out, STR(draw_script));
    l2_redis_wire_add(out, STR("1"));
    l2_redis_wire_add(out, buf_str(&setup->purged));
    l2_redis_wire_add_number(out, l2_health_seen(setup->health));
    l2_redis_wire_add_number(out, (uint64_t)setup->keep_ms);
    l2_redis_wire_add(out, str_from(words[draw]));
    l2_redis_wire_add_number(out, TAGS_REMEMBERED);
    for (size_t i = 0; i < tags_count; i++)
        l2_redis_wire_add(out, tags[i]);
}

void l2_redis_wire_fill(struct buf *out, const struct l2_redis_setup *setup, struct str key, struct str bytes,
                        int64_t ttl_ms, uint64_t stamp)
{
    char head[STAMP_SIZE];

    for (int i = 0; i < STAMP_SIZE; i++)
        head[i] = (char)(stamp >> (8 * i) & 0xff);
    l2_redis_wire_command(out, 9);
    l2_redis_wire_add(out, STR("EVAL"));
    l2_redis_wire_add(out, STR(fill_script));
    l2_redis_wire_add(out, STR("2"));
    l2_redis_wire_add_joined(out, buf_str(&setup->entries), key);
    l2_redis_wire_add(out, buf_str(&setup->purged));
    l2_redis_wire_add_number(out, stamp);
    l2_redis_wire_add_joined(out, (struct str){head, sizeof(head)}, bytes);
    l2_redis_wire_add_number(out, (uint64_t)ttl_ms);
    l2_redis_wire_add_number(out, (uint64_t)(ttl_ms > setup->keep_ms ? ttl_ms : setup->keep_ms));
}

void l2_redis_wire_quote(struct buf *out, struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] != '\0' && strchr("*?[]^\\", text.p[i]))
            buf_add_char(out, '\\');
        buf_add_char(out, text.p[i]);
    }
}

/*
 * l2_redis_script: the scripts, and what goes into them and comes out.
 *
 * Invariant: a number is drawn, put where it judges and logged in one step, so the log has no gap and nobody ever sees
 * a sequence that is ahead of what it stands for. A lease says at which number it was taken: it holds a key, and a fill
 * may come of it, only as long as nothing that covers the key was purged since.
 *
 * Scripts go by their hashes: of a text Redis would have to take the SHA-1 with each call, which for a purge is a
 * quarter of all it does. Numbers in scripts are doubles, exact up to 2^53: microseconds since 1970 stay below for two
 * centuries. They run on Redis 6 and later.
 */
#include "l2/l2_redis_script.h"

#include <stdio.h>

#define TAGS_REMEMBERED "100000"
#define LOG_LENGTH "10000"
/* Must be L2_BANS_MAX: every reader refuses a longer list. */
#define BANS_MAX "64"
#define JOB_KEPT_MS "86400000"

/* Reads the hash KEYS[1], with the tags from ARGV[first] on: `hard` and `soft` are the last purges that cover the key,
 * the patterns left aside, `ban` the last one of a pattern. */
#define READ_NUMBERS                                                                                                   \
    "local fields = {'seq', 'floor', 'soft', 'ban', 'bans'}\n"                                                         \
    "for i = first, #ARGV do fields[#fields + 1] = 't:' .. ARGV[i] end\n"                                              \
    "local found = redis.call('HMGET', KEYS[1], unpack(fields))\n"                                                     \
    "local seq, hard = tonumber(found[1] or ''), tonumber(found[2] or '')\n"                                           \
    "local soft, ban = tonumber(found[3] or '0'), tonumber(found[4] or '0')\n"                                         \
    "local lost = not (seq and hard) or seq < tonumber(ARGV[1])\n"                                                     \
    "for i = 6, #fields do\n"                                                                                          \
    "  local h, s = (found[i] or '0'):match('^(%d+),?(%d*)$')\n"                                                       \
    "  hard, soft = math.max(hard or 0, tonumber(h)), math.max(soft, tonumber(s) or 0)\n"                              \
    "end\n"

/* KEYS: the hash, the entry, the lease; ARGV: the highest number seen, HOST-TOKEN, milliseconds of the lease, how a
 * spent entry begins, tags. While a pattern's keys are being removed, an older entry is as absent. A lease of the same
 * host is taken over: on its host the key's lease has passed on, so its holder is dead or late. */
static const char claim_script[] =
    "local first = 5\n" READ_NUMBERS "if lost then return {'lost'} end\n"
    "local entry = redis.call('GET', KEYS[2])\n"
    "if entry and #entry >= 9 then\n"
    "  local stamp, spent = 0, ARGV[4]\n"
    "  for i = 8, 1, -1 do stamp = stamp * 256 + entry:byte(i) end\n"
    "  local valid = stamp >= hard and stamp <= seq and not (found[5] and stamp < ban)\n"
    "  if valid and (spent == '' or entry:sub(10, 9 + #spent) ~= spent) then\n"
    "    return {'found', entry, (entry:byte(9) % 2 == 1 or stamp < soft) and 1 or 0}\n"
    "  end\n"
    "end\n"
    "local lease = redis.call('GET', KEYS[3])\n"
    "if lease then\n"
    "  local host, stamp = lease:match('^(%d+)%-%d+ (%d+)$')\n"
    "  local others = host and host ~= ARGV[2]:match('^%d+')\n"
    "  if others and tonumber(stamp) >= math.max(hard, soft, ban) then return {'held'} end\n"
    "end\n"
    "redis.call('SET', KEYS[3], ARGV[2] .. ' ' .. found[1], 'PX', ARGV[3])\n"
    "return {'taken', found[1]}\n";

/* KEYS: the hash, the entry, the lease; ARGV: the highest number seen, the lease's text, its stamp, the value,
 * milliseconds to keep the entry and the hash, tags. */
static const char fill_script[] = "if redis.call('GET', KEYS[3]) ~= ARGV[2] then return 0 end\n"
                                  "local first = 7\n" READ_NUMBERS "local stamp, stored = tonumber(ARGV[3]), 0\n"
                                  "if not lost and stamp <= seq and stamp >= math.max(hard, soft, ban) then\n"
                                  "  redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])\n"
                                  "  redis.call('PEXPIRE', KEYS[1], ARGV[6])\n"
                                  "  stored = 1\n"
                                  "end\n"
                                  "redis.call('DEL', KEYS[3])\n"
                                  "return stored\n";

static const char release_script[] = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
                                     "return redis.call('DEL', KEYS[1])\n";

/* KEYS: the hash, the log, then the entry and the lease of each key; ARGV: the highest number seen, milliseconds to
 * keep hash and log, what to do (a record's kind in small letters, or `n` for nothing but the number), whether softly,
 * what jobs' keys begin with, names. */
static const char purge_script[] =
    "local seen, keep, what, soft = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4] == '1'\n"
    "local old = redis.call('HMGET', KEYS[1], 'seq', 'floor', 'bans')\n"
    "local seq, bans = tonumber(old[1] or ''), old[3] or ''\n"
    "local anew = not (seq and old[2]) or seq < seen\n"
    "if what == 'n' and not anew then\n"
    /* What somebody else put into the log beyond the sequence would be met by every reader again and again. */
    "  local top = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]\n"
    "  if top and tonumber(top[1]:match('^%d+')) > seq then redis.call('DEL', KEYS[2]) end\n"
    "  return {old[1], 0}\n"
    "end\n"
    "local time, now_ms\n"
    "if anew or what == 'p' or bans ~= '' then\n"
    "  time = redis.call('TIME')\n"
    "  now_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))\n"
    "end\n"
    "local number = seq and seq + 1\n"
    "if anew then number = math.max(time[1] * 1000000 + time[2], seen + 1, number or 0) end\n"
    "number = string.format('%.0f', number)\n"
    /* This is allowed even when Redis is full, and after it so is the rest: no purge fails for want of memory. */
    "redis.call('PEXPIRE', KEYS[1], keep)\n"
    "local function finish(id)\n"
    "  redis.call('HSET', ARGV[5] .. id, 'state', 'done', 'ended', now_ms)\n"
    "  redis.call('PEXPIRE', ARGV[5] .. id, " JOB_KEPT_MS ")\n"
    "end\n"
    /* Ends the bans that this purge covers. */
    "local function sift(covers)\n"
    "  local kept, count = '', 0\n"
    "  for line, id, kind, pattern in bans:gmatch('((%d+) ([hs]) ([^\\n]*)\\n)') do\n"
    "    if covers(kind, pattern) then finish(id) else kept, count = kept .. line, count + 1 end\n"
    "  end\n"
    "  bans = kept\n"
    "  return count\n"
    "end\n"
    "local does, softly = what, soft\n"
    "if what == 't' and redis.call('HLEN', KEYS[1]) + #ARGV - 7 > " TAGS_REMEMBERED
    " then does, softly = 'a', false end\n"
    "if what == 'p' then\n"
    "  local count = sift(function(kind, pattern) return pattern == ARGV[6] and (kind == 's' or not soft) end)\n"
    "  if count >= " BANS_MAX " then does = 'a' end\n"
    "end\n"
    "if anew then does, softly = 'a', false end\n"
    "if does == 'a' then sift(function(kind) return kind == 's' or not softly end) end\n"
    "local removed = 0\n"
    "if what == 'k' then\n"
    "  for i = 3, #KEYS, 2 do\n"
    "    if not soft then\n"
    "      removed = removed + redis.call('UNLINK', KEYS[i])\n"
    "    elseif redis.call('STRLEN', KEYS[i]) >= 9 then\n"
    "      redis.call('SETRANGE', KEYS[i], 8, '\\1')\n"
    "      removed = removed + 1\n"
    "    end\n"
    "    redis.call('DEL', KEYS[i + 1])\n"
    "  end\n"
    "end\n"
    "local fields = {'HSET', KEYS[1], 'seq', number}\n"
    "local function set(name, value) fields[#fields + 1], fields[#fields + 2] = name, value end\n"
    "if does == 'a' and not softly then\n"
    "  redis.call('UNLINK', KEYS[1])\n"
    "  set('floor', number)\n"
    "elseif does == 'a' then\n"
    "  set('soft', number)\n"
    "elseif does == 't' then\n"
    "  for i = 6, #ARGV do\n"
    "    local value, tag = number, 't:' .. ARGV[i]\n"
    "    if soft then value = (redis.call('HGET', KEYS[1], tag) or '0'):match('^%d+') .. ',' .. number end\n"
    "    set(tag, value)\n"
    "  end\n"
    "end\n"
    "if what == 'p' then\n"
    "  redis.call('HSET', ARGV[5] .. number, 'pattern', ARGV[6], 'soft', ARGV[4], 'state', 'running', 'cursor', '0',\n"
    "             'scanned', '0', 'removed', '0', 'total', redis.call('DBSIZE'), 'started', now_ms, 'ended', '0')\n"
    "  redis.call('PEXPIRE', ARGV[5] .. number, keep)\n"
    "  if does == 'p' then\n"
    "    bans = bans .. number .. (soft and ' s ' or ' h ') .. ARGV[6] .. '\\n'\n"
    "    set('ban', number)\n"
    "  else\n"
    "    finish(number)\n"
    "  end\n"
    "end\n"
    "if bans ~= '' then set('bans', bans) elseif old[3] then redis.call('HDEL', KEYS[1], 'bans') end\n"
    "redis.call(unpack(fields))\n"
    "redis.call('PEXPIRE', KEYS[1], keep)\n"
    "local record = {'XADD', KEYS[2], 'MAXLEN', '~', " LOG_LENGTH ", number .. '-0',\n"
    "                'kind', softly and does:upper() or does}\n"
    "if does ~= 'a' then\n"
    "  for i = 6, #ARGV do\n"
    "    record[#record + 1] = 'name'\n"
    "    record[#record + 1] = ARGV[i]\n"
    "  end\n"
    "end\n"
    /* A log that stands higher is of a sequence that was lost: whoever follows it sees that the numbers do not fit. */
    "local logged = redis.pcall(unpack(record))\n"
    "if type(logged) == 'table' and logged.err then\n"
    "  redis.call('DEL', KEYS[2])\n"
    "  redis.call(unpack(record))\n"
    "end\n"
    "redis.call('PEXPIRE', KEYS[2], keep)\n"
    "return {number, removed}\n";

_Static_assert(L2_BANS_MAX == 64, "BANS_MAX");

enum { CLAIM, FILL, RELEASE, PURGE };

const struct l2_redis_script l2_redis_script_list[L2_REDIS_SCRIPT_COUNT] = {
    [CLAIM] = {{claim_script, sizeof(claim_script) - 1}, {"a96f5f0e2adfed175ad7881f6408b64f7d8e3482", 40}},
    [FILL] = {{fill_script, sizeof(fill_script) - 1}, {"dc7447593d03f685f8c53a5957dbec0857cc3b12", 40}},
    [RELEASE] = {{release_script, sizeof(release_script) - 1}, {"3c9c9e0fad36a4c131785264072fb16c2f7347b2", 40}},
    [PURGE] = {{purge_script, sizeof(purge_script) - 1}, {"76f3e6b3b4cef86320cb1b759533f4b2b94bfa02", 40}},
};

void l2_redis_script_run(struct buf *out, const struct l2_redis_script *script, size_t keys, size_t arguments)
{
    l2_redis_wire_command(out, 3 + keys + arguments);
    l2_redis_wire_add(out, STR("EVALSHA"));
    l2_redis_wire_add(out, script->hash);
    l2_redis_wire_add_number(out, keys);
}

static void add_all(struct buf *out, const struct str *parts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        l2_redis_wire_add(out, parts[i]);
}

static void add_keys(struct buf *out, const struct l2_redis_setup *setup, struct str key)
{
    l2_redis_wire_add(out, buf_str(&setup->purged));
    l2_redis_wire_add_joined(out, buf_str(&setup->entries), key);
    l2_redis_wire_add_joined(out, buf_str(&setup->leases), key);
}

static void add_lease(struct buf *out, const struct l2_redis_setup *setup, const struct l2_lease *lease)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "%lu-%llu %llu", (unsigned long)setup->host,
                       (unsigned long long)lease->token, (unsigned long long)lease->stamp);

    l2_redis_wire_add(out, (struct str){text, (size_t)len});
}

void l2_redis_script_claim(struct buf *out, const struct l2_redis_setup *setup, struct str key, const struct str *tags,
                           size_t tags_count, struct str spent, int64_t life_ms, uint64_t token)
{
    char holder[48];
    int len = snprintf(holder, sizeof(holder), "%lu-%llu", (unsigned long)setup->host, (unsigned long long)token);

    l2_redis_script_run(out, &l2_redis_script_list[CLAIM], 3, 4 + tags_count);
    add_keys(out, setup, key);
    l2_redis_wire_add_number(out, l2_health_seen(setup->health));
    l2_redis_wire_add(out, (struct str){holder, (size_t)len});
    l2_redis_wire_add_number(out, (uint64_t)life_ms);
    l2_redis_wire_add(out, spent);
    add_all(out, tags, tags_count);
}

enum err l2_redis_script_claimed(const redisReply *reply, struct l2_claim *out)
{
    struct str word = reply->elements > 0 ? l2_redis_wire_text(reply->element[0]) : STR("");

    if (str_equal(word, STR("lost")))
        return ERR_NOT_FOUND;
    if (str_equal(word, STR("held"))) {
        out->result = L2_CLAIM_HELD;
        return ERR_OK;
    }
    if (str_equal(word, STR("taken")) && reply->elements == 2 &&
        l2_redis_wire_number(reply->element[1], &out->lease.stamp) == ERR_OK) {
        out->result = L2_CLAIM_TAKEN;
        return ERR_OK;
    }
    if (!str_equal(word, STR("found")) || reply->elements != 3 || reply->element[2]->type != REDIS_REPLY_INTEGER)
        return ERR_CORRUPT;

    struct str entry = l2_redis_wire_text(reply->element[1]);

    if (entry.len < L2_REDIS_WIRE_HEAD_SIZE)
        return ERR_CORRUPT;
    out->result = L2_CLAIM_FOUND;
    out->bytes = (struct str){entry.p + L2_REDIS_WIRE_HEAD_SIZE, entry.len - L2_REDIS_WIRE_HEAD_SIZE};
    out->soft = reply->element[2]->integer != 0;
    return ERR_OK;
}

void l2_redis_script_fill(struct buf *out, const struct l2_redis_setup *setup, struct str key, const struct str *tags,
                          size_t tags_count, struct str bytes, int64_t ttl_ms, const struct l2_lease *lease)
{
    char head[L2_REDIS_WIRE_HEAD_SIZE] = {0};

    for (int i = 0; i < L2_REDIS_WIRE_STAMP_SIZE; i++)
        head[i] = (char)(lease->stamp >> (8 * i) & 0xff);
    l2_redis_script_run(out, &l2_redis_script_list[FILL], 3, 6 + tags_count);
    add_keys(out, setup, key);
    l2_redis_wire_add_number(out, l2_health_seen(setup->health));
    add_lease(out, setup, lease);
    l2_redis_wire_add_number(out, lease->stamp);
    l2_redis_wire_add_joined(out, (struct str){head, sizeof(head)}, bytes);
    l2_redis_wire_add_number(out, (uint64_t)ttl_ms);
    l2_redis_wire_add_number(out, (uint64_t)(ttl_ms > setup->keep_ms ? ttl_ms : setup->keep_ms));
    add_all(out, tags, tags_count);
}

void l2_redis_script_release(struct buf *out, const struct l2_redis_setup *setup, struct str key,
                             const struct l2_lease *lease)
{
    l2_redis_script_run(out, &l2_redis_script_list[RELEASE], 1, 1);
    l2_redis_wire_add_joined(out, buf_str(&setup->leases), key);
    add_lease(out, setup, lease);
}

static void add_purge(struct buf *out, const struct l2_redis_setup *setup, char what, bool soft,
                      const struct str *names, size_t names_count)
{
    size_t keys_count = what == 'k' ? names_count : 0;

    l2_redis_script_run(out, &l2_redis_script_list[PURGE], 2 + 2 * keys_count, 5 + names_count);
    l2_redis_wire_add(out, buf_str(&setup->purged));
    l2_redis_wire_add(out, buf_str(&setup->log));
    for (size_t i = 0; i < keys_count; i++) {
        l2_redis_wire_add_joined(out, buf_str(&setup->entries), names[i]);
        l2_redis_wire_add_joined(out, buf_str(&setup->leases), names[i]);
    }
    l2_redis_wire_add_number(out, l2_health_seen(setup->health));
    l2_redis_wire_add_number(out, (uint64_t)setup->keep_ms);
    l2_redis_wire_add(out, (struct str){&what, 1});
    l2_redis_wire_add_number(out, soft);
    l2_redis_wire_add(out, buf_str(&setup->jobs));
    add_all(out, names, names_count);
}

void l2_redis_script_now(struct buf *out, const struct l2_redis_setup *setup)
{
    add_purge(out, setup, 'n', false, NULL, 0);
}

static const char letters[] = {
    [L2_PURGE_KEYS] = 'k', [L2_PURGE_TAGS] = 't', [L2_PURGE_PATTERN] = 'p', [L2_PURGE_ALL] = 'a'};

void l2_redis_script_purge(struct buf *out, const struct l2_redis_setup *setup, const struct l2_purge *purge)
{
    add_purge(out, setup, letters[purge->kind], purge->soft, purge->names, purge->names_count);
}

enum err l2_redis_script_drawn(const redisReply *reply, uint64_t *number, size_t *removed)
{
    if (reply->elements != 2 || reply->element[1]->type != REDIS_REPLY_INTEGER || reply->element[1]->integer < 0)
        return ERR_CORRUPT;
    *removed = (size_t)reply->element[1]->integer;
    return l2_redis_wire_number(reply->element[0], number);
}

/* The purge's kind from its letter. */
static enum err parse_kind(struct str text, struct l2_purge *purge)
{
    if (text.len != 1)
        return ERR_CORRUPT;
    for (size_t kind = 0; kind < sizeof(letters); kind++)
        if ((text.p[0] | 0x20) == letters[kind]) {
            *purge = (struct l2_purge){.kind = (enum l2_purge_kind)kind, .soft = text.p[0] != letters[kind]};
            return ERR_OK;
        }
    return ERR_CORRUPT;
}

/* FIELDS: `kind` and its letter, then `name` and a name, again and again. */
static enum err parse_fields(const redisReply *fields, struct l2_purge *purge, struct str *names)
{
    size_t count = fields->elements / 2;

    if (fields->type != REDIS_REPLY_ARRAY || fields->elements % 2 != 0 || count < 1 || count > 1 + L2_NAMES_MAX)
        return ERR_CORRUPT;
    if (!str_equal(l2_redis_wire_text(fields->element[0]), STR("kind")) ||
        parse_kind(l2_redis_wire_text(fields->element[1]), purge) != ERR_OK)
        return ERR_CORRUPT;
    for (size_t i = 1; i < count; i++) {
        if (!str_equal(l2_redis_wire_text(fields->element[2 * i]), STR("name")) ||
            fields->element[2 * i + 1]->type != REDIS_REPLY_STRING)
            return ERR_CORRUPT;
        names[i - 1] = l2_redis_wire_text(fields->element[2 * i + 1]);
    }
    purge->names = names;
    purge->names_count = count - 1;
    if (purge->kind == L2_PURGE_ALL)
        return count == 1 ? ERR_OK : ERR_CORRUPT;
    return count >= 2 && (purge->kind != L2_PURGE_PATTERN || count == 2) ? ERR_OK : ERR_CORRUPT;
}

enum err l2_redis_script_record(const redisReply *reply, uint64_t *number, struct l2_purge *purge, struct str *names)
{
    int64_t parsed;

    *number = 0;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return ERR_CORRUPT;

    struct str rest = l2_redis_wire_text(reply->element[0]);
    struct str digits = str_cut(&rest, '-');

    if (str_to_int64(digits, &parsed) != ERR_OK || parsed < 1)
        return ERR_CORRUPT;
    *number = (uint64_t)parsed;
    if (!str_equal(rest, STR("0")))
        return ERR_CORRUPT;
    return parse_fields(reply->element[1], purge, names);
}

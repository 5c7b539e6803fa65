/*
 * l2_redis_boards_script: the scripts about leaderboards, and what goes into them and comes out.
 *
 * Invariant: both parts of a board always tell the same: every change to one is made together with that to the other,
 * in one script, which first sees that both are whole. So a member is found in the sorted set under the number that the
 * hash gives for it, or the board has been damaged by others and nothing of it is believed. Of a member, no number is
 * ever followed by a lower one; what was told in order needs no memory, so a removal is remembered only above `level`.
 *
 * What is read is judged here and not in the script: it brings, for all questions of a round, the state that Redis is
 * in, once, and the answers. Numbers in scripts are doubles, exact up to 2^53. Scores never become numbers there.
 */
#include "l2/l2_redis_boards_script.h"

#include <assert.h>
#include <stdio.h>

/* Of a number, in both parts of a board; more than the digits of 2^53. */
enum { DIGITS = 16 };
#define NUMBER_MAX (1ULL << 53)
#define COPY_KEPT_MS "3600000"

/* KEYS: `boards`, and of each question the board's set and hash; ARGV: the host's field in `boards`, and of each
 * question its kind, the member, the first place or how many to each side, how many places. An answer is empty when the
 * board is not whole, else how many members there are, then the rank of the first place, and what ZRANGE says. */
static const char read_script[] =
    "local call, min, max = redis.call, math.min, math.max\n"
    "local fields = {'level', 'required', ARGV[1]}\n"
    "for i = 2, #KEYS, 2 do fields[#fields + 1] = KEYS[i] end\n"
    "local state = call('HMGET', KEYS[1], unpack(fields))\n"
    "local answers = {state}\n"
    "for i = 1, (#KEYS - 1) / 2 do\n"
    "  local set, kind, member = KEYS[2 * i], ARGV[4 * i - 2], ARGV[4 * i - 1]\n"
    "  local answer = {}\n"
    "  local reached = call('HMGET', KEYS[2 * i + 1], '', member)\n"
    "  if not state[3 + i] then\n"
    "    answer[1] = 0\n"
    "  elseif reached[1] and call('ZSCORE', set, '') then\n"
    "    local members, at, first, last = call('ZCARD', set) - 1, reached[2]\n"
    "    if kind == 't' then\n"
    "      first = min(tonumber(ARGV[4 * i]), members)\n"
    "      last = min(first + tonumber(ARGV[4 * i + 1]), members) - 1\n"
    "      answer = {members, first, last < first and {} or call('ZRANGE', set, first, last, 'WITHSCORES')}\n"
    "    elseif not at or #at <= 16 then\n"
    "      answer[1] = members\n"
    "    else\n"
    "      local name = at:sub(1, 16) .. member\n"
    "      local rank = call('ZRANK', set, name)\n"
    "      if rank and kind == 'm' then\n"
    "        answer = {members, rank, {name, at:sub(17)}}\n"
    "      elseif rank then\n"
    "        local range = tonumber(ARGV[4 * i])\n"
    "        first, last = max(rank - range, 0), min(rank + range, members - 1)\n"
    "        answer = {members, first, call('ZRANGE', set, first, last, 'WITHSCORES')}\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  answers[i + 1] = answer\n"
    "end\n"
    "return answers\n";

/* Has a board told of a change, or of the row of a copy: what is not newer than what it knows is no news. An empty
 * score is a removal; FINAL ones are told in order. */
#define TELL                                                                                                           \
    "local call = redis.call\n"                                                                                        \
    "local function tell(set, members, number, score, member, final)\n"                                                \
    "  local at = call('HGET', members, member)\n"                                                                     \
    "  local known = at and tonumber(at:sub(1, 16)) or -1\n"                                                           \
    "  if tonumber(number) > known then\n"                                                                             \
    "    if at and #at > 16 then call('ZREM', set, at:sub(1, 16) .. member) end\n"                                     \
    "    if score ~= '' then\n"                                                                                        \
    "      call('ZADD', set, score, number .. member)\n"                                                               \
    "      call('HSET', members, member, number .. score)\n"                                                           \
    "    elseif not final then\n"                                                                                      \
    "      call('HSET', members, member, number)\n"                                                                    \
    "    elseif at then\n"                                                                                             \
    "      call('HDEL', members, member)\n"                                                                            \
    "    end\n"                                                                                                        \
    "  elseif final and at == number then\n"                                                                           \
    "    call('HDEL', members, member)\n"                                                                              \
    "  end\n"                                                                                                          \
    "end\n"                                                                                                            \
    "local function create(set, members)\n"                                                                            \
    "  call('UNLINK', set, members)\n"                                                                                 \
    "  call('ZADD', set, '+inf', '')\n"                                                                                \
    "  call('HSET', members, '', '')\n"                                                                                \
    "end\n"                                                                                                            \
    "local function whole(set, members)\n"                                                                             \
    "  return call('HEXISTS', members, '') == 1 and call('ZSCORE', set, '') and true or false\n"                       \
    "end\n"                                                                                                            \
    "local function highest(...)\n"                                                                                    \
    "  local most = 0\n"                                                                                               \
    "  for _, number in ipairs({...}) do most = math.max(most, tonumber(number or '0')) end\n"                         \
    "  return string.format('%.0f', most)\n"                                                                           \
    "end\n"

/* Tells the boards of the changes above LEVEL: KEYS from the second on are set and hash of each, ARGV from FIRST on
 * number, score and member of each. Returns 0 when one of the boards was not whole. */
#define TELL_ALL                                                                                                       \
    "local wholes = {}\n"                                                                                              \
    "local function tell_all(level, first, final)\n"                                                                   \
    "  local all = 1\n"                                                                                                \
    "  for i = 2, #KEYS, 2 do\n"                                                                                       \
    "    local set, members, at = KEYS[i], KEYS[i + 1], first + (i - 2) / 2 * 3\n"                                     \
    "    if tonumber(ARGV[at]) > level then\n"                                                                         \
    "      if wholes[set] == nil and call('HSETNX', KEYS[1], set, '') == 1 then create(set, members) end\n"            \
    "      if wholes[set] == nil then wholes[set] = whole(set, members) end\n"                                         \
    "      if wholes[set] then\n"                                                                                      \
    "        tell(set, members, ARGV[at], ARGV[at + 1], ARGV[at + 2], final)\n"                                        \
    "      else\n"                                                                                                     \
    "        all = 0\n"                                                                                                \
    "      end\n"                                                                                                      \
    "    end\n"                                                                                                        \
    "  end\n"                                                                                                          \
    "  return all\n"                                                                                                   \
    "end\n"

/* ARGV: the host's field in `boards`, what it has pushed before, what it has pushed with this, then the changes. */
static const char push_script[] =
    TELL TELL_ALL "local state = call('HMGET', KEYS[1], 'level', 'pushed', ARGV[1])\n"
                  "local level = tonumber(state[1] or '')\n"
                  "if not level or tonumber(highest(level, state[3])) < tonumber(ARGV[2]) then return -1 end\n"
                  "local all = tell_all(level, 4, false)\n"
                  "if all == 1 then\n"
                  "  call('HSET', KEYS[1], 'pushed', highest(state[2], ARGV[3]), ARGV[1], highest(state[3], ARGV[3]))\n"
                  "end\n"
                  "return all\n";

/* ARGV: the level as it is to be found and as it is to become, then the changes. */
static const char follow_script[] =
    TELL TELL_ALL "local state = call('HMGET', KEYS[1], 'level', 'pushed')\n"
                  "local level = tonumber(state[1] or '')\n"
                  "if level ~= tonumber(ARGV[1]) then return -1 end\n"
                  "local all = tell_all(level, 3, true)\n"
                  "call('HSET', KEYS[1], 'level', ARGV[2], 'pushed', highest(state[2], ARGV[2]))\n"
                  "return all\n";

/* KEYS: the hash of what was begun, the set and hash of the board; ARGV: the board, how many were begun before. */
static const char begin_script[] = TELL "if ARGV[2] ~= '0' and call('EXISTS', KEYS[1]) == 0 then return 0 end\n"
                                        "create(KEYS[2], KEYS[3])\n"
                                        "call('HSET', KEYS[1], ARGV[1], '')\n"
                                        "for i = 1, 3 do call('PEXPIRE', KEYS[i], " COPY_KEPT_MS ") end\n"
                                        "return call('HLEN', KEYS[1])\n";

/* KEYS: the hash of what was begun, set and hash of each row's board; ARGV: number, score and member of each row. */
static const char copy_script[] = TELL "if call('PEXPIRE', KEYS[1], " COPY_KEPT_MS ") == 0 then return 0 end\n"
                                       "local set\n"
                                       "for i = 2, #KEYS, 2 do\n"
                                       "  local members, at = KEYS[i + 1], (i - 2) / 2 * 3\n"
                                       "  if set ~= KEYS[i] then\n"
                                       "    set = KEYS[i]\n"
                                       "    if not whole(set, members) then return 0 end\n"
                                       "    call('PEXPIRE', set, " COPY_KEPT_MS ")\n"
                                       "    call('PEXPIRE', members, " COPY_KEPT_MS ")\n"
                                       "  end\n"
                                       "  tell(set, members, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], true)\n"
                                       "end\n"
                                       "return 1\n";

/* KEYS: `boards`, the hash of what was begun; ARGV: the level, how many were begun, what names of sets and hashes of
 * boards and of copies begin with. What was pushed before may be missing in the copies, so it is required. */
static const char replace_script[] =
    TELL "local names = call('HKEYS', KEYS[2])\n"
         "if #names ~= tonumber(ARGV[2]) then return 0 end\n"
         "for _, name in ipairs(names) do\n"
         "  if not whole(ARGV[5] .. name, ARGV[6] .. name) then return 0 end\n"
         "end\n"
         "local state = call('HMGET', KEYS[1], 'level', 'pushed', 'required')\n"
         "local required = highest(unpack(state))\n"
         "for _, set in ipairs(call('HKEYS', KEYS[1])) do\n"
         "  local name = set:sub(#ARGV[3] + 1)\n"
         "  if ARGV[3] .. name == set then call('UNLINK', set, ARGV[4] .. name) end\n"
         "end\n"
         "call('UNLINK', KEYS[1], KEYS[2])\n"
         "call('HSET', KEYS[1], 'level', ARGV[1], 'pushed', required, 'required', required)\n"
         "for _, name in ipairs(names) do\n"
         "  for part = 3, 4 do\n"
         "    local key = ARGV[part] .. name\n"
         "    call('UNLINK', key)\n"
         "    call('RENAME', ARGV[part + 2] .. name, key)\n"
         "    call('PERSIST', key)\n"
         "  end\n"
         "  call('HSET', KEYS[1], ARGV[3] .. name, '')\n"
         "end\n"
         "return 1\n";

enum { READ, PUSH, FOLLOW, BEGIN, COPY, REPLACE };

const struct l2_redis_script l2_redis_boards_script_list[L2_REDIS_BOARDS_SCRIPT_COUNT] = {
    [READ] = {{read_script, sizeof(read_script) - 1}, {"a0d5d45e39f5acf29935d83e7833945cc186b3a6", 40}},
    [PUSH] = {{push_script, sizeof(push_script) - 1}, {"5fd9d73f2f4483ad0dd9b869fd51c2b5012a7bd6", 40}},
    [FOLLOW] = {{follow_script, sizeof(follow_script) - 1}, {"c68031f24214f90fa2d0c03be6d700e7352b70fc", 40}},
    [BEGIN] = {{begin_script, sizeof(begin_script) - 1}, {"d4c543a1dede3180bcae7f57a29b235838198c48", 40}},
    [COPY] = {{copy_script, sizeof(copy_script) - 1}, {"65da7a79e2cb29ab987de707ecd018bd8edc7652", 40}},
    [REPLACE] = {{replace_script, sizeof(replace_script) - 1}, {"ef68d35f2b3725356f36270bef3e71c755a062b4", 40}},
};

/* Asking. */

void l2_redis_boards_script_ask(struct buf *out, const struct l2_redis_setup *setup,
                                const struct l2_redis_boards_asked *asked, size_t count)
{
    static const struct str letters[] = {
        [L2_BOARDS_TOP] = {"t", 1}, [L2_BOARDS_MEMBER] = {"m", 1}, [L2_BOARDS_AROUND] = {"a", 1}};

    l2_redis_script_run(out, &l2_redis_boards_script_list[READ], 1 + 2 * count, 1 + 4 * count);
    l2_redis_wire_add(out, buf_str(&setup->boards));
    for (size_t i = 0; i < count; i++) {
        l2_redis_wire_add_joined(out, buf_str(&setup->board_sets), asked[i].question.board);
        l2_redis_wire_add_joined(out, buf_str(&setup->board_members), asked[i].question.board);
    }
    l2_redis_wire_add(out, buf_str(&setup->board_pushed));
    for (size_t i = 0; i < count; i++) {
        const struct l2_boards_question *question = &asked[i].question;
        bool top = question->kind == L2_BOARDS_TOP;

        l2_redis_wire_add(out, letters[question->kind]);
        l2_redis_wire_add(out, top ? STR("") : question->member);
        l2_redis_wire_add_number(out, top ? question->offset : question->range);
        l2_redis_wire_add_number(out, top ? question->limit : 0);
    }
}

/* A number that may be missing. */
static enum err take_number(const redisReply *reply, uint64_t *out)
{
    *out = 0;
    return reply->type == REDIS_REPLY_NIL ? ERR_OK : l2_redis_wire_number(reply, out);
}

enum err l2_redis_boards_script_state(const redisReply *reply, size_t count, struct l2_redis_boards_state *out)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3 + count)
        return ERR_CORRUPT;
    out->there = reply->element[0]->type != REDIS_REPLY_NIL;

    enum err err = take_number(reply->element[0], &out->level);

    if (err == ERR_OK)
        err = take_number(reply->element[1], &out->required);
    if (err == ERR_OK)
        err = take_number(reply->element[2], &out->pushed);
    return err;
}

/* A place as ZRANGE gives it: NUMBER MEMBER and the negated score. */
static enum err take_place(redisReply *const *pair, struct l2_boards_place *out)
{
    struct str name = l2_redis_wire_text(pair[0]);
    double negated;

    if (name.len <= DIGITS || str_to_double(l2_redis_wire_text(pair[1]), &negated) != ERR_OK)
        return ERR_CORRUPT;
    /* Not by its sign: there is no negative zero among scores. */
    *out = (struct l2_boards_place){.member = {name.p + DIGITS, name.len - DIGITS}, .score = 0 - negated};
    return ERR_OK;
}

static enum err take_places(const redisReply *list, size_t most, struct arena *arena, struct l2_boards_answer *out)
{
    size_t count = list->elements / 2;
    struct l2_boards_place *places;

    if (list->type != REDIS_REPLY_ARRAY || list->elements % 2 != 0 || count > most || out->rank > out->members ||
        count > out->members - out->rank)
        return ERR_CORRUPT;
    places = arena_alloc(arena, (count + 1) * sizeof(*places));
    if (!places)
        return ERR_LIMIT;
    for (size_t i = 0; i < count; i++)
        if (take_place(&list->element[2 * i], &places[i]) != ERR_OK)
            return ERR_CORRUPT;
    out->places = places;
    out->places_count = count;
    return ERR_OK;
}

/* An answer that is not of a lost board, whatever it is worth. */
static enum err take_answer(const redisReply *reply, const struct l2_boards_question *question, struct arena *arena,
                            struct l2_boards_answer *out)
{
    bool top = question->kind == L2_BOARDS_TOP;
    size_t most = top ? question->limit : question->kind == L2_BOARDS_MEMBER ? 1 : 2 * question->range + 1;
    enum err err;

    if (reply->element[0]->type != REDIS_REPLY_INTEGER || reply->element[0]->integer < 0)
        return ERR_CORRUPT;
    *out = (struct l2_boards_answer){.result = L2_BOARDS_FOUND, .members = (uint64_t)reply->element[0]->integer};
    if (reply->elements == 1) {
        out->result = top ? L2_BOARDS_FOUND : L2_BOARDS_ABSENT;
        return top && out->members > 0 ? ERR_CORRUPT : ERR_OK;
    }
    if (reply->elements != 3 || reply->element[1]->type != REDIS_REPLY_INTEGER || reply->element[1]->integer < 0)
        return ERR_CORRUPT;
    out->rank = (uint64_t)reply->element[1]->integer;
    err = take_places(reply->element[2], most, arena, out);
    if (err == ERR_OK && !top && out->places_count == 0)
        err = ERR_CORRUPT;
    if (err == ERR_OK && question->kind == L2_BOARDS_MEMBER && !str_equal(out->places[0].member, question->member))
        err = ERR_CORRUPT;
    return err;
}

enum err l2_redis_boards_script_judge(const redisReply *reply, const struct l2_redis_boards_asked *asked,
                                      const struct l2_redis_boards_state *state, struct arena *arena,
                                      struct l2_boards_answer *out, bool *lost)
{
    const struct l2_boards_terms *terms = &asked->terms;
    struct l2_boards_answer answer = {.result = L2_BOARDS_UNKNOWN};
    enum err err = reply->type == REDIS_REPLY_ARRAY ? ERR_OK : ERR_CORRUPT;

    *lost = state->there && reply->elements == 0;
    if (err == ERR_OK && reply->elements > 0)
        err = take_answer(reply, &asked->question, arena, &answer);
    if (err)
        return err;
    if (!state->there || state->level < state->required || state->level < terms->required ||
        (state->level < terms->pushed && state->pushed < terms->pushed))
        answer = (struct l2_boards_answer){.result = L2_BOARDS_UNKNOWN};
    *out = answer;
    return ERR_OK;
}

/* Telling. */

static void add_number(struct buf *out, uint64_t number)
{
    char digits[DIGITS + 8];
    int len = snprintf(digits, sizeof(digits), "%0*llu", DIGITS, (unsigned long long)number);

    assert(number <= NUMBER_MAX);
    l2_redis_wire_add(out, (struct str){digits, (size_t)len});
}

/* SCRIPT about CHANGES of boards whose sets and hashes begin like this; FIRST is its first key, and MORE arguments are
 * to follow, and then add_changes. */
static void begin_telling(struct buf *out, const struct l2_redis_script *script, struct str first, struct str sets,
                          struct str members, const struct l2_boards_change *changes, size_t count, size_t more)
{
    l2_redis_script_run(out, script, 1 + 2 * count, more + 3 * count);
    l2_redis_wire_add(out, first);
    for (size_t i = 0; i < count; i++) {
        l2_redis_wire_add_joined(out, sets, changes[i].board);
        l2_redis_wire_add_joined(out, members, changes[i].board);
    }
}

static void add_changes(struct buf *out, const struct l2_boards_change *changes, size_t count)
{
    struct buf score = {0};

    for (size_t i = 0; i < count; i++) {
        buf_clear(&score);
        if (!changes[i].removed)
            buf_add_double(&score, 0 - changes[i].score);
        add_number(out, changes[i].number);
        l2_redis_wire_add(out, buf_str(&score));
        l2_redis_wire_add(out, changes[i].member);
    }
    buf_free(&score);
}

void l2_redis_boards_script_push(struct buf *out, const struct l2_redis_setup *setup, uint64_t known,
                                 const struct l2_boards_change *changes, size_t count)
{
    uint64_t highest = 0;

    for (size_t i = 0; i < count; i++)
        if (highest < changes[i].number)
            highest = changes[i].number;
    begin_telling(out, &l2_redis_boards_script_list[PUSH], buf_str(&setup->boards), buf_str(&setup->board_sets),
                  buf_str(&setup->board_members), changes, count, 3);
    l2_redis_wire_add(out, buf_str(&setup->board_pushed));
    l2_redis_wire_add_number(out, known);
    l2_redis_wire_add_number(out, highest);
    add_changes(out, changes, count);
}

void l2_redis_boards_script_follow(struct buf *out, const struct l2_redis_setup *setup, uint64_t from,
                                   const struct l2_boards_change *changes, size_t count, uint64_t upto)
{
    begin_telling(out, &l2_redis_boards_script_list[FOLLOW], buf_str(&setup->boards), buf_str(&setup->board_sets),
                  buf_str(&setup->board_members), changes, count, 2);
    l2_redis_wire_add_number(out, from);
    l2_redis_wire_add_number(out, upto);
    add_changes(out, changes, count);
}

/* Copying. */

void l2_redis_boards_script_name(struct l2_redis_boards_copies *copies, const struct l2_redis_setup *setup,
                                 uint64_t token)
{
    struct buf *names[] = {&copies->begun_names, &copies->sets, &copies->members};
    static const char *const ends[] = {"", ":board:", ":reached:"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        buf_clear(names[i]);
        buf_printf(names[i], "%.*s%llu%s", STR_ARG(buf_str(&setup->copies)), (unsigned long long)token, ends[i]);
    }
    copies->begun = 0;
}

void l2_redis_boards_script_begin(struct buf *out, const struct l2_redis_boards_copies *copies, struct str board)
{
    l2_redis_script_run(out, &l2_redis_boards_script_list[BEGIN], 3, 2);
    l2_redis_wire_add(out, buf_str(&copies->begun_names));
    l2_redis_wire_add_joined(out, buf_str(&copies->sets), board);
    l2_redis_wire_add_joined(out, buf_str(&copies->members), board);
    l2_redis_wire_add(out, board);
    l2_redis_wire_add_number(out, copies->begun);
}

void l2_redis_boards_script_copy(struct buf *out, const struct l2_redis_boards_copies *copies,
                                 const struct l2_boards_change *rows, size_t count)
{
    begin_telling(out, &l2_redis_boards_script_list[COPY], buf_str(&copies->begun_names), buf_str(&copies->sets),
                  buf_str(&copies->members), rows, count, 0);
    add_changes(out, rows, count);
}

void l2_redis_boards_script_replace(struct buf *out, const struct l2_redis_setup *setup,
                                    const struct l2_redis_boards_copies *copies, uint64_t level)
{
    l2_redis_script_run(out, &l2_redis_boards_script_list[REPLACE], 2, 6);
    l2_redis_wire_add(out, buf_str(&setup->boards));
    l2_redis_wire_add(out, buf_str(&copies->begun_names));
    l2_redis_wire_add_number(out, level);
    l2_redis_wire_add_number(out, copies->begun);
    l2_redis_wire_add(out, buf_str(&setup->board_sets));
    l2_redis_wire_add(out, buf_str(&setup->board_members));
    l2_redis_wire_add(out, buf_str(&copies->sets));
    l2_redis_wire_add(out, buf_str(&copies->members));
}

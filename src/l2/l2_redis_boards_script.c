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

/* Questions and changes come in runs that are about one board: of each run KEYS has the board's set and hash, from the
 * second key on, and ARGV how many there are and three words of each. So a board is asked once for a run whether it is
 * whole and what it knows of all the members concerned, for calling Redis is most of what a script costs. */

/* KEYS: `boards`, then the runs; ARGV: the host's field in `boards`, then the runs: of the first places an empty word,
 * the first one's rank and how many; of a member his name and two empty words; of places around him his name, how many
 * to each side, and an empty word. An answer is empty when the board is not whole, else how many members there are,
 * then the rank of the first place, and what the hash says of the member, or ZRANGE of the places. */
static const char read_script[] =
    "local call, min, max = redis.call, math.min, math.max\n"
    "local fields, at = {'level', 'required', ARGV[1]}, 2\n"
    "for i = 2, #KEYS, 2 do fields[#fields + 1] = KEYS[i] end\n"
    "local state = call('HMGET', KEYS[1], unpack(fields))\n"
    "local answers = {{state[1], state[2], state[3]}}\n"
    "for i = 2, #KEYS, 2 do\n"
    "  local set, last, names = KEYS[i], at + 3 * tonumber(ARGV[at]), {}\n"
    "  for j = at + 1, last, 3 do names[#names + 1] = ARGV[j] end\n"
    "  local reached = call('HMGET', KEYS[i + 1], '', unpack(names))\n"
    "  local known, members = state[3 + i / 2]\n"
    "  if known and reached[1] and call('ZSCORE', set, '') then members = call('ZCARD', set) - 1 end\n"
    "  for j, member in ipairs(names) do\n"
    "    local said, first, second, answer = reached[j + 1], ARGV[at + 3 * j - 1], ARGV[at + 3 * j], {}\n"
    "    if not known then\n"
    "      answer[1] = 0\n"
    "    elseif members and second ~= '' then\n"
    "      first = min(tonumber(first), members)\n"
    "      second = min(first + tonumber(second), members) - 1\n"
    "      answer = {members, first, second < first and {} or call('ZRANGE', set, first, second, 'WITHSCORES')}\n"
    "    elseif members and not (said and #said > 16) then\n"
    "      answer[1] = members\n"
    "    elseif members then\n"
    "      local rank = call('ZRANK', set, said:sub(1, 16) .. member)\n"
    "      if rank and first == '' then\n"
    "        answer = {members, rank, said}\n"
    "      elseif rank then\n"
    "        first, second = max(rank - first, 0), min(rank + first, members - 1)\n"
    "        answer = {members, first, call('ZRANGE', set, first, second, 'WITHSCORES')}\n"
    "      end\n"
    "    end\n"
    "    answers[#answers + 1] = answer\n"
    "  end\n"
    "  at = last + 1\n"
    "end\n"
    "return answers\n";

#define BOARD                                                                                                          \
    "local call = redis.call\n"                                                                                        \
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

/* Has a board told of the changes above LEVEL among those in ARGV from AT to LAST, or of the rows of a copy: number,
 * score and member of each. What is not newer than what it knows is no news. An empty score is a removal; FINAL ones
 * are told in order. False: the board is not whole. Numbers are of one length, and so compare as text; what the hash
 * says begins with one. What takes memory comes first: Redis refuses it when it has no more, but not once something has
 * been written; so what is placed and left by the same changes is placed before. */
#define TELL                                                                                                           \
    "local function tell(set, members, at, last, level, final)\n"                                                      \
    "  local names, now, placed, left, said, forgotten = {}, {}, {}, {}, {}, {}\n"                                     \
    "  for j = at, last, 3 do names[#names + 1] = ARGV[j + 2] end\n"                                                   \
    "  local found = call('HMGET', members, '', unpack(names))\n"                                                      \
    "  if not found[1] or not call('ZSCORE', set, '') then return false end\n"                                         \
    "  for i, member in ipairs(names) do\n"                                                                            \
    "    local number, score, known = ARGV[at + 3 * i - 3], ARGV[at + 3 * i - 2], now[member]\n"                       \
    "    if known == nil then known = found[i + 1] end\n"                                                              \
    "    if number > level and (not known or number > known) then\n"                                                   \
    "      if known and #known > 16 then left[#left + 1] = known:sub(1, 16) .. member end\n"                           \
    "      if score ~= '' then\n"                                                                                      \
    "        placed[#placed + 1] = score\n"                                                                            \
    "        placed[#placed + 1] = number .. member\n"                                                                 \
    "      end\n"                                                                                                      \
    "      now[member] = (score ~= '' or not final) and number .. score\n"                                             \
    "      if now[member] then\n"                                                                                      \
    "        said[#said + 1] = member\n"                                                                               \
    "        said[#said + 1] = now[member]\n"                                                                          \
    "      elseif known then\n"                                                                                        \
    "        forgotten[#forgotten + 1] = member\n"                                                                     \
    "      end\n"                                                                                                      \
    "    elseif number > level and final and known == number then\n"                                                   \
    "      now[member] = false\n"                                                                                      \
    "      forgotten[#forgotten + 1] = member\n"                                                                       \
    "    end\n"                                                                                                        \
    "  end\n"                                                                                                          \
    "  if #placed > 0 then call('ZADD', set, unpack(placed)) end\n"                                                    \
    "  if #left > 0 then call('ZREM', set, unpack(left)) end\n"                                                        \
    "  if #said > 0 then call('HSET', members, unpack(said)) end\n"                                                    \
    "  for _, member in ipairs(forgotten) do\n"                                                                        \
    "    if not now[member] then call('HDEL', members, member) end\n"                                                  \
    "  end\n"                                                                                                          \
    "  return true\n"                                                                                                  \
    "end\n"

/* Looks at the state, with THIRD as one of its fields, and tells the boards of the changes above LEVEL, of which the
 * runs in ARGV begin at AT. Returns 0 when one of the boards was not whole. */
#define TELL_ALL                                                                                                       \
    "local function look(third)\n"                                                                                     \
    "  local fields = {'level', 'pushed', third}\n"                                                                    \
    "  for i = 2, #KEYS, 2 do fields[#fields + 1] = KEYS[i] end\n"                                                     \
    "  return call('HMGET', KEYS[1], unpack(fields))\n"                                                                \
    "end\n"                                                                                                            \
    "local function tell_all(state, level, at, final)\n"                                                               \
    "  local all, level = 1, string.format('%016.0f', level)\n"                                                        \
    "  for i = 2, #KEYS, 2 do\n"                                                                                       \
    "    local set, members, first, last = KEYS[i], KEYS[i + 1], at + 1, at + 3 * tonumber(ARGV[at])\n"                \
    "    while first <= last and ARGV[first] <= level do first = first + 3 end\n"                                      \
    "    if first <= last then\n"                                                                                      \
    "      if not state[3 + i / 2] and call('HSETNX', KEYS[1], set, '') == 1 then create(set, members) end\n"          \
    "      if not tell(set, members, first, last, level, final) then all = 0 end\n"                                    \
    "    end\n"                                                                                                        \
    "    at = last + 1\n"                                                                                              \
    "  end\n"                                                                                                          \
    "  return all\n"                                                                                                   \
    "end\n"

/* ARGV: the host's field in `boards`, what it has pushed before, what it has pushed with this, then the changes. */
static const char push_script[] = BOARD TELL TELL_ALL
    "local state = look(ARGV[1])\n"
    "local level = tonumber(state[1] or '')\n"
    "if not level or tonumber(highest(level, state[3])) < tonumber(ARGV[2]) then return -1 end\n"
    "local all = tell_all(state, level, 4, false)\n"
    "if all == 1 then\n"
    "  call('HSET', KEYS[1], 'pushed', highest(state[2], ARGV[3]), ARGV[1], highest(state[3], ARGV[3]))\n"
    "end\n"
    "return all\n";

/* ARGV: the level as it is to be found and as it is to become, then the changes. */
static const char follow_script[] =
    BOARD TELL TELL_ALL "local state = look('required')\n"
                        "local level = tonumber(state[1] or '')\n"
                        "if level ~= tonumber(ARGV[1]) then return -1 end\n"
                        "local all = tell_all(state, level, 3, true)\n"
                        "call('HSET', KEYS[1], 'level', ARGV[2], 'pushed', highest(state[2], ARGV[2]))\n"
                        "return all\n";

/* KEYS: the hash of what was begun, the set and hash of the board; ARGV: the board, how many were begun before. */
static const char begin_script[] = BOARD "if ARGV[2] ~= '0' and call('EXISTS', KEYS[1]) == 0 then return 0 end\n"
                                         "create(KEYS[2], KEYS[3])\n"
                                         "call('HSET', KEYS[1], ARGV[1], '')\n"
                                         "for i = 1, 3 do call('PEXPIRE', KEYS[i], " COPY_KEPT_MS ") end\n"
                                         "return call('HLEN', KEYS[1])\n";

/* KEYS: the hash of what was begun, then, as in ARGV, the runs. */
static const char copy_script[] =
    BOARD TELL "if call('PEXPIRE', KEYS[1], " COPY_KEPT_MS ") == 0 then return 0 end\n"
               "local at = 1\n"
               "for i = 2, #KEYS, 2 do\n"
               "  local last = at + 3 * tonumber(ARGV[at])\n"
               "  if not tell(KEYS[i], KEYS[i + 1], at + 1, last, '', true) then return 0 end\n"
               "  for part = i, i + 1 do call('PEXPIRE', KEYS[part], " COPY_KEPT_MS ") end\n"
               "  at = last + 1\n"
               "end\n"
               "return 1\n";

/* KEYS: `boards`, the hash of what was begun; ARGV: the level, how many were begun, what names of sets and hashes of
 * boards and of copies begin with. What was pushed before may be missing in the copies, so it is required. */
static const char replace_script[] =
    BOARD "local names = call('HKEYS', KEYS[2])\n"
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
    [READ] = {{read_script, sizeof(read_script) - 1}, {"8722a79129b2174e29a61b6cf1fd09ca14682804", 40}},
    [PUSH] = {{push_script, sizeof(push_script) - 1}, {"b21d39ea472f46d59e6902a82b6aba91fcc595d3", 40}},
    [FOLLOW] = {{follow_script, sizeof(follow_script) - 1}, {"ca15e3674b9163e3128eee802377916e03830399", 40}},
    [BEGIN] = {{begin_script, sizeof(begin_script) - 1}, {"3a7de0dc840f967f8c01d2f73bc31bfab3e65221", 40}},
    [COPY] = {{copy_script, sizeof(copy_script) - 1}, {"db228f1e3da23441a61277c1db3006eddfd72514", 40}},
    [REPLACE] = {{replace_script, sizeof(replace_script) - 1}, {"6a66d4b25d9c01a373ad3d882e2941876a33d3d6", 40}},
};

/* Asking. */

/* How many of ASKED, from the first on, are about one board. */
static size_t measure_questions(const struct l2_redis_boards_asked *asked, size_t count)
{
    size_t len = 1;

    while (len < count && str_equal(asked[len].question.board, asked[0].question.board))
        len++;
    return len;
}

static void add_question(struct buf *out, const struct l2_boards_question *question)
{
    bool top = question->kind == L2_BOARDS_TOP;

    l2_redis_wire_add(out, top ? STR("") : question->member);
    if (question->kind == L2_BOARDS_MEMBER)
        l2_redis_wire_add(out, STR(""));
    else
        l2_redis_wire_add_number(out, top ? question->offset : question->range);
    if (top)
        l2_redis_wire_add_number(out, question->limit);
    else
        l2_redis_wire_add(out, STR(""));
}

void l2_redis_boards_script_ask(struct buf *out, const struct l2_redis_setup *setup,
                                const struct l2_redis_boards_asked *asked, size_t count)
{
    size_t runs = 0;

    for (size_t i = 0; i < count; i += measure_questions(&asked[i], count - i))
        runs++;
    l2_redis_script_run(out, &l2_redis_boards_script_list[READ], 1 + 2 * runs, 1 + runs + 3 * count);
    l2_redis_wire_add(out, buf_str(&setup->boards));
    for (size_t i = 0; i < count; i += measure_questions(&asked[i], count - i)) {
        l2_redis_wire_add_joined(out, buf_str(&setup->board_sets), asked[i].question.board);
        l2_redis_wire_add_joined(out, buf_str(&setup->board_members), asked[i].question.board);
    }
    l2_redis_wire_add(out, buf_str(&setup->board_pushed));
    for (size_t i = 0, end = 0; i < count; i++) {
        if (i == end) {
            size_t len = measure_questions(&asked[i], count - i);
            l2_redis_wire_add_number(out, len);
            end += len;
        }
        add_question(out, &asked[i].question);
    }
}

/* A number that may be missing. */
static enum err take_number(const redisReply *reply, uint64_t *out)
{
    *out = 0;
    return reply->type == REDIS_REPLY_NIL ? ERR_OK : l2_redis_wire_number(reply, out);
}

enum err l2_redis_boards_script_state(const redisReply *reply, struct l2_redis_boards_state *out)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
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

/* The member that was asked for, of whom the hash says NUMBER SCORE. */
static enum err take_member(const redisReply *reply, struct str member, struct arena *arena,
                            struct l2_boards_answer *out)
{
    struct str said = l2_redis_wire_text(reply);
    struct l2_boards_place *place = arena_alloc(arena, sizeof(*place));
    double negated;

    if (!place)
        return ERR_LIMIT;
    if (said.len <= DIGITS || out->rank >= out->members ||
        str_to_double((struct str){said.p + DIGITS, said.len - DIGITS}, &negated) != ERR_OK)
        return ERR_CORRUPT;
    *place = (struct l2_boards_place){.member = member, .score = 0 - negated};
    out->places = place;
    out->places_count = 1;
    return ERR_OK;
}

/* An answer that is not of a lost board, whatever it is worth. */
static enum err take_answer(const redisReply *reply, const struct l2_boards_question *question, struct arena *arena,
                            struct l2_boards_answer *out)
{
    bool top = question->kind == L2_BOARDS_TOP;
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
    if (question->kind == L2_BOARDS_MEMBER)
        return take_member(reply->element[2], question->member, arena, out);
    err = take_places(reply->element[2], top ? question->limit : 2 * question->range + 1, arena, out);
    return err == ERR_OK && !top && out->places_count == 0 ? ERR_CORRUPT : err;
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

/* How many of CHANGES, from the first on, are of one board. */
static size_t measure_changes(const struct l2_boards_change *changes, size_t count)
{
    size_t len = 1;

    while (len < count && str_equal(changes[len].board, changes[0].board))
        len++;
    return len;
}

/* SCRIPT about CHANGES of boards whose sets and hashes begin like this; FIRST is its first key, and MORE arguments are
 * to follow, and then add_changes. */
static void begin_telling(struct buf *out, const struct l2_redis_script *script, struct str first, struct str sets,
                          struct str members, const struct l2_boards_change *changes, size_t count, size_t more)
{
    size_t runs = 0;

    for (size_t i = 0; i < count; i += measure_changes(&changes[i], count - i))
        runs++;
    l2_redis_script_run(out, script, 1 + 2 * runs, more + runs + 3 * count);
    l2_redis_wire_add(out, first);
    for (size_t i = 0; i < count; i += measure_changes(&changes[i], count - i)) {
        l2_redis_wire_add_joined(out, sets, changes[i].board);
        l2_redis_wire_add_joined(out, members, changes[i].board);
    }
}

static void add_changes(struct buf *out, const struct l2_boards_change *changes, size_t count)
{
    struct buf score = {0};

    for (size_t i = 0, end = 0; i < count; i++) {
        if (i == end) {
            size_t len = measure_changes(&changes[i], count - i);
            l2_redis_wire_add_number(out, len);
            end += len;
        }
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

enum err l2_redis_boards_script_told(const redisReply *reply, bool *whole)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer < -1 || reply->integer > 1)
        return ERR_CORRUPT;
    *whole = reply->integer == 1;
    return reply->integer < 0 ? ERR_NOT_FOUND : ERR_OK;
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

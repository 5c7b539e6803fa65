/* Globs of base/str, compared with those of a real Redis. */
#include "base/str.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define KEYS 300
#define PATTERNS 6000
#define LONGEST 8

static void patterns_match_as_documented(void **state)
{
    static const struct {
        struct str pattern, text;
        bool matches;
    } table[] = {
        {STR("stocks:*"), STR("stocks:detail:AAPL"), true},
        {STR("stocks:*"), STR("stocks"), false},
        {STR("*"), STR("anything"), true},
        {STR("*"), STR(""), true},
        {STR(""), STR(""), true},
        {STR(""), STR("a"), false},
        {STR("a"), STR(""), false},
        {STR("h?llo"), STR("hello"), true},
        {STR("h?llo"), STR("hllo"), false},
        {STR("h*llo"), STR("hllo"), true},
        {STR("h[ae]llo"), STR("hallo"), true},
        {STR("h[ae]llo"), STR("hillo"), false},
        {STR("h[^e]llo"), STR("hallo"), true},
        {STR("h[^e]llo"), STR("hello"), false},
        {STR("h[a-c]llo"), STR("hbllo"), true},
        {STR("h[c-a]llo"), STR("hbllo"), true},
        {STR("h[a-c"), STR("hb"), true},
        {STR("h[^a-c"), STR("hd"), true},
        {STR("[]"), STR("]"), false},
        {STR("[a-]"), STR("a"), true},
        {STR("[\\]]"), STR("]"), true},
        {STR("\\*"), STR("*"), true},
        {STR("\\*"), STR("a"), false},
        {STR("a\\"), STR("a\\"), true},
        {STR("a\\"), STR("a"), false},
        {STR("a**b***"), STR("axxb"), true},
        {STR("*a*b*c"), STR("aabbabcabc"), true},
        {STR("*aab"), STR("aaaaab"), true},
        {STR("a\0b*"), STR("a\0bc"), true},
        {STR("A"), STR("a"), false},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(table); i++)
        if (str_glob_match(table[i].pattern, table[i].text) != table[i].matches)
            fail_msg("pattern %.*s, text %.*s", STR_ARG(table[i].pattern), STR_ARG(table[i].text));
}

static void a_literal_names_just_itself(void **state)
{
    static const char *const globs[] = {"*", "a?", "[a]", "a\\*", "["};

    (void)state;
    assert_true(str_glob_is_literal(STR("stocks:detail:BRK.B")));
    assert_true(str_glob_is_literal(STR("]-^")));
    assert_true(str_glob_is_literal(STR("a\0b")));
    for (size_t i = 0; i < COUNT(globs); i++)
        assert_false(str_glob_is_literal(str_from(globs[i])));
}

/* A recursive matcher would outlive us all on this one. */
static void hostile_patterns_take_no_longer_than_their_size(void **state)
{
    struct buf pattern = {0}, text = {0};

    (void)state;
    for (int i = 0; i < 500; i++)
        buf_add_str(&pattern, STR("*a"));
    buf_add_str(&pattern, STR("*b"));
    for (int i = 0; i < 20000; i++)
        buf_add_char(&text, 'a');
    assert_false(str_glob_match(buf_str(&pattern), buf_str(&text)));
    buf_free(&pattern);
    buf_free(&text);
}

struct server {
    char directory[64], socket[96];
    pid_t pid;
    redisContext *redis;
};

static int stop_server(void **state)
{
    struct server *server = *state;

    if (server->redis)
        redisFree(server->redis);
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    unlink(server->socket);
    rmdir(server->directory);
    free(server);
    return 0;
}

static int start_server(void **state)
{
    struct server *server = calloc(1, sizeof(*server));

    *state = server;
    strcpy(server->directory, "/tmp/larder-glob-XXXXXX");
    if (!mkdtemp(server->directory))
        return -1;
    snprintf(server->socket, sizeof(server->socket), "%s/redis", server->directory);
    server->pid = fork();
    if (server->pid == 0) {
        if (freopen("/dev/null", "w", stdout))
            execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server->socket, "--save", "",
                   "--appendonly", "no", "--dir", server->directory, (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500; i++) {
        server->redis = redisConnectUnix(server->socket);
        if (server->redis && !server->redis->err)
            return 0;
        redisFree(server->redis);
        server->redis = NULL;
        usleep(20000);
    }
    stop_server(state);
    return -1;
}

/* The same numbers each time, so that a difference can be found again. */
static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*seed >> 33) % below;
}

static struct str draw_text(uint64_t *seed, const char *alphabet, size_t least, char *out)
{
    size_t len = least + draw(seed, LONGEST - (uint32_t)least);

    for (size_t i = 0; i < len; i++)
        out[i] = alphabet[draw(seed, (uint32_t)strlen(alphabet))];
    return (struct str){out, len};
}

static bool contains(const redisReply *reply, struct str key)
{
    for (size_t i = 0; i < reply->elements; i++)
        if (str_equal((struct str){reply->element[i]->str, reply->element[i]->len}, key))
            return true;
    return false;
}

static void compare(struct server *server, struct str pattern, const struct str *keys)
{
    redisReply *reply = redisCommand(server->redis, "KEYS %b", pattern.p, pattern.len);

    assert_non_null(reply);
    assert_int_equal(reply->type, REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < KEYS; i++)
        if (str_glob_match(pattern, keys[i]) != contains(reply, keys[i]))
            fail_msg("pattern <%.*s>, key <%.*s>", STR_ARG(pattern), STR_ARG(keys[i]));
    freeReplyObject(reply);
}

static void random_patterns_match_the_same_keys_as_in_redis(void **state)
{
    struct server *server = *state;
    char bytes[KEYS][LONGEST], pattern[LONGEST];
    struct str keys[KEYS];
    uint64_t seed = 1;

    for (size_t i = 0; i < KEYS; i++) {
        /* The first is the empty key. */
        keys[i] = i == 0 ? (struct str){bytes[0], 0} : draw_text(&seed, "abc*?[]^-\\\xe9\x01", 1, bytes[i]);
        freeReplyObject(redisCommand(server->redis, "SET %b 1", keys[i].p, keys[i].len));
    }
    for (size_t i = 0; i < PATTERNS; i++)
        compare(server, draw_text(&seed, i % 2 ? "abc**?[[]]^--\\\xe9" : "ab[[]^-c\\*", 0, pattern), keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_documented),
        cmocka_unit_test(a_literal_names_just_itself),
        cmocka_unit_test(hostile_patterns_take_no_longer_than_their_size),
        cmocka_unit_test_setup_teardown(random_patterns_match_the_same_keys_as_in_redis, start_server, stop_server),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Scripts that Redis does not know: it is told them once, and nobody takes note. */
#include "l2_boards_fixture.h"

#include <sys/mman.h>

#include "l2/l2_log.h"
#include "l2/l2_redis_load.h"

static void each_script_has_the_hash_that_redis_gives_it(void **state)
{
    redisContext *context = redisConnectUnix(redis.socket);
    size_t wrong = 0;
    (void)state;

    for (size_t i = 0; i < L2_REDIS_LOAD_COUNT; i++) {
        const struct l2_redis_script *script = l2_redis_load_script(i);
        redisReply *reply = redisCommand(context, "SCRIPT LOAD %b", script->text.p, script->text.len);

        assert_non_null(reply);
        if (!l2_redis_load_is_done(reply, i)) {
            print_error("%zu: the hash is not %.*s but %s\n", i, STR_ARG(script->hash), reply->str);
            wrong++;
        }
        freeReplyObject(reply);
    }
    redisFree(context);
    assert_int_equal(wrong, 0);
}

/* Verbs. */

/* The first failure would open the breaker. */
static void open_touchy(struct host *host)
{
    *host = (struct host){.config = usual_config()};
    host->config.breaker.failures = 1;
    configure(host);
}

/* One script was run since they were forgotten, and nobody has heard that it was not known. */
static void assert_told_once(const struct host *host)
{
    struct l2_status status = status_of(host);

    assert_int_equal(calls_of("eval"), 0);
    assert_int_equal(calls_of("evalsha"), 2);
    assert_int_equal(scripts_loaded(), L2_REDIS_LOAD_COUNT);
    assert_int_equal(status.last_error.len, 0);
    assert_int_equal(status.breaker, L2_CLOSED);
    assert_int_equal(status.breaker_opened, 0);
    assert_false(status.distrusted);
}

static void entries_are_claimed_filled_released_and_purged_by_a_redis_that_forgot(void **state)
{
    struct l2_lease lease;
    struct host host;
    (void)state;

    open_touchy(&host);
    forget_scripts();
    purge_tag(&host, "tag");
    assert_told_once(&host);
    forget_scripts();
    lease = take(&host, "key", "tag");
    assert_told_once(&host);
    forget_scripts();
    assert_true(fill_under(&host, "key", "tag", "bytes", lease));
    assert_told_once(&host);
    assert_found(&host, "key", "tag", "bytes");
    lease = take(&host, "other", NULL);
    assert_int_equal(operate(&redis, "EXISTS l*rder[:1:l:other"), 1);
    forget_scripts();
    l2_release(host.waiting, STR("other"), &lease);
    assert_told_once(&host);
    assert_int_equal(operate(&redis, "EXISTS l*rder[:1:l:other"), 0);
    forget_scripts();
    purge_key(&host, "key");
    assert_told_once(&host);
    assert_absent(&host, "key", "tag");
    host_close(&host);
}

static void jobs_are_taken_and_carried_on_by_a_redis_that_forgot(void **state)
{
    struct arena *arena = arena_new(1024, 1 << 20);
    struct host host;
    struct l2_job job;
    (void)state;

    open_touchy(&host);
    put(&host, "key", "bytes");
    forget_scripts();
    purge_pattern(&host, "k*", false);
    assert_told_once(&host);
    forget_scripts();
    assert_int_equal(l2_job_take(host.waiting, 1, arena, &job), ERR_OK);
    assert_told_once(&host);
    forget_scripts();
    assert_int_equal(l2_job_step(host.waiting, 1, 1000, &job), ERR_OK);
    assert_told_once(&host);
    assert_int_equal(job.state, L2_JOB_DONE);
    assert_int_equal(job.removed, 1);
    host_close(&host);
    arena_free(&arena);
}

static void boards_are_copied_told_and_asked_by_a_redis_that_forgot(void **state)
{
    struct l2_boards_change row = change_to(1, "b", "ann", 1);
    struct host host;
    (void)state;

    open_touchy(&host);
    forget_scripts();
    assert_int_equal(l2_boards_copy_begin(host.waiting, STR("b")), ERR_OK);
    assert_told_once(&host);
    forget_scripts();
    assert_int_equal(l2_boards_copy(host.waiting, &row, 1), ERR_OK);
    assert_told_once(&host);
    forget_scripts();
    assert_int_equal(l2_boards_replace(host.waiting, 1), ERR_OK);
    assert_told_once(&host);
    forget_scripts();
    push(&host, 2, "b", "bob", 2);
    assert_told_once(&host);
    forget_scripts();
    follow(&host, 1, change_to(2, "b", "bob", 2));
    assert_told_once(&host);
    for (int i = 0; i < 2; i++) {
        host.asynchronous = i;
        forget_scripts();
        assert_board(&host, "b", "bob ann");
        assert_told_once(&host);
    }
    host_close(&host);
}

static void the_log_is_followed_from_a_redis_that_forgot(void **state)
{
    struct l2_log_record record;
    const char *why = "";
    struct l2_log *log;
    struct host host;
    (void)state;

    open_touchy(&host);
    log = l2_log_open(&host.config, host.shared, NULL);
    forget_scripts();
    assert_int_equal(l2_log_next(log, 0, &record, &why), L2_LOG_GAP);
    assert_told_once(&host);
    l2_log_close(&log);
    host_close(&host);
}

/* Exchanges of more than a script. */

/* A connection of its own, of a thread of HOST. */
struct link {
    struct l2_redis_setup setup;
    struct l2_redis_call call;
};

static void link_open(struct link *link, const struct host *host)
{
    *link = (struct link){.call.setup = &link->setup};
    l2_redis_wire_init(&link->setup, &host->config, host->shared);
}

static void link_close(struct link *link)
{
    l2_redis_call_fini(&link->call);
    l2_redis_wire_fini(&link->setup);
}

/* Two scripts among other commands; *ID is the connection's. */
static enum err exchange(struct link *link, bool once, long long *id)
{
    struct l2_lease lease = {.token = 1, .stamp = 1};
    struct buf *commands = &link->call.commands;
    redisReply *replies[4];

    l2_redis_wire_command(commands, 2);
    l2_redis_wire_add(commands, STR("CLIENT"));
    l2_redis_wire_add(commands, STR("ID"));
    l2_redis_script_release(commands, &link->setup, STR("key"), &lease);
    l2_redis_script_now(commands, &link->setup);
    l2_redis_wire_command(commands, 1);
    l2_redis_wire_add(commands, STR("PING"));

    enum err err = once ? l2_redis_call_once(&link->call, "iias", 0, replies)
                        : l2_redis_call_exchange(&link->call, "iias", replies);

    assert_int_equal(commands->len, 0);
    if (err)
        return err;
    *id = replies[0]->integer;
    l2_redis_call_free(replies, 4);
    return ERR_OK;
}

static void scripts_among_other_commands_are_told_on_the_same_connection(void **state)
{
    struct host host;
    (void)state;

    open_touchy(&host);
    for (int once = 0; once < 2; once++) {
        long long first, second;
        struct link link;

        link_open(&link, &host);
        assert_int_equal(exchange(&link, once, &first), ERR_OK);
        forget_scripts();
        assert_int_equal(exchange(&link, once, &second), ERR_OK);
        assert_int_equal(first, second);
        assert_int_equal(calls_of("evalsha"), 4);
        assert_int_equal(scripts_loaded(), L2_REDIS_LOAD_COUNT);
        assert_int_equal(exchange(&link, once, &second), ERR_OK);
        assert_int_equal(first, second);
        assert_int_equal(calls_of("evalsha"), 6);
        link_close(&link);
    }
    assert_int_equal(status_of(&host).last_error.len, 0);
    host_close(&host);
}

/* Servers to which no script ever becomes known. */

enum loading { LOADS, REFUSES, GIVES_ANOTHER_HASH };

static void answer(int peer, const redisReply *command, enum loading loading, unsigned *asked, bool *refused)
{
    const char *name = command->element[0]->str;
    char text[128] = "+OK\r\n";

    if (strcmp(name, "EVALSHA") == 0) {
        __atomic_add_fetch(asked, !*refused, __ATOMIC_SEQ_CST);
        strcpy(text, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
    } else if (strcmp(name, "SCRIPT") == 0 && loading == REFUSES) {
        *refused = true;
        strcpy(text, "-NOPERM this user has no permissions to run the 'script|load' command\r\n");
    } else if (strcmp(name, "SCRIPT") == 0) {
        const char *body = command->element[2]->str;
        size_t i = 0;

        *refused = loading == GIVES_ANOTHER_HASH;
        while (!str_equal(l2_redis_load_script(i)->text, str_from(body)))
            i++;
        if (*refused)
            i = (i + 1) % L2_REDIS_LOAD_COUNT;
        snprintf(text, sizeof(text), "$40\r\n%.*s\r\n", STR_ARG(l2_redis_load_script(i)->hash));
    }
    (void)!write(peer, text, strlen(text));
}

static void serve(int peer, enum loading loading, unsigned *asked)
{
    redisReader *reader = redisReaderCreate();
    bool refused = false;
    char received[65536];
    ssize_t len;

    while ((len = read(peer, received, sizeof(received))) > 0) {
        void *command;

        redisReaderFeed(reader, received, (size_t)len);
        while (redisReaderGetReply(reader, &command) == REDIS_OK && command) {
            answer(peer, command, loading, asked, &refused);
            freeReplyObject(command);
        }
    }
    _exit(0);
}

/* *ASKED is how often it was to run a script, on each connection until it has refused to load one. */
static pid_t serve_in_vain(const char *path, enum loading loading, unsigned *asked)
{
    int fd = listen_at(path);
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGCHLD, SIG_IGN);
        for (;;) {
            int peer = accept(fd, NULL, NULL);

            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                serve(peer, loading, asked);
            }
            close(peer);
        }
    }
    close(fd);
    return pid;
}

static void assert_failed(const struct host *host, const char *word)
{
    char error[256];

    snprintf(error, sizeof(error), "%.*s", STR_ARG(status_of(host).last_error));
    if (!strstr(error, word))
        fail_msg("not of %s: %s", word, error);
}

static void scripts_that_never_become_known_are_an_error_and_no_loop(void **state)
{
    static const struct {
        enum loading loading;
        unsigned asked; /* times, by each verb of one script */
        const char *word;
    } cases[] = {{LOADS, 2, "NOSCRIPT"}, {REFUSES, 1, "NOPERM"}, {GIVES_ANOTHER_HASH, 1, "makes no sense"}};
    unsigned *asked = mmap(NULL, sizeof(*asked), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)state;

    server_kill(&redis);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        pid_t pid = serve_in_vain(redis.socket, cases[i].loading, asked);
        struct host host = {.config = usual_config()};
        struct link link;
        long long id;

        host.config.breaker.failures = 1000;
        configure(&host);
        *asked = 0;
        assert_int_equal(claim_by(&host, "key", "tag", "").result, L2_CLAIM_UNAVAILABLE);
        assert_int_equal(*asked, cases[i].asked);
        assert_failed(&host, cases[i].word);
        for (unsigned j = 1; j <= 3; j++) {
            host.asynchronous = true;
            assert_unknown(&host, "b");
            assert_int_equal(*asked, (j + 1) * cases[i].asked);
        }
        assert_failed(&host, cases[i].word);
        for (int once = 0; once < 2; once++) {
            *asked = 0;
            link_open(&link, &host);
            assert_int_equal(exchange(&link, once, &id), ERR_CORRUPT);
            assert_null(link.call.link.context);
            assert_int_equal(*asked, 2 * cases[i].asked);
            link_close(&link);
        }
        host_close(&host);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    munmap(asked, sizeof(*asked));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(each_script_has_the_hash_that_redis_gives_it),
        CASE(entries_are_claimed_filled_released_and_purged_by_a_redis_that_forgot),
        CASE(jobs_are_taken_and_carried_on_by_a_redis_that_forgot),
        CASE(boards_are_copied_told_and_asked_by_a_redis_that_forgot),
        CASE(the_log_is_followed_from_a_redis_that_forgot),
        CASE(scripts_among_other_commands_are_told_on_the_same_connection),
        CASE(scripts_that_never_become_known_are_an_error_and_no_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

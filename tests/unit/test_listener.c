/* Who is named in [server], and what becomes of a worker when nobody is called so. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"
#include "server/listener.h"
#include "server/worker.h"

static struct config make_config(const char *user, const char *group, const char *allow_users)
{
    return (struct config){
        .server = {.user = (char *)user, .group = (char *)group, .allow_users = (char *)allow_users, .mount = (char *)""}};
}

static void users_and_groups_that_exist_are_no_matter(void **state)
{
    const struct config config = make_config("root", "root", "root 65000");
    struct report *report = report_new();
    (void)state;
    listener_check(&config, report);
    assert_int_equal(report_count(report), 0);
    report_free(&report);
}

static void each_name_that_is_nobodys_is_said(void **state)
{
    const struct config config = make_config("", "no-such-group", "root no-such-user no-such-other");
    struct report *report = report_new();
    (void)state;
    listener_check(&config, report);
    assert_int_equal(report_count(report), 3);
    assert_string_equal(report_line(report, 0), "`allow_users` in [server]: there is no user `no-such-user` on this system");
    assert_string_equal(report_line(report, 1), "`allow_users` in [server]: there is no user `no-such-other` on this system");
    assert_string_equal(report_line(report, 2), "`group` in [server]: there is no group `no-such-group` on this system");
    report_free(&report);
}

static void a_name_that_is_nobodys_is_said_where_it_was_given(void **state)
{
    char *const environment[] = {"LARDER_SERVER_ALLOW_USERS=no-such-user", NULL};
    struct report *report = report_new();
    struct config *config;
    (void)state;
    assert_int_equal(config_parse(STR("[server]\nallow_users = root\n\ngroup = no-such-group\n"), "larder.conf", environment, report, &config), ERR_OK);
    listener_check(config, report);
    assert_int_equal(report_count(report), 2);
    assert_string_equal(report_line(report, 0),
                        "LARDER_SERVER_ALLOW_USERS: `allow_users` in [server]: there is no user `no-such-user` on this system");
    assert_string_equal(report_line(report, 1), "larder.conf:4: `group` in [server]: there is no group `no-such-group` on this system");
    config_free(&config);
    report_free(&report);
}

static void the_user_to_change_to_counts_for_root_alone(void **state)
{
    const struct config config = make_config("no-such-user", "", "");
    struct report *report = report_new();
    (void)state;
    listener_check(&config, report);
    assert_int_equal(report_count(report), geteuid() == 0 ? 1 : 0);
    report_free(&report);
}

static void a_worker_that_cannot_start_ends_in_order(void **state)
{
    const struct config config = make_config("", "", "no-such-user");
    int status = -1;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL); /* not cmocka's, which would go on */
        const struct worker_options options = {
            .config = &config, .ops = &(struct app_ops){0}, .listener = -1, .row = &(struct scoreboard_process){0}};
        log_init(2, LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
        _exit(worker_run(&options));
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(users_and_groups_that_exist_are_no_matter),
        cmocka_unit_test(each_name_that_is_nobodys_is_said),
        cmocka_unit_test(a_name_that_is_nobodys_is_said_where_it_was_given),
        cmocka_unit_test(the_user_to_change_to_counts_for_root_alone),
        cmocka_unit_test(a_worker_that_cannot_start_ends_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

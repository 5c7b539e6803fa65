/* The list of bans: what it says is taken exactly, and what it does not say clearly is refused. */
#include "l2_fixture.h"

#include "l2/l2_bans.h"

static void a_list_is_taken_as_it_stands(void **state)
{
    struct l2_bans bans;
    (void)state;

    assert_int_equal(l2_bans_parse(STR(""), &bans), ERR_OK);
    assert_int_equal(bans.count, 0);
    assert_int_equal(l2_bans_parse(STR("17 h a*\n18 s  b h *\\\n9000000000000000000 h \n"), &bans), ERR_OK);
    assert_int_equal(bans.count, 3);
    assert_int_equal(bans.list[0].number, 17);
    assert_false(bans.list[0].soft);
    assert_true(str_equal(bans.list[0].pattern, STR("a*")));
    assert_true(bans.list[1].soft);
    assert_true(str_equal(bans.list[1].pattern, STR(" b h *\\")));
    assert_true(str_equal(bans.list[2].pattern, STR("")));
    assert_ptr_equal(l2_bans_find(&bans, 18), &bans.list[1]);
    assert_null(l2_bans_find(&bans, 19));
}

static void what_is_no_list_is_refused(void **state)
{
    static const char *const cases[] = {
        "\n",      "17",       "17 h a*",  "17 h\n",   "17 x a\n", " 17 h a\n",        "-1 h a\n",
        "0 h a\n", "01 h a\n", "+1 h a\n", "1  h a\n", "1 hs a\n", "1 h a\n\n2 h b\n", "99999999999999999999 h a\n",
    };
    struct l2_bans bans;
    struct buf many = {0};
    (void)state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(l2_bans_parse(str_from(cases[i]), &bans), ERR_CORRUPT);
    for (int i = 1; i <= L2_BANS_MAX + 1; i++) {
        buf_printf(&many, "%d h a\n", i);
        assert_int_equal(l2_bans_parse(buf_str(&many), &bans), i <= L2_BANS_MAX ? ERR_OK : ERR_CORRUPT);
    }
    buf_free(&many);
}

static void the_hardest_ban_that_is_newer_and_matches_judges(void **state)
{
    static const struct {
        const char *key;
        uint64_t stamp;
        enum l2_bans_verdict verdict;
    } cases[] = {
        {"a1", 5, L2_BANS_HARD},  {"a1", 9, L2_BANS_HARD},  {"a1", 10, L2_BANS_SOFT}, {"a1", 20, L2_BANS_NONE},
        {"b1", 19, L2_BANS_SOFT}, {"b1", 20, L2_BANS_NONE}, {"b2", 1, L2_BANS_NONE},
    };
    struct l2_bans bans;
    (void)state;

    assert_int_equal(l2_bans_parse(STR("10 h a*\n20 s ?1\n"), &bans), ERR_OK);
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(l2_bans_judge(&bans, str_from(cases[i].key), cases[i].stamp), cases[i].verdict);
    assert_int_equal(l2_bans_parse(STR("10 s ?1\n20 h a*\n"), &bans), ERR_OK);
    assert_int_equal(l2_bans_judge(&bans, STR("a1"), 5), L2_BANS_HARD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_taken_as_it_stands),
        cmocka_unit_test(what_is_no_list_is_refused),
        cmocka_unit_test(the_hardest_ban_that_is_newer_and_matches_judges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

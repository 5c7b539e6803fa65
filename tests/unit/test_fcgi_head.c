/* What fcgi_head_scan takes, waits for and refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "server/fcgi_head.h"

static const unsigned char begin_record[16] = {1, FCGI_HEAD_BEGIN_REQUEST, 0, 1, 0, 8, 0, 0, 0, FCGI_HEAD_RESPONDER, FCGI_HEAD_KEEP_CONN};

static void add_record(struct buf *out, uint8_t type, uint16_t id, struct str content, uint8_t padding)
{
    const unsigned char header[8] = {
        1, type, (unsigned char)(id >> 8), (unsigned char)id, (unsigned char)(content.len >> 8), (unsigned char)content.len, padding};
    buf_add(out, header, sizeof header);
    buf_add_str(out, content);
    for (unsigned i = 0; i < padding; i++)
        buf_add_char(out, '\0');
}

static void add_pair(struct buf *out, const char *name, const char *value)
{
    buf_add_char(out, (char)strlen(name));
    buf_add_char(out, (char)strlen(value));
    buf_add(out, name, strlen(name));
    buf_add(out, value, strlen(value));
}

/* A whole GET with a PARAMS record of CONTENT. */
static struct buf request_with(struct str content)
{
    struct buf out = {0};
    buf_add(&out, begin_record, sizeof begin_record);
    if (content.len > 0)
        add_record(&out, FCGI_HEAD_PARAMS, 1, content, 5);
    add_record(&out, FCGI_HEAD_PARAMS, 1, STR(""), 0);
    add_record(&out, FCGI_HEAD_STDIN, 1, STR(""), 0);
    return out;
}

static struct buf usual_request(void)
{
    struct buf pairs = {0};
    add_pair(&pairs, "REQUEST_METHOD", "PUT");
    add_pair(&pairs, "REQUEST_URI", "/api/stocks/BRK.B");
    add_pair(&pairs, "CONTENT_LENGTH", "0");
    struct buf out = request_with(buf_str(&pairs));
    buf_free(&pairs);
    return out;
}

static void it_is_told_where_names_and_values_are(void **state)
{
    (void)state;
    static const struct {
        struct str pairs, names[2], values[2];
    } cases[] = {
        {{"\1\0A", 3}, {{"A", 1}}, {{"", 0}}},
        {{"\1\3Ab\0c\0\1d", 9}, {{"A", 1}, {"", 0}}, {{"b\0c", 3}, {"d", 1}}},
        {{"\x80\0\0\2\1ABc\1\x80\0\0\1Bd", 15}, {{"AB", 2}, {"B", 1}}, {{"c", 1}, {"d", 1}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf request = request_with(cases[i].pairs);
        struct fcgi_head head;
        size_t len = 0;
        assert_int_equal(fcgi_head_scan(buf_str(&request), &head), FCGI_HEAD_READY);
        assert_false(head.is_split);
        assert_int_equal(head.params, i == 0 ? 1 : 2);
        for (unsigned at = 0; at < head.params; at++) {
            const struct fcgi_head_param *param = &head.param[at];
            const char *name = request.p + param->at;
            assert_true(str_equal((struct str){name, param->name_len}, cases[i].names[at]));
            assert_true(str_equal((struct str){name + param->name_len, param->value_len}, cases[i].values[at]));
            len += param->name_len + param->value_len;
        }
        assert_int_equal(head.params_len, len);
        buf_free(&request);
    }
}

static void a_whole_head_is_ready_and_every_part_of_it_is_incomplete(void **state)
{
    (void)state;
    struct buf request = usual_request();
    struct fcgi_head head;
    for (size_t len = 0; len < request.len - 8; len++)
        assert_int_equal(fcgi_head_scan((struct str){request.p, len}, &head), FCGI_HEAD_INCOMPLETE);
    assert_int_equal(fcgi_head_scan((struct str){request.p, request.len - 8}, &head), FCGI_HEAD_READY);
    assert_false(head.body_complete);
    assert_int_equal(fcgi_head_scan(buf_str(&request), &head), FCGI_HEAD_READY);
    assert_true(head.body_complete);
    assert_true(head.keep);
    assert_int_equal(head.params, 3);
    assert_int_equal(head.request_id, 1);
    assert_int_equal(head.len, request.len - 8);
    buf_free(&request);
}

static void parameters_may_be_split_over_records_anywhere(void **state)
{
    (void)state;
    struct buf pairs = {0};
    add_pair(&pairs, "CONTENT_LENGTH", "17");
    add_pair(&pairs, "REQUEST_METHOD", "POST");
    for (size_t cut = 1; cut < pairs.len; cut++) {
        struct buf out = {0};
        struct fcgi_head head;
        buf_add(&out, begin_record, sizeof begin_record);
        add_record(&out, FCGI_HEAD_PARAMS, 1, (struct str){pairs.p, cut}, 0);
        add_record(&out, FCGI_HEAD_PARAMS, 1, (struct str){pairs.p + cut, pairs.len - cut}, 3);
        add_record(&out, FCGI_HEAD_PARAMS, 1, STR(""), 0);
        assert_int_equal(fcgi_head_scan(buf_str(&out), &head), FCGI_HEAD_READY);
        assert_int_equal(head.params, 2);
        assert_int_equal(head.params_len, pairs.len - 4);
        /* Between the two, each lies whole in its record. */
        assert_int_equal(head.is_split, cut != strlen("CONTENT_LENGTH") + 4);
        buf_free(&out);
    }
    buf_free(&pairs);
}

static void the_announced_length_of_the_body_is_told(void **state)
{
    (void)state;
    struct buf pairs = {0};
    struct fcgi_head head;
    add_pair(&pairs, "CONTENT_LENGTH", "1234");
    struct buf out = request_with(buf_str(&pairs));
    assert_int_equal(fcgi_head_scan(buf_str(&out), &head), FCGI_HEAD_READY);
    assert_int_equal(head.body_len, 1234);
    buf_free(&pairs);
    buf_free(&out);
}

/* A whole request whose body TEXT comes in records of STEP bytes, each followed by PADDING. */
static struct buf request_with_body(struct str text, size_t step, uint8_t padding)
{
    struct buf out = request_with(STR(""));
    out.len -= 8;
    for (size_t at = 0; at < text.len; at += step)
        add_record(&out, FCGI_HEAD_STDIN, 1, (struct str){text.p + at, text.len - at < step ? text.len - at : step}, padding);
    add_record(&out, FCGI_HEAD_STDIN, 1, STR(""), 0);
    return out;
}

static void a_body_is_put_together_however_it_is_cut_and_padded(void **state)
{
    (void)state;
    static const struct str text = STR("{\"price\": 12.5,\0 \"name\": \"x\"}");
    for (size_t step = 1; step <= text.len; step++) {
        struct buf request = request_with_body(text, step, (uint8_t)(step * 37));
        struct fcgi_head head;
        char body[64];
        memset(body, '#', sizeof body);
        assert_int_equal(fcgi_head_scan(buf_str(&request), &head), FCGI_HEAD_READY);
        assert_true(head.body_complete);
        assert_true(fcgi_head_body(buf_str(&request), &head, text.len, body));
        assert_memory_equal(body, text.p, text.len);
        assert_int_equal(body[text.len], '#');
        buf_free(&request);
    }
}

static void a_body_of_several_large_records_is_whole(void **state)
{
    (void)state;
    static char text[150000], body[sizeof text];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 31 % 251);
    struct buf request = request_with_body((struct str){text, sizeof text}, 65535, 255);
    struct fcgi_head head;
    assert_int_equal(fcgi_head_scan(buf_str(&request), &head), FCGI_HEAD_READY);
    assert_true(fcgi_head_body(buf_str(&request), &head, sizeof text, body));
    assert_memory_equal(body, text, sizeof text);
    buf_free(&request);
}

static void a_body_of_another_length_than_expected_is_none(void **state)
{
    (void)state;
    static const struct str texts[] = {STR(""), STR("a"), STR("0123456789")};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t step = 1; step <= 10; step++)
            for (size_t expected = 0; expected <= 12; expected++) {
                struct buf request = request_with_body(texts[i], step, 3);
                struct fcgi_head head;
                char body[16];
                memset(body, '#', sizeof body);
                assert_int_equal(fcgi_head_scan(buf_str(&request), &head), FCGI_HEAD_READY);
                assert_int_equal(fcgi_head_body(buf_str(&request), &head, expected, body), expected == texts[i].len);
                /* Nothing is written behind what is expected. */
                assert_int_equal(body[expected], '#');
                buf_free(&request);
            }
}

static void what_no_web_server_sends_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        unsigned char bytes[48];
        size_t len;
    } cases[] = {
        {"another version", {2, 1, 0, 1, 0, 8, 0, 0}, 8},
        {"a padded BEGIN_REQUEST", {1, 1, 0, 1, 0, 8, 8, 0}, 8},
        {"a BEGIN_REQUEST of nine bytes", {1, 1, 0, 1, 0, 9, 0, 0}, 8},
        {"a BEGIN_REQUEST of request 0", {1, 1, 0, 0, 0, 8, 0, 0}, 8},
        {"PARAMS without BEGIN_REQUEST", {1, 4, 0, 1, 0, 0, 0, 0}, 8},
        {"the role of an authorizer", {1, 1, 0, 1, 0, 8, 0, 0, 0, 2, 1}, 16},
        {"ABORT_REQUEST instead of parameters", {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0}, 24},
        {"parameters of another request", {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 4, 0, 2, 0, 0, 0, 0}, 24},
        {"a padded end of parameters", {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 4, 0, 1, 0, 0, 1, 0, 0}, 25},
        {"a name of 2 GiB", {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 4, 0, 1, 0, 5, 0, 0, 255, 255, 255, 255, 1}, 29},
        {"a pair that ends early", {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 4, 0, 1, 0, 2, 0, 0, 3, 3,
                                    1, 4, 0, 1, 0, 0, 0, 0}, 34},
    };
    struct fcgi_head head;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct str bytes = {(const char *)cases[i].bytes, cases[i].len};
        if (fcgi_head_scan(bytes, &head) != FCGI_HEAD_INVALID)
            fail_msg("%s was not refused", cases[i].what);
        assert_non_null(head.why);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    struct buf pairs = {0};
    struct fcgi_head head;
    for (int i = 0; i < FCGI_HEAD_PARAMS_MAX; i++)
        add_pair(&pairs, "A", "");
    struct buf most = request_with(buf_str(&pairs));
    assert_int_equal(fcgi_head_scan(buf_str(&most), &head), FCGI_HEAD_READY);
    add_pair(&pairs, "B", "");
    struct buf too_many = request_with(buf_str(&pairs));
    assert_int_equal(fcgi_head_scan(buf_str(&too_many), &head), FCGI_HEAD_INVALID);

    struct buf large = {0};
    static const char filler[60000];
    buf_add(&large, begin_record, sizeof begin_record);
    add_record(&large, FCGI_HEAD_PARAMS, 1, (struct str){filler, sizeof filler}, 0);
    assert_int_equal(fcgi_head_scan(buf_str(&large), &head), FCGI_HEAD_INVALID); /* 30,000 empty parameters */
    buf_free(&pairs);
    buf_free(&most);
    buf_free(&too_many);
    buf_free(&large);
}

static void a_request_behind_another_is_refused(void **state)
{
    (void)state;
    struct buf request = usual_request();
    struct fcgi_head head;
    buf_add(&request, begin_record, sizeof begin_record);
    assert_int_equal(fcgi_head_scan(buf_str(&request), &head), FCGI_HEAD_INVALID);
    buf_free(&request);
}

static void get_values_is_answered_with_what_was_asked_for(void **state)
{
    (void)state;
    struct buf pairs = {0}, record = {0}, answer = {0};
    struct fcgi_head head;
    add_pair(&pairs, "FCGI_MPXS_CONNS", "");
    add_pair(&pairs, "FCGI_MAX_CONNS", "");
    add_pair(&pairs, "FCGI_UNHEARD_OF", "");
    add_record(&record, FCGI_HEAD_GET_VALUES, 0, buf_str(&pairs), 2);
    buf_add(&record, begin_record, sizeof begin_record);
    assert_int_equal(fcgi_head_scan(buf_str(&record), &head), FCGI_HEAD_MANAGEMENT);
    assert_int_equal(head.len, 8 + pairs.len + 2);
    fcgi_head_answer((struct str){record.p, head.len}, 1024, &answer);
    static const char expected[] = "\x0f\x01" "FCGI_MPXS_CONNS0" "\x0e\x04" "FCGI_MAX_CONNS1024";
    assert_int_equal(answer.p[1], FCGI_HEAD_GET_VALUES_RESULT);
    assert_int_equal((unsigned char)answer.p[5], sizeof expected - 1);
    assert_memory_equal(answer.p + 8, expected, sizeof expected - 1);
    assert_int_equal(answer.len % 8, 0);
    buf_free(&pairs);
    buf_free(&record);
    buf_free(&answer);
}

static void an_unknown_management_record_is_answered_as_such(void **state)
{
    (void)state;
    struct buf record = {0}, answer = {0};
    add_record(&record, 77, 0, STR("abc"), 0);
    fcgi_head_answer(buf_str(&record), 1, &answer);
    assert_int_equal(answer.len, 16);
    assert_int_equal(answer.p[1], FCGI_HEAD_UNKNOWN_TYPE);
    assert_int_equal(answer.p[8], 77);
    buf_free(&record);
    buf_free(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_told_where_names_and_values_are),
        cmocka_unit_test(a_whole_head_is_ready_and_every_part_of_it_is_incomplete),
        cmocka_unit_test(parameters_may_be_split_over_records_anywhere),
        cmocka_unit_test(the_announced_length_of_the_body_is_told),
        cmocka_unit_test(a_body_is_put_together_however_it_is_cut_and_padded),
        cmocka_unit_test(a_body_of_several_large_records_is_whole),
        cmocka_unit_test(a_body_of_another_length_than_expected_is_none),
        cmocka_unit_test(what_no_web_server_sends_is_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_request_behind_another_is_refused),
        cmocka_unit_test(get_values_is_answered_with_what_was_asked_for),
        cmocka_unit_test(an_unknown_management_record_is_answered_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

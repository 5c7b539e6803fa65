/*
 * config_value: what the text of a setting may be, kind by kind.
 *
 * Invariant: a field is set only to a value that its rule allows, and the sentence about any other says what would be
 * allowed and never repeats the value, which may be a secret.
 *
 * It looks at text alone: whether a file, a user or a host exists is found out by whoever uses it. Of a URL only the
 * scheme is judged here; the rest is understood by the backend that it names.
 */
#include "config/config_value.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "config/config.h"

enum { SOCKET_PATH_MAX = 107 /* sun_path of unix(7), less its NUL */ };

enum { WORDS_MAX = 5 };

/* By kind, from CONFIG_VALUE_LEVEL on; by the value of the enumeration, which is stored as an unsigned number. */
static const char *const words[][WORDS_MAX] = {{[LOG_LEVEL_ERROR] = "error",
                                                [LOG_LEVEL_WARNING] = "warning",
                                                [LOG_LEVEL_NOTICE] = "notice",
                                                [LOG_LEVEL_INFO] = "info",
                                                [LOG_LEVEL_DEBUG] = "debug"},
                                               {[LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json"},
                                               {[CONFIG_HOSTS_SEVERAL] = "several", [CONFIG_HOSTS_ONE] = "one"},
                                               {[LOG_TARGET_STDERR] = "stderr",
                                                [LOG_TARGET_JOURNAL] = "journal",
                                                [LOG_TARGET_SYSLOG] = "syslog"}};

static const char *const *words_of(enum config_value_kind kind)
{
    return words[kind - CONFIG_VALUE_LEVEL];
}

#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

bool config_value_is_text(enum config_value_kind kind)
{
    return kind <= CONFIG_VALUE_TOKEN;
}

bool config_value_is_secret(enum config_value_kind kind)
{
    return kind == CONFIG_VALUE_PASSWORD || kind == CONFIG_VALUE_TOKEN;
}

static bool is_alphanumeric(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Whether TEXT is letters, digits and characters of OTHERS. */
static bool is_made_of(struct str text, const char *others)
{
    for (size_t i = 0; i < text.len; i++)
        if (!is_alphanumeric(text.p[i]) && (text.p[i] == '\0' || !strchr(others, text.p[i])))
            return false;
    return true;
}

static bool is_socket(struct str text)
{
    const char *colon = memrchr(text.p, ':', text.len);
    struct str port;
    int64_t number;

    if (memchr(text.p, '/', text.len))
        return text.len <= SOCKET_PATH_MAX;
    if (!colon || colon == text.p)
        return false;
    port = (struct str){colon + 1, text.len - (size_t)(colon + 1 - text.p)};
    return is_made_of((struct str){text.p, (size_t)(colon - text.p)}, ".-[]:*") &&
           str_to_int64(port, &number) == ERR_OK && number >= 1 && number <= 65535;
}

static bool is_mode(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.p[i] < '0' || text.p[i] > '7')
            return false;
    return text.len == 3 || (text.len == 4 && text.p[0] == '0');
}

static bool is_mount(struct str text)
{
    return text.len == 0 ||
           (text.len > 1 && text.p[0] == '/' && text.p[text.len - 1] != '/' && is_made_of(text, "/-._~") &&
            !memmem(text.p, text.len, "//", 2) && !memmem(text.p, text.len, "/.", 2));
}

static bool is_url(struct str text, struct buf *why)
{
    static const char available[] = "redis://HOST:PORT, unix:///PATH or memory:";
    const char *colon = text.len ? memchr(text.p, ':', text.len) : NULL;
    struct str scheme = {text.p, colon ? (size_t)(colon - text.p) : 0};
    struct str rest = {text.p + scheme.len, text.len - scheme.len};

    if (str_equal(text, STR("memory:")))
        return true;
    if ((str_equal(scheme, STR("redis")) || str_equal(scheme, STR("unix"))) && str_starts(rest, STR("://")) &&
        rest.len > 3)
        return true;
    if (str_starts(rest, STR("://")) && scheme.len > 0 && is_made_of(scheme, "+-.") &&
        !str_equal(scheme, STR("redis")) && !str_equal(scheme, STR("unix")))
        buf_printf(why, "%s; `%.*s` is not available in this build", available, STR_ARG(scheme));
    else
        buf_add_str(why, str_from(available));
    return false;
}

/* Visible ASCII: what can stand in a header field without quotes. */
static bool is_token(struct str text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.p[i] <= ' ' || text.p[i] > '~')
            return false;
    return true;
}

/* Whether TEXT has the form of KIND; its length is known to be right. */
static bool has_form(enum config_value_kind kind, struct str text, struct buf *why)
{
    switch (kind) {
    case CONFIG_VALUE_SOCKET:
        buf_printf(why, "a path with a `/` in it of at most %d bytes, or host:port", SOCKET_PATH_MAX);
        return is_socket(text);
    case CONFIG_VALUE_MODE:
        buf_add_str(why, STR("octal permissions, as 0660"));
        return is_mode(text);
    case CONFIG_VALUE_MOUNT:
        buf_add_str(why,
                    STR("empty, or a path as /data: a `/` first and none at the end, of letters, digits and `-._~`"));
        return is_mount(text);
    case CONFIG_VALUE_URL:
        return is_url(text, why);
    case CONFIG_VALUE_PREFIX:
        buf_add_str(why, STR("letters, digits and any of `:._-{}`"));
        return is_made_of(text, ":._-{}");
    case CONFIG_VALUE_TOKEN:
        buf_add_str(why, STR("visible ASCII characters without blanks"));
        return is_token(text);
    default:
        return true;
    }
}

static enum err parse_text(const struct config_value_rule *rule, struct str text, char **field, struct buf *why)
{
    struct buf form = {0};
    bool secret = config_value_is_secret(rule->kind);
    enum err err = ERR_RANGE;

    if (secret && str_equal(text, STR(CONFIG_VALUE_HIDDEN)))
        buf_add_str(
            why, STR("the secret itself; " CONFIG_VALUE_HIDDEN " only stands for it where a configuration is shown"));
    else if (str_has_control(text) || !str_is_utf8(text))
        buf_add_str(why, STR("UTF-8 text without control characters"));
    else if (text.len < (size_t)rule->least && text.len == 0 && !secret)
        buf_add_str(why, STR("set; it cannot be empty"));
    else if ((text.len < (size_t)rule->least && text.len > 0) || text.len > (size_t)rule->most)
        buf_printf(why, "from %d to %d characters long", (int)rule->least, (int)rule->most);
    else if (!has_form(rule->kind, text.len > 0 ? text : STR(""), &form))
        buf_add_str(why, buf_str(&form));
    else
        err = ERR_OK;
    buf_free(&form);
    if (err == ERR_OK)
        *field = sys_copy(text);
    return err;
}

struct unit {
    const char *name;
    int64_t factor;
};

/* VALUE in the largest unit that leaves no rest. UNITS end with factor 1. */
static void print_quantity(int64_t value, const struct unit *units, struct buf *out)
{
    if (value == 0) {
        buf_add_char(out, '0');
        return;
    }
    while (value % units->factor != 0)
        units++;
    buf_printf(out, "%lld%s", (long long)(value / units->factor), units->name);
}

static void print_number(enum config_value_kind kind, int64_t value, struct buf *out)
{
    static const struct unit times[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    static const struct unit sizes[] = {{"G", INT64_C(1) << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}};

    if (kind == CONFIG_VALUE_DURATION)
        print_quantity(value, times, out);
    else if (kind == CONFIG_VALUE_SIZE)
        print_quantity(value, sizes, out);
    else
        buf_add_int64(out, value);
}

static enum err read_number(enum config_value_kind kind, struct str text, int64_t *out)
{
    uint64_t size;
    enum err err;

    if (kind == CONFIG_VALUE_DURATION)
        return str_to_duration_ms(text, out);
    if (kind != CONFIG_VALUE_SIZE)
        return str_to_int64(text, out);
    err = str_to_size(text, &size);
    if (err == ERR_OK && size > INT64_MAX)
        err = ERR_RANGE;
    if (err == ERR_OK)
        *out = (int64_t)size;
    return err;
}

static enum err parse_number(const struct config_value_rule *rule, struct str text, int64_t *out, struct buf *why)
{
    static const char *const nouns[] = {[CONFIG_VALUE_INTEGER] = "a whole number",
                                        [CONFIG_VALUE_PROCESSES] = "auto, or a whole number",
                                        [CONFIG_VALUE_DURATION] = "a duration, as 250ms, 30s, 5m or 1h,",
                                        [CONFIG_VALUE_SIZE] = "a size, as 512K, 64M or 2G,"};
    int64_t number;

    if (read_number(rule->kind, text, &number) == ERR_OK && number >= rule->least && number <= rule->most) {
        *out = number;
        return ERR_OK;
    }
    buf_printf(why, "%s from ", nouns[rule->kind]);
    print_number(rule->kind, rule->least, why);
    buf_add_str(why, STR(" to "));
    print_number(rule->kind, rule->most, why);
    return ERR_RANGE;
}

/* One process for each CPU, and two at least, so that one may die without a gap. */
static int64_t count_processes(const struct config_value_rule *rule)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);

    return cpus < 2 ? 2 : cpus > rule->most ? rule->most : cpus;
}

static enum err parse_word(const struct config_value_rule *rule, struct str text, unsigned *field, struct buf *why)
{
    const char *const *known = words_of(rule->kind);
    unsigned count = 0;

    for (; count < WORDS_MAX && known[count]; count++)
        if (str_equal(text, str_from(known[count]))) {
            *field = count;
            return ERR_OK;
        }
    for (unsigned i = 0; i < count; i++)
        buf_printf(why, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", known[i]);
    return ERR_RANGE;
}

enum err config_value_parse(const struct config_value_rule *rule, struct str text, void *field, struct buf *why)
{
    enum err err;

    switch (rule->kind) {
    case CONFIG_VALUE_PROCESSES:
        if (str_equal(text, STR("auto"))) {
            *(int64_t *)field = count_processes(rule);
            return ERR_OK;
        }
        return parse_number(rule, text, field, why);
    case CONFIG_VALUE_INTEGER:
    case CONFIG_VALUE_DURATION:
        return parse_number(rule, text, field, why);
    case CONFIG_VALUE_SIZE: {
        int64_t bytes;

        err = parse_number(rule, text, &bytes, why);
        if (err == ERR_OK)
            *(uint64_t *)field = (uint64_t)bytes;
        return err;
    }
    case CONFIG_VALUE_LEVEL:
    case CONFIG_VALUE_FORMAT:
    case CONFIG_VALUE_HOSTS:
    case CONFIG_VALUE_TARGET:
        return parse_word(rule, text, field, why);
    default:
        return parse_text(rule, text, field, why);
    }
}

/* Whatever stands before the last `@` may be a password, and is hidden. */
static void print_url(struct str url, struct buf *out)
{
    const char *slashes = memmem(url.p, url.len, "://", 3);
    const char *at = memrchr(url.p, '@', url.len);
    struct str rest = url;

    if (slashes && at > slashes) {
        buf_add(out, url.p, (size_t)(slashes + 3 - url.p));
        buf_add_str(out, STR(CONFIG_VALUE_HIDDEN));
        rest = (struct str){at, url.len - (size_t)(at - url.p)};
    }
    buf_add_str(out, rest);
}

void config_value_print(const struct config_value_rule *rule, const void *field, struct buf *out)
{
    struct str text = {NULL, 0};

    if (config_value_is_text(rule->kind))
        text = str_from(*(char *const *)field);
    switch (rule->kind) {
    case CONFIG_VALUE_INTEGER:
    case CONFIG_VALUE_PROCESSES:
    case CONFIG_VALUE_DURATION:
        print_number(rule->kind, *(const int64_t *)field, out);
        break;
    case CONFIG_VALUE_SIZE:
        print_number(rule->kind, (int64_t) * (const uint64_t *)field, out);
        break;
    case CONFIG_VALUE_LEVEL:
    case CONFIG_VALUE_FORMAT:
    case CONFIG_VALUE_HOSTS:
    case CONFIG_VALUE_TARGET:
        buf_add_str(out, str_from(words_of(rule->kind)[*(const unsigned *)field]));
        break;
    case CONFIG_VALUE_PASSWORD:
    case CONFIG_VALUE_TOKEN:
        buf_add_str(out, text.len > 0 ? STR(CONFIG_VALUE_HIDDEN) : STR(""));
        break;
    case CONFIG_VALUE_URL:
        print_url(text, out);
        break;
    default:
        buf_add_str(out, text);
    }
}

bool config_value_equal(const struct config_value_rule *rule, const void *a, const void *b)
{
    switch (rule->kind) {
    case CONFIG_VALUE_INTEGER:
    case CONFIG_VALUE_PROCESSES:
    case CONFIG_VALUE_DURATION:
        return *(const int64_t *)a == *(const int64_t *)b;
    case CONFIG_VALUE_SIZE:
        return *(const uint64_t *)a == *(const uint64_t *)b;
    case CONFIG_VALUE_LEVEL:
    case CONFIG_VALUE_FORMAT:
    case CONFIG_VALUE_HOSTS:
    case CONFIG_VALUE_TARGET:
        return *(const unsigned *)a == *(const unsigned *)b;
    default:
        return strcmp(*(char *const *)a, *(char *const *)b) == 0;
    }
}

/*
 * config: larder.conf and the environment, to struct config and back to text.
 *
 * Every setting stands once, in CONFIG_TABLE. Reading goes in three steps: the file, then the environment, which wins,
 * note for each setting its text and where it was given; then each text, or the default, is checked and set. So
 * whatever is wrong is reported in one run, with the place where a person has to change it.
 *
 * Invariant: a struct config that was given out satisfies every range of the table, and no secret is ever part of a
 * message or of what config_print writes.
 *
 * inih splits long lines, takes an indented line for more of the value above, and tells of the first mistake only; so
 * it is fed line by line, with what it would misread reported and left out.
 */
#include "config/config.h"

#include <assert.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sys.h"
#include "config/config_nearest.h"
#include "config/config_table.h"
#include "config/config_value.h"

struct setting {
    const char *section, *name, *fallback, *description;
    size_t offset; /* in struct config */
    struct config_value_rule rule;
};

#define CONFIG_ROW(section, name, member, kind, fallback, least, most, description)                                    \
    {#section,                                                                                                         \
     #name,                                                                                                            \
     fallback,                                                                                                         \
     description,                                                                                                      \
     offsetof(struct config, section.member),                                                                          \
     {CONFIG_VALUE_##kind, least, most}},
static const struct setting settings[] = {CONFIG_TABLE(CONFIG_ROW)};
#undef CONFIG_ROW

/* As the environment names them, but in lower case. */
#define CONFIG_VARIABLE(section, name, member, kind, fallback, least, most, description) #section "_" #name,
static const char *const variables[] = {CONFIG_TABLE(CONFIG_VARIABLE)};
#undef CONFIG_VARIABLE

enum { COUNT = sizeof(settings) / sizeof(*settings), FILE_MAX = 1 << 20, SECRET_FILE_MAX = 1 << 16, SHOWN = 60 };

#define FILE_SUFFIX "_file"

/* The text of a setting, and where it was given. */
struct given {
    char *text, *place;
    unsigned line; /* 0: PLACE is a variable */
};

/* What has been read, before it is checked. `files` are the `_file` variants of secrets. */
struct draft {
    struct report *report;
    struct given values[COUNT], files[COUNT];
    char *const *environment;
    /* of the file being read */
    const char *file;
    struct str rest;
    unsigned line;
    bool skip; /* in a section that was reported */
    struct config_boards boards;
    struct config_board *board; /* whose section it is in; NULL: none's */
};

static void keep(struct given *given, struct str text, struct str place, unsigned line)
{
    free(given->text);
    free(given->place);
    *given = (struct given){sys_copy(text), sys_copy(place), line};
}

static void forget(struct given *given)
{
    if (given->text)
        explicit_bzero(given->text, strlen(given->text));
    free(given->text);
    free(given->place);
    *given = (struct given){0};
}

/* The setting NAME of SECTION, or a secret's NAME_file; COUNT when there is none. */
static size_t find_setting(struct str section, struct str name, bool *is_file)
{
    struct str suffix = STR(FILE_SUFFIX);
    struct str stem = {name.p, name.len > suffix.len ? name.len - suffix.len : 0};
    bool suffixed = stem.len > 0 && str_equal((struct str){name.p + stem.len, suffix.len}, suffix);

    for (size_t i = 0; i < COUNT; i++) {
        if (!str_equal(section, str_from(settings[i].section)))
            continue;
        *is_file =
            suffixed && config_value_is_secret(settings[i].rule.kind) && str_equal(stem, str_from(settings[i].name));
        if (*is_file || str_equal(name, str_from(settings[i].name)))
            return i;
    }
    return COUNT;
}

static bool is_section(struct str name)
{
    for (size_t i = 0; i < COUNT; i++)
        if (str_equal(name, str_from(settings[i].section)))
            return true;
    return false;
}

static void refuse_section(struct draft *draft, struct str name)
{
    const char *sections[COUNT];
    const char *nearest;
    struct buf all = {0};

    for (size_t i = 0; i < COUNT; i++) {
        sections[i] = settings[i].section;
        if (i == 0 || strcmp(sections[i], sections[i - 1]) != 0)
            buf_printf(&all, "%s[%s]", i == 0 ? "" : " ", sections[i]);
    }
    nearest = config_nearest(name, sections, COUNT);
    if (nearest)
        report_add(draft->report, draft->file, draft->line, 0, "there is no section [%.*s]; did you mean [%s]?",
                   STR_ARG(name), nearest);
    else
        report_add(draft->report, draft->file, draft->line, 0, "there is no section [%.*s]; there are %s [board.NAME]",
                   STR_ARG(name), all.p);
    buf_free(&all);
}

static void refuse_setting(struct draft *draft, struct str section, struct str name)
{
    const char *names[COUNT];
    const char *nearest, *elsewhere = NULL;
    size_t count = 0;

    for (size_t i = 0; i < COUNT; i++) {
        if (str_equal(section, str_from(settings[i].section)))
            names[count++] = settings[i].name;
        else if (str_equal(name, str_from(settings[i].name)))
            elsewhere = settings[i].section;
    }
    nearest = config_nearest(name, names, count);
    if (elsewhere)
        report_add(draft->report, draft->file, draft->line, 0, "there is no `%.*s` in [%.*s]; it belongs into [%s]",
                   STR_ARG(name), STR_ARG(section), elsewhere);
    else if (nearest)
        report_add(draft->report, draft->file, draft->line, 0, "there is no `%.*s` in [%.*s]; did you mean `%s`?",
                   STR_ARG(name), STR_ARG(section), nearest);
    else
        report_add(draft->report, draft->file, draft->line, 0,
                   "there is no `%.*s` in [%.*s]; `larder check --print` shows all settings", STR_ARG(name),
                   STR_ARG(section));
}

/* What inih found: one setting. Never tells inih of a failure: all of them go to the report. */
static int take_setting(void *user, const char *section, const char *name, const char *value)
{
    struct draft *draft = user;
    struct given *given;
    bool is_file;
    size_t at;

    if (draft->skip)
        return 1;
    if (draft->board) {
        config_board_set(draft->board, str_from(name), str_from(value), draft->file, draft->line, draft->report);
        return 1;
    }
    at = find_setting(str_from(section), str_from(name), &is_file);
    if (section[0] == '\0') {
        report_add(draft->report, draft->file, draft->line, 0, "`%s` stands before the first [section]", name);
    } else if (at == COUNT) {
        refuse_setting(draft, str_from(section), str_from(name));
    } else {
        given = is_file ? &draft->files[at] : &draft->values[at];
        if (given->text)
            report_add(draft->report, draft->file, draft->line, 0, "`%s` in [%s] is set twice, first on line %u", name,
                       section, given->line);
        else
            keep(given, str_from(value), str_from(draft->file), draft->line);
    }
    return 1;
}

/* Writes the section that LINE begins for inih; gives the bytes written. */
static size_t pass_section(struct draft *draft, struct str line, char *out, size_t room)
{
    const char *end = memchr(line.p, ']', line.len);
    struct str name = {line.p + 1, end ? (size_t)(end - line.p) - 1 : 0};
    struct str behind = {end ? end + 1 : NULL, end ? line.len - name.len - 2 : 0};

    behind = str_trim(behind);
    draft->skip = true;
    draft->board = NULL;
    if (!end || (behind.len > 0 && behind.p[0] != ';' && behind.p[0] != '#')) {
        report_add(draft->report, draft->file, draft->line, 0, "a section is one name in brackets alone, as [server]");
        return 0;
    }
    if (config_board_is_section(name)) {
        draft->board = config_board_begin(&draft->boards, name, draft->file, draft->line, draft->report);
        draft->skip = !draft->board;
        /* inih cuts long names; which board it is, we know. */
        return (size_t)snprintf(out, room, "[board]");
    }
    if (!is_section(name)) {
        refuse_section(draft, name);
        return 0;
    }
    draft->skip = false;
    return (size_t)snprintf(out, room, "[%.*s]", STR_ARG(name));
}

/* Writes the setting that LINE gives, with the blanks around its sign that config_print writes too, or none. */
static size_t pass_setting(struct draft *draft, struct str line, char *out, size_t room)
{
    struct str name = line, value;
    bool apart;

    name.len = 0;
    while (name.len < line.len && !strchr("=:;", line.p[name.len]))
        name.len++;
    if (name.len == 0 || name.len == line.len || line.p[name.len] == ';') {
        report_add(draft->report, draft->file, draft->line, 0, "this is neither a [section] nor `setting = value`");
        return 0;
    }
    value = (struct str){name.p + name.len + 1, line.len - name.len - 1};
    /* A `;` is a comment only behind a blank, also right behind the sign. */
    apart = value.len > 0 && str_trim(value).p != value.p;
    name = str_trim(name);
    value = str_trim(value);
    if (name.len + value.len + 3 >= room) {
        report_add(draft->report, draft->file, draft->line, 0,
                   "a line may have %zu bytes; give a longer value in the environment, as LARDER_SECTION_SETTING",
                   room - 1);
        return 0;
    }
    return (size_t)snprintf(out, room, "%.*s =%s%.*s", STR_ARG(name), apart ? " " : "", STR_ARG(value));
}

/* Writes LINE, which has no blanks at its ends, as inih should see it. */
static size_t pass_line(struct draft *draft, struct str line, char *out, size_t room)
{
    if (line.len == 0 || line.p[0] == '#' || line.p[0] == ';')
        return 0;
    for (size_t i = 0; i < line.len; i++)
        if (line.p[i] != '\t' && str_has_control((struct str){&line.p[i], 1})) {
            report_add(draft->report, draft->file, draft->line, 0, "a control character has no place here");
            return 0;
        }
    if (!str_is_utf8(line)) {
        report_add(draft->report, draft->file, draft->line, 0, "this is not UTF-8; save the file as UTF-8");
        return 0;
    }
    return line.p[0] == '[' ? pass_section(draft, line, out, room) : pass_setting(draft, line, out, room);
}

/* Gives inih the next line, like fgets; an empty one in place of what it should not see. */
static char *feed(char *out, int size, void *stream)
{
    struct draft *draft = stream;
    struct str line;
    size_t len;

    if (draft->rest.len == 0)
        return NULL;
    line = str_cut(&draft->rest, '\n');
    draft->line++;
    if (line.len > 0 && line.p[line.len - 1] == '\r')
        line.len--;
    len = pass_line(draft, str_trim(line), out, (size_t)size - 1);
    out[len] = '\n';
    out[len + 1] = '\0';
    return out;
}

static void read_file(struct draft *draft, struct str text, const char *file)
{
    int failed;

    draft->file = file;
    draft->rest = str_starts(text, STR("\xef\xbb\xbf")) ? (struct str){text.p + 3, text.len - 3} : text;
    failed = ini_parse_stream(feed, draft, take_setting, draft);
    if (failed)
        report_add(draft->report, file, failed > 0 ? (unsigned)failed : 0, 0, "this line is not understood");
    config_board_finish(&draft->boards, file, draft->report);
}

static void refuse_variable(struct draft *draft, const char *variable, struct str lower)
{
    const char *nearest = config_nearest(lower, variables, COUNT);
    struct buf hint = {0};

    for (const char *p = nearest; p && *p; p++)
        buf_add_char(&hint, (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p));
    if (nearest)
        report_add(draft->report, variable, 0, 0, "there is no such setting; did you mean LARDER_%s?", hint.p);
    else
        report_add(draft->report, variable, 0, 0,
                   "there is no such setting; unset it (names are LARDER_SECTION_SETTING)");
    buf_free(&hint);
}

/* Takes one NAME=value of the environment. */
static void take_variable(struct draft *draft, struct str entry)
{
    struct str prefix = STR("LARDER_");
    struct str value = entry, name = str_cut(&value, '='), section, setting;
    char *variable;
    struct buf lower = {0};
    bool is_file = false;
    size_t at;

    if (!str_starts(name, prefix))
        return;
    for (size_t i = prefix.len; i < name.len; i++) /* a lower-case letter becomes `?`, which is in no name */
        buf_add_char(&lower, (char)(name.p[i] >= 'A' && name.p[i] <= 'Z'   ? name.p[i] - 'A' + 'a'
                                    : name.p[i] >= 'a' && name.p[i] <= 'z' ? '?'
                                                                           : name.p[i]));
    variable = sys_copy(name);
    setting = buf_str(&lower);
    section = str_cut(&setting, '_');
    at = find_setting(section, setting, &is_file);
    if (at < COUNT)
        keep(is_file ? &draft->files[at] : &draft->values[at], value, name, 0);
    else if (setting.len > 0) /* names of one word, as LARDER_CONFIG, are not meant as settings */
        refuse_variable(draft, variable, buf_str(&lower));
    free(variable);
    buf_free(&lower);
}

static struct str find_variable(char *const *environment, const char *name)
{
    for (; environment && *environment; environment++) {
        struct str value = str_from(*environment);

        if (str_equal(str_cut(&value, '='), str_from(name)))
            return value;
    }
    return (struct str){NULL, 0};
}

/* Reads the file that holds a secret; a relative one is one of systemd's credentials before it is a path. */
static enum err read_secret_file(const struct draft *draft, const char *path, struct buf *out)
{
    struct str credentials = find_variable(draft->environment, "CREDENTIALS_DIRECTORY");
    struct buf credential = {0};
    enum err err = ERR_NOT_FOUND;

    if (path[0] != '/' && credentials.len > 0) {
        buf_printf(&credential, "%.*s/%s", STR_ARG(credentials), path);
        err = sys_read_file(credential.p, SECRET_FILE_MAX, out);
        buf_free(&credential);
    }
    return err == ERR_NOT_FOUND ? sys_read_file(path, SECRET_FILE_MAX, out) : err;
}

/* Replaces what was given as NAME_file by the first line of that file. */
static bool load_secret(struct draft *draft, const struct setting *setting, struct given *given)
{
    struct buf bytes = {0};
    enum err err = read_secret_file(draft, given->text, &bytes);
    struct str rest = buf_str(&bytes);
    struct str secret = str_cut(&rest, '\n');
    char *text = NULL;

    if (secret.len > 0 && secret.p[secret.len - 1] == '\r')
        secret.len--;
    if (err)
        report_add(draft->report, given->place, given->line, 0, "`%s" FILE_SUFFIX "` in [%s]: %s cannot be read: %s%s",
                   setting->name, setting->section, given->text, err_text(err),
                   err == ERR_DENIED ? " to this user; run larder as root, or as the user that it serves as" : "");
    else if (secret.len == 0)
        report_add(draft->report, given->place, given->line, 0,
                   "`%s" FILE_SUFFIX "` in [%s]: the first line of %s is empty", setting->name, setting->section,
                   given->text);
    else
        text = sys_copy(secret);
    if (bytes.p)
        explicit_bzero(bytes.p, bytes.len);
    buf_free(&bytes);
    if (!text)
        return false;
    free(given->text);
    given->text = text;
    return true;
}

/* Which of a secret's two ways counts; NULL when neither was given or both were, which is reported. */
static struct given *choose(struct draft *draft, size_t at)
{
    struct given *value = &draft->values[at], *file = &draft->files[at];
    /* An empty path is the default, as in the sample: no file. */
    bool has_file = file->text && file->text[0] != '\0';

    if (!value->text || !has_file)
        return value->text ? value : has_file ? file : NULL;
    if ((value->line == 0) != (file->line == 0))
        return value->line == 0 ? value : file;
    report_add(draft->report, file->place, file->line, 0, "`%s` and `%s" FILE_SUFFIX "` in [%s] are both set; keep one",
               settings[at].name, settings[at].name, settings[at].section);
    return NULL;
}

static void apply(struct draft *draft, size_t at, struct config *config)
{
    const struct setting *setting = &settings[at];
    void *field = (char *)config + setting->offset;
    struct given *given = choose(draft, at);
    bool from_file = given == &draft->files[at];
    struct str text = given ? str_from(given->text) : str_from(setting->fallback);
    struct buf why = {0};

    if (given && from_file)
        text = load_secret(draft, setting, given) ? str_from(given->text) : str_from(setting->fallback);
    if (config_value_parse(&setting->rule, text, field, &why) == ERR_OK) {
        buf_free(&why);
        return;
    }
    assert(given);
    if (config_value_parse(&setting->rule, str_from(setting->fallback), field, &(struct buf){0}) != ERR_OK)
        abort(); /* the table is wrong */
    if (config_value_is_secret(setting->rule.kind) || setting->rule.kind == CONFIG_VALUE_URL || !str_is_utf8(text))
        report_add(draft->report, given->place, given->line, 0, "`%s%s` in [%s] must be %s", setting->name,
                   from_file ? FILE_SUFFIX : "", setting->section, why.p);
    else
        report_add(draft->report, given->place, given->line, 0, "`%s` in [%s] is `%.*s`; it must be %s", setting->name,
                   setting->section, SHOWN, given->text, why.p);
    buf_free(&why);
}

/* The defaults alone, for config_print to compare with. */
static struct config *make_default(void)
{
    struct config *config = sys_calloc(1, sizeof(*config));
    struct draft draft = {0};

    for (size_t i = 0; i < COUNT; i++)
        apply(&draft, i, config);
    return config;
}

enum err config_parse(struct str text, const char *file, char *const *environment, struct report *report,
                      struct config **out)
{
    size_t before = report_count(report);
    struct config *config = sys_calloc(1, sizeof(*config));
    struct draft draft = {.report = report, .environment = environment};

    read_file(&draft, text, file);
    for (char *const *entry = environment; entry && *entry; entry++)
        take_variable(&draft, str_from(*entry));
    for (size_t i = 0; i < COUNT; i++)
        apply(&draft, i, config);
    config->places = sys_calloc(COUNT, sizeof *config->places);
    for (size_t i = 0; i < COUNT; i++) {
        const struct given *given = draft.values[i].text ? &draft.values[i] : &draft.files[i];
        config->places[i] = (struct config_place){sys_copy(str_from(given->text ? given->place : file)), given->line};
        forget(&draft.values[i]);
        forget(&draft.files[i]);
    }
    config->boards = draft.boards;
    *out = config;
    return report_count(report) > before ? ERR_USAGE : ERR_OK;
}

enum err config_load(const char *path, struct report *report, struct config **out)
{
    struct buf text = {0};
    enum err err = ERR_OK;

    *out = NULL;
    if (path && path[0] != '\0')
        err = sys_read_file(path, FILE_MAX, &text);
    if (err) {
        report_add(report, path, 0, 0, "cannot be read: %s", err_text(err));
        err = ERR_USAGE;
    } else {
        err = config_parse(buf_str(&text), path ? path : "", environ, report, out);
        /* Whoever comes by a link has to find the same lock, writer and journal: SQLite resolves links as well. */
        (*out)->store.named = (*out)->store.database;
        (*out)->store.database = sys_resolve_path((*out)->store.named);
    }
    if (text.p)
        explicit_bzero(text.p, text.len);
    buf_free(&text);
    return err;
}

void config_free(struct config **config)
{
    if (!*config)
        return;
    for (size_t i = 0; i < COUNT; i++) {
        char **field = (char **)((char *)*config + settings[i].offset);

        if (!config_value_is_text(settings[i].rule.kind) || !*field)
            continue;
        explicit_bzero(*field, strlen(*field));
        free(*field);
    }
    for (size_t i = 0; (*config)->places && i < COUNT; i++)
        free((*config)->places[i].file);
    free((*config)->places);
    config_board_free(&(*config)->boards);
    free((*config)->store.named);
    free(*config);
    *config = NULL;
}

struct config_place config_place(const struct config *config, const void *field)
{
    for (size_t i = 0; config->places && i < COUNT; i++)
        if ((const char *)config + settings[i].offset == field)
            return config->places[i];
    return (struct config_place){0};
}

static void print_setting(const struct setting *setting, const void *field, const void *fallback, struct buf *out)
{
    bool changed = !config_value_equal(&setting->rule, field, fallback);
    const char *standard = setting->fallback[0] != '\0' ? setting->fallback : "empty";
    struct buf value = {0};

    buf_printf(out, "\n# %s\n", setting->description);
    if (changed) {
        config_value_print(&setting->rule, field, &value);
        /* Behind a blank a `;` would begin a comment. */
        buf_printf(out, "# Default: %s\n%s =%s%.*s\n", standard, setting->name,
                   value.len > 0 && value.p[0] == ';' ? "" : " ", STR_ARG(buf_str(&value)));
        buf_free(&value);
    } else {
        buf_printf(out, "#%s =%s%s\n", setting->name, setting->fallback[0] != '\0' ? " " : "", setting->fallback);
    }
    if (config_value_is_secret(setting->rule.kind))
        buf_printf(out,
                   "# Instead: a file with it in the first line; of systemd's credentials, or by its path.\n"
                   "#%s" FILE_SUFFIX " =\n",
                   setting->name);
}

void config_print(const struct config *config, struct buf *out)
{
    struct config *fallback = make_default(), shown = *config;

    if (shown.store.named)
        shown.store.database = shown.store.named;
    buf_add_str(
        out,
        STR("# larder.conf: what is commented out stands at its default. A comment behind a value begins with ` ;`.\n"
            "# The environment overrides it: LARDER_SECTION_SETTING, for example LARDER_SERVER_WORKERS=4.\n"));
    for (size_t i = 0; i < COUNT; i++) {
        if (i == 0 || strcmp(settings[i].section, settings[i - 1].section) != 0)
            buf_printf(out, "\n[%s]\n", settings[i].section);
        print_setting(&settings[i], (const char *)&shown + settings[i].offset,
                      (const char *)fallback + settings[i].offset, out);
    }
    config_board_print(&config->boards, out);
    config_free(&fallback);
}

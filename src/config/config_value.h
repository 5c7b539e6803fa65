/*
 * config_value: one setting's text to its field in struct config, and back. For config alone.
 */
#ifndef LARDER_CONFIG_VALUE_H
#define LARDER_CONFIG_VALUE_H

#include "base/str.h"

/* What is shown in place of a secret. */
#define CONFIG_VALUE_HIDDEN "********"

enum config_value_kind {
    CONFIG_VALUE_TEXT, /* char *, as are all up to TOKEN */
    CONFIG_VALUE_SOCKET,
    CONFIG_VALUE_MODE,
    CONFIG_VALUE_MOUNT,
    CONFIG_VALUE_URL,
    CONFIG_VALUE_PREFIX,
    CONFIG_VALUE_PASSWORD,
    CONFIG_VALUE_TOKEN,
    CONFIG_VALUE_INTEGER,   /* int64_t */
    CONFIG_VALUE_PROCESSES, /* int64_t; `auto` follows the CPUs */
    CONFIG_VALUE_DURATION,  /* int64_t, in ms */
    CONFIG_VALUE_SIZE,      /* uint64_t */
    CONFIG_VALUE_LEVEL,     /* enum log_level; this and those below are one of a few words */
    CONFIG_VALUE_FORMAT,    /* enum log_format */
    CONFIG_VALUE_HOSTS,     /* enum config_hosts */
    CONFIG_VALUE_TARGET     /* enum log_target */
};

struct config_value_rule {
    enum config_value_kind kind;
    int64_t least,
        most; /* of the number, or of the text's length; a text may be empty only when least is 0 or it is a secret */
};

/* Whether a field of KIND is a char * that its config owns. */
bool config_value_is_text(enum config_value_kind kind);
bool config_value_is_secret(enum config_value_kind kind);
/* Sets FIELD, whose former value is not freed. On ERR_RANGE WHY says what the value must be, as in "it must be ...",
 * and FIELD is as it was. */
enum err config_value_parse(const struct config_value_rule *rule, struct str text, void *field,
                            struct buf *why) ERR_CHECKED;
/* Appends FIELD as config_value_parse reads it; a secret, also one in a URL, as CONFIG_VALUE_HIDDEN. */
void config_value_print(const struct config_value_rule *rule, const void *field, struct buf *out);
bool config_value_equal(const struct config_value_rule *rule, const void *a, const void *b);

#endif

/*
 * config_nearest: what a person meant who wrote a name that is not there.
 */
#ifndef LARDER_CONFIG_NEAREST_H
#define LARDER_CONFIG_NEAREST_H

#include "base/str.h"

/* The one of COUNT WORDS that a person who wrote WORD most probably meant; NULL when none is near. */
const char *config_nearest(struct str word, const char *const *words, size_t count);

#endif

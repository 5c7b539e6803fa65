/*
 * l2_url: which L2 the configuration names. Pure.
 *
 *   redis://[user[:password]@]host[:port][/database]     port 6379 unless given; an IPv6 address stands in brackets
 *   unix://[user[:password]@]/path[?db=database]         also unix:/path
 *   memory:                                              also nothing at all
 *
 * User and password are percent-encoded, and so is a path.
 */
#ifndef LARDER_L2_URL_H
#define LARDER_L2_URL_H

#include "base/str.h"

enum l2_url_kind { L2_URL_MEMORY, L2_URL_TCP, L2_URL_UNIX };

struct l2_url {
    enum l2_url_kind kind;
    char *host;            /* L2_URL_TCP */
    int port;              /* L2_URL_TCP */
    char *path;            /* L2_URL_UNIX */
    char *user, *password; /* NULL where the URL does not say */
    int64_t database;      /* -1 where the URL does not say */
};

/* ERR_SYNTAX with a sentence in WHY that repeats nothing secret; *OUT then needs no fini. */
enum err l2_url_parse(struct str text, struct l2_url *out, struct buf *why) ERR_CHECKED;
void l2_url_fini(struct l2_url *url);
/* Appends the URL without user and password; DATABASE where the URL does not say. */
void l2_url_print(const struct l2_url *url, int64_t database, struct buf *out);

#endif

/*
 * catalog: the front matter of sql/resources (one .sql file each) to struct resource; the resource file.
 *
 * A catalogue is immutable once loaded; a reload makes a new one. It knows nothing of SQLite: statements are prepared
 * by `store`.
 */
#ifndef LARDER_CATALOG_H
#define LARDER_CATALOG_H

#include "base/report.h"
#include "config/params.h"

/* What the tag that every entry of a resource which follows its tables carries begins with; its name follows. */
#define CATALOG_RESOURCE_TAG "resource:"

enum catalog_shape { CATALOG_OBJECT, CATALOG_LIST, CATALOG_VALUE };
enum catalog_auth { CATALOG_AUTH_NONE, CATALOG_AUTH_KEY, CATALOG_AUTH_ADMIN };
enum catalog_write { CATALOG_WRITE_THROUGH, CATALOG_WRITE_BEHIND };

/* Who is asking and when: names that a statement may use like parameters. */
#define CATALOG_BUILTINS "larder_now", "larder_project", "larder_key_id", "larder_address"

/* Views lie in `storage`, or belong to `params`, `tags`, `tables` and `purge`. */
struct resource {
    size_t index;  /* of its statement in the catalogue: those of `warm` lines come behind all resources */
    char *storage; /* the file's name and text, each terminated by a NUL */
    struct str name, doc, file;
    unsigned sql_line;   /* line of FILE at which `sql` begins */
    unsigned sql_offset; /* bytes of that line before it */
    struct str sql;
    struct str method; /* "GET", "POST", "PUT", "PATCH" or "DELETE" */
    bool reading;      /* GET */
    struct str path;
    bool is_second; /* its route is an earlier one's, which has been reported */
    struct params_spec *params;
    size_t params_count;
    struct str key; /* template; empty only for writing resources */
    enum catalog_shape shape;
    int64_t ttl_ms, stale_ms, stale_if_error_ms, negative_ms, max_age_ms, timeout_ms; /* ttl 0: not cached */
    struct str *tags;
    size_t tags_count;
    /* What its answers depend on: the words of its `tables` line, where it has one (`none`: named, and none of them). */
    struct str *tables;
    size_t tables_count;
    bool tables_named;
    bool follows_tables; /* it is cached, and its entries go when a table that it depends on changes */
    struct str *purge; /* `tag:…`, `key:…`, `pattern:…` templates */
    size_t purge_count;
    enum catalog_write write;
    enum catalog_auth auth;
    struct str auth_scope; /* of key:SCOPE */
    struct str limit;
    struct str example; /* parameters of a request that could be made, as a query; empty without */
    bool uses_caller; /* reads larder_project, larder_key_id or larder_address: part of the key, private to shared
                         caches */
    /* What gives parameters to warm the cache with; NULL without. For store_rows alone: `index`, `storage` (borrowed),
     * `name`, `file`, `sql` and `timeout_ms` hold. */
    struct resource *warm;
};

struct catalog {
    struct resource *resources;
    size_t count;
};

/* Reads every .sql file of DIR/resources in order of names. Everything wrong goes to REPORT with file, line and column;
 * ERR_USAGE when anything was; *OUT then holds the resources that were understood, so that their SQL can be checked
 * too. A directory that is not there is reported too. Two files of one name or one route are wrong, and two whose keys
 * could be equal. */
enum err catalog_load(const char *dir, struct report *report, struct catalog **out) ERR_CHECKED;
void catalog_free(struct catalog **catalog);
/* Parses one resource file; for catalog_load and the fuzzer. All views of *OUT are owned by it: catalog_resource_fini.
 */
enum err catalog_parse(struct str text, const char *file, struct report *report, struct resource *out) ERR_CHECKED;
void catalog_resource_fini(struct resource *resource);
/* Where in its file a byte of RESOURCE's views (name, method, path, key, tags, purge, sql ...) stands; both from 1. */
void catalog_locate(const struct resource *resource, const char *at, unsigned *line, unsigned *column);
/* The longest time that an entry of any resource may live, for how long purges must be remembered. */
int64_t catalog_longest_life_ms(const struct catalog *catalog);

/* The front matter of an import file: `purge:`, and `name:` and `doc:` for people; it may be absent. The SQL follows.
 * Same ownership as catalog_parse. */
enum err catalog_parse_import(struct str text, const char *file, struct report *report,
                              struct resource *out) ERR_CHECKED;

#endif

/*
 * purged: the host's tables of what has been purged, in shared memory, and whether they are up to date.
 *
 * Every purge that reaches this host draws a number from one host-wide sequence (purged_now is the last one) and leaves
 * it in the tables. An entry in L1 carries the number that stood before its content was read from wherever it came, and
 * is valid only if nothing that covers it has drawn a later one. So whatever was read before a purge was applied here
 * can never be taken for newer, in whichever order the two arrive.
 *
 * Keys and tags share one table of PURGED_PLACES numbers, addressed by a hash of the name: names that fall on the same
 * place purge each other's entries besides, which costs a recomputation and nothing else; so the table never grows and
 * needs no lock. Patterns (bans) stand in a ring of PURGED_BANS; one that is overwritten by a newer one has become a
 * floor: whatever has not been checked against it by then is purged, hard or soft as it was.
 *
 * A purge is hard (gone) or soft (stale at once). All functions are safe from every process and thread of the host.
 */
#ifndef LARDER_PURGED_H
#define LARDER_PURGED_H

#include "base/str.h"

enum { PURGED_PLACES = 1 << 16, PURGED_BANS = 64, PURGED_PATTERN_MAX = 512, PURGED_TRUST_MS = 2000 };

struct purged;

enum purged_verdict { PURGED_NOT, PURGED_SOFT, PURGED_HARD };

/* TRUSTED: every purge there is goes through this host (`memory:`, or `[cache] hosts = one`), so the tables are always
 * up to date. Otherwise they are while somebody follows the log. ERR_FULL when there is no memory to share. */
enum err purged_new(bool trusted, struct purged **out) ERR_CHECKED;
void purged_free(struct purged **purged);

/* Drawn at random for these tables: their numbers mean nothing to any others. */
uint64_t purged_generation(const struct purged *purged);
/* The number of the last purge on this host; to be read before what is stamped with it. */
uint64_t purged_now(const struct purged *purged);
/* Where the purges of a key and of a tag stand; never equal by intent, only by chance. */
uint32_t purged_key_place(struct str key);
uint32_t purged_tag_place(struct str tag);

void purged_key(struct purged *purged, struct str key, bool soft);
void purged_tag(struct purged *purged, struct str tag, bool soft);
void purged_all(struct purged *purged, bool soft);
/* Every key that PATTERN (Redis's glob) matches. A longer pattern than PURGED_PATTERN_MAX purges everything. ID: of the
 * ban in L2, so that one that is told twice is kept once; 0 for none. */
void purged_pattern(struct purged *purged, struct str pattern, bool soft, uint64_t id);

/* Judges an entry filled at STAMP, by every purge that returned before this was called. PLACES: of its key and its
 * tags. *CHECKED is where its check against patterns got to (STAMP when it is new); it is moved on, and the caller
 * keeps it with the entry, and also that it was PURGED_SOFT once: a pattern that has been checked is not looked at
 * again. No system call, and no lock unless a pattern has been purged since *CHECKED. */
enum purged_verdict purged_judge(struct purged *purged, uint64_t stamp, uint64_t *checked, struct str key,
                                 const uint32_t *places, size_t places_count);

/* Whether the tables are up to date: somebody who follows the log said so less than PURGED_TRUST_MS ago. NOW:
 * monotonic. */
bool purged_current(const struct purged *purged, int64_t now_ms);
/* The follower's word that everything which was purged until NOW_MS (monotonic) is in the tables. */
void purged_confirm(struct purged *purged, int64_t now_ms);
/* The follower's, or about the follower: nobody knows what is purged now. */
void purged_suspect(struct purged *purged);

#endif

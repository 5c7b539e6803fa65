/*
 * receipt: receipts written and read, and the tables larder_journals and larder_failures read.
 *
 * A number belongs to the journal with the highest number that is not above it. What is above the position its journal
 * was applied to is accepted, or lost when another journal has taken that one's place; what is not has been applied,
 * unless it stands among the failures.
 *
 * Invariant: no statement outlives a question, so nobody is kept from checkpointing. It never writes. It refuses to
 * take a receipt's number at its word: without the right digits it was never given.
 */
#include "store/receipt.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdlib.h>

#include "base/sys.h"
#include "store/rows.h"
#include "store/writer_frame.h"

enum { MAC_DIGITS = 16, BUSY_TIMEOUT_MS = 1000 };

struct receipts {
    char *path;
    sqlite3 *db; /* NULL: to be opened by the next question */
    struct rows_file file;
};

static const char *const state_names[] = {
    [RECEIPT_ACCEPTED] = "accepted", [RECEIPT_APPLIED] = "applied",   [RECEIPT_LOST] = "lost",
    [RECEIPT_FAILED] = "failed",     [RECEIPT_REPEATED] = "repeated", [RECEIPT_DROPPED] = "dropped",
};

const char *receipt_state_name(enum receipt_state state)
{
    return state_names[state];
}

void receipt_write(const struct writer_position_journal *journal, uint64_t number, struct buf *out)
{
    uint64_t mac = sys_mac64(journal->secret, (struct str){(const char *)&number, sizeof number});

    buf_printf(out, "%" PRIu64 "-%016" PRIx64, number, mac);
}

uint64_t receipt_number(struct str receipt)
{
    struct str mac = receipt;
    struct str digits = str_cut(&mac, '-');
    int64_t number;

    if (mac.len != MAC_DIGITS || str_to_int64(digits, &number) != ERR_OK || number <= 0)
        return 0;
    for (size_t i = 0; i < mac.len; i++)
        if (!strchr("0123456789abcdef", mac.p[i]) || mac.p[i] == '\0')
            return 0;
    return (uint64_t)number;
}

struct receipts *receipt_open(const char *database)
{
    struct receipts *receipts = sys_calloc(1, sizeof *receipts);

    receipts->path = sys_copy(str_from(database));
    return receipts;
}

static void disconnect(struct receipts *receipts)
{
    sqlite3_close(receipts->db);
    receipts->db = NULL;
}

void receipt_close(struct receipts **receipts)
{
    if (!*receipts)
        return;
    disconnect(*receipts);
    free((*receipts)->path);
    free(*receipts);
    *receipts = NULL;
}

static enum err fail(struct receipts *receipts, struct buf *why)
{
    buf_printf(why, "%s cannot be asked for receipts: %s", receipts->path,
               receipts->db ? sqlite3_errmsg(receipts->db) : "it cannot be opened");
    disconnect(receipts);
    return ERR_UNAVAILABLE;
}

/* SQL prepared, on a connection to the file that stands at the path now. ERR_NOT_FOUND where there are no such tables
 * yet. */
static enum err prepare(struct receipts *receipts, const char *sql, sqlite3_stmt **out, struct buf *why)
{
    if (receipts->db && !rows_file_stands(receipts->path, &receipts->file))
        disconnect(receipts);
    if (!receipts->db) {
        if (rows_open(receipts->path, &receipts->db, &receipts->file) != ERR_OK)
            return fail(receipts, why);
        sqlite3_busy_timeout(receipts->db, BUSY_TIMEOUT_MS);
    }
    int code = sqlite3_prepare_v2(receipts->db, sql, -1, out, NULL);
    if (code == SQLITE_OK)
        return ERR_OK;
    if (code == SQLITE_ERROR && sqlite3_table_column_metadata(receipts->db, "main", "larder_failures", NULL, NULL, NULL,
                                                              NULL, NULL, NULL) == SQLITE_ERROR)
        return ERR_NOT_FOUND;
    return fail(receipts, why);
}

static struct str column(sqlite3_stmt *row, int place, struct arena *arena)
{
    const char *bytes = sqlite3_column_blob(row, place);

    return arena_copy(arena, (struct str){bytes, (size_t)sqlite3_column_bytes(row, place)});
}

/* The receipt of NUMBER by the column of ROW that has its journal's secret. */
static struct str write_for(sqlite3_stmt *row, int place, uint64_t number, struct arena *arena)
{
    struct writer_position_journal journal = {.number = 0};
    struct buf text = {0};

    if (sqlite3_column_bytes(row, place) != SYS_MAC_KEY_LEN)
        return STR("");
    memcpy(journal.secret, sqlite3_column_blob(row, place), SYS_MAC_KEY_LEN);
    receipt_write(&journal, number, &text);
    return arena_take_buf(arena, &text);
}

/* What a write was, by the frame of its request. */
static struct str label_of(sqlite3_stmt *row, int place, struct arena *arena)
{
    struct writer_frame_request *request = sys_calloc(1, sizeof *request);
    const char *bytes = sqlite3_column_blob(row, place);
    struct str frame = {bytes, (size_t)sqlite3_column_bytes(row, place)}, label = STR("");

    if (writer_frame_read_request(frame, request) == ERR_OK)
        label = arena_copy(arena, request->label);
    free(request);
    return label;
}

/* The columns of both questions, in this order. A write may have been repeated in another journal than its own. */
#define COLUMNS                                                                                                        \
    "j.secret, j.position, EXISTS (SELECT 1 FROM larder_journals WHERE number > j.number), f.id, f.state, "            \
    "f.at_ms, f.failed_ms, f.error, f.why, f.request, f.successor, (SELECT secret FROM larder_journals "               \
    "WHERE number < f.successor ORDER BY number DESC LIMIT 1)"
enum { SECRET, POSITION, REPLACED, ID, STATE, AT_MS, FAILED_MS, ERROR, WHY, REQUEST, SUCCESSOR, SUCCESSOR_SECRET };

static enum receipt_state state_of(struct str name)
{
    return str_equal(name, STR("failed"))     ? RECEIPT_FAILED
           : str_equal(name, STR("repeated")) ? RECEIPT_REPEATED
                                              : RECEIPT_DROPPED;
}

static void take_row(sqlite3_stmt *row, uint64_t number, struct arena *arena, struct receipt_status *out)
{
    *out = (struct receipt_status){.receipt = write_for(row, SECRET, number, arena), .number = number};
    if (sqlite3_column_type(row, ID) == SQLITE_NULL) {
        if (number <= (uint64_t)sqlite3_column_int64(row, POSITION))
            out->state = RECEIPT_APPLIED;
        else if (sqlite3_column_int(row, REPLACED))
            out->state = RECEIPT_LOST;
        return;
    }
    out->state = state_of(column(row, STATE, arena));
    out->accepted_ms = sqlite3_column_int64(row, AT_MS);
    out->failed_ms = sqlite3_column_int64(row, FAILED_MS);
    out->error = column(row, ERROR, arena);
    out->why = column(row, WHY, arena);
    out->label = label_of(row, REQUEST, arena);
    if (sqlite3_column_type(row, SUCCESSOR) != SQLITE_NULL)
        out->successor = write_for(row, SUCCESSOR_SECRET, (uint64_t)sqlite3_column_int64(row, SUCCESSOR), arena);
}

enum err receipt_find(struct receipts *receipts, struct str receipt, struct arena *arena, struct receipt_status *out,
                      struct buf *why)
{
    static const char sql[] =
        "SELECT " COLUMNS " FROM larder_journals AS j LEFT JOIN larder_failures AS f ON f.id = ?1 "
        "WHERE j.number < ?1 ORDER BY j.number DESC LIMIT 1";
    const uint64_t number = receipt_number(receipt);
    sqlite3_stmt *statement = NULL;

    if (number == 0)
        return ERR_NOT_FOUND;
    enum err err = prepare(receipts, sql, &statement, why);
    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)number);
    int code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        take_row(statement, number, arena, out);
    if (code == SQLITE_DONE || (code == SQLITE_ROW && !sys_secret_equal(out->receipt, receipt)))
        err = ERR_NOT_FOUND;
    sqlite3_finalize(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? err : fail(receipts, why);
}

enum err receipt_failed(struct receipts *receipts, uint64_t after, size_t max, struct arena *arena,
                        struct receipt_status **out, size_t *count, struct buf *why)
{
    static const char sql[] = "SELECT " COLUMNS " FROM larder_failures AS f JOIN larder_journals AS j ON j.number = "
                              "(SELECT max(number) FROM larder_journals WHERE number < f.id) "
                              "WHERE f.state = 'failed' AND f.id > ?1 ORDER BY f.id LIMIT ?2";
    struct receipt_status *rows = arena_calloc(arena, max, sizeof *rows);
    sqlite3_stmt *statement = NULL;
    size_t found = 0;
    int code;

    *count = 0;
    *out = rows;
    enum err err = rows ? prepare(receipts, sql, &statement, why) : ERR_LIMIT;
    if (err != ERR_OK)
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)after);
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)max);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW && found < max) {
        take_row(statement, (uint64_t)sqlite3_column_int64(statement, ID), arena, &rows[found]);
        found++;
    }
    sqlite3_finalize(statement);
    if (code != SQLITE_DONE)
        return fail(receipts, why);
    *count = found;
    return ERR_OK;
}

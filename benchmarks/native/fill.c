/*
 * The lower bound for filling a warehouse: copies rows into another warehouse of the same schema.
 *
 *     fill FROM TO [TABLE...]
 *
 * Prepared statements, 20 rows to a statement, which is a third faster than one row; 10,000 rows of
 * each table in turns per transaction, which is faster than 50,000, and than a table at a time, as
 * rows that belong together are close in the cache. Indices and triggers are active; nothing is
 * decoded, decided or joined. So no program that writes these rows through SQLite can be much
 * faster. TO has the schema, and rows only in tables that are not named. If none is named, all are
 * copied that have rows in FROM and none in TO, except `process_start_block`, which triggers write.
 * Prints the number of rows.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 10000, ROWS_PER_INSERT = 20, MOST_TABLES = 64 };

static void check(sqlite3 *db, int code, const char *what)
{
    if (code == SQLITE_OK || code == SQLITE_DONE || code == SQLITE_ROW)
        return;
    fprintf(stderr, "%s: %s\n", what, sqlite3_errmsg(db));
    exit(1);
}

static void run(sqlite3 *db, const char *sql)
{
    check(db, sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}

static int is_empty(sqlite3 *db, const char *table)
{
    char sql[256];
    sqlite3_stmt *any;
    snprintf(sql, sizeof sql, "select 1 from \"%s\" limit 1", table);
    check(db, sqlite3_prepare_v2(db, sql, -1, &any, NULL), sql);
    int empty = sqlite3_step(any) != SQLITE_ROW;
    sqlite3_finalize(any);
    return empty;
}

static long count(sqlite3 *db, const char *table)
{
    char sql[256];
    sqlite3_stmt *rows;
    snprintf(sql, sizeof sql, "select count(*) from \"%s\"", table);
    check(db, sqlite3_prepare_v2(db, sql, -1, &rows, NULL), sql);
    check(db, sqlite3_step(rows), sql);
    long counted = sqlite3_column_int64(rows, 0);
    sqlite3_finalize(rows);
    return counted;
}

/* A table that is being copied. */
struct copying {
    const char *table;
    sqlite3_stmt *in, *many, *one; /* insert ROWS_PER_INSERT rows, and one row */
    int columns;
    long left;
};

static sqlite3_stmt *insertion(sqlite3 *to, const char *into, int columns, int rows)
{
    static char sql[1 << 16];
    sqlite3_stmt *statement;
    int length = snprintf(sql, sizeof sql, "%s", into);
    for (int place = 0; place < rows * columns; place++) {
        const char *before = place % columns ? ", " : place ? "), (" : " (";
        length += snprintf(sql + length, sizeof sql - (size_t)length, "%s?", before);
    }
    snprintf(sql + length, sizeof sql - (size_t)length, ")");
    check(to, sqlite3_prepare_v2(to, sql, -1, &statement, NULL), sql);
    return statement;
}

static struct copying begin(sqlite3 *from, sqlite3 *to, const char *table)
{
    char sql[8192];
    struct copying copying = {.table = table};
    sqlite3_stmt *named; /* generated columns are not among these */
    const char *ask = "select group_concat('\"' || name || '\"', ', '), count(*)"
                      " from pragma_table_info(?)";
    check(from, sqlite3_prepare_v2(from, ask, -1, &named, NULL), ask);
    sqlite3_bind_text(named, 1, table, -1, SQLITE_STATIC);
    check(from, sqlite3_step(named), ask);
    const char *names = (const char *)sqlite3_column_text(named, 0);
    copying.columns = sqlite3_column_int(named, 1);
    snprintf(sql, sizeof sql, "select %s from \"%s\"", names, table);
    check(from, sqlite3_prepare_v2(from, sql, -1, &copying.in, NULL), sql);
    snprintf(sql, sizeof sql, "insert into \"%s\" (%s) values", table, names);
    copying.many = insertion(to, sql, copying.columns, ROWS_PER_INSERT);
    copying.one = insertion(to, sql, copying.columns, 1);
    copying.left = count(from, table);
    sqlite3_finalize(named);
    return copying;
}

static long copy_some(sqlite3 *to, struct copying *copying)
{
    long rows = 0;
    while (rows < BATCH && copying->left) {
        int some = copying->left < ROWS_PER_INSERT ? 1 : ROWS_PER_INSERT;
        sqlite3_stmt *out = some > 1 ? copying->many : copying->one;
        for (int place = 0; place < some * copying->columns; place++) {
            int column = place % copying->columns;
            if (column == 0)
                check(to, sqlite3_step(copying->in), copying->table);
            sqlite3_bind_value(out, place + 1, sqlite3_column_value(copying->in, column));
        }
        check(to, sqlite3_step(out), copying->table);
        sqlite3_reset(out);
        copying->left -= some;
        rows += some;
    }
    return rows;
}

/* Sums are made when the rows are there: until then every row would take them back. */
static int is_late(const char *table)
{
    return strncmp(table, "rollup", 6) == 0;
}

static long copy(sqlite3 *from, sqlite3 *to, char **tables, int found, int late)
{
    struct copying copying[MOST_TABLES];
    int chosen = 0;
    for (int table = 0; table < found; table++)
        if (is_late(tables[table]) == late)
            copying[chosen++] = begin(from, to, tables[table]);
    long rows = 0, some;
    do {
        some = 0;
        run(to, "begin immediate");
        for (int table = 0; table < chosen; table++)
            some += copy_some(to, &copying[table]);
        run(to, "commit");
        rows += some;
    } while (some);
    for (int table = 0; table < chosen; table++) {
        sqlite3_finalize(copying[table].in);
        sqlite3_finalize(copying[table].many);
        sqlite3_finalize(copying[table].one);
    }
    return rows;
}

int main(int count, char **arguments)
{
    if (count < 3) {
        fputs("usage: fill FROM TO [TABLE...]\n", stderr);
        return 2;
    }
    sqlite3 *from, *to;
    check(NULL, sqlite3_open_v2(arguments[1], &from, SQLITE_OPEN_READONLY, NULL), arguments[1]);
    check(NULL, sqlite3_open_v2(arguments[2], &to, SQLITE_OPEN_READWRITE, NULL), arguments[2]);
    run(to, "pragma journal_mode = wal; pragma synchronous = normal; pragma cache_size = -64000");
    char *tables[MOST_TABLES];
    int found = 0;
    for (int index = 3; index < count && found < MOST_TABLES; index++)
        tables[found++] = strdup(arguments[index]);
    if (!found) {
        sqlite3_stmt *list;
        const char *sql = "select name from sqlite_master"
                          " where type = 'table' and name not like 'sqlite\\_%' escape '\\'"
                          " and name <> 'process_start_block'";
        check(from, sqlite3_prepare_v2(from, sql, -1, &list, NULL), sql);
        while (sqlite3_step(list) == SQLITE_ROW && found < MOST_TABLES)
            if (is_empty(to, (const char *)sqlite3_column_text(list, 0)))
                tables[found++] = strdup((const char *)sqlite3_column_text(list, 0));
        sqlite3_finalize(list);
    }
    long rows = copy(from, to, tables, found, 0) + copy(from, to, tables, found, 1);
    for (int table = 0; table < found; table++)
        free(tables[table]);
    printf("%ld\n", rows);
    sqlite3_close(from);
    sqlite3_close(to);
    return 0;
}

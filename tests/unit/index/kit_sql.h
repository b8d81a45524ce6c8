/* A store's rows changed behind the index's back, by a test of damage. */
#ifndef TESTS_KIT_SQL_H
#define TESTS_KIT_SQL_H

#include "store_kit.h"

#include <sqlite3.h>

/* Runs text on the folder's store, which no index has open; returns how many rows its last statement changed. */
static inline int kit_sql(const char *dir, const char *text)
{
    sqlite3 *db;
    char path[300], *error = NULL;
    snprintf(path, sizeof path, "%s/store.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", text, error);
    const int n = sqlite3_changes(db);
    sqlite3_close(db);
    return n;
}

#endif

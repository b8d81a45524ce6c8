/* A thin layer over SQLite: prepared statements, binding by a format, error codes of ours.
 * Thread-safety: unsafe, as the connection. */
#ifndef INDEX_SQL_H
#define INDEX_SQL_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The LT_… code for a failed call on db, and a message that starts with what. */
int sql_error(sqlite3 *db, int rc, const char *what, struct err_msg *em);

/* Runs statements without results. */
int sql_exec(sqlite3 *db, const char *text, struct err_msg *em);
int sql_execf(sqlite3 *db, struct err_msg *em, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* *st is prepared from text unless it is already. */
int sql_prepare(sqlite3 *db, sqlite3_stmt **st, const char *text, struct err_msg *em);

/* Resets st and binds from the first parameter on, one letter each:
 * i: int64_t · f: double · t: const char *, size_t (NULL pointer: NULL) · b: const void *, size_t · n: NULL.
 * Texts and blobs are borrowed until the next reset. */
void sql_bind(sqlite3_stmt *st, const char *format, ...);

/* 1: a row; 0: done (st is reset); negative: an error (st is reset, em is set). */
int sql_step(sqlite3_stmt *st, struct err_msg *em);

/* Steps to the end; 0 or an error. */
int sql_run(sqlite3_stmt *st, struct err_msg *em);

/* One integer from a statement that is then reset; missing when there is no row or it is NULL. */
int sql_int(sqlite3_stmt *st, int64_t missing, int64_t *out, struct err_msg *em);

#endif

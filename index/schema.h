/* The store's tables (index/FORMAT.md says what each row means) and how a connection is set up. */
#ifndef INDEX_SCHEMA_H
#define INDEX_SCHEMA_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define SCHEMA_VERSION 4
#define SCHEMA_APPLICATION_ID 0x4c544e54 /* "LTNT" */

/* Makes a store's file, empty, where there is none: only its owner reads it, whatever the folder's mode is and the process's umask. Logs
 * take after it. Errors: LT_EINVAL (too long a path for SQLite). */
int schema_create_file(const char *path, struct err_msg *em);

/* The writing connection: creates or checks the tables, WAL, a sync before each commit returns.
 * Errors: LT_EVERSION (written by a newer version), LT_EFORMAT (another program's), LT_ECORRUPT … */
int schema_open_writer(sqlite3 **db, const char *path, const char *vfs, uint32_t kib, struct err_msg *em);
/* How much of the file a connection keeps in memory: words are merged in large transactions, whose pages come back again and again;
 * while graphs are made anew from the rows, which are read once each, hardly anything is worth keeping. */
#define SCHEMA_WRITER_KIB 65536u
#define SCHEMA_REFILL_KIB 4096u
#define SCHEMA_READER_KIB 32768u
int schema_cache(sqlite3 *db, uint32_t kib, struct err_msg *em);
/* A read-only connection that never checkpoints; kib 0: SCHEMA_READER_KIB. */
int schema_open_reader(sqlite3 **db, const char *path, const char *vfs, uint32_t kib, struct err_msg *em);

/* A collection's word index: words_ID, its view of the texts, and vocab_ID. In the open transaction. */
int schema_words_create(sqlite3 *db, int64_t coll, struct err_msg *em);
int schema_words_drop(sqlite3 *db, int64_t coll, struct err_msg *em);

#endif

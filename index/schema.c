#include "index/schema.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "index/sql.h"

/* With so many segments of a size FTS5 merges them all at once, whatever they take: for 16 of them, its own value, a disk that is nearly
 * full may have no room. Its other merges are in proportion to what is written, and come long before. */
#define WORDS_CRISIS 32

/* Ids of documents and chunks come from `counters`, not from SQLite, so that they are never reused and a
 * document's chunks are consecutive. A chunk's vseq: NULL without vector, 0 with one while its document
 * waits for others, else the operation that made it searchable. */
static const char tables[] =
    "CREATE TABLE counters(one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL,"
    " next_doc INTEGER NOT NULL, next_chunk INTEGER NOT NULL);"
    "INSERT INTO counters VALUES(1, 0, 1, 1);"
    "CREATE TABLE collections(coll INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
    " dim INTEGER NOT NULL, metric INTEGER NOT NULL, vectors_only INTEGER NOT NULL,"
    " temporary INTEGER NOT NULL, m INTEGER NOT NULL, ef_construction INTEGER NOT NULL,"
    " fingerprint TEXT NOT NULL, dropped INTEGER NOT NULL DEFAULT 0,"
    " accepted_seq INTEGER NOT NULL DEFAULT 0, documents INTEGER NOT NULL DEFAULT 0,"
    " chunks INTEGER NOT NULL DEFAULT 0, pending INTEGER NOT NULL DEFAULT 0,"
    " bytes INTEGER NOT NULL DEFAULT 0, codes INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX collections_name ON collections(name) WHERE dropped = 0;"
    "CREATE TABLE documents(doc INTEGER PRIMARY KEY, coll INTEGER NOT NULL, id TEXT NOT NULL,"
    " live INTEGER NOT NULL, seq INTEGER NOT NULL, job INTEGER NOT NULL,"
    " first_chunk INTEGER NOT NULL, n_chunks INTEGER NOT NULL, n_pending INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, metadata TEXT, title TEXT NOT NULL,"
    " source INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX documents_id ON documents(coll, id);"
    "CREATE INDEX documents_coll ON documents(coll, doc);"
    "CREATE INDEX documents_staged ON documents(coll, seq) WHERE live = 0;"
    "CREATE INDEX documents_job ON documents(job) WHERE live = 0;"
    "CREATE TABLE texts(doc INTEGER PRIMARY KEY, text BLOB NOT NULL);"
    "CREATE TABLE chunks(chunk INTEGER PRIMARY KEY, doc INTEGER NOT NULL, coll INTEGER NOT NULL,"
    " number INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, vseq INTEGER);"
    "CREATE INDEX chunks_pending ON chunks(chunk) WHERE vseq IS NULL;"
    "CREATE INDEX chunks_vseq ON chunks(coll, vseq) WHERE vseq > 0;"
    "CREATE TABLE vectors(chunk INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE vector_tails(chunk INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE removed(coll INTEGER NOT NULL, seq INTEGER NOT NULL, chunk INTEGER NOT NULL,"
    " PRIMARY KEY(coll, seq, chunk)) WITHOUT ROWID;"
    "CREATE TABLE jobs(job INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL,"
    " coll INTEGER NOT NULL, label TEXT NOT NULL, state INTEGER NOT NULL,"
    " accepted INTEGER NOT NULL DEFAULT 0, searchable INTEGER NOT NULL DEFAULT 0,"
    " failed INTEGER NOT NULL DEFAULT 0, total_documents INTEGER NOT NULL,"
    " total_bytes INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    " last_error TEXT NOT NULL DEFAULT '', received_bytes INTEGER NOT NULL DEFAULT 0);";

/* What turns a store of version 1 into one of version 2. */
static const char upgrade_2[] = "ALTER TABLE collections ADD COLUMN codes INTEGER NOT NULL DEFAULT 0";

/* Version 3: becoming live does not touch the index of ids, and a vector may be cut in two rows (index/vectors.h). */
static const char upgrade_3[] = "DROP INDEX documents_id; CREATE INDEX documents_id ON documents(coll, id);"
                                "CREATE TABLE vector_tails(chunk INTEGER PRIMARY KEY, data BLOB NOT NULL)";

/* Version 4: jobs count bytes. */
static const char upgrade_4[] = "ALTER TABLE documents ADD COLUMN source INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE jobs ADD COLUMN received_bytes INTEGER NOT NULL DEFAULT 0";

/* By the version that it starts from. */
static const char *const upgrades[SCHEMA_VERSION] = {[1] = upgrade_2, [2] = upgrade_3, [3] = upgrade_4};

static int pragma_int(sqlite3 *db, const char *text, int64_t *out, struct err_msg *em)
{
    sqlite3_stmt *st = NULL;
    int r = sql_prepare(db, &st, text, em);
    if (r == 0)
        r = sql_int(st, 0, out, em);
    sqlite3_finalize(st);
    return r;
}

/* SQLite's longest path, less what it puts behind the name of a log. */
#define DB_PATH_MAX 504

int schema_create_file(const char *path, struct err_msg *em)
{
    if (strlen(path) > DB_PATH_MAX)
        return err_set(em, LT_EINVAL, "%s: a path of %zu bytes, SQLite takes at most %d", path, strlen(path), DB_PATH_MAX);
    /* What is there already is not opened: closing it would end the locks of SQLite's other connections. Why it cannot be made SQLite
     * finds out as well, and says. */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0) {
        file_give(fd, path);
        close(fd);
    }
    return 0;
}

static int open_db(sqlite3 **db, const char *path, const char *vfs, int flags, struct err_msg *em)
{
    int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_NOMUTEX, vfs);
    if (rc != SQLITE_OK) {
        int r = sql_error(*db, rc, path, em);
        sqlite3_close(*db);
        *db = NULL;
        return r;
    }
    sqlite3_extended_result_codes(*db, 1);
    sqlite3_busy_timeout(*db, 5000);
    /* Bounds on what a damaged or forged store may ask for. */
    sqlite3_limit(*db, SQLITE_LIMIT_LENGTH, 256 << 20);
    sqlite3_limit(*db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(*db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return 0;
}

/* Reads only: what is refused stays as it is, which setting even a pragma that is set already would change. */
static int look(sqlite3 *db, const char *path, int64_t *version, int64_t *n_tables, struct err_msg *em)
{
    int64_t app = 0;
    int r;
    if ((r = pragma_int(db, "PRAGMA user_version", version, em)) < 0 ||
        (r = pragma_int(db, "PRAGMA application_id", &app, em)) < 0 ||
        (r = pragma_int(db, "SELECT count(*) FROM sqlite_schema", n_tables, em)) < 0)
        return r;
    if (*n_tables > 0 && app != SCHEMA_APPLICATION_ID)
        return err_set(em, LT_EFORMAT, "%s: a database, but not one of latentd's", path);
    if (*version > SCHEMA_VERSION)
        return err_set(em, LT_EVERSION, "%s: written by a newer latentd (store version %lld, known: %d)",
                       path, (long long)*version, SCHEMA_VERSION);
    return 0;
}

static int prepare_tables(sqlite3 *db, int64_t version, int64_t n_tables, struct err_msg *em)
{
    int r;
    if (n_tables > 0 && version == SCHEMA_VERSION)
        return 0;
    if ((r = sql_exec(db, "BEGIN IMMEDIATE", em)) < 0)
        return r;
    if (n_tables == 0)
        r = sql_exec(db, tables, em);
    for (; r == 0 && n_tables > 0 && version < SCHEMA_VERSION; version++)
        r = version < 1 ? err_set(em, LT_EFORMAT, "a store of version %lld", (long long)version) : sql_exec(db, upgrades[version], em);
    if (r < 0 ||
        (r = sql_execf(db, em, "PRAGMA application_id = %d; PRAGMA user_version = %d",
                       SCHEMA_APPLICATION_ID, SCHEMA_VERSION)) < 0 ||
        (r = sql_exec(db, "COMMIT", em)) < 0)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

int schema_cache(sqlite3 *db, uint32_t kib, struct err_msg *em)
{
    return sql_execf(db, em, "PRAGMA cache_size = -%u", kib);
}

int schema_open_writer(sqlite3 **db, const char *path, const char *vfs, uint32_t kib, struct err_msg *em)
{
    int64_t version = 0, n_tables = 0;
    int r = schema_create_file(path, em);
    if (r < 0 || (r = open_db(db, path, vfs, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, em)) < 0)
        return r;
    /* auto_vacuum counts only before the first table. Checkpoints are index_maintain's. */
    if ((r = look(*db, path, &version, &n_tables, em)) < 0 ||
        (r = sql_exec(*db,
                      "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
                      "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
                      "PRAGMA journal_size_limit = 8388608; PRAGMA temp_store = MEMORY",
                      em)) < 0 ||
        (r = schema_cache(*db, kib, em)) < 0 ||
        (r = prepare_tables(*db, version, n_tables, em)) < 0) {
        sqlite3_close(*db);
        *db = NULL;
    }
    return r;
}

int schema_open_reader(sqlite3 **db, const char *path, const char *vfs, uint32_t kib, struct err_msg *em)
{
    int r = open_db(db, path, vfs, SQLITE_OPEN_READONLY, em);
    if (r < 0)
        return r;
    if ((r = sql_exec(*db, "PRAGMA query_only = 1; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY", em)) < 0 ||
        (r = schema_cache(*db, kib ? kib : SCHEMA_READER_KIB, em)) < 0) {
        sqlite3_close(*db);
        *db = NULL;
    }
    return r;
}

int schema_words_create(sqlite3 *db, int64_t coll, struct err_msg *em)
{
    long long c = coll;
    return sql_execf(
        db, em,
        "CREATE VIEW texts_%lld AS SELECT c.chunk AS chunk, d.title AS title,"
        " CAST(substr(t.text, c.start + 1, c.end - c.start) AS TEXT) AS text FROM chunks c"
        " JOIN documents d ON d.doc = c.doc JOIN texts t ON t.doc = c.doc"
        " WHERE c.coll = %lld AND c.vseq > 0;"
        "CREATE VIRTUAL TABLE words_%lld USING fts5(title, text, content = 'texts_%lld',"
        " content_rowid = 'chunk', tokenize = 'porter unicode61 remove_diacritics 2');"
        "CREATE VIRTUAL TABLE vocab_%lld USING fts5vocab('words_%lld', 'row');"
        "INSERT INTO words_%lld(words_%lld, rank) VALUES('crisismerge', %d);",
        c, c, c, c, c, c, c, c, WORDS_CRISIS);
}

/* FTS5 does not open, and so not even drop, an index whose first records are damaged: its tables go without it. */
static int drop_damaged_words(sqlite3 *db, long long c, struct err_msg *em)
{
    static const char *const parts[] = {"data", "idx", "content", "docsize", "config"};
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 0, NULL);
    int r = sql_execf(db, em, "PRAGMA writable_schema = ON;"
                      "DELETE FROM sqlite_schema WHERE type = 'table' AND name IN ('vocab_%lld', 'words_%lld');"
                      "PRAGMA writable_schema = RESET", c, c);
    for (size_t i = 0; i < sizeof parts / sizeof *parts && r == 0; i++)
        r = sql_execf(db, em, "DROP TABLE IF EXISTS words_%lld_%s", c, parts[i]);
    sqlite3_exec(db, "PRAGMA writable_schema = OFF", NULL, NULL, NULL);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return r;
}

int schema_words_drop(sqlite3 *db, int64_t coll, struct err_msg *em)
{
    long long c = coll;
    int r = sql_execf(db, em, "DROP TABLE IF EXISTS vocab_%lld; DROP TABLE IF EXISTS words_%lld", c, c);
    if (r == LT_ECORRUPT || r == LT_EIO) /* its version is not known, say */
        r = drop_damaged_words(db, c, em);
    return r < 0 ? r : sql_execf(db, em, "DROP VIEW IF EXISTS texts_%lld", c);
}

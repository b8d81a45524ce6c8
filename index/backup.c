/* A copy of the store as it was at one moment, while a daemon goes on writing: a read transaction holds the moment, and SQLite copies its
 * pages. Meanwhile the daemon's log cannot be emptied, so it grows by what is written during the copy. Graphs are a cache and are not
 * copied. All of it is made in TO.part, which becomes TO when it is whole, checked and synced. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "index/index.h"
#include "index/schema.h"
#include "index/sql.h"

#define PAGES_A_STEP 4096
#define KEY_FILE_MAX (1u << 20)
#define PATH_SIZE 4096

/* Secrets among them, so they are mode 0600 as they were. */
static const char *const key_files[] = {"server_key", "authorized_keys"};

static int join(char out[static PATH_SIZE], const char *dir, const char *name, struct err_msg *em)
{
    return snprintf(out, PATH_SIZE, "%s/%s", dir, name) < PATH_SIZE ? 0 : err_set(em, LT_ELIMIT, "%.200s…: the path is too long", dir);
}

/* What an earlier copy left, or this one. */
static void remove_part(const char *part)
{
    static const char *const names[] = {"store.db", "store.db-journal", "store.db-wal", "store.db-shm", "server_key", "authorized_keys",
                                        "server_key.tmp", "authorized_keys.tmp"};
    char path[PATH_SIZE];
    struct err_msg em;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (join(path, part, names[i], &em) == 0)
            unlink(path);
    rmdir(part);
}

static int check_room(sqlite3 *db, const char *part, uint64_t *bytes, struct err_msg *em)
{
    int64_t pages = 0, size = 0;
    sqlite3_stmt *st = NULL;
    struct statvfs fs;
    int r = sql_prepare(db, &st, "SELECT p.page_count, s.page_size FROM pragma_page_count p, pragma_page_size s", em);
    if (r == 0 && (r = sql_step(st, em)) > 0) {
        pages = sqlite3_column_int64(st, 0);
        size = sqlite3_column_int64(st, 1);
        r = 0;
    }
    sqlite3_finalize(st);
    *bytes = (uint64_t)pages * (uint64_t)size;
    if (r == 0 && statvfs(part, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < *bytes)
        r = err_set(em, LT_ENOSPC, "%.300s: no space left (%llu bytes free, %llu needed)", part,
                    (unsigned long long)fs.f_bavail * fs.f_frsize, (unsigned long long)*bytes);
    return r;
}

static int copy_pages(sqlite3 *from, sqlite3 *to, const struct index_backup *p, struct err_msg *em)
{
    int rc;
    sqlite3_backup *b = sqlite3_backup_init(to, "main", from, "main");
    if (!b)
        return sql_error(to, sqlite3_extended_errcode(to), p->to, em);
    while ((rc = sqlite3_backup_step(b, PAGES_A_STEP)) == SQLITE_OK) {
        uint64_t total = (uint64_t)sqlite3_backup_pagecount(b);
        if (p->progress && total)
            p->progress(p->arg, (double)(total - (uint64_t)sqlite3_backup_remaining(b)) / (double)total);
    }
    sqlite3_backup_finish(b);
    return rc == SQLITE_DONE ? 0 : sql_error(to, rc, p->to, em);
}

/* The copy is sound by SQLite's own check, and how much is in it. */
static int check_copy(sqlite3 *db, struct index_backup_report *out, struct err_msg *em)
{
    sqlite3_stmt *st = NULL;
    sqlite3_drop_modules(db, NULL); /* words can be made anew: see check_sqlite */
    int r = sql_prepare(db, &st, "PRAGMA integrity_check(1)", em);
    if (r == 0 && (r = sql_step(st, em)) > 0) {
        const char *said = (const char *)sqlite3_column_text(st, 0);
        r = said && strcmp(said, "ok") == 0 ? 0 : err_set(em, LT_ECORRUPT, "the store is damaged: %.200s", said ? said : "no answer");
    }
    sqlite3_finalize(st);
    st = NULL;
    if (r == 0)
        r = sql_prepare(db, &st, "SELECT count(*), coalesce(sum(documents), 0), coalesce(sum(pending), 0) FROM collections WHERE dropped = 0", em);
    if (r == 0 && (r = sql_step(st, em)) > 0) {
        out->n_collections = (uint64_t)sqlite3_column_int64(st, 0);
        out->n_documents = (uint64_t)sqlite3_column_int64(st, 1);
        out->n_pending = (uint64_t)sqlite3_column_int64(st, 2);
        r = 0;
    }
    sqlite3_finalize(st);
    return r;
}

static int copy_store(const struct index_backup *p, const char *part, struct index_backup_report *out, struct err_msg *em)
{
    char source[PATH_SIZE], copy[PATH_SIZE];
    sqlite3 *from = NULL, *to = NULL;
    int64_t ours = 0;
    sqlite3_stmt *st = NULL;
    int r = join(source, p->dir, "store.db", em), rc;
    if (r == 0)
        r = join(copy, part, "store.db", em);
    if (r == 0 && access(source, F_OK) < 0)
        r = err_set(em, err_from_errno(errno), "%.300s: %s", source, strerror(errno));
    if (r < 0 || (r = schema_open_reader(&from, source, NULL, 0, em)) < 0)
        return r;
    if ((r = sql_prepare(from, &st, "PRAGMA application_id", em)) == 0)
        r = sql_int(st, 0, &ours, em);
    sqlite3_finalize(st);
    if (r == 0 && ours != SCHEMA_APPLICATION_ID)
        r = err_set(em, LT_EFORMAT, "%.300s: not a store of latentd's", source);
    /* The first read begins the moment. */
    if (r == 0 && (r = sql_exec(from, "BEGIN; SELECT one FROM counters", em)) == 0)
        r = check_room(from, part, &out->bytes, em);
    if (r == 0)
        r = schema_create_file(copy, em);
    if (r == 0 && (rc = sqlite3_open(copy, &to)) != SQLITE_OK)
        r = sql_error(to, rc, copy, em);
    if (r == 0 && (r = copy_pages(from, to, p, em)) == 0)
        r = check_copy(to, out, em);
    /* The last connection empties the log that the copy's check began, and takes it away. */
    if ((rc = sqlite3_close(to)) != SQLITE_OK && r == 0)
        r = sql_error(to, rc, copy, em);
    sqlite3_close(from);
    return r;
}

static int copy_keys(const struct index_backup *p, const char *part, struct err_msg *em)
{
    int r = 0;
    for (size_t i = 0; i < sizeof key_files / sizeof *key_files && r == 0; i++) {
        char source[PATH_SIZE], copy[PATH_SIZE], *data = NULL;
        size_t len = 0;
        if ((r = join(source, p->dir, key_files[i], em)) < 0 || (r = join(copy, part, key_files[i], em)) < 0)
            return r;
        r = file_read(source, KEY_FILE_MAX, &data, &len, em);
        if (r == 0) {
            r = file_replace(copy, data, len, 0600, em);
            explicit_bzero(data, len);
        } else if (r == LT_ENOTFOUND) {
            r = 0;
        }
        free(data);
    }
    return r;
}

static int sync_file(const char *part, const char *name, struct err_msg *em)
{
    char path[PATH_SIZE];
    int r = join(path, part, name, em);
    int fd = r == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (r == 0 && (fd < 0 || fsync(fd) < 0))
        r = err_set(em, err_from_errno(errno), "%.300s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return r;
}

int index_backup(const struct index_backup *p, struct index_backup_report *out, struct err_msg *em)
{
    char part[PATH_SIZE];
    size_t len = strlen(p->to);
    struct stat st;
    *out = (struct index_backup_report){0};
    while (len > 1 && p->to[len - 1] == '/')
        len--;
    if (!len || len + sizeof ".part" > sizeof part)
        return err_set(em, LT_EINVAL, "no folder to copy to, or too long a path");
    if (lstat(p->to, &st) == 0)
        return err_set(em, LT_EEXIST, "%.300s is there already", p->to);
    snprintf(part, sizeof part, "%.*s.part", (int)len, p->to);
    remove_part(part);
    if (mkdir(part, 0700) < 0)
        return err_set(em, err_from_errno(errno), "%.300s: %s", part, strerror(errno));
    int r = copy_store(p, part, out, em);
    if (r == 0)
        r = copy_keys(p, part, em);
    if (r == 0)
        r = sync_file(part, "store.db", em);
    if (r == 0)
        r = sync_file(part, ".", em);
    if (r == 0 && rename(part, p->to) < 0)
        r = err_set(em, err_from_errno(errno), "%.300s: %s", p->to, strerror(errno));
    if (r < 0) {
        remove_part(part);
        return r;
    }
    char to[PATH_SIZE];
    snprintf(to, sizeof to, "%.*s", (int)len, p->to);
    return (r = file_sync_parent(to)) < 0 ? err_set(em, r, "%.300s: its folder cannot be synced: %s", to, err_text(r)) : 0;
}

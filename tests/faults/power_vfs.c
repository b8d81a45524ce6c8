#include "tests/faults/power_vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 8

/* What a range held before a write, or how long the file was before it grew or shrank. */
struct undo {
    struct undo *next; /* older */
    sqlite3_int64 at, size;
    int len;
    unsigned char old[];
};

struct watched {
    char path[512];
    bool wal;
    struct undo *undo; /* newest first; since the last sync */
    size_t n_undo;
};

struct power_file {
    sqlite3_file base;
    struct watched *w; /* NULL: not a database or log */
    sqlite3_file real[];
};

static struct watched files[FILES_MAX];
static int n_files;
static size_t n_syncs;
static sqlite3_vfs vfs;

static sqlite3_file *real(sqlite3_file *f)
{
    return ((struct power_file *)f)->real;
}

static void forget(struct watched *w)
{
    while (w->undo) {
        struct undo *u = w->undo;
        w->undo = u->next;
        free(u);
    }
    w->n_undo = 0;
}

/* Keeps the bytes [at, at + len) as they are now. */
static void remember(sqlite3_file *f, sqlite3_int64 at, sqlite3_int64 len)
{
    struct watched *w = ((struct power_file *)f)->w;
    sqlite3_int64 size = 0;
    if (!w)
        return;
    real(f)->pMethods->xFileSize(real(f), &size);
    sqlite3_int64 n = at >= size ? 0 : at + len > size ? size - at : len;
    struct undo *u = malloc(sizeof *u + (size_t)n);
    if (!u)
        abort();
    *u = (struct undo){w->undo, at, size, (int)n};
    if (n && real(f)->pMethods->xRead(real(f), u->old, (int)n, at) != SQLITE_OK)
        abort();
    w->undo = u;
    w->n_undo++;
}

static int p_close(sqlite3_file *f)
{
    return real(f)->pMethods ? real(f)->pMethods->xClose(real(f)) : SQLITE_OK;
}

static int p_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), p, n, at);
}

static int p_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    remember(f, at, n);
    return real(f)->pMethods->xWrite(real(f), p, n, at);
}

static int p_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    sqlite3_int64 now = 0;
    real(f)->pMethods->xFileSize(real(f), &now);
    if (now > size)
        remember(f, size, now - size);
    return real(f)->pMethods->xTruncate(real(f), size);
}

static int p_sync(sqlite3_file *f, int flags)
{
    int rc = real(f)->pMethods->xSync(real(f), flags);
    n_syncs++;
    if (rc == SQLITE_OK && ((struct power_file *)f)->w)
        forget(((struct power_file *)f)->w);
    return rc;
}

static int p_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return real(f)->pMethods->xFileSize(real(f), size);
}

static int p_lock(sqlite3_file *f, int how)
{
    return real(f)->pMethods->xLock(real(f), how);
}

static int p_unlock(sqlite3_file *f, int how)
{
    return real(f)->pMethods->xUnlock(real(f), how);
}

static int p_reserved(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}

static int p_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}

static int p_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}

static int p_traits(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}

static int p_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}

static int p_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), at, n, flags);
}

static void p_shm_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}

static int p_shm_unmap(sqlite3_file *f, int del)
{
    return real(f)->pMethods->xShmUnmap(real(f), del);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, .xClose = p_close, .xRead = p_read, .xWrite = p_write, .xTruncate = p_truncate, .xSync = p_sync,
    .xFileSize = p_size, .xLock = p_lock, .xUnlock = p_unlock, .xCheckReservedLock = p_reserved,
    .xFileControl = p_control, .xSectorSize = p_sector, .xDeviceCharacteristics = p_traits, .xShmMap = p_shm_map,
    .xShmLock = p_shm_lock, .xShmBarrier = p_shm_barrier, .xShmUnmap = p_shm_unmap,
};

static struct watched *watch(const char *path, bool wal)
{
    for (int i = 0; i < n_files; i++)
        if (strcmp(files[i].path, path) == 0)
            return &files[i];
    if (n_files == FILES_MAX || strlen(path) >= sizeof files[0].path)
        abort();
    struct watched *w = &files[n_files++];
    strcpy(w->path, path);
    w->wal = wal;
    return w;
}

static int p_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    sqlite3_vfs *under = v->pAppData;
    struct power_file *p = (struct power_file *)f;
    p->w = NULL;
    int rc = under->xOpen(under, name, p->real, flags, out);
    p->base.pMethods = p->real->pMethods ? &methods : NULL;
    if (rc == SQLITE_OK && name && (flags & SQLITE_OPEN_READWRITE) && (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
        p->w = watch(name, flags & SQLITE_OPEN_WAL);
    return rc;
}

int power_vfs_register(void)
{
    sqlite3_vfs *under = sqlite3_vfs_find(NULL);
    vfs = *under;
    vfs.zName = POWER_VFS;
    vfs.szOsFile = (int)sizeof(struct power_file) + under->szOsFile;
    vfs.pAppData = under;
    vfs.pNext = NULL;
    vfs.xOpen = p_open;
    return sqlite3_vfs_register(&vfs, 0);
}

size_t power_vfs_unsynced(void)
{
    size_t n = 0;
    for (int i = 0; i < n_files; i++)
        n += files[i].wal ? files[i].n_undo : 0;
    return n;
}

size_t power_vfs_syncs(void)
{
    return n_syncs;
}

/* The file's bytes with everything since its last sync undone, newest first. */
static void write_synced(const struct watched *w, const char *to)
{
    char path[700];
    const char *name = strrchr(w->path, '/');
    size_t len = 0, cap = 0;
    unsigned char *data = NULL;
    FILE *f = fopen(w->path, "rb");
    if (!f)
        return; /* not there: nothing to find after the failure either */
    for (;;) {
        if (len == cap && !(data = realloc(data, cap = cap ? 2 * cap : 1 << 16)))
            abort();
        size_t n = fread(data + len, 1, cap - len, f);
        if (!n)
            break;
        len += n;
    }
    fclose(f);
    for (const struct undo *u = w->undo; u; u = u->next) {
        while ((size_t)u->size > cap)
            if (!(data = realloc(data, cap *= 2)))
                abort();
        if ((size_t)u->size > len)
            memset(data + len, 0, (size_t)u->size - len);
        len = (size_t)u->size;
        memcpy(data + u->at * (u->len > 0), u->old, (size_t)u->len);
    }
    snprintf(path, sizeof path, "%s%s", to, name);
    f = fopen(path, "wb");
    if (!f || fwrite(data, 1, len, f) != len || fclose(f) != 0)
        abort();
    free(data);
}

void power_vfs_fail(const char *to)
{
    for (int i = 0; i < n_files; i++)
        write_synced(&files[i], to);
}

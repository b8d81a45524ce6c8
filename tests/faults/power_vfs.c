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
    int len;  /* of what it held: less than was written at the end of the file */
    int n;    /* bytes written; 0: cut to `at` */
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
static size_t fail_in; /* syncs from now; 0: never */
static const char *fail_to;
static uint64_t fail_seed;
static bool failed;
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

/* Keeps the bytes [at, at + len) as they are now, before a write there or, cut, before the file ends at `at`. */
static void remember(sqlite3_file *f, sqlite3_int64 at, sqlite3_int64 len, bool cut)
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
    *u = (struct undo){w->undo, at, size, (int)n, cut ? 0 : (int)len};
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
    remember(f, at, n, false);
    return real(f)->pMethods->xWrite(real(f), p, n, at);
}

static int p_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    sqlite3_int64 now = 0;
    real(f)->pMethods->xFileSize(real(f), &now);
    if (now > size)
        remember(f, size, now - size, true);
    return real(f)->pMethods->xTruncate(real(f), size);
}

static void copy_all(const char *to, uint64_t *seed);

static int p_sync(sqlite3_file *f, int flags)
{
    if (fail_in && --fail_in == 0) {
        copy_all(fail_to, &fail_seed);
        failed = true;
    }
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

struct image {
    unsigned char *data;
    size_t len, cap;
};

static void need(struct image *m, size_t cap)
{
    while (cap > m->cap)
        if (!(m->data = realloc(m->data, m->cap = m->cap ? 2 * m->cap : 1 << 16)))
            abort();
}

static void set_len(struct image *m, size_t len)
{
    need(m, len);
    if (len > m->len)
        memset(m->data + m->len, 0, len - m->len);
    m->len = len;
}

/* A write that was taken back, to be made again or not. */
struct redo {
    struct redo *next; /* newer */
    size_t at;
    int n;
    unsigned char data[];
};

/* Takes back what u did; what it was goes before `newer`. */
static struct redo *take_back(struct image *m, const struct undo *u, struct redo *newer)
{
    struct redo *r = malloc(sizeof *r + (size_t)u->n);
    if (!r)
        abort();
    *r = (struct redo){newer, (size_t)u->at, u->n};
    memcpy(r->data, m->data + u->at * (u->n > 0), (size_t)u->n);
    set_len(m, (size_t)u->size);
    memcpy(m->data + u->at * (u->len > 0), u->old, (size_t)u->len);
    return r;
}

static void make_again(struct image *m, const struct redo *r)
{
    if (!r->n) {
        m->len = r->at < m->len ? r->at : m->len;
        return;
    }
    if (r->at + (size_t)r->n > m->len)
        set_len(m, r->at + (size_t)r->n);
    memcpy(m->data + r->at, r->data, (size_t)r->n);
}

static uint64_t next(uint64_t *s)
{
    uint64_t z = (*s += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    return z ^ z >> 29;
}

/* The file's bytes with everything since its last sync undone, newest first; with a seed, some of it done again. */
static void copy_file(const struct watched *w, const char *to, uint64_t *seed)
{
    char path[700];
    struct image m = {0};
    struct redo *all = NULL;
    const char *name = strrchr(w->path, '/');
    FILE *f = fopen(w->path, "rb");
    if (!f)
        return; /* not there: nothing to find after the failure either */
    for (size_t n = 1; n;) {
        need(&m, m.len + 1);
        m.len += n = fread(m.data + m.len, 1, m.cap - m.len, f);
    }
    fclose(f);
    for (const struct undo *u = w->undo; u; u = u->next)
        all = take_back(&m, u, all);
    const unsigned share = seed ? next(seed) % 5 : 0; /* quarters of the writes: none to all */
    while (all) {
        struct redo *r = all;
        all = r->next;
        if (seed && next(seed) % 4 < share)
            make_again(&m, r);
        free(r);
    }
    snprintf(path, sizeof path, "%s%s", to, name);
    f = fopen(path, "wb");
    if (!f || fwrite(m.data, 1, m.len, f) != m.len || fclose(f) != 0)
        abort();
    free(m.data);
}

static void copy_all(const char *to, uint64_t *seed)
{
    for (int i = 0; i < n_files; i++)
        copy_file(&files[i], to, seed);
}

void power_vfs_fail(const char *to)
{
    copy_all(to, NULL);
}

void power_vfs_fail_before(size_t n, const char *to, uint64_t seed)
{
    fail_in = n;
    fail_to = to;
    fail_seed = seed;
    failed = false;
}

bool power_vfs_failed(void)
{
    return failed;
}

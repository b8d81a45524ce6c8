/* Opening, closing and the state of the whole data folder. */
#include "index/index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/lock_text.h"
#include "base/log.h"
#include "index/log_check.h"
#include "index/schema.h"
#include "index/segment.h"
#include "index/store.h"

static const char *const stmt_text[] = {
#define S(name, text) text,
#include "index/store_sql.h"
#undef S
};

sqlite3_stmt *store_stmt(struct index *ix, enum store_stmt id, struct err_msg *em)
{
    return sql_prepare(ix->db, &ix->stmt[id], stmt_text[id], em) < 0 ? NULL : ix->stmt[id];
}

/* The lock is the kernel's, so that it goes with the process; the pid in the file is for the message. */
static int take_lock(const char *dir, int *fd, struct err_msg *em)
{
    char path[3200], text[LOCK_TEXT_MAX];
    struct lock_text holder = {0};
    snprintf(path, sizeof path, "%s/lock", dir);
    int lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    file_give(lock, path);
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        int e = errno;
        ssize_t n = e == EWOULDBLOCK ? read(lock, text, sizeof text) : -1;
        close(lock);
        if (n < 0)
            return err_set(em, err_from_errno(e), "%s: cannot lock: %s", path, strerror(e));
        if (lock_text_parse(&holder, text, (size_t)n) < 0)
            return err_set(em, LT_ELOCKED, "%s: in use by process (unknown)", dir);
        return err_set(em, LT_ELOCKED, "%s: in use by process %ld", dir, holder.pid);
    }
    *fd = lock;
    index_lock_tell(lock, NULL);
    return 0;
}

static int make_folder(const char *dir, struct err_msg *em)
{
    struct err_msg why;
    int r = file_make_dirs(dir, 0700, &why);
    return r < 0 ? err_set(em, r, "cannot create the data folder: %s", why.text) : 0;
}

int index_lock(const char *dir, int *fd, struct err_msg *em)
{
    if (!dir || !*dir || strlen(dir) >= sizeof ((struct index *)0)->dir)
        return err_set(em, LT_EINVAL, "data folder: no path, or one too long");
    int r = make_folder(dir, em);
    return r < 0 ? r : take_lock(dir, fd, em);
}

void index_lock_tell(int fd, const char *socket)
{
    char text[LOCK_TEXT_MAX];
    size_t n = lock_text_make(text, (long)getpid(), socket);
    /* Without room for the text the lock holds all the same. */
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, n, 0) < 0)
        log_debug("index", "the lock's text is not written");
}

static int load_counters(struct index *ix, struct err_msg *em)
{
    sqlite3_stmt *st = store_stmt(ix, ST_COUNTERS, em);
    if (!st)
        return LT_ECORRUPT;
    int r = sql_step(st, em);
    if (r < 0)
        return r;
    if (r == 0)
        return err_set(em, LT_ECORRUPT, "%s: the table of counters is empty", ix->db_path);
    ix->seq = (uint64_t)sqlite3_column_int64(st, 0);
    ix->next_doc = (uint64_t)sqlite3_column_int64(st, 1);
    ix->next_chunk = (uint64_t)sqlite3_column_int64(st, 2);
    sqlite3_reset(st);
    atomic_store(&ix->committed_seq, ix->seq);
    return 0;
}

static int count_wal_pages(void *arg, sqlite3 *db, const char *name, int n)
{
    struct index *ix = arg;
    (void)db;
    (void)name;
    if (n < ix->wal_done)
        ix->wal_done = 0; /* the log began anew */
    ix->wal_pages = n - ix->wal_done;
    ix->wal_ns = clock_ns();
    return SQLITE_OK;
}

/* Names what SQLite is about to drop from a damaged log, and keeps a copy of it. */
static void look_at_log(struct index *ix)
{
    char path[3200], copy[3200];
    struct file_map map;
    struct log_report rep;
    struct err_msg em;
    snprintf(path, sizeof path, "%s-wal", ix->db_path);
    snprintf(copy, sizeof copy, "%s-wal.damaged", ix->db_path);
    if (access(path, F_OK) < 0 || file_map(path, &map, &em) < 0)
        return;
    if (map.data && log_check(map.data, map.len, &rep)) {
        const bool kept = file_replace(copy, map.data, map.len, 0600, &em) == 0; /* a check's closing empties the log, too */
        snprintf(ix->log_damage, sizeof ix->log_damage, "%.120s: damaged at byte %llu, about %llu commits from there on are lost%s%.120s", path,
                 (unsigned long long)rep.at, (unsigned long long)rep.n_lost, kept ? "; a copy is " : "; no copy was kept: ", kept ? copy : em.text);
        if (!ix->inspect)
            log_error("index", "%s", ix->log_damage);
    }
    file_unmap(&map);
}

#define FOREIGN_NAMED 5 /* in each folder */

/* Files that are not ours stop nothing and stay; somebody may miss them, or wonder what they are. */
static void name_foreign(const char *dir, bool (*ours)(const char *name))
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !ours(e->d_name) && n++ < FOREIGN_NAMED)
            log_info("index", "%s/%s: not latentd's, left alone", dir, e->d_name);
    if (n > FOREIGN_NAMED)
        log_info("index", "%s: %u more files that are not latentd's, left alone", dir, n - FOREIGN_NAMED);
    closedir(d);
}

/* FORMAT.md's table. */
static bool ours_in_folder(const char *name)
{
    static const char *const names[] = {"lock", "graph", "reserve", "server_key", "authorized_keys", "latentd.sock", "latentd.sock.lock", "latentd.log"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    const char *rest = strncmp(name, "store.db", 8) == 0 ? name + 8 : "?";
    return !*rest || strcmp(rest, "-wal") == 0 || strcmp(rest, "-shm") == 0 || strcmp(rest, "-journal") == 0 || strcmp(rest, "-wal.damaged") == 0;
}

static bool ours_in_graphs(const char *name)
{
    return name[strspn(name, "0123456789")] == 0;
}

static void report_foreign(const struct index *ix)
{
    char path[sizeof ix->dir + 32];
    name_foreign(ix->dir, ours_in_folder);
    snprintf(path, sizeof path, "%s/graph", ix->dir);
    name_foreign(path, ours_in_graphs);
    for (size_t i = 0; i < ix->n_collections; i++)
        name_foreign(ix->collections[i]->graph_dir, segment_is_ours);
}

int index_open(struct index **out, const struct index_params *p, struct err_msg *em)
{
    int r;
    struct index *ix = calloc(1, sizeof *ix);
    if (!ix)
        return err_set(em, LT_ENOMEM, "no memory for the index");
    ix->lock_fd = -1;
    pthread_mutex_init(&ix->lock, NULL);
    samples_init(&ix->samples, p);
    if (!p->dir || !*p->dir || strlen(p->dir) >= sizeof ix->dir) {
        r = err_set(em, LT_EINVAL, "data folder: no path, or one too long");
        goto out;
    }
    snprintf(ix->dir, sizeof ix->dir, "%s", p->dir);
    snprintf(ix->db_path, sizeof ix->db_path, "%s/store.db", ix->dir);
    snprintf(ix->vfs, sizeof ix->vfs, "%s", p->vfs ? p->vfs : "");
    if (p->fingerprint && (r = index_set_model(ix, p->fingerprint, p->dim, em)) < 0)
        goto out;
    ix->inspect = p->inspect;
    ix->dropping = true;
    ix->n_threads = p->threads;
    ix->writer_kib = p->writer_kib ? p->writer_kib : SCHEMA_WRITER_KIB;
    ix->reader_kib = p->reader_kib ? p->reader_kib : SCHEMA_READER_KIB;
    atomic_store(&ix->postings.limit, (size_t)(p->postings_kib ? p->postings_kib : POSTINGS_KIB) << 10);
    ix->recover = p->recover;
    compact_init(ix, p);
    if (ix->inspect && access(ix->db_path, F_OK) < 0) {
        r = err_set(em, LT_ENOTFOUND, "%s: no store there", ix->dir);
        goto out;
    }
    if (!ix->inspect && (r = make_folder(ix->dir, em)) < 0)
        goto out;
    if (!p->locked && (r = take_lock(ix->dir, &ix->lock_fd, em)) < 0)
        goto out;
    if (!ix->inspect)
        space_open(ix);
    look_at_log(ix);
    if ((r = schema_open_writer(&ix->db, ix->db_path, p->vfs, ix->writer_kib, em)) < 0) {
        struct err_msg why = em ? *em : (struct err_msg){""};
        if (r == LT_ECORRUPT)
            err_set(em, r, ix->inspect ? "%s: %.300s" : "%s: %.300s (latent check tells more)", ix->db_path, why.text);
        else if (strncmp(why.text, "store: ", 7) == 0) /* a statement's, which knows no path */
            err_set(em, r, "%s: %s", ix->db_path, why.text + 7);
        goto out;
    }
    moved_note(ix);
    sqlite3_wal_hook(ix->db, count_wal_pages, ix);
    ix->wal_pages = 1; /* a log of the last run, if there is one */
    if (ix->log_damage[0])
        space_empty_log(ix); /* or what stands behind the damage is found again the next time */
    if ((r = load_counters(ix, em)) < 0)
        goto out;
    if (!ix->inspect)
        space_make_reserve(ix);
    if ((r = collections_load(ix, p, em)) < 0)
        goto out;
    if (!ix->inspect)
        report_foreign(ix);
    if (p->progress)
        p->progress(p->progress_arg, 100);
    *out = ix;
    ix = NULL;
out:
    if (ix)
        index_close(&ix);
    return r;
}

void index_close(struct index **pix)
{
    struct index *ix = pix ? *pix : NULL;
    if (!ix)
        return;
    *pix = NULL;
    samples_finish(&ix->samples);
    if (ix->in_group)
        group_rollback(ix);
    moved_check(ix);
    if (!ix->broken && !ix->inspect)
        compact_last(ix);
    collections_free(ix);
    for (int i = 0; i < ST_N; i++)
        sqlite3_finalize(ix->stmt[i]);
    if (ix->db && sqlite3_close(ix->db) != SQLITE_OK)
        log_error("index", "%s: a statement is still open", ix->db_path);
    if (ix->db && !ix->inspect && !ix->moved)
        space_make_reserve(ix); /* the log has gone */
    if (ix->lock_fd >= 0)
        close(ix->lock_fd);
    pthread_mutex_destroy(&ix->lock);
    free(ix->batch.v);
    free(ix->removals);
    free(ix);
}

int index_set_model(struct index *ix, const char *fingerprint, uint32_t dim, struct err_msg *em)
{
    if (!fingerprint || strlen(fingerprint) >= INDEX_FINGERPRINT_SIZE || !*fingerprint)
        return err_set(em, LT_EINVAL, "model fingerprint: 1 to 64 characters");
    if (!dim || dim > INDEX_DIM_MAX)
        return err_set(em, LT_EDIM, "model dimension %u: 1 to %u", dim, INDEX_DIM_MAX);
    snprintf(ix->fingerprint, sizeof ix->fingerprint, "%s", fingerprint);
    ix->model_dim = dim;
    return 0;
}

/* The first thing to look at. With the lock. */
static void fill_warning(const struct index *ix, char *text, size_t size)
{
    const uint64_t now = clock_ns();
    if (ix->log_damage[0]) {
        snprintf(text, size, "%s", ix->log_damage);
        return;
    }
    if (ix->trouble[0]) {
        snprintf(text, size, "%s (for %llu s)", ix->trouble, (unsigned long long)(now - ix->trouble_ns) / 1000000000);
        return;
    }
    for (size_t i = 0; i < ix->n_collections && !text[0]; i++) {
        const struct collection *c = ix->collections[i];
        struct index_collection k;
        compact_describe(ix, c, &k);
        if (k.compaction_failed_ms)
            snprintf(text, size, "collection %s: its graph has not been saved for %lld s: %s", c->name,
                     (long long)(clock_wall_ms() - k.compaction_failed_ms) / 1000, k.compaction_error);
        else if (atomic_load(&c->left_out))
            snprintf(text, size, "collection %s: the vectors of %llu chunks are damaged, only words find them; stop and run latent check --repair",
                     c->name, (unsigned long long)atomic_load(&c->left_out));
    }
}

/* Of the chunks that graphs lacked when their recovery began; 99 at most while one is behind, and never less than what was told
 * before, though chunks are added and deleted meanwhile and another collection's recovery may begin. With the lock. */
static unsigned recovered_percent(struct index *ix)
{
    uint64_t total = 0, left = 0;
    for (size_t i = 0; i < ix->n_collections; i++) {
        const struct collection *c = ix->collections[i];
        total += atomic_load(&c->refill_total);
        if (atomic_load(&c->behind) && atomic_load(&c->refill_total))
            left += 1 + atomic_load(&c->refill_left);
    }
    unsigned percent = left >= total ? 0 : (unsigned)((total - left) * 100 / total);
    ix->recovered = !left ? 0 : percent > ix->recovered ? percent : ix->recovered;
    return left ? ix->recovered : 100;
}

void index_get_status(struct index *ix, struct index_status *out)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&ix->lock);
    out->read_only = ix->read_only || ix->broken;
    out->refused = ix->broken ? LT_EIO : ix->read_only ? LT_ENOSPC : 0;
    snprintf(out->reason, sizeof out->reason, "%s", out->read_only ? ix->reason : "");
    fill_warning(ix, out->warning, sizeof out->warning);
    for (size_t i = 0; i < ix->n_collections; i++) {
        struct collection *c = ix->collections[i];
        out->bytes_filters += allowed_cache_bytes(&c->allowed);
        out->pending_chunks += (uint64_t)atomic_load(&c->pending);
        out->bytes_graphs += atomic_load(&c->compaction.own_bytes);
    }
    out->recovered_percent = recovered_percent(ix);
    out->bytes_database = (uint64_t)sqlite3_memory_used();
    out->bytes_postings = atomic_load(&ix->postings.used);
    pthread_mutex_unlock(&ix->lock);
    out->seq = atomic_load(&ix->committed_seq);
}

int index_set_caches(struct index *ix, uint32_t writer_kib, uint32_t reader_kib, uint32_t postings_kib, struct err_msg *em)
{
    ix->writer_kib = writer_kib;
    ix->reader_kib = reader_kib;
    atomic_store(&ix->postings.limit, (size_t)postings_kib << 10);
    return refill_set_cache(ix, em);
}

void index_set_lean(struct index *ix, bool lean)
{
    if (lean)
        (void)sqlite3_db_release_memory(ix->db);
    for (size_t i = 0; i < ix->n_collections; i++) {
        if (lean) {
            allowed_cache_clear(&ix->collections[i]->allowed);
            postings_drop(&ix->collections[i]->postings);
        }
        compact_lean(ix, ix->collections[i], lean);
    }
}

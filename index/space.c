/* Full disks.
 *
 * A group is refused before its commit when the file system has no room for it twice over, once in the log and once in
 * the store, and a margin; so by our own doing the disk never fills to the point where the log cannot be emptied. When
 * others fill it, a write fails with LT_ENOSPC and writing stops. Deletes go on: a small file is held in reserve for
 * them, the log is emptied after each, and what they free goes back to the file system. Writing resumes by itself when
 * there is room again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "index/store.h"

/* Enough for the log's share of a delete of some thousand chunks, and for what the log holds between two checkpoints. */
#define RESERVE_BYTES (4u << 20)
/* What a group has to leave free. */
#define MARGIN_BYTES (8u << 20)
/* A group of this size that finds no room makes the store read-only; a larger one is refused alone. */
#define SMALL_BYTES (1u << 20)
/* Writing resumes with this much: the margin and a small group, after the log has grown to its usual size, so that it does not stop
 * again at once. */
#define RESUME_BYTES (18u << 20)
/* What the log of a small piece of merged words may take; on a full disk the reserve has it. */
#define MERGE_BYTES (3u << 20)
/* What tidying leaves free. */
#define TIDY_BYTES (24u << 20)
/* With less, what can be given back is given back at once. */
#define SCARCE_BYTES (64u << 20)
/* With more, a long log harms nobody. */
#define AMPLE_BYTES (1ull << 30)
#define CHECK_EVERY_NS 500000000ull

static uint64_t bytes_free(const struct index *ix)
{
    struct statvfs s;
    return statvfs(ix->dir, &s) < 0 ? UINT64_MAX : (uint64_t)s.f_bavail * s.f_frsize;
}

static void reserve_path(const struct index *ix, char *path, size_t size)
{
    snprintf(path, size, "%s/reserve", ix->dir);
}

static void use_reserve(struct index *ix)
{
    char path[3200];
    reserve_path(ix, path, sizeof path);
    unlink(path);
    ix->has_reserve = false;
}

void space_for_delete(struct index *ix)
{
    if (ix->has_reserve && bytes_free(ix) < RESERVE_BYTES)
        use_reserve(ix);
}

void space_open(struct index *ix)
{
    char path[3200];
    struct stat st;
    reserve_path(ix, path, sizeof path);
    ix->has_reserve = stat(path, &st) == 0 && st.st_blocks * 512ll >= RESERVE_BYTES;
    /* Opening needs a little room, too. */
    if (ix->has_reserve && bytes_free(ix) < RESERVE_BYTES / 2) {
        log_warn("index", "%s: no space left (%llu bytes free); opening with the reserve", ix->dir,
                 (unsigned long long)bytes_free(ix));
        use_reserve(ix);
    }
}

void space_make_reserve(struct index *ix)
{
    char path[3200];
    reserve_path(ix, path, sizeof path);
    if (ix->has_reserve || bytes_free(ix) < 2ull * RESERVE_BYTES)
        return;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    file_give(fd, path);
    ix->has_reserve = posix_fallocate(fd, 0, RESERVE_BYTES) == 0;
    close(fd);
    if (!ix->has_reserve)
        unlink(path);
}

/* What has to be free before writing goes on. */
static uint64_t bytes_to_resume(const struct index *ix)
{
    return (uint64_t)RESUME_BYTES + (ix->has_reserve ? 0 : RESERVE_BYTES);
}

/* For the open group: itself in the log and in the store, with their overhead, and the margin. */
static uint64_t bytes_for_group(const struct index *ix)
{
    return MARGIN_BYTES + ix->group_bytes / 2 * 5;
}

int space_error(const struct index *ix, struct err_msg *em)
{
    uint64_t need = bytes_for_group(ix), left = bytes_free(ix);
    if (ix->read_only && need < bytes_to_resume(ix))
        need = bytes_to_resume(ix);
    return err_set(em, LT_ENOSPC, "%.300s: no space left (%llu bytes free, %llu needed)", ix->dir, (unsigned long long)left,
                   (unsigned long long)need);
}

static void enter_read_only(struct index *ix, const char *text)
{
    uint64_t left = bytes_free(ix);
    pthread_mutex_lock(&ix->lock);
    if (!ix->read_only)
        log_error("index", "%s: no space left (%llu bytes free), read-only until there is: %s", ix->dir,
                  (unsigned long long)left, text);
    snprintf(ix->reason, sizeof ix->reason, "%.150s: no space left (%llu bytes free, %llu needed)", ix->dir,
             (unsigned long long)left, (unsigned long long)bytes_to_resume(ix));
    ix->read_only = true;
    ix->space_checked_ns = clock_ns();
    pthread_mutex_unlock(&ix->lock);
}

int space_want(struct index *ix, uint64_t bytes, struct err_msg *em)
{
    ix->group_bytes += bytes;
    if (ix->group_checked && ix->group_bytes < ix->group_checked + SMALL_BYTES / 4)
        return 0;
    ix->group_checked = ix->group_bytes;
    if (bytes_free(ix) >= bytes_for_group(ix))
        return 0;
    if (ix->group_bytes <= SMALL_BYTES)
        enter_read_only(ix, "a small write would not leave enough");
    ix->group_refused = true;
    return space_error(ix, em);
}

static int empty_log(struct index *ix)
{
    sqlite3_busy_timeout(ix->db, 100); /* readers are short */
    int rc = sqlite3_wal_checkpoint_v2(ix->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    sqlite3_busy_timeout(ix->db, 5000);
    return rc;
}

void space_empty_log(struct index *ix)
{
    if ((empty_log(ix) & 0xff) == SQLITE_FULL && ix->has_reserve) {
        use_reserve(ix);
        empty_log(ix);
    }
}

bool space_is_scarce(const struct index *ix)
{
    return ix->read_only || (bytes_free(ix) < SCARCE_BYTES && !space_to_tidy(ix));
}

bool space_is_ample(const struct index *ix)
{
    return bytes_free(ix) >= AMPLE_BYTES;
}

bool space_to_merge(const struct index *ix)
{
    return bytes_free(ix) >= MERGE_BYTES;
}

bool space_to_tidy(const struct index *ix)
{
    struct stat st;
    return stat(ix->db_path, &st) == 0 && bytes_free(ix) >= TIDY_BYTES + (uint64_t)st.st_size / 2;
}

void space_failed(struct index *ix, int code, bool sync_failed, const char *text)
{
    if (code == LT_ENOSPC && ix->group_refused)
        return; /* nothing was tried */
    if (code == LT_ENOSPC) {
        enter_read_only(ix, text);
        if (!ix->in_group)
            space_empty_log(ix);
    }
    if (sync_failed) {
        /* After a failed sync nobody knows what is on the disk; going on would build on sand. */
        log_error("index", "%s: a sync failed, no writing until the next start: %s", ix->db_path, text);
        pthread_mutex_lock(&ix->lock);
        snprintf(ix->reason, sizeof ix->reason, "%.120s: a sync failed; restart after a look at the disk",
                 ix->db_path);
        ix->broken = true;
        pthread_mutex_unlock(&ix->lock);
    }
}

bool space_check(struct index *ix)
{
    if (ix->broken)
        return false;
    if (!ix->read_only)
        return true;
    uint64_t now = clock_ns(), left;
    if (now - ix->space_checked_ns < CHECK_EVERY_NS)
        return false;
    ix->space_checked_ns = now;
    if ((left = bytes_free(ix)) < bytes_to_resume(ix)) {
        pthread_mutex_lock(&ix->lock);
        snprintf(ix->reason, sizeof ix->reason, "%.150s: no space left (%llu bytes free, %llu needed)", ix->dir,
                 (unsigned long long)left, (unsigned long long)bytes_to_resume(ix));
        pthread_mutex_unlock(&ix->lock);
        return false;
    }
    pthread_mutex_lock(&ix->lock);
    ix->read_only = false;
    ix->reason[0] = 0;
    pthread_mutex_unlock(&ix->lock);
    space_make_reserve(ix);
    log_info("index", "%s: there is space again, writing resumes", ix->dir);
    return true;
}

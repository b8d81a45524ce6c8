/* Full disks. A small file is held in reserve; on LT_ENOSPC writing stops, deletes may use the reserve, and
 * writing resumes by itself when the file system has room for the reserve and a margin again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "index/store.h"

/* Enough for the pages that a delete of some thousand chunks rewrites. */
#define RESERVE_BYTES (4u << 20)
#define MARGIN_BYTES (4u << 20)
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

void space_make_reserve(struct index *ix)
{
    char path[3200];
    reserve_path(ix, path, sizeof path);
    if (ix->has_reserve || bytes_free(ix) < (uint64_t)RESERVE_BYTES + MARGIN_BYTES)
        return;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    ix->has_reserve = posix_fallocate(fd, 0, RESERVE_BYTES) == 0;
    close(fd);
    if (!ix->has_reserve)
        unlink(path);
}

void space_use_reserve(struct index *ix)
{
    char path[3200];
    reserve_path(ix, path, sizeof path);
    unlink(path);
    ix->has_reserve = false;
}

void space_failed(struct index *ix, int code, bool sync_failed, const char *text)
{
    uint64_t left = bytes_free(ix);
    if (code != LT_ENOSPC && code != LT_EIO)
        return;
    pthread_mutex_lock(&ix->lock);
    if (code == LT_ENOSPC) {
        if (!ix->read_only)
            log_error("index", "%s: no space left (%llu bytes free), read-only until there is: %s", ix->dir,
                      (unsigned long long)left, text);
        snprintf(ix->reason, sizeof ix->reason, "%.120s: no space left (%llu bytes free, %u needed)", ix->dir,
                 (unsigned long long)left, RESERVE_BYTES + MARGIN_BYTES);
        ix->read_only = true;
        ix->space_checked_ns = clock_ns();
    }
    if (sync_failed) {
        /* After a failed sync nobody knows what is on the disk; going on would build on sand. */
        log_error("index", "%s: a sync failed, no writing until the next start: %s", ix->db_path, text);
        snprintf(ix->reason, sizeof ix->reason, "%.120s: a sync failed; restart after a look at the disk",
                 ix->db_path);
        ix->broken = true;
    }
    pthread_mutex_unlock(&ix->lock);
}

bool space_check(struct index *ix)
{
    if (ix->broken)
        return false;
    if (!ix->read_only)
        return true;
    uint64_t now = clock_ns();
    if (now - ix->space_checked_ns < CHECK_EVERY_NS)
        return false;
    ix->space_checked_ns = now;
    if (bytes_free(ix) < (uint64_t)MARGIN_BYTES + (ix->has_reserve ? 0 : RESERVE_BYTES))
        return false;
    space_make_reserve(ix);
    pthread_mutex_lock(&ix->lock);
    ix->read_only = false;
    ix->reason[0] = 0;
    pthread_mutex_unlock(&ix->lock);
    log_info("index", "%s: there is space again, writing resumes", ix->dir);
    return true;
}

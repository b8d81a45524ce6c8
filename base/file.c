#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/guard.h"

static int fail(struct err_msg *em, const char *path, const char *what)
{
    int e = errno;
    return err_set(em, err_from_errno(e), "%s: %s: %s", path, what, strerror(e));
}

int file_write_full(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_from_errno(n < 0 ? errno : EIO);
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int file_read_full(int fd, void *data, size_t len)
{
    char *p = data;
    while (len) {
        ssize_t n = read(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_from_errno(errno);
        if (n == 0)
            return LT_EFORMAT;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Without waiting for whoever might write to a pipe: only files are read. */
static int open_file(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
}

int file_read(const char *path, size_t max, char **data, size_t *len, struct err_msg *em)
{
    int r = 0;
    char *buf = NULL;
    struct stat st;
    int fd = open_file(path);
    if (fd < 0)
        return fail(em, path, "cannot open");
    if (fstat(fd, &st) < 0) {
        r = fail(em, path, "cannot stat");
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        r = err_set(em, LT_EINVAL, "%s: not a regular file", path);
        goto out;
    }
    if ((uint64_t)st.st_size > max) {
        r = err_set(em, LT_ELIMIT, "%s: %lld bytes, at most %zu are read", path,
                    (long long)st.st_size, max);
        goto out;
    }
    buf = malloc((size_t)st.st_size + 1);
    if (!buf) {
        r = err_set(em, LT_ENOMEM, "%s: no memory for %lld bytes", path, (long long)st.st_size);
        goto out;
    }
    if ((r = file_read_full(fd, buf, (size_t)st.st_size)) < 0) {
        err_set(em, r, "%s: cannot read: %s", path, err_text(r));
        goto out;
    }
    buf[st.st_size] = 0;
    *data = buf;
    *len = (size_t)st.st_size;
    buf = NULL;
out:
    free(buf);
    close(fd);
    return r;
}

void file_keep_standard(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDONLY) < 0)
            return;
}

int file_open_parent(const char *path)
{
    char dir[4096];
    const char *slash = strrchr(path, '/');
    int n = slash ? snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path)
                  : snprintf(dir, sizeof dir, ".");
    if (n < 0 || (size_t)n >= sizeof dir)
        return LT_ELIMIT;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_from_errno(errno) : fd;
}

int file_sync_parent(const char *path)
{
    int fd = file_open_parent(path);
    if (fd < 0)
        return fd;
    int r = fsync(fd) < 0 ? err_from_errno(errno) : 0;
    close(fd);
    return r;
}

/* The folder's user can change names meanwhile: what is given away is empty, has no other name, and is in the folder itself. */
void file_give(int fd, const char *path)
{
    struct stat folder, mine, there;
    const char *slash = strrchr(path, '/');
    const int dir = geteuid() == 0 ? file_open_parent(path) : -1;
    if (dir < 0)
        return;
    if (fstat(dir, &folder) == 0 && folder.st_uid != 0 && fstat(fd, &mine) == 0 && mine.st_uid == 0 &&
        (S_ISDIR(mine.st_mode) || (S_ISREG(mine.st_mode) && mine.st_nlink == 1 && mine.st_size == 0)) &&
        fstatat(dir, slash ? slash + 1 : path, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == mine.st_dev && there.st_ino == mine.st_ino &&
        mine.st_dev == folder.st_dev)
        (void)!fchown(fd, folder.st_uid, folder.st_gid); /* in vain where root may not: its user is told what cannot be opened */
    close(dir);
}

/* Owner and group as far as the caller may give them away. */
static int make_alike(int fd, const struct stat *like)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    if ((st.st_uid != like->st_uid || st.st_gid != like->st_gid) && fchown(fd, like->st_uid, like->st_gid) < 0 && errno != EPERM)
        return -1;
    return fchmod(fd, like->st_mode & 07777);
}

/* The name that the new bytes have first may be taken: by what a process left that was killed, or by a link that the folder's user has laid for
 * root to write through. So the file is always a new one. */
static int replace(const char *path, const void *data, size_t len, mode_t mode, const struct stat *like, struct err_msg *em)
{
    int r;
    char tmp[4096];
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp)
        return err_set(em, LT_ELIMIT, "%.200s…: path too long", path);
    (void)unlink(tmp);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return fail(em, tmp, "cannot create");
    if (!like)
        file_give(fd, tmp);
    else if (make_alike(fd, like) < 0) {
        r = fail(em, tmp, "cannot give it to the owner");
        goto out;
    }
    if ((r = file_write_full(fd, data, len)) < 0) {
        err_set(em, r, "%s: cannot write: %s", tmp, err_text(r));
        goto out;
    }
    if (fsync(fd) < 0) {
        r = fail(em, tmp, "cannot sync");
        goto out;
    }
    if (fault("file.rename") || rename(tmp, path) < 0) {
        r = fail(em, path, "cannot rename into place");
        goto out;
    }
    if ((r = fault("file.renamed") ? LT_EIO : file_sync_parent(path)) < 0)
        err_set(em, r, "%s: cannot sync its folder: %s", path, err_text(r));
out:
    close(fd);
    if (r < 0)
        unlink(tmp);
    return r;
}

int file_replace(const char *path, const void *data, size_t len, mode_t mode, struct err_msg *em)
{
    return replace(path, data, len, mode, NULL, em);
}

int file_edit(const char *path, const void *data, size_t len, mode_t mode, struct err_msg *em)
{
    struct stat like;
    if (stat(path, &like) == 0)
        return replace(path, data, len, mode, &like, em);
    int dir = file_open_parent(path);
    const bool known = dir >= 0 && fstat(dir, &like) == 0;
    if (dir >= 0)
        close(dir);
    like.st_mode = known && like.st_uid == 0 ? mode | 0444 : mode;
    return replace(path, data, len, mode, known && geteuid() == 0 ? &like : NULL, em);
}

static int make_dir(const char *path, mode_t mode, struct err_msg *em)
{
    struct stat st;
    if (mkdir(path, mode) == 0)
        return 0;
    if (errno != EEXIST)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : err_set(em, LT_EINVAL, "%s is not a folder", path);
    if (errno == ENOENT)
        return err_set(em, LT_ENOTFOUND, "%s is a link to what is not there", path);
    return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
}

int file_make_dirs(const char *path, mode_t mode, struct err_msg *em)
{
    char buf[4096];
    size_t len = strlen(path);
    int r;
    if (!len || len >= sizeof buf)
        return len ? err_set(em, LT_ELIMIT, "%s: the path is too long", path) : err_set(em, LT_EINVAL, "a folder without a name");
    memcpy(buf, path, len + 1);
    for (char *p = buf + 1;; p++) {
        if (*p != '/' && *p)
            continue;
        char c = *p;
        *p = 0;
        if ((r = make_dir(buf, mode, em)) < 0 || !c)
            return r;
        *p = c;
    }
}

static int guard_map(struct file_map *map, void *p, size_t len, struct err_msg *em)
{
    atomic_bool *lost = calloc(1, sizeof *lost);
    int r = lost ? guard_add(p, len, lost) : LT_ENOMEM;
    if (r < 0) {
        free(lost);
        munmap(p, len);
        return err_set(em, r, "cannot map a file: %s", err_text(r));
    }
    *map = (struct file_map){p, len, lost};
    return 0;
}

int file_map(const char *path, struct file_map *map, struct err_msg *em)
{
    int r = 0;
    struct stat st;
    *map = (struct file_map){0};
    int fd = open_file(path);
    if (fd < 0)
        return fail(em, path, "cannot open");
    if (fstat(fd, &st) < 0) {
        r = fail(em, path, "cannot stat");
    } else if (!S_ISREG(st.st_mode)) {
        r = err_set(em, LT_EINVAL, "%s: not a regular file", path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            r = fail(em, path, "cannot map");
        else
            r = guard_map(map, p, (size_t)st.st_size, em);
    }
    close(fd);
    return r;
}

bool file_map_lost(const struct file_map *map)
{
    return map->lost && atomic_load(map->lost);
}

void file_unmap(struct file_map *map)
{
    if (map->data) {
        guard_remove(map->data);
        munmap((void *)map->data, map->len);
    }
    free(map->lost);
    *map = (struct file_map){0};
}

/* Files: whole reads and writes, atomic replacement, mapping. All calls block on disk.
 * Thread-safety: safe, on different files. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Reads a whole file of at most max bytes; *data is malloc'ed, NUL-terminated beyond len, caller frees. Does not wait for whoever may
 * write to a pipe of that name.
 * Errors: LT_ENOTFOUND, LT_EPERM, LT_EINVAL (a folder, a pipe, a device), LT_ELIMIT (larger than max), LT_EIO, LT_ENOMEM. */
int file_read(const char *path, size_t max, char **data, size_t *len, struct err_msg *em);

/* Replaces path by len bytes: written beside it as path + ".tmp", synced, renamed, folder synced.
 * A crash leaves the old or the new file, never a mixture. Root's is given away as by file_give. */
int file_replace(const char *path, const void *data, size_t len, mode_t mode, struct err_msg *em);

/* The same for a file that holds no secret and that somebody may have made for another user: owner, group and mode stay; mode and, where
 * root makes it, the folder's owner are a new one's. In a folder of root's own everyone may read it, since nobody knows whom it is for. */
int file_edit(const char *path, const void *data, size_t len, mode_t mode, struct err_msg *em);

/* Writes or reads exactly len bytes, resuming after EINTR and short transfers.
 * file_read_full: LT_EFORMAT when the file ends early. */
int file_write_full(int fd, const void *data, size_t len);
int file_read_full(int fd, void *data, size_t len);

/* For a program's first lines: descriptors 0, 1 and 2 that whoever started it has closed become /dev/null, opened so that writing to it
 * fails. Else the next files to be opened would get these numbers, and what is printed or logged would go into them. */
void file_keep_standard(void);

/* For root at work in another user's folder: gives that user what has just been made there, who could not open it otherwise.
 * Nothing where the process is not root's, the folder is, or path leads to something else by now.
 *
 * fd      of path, which is an empty file or a folder */
void file_give(int fd, const char *path);

/* A descriptor of the folder that holds path, to be closed; or an error. */
int file_open_parent(const char *path);

/* Syncs the folder that holds path, so that a rename or creation in it is durable. */
int file_sync_parent(const char *path);

/* Creates path and the folders above it with the given mode; existing folders are fine. em names the one that could not be.
 * Errors: LT_EINVAL: something else has its name. */
int file_make_dirs(const char *path, mode_t mode, struct err_msg *em);

struct file_map {
    const uint8_t *data; /* NULL for an empty file */
    size_t len;          /* bytes */
    atomic_bool *lost;   /* see base/guard.h; NULL for an empty file */
};

/* Maps a file read-only and shared. Where it is cut short later, zeros are read: ask file_map_lost after reading. */
int file_map(const char *path, struct file_map *map, struct err_msg *em);
/* True once something was read that the file no longer has. */
bool file_map_lost(const struct file_map *map);
void file_unmap(struct file_map *map);

#endif

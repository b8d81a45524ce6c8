/* A VFS under SQLite that remembers what was written since the last sync of each file, so that a test can ask whether
 * anything is not safe yet, and make the folder that would be found after the power had failed right now.
 * Thread-safety: one thread writes. */
#ifndef TESTS_POWER_VFS_H
#define TESTS_POWER_VFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POWER_VFS "power"

/* Registers it over the default VFS. 0 or an SQLite code. */
int power_vfs_register(void);

/* Writes to the write-ahead log that no sync has followed. */
size_t power_vfs_unsynced(void);

/* Syncs of any file so far. */
size_t power_vfs_syncs(void);

/* Copies the database and its log into `to`, as they would be without what was not synced. */
void power_vfs_fail(const char *to);

/* Fails before the n-th sync from now on (1: the next): copies into `to` what would be found, where of the writes and truncations since
 * a file's last sync each has reached the disk or not, in any order, as seed says. `to` is borrowed until then. n 0: not any more. */
void power_vfs_fail_before(size_t n, const char *to, uint64_t seed);

/* Whether that has happened. */
bool power_vfs_failed(void);

#endif

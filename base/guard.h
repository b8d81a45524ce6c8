/* Mappings of files that may lose bytes while they are in use: cut short by another program, or on a disk that fails.
 *
 * Touching a page that is no longer there raises SIGBUS, which ends a process. In a guarded mapping zeros take the place
 * of everything from that page to the mapping's end, a flag is raised, and the program goes on; it looks at the flag
 * before it trusts what it read. A SIGBUS elsewhere does what it did before.
 *
 * guard_add sets the process's handler of SIGBUS where it is not there. Thread-safety: safe, for different mappings. */
#ifndef BASE_GUARD_H
#define BASE_GUARD_H

#include <stdatomic.h>
#include <stddef.h>

/* base and len as mmap gave and took them. lost is borrowed until guard_remove: it is set, never cleared.
 * Errors: LT_ENOMEM, LT_EIO (no handler can be set). */
int guard_add(void *base, size_t len, atomic_bool *lost);

/* Before munmap. A base that is not guarded is passed over. */
void guard_remove(const void *base);

#endif

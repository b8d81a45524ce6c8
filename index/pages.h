/* Maps and gives back memory whose ends need not be on a page's edge. Pages have 4 KiB, or 16 or 64 with many a kernel for arm64; the
 * graph's files and chunks know of the first only.
 * Thread-safety: safe. */
#ifndef INDEX_PAGES_H
#define INDEX_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* len bytes of a file, to be read here and there; they may lie beyond its end as long as nobody reads them. NULL: see errno. */
uint8_t *pages_map(int fd, uint64_t from, size_t len);
/* What pages_map returned, and the len it got. */
void pages_unmap(uint8_t *p, size_t len);

/* Puts such a mapping in the place of len bytes of anonymous memory at `to`, which have the same content. False: both are as they were; so
 * they are wherever one of them is not of whole pages. */
bool pages_move(uint8_t *p, size_t len, uint8_t *to);

/* Gives back the memory of the whole pages among len bytes of anonymous memory; they read as zeros from then on. */
void pages_drop(uint8_t *p, size_t len);

#endif

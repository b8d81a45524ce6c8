/* Memory by whole pages, whatever a page has. */
#include "index/pages.h"

#include <sys/mman.h>
#include <unistd.h>

static size_t in_page(uint64_t place)
{
    return (size_t)(place & ((uint64_t)sysconf(_SC_PAGESIZE) - 1));
}

uint8_t *pages_map(int fd, uint64_t from, size_t len)
{
    const size_t before = in_page(from);
    uint8_t *base = mmap(NULL, before + len, PROT_READ, MAP_SHARED, fd, (off_t)(from - before));
    if (base == MAP_FAILED)
        return NULL;
    (void)madvise(base, before + len, MADV_RANDOM);
    return base + before;
}

void pages_unmap(uint8_t *p, size_t len)
{
    const size_t before = in_page((uintptr_t)p);
    munmap(p - before, before + len);
}

bool pages_move(uint8_t *p, size_t len, uint8_t *to)
{
    return !in_page((uintptr_t)p | (uintptr_t)to | len) && mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) != MAP_FAILED;
}

void pages_drop(uint8_t *p, size_t len)
{
    const size_t before = in_page(-(uintptr_t)p), after = in_page((uintptr_t)p + len);
    if (len > before + after)
        (void)madvise(p + before, len - before - after, MADV_DONTNEED);
}

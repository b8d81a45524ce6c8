/* A kernel with large pages, as many on arm64 have, before this machine's: linked into a test, or as a shared library before any program
 * (LD_PRELOAD). What does not start on a whole page is refused, lengths go up to whole pages, and mappings start on them. The C
 * library's own mappings stay as they are. PAGE_BYTES: what a page has; a compiler's option. */
#undef _FILE_OFFSET_BITS /* or mmap would be mmap64 */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t whole(size_t len)
{
    return (len + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static int odd(uint64_t place)
{
    if (place % PAGE_BYTES)
        errno = EINVAL;
    return place % PAGE_BYTES != 0;
}

static void *map(void *at, size_t len, int prot, int flags, int fd, off_t from)
{
    return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, from);
}

/* Addresses that start on a page, taken so that nothing else gets them. */
static void *room(size_t len)
{
    uint8_t *p = map(NULL, len + PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return MAP_FAILED;
    const size_t before = -(uintptr_t)p % PAGE_BYTES, after = PAGE_BYTES - before;
    if (before)
        syscall(SYS_munmap, p, before);
    syscall(SYS_munmap, p + before + len, after);
    return p + before;
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t from)
{
    if (odd((uint64_t)from) || ((flags & MAP_FIXED) && odd((uintptr_t)at)))
        return MAP_FAILED;
    len = whole(len);
    if (flags & MAP_FIXED)
        return map(at, len, prot, flags, fd, from);
    if (!len) {
        errno = EINVAL;
        return MAP_FAILED;
    }
    if ((at = room(len)) == MAP_FAILED)
        return MAP_FAILED;
    void *p = map(at, len, prot, flags | MAP_FIXED, fd, from);
    if (p == MAP_FAILED) {
        const int kept = errno;
        syscall(SYS_munmap, at, len);
        errno = kept;
    }
    return p;
}

void *mmap64(void *at, size_t len, int prot, int flags, int fd, off_t from)
{
    return mmap(at, len, prot, flags, fd, from);
}

int munmap(void *at, size_t len)
{
    return odd((uintptr_t)at) ? -1 : (int)syscall(SYS_munmap, at, whole(len));
}

void *mremap(void *at, size_t len, size_t to_len, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(args, void *) : NULL;
    va_end(args);
    if (odd((uintptr_t)at) || odd((uintptr_t)to))
        return MAP_FAILED;
    len = whole(len);
    to_len = whole(to_len);
    if (!to && (flags & MREMAP_MAYMOVE) && to_len > len) {
        if ((to = room(to_len)) == MAP_FAILED)
            return MAP_FAILED;
        flags |= MREMAP_FIXED;
    }
    return (void *)syscall(SYS_mremap, at, len, to_len, flags, to);
}

int madvise(void *at, size_t len, int advice)
{
    return odd((uintptr_t)at) ? -1 : (int)syscall(SYS_madvise, at, whole(len), advice);
}

int mprotect(void *at, size_t len, int prot)
{
    return odd((uintptr_t)at) ? -1 : (int)syscall(SYS_mprotect, at, whole(len), prot);
}

int msync(void *at, size_t len, int flags)
{
    return odd((uintptr_t)at) ? -1 : (int)syscall(SYS_msync, at, whole(len), flags);
}

int getpagesize(void)
{
    return PAGE_BYTES;
}

long sysconf(int name)
{
    static long (*_Atomic next)(int);
    if (name == _SC_PAGESIZE)
        return PAGE_BYTES;
    if (!next)
        next = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
    return next(name);
}

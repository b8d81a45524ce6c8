/* Counts what a process writes to its data folder, by file and by page of the database. Preloaded into latentd by
 * write_amplification.py (LD_PRELOAD); at the end of the process a JSON object goes to the file WRITE_SPLIT names:
 *
 *   {"files": {PATH: bytes, …}, "wal": {PAGE: frames, …}, "db": {PAGE: writes, …}}
 *
 * Only write, pwrite and their 64-bit names are counted, which is all that SQLite and the graph's checkpoints use. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES_MAX (1u << 22)
#define FILES_MAX 256
#define EXPORT __attribute__((visibility("default")))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t *wal_pages, *db_pages;
static struct {
    char path[512];
    uint64_t bytes;
} files[FILES_MAX];
static unsigned n_files;

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static void count(int fd, const void *data, size_t n, off_t at)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len <= 0 || path[0] != '/')
        return;
    path[len] = 0;
    pthread_mutex_lock(&lock);
    unsigned i = 0;
    while (i < n_files && strcmp(files[i].path, path) != 0)
        i++;
    if (i < FILES_MAX) {
        if (i == n_files)
            snprintf(files[n_files++].path, sizeof files[i].path, "%s", path);
        files[i].bytes += n;
    }
    if (!wal_pages) {
        wal_pages = calloc(PAGES_MAX, sizeof *wal_pages);
        db_pages = calloc(PAGES_MAX, sizeof *db_pages);
    }
    const uint8_t *p = data;
    uint32_t page = (uint32_t)(at / PAGE) + 1;
    if (wal_pages && n == 24 && ends_with(path, "-wal")) { /* a frame's header: the page's number comes first */
        page = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        if (page < PAGES_MAX)
            wal_pages[page]++;
    } else if (db_pages && n == PAGE && ends_with(path, ".db") && page < PAGES_MAX) {
        db_pages[page]++;
    }
    pthread_mutex_unlock(&lock);
}

EXPORT ssize_t write(int fd, const void *data, size_t n)
{
    static ssize_t (*next)(int, const void *, size_t);
    if (!next)
        next = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    ssize_t r = next(fd, data, n);
    if (r > 0)
        count(fd, data, (size_t)r, 0);
    return r;
}

/* Large files or not, the offset has 64 bits here; both names are in use. */
EXPORT ssize_t pwrite_64(int fd, const void *data, size_t n, off_t at) __asm__("pwrite64");
EXPORT ssize_t pwrite_plain(int fd, const void *data, size_t n, off_t at) __asm__("pwrite");

ssize_t pwrite_64(int fd, const void *data, size_t n, off_t at)
{
    static ssize_t (*next)(int, const void *, size_t, off_t);
    if (!next)
        next = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    ssize_t r = next(fd, data, n, at);
    if (r > 0)
        count(fd, data, (size_t)r, at);
    return r;
}

ssize_t pwrite_plain(int fd, const void *data, size_t n, off_t at)
{
    return pwrite_64(fd, data, n, at);
}

static void put_pages(FILE *f, const char *name, const uint32_t *pages)
{
    const char *comma = "";
    fprintf(f, ", \"%s\": {", name);
    for (uint32_t i = 0; pages && i < PAGES_MAX; i++)
        if (pages[i]) {
            fprintf(f, "%s\"%u\": %u", comma, i, pages[i]);
            comma = ", ";
        }
    fputs("}", f);
}

__attribute__((destructor)) static void report(void)
{
    const char *out = getenv("WRITE_SPLIT"), *comma = "";
    FILE *f = out ? fopen(out, "w") : NULL;
    if (f) {
        fputs("{\"files\": {", f);
        for (unsigned i = 0; i < n_files; i++, comma = ", ")
            fprintf(f, "%s\"%s\": %llu", comma, files[i].path, (unsigned long long)files[i].bytes);
        fputs("}", f);
        put_pages(f, "wal", wal_pages);
        put_pages(f, "db", db_pages);
        fputs("}\n", f);
    }
    if (f)
        fclose(f);
}

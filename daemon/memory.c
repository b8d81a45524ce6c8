#include "daemon/memory.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define MIB (1ull << 20)

/* What the parts take at least. The program: 16 MiB after the load of a small model, without its weights, and what allocators waste. A
 * connection of the store: its pages, and what it and a search keep besides. Requests: documents of 1 MiB (on_add.c). */
#define PROGRAM_BYTES (24 * MIB)
#define WRITER_BYTES (4 * MIB)
#define WRITER_CACHE_BYTES (2 * MIB)
#define READER_BYTES (3 * MIB / 2)
#define READER_CACHE_BYTES (MIB / 2)
#define REQUESTS_BYTES (18 * MIB)
/* And at most: more of it makes nothing faster. */
#define WRITER_CACHE_MOST (64 * MIB)
#define READER_CACHE_MOST (32 * MIB)
#define POSTINGS_MOST (32 * MIB)
#define REQUESTS_MOST (1024 * MIB)
/* Of requests, what frames under way may take. */
#define INTAKE_SHARE 9
/* Shares of what is left beyond that. */
#define WRITER_SHARE 16
#define READERS_SHARE 8
#define POSTINGS_SHARE 32
#define REQUESTS_SHARE 4
/* Of what the system leaves, where nothing is said; where that is too little, and where more is asked for than there is, all but this part. */
#define SYSTEM_SHARE 4
#define SYSTEM_REST 16
#define NEAR_SHARE 5
/* A control group without a limit has such a number, or says "max". */
#define NO_LIMIT (1ull << 60)

/* ---- what there is ---- */

/* A file's beginning, NUL-terminated; false: it cannot be read. */
static bool read_some(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* A limit in bytes; 0: none, or not a number. */
static uint64_t limit_in(const char *path)
{
    char text[64], *end;
    if (!read_some(path, text, sizeof text) || *text < '0' || *text > '9')
        return 0;
    unsigned long long v = strtoull(text, &end, 10);
    return (*end == '\n' || !*end) && v < NO_LIMIT ? v : 0;
}

static void take_limit(struct memory_system *out, const char *folder, const char *name, const char *group)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return;
    const uint64_t v = limit_in(path);
    if (!v || (out->group && out->group <= v))
        return;
    out->group = v;
    snprintf(out->group_file, sizeof out->group_file, "%s of control group %.60s", name, *group ? group : "/");
}

/* The limits of a group and of those above it: of files below `at` in a hierarchy's mount. */
static void take_groups(struct memory_system *out, const char *mount, const char *group, bool v2)
{
    char at[PATH_MAX], folder[2 * PATH_MAX];
    if (snprintf(at, sizeof at, "%s", group) >= (int)sizeof at || strstr(at, ".."))
        *at = '\0';
    for (;;) {
        char *slash = strrchr(at, '/');
        if (slash && !slash[1])
            *slash = '\0';
        snprintf(folder, sizeof folder, "%s%s", mount, at);
        take_limit(out, folder, v2 ? "memory.max" : "memory.limit_in_bytes", at);
        if (v2)
            take_limit(out, folder, "memory.high", at);
        if (!*at)
            break;
        slash = strrchr(at, '/');
        *(slash ? slash : at) = '\0';
    }
}

/* A line of /proc/self/cgroup: "0::/path" for version 2, "4:memory:/path", "5:cpu,memory:/path" for version 1. */
static void take_line(struct memory_system *out, const char *root, char *line)
{
    char mount[PATH_MAX], *names = strchr(line, ':'), *path = names ? strchr(names + 1, ':') : NULL;
    if (!path || path[1] != '/')
        return;
    *path++ = '\0';
    names++;
    const bool v2 = !*names;
    bool memory = false;
    char *save = NULL;
    for (char *name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save))
        memory = memory || strcmp(name, "memory") == 0;
    if (v2 || memory) {
        if (snprintf(mount, sizeof mount, "%s/sys/fs/cgroup%s", root, v2 ? "" : "/memory") < (int)sizeof mount)
            take_groups(out, mount, path, v2);
    }
}

void memory_look(const char *root, struct memory_system *out)
{
    char path[PATH_MAX], text[8192], *save = NULL;
    unsigned long long kib;
    *out = (struct memory_system){0};
    if (snprintf(path, sizeof path, "%s/proc/meminfo", root) < (int)sizeof path && read_some(path, text, sizeof text)) {
        const char *total = strstr(text, "MemTotal:");
        if (total && sscanf(total, "MemTotal: %llu kB", &kib) == 1 && kib < NO_LIMIT >> 10)
            out->machine = kib << 10;
    }
    if (snprintf(path, sizeof path, "%s/proc/self/cgroup", root) >= (int)sizeof path || !read_some(path, text, sizeof text))
        return;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        take_line(out, root, line);
}

/* ---- what the parts get ---- */

uint64_t memory_sum(const struct memory_parts *p)
{
    return p->program + p->model + p->reranker + p->store + p->requests;
}

static uint64_t mib(uint64_t bytes)
{
    return (bytes + MIB - 1) / MIB;
}

static uint64_t at_most(uint64_t v, uint64_t most)
{
    return v < most ? v : most;
}

static int too_little(const struct memory *m, uint64_t limit, struct err_msg *em)
{
    const struct memory_parts *p = &m->least;
    char reranker[48] = "";
    if (p->reranker)
        snprintf(reranker, sizeof reranker, "reranker %llu, ", (unsigned long long)mib(p->reranker));
    return err_set(em, LT_ENOMEM,
                   "memory: %llu MiB (%s) are too little, this needs %llu MiB: program %llu, model %llu, %sstore %llu, requests %llu",
                   (unsigned long long)(limit / MIB), m->source, (unsigned long long)mib(memory_sum(p)), (unsigned long long)mib(p->program),
                   (unsigned long long)mib(p->model), reranker, (unsigned long long)mib(p->store), (unsigned long long)mib(p->requests));
}

static void share_requests(struct memory *m, uint64_t bytes)
{
    m->intake_bytes = bytes / INTAKE_SHARE;
    m->request_bytes = (bytes - m->intake_bytes) / 2;
}

void memory_init(struct memory *m, const struct memory_system *sys, uint64_t limit_mib, unsigned n_readers)
{
    *m = (struct memory){
        .least = {.program = PROGRAM_BYTES, .store = WRITER_BYTES + n_readers * READER_BYTES, .requests = REQUESTS_BYTES},
        .writer_kib = WRITER_CACHE_BYTES >> 10, .reader_kib = READER_CACHE_BYTES >> 10, .postings_kib = 1,
    };
    share_requests(m, REQUESTS_BYTES);
    const bool by_group = sys->group && (!sys->machine || sys->group < sys->machine);
    const uint64_t there = by_group ? sys->group : sys->machine;
    const uint64_t most = there ? there - there / SYSTEM_REST : UINT64_MAX;
    const char *what = by_group ? sys->group_file : "the machine's memory";
    m->n_readers = n_readers;
    m->set = limit_mib != 0;
    m->most = m->limit = limit_mib * MIB;
    snprintf(m->source, sizeof m->source, "set");
    if (!limit_mib) {
        m->most = most;
        m->limit = there ? there - there / SYSTEM_SHARE : UINT64_MAX;
        snprintf(m->source, sizeof m->source, "of %llu MiB, %s", (unsigned long long)(there / MIB), there ? what : "no bound is known");
    } else if (m->limit > most) {
        m->most = m->limit = most;
        snprintf(m->source, sizeof m->source, "set to %llu MiB, but there are %llu, %s", (unsigned long long)limit_mib,
                 (unsigned long long)(there / MIB), what);
    }
}

uint64_t memory_for_models(const struct memory *m)
{
    const uint64_t others = memory_sum(&m->least);
    return m->most == UINT64_MAX ? 0 : m->most > others ? m->most - others : 1;
}

int memory_check(struct memory *m, struct err_msg *em)
{
    const uint64_t need = memory_sum(&m->least);
    if (m->most < need && m->set)
        return too_little(m, m->most, em);
    if (m->most < need) { /* nobody asked for it, and it may do: what is needed at least is an estimate */
        (void)too_little(m, m->most, em);
        log_warn("daemon", "%s; going on with as little as can be", em->text);
        em->text[0] = '\0';
        m->limit = m->most;
    } else if (m->limit < need) {
        m->limit = need;
    }
    return 0;
}

void memory_divide(struct memory *m)
{
    struct memory_parts *p = &m->parts;
    p->store = m->least.store;
    p->requests = m->least.requests;
    const uint64_t used = memory_sum(p), left = m->limit > used ? m->limit - used : 0, n = m->n_readers ? m->n_readers : 1;
    const uint64_t writer = at_most(WRITER_CACHE_BYTES + left / WRITER_SHARE, WRITER_CACHE_MOST);
    const uint64_t reader = at_most(READER_CACHE_BYTES + left / READERS_SHARE / n, READER_CACHE_MOST);
    const uint64_t postings = at_most(left / POSTINGS_SHARE, POSTINGS_MOST);
    p->store = m->least.store + writer - WRITER_CACHE_BYTES + n * (reader - READER_CACHE_BYTES) + postings;
    p->requests = at_most(REQUESTS_BYTES + left / REQUESTS_SHARE, REQUESTS_MOST);
    m->writer_kib = (uint32_t)(writer >> 10);
    m->reader_kib = (uint32_t)(reader >> 10);
    m->postings_kib = (uint32_t)(postings >> 10);
    share_requests(m, p->requests);
}

/* ---- what is taken ---- */

uint64_t memory_used(struct memory *m)
{
    char text[8192];
    unsigned long long own = 0, shared = 0;
    uint64_t seen = atomic_load(&m->looked_ns);
    const uint64_t now = clock_ns();
    if (seen && now - seen < MEMORY_LOOK_NS)
        return atomic_load(&m->used);
    if (!atomic_compare_exchange_strong(&m->looked_ns, &seen, now)) /* somebody else looks just now */
        return atomic_load(&m->used);
    const char *at = read_some("/proc/self/status", text, sizeof text) ? strstr(text, "RssAnon:") : NULL;
    if (at && sscanf(at, "RssAnon: %llu kB", &own) == 1) {
        if ((at = strstr(text, "RssShmem:"))) /* some drivers' */
            (void)sscanf(at, "RssShmem: %llu kB", &shared);
        atomic_store(&m->used, ((own + shared) << 10) + m->unseen);
    }
    return atomic_load(&m->used);
}

enum memory_level memory_level(struct memory *m)
{
    const uint64_t used = memory_used(m);
    return used >= m->limit ? MEMORY_FULL : used >= m->limit - m->limit / NEAR_SHARE ? MEMORY_NEAR : MEMORY_FINE;
}

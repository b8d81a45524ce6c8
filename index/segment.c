/* A segment in use: mapping it, and checking it against its checksums. */
#include "index/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/guard.h"
#include "index/graph_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "segments are mapped, and their numbers are little-endian");

/* The mapping some chunks of a core lie in: private, so that changes stay in memory. */
struct segment {
    uint8_t *base;
    size_t len;
    struct segment *kept; /* former ones that could not be let go */
};

void segment_unmap(struct segment **s)
{
    for (struct segment *seg = *s, *next; seg; seg = next) {
        next = seg->kept;
        guard_remove(seg->base);
        munmap(seg->base, seg->len);
        free(seg);
    }
    *s = NULL;
}

struct segment *segment_map_file(int fd, size_t len, atomic_bool *lost)
{
    struct segment *seg = calloc(1, sizeof *seg);
    if (!seg)
        return NULL;
    seg->len = len;
    errno = ENOMEM;
    seg->base = fault("segment.map") ? MAP_FAILED : mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (seg->base != MAP_FAILED && guard_add(seg->base, len, lost) == 0)
        return seg;
    if (seg->base != MAP_FAILED)
        munmap(seg->base, len);
    free(seg);
    return NULL;
}

void segment_sparing(struct segment *s)
{
    if (s)
        (void)madvise(s->base, s->len, MADV_RANDOM);
}

uint8_t *segment_base(const struct segment *s)
{
    return s->base;
}

bool segment_has(const struct segment *s, const uint8_t *p)
{
    return p >= s->base && p < s->base + s->len;
}

void segment_keep(struct segment *s, struct segment *former)
{
    struct segment **end = &s->kept;
    while (*end)
        end = &(*end)->kept;
    *end = former;
}

/* ---- loading ---- */

static bool same_shape(const struct core *c, const struct segment_header *h)
{
    return h->dim == c->dim && h->metric == (uint32_t)c->metric && h->m == c->m && h->codes == (uint32_t)c->codes &&
           h->stride == c->stride && h->shift == c->shift && h->upper_stride == c->upper_stride &&
           h->vec_stride == c->vec_stride;
}

static bool id_live(const struct core *c, uint32_t id)
{
    return id < core_n_slots(c) && node_state(core_head(c, id)) == NODE_LIVE;
}

static void place_chunks(struct core *c, uint8_t *base, const struct segment_header *h, const struct segment_layout *l)
{
    size_t node_len = (size_t)c->stride << c->shift, upper_len = (size_t)c->upper_stride << UPPER_SHIFT;
    for (uint64_t at = l->nodes, i = 0; at < l->upper; at += node_len, i++)
        atomic_store(&c->dir[i], base + at);
    for (uint64_t at = l->upper, i = 0; at < l->hash; at += upper_len, i++)
        atomic_store(&c->upper_dir[i], base + at);
    atomic_store(&c->n_slots, h->n_slots);
    atomic_store(&c->n_upper, h->n_upper);
    atomic_store(&c->n_live, h->n_live);
    atomic_store(&c->entry, h->entry);
    atomic_store(&c->root, h->root);
    memcpy(c->level_count, h->level_count, sizeof c->level_count);
}

static int place_hash(struct core *c, uint8_t *base, const struct segment_header *h, const struct segment_layout *l)
{
    struct hash *old = atomic_load(&c->hash), *new = calloc(1, sizeof *new);
    if (!new)
        return LT_ENOMEM;
    new->slots = (_Atomic uint32_t *)(void *)(base + l->hash);
    new->mask = h->hash_mask;
    new->n_used = h->hash_used;
    new->mapped = true;
    atomic_store(&c->hash, new);
    free((void *)old->slots);
    free(old);
    return 0;
}

static int place_free(struct core *c, const uint8_t *base, const struct segment_header *h, const struct segment_layout *l)
{
    struct bytes_in b = bytes_in(base + l->free, (size_t)h->n_free * 4);
    for (uint32_t i = 0; i < h->n_free; i++) {
        uint32_t id = bytes_u32(&b);
        if (id >= h->n_slots || node_state(core_head(c, id)) != NODE_FREE || core_head(c, id)->level > LEVEL_MAX)
            return LT_EFORMAT;
        if (!id_list_push(&c->free_slots[core_head(c, id)->level], id))
            return LT_ENOMEM;
    }
    return 0;
}

static int read_header(int fd, struct segment_header *h, struct segment_layout *l, uint64_t *size)
{
    uint8_t page[SEGMENT_HEADER];
    struct stat st;
    if (fstat(fd, &st) < 0 || pread(fd, page, sizeof page, 0) != (ssize_t)sizeof page)
        return LT_EFORMAT;
    *size = (uint64_t)st.st_size;
    int r = segment_header_unpack(h, page);
    return r < 0 ? r : segment_layout(h, l) ? 0 : LT_EFORMAT;
}

/* Maps the segment into an empty core. The reason why it cannot be used goes into why; em: why it is refused. */
static int map_segment(struct graph *g, struct core *c, const struct segment_manifest *m, const char **why, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    struct segment_header h;
    struct segment_layout l;
    uint64_t size = 0;
    segment_path(path, g->dir, m->gen);
    int r = LT_EFORMAT, fd = segment_open(path, O_RDONLY, em);
    *why = "missing";
    if (fd < 0)
        return fd;
    *why = "header damaged";
    if (read_header(fd, &h, &l, &size) < 0)
        goto out;
    core_set_links(c, h.links == 4);
    *why = "made for another collection";
    if (!same_shape(c, &h) || h.gen != m->gen || h.vectors_gen != m->vectors_gen || h.seq != m->seq)
        goto out;
    *why = "not as long as its header says";
    if (size != l.end)
        goto out;
    *why = "cannot be mapped";
    if (!(c->seg = segment_map_file(fd, l.end, &c->lost))) {
        r = errno == ENOMEM || errno == EAGAIN ? LT_ENOMEM : LT_EIO;
        goto out;
    }
    uint8_t *base = c->seg->base;
    place_chunks(c, base, &h, &l);
    if ((r = place_hash(c, base, &h, &l)) < 0 || (r = place_free(c, base, &h, &l)) < 0) {
        *why = "free list damaged";
        goto out;
    }
    if (h.n_live && (!id_live(c, h.entry) || !id_live(c, h.root))) {
        *why = "entry point damaged";
        r = LT_EFORMAT;
        goto out;
    }
    if (!h.n_live) {
        atomic_store(&c->entry, ID_NONE);
        atomic_store(&c->root, ID_NONE);
    }
    c->seg_slots = h.n_slots;
    *why = NULL;
out:
    close(fd);
    return r;
}

/* Opens the exact vectors' file and maps it chunk by chunk. */
static int map_vectors(struct graph *g, struct core *c, uint64_t gen, const char **why, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    uint8_t page[VECTORS_HEADER];
    struct stat st;
    uint32_t n_slots = core_n_slots(c);
    int r = 0;
    if (!c->has_vectors)
        return 0;
    vectors_path(path, g->dir, gen);
    *why = "missing";
    c->vec_fd = segment_open(path, O_RDWR, em);
    if (c->vec_fd < 0)
        return c->vec_fd;
    *why = "header damaged";
    if (fstat(c->vec_fd, &st) < 0 || pread(c->vec_fd, page, sizeof page, 0) != (ssize_t)sizeof page ||
        vectors_header_check(page, gen, c->dim, c->vec_stride) < 0)
        return LT_EFORMAT;
    *why = "too short for its segment";
    if ((uint64_t)st.st_size < VECTORS_HEADER + (uint64_t)n_slots * c->vec_stride)
        return LT_EFORMAT;
    c->vec_end = (uint64_t)st.st_size;
    *why = "cannot be mapped";
    for (uint32_t i = 0; r == 0 && (uint64_t)i << c->shift < n_slots; i++)
        r = core_map_vectors(c, i);
    if (r == 0)
        *why = NULL;
    return r;
}

/* A core mapped from the files. LT_EFORMAT and others: the report says why not; where segment_refused, em. */
static int map_files(struct graph *g, const struct segment_manifest *m, struct core **out, struct graph_report *rep, struct err_msg *em)
{
    const char *why = "no memory";
    struct core *c = core_create(&g->p);
    bool vectors = false;
    int r = c ? map_segment(g, c, m, &why, em) : LT_ENOMEM;
    if (r == 0) {
        vectors = true;
        r = map_vectors(g, c, m->vectors_gen, &why, em);
    }
    if (r == 0 && !atomic_load(&c->lost)) {
        *out = c;
        return 0;
    }
    if (r == 0)
        why = "cut short while it was opened";
    if (r == LT_ENOMEM) {
        char path[SEGMENT_PATH];
        if (vectors)
            vectors_path(path, g->dir, m->vectors_gen);
        else
            segment_path(path, g->dir, m->gen);
        err_set(em, r, "%s: there is no memory to map it", path);
    }
    if (!segment_refused(r))
        report_problem(rep, vectors ? "vectors-%016llx.vec: %s" : "segment-%016llx.seg: %s",
                       (unsigned long long)(vectors ? m->vectors_gen : m->gen), why);
    core_destroy(c);
    return r < 0 ? r : LT_EFORMAT;
}

/* The folder that the first len bytes of dir name. */
static void give_dir(const char *dir, size_t len)
{
    char path[SEGMENT_PATH];
    const bool fits = snprintf(path, sizeof path, "%.*s", (int)len, dir) < (int)sizeof path;
    const int fd = fits ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    file_give(fd, path);
    close(fd);
}

/* The one of all graphs, then the graph's: only root makes them for another user. */
static void give_dirs(const char *dir)
{
    const char *slash = strrchr(dir, '/');
    if (geteuid() != 0)
        return;
    if (slash)
        give_dir(dir, (size_t)(slash - dir));
    give_dir(dir, strlen(dir));
}

int segment_load(struct graph *g, struct core **out, struct graph_report *rep, struct err_msg *em)
{
    struct segment_manifest m;
    struct err_msg local = {{0}};
    struct core *c = NULL;
    uint64_t bytes = 0;
    int r = g->p.inspect ? 0 : file_make_dirs(g->dir, 0700, em);
    if (r < 0)
        return r;
    if (!g->p.inspect)
        give_dirs(g->dir);
    if ((r = segment_manifest_read(g->dir, &m, &local)) == 0)
        r = map_files(g, &m, &c, rep, &local);
    else if (r != LT_ENOTFOUND && !segment_refused(r))
        report_problem(rep, "%s", local.text);
    if (segment_refused(r))
        return err_set(em, r, "%s", local.text);
    if (!g->p.inspect && (r = segment_sweep_dir(g->dir, c ? &m : NULL, rep, &g->gen, &bytes, em)) < 0) {
        core_destroy(c);
        return r;
    }
    if (c) {
        atomic_store(&g->covered_seq, m.seq);
        atomic_store(&g->bytes_on_disk, bytes);
        g->n_saved = atomic_load(&c->n_live);
        g->gen = m.gen > g->gen ? m.gen : g->gen;
        g->vectors_gen = m.vectors_gen;
    } else if (!(c = core_create(&g->p))) {
        return err_set(em, LT_ENOMEM, "no memory for a graph");
    }
    *out = c;
    return 0;
}

/* ---- checking ---- */

#define SCRUB_NODES_NS 2000000u

/* Compares up to max blocks from *at on, wrapping; what differs goes into the report. */
static int check_blocks(const struct graph *g, uint32_t *at, uint64_t max, uint32_t *n_checked, struct graph_report *rep)
{
    char path[SEGMENT_PATH];
    struct segment_manifest m;
    struct segment_header h;
    struct segment_layout l;
    uint64_t size = 0;
    uint8_t *buf = malloc(SEGMENT_BLOCK + 8);
    int r = 0, fd = -1;
    *n_checked = 0;
    if (!buf)
        return LT_ENOMEM;
    if (!atomic_load(&g->covered_seq) || segment_manifest_read(g->dir, &m, NULL) < 0)
        goto out; /* nothing saved yet */
    segment_path(path, g->dir, m.gen);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read_header(fd, &h, &l, &size) < 0 || size != l.end) {
        report_problem(rep, "segment-%016llx.seg: header damaged", (unsigned long long)m.gen);
        r = LT_ECORRUPT;
        goto out;
    }
    for (uint64_t i = 0; i < max && i < l.n_blocks; i++) {
        uint64_t block = (*at + i) % l.n_blocks, from = l.nodes + block * SEGMENT_BLOCK;
        size_t len = l.sums - from < SEGMENT_BLOCK ? (size_t)(l.sums - from) : SEGMENT_BLOCK;
        uint64_t sum;
        if (pread(fd, buf, len, (off_t)from) != (ssize_t)len || pread(fd, &sum, 8, (off_t)(l.sums + block * 8)) != 8 ||
            XXH3_64bits(buf, len) != sum) {
            report_problem(rep, "segment-%016llx.seg: block %llu: checksum differs", (unsigned long long)m.gen,
                           (unsigned long long)block);
            r = LT_ECORRUPT;
        }
        *n_checked += 1;
    }
    *at = (uint32_t)((*at + *n_checked) % (l.n_blocks ? l.n_blocks : 1));
out:
    if (fd >= 0)
        close(fd);
    free(buf);
    return r;
}

/* Compares about as many bytes of the exact vectors' file with the checksums in their nodes. */
static int check_vectors(struct graph *g, uint32_t max_blocks, struct graph_report *rep)
{
    const struct core *c = graph_core(g);
    const uint32_t n = core_n_slots(c);
    if (!c->has_vectors || c->vec_fd < 0)
        return 0;
    const uint64_t most = (uint64_t)max_blocks * SEGMENT_BLOCK / c->vec_stride;
    for (uint64_t i = 0; i < most && i < n; i++) {
        const uint32_t id = g->scrub_vector = g->scrub_vector + 1 < n ? g->scrub_vector + 1 : 0;
        const struct node_head *h = core_head(c, id);
        if (node_state(h) == NODE_LIVE && (uint32_t)XXH3_64bits(core_vector(c, id), c->dim * sizeof(float)) != h->vec_sum) {
            report_problem(rep, "vectors-%016llx.vec: vector %u: checksum differs", (unsigned long long)g->vectors_gen, id);
            return LT_ECORRUPT;
        }
    }
    return 0;
}

int graph_scrub(struct graph *g, uint32_t max_blocks, uint32_t *n_checked, struct graph_report *rep)
{
    *n_checked = 0;
    *rep = (struct graph_report){0};
    graph_reclaim(g);
    if (!g->dir)
        return 0;
    /* A save's errand may put other files in the place of those that the manifest named a moment ago. */
    int r = g->save ? 0 : check_blocks(g, &g->scrub_at, max_blocks, n_checked, rep);
    if (r == 0)
        r = check_vectors(g, max_blocks, rep);
    if (r < 0)
        return r;
    /* Each node may mean reading a page for each of its links, where the graph is larger than memory. */
    return graph_check_some(g, &g->scrub_node, UINT32_MAX, max_blocks == UINT32_MAX ? UINT64_MAX : clock_ns() + SCRUB_NODES_NS, rep);
}

int segment_check(const struct graph *g, struct graph_report *rep)
{
    uint32_t at = 0, n;
    return g->dir ? check_blocks(g, &at, UINT64_MAX, &n, rep) : 0;
}

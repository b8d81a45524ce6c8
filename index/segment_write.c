/* Writing a checkpoint: a new segment beside the old one, then the manifest. The exact vectors' file is written once
 * and then only grows, so that a checkpoint costs the codes and links, not the vectors. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/guard.h"
#include "index/graph_int.h"
#include "index/segment.h"

#define SEGMENT_PACE (8u << 20)
#define QUIET_MS 50 /* searches that began before; when one takes longer, the next checkpoint does it */

/* A file written front to back in blocks, each with its checksum. Blocks of zeros stay holes. */
struct seg_out {
    int fd;
    uint64_t at; /* of the block at hand */
    uint64_t paced; /* bytes */
    size_t n;    /* bytes in it */
    uint8_t *block;
    uint64_t *sums;
    uint64_t n_sums;
    int err;
};

static int write_at(int fd, const void *data, size_t len, uint64_t at)
{
    const char *p = data;
    while (len) {
        ssize_t n = fault("graph.segment.write") ? (errno = ENOSPC, -1) : pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_from_errno(n < 0 ? errno : EIO);
        p += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

/* Starts writing whole windows between *from and `to` back to the disk, and waits for the one before each: what is on its way stays
 * little, and neither the log's syncs nor a search's reads queue behind a whole file. *from moves on. */
static void pace(int fd, uint64_t *from, uint64_t to)
{
    for (; to - *from >= SEGMENT_PACE; *from += SEGMENT_PACE) {
        (void)sync_file_range(fd, (off_t)*from, SEGMENT_PACE, SYNC_FILE_RANGE_WRITE);
        if (*from >= SEGMENT_PACE)
            (void)sync_file_range(fd, (off_t)(*from - SEGMENT_PACE), SEGMENT_PACE, SYNC_FILE_RANGE_WAIT_BEFORE);
    }
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static void end_block(struct seg_out *o)
{
    if (!o->n || o->err < 0)
        return;
    o->sums[o->n_sums++] = XXH3_64bits(o->block, o->n);
    if (!all_zero(o->block, o->n))
        o->err = write_at(o->fd, o->block, o->n, o->at);
    o->at += o->n;
    o->n = 0;
    pace(o->fd, &o->paced, o->at);
}

/* data NULL: zeros */
static void emit(struct seg_out *o, const void *data, size_t len)
{
    const uint8_t *p = data;
    while (len && o->err == 0) {
        size_t k = SEGMENT_BLOCK - o->n < len ? SEGMENT_BLOCK - o->n : len;
        if (p) {
            memcpy(o->block + o->n, p, k);
            p += k;
        } else {
            memset(o->block + o->n, 0, k);
        }
        o->n += k;
        len -= k;
        if (o->n == SEGMENT_BLOCK)
            end_block(o);
    }
}

/* Records of live nodes as they are; of others only what a new node in the slot needs. */
static void emit_nodes(struct seg_out *o, const struct core *c, uint32_t n_slots, uint8_t *record)
{
    uint32_t end = (n_slots + c->mask) & ~c->mask;
    for (uint32_t id = 0; id < n_slots; id++) {
        const struct node_head *h = core_head(c, id);
        if (node_state(h) == NODE_LIVE) {
            emit(o, core_record(c, id), c->stride);
            continue;
        }
        struct node_head *empty = (struct node_head *)(void *)(record + c->head_at);
        memset(record, 0, c->stride);
        empty->level = h->level;
        empty->place = h->level ? h->place : ID_NONE;
        emit(o, record, c->stride);
    }
    emit(o, NULL, (size_t)(end - n_slots) * c->stride);
}

static void emit_upper(struct seg_out *o, const struct core *c, uint32_t n_upper)
{
    uint32_t per = 1u << UPPER_SHIFT;
    for (uint32_t at = 0; at < n_upper; at += per) {
        uint32_t n = n_upper - at < per ? n_upper - at : per;
        emit(o, atomic_load(&c->upper_dir[at >> UPPER_SHIFT]), (size_t)n * c->upper_stride);
        emit(o, NULL, (size_t)(per - n) * c->upper_stride);
    }
}

static void emit_free(struct seg_out *o, const struct core *c, uint32_t n_slots)
{
    uint32_t n = 0;
    for (uint32_t id = 0; id < n_slots; id++) {
        if (node_state(core_head(c, id)) == NODE_LIVE)
            continue;
        emit(o, &id, sizeof id);
        n++;
    }
    emit(o, NULL, n & 1 ? 4 : 0); /* the checksums start on a multiple of 8 */
}

static void fill_header(const struct core *c, struct segment_header *h)
{
    const struct hash *t = atomic_load(&((struct core *)c)->hash);
    h->dim = c->dim;
    h->metric = (uint32_t)c->metric;
    h->m = c->m;
    h->codes = (uint32_t)c->codes;
    h->links = c->wide ? 4 : 3;
    h->stride = c->stride;
    h->shift = c->shift;
    h->upper_stride = c->upper_stride;
    h->vec_stride = c->vec_stride;
    h->n_slots = core_n_slots(c);
    h->n_upper = atomic_load(&c->n_upper);
    h->n_live = atomic_load(&c->n_live);
    h->n_free = h->n_slots - h->n_live;
    h->entry = atomic_load(&c->entry);
    h->root = atomic_load(&c->root);
    h->hash_mask = t->mask;
    h->hash_used = t->n_used;
    memcpy(h->level_count, c->level_count, sizeof h->level_count);
}

static int write_segment(struct graph *g, const struct core *c, struct segment_header *h, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    uint8_t page[SEGMENT_HEADER];
    struct segment_layout l;
    struct seg_out o = {.at = SEGMENT_HEADER, .fd = -1};
    int r = LT_ENOMEM;
    fill_header(c, h);
    if (!segment_layout(h, &l))
        return err_set(em, LT_EINTERNAL, "the graph's counts do not fit together");
    segment_path(path, g->dir, h->gen);
    o.block = malloc(SEGMENT_BLOCK);
    o.sums = malloc((l.n_blocks + 1) * sizeof *o.sums);
    uint8_t *record = aligned_alloc(DISTANCE_PAD, distance_pad(c->stride));
    if (!o.block || !o.sums || !record)
        goto out;
    o.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (o.fd < 0) {
        r = err_from_errno(errno);
        goto out;
    }
    emit_nodes(&o, c, h->n_slots, record);
    emit_upper(&o, c, h->n_upper);
    emit(&o, (const void *)atomic_load(&((struct core *)c)->hash)->slots, ((size_t)h->hash_mask + 1) * 4);
    emit_free(&o, c, h->n_slots);
    end_block(&o);
    segment_header_pack(h, page);
    r = o.err;
    if (r == 0 && (o.n_sums != l.n_blocks || o.at != l.sums))
        r = LT_EINTERNAL;
    if (r == 0)
        r = write_at(o.fd, o.sums, l.n_blocks * 8, l.sums);
    if (r == 0)
        r = write_at(o.fd, page, sizeof page, 0);
    if (r == 0 && (ftruncate(o.fd, (off_t)l.end) < 0 || fsync(o.fd) < 0))
        r = err_from_errno(errno);
out:
    if (o.fd >= 0)
        close(o.fd);
    if (r < 0) {
        unlink(path);
        err_set(em, r, "%s: %s", path, err_text(r));
    }
    free(o.block);
    free(o.sums);
    free(record);
    return r;
}

/* What was read from a file that lost bytes must not get a good checksum. */
static int still_whole(const struct core *c, struct err_msg *em)
{
    return atomic_load(&c->lost) ? err_set(em, LT_ECORRUPT, "the graph's files have lost bytes") : 0;
}

/* ---- exact vectors ---- */

static int create_vectors(const char *path, uint64_t gen, const struct core *c, int *fd, struct err_msg *em)
{
    uint8_t page[VECTORS_HEADER];
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (*fd < 0)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    vectors_header_pack(gen, c->dim, c->vec_stride, page);
    return write_at(*fd, page, sizeof page, 0);
}

/* On failure the file goes. */
static int created(const char *path, int *fd, int r, struct err_msg *em)
{
    if (r < 0 && *fd >= 0) {
        err_set(em, r, "%s: %s", path, err_text(r));
        close(*fd);
        *fd = -1;
        unlink(path);
    }
    return r;
}

/* Writes those that are in memory only into a new file; *fd is open on it. */
static int write_vectors(struct graph *g, const struct core *c, uint64_t gen, int *fd, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    uint32_t n_slots = core_n_slots(c), per = c->mask + 1;
    uint64_t paced = 0;
    vectors_path(path, g->dir, gen);
    int r = create_vectors(path, gen, c, fd, em);
    for (uint32_t id = 0; id < n_slots && r == 0; id += per) {
        uint32_t n = n_slots - id < per ? n_slots - id : per;
        uint64_t at = VECTORS_HEADER + (uint64_t)id * c->vec_stride, len = (uint64_t)n * c->vec_stride;
        r = write_at(*fd, core_vector(c, id), (size_t)len, at);
        pace(*fd, &paced, at + len);
    }
    if (r == 0 && fsync(*fd) < 0)
        r = err_from_errno(errno);
    return created(path, fd, r, em);
}

int segment_vectors_create(const char *dir, uint64_t gen, struct core *c, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    vectors_path(path, dir, gen);
    c->vec_end = VECTORS_HEADER;
    return created(path, &c->vec_fd, create_vectors(path, gen, c, &c->vec_fd, em), em);
}

/* Makes what was added since durable. The last slots may never have been written. */
static int sync_vectors(struct core *c, struct err_msg *em)
{
    struct stat st;
    uint64_t paced = 0;
    off_t need = (off_t)(VECTORS_HEADER + (uint64_t)core_n_slots(c) * c->vec_stride);
    int r = fstat(c->vec_fd, &st);
    if (r == 0 && (uint64_t)st.st_size < c->vec_end)
        atomic_store(&c->lost, true);
    if (r == 0 && atomic_load(&c->lost))
        return still_whole(c, em);
    if (r == 0) /* all of them, after compaction */
        pace(c->vec_fd, &paced, (uint64_t)st.st_size);
    if (r < 0 || (st.st_size < need && ftruncate(c->vec_fd, need) < 0) || fdatasync(c->vec_fd) < 0)
        return err_set(em, err_from_errno(errno), "the exact vectors: %s", strerror(errno));
    c->vec_end = (uint64_t)(st.st_size < need ? need : st.st_size);
    return 0;
}

/* Puts the file's pages in the place of the anonymous ones, which have the same bytes, so that a search notices nothing
 * and the memory goes back. Where that fails, the chunk moves to a mapping elsewhere. */
static int adopt_vectors(struct core *c, int fd)
{
    size_t len = (size_t)c->vec_stride << c->shift;
    uint8_t **maps = calloc(c->n_vec_chunks + 1u, sizeof *maps);
    uint32_t n = 0;
    if (!maps)
        return LT_ENOMEM;
    for (; n < c->n_vec_chunks; n++) {
        void *p = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, (off_t)(VECTORS_HEADER + (uint64_t)n * len));
        if (p == MAP_FAILED)
            break;
        (void)madvise(p, len, MADV_RANDOM);
        maps[n] = p;
    }
    if (n < c->n_vec_chunks) {
        while (n--)
            munmap(maps[n], len);
        free(maps);
        return LT_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *old = atomic_load(&c->vec_dir[i]);
        if (mremap(maps[i], len, len, MREMAP_MAYMOVE | MREMAP_FIXED, old) == MAP_FAILED)
            atomic_store_explicit(&c->vec_dir[i], old = maps[i], memory_order_release);
        if (guard_add(old, len, &c->lost) < 0)
            atomic_store(&c->lost, true); /* no memory for a guard: better a new graph than one that ends the process */
    }
    free(maps);
    c->vec_fd = fd;
    c->vec_end = VECTORS_HEADER + (uint64_t)core_n_slots(c) * c->vec_stride;
    return 0;
}

/* ---- the checkpoint ---- */

/* What the former checkpoint held back is free now. */
static void release_held(struct core *c)
{
    for (uint32_t i = 0; i < c->held.n; i++) {
        uint32_t id = c->held.ids[i], level = core_head(c, id)->level;
        (void)id_list_push(&c->free_slots[level <= LEVEL_MAX ? level : 0], id);
    }
    c->held.n = 0;
}

int segment_save(struct graph *g, struct core *c, uint64_t vectors_gen, uint64_t seq, struct err_msg *em)
{
    struct segment_manifest m = {.seq = seq};
    struct segment_header h = {.seq = seq};
    struct graph_report rep = {0};
    char path[SEGMENT_PATH];
    uint64_t bytes = 0;
    int fd = -1, r = 0;
    m.gen = h.gen = g->gen + 1;
    if (c->has_vectors && c->vec_fd < 0) {
        r = write_vectors(g, c, m.gen, &fd, em);
        m.vectors_gen = m.gen;
    } else if (c->has_vectors) {
        r = sync_vectors(c, em);
        m.vectors_gen = vectors_gen;
    }
    h.vectors_gen = m.vectors_gen;
    if (r < 0)
        return r;
    g->gen = m.gen; /* the name is spent, whatever comes */
    if ((r = write_segment(g, c, &h, em)) < 0 || (r = still_whole(c, em)) < 0 || (r = segment_manifest_write(g->dir, &m, em)) < 0)
        goto out;
    if (fd >= 0 && adopt_vectors(c, fd) == 0)
        fd = -1;
    g->vectors_gen = m.vectors_gen;
    c->seg_slots = c->vec_fd >= 0 ? h.n_slots : 0;
    release_held(c);
    g->n_saved = h.n_live;
    g->scrub_at = 0;
    atomic_store(&g->n_changes, 0);
    atomic_store(&g->covered_seq, seq);
    if (segment_sweep_dir(g->dir, &m, &rep, &g->gen, &bytes, NULL) == 0)
        atomic_store(&g->bytes_on_disk, bytes);
out:
    if (fd >= 0)
        close(fd);
    if (r < 0) {
        segment_path(path, g->dir, m.gen);
        unlink(path);
        if (fd >= 0) {
            vectors_path(path, g->dir, m.gen);
            unlink(path);
        }
    }
    return r;
}

/* The file that c is mapped from has no name any more, but the disk keeps its bytes while it is mapped: the new one takes its
 * place. Slots that a search may still read the exact vectors of must not be free in it, hence the wait; a search is short. */
static void remap(struct graph *g, struct core *c)
{
    struct segment_manifest m;
    struct graph_report rep = {0};
    struct core *n = NULL;
    for (int i = 0; c->n_retired && i < QUIET_MS; i++) {
        core_reclaim(c);
        usleep(c->n_retired ? 1000 : 0);
    }
    release_held(c);
    if (!c->n_retired && segment_manifest_read(g->dir, &m, NULL) == 0)
        n = segment_map(g, &m, &rep);
    if (n)
        graph_swap(g, n);
}

int graph_checkpoint(struct graph *g, uint64_t seq, struct err_msg *em)
{
    struct core *c = graph_core(g);
    if (!g->dir)
        return err_set(em, LT_EUNSUPPORTED, "the graph is in memory only");
    graph_reclaim(g);
    remove_sweep(c, g->scratch, true);
    core_reclaim(c);
    int r = segment_save(g, c, g->vectors_gen, seq, em);
    if (r == 0 && c->seg)
        remap(g, c);
    return r;
}

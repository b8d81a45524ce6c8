/* Writing a segment, and exact vectors that are in memory, in bites (graph_save.h). The exact vectors' file is written once and then
 * only grows, so that a checkpoint costs the codes and links, not the vectors. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/guard.h"
#include "index/graph_save.h"
#include "index/pages.h"

#define SEGMENT_PACE (8u << 20)

/* ---- the disk's part ---- */

/* Starts writing whole windows back to the disk, and waits for the one before each: what is on its way stays little, and neither
 * the log's syncs nor a search's reads queue behind a whole file. */
static int pace(void *arg)
{
    struct pacer *p = arg;
    for (; p->to - p->done >= SEGMENT_PACE; p->done += SEGMENT_PACE) {
        (void)sync_file_range(p->fd, (off_t)p->done, SEGMENT_PACE, SYNC_FILE_RANGE_WRITE);
        if (p->done >= SEGMENT_PACE)
            (void)sync_file_range(p->fd, (off_t)(p->done - SEGMENT_PACE), SEGMENT_PACE, SYNC_FILE_RANGE_WAIT_BEFORE);
    }
    return 0;
}

void save_paces(struct save *s, struct pacer *p, int fd, uint64_t to)
{
    p->fd = fd;
    p->to = to;
    if (p->to - p->done >= SEGMENT_PACE)
        errand_begin(&s->errand, pace, p);
}

static int sync_vectors(void *arg)
{
    struct save *s = arg;
    pace(&s->vec_pace);
    return fdatasync(s->vec_pace.fd) < 0 ? err_set(&s->errand_em, err_from_errno(errno), "the exact vectors: %s", strerror(errno)) : 0;
}

static int sync_segment(void *arg)
{
    struct save *s = arg;
    return fsync(s->out.fd) < 0 ? err_set(&s->errand_em, err_from_errno(errno), "the segment: %s", strerror(errno)) : 0;
}

/* ---- what a record or block was at the moment ---- */

static void set_bit(_Atomic uint64_t *bits, uint32_t i)
{
    atomic_fetch_or_explicit(&bits[i >> 6], 1ull << (i & 63), memory_order_relaxed);
}

static bool was_dead(const struct save *s, uint32_t id)
{
    return id < s->h.n_slots && s->dead[id >> 6] >> (id & 63) & 1;
}

static bool leads_to_dead(const struct save *s, struct list l)
{
    uint32_t links[2 * GRAPH_M_MAX + 8], n = s->dead ? list_read(l, links) : 0;
    for (uint32_t i = 0; i < n; i++)
        if (was_dead(s, links[i] & LINK_ID))
            return true;
    return false;
}

/* A sweep had begun or was to begin: what it would take out is left out. */
static void leave_out_dead(const struct save *s, struct list l)
{
    uint32_t links[2 * GRAPH_M_MAX + 8], n = list_read_marked(l, links), k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!was_dead(s, links[i] & LINK_ID))
            links[k++] = links[i];
    list_write(l, links, k);
}

static struct node_head *head_in(const struct core *c, uint8_t *record)
{
    return (struct node_head *)(void *)(record + c->head_at);
}

/* Of one that has not changed since: a live node's record as it is, of others only what a new node in the slot needs. In memory, or in
 * room, which has space for it. *as_is: nothing was left out. */
static const uint8_t *node_now(const struct save *s, uint32_t id, uint8_t *room, bool *as_is)
{
    const struct core *c = s->c;
    const struct node_head *h = core_head(c, id);
    *as_is = true;
    if (node_state(h) != NODE_LIVE) {
        memset(room, 0, c->stride);
        head_in(c, room)->level = h->level;
        head_in(c, room)->place = h->level ? h->place : ID_NONE;
        return room;
    }
    if (!leads_to_dead(s, core_list(c, id)))
        return core_record(c, id);
    *as_is = false;
    memcpy(room, core_record(c, id), c->stride);
    leave_out_dead(s, (struct list){&head_in(c, room)->list, c->m0, c->wide, true});
    return room;
}

static uint8_t *block_at(const struct core *c, uint32_t block)
{
    uint8_t *chunk = atomic_load_explicit(&c->upper_dir[block >> UPPER_SHIFT], memory_order_acquire);
    return chunk + (size_t)(block & ((1u << UPPER_SHIFT) - 1)) * c->upper_stride;
}

static const uint8_t *block_now(const struct save *s, uint32_t block, uint8_t *room, bool *as_is)
{
    const struct core *c = s->c;
    uint8_t *at = block_at(c, block);
    *as_is = !leads_to_dead(s, (struct list){(_Atomic uint32_t *)(void *)(at + UPPER_LIST_AT), c->m, c->wide, false});
    if (*as_is)
        return at;
    memcpy(room, at, c->upper_stride);
    leave_out_dead(s, (struct list){(_Atomic uint32_t *)(void *)(room + UPPER_LIST_AT), c->m, c->wide, false});
    return room;
}

static uint64_t node_place(const struct save *s, uint32_t id)
{
    return s->l.nodes + (uint64_t)id * s->c->stride;
}

static uint64_t block_place(const struct save *s, uint32_t block)
{
    return s->l.upper + (uint64_t)block * s->c->upper_stride;
}

static void note_kept(struct save *s, int r)
{
    if (r < 0)
        atomic_store(&s->kept, r);
}

void save_keep_node(struct save *s, uint32_t id)
{
    bool as_is;
    if (id >= s->h.n_slots || save_bit(s->nodes, id))
        return;
    if (id >= s->n_node) {
        uint8_t *room = aligned_alloc(DISTANCE_PAD, s->c->stride);
        note_kept(s, room ? segment_write_at(s->out.fd, node_now(s, id, room, &as_is), s->c->stride, node_place(s, id)) : LT_ENOMEM);
        free(room);
    }
    set_bit(s->nodes, id);
}

void save_keep_block(struct save *s, uint32_t block)
{
    bool as_is;
    if (block >= s->h.n_upper || save_bit(s->blocks, block))
        return;
    if (block >= s->n_block) {
        uint8_t *room = malloc(s->c->upper_stride);
        note_kept(s, room ? segment_write_at(s->out.fd, block_now(s, block, room, &as_is), s->c->upper_stride, block_place(s, block)) : LT_ENOMEM);
        free(room);
    }
    set_bit(s->blocks, block);
}

void save_keep_vector(struct save *s, uint32_t id, const float *v)
{
    if (s->vec_fd >= 0)
        note_kept(s, segment_write_at(s->vec_fd, v, s->c->dim * sizeof *v, VECTORS_HEADER + (uint64_t)id * s->c->vec_stride));
}

/* What was kept. The file may end before it or within it, where all else is zero. */
static const uint8_t *read_back(struct save *s, size_t len, uint64_t at)
{
    memset(s->record, 0, len);
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(s->out.fd, s->record + done, len - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            s->out.err = err_from_errno(errno);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return s->record;
}

/* ---- sections ---- */

static void write_node(struct save *s, uint32_t id)
{
    const struct core *c = s->c;
    bool as_is = true;
    const uint8_t *r = save_bit(s->nodes, id) ? read_back(s, c->stride, node_place(s, id)) : node_now(s, id, s->record, &as_is);
    const struct node_head *h = (const struct node_head *)(const void *)(r + c->head_at);
    if (node_state(h) != NODE_LIVE) {
        if (!id_list_push(&s->free, id))
            s->out.err = LT_ENOMEM;
    } else if (s->lookup.n_used < s->h.n_live) {
        hash_put(&s->lookup, h->label, id);
    } else {
        s->out.err = LT_ECORRUPT; /* more than were counted */
    }
    seg_out_add(&s->out, r, c->stride);
    s->n_node = id + 1;
    if (!as_is)
        set_bit(s->nodes, id);
}

static void write_block(struct save *s, uint32_t block)
{
    bool as_is = true;
    const uint8_t *b = save_bit(s->blocks, block) ? read_back(s, s->c->upper_stride, block_place(s, block))
                                             : block_now(s, block, s->record, &as_is);
    seg_out_add(&s->out, b, s->c->upper_stride);
    s->n_block = block + 1;
    if (!as_is)
        set_bit(s->blocks, block);
}

/* How many of `size` bytes are in a bite that begins at s->at, of n in all. */
static uint32_t bite_end(const struct save *s, uint64_t size, uint32_t n)
{
    uint64_t k = s->bite / size ? s->bite / size : 1;
    return n - s->at < k ? n : s->at + (uint32_t)k;
}

static void next_phase(struct save *s, enum save_phase phase)
{
    s->phase = phase;
    s->at = 0;
}

static void write_nodes(struct save *s)
{
    uint32_t n = s->h.n_slots, end = bite_end(s, s->c->stride, n);
    for (; s->at < end && s->out.err == 0; s->at++)
        write_node(s, s->at);
    if (s->at < n)
        return;
    seg_out_add(&s->out, NULL, (size_t)(((n + s->c->mask) & ~s->c->mask) - n) * s->c->stride);
    next_phase(s, SAVE_UPPER);
}

static void write_upper(struct save *s)
{
    uint32_t n = s->h.n_upper, per = 1u << UPPER_SHIFT, end = bite_end(s, s->c->upper_stride, n);
    for (; s->at < end && s->out.err == 0; s->at++)
        write_block(s, s->at);
    if (s->at < n)
        return;
    seg_out_add(&s->out, NULL, (size_t)(((n + per - 1) & ~(per - 1)) - n) * s->c->upper_stride);
    next_phase(s, SAVE_HASH);
}

/* A section of u32. */
static void write_words(struct save *s, const uint32_t *words, uint32_t n, enum save_phase next)
{
    uint32_t end = bite_end(s, sizeof *words, n);
    seg_out_add(&s->out, words + s->at, (size_t)(end - s->at) * sizeof *words);
    s->at = end;
    if (end == n)
        next_phase(s, next);
}

/* The last pages, and the first. */
static int end_segment(struct save *s)
{
    uint8_t page[SEGMENT_HEADER];
    int r;
    seg_out_add(&s->out, NULL, s->free.n & 1 ? 4 : 0); /* the checksums start on a multiple of 8 */
    seg_out_end(&s->out);
    s->h.hash_used = s->lookup.n_used;
    segment_header_pack(&s->h, page);
    if (s->out.err < 0)
        return s->out.err;
    if (s->out.n_sums != s->l.n_blocks || s->out.at != s->l.sums || s->lookup.n_used != s->h.n_live)
        return LT_ECORRUPT;
    if ((r = segment_write_at(s->out.fd, s->out.sums, s->l.n_blocks * 8, s->l.sums)) < 0 ||
        (r = segment_write_at(s->out.fd, page, sizeof page, 0)) < 0)
        return r;
    return ftruncate(s->out.fd, (off_t)s->l.end) < 0 ? err_from_errno(errno) : 0;
}

static int write_segment(struct save *s, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    int r = 0;
    if (s->phase == SAVE_NODES)
        write_nodes(s);
    else if (s->phase == SAVE_UPPER)
        write_upper(s);
    else if (s->phase == SAVE_HASH)
        write_words(s, (const uint32_t *)(const void *)s->lookup.slots, s->lookup.mask + 1, SAVE_FREE);
    else
        write_words(s, s->free.ids, s->free.n, SAVE_MANIFEST);
    r = s->out.err;
    if (r == 0 && s->phase == SAVE_MANIFEST && (r = end_segment(s)) == 0)
        errand_begin(&s->errand, sync_segment, s);
    else if (r == 0)
        save_paces(s, &s->seg_pace, s->out.fd, s->out.run_at);
    segment_path(path, s->g->dir, s->h.gen);
    return r < 0 ? err_set(em, r, "%s: %s", path, r == LT_ECORRUPT ? "the graph's counts do not fit together" : err_text(r)) : 0;
}

/* ---- exact vectors ---- */

static int create_vectors(const char *path, uint64_t gen, const struct core *c, int *fd, struct err_msg *em)
{
    uint8_t page[VECTORS_HEADER];
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = *fd < 0 ? err_from_errno(errno) : 0;
    if (r == 0)
        file_give(*fd, path);
    vectors_header_pack(gen, c->dim, c->vec_stride, page);
    if (r == 0 && (r = segment_write_at(*fd, page, sizeof page, 0)) < 0) {
        close(*fd);
        *fd = -1;
        unlink(path);
    }
    return r < 0 ? err_set(em, r, "%s: %s", path, err_text(r)) : 0;
}

int segment_vectors_create(const char *dir, uint64_t gen, struct core *c, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    vectors_path(path, dir, gen);
    c->vec_end = VECTORS_HEADER;
    return create_vectors(path, gen, c, &c->vec_fd, em);
}

/* Those that are in memory only, into their new file. */
static int write_vectors(struct save *s, struct err_msg *em)
{
    const struct core *c = s->c;
    uint32_t n = s->h.n_slots, end = bite_end(s, c->vec_stride, n), next = (s->at | c->mask) + 1;
    uint64_t at = VECTORS_HEADER + (uint64_t)s->at * c->vec_stride;
    end = end < next ? end : next; /* chunks lie apart */
    if (s->at < end) {
        int r = segment_write_at(s->vec_fd, core_vector(c, s->at), (size_t)(end - s->at) * c->vec_stride, at);
        if (r < 0)
            return err_set(em, r, "the exact vectors: %s", err_text(r));
    }
    s->at = end;
    at = VECTORS_HEADER + (uint64_t)end * c->vec_stride;
    if (end < n) {
        save_paces(s, &s->vec_pace, s->vec_fd, at);
        return 0;
    }
    s->vec_pace.fd = s->vec_fd;
    s->vec_pace.to = at;
    errand_begin(&s->errand, sync_vectors, s);
    next_phase(s, SAVE_NODES);
    return 0;
}

/* The file to at least `need` bytes: the last slots may never have been written. */
static int lengthen(int fd, uint64_t need, uint64_t *size)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size < need && ftruncate(fd, (off_t)need) < 0))
        return err_from_errno(errno);
    *size = (uint64_t)st.st_size < need ? need : (uint64_t)st.st_size;
    return 0;
}

/* What was added to their file since the last time becomes durable; all of it, after compaction. */
static int keep_vectors(struct save *s, struct err_msg *em)
{
    struct core *c = s->c;
    struct stat st;
    int r = fstat(c->vec_fd, &st) < 0 ? err_from_errno(errno) : 0;
    if (r == 0 && (uint64_t)st.st_size < c->vec_end)
        atomic_store(&c->lost, true);
    if (r == 0 && atomic_load(&c->lost))
        return err_set(em, LT_ECORRUPT, "the graph's files have lost bytes");
    if (r == 0)
        r = lengthen(c->vec_fd, VECTORS_HEADER + (uint64_t)core_n_slots(c) * c->vec_stride, &c->vec_end);
    if (r < 0)
        return err_set(em, r, "the exact vectors: %s", err_text(r));
    s->vec_pace.fd = c->vec_fd;
    s->vec_pace.to = c->vec_end;
    errand_begin(&s->errand, sync_vectors, s);
    next_phase(s, SAVE_NODES);
    return 0;
}

/* Puts the file's pages in the place of the anonymous ones, which have the same bytes, so that a search notices nothing
 * and the memory goes back. Where that fails, as it does with larger pages than the file was laid out for, the chunk moves to a
 * mapping elsewhere, and the memory goes back when no search looks at it any more. */
int save_adopt_vectors(struct save *s)
{
    struct core *c = s->c;
    size_t len = (size_t)c->vec_stride << c->shift;
    uint8_t **maps = calloc(c->n_vec_chunks + 1u, sizeof *maps);
    uint32_t n = 0;
    if (!maps || lengthen(s->vec_fd, VECTORS_HEADER + (uint64_t)core_n_slots(c) * c->vec_stride, &c->vec_end) < 0) {
        free(maps);
        return LT_ENOMEM;
    }
    for (; n < c->n_vec_chunks; n++) {
        maps[n] = pages_map(s->vec_fd, VECTORS_HEADER + (uint64_t)n * len, len);
        if (!maps[n])
            break;
    }
    if (n < c->n_vec_chunks) {
        while (n--)
            pages_unmap(maps[n], len);
        free(maps);
        return LT_ENOMEM;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint8_t *old = atomic_load(&c->vec_dir[i]), *now = old;
        if (!pages_move(maps[i], len, old)) {
            atomic_store_explicit(&c->vec_dir[i], now = maps[i], memory_order_release);
            core_retire_chunk(c, old, len);
        }
        if (guard_add(now, len, &c->lost) < 0)
            atomic_store(&c->lost, true); /* no memory for a guard: better a new graph than one that ends the process */
    }
    free(maps);
    c->vec_fd = s->vec_fd;
    s->vec_fd = -1;
    return 0;
}

int save_write(struct save *s, struct err_msg *em)
{
    if (s->phase != SAVE_VECTORS)
        return write_segment(s, em);
    if (s->vec_fd >= 0)
        return write_vectors(s, em);
    if (s->c->has_vectors)
        return keep_vectors(s, em);
    next_phase(s, SAVE_NODES);
    return 0;
}

/* ---- the moment ---- */

static void fill_header(const struct core *c, struct segment_header *h)
{
    uint64_t size = 64;
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
    while (size < 3ull * h->n_live) /* as core_hash_reserve does */
        size *= 2;
    h->hash_mask = (uint32_t)(size - 1);
    memcpy(h->level_count, c->level_count, sizeof h->level_count);
}

static bool make_room(struct save *s)
{
    const struct core *c = s->c;
    const size_t node_words = s->h.n_slots / 64u + 1, block_words = s->h.n_upper / 64u + 1;
    size_t record = c->stride > c->upper_stride ? c->stride : distance_pad(c->upper_stride);
    s->nodes = calloc(node_words, sizeof *s->nodes);
    s->blocks = calloc(block_words, sizeof *s->blocks);
    s->record = aligned_alloc(DISTANCE_PAD, record);
    s->lookup = (struct hash){.slots = calloc((size_t)s->h.hash_mask + 1, sizeof *s->lookup.slots), .mask = s->h.hash_mask};
    if (seg_out_begin(&s->out, SEGMENT_HEADER, s->l.n_blocks) < 0 || !s->nodes || !s->blocks || !s->record || !s->lookup.slots)
        return false;
    if (!c->dead.n)
        return true;
    s->dead = calloc(node_words, sizeof *s->dead);
    for (uint32_t i = 0; s->dead && i < c->dead.n; i++)
        s->dead[c->dead.ids[i] >> 6] |= 1ull << (c->dead.ids[i] & 63);
    return s->dead != NULL;
}

int save_snapshot(struct save *s, uint64_t vectors_gen, uint64_t seq, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    struct core *c = s->c;
    const uint64_t gen = s->gen;
    int r;
    fill_header(c, &s->h);
    s->h.gen = s->m.gen = gen;
    s->h.seq = s->m.seq = seq;
    s->h.vectors_gen = s->m.vectors_gen = !c->has_vectors ? 0 : c->vec_fd < 0 ? gen : vectors_gen;
    s->n_held = c->held.n;
    if (!segment_layout(&s->h, &s->l))
        return err_set(em, LT_EINTERNAL, "the graph's counts do not fit together");
    if (!make_room(s))
        return err_set(em, LT_ENOMEM, "no memory to save the graph");
    vectors_path(path, s->g->dir, gen);
    if (c->has_vectors && c->vec_fd < 0 && (r = create_vectors(path, gen, c, &s->vec_fd, em)) < 0)
        return r;
    segment_path(path, s->g->dir, gen);
    s->out.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s->out.fd < 0)
        return err_set(em, err_from_errno(errno), "%s: %s", path, strerror(errno));
    file_give(s->out.fd, path);
    next_phase(s, SAVE_VECTORS);
    c->save_slots = s->h.n_slots;
    c->save = s;
    return 0;
}

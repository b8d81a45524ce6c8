/* The graph's files as bytes: headers, manifest, names, and which of them are in a folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"
#include "base/file.h"
#include "index/graph_int.h"
#include "index/segment.h"

#define MANIFEST "MANIFEST"
#define MANIFEST_BYTES 48u
#define VERSION 3u

static const char segment_magic[] = "LTSEGM\r\n", vectors_magic[] = "LTVECS\r\n", manifest_magic[] = "LTMANI\r\n";

/* Both ends of a page: magic and version at the start, the checksum of everything before in the last 8 bytes. */
static void seal(uint8_t *page, size_t len)
{
    uint64_t sum = XXH3_64bits(page, len - 8);
    for (int i = 0; i < 8; i++)
        page[len - 8 + (size_t)i] = (uint8_t)(sum >> (8 * i));
}

/* In whatever version; 0: it is no such page, or damaged. */
static uint32_t sealed_version(const uint8_t *page, size_t len, const char magic[static 8], struct bytes_in *b)
{
    struct bytes_in end = bytes_in(page + len - 8, 8);
    *b = bytes_in(page, len);
    return memcmp(bytes_take(b, 8), magic, 8) == 0 && bytes_u64(&end) == XXH3_64bits(page, len - 8) ? bytes_u32(b) : 0;
}

static bool sealed(const uint8_t *page, size_t len, const char magic[static 8], struct bytes_in *b)
{
    return sealed_version(page, len, magic, b) == VERSION;
}

static void put_start(struct bytes_out *o, const char magic[static 8])
{
    bytes_put(o, magic, 8);
    bytes_put_u32(o, VERSION);
}

/* Copies what was packed to a zeroed page and seals it. */
static void finish_page(struct bytes_out *o, uint8_t *page, size_t len)
{
    memset(page, 0, len);
    if (!o->bad && o->len <= len - 8)
        memcpy(page, o->data, o->len);
    bytes_out_finish(o);
    seal(page, len);
}

void segment_header_pack(const struct segment_header *h, uint8_t *page)
{
    struct bytes_out o = {0};
    put_start(&o, segment_magic);
    const uint32_t words[] = {h->dim,     h->metric, h->m,      h->codes, h->stride, h->shift,     h->upper_stride, h->vec_stride,
                              h->n_slots, h->n_upper, h->n_live, h->n_free, h->entry,  h->root, h->hash_mask,    h->hash_used};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        bytes_put_u32(&o, words[i]);
    for (size_t i = 0; i < SEGMENT_LEVELS; i++)
        bytes_put_u32(&o, h->level_count[i]);
    bytes_put_u32(&o, h->links);
    bytes_put_u64(&o, h->gen);
    bytes_put_u64(&o, h->vectors_gen);
    bytes_put_u64(&o, h->seq);
    finish_page(&o, page, SEGMENT_HEADER);
}

int segment_header_unpack(struct segment_header *h, const uint8_t *page)
{
    struct bytes_in b;
    if (!sealed(page, SEGMENT_HEADER, segment_magic, &b))
        return LT_EFORMAT;
    uint32_t *const words[] = {&h->dim,     &h->metric,  &h->m,      &h->codes,  &h->stride, &h->shift, &h->upper_stride, &h->vec_stride,
                               &h->n_slots, &h->n_upper, &h->n_live, &h->n_free, &h->entry,  &h->root,  &h->hash_mask,    &h->hash_used};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        *words[i] = bytes_u32(&b);
    for (size_t i = 0; i < SEGMENT_LEVELS; i++)
        h->level_count[i] = bytes_u32(&b);
    h->links = bytes_u32(&b);
    h->gen = bytes_u64(&b);
    h->vectors_gen = bytes_u64(&b);
    h->seq = bytes_u64(&b);
    return b.bad ? LT_EFORMAT : 0;
}

void vectors_header_pack(uint64_t gen, uint32_t dim, uint32_t stride, uint8_t *page)
{
    struct bytes_out o = {0};
    put_start(&o, vectors_magic);
    bytes_put_u32(&o, dim);
    bytes_put_u32(&o, stride);
    bytes_put_u64(&o, gen);
    finish_page(&o, page, VECTORS_HEADER);
}

int vectors_header_check(const uint8_t *page, uint64_t gen, uint32_t dim, uint32_t stride)
{
    struct bytes_in b;
    if (!sealed(page, VECTORS_HEADER, vectors_magic, &b) || bytes_u32(&b) != dim || bytes_u32(&b) != stride)
        return LT_EFORMAT;
    return bytes_u64(&b) == gen ? 0 : LT_EFORMAT;
}

bool segment_layout(const struct segment_header *h, struct segment_layout *l)
{
    if ((h->links != 3 && h->links != 4) || (h->links == 3 && h->n_slots > GRAPH_SHORT_MAX) || !h->stride || !h->upper_stride ||
        h->shift < 6 || h->shift > 12 || h->n_slots > ID_LIMIT ||
        h->n_upper > ID_LIMIT || h->n_live > h->n_slots || h->n_free > h->n_slots ||
        (h->hash_mask & (h->hash_mask + 1)) || h->hash_mask < 63 ||
        h->stride > 64u << 20 || h->upper_stride > 1u << 20 || h->vec_stride > 1u << 20 || h->hash_used > h->hash_mask)
        return false;
    uint64_t chunks = ((uint64_t)h->n_slots + (1u << h->shift) - 1) >> h->shift;
    uint64_t uppers = ((uint64_t)h->n_upper + (1u << UPPER_SHIFT) - 1) >> UPPER_SHIFT;
    if (chunks > CHUNKS_MAX || uppers > CHUNKS_MAX)
        return false;
    l->nodes = SEGMENT_HEADER;
    l->upper = l->nodes + chunks * ((uint64_t)h->stride << h->shift);
    l->hash = l->upper + uppers * ((uint64_t)h->upper_stride << UPPER_SHIFT);
    l->free = l->hash + ((uint64_t)h->hash_mask + 1) * 4;
    l->sums = (l->free + (uint64_t)h->n_free * 4 + 7) & ~7ull;
    l->n_blocks = (l->sums - l->nodes + SEGMENT_BLOCK - 1) / SEGMENT_BLOCK;
    l->end = l->sums + l->n_blocks * 8;
    return true;
}

int segment_open(const char *path, int flags, struct err_msg *em)
{
    const int fd = open(path, flags | O_CLOEXEC), e = errno;
    if (fd >= 0)
        return fd;
    return err_set(em, e == EMFILE || e == ENFILE || e == ENOMEM ? LT_ELIMIT : err_from_errno(e), "%s: %s", path, strerror(e));
}

bool segment_refused(int result)
{
    return result == LT_EPERM || result == LT_ELIMIT || result == LT_ENOMEM;
}

/* ---- manifest ---- */

static void manifest_path(char *out, const char *dir)
{
    snprintf(out, SEGMENT_PATH, "%.4096s/" MANIFEST, dir);
}

int segment_manifest_read(const char *dir, struct segment_manifest *m, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    uint8_t data[MANIFEST_BYTES + 1]; /* a longer one is none */
    struct bytes_in b;
    manifest_path(path, dir);
    int r = 0, fd = segment_open(path, O_RDONLY | O_NONBLOCK, em);
    if (fd < 0)
        return fd;
    const ssize_t len = read(fd, data, sizeof data);
    close(fd);
    const uint32_t version = len == MANIFEST_BYTES ? sealed_version(data, MANIFEST_BYTES, manifest_magic, &b) : 0;
    if (!version) {
        r = err_set(em, LT_EFORMAT, MANIFEST ": damaged, or none");
    } else if (version != VERSION) {
        r = err_set(em, LT_EVERSION, "its files are of version %u, this latentd's of version %u", version, VERSION);
    } else {
        bytes_u32(&b);
        m->gen = bytes_u64(&b);
        m->vectors_gen = bytes_u64(&b);
        m->seq = bytes_u64(&b);
    }
    return r;
}

int segment_manifest_write(const char *dir, const struct segment_manifest *m, struct err_msg *em)
{
    char path[SEGMENT_PATH];
    uint8_t page[MANIFEST_BYTES];
    struct bytes_out o = {0};
    put_start(&o, manifest_magic);
    bytes_put_u32(&o, 0);
    bytes_put_u64(&o, m->gen);
    bytes_put_u64(&o, m->vectors_gen);
    bytes_put_u64(&o, m->seq);
    finish_page(&o, page, sizeof page);
    manifest_path(path, dir);
    /* The names of the files that it names, before its own: a file system may make them durable in any order. */
    int r = file_sync_parent(path);
    return r < 0 ? err_set(em, r, "%s: cannot sync its folder: %s", path, err_text(r)) : file_replace(path, page, sizeof page, 0600, em);
}

/* ---- the folder ---- */

void segment_path(char *out, const char *dir, uint64_t gen)
{
    snprintf(out, SEGMENT_PATH, "%.4096s/segment-%016llx.seg", dir, (unsigned long long)gen);
}

void vectors_path(char *out, const char *dir, uint64_t gen)
{
    snprintf(out, SEGMENT_PATH, "%.4096s/vectors-%016llx.vec", dir, (unsigned long long)gen);
}

/* "segment-0123456789abcdef.seg" and the like: which kind (0: not ours), and the number in it. */
static int our_file(const char *name, uint64_t *gen)
{
    static const char *const before[] = {"segment-", "vectors-"}, *const after[] = {".seg", ".vec"};
    if (strcmp(name, MANIFEST) == 0 || strcmp(name, MANIFEST ".tmp") == 0) {
        *gen = 0;
        return 3;
    }
    for (int i = 0; i < 2; i++) {
        if (strlen(name) != 28 || memcmp(name, before[i], 8) || memcmp(name + 24, after[i], 5) ||
            strspn(name + 8, "0123456789abcdef") != 16)
            continue;
        *gen = strtoull(name + 8, NULL, 16);
        return i + 1;
    }
    return 0;
}

bool segment_is_ours(const char *name)
{
    uint64_t gen;
    return our_file(name, &gen) != 0;
}

int segment_sweep_dir(const char *dir, const struct segment_manifest *keep, struct graph_report *rep,
                      uint64_t *gen_max, uint64_t *bytes, struct err_msg *em)
{
    DIR *d = opendir(dir);
    if (!d)
        return err_set(em, err_from_errno(errno), "%s: %s", dir, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t gen = 0;
        struct stat st;
        int kind = our_file(e->d_name, &gen);
        if (e->d_name[0] == '.')
            continue;
        if (!kind) {
            rep->n_foreign++;
            continue;
        }
        if (gen > *gen_max)
            *gen_max = gen;
        bool named = keep && (kind == 1 ? gen == keep->gen : kind == 2 ? gen == keep->vectors_gen : !strcmp(e->d_name, MANIFEST));
        if (named && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
            *bytes += (uint64_t)st.st_blocks * 512;
        else if (!named && unlinkat(dirfd(d), e->d_name, 0) == 0)
            rep->n_removed++;
    }
    closedir(d);
    return 0;
}

int graph_erase(const char *dir, struct err_msg *em)
{
    struct graph_report rep = {0};
    uint64_t gen = 0, bytes = 0;
    struct stat st;
    if (stat(dir, &st) < 0 && errno == ENOENT)
        return 0;
    int r = segment_sweep_dir(dir, NULL, &rep, &gen, &bytes, em);
    if (r == 0 && rmdir(dir) < 0 && errno != ENOTEMPTY && errno != EEXIST)
        r = err_set(em, err_from_errno(errno), "%s: %s", dir, strerror(errno));
    return r;
}

/* Layout (hnswlib 0.4 to 0.8, 64-bit, little-endian):
 *
 *   0   u64 × 6  offset of level 0 (0), room, elements n, bytes per element, offsets of label and vector in an element
 *   48  i32      highest level, -1 when empty; u32 entry element
 *   56  u64 × 3  links per list above level 0 (M), on level 0 (2 M), M; f64 level multiplier; u64 efConstruction
 *   96           n elements: u16 links, u8 flags (1: deleted), u8, 2 M × u32 links; f32 vector; u64 label
 *   then for each element: u32 bytes of its upper lists, a multiple of 4 + 4 M, and the lists: u16 links, u16, M × u32 */
#include "index/hnswlib.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "index/graph.h"

#define HEADER 96u
#define ELEMENTS_MAX 0x7FFFFFF0u
#define LEVELS_MAX 31u

struct header {
    uint64_t offset0, room, n, record, label_at, vector_at, m_upper, m0, m, ef_construction;
    int32_t max_level;
    uint32_t entry;
};

static uint32_t load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static const uint8_t *element(const struct hnswlib_file *f, uint32_t i)
{
    return f->data + HEADER + (size_t)i * f->record;
}

static const uint8_t *list_of(const struct hnswlib_file *f, uint32_t i, uint32_t level)
{
    return level ? f->data + f->upper[i] + (size_t)(level - 1) * 4 * (1 + f->m) : element(f, i);
}

uint64_t hnswlib_label(const struct hnswlib_file *f, uint32_t i)
{
    uint64_t v;
    memcpy(&v, element(f, i) + f->record - sizeof v, sizeof v);
    return v;
}

bool hnswlib_deleted(const struct hnswlib_file *f, uint32_t i)
{
    return element(f, i)[2] & 1;
}

void hnswlib_vector(const struct hnswlib_file *f, uint32_t i, float *out)
{
    memcpy(out, element(f, i) + 4 * (1 + 2 * (size_t)f->m), f->dim * sizeof *out);
}

uint32_t hnswlib_links(const struct hnswlib_file *f, uint32_t i, uint32_t level, uint32_t *out)
{
    const uint8_t *list = list_of(f, i, level);
    const uint32_t n = load32(list) & 0xFFFF, room = level ? f->m : 2 * f->m;
    uint32_t k = 0;
    for (uint32_t j = 0; j < n && j < room; j++) {
        const uint32_t to = load32(list + 4 + 4 * (size_t)j);
        if (to < f->n && f->level[to] >= level) /* as it was when it was checked; somebody else may write to the file meanwhile */
            out[k++] = to;
    }
    return k;
}

static int read_header(struct bytes_in *b, struct header *h, uint32_t dim, struct err_msg *em)
{
    h->offset0 = bytes_u64(b);
    h->room = bytes_u64(b);
    h->n = bytes_u64(b);
    h->record = bytes_u64(b);
    h->label_at = bytes_u64(b);
    h->vector_at = bytes_u64(b);
    h->max_level = (int32_t)bytes_u32(b);
    h->entry = bytes_u32(b);
    h->m_upper = bytes_u64(b);
    h->m0 = bytes_u64(b);
    h->m = bytes_u64(b);
    (void)bytes_f64(b);
    h->ef_construction = bytes_u64(b);
    if (b->bad)
        return err_set(em, LT_EFORMAT, "%zu bytes are too few for an hnswlib index", bytes_pos(b));
    if (h->offset0 || h->m < 1 || h->m > UINT16_MAX || h->m_upper != h->m || h->m0 != 2 * h->m || h->n > h->room ||
        h->vector_at != 4 * (1 + h->m0) || h->label_at < h->vector_at || h->label_at > UINT32_MAX ||
        h->record != h->label_at + 8)
        return err_set(em, LT_EFORMAT, "not an index that hnswlib saved: its header contradicts itself");
    if (h->label_at != h->vector_at + 4 * (uint64_t)dim)
        return err_set(em, LT_EFORMAT, "its vectors take %llu bytes each: that is not dimension %u in float32",
                       (unsigned long long)(h->label_at - h->vector_at), dim);
    if (h->m < GRAPH_M_MIN || h->m > GRAPH_M_MAX)
        return err_set(em, LT_EUNSUPPORTED, "M %llu: %u to %u", (unsigned long long)h->m, GRAPH_M_MIN, GRAPH_M_MAX);
    if (h->n > ELEMENTS_MAX || h->n > bytes_left(b) / h->record)
        return err_set(em, LT_EFORMAT, "cut short: %llu elements of %llu bytes are not there", (unsigned long long)h->n,
                       (unsigned long long)h->record);
    return 0;
}

static int read_upper(struct hnswlib_file *f, struct bytes_in *b, struct err_msg *em)
{
    size_t list = 4 * (1 + (size_t)f->m);
    for (uint32_t i = 0; i < f->n; i++) {
        uint32_t size = bytes_u32(b);
        f->upper[i] = bytes_pos(b);
        bytes_take(b, size);
        if (b->bad)
            return err_set(em, LT_EFORMAT, "cut short in the upper lists of element %u", i);
        if (size % list || size / list > LEVELS_MAX)
            return err_set(em, LT_EFORMAT, "element %u: upper lists of %u bytes", i, size);
        f->level[i] = (uint8_t)(size / list);
    }
    return bytes_left(b) ? err_set(em, LT_EFORMAT, "%zu bytes too many at the end", bytes_left(b)) : 0;
}

static int check_links(const struct hnswlib_file *f, struct err_msg *em)
{
    for (uint32_t i = 0; i < f->n; i++) {
        for (uint32_t l = 0; l <= f->level[i]; l++) {
            const uint8_t *list = list_of(f, i, l);
            uint32_t n = load32(list) & 0xFFFF;
            if (n > (l ? f->m : 2 * f->m))
                return err_set(em, LT_EFORMAT, "element %u: %u links on level %u", i, n, l);
            for (uint32_t j = 0; j < n; j++) {
                uint32_t to = load32(list + 4 + 4 * (size_t)j);
                if (to >= f->n || f->level[to] < l)
                    return err_set(em, LT_EFORMAT, "element %u: a link on level %u to %u, which is not there", i, l, to);
            }
        }
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int check_labels(const struct hnswlib_file *f, struct err_msg *em)
{
    uint64_t *labels = malloc((f->n + 1u) * sizeof *labels);
    int r = 0;
    if (!labels)
        return err_set(em, LT_ENOMEM, "no memory for %u labels", f->n);
    for (uint32_t i = 0; i < f->n; i++)
        labels[i] = hnswlib_label(f, i);
    qsort(labels, f->n, sizeof *labels, by_value);
    for (uint32_t i = 1; i < f->n && r == 0; i++)
        if (labels[i] == labels[i - 1])
            r = err_set(em, LT_EFORMAT, "label %llu is there twice", (unsigned long long)labels[i]);
    free(labels);
    return r;
}

int hnswlib_open(struct hnswlib_file *f, const void *data, size_t len, uint32_t dim, struct err_msg *em)
{
    struct bytes_in b = bytes_in(data, len);
    struct header h;
    *f = (struct hnswlib_file){.data = data, .dim = dim};
    int r = dim && dim <= GRAPH_DIM_MAX ? read_header(&b, &h, dim, em)
                                        : err_set(em, LT_EINVAL, "dimension %u: 1 to %u", dim, GRAPH_DIM_MAX);
    if (r < 0)
        return r;
    f->n = (uint32_t)h.n;
    f->m = (uint32_t)h.m;
    f->record = (size_t)h.record;
    f->entry = h.entry;
    f->ef_construction = h.ef_construction > GRAPH_EF_CONSTRUCTION_MAX ? GRAPH_EF_CONSTRUCTION_MAX
                         : h.ef_construction < 1                       ? 1
                                                                       : (uint32_t)h.ef_construction;
    f->level = calloc(f->n + 1u, 1);
    f->upper = calloc(f->n + 1u, sizeof *f->upper);
    if (!f->level || !f->upper) {
        r = err_set(em, LT_ENOMEM, "no memory for %u elements", f->n);
        goto out;
    }
    bytes_take(&b, (size_t)f->n * f->record);
    if ((r = read_upper(f, &b, em)) < 0 || (r = check_links(f, em)) < 0 || (r = check_labels(f, em)) < 0)
        goto out;
    uint8_t top = 0;
    for (uint32_t i = 0; i < f->n; i++)
        top = f->level[i] > top ? f->level[i] : top;
    if (f->n && (f->entry >= f->n || f->level[f->entry] != top || h.max_level != top))
        r = err_set(em, LT_EFORMAT, "entry element %u is not on the highest level", f->entry);
out:
    if (r < 0)
        hnswlib_finish(f);
    return r;
}

void hnswlib_finish(struct hnswlib_file *f)
{
    free(f->level);
    free(f->upper);
    *f = (struct hnswlib_file){0};
}

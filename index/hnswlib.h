/* An index file as hnswlib's saveIndex writes it: a header, the elements of level 0 with vectors and labels, and the lists above.
 * The format has no magic, version or checksum, so every number is checked against the file's length and against each other
 * before anything is read by it.
 * Thread-safety: one writer, many readers. */
#ifndef INDEX_HNSWLIB_H
#define INDEX_HNSWLIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct hnswlib_file {
    const uint8_t *data; /* borrowed */
    uint32_t n, dim, m, ef_construction;
    uint32_t entry;      /* an element; n is 0: none */
    size_t record;       /* bytes of an element of level 0 */
    uint8_t *level;      /* of each element */
    uint64_t *upper;     /* where its lists above level 0 begin */
};

/* Reads len bytes, which stay in use until hnswlib_finish.
 *
 * dim   of the vectors: the file does not name it, only a size that must fit
 *
 * Errors: LT_EFORMAT (not such a file, damaged, or of another dimension: em says what), LT_EUNSUPPORTED (M out of our range),
 * LT_ENOMEM. */
int hnswlib_open(struct hnswlib_file *f, const void *data, size_t len, uint32_t dim, struct err_msg *em);
/* Accepts a zeroed one. */
void hnswlib_finish(struct hnswlib_file *f);

uint64_t hnswlib_label(const struct hnswlib_file *f, uint32_t i);
/* Marked as deleted: a stepping stone, never an answer. */
bool hnswlib_deleted(const struct hnswlib_file *f, uint32_t i);
/* out: dim floats */
void hnswlib_vector(const struct hnswlib_file *f, uint32_t i, float *out);
/* The list of element i on a level it is on: at most 2 m ids, on levels above 0 m; returns their number. */
uint32_t hnswlib_links(const struct hnswlib_file *f, uint32_t i, uint32_t level, uint32_t *out);

#endif

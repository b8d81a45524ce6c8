/* Vectors in the store: f32, little-endian, in one row or in two.
 *
 * A page of the database holds whole rows only, so that two vectors of 384 dimensions waste a quarter of each page, in the
 * write-ahead log as well. Where it pays, a vector's first bytes are a row of `vectors` and the rest one of
 * `vector_tails`, cut so that pages of both fill up. A row that has all the bytes is as good (versions before had only those).
 */
#ifndef INDEX_VECTORS_H
#define INDEX_VECTORS_H

#include <sqlite3.h>
#include <stdint.h>

#include "base/err.h"
#include "index/graph.h"

struct index;

/* Bytes of a vector that go into `vectors`; the whole when cutting saves less than a tenth. */
uint32_t vectors_head_bytes(uint32_t dim);

/* (writer) In the open group. */
int vectors_add(struct index *ix, uint64_t chunk, const float *v, uint32_t dim, struct err_msg *em);
int vectors_delete(struct index *ix, uint64_t first, uint64_t last, struct err_msg *em);

/* The vector of a row whose columns at and at + 1 are its head and its tail (NULL: none), copied to buf (room for dim).
 * NULL: its length is not dim's. */
const float *vectors_read(sqlite3_stmt *st, int at, uint32_t dim, float *buf);

/* Whether it can be compared at all: LT_ENAN for NaN, Inf, numbers too large, and under cosine for zeros. */
int vectors_check(const float *v, uint32_t dim, enum metric metric, struct err_msg *em);

/* Is score what a graph gives v against itself? */
bool vectors_is_own_score(enum metric metric, const float *v, uint32_t dim, float score);

#endif

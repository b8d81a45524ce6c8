/* Int8 products by AMX's tiles, AVX-512 VNNI, AVX-VNNI with half as many columns at once, or NEON's dot products.
 *
 * As fast as oneDNN's for many rows. Few rows read each weight for little work, and their time goes into fetching weights from memory:
 * this product asks for those of the next block while it multiplies these. Sums of integers are the same whoever makes them, in
 * whatever company of rows.
 *
 * Weights lie in blocks of VNNI_COLS columns: [m / VNNI_COLS][k / 4][VNNI_COLS][4], so a block is contiguous, and a
 * part of its k as well. */
#ifndef MODEL_OPS_CPU_VNNI_H
#define MODEL_OPS_CPU_VNNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VNNI_COLS 64
#define VNNI_K 4        /* k is a multiple of this */
#define VNNI_CHUNK 1024 /* of k at a time: 64 KiB of weights, with as much asked for ahead, stay in the second-level cache */

#define VNNI_AMX_ROWS 8 /* with fewer, vnni_multiply_amx has AVX-512 multiply them: tiles are not worth being set up */

/* Some rows times one block */
struct vnni_block {
    const uint8_t *x; /* [n_rows, k] */
    size_t n_rows, k;
    const int8_t *w;         /* k · VNNI_COLS */
    const int8_t *next;      /* read next, at least 1 block: asked for meanwhile; or NULL */
    const int32_t *col_bias; /* VNNI_COLS: 128 times the sum of a column's weights. Only NEON reads it */
    int32_t *sums;           /* [n_rows, VNNI_COLS], rows ld values apart */
    size_t ld;
};

/* sums = x wᵀ. Thread-safety: safe. */
typedef void vnni_multiply(const struct vnni_block *b);

/* A block of weights rows w[VNNI_COLS, k], packed. k padded to a multiple of 64, the rest 0: as many · VNNI_COLS bytes. */
typedef void vnni_pack(const int8_t *w, size_t k, int8_t *block);

vnni_pack vnni_pack_plain; /* by any CPU */

/* What this CPU can run, under LATENTD_CPU_MASK; NULL: none. A mask that leaves AVX-512's VNNI without AVX-512 chooses what AVX-VNNI would
 * run, in AVX-512's instructions. */
vnni_multiply *vnni_choose(vnni_pack **pack);

#if defined(__x86_64__)
vnni_multiply vnni_multiply_amx, vnni_multiply_avx512, vnni_multiply_avxvnni, vnni_multiply_narrow;
vnni_pack vnni_pack_avx512;
#elif defined(__aarch64__)
vnni_multiply vnni_multiply_dot;
#endif

#endif

/* A weight tensor as it lies in a mapped model file, and its storage types (GGUF's numbers). */
#ifndef MODEL_TENSOR_H
#define MODEL_TENSOR_H

#include <stddef.h>
#include <stdint.h>

enum tensor_type {
    TENSOR_F32 = 0,
    TENSOR_F16 = 1,
    TENSOR_Q4_0 = 2, /* blocks of 32: see model/tensor_blocks.h */
    TENSOR_Q4_1 = 3,
    TENSOR_Q5_0 = 6,
    TENSOR_Q5_1 = 7,
    TENSOR_Q8_0 = 8,
    TENSOR_Q2_K = 10, /* blocks of 256 */
    TENSOR_Q3_K = 11,
    TENSOR_Q4_K = 12,
    TENSOR_Q5_K = 13,
    TENSOR_Q6_K = 14,
    TENSOR_IQ4_NL = 20, /* of 32 */
    TENSOR_IQ4_XS = 23, /* of 256 */
    TENSOR_BF16 = 30,
};
#define TENSOR_N_TYPES 31 /* numbers beyond the highest */

/* Thread-safety: safe, never written after the file is open. */
struct tensor {
    const char *name;
    enum tensor_type type;
    uint64_t rows, cols; /* [out, in], row-major; a vector is one row */
    const void *data;    /* borrowed: as long as its model; not necessarily aligned beyond 8 bytes */
    size_t len_bytes;
};

/* "f32", "f16", "bf16", "q8_0", "q4_K" …; NULL for a number not listed. */
const char *tensor_type_name(enum tensor_type type);

/* Values and bytes of one block, the least that can be stored: 1 value for the types without blocks. */
uint32_t tensor_block_len(enum tensor_type type);
uint32_t tensor_block_bytes(enum tensor_type type);

/* Bytes of one row of cols values; 0 when the type cannot hold such a row. */
size_t tensor_row_bytes(enum tensor_type type, uint64_t cols);

/* Dequantises n values (whole blocks) at p, of any alignment. */
void tensor_unpack(enum tensor_type type, const void *p, uint64_t n, float *out);

/* Dequantises row `row` (< rows) into cols floats. */
void tensor_row_f32(const struct tensor *t, uint64_t row, float *out);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* rounds to nearest even; overflow gives Inf */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);

#endif

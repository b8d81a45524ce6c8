/* Blocks of quantised weights, in GGUF's layouts: see model/FORMAT.md. Thread-safety: safe. */
#ifndef MODEL_TENSOR_BLOCKS_H
#define MODEL_TENSOR_BLOCKS_H

#include <stdint.h>

/* Values and bytes of one block. */
#define BLOCK_LEN 32
#define BLOCK_Q4_0_BYTES (2 + 16)
#define BLOCK_Q4_1_BYTES (2 + 2 + 16)
#define BLOCK_Q5_0_BYTES (2 + 4 + 16)
#define BLOCK_Q5_1_BYTES (2 + 2 + 4 + 16)
#define BLOCK_Q8_0_BYTES (2 + 32)
#define BLOCK_K_LEN 256 /* of the K types: 8 parts of 32 values, of q6_K 16 of 16 */
#define BLOCK_Q4_K_BYTES (2 + 2 + 12 + 128)
#define BLOCK_Q5_K_BYTES (2 + 2 + 12 + 32 + 128)
#define BLOCK_Q6_K_BYTES (128 + 64 + 16 + 2)

/* One block into its values; p has any alignment. */
void block_q4_0(const uint8_t *p, float *out);
void block_q4_1(const uint8_t *p, float *out);
void block_q5_0(const uint8_t *p, float *out);
void block_q5_1(const uint8_t *p, float *out);
void block_q8_0(const uint8_t *p, float *out);
void block_q4_k(const uint8_t *p, float *out);
void block_q5_k(const uint8_t *p, float *out);
void block_q6_k(const uint8_t *p, float *out);

/* Part i (0 … 7) of the 12 bytes in which q4_K and q5_K keep 8 scales and 8 minima of 6 bits. */
static inline void block_k_scale(const uint8_t *p, int i, uint8_t *scale, uint8_t *min)
{
    if (i < 4) {
        *scale = p[i] & 63;
        *min = p[i + 4] & 63;
    } else {
        *scale = (uint8_t)((p[i + 4] & 15) | (p[i - 4] >> 6) << 4);
        *min = (uint8_t)(p[i + 4] >> 4 | (p[i] >> 6) << 4);
    }
}

#endif

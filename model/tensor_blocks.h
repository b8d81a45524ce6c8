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
#define BLOCK_IQ4_NL_BYTES (2 + 16)
#define BLOCK_K_LEN 256 /* of the K types and iq4_xs: 8 parts of 32 values, of q2_K, q3_K and q6_K 16 of 16 */
#define BLOCK_Q2_K_BYTES (16 + 64 + 2 + 2)
#define BLOCK_Q3_K_BYTES (32 + 64 + 12 + 2)
#define BLOCK_Q4_K_BYTES (2 + 2 + 12 + 128)
#define BLOCK_Q5_K_BYTES (2 + 2 + 12 + 32 + 128)
#define BLOCK_Q6_K_BYTES (128 + 64 + 16 + 2)
#define BLOCK_IQ4_XS_BYTES (2 + 2 + 4 + 128)

/* One block into its values; p has any alignment. */
void block_q4_0(const uint8_t *p, float *out);
void block_q4_1(const uint8_t *p, float *out);
void block_q5_0(const uint8_t *p, float *out);
void block_q5_1(const uint8_t *p, float *out);
void block_q8_0(const uint8_t *p, float *out);
void block_q2_k(const uint8_t *p, float *out);
void block_q3_k(const uint8_t *p, float *out);
void block_q4_k(const uint8_t *p, float *out);
void block_q5_k(const uint8_t *p, float *out);
void block_q6_k(const uint8_t *p, float *out);
void block_iq4_nl(const uint8_t *p, float *out);
void block_iq4_xs(const uint8_t *p, float *out);

/* The whole numbers that the nibbles of the iq4 types stand for. */
extern const int8_t block_iq4_values[16];

/* Scale i (0 … 15) of the 12 bytes in which q3_K keeps 16 scales of 6 bits, its 32 taken off. */
static inline int block_q3_scale(const uint8_t *p, int i)
{
    const int low = i < 8 ? p[i] & 15 : p[i - 8] >> 4;
    return (low | (p[8 + i % 4] >> 2 * (i / 4) & 3) << 4) - 32;
}

/* Scale i (0 … 7) of an iq4_xs block, its 32 taken off. */
static inline int block_iq4_scale(const uint8_t *p, int i)
{
    const int low = p[4 + i / 2] >> 4 * (i % 2) & 15, high = p[2 + i / 4] >> 2 * (i % 4) & 3;
    return (low | high << 4) - 32;
}

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

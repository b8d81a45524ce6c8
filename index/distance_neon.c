/* NEON kernels, with and without the dot product extension. Signed times signed, so no bias. */
#include "index/distance.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include "index/rotate.h"

static inline int8x16_t load_code(const uint8_t *p)
{
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(0x80)));
}

static void dot_codes_neon(const uint8_t *const *codes, size_t n_codes, const int8_t *q,
                           int32_t bias, size_t n, int32_t *out)
{
    (void)bias;
    for (size_t i = 0; i < n_codes; i++) {
        int32x4_t s0 = vdupq_n_s32(0), s1 = s0;
        for (size_t j = 0; j < n; j += 16) {
            int8x16_t c = load_code(codes[i] + j), x = vld1q_s8(q + j);
            s0 = vpadalq_s16(s0, vmull_s8(vget_low_s8(c), vget_low_s8(x)));
            s1 = vpadalq_s16(s1, vmull_high_s8(c, x));
        }
        out[i] = vaddvq_s32(vaddq_s32(s0, s1));
    }
}

#ifdef __clang__
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif

DOTPROD static void dot_codes_dotprod(const uint8_t *const *codes, size_t n_codes, const int8_t *q,
                                      int32_t bias, size_t n, int32_t *out)
{
    (void)bias;
    for (size_t i = 0; i < n_codes; i++) {
        int32x4_t s0 = vdupq_n_s32(0), s1 = s0;
        for (size_t j = 0; j < n; j += 32) {
            s0 = vdotq_s32(s0, load_code(codes[i] + j), vld1q_s8(q + j));
            s1 = vdotq_s32(s1, load_code(codes[i] + j + 16), vld1q_s8(q + j + 16));
        }
        out[i] = vaddvq_s32(vaddq_s32(s0, s1));
    }
}

static int32_t code_to_query_neon(const uint8_t *code, size_t n, int8_t *q)
{
    int32_t sum = 0;
    for (size_t j = 0; j < n; j += 16) {
        int8x16_t c = load_code(code + j);
        sum += vaddlvq_s8(c);
        vst1q_s8(q + j, c);
    }
    return 128 * sum;
}

static float dot_f32_neon(const float *a, const float *b, size_t n)
{
    float32x4_t s0 = vdupq_n_f32(0), s1 = s0;
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        s0 = vfmaq_f32(s0, vld1q_f32(a + j), vld1q_f32(b + j));
        s1 = vfmaq_f32(s1, vld1q_f32(a + j + 4), vld1q_f32(b + j + 4));
    }
    float sum = vaddvq_f32(vaddq_f32(s0, s1));
    for (; j < n; j++)
        sum += a[j] * b[j];
    return sum;
}

static float l2_f32_neon(const float *a, const float *b, size_t n)
{
    float32x4_t s0 = vdupq_n_f32(0), s1 = s0;
    size_t j = 0;
    for (; j + 8 <= n; j += 8) {
        float32x4_t x = vsubq_f32(vld1q_f32(a + j), vld1q_f32(b + j));
        float32x4_t y = vsubq_f32(vld1q_f32(a + j + 4), vld1q_f32(b + j + 4));
        s0 = vfmaq_f32(s0, x, x);
        s1 = vfmaq_f32(s1, y, y);
    }
    float sum = vaddvq_f32(vaddq_f32(s0, s1));
    for (; j < n; j++)
        sum += (a[j] - b[j]) * (a[j] - b[j]);
    return sum;
}

static void dot_bits_neon(const uint8_t *const *bits, size_t n_bits, const int8_t *q, size_t n, int32_t *out)
{
    const uint8x16_t which = vcombine_u8(vcreate_u8(0x8040201008040201u), vcreate_u8(0x8040201008040201u));
    for (size_t i = 0; i < n_bits; i++) {
        int32x4_t sum = vdupq_n_s32(0);
        for (size_t j = 0; j < n; j += 16) {
            uint8x16_t b = vcombine_u8(vdup_n_u8(bits[i][j / 8]), vdup_n_u8(bits[i][j / 8 + 1]));
            int8x16_t x = vandq_s8(vreinterpretq_s8_u8(vtstq_u8(b, which)), vld1q_s8(q + j));
            sum = vpadalq_s16(sum, vpaddlq_s8(x));
        }
        out[i] = vaddvq_s32(sum);
    }
}

static void rotate_neon(float *x, size_t n)
{
    rotate_body(x, n);
}

const struct distance distance_neon = {"neon",      dot_codes_neon, code_to_query_neon, dot_f32_neon,
                                       l2_f32_neon, dot_bits_neon,  rotate_neon};
const struct distance distance_neon_dotprod = {"neon-dotprod", dot_codes_dotprod, code_to_query_neon, dot_f32_neon,
                                               l2_f32_neon,    dot_bits_neon,     rotate_neon};
#endif

/* NEON kernels, with and without the dot product extension. Signed times signed, so no bias. */
#include "index/distance.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include "index/quantise.h"
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

static void dot_bits_neon(const uint8_t *const *bits, size_t n_bits, const uint8_t *planes, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_bits; i++) {
        uint32x4_t plus = vdupq_n_u32(0), minus = plus;
        for (size_t j = 0; j < n; j += 128) {
            const uint8_t *p = planes + j / 512 * PLANES * 64 + j % 512 / 8;
            uint8x16_t x = vld1q_u8(bits[i] + j / 8), sum = vdupq_n_u8(0); /* at most 8 * 15 */
            for (int b = PLANES - 2; b >= 0; b--)
                sum = vaddq_u8(vaddq_u8(sum, sum), vcntq_u8(vandq_u8(x, vld1q_u8(p + 64 * b))));
            plus = vpadalq_u16(plus, vpaddlq_u8(sum));
            minus = vpadalq_u16(minus, vpaddlq_u8(vcntq_u8(vandq_u8(x, vld1q_u8(p + 64 * (PLANES - 1))))));
        }
        out[i] = (int32_t)vaddvq_u32(plus) - (int32_t)(vaddvq_u32(minus) << (PLANES - 1));
    }
}

static void to_planes_neon(const int8_t *q, size_t n, uint8_t *planes)
{
    const uint8x16_t place = vcombine_u8(vcreate_u8(0x8040201008040201u), vcreate_u8(0x8040201008040201u));
    memset(planes, 0, planes_bytes(n));
    for (size_t j = 0; j < n; j += 16) {
        uint8x16_t x = vreinterpretq_u8_s8(vld1q_s8(q + j));
        uint8_t *to = planes + j / 512 * PLANES * 64 + j % 512 / 8;
        for (int b = 0; b < PLANES; b++) {
            uint8x16_t m = vandq_u8(vtstq_u8(x, vdupq_n_u8((uint8_t)(1 << b))), place);
            to[64 * b] = vaddv_u8(vget_low_u8(m));
            to[64 * b + 1] = vaddv_u8(vget_high_u8(m));
        }
    }
}

#define TARGET
#define NAME(x) x##_neon
#include "index/distance_tmpl.h"

#define REST_NEON dot_f32_neon, l2_f32_neon, dot_bits_neon, to_planes_neon, quantise_neon, largest_neon, sum2_neon, scale_neon, rotate_neon
const struct distance distance_neon = {"neon", dot_codes_neon, code_to_query_neon, REST_NEON};
const struct distance distance_neon_dotprod = {"neon-dotprod", dot_codes_dotprod, code_to_query_neon, REST_NEON};
#endif

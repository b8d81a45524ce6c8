/* CPU features, read once; LATENTD_CPU_MASK (hex, ANDed) turns some off for tests.
 * Thread-safety: safe. */
#ifndef BASE_CPU_H
#define BASE_CPU_H

enum cpu_feature {
    CPU_AVX2 = 1 << 0,        /* with FMA and F16C */
    CPU_AVX512 = 1 << 1,      /* F, BW, VL, DQ */
    CPU_AVX512_VNNI = 1 << 2, /* implies CPU_AVX512 */
    CPU_AVX_VNNI = 1 << 3,
    CPU_NEON = 1 << 4,
    CPU_NEON_DOTPROD = 1 << 5,
    CPU_AVX512_POPCNT = 1 << 6, /* VPOPCNTDQ; implies CPU_AVX512_VNNI */
    CPU_AVX512_BF16 = 1 << 7, /* implies CPU_AVX512_VNNI */
    CPU_AMX_INT8 = 1 << 8,    /* with AMX's tiles, which the kernel lets this process use; implies CPU_AVX512_VNNI */
};

/* Or of enum cpu_feature: what this process may use. */
unsigned cpu_features(void);

/* Processors that this process may use, at least 1. */
unsigned cpu_count(void);

#endif

/* A step of NEON's dot products, in the middle of a pass over some rows: ops_cpu_fine_dot.c, ops_cpu_vnni_dot.c. */
#ifndef MODEL_OPS_CPU_DOT_H
#define MODEL_OPS_CPU_DOT_H

#include <arm_neon.h>

#include "model/ops_cpu_vnni.h"

/* t[n rows][4 vectors of columns] += values 4 lane … 4 lane + 3 of the 16 in each row's x, by the weights at `at` of the first of them */
#define DOT(lane)                                                     \
    {                                                                 \
        int8x16_t w[4];                                               \
        _Pragma("GCC unroll 4") for (size_t c = 0; c < 4; c++)        \
            w[c] = vld1q_s8(at + (lane) * VNNI_COLS * VNNI_K + 16 * c); \
        _Pragma("GCC unroll 4") for (size_t r = 0; r < n; r++)        \
            _Pragma("GCC unroll 4") for (size_t c = 0; c < 4; c++)    \
                t[r][c] = vdotq_laneq_s32(t[r][c], w[c], x[r], lane); \
    }

#endif

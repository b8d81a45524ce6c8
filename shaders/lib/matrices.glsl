// Cooperative matrices of f16 whose products are summed in f32, by names. With EMULATED the same in plain GLSL, for tests on devices that have
// none: of 16 x 16 x 16, for subgroups of 32, and each invocation holds what NVIDIA's hold of a left matrix; of the others what it may. Needs
// the constants SUBGROUPS, TM, TN, TK. All of a work-group must come to a product as often. Loops are few and short: llvmpipe stops an
// invocation at 65,535 turns of all its loops.
#ifndef EMULATED

#define MATRIX_A coopmat<float16_t, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define MATRIX_SUM coopmat<float, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>
#define MATRIX_ZERO MATRIX_SUM(0.0)
#define MATRIX_MUL_ADD coopMatMulAdd
#define MATRIX_LOAD_A(m, from, at, stride) coopMatLoad(m, from, at, stride, gl_CooperativeMatrixLayoutRowMajor);
#define MATRIX_LOAD_B(m, from, at, stride) coopMatLoad(m, from, at, stride, gl_CooperativeMatrixLayoutColumnMajor);
#define MATRIX_LOAD_SUMS(m, from, at, stride) coopMatLoad(m, from, at, stride, gl_CooperativeMatrixLayoutRowMajor);
#define MATRIX_SCALE(m, by) m *= by;
#define MATRIX_STORE_ROWS(m, to, at, stride) coopMatStore(m, to, at, stride, gl_CooperativeMatrixLayoutRowMajor);
#define MATRIX_STORE_COLUMNS(m, to, at, stride) coopMatStore(m, to, at, stride, gl_CooperativeMatrixLayoutColumnMajor);
#define SUBGROUP gl_SubgroupID
#define LANE gl_SubgroupInvocationID

#else

#define MATRIX_A float16_t[8]
#define MATRIX_B float16_t[8]
#define MATRIX_SUM float[8]
#define MATRIX_ZERO MATRIX_SUM(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
#define MATRIX_MUL_ADD emulated_mul_add
#define SUBGROUP (gl_LocalInvocationID.x / 32)
#define LANE (gl_LocalInvocationID.x % 32)

shared float emulated_a[SUBGROUPS * 256], emulated_b[SUBGROUPS * 256];

// Of a left matrix (row, k), of a right one (column, k), of a sum (row, column): where an invocation's value i is.
uvec2 emulated_place(uint i)
{
    return uvec2(LANE / 4 + i / 4 * 8, i % 4 / 2 * 8 + LANE % 4 * 2 + i % 2);
}

MATRIX_SUM emulated_mul_add(MATRIX_A a, MATRIX_B b, MATRIX_SUM c)
{
    barrier(); // the matrices before have been read
    [[dont_unroll]] for (uint i = 0; i < 8; i++) {
        uint at = SUBGROUP * 256 + emulated_place(i).x * 16 + emulated_place(i).y;
        emulated_a[at] = float(a[i]);
        emulated_b[at] = float(b[i]);
    }
    barrier();
    [[dont_unroll]] for (uint i = 0; i < 8; i++) {
        uint row = SUBGROUP * 256 + emulated_place(i).x * 16, column = SUBGROUP * 256 + emulated_place(i).y * 16;
        [[dont_unroll]] for (uint k = 0; k < 16; k += 4)
            c[i] += emulated_a[row + k] * emulated_b[column + k] + emulated_a[row + k + 1] * emulated_b[column + k + 1] +
                emulated_a[row + k + 2] * emulated_b[column + k + 2] + emulated_a[row + k + 3] * emulated_b[column + k + 3];
    }
    return c;
}

// From eights of f16, k along them.
#define MATRIX_LOAD_A MATRIX_LOAD_B
#define MATRIX_LOAD_B(m, from, at, stride)                                                                             \
    for (uint i_ = 0; i_ < 8; i_++) {                                                                                  \
        uvec2 place_ = emulated_place(i_);                                                                             \
        m[i_] = unpackFloat2x16(from[(at) + place_.x * (stride) + place_.y / 8][place_.y % 8 / 2])[place_.y % 2];       \
    }
#define MATRIX_LOAD_SUMS(m, from, at, stride)                                                                          \
    for (uint i_ = 0; i_ < 8; i_++)                                                                                    \
        m[i_] = from[(at) + emulated_place(i_).x * (stride) + emulated_place(i_).y];
#define MATRIX_SCALE(m, by)                                                                                            \
    for (uint i_ = 0; i_ < 8; i_++)                                                                                    \
        m[i_] *= by[i_];
#define MATRIX_STORE_ROWS(m, to, at, stride)                                                                           \
    for (uint i_ = 0; i_ < 8; i_++)                                                                                    \
        to[(at) + emulated_place(i_).x * (stride) + emulated_place(i_).y] = m[i_];
#define MATRIX_STORE_COLUMNS(m, to, at, stride)                                                                        \
    for (uint i_ = 0; i_ < 8; i_++)                                                                                    \
        to[(at) + emulated_place(i_).y * (stride) + emulated_place(i_).x] = m[i_];

#endif

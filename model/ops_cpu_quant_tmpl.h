/* From f32 to int8, from the products' sums back, and from stored weights, written once over ops_cpu_simd.h. */

static inline void turn(vf z[MIX_WAYS])
{
    for (int h = 1; h < MIX_WAYS; h *= 2)
        for (int i = 0; i < MIX_WAYS; i++)
            if (!(i & h)) {
                const vf a = z[i], b = z[i + h];
                z[i] = a + b;
                z[i + h] = a - b;
            }
}

/* MIX_WAYS vectors of a block, transformed; the division comes first, so that nothing overflows */
static inline void mix(const float *x, vf z[MIX_WAYS])
{
    for (int i = 0; i < MIX_WAYS; i++)
        z[i] = vf_load(x + i * MIX_LANES) * vf_set(1.0f / MIX_WAYS);
    turn(z);
}

#define MIX_KEPT 4096 /* values of a row that stay in the first-level cache: a whole number of blocks */

/* n values of a row, mixed, to z; the largest |z| so far in *max. *taint is NaN from a NaN or Inf on: max would lose them, 0·z does not. All that a block's
 * transform mixes are then none. */
static inline void mix_part(const float *x, size_t n, float *z, vf *max, vf *taint)
{
    vf largest = *max, bad = *taint;
    size_t i = 0;
    for (; i + MIX_BLOCK <= n; i += MIX_BLOCK) {
        for (size_t lane = 0; lane < MIX_LANES; lane += VW) {
            vf m[MIX_WAYS];
            mix(x + i + lane, m);
            bad = vf_fma(m[0], vf_set(0), bad);
            for (size_t w = 0; w < MIX_WAYS; w++) {
                largest = vf_max(largest, vf_abs(m[w]));
                vf_store(z + i + w * MIX_LANES + lane, m[w]);
            }
        }
    }
    for (; i < n; i += VW) {
        const vf a = vf_get(x + i, n - i);
        largest = vf_max(largest, vf_abs(a));
        bad = vf_fma(a, vf_set(0), bad);
        vf_put(z + i, a, n - i);
    }
    *max = largest;
    *taint = bad;
}

static inline void round_part(const float *z, size_t n, vf inv, uint8_t *q)
{
    size_t i = 0;
    for (; i + 4 * VW <= n; i += 4 * VW) {
        const vf a[4] = {vf_load(z + i) * inv, vf_load(z + i + VW) * inv, vf_load(z + i + 2 * VW) * inv, vf_load(z + i + 3 * VW) * inv};
        vf_store_4_u8(q + i, a);
    }
    for (; i + VW <= n; i += VW)
        vf_store_u8(q + i, vf_load(z + i) * inv);
    if (i < n) {
        uint8_t tail[VW];
        vf_store_u8(tail, vf_load_n(z + i, n - i) * inv);
        memcpy(q + i, tail, n - i);
    }
}

static void quantise(const float *x, size_t n, size_t k, uint8_t *q, float *scale)
{
    _Alignas(64) float z[MIX_KEPT];
    for (size_t t = 0; t < n; t++, x += k, q += k) {
        vf max = vf_set(0), taint = vf_set(0);
        for (size_t i = 0; i < k; i += MIX_KEPT)
            mix_part(x + i, k - i < MIX_KEPT ? k - i : MIX_KEPT, z, &max, &taint);
        const float bad = vf_sum(taint), largest = vf_hmax(max);
        scale[t] = bad == 0 ? largest * (1 / 127.0f) : NAN;
        if (bad != 0 || !(largest > 1e-30f)) { /* 127 / largest would not be finite */
            memset(q, 128, k);
            if (bad == 0)
                scale[t] = 0;
            continue;
        }
        const vf inv = vf_set(127 / largest);
        for (size_t i = 0; i < k; i += MIX_KEPT) {
            const size_t part = k - i < MIX_KEPT ? k - i : MIX_KEPT;
            if (k > MIX_KEPT)
                mix_part(x + i, part, z, &max, &taint);
            round_part(z, part, inv, q + i);
        }
    }
}

/* Mixes w in place, undivided; the largest |w|. *bad is not 0 when it holds NaN or Inf. */
static float mix_weights(float *w, size_t k, float *bad)
{
    vf max = vf_set(0), taint = vf_set(0);
    size_t i = 0;
    for (; i + MIX_BLOCK <= k; i += MIX_BLOCK) {
        for (size_t lane = 0; lane < MIX_LANES; lane += VW) {
            vf z[MIX_WAYS];
            for (int j = 0; j < MIX_WAYS; j++)
                z[j] = vf_load(w + i + (size_t)j * MIX_LANES + lane);
            turn(z);
            for (int j = 0; j < MIX_WAYS; j++) {
                vf_store(w + i + (size_t)j * MIX_LANES + lane, z[j]);
                max = vf_max(max, vf_abs(z[j]));
                taint = vf_fma(z[j], vf_set(0), taint);
            }
        }
    }
    for (; i < k; i += VW) {
        const vf a = vf_get(w + i, k - i);
        max = vf_max(max, vf_abs(a));
        taint = vf_fma(a, vf_set(0), taint);
    }
    *bad = vf_sum(taint);
    return vf_hmax(max);
}

static float quantise_weights(float *w, size_t k, int8_t *q, int32_t *sum)
{
    float bad;
    const float largest = mix_weights(w, k, &bad);
    uint8_t *u = (uint8_t *)q;
    int32_t s = 0;
    *sum = 0;
    if (bad != 0 || !(largest > 1e-30f)) {
        memset(q, 0, k);
        return bad != 0 ? NAN : 0;
    }
    const vf inv = vf_set(127 / largest);
    size_t i = 0;
    for (; i + VW <= k; i += VW)
        vf_store_u8(u + i, vf_load(w + i) * inv);
    if (i < k) {
        uint8_t tail[VW];
        vf_store_u8(tail, vf_load_n(w + i, k - i) * inv);
        memcpy(u + i, tail, k - i);
    }
    for (i = 0; i < k; i++) {
        q[i] = (int8_t)(u[i] ^ 0x80);
        s += q[i];
    }
    *sum = s;
    return largest / 127;
}

static inline vf tile_add(const struct cpu_tile *t, vf a, const float *residual, size_t i, size_t left)
{
    if (t->bias)
        a = a + vf_get(t->bias + i, left);
    if (residual)
        a = a + vf_get(residual + i, left);
    return a;
}

/* What is looked up in the tile is looked up once: a stored vector may be anything, to the compiler also the tile itself. */
static void finish_int8(const struct cpu_tile *tile)
{
    const struct cpu_tile t = *tile;
    const int32_t *sums = t.sums;
    const float *residual = t.residual;
    float *y = t.y;
    for (size_t r = 0; r < t.n_rows; r++, sums += t.n_cols, y += t.ld) {
        const vf scale = vf_set(t.row_scale[r]);
        size_t i = 0;
        for (; i + VW <= t.n_cols; i += VW) {
            vf a = vf_diff_i32(sums + i, t.col_bias + i) * (scale * vf_load(t.col_scale + i));
            vf_store(y + i, tile_add(&t, a, residual, i, VW));
        }
        if (i < t.n_cols) {
            const size_t left = t.n_cols - i;
            int32_t s[VW] = {0}, b[VW] = {0};
            memcpy(s, sums + i, left * sizeof *s);
            memcpy(b, t.col_bias + i, left * sizeof *b);
            vf a = vf_diff_i32(s, b) * (scale * vf_load_n(t.col_scale + i, left));
            vf_store_n(y + i, tile_add(&t, a, residual, i, left), left);
        }
        residual = residual ? residual + t.ld_residual : NULL;
    }
}

/* One value of a tile before anything but its bias is added, as finish_int8 makes it */
static inline vf tile_value(const struct cpu_tile *t, size_t r, size_t i, size_t left)
{
    const int32_t *sums = (const int32_t *)t->sums + r * t->n_cols + i, *col_bias = t->col_bias + i;
    int32_t s[VW] = {0}, b[VW] = {0};
    if (left < VW) {
        memcpy(s, sums, left * sizeof *s);
        memcpy(b, col_bias, left * sizeof *b);
        sums = s;
        col_bias = b;
    }
    vf a = vf_diff_i32(sums, col_bias) * (vf_set(t->row_scale[r]) * vf_get(t->col_scale + i, left));
    return tile_add(t, a, NULL, i, left);
}

static inline vf gated(vf a, vf b, enum cpu_gate gate)
{
    return gate == GATE_SWIGLU ? silu(a) * b : gate == GATE_GEGLU ? a * gelu(b) : gelu_tanh(a) * b;
}

/* Whole vectors with nothing looked up on the way, then what is left of the row */
static inline __attribute__((always_inline)) void gate_row(const struct cpu_tile *a, const struct cpu_tile *b, size_t r, enum cpu_gate gate)
{
    const size_t n = a->n_cols;
    const int32_t *sums_a = (const int32_t *)a->sums + r * n, *sums_b = (const int32_t *)b->sums + r * n;
    const int32_t *off_a = a->col_bias, *off_b = b->col_bias;
    const float *scale_a = a->col_scale, *scale_b = b->col_scale, *bias_a = a->bias, *bias_b = b->bias;
    const vf row_a = vf_set(a->row_scale[r]), row_b = vf_set(b->row_scale[r]);
    float *y = a->y + r * a->ld;
    size_t i = 0;
    for (; i + VW <= n; i += VW) {
        vf va = vf_diff_i32(sums_a + i, off_a + i) * (row_a * vf_load(scale_a + i));
        vf vb = vf_diff_i32(sums_b + i, off_b + i) * (row_b * vf_load(scale_b + i));
        if (bias_a) {
            va = va + vf_load(bias_a + i);
            vb = vb + vf_load(bias_b + i);
        }
        vf_store(y + i, gated(va, vb, gate));
    }
    if (i < n)
        vf_put(y + i, gated(tile_value(a, r, i, n - i), tile_value(b, r, i, n - i), gate), n - i);
}

static void finish_gate(const struct cpu_tile *a, const struct cpu_tile *b, enum cpu_gate gate)
{
    for (size_t r = 0; r < a->n_rows; r++) {
        if (gate == GATE_SWIGLU)
            gate_row(a, b, r, GATE_SWIGLU);
        else if (gate == GATE_GEGLU)
            gate_row(a, b, r, GATE_GEGLU);
        else
            gate_row(a, b, r, GATE_GEGLU_TANH);
    }
}

static void finish_f32(const struct cpu_tile *t)
{
    const float *sums = t->sums, *residual = t->residual;
    float *y = t->y;
    for (size_t r = 0; r < t->n_rows; r++, sums += t->n_cols, y += t->ld) {
        for (size_t i = 0; i < t->n_cols; i += VW) {
            const size_t left = t->n_cols - i;
            vf_put(y + i, tile_add(t, vf_get(sums + i, left), residual, i, left), left);
        }
        residual = residual ? residual + t->ld_residual : NULL;
    }
}

static void row_q8_0(const void *blocks, size_t n, float *y)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i += 32, p += 34) {
        uint16_t h;
        memcpy(&h, p, sizeof h);
        const vf scale = vf_set(f16_to_f32(h));
        for (size_t j = 0; j < 32; j += VW)
            vf_store(y + i + j, vf_load_i8((const int8_t *)p + 2 + j) * scale);
    }
}

static void row_q4_k(const void *blocks, size_t n, float *y)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i += BLOCK_K_LEN, p += BLOCK_Q4_K_BYTES) {
        uint16_t h[2];
        memcpy(h, p, sizeof h);
        const float d = f16_to_f32(h[0]), dmin = f16_to_f32(h[1]);
        int8_t q[2][32];
        for (int part = 0; part < 8; part++, y += 32) {
            uint8_t scale, min;
            block_k_scale(p + 4, part, &scale, &min);
            const vf s = vf_set(d * (float)scale), m = vf_set(dmin * (float)min);
            for (int j = 0; j < 32 && !(part & 1); j++) {
                q[0][j] = p[16 + part * 16 + j] & 15;
                q[1][j] = p[16 + part * 16 + j] >> 4;
            }
            for (size_t j = 0; j < 32; j += VW)
                vf_store(y + j, s * vf_load_i8(q[part & 1] + j) - m);
        }
    }
}

static void row_f16(const void *x, size_t n, float *y)
{
    const uint16_t *p = x;
    size_t i = 0;
    for (; i + VW <= n; i += VW)
        vf_store(y + i, vf_load_f16(p + i));
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, (const uint8_t *)x + 2 * i, sizeof h);
        y[i] = f16_to_f32(h);
    }
}

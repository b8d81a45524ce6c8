/* Row kernels, written once over ops_cpu_simd.h; ops_cpu_variant.c compiles them per instruction set. */

/* Σ (x - mean)² of d values, in four sums that need not wait for one another */
static inline float squares(const float *x, size_t d, float mean)
{
    vf sum[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
    size_t i = 0;
    for (; i + 4 * VW <= d; i += 4 * VW) {
        for (size_t j = 0; j < 4; j++) {
            const vf a = vf_load(x + i + j * VW) - vf_set(mean);
            sum[j] = vf_fma(a, a, sum[j]);
        }
    }
    for (; i + VW <= d; i += VW) {
        const vf a = vf_load(x + i) - vf_set(mean);
        sum[0] = vf_fma(a, a, sum[0]);
    }
    float all = vf_sum((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < d; i++) /* the lanes past the end would count as -mean */
        all += (x[i] - mean) * (x[i] - mean);
    return all;
}

static void rms_norm(const float *x, const float *g, float eps, size_t n, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++, x += d, y += d) {
        vf scale = vf_set(1 / sqrtf(squares(x, d, 0) / (float)d + eps));
        for (size_t i = 0; i < d; i += VW)
            vf_put(y + i, vf_get(x + i, d - i) * scale * vf_get(g + i, d - i), d - i);
    }
}

static void rms_norm_add(const float *x, const float *g, float eps, size_t n, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++, x += d, y += d) {
        vf scale = vf_set(1 / sqrtf(squares(x, d, 0) / (float)d + eps));
        for (size_t i = 0; i < d; i += VW)
            vf_put(y + i, vf_get(y + i, d - i) + vf_get(x + i, d - i) * scale * vf_get(g + i, d - i), d - i);
    }
}

static void scale(float *x, float s, size_t n)
{
    for (size_t i = 0; i < n; i += VW)
        vf_put(x + i, vf_get(x + i, n - i) * vf_set(s), n - i);
}

static void layer_norm(const float *x, const float *g, const float *b, float eps, size_t n, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++, x += d, y += d) {
        vf sum[2] = {vf_set(0), vf_set(0)};
        size_t i = 0;
        for (; i + 2 * VW <= d; i += 2 * VW) {
            sum[0] = sum[0] + vf_load(x + i);
            sum[1] = sum[1] + vf_load(x + i + VW);
        }
        for (; i < d; i += VW)
            sum[0] = sum[0] + vf_get(x + i, d - i);
        const float mean_row = vf_sum(sum[0] + sum[1]) / (float)d;
        const vf mean = vf_set(mean_row), scale = vf_set(1 / sqrtf(squares(x, d, mean_row) / (float)d + eps));
        for (i = 0; i < d; i += VW) {
            vf a = (vf_get(x + i, d - i) - mean) * scale;
            if (g)
                a = a * vf_get(g + i, d - i);
            if (b)
                a = a + vf_get(b + i, d - i);
            vf_put(y + i, a, d - i);
        }
    }
}

static void rope(float *x, size_t n_heads, size_t dim, const float *cosines, const float *sines)
{
    const size_t half = dim / 2;
    for (size_t h = 0; h < n_heads; h++, x += dim) {
        for (size_t i = 0; i < half; i += VW) {
            size_t left = half - i;
            vf a = vf_get(x + i, left), b = vf_get(x + half + i, left);
            vf c = vf_get(cosines + i, left), s = vf_get(sines + i, left);
            vf_put(x + i, vf_fma(a, c, vf_set(0) - b * s), left);
            vf_put(x + half + i, vf_fma(b, c, a * s), left);
        }
    }
}

/* a / (1 + e^-x), with less care for e^-x than vf_exp takes: what it is off by grows with |x|, and counts the less for the result. */
static inline vf times_sigmoid(vf a, vf x)
{
    const vf t = vf_max(vf_set(-126.0f), vf_min(vf_set(126.0f), x * vf_set(-1.44269504f))), n = vf_round(t), r = t - n;
    vf p = vf_set(1.326472799e-3f); /* 2^r: minimax on |r| <= 1/2, within 1e-7 */
    p = vf_fma(p, r, vf_set(9.671512912e-3f));
    p = vf_fma(p, r, vf_set(5.550733744e-2f));
    p = vf_fma(p, r, vf_set(2.402224208e-1f));
    p = vf_fma(p, r, vf_set(6.931469776e-1f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_divide(a, vf_set(1) + vf_times_pow2(p, n));
}

/* a / (1 + e^-a) */
static inline vf silu(vf a)
{
    return times_sigmoid(a, a);
}

static inline vf gelu(vf a)
{
    vf h = a * vf_set(0.5f);
    return vf_fma(h, vf_erf(a * vf_set(0.707106781f)), h);
}

static void swiglu(const float *x, size_t n, size_t f, float *y)
{
    for (size_t t = 0; t < n; t++, x += 2 * f, y += f)
        for (size_t i = 0; i < f; i += VW)
            vf_put(y + i, silu(vf_get(x + i, f - i)) * vf_get(x + f + i, f - i), f - i);
}

static void geglu(const float *x, size_t n, size_t f, float *y)
{
    for (size_t t = 0; t < n; t++, x += 2 * f, y += f)
        for (size_t i = 0; i < f; i += VW)
            vf_put(y + i, vf_get(x + i, f - i) * gelu(vf_get(x + f + i, f - i)), f - i);
}

/* a (1 + tanh(u)) / 2 = a / (1 + e^-2u) with u = sqrt(2 / pi) (a + 0.044715 a³) */
static inline vf gelu_tanh(vf a)
{
    return times_sigmoid(a, a * vf_fma(a * a, vf_set(0.0713548163f), vf_set(1.59576912f)));
}

static void geglu_tanh(const float *x, size_t n, size_t f, float *y)
{
    for (size_t t = 0; t < n; t++, x += 2 * f, y += f)
        for (size_t i = 0; i < f; i += VW)
            vf_put(y + i, gelu_tanh(vf_get(x + i, f - i)) * vf_get(x + f + i, f - i), f - i);
}

static void softmax(float *x, size_t n, size_t r)
{
    for (size_t t = 0; t < n; t++, x += r) {
        float max = x[0];
        size_t i = 0;
        if (r >= VW) {
            vf m = vf_load(x);
            for (i = VW; i + VW <= r; i += VW)
                m = vf_max(m, vf_load(x + i));
            max = vf_hmax(m);
        }
        for (; i < r; i++)
            max = x[i] > max ? x[i] : max;
        vf sum = vf_set(0);
        for (i = 0; i + VW <= r; i += VW) {
            vf e = vf_exp(vf_load(x + i) - vf_set(max));
            vf_store(x + i, e);
            sum = sum + e;
        }
        if (i < r) {
            vf e = vf_exp(vf_load_n(x + i, r - i) - vf_set(max));
            vf_store_n(x + i, e, r - i);
            sum = sum + vf_load_n(x + i, r - i);
        }
        const vf scale = vf_set(1 / vf_sum(sum));
        for (i = 0; i < r; i += VW)
            vf_put(x + i, vf_get(x + i, r - i) * scale, r - i);
    }
}

/* Sums of 64 rows are added up, so that the error grows with n/64. Some vectors at a time: rows are far apart, and a visit should pay. */
static void mean_rows(const float *x, size_t n, size_t d, float *y)
{
    enum { AT_ONCE = 4 };
    const vf scale = vf_set(1 / (float)n);
    size_t i = 0;
    for (; i + AT_ONCE * VW <= d; i += AT_ONCE * VW) {
        vf total[AT_ONCE] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
        for (size_t t = 0; t < n;) {
            const size_t stop = n - t > 64 ? t + 64 : n;
            vf sum[AT_ONCE] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
            for (; t < stop; t++)
                for (size_t u = 0; u < AT_ONCE; u++)
                    sum[u] = sum[u] + vf_load(x + t * d + i + u * VW);
            for (size_t u = 0; u < AT_ONCE; u++)
                total[u] = total[u] + sum[u];
        }
        for (size_t u = 0; u < AT_ONCE; u++)
            vf_store(y + i + u * VW, total[u] * scale);
    }
    for (; i < d; i += VW) {
        vf total = vf_set(0);
        for (size_t t = 0; t < n;) {
            const size_t stop = n - t > 64 ? t + 64 : n;
            vf sum = vf_set(0);
            for (; t < stop; t++)
                sum = sum + vf_get(x + t * d + i, d - i);
            total = total + sum;
        }
        vf_put(y + i, total * scale, d - i);
    }
}

static void l2_normalize(float *x, size_t n, size_t d)
{
    for (size_t t = 0; t < n; t++, x += d) {
        vf sum = vf_set(0);
        for (size_t i = 0; i < d; i += VW) {
            vf a = vf_get(x + i, d - i);
            sum = vf_fma(a, a, sum);
        }
        float norm = sqrtf(vf_sum(sum));
        const vf scale = vf_set(1 / (norm < 1e-12f ? 1e-12f : norm));
        for (size_t i = 0; i < d; i += VW)
            vf_put(x + i, vf_get(x + i, d - i) * scale, d - i);
    }
}

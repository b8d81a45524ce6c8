/* Attention of some query rows over their text, written once over ops_cpu_simd.h.
 *
 * A tile is up to 2 VW query rows of one head, one row a lane: the queries lie transposed, keys and values are
 * read in place, one value for all lanes. Scores of ATTENTION_KEYS keys at a time stay in the first-level cache,
 * and maximum and sum are lane by lane: no sums across lanes, and a row's result does not depend on its lane. */

#define LANES (2 * VW)
_Static_assert((2 * (ATTENTION_MAX_DIM + 16) + ATTENTION_KEYS) * LANES <= ATTENTION_SCRATCH, "");
/* nv, the vectors of a tile, must be a constant where registers are assigned. */
#define INLINE static inline __attribute__((always_inline))

struct attention_tile {
    size_t row, n_rows;            /* query rows */
    size_t key_begin, key_end;     /* keys; the first is a whole number of steps behind the text's first */
    const float *k, *v;          /* row 0 of the packed batch, this head's columns */
    size_t ld;
    float *q, *s, *o; /* [dim, LANES], [ATTENTION_KEYS, LANES], [dim, LANES] */
};

INLINE void attention_load_q(const float *q, size_t ld, size_t n_rows, size_t dim, float scale, int nv, float *out)
{
    for (size_t d = 0; d < dim; d += VW) {
        for (int v = 0; v < nv; v++) {
            vf r[VW];
            for (size_t j = 0; j < VW; j++) {
                const size_t row = (size_t)v * VW + j;
                r[j] = vf_set(0);
                if (row < n_rows)
                    r[j] = vf_get(q + row * ld + d, dim - d) * vf_set(scale);
            }
            vf_transpose(r);
            for (size_t j = 0; j < VW; j++) /* rows past dim go to the room behind it */
                vf_store(out + (d + j) * LANES + (size_t)v * VW, r[j]);
        }
    }
}

INLINE void attention_store_o(const float *o, const vf *scale, size_t ld, size_t n_rows, size_t dim, int nv, float *y)
{
    for (size_t d = 0; d < dim; d += VW) {
        for (int v = 0; v < nv; v++) {
            vf r[VW];
            for (size_t j = 0; j < VW; j++) {
                r[j] = vf_set(0);
                if (d + j < dim)
                    r[j] = vf_load(o + (d + j) * LANES + (size_t)v * VW) * scale[v];
            }
            vf_transpose(r);
            for (size_t j = 0; j < VW && (size_t)v * VW + j < n_rows; j++)
                vf_put(y + ((size_t)v * VW + j) * ld + d, r[j], dim - d);
        }
    }
}

/* Scores of keys first … first + n - 1 for all lanes, and their maximum into max */
INLINE void attention_scores(const struct attention_tile *t, size_t first, size_t n, size_t dim, int nv, vf *max)
{
    for (size_t j = 0; j < n; j += KEYS_AT_ONCE) {
        const float *k[KEYS_AT_ONCE];
        vf sum[KEYS_AT_ONCE][2];
        for (size_t u = 0; u < KEYS_AT_ONCE; u++) { /* past the end: the last key again, not stored */
            k[u] = t->k + (first + (j + u < n ? j + u : n - 1)) * t->ld;
            sum[u][0] = sum[u][1] = vf_set(0);
        }
        for (size_t d = 0; d < dim; d++) {
            vf q[2];
            for (int v = 0; v < nv; v++)
                q[v] = vf_load(t->q + d * LANES + (size_t)v * VW);
            for (size_t u = 0; u < KEYS_AT_ONCE; u++) {
                const vf b = vf_set(k[u][d]);
                for (int v = 0; v < nv; v++)
                    sum[u][v] = vf_fma(b, q[v], sum[u][v]);
            }
        }
        for (size_t u = 0; u < KEYS_AT_ONCE && j + u < n; u++) {
            for (int v = 0; v < nv; v++) {
                vf_store(t->s + (j + u) * LANES + (size_t)v * VW, sum[u][v]);
                max[v] = vf_max(max[v], sum[u][v]);
            }
        }
    }
}

/* Masks what lies after each lane's own row, or too far from it; the maximum is taken anew. A lane that sees nothing of its first
 * steps gets finite nonsense, which the step with its own row multiplies by 0. */
INLINE void attention_mask(const struct cpu_attention *a, const struct attention_tile *t, size_t first, size_t n, int nv,
                           const vf *old, vf *max)
{
    for (int v = 0; v < nv; v++)
        max[v] = old[v];
    for (size_t j = 0; j < n; j++) {
        float *s = t->s + j * LANES;
        const size_t key = first + j;
        for (size_t lane = 0; lane < (size_t)nv * VW; lane++) {
            const size_t row = t->row + lane, away = key > row ? key - row : row - key;
            if ((a->causal && key > row) || (a->window && away >= a->window))
                s[lane] = -1e38f;
        }
        for (int v = 0; v < nv; v++)
            max[v] = vf_max(max[v], vf_load(s + (size_t)v * VW));
    }
}

/* o = o · keep + Σ s v over the n keys from first on */
INLINE void attention_values(const struct attention_tile *t, size_t first, size_t n, size_t dim, int nv,
                                    const vf *keep, bool fresh)
{
    for (size_t d = 0; d < dim; d += KEYS_AT_ONCE) {
        const float *value = t->v + first * t->ld;
        size_t col[KEYS_AT_ONCE];
        vf sum[KEYS_AT_ONCE][2];
        for (size_t u = 0; u < KEYS_AT_ONCE; u++) {
            col[u] = d + u < dim ? d + u : dim - 1;
            for (int v = 0; v < nv; v++) {
                sum[u][v] = vf_set(0);
                if (!fresh)
                    sum[u][v] = vf_load(t->o + col[u] * LANES + (size_t)v * VW) * keep[v];
            }
        }
        for (size_t j = 0; j < n; j++, value += t->ld) {
            vf s[2];
            for (int v = 0; v < nv; v++)
                s[v] = vf_load(t->s + j * LANES + (size_t)v * VW);
            for (size_t u = 0; u < KEYS_AT_ONCE; u++) {
                const vf b = vf_set(value[col[u]]);
                for (int v = 0; v < nv; v++)
                    sum[u][v] = vf_fma(b, s[v], sum[u][v]);
            }
        }
        for (size_t u = 0; u < KEYS_AT_ONCE && d + u < dim; u++)
            for (int v = 0; v < nv; v++)
                vf_store(t->o + (d + u) * LANES + (size_t)v * VW, sum[u][v]);
    }
}

INLINE void attention_tile(const struct cpu_attention *a, const struct attention_tile *t, size_t head, int nv)
{
    const size_t dim = a->head_dim;
    attention_load_q(a->qkv + t->row * t->ld + head * dim, t->ld, t->n_rows, dim, a->scale, nv, t->q);
    vf max[2] = {vf_set(-1e38f), vf_set(-1e38f)}, total[2] = {vf_set(0), vf_set(0)};
    for (size_t first = t->key_begin; first < t->key_end; first += ATTENTION_KEYS) {
        const size_t n = t->key_end - first < ATTENTION_KEYS ? t->key_end - first : ATTENTION_KEYS;
        const vf old[2] = {max[0], max[1]};
        attention_scores(t, first, n, dim, nv, max);
        for (int v = 0; a->cap > 0 && v < nv; v++)
            max[v] = vf_cap(t->s + (size_t)v * VW, n, LANES, vf_set(1 / a->cap), vf_set(a->cap), old[v]);
        if (a->window || (a->causal && first + n > t->row + 1))
            attention_mask(a, t, first, n, nv, old, max);
        vf keep[2];
        for (int v = 0; v < nv; v++) {
            keep[v] = vf_exp(old[v] - max[v]);
            total[v] = total[v] * keep[v];
        }
        for (size_t j = 0; j < n; j++) {
            for (int v = 0; v < nv; v++) {
                float *s = t->s + j * LANES + (size_t)v * VW;
                const vf e = vf_exp(vf_load(s) - max[v]);
                vf_store(s, e);
                total[v] = total[v] + e;
            }
        }
        attention_values(t, first, n, dim, nv, keep, first == t->key_begin);
    }
    for (int v = 0; v < nv; v++)
        total[v] = vf_set(1) / total[v];
    attention_store_o(t->o, total, (size_t)a->n_heads * dim, t->n_rows, dim, nv,
                      a->y + (t->row * a->n_heads + head) * dim);
}

static void attention(const struct cpu_attention *a)
{
    const size_t dim = a->head_dim, share = a->n_heads / a->n_kv_heads, room = (dim + 16) * LANES;
    struct attention_tile t = {.ld = (a->n_heads + 2 * (size_t)a->n_kv_heads) * dim,
                               .q = a->scratch, .o = a->scratch + room, .s = a->scratch + 2 * room};
    for (size_t head = a->first_head; head < a->end_head; head++) {
        t.k = a->qkv + (a->n_heads + head / share) * dim;
        t.v = t.k + a->n_kv_heads * dim;
        for (t.row = a->begin; t.row < a->end; t.row += t.n_rows) {
            t.n_rows = a->end - t.row < LANES ? a->end - t.row : LANES;
            t.key_begin = a->first;
            t.key_end = a->causal ? t.row + t.n_rows : a->last;
            if (a->window && t.row - a->first >= a->window)
                t.key_begin += (t.row - a->first - a->window + 1) / ATTENTION_KEYS * ATTENTION_KEYS;
            if (a->window && t.key_end - t.row > t.n_rows + a->window - 1)
                t.key_end = t.row + t.n_rows + a->window - 1;
            if (t.n_rows > VW)
                attention_tile(a, &t, head, 2);
            else
                attention_tile(a, &t, head, 1);
        }
    }
}

#undef LANES
#undef INLINE

/* Attention whose q, k, v and weights are rounded to bf16, with f32 sums: twice the products an instruction. Compiled with the flags for
 * AVX-512 BF16; called only where the CPU has it.
 *
 * As in ops_cpu_attention_tmpl.h a tile is up to 32 query rows of one head, one row a lane, and maximum and sum are lane by lane. Products
 * come in pairs: of two dimensions for the scores, of two keys for the sum of values. Keys and values are put into pairs once for
 * TILES tiles. A step of the online softmax has ATTENTION_KEYS keys, counted from the text's first, so a row's result does not depend on
 * the rows beside it. */
#include <immintrin.h>

#include "model/ops_cpu_kernels.h"
#include "model/ops_cpu_simd.h"

#define LANES (2 * VW)
#define TILES 4
#define AT_ONCE 8 /* keys, or dimensions, whose sums are in registers */
#define INLINE static inline __attribute__((always_inline))

struct tile {
    size_t row, n_rows, key_end;
    uint32_t *q;       /* [padded / 2, LANES] pairs */
    float *o;          /* [padded, LANES] */
    vf max[2], total[2];
};

struct rows {
    size_t dim, padded; /* of a head; padded with 0 to whole vectors of pairs */
    size_t ld;
    const float *k, *v; /* row 0 of the packed batch, this head's columns */
    float c;            /* scale / ln 2 */
    uint32_t *pairs_k;  /* [ATTENTION_KEYS, padded / 2] */
    uint32_t *pairs_v;  /* [ATTENTION_KEYS / 2, padded] */
    float *s;           /* [ATTENTION_KEYS, LANES] */
    uint32_t *p;        /* [ATTENTION_KEYS / 2, LANES] pairs */
};

_Static_assert(ATTENTION_HALF_DIM % 32 == 0 && ATTENTION_KEYS % AT_ONCE == 0, "");
_Static_assert(ATTENTION_HALF_DIM * (TILES * (LANES / 2 + LANES) + ATTENTION_KEYS) + ATTENTION_KEYS * (LANES + LANES / 2) <= ATTENTION_SCRATCH, "");

/* Values d … d + 15 of a row of n, 0 behind them */
INLINE vf piece(const float *x, size_t d, size_t n)
{
    return d >= n ? vf_set(0) : vf_get(x + d, n - d);
}

/* 16 pairs of neighbours in 32 values of a row */
INLINE __m512i pairs(const float *x, size_t d, size_t n)
{
    return (__m512i)_mm512_cvtne2ps_pbh(piece(x, d + VW, n), piece(x, d, n));
}

/* 16 pairs of a lane's two */
INLINE __m512i interleave(vf low, vf high)
{
    const __m512i at = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18,
                                        2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(at, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

INLINE vf add_pairs(vf sum, __m512i a, uint32_t b)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)_mm512_set1_epi32((int)b));
}

/* 2^x within 1.1e-4 of it, relatively, minimax on |r| <= 1/2; exactly 1 at 0. x is at most 0. */
INLINE vf exp2_short(vf x)
{
    const vf n = vf_round(x), r = x - n;
    vf p = vf_set(5.50089513e-2f);
    p = vf_fma(p, r, vf_set(2.42211010e-1f));
    p = vf_fma(p, r, vf_set(6.93282930e-1f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_times_pow2(p, n);
}

static void load_q(const float *q, const struct rows *a, struct tile *t)
{
    for (size_t d = 0; d < a->padded; d += 2 * VW) {
        for (size_t v = 0; v * VW < t->n_rows; v++) {
            vf r[VW];
            for (size_t j = 0; j < VW; j++) {
                const size_t row = v * VW + j;
                r[j] = row < t->n_rows ? (vf)pairs(q + row * a->ld, d, a->dim) : vf_set(0);
            }
            vf_transpose(r);
            for (size_t j = 0; j < VW; j++)
                vf_store((float *)t->q + (d / 2 + j) * LANES + v * VW, r[j]);
        }
    }
    for (int v = 0; v < 2; v++) {
        t->max[v] = vf_set(-1e38f);
        t->total[v] = vf_set(0);
    }
}

/* The keys and values of a step, as pairs. Behind the last are zeros, to whole pairs of keys. */
static void load_keys(const struct rows *a, size_t first, size_t n)
{
    for (size_t j = 0; j < n; j++)
        for (size_t d = 0; d < a->padded; d += 2 * VW)
            _mm512_storeu_si512(a->pairs_k + (j * a->padded + d) / 2, pairs(a->k + (first + j) * a->ld, d, a->dim));
    for (size_t j = 0; j < n; j += 2) {
        const float *low = a->v + (first + j) * a->ld, *high = low + a->ld;
        for (size_t d = 0; d < a->padded; d += VW)
            _mm512_storeu_si512(a->pairs_v + j / 2 * a->padded + d,
                                interleave(piece(low, d, a->dim), j + 1 < n ? piece(high, d, a->dim) : vf_set(0)));
    }
}

/* Scores of n keys for all lanes, and their maximum into max */
INLINE void scores(const struct rows *a, struct tile *t, size_t n, int nv)
{
    for (size_t j = 0; j < n; j += AT_ONCE) {
        const uint32_t *k[AT_ONCE];
        vf sum[AT_ONCE][2];
        for (size_t u = 0; u < AT_ONCE; u++) { /* past the end: the last key again, not stored */
            k[u] = a->pairs_k + (j + u < n ? j + u : n - 1) * a->padded / 2;
            sum[u][0] = sum[u][1] = vf_set(0);
        }
        for (size_t d = 0; d < (a->dim + 1) / 2; d++) {
            __m512i q[2];
            for (int v = 0; v < nv; v++)
                q[v] = _mm512_loadu_si512(t->q + d * LANES + (size_t)v * VW);
            for (size_t u = 0; u < AT_ONCE; u++)
                for (int v = 0; v < nv; v++)
                    sum[u][v] = add_pairs(sum[u][v], q[v], k[u][d]);
        }
        for (size_t u = 0; u < AT_ONCE && j + u < n; u++) {
            for (int v = 0; v < nv; v++) {
                vf_store(a->s + (j + u) * LANES + (size_t)v * VW, sum[u][v]);
                t->max[v] = vf_max(t->max[v], sum[u][v]);
            }
        }
    }
}

/* Masks what lies after each lane's own row, or too far from it; the maximum is taken anew. */
INLINE void mask(const struct cpu_attention *c, const struct rows *a, struct tile *t, size_t first, size_t n, int nv, const vf *old)
{
    for (int v = 0; v < nv; v++)
        t->max[v] = old[v];
    for (size_t j = 0; j < n; j++) {
        float *s = a->s + j * LANES;
        const size_t key = first + j;
        for (size_t lane = 0; lane < (size_t)nv * VW; lane++) {
            const size_t row = t->row + lane, away = key > row ? key - row : row - key;
            if ((c->causal && key > row) || (c->window && away >= c->window))
                s[lane] = -1e38f;
        }
        for (int v = 0; v < nv; v++)
            t->max[v] = vf_max(t->max[v], vf_load(s + (size_t)v * VW));
    }
}

/* Weights from scores, as pairs, and their sum; what was summed before is to be multiplied by keep. */
INLINE void weigh(const struct rows *a, struct tile *t, size_t n, int nv, const vf *old, vf *keep)
{
    const vf c = vf_set(a->c);
    for (int v = 0; v < nv; v++) {
        keep[v] = exp2_short((old[v] - t->max[v]) * c);
        vf total = t->total[v] * keep[v];
        for (size_t j = 0; j < n; j += 2) {
            const float *s = a->s + j * LANES + (size_t)v * VW;
            const vf low = exp2_short((vf_load(s) - t->max[v]) * c);
            vf high = vf_set(0);
            total = total + low;
            if (j + 1 < n) {
                high = exp2_short((vf_load(s + LANES) - t->max[v]) * c);
                total = total + high;
            }
            _mm512_storeu_si512(a->p + j / 2 * LANES + (size_t)v * VW, interleave(low, high));
        }
        t->total[v] = total;
    }
}

/* o = o · keep + Σ p v over n keys */
INLINE void values(const struct rows *a, const struct tile *t, size_t n, int nv, const vf *keep, bool fresh)
{
    for (size_t d = 0; d < a->dim; d += AT_ONCE) {
        vf sum[AT_ONCE][2];
        for (size_t u = 0; u < AT_ONCE; u++)
            for (int v = 0; v < nv; v++) {
                sum[u][v] = vf_set(0);
                if (!fresh)
                    sum[u][v] = vf_load(t->o + (d + u) * LANES + (size_t)v * VW) * keep[v];
            }
        const uint32_t *value = a->pairs_v + d;
        for (size_t j = 0; j < (n + 1) / 2; j++, value += a->padded) {
            __m512i p[2];
            for (int v = 0; v < nv; v++)
                p[v] = _mm512_loadu_si512(a->p + j * LANES + (size_t)v * VW);
            for (size_t u = 0; u < AT_ONCE; u++)
                for (int v = 0; v < nv; v++)
                    sum[u][v] = add_pairs(sum[u][v], p[v], value[u]);
        }
        for (size_t u = 0; u < AT_ONCE; u++)
            for (int v = 0; v < nv; v++)
                vf_store(t->o + (d + u) * LANES + (size_t)v * VW, sum[u][v]);
    }
}

INLINE void step(const struct cpu_attention *c, const struct rows *a, struct tile *t, size_t first, size_t n, bool fresh, int nv)
{
    const vf old[2] = {t->max[0], t->max[1]};
    vf keep[2];
    scores(a, t, n, nv);
    for (int v = 0; c->cap > 0 && v < nv; v++) /* they take their scale on the way */
        t->max[v] = vf_cap(a->s + (size_t)v * VW, n, LANES, vf_set(c->scale / c->cap), vf_set(c->cap), old[v]);
    if (c->window || (c->causal && first + n > t->row + 1))
        mask(c, a, t, first, n, nv, old);
    weigh(a, t, n, nv, old, keep);
    values(a, t, n, nv, keep, fresh);
}

static void store_o(const struct cpu_attention *c, const struct rows *a, const struct tile *t, size_t head)
{
    const size_t ld = (size_t)c->n_heads * a->dim;
    float *y = c->y + (t->row * c->n_heads + head) * a->dim;
    for (size_t v = 0; v < 2 && v * VW < t->n_rows; v++) {
        const vf scale = vf_set(1) / t->total[v];
        for (size_t d = 0; d < a->dim; d += VW) {
            vf r[VW];
            for (size_t j = 0; j < VW; j++)
                r[j] = vf_load(t->o + (d + j) * LANES + v * VW) * scale; /* rows past dim are there, and not stored */
            vf_transpose(r);
            for (size_t j = 0; j < VW && v * VW + j < t->n_rows; j++)
                vf_put(y + (v * VW + j) * ld + d, r[j], a->dim - d);
        }
    }
}

/* Up to TILES tiles of query rows from `row` on, one head */
static void tiles(const struct cpu_attention *c, const struct rows *a, struct tile *t, size_t row, size_t head)
{
    size_t n_tiles = 0, key_begin = c->first, key_end = 0;
    if (c->window && row - c->first >= c->window)
        key_begin += (row - c->first - c->window + 1) / ATTENTION_KEYS * ATTENTION_KEYS;
    for (; n_tiles < TILES && row < c->end; row += LANES, n_tiles++) {
        struct tile *m = &t[n_tiles];
        m->row = row;
        m->n_rows = c->end - row < LANES ? c->end - row : LANES;
        m->key_end = c->causal ? row + m->n_rows : c->last;
        if (c->window && m->key_end - row > m->n_rows + c->window - 1)
            m->key_end = row + m->n_rows + c->window - 1;
        key_end = m->key_end;
        load_q(c->qkv + row * a->ld + head * a->dim, a, m);
    }
    for (size_t first = key_begin; first < key_end; first += ATTENTION_KEYS) {
        const size_t n = key_end - first < ATTENTION_KEYS ? key_end - first : ATTENTION_KEYS;
        load_keys(a, first, n);
        for (struct tile *m = t; m < t + n_tiles; m++) {
            if (first >= m->key_end)
                continue;
            const size_t own = m->key_end - first < n ? m->key_end - first : n;
            if (m->n_rows > VW)
                step(c, a, m, first, own, first == key_begin, 2);
            else
                step(c, a, m, first, own, first == key_begin, 1);
        }
    }
    for (struct tile *m = t; m < t + n_tiles; m++)
        store_o(c, a, m, head);
}

void attention_half_avx512(const struct cpu_attention *c)
{
    const size_t dim = c->head_dim, padded = (dim + 31) / 32 * 32, share = c->n_heads / c->n_kv_heads;
    float *room = c->scratch;
    struct tile t[TILES];
    struct rows a = {.dim = dim, .padded = padded, .ld = (c->n_heads + 2 * (size_t)c->n_kv_heads) * dim, .c = (c->cap > 0 ? 1 : c->scale) * 1.44269504f};
    for (int i = 0; i < TILES; i++) {
        t[i].o = room;
        t[i].q = (uint32_t *)(room += padded * LANES);
        room += padded / 2 * LANES;
    }
    a.pairs_k = (uint32_t *)room;
    a.pairs_v = (uint32_t *)(room += ATTENTION_KEYS * padded / 2);
    a.s = room += ATTENTION_KEYS * padded / 2;
    a.p = (uint32_t *)(room + ATTENTION_KEYS * LANES);
    for (size_t head = c->first_head; head < c->end_head; head++) {
        a.k = c->qkv + (c->n_heads + head / share) * dim;
        a.v = a.k + c->n_kv_heads * dim;
        for (size_t row = c->begin; row < c->end; row += TILES * LANES)
            tiles(c, &a, t, row, head);
    }
}

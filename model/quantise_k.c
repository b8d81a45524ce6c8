/* A K block has scales in two steps: parts of 32 (16) values have a small whole number each, the block an f16 that all of
 * these multiply. Per part, TRIES ranges around the plain one (smallest to largest value) are tried; for each the values are rounded
 * and the best scale and minimum for these whole numbers follow by weighted least squares. The parts' scales are then
 * rounded against the block's, neighbours of the rounded ones are tried with the values rounded anew, and at last the block's two
 * f16 are fitted to all 256 values. What it gives up: parts are fitted one after the other, not jointly.
 *
 * The tries lie side by side in arrays, so that the inner loops are the same work for each: the compiler turns them into
 * vectors without changing the order of any sum. */
#include "model/quantise_k.h"

#include <math.h>
#include <string.h>

#include "model/tensor.h"
#include "model/tensor_blocks.h"

#define TRIES 16
#define PARTS 8
#define PART 32
#define RUNS 16 /* of q6_K */
#define RUN 16

static float clamp(float v, float low, float high)
{
    v = v < low ? low : v;
    return v > high ? high : v;
}

/* Nearest whole number of a value that is at least 0. */
static float nearest(float v)
{
    return (float)(int)(v + 0.5f);
}

static uint16_t store_f16(uint8_t *p, float v)
{
    const uint16_t h = f32_to_f16(v);
    p[0] = (uint8_t)h;
    p[1] = (uint8_t)(h >> 8);
    return h;
}

/* ---- q4_K and q5_K: value = scale · q - min, q = 0 … top ---- */

struct fit {
    float scale, min; /* both >= 0 */
};

/* Sums over a part for TRIES ways to round it. */
struct sums {
    float q[TRIES], qq[TRIES], xq[TRIES];
};

static void round_ways(const float *x, const float *w, const float *inverse, const float *shift, float top, struct sums *s)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < PART; i++) {
        const float xi = x[i], wi = w[i];
        for (int t = 0; t < TRIES; t++) {
            const float q = nearest(clamp(xi * inverse[t] + shift[t], 0, top)), wq = wi * q;
            s->q[t] += wq;
            s->qq[t] += wq * q;
            s->xq[t] += wq * xi;
        }
    }
}

/* Least squares for whole numbers with these sums: min_x is Σ w x, sum_w Σ w. *error is the squared error less Σ w x². */
static struct fit solve(float q, float qq, float xq, float min_x, float sum_w, float *error)
{
    struct fit f = {0, 0};
    const float det = sum_w * qq - q * q;
    if (det > 0) {
        f.scale = (sum_w * xq - q * min_x) / det;
        f.min = (q * xq - qq * min_x) / det;
    }
    if (!(f.min > 0)) { /* all values of one sign: no minimum is needed */
        f.min = 0;
        f.scale = qq > 0 ? xq / qq : 0;
    }
    if (!(f.scale > 0)) {
        f.scale = 0;
        f.min = min_x < 0 ? -min_x / sum_w : 0;
    }
    *error = f.scale * (f.scale * qq - 2 * xq - 2 * f.min * q) + f.min * (f.min * sum_w + 2 * min_x);
    return f;
}

static struct fit fit_part(const float *x, const float *w, float top)
{
    float low = 0, high = 0, sum_w = 0, sum_x = 0, inverse[TRIES], shift[TRIES], error, least = INFINITY;
    struct sums s;
    struct fit best = {0, 0};
    for (int i = 0; i < PART; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
        sum_w += w[i];
        sum_x += w[i] * x[i];
    }
    if (!(high - low > 0))
        return best;
    for (int t = 0; t < TRIES; t++) { /* a range that is cut at its ends, down to about three quarters, or a little wider */
        inverse[t] = top * (0.95f + 0.025f * (float)t) / (high - low);
        shift[t] = top / 2 - (low + high) / 2 * inverse[t];
        if (low == 0)
            shift[t] = 0;
    }
    for (int round = 0; round < 2; round++) {
        round_ways(x, w, inverse, shift, top, &s);
        for (int t = 0; t < TRIES; t++) {
            const struct fit f = solve(s.q[t], s.qq[t], s.xq[t], sum_x, sum_w, &error);
            if (error < least) {
                least = error;
                best = f;
            }
        }
        if (!(best.scale > 0))
            break;
        for (int t = 0; t < TRIES; t++) { /* around the best of the first round, with its minimum */
            inverse[t] = (1 + 0.01f * (float)(t - TRIES / 2)) / best.scale;
            shift[t] = best.min * inverse[t];
        }
    }
    return best;
}

/* The error of a part, less Σ w x², for TRIES pairs of scale and minimum. */
static void errors_of(const float *x, const float *w, const float *scale, const float *min, float top, float *error)
{
    float inverse[TRIES], shift[TRIES];
    for (int t = 0; t < TRIES; t++) {
        inverse[t] = scale[t] > 0 ? 1 / scale[t] : 0;
        shift[t] = min[t] * inverse[t];
        error[t] = 0;
    }
    for (int i = 0; i < PART; i++) {
        const float xi = x[i], wi = w[i];
        for (int t = 0; t < TRIES; t++) {
            const float q = nearest(clamp(xi * inverse[t] + shift[t], 0, top)), d = scale[t] * q - min[t] - xi;
            error[t] += wi * d * d;
        }
    }
}

struct block {
    float d, dmin; /* as f16 has them */
    uint8_t scale[PARTS], min[PARTS]; /* 0 … 63 */
    uint8_t q[PARTS * PART];
};

/* Whole numbers for the part's scale and minimum: the nearest ones and their neighbours. */
static void choose_numbers(const float *x, const float *w, struct fit f, float top, struct block *b, int part)
{
    const float s = b->d > 0 ? nearest(f.scale / b->d) : 0, m = b->dmin > 0 ? nearest(f.min / b->dmin) : 0;
    float s_try[TRIES], m_try[TRIES], scale[TRIES], min[TRIES], error[TRIES];
    int best = 0;
    for (int t = 0; t < TRIES; t++) { /* the first is the nearest itself; 3 by 5 around it */
        const int i = t ? (t + 6) % 15 : 7;
        s_try[t] = clamp(s + (float)(i / 5 - 1), 0, 63);
        m_try[t] = clamp(m + (float)(i % 5 - 2), 0, 63);
        scale[t] = b->d * s_try[t];
        min[t] = b->dmin * m_try[t];
    }
    errors_of(x, w, scale, min, top, error);
    for (int t = 1; t < TRIES; t++)
        best = error[t] < error[best] ? t : best;
    b->scale[part] = (uint8_t)s_try[best];
    b->min[part] = (uint8_t)m_try[best];
}

/* Rounds all values against the scales; returns the squared error. */
static float round_values(const float *x, const float *w, float top, struct block *b)
{
    float sum = 0;
    for (int part = 0; part < PARTS; part++) {
        const float s = b->d * (float)b->scale[part], m = b->dmin * (float)b->min[part], inverse = s > 0 ? 1 / s : 0;
        for (int i = part * PART; i < (part + 1) * PART; i++) {
            const float q = nearest(clamp((x[i] + m) * inverse, 0, top)), d = s * q - m - x[i];
            b->q[i] = (uint8_t)q;
            sum += w[i] * d * d;
        }
    }
    return sum;
}

/* d and dmin by least squares for the whole numbers as they are. */
static void refit(const float *x, const float *w, struct block *b)
{
    float ss = 0, sm = 0, mm = 0, xs = 0, xm = 0;
    for (int i = 0; i < PARTS * PART; i++) {
        const float s = (float)b->scale[i / PART] * (float)b->q[i], m = (float)b->min[i / PART];
        ss += w[i] * s * s;
        sm += w[i] * s * m;
        mm += w[i] * m * m;
        xs += w[i] * x[i] * s;
        xm += w[i] * x[i] * m;
    }
    const float det = ss * mm - sm * sm;
    if (det > 1e-6f * ss * mm) {
        b->d = (xs * mm - xm * sm) / det;
        b->dmin = (xs * sm - xm * ss) / det;
    } else if (ss > 0 && !(mm > 0)) {
        b->d = xs / ss;
    }
    b->d = f16_to_f32(f32_to_f16(b->d > 0 ? b->d : 0));
    b->dmin = f16_to_f32(f32_to_f16(b->dmin > 0 ? b->dmin : 0));
}

static bool fit_block(const float *x, const float *w, float top, struct block *b)
{
    struct fit fit[PARTS];
    float scale = 0, min = 0;
    for (int part = 0; part < PARTS; part++) {
        fit[part] = fit_part(x + part * PART, w + part * PART, top);
        scale = fit[part].scale > scale ? fit[part].scale : scale;
        min = fit[part].min > min ? fit[part].min : min;
    }
    b->d = f16_to_f32(f32_to_f16(scale / 63));
    b->dmin = f16_to_f32(f32_to_f16(min / 63));
    if (!isfinite(b->d) || !isfinite(b->dmin))
        return false;
    for (int part = 0; part < PARTS; part++)
        choose_numbers(x + part * PART, w + part * PART, fit[part], top, b, part);
    const float before = round_values(x, w, top, b);
    const struct block first = *b;
    refit(x, w, b);
    if (!isfinite(b->d) || !isfinite(b->dmin) || round_values(x, w, top, b) > before)
        *b = first;
    return true;
}

/* The head that q4_K and q5_K share: see block_k_scale. */
static void pack_scales(const struct block *b, uint8_t *out)
{
    store_f16(out, b->d);
    store_f16(out + 2, b->dmin);
    for (int i = 0; i < 4; i++) {
        out[4 + i] = (uint8_t)(b->scale[i] | b->scale[i + 4] >> 4 << 6);
        out[8 + i] = (uint8_t)(b->min[i] | b->min[i + 4] >> 4 << 6);
        out[12 + i] = (uint8_t)((b->scale[i + 4] & 15) | (b->min[i + 4] & 15) << 4);
    }
}

static void pack_nibbles(const struct block *b, uint8_t *out)
{
    for (int pair = 0; pair < PARTS / 2; pair++)
        for (int i = 0; i < PART; i++)
            out[pair * PART + i] = (uint8_t)((b->q[2 * pair * PART + i] & 15) | (b->q[(2 * pair + 1) * PART + i] & 15) << 4);
}

bool quantise_q4_k(const float *v, const float *importance, uint8_t *out)
{
    struct block b;
    if (!fit_block(v, importance, 15, &b))
        return false;
    pack_scales(&b, out);
    pack_nibbles(&b, out + 16);
    return true;
}

bool quantise_q5_k(const float *v, const float *importance, uint8_t *out)
{
    struct block b;
    if (!fit_block(v, importance, 31, &b))
        return false;
    pack_scales(&b, out);
    memset(out + 16, 0, PART);
    for (int i = 0; i < PARTS * PART; i++)
        out[16 + i % PART] |= (uint8_t)(b.q[i] >> 4 << i / PART);
    pack_nibbles(&b, out + 16 + PART);
    return true;
}

/* ---- q6_K: value = scale · (q - 32), q = 0 … 63 ---- */

static float round_6(float v)
{
    return nearest(clamp(v + 32, 0, 63)) - 32;
}

/* The scale of a run of 16, of either sign: the side with the largest value has one step more. */
static float fit_run(const float *x, const float *w)
{
    float far = 0, inverse[TRIES], qq[TRIES] = {0}, xq[TRIES] = {0}, best = 0, gain = 0;
    for (int i = 0; i < RUN; i++)
        far = fabsf(x[i]) > fabsf(far) ? x[i] : far;
    if (far == 0)
        return 0;
    for (int t = 0; t < TRIES; t++)
        inverse[t] = -(31 + 0.25f * (float)t) / far;
    for (int i = 0; i < RUN; i++) {
        for (int t = 0; t < TRIES; t++) {
            const float q = round_6(x[i] * inverse[t]), wq = w[i] * q;
            qq[t] += wq * q;
            xq[t] += wq * x[i];
        }
    }
    for (int t = 0; t < TRIES; t++) {
        const float g = qq[t] > 0 ? xq[t] * xq[t] / qq[t] : 0;
        if (g > gain) {
            gain = g;
            best = xq[t] / qq[t];
        }
    }
    return best;
}

bool quantise_q6_k(const float *v, const float *importance, uint8_t *out)
{
    float scale[RUNS], far = 0;
    for (int r = 0; r < RUNS; r++) {
        scale[r] = fit_run(v + r * RUN, importance + r * RUN);
        far = fabsf(scale[r]) > fabsf(far) ? scale[r] : far;
    }
    const float d = f16_to_f32(store_f16(out + 208, -far / 128));
    memset(out, 0, 192);
    for (int r = 0; r < RUNS; r++) {
        const float n = d != 0 ? clamp(rintf(scale[r] / d), -128, 127) : 0, s = n * d, inverse = s != 0 ? 1 / s : 0;
        const int half = r / 8, run = r % 8 / 2;
        out[192 + r] = (uint8_t)(int8_t)n;
        for (int i = 0; i < RUN; i++) {
            const uint8_t q = (uint8_t)(round_6(v[r * RUN + i] * inverse) + 32);
            const int at = r % 2 * RUN + i;
            out[64 * half + 32 * (run & 1) + at] |= (uint8_t)((q & 15) << (run & 2 ? 4 : 0));
            out[128 + 32 * half + at] |= (uint8_t)(q >> 4 << 2 * run);
        }
    }
    return isfinite(d);
}

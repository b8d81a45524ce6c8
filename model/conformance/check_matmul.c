/* Products with weights of each storage type, bias, residual, fused parts.
 *
 * Tolerance: 1e-6 of Σ|x w| (f32 sums of k products, whatever the order) for weights as stored. Where products
 * with q8_0 and K types are made in int8, the reference is the same transform and quantisation in plain C: sums are then exact, and 1e-6 of
 * the result's parts remain. Where a GPU rounds to int8 (or, for weights of more than 5 bits, 16 bits) in blocks, or the CPU to 16 bits where it
 * does not make the product in int8, the reference does so too; a value that nearly is in the middle between two may be
 * rounded either way.
 *
 * A GPU may also round what goes into products with weights that are not f32 to f16, as shaders/lib/weights8_half.glsl does, each time by u,
 * its rounding, of the value: x; a weight outside of blocks, unless it is f16; the factor a of a weight a q, and the product; of a
 * weight a q + b the factor, the product (fma need not be fused), b and the sum, parts that may be many times as large as the weight. A
 * product is off by u |x| times |w| and the sum of those at most; what f16 has no finer steps for adds 2^-25 |x| and 2^-24 |w| of
 * the row's largest x. Bias and residual are added in f32: 1e-6. */
#include "model/conformance/conform.h"

#include <math.h>

#include "model/ops_cpu_kernels.h"
#include "model/tensor_split.h"

#define INT8_LEAST 256 /* the CPU device makes shorter products in f32 */
#define FINE_TOP (127 * 256)

struct call {
    struct ops_buf *x, *residual, *y;
    struct ops_mat *w;
    struct ops_vec *bias;
    uint32_t n;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->matmul(o, c->x, c->w, c->bias, c->residual, c->n, c->y);
}

/* Blocks of MIX_BLOCK: what lies MIX_LANES apart, transformed, in the device's order of operations; `by` first. */
static void mix(float *v, size_t n, float by)
{
    for (; n >= MIX_BLOCK; v += MIX_BLOCK, n -= MIX_BLOCK) {
        for (size_t i = 0; i < MIX_BLOCK; i++)
            v[i] *= by;
        for (size_t h = MIX_LANES; h < MIX_BLOCK; h *= 2) {
            for (size_t i = 0; i < MIX_BLOCK; i++) {
                const float a = v[i], b = v[i ^ h];
                if (!(i & h)) {
                    v[i] = a + b;
                    v[i + h] = a - b;
                }
            }
        }
    }
}

/* Symmetric int8 with the row's largest value at 127, as the CPU device does it: the scale; v becomes whole numbers. */
static float to_int8(float *v, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(v[i]));
    const float inv = largest > 1e-30f ? 127 / largest : 0;
    for (size_t i = 0; i < n; i++)
        v[i] = rintf(v[i] * inv);
    return largest > 1e-30f ? largest * (1 / 127.0f) : 0;
}

/* x rounded in blocks of `block` values whose largest becomes top, in place, and where the device may come to the value beside that, how far it is off. */
static void round_blocks(float *x, uint32_t n, size_t d, size_t block, float top, float *either)
{
    const float nearly = 0.5f - top * 0x1p-19f; /* a quotient and a product later */
    for (size_t b = 0; b < n * d; b += b % d + block < d ? block : d - b % d) {
        const size_t len = d - b % d < block ? d - b % d : block;
        float largest = 0;
        for (size_t i = b; i < b + len; i++)
            largest = fmaxf(largest, fabsf(x[i]));
        const float inv = largest < 1e-30f ? 0 : top / largest, scale = largest < 1e-30f ? 0 : largest * (1 / top);
        for (size_t i = b; i < b + len; i++) {
            const float v = x[i] * inv, whole = rintf(v);
            either[i] = fabsf(v - whole) > nearly ? scale : 0;
            x[i] = whole * scale;
        }
    }
}

/* Adds to `may` of rows from … to - 1 of w what products with the values beside x's would differ by. */
static void add_either(const float *either, const float *w, uint32_t n, size_t m, size_t d, size_t from, size_t to, float *may)
{
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < d; i++)
            for (size_t o = from; either[t * d + i] > 0 && o < to; o++)
                may[t * m + o] += either[t * d + i] * fabsf(w[o * d + i]);
}

static bool in_int8(const struct conform *k, enum tensor_type type, size_t d)
{
    return k->int8 && d >= INT8_LEAST && (type == TENSOR_Q8_0 || tensor_block_len(type) == 256);
}

/* Rows from … to - 1 of w. */
static void reference(const struct conform *k, enum tensor_type type, float *x, float *w, uint32_t n, size_t m,
                      size_t d, size_t from, size_t to, float *y, float *size)
{
    const bool int8 = in_int8(k, type, d);
    float *sx = calloc(n, sizeof *sx), *sw = calloc(m, sizeof *sw);
    if (!sx || !sw)
        exit(1);
    for (size_t t = 0; int8 && t < n; t++) {
        mix(x + t * d, d, 1.0f / MIX_WAYS);
        sx[t] = to_int8(x + t * d, d);
    }
    for (size_t o = from; int8 && o < to; o++) {
        mix(w + o * d, d, 1);
        sw[o] = to_int8(w + o * d, d);
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t o = from; o < to; o++) {
            double sum = 0, all = 0;
            for (size_t i = 0; i < d; i++) {
                const double p = (double)x[t * d + i] * w[o * d + i];
                sum += p;
                all += fabs(p);
            }
            const double scale = int8 ? (double)sx[t] * sw[o] : 1;
            size[t * m + o] += (float)(scale * (int8 ? fabs(sum) : all));
            y[t * m + o] += (float)(scale * sum);
        }
    }
    free(sx);
    free(sw);
}

/* Types that GPUs hold as whole numbers from 0 up with a minimum, which is added; to the others' factor nothing is. */
static bool has_min(enum tensor_type type)
{
    return (type >= TENSOR_Q4_0 && type <= TENSOR_Q5_1) || type == TENSOR_Q4_K || type == TENSOR_Q5_K;
}

/* What a device's roundings of t's n rows (w) add up to at most, in units of the rounding; data is t's and loses its whole numbers. */
static void weight_rounding(const struct tensor *t, uint8_t *data, const float *w, size_t n, float *off)
{
    const enum tensor_type type = t->type;
    const size_t d = t->cols, bytes = tensor_block_bytes(type);
    const size_t scales = type == TENSOR_Q4_0 || type == TENSOR_Q5_0 ? 2 : type == TENSOR_Q4_1 || type == TENSOR_Q5_1 ? 4 : 16;
    const bool blocks = tensor_block_len(type) > 1;
    const bool adds = has_min(type);
    for (size_t at = 0; adds && at < t->len_bytes; at += bytes)
        memset(data + at + scales, 0, bytes - scales);
    for (size_t o = 0; o < n; o++) {
        if (adds)
            tensor_row_f32(t, o, off + o * d); /* what is left is b */
        for (size_t i = o * d; i < (o + 1) * d; i++) {
            const float v = fabsf(w[i]), b = fabsf(off[i]), product = fabsf(w[i] - off[i]);
            off[i] = adds ? 2 * product + b + v : blocks ? 2 * v : type == TENSOR_F16 ? 0 : v;
        }
    }
}

/* Adds to `may` what the products may be off where x and weights are rounded to f16 (see above). */
static void add_rounding(double u, const float *x, const float *w, const float *off, uint32_t n, size_t m, size_t d, float *may)
{
    for (size_t t = 0; t < n; t++) {
        double largest = 0;
        for (size_t i = 0; i < d; i++)
            largest = fmax(largest, fabs(x[t * d + i]));
        for (size_t o = 0; o < m; o++) {
            double sum = 0;
            for (size_t i = 0; i < d; i++) {
                const double v = fabs(w[o * d + i]);
                sum += fabs(x[t * d + i]) * (u * (v + off[o * d + i]) + 0x1p-25) + 0x1p-24 * largest * v;
            }
            may[t * m + o] += (float)sum;
        }
    }
}

/* The same where rows from … to - 1 of w are held in another type's form. */
static void add_held(struct conform *k, enum tensor_type type, const float *x, const float *w, uint32_t n, size_t m, size_t d, size_t from,
                     size_t to, float *may)
{
    float *off = conform_fill(k, d, FILL_ZERO);
    for (size_t o = from; o < to && (type == TENSOR_Q2_K || type == TENSOR_IQ4_XS); o++) {
        conform_held(k, type, w + o * d, d, off);
        for (uint32_t t = 0; t < n; t++)
            for (size_t i = 0; i < d; i++)
                may[t * m + o] += fabsf(x[t * d + i]) * off[i];
    }
    free(off);
}

/* form: 1 bias, 2 residual, 4 residual in place, 8 two parts, 16 the second in blocks of another kind */
static void one(struct conform *k, enum tensor_type type, uint32_t n, size_t m, size_t d, int form, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "matmul %s n %u m %zu k %zu form %d fill %d", tensor_type_name(type), n, m, d, form, fill);
    const enum tensor_type second = !(form & 16) ? type : type == TENSOR_Q8_0 ? TENSOR_Q4_1 : TENSOR_Q8_0;
    const size_t row_bytes = tensor_row_bytes(type, d), second_bytes = tensor_row_bytes(second, d);
    float *x = conform_fill(k, n * d, fill), *w = conform_fill(k, m * d, FILL_NORMAL);
    float *bias = conform_fill(k, m, FILL_NORMAL), *y = conform_fill(k, n * m, form & 6 ? FILL_NORMAL : FILL_ZERO);
    float *size = conform_fill(k, n * m, FILL_ZERO);
    const size_t cut = form & 8 && m > 1 ? m / 3 + 1 : m, bytes = cut * row_bytes + (m - cut) * second_bytes;
    uint8_t *data = malloc(bytes);
    if (!data)
        exit(1);
    conform_encode(type, w, cut * d, data);
    conform_encode(second, w + cut * d, (m - cut) * d, data + cut * row_bytes);
    const struct tensor parts[2] = {{"a", type, cut, d, data, cut * row_bytes},
                                    {"b", second, m - cut, d, data + cut * row_bytes, (m - cut) * second_bytes}};
    const struct tensor *const views[2] = {&parts[0], &parts[1]};
    struct err_msg em = {""};
    struct call c = {conform_buf(k, x, n, d), NULL, NULL, NULL, form & 1 ? conform_vec(k, bias, m) : NULL, n};
    c.y = conform_buf(k, form & 4 ? y : NULL, n, m);
    c.residual = form & 4 ? c.y : form & 2 ? conform_buf(k, y, n, m) : NULL;
    if (k->o->v->mat_create(k->o, views, cut < m ? 2 : 1, &c.w, &em)) {
        conform_fail(k, "mat_create: %s", em.text);
        exit(1);
    }
    for (size_t o = 0; o < m; o++)
        tensor_row_f32(&parts[o >= cut], o >= cut ? o - cut : o, w + o * d);
    float *off = conform_fill(k, m * d, FILL_ZERO);
    weight_rounding(&parts[0], data, w, cut, off);
    weight_rounding(&parts[1], data + parts[0].len_bytes, w + cut * d, m - cut, off + cut * d);
    memset(data, 0x5A, bytes); /* the device keeps no reference to the file */
    conform_begin(k, &b, n, 50, 0);
    conform_ok(k, call(k->o, &c), "matmul");
    conform_end(k, &b);
    conform_forget(&b);
    for (size_t i = 0; i < n * m; i++) {
        size[i] = fabsf(y[i]);
        y[i] += form & 1 ? bias[i % m] : 0;
        size[i] += form & 1 ? fabsf(bias[i % m]) : 0;
    }
    const bool blocks = tensor_block_len(type) > 1 && tensor_block_len(second) > 1;
    const bool fine = k->o->info.fine_blocks && blocks && d % 32 == 0 && (!k->int8 || d >= INT8_LEAST) &&
                      !(in_int8(k, type, d) && in_int8(k, second, d));
    const bool int8_blocks = k->o->info.int8_blocks && blocks;
    float *either = conform_fill(k, n * d, FILL_ZERO), *may = conform_fill(k, n * m, FILL_ZERO), *rounded = conform_fill(k, n * d, FILL_ZERO);
    for (size_t from = 0, to = cut; from < m; from = to, to = m) {
        const enum tensor_type own = from ? second : type;
        memcpy(rounded, x, n * d * sizeof *x);
        if (int8_blocks)
            round_blocks(rounded, n, d, 32, has_min(own) ? 127 : 127 * 256, either);
        else if (fine)
            round_blocks(rounded, n, d, tensor_split_unit(type), FINE_TOP, either);
        reference(k, own, rounded, w, n, m, d, from, to, y, size);
        add_either(either, w, n, m, d, from, to, may);
        add_held(k, own, x, w, n, m, d, from, to, may);
    }
    const double rounding = type == TENSOR_F32 || int8_blocks ? 0 : k->o->info.rounding;
    for (size_t i = 0; i < n * m; i++)
        may[i] += size[i] * 1e-6f;
    if (rounding > 1e-6)
        add_rounding(rounding, x, w, off, n, m, d, may);
    conform_compare_product(k, c.y, y, n, m, 1e-12, 1, may);
    conform_drop(k, c.x);
    conform_drop(k, c.y);
    if (c.residual && c.residual != c.y)
        conform_drop(k, c.residual);
    if (c.bias)
        conform_drop_vec(k, c.bias);
    k->o->v->mat_destroy(k->o, &c.w);
    free(x);
    free(w);
    free(off);
    free(bias);
    free(y);
    free(size);
    free(either);
    free(may);
    free(rounded);
    free(data);
}

static void bench(struct conform *k, enum tensor_type type, uint32_t n, size_t d, size_t m)
{
    const size_t row_bytes = tensor_row_bytes(type, d);
    float *w = conform_fill(k, m * d, FILL_NORMAL), *x = conform_fill(k, n * d, FILL_NORMAL);
    uint8_t *data = malloc(m * row_bytes);
    if (!data)
        exit(1);
    conform_encode(type, w, m * d, data);
    const struct tensor t = {"w", type, m, d, data, m * row_bytes}, *const parts[1] = {&t};
    struct call c = {conform_buf(k, x, n, d), NULL, conform_buf(k, NULL, n, m), NULL, NULL, n};
    if (k->o->v->mat_create(k->o, parts, 1, &c.w, NULL) == 0) {
        char name[64];
        snprintf(name, sizeof name, "matmul %s %zu to %zu", tensor_type_name(type), d, m);
        conform_bench(k, name, n, call, &c, 2.0 * n * (double)d * (double)m);
        k->o->v->mat_destroy(k->o, &c.w);
    }
    conform_drop(k, c.x);
    conform_drop(k, c.y);
    free(x);
    free(w);
    free(data);
}

static const uint32_t rows[] = {1, 2, 7, 16, 63, 64, 65, 130};
static const size_t outs[] = {1, 15, 16, 17, 64, 65, 200};

/* Where kernels are to be few, each type still goes every way, but not by every number of rows for which that has a kernel. */
static void check_few_bits(struct conform *k, bool few)
{
    static const enum tensor_type types[] = {TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0, TENSOR_Q5_1,  TENSOR_Q2_K, TENSOR_Q3_K,
                                             TENSOR_Q4_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (int form = r % 5; form < 16; form += 5) {
                const size_t m = outs[(r + t + (size_t)form) % 7];
                if (few && (r < 3 ? r != t % 3 : rows[r] == 63 || (rows[r] == 64 && types[t] != TENSOR_Q4_K)))
                    continue;
                one(k, types[t], rows[r], few && rows[r] >= 64 && m > 65 ? 65 : m, form % 3 ? 256 : few ? 512 : 768, form,
                    (enum fill)(form / 5 % FILL_N));
            }
}

void check_matmul(struct conform *k)
{
    static const enum tensor_type types[] = {TENSOR_F32, TENSOR_F16, TENSOR_BF16, TENSOR_Q8_0};
    static const size_t ins[] = {32, 64, 96, 384, 256, 288, 1, 3, 33};
    const bool few = conform_few_kernels(k);
    int i = 0;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
            for (size_t o = 0; o < sizeof outs / sizeof *outs; o++)
                for (size_t j = 0; j < sizeof ins / sizeof *ins; j++, i++)
                    if ((i * 7 + i / 5) % (k->brief ? 9 : 3) == 0 && tensor_row_bytes(types[t], ins[j]) &&
                        !(few && types[t] == TENSOR_BF16 && (rows[r] == 63 || rows[r] == 64 || (rows[r] > 7 && ins[j] % 4))))
                        one(k, types[t], rows[r], outs[o], ins[j], i / 3 % 16, i % 4 ? FILL_NORMAL : (enum fill)(i / 4 % FILL_N));
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        one(k, types[t], few ? 9 : 33, 1152, 384, 3, FILL_NORMAL); /* several panels */
        one(k, types[t], few ? 100 : 200, few ? 200 : 300, 288, 3, FILL_NORMAL);
        one(k, types[t], 3, few ? 70 : 384, 4096, 1, FILL_NORMAL);
    }
    check_few_bits(k, few);
    one(k, TENSOR_Q8_0, 127, 64, 256, 0, FILL_NORMAL); /* a row short of whole matrices, and there is room for one */
    for (uint32_t n = 1; n <= 64; n += k->brief ? 3 : 1)
        if (!few || n <= 16 || n > 48)
            one(k, n % 2 ? TENSOR_Q8_0 : TENSOR_F32, n, 64, 256, 0, FILL_NORMAL);
    for (uint32_t n = 1; strcmp(k->o->info.kind, "cpu") && n < 200; n = few && n == 13 ? 70 : 3 * n + 1) {
        one(k, TENSOR_Q8_0, n, 70, 768, 25, FILL_NORMAL);
        one(k, TENSOR_Q6_K, n, 70, 768, 26, FILL_NORMAL);
        one(k, TENSOR_Q5_K, n, 70, 768, 24, FILL_NORMAL);
    }
    if (k->bench) {
        static const size_t shapes[][2] = {{384, 1152}, {384, 384}, {384, 2048}, {1024, 384}, {384, 3072}};
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (size_t t = 0; t < sizeof types / sizeof *types; t += 3)
                for (uint32_t n = 1; n <= 1024; n *= n < 16 ? 4 : 8)
                    bench(k, types[t], n, shapes[s][0], shapes[s][1]);
    }
}

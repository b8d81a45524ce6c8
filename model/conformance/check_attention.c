/* Tolerance: 2e-6, and 2e-6 of the values' sizes as weighted: scores of size s are off by s · 1e-7, and so are their exponentials,
 * relatively, and the sum of those; scores here are below 20, those that are capped, with three roundings more, below 8. Huge inputs make one
 * key win: their values, times 1e-5, must come out.
 *
 * Attention that may be half is tried where a device then rounds (ops_info.attention_rounding, u): with inputs of 8 bits, which no rounding to f16
 * changes. The sum's weights are off by u of themselves each, and so is their sum: a result by 2 u of the values' sizes so weighted at
 * most, and by 2^-24 of the largest value of a text where one is too small beside that for all of its bits. */
#include "model/conformance/conform.h"

#include <math.h>

struct call {
    struct ops_buf *qkv, *y;
    struct ops_attention a;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->attention(o, c->qkv, &c->a, c->y);
}

/* Whether attention that may be half is something else there. A software driver takes a minute to compile it for large heads, and seconds for
 * each size; so large ones are met in few ways below, too. */
static bool tried_in_half(const struct conform *k, const struct ops_attention *a)
{
    const uint32_t d = a->head_dim;
    return k->o->info.attention_rounding > 1e-6 && (!k->o->info.software || d == 16 || d == 18 || d == 32 || d == 64 || d == 80);
}

/* Leaves each value 8 bits. */
static void shorten(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        u &= 0xFFFF0000u;
        memcpy(x + i, &u, sizeof u);
    }
}

/* The sizes of the values as weighted, and of the text's largest what f16 leaves of small ones beside it. */
static float *weighted_sizes(const float *x, const struct conform_batch *b, const struct ops_attention *a)
{
    const size_t cols = (size_t)(a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
    const size_t out = (size_t)a->n_heads * a->head_dim;
    float *size = malloc(b->n * out * sizeof *size), *copy = malloc(b->n * cols * sizeof *copy);
    if (!size || !copy)
        exit(1);
    for (size_t i = 0; i < b->n * cols; i++)
        copy[i] = i % cols < (size_t)(a->n_heads + a->n_kv_heads) * a->head_dim ? x[i] : fabsf(x[i]);
    if (!ref_attention(copy, b->seq_offset, b->n_seqs, a, size))
        exit(1);
    for (uint32_t s = 0; s < b->n_seqs; s++) {
        float largest = 0;
        for (size_t i = b->seq_offset[s] * cols; i < b->seq_offset[s + 1] * cols; i++)
            if (i % cols >= (size_t)(a->n_heads + a->n_kv_heads) * a->head_dim)
                largest = fmaxf(largest, copy[i]);
        for (size_t i = b->seq_offset[s] * out; i < b->seq_offset[s + 1] * out; i++)
            size[i] += a->half ? 0x1p-14f * largest : 0;
    }
    free(copy);
    return size;
}

/* x is made by the caller, who frees it. */
static void compare(struct conform *k, uint32_t n, uint32_t text, struct ops_attention a, const float *x, double absolute)
{
    struct conform_batch b;
    const size_t cols = (size_t)(a.n_heads + 2 * a.n_kv_heads) * a.head_dim, out = (size_t)a.n_heads * a.head_dim;
    float *y = conform_fill(k, n * out, FILL_ZERO);
    struct call c = {conform_buf(k, x, n, cols), conform_buf(k, NULL, n, out), a};
    conform_begin(k, &b, n, text, 0);
    conform_ok(k, call(k->o, &c), "attention");
    conform_end(k, &b);
    if (!ref_attention(x, b.seq_offset, b.n_seqs, &a, y))
        exit(1);
    float *size = weighted_sizes(x, &b, &a);
    conform_forget(&b);
    conform_compare(k, c.y, y, n, out, absolute, a.half ? 2 * k->o->info.attention_rounding : 2e-6, size);
    conform_drop(k, c.qkv);
    conform_drop(k, c.y);
    free(size);
    free(y);
}

static void one(struct conform *k, uint32_t n, uint32_t text, struct ops_attention a, enum fill fill)
{
    const size_t cols = (size_t)(a.n_heads + 2 * a.n_kv_heads) * a.head_dim;
    float *x = conform_fill(k, n * cols, fill);
    for (int half = 0; half <= tried_in_half(k, &a); half++) {
        a.half = half;
        conform_case(k, "attention n %u texts of %u heads %u/%u dim %u%s window %u cap %g fill %d%s", n, text, a.n_heads, a.n_kv_heads,
                     a.head_dim, a.causal ? " causal" : "", a.window, a.cap, fill, half ? " half" : "");
        if (half)
            shorten(x, n * cols);
        compare(k, n, text, a, x, fill == FILL_HUGE ? 10 : 2e-6);
    }
    free(x);
}

/* Rows of very different sizes, and queries and keys whose products alone are of a usual one; values in steps, so that their size
 * grows and falls on the way through a text. */
static void sizes(struct conform *k, uint32_t text, struct ops_attention a, float q_size, float step)
{
    const uint32_t n = text + 5;
    const size_t d = a.head_dim, cols = (a.n_heads + 2 * a.n_kv_heads) * d;
    float *x = conform_fill(k, n * cols, FILL_NORMAL);
    for (size_t i = 0; i < n * cols; i++) {
        const size_t row = i / cols, head = i % cols / d;
        x[i] *= head < a.n_heads ? q_size : head < a.n_heads + a.n_kv_heads ? 1 / q_size : powf(step, (float)(row / 32 % 3));
        if (head < a.n_heads)
            x[i] *= row % 3 ? 1 : 0x1p-9f;
    }
    for (int half = 0; half <= tried_in_half(k, &a); half++) {
        a.half = half;
        conform_case(k, "attention of sizes %g and %g text of %u dim %zu%s%s", q_size, step, text, d, a.causal ? " causal" : "", half ? " half" : "");
        if (half)
            shorten(x, n * cols);
        compare(k, n, text, a, x, 0);
    }
    free(x);
}

/* A NaN or Inf in a text's row makes no number of every row that sees it, and of none of other texts. (Not an Inf in keys, which may mean
 * a weight of 0.) */
static void no_numbers(struct conform *k, struct ops_attention a, uint32_t text, uint32_t at, uint32_t which, float value)
{
    const uint32_t n = 3 * text, row = text + at;
    const size_t d = a.head_dim, cols = (a.n_heads + 2 * a.n_kv_heads) * d, out = a.n_heads * d;
    const size_t column = which == 0 ? 1 : (a.n_heads + (which - 1) * a.n_kv_heads) * d + 1;
    float *x = conform_fill(k, n * cols, FILL_NORMAL), *y = conform_fill(k, (n + SPARE_ROWS) * out, FILL_ZERO), *want = conform_fill(k, n * out, FILL_ZERO);
    struct conform_batch b;
    conform_case(k, "attention %g in row %u of text of %u's %c%s cap %g%s", value, at, text, "qkv"[which], a.causal ? " causal" : "", a.cap,
                 a.half ? " half" : "");
    conform_layout(k, &b, n, text, 0);
    if (!ref_attention(x, b.seq_offset, b.n_seqs, &a, want))
        exit(1);
    x[row * cols + column] = value;
    struct call c = {conform_buf(k, x, n, cols), conform_buf(k, NULL, n, out), a};
    conform_start(k, &b);
    conform_ok(k, call(k->o, &c), "attention");
    conform_end(k, &b);
    conform_ok(k, k->o->v->buf_read(k->o, c.y, y, n * out), "buf_read");
    for (uint32_t r = 0; r < n; r++) {
        const bool sees = r / text == 1 && (which == 0 ? r == row : !a.causal || r >= row);
        const bool may = r / text == 1 && which > 0; /* rows of the same step may see it */
        for (size_t i = 0; i < d; i++) { /* the first head, and so the first of keys */
            const size_t j = r * out + i;
            if (sees && (which < 2 || i == 1) && isfinite(y[j]))
                conform_fail(k, "row %u column %zu is %g", r, i, y[j]);
            if (!sees && !may && !(fabs((double)y[j] - want[j]) <= 0.02))
                conform_fail(k, "row %u column %zu is %g, want %g", r, i, y[j], want[j]);
        }
    }
    conform_forget(&b);
    conform_drop(k, c.qkv);
    conform_drop(k, c.y);
    free(x);
    free(y);
    free(want);
}

/* Capped scores: a cap beyond them does little, one well below makes all but two sizes of them. Each is a kernel of its own, and so is each size
 * of heads, causal or not, with keys in common or not. */
static void caps(struct conform *k)
{
    const bool few = conform_few_kernels(k);
    static const uint32_t lengths[] = {1, 3, 33, 64, 129, 300};
    static const float sizes[] = {50, 5, 0.5f};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        for (size_t c = 0; c < sizeof sizes / sizeof *sizes; c += few ? 2 : 1)
            one(k, lengths[l] + 9, lengths[l], (struct ops_attention){2, 1, 64, few ? c > 0 : (l + c) % 2, 0.125f, 0, false, sizes[c]}, FILL_NORMAL);
        one(k, lengths[l] + 9, lengths[l], (struct ops_attention){4, 2, 18, !few && l % 2, 0.01f, 40, false, 5}, few && l == 2 ? FILL_ZERO : FILL_NORMAL);
        if (!few)
            one(k, lengths[l] + 9, lengths[l], (struct ops_attention){2, 1, 256, true, 0.06f, 0, false, 5}, l == 2 ? FILL_ZERO : FILL_NORMAL);
    }
    for (uint32_t which = 0; which < 3; which++)
        for (int half = 0; half < 2; half++)
            no_numbers(k, (struct ops_attention){2, few ? 1 : 2, 64, false, 0.125f, 0, half, few ? sizes[0] : 5}, 40, 17, which, NAN);
}

/* What is hard for attention whose products are rounded; the same for others. */
static void extremes(struct conform *k)
{
    static const uint32_t lengths[] = {1, 31, 33, 63, 64, 65, 200, 600};
    static const float q_sizes[] = {1, 0x1p-30f, 0x1p40f}, steps[] = {1, 0x1p-12f, 0x1p5f, 0x1p40f};
    const bool few = conform_few_kernels(k);
    const uint32_t kv = few ? 2 : 1;
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths - few; l++) {
        one(k, lengths[l] + 9, lengths[l], (struct ops_attention){2, kv, 64, !few && l % 2, 0.125f}, FILL_NORMAL);
        one(k, lengths[l] + 9, lengths[l], (struct ops_attention){4, 2, 128, few || l % 2 == 0, 0.09f}, FILL_NORMAL);
        one(k, lengths[l] + 9, lengths[l], (struct ops_attention){2, kv, few ? 80 : 96, false, 0.1f, l % 3 ? 0 : 40}, FILL_NORMAL);
        one(k, lengths[l] + 9, lengths[l], (struct ops_attention){2, 1, 256, true, 0.06f}, FILL_NORMAL);
    }
    for (size_t i = 0; i < sizeof q_sizes / sizeof *q_sizes; i++)
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++) {
            sizes(k, 70, (struct ops_attention){2, kv, 64, false, 0.125f}, q_sizes[i], steps[j]);
            sizes(k, 300, (struct ops_attention){few ? 2 : 1, 1, 32, true, 0.2f}, q_sizes[i], steps[j]);
        }
    for (uint32_t which = 0; which < 3; which++)
        for (int how = 0; how < 8; how++) {
            const struct ops_attention a = {2, few ? 1 : 2, few ? 32 : 64, how & 1, 0.125f, 0, how & 2};
            if (which == 1 && how & 4)
                continue;
            no_numbers(k, a, 40, 17, which, how & 4 ? INFINITY : NAN);
            no_numbers(k, a, 150, 100, which, how & 4 ? INFINITY : NAN);
        }
}

void check_attention(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 15, 16, 17, 31, 32, 33, 65, 200}, texts[] = {1, 3, 33, 200};
    const bool few = conform_few_kernels(k);
    static const struct ops_attention shapes[] = {
        {1, 1, 2, false, 0.7f},    {6, 6, 64, false, 0.125f}, {4, 2, 16, true, 0.25f},    {4, 1, 18, false, 0.2f},
        {2, 1, 128, true, 0.088f}, {3, 3, 34, true, 0.17f},   {2, 2, 80, false, 0.1118f},
    };
    int i = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                one(k, few && rows[r] > 80 ? 80 : rows[r], texts[t], shapes[s], i++ % 5 == 4 ? (enum fill)(i / 5 % FILL_N) : FILL_NORMAL);
    for (int causal = 0; causal < 2; causal++) { /* around the steps of an online softmax */
        static const uint32_t lengths[] = {127, 128, 129, 255, 256, 257, 300, 600};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            one(k, lengths[l] + 40, lengths[l], (struct ops_attention){few ? 2 : 1, 1, 32, causal, 0.3f}, FILL_NORMAL);
    }
    static const uint32_t dims[] = {160, 192, 254, 256}; /* the largest that a kernel takes in one piece */
    for (size_t d = few ? 2 : 0; d < sizeof dims / sizeof *dims; d++) {
        static const uint32_t lengths[] = {1, 3, 33, 129};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            one(k, lengths[l] + 7, lengths[l], (struct ops_attention){2, 1, dims[d], d % 2, 0.0625f, 0},
                l == 2 ? (enum fill)d : FILL_NORMAL);
    }
    static const uint32_t windows[] = {1, 2, 15, 16, 17, 127, 128, 129, 250, 1u << 30};
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) { /* a row's keys start and end anywhere in a step */
        static const uint32_t lengths[] = {1, 3, 33, 129, 300, 600};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            one(k, lengths[l] + 7, lengths[l],
                (struct ops_attention){2, 1, few ? 32 : 24, (w + l) % 2, 0.3f, windows[w]}, l == 2 ? (enum fill)(w % FILL_N) : FILL_NORMAL);
    }
    caps(k);
    extremes(k);
    float *x = conform_fill(k, 1024 * 1152, FILL_NORMAL);
    struct call c = {conform_buf(k, x, 1024, 1152), conform_buf(k, NULL, 1024, 384), {6, 6, 64, false, 0.125f, 0, true}};
    conform_bench(k, "attention 6 of 64, 128 keys", 1024, call, &c, 4.0 * 1024 * 128 * 384);
    conform_drop(k, c.qkv);
    conform_drop(k, c.y);
    free(x);
}

/* far_positions [--device cpu|vulkan:NAME]: RoPE and attention at positions up to 32,767, the last that NV-Embed has.
 *
 * Angles are f32 products of f32 values, as Hugging Face's: against such angles with exact cosines within 4e-7 of a pair's size, and
 * against exact angles within what the f32 product may be off, 2^-24 of the angle, and the frequency's own rounding. Attention with a
 * window then sees the right rows; without one, the last rows of a long text see the first (in a text of thousands). */
#include <math.h>

#include "model/conformance/conform.h"
#include "model/ops_cpu.h"
#include "model/ops_vulkan.h"
#include "gpu/gpu.h"

enum { N = 32768, D = 8, HEADS = 2, COLS = (HEADS + 2) * D };

static const struct ops_attention shape = {HEADS, 1, D, false, 0.35f, 0};

static void rotate_exactly(double *x, uint32_t pos)
{
    for (uint32_t h = 0; h < HEADS + 1; h++)
        for (uint32_t i = 0; i < D / 2; i++) {
            const double angle = pos * pow(10000, -(double)i / (D / 2)), a = x[h * D + i], b = x[h * D + i + D / 2];
            x[h * D + i] = a * cos(angle) - b * sin(angle);
            x[h * D + i + D / 2] = b * cos(angle) + a * sin(angle);
        }
}

static void check_far_rope(struct conform *k)
{
    static double exact[COLS];
    struct conform_batch b;
    float *x = conform_fill(k, (size_t)N * COLS, FILL_NORMAL), *plain = malloc((size_t)N * COLS * sizeof *plain);
    float *size = conform_fill(k, (size_t)N * COLS, FILL_ZERO), freq[D / 2];
    if (!plain)
        exit(1);
    memcpy(plain, x, (size_t)N * COLS * sizeof *plain);
    conform_case(k, "rope on a text of %d", N);
    for (uint32_t i = 0; i < D / 2; i++)
        freq[i] = (float)pow(10000, -(double)i / (D / 2));
    for (size_t i = 0; i < (size_t)N * COLS; i++)
        size[i] = fabsf(x[i]) + fabsf(x[i % D < D / 2 ? i + D / 2 : i - D / 2]);
    struct ops_buf *qkv = conform_buf(k, x, N, COLS);
    struct ops_vec *f = conform_vec(k, freq, D / 2);
    conform_begin(k, &b, N, N, 0);
    conform_ok(k, k->o->v->rope(k->o, qkv, f, &shape), "rope");
    conform_end(k, &b);
    ref_rope(x, b.seq_offset, b.n_seqs, freq, &shape);
    conform_compare(k, qkv, x, N, COLS, 1e-7, 4e-7, size);
    if (k->o->v->buf_read(k->o, qkv, x, (size_t)N * COLS) < 0)
        exit(1);
    conform_case(k, "rope on a text of %d against exact angles", N);
    for (uint32_t t = 0; t < N; t += t < 64 ? 1 : 997) {
        for (uint32_t i = 0; i < COLS; i++)
            exact[i] = plain[(size_t)t * COLS + i];
        rotate_exactly(exact, t);
        for (uint32_t i = 0; i < COLS; i++) {
            const double off = fabs(x[(size_t)t * COLS + i] - exact[i]), may = size[(size_t)t * COLS + i] * (4e-7 + t * 0x1p-23);
            if (off > may + 1e-7)
                conform_fail(k, "position %u: off by %.3g, may be %.3g", t, off, may);
        }
    }
    conform_forget(&b);
    conform_drop(k, qkv);
    conform_drop_vec(k, f);
    free(x);
    free(plain);
    free(size);
}

static void check_attention_at(struct conform *k, uint32_t n, struct ops_attention a)
{
    struct conform_batch b;
    conform_case(k, "attention on a text of %u window %u%s", n, a.window, a.causal ? " causal" : "");
    float *x = conform_fill(k, (size_t)n * COLS, FILL_NORMAL), *y = conform_fill(k, (size_t)n * HEADS * D, FILL_ZERO);
    struct ops_buf *qkv = conform_buf(k, x, n, COLS), *out = conform_buf(k, NULL, n, HEADS * D);
    conform_begin(k, &b, n, n, 0);
    conform_ok(k, k->o->v->attention(k->o, qkv, &a, out), "attention");
    conform_end(k, &b);
    if (!ref_attention(x, b.seq_offset, b.n_seqs, &a, y))
        exit(1);
    conform_forget(&b);
    conform_compare(k, out, y, n, HEADS * D, 2e-6, 2e-6, NULL);
    conform_drop(k, qkv);
    conform_drop(k, out);
    free(x);
    free(y);
}

int main(int argc, char **argv)
{
    const char *device = argc == 3 && !strcmp(argv[1], "--device") ? argv[2] : "cpu";
    struct err_msg em = {""};
    struct ops *o = NULL;
    struct conform k;
    int r = strcmp(device, "cpu")
                ? ops_vulkan_create(&o, &(struct ops_vulkan_params){.device = device + 7, .max_batch_tokens = N}, &em)
                : ops_cpu_create(&o, &(struct ops_cpu_params){.max_batch_tokens = N}, &em);
    if (r < 0) {
        fprintf(stderr, "far_positions: %s\n", em.text);
        return 77;
    }
    if (o->info.max_batch_tokens < N) {
        printf("FAILED: the device takes %u rows\n", o->info.max_batch_tokens);
        return 1;
    }
    conform_init(&k, o, 1);
    check_far_rope(&k);
    for (int causal = 0; causal < 2; causal++)
        check_attention_at(&k, N, (struct ops_attention){HEADS, 1, D, causal, 0.35f, 33});
    check_attention_at(&k, strcmp(device, "cpu") ? 2000 : 6000, shape); /* software drivers are slow */
    ops_destroy(&o);
    printf("%s: %u cases, %u failed\n", device, k.n_cases, k.n_failed);
    return k.n_failed || gpu_validation_messages() ? 1 : 0;
}

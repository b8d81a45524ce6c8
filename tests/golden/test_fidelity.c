/* What storage types cost: golden_fidelity DEVICE [blocks]. A generated checkpoint whose every dimension is a multiple of 256 and the golden ones,
 * imported at each type, against the float64 reference with the original weights: f32 5e-6 and f16 2e-3 in any component, q8_0 cosine
 * 0.999, q4_K 0.98, by the reference with the weights as stored and by the device.
 *
 * blocks: the other types in blocks, on the generated checkpoint with the loss that follows from how far the stored weights are from the original
 * ones (expected_loss) and 0.001 more for the device. The golden checkpoints, two layers with few and sharp weights, lose more with 4 bits
 * throughout; there, as everywhere, the device is compared with the reference with the same weights: cosine 0.999. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/block_encode.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

#define N_TEXTS 4

static int n_bad;

struct texts {
    struct engine_seq seq[N_TEXTS];
    int32_t ids[N_TEXTS][40];
};

static void make_texts(struct texts *t, uint32_t vocab)
{
    static const uint32_t n[N_TEXTS] = {1, 9, 24, 40}, skip[N_TEXTS] = {0, 3, 0, 12};
    uint32_t state = 7;
    for (int s = 0; s < N_TEXTS; s++) {
        for (uint32_t i = 0; i < n[s]; i++) {
            state = state * 1664525 + 1013904223;
            t->ids[s][i] = (int32_t)((uint64_t)state * vocab >> 32);
        }
        t->seq[s] = (struct engine_seq){t->ids[s], n[s], skip[s]};
    }
}

static void *must(void *p)
{
    if (!p)
        exit(1);
    return p;
}

/* The reference's vectors with the file's weights as floats. */
static float *reference(const struct model *m, const struct texts *t)
{
    const size_t n = (size_t)N_TEXTS * model_info(m)->dim;
    double *wide = must(calloc(n, sizeof *wide));
    float *v = must(calloc(n, sizeof *v));
    struct err_msg em;
    if (ref_forward(m, t->seq, N_TEXTS, NULL, wide, &em) < 0) {
        printf("FAIL reference: %s\n", em.text);
        exit(1);
    }
    for (size_t i = 0; i < n; i++)
        v[i] = (float)wide[i];
    free(wide);
    return v;
}

/* What a type costs in the vectors: largest difference, smallest cosine. */
static void distance(const float *got, const float *want, uint32_t dim, double *diff, double *cosine)
{
    *diff = 0;
    *cosine = 1;
    for (int s = 0; s < N_TEXTS; s++) {
        *diff = fmax(*diff, golden_max_diff(got + s * dim, want + s * dim, dim));
        *cosine = fmin(*cosine, golden_cosine(got + s * dim, want + s * dim, dim));
    }
}

/* Against the original weights. loss: what a cosine may lose with a type whose limit is not a fixed one. */
static void compare(const char *what, enum tensor_type type, const float *got, const float *want, uint32_t dim, double loss)
{
    double diff, cosine;
    distance(got, want, dim, &diff, &cosine);
    const bool good = type == TENSOR_F32    ? diff <= 5e-6
                      : type == TENSOR_F16  ? diff <= 2e-3
                      : type == TENSOR_Q8_0 ? cosine >= 0.999
                      : type == TENSOR_Q4_K ? cosine >= 0.98
                                            : cosine >= 1 - loss;
    printf("%s%s, %s: largest difference %.3g, smallest cosine %.6f", good ? "" : "FAIL ", what, tensor_type_name(type), diff, cosine);
    if (type == TENSOR_F32 || type == TENSOR_F16)
        printf("\n");
    else
        printf(", loss by the weights' errors %.2g\n", loss);
    n_bad += !good;
}

/* What is lost of a cosine, by the files' weights alone: each product's result is off by the relative error e of its weights, errors of products
 * are independent and add up as squares, none is larger than the stream, and a cosine loses half of the square. A layer makes
 * seven products, the pooler five. */
static double expected_loss(const struct model *m, const struct model *original)
{
    const uint8_t *digest;
    const struct tensor *t, *o;
    double size = 0, error = 0;
    for (size_t i = 0; (t = model_tensor_at(m, i, &digest)); i++) {
        if (t->rows == 1 || !(o = model_tensor(original, t->name)))
            continue;
        float *a = must(malloc(2 * t->cols * sizeof *a)), *b = a + t->cols;
        for (uint64_t r = 0; r < t->rows; r++) {
            tensor_row_f32(t, r, a);
            tensor_row_f32(o, r, b);
            for (uint64_t c = 0; c < t->cols; c++) {
                size += (double)b[c] * b[c];
                error += ((double)a[c] - b[c]) * ((double)a[c] - b[c]);
            }
        }
        free(a);
    }
    return (7 * model_info(m)->n_layers + 5) / 2.0 * error / size;
}

static bool has_limit(enum tensor_type type)
{
    return type == TENSOR_F32 || type == TENSOR_F16 || type == TENSOR_Q8_0 || type == TENSOR_Q4_K;
}

/* One type; *original and *want are made by the first. generated: expected_loss holds. */
static void check_type(const char *dir, const char *device, enum tensor_type type, bool generated, struct model **original, float **want)
{
    struct model *m = NULL;
    struct engine *e = NULL;
    struct texts texts;
    struct err_msg em = {{0}};
    int status[N_TEXTS];
    double diff, cosine;
    const struct engine_params p = {.device = device, .n_threads = 2};
    char *path = golden_only_read(type) ? golden_blocks(dir, type) : golden_import(dir, type);
    if (model_open(&m, path, &em) < 0 || golden_engine(&e, m, &p, &em) < 0) {
        printf("FAIL %s: %s\n", path, em.text);
        exit(1);
    }
    golden_remove(&path); /* it stays mapped */
    const uint32_t dim = model_info(m)->dim;
    make_texts(&texts, model_info(m)->vocab);
    float *stored = reference(m, &texts), *out = must(calloc((size_t)N_TEXTS * dim, sizeof *out));
    if (engine_embed(e, texts.seq, N_TEXTS, out, status, &em) < 0) {
        printf("FAIL %s: %s\n", path, em.text);
        exit(1);
    }
    const double loss = *original ? expected_loss(m, *original) : 0;
    if (generated || has_limit(type)) {
        compare("reference, weights as stored", type, stored, *want ? *want : stored, dim, loss);
        compare(engine_info(e)->device, type, out, *want ? *want : stored, dim, loss + 0.001);
    }
    distance(out, stored, dim, &diff, &cosine);
    printf("%s%s, %s: smallest cosine to the reference with the same weights %.6f\n", cosine < 0.999 ? "FAIL " : "", engine_info(e)->device,
           tensor_type_name(type), cosine);
    n_bad += cosine < 0.999;
    engine_destroy(&e);
    free(out);
    if (*original) {
        model_destroy(&m);
        free(stored);
    } else {
        *original = m;
        *want = stored;
    }
}

/* The first type is F32: its reference is the one with the original weights. */
static void check_folder(const char *dir, const char *device, const enum tensor_type *types, size_t n_types, bool generated)
{
    struct model *original = NULL;
    float *want = NULL;
    for (size_t t = 0; t < n_types; t++)
        check_type(dir, device, types[t], generated, &original, &want);
    model_destroy(&original);
    free(want);
}

/* So deep a model that int8 products would round away too much for 8 bits: the CPU falls back to 16 or f32, and says so. With 4 bits it does not,
 * since their own rounding costs more. */
static void check_deep(enum tensor_type type)
{
    static const struct checkpoint_shape shape = {.hidden = 256, .layers = 32, .heads = 4, .kv_heads = 2, .ffn = 512, .vocab = 256,
                                                  .positions = 64, .latents = 256, .latent_heads = 1, .latent_head_dim = 256,
                                                  .type = TENSOR_F16, .seed = 1};
    char dir[] = "/tmp/latentd-fidelity.XXXXXX", command[128];
    struct model *m = NULL;
    struct engine *e = NULL;
    struct engine_params p = {.device = "cpu", .n_threads = 2};
    struct err_msg em = {{0}};
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0) {
        printf("FAIL %s: %s\n", dir, em.text);
        exit(1);
    }
    char *path = golden_import(dir, type);
    if (model_open(&m, path, &em) < 0 || golden_engine(&e, m, &p, &em) < 0) {
        printf("FAIL %s: %s\n", path, em.text);
        exit(1);
    }
    const bool int8 = strstr(engine_info(e)->device, "int8"), noted = strstr(engine_info(e)->note, "not exact enough");
    printf("%u layers, %s, %s: smallest cosine to the golden vectors %.6f; note: %s\n", shape.layers, tensor_type_name(type),
           engine_info(e)->device, engine_info(e)->selftest_cosine, engine_info(e)->note);
    const double least = noted ? 1 - 1e-5 : type == TENSOR_Q8_0 ? 0.999 : 0.996;
    if (engine_info(e)->selftest_cosine < least || (noted && int8) || (noted && type != TENSOR_Q8_0)) {
        printf("FAIL deep model\n");
        n_bad++;
    }
    engine_destroy(&e);
    model_destroy(&m);
    golden_remove(&path);
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command))
        n_bad++;
}

int main(int argc, char **argv)
{
    const char *device = argc > 1 ? argv[1] : "cpu";
    const bool brief = golden_brief(device);
    const struct checkpoint_shape shape = {.hidden = brief ? 256 : 512, .layers = brief ? 2 : 6, .heads = 4, .kv_heads = 2,
                                           .ffn = brief ? 512 : 1024, .vocab = 512, .positions = 512, .latents = 256, .latent_heads = 2,
                                           .latent_head_dim = 256, .type = TENSOR_F16, .seed = 1};
    static const enum tensor_type usual[] = {TENSOR_F32, TENSOR_F16, TENSOR_Q8_0, TENSOR_Q4_K};
    static const enum tensor_type others[] = {TENSOR_F32,  TENSOR_Q4_0, TENSOR_Q4_1, TENSOR_Q5_0,   TENSOR_Q5_1,  TENSOR_Q2_K,
                                              TENSOR_Q3_K, TENSOR_Q5_K, TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS};
    const bool blocks = argc > 2 && !strcmp(argv[2], "blocks");
    const enum tensor_type *types = blocks ? others : usual;
    const size_t n_types = blocks ? sizeof others / sizeof *others : sizeof usual / sizeof *usual;
    char dir[] = "/tmp/latentd-fidelity.XXXXXX", command[128];
    struct err_msg em;
    golden_need_way(device);
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0) {
        printf("FAIL %s: %s\n", dir, em.text);
        return 1;
    }
    check_folder(dir, device, types, n_types, true);
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command))
        n_bad++;
    static const char *const golden[] = {"tests/golden/tiny-f16", "tests/golden/tiny-bf16"};
    for (size_t i = 0; i < 2; i++) {
        char folder[4096];
        snprintf(folder, sizeof folder, "%s", golden_tree(golden[i]));
        check_folder(folder, device, types, n_types, false);
    }
    if (!strcmp(device, "cpu") && !blocks && cpu_features()) { /* plain C has no whole numbers */
        check_deep(TENSOR_Q8_0);
        check_deep(TENSOR_Q4_K);
    }
    if (gpu_validation_messages()) {
        printf("FAIL %u messages of the validation layers\n", (unsigned)gpu_validation_messages());
        n_bad++;
    }
    return n_bad ? 1 : 0;
}

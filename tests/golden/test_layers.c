/* The device's residual stream after every layer beside the float64 reference's, the weights being the same: golden_layers DEVICE [-v].
 * Where a device computes wrongly, the first layer that differs is named.
 *
 * Tolerance, of the root mean square of the layer's values: 1e-4 of the largest difference where products take their factors as they are.
 * Where a device rounds a factor, by u of it at most, the nearest value is off by u / √3 of it in the mean square at most, and so is a sum of
 * such products, since their errors are independent. A layer makes seven products (q, k, v, o, gate, up, down), none of them larger than
 * the stream, and errors add up as squares: a root mean square of u √(7 / 3 · roundings · layers) at most, and six times that for the largest of
 * as few values as there are. A token's own vector is rounded nowhere.
 *
 * u: ops_info.rounding where products are f16's, for all weights but f32. Weights in blocks are then made of a scaled number and a minimum,
 * each twice a weight's size, and four are rounded: both, the number's scale, and their sum, so 3 · 4 + 1 squares beside the one of what they multiply.
 * Whole numbers (ops_info.int8_blocks; on the CPU weights too, as its name says) are off by half a step, and a step is 1 / 127, with
 * what Vulkan holds as q8_0 or q6_K 1 / 32,767, of the largest value of 32, √32 of their root mean square at most. Rows, which are the CPU's blocks, have
 * no larger ones here. Weights that Vulkan rounds to hold them add as much. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/gpu.h"
#include "model/decoder.h"
#include "model/engine_device.h"
#include "model/model.h"
#include "model/ref/ref_forward.h"
#include "tests/golden/block_encode.h"
#include "tests/golden/golden.h"
#include "tests/tools/checkpoint_maker.h"

enum { LAYERS = 6, BRIEF_LAYERS = 2, HIDDEN = 256, TOKENS = 23 + 40, N = 2 };

struct reference {
    double x[LAYERS + 1][TOKENS * HIDDEN]; /* embed, then each layer there is */
};

static int n_bad;
static bool verbose;

static void fail(const char *what, const struct err_msg *em)
{
    printf("FAIL %s: %s\n", what, em->text);
    exit(1);
}

static void on_stage(void *arg, const char *stage, const double *x, size_t n_rows, size_t cols)
{
    struct reference *r = arg;
    unsigned layer = 0;
    if (strcmp(stage, "embed") && sscanf(stage, "layer%u", &layer) != 1)
        return;
    layer += strcmp(stage, "embed") != 0;
    if (layer <= LAYERS && n_rows == TOKENS && cols == HIDDEN)
        memcpy(r->x[layer], x, sizeof r->x[layer]);
}

/* The same of weights that GPUs round because they hold them as q8_0. */
static double held(const struct model *m, const struct ops *o)
{
    const char *type = model_info(m)->weight_type;
    if (!strcmp(o->info.kind, "cpu"))
        return 0;
    return !strcmp(type, "q2_K") ? sqrt(32) / 2 / 127 : !strcmp(type, "iq4_xs") ? 0x1p-12 : 0;
}

/* u, 0 where nothing is rounded, and how many roundings a product has. */
static double rounded(const struct model *m, const struct ops *o, int *n)
{
    const char *type = model_info(m)->weight_type;
    const bool blocks = model_info(m)->quantised, cpu = !strcmp(o->info.kind, "cpu");
    const bool fine = !cpu && type[1] != '4' && type[1] != '5'; /* what has no minimum there */
    *n = cpu ? 2 : 1;
    if (blocks && (cpu ? strstr(o->info.name, "int8") != NULL : o->info.int8_blocks))
        return sqrt(32) / 2 / (fine ? 32767 : 127);
    if (blocks && cpu && o->info.fine_blocks)
        return sqrt(32) / 2 / 32512;
    *n = blocks ? 14 : 1;
    return strcmp(type, "f32") && o->info.rounding > 1e-6 ? o->info.rounding : 0;
}

/* One layer; false when it is wrong. */
static bool compare(const struct model *m, const struct ops *o, uint32_t part, const float *got, const double *want)
{
    double size = 0, error = 0, largest = 0;
    for (size_t i = 0; i < TOKENS * HIDDEN; i++) {
        const double d = fabs(got[i] - want[i]);
        size += want[i] * want[i] / (TOKENS * HIDDEN);
        error += d * d / (TOKENS * HIDDEN);
        largest = d <= largest ? largest : d;
    }
    size = sqrt(size);
    error = sqrt(error);
    int n;
    const double u = hypot(rounded(m, o, &n), held(m, o)), most = u * sqrt(7.0 / 3 * n * part) * size;
    const bool good = u > 0 && part ? error <= most && largest <= 6 * most : largest <= fmax(1e-4, 4 * held(m, o)) * size;
    char name[24] = "embed";
    if (part)
        snprintf(name, sizeof name, "layer %u", part - 1);
    if (verbose || !good)
        printf("  %-9s size %.3g, difference %.3g (%.3g at most), largest %.3g\n", name, size, error, most, largest);
    return good;
}

static void check(const struct model *m, const struct engine_candidate *c)
{
    const uint32_t n_layers = model_info(m)->n_layers;
    static struct reference ref;
    static int32_t ids[TOKENS];
    static float x[TOKENS * HIDDEN];
    const uint32_t offsets[N + 1] = {0, 23, TOKENS}, skips[N] = {0, 0};
    const struct engine_params ep = {.n_threads = 2};
    struct activations a = {0};
    const struct decoder_params dp = {.activations = &a, .layer_bytes = 1}; /* a part for each layer */
    struct ops *o = NULL;
    struct decoder *d = NULL;
    struct ops_buf *hidden;
    struct err_msg em = {""};
    uint32_t state = 9;
    double vectors[N * HIDDEN];
    for (int i = 0; i < TOKENS; i++)
        ids[i] = (int32_t)((state = state * 1664525 + 1013904223) >> 24);
    const struct engine_seq seqs[N] = {{ids, 23, 0}, {ids + 23, 40, 0}};
    const struct ref_probe probe = {.fn = on_stage, .arg = &ref};
    const struct ops_batch batch = {ids, TOKENS, offsets, N, skips};
    if (ref_forward(m, seqs, N, &probe, vectors, &em) < 0)
        fail("reference", &em);
    if (engine_open_device(c, &ep, TOKENS, 4 * HIDDEN * 2, &o, &em) < 0)
        fail(c->name, &em);
    activations_init(&a, model_info(m), o);
    if (activations_resize(&a, TOKENS, N, &em) < 0 || decoder_create(&d, m, o, &dp, &em) < 0)
        fail(c->name, &em);
    bool good = decoder_n_parts(d) == n_layers + 1;
    for (uint32_t part = 0; good && part <= n_layers; part++) {
        if (decoder_fetch(d, part, &em) < 0 || o->v->begin(o, &batch, &em) < 0 || decoder_run(d, part, TOKENS, TOKENS, &hidden) < 0 ||
            o->v->end(o, decoder_stream(d), TOKENS, x, &em) < 0)
            fail(c->name, &em);
        decoder_drop(d, part);
        good = compare(m, o, part, x, ref.x[part]);
        if (!good)
            printf("FAIL %s, %s: this is the first that is wrong\n", o->info.name, model_info(m)->weight_type);
    }
    if (good)
        printf("%s, %s: %u layers as the reference's\n", o->info.name, model_info(m)->weight_type, n_layers);
    n_bad += !good;
    decoder_destroy(&d);
    activations_finish(&a);
    ops_destroy(&o);
}

int main(int argc, char **argv)
{
    struct checkpoint_shape shape = {.hidden = HIDDEN, .layers = LAYERS, .heads = 4, .kv_heads = 2, .head_dim = 128, .ffn = 512, .vocab = 256,
                                     .positions = 512, .latents = 16, .latent_heads = 1, .latent_head_dim = 64, .type = TENSOR_F16,
                                     .seed = 4};
    static const enum tensor_type types[] = {TENSOR_F32,  TENSOR_F16,  TENSOR_BF16, TENSOR_Q8_0, TENSOR_Q4_0, TENSOR_Q4_1,
                                              TENSOR_Q5_0, TENSOR_Q5_1, TENSOR_Q2_K, TENSOR_Q3_K, TENSOR_Q4_K, TENSOR_Q5_K,
                                              TENSOR_Q6_K, TENSOR_IQ4_NL, TENSOR_IQ4_XS};
    struct engine_candidate list[ENGINE_CANDIDATES_MAX];
    char dir[] = "/tmp/latentd-layers.XXXXXX", command[128];
    struct err_msg em;
    size_t n;
    bool named;
    golden_need_way(argc > 1 ? argv[1] : "cpu");
    verbose = argc == 3;
    if (golden_brief(argc > 1 ? argv[1] : "cpu"))
        shape.layers = BRIEF_LAYERS;
    if (engine_candidates(argc > 1 ? argv[1] : "cpu", list, &n, &named, &em) < 0)
        fail("device", &em);
    if (!mkdtemp(dir) || checkpoint_make(dir, &shape, NULL, &em) < 0)
        fail(dir, &em);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct model *m = NULL;
        char *path = golden_only_read(types[t]) ? golden_blocks(dir, types[t]) : golden_import(dir, types[t]);
        if (model_open(&m, path, &em) < 0)
            fail(path, &em);
        check(m, &list[0]);
        model_destroy(&m);
        golden_remove(&path);
    }
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command))
        n_bad++;
    if (gpu_validation_messages()) {
        printf("FAIL messages of the validation layers\n");
        n_bad++;
    }
    return n_bad ? 1 : 0;
}
